/* The engine `postgresql` of kept/kept.h: the originals are rows of the table `kept`, the files are copies.
 *
 * A change is one transaction, and happens only if the row is as it was when it was last looked at. Changes are
 * numbered in the order of their commits, for they wait for each other: who sees the same number as before has nothing
 * to read. A lock is an advisory lock of the session, and what is changed under it is changed in that session: who has
 * lost the one cannot do the other. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/files.h"
#include "base/sha256.h"
#include "base/text.h"
#include "kept/copies.h"
#include "queue/postgresql/kept.h"

#define COPIES_WAIT_MS 10000 /* while another process copies */
#define TRIES_MS 10000       /* for a change whose commit is unknown */
#define PAUSE_MS 100
#define FRESH_MS 1000

static const struct pg_settings keeping = {"keeps", ANSWER_MS, 0};

static void forget_seen(struct pg_kept *kept)
{
    for (size_t i = 0; i < kept->count; i++)
        free(kept->seen[i].path);
    free(kept->seen);
    kept->seen = NULL;
    kept->count = 0;
    kept->looked = false;
}

void pg_kept_close(void *state)
{
    struct pg_kept *kept = state;
    pg_session_close(&kept->session); /* its locks end with it */
    forget_seen(kept);
    free(kept);
}

void *pg_kept_open(const struct config *config, struct error *why)
{
    struct pg_kept *kept = libpq_load(why) ? calloc(1, sizeof *kept) : NULL;
    if (kept == NULL) {
        if (libpq_load(NULL))
            error_set(why, "out of memory");
        return NULL;
    }
    kept->config = config;
    pg_session_init(&kept->session, config, &keeping);
    return kept;
}

/* ---- the session ---- */

/* With a lock there is no other session than the one that has it. */
static enum pg_outcome ready(struct pg_kept *kept)
{
    kept->lost = kept->lost || (kept->locked && kept->session.connection == NULL);
    return kept->lost ? PG_LOST : pg_session_open(&kept->session);
}

/* One statement that changes nothing. A connection that has ended meanwhile shows by the first use of it. */
static enum pg_outcome run(struct pg_kept *kept, enum statement statement, const struct params *params,
                           PGresult **result)
{
    enum pg_outcome outcome = PG_LOST;
    for (unsigned tries = 0; tries < 2 && outcome == PG_LOST && !kept->lost; tries++) {
        outcome = ready(kept);
        if (outcome == PG_DONE)
            outcome = pg_session_run(&kept->session, statement, params, result);
    }
    return outcome;
}

/* Sets why. Returns false. */
static bool failed(struct pg_kept *kept, struct error *why)
{
    struct error reason = kept->session.why;
    kept->lost = kept->lost || (kept->locked && kept->session.connection == NULL);
    if (kept->lost)
        error_set(why, "the lock is lost, for its connection has ended (%.300s): run it again, which goes on",
                  reason.text);
    else if (why != NULL)
        *why = reason;
    return false;
}

static int64_t seen_version(const struct pg_kept *kept, const char *path)
{
    for (size_t i = 0; i < kept->count; i++) {
        if (strcmp(kept->seen[i].path, path) == 0)
            return kept->seen[i].version;
    }
    return 0;
}

/* ---- looking: with the copies locked, so that nobody copies what is older by then ---- */

static void set_path(struct params *params, const char *path)
{
    *params = (struct params){.count = 0};
    params_text(params, path);
}

/* A file that this machine made, or had before. Where the row is there already, that one counts. */
static bool add_new(void *context, const char *path, const char *text)
{
    struct pg_kept *kept = context;
    struct params params;
    set_path(&params, path);
    params_bytes(&params, text, strlen(text));
    pg_session_send(&kept->session, STATEMENT_KEPT_NEXT, NULL);
    pg_session_send(&kept->session, STATEMENT_KEPT_ADD, &params);
    kept->added = true;
    return pg_session_finish(&kept->session, NULL) == PG_DONE;
}

static bool note_seen(struct pg_kept *kept, const PGresult *rows)
{
    int count = PQntuples(rows);
    forget_seen(kept);
    kept->seen = calloc((size_t)count + 1, sizeof *kept->seen);
    for (int i = 0; kept->seen != NULL && i < count; i++) {
        kept->seen[i].path = strdup(PQgetvalue(rows, i, 0));
        kept->seen[i].version = result_int(rows, i, 2);
        if (kept->seen[i].path == NULL)
            break;
        kept->count++;
    }
    kept->looked = kept->seen != NULL && kept->count == (size_t)count;
    return kept->looked;
}

