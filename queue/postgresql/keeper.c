/* The owner's housekeeping, in a thread with a connection of its own. Where the consumer lock is lost meanwhile it does
 * no harm: nothing here depends on it. */
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

#include "base/log.h"
#include "queue/postgresql/store.h"

#define VACUUM_MS 2500 /* autovacuum looks once a minute: the table would grow tenfold */
#define LOOK_MS 60000  /* for the rest */
#define DAY_MS INT64_C(86400000)
#define WEEK_MS (7 * DAY_MS)
#define HOUR_MS INT64_C(3600000)
#define LETTERS_AT_ONCE 64
#define PAGES_AT_ONCE 1024
#define STACK_SIZE ((size_t)256 * 1024)

struct keeper {
    const struct config *config;
    const atomic_bool *is_steady;
    struct pg_session session;
    pthread_t thread;
    pthread_mutex_t lock; /* protects what follows */
    pthread_cond_t called;
    atomic_bool ending;
    bool settled; /* since the last vacuum */
};

static const struct pg_settings keeping = {"keeps house", INSPECT_MS, 0};

int64_t letters_notice(int64_t dead_retention_ms)
{
    return dead_retention_ms / 4 < WEEK_MS ? dead_retention_ms / 4 : WEEK_MS;
}

/* Returns false when it is to end. */
static bool rest(struct keeper *keeper, int64_t ms, bool *settled)
{
    moment until = clock_now() + ms;
    pthread_mutex_lock(&keeper->lock);
    while (!atomic_load(&keeper->ending) && clock_condition_wait(&keeper->called, &keeper->lock, until))
        ;
    bool ending = atomic_load(&keeper->ending);
    *settled |= keeper->settled;
    keeper->settled = false;
    pthread_mutex_unlock(&keeper->lock);
    return !ending;
}

/* ---- dead letters ---- */

static enum pg_outcome expire_step(struct keeper *keeper, int64_t now, bool *more)
{
    struct params params = {.count = 0};
    PGresult *ended = NULL;
    params_int8(&params, now - keeper->config->dead_retention_ms);
    params_int8(&params, LETTERS_AT_ONCE);
    params_int8(&params, now - keeper->config->dedupe_window_ms);
    enum pg_outcome result = pg_session_run(&keeper->session, STATEMENT_EXPIRE, &params, &ended);
    *more = result == PG_DONE && PQntuples(ended) > 0;
    for (int i = 0; *more && i < PQntuples(ended); i++)
        log_write(LEVEL_WARN, "msg=dead_letters_ended source=%.64s letters=%lld ids=%lld-%lld reason=dead_retention",
                  PQgetvalue(ended, i, 0), (long long)result_int(ended, i, 1), (long long)result_int(ended, i, 2),
                  (long long)result_int(ended, i, 3));
    PQclear(ended);
    return result;
}

/* made: of the queue. Nothing ends before it could have been told of. */
static enum pg_outcome expire(struct keeper *keeper, int64_t made)
{
    int64_t now = clock_unix_ms(), retention = keeper->config->dead_retention_ms;
    enum pg_outcome result = PG_DONE;
    bool more = retention > 0 && now >= made + letters_notice(retention);
    while (more && result == PG_DONE && !atomic_load(&keeper->ending))
        result = expire_step(keeper, now, &more);
    return result;
}

/* ---- the rest ---- */

/* By walking the table: an index by age would cost each settling. */
static enum pg_outcome forget_known(struct keeper *keeper, int64_t pages)
{
    enum pg_outcome result = PG_DONE;
    for (int64_t page = 0; page <= pages && result == PG_DONE && !atomic_load(&keeper->ending); page += PAGES_AT_ONCE) {
        struct params params = {.count = 0};
        params_int8(&params, page);
        params_int8(&params, page + PAGES_AT_ONCE);
        params_int8(&params, clock_unix_ms() - keeper->config->dedupe_window_ms);
        result = pg_session_run(&keeper->session, STATEMENT_FORGET, &params, NULL);
    }
    return result;
}

/* What is older than a day is in no chart any more, nor in a sample; a machine that is there says it again before. */
static enum pg_outcome forget_said(struct keeper *keeper)
{
    enum pg_outcome result = pg_session_text(
        &keeper->session,
        "DELETE FROM said WHERE machine <> '' AND at < (extract(epoch FROM clock_timestamp()) * 1000)::int8 - 90000000",
        INSPECT_MS);
    return result == PG_DONE ? pg_session_text(&keeper->session, "VACUUM (TRUNCATE off, PARALLEL 0) said", INSPECT_MS)
                             : result;
}

