-- Times are integer microseconds UTC. Digests are 'sha256:<hex>'. JSON is text, '{}' where empty.
-- A version is never updated or deleted: what is dropped gets a tombstone. The one column that may
-- be filled later, once, is value_digest: it is computed from the version, so it adds no fact.

CREATE TABLE store (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    id TEXT NOT NULL,
    created_at INTEGER NOT NULL
);

-- One life of a key. `head` is the last number given, `newest` the newest version that lives.
CREATE TABLE incarnation (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    key TEXT NOT NULL,
    head INTEGER NOT NULL DEFAULT -1,
    newest INTEGER REFERENCES version (seq),
    created_at INTEGER NOT NULL,
    ended_at INTEGER
);
CREATE UNIQUE INDEX incarnation_live ON incarnation (key) WHERE ended_at IS NULL;
CREATE INDEX incarnation_ended ON incarnation (key) WHERE ended_at IS NOT NULL;

CREATE TABLE run (
    seq INTEGER PRIMARY KEY,
    system TEXT NOT NULL,
    flow TEXT NOT NULL,
    run_id TEXT NOT NULL,
    task TEXT NOT NULL,
    task_run_id TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    map_index INTEGER NOT NULL,
    url TEXT NOT NULL,
    name TEXT NOT NULL,
    started_at INTEGER NOT NULL,
    used TEXT NOT NULL DEFAULT '{}',
    generated TEXT NOT NULL DEFAULT '{}',
    UNIQUE (system, task_run_id, attempt)
);
CREATE INDEX run_run_id ON run (run_id);
CREATE INDEX run_flow ON run (flow, task);
CREATE INDEX run_task_run_id ON run (task_run_id);

-- `content` is the hash of everything whose change makes a new version (see catalogs/content.py).
CREATE TABLE version (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    incarnation INTEGER NOT NULL REFERENCES incarnation (seq),
    version INTEGER NOT NULL,
    prev_version INTEGER,
    op TEXT NOT NULL UNIQUE,
    content BLOB NOT NULL,
    digest TEXT NOT NULL,
    size INTEGER NOT NULL,
    checksum TEXT NOT NULL,
    kind TEXT NOT NULL,
    media_type TEXT NOT NULL,
    serializer TEXT NOT NULL,
    filename TEXT NOT NULL,
    metadata TEXT NOT NULL,
    partitions TEXT NOT NULL,
    parts INTEGER NOT NULL,
    history INTEGER NOT NULL,
    value_digest TEXT NOT NULL,
    external TEXT NOT NULL,
    signature TEXT NOT NULL,
    signature_key TEXT NOT NULL,
    preview TEXT NOT NULL,
    run INTEGER REFERENCES run (seq),
    created_at INTEGER NOT NULL,
    UNIQUE (incarnation, version)
);
CREATE INDEX version_digest ON version (digest) WHERE digest <> '';
CREATE INDEX version_run ON version (run) WHERE run IS NOT NULL;

-- `cause`: 0 somebody dropped this version, 1 history=False gave it up, 2 it went with its key.
-- Its rows in version_payload go when the collector condemns what they point at.
CREATE TABLE tombstone (
    version INTEGER PRIMARY KEY REFERENCES version (seq),
    at INTEGER NOT NULL,
    by TEXT NOT NULL,
    cause INTEGER NOT NULL
);

-- One physical copy of some bytes. A generation is never used twice; 'condemned' is final.
CREATE TABLE payload (
    seq INTEGER PRIMARY KEY,
    generation TEXT NOT NULL UNIQUE,
    digest TEXT NOT NULL,
    size INTEGER NOT NULL,
    checksum TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('uploading', 'ok', 'suspect', 'damaged', 'condemned')),
    inline INTEGER NOT NULL,
    stored_size INTEGER NOT NULL,
    encoding TEXT NOT NULL DEFAULT '',
    base TEXT REFERENCES payload (generation),
    created_at INTEGER NOT NULL,
    changed_at INTEGER NOT NULL
);
CREATE INDEX payload_digest ON payload (digest);
CREATE INDEX payload_base ON payload (base) WHERE base IS NOT NULL;
CREATE INDEX payload_condemned ON payload (seq) WHERE state = 'condemned';

CREATE TABLE inline_payload (
    payload INTEGER PRIMARY KEY REFERENCES payload (seq) ON DELETE CASCADE,
    data BLOB NOT NULL
);

CREATE TABLE version_payload (
    version INTEGER NOT NULL REFERENCES version (seq),
    name TEXT NOT NULL,
    position INTEGER NOT NULL,
    payload INTEGER NOT NULL REFERENCES payload (seq),
    PRIMARY KEY (version, name)
) WITHOUT ROWID;
CREATE INDEX version_payload_payload ON version_payload (payload);

-- A put that is still writing. `boot` and `expires` are on the machine's own clock.
CREATE TABLE pin (
    op TEXT NOT NULL,
    payload INTEGER NOT NULL REFERENCES payload (seq) ON DELETE CASCADE,
    boot TEXT NOT NULL,
    expires INTEGER NOT NULL,
    PRIMARY KEY (op, payload)
) WITHOUT ROWID;
CREATE INDEX pin_payload ON pin (payload);

