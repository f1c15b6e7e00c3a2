-- name: expired
-- Threads in use are left for the next step, here and below.
SELECT tenant, id::text, bytes, deleted FROM fairlead.conversations
WHERE deleted AND version > 1 AND hlc < %(hlc)s
ORDER BY hlc LIMIT %(limit)s
FOR UPDATE SKIP LOCKED

-- name: quiet
SELECT tenant, id::text, bytes, deleted FROM fairlead.conversations
WHERE NOT deleted AND last_activity + 0 < %(time)s
ORDER BY last_activity + 0 LIMIT %(limit)s
FOR UPDATE SKIP LOCKED

-- name: over
SELECT tenant, sum(bytes)::bigint FROM fairlead.tenant_usage
GROUP BY tenant HAVING sum(bytes) > %(bytes)s
ORDER BY sum(bytes) DESC LIMIT 100

-- name: deleted
SELECT tenant, id::text, bytes, deleted FROM fairlead.conversations
WHERE tenant = %(tenant)s AND deleted AND version > 1
ORDER BY hlc LIMIT %(limit)s
FOR UPDATE SKIP LOCKED

-- name: quietest
SELECT tenant, id::text, bytes, deleted FROM fairlead.conversations
WHERE tenant = %(tenant)s AND NOT deleted
ORDER BY last_activity, id LIMIT %(limit)s
FOR UPDATE SKIP LOCKED

-- name: drop_events
DELETE FROM fairlead.thread_events e USING unnest(%s::text[], %s::uuid[]) AS gone (tenant, thread)
WHERE e.tenant = gone.tenant AND e.thread = gone.thread

-- name: drop_all_but_tombstone
DELETE FROM fairlead.thread_events
WHERE tenant = %(tenant)s AND thread = %(thread)s::uuid AND id <> (
    SELECT id FROM fairlead.thread_events
    WHERE tenant = %(tenant)s AND thread = %(thread)s::uuid AND kind = 'deleted'
    ORDER BY hlc DESC, origin DESC, sequence DESC LIMIT 1
)

-- name: bytes
SELECT bytes FROM fairlead.conversations WHERE tenant = %(tenant)s AND id = %(thread)s::uuid
