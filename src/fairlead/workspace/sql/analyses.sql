-- name: tables
SELECT name FROM sqlite_schema WHERE type = 'table'

-- name: schema
CREATE TABLE analyses (
    key   TEXT PRIMARY KEY,
    used  INTEGER NOT NULL,  -- hours since 1970
    size  INTEGER NOT NULL,  -- bytes of the row, about
    value BLOB NOT NULL      -- a FileAnalysis in MessagePack
);
CREATE INDEX analyses_by_use ON analyses (used, size);
CREATE TABLE totals (
    id      INTEGER PRIMARY KEY CHECK (id = 1),
    entries INTEGER NOT NULL,
    bytes   INTEGER NOT NULL
);
INSERT INTO totals VALUES (1, 0, 0);
CREATE TRIGGER analyses_added AFTER INSERT ON analyses BEGIN
    UPDATE totals SET entries = entries + 1, bytes = bytes + NEW.size;
END;
CREATE TRIGGER analyses_removed AFTER DELETE ON analyses BEGIN
    UPDATE totals SET entries = entries - 1, bytes = bytes - OLD.size;
END;

-- name: get
SELECT key, used, value FROM analyses WHERE key IN (SELECT value FROM json_each(:keys))

-- name: put
INSERT INTO analyses (key, used, size, value) VALUES (:key, :used, :size, :value)
ON CONFLICT (key) DO NOTHING

-- name: touch
UPDATE analyses SET used = :used WHERE key IN (SELECT value FROM json_each(:keys))

-- name: remove
DELETE FROM analyses WHERE key IN (SELECT value FROM json_each(:keys))

-- name: totals
SELECT entries, bytes FROM totals

-- name: evict
DELETE FROM analyses WHERE rowid IN (
    SELECT rowid FROM (
        SELECT rowid, sum(size) OVER (ORDER BY used, rowid) - size AS before FROM analyses
    ) WHERE before < :excess
)
