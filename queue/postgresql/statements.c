/* The SQL of the queue; schema.c has its tables. Identities are (source, key), events (source, id).
 *
 * A statement that takes ids of events locks `event` before it does: who is asked for in STATEMENT_WRITERS may still
 * fill a gap. The rows that a settling is about are locked by it, for a move may take them away meanwhile. */
#include "queue/postgresql/statements.h"

/* In the order of their ids, up to a count and so many bytes, the first in any case. */
#define WITHIN(columns, from, count, bytes)                                                                            \
    "SELECT " columns " FROM (SELECT *, sum(octet_length(body)) OVER (ORDER BY id) AS total,"                          \
    " row_number() OVER (ORDER BY id) AS n FROM (SELECT " from " ORDER BY id LIMIT " count ") e) e"                    \
    " WHERE total <= " bytes " OR n = 1 ORDER BY id"

#define COUNT_OF(kind) "coalesce((SELECT n FROM count WHERE source = s.number AND kind = " kind "), 0), "

#define NEWER_WINS                                                                                                     \
    " ON CONFLICT (source, key) DO UPDATE SET updated = greatest(k.updated, excluded.updated),"                        \
    " at = greatest(k.at, excluded.at)"
#define ADDS " ON CONFLICT (source, kind) DO UPDATE SET n = n.n + excluded.n"
#define LATER_WINS " ON CONFLICT (source, kind) DO UPDATE SET n = greatest(n.n, excluded.n)"

#define NOW "(extract(epoch FROM clock_timestamp()) * 1000)::int8"

#define ADVISORY "locktype = 'advisory' AND classid = 1131176803 AND objsubid = 2 AND granted"
#define HERE "database = (SELECT oid FROM pg_database WHERE datname = current_database())"

/* What is asked for, as rows. The source stands beside each: were it compared with $1, the planner could walk all rows
 * of the source and look each up here. OFFSET 0: it may not see through this. */
#define ASKED(columns, arrays)                                                                                         \
    "(SELECT $1::int4 AS source, v.* FROM unnest(" arrays ") WITH ORDINALITY AS v (" columns ", n) OFFSET 0) v"
#define DEAD ASKED("id, key, updated, reason", "$2::int8[], $3::uuid[], $4::int8[], $5::text[]")
#define VERDICTS ASKED("id, kind, key, updated", "$2::int8[], $3::int2[], $4::uuid[], $5::int8[]")
#define KEYS ASKED("key", "$2::uuid[]")
#define EVENTS "event e ON e.source = v.source AND e.id = v.id"
#define LETTERS "letter l ON l.source = v.source AND l.key = v.key"

