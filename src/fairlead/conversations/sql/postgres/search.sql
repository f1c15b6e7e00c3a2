-- name: search
-- Of very many matches the newest are compared.
WITH newest AS (
    SELECT w.thread, w.sequence, w.time, w.words
    FROM fairlead.thread_words w
    JOIN fairlead.conversations c ON c.tenant = w.tenant AND c.id = w.thread
    WHERE w.words @@ %(words)s::tsquery AND w.tenant = %(tenant)s AND NOT c.deleted {visible}
    ORDER BY w.time DESC, w.thread DESC, w.sequence DESC
    LIMIT %(newest)s
), ranked AS (
    SELECT thread, sequence, time, ts_rank_cd(words, %(words)s::tsquery, 1) AS score FROM newest
), best AS (
    SELECT thread, max(score) AS score, max(time) AS time,
           (array_agg(sequence ORDER BY score DESC, sequence DESC))[1:%(matches)s] AS sequences
    FROM ranked
    GROUP BY thread
    ORDER BY max(score) DESC, max(time) DESC, thread DESC
    LIMIT %(limit)s OFFSET %(offset)s
)
SELECT b.thread::text, b.score, match.sequence, e.data, c.content
FROM best b
CROSS JOIN LATERAL unnest(b.sequences) WITH ORDINALITY AS match (sequence, number)
LEFT JOIN fairlead.message_rows m
    ON m.tenant = %(tenant)s AND m.thread = b.thread AND m.sequence = match.sequence
LEFT JOIN fairlead.thread_events e ON e.id = m.event
LEFT JOIN fairlead.thread_events c ON c.id = m.content_event
ORDER BY b.score DESC, b.time DESC, b.thread DESC, match.number
