"""The functions of the PostgreSQL store, in PL/pgSQL.

Whatever locks a row is one call of one function, outside of a transaction block. So the lock is
held only while the server works: a node that is frozen in the middle of a call holds none. A
statement that waits for the row of one session while it has others takes them in the order of their
ids, so that two nodes never wait for each other.
"""

from __future__ import annotations

from typing import Final

FUNCTIONS: Final[tuple[str, ...]] = (
    """
    CREATE OR REPLACE FUNCTION {schema}.seconds() RETURNS float8 LANGUAGE sql VOLATILE AS $$
        -- Not now(), which is when the statement began: it may have waited for a lock since.
        SELECT extract(epoch FROM clock_timestamp())::float8
    $$
    """,
    """
    CREATE OR REPLACE FUNCTION {schema}.is_valid(expires float8, ttl float8, clock float8)
    RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
        -- What ends later than is possible was taken before the server's clock was set back.
        SELECT expires > clock AND expires <= clock + 2 * ttl
    $$
    """,
    # Appends all items, each of them wholly or not at all. Returns one row per item, in order: what
    # became of it, and the position that belongs to that. ``datas`` holds the bytes of all events.
    """
    CREATE OR REPLACE FUNCTION {schema}.append_all(items jsonb, datas bytea)
    RETURNS TABLE (outcome text, at_epoch text, at_seq bigint, at_tag text)
    LANGUAGE plpgsql SET lock_timeout = '3s' AS $$
    DECLARE
        item record;
        head record;
        known record;
        size int;
        settles boolean;
    BEGIN
        FOR item IN SELECT * FROM jsonb_to_recordset(items) AS given (
            session text, seq bigint, tag text, tags text[], starts int[], sizes int[],
            fence text, key text, digest text, settled bigint, carried int[],
            expect bigint, commutes boolean, cleared boolean, again boolean
        ) LOOP
            IF jsonb_array_length(items) = 1 THEN
                SELECT * INTO head FROM {schema}.session
                WHERE id = item.session FOR NO KEY UPDATE;
            ELSE
                -- The others don't wait for one that is locked: it gets a statement of its own.
                SELECT * INTO head FROM {schema}.session
                WHERE id = item.session FOR NO KEY UPDATE SKIP LOCKED;
            END IF;
            IF NOT FOUND THEN
                outcome := CASE WHEN EXISTS (
                    SELECT FROM {schema}.session WHERE id = item.session
                ) THEN 'locked' ELSE 'missing' END;
                RETURN NEXT;
                CONTINUE;
            END IF;
            at_epoch := head.epoch; at_seq := head.seq; at_tag := head.tag;
            size := coalesce(cardinality(item.tags), 0);
            -- The first attempt may have been committed before its connection was lost. The tag
            -- at the end proves it, since it is a hash of the log up to there.
            IF item.again AND size > 0 AND EXISTS (
                SELECT FROM {schema}.event
                WHERE log = head.log AND seq = item.seq + size AND tag = item.tags[size]
            ) THEN
                outcome := 'made'; at_seq := item.seq + size; at_tag := item.tags[size];
                RETURN NEXT;
                CONTINUE;
            END IF;
            IF item.fence <> head.epoch || ':' || head.fence THEN
                outcome := 'fenced';
                RETURN NEXT;
                CONTINUE;
            END IF;
            IF item.key IS NOT NULL THEN
                SELECT * INTO known FROM {schema}.key WHERE log = head.log AND id = item.key;
                IF FOUND THEN
                    at_seq := known.seq; at_tag := known.tag;
                    outcome := CASE WHEN known.digest <> item.digest THEN 'conflict'
                                    WHEN item.again AND size = 0 THEN 'unknown'
                                    ELSE 'duplicate' END;
                    RETURN NEXT;
                    CONTINUE;
                END IF;
            END IF;
            IF NOT item.expect BETWEEN head.version AND head.seq THEN
                outcome := 'version';
                RETURN NEXT;
                CONTINUE;
            END IF;
            IF size > 0 AND (item.seq, item.tag) IS DISTINCT FROM (head.seq, head.tag) THEN
                outcome := 'moved';
                RETURN NEXT;
                CONTINUE;
            END IF;
            outcome := 'made';
            IF size > 0 THEN
                at_seq := head.seq + size; at_tag := item.tags[size];
                INSERT INTO {schema}.event (log, seq, tag, data)
                SELECT head.log, head.seq + n, item.tags[n],
                       substring(datas FROM item.starts[n] FOR item.sizes[n])
                FROM generate_series(1, size) AS n;
            END IF;
            IF item.key IS NOT NULL THEN
                INSERT INTO {schema}.key (log, id, digest, seq, tag)
                VALUES (head.log, item.key, item.digest, at_seq, at_tag);
            END IF;
            settles := coalesce(item.settled >= head.settled, false);
            IF settles THEN
                head.settled := item.settled;
                INSERT INTO {schema}.carried (log, data) VALUES (
                    head.log, substring(datas FROM item.carried[1] FOR item.carried[2])
                ) ON CONFLICT (log) DO UPDATE SET data = EXCLUDED.data;
            END IF;
            IF item.cleared THEN
                head.indexed := at_seq;
                DELETE FROM {schema}.passage WHERE log = head.log AND seq > 0;
            END IF;
            IF size > 0 OR settles THEN
                UPDATE {schema}.session SET
                    seq = at_seq, tag = at_tag, settled = head.settled,
                    unsettled = at_seq > head.settled, indexed = head.indexed,
                    version = CASE WHEN size = 0 OR item.commutes THEN head.version ELSE at_seq END,
                    updated = CASE
                        WHEN size = 0 THEN head.updated
                        -- So that the text of an answer seldom changes the indexes.
                        WHEN item.commutes AND {schema}.seconds() BETWEEN head.updated
                            AND head.updated + 1 THEN head.updated
                        ELSE {schema}.seconds() END
                WHERE log = head.log;
            END IF;
            RETURN NEXT;
        END LOOP;
    END $$
    """,
    # Returns what became of it, and the session as it is now.
    """
    CREATE OR REPLACE FUNCTION {schema}.create_session(
        given jsonb, words text, lexemes text[]
    ) RETURNS TABLE (outcome text, now_is {schema}.session)
    LANGUAGE plpgsql SET lock_timeout = '3s' AS $$
    DECLARE
        wanted record;
    BEGIN
        SELECT * INTO wanted FROM jsonb_to_record(given) AS one (
            id text, owner text, agent text, created float8, updated float8, title text,
            metadata text, retention float8, epoch text
        );
        INSERT INTO {schema}.session
            (id, owner, agent, created, updated, title, metadata, retention, epoch)
        VALUES (wanted.id, wanted.owner, wanted.agent, wanted.created, wanted.updated,
                wanted.title, wanted.metadata, wanted.retention, wanted.epoch)
        ON CONFLICT (id) DO NOTHING RETURNING * INTO now_is;
        -- After the insertion, which waits for a concurrent deletion.
        IF EXISTS (SELECT FROM {schema}.deleted WHERE id = wanted.id) THEN
            DELETE FROM {schema}.session WHERE id = wanted.id;
            outcome := 'deleted';
        ELSIF now_is.log IS NOT NULL THEN
            outcome := 'made';
            PERFORM {schema}.index_title(now_is.log, words, lexemes);
        ELSE
            SELECT * INTO now_is FROM {schema}.session WHERE id = wanted.id;
            -- The epoch is this call's own: an earlier attempt of it made the session.
            outcome := CASE WHEN now_is.log IS NULL THEN 'deleted'
                            WHEN now_is.epoch = wanted.epoch THEN 'made' ELSE 'known' END;
        END IF;
        RETURN NEXT;
    END $$
    """,
    """
    CREATE OR REPLACE FUNCTION {schema}.index_title(of_log bigint, words text, lexemes text[])
    RETURNS void LANGUAGE plpgsql AS $$
    BEGIN
        DELETE FROM {schema}.passage WHERE log = of_log AND seq = 0;
        IF words IS NOT NULL THEN
            INSERT INTO {schema}.passage VALUES (of_log, 0, words, array_to_tsvector(lexemes));
        END IF;
    END $$
    """,
    # Members of ``given`` that are absent are not changed. No row if there is no such session.
    """
    CREATE OR REPLACE FUNCTION {schema}.update_session(
        of_id text, given jsonb, keep_title boolean, words text, lexemes text[]
    ) RETURNS SETOF {schema}.session
    LANGUAGE plpgsql SET lock_timeout = '3s' AS $$
    DECLARE
        was {schema}.session;
        now_is {schema}.session;
    BEGIN
        SELECT * INTO was FROM {schema}.session WHERE id = of_id FOR NO KEY UPDATE;
        IF NOT FOUND THEN
            RETURN;
        END IF;
        UPDATE {schema}.session SET
            title = CASE WHEN keep_title AND was.title <> '' THEN was.title
                         ELSE coalesce(given ->> 'title', was.title) END,
            metadata = coalesce(given ->> 'metadata', was.metadata),
            agent = coalesce(given ->> 'agent', was.agent),
            retention = CASE WHEN given ? 'retention' THEN (given ->> 'retention')::float8
                             ELSE was.retention END,
            updated = {schema}.seconds()
        WHERE log = was.log RETURNING * INTO now_is;
        IF now_is.title IS DISTINCT FROM was.title THEN
            PERFORM {schema}.index_title(was.log, words, lexemes);
        END IF;
        RETURN NEXT now_is;
    END $$
    """,
    """
    CREATE OR REPLACE FUNCTION {schema}.delete_session(of_id text, if_updated float8)
    RETURNS boolean LANGUAGE plpgsql SET lock_timeout = '3s' AS $$
    DECLARE
        gone {schema}.session;
    BEGIN
        SELECT * INTO gone FROM {schema}.session WHERE id = of_id FOR UPDATE;
        IF NOT FOUND THEN
            RETURN true;
        END IF;
        IF if_updated IS NOT NULL AND (if_updated <> gone.updated OR gone.holder IS NOT NULL
            AND {schema}.is_valid(gone.expires, gone.ttl, {schema}.seconds())) THEN
            RETURN false;
        END IF;
        INSERT INTO {schema}.deleted VALUES (of_id);
        DELETE FROM {schema}.event WHERE log = gone.log;
        DELETE FROM {schema}.key WHERE log = gone.log;
        DELETE FROM {schema}.carried WHERE log = gone.log;
        DELETE FROM {schema}.passage WHERE log = gone.log;
        DELETE FROM {schema}.session WHERE log = gone.log;
        RETURN true;
    END $$
    """,
    """
    CREATE OR REPLACE FUNCTION {schema}.compact(
        of_id text, first bigint, last bigint, items jsonb, datas bytea
    ) RETURNS boolean LANGUAGE plpgsql SET lock_timeout = '3s' AS $$
    DECLARE
        of_log bigint;
    BEGIN
        SELECT log INTO of_log FROM {schema}.session WHERE id = of_id FOR NO KEY UPDATE;
        IF NOT FOUND THEN
            RETURN false;
        END IF;
        DELETE FROM {schema}.event WHERE log = of_log AND seq BETWEEN first AND last;
        INSERT INTO {schema}.event (log, seq, tag, data)
        SELECT of_log, seq, tag, substring(datas FROM start FOR size)
        FROM jsonb_to_recordset(items) AS given (seq bigint, tag text, start int, size int);
        RETURN true;
    END $$
    """,
    # No row: no such session. No token: another owner has it.
    """
    CREATE OR REPLACE FUNCTION {schema}.take_lease(of_id text, of_owner text, for_time float8)
    RETURNS TABLE (token text) LANGUAGE plpgsql SET lock_timeout = '3s' AS $$
    DECLARE
        held {schema}.session;
        clock float8;
    BEGIN
        SELECT * INTO held FROM {schema}.session WHERE id = of_id FOR NO KEY UPDATE;
        IF NOT FOUND THEN
            RETURN;
        END IF;
        clock := {schema}.seconds();
        IF held.holder IS NULL OR NOT {schema}.is_valid(held.expires, held.ttl, clock) THEN
            held.fence := held.fence + 1;
        ELSIF held.holder <> of_owner THEN
            RETURN NEXT;
            RETURN;
        END IF;
        UPDATE {schema}.session
        SET holder = of_owner, expires = clock + for_time, ttl = for_time, fence = held.fence
        WHERE log = held.log;
        token := held.epoch || ':' || held.fence;
        RETURN NEXT;
    END $$
    """,
    """
    CREATE OR REPLACE FUNCTION {schema}.renew_leases(of_owner text, ids text[], for_time float8)
    RETURNS SETOF text LANGUAGE plpgsql SET lock_timeout = '3s' AS $$
    BEGIN
        PERFORM 1 FROM {schema}.session WHERE id = ANY (ids) AND holder = of_owner
        ORDER BY id FOR NO KEY UPDATE;
        RETURN QUERY UPDATE {schema}.session
        SET expires = {schema}.seconds() + for_time, ttl = for_time
        WHERE id = ANY (ids) AND holder = of_owner
            AND {schema}.is_valid(expires, ttl, {schema}.seconds())
        RETURNING id;
    END $$
    """,
    # ``batches``: what is new in the index of a few logs. One whose log was changed or indexed
    # meanwhile is left out.
    """
    CREATE OR REPLACE FUNCTION {schema}.index_messages(batches jsonb)
    RETURNS void LANGUAGE plpgsql SET lock_timeout = '3s' AS $$
    DECLARE
        item record;
    BEGIN
        FOR item IN SELECT * FROM jsonb_to_recordset(batches) AS given (
            id text, log bigint, indexed bigint, through bigint, replaces boolean,
            passages jsonb
        ) ORDER BY id COLLATE "C" LOOP
            UPDATE {schema}.session SET indexed = item.through
            WHERE id = item.id AND log = item.log AND indexed = item.indexed;
            IF NOT FOUND THEN
                CONTINUE;
            END IF;
            IF item.replaces THEN
                DELETE FROM {schema}.passage WHERE log = item.log AND seq > 0;
            END IF;
            INSERT INTO {schema}.passage
            SELECT item.log, item.through, words, array_to_tsvector(lexemes)
            FROM jsonb_to_recordset(item.passages) AS one (words text, lexemes text[]);
        END LOOP;
    END $$
    """,
    """
    CREATE OR REPLACE FUNCTION {schema}.beat(
        of_id text, of_instance text, of_data bytea, for_time float8
    ) RETURNS boolean LANGUAGE plpgsql SET lock_timeout = '3s' AS $$
    DECLARE
        clock float8 := {schema}.seconds();
    BEGIN
        DELETE FROM {schema}.node WHERE id IN (
            SELECT id FROM {schema}.node WHERE expires < clock - 3600 FOR UPDATE SKIP LOCKED
        );
        INSERT INTO {schema}.node AS known VALUES
            (of_id, of_instance, of_data, clock + for_time, for_time)
        ON CONFLICT (id) DO UPDATE SET instance = EXCLUDED.instance, data = EXCLUDED.data,
            expires = EXCLUDED.expires, ttl = EXCLUDED.ttl
        WHERE known.instance = of_instance
            OR NOT {schema}.is_valid(known.expires, known.ttl, {schema}.seconds());
        RETURN FOUND;
    END $$
    """,
)
