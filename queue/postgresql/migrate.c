/* This engine's side of queue_migrate (queue/migration.h): one session that has the consumer lock, in which each step
 * is a transaction, so that none is made without it; migrate_write.c has what receives. A queue that is marked has the
 * version SCHEMA_MIGRATES, which no session is opened for; the table `migration` has the mark, and with state 0 those
 * that are kept for good, `migrated` how far each part came with which number. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "queue/postgresql/migrate.h"

#define ALONE_WAIT_MS 2000 /* a command may just be looking; the server ends a killed process's session */
#define LOOK_MS 200

static const struct pg_settings moving = {"moves", INSPECT_MS, 0};

/* ---- opening ---- */

static void pg_side_close(void *state)
{
    struct pg_side *side = state;
    pg_session_close(&side->session);
    free(side);
}

static enum pg_outcome try_claim(struct pg_side *side, bool *got)
{
    PGresult *claimed = NULL;
    enum pg_outcome result = pg_session_run(&side->session, STATEMENT_CLAIM, NULL, &claimed);
    *got = result == PG_DONE && result_int(claimed, 0, 0) != 0;
    PQclear(claimed);
    return result;
}

static void pause_a_little(void)
{
    clock_nanosleep(CLOCK_MONOTONIC, 0, &(struct timespec){.tv_nsec = LOOK_MS * 1000000L}, NULL);
}

static bool claim(struct pg_side *side, struct error *why)
{
    bool got;
    moment until = clock_now() + ALONE_WAIT_MS;
    enum pg_outcome result = try_claim(side, &got);
    while (result == PG_DONE && !got && clock_now() < until) {
        pause_a_little();
        result = try_claim(side, &got);
    }
    if (result == PG_DONE && !got)
        error_set(why, "a process forwards from the database of queue_url, or moves its queue: stop the program on all "
                       "machines until the queue is moved");
    return side_done(side, result, why) && got;
}

/* "HOST PROCESS PURPOSE" of a session of this program in the database that is not this process's. */
static enum pg_outcome find_other(struct pg_side *side, char name[static 100])
{
    static const char text[] =
        "SELECT substr(a.application_name, 10) FROM pg_stat_activity a, pg_stat_activity own"
        " WHERE own.pid = pg_backend_pid() AND a.datname = current_database() AND a.application_name LIKE 'closecrm %'"
        " AND (a.client_addr IS DISTINCT FROM own.client_addr OR split_part(a.application_name, ' ', 2)"
        " <> split_part(own.application_name, ' ', 2) OR split_part(a.application_name, ' ', 3)"
        " <> split_part(own.application_name, ' ', 3)) LIMIT 1";
    PGresult *others = NULL;
    enum pg_outcome result = pg_session_ask(&side->session, text, NULL, &others);
    name[0] = '\0';
    if (result == PG_DONE && PQntuples(others) > 0)
        snprintf(name, 100, "%s", PQgetvalue(others, 0, 0));
    PQclear(others);
    return result;
}

static bool is_alone(struct pg_side *side, struct error *why)
{
    char name[100];
    moment until = clock_now() + ALONE_WAIT_MS;
    enum pg_outcome result = find_other(side, name);
    while (result == PG_DONE && name[0] != '\0' && clock_now() < until) {
        pause_a_little();
        result = find_other(side, name);
    }
    if (name[0] != '\0')
        error_set(why,
                  "a process is connected to the database of queue_url (%.90s): stop the program on all machines, and "
                  "what starts it (web servers, cron), until the queue is moved",
                  name);
    return side_done(side, result, why) && name[0] == '\0';
}

/* As far as libpq's words tell: not one that is starting, has no room, or refuses the password. */
static bool is_missing(const char *words)
{
    static const char *const signs[] = {
        "Connection refused", "could not translate host name", "No such file", "does not exist", "No route to host",
        "timeout expired",    "Network is unreachable"};
    bool is = false;
    for (size_t i = 0; i < sizeof signs / sizeof *signs; i++)
        is = is || strstr(words, signs[i]) != NULL;
    return is && strstr(words, "role \"") == NULL;
}

