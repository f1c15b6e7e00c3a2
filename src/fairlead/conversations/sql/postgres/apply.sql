-- name: lock
-- Always in this order, so that two nodes never wait for each other. A session that gets its thread
-- after this was read is noticed by the primary key of sessions.
SELECT c.id::text, c.tenant, c.user_id, c.team_id, c.title, c.created, c.last_activity,
       c.is_shared, c.version, c.deleted, c.session, c.hlc, c.last_sequence, c.branches, c.branch,
       c.bytes, s.last_message_id, s.last_message, s.message_count, s.participants
FROM fairlead.conversations c
JOIN fairlead.conversation_summaries s ON s.tenant = c.tenant AND s.id = c.id
WHERE (c.tenant, c.id) IN (
    SELECT * FROM unnest(%(tenants)s::text[], %(threads)s::uuid[])
    UNION
    SELECT t.tenant, t.thread
    FROM unnest(%(session_tenants)s::text[], %(sessions)s::text[]) AS wanted (tenant, session)
    JOIN fairlead.session_threads t ON t.tenant = wanted.tenant AND t.session = wanted.session
    UNION
    SELECT e.tenant, e.thread FROM fairlead.thread_events e WHERE e.id = ANY(%(repeated)s::uuid[])
)
ORDER BY c.tenant, c.id
FOR UPDATE OF c, s

-- name: sessions
SELECT t.tenant, t.session, t.thread::text
FROM unnest(%s::text[], %s::text[]) AS wanted (tenant, session)
JOIN fairlead.session_threads t ON t.tenant = wanted.tenant AND t.session = wanted.session

-- name: repeated
SELECT id::text, tenant, thread::text FROM fairlead.thread_events WHERE id = ANY(%s::uuid[])

-- name: sequences
SELECT id::text, sequence FROM fairlead.message_rows WHERE id = ANY(%s::uuid[])

-- name: counters
SELECT c.tenant, c.thread::text, c.last
FROM unnest(%s::text[], %s::uuid[]) AS wanted (tenant, thread)
JOIN fairlead.event_counters c
    ON c.tenant = wanted.tenant AND c.thread = wanted.thread AND c.origin = %s

-- name: named_rows
SELECT tenant, thread::text, id::text, sequence, role, timestamp, branch, digest, event::text,
       content_event::text
FROM fairlead.message_rows WHERE id = ANY(%s::uuid[])

-- name: rows
-- LATERAL with an order: by the index, whatever the planner thinks of the list's length.
SELECT found.*
FROM unnest(%s::text[], %s::uuid[]) AS wanted (tenant, thread)
CROSS JOIN LATERAL (
    SELECT m.tenant, m.thread::text, m.id::text, m.sequence, m.role, m.timestamp, m.branch,
           m.digest, m.event::text, m.content_event::text
    FROM fairlead.message_rows m
    WHERE m.tenant = wanted.tenant AND m.thread = wanted.thread
    ORDER BY m.sequence
) AS found

-- name: branches
SELECT b.tenant, b.thread::text, b.branch, b.basis
FROM unnest(%s::text[], %s::uuid[]) AS wanted (tenant, thread)
JOIN fairlead.thread_branches b ON b.tenant = wanted.tenant AND b.thread = wanted.thread
ORDER BY b.tenant, b.thread, b.branch

-- name: add_events
INSERT INTO fairlead.thread_events (tenant, thread, origin, sequence, id, hlc, kind, data, content)
SELECT * FROM unnest(%s::text[], %s::uuid[], %s::text[], %s::bigint[], %s::uuid[], %s::bigint[],
                     %s::text[], %b::bytea[], %b::bytea[])

-- name: count
INSERT INTO fairlead.event_counters (tenant, thread, origin, last)
SELECT * FROM unnest(%s::text[], %s::uuid[], %s::text[], %s::bigint[])
ON CONFLICT (tenant, thread, origin)
DO UPDATE SET last = greatest(event_counters.last, excluded.last)

-- name: clear_rows
DELETE FROM fairlead.message_rows m USING unnest(%s::text[], %s::uuid[]) AS gone (tenant, thread)
WHERE m.tenant = gone.tenant AND m.thread = gone.thread

-- name: clear_branches
DELETE FROM fairlead.thread_branches b
USING unnest(%s::text[], %s::uuid[]) AS gone (tenant, thread)
WHERE b.tenant = gone.tenant AND b.thread = gone.thread

-- name: clear_words
DELETE FROM fairlead.thread_words w USING unnest(%s::text[], %s::uuid[]) AS gone (tenant, thread)
WHERE w.tenant = gone.tenant AND w.thread = gone.thread

-- name: clear_sessions
DELETE FROM fairlead.session_threads t
USING unnest(%s::text[], %s::uuid[]) AS gone (tenant, thread)
JOIN fairlead.conversations c ON c.tenant = gone.tenant AND c.id = gone.thread
WHERE t.tenant = c.tenant AND t.session = c.session AND t.thread = c.id

-- name: clear_counters
DELETE FROM fairlead.event_counters e
USING unnest(%s::text[], %s::uuid[]) AS gone (tenant, thread)
WHERE e.tenant = gone.tenant AND e.thread = gone.thread

-- name: clear_summaries
DELETE FROM fairlead.conversation_summaries s
USING unnest(%s::text[], %s::uuid[]) AS gone (tenant, id)
WHERE s.tenant = gone.tenant AND s.id = gone.id

