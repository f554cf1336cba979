/* One process's state of a state directory, as its threads share it: a source's number, the reader's connection, what a
 * failure means, whether there is room, and whether the open files are still at their paths. */
#include "queue/sqlite/store.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "queue/sqlite/files.h"
#include "queue/sqlite/recovery.h"

#define LOG_AGAIN_MS 10000

uint32_t store_number(struct store *store, const char *name)
{
    for (size_t i = 0; i < store->config->sources; i++) {
        if (strcmp(store->config->source[i].name, name) == 0)
            return store->number[i];
    }
    enum database_result result;
    uint32_t number = 0;
    sqlite3_stmt *find = database_statement(&store->reader, STATEMENT_SOURCE_NUMBER, 0);
    if (find != NULL)
        sqlite3_bind_text(find, 1, name, -1, SQLITE_STATIC);
    if (database_step(&store->reader, find, &result) == SQLITE_ROW)
        number = (uint32_t)sqlite3_column_int64(find, 0);
    if (result == DATABASE_DONE)
        sqlite3_reset(find);
    return number;
}

/* Under load a full disk would flood the log with messages. */
static bool was_logged(struct store *store, enum database_result result)
{
    moment now = clock_now();
    moment before = atomic_load(&store->logged[result]);
    return (before > 0 && now - before < LOG_AGAIN_MS) ||
           !atomic_compare_exchange_strong(&store->logged[result], &before, now);
}

/* Whether what waits may have to wait, too. Where space is missing, the reserve is for settling. */
static bool waits_too(const struct store *store)
{
    int error = no_room_of(store->directory);
    return unsettled_of(store->directory) != 0 || (error != 0 && !no_room_helped_by_space(error));
}

void store_failed(struct store *store, enum database_result result, const struct error *why)
{
    char words[LOG_QUOTED];
    if (result == DATABASE_DAMAGED)
        damage_mark(store->directory);
    if (result == DATABASE_DAMAGED || result == DATABASE_NEWER)
        atomic_store(&store->must_reopen, true);
    bool is_gone = result == DATABASE_FULL && atomic_load(&store->files_state) == FILES_DIRECTORY_GONE;
    if (result == DATABASE_DONE || is_gone || was_logged(store, result)) /* state_dir_gone is logged: no full disk */
        return;
    log_quote_reason(words, why->text);
    switch (result) {
    case DATABASE_DONE:
        break;
    case DATABASE_FULL:
        log_write(LEVEL_ERROR,
                  "msg=disk_full state_dir=\"%s\" reason=%s advice=\"Close keeps new events meanwhile, %s\"",
                  store->directory, words,
                  waits_too(store) ? "and what waits is sent only as far as it can be noted as "
                                     "delivered: where nothing can be written it waits, too"
                                   : "and what waits is delivered, as long as others leave it the room of the reserve");
        break;
    case DATABASE_DAMAGED:
        log_write(LEVEL_ERROR,
                  "msg=queue_damaged state_dir=\"%s\" reason=%s advice=\"it is repaired as soon as every "
                  "process has let go of it; check the disk\"",
                  store->directory, words);
        break;
    case DATABASE_NEWER:
        log_write(LEVEL_ERROR, "msg=queue_not_opened state_dir=\"%s\" reason=%s", store->directory, words);
        break;
    case DATABASE_FAILED:
        log_write(LEVEL_ERROR, "msg=queue_failed state_dir=\"%s\" reason=%s", store->directory, words);
        break;
    }
}

bool store_has_room(void *state, struct error *words)
{
    const struct store *store = state;
    int error = no_room_of(store->directory);
    if (error != 0)
        error_set(words, "%s: %s", no_room_words(error), no_room_advice(error));
    return error == 0;
}

bool store_stands(void *state, struct error *words)
{
    struct store *store = state;
    bool replaced = replaced_is_noted(store->directory);
    if (!store_is_in_place(store, words) && atomic_load(&store->files_state) == FILES_DIRECTORY_GONE) {
        error_set_kind(words, ERROR_MISSING,
                       "the state directory %.200s was moved away or removed while the program runs (state_dir_gone): "
                       "put it back where it was, and nothing is lost",
                       store->directory);
        return false;
    }
    words->text[0] = '\0';
    if (replaced)
        error_set(words, "files of the queue were removed or replaced while the program uses it, and what they held is "
                         "being brought over: that takes some seconds");
    return !replaced;
}

bool store_can_be_settled(void *state, struct error *words)
{
    const struct store *store = state;
    int error = unsettled_of(store->directory);
    if (no_room_is(error))
        error_set(words, "%s: %s", no_room_words(error), no_room_advice(error));
    else if (error != 0)
        error_set(words, "the queue's database fails, and the log says why (msg=cannot_settle)");
    return error == 0;
}

bool store_give_up_reserve(struct store *store, const struct database *database)
{
    if (!no_room_helped_by_space(database->error) || !reserve_is_there(store->directory))
        return false;
    store_failed(store, DATABASE_FULL, &database->why);
    reserve_give_up(store->directory, database->error);
    atomic_store(&store->reserve_gone, true);
    return true;
}

