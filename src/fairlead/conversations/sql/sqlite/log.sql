-- name: add_event
INSERT INTO thread_events
    (row, tenant, thread, origin, sequence, id, hlc, kind, data, content)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (tenant, thread, origin, sequence) DO NOTHING RETURNING row

-- name: conversation
SELECT row FROM conversations WHERE tenant = ? AND id = ?

-- name: rows
SELECT id, row FROM thread_events WHERE tenant = ? AND thread = ?

-- name: forget_conversation
DELETE FROM conversations WHERE row = ?

-- name: forget_summary
DELETE FROM conversation_summaries WHERE row = ?

-- name: bury
INSERT INTO dead_letters (id, tenant, time, error, payload) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET time = excluded.time, error = excluded.error

-- name: drop_letters
DELETE FROM dead_letters WHERE id IN (
    SELECT id FROM dead_letters ORDER BY time DESC, id DESC LIMIT -1 OFFSET ?
)

