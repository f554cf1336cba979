/* Who has which source. Each has a consumer lock of its own, an advisory lock of the owner's session, so that sources
 * spread over processes and machines.
 *
 * Each second a process takes what nobody has, up to its share: as many sources as there are, divided by the processes
 * that stay (queue_join), rounded up. When one more has come those that have more than their share give back what is
 * too much. Shares are counted from a configuration that may differ elsewhere, so every ten seconds what is still
 * nobody's is taken by whoever comes first, and kept until another process comes. */
#include <string.h>

#include "base/log.h"
#include "queue/postgresql/store.h"

#define ORPHANS_MS 10000
#define DAY_MS INT64_C(86400000)

void pg_join(void *state)
{
    struct pg_queue *queue = state;
    queue->joined = true;
}

/* NULL: it is not configured. */
static struct owned_source *find_source(const struct pg_queue *queue, const char *name)
{
    const struct config *config = queue->config;
    for (size_t i = 0; i < config->sources; i++) {
        if (config->source[i].name == name || strcmp(config->source[i].name, name) == 0)
            return &queue->source[i];
    }
    return NULL;
}

uint64_t pg_tenure(void *state, const char *source)
{
    const struct pg_queue *queue = state;
    const struct owned_source *found = find_source(queue, source);
    return found != NULL ? found->tenure : queue->owned;
}

bool pg_should_yield(void *state, const char *source)
{
    const struct owned_source *found = find_source(state, source);
    return found != NULL && found->wanted;
}

void pg_yield(void *state, const char *source)
{
    struct pg_queue *queue = state;
    struct params params = {.count = 0};
    struct owned_source *found = find_source(queue, source);
    if (found == NULL || found->tenure == 0)
        return;
    params_int4(&params, found->number);
    found->tenure = 0;
    found->wanted = false;
    queue->owns--;
    pg_owned_done(queue, pg_session_run(&queue->own, STATEMENT_YIELD, &params, NULL), NULL);
}

bool pg_may_own(struct pg_queue *queue, const char *source, struct error *why)
{
    if (pg_tenure(queue, source) != 0)
        return true;
    if (queue->owned)
        error_set(why, "another process forwards this source");
    else
        error_set(why, "this process does not forward any more: %.400s", queue->own.why.text);
    return false;
}

void spread_forget(struct pg_queue *queue)
{
    for (size_t i = 0; i < queue->config->sources; i++)
        queue->source[i] = (struct owned_source){.tenure = 0};
    queue->owns = 0;
    queue->members = 0;
    queue->entered = false;
}

void spread_names(const struct pg_queue *queue, struct array *owned, struct array *configured)
{
    *owned = *configured = (struct array){.type = TYPE_TEXT};
    for (size_t i = 0; i < queue->config->sources; i++) {
        const char *name = queue->config->source[i].name;
        array_add(configured, name, strlen(name));
        if (queue->source[i].tenure != 0)
            array_add(owned, name, strlen(name));
    }
}

enum pg_outcome spread_enter(struct pg_queue *queue, bool *may)
{
    PGresult *entered = NULL;
    struct params params = {.count = 0};
    params_int4(&params, queue->joined);
    enum pg_outcome result = pg_session_run(&queue->own, STATEMENT_ENTER, &params, &entered);
    *may = queue->entered = result == PG_DONE && result_int(entered, 0, 0) != 0;
    PQclear(entered);
    queue->orphans_due = clock_now() + ORPHANS_MS;
    return result;
}

/* ---- shares ---- */

static size_t share_of(const struct pg_queue *queue)
{
    size_t members = queue->members > 0 ? (size_t)queue->members : 1;
    return (queue->config->sources + members - 1) / members;
}

/* How many sources it may claim now. */
static size_t may_claim(struct pg_queue *queue)
{
    size_t share = share_of(queue), rest = queue->config->sources - queue->owns;
    if (!queue->joined)
        return rest;
    if (clock_now() >= queue->orphans_due) {
        queue->orphans_due = clock_now() + ORPHANS_MS;
        return rest;
    }
    return queue->members > 0 && queue->owns < share ? share - queue->owns : 0;
}

