-- name: version
PRAGMA user_version

-- name: create
CREATE TABLE workspaces (
    id      TEXT PRIMARY KEY,
    tenant  TEXT NOT NULL,
    user_id TEXT NOT NULL,
    name    TEXT NOT NULL,
    path    TEXT NOT NULL,
    created INTEGER NOT NULL,
    UNIQUE (tenant, path)
) STRICT, WITHOUT ROWID;
CREATE INDEX workspaces_of ON workspaces (tenant, id);
CREATE INDEX workspaces_named ON workspaces (tenant, name, id);
PRAGMA user_version = 1;

-- name: add
INSERT INTO workspaces (id, tenant, user_id, name, path, created) VALUES (?, ?, ?, ?, ?, ?)

-- name: count
SELECT count(*) FROM workspaces WHERE tenant = ?

-- name: at
SELECT id, tenant, user_id, name, path, created FROM workspaces WHERE tenant = ? AND path = ?

-- name: get
SELECT id, tenant, user_id, name, path, created FROM workspaces WHERE id = ? AND tenant = ?

-- name: named
SELECT id, tenant, user_id, name, path, created FROM workspaces
WHERE tenant = ? AND name = ? ORDER BY id LIMIT 2

-- name: page
SELECT id, tenant, user_id, name, path, created FROM workspaces
WHERE tenant = ? AND id > ? ORDER BY id LIMIT ?

-- name: remove
DELETE FROM workspaces WHERE id = ? AND tenant = ? RETURNING id
