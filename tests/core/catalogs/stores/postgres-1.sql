


SELECT pg_catalog.set_config('search_path', '', false);


CREATE SCHEMA old_store;



CREATE FUNCTION old_store.put_inline(_lock bigint, _wait text, _expect bigint, _create boolean, _again boolean, _life text, _generation text, _id text, _key text, _op text, _content bytea, _digest text, _size bigint, _checksum text, _data bytea, _kind text, _media_type text, _serializer text, _filename text, _metadata text, _tag_names text[], _tag_values text[], _by text, _value_digest text, _external text, _signature text, _signature_key text, _preview text, _system text, _flow text, _run_id text, _task text, _task_run_id text, _attempt bigint, _map_index bigint, _url text, _name text, _started_at bigint, _used text, _generated text) RETURNS TABLE(version bigint, incarnation text, prev_version bigint, at bigint, started_at bigint)
    LANGUAGE plpgsql
    SET search_path TO 'old_store'
    AS $$
#variable_conflict use_column
DECLARE
    moment BIGINT;
    life RECORD;
    held RECORD;
    worker RECORD;
    number BIGINT := 0;
    life_seq BIGINT;
    run_seq BIGINT;
    payload_seq BIGINT;
    version_seq BIGINT;
BEGIN
    -- With another isolation the queries below would not see what was committed while this waited.
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RETURN;
    END IF;
    PERFORM set_config('lock_timeout', _wait, true);
    PERFORM pg_advisory_xact_lock(_lock);
    IF EXISTS (SELECT 1 FROM version v WHERE v.op = _op)
        OR EXISTS (SELECT 1 FROM outcome o WHERE o.op = _op)
    THEN
        RETURN;
    END IF;
    moment := (extract(epoch FROM clock_timestamp()) * 1000000)::bigint;

    SELECT i.seq, i.id, i.head, v.version, v.content INTO life
        FROM incarnation i LEFT JOIN version v ON v.seq = i.newest
        WHERE i.key = _key AND i.ended_at IS NULL;
    IF (_expect IS NOT NULL AND life.version IS DISTINCT FROM _expect)
        OR (_create AND life.version IS NOT NULL)
        OR (life.content = _content AND NOT _again)
    THEN
        RETURN;
    END IF;
    SELECT p.seq, p.state, p.inline, d.data = _data AS is_same INTO held
        FROM payload p LEFT JOIN inline_payload d ON d.payload = p.seq
        WHERE p.digest = _digest AND p.state IN ('suspect', 'damaged')
            OR p.digest = _digest AND p.state = 'ok' AND p.inline = 1
        ORDER BY p.state <> 'ok' DESC LIMIT 1 FOR SHARE OF p;
    IF held.seq IS NOT NULL AND (held.state <> 'ok' OR NOT held.is_same) THEN
        RETURN;
    END IF;
    payload_seq := held.seq;
    IF _system IS NOT NULL THEN
        SELECT r.* INTO worker FROM run r WHERE r.system = _system
            AND r.task_run_id = _task_run_id AND r.attempt = _attempt;
        IF worker.seq IS NOT NULL AND (worker.flow, worker.run_id, worker.task, worker.map_index,
            worker.url, worker.name, worker.used, worker.generated) IS DISTINCT FROM
            (_flow, _run_id, _task, _map_index, _url, _name, _used, _generated)
        THEN
            RETURN;
        END IF;
        run_seq := worker.seq;
        _started_at := coalesce(worker.started_at, _started_at, moment);
    END IF;

    IF _system IS NOT NULL AND run_seq IS NULL THEN
        INSERT INTO run (system, flow, run_id, task, task_run_id, attempt, map_index, url, name,
            started_at, used, generated)
            VALUES (_system, _flow, _run_id, _task, _task_run_id, _attempt, _map_index, _url, _name,
            _started_at, _used, _generated) RETURNING seq INTO run_seq;
    END IF;
    IF payload_seq IS NULL THEN
        INSERT INTO payload (generation, digest, size, checksum, state, inline, stored_size,
            created_at, changed_at)
            VALUES (_generation, _digest, _size, _checksum, 'ok', 1, 0, moment, moment)
            RETURNING seq INTO payload_seq;
        INSERT INTO inline_payload (payload, data) VALUES (payload_seq, _data);
    END IF;
    IF life.seq IS NULL THEN
        INSERT INTO incarnation (id, key, created_at) VALUES (_life, _key, moment)
            RETURNING seq INTO life_seq;
    ELSE
        life_seq := life.seq;
        number := life.head + 1;
        _life := life.id;
    END IF;
    INSERT INTO version (id, incarnation, version, prev_version, op, content, digest, size,
        checksum, kind, media_type, serializer, filename, metadata, partitions, parts, history,
        value_digest, external, signature, signature_key, preview, run, created_at)
        VALUES (_id, life_seq, number, life.version, _op, _content, _digest, _size,
        _checksum, _kind, _media_type, _serializer, _filename, _metadata, '{}', 0, 1,
        _value_digest, _external, _signature, _signature_key, _preview, run_seq, moment)
        RETURNING seq INTO version_seq;
    UPDATE incarnation SET head = number, newest = version_seq WHERE seq = life_seq;
    INSERT INTO version_payload (version, name, position, payload)
        VALUES (version_seq, '', 0, payload_seq);
    IF cardinality(_tag_names) > 0 THEN
        INSERT INTO tag (version, name, value)
            SELECT version_seq, t.name, t.value FROM unnest(_tag_names, _tag_values) t (name, value);
        INSERT INTO tag_history (version, name, value, at, by)
            SELECT version_seq, t.name, t.value, moment, _by
            FROM unnest(_tag_names, _tag_values) t (name, value);
    END IF;
    IF run_seq IS NOT NULL THEN
        INSERT INTO use (run, version, role, at) VALUES (run_seq, version_seq, 'output', moment);
    END IF;
    RETURN QUERY SELECT number, _life, life.version, moment, _started_at;