-- What a put that found nothing changed was answered; a new version carries its op itself.
CREATE TABLE outcome (
    op TEXT PRIMARY KEY,
    version INTEGER NOT NULL REFERENCES version (seq),
    at INTEGER NOT NULL
) WITHOUT ROWID;

-- Tag values are JSON text, so that 1, 1.0, true and "1" stay four values.
CREATE TABLE tag (
    version INTEGER NOT NULL REFERENCES version (seq),
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (version, name)
) WITHOUT ROWID;
CREATE INDEX tag_value ON tag (name, value, version);

CREATE TABLE tag_history (
    seq INTEGER PRIMARY KEY,
    version INTEGER NOT NULL REFERENCES version (seq),
    name TEXT NOT NULL,
    value TEXT,
    at INTEGER NOT NULL,
    by TEXT NOT NULL
);
CREATE INDEX tag_history_version ON tag_history (version);

CREATE TABLE alias (
    incarnation INTEGER NOT NULL REFERENCES incarnation (seq),
    name TEXT NOT NULL,
    version INTEGER NOT NULL REFERENCES version (seq),
    immutable INTEGER NOT NULL,
    at INTEGER NOT NULL,
    by TEXT NOT NULL,
    PRIMARY KEY (incarnation, name)
) WITHOUT ROWID;
CREATE INDEX alias_version ON alias (version);
CREATE INDEX alias_name ON alias (name);

CREATE TABLE alias_history (
    seq INTEGER PRIMARY KEY,
    incarnation INTEGER NOT NULL REFERENCES incarnation (seq),
    name TEXT NOT NULL,
    version INTEGER REFERENCES version (seq),
    at INTEGER NOT NULL,
    by TEXT NOT NULL
);
CREATE INDEX alias_history_name ON alias_history (incarnation, name);

CREATE TABLE partition (
    version INTEGER NOT NULL REFERENCES version (seq),
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (version, name)
) WITHOUT ROWID;
CREATE INDEX partition_value ON partition (name, value, version);

CREATE TABLE parent (
    version INTEGER NOT NULL REFERENCES version (seq),
    parent INTEGER NOT NULL REFERENCES version (seq),
    at INTEGER NOT NULL,
    PRIMARY KEY (version, parent)
) WITHOUT ROWID;
CREATE INDEX parent_parent ON parent (parent);

CREATE TABLE use (
    run INTEGER NOT NULL REFERENCES run (seq),
    version INTEGER NOT NULL REFERENCES version (seq),
    role TEXT NOT NULL CHECK (role IN ('input', 'output', 'cache_hit')),
    at INTEGER NOT NULL,
    PRIMARY KEY (run, version, role)
) WITHOUT ROWID;
CREATE INDEX use_version ON use (version, role);

-- `rev` is a fresh random stamp at every write; an absent entry has rev 0.
CREATE TABLE entry (
    key TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    module TEXT NOT NULL,
    rev INTEGER NOT NULL CHECK (rev > 0),
    version INTEGER NOT NULL REFERENCES version (seq),
    run INTEGER REFERENCES run (seq),
    cost INTEGER NOT NULL,
    hits INTEGER NOT NULL DEFAULT 0,
    last_hit_at INTEGER,
    pinned INTEGER NOT NULL DEFAULT 0,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    expires_at INTEGER,
    outputs TEXT NOT NULL,
    reads TEXT NOT NULL,
    metadata TEXT NOT NULL,
    ingredients TEXT NOT NULL
);
CREATE INDEX entry_name ON entry (name, updated_at);
CREATE INDEX entry_updated ON entry (updated_at);
CREATE INDEX entry_version ON entry (version);
CREATE INDEX entry_run ON entry (run) WHERE run IS NOT NULL;

-- Look-ups in the cache. `seconds` and `size` are what the hits saved and gave back.
CREATE TABLE lookup (
    day TEXT NOT NULL,
    name TEXT NOT NULL,
    hits INTEGER NOT NULL,
    misses INTEGER NOT NULL,
    seconds REAL NOT NULL,
    size INTEGER NOT NULL,
    PRIMARY KEY (day, name)
) WITHOUT ROWID;

-- One row per cache key, never deleted, so that a token only grows.
CREATE TABLE reservation (
    key TEXT PRIMARY KEY,
    owner TEXT NOT NULL,
    token INTEGER NOT NULL,
    entry_rev INTEGER NOT NULL,
    boot TEXT NOT NULL,
    expires INTEGER NOT NULL,
    hold_until INTEGER NOT NULL
);

-- Opaque storage keys of hosts.
CREATE TABLE bound (
    space TEXT NOT NULL,
    name TEXT NOT NULL,
    version INTEGER NOT NULL REFERENCES version (seq),
    record BLOB NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (space, name)
);
CREATE INDEX bound_version ON bound (version);