/* Another number of processes: what is too much now is given back, but not for one that went. */
static void count_members(struct pg_queue *queue, int64_t members)
{
    size_t share, excess;
    bool more = members > queue->members;
    if (members == queue->members || !queue->joined)
        return;
    queue->members = members;
    share = share_of(queue);
    excess = more && queue->owns > share ? queue->owns - share : 0;
    for (size_t i = queue->config->sources; i-- > 0;) {
        struct owned_source *source = &queue->source[i];
        source->wanted = source->tenure != 0 && excess > 0;
        excess -= source->wanted;
    }
}

/* ---- the beat ---- */

static void take_claimed(struct pg_queue *queue, const PGresult *claimed)
{
    for (int row = 0; row < PQntuples(claimed); row++) {
        for (size_t i = 0; i < queue->config->sources; i++) {
            struct owned_source *source = &queue->source[i];
            if (source->number != result_int(claimed, row, 0) || source->tenure != 0)
                continue;
            source->tenure = ++queue->tenures;
            queue->owns++;
            log_write(LEVEL_INFO, "msg=forwards_source source=%s", queue->config->source[i].name);
        }
    }
}

static void take_beat(struct pg_queue *queue, const PGresult *answer)
{
    int64_t apart = clock_unix_ms() - result_int(answer, 0, 0);
    bool steady = apart > -DAY_MS && apart < DAY_MS;
    if (!steady && atomic_load(&queue->is_steady))
        log_write(LEVEL_WARN,
                  "msg=clock_differs hours=%lld advice=\"set the clock of this machine, or of the database's: nothing "
                  "is called too old until then\"",
                  (long long)apart / 3600000);
    atomic_store(&queue->is_steady, steady);
    queue->asked |= result_int(answer, 0, 1) != 0;
    queue->any_letter |= result_int(answer, 0, 2) != 0;
    count_members(queue, result_int(answer, 0, 3));
}

/* The numbers of the sources that are not owned. */
static enum pg_outcome find_numbers(struct pg_queue *queue, struct array *numbers)
{
    enum pg_outcome result = PG_DONE;
    for (size_t i = 0; i < queue->config->sources && result == PG_DONE; i++) {
        struct owned_source *source = &queue->source[i];
        if (source->tenure != 0)
            continue;
        result = pg_session_number(&queue->own, queue->config->source[i].name, true, &source->number);
        if (result == PG_DONE)
            array_int4(numbers, source->number);
    }
    return result;
}

/* Claims so many sources at most (0: none), then looks: a source's dead letters are seen once it is owned. */
static enum pg_outcome claim_and_look(struct pg_queue *queue, size_t most)
{
    struct array numbers = {.type = TYPE_INT4};
    struct params params = {.count = 0};
    PGresult *results[2] = {NULL, NULL};
    enum pg_outcome result = most > 0 ? find_numbers(queue, &numbers) : PG_DONE;
    bool good = most == 0 || params_array(&params, &numbers);
    params_int8(&params, (int64_t)most);
    if (result == PG_DONE && !good)
        result = pg_session_lose(&queue->own, "out of memory");
    if (result == PG_DONE) {
        if (most > 0)
            pg_session_send(&queue->own, STATEMENT_CLAIM_SOURCES, &params);
        pg_session_send(&queue->own, STATEMENT_BEAT, NULL);
        result = pg_session_finish(&queue->own, results);
    }
    if (result == PG_DONE && most > 0)
        take_claimed(queue, results[0]);
    if (result == PG_DONE)
        take_beat(queue, results[most > 0]);
    PQclear(results[0]);
    PQclear(results[1]);
    buffer_free(&numbers.bytes);
    return result;
}

enum pg_outcome spread_beat(struct pg_queue *queue)
{
    bool counted = queue->members > 0 || !queue->joined;
    queue->beaten = clock_now();
    enum pg_outcome result = counted ? PG_DONE : claim_and_look(queue, 0);
    return result == PG_DONE ? claim_and_look(queue, may_claim(queue)) : result;
}
