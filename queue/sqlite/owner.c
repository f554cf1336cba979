/* What the owner of the consumer lock does beside forwarding: its heartbeat, the delivered mark, and what commands
 * request of it. */
#include "queue/sqlite/store.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/times.h"
#include "config/keyring.h"
#include "queue/inspect.h"
#include "queue/sqlite/files.h"

/* ---- the heartbeat ---- */

#define UNKNOWN "?" /* the boot's name where there is no /proc */

void beat_machine(char out[static BEAT_MACHINE])
{
    char host[64] = UNKNOWN, boot[40] = UNKNOWN;
    gethostname(host, sizeof host - 1);
    int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        ssize_t n = read(fd, boot, sizeof boot - 1);
        boot[n > 0 ? n : 0] = '\0';
        boot[strcspn(boot, "\n")] = '\0';
        close(fd);
    }
    snprintf(out, BEAT_MACHINE, "%s %s", host, boot);
}

bool beat_is_of(const char *beat, const char *machine)
{
    size_t host = strcspn(machine, " ");
    if (strncmp(beat, machine, host + 1) != 0)
        return false;
    const char *theirs = beat + host + 1, *ours = machine + host + 1;
    size_t length = strlen(ours);
    bool unknown = strcmp(ours, UNKNOWN) == 0 || strncmp(theirs, UNKNOWN " ", strlen(UNKNOWN " ")) == 0;
    return unknown || (strncmp(theirs, ours, length) == 0 && theirs[length] == ' ');
}

void beat_words(const char *beat, int64_t silent_ms, struct error *words)
{
    char silence[96] = "";
    const char *pid = strrchr(beat, ' ');
    if (silent_ms > 0)
        snprintf(silence, sizeof silence, ", which has shown no sign of life for %lld s (is it stopped, or hangs?)",
                 (long long)(silent_ms / 1000));
    error_set(words, "process %s on %.*s%s", pid == NULL ? "?" : pid + 1, (int)strcspn(beat, " "), beat, silence);
}

bool beat_read(const char *directory, char out[static BEAT_TEXT], int64_t *age_ms)
{
    char path[STATE_PATH];
    struct stat status;
    directory_path(path, directory, "forward.beat");
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t n = read(fd, out, BEAT_TEXT - 1);
    bool good = n > 0 && fstat(fd, &status) == 0;
    close(fd);
    if (!good)
        return false;
    out[n] = '\0';
    out[strcspn(out, "\n")] = '\0';
    *age_ms = clock_unix_ms() - clock_timespec_ms(status.st_mtim);
    return true;
}

void beat_write(const char *directory)
{
    char machine[BEAT_MACHINE], text[BEAT_TEXT];
    int fd = directory_open(directory, "forward.beat", NULL);
    if (fd < 0)
        return;
    beat_machine(machine);
    int length = snprintf(text, sizeof text, "%s %ld\n", machine, (long)getpid());
    if (pwrite(fd, text, (size_t)length, 0) == length && ftruncate(fd, length) == 0)
        futimens(fd, NULL);
    close(fd);
}

/* ---- Whether the system clock can be trusted. Machines boot with a wrong clock, and people set it. A jump of more
 * than a day is recorded in a file together with the time last seen, as it may happen between two processes; until the
 * clock has then run for a day, nothing counts as too old. ---- */

#define DAY_MS ((int64_t)24 * 60 * 60 * 1000)

/* "SEEN SINCE": when the clock was last checked, and since when it runs without a jump; Unix time in ms. */
static bool read_clock(int fd, long long *seen, long long *since)
{
    char text[64];
    ssize_t n = pread(fd, text, sizeof text - 1, 0);
    if (n <= 0)
        return false;
    text[n] = '\0';
    return sscanf(text, "%lld %lld", seen, since) == 2; /* NOLINT(cert-err34-c): of our own making */
}

void store_check_clock(struct store *store)
{
    long long now = clock_unix_ms(), seen, since;
    int fd = directory_open(store->directory, "clock", NULL);
    if (fd < 0)
        return;
    if (!read_clock(fd, &seen, &since)) {
        since = now;
    } else if (now - seen > DAY_MS || seen - now > DAY_MS) {
        log_write(LEVEL_WARN, "msg=clock_jumped hours=%lld advice=\"nothing is called too old for a day\"",
                  (now - seen) / 3600000);
        since = now;
    }
    if (since > now)
        since = now;
    char text[64];
    int length = snprintf(text, sizeof text, "%lld %lld\n", now, since);
    if (pwrite(fd, text, (size_t)length, 0) != length || ftruncate(fd, length) != 0)
        since = now; /* not trusted if it cannot be recorded */
    close(fd);
    atomic_store(&store->clock_steady, now - since >= DAY_MS);
}