-- name: clear_threads
DELETE FROM fairlead.conversations c USING unnest(%s::text[], %s::uuid[]) AS gone (tenant, id)
WHERE c.tenant = gone.tenant AND c.id = gone.id

-- name: drop_rows
DELETE FROM fairlead.message_rows m
USING unnest(%s::text[], %s::uuid[], %s::integer[]) AS gone (tenant, thread, sequence)
WHERE m.tenant = gone.tenant AND m.thread = gone.thread AND m.sequence = gone.sequence

-- name: drop_words
DELETE FROM fairlead.thread_words w
USING unnest(%s::text[], %s::uuid[], %s::integer[]) AS gone (tenant, thread, sequence)
WHERE w.tenant = gone.tenant AND w.thread = gone.thread AND w.sequence = gone.sequence

-- name: add_rows
INSERT INTO fairlead.message_rows
    (tenant, thread, id, sequence, role, timestamp, branch, digest, event, content_event)
SELECT * FROM unnest(%s::text[], %s::uuid[], %s::uuid[], %s::integer[], %s::text[], %s::bigint[],
                     %s::integer[], %s::text[], %s::uuid[], %s::uuid[])

-- name: change_rows
UPDATE fairlead.message_rows m
SET digest = new.digest, event = new.event, content_event = new.content_event
FROM unnest(%s::text[], %s::uuid[], %s::integer[], %s::text[], %s::uuid[], %s::uuid[])
    AS new (tenant, thread, sequence, digest, event, content_event)
WHERE m.tenant = new.tenant AND m.thread = new.thread AND m.sequence = new.sequence

-- name: add_branches
INSERT INTO fairlead.thread_branches (tenant, thread, branch, basis)
SELECT * FROM unnest(%s::text[], %s::uuid[], %s::integer[], %s::json[])

-- name: put_words
INSERT INTO fairlead.thread_words (tenant, thread, sequence, time, words)
SELECT tenant, thread, sequence, time, words::tsvector
FROM unnest(%s::text[], %s::uuid[], %s::integer[], %s::bigint[], %s::text[])
    AS new (tenant, thread, sequence, time, words)
ON CONFLICT (tenant, thread, sequence) DO UPDATE SET time = excluded.time, words = excluded.words

-- name: change_threads
UPDATE fairlead.conversations c
SET user_id = new.user_id, team_id = new.team_id, title = new.title, title_key = new.title_key,
    created = new.created, last_activity = new.last_activity, is_shared = new.is_shared,
    version = new.version, deleted = new.deleted, session = new.session, hlc = new.hlc,
    last_sequence = new.last_sequence, branches = new.branches, branch = new.branch,
    bytes = new.bytes
FROM unnest(%s::text[], %s::uuid[], %s::text[], %s::text[], %s::text[], %s::text[], %s::bigint[],
            %s::bigint[], %s::boolean[], %s::integer[], %s::boolean[], %s::text[], %s::bigint[],
            %s::integer[], %s::integer[], %s::integer[], %s::bigint[])
    AS new (tenant, id, user_id, team_id, title, title_key, created, last_activity, is_shared,
            version, deleted, session, hlc, last_sequence, branches, branch, bytes)
WHERE c.tenant = new.tenant AND c.id = new.id

-- name: begin_sessions
INSERT INTO fairlead.session_threads (tenant, session, thread)
SELECT * FROM unnest(%s::text[], %s::text[], %s::uuid[])

-- name: offer_sessions
INSERT INTO fairlead.session_threads (tenant, session, thread)
SELECT * FROM unnest(%s::text[], %s::text[], %s::uuid[])
ON CONFLICT (tenant, session) DO NOTHING

-- name: end_sessions
DELETE FROM fairlead.session_threads t
USING unnest(%s::text[], %s::text[], %s::uuid[]) AS gone (tenant, session, thread)
WHERE t.tenant = gone.tenant AND t.session = gone.session AND t.thread = gone.thread

-- name: add_threads
-- No upsert: a thread that another node has begun meanwhile has to be read first.
INSERT INTO fairlead.conversations
    (tenant, id, user_id, team_id, title, title_key, created, last_activity, is_shared, version,
     deleted, session, hlc, last_sequence, branches, branch, bytes)
SELECT * FROM unnest(
    %s::text[], %s::uuid[], %s::text[], %s::text[], %s::text[], %s::text[], %s::bigint[],
    %s::bigint[], %s::boolean[], %s::integer[], %s::boolean[], %s::text[], %s::bigint[],
    %s::integer[], %s::integer[], %s::integer[], %s::bigint[])

-- name: put_summaries
INSERT INTO fairlead.conversation_summaries
    (tenant, id, title, last_message_id, last_message, message_count, participants)
SELECT * FROM unnest(%s::text[], %s::uuid[], %s::text[], %s::text[], %s::text[], %s::integer[],
                     %s::json[])
ON CONFLICT (tenant, id) DO UPDATE
SET title = excluded.title, last_message_id = excluded.last_message_id,
    last_message = excluded.last_message, message_count = excluded.message_count,
    participants = excluded.participants

-- name: use
INSERT INTO fairlead.tenant_usage (tenant, slot, bytes)
SELECT * FROM unnest(%s::text[], %s::integer[], %s::bigint[])
ON CONFLICT (tenant, slot) DO UPDATE SET bytes = tenant_usage.bytes + excluded.bytes
