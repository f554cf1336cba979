/* What each machine says of itself (kept/kept.h): rows of the table `said`. Like changes of what is kept they are
 * numbered in the order of their commits, so who has heard all until a number asks for those beyond it. A row is
 * written anew every few seconds, and none that is lost with a server does harm: nothing waits for a disk or a standby.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/files.h"
#include "kept/heard.h"
#include "queue/postgresql/kept.h"

#define HEAR_AT_ONCE 256
#define HEAR_MOST 40 /* times that many */

/* Of a table that somebody has emptied the clock is the number to begin with: beyond all that was heard before. */
static const char say_number[] =
    "INSERT INTO said AS s VALUES ('', '', (extract(epoch FROM clock_timestamp()) * 1000)::int8, 0, '')"
    " ON CONFLICT (machine, name) DO UPDATE SET version = s.version + 1";
static const char say_records[] =
    "INSERT INTO said AS s (machine, name, version, at, value)"
    " SELECT v.machine, v.name, n.version, (extract(epoch FROM clock_timestamp()) * 1000)::int8, v.value"
    " FROM said n, unnest($1::text[], $2::text[], $3::bytea[]) AS v (machine, name, value) WHERE n.machine = ''"
    " ON CONFLICT (machine, name) DO UPDATE SET version = excluded.version, at = excluded.at, value = excluded.value";
static const char hear_origin[] = "SELECT encode(k.value, 'hex'), coalesce(s.version, 0) FROM kept k"
                                  " LEFT JOIN said s ON s.machine = '' WHERE k.path = ''";
/* What was said at once is heard at once, however much it is; `day` before `now`. */
static const char hear_records[] =
    "SELECT machine, name, version, value FROM (SELECT * FROM said WHERE machine <> '' AND machine <> $1"
    " AND version > $2 ORDER BY version FETCH FIRST ($3) ROWS WITH TIES) s ORDER BY version, name";

struct exchange {
    struct pg_session *session;
    const struct kept_speaker *speaker;
    struct heard heard;
    const char *state_dir;
    const char *machine;
};

static enum pg_outcome say(struct pg_session *session, const struct kept_record *records, size_t count)
{
    struct params params = {.count = 0};
    struct array machines = {.type = TYPE_TEXT}, names = {.type = TYPE_TEXT}, values = {.type = TYPE_BYTEA};
    for (size_t i = 0; i < count; i++) {
        array_add(&machines, records[i].machine, strlen(records[i].machine));
        array_add(&names, records[i].name, strlen(records[i].name));
        array_add(&values, records[i].bytes, records[i].length);
    }
    enum pg_outcome result = PG_LOST;
    if (params_array(&params, &machines) && params_array(&params, &names) && params_array(&params, &values)) {
        pg_session_send_text(session, "SELECT set_config('synchronous_commit', 'off', true)", NULL);
        pg_session_send_text(session, say_number, NULL);
        pg_session_send_text(session, say_records, &params);
        result = pg_session_finish(session, NULL);
    } else {
        error_set(&session->why, "out of memory");
    }
    buffer_free(&machines.bytes);
    buffer_free(&names.bytes);
    buffer_free(&values.bytes);
    return result;
}

bool pg_kept_say(void *state, const struct kept_record *records, size_t count, struct error *why)
{
    struct pg_kept *kept = state;
    enum pg_outcome result = pg_session_open(&kept->session);
    if (result == PG_DONE)
        result = say(&kept->session, records, count);
    return result == PG_DONE || pg_session_failed(&kept->session, why);
}

/* The place, and whether it went back to an earlier state: then all is heard anew. */
static enum pg_outcome begin(struct exchange *exchange)
{
    PGresult *origin = NULL;
    enum pg_outcome result = pg_session_ask(exchange->session, hear_origin, NULL, &origin);
    if (result == PG_DONE && PQntuples(origin) == 1) {
        heard_begin(exchange->state_dir, &exchange->heard, PQgetvalue(origin, 0, 0));
        if (exchange->heard.version > result_int(origin, 0, 1))
            exchange->heard.version = 0;
    } else if (result == PG_DONE) {
        error_set(&exchange->session->why, PG_KEPT_EMPTY);
        result = PG_WRONG;
    }
    PQclear(origin);
    return result;
}

/* Returns how many there were, or -1. */
static int hear_some(struct exchange *exchange, enum pg_outcome *result)
{
    struct params params = {.count = 0};
    PGresult *rows = NULL;
    params_text(&params, exchange->machine);
    params_int8(&params, exchange->heard.version);
    params_int8(&params, HEAR_AT_ONCE);
    *result = pg_session_ask(exchange->session, hear_records, &params, &rows);
    int count = *result == PG_DONE ? PQntuples(rows) : -1;
    for (int i = 0; i < count; i++) {
        const struct kept_record record = {PQgetvalue(rows, i, 0), PQgetvalue(rows, i, 1), PQgetvalue(rows, i, 3),
                                           (size_t)PQgetlength(rows, i, 3)};
        exchange->speaker->hear(exchange->speaker->context, &record);
        exchange->heard.version = result_int(rows, i, 2);
    }
    PQclear(rows);
    return count;
}

static enum pg_outcome run_exchange(struct exchange *exchange)
{
    struct kept_record records[KEPT_RECORDS];
    const struct kept_speaker *speaker = exchange->speaker;
    enum pg_outcome result = begin(exchange);
    if (result != PG_DONE)
        return result;
    exchange->machine = speaker->name(speaker->context);
    int more = HEAR_AT_ONCE;
    for (unsigned i = 0; result == PG_DONE && more >= HEAR_AT_ONCE && i < HEAR_MOST; i++)
        more = hear_some(exchange, &result);
    if (result == PG_DONE)
        heard_write(exchange->state_dir, &exchange->heard);
    bool says = result == PG_DONE && exchange->machine[0] != '\0';
    size_t count = says ? speaker->say(speaker->context, records) : 0;
    if (count > 0)
        result = say(exchange->session, records, count);
    if (count > 0 && result == PG_DONE)
        speaker->said(speaker->context);
    return result;
}

bool pg_kept_exchange(void *state, const struct kept_speaker *speaker, struct error *why)
{
    struct pg_kept *kept = state;
    char path[FILES_PATH];
    int turn = -1;
    struct exchange exchange = {.session = &kept->session, .speaker = speaker, .state_dir = kept->config->state_dir};
    snprintf(path, sizeof path, "%.4000s/kept.said.lock", kept->config->state_dir);
    int error = lock_take_within(&turn, path, 0);
    if (error != 0) {
        error_set(why, "cannot lock %.300s: %s", path, strerror(error));
        return error == EWOULDBLOCK; /* another process is at it */
    }
    enum pg_outcome result = pg_session_open(&kept->session);
    if (result == PG_DONE)
        result = run_exchange(&exchange);
    if (result != PG_DONE && why != NULL)
        *why = kept->session.why;
    close(turn);
    return result == PG_DONE;
}
