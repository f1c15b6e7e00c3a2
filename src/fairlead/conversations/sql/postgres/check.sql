-- name: patience
SELECT set_config('statement_timeout', %s, true)

-- name: lost_events
SELECT count(*) FROM fairlead.message_rows m
WHERE NOT EXISTS (SELECT 1 FROM fairlead.thread_events e WHERE e.id = m.event)
    OR NOT EXISTS (SELECT 1 FROM fairlead.thread_events e WHERE e.id = m.content_event)

-- name: lost_threads
SELECT count(*) FROM (SELECT DISTINCT tenant, thread FROM fairlead.message_rows) AS m
WHERE NOT EXISTS (
    SELECT 1 FROM fairlead.conversations c
    WHERE c.tenant = m.tenant AND c.id = m.thread AND NOT c.deleted
)

-- name: lost_summaries
SELECT count(*) FROM fairlead.conversations c
FULL JOIN fairlead.conversation_summaries s ON s.tenant = c.tenant AND s.id = c.id
WHERE c.id IS NULL OR s.id IS NULL

-- name: miscounted
SELECT count(*) FROM fairlead.conversation_summaries s
WHERE s.message_count <> (
    SELECT count(*) FROM fairlead.message_rows m WHERE m.tenant = s.tenant AND m.thread = s.id
)
