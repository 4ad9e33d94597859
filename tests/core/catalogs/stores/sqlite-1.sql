BEGIN TRANSACTION;
CREATE TABLE alias (
    incarnation INTEGER NOT NULL REFERENCES incarnation (seq),
    name TEXT NOT NULL,
    version INTEGER NOT NULL REFERENCES version (seq),
    immutable INTEGER NOT NULL,
    at INTEGER NOT NULL,
    by TEXT NOT NULL,
    PRIMARY KEY (incarnation, name)
) WITHOUT ROWID;
INSERT INTO "alias" VALUES(1,'prod',2,0,1795280189145659,'root@vm');
INSERT INTO "alias" VALUES(4,'prod',6,0,1795280189231322,'root@vm');
CREATE TABLE alias_history (
    seq INTEGER PRIMARY KEY,
    incarnation INTEGER NOT NULL REFERENCES incarnation (seq),
    name TEXT NOT NULL,
    version INTEGER REFERENCES version (seq),
    at INTEGER NOT NULL,
    by TEXT NOT NULL
);
INSERT INTO "alias_history" VALUES(1,1,'prod',2,1795280189145659,'root@vm');
INSERT INTO "alias_history" VALUES(2,4,'prod',6,1795280189231322,'root@vm');
INSERT INTO "alias_history" VALUES(3,4,'prod',NULL,1795280189240825,'root@vm');
CREATE TABLE bound (
    space TEXT NOT NULL,
    name TEXT NOT NULL,
    version INTEGER NOT NULL REFERENCES version (seq),
    record BLOB NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (space, name)
);
INSERT INTO "bound" VALUES('prefect','key',1,X'007265636F7264',1795280189245295);
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
INSERT INTO "entry" VALUES('fb1:train','train','',1677740367046953654,2,1,5000000,0,NULL,0,1795280189118220,1795280189118220,NULL,'{}','[["raw/day","c54cb0ab-c4d1-42a8-9642-4114289110e6"]]','{}','[["x","argument","d1","41"]]');
CREATE TABLE incarnation (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    key TEXT NOT NULL,
    head INTEGER NOT NULL DEFAULT -1,
    newest INTEGER REFERENCES version (seq),
    created_at INTEGER NOT NULL,
    ended_at INTEGER
);
INSERT INTO "incarnation" VALUES(1,'7ca1d5ab-d357-4a7f-b820-725b81b11723','models/churn',1,2,1795280189071804,NULL);
INSERT INTO "incarnation" VALUES(2,'68ff7da5-3e69-4fa5-af8a-b306a286f973','text',0,3,1795280189165801,NULL);
INSERT INTO "incarnation" VALUES(3,'421a724f-5d69-48aa-93c0-dfe3604505af','dropped',1,5,1795280189177405,NULL);
INSERT INTO "incarnation" VALUES(4,'a81867e1-5ed5-4e3c-ba28-2f5786b17f64','ended',0,NULL,1795280189227588,1795280189240825);
CREATE TABLE inline_payload (
    payload INTEGER PRIMARY KEY REFERENCES payload (seq) ON DELETE CASCADE,
    data BLOB NOT NULL
);
INSERT INTO "inline_payload" VALUES(1,X'5B312C322C335D');
INSERT INTO "inline_payload" VALUES(2,X'5B312C322C345D');
INSERT INTO "inline_payload" VALUES(3,X'C3A4E280A800');
INSERT INTO "inline_payload" VALUES(4,X'6F6E65');
INSERT INTO "inline_payload" VALUES(5,X'74776F');
CREATE TABLE lookup (
    day TEXT NOT NULL,
    name TEXT NOT NULL,
    hits INTEGER NOT NULL,
    misses INTEGER NOT NULL,
    seconds REAL NOT NULL,
    size INTEGER NOT NULL,
    PRIMARY KEY (day, name)
) WITHOUT ROWID;
CREATE TABLE outcome (
    op TEXT PRIMARY KEY,
    version INTEGER NOT NULL REFERENCES version (seq),
    at INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE parent (
    version INTEGER NOT NULL REFERENCES version (seq),
    parent INTEGER NOT NULL REFERENCES version (seq),
    at INTEGER NOT NULL,
    PRIMARY KEY (version, parent)
) WITHOUT ROWID;
INSERT INTO "parent" VALUES(2,1,1795280189118220);
CREATE TABLE partition (
    version INTEGER NOT NULL REFERENCES version (seq),
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (version, name)
) WITHOUT ROWID;
INSERT INTO "partition" VALUES(3,'day','2026-11-21');
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
INSERT INTO "payload" VALUES(1,'d29ceedf-4476-43b1-8bda-bb973f43d07e','sha256:a615eeaee21de5179de080de8c3052c8da901138406ba71c38c032845f7d54f4',7,'41396dc7d78bb9dba611d83c32b7d0f5','ok',1,0,'',NULL,1795280189071804,1795280189071804);
INSERT INTO "payload" VALUES(2,'aba859c3-8a48-4d6e-918a-81d332e24bd4','sha256:33a1c10fd7cb2b79058ab93874877d6234886e4a8a123d9f2a2c9277f6f2efc5',7,'92d1e12ff111f2595243e9254a362b3f','ok',1,0,'',NULL,1795280189118220,1795280189118220);
INSERT INTO "payload" VALUES(3,'ff17c8b4-2780-4876-8588-027335471f79','sha256:b70fb6296dbb7e0c52877dc570b75eaae6bfa5a268523e4b4972aa35bb592480',6,'f34a7a7ae874d1fb2c3a12408906c3bc','ok',1,0,'',NULL,1795280189165801,1795280189165801);
INSERT INTO "payload" VALUES(4,'65324f7d-77a0-4071-9eba-2bfc0e8abb48','sha256:7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed',3,'0a1c6d4cf41eb499911faba7321fe1a0','ok',1,0,'',NULL,1795280189177405,1795280189177405);
INSERT INTO "payload" VALUES(5,'5ec7e891-7137-4815-be34-da2b71f196b3','sha256:3fc4ccfe745870e2c0d99f71f30ff0656c8dedd41cc1d7d3d376b0dbe685e2f3',3,'35d5c8cc887e4da96c0560bdcb29998b','ok',1,0,'',NULL,1795280189201402,1795280189201402);
CREATE TABLE pin (
    op TEXT NOT NULL,
    payload INTEGER NOT NULL REFERENCES payload (seq) ON DELETE CASCADE,
    boot TEXT NOT NULL,
    expires INTEGER NOT NULL,
    PRIMARY KEY (op, payload)
) WITHOUT ROWID;
CREATE TABLE reservation (
    key TEXT PRIMARY KEY,
    owner TEXT NOT NULL,
    token INTEGER NOT NULL,
    entry_rev INTEGER NOT NULL,
    boot TEXT NOT NULL,
    expires INTEGER NOT NULL,
    hold_until INTEGER NOT NULL
);
INSERT INTO "reservation" VALUES('fb1:held','worker',1,0,'e5970c28-eb23-4f6a-b96a-ee9b0684b2eb',16641746181,20240746181);
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
INSERT INTO "run" VALUES(1,'python','nightly','r-1','train','r-1/train',1,-1,'','',1795280189118220,'{"rows":3}','{}');
CREATE TABLE store (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    id TEXT NOT NULL,
    created_at INTEGER NOT NULL
);
INSERT INTO "store" VALUES(1,'9e263e03-de7f-4350-92c8-b767616e4d97',1795280188474592);
CREATE TABLE tag (
    version INTEGER NOT NULL REFERENCES version (seq),
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (version, name)
) WITHOUT ROWID;
INSERT INTO "tag" VALUES(1,'n','1.5');
INSERT INTO "tag" VALUES(1,'team','"risk"');
CREATE TABLE tag_history (
    seq INTEGER PRIMARY KEY,
    version INTEGER NOT NULL REFERENCES version (seq),
    name TEXT NOT NULL,
    value TEXT,
    at INTEGER NOT NULL,
    by TEXT NOT NULL
);
INSERT INTO "tag_history" VALUES(1,1,'team','"risk"',1795280189071804,'');
INSERT INTO "tag_history" VALUES(2,1,'n','1.5',1795280189071804,'');
CREATE TABLE tombstone (
    version INTEGER PRIMARY KEY REFERENCES version (seq),
    at INTEGER NOT NULL,
    by TEXT NOT NULL,
    cause INTEGER NOT NULL
);
INSERT INTO "tombstone" VALUES(4,1795280189220918,'root@vm',0);
INSERT INTO "tombstone" VALUES(6,1795280189240825,'root@vm',2);
CREATE TABLE use (
    run INTEGER NOT NULL REFERENCES run (seq),
    version INTEGER NOT NULL REFERENCES version (seq),
    role TEXT NOT NULL CHECK (role IN ('input', 'output', 'cache_hit')),
    at INTEGER NOT NULL,
    PRIMARY KEY (run, version, role)
) WITHOUT ROWID;
INSERT INTO "use" VALUES(1,2,'output',1795280189118220);
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
INSERT INTO "version" VALUES(1,'c54cb0ab-c4d1-42a8-9642-4114289110e6',1,0,NULL,'eaefefc2-fd6a-4cbc-b1bd-cfa6d3a09513',X'EC534C4868371B59C945C5A96E0177C0404D9EBB1BE605B642491D3F743E8294','sha256:a615eeaee21de5179de080de8c3052c8da901138406ba71c38c032845f7d54f4',7,'41396dc7d78bb9dba611d83c32b7d0f5','ml_model','application/json','json','','{}','{}',0,1,'','','','','{"type": "list", "length": 3, "items": [1, 2, 3]}',NULL,1795280189071804);
INSERT INTO "version" VALUES(2,'a0a443d6-1d4c-48ea-9074-6566760c5c6d',1,1,0,'2e86b47f-c874-49f4-b48b-88b5e1879eee',X'C7A7456D71FED1E0544F7DF5D999F995D28959AD7BF9E8DEFA7D43D0606BC26C','sha256:33a1c10fd7cb2b79058ab93874877d6234886e4a8a123d9f2a2c9277f6f2efc5',7,'92d1e12ff111f2595243e9254a362b3f','','application/json','json','','{"a": 1}','{}',0,1,'','','','','{"type": "list", "length": 3, "items": [1, 2, 4]}',1,1795280189118220);
INSERT INTO "version" VALUES(3,'c820a33d-fb37-422d-8c1d-4d6c402dcc2d',2,0,NULL,'39addfa9-e07d-45f3-8eb1-fe29018992c2',X'E1E9F676B10FAF97A3B68AE0F14E7894CD7A556E42E4E596793767F0EF31DE7C','sha256:b70fb6296dbb7e0c52877dc570b75eaae6bfa5a268523e4b4972aa35bb592480',6,'f34a7a7ae874d1fb2c3a12408906c3bc','','text/plain; charset=utf-8','text','','{}','{"day":"2026-11-21"}',0,1,'','','','','{"type": "str", "length": 3, "value": "\u00e4\u2028\u0000"}',NULL,1795280189165801);
INSERT INTO "version" VALUES(4,'c10bdeb1-e5a7-40c7-a1c8-8cf3a5bc6fbe',3,0,NULL,'a973e42f-2f4d-4ab8-a3c1-4e5f8461cbd3',X'2D84EBC4E72C03F3F21655BEED0046B82D48A58FA17BECC5C59495684240AAE0','sha256:7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed',3,'0a1c6d4cf41eb499911faba7321fe1a0','','application/octet-stream','bytes','','{}','{}',0,1,'','','','','{"type": "bytes", "length": 3}',NULL,1795280189177405);
INSERT INTO "version" VALUES(5,'509a93df-77f4-48d4-bdab-cae8fc3d4ffa',3,1,0,'e7177830-746a-4fb8-a31f-e31d28a6876a',X'51056AF9D61AD79F07B00502AA8D8561E1B3618F2B5AB998512A566C08BF0A3A','sha256:3fc4ccfe745870e2c0d99f71f30ff0656c8dedd41cc1d7d3d376b0dbe685e2f3',3,'35d5c8cc887e4da96c0560bdcb29998b','','application/octet-stream','bytes','','{}','{}',0,1,'','','','','{"type": "bytes", "length": 3}',NULL,1795280189201402);
INSERT INTO "version" VALUES(6,'55b6166b-52b9-4836-a8fc-7ab75980c1c9',4,0,NULL,'d8b7d8a2-2c93-4260-acfd-7b8e75a16c59',X'2D84EBC4E72C03F3F21655BEED0046B82D48A58FA17BECC5C59495684240AAE0','sha256:7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed',3,'0a1c6d4cf41eb499911faba7321fe1a0','','application/octet-stream','bytes','','{}','{}',0,1,'','','','','{"type": "bytes", "length": 3}',NULL,1795280189227588);
CREATE TABLE version_payload (
    version INTEGER NOT NULL REFERENCES version (seq),
    name TEXT NOT NULL,
    position INTEGER NOT NULL,
    payload INTEGER NOT NULL REFERENCES payload (seq),
    PRIMARY KEY (version, name)
) WITHOUT ROWID;
INSERT INTO "version_payload" VALUES(1,'',0,1);
INSERT INTO "version_payload" VALUES(2,'',0,2);
INSERT INTO "version_payload" VALUES(3,'',0,3);
INSERT INTO "version_payload" VALUES(4,'',0,4);
INSERT INTO "version_payload" VALUES(5,'',0,5);
INSERT INTO "version_payload" VALUES(6,'',0,4);
CREATE UNIQUE INDEX incarnation_live ON incarnation (key) WHERE ended_at IS NULL;
CREATE INDEX incarnation_ended ON incarnation (key) WHERE ended_at IS NOT NULL;
CREATE INDEX run_run_id ON run (run_id);
CREATE INDEX run_flow ON run (flow, task);
CREATE INDEX run_task_run_id ON run (task_run_id);
CREATE INDEX version_digest ON version (digest) WHERE digest <> '';
CREATE INDEX version_run ON version (run) WHERE run IS NOT NULL;
CREATE INDEX payload_digest ON payload (digest);
CREATE INDEX payload_base ON payload (base) WHERE base IS NOT NULL;
CREATE INDEX payload_condemned ON payload (seq) WHERE state = 'condemned';
CREATE INDEX version_payload_payload ON version_payload (payload);
CREATE INDEX pin_payload ON pin (payload);
CREATE INDEX tag_value ON tag (name, value, version);
CREATE INDEX tag_history_version ON tag_history (version);
CREATE INDEX alias_version ON alias (version);
CREATE INDEX alias_name ON alias (name);
CREATE INDEX alias_history_name ON alias_history (incarnation, name);
CREATE INDEX partition_value ON partition (name, value, version);
CREATE INDEX parent_parent ON parent (parent);
CREATE INDEX use_version ON use (version, role);
CREATE INDEX entry_name ON entry (name, updated_at);
CREATE INDEX entry_updated ON entry (updated_at);
CREATE INDEX entry_version ON entry (version);
CREATE INDEX entry_run ON entry (run) WHERE run IS NOT NULL;
CREATE INDEX bound_version ON bound (version);
COMMIT;
PRAGMA application_id = 1181499953;
PRAGMA user_version = 1;