/* With the port, for servers of one machine may have databases of one name. */
static void pg_mark_place(const struct config *config, char out[static MIGRATION_PLACE])
{
    PQconninfoOption *options =
        config->queue_url == NULL || !libpq_load(NULL) ? NULL : PQconninfoParse(config->queue_url, NULL);
    pg_place(config, out);
    size_t length = strlen(out);
    for (const PQconninfoOption *option = options; option != NULL && option->keyword != NULL; option++) {
        if (strcmp(option->keyword, "port") == 0 && option->val != NULL && strcmp(option->val, "5432") != 0)
            snprintf(out + length, MIGRATION_PLACE - length, " port %.30s", option->val);
    }
    PQconninfoFree(options);
}

static void *pg_side_open(const struct config *config, bool any, struct error *why)
{
    if (config->queue_url == NULL) {
        error_set(why, "the configuration names no queue_url: postgresql://USER:PASSWORD@HOST/DATABASE");
        return NULL;
    }
    if (!libpq_load(why))
        return NULL;
    struct pg_side *side = calloc(1, sizeof *side);
    if (side == NULL) {
        error_set(why, "out of memory");
        return NULL;
    }
    pg_session_init(&side->session, config, &moving);
    side->session.migrates = true;
    side->session.adopts = any;
    enum pg_outcome result = pg_session_open(&side->session);
    if (side_done(side, result, why) && claim(side, why) && is_alone(side, why))
        return side;
    if ((result == PG_LOST && is_missing(why->text)) || (result == PG_WRONG && side->session.is_other))
        why->kind = ERROR_MISSING;
    pg_side_close(side);
    return NULL;
}

/* ---- marks ---- */

#define MARK_COLUMNS "SELECT state, number, letters, place, command FROM migration"

static void take_mark(const PGresult *row, struct migration_mark *mark)
{
    if (PQntuples(row) == 0)
        return;
    mark->state = (enum migration_state)result_int(row, 0, 0);
    mark->number = result_int(row, 0, 1);
    mark->letters = result_int(row, 0, 2);
    snprintf(mark->place, sizeof mark->place, "%s", PQgetvalue(row, 0, 3));
    snprintf(mark->command, sizeof mark->command, "%s", PQgetvalue(row, 0, 4));
}

enum pg_outcome migration_read(struct pg_session *session, struct migration_mark *mark)
{
    PGresult *row = NULL;
    *mark = (struct migration_mark){.state = MIGRATION_NONE};
    enum pg_outcome result =
        pg_session_ask(session, "SELECT 1 WHERE to_regclass('closecrm.migration') IS NOT NULL", NULL, &row);
    bool is_there = result == PG_DONE && PQntuples(row) > 0;
    PQclear(row);
    row = NULL;
    if (is_there)
        result = pg_session_ask(session, MARK_COLUMNS " WHERE state <> 0", NULL, &row);
    if (is_there && result == PG_DONE)
        take_mark(row, mark);
    PQclear(row);
    return result;
}

/* Releases before knew of one number only. */
static const char tables[] =
    "BEGIN; CREATE TABLE IF NOT EXISTS migration (state int4 NOT NULL, number int8 NOT NULL, letters int8 NOT NULL,"
    " place text NOT NULL, command text NOT NULL);"
    "CREATE TABLE IF NOT EXISTS migrated (source text NOT NULL, part int4 NOT NULL, id int8 NOT NULL,"
    " key uuid NOT NULL, number int8 NOT NULL, PRIMARY KEY (number, source, part));"
    "DO $$ BEGIN IF NOT EXISTS (SELECT 1 FROM pg_attribute WHERE attrelid = 'migrated'::regclass"
    " AND attname = 'number') THEN ALTER TABLE migrated ADD COLUMN number int8 NOT NULL DEFAULT 0,"
    " DROP CONSTRAINT migrated_pkey, ADD PRIMARY KEY (number, source, part);"
    " UPDATE migrated SET number = (SELECT max(number) FROM migration); END IF; END $$; COMMIT";

static bool pg_side_mark(void *state, struct migration_mark *mark, struct error *why)
{
    struct pg_side *side = state;
    return side_done(side, pg_session_text(&side->session, tables, INSPECT_MS), why) &&
           side_done(side, migration_read(&side->session, mark), why);
}