END
$$;





CREATE TABLE old_store.alias (
    incarnation bigint NOT NULL,
    name text NOT NULL COLLATE pg_catalog."C",
    version bigint NOT NULL,
    immutable bigint NOT NULL,
    at bigint NOT NULL,
    by text NOT NULL COLLATE pg_catalog."C"
);



CREATE TABLE old_store.alias_history (
    seq bigint NOT NULL,
    incarnation bigint NOT NULL,
    name text NOT NULL COLLATE pg_catalog."C",
    version bigint,
    at bigint NOT NULL,
    by text NOT NULL COLLATE pg_catalog."C"
);



ALTER TABLE old_store.alias_history ALTER COLUMN seq ADD GENERATED BY DEFAULT AS IDENTITY (
    SEQUENCE NAME old_store.alias_history_seq_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);



CREATE TABLE old_store.bound (
    space text NOT NULL COLLATE pg_catalog."C",
    name text NOT NULL COLLATE pg_catalog."C",
    version bigint NOT NULL,
    record bytea NOT NULL,
    at bigint NOT NULL
);



CREATE TABLE old_store.entry (
    key text NOT NULL COLLATE pg_catalog."C",
    name text NOT NULL COLLATE pg_catalog."C",
    module text NOT NULL COLLATE pg_catalog."C",
    rev bigint NOT NULL,
    version bigint NOT NULL,
    run bigint,
    cost bigint NOT NULL,
    hits bigint DEFAULT 0 NOT NULL,
    last_hit_at bigint,
    pinned bigint DEFAULT 0 NOT NULL,
    created_at bigint NOT NULL,
    updated_at bigint NOT NULL,
    expires_at bigint,
    outputs text NOT NULL COLLATE pg_catalog."C",
    reads text NOT NULL COLLATE pg_catalog."C",
    metadata text NOT NULL COLLATE pg_catalog."C",
    ingredients text NOT NULL COLLATE pg_catalog."C",
    CONSTRAINT entry_rev_check CHECK ((rev > 0))
);



CREATE TABLE old_store.incarnation (
    seq bigint NOT NULL,
    id text NOT NULL COLLATE pg_catalog."C",
    key text NOT NULL COLLATE pg_catalog."C",
    head bigint DEFAULT '-1'::integer NOT NULL,
    newest bigint,
    created_at bigint NOT NULL,
    ended_at bigint
);



ALTER TABLE old_store.incarnation ALTER COLUMN seq ADD GENERATED BY DEFAULT AS IDENTITY (
    SEQUENCE NAME old_store.incarnation_seq_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);



CREATE TABLE old_store.inline_payload (
    payload bigint NOT NULL,
    data bytea NOT NULL
);



CREATE TABLE old_store.lookup (
    day text NOT NULL COLLATE pg_catalog."C",
    name text NOT NULL COLLATE pg_catalog."C",
    hits bigint NOT NULL,
    misses bigint NOT NULL,
    seconds double precision NOT NULL,
    size bigint NOT NULL
);



CREATE TABLE old_store.migration (
    number bigint NOT NULL,
    at bigint NOT NULL
);



CREATE TABLE old_store.outcome (
    op text NOT NULL COLLATE pg_catalog."C",
    version bigint NOT NULL,
    at bigint NOT NULL
);



