-- name: exists
-- Without a table there is no version yet. Not to_regclass: that may remember what it has found
-- before another node made the table.
SELECT EXISTS (
    SELECT FROM pg_catalog.pg_tables WHERE schemaname = 'fairlead' AND tablename = 'schema_version'
)

-- name: current
SELECT coalesce(max(version), 0) FROM fairlead.schema_version

-- name: settle
-- Several nodes start at once: one of them brings the schema forward, the others find it done.
SELECT set_config('lock_timeout', '60s', true), set_config('statement_timeout', '0', true),
       pg_advisory_xact_lock(7310031126540968)

-- name: applied
INSERT INTO fairlead.schema_version (version, applied)
VALUES (%s, (extract(epoch FROM clock_timestamp()) * 1000)::bigint)

-- name: 1
CREATE SCHEMA IF NOT EXISTS fairlead;

CREATE TABLE fairlead.schema_version (
    version integer PRIMARY KEY,
    applied bigint NOT NULL
);

-- The log. Rows are only ever inserted, and removed by retention; each says all that it means, so
-- it can be published by logical replication with a row filter on its origin.
CREATE TABLE fairlead.thread_events (
    tenant text COLLATE "C" NOT NULL,
    thread uuid NOT NULL,
    origin text COLLATE "C" NOT NULL,
    sequence bigint NOT NULL,
    id uuid NOT NULL,
    hlc bigint NOT NULL,
    kind text NOT NULL,
    data bytea NOT NULL,
    content bytea,
    PRIMARY KEY (tenant, thread, origin, sequence),
    UNIQUE (id)
);
-- What is long has been compressed before it came here.
ALTER TABLE fairlead.thread_events
    ALTER COLUMN data SET STORAGE EXTERNAL,
    ALTER COLUMN content SET STORAGE EXTERNAL;

CREATE TABLE fairlead.event_counters (
    tenant text COLLATE "C" NOT NULL,
    thread uuid NOT NULL,
    origin text COLLATE "C" NOT NULL,
    last bigint NOT NULL,
    PRIMARY KEY (tenant, thread, origin)
);

CREATE TABLE fairlead.conversations (
    tenant text COLLATE "C" NOT NULL,
    id uuid NOT NULL,
    user_id text COLLATE "C" NOT NULL,
    team_id text,
    title text NOT NULL,
    title_key text COLLATE "C" NOT NULL,
    created bigint NOT NULL,
    last_activity bigint NOT NULL,
    is_shared boolean NOT NULL,
    version integer NOT NULL,
    deleted boolean NOT NULL,
    session text COLLATE "C",
    hlc bigint NOT NULL,
    last_sequence integer NOT NULL,
    branches integer NOT NULL,
    branch integer NOT NULL,
    bytes bigint NOT NULL,
    PRIMARY KEY (tenant, id)
);
-- Every order of a listing, for one's own threads, for those that are shared, for the operator.
CREATE INDEX conversations_own_activity
    ON fairlead.conversations (tenant, user_id, last_activity, id) WHERE NOT deleted;
CREATE INDEX conversations_own_created
    ON fairlead.conversations (tenant, user_id, created, id) WHERE NOT deleted;
CREATE INDEX conversations_own_title
    ON fairlead.conversations (tenant, user_id, title_key, id) WHERE NOT deleted;
CREATE INDEX conversations_shared_activity
    ON fairlead.conversations (tenant, last_activity, id) WHERE is_shared AND NOT deleted;
CREATE INDEX conversations_shared_created
    ON fairlead.conversations (tenant, created, id) WHERE is_shared AND NOT deleted;
CREATE INDEX conversations_shared_title
    ON fairlead.conversations (tenant, title_key, id) WHERE is_shared AND NOT deleted;
CREATE INDEX conversations_all_activity
    ON fairlead.conversations (tenant, last_activity, id) WHERE NOT deleted;
CREATE INDEX conversations_all_created
    ON fairlead.conversations (tenant, created, id) WHERE NOT deleted;