const char *const pg_statement_texts[STATEMENTS] = {
    [STATEMENT_SETUP] =
        "SELECT coalesce(current_setting('closecrm.direct', true), ''), version,"
        " (to_regclass('closecrm.kept') IS NOT NULL AND to_regclass('closecrm.said') IS NOT NULL)::int4 FROM meta",
    [STATEMENT_SOURCES] = "SELECT number, name FROM source ORDER BY number",
    [STATEMENT_LOCK] = "SELECT pg_advisory_xact_lock(1131176803, 1)",
    [STATEMENT_ADD_SOURCE] = "INSERT INTO source (number, name) SELECT coalesce(max(number), 0) + 1, $1 FROM source"
                             " ON CONFLICT (name) DO UPDATE SET name = excluded.name RETURNING number",

    [STATEMENT_MARK_GROUP] = "INSERT INTO appended (writer, n, made) VALUES ($1, $2, " NOW ")",
    [STATEMENT_APPEND] =
        "INSERT INTO event (source, id, received, body)"
        " SELECT s, nextval(('id_' || s)::regclass), $2, b FROM unnest($1::int4[], $3::bytea[]) AS v (s, b)"
        /* under its own source, or not at all: the session has learnt the numbers some time ago */
        " WHERE (SELECT 1 / (count(*) = cardinality($4::int4[]))::int4 FROM unnest($4::int4[], $5::text[])"
        " AS n (number, name) JOIN source USING (number, name)) = 1",
    [STATEMENT_PROVE] = "INSERT INTO appended (writer, n, made) VALUES ($1, $2, " NOW ")"
                        " ON CONFLICT (writer, n) DO UPDATE SET made = excluded.made + 1",
    /* estimates, for counting millions takes a second */
    [STATEMENT_FULLNESS] = "SELECT coalesce((SELECT n_live_tup FROM pg_stat_user_tables"
                           " WHERE relid = 'event'::regclass), 0) * coalesce((SELECT avg(octet_length(body))::int8 + 60"
                           " FROM (SELECT body FROM event ORDER BY source, id LIMIT 100) b), 0),"
                           " pg_total_relation_size('known'), greatest(pg_total_relation_size('letter') - 65536, 0)",
    [STATEMENT_HAS_OWNER] = "SELECT 1 FROM pg_locks WHERE " HERE " AND " ADVISORY " AND objid::int8 = $1",

    [STATEMENT_CLAIM] = "SELECT pg_try_advisory_lock(1131176803, 0)::int4",
    [STATEMENT_ENTER] = "SELECT pg_try_advisory_lock_shared(1131176803, 0)::int4,"
                        " CASE WHEN $1 = 1 THEN pg_try_advisory_lock_shared(1131176803, 2) END::int4",
    /* one after another, until there are enough; OFFSET 0: for each once */
    [STATEMENT_CLAIM_SOURCES] = "SELECT n FROM (SELECT n FROM unnest($1::int4[]) AS v (n) OFFSET 0) v"
                                " WHERE pg_try_advisory_lock(1131176803, 16 + n) LIMIT $2",
    [STATEMENT_YIELD] = "SELECT pg_advisory_unlock(1131176803, 16 + $1)",
    [STATEMENT_KEEP] = "SELECT pg_try_advisory_lock(1131176803, 3)::int4",
    [STATEMENT_KEPT] = "SELECT pg_advisory_unlock(1131176803, 3)",
    [STATEMENT_OWNER] = "SELECT coalesce(a.application_name, ''), count(*) FROM pg_locks l LEFT JOIN pg_stat_activity a"
                        " ON a.pid = l.pid WHERE l." HERE " AND l." ADVISORY " AND l.objid::int8 > 16 GROUP BY a.pid, 1"
                        " ORDER BY 1",
    [STATEMENT_LAST_ID] = "SELECT coalesce(pg_sequence_last_value(('id_' || $1::int4)::regclass), 0)",
    [STATEMENT_BEAT] =
        "SELECT " NOW ","
        " EXISTS (SELECT 1 FROM request WHERE state IN (0, 4))::int4, EXISTS (SELECT 1 FROM letter)::int4,"
        " (SELECT count(*) FROM pg_locks WHERE " HERE " AND " ADVISORY " AND objid = 2)",
    [STATEMENT_WRITERS] = "SELECT virtualtransaction FROM pg_locks WHERE locktype = 'relation' AND " HERE
                          " AND relation = 'event'::regclass AND mode = 'RowExclusiveLock' AND granted"
                          " AND pid <> pg_backend_pid() AND ($1::text[] IS NULL OR virtualtransaction = ANY ($1))",

    [STATEMENT_NEXT] = WITHIN("id, received, letter, body",
                              "id, received, letter, body FROM event WHERE source = $1 AND id > $2", "$3", "$4"),
    /* NULL in the place of bodies that are too many */
    [STATEMENT_AGAIN] = "SELECT n, id, received, letter, CASE WHEN total <= $3 OR total = length THEN body END"
                        " FROM (SELECT v.n, e.*, octet_length(e.body) AS length,"
                        " sum(octet_length(e.body)) OVER (ORDER BY v.n) AS total"
                        " FROM " ASKED("id", "$2::int8[]") " JOIN " EVENTS ") e ORDER BY n",

    [STATEMENT_KNOWN] = "SELECT v.n, k.updated FROM " KEYS " JOIN known k ON k.source = v.source AND k.key = v.key"
                        " WHERE k.at >= $3",
    [STATEMENT_DEAD_KNOWN] = "SELECT v.n, max(l.updated), min(l.updated) FROM " KEYS " JOIN " LETTERS " GROUP BY v.n",

    /* a replay that died again has its letter still, unless somebody has thrown that away */
    [STATEMENT_DIED_AGAIN] = "WITH e AS (SELECT e.letter, v.* FROM " DEAD " JOIN " EVENTS " WHERE e.letter IS NOT NULL"
                             " FOR UPDATE OF e)"
                             " UPDATE letter l SET replayed = NULL, died = $6, reason = e.reason, key = e.key,"
                             " updated = e.updated FROM e WHERE l.id = e.letter",
    [STATEMENT_DIES] = "INSERT INTO letter (source, key, updated, received, died, reason, body)"
                       " SELECT v.source, v.key, v.updated, e.received, $6, v.reason, e.body FROM " DEAD " JOIN " EVENTS
                       " WHERE e.letter IS NULL OR NOT EXISTS (SELECT 1 FROM letter l WHERE l.id = e.letter)"
                       " ORDER BY e.id FOR UPDATE OF e",
    [STATEMENT_RESOLVE] = "DELETE FROM letter WHERE id IN (SELECT e.letter FROM " VERDICTS " JOIN " EVENTS
                          " WHERE v.kind <> 4 AND e.letter IS NOT NULL"
                          " UNION ALL SELECT l.id FROM " VERDICTS " JOIN " EVENTS " JOIN " LETTERS
                          " WHERE v.kind <> 4 AND l.updated <= v.updated)", /* of an event that is gone nothing ends */
    /* what is gone counts nothing */
    [STATEMENT_SETTLE] =
        "WITH gone AS (DELETE FROM event e USING " VERDICTS " WHERE e.source = v.source AND e.id = v.id"
        " RETURNING e.received, v.kind, v.key, v.updated),"
        " kn AS (INSERT INTO known AS k (source, at, key, updated) SELECT $1, $6, key, max(updated) FROM gone"
        " WHERE key IS NOT NULL AND kind IN (1, 3, 5) GROUP BY key" NEWER_WINS "),"
        " times AS (INSERT INTO count AS n (source, kind, n) SELECT $1, 9::int2, max(received) FROM gone"
        " HAVING count(*) > 0 UNION ALL SELECT $1, 8::int2, $6 FROM gone WHERE kind = 1 HAVING count(*) > 0"
        /* a later one is from before the clock was set back */
        " ON CONFLICT (source, kind) DO UPDATE SET n = CASE WHEN n.n > $6 THEN excluded.n"
        " ELSE greatest(n.n, excluded.n) END)"
        " INSERT INTO count AS n (source, kind, n) SELECT $1, least(kind, 4::int2), count(*) FROM gone" /* erased: dead
                                                                                                         */
        " GROUP BY 2" ADDS,

    [STATEMENT_NOTE] = "SELECT tries, since, next, operator, made_with, reason FROM note WHERE source = $1",
    [STATEMENT_PARKED] = "SELECT id, since FROM parked WHERE source = $1 ORDER BY id",
    [STATEMENT_SET_NOTE] =
        "INSERT INTO note (source, tries, since, next, operator, made_with, reason)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (source) DO UPDATE SET tries = excluded.tries,"
        " since = excluded.since, next = excluded.next, operator = excluded.operator, made_with = excluded.made_with,"
        " reason = excluded.reason",
    [STATEMENT_CLEAR_PARKED] = "DELETE FROM parked WHERE source = $1",
    [STATEMENT_SET_PARKED] = "INSERT INTO parked (source, id, since)"
                             " SELECT $1, v.id, max(v.since) FROM unnest($2::int8[], $3::int8[]) AS v (id, since)"
                             " GROUP BY v.id",

    /* one snapshot; $2: a letter that died before it ends soon */
    [STATEMENT_COUNTS] = "SELECT " COUNT_OF("1") COUNT_OF("2") COUNT_OF("3") COUNT_OF("4") COUNT_OF("5") COUNT_OF("12")
        COUNT_OF("10") COUNT_OF("8")
            COUNT_OF("9") "(SELECT count(*) FROM event WHERE source = s.number),"
                          " (SELECT received FROM event WHERE source = s.number ORDER BY id LIMIT 1),"
                          " (SELECT received FROM event WHERE source = s.number ORDER BY id DESC LIMIT 1),"
                          " (SELECT count(*) FROM letter WHERE source = s.number AND replayed IS NULL),"
                          " (SELECT count(*) FROM letter WHERE source = s.number AND replayed IS NULL AND died < $2),"
                          " (SELECT min(died) FROM letter WHERE source = s.number AND replayed IS NULL AND died < $2),"
                          " (SELECT made FROM meta) FROM source s WHERE s.name = $1",

    [STATEMENT_LETTERS] = WITHIN("id, name, reason, received, died, replayed, body",
                                 "l.*, s.name FROM letter l JOIN source s ON s.number = l.source"
                                 " WHERE l.id > $1 AND ($2::text IS NULL OR s.name = $2)",
                                 "$3", "$4"),
    [STATEMENT_REPLAY] =
        "WITH l AS (SELECT id, source, received, body FROM letter WHERE id = ANY ($1::int8[]) AND replayed IS NULL"
        " ORDER BY id FOR UPDATE),"
        " e AS (INSERT INTO event (source, id, received, letter, body)"
        " SELECT source, nextval(('id_' || source)::regclass), received, id, body FROM l),"
        " u AS (UPDATE letter SET replayed = $2 FROM l WHERE letter.id = l.id),"
        " c AS (INSERT INTO count AS n (source, kind, n) SELECT source, 5::int2, count(*) FROM l GROUP BY source" ADDS
        ") SELECT count(*) FROM l",
    /* its identity stays known, as after an end; of one being replayed that would make its event a duplicate */
    [STATEMENT_DISCARD] =
        "WITH l AS (DELETE FROM letter WHERE id = ANY ($1::int8[]) AND replayed IS NULL"
        " RETURNING source, died, key, updated),"
        " kn AS (INSERT INTO known AS k (source, at, key, updated) SELECT source, max(died), key, max(updated) FROM l"
        " WHERE key IS NOT NULL AND died >= $2 GROUP BY source, key" NEWER_WINS ") SELECT count(*) FROM l",
    [STATEMENT_EXPIRE] =
        "WITH l AS (DELETE FROM letter WHERE id IN (SELECT id FROM letter WHERE died < $1 AND replayed IS NULL"
        " ORDER BY died LIMIT $2) AND replayed IS NULL RETURNING id, source, died, key, updated),"
        " kn AS (INSERT INTO known AS k (source, at, key, updated) SELECT source, max(died), key, max(updated) FROM l"
        " WHERE key IS NOT NULL AND died >= $3 GROUP BY source, key" NEWER_WINS "),"
        " c AS (INSERT INTO count AS n (source, kind, n) SELECT source, 12::int2, count(*) FROM l GROUP BY source" ADDS
        ") SELECT s.name, count(*), min(l.id), max(l.id) FROM l JOIN source s ON s.number = l.source GROUP BY s.name",
    [STATEMENT_MADE] = "SELECT made, pg_relation_size('known') / current_setting('block_size')::int8 FROM meta",
    [STATEMENT_FORGET] = "DELETE FROM known WHERE ctid >= ('(' || $1::int8 || ',0)')::tid"
                         " AND ctid < ('(' || $2::int8 || ',0)')::tid AND at < $3",
    [STATEMENT_FORGET_GROUPS] = "DELETE FROM appended WHERE made < " NOW " - 3600000",

    /* by the server's clock: who asks and who answers may be on two machines */
    [STATEMENT_ASK] = "INSERT INTO request (source, event, made, key, updated, state, words)"
                      " VALUES ($1, $2, " NOW ", $3, $4, $5, $6) RETURNING number",
    [STATEMENT_ANSWER] = "SELECT state, words FROM request WHERE number = $1",
    [STATEMENT_WITHDRAW] = "DELETE FROM request WHERE number = $1 AND (state IN (0, 4) OR $2 = 1)",
    /* $1: the sources that it forwards, $2: those that anybody could: the rest is whoever's comes first */
    [STATEMENT_TAKE_REQUEST] =
        "UPDATE request SET state = 1 WHERE number = (SELECT number FROM request WHERE state IN (0, 4)"
        " AND (source = ANY ($1) OR source <> ALL ($2)) ORDER BY number LIMIT 1"
        " FOR UPDATE SKIP LOCKED) RETURNING number, source, event, key, updated, words",
    [STATEMENT_SET_REQUEST] = "UPDATE request SET state = $2, words = $3 WHERE number = $1 AND state = 1",
    [STATEMENT_FORGET_REQUESTS] = "DELETE FROM request WHERE abs(made - " NOW ") > 60000",

    [STATEMENT_MOVE_KNOWN] =
        "WITH k AS (DELETE FROM known k USING (SELECT source, key FROM known WHERE source = $1 ORDER BY key LIMIT $3) v"
        " WHERE k.source = v.source AND k.key = v.key RETURNING k.at, k.key, k.updated),"
        " i AS (INSERT INTO known AS k (source, at, key, updated) SELECT $2, at, key, updated FROM k" NEWER_WINS
        " WHERE excluded.updated > k.updated OR excluded.at > k.at RETURNING 1)"
        " SELECT (SELECT count(*) FROM k), (SELECT count(*) FROM i)",
    [STATEMENT_MOVE_EVENTS] =
        "WITH m AS (DELETE FROM event e USING (SELECT source, id FROM event WHERE source = $1 ORDER BY id LIMIT $3) v"
        " WHERE e.source = v.source AND e.id = v.id RETURNING e.id, e.received, e.letter, e.body),"
        " i AS (INSERT INTO event (source, id, received, letter, body)"
        " SELECT $2, nextval((SELECT ('id_' || $2)::regclass)), received, letter, body FROM"
        " (SELECT * FROM m ORDER BY id) m),"
        /* the newest that waits there will not be the last one any more */
        " times AS (INSERT INTO count AS n (source, kind, n) SELECT $2, 9::int2, max(received) FROM (SELECT received"
        " FROM m UNION ALL (SELECT received FROM event WHERE source = $2 ORDER BY id DESC LIMIT 1)) r"
        " HAVING count(*) > 0" LATER_WINS ") SELECT count(*), count(*) FROM m",
    [STATEMENT_MOVE_LETTERS] = "WITH l AS (UPDATE letter SET source = $2 WHERE id IN (SELECT id FROM letter"
                               " WHERE source = $1 ORDER BY id LIMIT $3) RETURNING 1) SELECT count(*), count(*) FROM l",
    [STATEMENT_MOVE_COUNTS] =
        "WITH c AS (DELETE FROM count WHERE source = $1 RETURNING kind, n), d AS (DELETE FROM note WHERE source = $1),"
        " e AS (DELETE FROM parked WHERE source = $1)"
        " INSERT INTO count AS n (source, kind, n) SELECT $2, kind, n FROM c ON CONFLICT (source, kind) DO UPDATE"
        " SET n = CASE WHEN n.kind IN (8, 9) THEN greatest(n.n, excluded.n) ELSE n.n + excluded.n END",

    /* The row without a path numbers all changes, and has them one after the other; it is changed first. A change that
     * was made already is made once more, for only a commit proves that it is on all standbys. */
    [STATEMENT_KEPT_VERSION] = "SELECT version, encode(value, 'hex') FROM kept WHERE path = ''",
    [STATEMENT_KEPT_ALL] = "SELECT path, value, version, encode(value, 'hex') FROM kept ORDER BY path",
    [STATEMENT_KEPT_NEXT] = "UPDATE kept SET version = version + 1 WHERE path = ''",
    [STATEMENT_KEPT_PUT] =
        "INSERT INTO kept AS k (path, value, version) SELECT $1, $2, n.version FROM kept n WHERE n.path = ''"
        " AND ($3 = 0 OR EXISTS (SELECT 1 FROM kept WHERE path = $1)) ON CONFLICT (path) DO UPDATE"
        " SET value = excluded.value, version = excluded.version WHERE k.version = $3 OR k.value = excluded.value"
        " RETURNING k.version",
    [STATEMENT_KEPT_REMOVE] = "WITH k AS (DELETE FROM kept WHERE path = $1 AND version = $2)"
                              " SELECT count(*) FROM kept WHERE path = $1 AND version <> $2",
    [STATEMENT_KEPT_ADD] = "INSERT INTO kept (path, value, version) SELECT $1, $2, n.version FROM kept n"
                           " WHERE n.path = '' ON CONFLICT (path) DO NOTHING",
    [STATEMENT_KEPT_LOCK] = "SELECT pg_try_advisory_lock($1)::int4",
    [STATEMENT_KEPT_LOCKER] = "SELECT a.application_name FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid"
                              " WHERE l." HERE " AND l.locktype = 'advisory' AND l.objsubid = 1 AND l.granted"
                              " AND (l.classid::int8 << 32 | l.objid::int8) = $1",

    [STATEMENT_GUARD] =
        "SELECT 1 / ('event'::regclass::oid::int8 = $1 AND pg_relation_filenode('source'::regclass)::int8"
        " = $2 AND (SELECT count(*) FROM meta) = 1)::int4",
    [STATEMENT_PROBE] = "UPDATE meta SET probed = $1",
    [STATEMENT_CHECK] =
        "SELECT 'fsync is off: a power cut loses what was accepted' WHERE current_setting('fsync') = 'off'"
        " UNION ALL SELECT 'full_page_writes is off: a power cut can damage the database'"
        " WHERE current_setting('full_page_writes') = 'off'"
        " UNION ALL SELECT 'source ' || name || ' has events beyond the last id that was given: was a dump restored"
        " without its sequences?' FROM source WHERE (SELECT max(id) FROM event WHERE source = number)"
        " > coalesce(pg_sequence_last_value(('id_' || number)::regclass), 0)"
        " UNION ALL SELECT 'there are events of a source that is not in the table source' WHERE EXISTS (SELECT 1"
        " FROM event e WHERE NOT EXISTS (SELECT 1 FROM source WHERE number = e.source))",
};