CREATE TABLE old_store.parent (
    version bigint NOT NULL,
    parent bigint NOT NULL,
    at bigint NOT NULL
);



CREATE TABLE old_store.partition (
    version bigint NOT NULL,
    name text NOT NULL COLLATE pg_catalog."C",
    value text NOT NULL COLLATE pg_catalog."C"
);



CREATE TABLE old_store.payload (
    seq bigint NOT NULL,
    generation text NOT NULL COLLATE pg_catalog."C",
    digest text NOT NULL COLLATE pg_catalog."C",
    size bigint NOT NULL,
    checksum text NOT NULL COLLATE pg_catalog."C",
    state text NOT NULL COLLATE pg_catalog."C",
    inline bigint NOT NULL,
    stored_size bigint NOT NULL,
    encoding text DEFAULT ''::text NOT NULL COLLATE pg_catalog."C",
    base text COLLATE pg_catalog."C",
    created_at bigint NOT NULL,
    changed_at bigint NOT NULL,
    CONSTRAINT payload_state_check CHECK ((state = ANY (ARRAY['uploading'::text, 'ok'::text, 'suspect'::text, 'damaged'::text, 'condemned'::text])))
);



ALTER TABLE old_store.payload ALTER COLUMN seq ADD GENERATED BY DEFAULT AS IDENTITY (
    SEQUENCE NAME old_store.payload_seq_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);



CREATE TABLE old_store.pin (
    op text NOT NULL COLLATE pg_catalog."C",
    payload bigint NOT NULL,
    boot text NOT NULL COLLATE pg_catalog."C",
    expires bigint NOT NULL
);



CREATE TABLE old_store.reservation (
    key text NOT NULL COLLATE pg_catalog."C",
    owner text NOT NULL COLLATE pg_catalog."C",
    token bigint NOT NULL,
    entry_rev bigint NOT NULL,
    boot text NOT NULL COLLATE pg_catalog."C",
    expires bigint NOT NULL,
    hold_until bigint NOT NULL
);



CREATE TABLE old_store.run (
    seq bigint NOT NULL,
    system text NOT NULL COLLATE pg_catalog."C",
    flow text NOT NULL COLLATE pg_catalog."C",
    run_id text NOT NULL COLLATE pg_catalog."C",
    task text NOT NULL COLLATE pg_catalog."C",
    task_run_id text NOT NULL COLLATE pg_catalog."C",
    attempt bigint NOT NULL,
    map_index bigint NOT NULL,
    url text NOT NULL COLLATE pg_catalog."C",
    name text NOT NULL COLLATE pg_catalog."C",
    started_at bigint NOT NULL,
    used text DEFAULT '{}'::text NOT NULL COLLATE pg_catalog."C",
    generated text DEFAULT '{}'::text NOT NULL COLLATE pg_catalog."C"
);



ALTER TABLE old_store.run ALTER COLUMN seq ADD GENERATED BY DEFAULT AS IDENTITY (
    SEQUENCE NAME old_store.run_seq_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);



CREATE TABLE old_store.settled (
    connection text NOT NULL COLLATE pg_catalog."C",
    number bigint NOT NULL,
    at bigint NOT NULL
);



CREATE TABLE old_store.store (
    one bigint NOT NULL,
    id text NOT NULL COLLATE pg_catalog."C",
    created_at bigint NOT NULL,
    CONSTRAINT store_one_check CHECK ((one = 1))
);



CREATE TABLE old_store.tag (
    version bigint NOT NULL,
    name text NOT NULL COLLATE pg_catalog."C",
    value text NOT NULL COLLATE pg_catalog."C"
);



CREATE TABLE old_store.tag_history (
    seq bigint NOT NULL,
    version bigint NOT NULL,
    name text NOT NULL COLLATE pg_catalog."C",
    value text COLLATE pg_catalog."C",
    at bigint NOT NULL,
    by text NOT NULL COLLATE pg_catalog."C"
);



ALTER TABLE old_store.tag_history ALTER COLUMN seq ADD GENERATED BY DEFAULT AS IDENTITY (
    SEQUENCE NAME old_store.tag_history_seq_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);



CREATE TABLE old_store.tombstone (
    version bigint NOT NULL,
    at bigint NOT NULL,
    by text NOT NULL COLLATE pg_catalog."C",
    cause bigint NOT NULL
);



CREATE TABLE old_store.use (
    run bigint NOT NULL,
    version bigint NOT NULL,
    role text NOT NULL COLLATE pg_catalog."C",
    at bigint NOT NULL,
    CONSTRAINT use_role_check CHECK ((role = ANY (ARRAY['input'::text, 'output'::text, 'cache_hit'::text])))
);



