/* Inspection and operator commands, on a session of their own. */
#include "queue/inspect.h"

#include <stdlib.h>
#include <string.h>

#include "queue/postgresql/store.h"

#define LOOK_AGAIN_MS 1000 /* a connection that was silent for so long may be one to nobody */

/* What is asked may take a minute, for it may count millions; whether the server is there at all shows soon. */
static enum pg_outcome open_look(struct pg_queue *queue)
{
    if (queue->look.connection != NULL && clock_now() - queue->look.answered >= LOOK_AGAIN_MS) {
        pg_session_text(&queue->look, "SELECT 1", ANSWER_MS);
        pg_session_finish(&queue->look, NULL); /* the guard */
    }
    return pg_session_open(&queue->look);
}

bool pg_look(struct pg_queue *queue, struct error *why)
{
    return open_look(queue) == PG_DONE || pg_session_failed(&queue->look, why);
}

bool pg_looked(struct pg_queue *queue, enum pg_outcome result, struct error *why)
{
    return result == PG_DONE || pg_session_failed(&queue->look, why);
}

bool pg_look_again(const struct pg_queue *queue, enum pg_outcome result, bool *again)
{
    *again = !*again && result == PG_LOST && clock_now() - queue->look.answered < LOOK_AGAIN_MS;
    return *again;
}

/* One statement that may be run twice. */
static bool look_with(struct pg_queue *queue, enum statement statement, const struct params *params, PGresult **rows,
                      struct error *why)
{
    bool again = false;
    enum pg_outcome result;
    do {
        result = open_look(queue);
        if (result == PG_DONE)
            result = pg_session_run(&queue->look, statement, params, rows);
    } while (pg_look_again(queue, result, &again));
    return pg_looked(queue, result, why);
}

/* The number of a source; 0: there is none. */
static enum pg_outcome find_source(struct pg_queue *queue, const char *source, int32_t *number)
{
    enum pg_outcome result = open_look(queue);
    return result == PG_DONE ? pg_session_number(&queue->look, source, false, number) : result;
}

/* ---- counts ---- */

static bool pg_names(void *state, struct strings *names, struct error *why)
{
    struct pg_queue *queue = state;
    PGresult *sources = NULL;
    bool good = look_with(queue, STATEMENT_SOURCES, NULL, &sources, why);
    int count = good ? PQntuples(sources) : 0;
    names->at = calloc((size_t)count + 1, sizeof *names->at);
    for (int i = 0; names->at != NULL && i < count; i++) {
        names->at[i] = strdup(PQgetvalue(sources, i, 1));
        if (names->at[i] == NULL)
            break;
        names->count++;
    }
    if (good && (names->at == NULL || names->count < (size_t)count)) {
        error_set(why, "out of memory");
        good = false;
    }
    PQclear(sources);
    if (!good)
        queue_names_free(names);
    return good;
}

enum column {
    DELIVERED,
    DUPLICATES,
    DROPPED,
    DEAD,
    REPLAYS,
    ENDED,
    LOST,
    LAST_DELIVERED,
    LAST_ACCEPTED,
    WAITING,
    OLDEST,
    NEWEST,
    LETTERS,
    ENDING,
    FIRST_ENDING,
    MADE,
    COLUMNS,
};

static uint64_t less(uint64_t a, uint64_t b)
{
    return a > b ? a - b : 0;
}

static void take_counts(const PGresult *row, int64_t retention, struct counts *counts)
{
    uint64_t n[COLUMNS];
    for (int i = 0; i < COLUMNS; i++)
        n[i] = (uint64_t)result_int(row, 0, i);
    counts->delivered = n[DELIVERED];
    counts->duplicates = n[DUPLICATES];
    counts->dropped = n[DROPPED];
    counts->dead = n[LETTERS];
    counts->ended = n[ENDED];
    counts->lost = n[LOST];
    counts->waiting = n[WAITING];
    /* Each death added a letter or, of a replay, brought one back. */
    counts->discarded = less(n[DEAD], n[REPLAYS] + n[LETTERS] + n[ENDED]);
    counts->accepted = counts->delivered + counts->duplicates + counts->dropped + counts->waiting + counts->dead +
                       counts->ended + counts->discarded + counts->lost;
    counts->oldest_received_ms = (int64_t)n[OLDEST];
    counts->last_delivered_ms = (int64_t)n[LAST_DELIVERED];
    counts->last_accepted_ms = (int64_t)(n[NEWEST] > n[LAST_ACCEPTED] ? n[NEWEST] : n[LAST_ACCEPTED]);
    counts->ending = n[ENDING];
    if (n[ENDING] == 0)
        return;
    int64_t first = (int64_t)n[FIRST_ENDING] + retention, not_before = (int64_t)n[MADE] + letters_notice(retention);
    counts->ending_ms = first > not_before ? first : not_before;
}

