-- name: lost_events
SELECT count(*) FROM message_rows m
WHERE NOT EXISTS (SELECT 1 FROM thread_events e WHERE e.row = coalesce(m.event, m.row))
    OR NOT EXISTS (SELECT 1 FROM thread_events e WHERE e.row = coalesce(m.content_event, m.row))

-- name: lost_messages
SELECT count(*) FROM message_rows m
WHERE NOT EXISTS (SELECT 1 FROM conversations c WHERE c.row = m.conversation AND c.deleted = 0)

-- name: lost_summaries
SELECT count(*) FROM conversations c FULL JOIN conversation_summaries s ON s.row = c.row
WHERE c.row IS NULL OR s.row IS NULL OR c.id <> s.id

-- name: miscounted
SELECT count(*) FROM conversation_summaries s
WHERE s.message_count <> (SELECT count(*) FROM message_rows m WHERE m.conversation = s.row)
