-- name: tenant
SELECT number FROM tenant_usage WHERE tenant = ?

-- name: messages
-- CROSS JOIN: the index of words comes first, its newest entries first. What is not the viewer's
-- does not count among the {newest}.
SELECT bm25(message_words), f.rowid, m.sequence, c.row
FROM message_words f
CROSS JOIN message_rows m ON m.row = f.rowid
CROSS JOIN conversations c ON c.row = m.conversation
WHERE message_words MATCH :words AND c.tenant = :tenant AND c.deleted = 0 AND {visible}
ORDER BY f.rowid DESC LIMIT :newest

-- name: titles
SELECT bm25(title_words), c.row
FROM title_words f
CROSS JOIN conversations c ON c.row = f.rowid
WHERE title_words MATCH :words AND c.tenant = :tenant AND c.deleted = 0 AND {visible}
ORDER BY f.rowid DESC LIMIT :newest

-- name: head
SELECT {head}
FROM conversations c JOIN conversation_summaries s ON s.row = c.row
WHERE c.row = ?

-- name: message
SELECT e.data, t.content FROM message_rows m
JOIN thread_events e ON e.row = coalesce(m.event, m.row)
JOIN thread_events t ON t.row = coalesce(m.content_event, m.row)
WHERE m.row = ?