/* ---- The delivered mark (queue/inspect.h), written by the owner periodically and at its end: just after the date of
 * the newest settled event, but never after the oldest date of a waiting one. Also the record of signature
 * keys. ---- */

#define LOOKED_AT 32          /* oldest waiting events that are examined */
#define LARGEST (1024 * 1024) /* bytes of a body that is examined; of a larger one the arrival time is used */
#define DELIVERY_MS 600000    /* how much older than its arrival an event's date may be */
#define AHEAD_US (INT64_C(86400) * 1000000) /* a date further ahead of the clock is ignored */

bool marks_begin(struct store *store)
{
    size_t count = store->config->sources;
    if (store->settled == NULL)
        store->settled = calloc(count > 0 ? count : 1, sizeof *store->settled);
    for (size_t i = 0; store->settled != NULL && i < count; i++)
        store->settled[i].source = store->number[i];
    return store->settled != NULL;
}

void marks_settled(struct store *store, uint32_t source, int64_t updated_us)
{
    if (store->settled == NULL || updated_us > clock_unix_ms() * 1000 + AHEAD_US)
        return;
    for (size_t i = 0; i < store->config->sources; i++) {
        if (store->settled[i].source == source && updated_us > store->settled[i].newest_us)
            store->settled[i].newest_us = updated_us;
    }
}

/* Finds the oldest date of the first waiting events, ignoring those older than the current mark (a replay, a backfill),
 * which do not hold it back. INT64_MAX: none waits. Returns false when the events cannot be read. */
static bool oldest_waiting(struct database *database, uint32_t number, int64_t before_ms, int64_t *ms)
{
    enum database_result result;
    sqlite3_stmt *first = database_statement(database, STATEMENT_FIRST_BODIES, number);
    *ms = INT64_MAX;
    if (first != NULL) {
        sqlite3_bind_int64(first, 1, LARGEST);
        sqlite3_bind_int64(first, 2, LOOKED_AT);
    }
    while (database_step(database, first, &result) == SQLITE_ROW) {
        const char *body = sqlite3_column_blob(first, 1);
        int64_t us = body == NULL ? DATE_UNREADABLE : delivered_date_of(body, (size_t)sqlite3_column_bytes(first, 1));
        int64_t date_ms = us == DATE_UNREADABLE ? sqlite3_column_int64(first, 0) - DELIVERY_MS : us / 1000;
        *ms = date_ms < *ms && date_ms >= before_ms ? date_ms : *ms;
    }
    if (result == DATABASE_DONE)
        sqlite3_reset(first);
    return result == DATABASE_DONE;
}

/* The mark never decreases: older events were settled, and would be fetched and counted twice. */
static int64_t mark_of(struct store *store, struct database *database, size_t i, int64_t before_ms)
{
    int64_t waiting_ms;
    if (!oldest_waiting(database, store->number[i], before_ms, &waiting_ms))
        return before_ms;
    pthread_mutex_lock(&store->mirror_lock); /* after that: what does not wait any more is noted by now */
    int64_t newest_us = store->settled[i].newest_us;
    pthread_mutex_unlock(&store->mirror_lock);
    int64_t mark_ms = newest_us > 0 ? newest_us / 1000 + 1 : waiting_ms;
    if (waiting_ms < mark_ms)
        mark_ms = waiting_ms;
    return mark_ms == INT64_MAX || mark_ms < before_ms ? before_ms : mark_ms;
}

void marks_note(struct store *store, struct database *database)
{
    struct error why;
    char words[LOG_QUOTED];
    size_t count = store->config->sources;
    bool changed = false;
    struct delivered *marks = store->settled == NULL ? NULL : calloc(count > 0 ? count : 1, sizeof *marks);
    for (size_t i = 0; marks != NULL && i < count; i++) {
        const char *name = store->config->source[i].name;
        int64_t before_ms = delivered_mark(store->directory, name);
        strncpy(marks[i].source, name, sizeof marks[i].source - 1);
        marks[i].mark_ms = mark_of(store, database, i, before_ms);
        changed = changed || marks[i].mark_ms != before_ms;
    }
    /* without the mark a lost database means duplicates or an operator's decision: no reason to stop */
    if (changed && !delivered_write(store->directory, marks, count, &why))
        log_write(LEVEL_WARN, "msg=mark_not_noted state_dir=\"%s\" reason=%s", store->directory,
                  log_quote_reason(words, why.text));
    free(marks);
}