static bool pg_side_opened(void *state, int64_t number, struct migration_mark *mark, struct error *why)
{
    struct pg_side *side = state;
    struct params params = {.count = 0};
    PGresult *row = NULL;
    *mark = (struct migration_mark){.state = MIGRATION_NONE};
    params_int8(&params, number);
    enum pg_outcome result =
        pg_session_ask(&side->session, MARK_COLUMNS " WHERE state = 0 AND number = $1", &params, &row);
    if (result == PG_DONE)
        take_mark(row, mark);
    PQclear(row);
    return side_done(side, result, why);
}

#define NUMBERS_BEHIND                                                                                                 \
    "SELECT setval(name, greatest(max(id), pg_sequence_last_value(name::regclass)))"                                   \
    " FROM letter, pg_get_serial_sequence('letter', 'id') name GROUP BY name;"

/* Dead letters that are on their way in events which have not arrived: those have all of it. */
#define LETTERS_ALONE                                                                                                  \
    "DELETE FROM letter l WHERE replayed IS NOT NULL AND NOT EXISTS (SELECT 1 FROM event e WHERE e.letter = l.id);"

#define UNMARK                                                                                                         \
    "DELETE FROM migration WHERE state <> 0; DELETE FROM migrated WHERE number NOT IN (SELECT number FROM migration);" \
    " UPDATE meta SET version = 1;"

/* In one transaction, as one text. */
static bool pg_side_unmark(struct pg_side *side, struct error *why)
{
    static const char text[] = "BEGIN; " UNMARK NUMBERS_BEHIND "COMMIT";
    _Static_assert(SCHEMA_VERSION == 1, "the statement above has this number");
    return side_done(side, pg_session_text(&side->session, text, INSPECT_MS), why);
}

/* An opened queue counts the dead letters that have arrived as events that died, unless the counts of their source have
 * come, too; when the rest comes, those do. */
#define COUNT_DIED(sign)                                                                                               \
    "INSERT INTO count AS c (source, kind, n) SELECT s.number, 4::int2, " sign "m.id FROM migrated m"                  \
    " JOIN source s ON s.name = m.source WHERE m.number = $1 AND m.part = 200 AND m.id <> 0 AND NOT EXISTS"            \
    " (SELECT 1 FROM migrated a WHERE a.number = $1 AND a.source = m.source AND a.part = 5 AND a.id <> 0)"             \
    " ON CONFLICT (source, kind) DO UPDATE SET n = c.n + excluded.n"

_Static_assert(CARGO_COUNTS == 5, "the statement above has this number");

/* NONE: the queue is open, and the row and what belongs to it stay for who has that number. */
static enum pg_outcome put_mark(struct pg_side *side, const struct migration_mark *mark)
{
    struct params number = {.count = 0}, both = {.count = 0};
    struct params params = {.count = 0}, version = {.count = 0};
    char place[sizeof mark->place];
    params_int4(&params, (int32_t)mark->state);
    params_int8(&params, mark->number);
    params_int8(&params, mark->letters);
    memcpy(place, mark->place, sizeof place);
    params_words(&params, place);
    params_text(&params, mark->command);
    params_int4(&version, mark->state == MIGRATION_NONE ? SCHEMA_VERSION : SCHEMA_MIGRATES);
    params_int8(&number, mark->number);
    params_int8(&both, mark->number);
    params_int4(&both, (int32_t)mark->state);
    pg_session_send_text(&side->session,
                         "DELETE FROM migrated WHERE number <> $1 AND number NOT IN (SELECT number FROM migration"
                         " WHERE state = 0)",
                         &number);
    if (mark->state == MIGRATION_NONE || mark->state == MIGRATION_RECEIVES)
        pg_session_send_text(&side->session, mark->state == MIGRATION_NONE ? COUNT_DIED("") : COUNT_DIED("-"), &number);
    pg_session_send_text(&side->session, "DELETE FROM migration WHERE state <> 0 OR (number = $1 AND $2 = 0)", &both);
    pg_session_send_text(&side->session, "INSERT INTO migration VALUES ($1, $2, $3, $4, $5)", &params);
    pg_session_send_text(&side->session, "UPDATE meta SET version = $1", &version);
    return pg_session_finish(&side->session, NULL);
}

