-- name: expired
SELECT row, tenant, id, bytes, version, 1 FROM conversations INDEXED BY conversations_deleted
WHERE deleted = 1 AND version > 1 AND hlc < :hlc
ORDER BY hlc LIMIT :limit

-- name: quiet
SELECT row, tenant, id, bytes, version, 0 FROM conversations INDEXED BY conversations_quiet
WHERE deleted = 0 AND last_activity < :time
ORDER BY last_activity LIMIT :limit

-- name: over
SELECT tenant, bytes FROM tenant_usage INDEXED BY tenant_usage_bytes
WHERE bytes > :bytes ORDER BY bytes DESC LIMIT 100

-- name: deleted
SELECT row, tenant, id, bytes, version, 1 FROM conversations INDEXED BY conversations_deleted_of
WHERE tenant = :tenant AND deleted = 1 AND version > 1
ORDER BY hlc LIMIT :limit

-- name: quietest
SELECT row, tenant, id, bytes, version, 0
FROM conversations INDEXED BY conversations_all_last_activity
WHERE tenant = :tenant AND deleted = 0
ORDER BY last_activity, id LIMIT :limit

-- name: drop_events
DELETE FROM thread_events WHERE tenant = ? AND thread = ?

-- name: drop_all_but_tombstone
DELETE FROM thread_events
WHERE tenant = :tenant AND thread = :thread AND row <> (
    SELECT row FROM thread_events
    WHERE tenant = :tenant AND thread = :thread AND kind = 'deleted'
    ORDER BY hlc DESC, origin DESC, sequence DESC LIMIT 1
)

-- name: drop_counters
DELETE FROM event_counters WHERE tenant = ? AND thread = ?

-- name: bytes
SELECT bytes FROM conversations WHERE row = ?

-- name: use
UPDATE tenant_usage SET bytes = bytes - ? WHERE tenant = ?

-- name: merge_messages
INSERT INTO message_words (message_words, rank) VALUES ('merge', ?)

-- name: merge_titles
INSERT INTO title_words (title_words, rank) VALUES ('merge', ?)

-- name: free_pages
PRAGMA freelist_count
