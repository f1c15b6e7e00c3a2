-- name: head
SELECT {head}
FROM conversations c JOIN conversation_summaries s ON s.row = c.row
WHERE c.tenant = :tenant AND c.id = :thread

-- name: list
-- Each scope and order by an index of its own; {after} begins it behind a thread.
SELECT {head}, c.{column}
FROM conversations c INDEXED BY {index} JOIN conversation_summaries s ON s.row = c.row
WHERE c.tenant = :tenant AND {scope} AND c.deleted = 0 {after}
ORDER BY c.{column} {way}, c.id {way}
LIMIT :limit

-- name: after
AND (c.{column}, c.id) {beyond} (:place, :last)

-- name: forward
SELECT m.id, m.sequence, m.role, m.timestamp, m.branch, e.data, t.content
FROM message_rows m
JOIN thread_events e ON e.row = coalesce(m.event, m.row)
JOIN thread_events t ON t.row = coalesce(m.content_event, m.row)
WHERE m.conversation = (SELECT row FROM conversations WHERE tenant = :tenant AND id = :thread)
    AND m.sequence > :after
ORDER BY m.sequence LIMIT :limit

-- name: backward
SELECT m.id, m.sequence, m.role, m.timestamp, m.branch, e.data, t.content
FROM message_rows m
JOIN thread_events e ON e.row = coalesce(m.event, m.row)
JOIN thread_events t ON t.row = coalesce(m.content_event, m.row)
WHERE m.conversation = (SELECT row FROM conversations WHERE tenant = :tenant AND id = :thread)
    AND m.sequence < :before
ORDER BY m.sequence DESC LIMIT :limit

-- name: at
SELECT m.id, m.sequence, m.role, m.timestamp, m.branch, e.data, t.content
FROM message_rows m
JOIN thread_events e ON e.row = coalesce(m.event, m.row)
JOIN thread_events t ON t.row = coalesce(m.content_event, m.row)
WHERE m.conversation = (SELECT row FROM conversations WHERE tenant = :tenant AND id = :thread)
    AND m.sequence = :sequence

-- name: basis
SELECT basis FROM branches
WHERE conversation = (SELECT row FROM conversations WHERE tenant = :tenant AND id = :thread)
    AND branch = :branch

-- name: places
SELECT sequence, branch FROM message_rows
WHERE conversation = (SELECT row FROM conversations WHERE tenant = :tenant AND id = :thread)
ORDER BY sequence

-- name: events
SELECT tenant, thread, origin, sequence, id, hlc, data, content
FROM thread_events
WHERE (tenant, thread, origin, sequence) > (:tenant, :thread, :origin, :sequence)
ORDER BY tenant, thread, origin, sequence
LIMIT :limit

-- name: tenant_events
SELECT tenant, thread, origin, sequence, id, hlc, data, content
FROM thread_events
WHERE tenant = :tenant AND (thread, origin, sequence) > (:thread, :origin, :sequence)
ORDER BY thread, origin, sequence
LIMIT :limit

-- name: thread_events
SELECT tenant, thread, origin, sequence, id, hlc, data, content
FROM thread_events
WHERE tenant = :tenant AND thread = :thread