static bool pg_count(void *state, const char *source, struct counts *counts, struct error *why)
{
    struct pg_queue *queue = state;
    struct params params = {.count = 0};
    PGresult *row = NULL;
    int64_t retention = queue->config->dead_retention_ms;
    memset(counts, 0, sizeof *counts);
    params_text(&params, source);
    params_int8(&params, retention == 0 ? 0 : clock_unix_ms() - retention + letters_notice(retention));
    bool good = look_with(queue, STATEMENT_COUNTS, &params, &row, why);
    if (good && PQntuples(row) > 0)
        take_counts(row, retention, counts);
    PQclear(row);
    return good;
}

static bool pg_room(void *state, struct queue_room *room, struct error *why)
{
    struct pg_queue *queue = state;
    bool again = false;
    enum pg_outcome result;
    do {
        result = open_look(queue);
        if (result == PG_DONE)
            result = room_read(&queue->look, queue->config, room);
    } while (pg_look_again(queue, result, &again));
    return pg_looked(queue, result, why);
}

static bool pg_has_room(void *state, struct error *words)
{
    struct pg_queue *queue = state;
    struct queue_room room;
    struct error away; /* other calls say that, and these words are shown to anybody (/healthz) */
    return !pg_room(queue, &room, &away) || !room_is_full(&room, queue->config, words);
}

static bool pg_look_known(void *state, const char *source, const struct identity *identities, size_t count,
                          struct known *known, struct error *why)
{
    struct pg_queue *queue = state;
    int32_t number;
    bool again = false;
    enum pg_outcome result;
    do {
        result = find_source(queue, source, &number);
        if (result == PG_DONE)
            result = read_known(&queue->look, queue->config, number, true, identities, count, known);
    } while (pg_look_again(queue, result, &again));
    return pg_looked(queue, result, why);
}

static bool pg_read_notes(void *state, const char *source, struct notes *notes, struct error *why)
{
    struct pg_queue *queue = state;
    int32_t number;
    bool again = false;
    enum pg_outcome result;
    do {
        result = find_source(queue, source, &number);
        if (result == PG_DONE)
            result = read_notes(&queue->look, number, notes);
    } while (pg_look_again(queue, result, &again));
    return pg_looked(queue, result, why);
}

/* application_name is "closecrm HOST PROCESS PURPOSE". */
static void add_owner(const PGresult *owners, int row, struct error *words)
{
    char host[64] = "", process[24] = "", before[sizeof words->text], sources[48] = "";
    bool told = sscanf(PQgetvalue(owners, row, 0), "closecrm %63s %23s", host, process) == 2;
    long long count = (long long)result_int(owners, row, 1);
    memcpy(before, words->text, sizeof before);
    if (PQntuples(owners) > 1)
        snprintf(sources, sizeof sources, " (%lld source%s)", count, count == 1 ? "" : "s");
    if (told)
        error_set(words, "%.300s%sprocess %s on %s%s", before, row > 0 ? ", " : "", process, host, sources);
    else
        error_set(words, "%.300s%sa process forwards%s", before, row > 0 ? ", " : "", sources);
}

static bool pg_is_owned(void *state, bool *owned, struct error *words, struct error *why)
{
    struct pg_queue *queue = state;
    PGresult *owners = NULL;
    bool good = look_with(queue, STATEMENT_OWNER, NULL, &owners, why);
    *owned = good && PQntuples(owners) > 0;
    error_set(words, "%s", *owned ? "" : "no process forwards now");
    for (int row = 0; *owned && row < PQntuples(owners); row++)
        add_owner(owners, row, words);
    PQclear(owners);
    return good;
}

/* ---- events, dead letters ---- */

int pg_list(void *state, const char *source, uint64_t after, size_t max_count, size_t max_bytes, struct events *found,
            struct error *why)
{
    struct pg_queue *queue = state;
    int32_t number;
    bool again = false;
    enum pg_outcome result;
    do {
        events_clear(found);
        result = find_source(queue, source, &number);
        if (result == PG_DONE)
            result = read_next(&queue->look, number, after, max_count, max_bytes, found);
    } while (pg_look_again(queue, result, &again));
    return pg_looked(queue, result, why) ? (int)found->count : -1;
}

static bool take_letter(const PGresult *rows, int row, struct letters *found)
{
    struct letter letter = {
        .id = (uint64_t)result_int(rows, row, 0),
        .source = PQgetvalue(rows, row, 1),
        .reason = PQgetvalue(rows, row, 2),
        .received_ms = result_int(rows, row, 3),
        .died_ms = result_int(rows, row, 4),
        .replayed = !PQgetisnull(rows, row, 5),
        .body = PQgetvalue(rows, row, 6),
        .length = (size_t)PQgetlength(rows, row, 6),
    };
    return letters_add(found, &letter);
}