static bool pg_side_set_mark(void *state, const struct migration_mark *mark, struct error *why)
{
    struct pg_side *side = state;
    struct migration_mark before;
    if (mark->state == MIGRATION_NONE && mark->number == 0)
        return pg_side_unmark(side, why);
    if (mark->state == MIGRATION_NONE)
        return side_done(side,
                         pg_session_text(&side->session, "BEGIN; " LETTERS_ALONE NUMBERS_BEHIND "COMMIT", INSPECT_MS),
                         why) &&
               side_done(side, put_mark(side, mark), why);
    if (!pg_side_mark(side, &before, why) || !side_done(side, put_mark(side, mark), why))
        return false;
    if (mark->state == MIGRATION_LEFT)
        pg_identity_forget(side->session.config);
    if (is_alone(side, why)) /* who came before the mark, and was not there when it was opened */
        return true;
    if (before.state == MIGRATION_NONE)
        pg_side_unmark(side, NULL);
    return false;
}

/* Dead letters are numbered anew, unless numbers are reserved for who may come back. */
static bool pg_side_empty(void *state, struct error *why)
{
    struct pg_side *side = state;
    static const char text[] = "BEGIN; TRUNCATE event, appended, known, count, letter, note, parked, request; "
                               "SELECT setval(name, 1, false) FROM pg_get_serial_sequence('letter', 'id') name"
                               " WHERE NOT EXISTS (SELECT 1 FROM migration WHERE state = 0); COMMIT";
    return side_done(side, pg_session_text(&side->session, text, INSPECT_MS), why);
}

/* ---- reading ---- */

static bool pg_side_last_letter(void *state, int64_t *number, struct error *why)
{
    struct pg_side *side = state;
    PGresult *row = NULL;
    enum pg_outcome result = pg_session_ask(
        &side->session, "SELECT coalesce(pg_sequence_last_value(pg_get_serial_sequence('letter', 'id')::regclass), 0)",
        NULL, &row);
    *number = result == PG_DONE ? result_int(row, 0, 0) : 0;
    PQclear(row);
    return side_done(side, result, why);
}

/* A sequence's value is durable with the transaction that follows. */
static bool pg_side_reserve_letters(void *state, int64_t number, struct error *why)
{
    struct pg_side *side = state;
    PGresult *row = NULL;
    struct params params = {.count = 0};
    params_int8(&params, number);
    enum pg_outcome result = pg_session_ask(
        &side->session,
        "SELECT setval(name::regclass, greatest($1, coalesce(pg_sequence_last_value(name::regclass), 0)))"
        " FROM pg_get_serial_sequence('letter', 'id') name WHERE $1 > 0",
        &params, &row);
    PQclear(row);
    return side_done(side, result, why);
}

static bool pg_side_origin(void *state, int64_t *number, struct error *why)
{
    static const char text[] = "SELECT coalesce((SELECT ('x' || encode(substr(value, 1, 8), 'hex'))::bit(64)::int8"
                               " & 9223372036854775807 FROM kept WHERE path = '' AND octet_length(value) >= 8), 0)";
    struct pg_side *side = state;
    PGresult *row = NULL;
    enum pg_outcome result = pg_session_ask(&side->session, text, NULL, &row);
    *number = result == PG_DONE ? result_int(row, 0, 0) : 0;
    PQclear(row);
    return side_done(side, result, why);
}

static bool pg_side_note(void *state, struct error *why)
{
    struct pg_side *side = state;
    return pg_identity_note(&side->session, why);
}

static bool pg_side_names(void *state, struct strings *names, struct error *why)
{
    struct pg_side *side = state;
    names->at = calloc(side->session.numbers + 1, sizeof *names->at);
    for (size_t i = 0; names->at != NULL && i < side->session.numbers; i++) {
        names->at[i] = strdup(side->session.number[i].name);
        if (names->at[i] == NULL)
            break;
        names->count++;
    }
    if (names->at != NULL && names->count == side->session.numbers)
        return true;
    error_set(why, "out of memory");
    return false;
}

#define WITHIN_BYTES(columns, from)                                                                                    \
    "SELECT " columns " FROM (SELECT *, sum(octet_length(body)) OVER (ORDER BY id) AS total,"                          \
    " row_number() OVER (ORDER BY id) AS n FROM (SELECT * FROM " from " AND id > $2 ORDER BY id LIMIT 500) e) e"       \
    " WHERE total <= 8388608 OR n = 1 ORDER BY id"