/* ---- The record that a source had a signature key, in the database (store_note_signed). Read and written when a queue
 * is opened, before requests are accepted. ---- */

static enum database_result is_noted(struct database *database, uint32_t number, bool *noted)
{
    enum database_result result;
    sqlite3_stmt *find = database_statement(database, STATEMENT_SIGNED, 0);
    if (find != NULL)
        sqlite3_bind_int64(find, 1, number);
    *noted = database_step(database, find, &result) == SQLITE_ROW && sqlite3_column_int64(find, 0) != 0;
    if (result == DATABASE_DONE)
        sqlite3_reset(find);
    return result;
}

static enum database_result note_signed(struct database *database, uint32_t number)
{
    sqlite3_stmt *set = database_statement(database, STATEMENT_SET_COUNT, 0);
    if (set != NULL) {
        sqlite3_bind_int64(set, 1, number);
        sqlite3_bind_int64(set, 2, COUNT_SIGNED);
        sqlite3_bind_int64(set, 3, 1);
    }
    return database_run_alone(database, set, NULL);
}

/* What cannot be written on a full disk is written at a later opening; the other record exists. */
enum database_result store_note_signed(struct store *store, const struct source *source, uint32_t number)
{
    struct database *database = &store->group.database;
    struct error why = {0};
    bool in_database;
    enum database_result result = is_noted(database, number, &in_database);
    if (result != DATABASE_DONE)
        return result;
    bool beside = source->signature_keys > 0 || signed_is_noted(store->directory, source->name);
    if (in_database && !beside && !signed_note(store->directory, source->name, NULL, &why))
        log_write(LEVEL_WARN, "msg=not_noted source=%s reason=\"%s\"", source->name, why.text);
    if (!in_database && beside && note_signed(database, number) != DATABASE_DONE)
        log_write(LEVEL_WARN, "msg=not_noted source=%s reason=\"%s\"", source->name, database->why.text);
    return DATABASE_DONE;
}

/* ---- Requests of commands to the owner, and its answers: rows of the table `request`. The owner reads the table only
 * after a request's own byte in the FIFO, so that no requests cost nothing. A command that died leaves a row, which is
 * deleted after a minute. ---- */

#define FORGET_MS 60000

/* ASKED_TO_ERASE: `words` says what; a release that knows of no such requests does not see it. */
enum { ASKED = 0, TAKEN = 1, DONE = 2, REFUSED = 3, ASKED_TO_ERASE = 4 };

/* ---- the command's side ---- */

bool store_ask(void *state, const struct queue_request *request, int64_t *number, struct error *why)
{
    struct store *store = state;
    char words[REQUEST_TEXT];
    int changes;
    if (!store_reader(store, why))
        return false;
    request_pack(request, words);
    sqlite3_stmt *ask = database_statement(&store->reader, STATEMENT_ASK, 0);
    if (ask != NULL) {
        sqlite3_bind_text(ask, 1, request->source, -1, SQLITE_STATIC);
        sqlite3_bind_int64(ask, 2, (int64_t)request->event);
        sqlite3_bind_int64(ask, 3, clock_unix_ms());
        if (request->remember)
            sqlite3_bind_blob(ask, 4, request->identity.key, sizeof request->identity.key, SQLITE_STATIC);
        else
            sqlite3_bind_null(ask, 4);
        sqlite3_bind_int64(ask, 5, request->identity.updated_us);
        sqlite3_bind_int64(ask, 6, request->erases > 0 ? ASKED_TO_ERASE : ASKED);
        sqlite3_bind_text(ask, 7, words, -1, SQLITE_STATIC);
    }
    enum database_result result = database_run_alone(&store->reader, ask, &changes);
    *number = result == DATABASE_DONE ? sqlite3_last_insert_rowid(store->reader.db) : 0;
    return result == DATABASE_DONE || store_reader_failed(store, result, why);
}

void store_remind(void *state)
{
    struct store *store = state;
    wake_ask(store->directory, &store->group.wake_fd);
}

bool store_answer(void *state, int64_t number, enum queue_answer *answer, struct error *words, struct error *why)
{
    static const enum queue_answer answers[] = {QUEUE_ASKED, QUEUE_TAKEN, QUEUE_DONE, QUEUE_REFUSED, QUEUE_ASKED};
    struct store *store = state;
    enum database_result result;
    *answer = QUEUE_REFUSED;
    error_set(words, "the request was forgotten");
    if (!store_reader(store, why))
        return false;
    sqlite3_stmt *read = database_statement(&store->reader, STATEMENT_ANSWER, 0);
    if (read != NULL)
        sqlite3_bind_int64(read, 1, number);
    if (database_step(&store->reader, read, &result) == SQLITE_ROW) {
        int64_t found = sqlite3_column_int64(read, 0);
        const char *text = (const char *)sqlite3_column_text(read, 1);
        *answer = answers[found >= ASKED && found <= ASKED_TO_ERASE ? found : REFUSED];
        error_set(words, "%s", text == NULL ? "" : text);
    }
    if (result == DATABASE_DONE)
        sqlite3_reset(read);
    return result == DATABASE_DONE || store_reader_failed(store, result, why);
}