CREATE TABLE old_store.version (
    seq bigint NOT NULL,
    id text NOT NULL COLLATE pg_catalog."C",
    incarnation bigint NOT NULL,
    version bigint NOT NULL,
    prev_version bigint,
    op text NOT NULL COLLATE pg_catalog."C",
    content bytea NOT NULL,
    digest text NOT NULL COLLATE pg_catalog."C",
    size bigint NOT NULL,
    checksum text NOT NULL COLLATE pg_catalog."C",
    kind text NOT NULL COLLATE pg_catalog."C",
    media_type text NOT NULL COLLATE pg_catalog."C",
    serializer text NOT NULL COLLATE pg_catalog."C",
    filename text NOT NULL COLLATE pg_catalog."C",
    metadata text NOT NULL COLLATE pg_catalog."C",
    partitions text NOT NULL COLLATE pg_catalog."C",
    parts bigint NOT NULL,
    history bigint NOT NULL,
    value_digest text NOT NULL COLLATE pg_catalog."C",
    external text NOT NULL COLLATE pg_catalog."C",
    signature text NOT NULL COLLATE pg_catalog."C",
    signature_key text NOT NULL COLLATE pg_catalog."C",
    preview text NOT NULL COLLATE pg_catalog."C",
    run bigint,
    created_at bigint NOT NULL
);



CREATE TABLE old_store.version_payload (
    version bigint NOT NULL,
    name text NOT NULL COLLATE pg_catalog."C",
    "position" bigint NOT NULL,
    payload bigint NOT NULL
);



ALTER TABLE old_store.version ALTER COLUMN seq ADD GENERATED BY DEFAULT AS IDENTITY (
    SEQUENCE NAME old_store.version_seq_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);



INSERT INTO old_store.alias VALUES (1, 'prod', 2, 0, 1795288063536596, 'root@vm');
INSERT INTO old_store.alias VALUES (4, 'prod', 6, 0, 1795288063629820, 'root@vm');



INSERT INTO old_store.alias_history VALUES (1, 1, 'prod', 2, 1795288063536596, 'root@vm');
INSERT INTO old_store.alias_history VALUES (2, 4, 'prod', 6, 1795288063629820, 'root@vm');
INSERT INTO old_store.alias_history VALUES (3, 4, 'prod', NULL, 1795288063661129, 'root@vm');



INSERT INTO old_store.bound VALUES ('prefect', 'key', 1, '\x007265636f7264', 1795288063681159);



INSERT INTO old_store.entry VALUES ('fb1:train', 'train', '', 2037977166051339882, 2, 1, 5000000, 0, NULL, 0, 1795288063488831, 1795288063488831, NULL, '{}', '[["raw/day","93b8e15d-a8ec-47ff-8bd2-f047afc14539"]]', '{}', '[["x","argument","d1","41"]]');



INSERT INTO old_store.incarnation VALUES (1, '06516a18-41d5-4042-9f30-71bfc967928b', 'models/churn', 1, 2, 1795288063446181, NULL);
INSERT INTO old_store.incarnation VALUES (2, '6daf9b60-2acf-4b88-a7dc-f374434bdcad', 'text', 0, 3, 1795288063549068, NULL);
INSERT INTO old_store.incarnation VALUES (3, '28cd28f1-8378-4f24-a7c4-95d38b9e01c8', 'dropped', 1, 5, 1795288063570393, NULL);
INSERT INTO old_store.incarnation VALUES (4, '4f3675dd-89d4-492c-be94-61a1485f1796', 'ended', 0, NULL, 1795288063613886, 1795288063661129);



INSERT INTO old_store.inline_payload VALUES (1, '\x5b312c322c335d');
INSERT INTO old_store.inline_payload VALUES (2, '\x5b312c322c345d');
INSERT INTO old_store.inline_payload VALUES (3, '\xc3a4e280a800');
INSERT INTO old_store.inline_payload VALUES (4, '\x6f6e65');
INSERT INTO old_store.inline_payload VALUES (5, '\x74776f');






INSERT INTO old_store.migration VALUES (1, 1795288062378989);






INSERT INTO old_store.parent VALUES (2, 1, 1795288063488831);



INSERT INTO old_store.partition VALUES (3, 'day', '2026-11-21');



