-- name: expired
-- Threads in use are left for the next step, here and below.
SELECT tenant, id::text, bytes, deleted FROM fairlead.conversations
WHERE deleted AND bytes > 0 AND hlc < %(hlc)s
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

-- name: quietest
SELECT tenant, id::text, bytes, deleted FROM fairlead.conversations
WHERE tenant = %(tenant)s AND NOT deleted
ORDER BY last_activity, id LIMIT %(limit)s
FOR UPDATE SKIP LOCKED

-- name: drop_events
DELETE FROM fairlead.thread_events e USING unnest(%s::text[], %s::uuid[]) AS gone (tenant, thread)
WHERE e.tenant = gone.tenant AND e.thread = gone.thread

-- name: empty_threads
UPDATE fairlead.conversations c SET bytes = 0
FROM unnest(%s::text[], %s::uuid[]) AS gone (tenant, id)
WHERE c.tenant = gone.tenant AND c.id = gone.id