bool store_withdraw(void *state, int64_t number, bool always, bool *withdrawn, struct error *why)
{
    struct store *store = state;
    int changes = 0;
    if (!store_reader(store, why))
        return false;
    sqlite3_stmt *withdraw = database_statement(&store->reader, STATEMENT_WITHDRAW, 0);
    if (withdraw != NULL) {
        sqlite3_bind_int64(withdraw, 1, number);
        sqlite3_bind_int64(withdraw, 2, always);
    }
    enum database_result result = database_run_alone(&store->reader, withdraw, &changes);
    *withdrawn = changes > 0;
    return result == DATABASE_DONE || store_reader_failed(store, result, why);
}

/* ---- the owner's side ---- */

static enum database_result forget_old(struct database *database)
{
    int changes;
    int64_t now = clock_unix_ms();
    sqlite3_stmt *forget = database_statement(database, STATEMENT_FORGET_REQUESTS, 0);
    if (forget != NULL) {
        sqlite3_bind_int64(forget, 1, now - FORGET_MS);
        sqlite3_bind_int64(forget, 2, now + FORGET_MS);
    }
    return database_run_alone(database, forget, &changes);
}

/* *asked: its state. */
static bool find_next(struct database *database, struct queue_request *request, int *asked,
                      enum database_result *result)
{
    sqlite3_stmt *next = database_statement(database, STATEMENT_NEXT_REQUEST, 0);
    bool found = database_step(database, next, result) == SQLITE_ROW;
    if (found) {
        const char *source = (const char *)sqlite3_column_text(next, 1);
        *request = (struct queue_request){.number = sqlite3_column_int64(next, 0),
                                          .event = (uint64_t)sqlite3_column_int64(next, 2),
                                          .identity = {.updated_us = sqlite3_column_int64(next, 4)}};
        strncpy(request->source, source == NULL ? "" : source, sizeof request->source - 1);
        request->remember = sqlite3_column_bytes(next, 3) == (int)sizeof request->identity.key;
        if (request->remember)
            memcpy(request->identity.key, sqlite3_column_blob(next, 3), sizeof request->identity.key);
        const char *words = (const char *)sqlite3_column_text(next, 5);
        request_unpack(request, words == NULL ? "" : words);
        *asked = sqlite3_column_int(next, 6);
    }
    if (*result == DATABASE_DONE)
        sqlite3_reset(next);
    return found;
}

static enum database_result set_state(struct database *database, int64_t number, int from, int to, const char *words,
                                      int *changes)
{
    sqlite3_stmt *set = database_statement(database, STATEMENT_SET_REQUEST, 0);
    if (set != NULL) {
        sqlite3_bind_int64(set, 1, number);
        sqlite3_bind_int64(set, 2, from);
        sqlite3_bind_int64(set, 3, to);
        sqlite3_bind_text(set, 4, words, -1, SQLITE_STATIC);
    }
    return database_run_alone(database, set, changes);
}

bool store_take_request(void *state, struct queue_request *request)
{
    struct store *store = state;
    struct database *database = &store->reader;
    enum database_result result;
    int changes = 0, asked = ASKED;
    if (!store->asked || !store->owned)
        return false;
    result = forget_old(database);
    while (result == DATABASE_DONE && find_next(database, request, &asked, &result)) {
        result = set_state(database, request->number, asked, TAKEN, "", &changes);
        if (result != DATABASE_DONE)
            break;
        if (changes > 0)
            return true; /* else the request was withdrawn meanwhile */
    }
    store->asked = false;
    if (result != DATABASE_DONE)
        store_failed(store, result, &database->why);
    return false;
}

void store_answer_request(void *state, int64_t number, bool done, const char *words)
{
    struct store *store = state;
    struct database *database = &store->reader;
    int changes;
    enum database_result result = database_sync_commits(database, true); /* what was settled for it, too */
    if (result == DATABASE_DONE)
        result = set_state(database, number, TAKEN, done ? DONE : REFUSED, words, &changes);
    if (result != DATABASE_DONE)
        store_failed(store, result, &database->why);
    database_sync_commits(database, false);
}