INSERT INTO old_store.payload VALUES (1, 'a8de7c19-36da-4aab-b6a1-d60e9adf0b16', 'sha256:a615eeaee21de5179de080de8c3052c8da901138406ba71c38c032845f7d54f4', 7, '41396dc7d78bb9dba611d83c32b7d0f5', 'ok', 1, 0, '', NULL, 1795288063446181, 1795288063446181);
INSERT INTO old_store.payload VALUES (2, 'ddc2c57d-d552-40e8-a19a-9afa7651c9b8', 'sha256:33a1c10fd7cb2b79058ab93874877d6234886e4a8a123d9f2a2c9277f6f2efc5', 7, '92d1e12ff111f2595243e9254a362b3f', 'ok', 1, 0, '', NULL, 1795288063488831, 1795288063488831);
INSERT INTO old_store.payload VALUES (3, 'c2567cae-2c58-4986-8570-d8a0f4be5fef', 'sha256:b70fb6296dbb7e0c52877dc570b75eaae6bfa5a268523e4b4972aa35bb592480', 6, 'f34a7a7ae874d1fb2c3a12408906c3bc', 'ok', 1, 0, '', NULL, 1795288063549068, 1795288063549068);
INSERT INTO old_store.payload VALUES (4, 'e7530484-86ac-4bd2-bf2d-dc07dbf01ecc', 'sha256:7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed', 3, '0a1c6d4cf41eb499911faba7321fe1a0', 'ok', 1, 0, '', NULL, 1795288063570393, 1795288063570393);
INSERT INTO old_store.payload VALUES (5, 'b56ef5d1-f32e-469c-b00f-78f72eb72aec', 'sha256:3fc4ccfe745870e2c0d99f71f30ff0656c8dedd41cc1d7d3d376b0dbe685e2f3', 3, '35d5c8cc887e4da96c0560bdcb29998b', 'ok', 1, 0, '', NULL, 1795288063584721, 1795288063584721);






INSERT INTO old_store.reservation VALUES ('fb1:held', 'worker', 1, 0, 'server', 1795288064689456, 1795291663689456);



INSERT INTO old_store.run VALUES (1, 'python', 'nightly', 'r-1', 'train', 'r-1/train', 1, -1, '', '', 1795288063488831, '{"rows":3}', '{}');



INSERT INTO old_store.settled VALUES ('bbf60793-cd88-4fc7-a279-ef0245acb8e0', 5, 1795288063677084);



INSERT INTO old_store.store VALUES (1, 'c1740ef9-726f-435f-a7d8-5625f77ba5a1', 1795288062378989);



INSERT INTO old_store.tag VALUES (1, 'team', '"risk"');
INSERT INTO old_store.tag VALUES (1, 'n', '1.5');



INSERT INTO old_store.tag_history VALUES (1, 1, 'team', '"risk"', 1795288063446181, '');
INSERT INTO old_store.tag_history VALUES (2, 1, 'n', '1.5', 1795288063446181, '');



INSERT INTO old_store.tombstone VALUES (4, 1795288063593051, 'root@vm', 0);
INSERT INTO old_store.tombstone VALUES (6, 1795288063661129, 'root@vm', 2);



INSERT INTO old_store.use VALUES (1, 2, 'output', 1795288063488831);



