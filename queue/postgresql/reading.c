/* Reading events. An id is taken before its commit, so that one may still come that is smaller than those that are
 * there: ids are handed out in a row, and a gap only once it is proven that nothing will fill it. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "queue/postgresql/store.h"

#define GAP_WAIT_MS 500 /* at once; then the next look tries again */
#define GAP_LOOK_MS 5

/* Of a source: up to `proven` what is missing will never come. */
struct gap {
    int32_t number;
    int64_t proven;
};

void gaps_free(struct pg_queue *queue)
{
    free(queue->gap);
    queue->gap = NULL;
    queue->gaps = 0;
}

/* ---- who may still fill a gap ---- */

/* Whether any of these transactions still runs (names with no element: any at all), whose names are put there. */
static enum pg_outcome find_writers(struct pg_session *session, struct array *names, bool *any)
{
    PGresult *found = NULL;
    struct params params = {.count = 0};
    bool good = true;
    if (names->count == 0)
        params_null_texts(&params);
    else
        good = params_array(&params, names);
    enum pg_outcome result =
        good ? pg_session_run(session, STATEMENT_WRITERS, &params, &found) : pg_session_lose(session, "out of memory");
    buffer_free(&names->bytes);
    *names = (struct array){.type = TYPE_TEXT};
    int count = result == PG_DONE ? PQntuples(found) : 0;
    for (int i = 0; i < count; i++)
        array_add(names, PQgetvalue(found, i, 0), (size_t)PQgetlength(found, i, 0));
    *any = count > 0;
    PQclear(found);
    return result;
}

/* Who takes an id has locked the table before, and lets go of it when the commit can be seen. Waits a while for all who
 * have it now: those who lock it later take ids that are larger than all that could be seen. *over: they are gone. */
static enum pg_outcome await_writers(struct pg_session *session, bool *over)
{
    const struct timespec pause = {.tv_nsec = GAP_LOOK_MS * 1000000L};
    struct array names = {.type = TYPE_TEXT};
    moment until = clock_now() + GAP_WAIT_MS;
    bool any;
    enum pg_outcome result = find_writers(session, &names, &any);
    while (result == PG_DONE && any && clock_now() < until) {
        clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
        result = find_writers(session, &names, &any);
    }
    buffer_free(&names.bytes);
    *over = result == PG_DONE && !any;
    return result;
}

/* The gap of a source, with a first proof of all ids that were given so far: what was settled before is missing, too.
 * NULL: memory is out, *result says that nothing was lost; or the proof cannot be made yet. */
static struct gap *find_gap(struct pg_queue *queue, int32_t number, enum pg_outcome *result)
{
    PGresult *last = NULL;
    struct params params = {.count = 0};
    bool over;
    *result = PG_DONE;
    for (size_t i = 0; i < queue->gaps; i++) {
        if (queue->gap[i].number == number)
            return &queue->gap[i];
    }
    params_int4(&params, number);
    *result = pg_session_run(&queue->own, STATEMENT_LAST_ID, &params, &last);
    int64_t proven = *result == PG_DONE ? result_int(last, 0, 0) : 0;
    PQclear(last);
    if (*result == PG_DONE)
        *result = await_writers(&queue->own, &over);
    if (*result != PG_DONE || !over)
        return NULL;
    struct gap *more = realloc(queue->gap, (queue->gaps + 1) * sizeof *more);
    if (more == NULL)
        return NULL;
    queue->gap = more;
    more[queue->gaps] = (struct gap){number, proven};
    return &more[queue->gaps++];
}

/* How many of the events follow each other, or lie where nothing is missing for good. */
static size_t in_a_row(const struct gap *gap, uint64_t after, const struct events *found)
{
    uint64_t last = (int64_t)after > gap->proven ? after : (uint64_t)gap->proven;
    size_t i = 0;
    while (i < found->count && ((int64_t)found->at[i].id <= gap->proven || found->at[i].id == last + 1)) {
        if ((int64_t)found->at[i].id > gap->proven)
            last = found->at[i].id;
        i++;
    }
    return i;
}

/* ---- next, again ---- */

static bool take_event(const PGresult *rows, int row, int column, struct events *found)
{
    struct event event = {
        .id = (uint64_t)result_int(rows, row, column),
        .received_ms = result_int(rows, row, column + 1),
        .replay = !PQgetisnull(rows, row, column + 2),
        .body = PQgetvalue(rows, row, column + 3),
        .length = (size_t)PQgetlength(rows, row, column + 3),
    };
    return events_add(found, &event);
}

enum pg_outcome read_next(struct pg_session *session, int32_t number, uint64_t after, size_t max_count,
                          size_t max_bytes, struct events *found)
{
    PGresult *rows = NULL;
    struct params params = {.count = 0};
    params_int4(&params, number);
    params_int8(&params, (int64_t)after);
    params_int8(&params, (int64_t)max_count);
    params_int8(&params, max_bytes > INT64_MAX ? INT64_MAX : (int64_t)max_bytes);
    events_clear(found);
    enum pg_outcome result = pg_session_run(session, STATEMENT_NEXT, &params, &rows);
    for (int i = 0; result == PG_DONE && i < PQntuples(rows) && take_event(rows, i, 0, found); i++)
        ;
    if (result == PG_DONE && PQntuples(rows) > 0 && found->count == 0) {
        error_set(&session->why, "out of memory");
        result = PG_WRONG;
    }
    PQclear(rows);
    events_finish(found);
    return result;
}