_Static_assert(CARGO_KEYS == 4096 && CARGO_ROWS == 500 && CARGO_BYTES == 8388608,
               "the statements here have these numbers");

#define NOTHING "0::int8"

/* Of each part: id, n, received, died, replayed, at, updated, letter, key, reason, body. */
static const char *const reads[CARGO_PARTS] = {
    [CARGO_KNOWN] = "SELECT " NOTHING ", " NOTHING ", " NOTHING ", " NOTHING ", " NOTHING ", at, updated, " NOTHING
                    ", key, NULL::text, NULL::bytea FROM known WHERE source = $1 AND key > $3 AND $2 >= 0::int8"
                    " ORDER BY key LIMIT 4096",
    [CARGO_LETTERS] =
        WITHIN_BYTES("id, " NOTHING ", received, died, replayed, " NOTHING ", updated, " NOTHING ", key, reason, body",
                     "letter WHERE source = $1 AND $3 IS NOT NULL"),
    [CARGO_EVENTS] = WITHIN_BYTES("id, " NOTHING ", received, " NOTHING ", " NOTHING ", " NOTHING ", " NOTHING
                                  ", letter, NULL::uuid, NULL::text, body",
                                  "event WHERE source = $1 AND $3 IS NOT NULL"),
    [CARGO_COUNTS] = "SELECT kind, n, " NOTHING ", " NOTHING ", " NOTHING ", " NOTHING ", " NOTHING ", " NOTHING
                     ", NULL::uuid, NULL::text, NULL::bytea FROM count WHERE source = $1 AND kind > $2"
                     " AND $3 IS NOT NULL AND kind IN (" CARGO_KINDS ") ORDER BY kind",
};

static struct cargo_row take_pg_row(const PGresult *rows, int row)
{
    struct cargo_row taken = {.id = result_int(rows, row, 0),
                              .n = result_int(rows, row, 1),
                              .received = result_int(rows, row, 2),
                              .died = result_int(rows, row, 3),
                              .replayed = result_int(rows, row, 4),
                              .at = result_int(rows, row, 5),
                              .updated = result_int(rows, row, 6),
                              .letter = result_int(rows, row, 7),
                              .has_key = !PQgetisnull(rows, row, 8),
                              .reason = PQgetvalue(rows, row, 9),
                              .body = PQgetvalue(rows, row, 10),
                              .length = (size_t)PQgetlength(rows, row, 10)};
    if (taken.has_key)
        memcpy(taken.key, PQgetvalue(rows, row, 8), sizeof taken.key);
    return taken;
}

static bool pg_side_read(void *state, const char *source, enum cargo_part part, const struct cargo_place *after,
                         struct cargo *cargo, struct error *why)
{
    struct pg_side *side = state;
    PGresult *rows = NULL;
    int32_t number;
    struct params params = {.count = 0};
    bool memory = true;
    enum pg_outcome result = pg_session_number(&side->session, source, false, &number);
    if (result != PG_DONE || reads[part] == NULL || number == 0)
        return side_done(side, result, why);
    params_int4(&params, number);
    params_int8(&params, after->id);
    params_uuid(&params, after->key);
    result = pg_session_ask(&side->session, reads[part], &params, &rows);
    for (int i = 0; result == PG_DONE && memory && i < PQntuples(rows); i++) {
        const struct cargo_row row = take_pg_row(rows, i);
        memory = cargo_add(cargo, &row);
    }
    PQclear(rows);
    if (!memory)
        error_set(why, "out of memory");
    return memory && side_done(side, result, why);
}

const struct migration postgresql_migration = {
    .value = "postgresql",
    .open = pg_side_open,
    .close = pg_side_close,
    .place = pg_place,
    .mark_place = pg_mark_place,
    .mark = pg_side_mark,
    .set_mark = pg_side_set_mark,
    .opened = pg_side_opened,
    .origin = pg_side_origin,
    .note = pg_side_note,
    .forget = pg_identity_forget,
    .empty = pg_side_empty,
    .last_letter = pg_side_last_letter,
    .reserve_letters = pg_side_reserve_letters,
    .names = pg_side_names,
    .read = pg_side_read,
    .arrived = pg_side_arrived,
    .write = pg_side_write,
    .count = pg_side_count,
    .take_back = pg_side_take_back,
};