INSERT INTO old_store.version VALUES (1, '93b8e15d-a8ec-47ff-8bd2-f047afc14539', 1, 0, NULL, '4fef0d07-6ecb-4f09-849e-edb40aba9961', '\xec534c4868371b59c945c5a96e0177c0404d9ebb1be605b642491d3f743e8294', 'sha256:a615eeaee21de5179de080de8c3052c8da901138406ba71c38c032845f7d54f4', 7, '41396dc7d78bb9dba611d83c32b7d0f5', 'ml_model', 'application/json', 'json', '', '{}', '{}', 0, 1, '', '', '', '', '{"type": "list", "length": 3, "items": [1, 2, 3]}', NULL, 1795288063446181);
INSERT INTO old_store.version VALUES (2, 'eb244321-42ab-4472-9a3d-5d552b4faf75', 1, 1, 0, '8055b31d-326e-4cd5-aa5b-938d81ea9b19', '\xc7a7456d71fed1e0544f7df5d999f995d28959ad7bf9e8defa7d43d0606bc26c', 'sha256:33a1c10fd7cb2b79058ab93874877d6234886e4a8a123d9f2a2c9277f6f2efc5', 7, '92d1e12ff111f2595243e9254a362b3f', '', 'application/json', 'json', '', '{"a": 1}', '{}', 0, 1, '', '', '', '', '{"type": "list", "length": 3, "items": [1, 2, 4]}', 1, 1795288063488831);
INSERT INTO old_store.version VALUES (3, 'fddc0133-8564-4c68-b2bf-38f802ce8f2d', 2, 0, NULL, 'ca15c912-c015-45b8-949b-9439fd746f3c', '\xe1e9f676b10faf97a3b68ae0f14e7894cd7a556e42e4e596793767f0ef31de7c', 'sha256:b70fb6296dbb7e0c52877dc570b75eaae6bfa5a268523e4b4972aa35bb592480', 6, 'f34a7a7ae874d1fb2c3a12408906c3bc', '', 'text/plain; charset=utf-8', 'text', '', '{}', '{"day":"2026-11-21"}', 0, 1, '', '', '', '', '{"type": "str", "length": 3, "value": "\u00e4\u2028\u0000"}', NULL, 1795288063549068);
INSERT INTO old_store.version VALUES (4, 'ae15ef15-22ad-40d3-a2f2-e2eb9f0c8bef', 3, 0, NULL, '9dab42f1-2422-4b1e-a6f9-7301d624508b', '\x2d84ebc4e72c03f3f21655beed0046b82d48a58fa17becc5c59495684240aae0', 'sha256:7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed', 3, '0a1c6d4cf41eb499911faba7321fe1a0', '', 'application/octet-stream', 'bytes', '', '{}', '{}', 0, 1, '', '', '', '', '{"type": "bytes", "length": 3}', NULL, 1795288063570393);
INSERT INTO old_store.version VALUES (5, '0de59ee4-ed78-4ced-a5da-f0427492f7e2', 3, 1, 0, '22b64ea4-3b31-4571-bfd5-e7f85ed80768', '\x51056af9d61ad79f07b00502aa8d8561e1b3618f2b5ab998512a566c08bf0a3a', 'sha256:3fc4ccfe745870e2c0d99f71f30ff0656c8dedd41cc1d7d3d376b0dbe685e2f3', 3, '35d5c8cc887e4da96c0560bdcb29998b', '', 'application/octet-stream', 'bytes', '', '{}', '{}', 0, 1, '', '', '', '', '{"type": "bytes", "length": 3}', NULL, 1795288063584721);
INSERT INTO old_store.version VALUES (6, '34981b93-de4f-413b-8482-733d4e2648ec', 4, 0, NULL, 'd7bc9320-f66c-40d0-abe4-497939cb6aea', '\x2d84ebc4e72c03f3f21655beed0046b82d48a58fa17becc5c59495684240aae0', 'sha256:7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed', 3, '0a1c6d4cf41eb499911faba7321fe1a0', '', 'application/octet-stream', 'bytes', '', '{}', '{}', 0, 1, '', '', '', '', '{"type": "bytes", "length": 3}', NULL, 1795288063613886);



INSERT INTO old_store.version_payload VALUES (1, '', 0, 1);
INSERT INTO old_store.version_payload VALUES (2, '', 0, 2);
INSERT INTO old_store.version_payload VALUES (3, '', 0, 3);
INSERT INTO old_store.version_payload VALUES (4, '', 0, 4);
INSERT INTO old_store.version_payload VALUES (5, '', 0, 5);
INSERT INTO old_store.version_payload VALUES (6, '', 0, 4);



SELECT pg_catalog.setval('old_store.alias_history_seq_seq', 3, true);



SELECT pg_catalog.setval('old_store.incarnation_seq_seq', 4, true);



SELECT pg_catalog.setval('old_store.payload_seq_seq', 5, true);



SELECT pg_catalog.setval('old_store.run_seq_seq', 1, true);



SELECT pg_catalog.setval('old_store.tag_history_seq_seq', 2, true);



SELECT pg_catalog.setval('old_store.version_seq_seq', 6, true);



ALTER TABLE ONLY old_store.alias_history
    ADD CONSTRAINT alias_history_pkey PRIMARY KEY (seq);



ALTER TABLE ONLY old_store.alias
    ADD CONSTRAINT alias_pkey PRIMARY KEY (incarnation, name);



ALTER TABLE ONLY old_store.bound
    ADD CONSTRAINT bound_pkey PRIMARY KEY (space, name);



ALTER TABLE ONLY old_store.entry
    ADD CONSTRAINT entry_pkey PRIMARY KEY (key);



ALTER TABLE ONLY old_store.incarnation
    ADD CONSTRAINT incarnation_id_key UNIQUE (id);



ALTER TABLE ONLY old_store.incarnation
    ADD CONSTRAINT incarnation_pkey PRIMARY KEY (seq);



ALTER TABLE ONLY old_store.inline_payload
    ADD CONSTRAINT inline_payload_pkey PRIMARY KEY (payload);



ALTER TABLE ONLY old_store.lookup
    ADD CONSTRAINT lookup_pkey PRIMARY KEY (day, name);