/* Reads what may be handed out. */
static enum pg_outcome read_proven(struct pg_queue *queue, int32_t number, uint64_t after, size_t max_count,
                                   size_t max_bytes, struct events *found)
{
    enum pg_outcome result;
    bool over;
    struct gap *gap = find_gap(queue, number, &result);
    events_clear(found);
    if (gap == NULL)
        return result;
    result = read_next(&queue->own, number, after, max_count, max_bytes, found);
    size_t good = in_a_row(gap, after, found);
    if (result != PG_DONE || found->count == good)
        return result;
    if (good > 0) {
        found->count = good;
        return result;
    }
    int64_t seen = (int64_t)found->at[found->count - 1].id;
    result = await_writers(&queue->own, &over);
    events_clear(found);
    if (result != PG_DONE || !over)
        return result;
    gap->proven = seen;
    result = read_next(&queue->own, number, after, max_count, max_bytes, found);
    found->count = in_a_row(gap, after, found); /* there may be a new gap behind */
    return result;
}

int pg_next(void *state, const char *source, uint64_t after, size_t max_count, size_t max_bytes, struct events *found,
            struct error *why)
{
    struct pg_queue *queue = state;
    int32_t number;
    events_clear(found);
    if (queue->tenures == 0)
        return pg_list(queue, source, after, max_count, max_bytes, found, why); /* who only looks */
    if (!pg_may_own(queue, source, why))
        return -1;
    enum pg_outcome result = pg_session_number(&queue->own, source, false, &number);
    if (result == PG_DONE && number != 0)
        result = read_proven(queue, number, after, max_count, max_bytes, found);
    if (!pg_owned_done(queue, result, why)) {
        events_clear(found);
        return -1;
    }
    return (int)found->count;
}

int pg_again(void *state, const char *source, const uint64_t *ids, size_t count, size_t max_bytes, struct events *found,
             size_t *asked, struct error *why)
{
    struct pg_queue *queue = state;
    struct array array = {.type = TYPE_INT8};
    struct params params = {.count = 0};
    PGresult *rows = NULL;
    int32_t number;
    *asked = 0;
    events_clear(found);
    if (!pg_may_own(queue, source, why))
        return -1;
    enum pg_outcome result = pg_session_number(&queue->own, source, false, &number);
    for (size_t i = 0; i < count; i++)
        array_int8(&array, (int64_t)ids[i]);
    params_int4(&params, number);
    bool good = params_array(&params, &array);
    params_int8(&params, max_bytes > INT64_MAX ? INT64_MAX : (int64_t)max_bytes);
    if (result == PG_DONE && good)
        result = pg_session_run(&queue->own, STATEMENT_AGAIN, &params, &rows);
    *asked = count;
    for (int i = 0; result == PG_DONE && good && i < PQntuples(rows); i++) {
        if (!PQgetisnull(rows, i, 4) && take_event(rows, i, 1, found))
            continue;
        *asked = (size_t)result_int(rows, i, 0) - 1; /* of n, which counts from 1 */
        good = found->count > 0;
        break;
    }
    PQclear(rows);
    buffer_free(&array.bytes);
    events_finish(found);
    if (!pg_owned_done(queue, result, why))
        return -1;
    if (!good)
        error_set(why, "out of memory");
    return good ? (int)found->count : -1;
}

/* ---- known ---- */

static void note_known(const PGresult *rows, struct known *known)
{
    for (int i = 0; i < PQntuples(rows); i++) {
        struct known *one = &known[result_int(rows, i, 0) - 1];
        one->delivered = true;
        one->delivered_us = result_int(rows, i, 1);
    }
}

static void note_dead(const PGresult *rows, struct known *known)
{
    for (int i = 0; i < PQntuples(rows); i++) {
        struct known *one = &known[result_int(rows, i, 0) - 1];
        one->dead = true;
        one->dead_us = result_int(rows, i, 1);
        one->dead_first_us = result_int(rows, i, 2);
    }
}

enum pg_outcome read_known(struct pg_session *session, const struct config *config, int32_t number, bool letters,
                           const struct identity *identities, size_t count, struct known *known)
{
    struct array keys = {.type = TYPE_UUID};
    struct params delivered = {.count = 0}, dead;
    PGresult *results[2] = {NULL, NULL};
    memset(known, 0, count * sizeof *known);
    for (size_t i = 0; i < count; i++)
        array_add(&keys, identities[i].key, sizeof identities[i].key);
    params_int4(&delivered, number);
    bool good = params_array(&delivered, &keys);
    dead = delivered;
    dead.value[0] = dead.number[0];
    params_int8(&delivered, clock_unix_ms() - config->dedupe_window_ms);
    enum pg_outcome result = good ? PG_DONE : pg_session_lose(session, "out of memory");
    if (result == PG_DONE) {
        pg_session_send(session, STATEMENT_KNOWN, &delivered);
        if (letters)
            pg_session_send(session, STATEMENT_DEAD_KNOWN, &dead);
        result = pg_session_finish(session, results);
    }
    if (result == PG_DONE)
        note_known(results[0], known);
    if (result == PG_DONE && letters)
        note_dead(results[1], known);
    PQclear(results[0]);
    PQclear(results[1]);
    buffer_free(&keys.bytes);
    return result;
}

bool pg_known(void *state, const char *source, const struct identity *identities, size_t count, struct known *known,
              struct error *why)
{
    struct pg_queue *queue = state;
    int32_t number;
    if (!pg_may_own(queue, source, why))
        return false;
    enum pg_outcome result = pg_session_number(&queue->own, source, false, &number);
    if (result == PG_DONE)
        result = read_known(&queue->own, queue->config, number, queue->any_letter, identities, count, known);
    return pg_owned_done(queue, result, why);
}