/* The first row is the one without a path. */
static bool take_rows(struct pg_kept *kept, struct copies *copies, const PGresult *rows, struct error *why)
{
    int count = PQntuples(rows);
    struct original *originals = count == 0 ? NULL : calloc((size_t)count, sizeof *originals);
    if (originals == NULL || !note_seen(kept, rows)) {
        error_set(why, count == 0 ? PG_KEPT_EMPTY : "out of memory");
        free(originals);
        return false;
    }
    for (int i = 1; i < count; i++)
        originals[i - 1] =
            (struct original){PQgetvalue(rows, i, 0), PQgetvalue(rows, i, 1), (size_t)PQgetlength(rows, i, 1)};
    bool good = copies_take(copies, PQgetvalue(rows, 0, 3), result_int(rows, 0, 2), originals, (size_t)count - 1, why);
    free(originals);
    return good;
}

static bool look_at(struct pg_kept *kept, struct copies *copies, bool whole, struct error *why)
{
    PGresult *version = NULL, *rows = NULL;
    if (run(kept, STATEMENT_KEPT_VERSION, NULL, &version) != PG_DONE)
        return failed(kept, why);
    bool good = PQntuples(version) == 1;
    kept->added = false;
    if (good)
        copies_compare(copies, PQgetvalue(version, 0, 1), result_int(version, 0, 0));
    bool same = good && copies->version == result_int(version, 0, 0);
    PQclear(version);
    struct error unread = {0};
    if (good && !copies_find_new(copies, add_new, kept, &unread)) {
        if (unread.text[0] == '\0')
            return failed(kept, why);
        error_set(why, "%s", unread.text);
        return false;
    }
    if (same && !kept->added && !whole) {
        copies_touch(copies);
        return true;
    }
    if (pg_session_run(&kept->session, STATEMENT_KEPT_ALL, NULL, &rows) != PG_DONE)
        return failed(kept, why);
    good = take_rows(kept, copies, rows, why);
    PQclear(rows);
    return good;
}

bool pg_kept_look_at(struct pg_kept *kept, bool whole, struct error *why)
{
    struct copies copies;
    if (!copies_begin(&copies, kept->config->state_dir, COPIES_WAIT_MS, why))
        return false;
    bool good = look_at(kept, &copies, whole, why);
    copies_end(&copies);
    return good;
}

static bool pg_kept_look(void *state, struct error *why)
{
    return pg_kept_look_at(state, true, why);
}

bool pg_kept_is_fresh(const struct config *config)
{
    return copies_are_fresh(config->state_dir, FRESH_MS);
}

static bool pg_kept_is_known(const struct config *config, struct error *why)
{
    if (copies_are_known(config->state_dir))
        return true;
    error_set(why, "the database of queue_url was not reached yet, which knows what keys there are");
    return false;
}

/* Made by the server, by chance, with the tables: who can read it can change all that it guards. */
static bool pg_kept_secret(const struct config *config, unsigned char secret[static KEPT_SECRET])
{
    char origin[ORIGIN];
    _Static_assert(KEPT_SECRET == SHA256_BYTES, "the digest is the secret");
    if (!copies_origin(config->state_dir, origin))
        return false;
    sha256(origin, strlen(origin), secret);
    return true;
}

/* ---- locks ---- */

static void pause_between_tries(void)
{
    nanosleep(&(struct timespec){.tv_nsec = PAUSE_MS * 1000000}, NULL);
}

static void describe_locker(struct pg_kept *kept, const struct params *params, struct error *why)
{
    PGresult *locker = NULL;
    char host[64] = "", process[24] = "";
    enum pg_outcome result = pg_session_run(&kept->session, STATEMENT_KEPT_LOCKER, params, &locker);
    if (result == PG_DONE && PQntuples(locker) > 0 &&
        sscanf(PQgetvalue(locker, 0, 0), "closecrm %63s %23s", host, process) == 2)
        error_set(why, "process %s on %s is at it now: try again when it has ended", process, host);
    else
        error_set(why, "another machine is at it now: try again when it has ended");
    PQclear(locker);
}

/* Returns PG_DONE and *got, or why that is not known. */
static enum pg_outcome try_lock(struct pg_kept *kept, const struct params *params, bool *got)
{
    PGresult *locked = NULL;
    enum pg_outcome result = run(kept, STATEMENT_KEPT_LOCK, params, &locked);
    *got = result == PG_DONE && result_int(locked, 0, 0) != 0;
    PQclear(locked);
    return result;
}

