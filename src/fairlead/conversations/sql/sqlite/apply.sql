-- name: head
SELECT {head}, c.row
FROM conversations c JOIN conversation_summaries s ON s.row = c.row
WHERE c.tenant = ? AND c.id = ?

-- name: session
SELECT id FROM conversations
WHERE tenant = ? AND session = ? AND deleted = 0
ORDER BY row LIMIT 1

-- name: counter
SELECT last FROM event_counters WHERE tenant = ? AND thread = ? AND origin = ?

-- name: event
SELECT row, tenant, thread FROM thread_events WHERE id = ?

-- name: last_rows
SELECT coalesce((SELECT max(row) FROM thread_events), 0),
       coalesce((SELECT max(row) FROM conversations), 0)

-- name: sequence
SELECT sequence FROM message_rows WHERE row = (SELECT row FROM thread_events WHERE id = ?)

-- name: message_row
SELECT m.sequence, m.id, m.role, m.timestamp, m.branch, m.digest,
       (SELECT id FROM thread_events WHERE row = m.event),
       (SELECT id FROM thread_events WHERE row = m.content_event)
FROM message_rows m
WHERE m.row = (SELECT row FROM thread_events WHERE id = ?) AND m.conversation = ?

-- name: message_rows
SELECT m.sequence, m.id, m.role, m.timestamp, m.branch, m.digest,
       (SELECT id FROM thread_events WHERE row = m.event),
       (SELECT id FROM thread_events WHERE row = m.content_event)
FROM message_rows m
WHERE m.conversation = ?
ORDER BY m.sequence

-- name: branches
SELECT branch, basis FROM branches WHERE conversation = ? ORDER BY branch

-- name: tenant
SELECT number FROM tenant_usage WHERE tenant = ?

-- name: add_tenant
INSERT INTO tenant_usage (tenant, bytes) VALUES (?, 0) RETURNING number

-- name: add_event
INSERT INTO thread_events
    (row, tenant, thread, origin, sequence, id, hlc, kind, data, content)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)

-- name: count
INSERT INTO event_counters (tenant, thread, origin, last) VALUES (?, ?, ?, ?)
ON CONFLICT (tenant, thread, origin) DO UPDATE SET last = max(last, excluded.last)

-- name: use
UPDATE tenant_usage SET bytes = bytes + ? WHERE tenant = ?

-- name: add_row
INSERT INTO message_rows
    (row, conversation, sequence, id, role, timestamp, branch, digest, event, content_event)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)

-- name: change_row
UPDATE message_rows SET digest = ?, event = ?, content_event = ?
WHERE conversation = ? AND sequence = ?
RETURNING row

-- name: drop_row
DELETE FROM message_rows WHERE conversation = ? AND sequence = ? RETURNING row

-- name: rows
SELECT row FROM message_rows WHERE conversation = ?

-- name: drop_rows
DELETE FROM message_rows WHERE conversation = ?

-- name: drop_branches
DELETE FROM branches WHERE conversation = ?

-- name: add_branch
INSERT INTO branches (conversation, branch, basis) VALUES (?, ?, ?)
ON CONFLICT (conversation, branch) DO UPDATE SET basis = excluded.basis

-- name: add_words
INSERT INTO message_words (rowid, words) VALUES (?, ?)

-- name: drop_words
DELETE FROM message_words WHERE rowid = ?

-- name: add_title
INSERT INTO title_words (rowid, words) VALUES (?, ?)

-- name: drop_title
DELETE FROM title_words WHERE rowid = ?

-- name: touch_conversation
-- What a message changes, and no more: only the indexes over these columns are written.
UPDATE conversations
SET last_activity = ?, version = ?, hlc = ?, last_sequence = ?, branches = ?, branch = ?, bytes = ?
WHERE row = ?

-- name: touch_summary
UPDATE conversation_summaries
SET last_message = ?, message_count = ?, participants = ?, last_message_id = ?
WHERE row = ?

-- name: put_conversation
INSERT OR REPLACE INTO conversations
    (row, id, tenant, user_id, team_id, title, title_key, created, last_activity, is_shared,
     version, deleted, session, hlc, last_sequence, branches, branch, bytes)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)

-- name: put_summary
INSERT OR REPLACE INTO conversation_summaries
    (row, id, title, last_message, message_count, participants, last_message_id)
VALUES (?, ?, ?, ?, ?, ?, ?)