static enum pg_outcome look(struct keeper *keeper, moment *forgets)
{
    PGresult *made = NULL;
    enum pg_outcome result = pg_session_run(&keeper->session, STATEMENT_MADE, NULL, &made);
    if (result == PG_DONE && atomic_load(keeper->is_steady))
        result = expire(keeper, result_int(made, 0, 0));
    if (result == PG_DONE)
        result = pg_session_run(&keeper->session, STATEMENT_FORGET_REQUESTS, NULL, NULL);
    if (result == PG_DONE)
        result = forget_said(keeper);
    if (result == PG_DONE && atomic_load(keeper->is_steady) && clock_now() >= *forgets) {
        result = forget_known(keeper, result_int(made, 0, 1));
        if (result == PG_DONE)
            result = pg_session_run(&keeper->session, STATEMENT_FORGET_GROUPS, NULL, NULL);
        if (result == PG_DONE)
            *forgets = clock_now() + DAY_MS;
    }
    PQclear(made);
    return result;
}

/* Other processes that forward have keepers, too: one of them does it at a time. *settled and *due become false once
 * it is done. */
static enum pg_outcome keep_house(struct keeper *keeper, moment *forgets, bool *settled, bool *due)
{
    PGresult *got = NULL;
    enum pg_outcome result = pg_session_run(&keeper->session, STATEMENT_KEEP, NULL, &got);
    bool mine = result == PG_DONE && result_int(got, 0, 0) != 0;
    PQclear(got);
    if (mine && *due)
        result = look(keeper, forgets);
    if (mine && result == PG_DONE && *settled)
        result = pg_session_text(&keeper->session, "VACUUM (TRUNCATE off, PARALLEL 0) event", INSPECT_MS);
    *settled = *settled && !(mine && result == PG_DONE);
    *due = *due && !mine;
    if (mine && keeper->session.connection != NULL)
        pg_session_run(&keeper->session, STATEMENT_KEPT, NULL, NULL);
    return result;
}

static void *run_keeper(void *context)
{
    struct keeper *keeper = context;
    char words[LOG_QUOTED];
    bool settled = false;
    moment looks = 0, forgets = clock_now() + HOUR_MS;
    while (rest(keeper, VACUUM_MS, &settled)) {
        bool due = clock_now() >= looks, looked = due;
        if (!settled && !due)
            continue;
        enum pg_outcome result = pg_session_open(&keeper->session);
        if (result == PG_DONE)
            result = keep_house(keeper, &forgets, &settled, &due);
        if (looked && (!due || result != PG_DONE))
            looks = clock_now() + LOOK_MS;
        settled = settled && result == PG_DONE;
        if (result != PG_DONE && !atomic_load(&keeper->ending))
            log_write(LEVEL_WARN, "msg=housekeeping_failed reason=%s",
                      log_quote_reason(words, keeper->session.why.text));
    }
    pg_session_close(&keeper->session);
    return NULL;
}

struct keeper *keeper_start(const struct config *config, const atomic_bool *is_steady)
{
    struct keeper *keeper = calloc(1, sizeof *keeper);
    pthread_attr_t small;
    sigset_t all, before;
    if (keeper == NULL || pthread_attr_init(&small) != 0) {
        free(keeper);
        return NULL;
    }
    keeper->config = config;
    keeper->is_steady = is_steady;
    pg_session_init(&keeper->session, config, &keeping);
    keeper->session.stop = &keeper->ending;
    pthread_mutex_init(&keeper->lock, NULL);
    clock_condition_init(&keeper->called);
    sigfillset(&all);
    sigdelset(&all, SIGBUS); /* see base/files.h */
    pthread_attr_setstacksize(&small, STACK_SIZE);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    bool started = pthread_create(&keeper->thread, &small, run_keeper, keeper) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&small);
    if (started)
        return keeper;
    pthread_cond_destroy(&keeper->called);
    pthread_mutex_destroy(&keeper->lock);
    free(keeper);
    return NULL;
}

void keeper_call(struct keeper *keeper)
{
    pthread_mutex_lock(&keeper->lock);
    keeper->settled = true;
    pthread_mutex_unlock(&keeper->lock);
}

void keeper_stop(struct keeper *keeper)
{
    if (keeper == NULL)
        return;
    pthread_mutex_lock(&keeper->lock);
    atomic_store(&keeper->ending, true);
    pthread_cond_broadcast(&keeper->called);
    pthread_mutex_unlock(&keeper->lock);
    pthread_join(keeper->thread, NULL);
    pthread_cond_destroy(&keeper->called);
    pthread_mutex_destroy(&keeper->lock);
    free(keeper);
}