static bool pg_kept_lock(void *state, const char *path, int64_t wait_ms, struct error *why)
{
    struct pg_kept *kept = state;
    struct params params = {.count = 0};
    moment until = clock_now() + wait_ms;
    bool got;
    params_int8(&params, (int64_t)text_hash(TEXT_HASH, path, strlen(path)));
    enum pg_outcome result = try_lock(kept, &params, &got);
    while (result == PG_DONE && !got && clock_now() < until) {
        pause_between_tries();
        result = try_lock(kept, &params, &got);
    }
    if (result != PG_DONE)
        return failed(kept, why);
    if (!got) {
        describe_locker(kept, &params, why);
        return false;
    }
    kept->locked = true;
    return pg_kept_look_at(kept, true, why);
}

/* ---- changes ---- */

/* Below the state directory. */
static bool path_of(const struct pg_kept *kept, const char *directory, const char *name, char path[static FILES_PATH],
                    struct error *why)
{
    size_t folder = strlen(kept->config->state_dir);
    bool below = strncmp(directory, kept->config->state_dir, folder) == 0 && directory[folder] == '/';
    snprintf(path, FILES_PATH, "%.3000s/%.500s", below ? directory + folder + 1 : "", name);
    if (below && copies_may_be(path))
        return true;
    error_set(why, "%.300s/%.100s cannot be shared with other machines", directory, name);
    return false;
}

/* Tries again while its commit is unknown; whether it was made already does not matter. */
static enum pg_outcome change(struct pg_kept *kept, enum statement statement, const struct params *params,
                              PGresult **result)
{
    PGresult *results[2] = {NULL, NULL};
    moment until = clock_now() + TRIES_MS;
    enum pg_outcome outcome;
    for (;;) {
        outcome = ready(kept);
        if (outcome == PG_DONE) {
            pg_session_send(&kept->session, STATEMENT_KEPT_NEXT, NULL);
            pg_session_send(&kept->session, statement, params);
            outcome = pg_session_finish(&kept->session, results);
        }
        if (outcome != PG_LOST || kept->locked || clock_now() >= until)
            break;
        pause_between_tries();
    }
    PQclear(results[0]);
    *result = results[1];
    return outcome;
}

static bool conflicts(const char *path, struct error *why)
{
    error_set(why, "%.200s was changed by another machine just now: run it again", path);
    return false;
}

/* text NULL: removes it. */
static bool put_path(struct pg_kept *kept, const char *path, const char *text, struct error *why)
{
    struct params params;
    PGresult *result = NULL;
    if (!kept->looked && !pg_kept_look_at(kept, true, why))
        return false;
    set_path(&params, path);
    if (text != NULL)
        params_bytes(&params, text, strlen(text));
    params_int8(&params, seen_version(kept, path));
    enum pg_outcome outcome = change(kept, text == NULL ? STATEMENT_KEPT_REMOVE : STATEMENT_KEPT_PUT, &params, &result);
    if (outcome != PG_DONE)
        return failed(kept, why);
    bool done = text == NULL ? result_int(result, 0, 0) == 0 : PQntuples(result) == 1;
    PQclear(result);
    return (done || conflicts(path, why)) && pg_kept_look_at(kept, true, why);
}

static bool pg_kept_put(void *state, const char *directory, const char *name, const char *text, struct error *why)
{
    char path[FILES_PATH];
    struct pg_kept *kept = state;
    return path_of(kept, directory, name, path, why) && put_path(kept, path, text, why);
}

static bool pg_kept_remove(void *state, const char *directory, const char *name, struct error *why)
{
    return pg_kept_put(state, directory, name, NULL, why);
}

/* Under a lock: the copies are what the rows are. */
static bool pg_kept_move(void *state, const char *from, const char *to, const char *name, bool *taken,
                         struct error *why)
{
    char old_path[FILES_PATH], new_path[FILES_PATH];
    struct pg_kept *kept = state;
    bool missing;
    if (!path_of(kept, from, name, old_path, why) || !path_of(kept, to, name, new_path, why))
        return false;
    char *text = files_read(from, name, NULL, why), *there = files_read(to, name, &missing, NULL);
    *taken = text != NULL && there != NULL && strcmp(text, there) != 0;
    bool good = text != NULL && (there != NULL || missing);
    if (good && !*taken)
        good = put_path(kept, new_path, text, why) && put_path(kept, old_path, NULL, why);
    files_free(text);
    files_free(there);
    return good;
}

const struct kept_engine kept_engine_postgresql = {
    .open = pg_kept_open,
    .close = pg_kept_close,
    .lock = pg_kept_lock,
    .put = pg_kept_put,
    .remove = pg_kept_remove,
    .move = pg_kept_move,
    .look = pg_kept_look,
    .is_fresh = pg_kept_is_fresh,
    .is_known = pg_kept_is_known,
    .is_shared = true,
    .secret = pg_kept_secret,
    .exchange = pg_kept_exchange,
    .say = pg_kept_say,
    .watch_start = pg_watch_start,
    .watch_stop = pg_watch_stop,
};