CREATE INDEX conversations_all_title
    ON fairlead.conversations (tenant, title_key, id) WHERE NOT deleted;
-- For retention, over all tenants; an expression, so that no listing is read by this index.
CREATE INDEX conversations_quiet ON fairlead.conversations ((last_activity + 0)) WHERE NOT deleted;
CREATE INDEX conversations_deleted ON fairlead.conversations (hlc) WHERE deleted AND version > 1;
CREATE INDEX conversations_deleted_of ON fairlead.conversations (tenant, hlc)
    WHERE deleted AND version > 1;

-- Which thread a captured session goes on in. Two nodes that see a new session at once: one of them
-- begins its thread. Another region may have begun another, which then stays as it is.
CREATE TABLE fairlead.session_threads (
    tenant text COLLATE "C" NOT NULL,
    session text COLLATE "C" NOT NULL,
    thread uuid NOT NULL,
    PRIMARY KEY (tenant, session)
);

CREATE TABLE fairlead.conversation_summaries (
    tenant text COLLATE "C" NOT NULL,
    id uuid NOT NULL,
    title text NOT NULL,
    last_message text NOT NULL,
    message_count integer NOT NULL,
    participants json NOT NULL,
    last_message_id text NOT NULL,
    PRIMARY KEY (tenant, id)
);

-- Where each message stands; what it says is in the log, once.
CREATE TABLE fairlead.message_rows (
    tenant text COLLATE "C" NOT NULL,
    thread uuid NOT NULL,
    sequence integer NOT NULL,
    id uuid NOT NULL,
    role text NOT NULL,
    timestamp bigint NOT NULL,
    branch integer NOT NULL,
    digest text COLLATE "C" NOT NULL,
    event uuid NOT NULL,
    content_event uuid NOT NULL,
    PRIMARY KEY (tenant, thread, sequence),
    UNIQUE (id)
);

CREATE TABLE fairlead.thread_branches (
    tenant text COLLATE "C" NOT NULL,
    thread uuid NOT NULL,
    branch integer NOT NULL,
    basis json NOT NULL,
    PRIMARY KEY (tenant, thread, branch)
);

-- The words of each message, and of the title as sequence 0. Every word carries its tenant, so a
-- search meets no entry of another one.
CREATE TABLE fairlead.thread_words (
    tenant text COLLATE "C" NOT NULL,
    thread uuid NOT NULL,
    sequence integer NOT NULL,
    time bigint NOT NULL,
    words tsvector NOT NULL,
    PRIMARY KEY (tenant, thread, sequence)
);
-- A search reads what waits to be merged as well, so that is kept short.
CREATE INDEX thread_words_words ON fairlead.thread_words
    USING gin (words) WITH (gin_pending_list_limit = 1024);

-- Bytes of a tenant's events: the sum of a few rows, so that nodes do not wait for each other.
CREATE TABLE fairlead.tenant_usage (
    tenant text COLLATE "C" NOT NULL,
    slot integer NOT NULL,
    bytes bigint NOT NULL,
    PRIMARY KEY (tenant, slot)
);

CREATE TABLE fairlead.dead_letters (
    id text PRIMARY KEY,
    tenant text NOT NULL,
    time bigint NOT NULL,
    error text NOT NULL,
    payload bytea NOT NULL
);
CREATE INDEX dead_letters_time ON fairlead.dead_letters (time, id);

-- Messages as they are read. Content and metadata are as the program stores them: a byte 0 and
-- JSON, or a byte 1 and JSON that is compressed, of which this shows no metadata.
CREATE VIEW fairlead.messages AS
SELECT m.id, m.thread AS conversation_id, m.sequence, m.role, m.timestamp, c.content,
       CASE get_byte(e.data, 0)
           WHEN 0 THEN convert_from(substring(e.data FROM 2), 'UTF8')::json -> 'metadata'
       END AS metadata,
       m.tenant
FROM fairlead.message_rows m
JOIN fairlead.thread_events e ON e.id = m.event
JOIN fairlead.thread_events c ON c.id = m.content_event;