ALTER TABLE ONLY old_store.migration
    ADD CONSTRAINT migration_pkey PRIMARY KEY (number);



ALTER TABLE ONLY old_store.outcome
    ADD CONSTRAINT outcome_pkey PRIMARY KEY (op);



ALTER TABLE ONLY old_store.parent
    ADD CONSTRAINT parent_pkey PRIMARY KEY (version, parent);



ALTER TABLE ONLY old_store.partition
    ADD CONSTRAINT partition_pkey PRIMARY KEY (version, name);



ALTER TABLE ONLY old_store.payload
    ADD CONSTRAINT payload_generation_key UNIQUE (generation);



ALTER TABLE ONLY old_store.payload
    ADD CONSTRAINT payload_pkey PRIMARY KEY (seq);



ALTER TABLE ONLY old_store.pin
    ADD CONSTRAINT pin_pkey PRIMARY KEY (op, payload);



ALTER TABLE ONLY old_store.reservation
    ADD CONSTRAINT reservation_pkey PRIMARY KEY (key);



ALTER TABLE ONLY old_store.run
    ADD CONSTRAINT run_pkey PRIMARY KEY (seq);



ALTER TABLE ONLY old_store.run
    ADD CONSTRAINT run_system_task_run_id_attempt_key UNIQUE (system, task_run_id, attempt);



ALTER TABLE ONLY old_store.settled
    ADD CONSTRAINT settled_pkey PRIMARY KEY (connection);



ALTER TABLE ONLY old_store.store
    ADD CONSTRAINT store_pkey PRIMARY KEY (one);



ALTER TABLE ONLY old_store.tag_history
    ADD CONSTRAINT tag_history_pkey PRIMARY KEY (seq);



ALTER TABLE ONLY old_store.tag
    ADD CONSTRAINT tag_pkey PRIMARY KEY (version, name);



ALTER TABLE ONLY old_store.tombstone
    ADD CONSTRAINT tombstone_pkey PRIMARY KEY (version);



ALTER TABLE ONLY old_store.use
    ADD CONSTRAINT use_pkey PRIMARY KEY (run, version, role);



ALTER TABLE ONLY old_store.version
    ADD CONSTRAINT version_id_key UNIQUE (id);



ALTER TABLE ONLY old_store.version
    ADD CONSTRAINT version_incarnation_version_key UNIQUE (incarnation, version);



ALTER TABLE ONLY old_store.version
    ADD CONSTRAINT version_op_key UNIQUE (op);



ALTER TABLE ONLY old_store.version_payload
    ADD CONSTRAINT version_payload_pkey PRIMARY KEY (version, name);



ALTER TABLE ONLY old_store.version
    ADD CONSTRAINT version_pkey PRIMARY KEY (seq);



CREATE INDEX alias_history_name ON old_store.alias_history USING btree (incarnation, name);



CREATE INDEX alias_name ON old_store.alias USING btree (name);



CREATE INDEX alias_version ON old_store.alias USING btree (version);



CREATE INDEX bound_version ON old_store.bound USING btree (version);



CREATE INDEX entry_name ON old_store.entry USING btree (name, updated_at);



CREATE INDEX entry_run ON old_store.entry USING btree (run) WHERE (run IS NOT NULL);



CREATE INDEX entry_updated ON old_store.entry USING btree (updated_at);



CREATE INDEX entry_version ON old_store.entry USING btree (version);



CREATE INDEX incarnation_ended ON old_store.incarnation USING btree (key) WHERE (ended_at IS NOT NULL);



CREATE UNIQUE INDEX incarnation_live ON old_store.incarnation USING btree (key) WHERE (ended_at IS NULL);



CREATE INDEX parent_parent ON old_store.parent USING btree (parent);



CREATE INDEX partition_value ON old_store.partition USING btree (name, value, version);



CREATE INDEX payload_base ON old_store.payload USING btree (base) WHERE (base IS NOT NULL);



CREATE INDEX payload_condemned ON old_store.payload USING btree (seq) WHERE (state = 'condemned'::text);



CREATE INDEX payload_digest ON old_store.payload USING btree (digest);



CREATE INDEX pin_payload ON old_store.pin USING btree (payload);



CREATE INDEX run_flow ON old_store.run USING btree (flow, task);



CREATE INDEX run_run_id ON old_store.run USING btree (run_id);



CREATE INDEX run_task_run_id ON old_store.run USING btree (task_run_id);



CREATE INDEX tag_history_version ON old_store.tag_history USING btree (version);



CREATE INDEX tag_value ON old_store.tag USING btree (name, value, version);