bool store_reader_failed(struct store *store, enum database_result result, struct error *why)
{
    if (why != NULL)
        *why = store->reader.why;
    if (result == DATABASE_FULL && atomic_load(&store->owned))
        store_give_up_reserve(store, &store->reader);
    store_failed(store, result, &store->reader.why);
    return false;
}

bool store_reader(struct store *store, struct error *why)
{
    if (store->reading)
        return true;
    enum database_result result = schema_open(&store->reader, store->directory, true);
    store->reading = result == DATABASE_DONE;
    if (!store->reading) {
        store_reader_failed(store, result, why);
        database_close(&store->reader);
    }
    /* A connection to other files than the writer's would mix two queues. */
    if (store->reading && !store_is_in_place(store, why)) {
        database_close(&store->reader);
        store->reading = false;
    }
    return store->reading;
}

/* ---- the process's limit on the size of files ---- */

#define SIZE_MARGIN_MOST ((int64_t)64 * 1024 * 1024) /* kept below the limit on file size for a group and settling */

/* The database must never reach the process's limit on file size (ulimit -f): the log could not be copied into it any
 * more, and nothing could be settled. Free pages inside hold events too. */
static bool is_at_size_limit(const struct store *store, int64_t pages, int64_t unused)
{
    if (store->file_limit == INT64_MAX)
        return false;
    int64_t margin = store->file_limit / 4 < SIZE_MARGIN_MOST ? store->file_limit / 4 : SIZE_MARGIN_MOST;
    return pages * DATABASE_PAGE > store->file_limit - margin && unused * DATABASE_PAGE < margin;
}

enum database_result store_check_size(struct store *store, int64_t pages, int64_t unused)
{
    struct database *database = &store->group.database;
    if (!is_at_size_limit(store, pages, unused))
        return DATABASE_DONE;
    error_set(&database->why, "%s: %s", no_room_words(EFBIG), no_room_advice(EFBIG));
    database->error = EFBIG;
    return DATABASE_FULL;
}

/* ---- files of an open store are removed or replaced: detected after each commit and once a second ---- */

static bool read_file_identity(struct file_identity *identity, const char *path)
{
    struct stat status;
    if (stat(path, &status) != 0)
        return false;
    *identity = (struct file_identity){.device = status.st_dev, .inode = status.st_ino};
    return true;
}

static bool is_same_file(const struct file_identity *identity, const char *path)
{
    struct file_identity now;
    return read_file_identity(&now, path) && now.inode == identity->inode && now.device == identity->device;
}

static void path_beside(char out[static STATE_PATH], const char *base, const char *end)
{
    snprintf(out, STATE_PATH, "%.4000s%s", base, end);
}

bool open_files_record(struct open_files *files, const char *directory, bool has_log)
{
    char real[PATH_MAX];
    struct stat status;
    *files = (struct open_files){.has_log = has_log};
    directory_path(files->database_path, directory, "queue.db");
    bool is_link = lstat(files->database_path, &status) == 0 && S_ISLNK(status.st_mode) &&
                   realpath(files->database_path, real) != NULL;
    path_beside(files->log_path, is_link ? real : files->database_path, "-wal");
    path_beside(files->index_path, is_link ? real : files->database_path, "-shm");
    return read_file_identity(&files->directory, directory) &&
           read_file_identity(&files->database, files->database_path) &&
           (!has_log ||
            (read_file_identity(&files->log, files->log_path) && read_file_identity(&files->index, files->index_path)));
}

enum open_files_state open_files_check(const struct open_files *files, const char *directory)
{
    struct file_identity now;
    enum open_files_state state = FILES_IN_PLACE;
    if (!is_same_file(&files->database, files->database_path))
        state = FILES_DATABASE_REPLACED;
    else if (files->has_log && !is_same_file(&files->log, files->log_path))
        state = FILES_LOG_REPLACED;
    else if (files->has_log && !is_same_file(&files->index, files->index_path))
        state = FILES_INDEX_REPLACED;
    if (state == FILES_IN_PLACE || is_same_file(&files->directory, directory))
        return state;
    return read_file_identity(&now, directory) ? FILES_DIRECTORY_REPLACED : FILES_DIRECTORY_GONE;
}

/* Describes the state for people. */
static const char *open_files_words(enum open_files_state state)
{
    static const char *const words[] = {
        [FILES_IN_PLACE] = "nothing was moved",
        [FILES_DIRECTORY_GONE] = "the state directory was moved away or removed",
        [FILES_DIRECTORY_REPLACED] = "another directory stands in the state directory's place",
        [FILES_DATABASE_REPLACED] = "the queue's database was removed or replaced",
        [FILES_LOG_REPLACED] = "the log of the queue's database was removed or replaced",
        [FILES_INDEX_REPLACED] = "the index of the log of the queue's database was removed or replaced",
    };
    return words[state];
}

