/* The tables of the queue, in a schema of their own, and the numbers of sources. */
#include <stdio.h>

#include "queue/postgresql/session.h"

#define MAKING_MS 30000

/* received, died, at, made: Unix time in ms; updated: date_updated in µs. event: letter is the dead letter that it
 * replays. The ids of a source come from a sequence of its own, id_NUMBER, and follow each other: never CACHE.
 * appended: a group of appends, by which one that may have been committed is known. count: few rows, updated often.
 * kept: the originals of kept/copies.h, by their paths; the row without one has the number of the last change, and a
 * name of this database. It came later than the others: a release that does not know it goes on working beside one that
 * does, with keys of its own, so meta.version is the same. So did said: what each machine says of itself, by its name;
 * the row without one has the number of the last change. Its rows are few and updated often. */
static const char tables[] =
    "BEGIN; SELECT pg_advisory_xact_lock(1131176803, 1); DO $$BEGIN IF to_regclass('closecrm.meta') IS NULL THEN "
    "CREATE SCHEMA IF NOT EXISTS closecrm;"
    "CREATE TABLE source (number int4 PRIMARY KEY, name text NOT NULL UNIQUE);"
    "CREATE TABLE event (source int4 NOT NULL, id int8 NOT NULL, received int8 NOT NULL, letter int8,"
    " body bytea NOT NULL, PRIMARY KEY (source, id));"
    "CREATE TABLE appended (writer int8 NOT NULL, n int8 NOT NULL, made int8 NOT NULL, PRIMARY KEY (writer, n));"
    "CREATE TABLE known (source int4 NOT NULL, at int8 NOT NULL, key uuid NOT NULL, updated int8 NOT NULL,"
    " PRIMARY KEY (source, key));"
    "CREATE TABLE count (source int4 NOT NULL, kind int2 NOT NULL, n int8 NOT NULL, PRIMARY KEY (source, kind))"
    " WITH (fillfactor = 10);"
    "CREATE TABLE letter (id int8 PRIMARY KEY GENERATED ALWAYS AS IDENTITY, source int4 NOT NULL, key uuid, updated "
    "int8,"
    " received int8 NOT NULL, died int8 NOT NULL, replayed int8, reason text NOT NULL, body bytea NOT NULL);"
    "CREATE INDEX letter_key ON letter (source, key);"
    "CREATE INDEX letter_died ON letter (died);"
    "CREATE TABLE note (source int4 PRIMARY KEY, tries int4 NOT NULL, since int8 NOT NULL, next int8 NOT NULL,"
    " operator int4 NOT NULL, made_with int8 NOT NULL, reason text NOT NULL);"
    "CREATE TABLE parked (source int4 NOT NULL, id int8 NOT NULL, since int8 NOT NULL, PRIMARY KEY (source, id));"
    "CREATE TABLE request (number int8 PRIMARY KEY GENERATED ALWAYS AS IDENTITY, source text NOT NULL,"
    " event int8 NOT NULL, made int8 NOT NULL, key uuid, updated int8 NOT NULL, state int4 NOT NULL DEFAULT 0,"
    " words text NOT NULL DEFAULT '');"
    "CREATE TABLE meta (version int4 NOT NULL, made int8 NOT NULL, probed int8 NOT NULL);"
    "INSERT INTO meta SELECT 1, (extract(epoch FROM clock_timestamp()) * 1000)::int8, 0;"
    /* packs twice as much as the default; not every server is built with it */
    "BEGIN ALTER TABLE event ALTER body SET COMPRESSION lz4; ALTER TABLE letter ALTER body SET COMPRESSION lz4;"
    " EXCEPTION WHEN feature_not_supported THEN NULL; END;"
    "END IF;"
    "IF to_regclass('closecrm.kept') IS NULL THEN "
    "CREATE TABLE kept (path text PRIMARY KEY, value bytea NOT NULL, version int8 NOT NULL);"
    "INSERT INTO kept VALUES ('', uuid_send(gen_random_uuid()), 1);"
    "END IF;"
    "IF to_regclass('closecrm.said') IS NULL THEN "
    "CREATE TABLE said (machine text NOT NULL, name text NOT NULL, version int8 NOT NULL, at int8 NOT NULL,"
    " value bytea NOT NULL, PRIMARY KEY (machine, name)) WITH (fillfactor = 50);"
    "INSERT INTO said VALUES ('', '', 1, 0, '');"
    "END IF; END$$; ";

/* Ends the transaction that a failure left. */
static enum pg_outcome give_up(struct pg_session *session, enum pg_outcome result)
{
    struct error why = session->why;
    if (session->connection != NULL)
        pg_session_text(session, "ROLLBACK", MAKING_MS);
    session->why = why;
    return result;
}

enum pg_outcome pg_schema_make(struct pg_session *session)
{
    char text[sizeof tables + sizeof "ROLLBACK"];
    snprintf(text, sizeof text, "%s%s", tables, session->rehearses ? "ROLLBACK" : "COMMIT");
    enum pg_outcome result = pg_session_text(session, text, MAKING_MS);
    if (result == PG_DONE)
        return result;
    give_up(session, result);
    error_prefix(&session->why, "the tables of the queue cannot be made: ");
    return result;
}

enum pg_outcome pg_schema_make_sequences(struct pg_session *session)
{
    static const char text[] =
        "BEGIN; SELECT pg_advisory_xact_lock(1131176803, 1); DO $$DECLARE n int4; BEGIN"
        " FOR n IN SELECT number FROM source WHERE to_regclass('closecrm.id_' || number) IS NULL LOOP"
        /* no source has had so many ids */
        " EXECUTE format('CREATE SEQUENCE id_%s START WITH %s', n, (extract(epoch FROM clock_timestamp()) * "
        "1000)::int8);"
        "END LOOP; END$$; COMMIT";
    enum pg_outcome result = pg_session_text(session, text, MAKING_MS);
    return result == PG_DONE ? result : give_up(session, result);
}

enum pg_outcome pg_schema_add_source(struct pg_session *session, const char *source)
{
    PGresult *added = NULL;
    struct params params = {.count = 0};
    char text[96];
    params_text(&params, source);
    enum pg_outcome result = pg_session_text(session, "BEGIN", MAKING_MS);
    if (result == PG_DONE)
        result = pg_session_run(session, STATEMENT_LOCK, NULL, NULL);
    if (result == PG_DONE)
        result = pg_session_run(session, STATEMENT_ADD_SOURCE, &params, &added);
    if (result == PG_DONE) {
        snprintf(text, sizeof text, "CREATE SEQUENCE IF NOT EXISTS id_%lld; COMMIT",
                 (long long)result_int(added, 0, 0));
        result = pg_session_text(session, text, MAKING_MS);
    }
    PQclear(added);
    return result == PG_DONE ? result : give_up(session, result);
}