static int pg_letters(void *state, const char *source, uint64_t after, size_t max_count, size_t max_bytes,
                      struct letters *found, struct error *why)
{
    struct pg_queue *queue = state;
    struct params params = {.count = 0};
    PGresult *rows = NULL;
    letters_clear(found);
    params_int8(&params, (int64_t)after);
    params_text(&params, source);
    params_int8(&params, (int64_t)max_count);
    params_int8(&params, max_bytes > INT64_MAX ? INT64_MAX : (int64_t)max_bytes);
    bool good = look_with(queue, STATEMENT_LETTERS, &params, &rows, why);
    int count = good ? PQntuples(rows) : 0;
    for (int i = 0; i < count && take_letter(rows, i, found); i++)
        ;
    PQclear(rows);
    letters_finish(found);
    if (!good)
        return -1;
    if (count > 0 && found->count == 0)
        error_set(why, "out of memory");
    return count > 0 && found->count == 0 ? -1 : (int)found->count;
}

/* Runs a statement on the ids of letters that says how many it was about. */
static bool change_letters(struct pg_queue *queue, enum statement statement, int64_t time_ms, const uint64_t *ids,
                           size_t count, size_t *done, struct error *why)
{
    struct array array = {.type = TYPE_INT8};
    struct params params = {.count = 0};
    PGresult *row = NULL;
    *done = 0;
    if (!pg_look(queue, why))
        return false;
    for (size_t i = 0; i < count; i++)
        array_int8(&array, (int64_t)ids[i]);
    bool good = params_array(&params, &array);
    params_int8(&params, time_ms);
    enum pg_outcome result =
        good ? pg_session_run(&queue->look, statement, &params, &row) : pg_session_lose(&queue->look, "out of memory");
    if (result == PG_DONE)
        *done = (size_t)result_int(row, 0, 0);
    PQclear(row);
    buffer_free(&array.bytes);
    return pg_looked(queue, result, why);
}

static bool pg_replay(void *state, const uint64_t *ids, size_t count, size_t *done, struct error *why)
{
    struct pg_queue *queue = state;
    if (!change_letters(queue, STATEMENT_REPLAY, clock_unix_ms(), ids, count, done, why))
        return false;
    notify_owner(&queue->look, false);
    return true;
}

static bool pg_discard(void *state, const uint64_t *ids, size_t count, size_t *done, struct error *why)
{
    struct pg_queue *queue = state;
    return change_letters(queue, STATEMENT_DISCARD, clock_unix_ms() - queue->config->dedupe_window_ms, ids, count, done,
                          why);
}

static void pg_wake(void *state)
{
    struct pg_queue *queue = state;
    if (pg_look(queue, NULL))
        notify_owner(&queue->look, false);
}

/* ---- the whole ---- */

static bool pg_stands(void *state, struct error *words)
{
    (void)state; /* there are no files that could be replaced */
    (void)words;
    return true;
}

static bool pg_can_be_settled(void *state, struct error *words)
{
    (void)state; /* what cannot be settled ends the owner's session */
    (void)words;
    return true;
}

static bool pg_check(void *state, void (*report)(void *context, const char *fault), void *context, size_t *faults,
                     struct error *why)
{
    struct pg_queue *queue = state;
    PGresult *rows = NULL;
    *faults = 0;
    bool good = look_with(queue, STATEMENT_CHECK, NULL, &rows, why);
    for (int i = 0; good && i < PQntuples(rows); i++) {
        ++*faults;
        report(context, PQgetvalue(rows, i, 0));
    }
    PQclear(rows);
    return good;
}

static bool pg_backup(void *state, const char *path, const struct backup_files *files, int64_t made_ms,
                      struct error *why)
{
    (void)state, (void)path, (void)files, (void)made_ms;
    error_set(why, "this queue is in PostgreSQL, whose own tools make backups: pg_dump --format=custom "
                   "--schema=closecrm, or what the cluster has; they hold keys and customer data");
    return false;
}

static bool pg_scrub(void *state, struct error *why)
{
    (void)state;
    error_set(why, "this queue is in PostgreSQL: VACUUM FULL on closecrm.event and closecrm.letter removes what was "
                   "deleted from its tables; archived WAL and dumps have it, too");
    return false;
}

static bool pg_probe(void *state, bool serves, struct error *why)
{
    struct pg_queue *queue = state;
    struct params params = {.count = 0};
    (void)serves; /* no limit of this process's files concerns the server */
    params_int8(&params, clock_unix_ms());
    return look_with(queue, STATEMENT_PROBE, &params, NULL, why);
}

const struct inspection postgresql_inspection = {
    .names = pg_names,
    .count = pg_count,
    .room = pg_room,
    .look_known = pg_look_known,
    .notes = pg_read_notes,
    .is_owned = pg_is_owned,
    .describe = pg_describe,
    .stands = pg_stands,
    .has_room = pg_has_room,
    .can_be_settled = pg_can_be_settled,
    .list = pg_list,
    .letters = pg_letters,
    .replay = pg_replay,
    .discard = pg_discard,
    .ask = pg_ask,
    .remind = pg_remind,
    .answer = pg_answer,
    .withdraw = pg_withdraw,
    .move = pg_move,
    .adopt = pg_adopt,
    .check = pg_check,
    .backup = pg_backup,
    .scrub = pg_scrub,
    .wake = pg_wake,
    .probe = pg_probe,
};
