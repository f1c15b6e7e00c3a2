-- name: tables
SELECT name FROM sqlite_schema WHERE type = 'table' LIMIT 1;

-- name: current
SELECT coalesce(max(version), 0) FROM schema_version;

-- name: applied
INSERT INTO schema_version (version, applied) VALUES (:version, :applied);

-- name: 1
CREATE TABLE schema_version (
    version INTEGER PRIMARY KEY,
    applied INTEGER NOT NULL
) STRICT;

-- The log: rows are only ever inserted, and removed by retention. Ids are the 16 bytes of a UUID;
-- `data` and `content` are a byte 0 and JSON, or a byte 1 and JSON compressed with zstd.
CREATE TABLE thread_events (
    row      INTEGER PRIMARY KEY,
    tenant   TEXT NOT NULL,
    thread   BLOB NOT NULL,
    origin   TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    id       BLOB NOT NULL UNIQUE,
    hlc      INTEGER NOT NULL,
    kind     TEXT NOT NULL,
    data     BLOB NOT NULL,
    content  BLOB,
    UNIQUE (tenant, thread, origin, sequence)
) STRICT;

CREATE TABLE event_counters (
    tenant TEXT NOT NULL,
    thread BLOB NOT NULL,
    origin TEXT NOT NULL,
    last   INTEGER NOT NULL,
    PRIMARY KEY (tenant, thread, origin)
) STRICT, WITHOUT ROWID;

CREATE TABLE conversations (
    row           INTEGER PRIMARY KEY,
    id            BLOB NOT NULL,
    tenant        TEXT NOT NULL,
    user_id       TEXT NOT NULL,
    team_id       TEXT,
    title         TEXT NOT NULL,
    title_key     TEXT NOT NULL,
    created       INTEGER NOT NULL,
    last_activity INTEGER NOT NULL,
    is_shared     INTEGER NOT NULL,
    version       INTEGER NOT NULL,
    deleted       INTEGER NOT NULL,
    session       TEXT,
    hlc           INTEGER NOT NULL,
    last_sequence INTEGER NOT NULL,
    branches      INTEGER NOT NULL,
    branch        INTEGER NOT NULL,
    bytes         INTEGER NOT NULL,
    UNIQUE (tenant, id)
) STRICT;
-- Not unique: two regions may each have begun a thread for one session before they met.
CREATE INDEX conversations_session ON conversations (tenant, session)
    WHERE session IS NOT NULL AND deleted = 0;
-- Every order of a listing: one's own threads, those that are shared, all for the operator.
CREATE INDEX conversations_own_last_activity
    ON conversations (tenant, user_id, last_activity, id) WHERE deleted = 0;
CREATE INDEX conversations_own_created
    ON conversations (tenant, user_id, created, id) WHERE deleted = 0;
CREATE INDEX conversations_own_title
    ON conversations (tenant, user_id, title_key, id) WHERE deleted = 0;
CREATE INDEX conversations_shared_last_activity
    ON conversations (tenant, last_activity, id) WHERE is_shared = 1 AND deleted = 0;
CREATE INDEX conversations_shared_created
    ON conversations (tenant, created, id) WHERE is_shared = 1 AND deleted = 0;
CREATE INDEX conversations_shared_title
    ON conversations (tenant, title_key, id) WHERE is_shared = 1 AND deleted = 0;
CREATE INDEX conversations_all_last_activity
    ON conversations (tenant, last_activity, id) WHERE deleted = 0;
CREATE INDEX conversations_all_created
    ON conversations (tenant, created, id) WHERE deleted = 0;
CREATE INDEX conversations_all_title
    ON conversations (tenant, title_key, id) WHERE deleted = 0;
-- For retention, over all tenants.
CREATE INDEX conversations_quiet ON conversations (last_activity) WHERE deleted = 0;
-- Deleted threads that have more than their tombstone.
CREATE INDEX conversations_deleted ON conversations (hlc) WHERE deleted = 1 AND version > 1;
CREATE INDEX conversations_deleted_of ON conversations (tenant, hlc)
    WHERE deleted = 1 AND version > 1;

CREATE TABLE conversation_summaries (
    row             INTEGER PRIMARY KEY,
    id              BLOB NOT NULL,
    title           TEXT NOT NULL,
    last_message    TEXT NOT NULL,
    message_count   INTEGER NOT NULL,
    participants    TEXT NOT NULL,
    last_message_id BLOB NOT NULL
) STRICT;

-- Where each message stands; what it says is in the log, once. `row` is that of the event that
-- added it, and `event` and `content_event` are set where another one holds what it says now.
CREATE TABLE message_rows (
    row           INTEGER PRIMARY KEY,
    conversation  INTEGER NOT NULL,
    sequence      INTEGER NOT NULL,
    id            BLOB NOT NULL,
    role          TEXT NOT NULL,
    timestamp     INTEGER NOT NULL,
    branch        INTEGER NOT NULL,
    digest        TEXT NOT NULL,
    event         INTEGER,
    content_event INTEGER,
    UNIQUE (conversation, sequence)
) STRICT;

CREATE TABLE branches (
    conversation INTEGER NOT NULL,
    branch       INTEGER NOT NULL,
    basis        TEXT NOT NULL,
    PRIMARY KEY (conversation, branch)
) STRICT, WITHOUT ROWID;

-- Messages as they are read; a metadata that is compressed is not shown here.
CREATE VIEW messages AS
SELECT m.id, v.id AS conversation_id, m.sequence, m.role, m.timestamp, c.content,
       CASE hex(substr(e.data, 1, 1)) WHEN '00'
           THEN json_extract(CAST(substr(e.data, 2) AS TEXT), '$.metadata')
       END AS metadata,
       v.tenant
FROM message_rows m
JOIN conversations v ON v.row = m.conversation
JOIN thread_events e ON e.row = coalesce(m.event, m.row)
JOIN thread_events c ON c.row = coalesce(m.content_event, m.row);

-- Bytes of a tenant's events. `number` stands before each of its words in the search index, so
-- that a search meets no entry of another tenant.
CREATE TABLE tenant_usage (
    number INTEGER PRIMARY KEY,
    tenant TEXT NOT NULL UNIQUE,
    bytes  INTEGER NOT NULL
) STRICT;
CREATE INDEX tenant_usage_bytes ON tenant_usage (bytes);

-- The words of messages and titles, by the rows of `message_rows` and `conversations`. Without
-- their texts, which are in the log. They are folded and parted before they come here, and this
-- tokenizer parts nothing but at spaces: a word within a word would have no tenant before it.
CREATE VIRTUAL TABLE message_words USING fts5 (
    words, content='', contentless_delete=1, tokenize='ascii'
);
CREATE VIRTUAL TABLE title_words USING fts5 (
    words, content='', contentless_delete=1, tokenize='ascii'
);

-- Events that other regions do not have yet. Nothing fills it before regions are in sync.
CREATE TABLE outbox (
    region TEXT NOT NULL,
    event  INTEGER NOT NULL,
    tries  INTEGER NOT NULL,
    due    INTEGER NOT NULL,
    PRIMARY KEY (region, event)
) STRICT, WITHOUT ROWID;

CREATE TABLE dead_letters (
    id      TEXT PRIMARY KEY,
    tenant  TEXT NOT NULL,
    time    INTEGER NOT NULL,
    error   TEXT NOT NULL,
    payload BLOB NOT NULL
) STRICT;
CREATE INDEX dead_letters_time ON dead_letters (time, id);