#define LOG_DISPLACED_MS 10000
#define NOTE_DISPLACED_MS 500

static void log_displaced(struct store *store, enum open_files_state state)
{
    moment now = clock_now(), before = atomic_load(&store->logged_displaced);
    if ((before > 0 && now - before < LOG_DISPLACED_MS) ||
        !atomic_compare_exchange_strong(&store->logged_displaced, &before, now))
        return;
    log_write(LEVEL_ERROR,
              state == FILES_DIRECTORY_GONE
                  ? "msg=state_dir_gone state_dir=\"%s\" reason=\"%s\" advice=\"put it back where it was: requests are "
                    "answered 503 until then; what the queue held is not lost as long as this process runs\""
                  : "msg=queue_replaced state_dir=\"%s\" reason=\"%s\" advice=\"stop the program before you remove, "
                    "restore or move files of its state directory; what the old ones held is brought over as soon as "
                    "this program can write there\"",
              store->directory, open_files_words(state));
}

void store_note_replaced(struct store *store)
{
    moment now = clock_now(), before = atomic_load(&store->noted_replaced);
    int state = atomic_load(&store->files_state);
    if (state == FILES_IN_PLACE || state == FILES_DIRECTORY_GONE || (before > 0 && now - before < NOTE_DISPLACED_MS))
        return;
    if (atomic_compare_exchange_strong(&store->noted_replaced, &before, now))
        replaced_note(store->directory);
}

bool store_is_in_place(struct store *store, struct error *why)
{
    enum open_files_state state = open_files_check(&store->files, store->directory);
    int before = atomic_exchange(&store->files_state, state);
    if (state == FILES_IN_PLACE) {
        if (before == FILES_DIRECTORY_GONE)
            log_write(LEVEL_WARN, "msg=state_dir_is_back state_dir=\"%s\"", store->directory);
        return true;
    }
    log_displaced(store, state);
    store_note_replaced(store);
    error_set(why, "%s while this program uses it", open_files_words(state));
    if (state != FILES_DIRECTORY_GONE && !atomic_load(&store->must_reopen))
        store_ask_writer_to_save(store);
    return false;
}

/* ---- the owner is woken, by a FIFO ---- */

static void wake_path(char out[static STATE_PATH], const char *directory)
{
    snprintf(out, STATE_PATH, "%.*s/wake", STATE_PATH - (int)sizeof "/wake", directory);
}

int wake_open(const char *directory, struct error *why)
{
    char path[STATE_PATH];
    wake_path(path, directory);
    if (mkfifo(path, 0600) != 0 && errno != EEXIST) {
        error_set(why, "cannot make %.300s: %s", path, strerror(errno));
        return -1;
    }
    /* Opened for writing too: else poll would return at once for ever after the first writer has closed it. */
    int fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        error_set(why, "cannot open %.300s: %s", path, strerror(errno));
    return fd;
}

static void send_byte(const char *directory, int *fd, const char *byte)
{
    char path[STATE_PATH];
    if (*fd < 0) {
        wake_path(path, directory);
        *fd = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC); /* ENXIO, ENOENT: no owner */
    }
    if (*fd >= 0 && write(*fd, byte, 1) < 0 && errno != EAGAIN) { /* EAGAIN: wake-ups are pending */
        close(*fd);
        *fd = -1;
    }
}

void wake_send(const char *directory, int *fd)
{
    send_byte(directory, fd, "");
}

void wake_ask(const char *directory, int *fd)
{
    static const char asks[] = {WAKE_ASKS};
    send_byte(directory, fd, asks);
}

int store_wake_fd(void *state)
{
    const struct store *store = state;
    return store->wake_fd;
}

/* A FIFO that nobody reads cannot be opened for writing. */
bool store_has_reader(void *state, const char *source)
{
    (void)source; /* one process reads all */
    const struct store *store = state;
    char path[STATE_PATH];
    wake_path(path, store->directory);
    int fd = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

void store_clear_wakeup(void *state)
{
    struct store *store = state;
    char bytes[4096];
    ssize_t n = 0;
    bool any = false;
    do {
        n = store->wake_fd >= 0 ? read(store->wake_fd, bytes, sizeof bytes) : 0;
        any = any || n > 0;
        store->asked = store->asked || (n > 0 && memchr(bytes, WAKE_ASKS, (size_t)n) != NULL);
    } while (n == (ssize_t)sizeof bytes);
    if (store->owned && any)
        housekeeper_call(store); /* something was written: the log grows, also while reading or settling fails */
}

/* ---- whether the queue can be used further ---- */

bool store_is_steady(void *state)
{
    struct store *store = state;
    return atomic_load(&store->clock_steady);
}

bool store_must_reopen(void *state)
{
    struct store *store = state;
    struct error why;
    if (atomic_load(&store->must_reopen) || damage_is_marked(store->directory)) {
        store_note_replaced(store);
        return true;
    }
    /* else the files are saved first */
    return store_is_in_place(store, &why) ? rescue_is_due(store->directory) : atomic_load(&store->must_reopen);
}