CREATE INDEX use_version ON old_store.use USING btree (version, role);



CREATE INDEX version_digest ON old_store.version USING btree (digest) WHERE (digest <> ''::text);



CREATE INDEX version_payload_payload ON old_store.version_payload USING btree (payload);



CREATE INDEX version_run ON old_store.version USING btree (run) WHERE (run IS NOT NULL);



ALTER TABLE ONLY old_store.alias_history
    ADD CONSTRAINT alias_history_incarnation_fkey FOREIGN KEY (incarnation) REFERENCES old_store.incarnation(seq);



ALTER TABLE ONLY old_store.alias_history
    ADD CONSTRAINT alias_history_version_fkey FOREIGN KEY (version) REFERENCES old_store.version(seq);



ALTER TABLE ONLY old_store.alias
    ADD CONSTRAINT alias_incarnation_fkey FOREIGN KEY (incarnation) REFERENCES old_store.incarnation(seq);



ALTER TABLE ONLY old_store.alias
    ADD CONSTRAINT alias_version_fkey FOREIGN KEY (version) REFERENCES old_store.version(seq);



ALTER TABLE ONLY old_store.bound
    ADD CONSTRAINT bound_version_fkey FOREIGN KEY (version) REFERENCES old_store.version(seq);



ALTER TABLE ONLY old_store.entry
    ADD CONSTRAINT entry_run_fkey FOREIGN KEY (run) REFERENCES old_store.run(seq);



ALTER TABLE ONLY old_store.entry
    ADD CONSTRAINT entry_version_fkey FOREIGN KEY (version) REFERENCES old_store.version(seq);



ALTER TABLE ONLY old_store.incarnation
    ADD CONSTRAINT incarnation_newest_fkey FOREIGN KEY (newest) REFERENCES old_store.version(seq);



ALTER TABLE ONLY old_store.inline_payload
    ADD CONSTRAINT inline_payload_payload_fkey FOREIGN KEY (payload) REFERENCES old_store.payload(seq) ON DELETE CASCADE;



ALTER TABLE ONLY old_store.outcome
    ADD CONSTRAINT outcome_version_fkey FOREIGN KEY (version) REFERENCES old_store.version(seq);



ALTER TABLE ONLY old_store.parent
    ADD CONSTRAINT parent_parent_fkey FOREIGN KEY (parent) REFERENCES old_store.version(seq);



ALTER TABLE ONLY old_store.parent
    ADD CONSTRAINT parent_version_fkey FOREIGN KEY (version) REFERENCES old_store.version(seq);



ALTER TABLE ONLY old_store.partition
    ADD CONSTRAINT partition_version_fkey FOREIGN KEY (version) REFERENCES old_store.version(seq);



ALTER TABLE ONLY old_store.payload
    ADD CONSTRAINT payload_base_fkey FOREIGN KEY (base) REFERENCES old_store.payload(generation);



ALTER TABLE ONLY old_store.pin
    ADD CONSTRAINT pin_payload_fkey FOREIGN KEY (payload) REFERENCES old_store.payload(seq) ON DELETE CASCADE;



ALTER TABLE ONLY old_store.tag_history
    ADD CONSTRAINT tag_history_version_fkey FOREIGN KEY (version) REFERENCES old_store.version(seq);



ALTER TABLE ONLY old_store.tag
    ADD CONSTRAINT tag_version_fkey FOREIGN KEY (version) REFERENCES old_store.version(seq);



ALTER TABLE ONLY old_store.tombstone
    ADD CONSTRAINT tombstone_version_fkey FOREIGN KEY (version) REFERENCES old_store.version(seq);



ALTER TABLE ONLY old_store.use
    ADD CONSTRAINT use_run_fkey FOREIGN KEY (run) REFERENCES old_store.run(seq);



ALTER TABLE ONLY old_store.use
    ADD CONSTRAINT use_version_fkey FOREIGN KEY (version) REFERENCES old_store.version(seq);



ALTER TABLE ONLY old_store.version
    ADD CONSTRAINT version_incarnation_fkey FOREIGN KEY (incarnation) REFERENCES old_store.incarnation(seq);



ALTER TABLE ONLY old_store.version_payload
    ADD CONSTRAINT version_payload_payload_fkey FOREIGN KEY (payload) REFERENCES old_store.payload(seq);



ALTER TABLE ONLY old_store.version_payload
    ADD CONSTRAINT version_payload_version_fkey FOREIGN KEY (version) REFERENCES old_store.version(seq);



ALTER TABLE ONLY old_store.version
    ADD CONSTRAINT version_run_fkey FOREIGN KEY (run) REFERENCES old_store.run(seq);




