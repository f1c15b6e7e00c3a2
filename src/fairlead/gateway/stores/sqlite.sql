-- name: schema
CREATE TABLE entries (
    seq     INTEGER PRIMARY KEY AUTOINCREMENT,
    digest  BLOB NOT NULL UNIQUE,
    tenant  TEXT NOT NULL,
    model   TEXT NOT NULL,
    created REAL NOT NULL,
    used    REAL NOT NULL,
    size    INTEGER NOT NULL,
    value   BLOB NOT NULL
);
CREATE INDEX entries_used ON entries (used);
CREATE INDEX entries_created ON entries (created);
-- Covers the choice of what to purge, so that no value is read for it.
CREATE INDEX entries_scope ON entries (tenant, model, digest);
CREATE TABLE totals (entries INTEGER NOT NULL, bytes INTEGER NOT NULL);
INSERT INTO totals VALUES (0, 0);
CREATE TRIGGER entries_in AFTER INSERT ON entries BEGIN
    UPDATE totals SET entries = entries + 1, bytes = bytes + NEW.size;
END;
CREATE TRIGGER entries_out AFTER DELETE ON entries BEGIN
    UPDATE totals SET entries = entries - 1, bytes = bytes - OLD.size;
END;
CREATE TABLE purges (
    id     INTEGER PRIMARY KEY AUTOINCREMENT,
    sender TEXT NOT NULL,
    digest BLOB,
    model  TEXT,
    tenant TEXT
);

-- name: tables
SELECT name FROM sqlite_schema WHERE type = 'table';

-- name: get
SELECT value FROM entries WHERE digest = :digest AND created >= :oldest;

-- name: remove
DELETE FROM entries WHERE digest = :digest;

-- name: put
INSERT INTO entries (digest, tenant, model, created, used, size, value)
VALUES (:digest, :tenant, :model, :created, :used, :size, :value);

-- name: touch
UPDATE entries SET used = :used WHERE digest = :digest;

-- name: totals
SELECT entries, bytes FROM totals;

-- name: evict
DELETE FROM entries WHERE seq IN (
    SELECT seq FROM (
        SELECT seq,
            row_number() OVER oldest_first AS place,
            sum(size) OVER oldest_first - size AS bytes_before
        FROM (SELECT seq, size, used FROM entries ORDER BY used, seq LIMIT 64)
        WINDOW oldest_first AS (ORDER BY used, seq ROWS UNBOUNDED PRECEDING)
    ) WHERE bytes_before < :bytes OR place <= :entries
) RETURNING digest;

-- name: expire
DELETE FROM entries WHERE seq IN (
    SELECT seq FROM entries WHERE created < :oldest ORDER BY created LIMIT 256
) RETURNING digest;

-- name: selected
SELECT seq, digest FROM entries WHERE (:digest IS NULL OR digest = :digest)
    AND (:model IS NULL OR model = :model) AND (:tenant IS NULL OR tenant = :tenant);

-- name: remove_row
DELETE FROM entries WHERE seq = :seq RETURNING seq;

-- name: announce
INSERT INTO purges (sender, digest, model, tenant) VALUES (:sender, :digest, :model, :tenant);

-- name: forget_announcements
DELETE FROM purges WHERE id <= (SELECT max(id) FROM purges) - 1000;

-- name: last_announcement
SELECT coalesce(max(id), 0) FROM purges;

-- name: announcements_after
SELECT id, sender, digest, model, tenant FROM purges WHERE id > :id ORDER BY id;

-- name: last_entry
SELECT coalesce(max(seq), 0) FROM entries;

-- name: digests
SELECT digest FROM entries;

-- name: digests_after
SELECT seq, digest FROM entries WHERE seq > :seq ORDER BY seq;
