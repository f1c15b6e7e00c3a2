-- name: head
SELECT {head}
FROM fairlead.conversations c
JOIN fairlead.conversation_summaries s ON s.tenant = c.tenant AND s.id = c.id
WHERE c.tenant = %s AND c.id = %s::uuid

-- name: heads
SELECT {head}
FROM unnest(%s::text[], %s::uuid[]) AS wanted (tenant, id)
JOIN fairlead.conversations c ON c.tenant = wanted.tenant AND c.id = wanted.id
JOIN fairlead.conversation_summaries s ON s.tenant = c.tenant AND s.id = c.id

-- name: forward
SELECT m.id::text, m.sequence, m.role, m.timestamp, m.branch, e.data, c.content
FROM (
    SELECT * FROM fairlead.message_rows
    WHERE tenant = %(tenant)s AND thread = %(thread)s::uuid
        AND sequence > %(after)s AND sequence < %(before)s
    ORDER BY sequence LIMIT %(limit)s
) AS m
JOIN fairlead.thread_events e ON e.id = m.event
JOIN fairlead.thread_events c ON c.id = m.content_event
ORDER BY m.sequence

-- name: backward
SELECT m.id::text, m.sequence, m.role, m.timestamp, m.branch, e.data, c.content
FROM (
    SELECT * FROM fairlead.message_rows
    WHERE tenant = %(tenant)s AND thread = %(thread)s::uuid
        AND sequence > %(after)s AND sequence < %(before)s
    ORDER BY sequence DESC LIMIT %(limit)s
) AS m
JOIN fairlead.thread_events e ON e.id = m.event
JOIN fairlead.thread_events c ON c.id = m.content_event
ORDER BY m.sequence

-- name: at
SELECT m.id::text, m.sequence, m.role, m.timestamp, m.branch, e.data, c.content
FROM unnest(%(sequences)s::integer[]) WITH ORDINALITY AS wanted (sequence, place)
JOIN fairlead.message_rows m
    ON m.tenant = %(tenant)s AND m.thread = %(thread)s::uuid AND m.sequence = wanted.sequence
JOIN fairlead.thread_events e ON e.id = m.event
JOIN fairlead.thread_events c ON c.id = m.content_event
ORDER BY wanted.place

-- name: basis
SELECT basis FROM fairlead.thread_branches
WHERE tenant = %(tenant)s AND thread = %(thread)s::uuid AND branch = %(branch)s

-- name: places
SELECT sequence, branch FROM fairlead.message_rows
WHERE tenant = %(tenant)s AND thread = %(thread)s::uuid
ORDER BY sequence

-- name: list
-- Each scope by an index of its own; what the viewer sees twice is left out of the second part.
SELECT {head}
FROM ({parts}) AS found
JOIN fairlead.conversations c ON c.tenant = found.tenant AND c.id = found.id
JOIN fairlead.conversation_summaries s ON s.tenant = c.tenant AND s.id = c.id
ORDER BY found.place {way}, found.id {way}
LIMIT %(limit)s

-- name: list_part
(SELECT tenant, id, {column} AS place FROM fairlead.conversations
 WHERE tenant = %(tenant)s AND NOT deleted {scope} {after}
 ORDER BY {column} {way}, id {way}
 LIMIT %(limit)s)
