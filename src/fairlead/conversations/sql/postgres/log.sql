-- name: events
SELECT tenant, thread::text, origin, sequence, id::text, hlc, data, content
FROM fairlead.thread_events
WHERE (tenant, thread, origin, sequence)
    > (%(tenant)s, %(thread)s::uuid, %(origin)s, %(sequence)s)
ORDER BY tenant, thread, origin, sequence
LIMIT %(limit)s

-- name: tenant_events
SELECT tenant, thread::text, origin, sequence, id::text, hlc, data, content
FROM fairlead.thread_events
WHERE tenant = %(only)s AND (tenant, thread, origin, sequence)
    > (%(tenant)s, %(thread)s::uuid, %(origin)s, %(sequence)s)
ORDER BY tenant, thread, origin, sequence
LIMIT %(limit)s

-- name: thread_events
SELECT tenant, thread::text, origin, sequence, id::text, hlc, data, content
FROM fairlead.thread_events
WHERE tenant = %s AND thread = %s::uuid
ORDER BY hlc, origin, sequence

-- name: add_events
INSERT INTO fairlead.thread_events (tenant, thread, origin, sequence, id, hlc, kind, data, content)
SELECT * FROM unnest(%s::text[], %s::uuid[], %s::text[], %s::bigint[], %s::uuid[], %s::bigint[],
                     %s::text[], %b::bytea[], %b::bytea[])
ON CONFLICT (tenant, thread, origin, sequence) DO NOTHING
RETURNING id::text

-- name: bury
INSERT INTO fairlead.dead_letters (id, tenant, time, error, payload)
SELECT * FROM unnest(%s::text[], %s::text[], %s::bigint[], %s::text[], %b::bytea[])
ON CONFLICT (id) DO UPDATE SET time = excluded.time, error = excluded.error

-- name: drop_letters
DELETE FROM fairlead.dead_letters WHERE id IN (
    SELECT id FROM fairlead.dead_letters ORDER BY time DESC, id DESC OFFSET %s
)
