/* Room to write: the reserve, which is given up for settling; the process's limit on the size of files; and the probe
 * of health checks, whether the queue can be written. */
#include "queue/sqlite/files.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/files.h"
#include "base/log.h"
#include "queue/sqlite/store.h"

/* ---- the probe, and the limit on files ---- */

/* In a transaction: writes the moment of now, where an event could be written too. */
static enum database_result try_to_write(struct store *store)
{
    struct database *database = &store->group.database;
    enum database_result result;
    int64_t pages = database_number(database, STATEMENT_PAGES, &result);
    int64_t unused = result == DATABASE_DONE ? database_number(database, STATEMENT_FREE_PAGES, &result) : 0;
    if (result == DATABASE_DONE)
        result = store_check_size(store, pages, unused);
    sqlite3_stmt *set = result == DATABASE_DONE ? database_statement(database, STATEMENT_SET_COUNT, 0) : NULL;
    if (result != DATABASE_DONE)
        return result;
    if (set != NULL) {
        sqlite3_bind_int64(set, 1, 0); /* no source */
        sqlite3_bind_int64(set, 2, COUNT_PROBED);
        sqlite3_bind_int64(set, 3, clock_unix_ms());
    }
    return database_run(database, set);
}

/* A limit on files is a process's own: one without it cannot say that those with it have room again. */
static void note_probed(struct store *store, bool serves)
{
    int error = reserve_is_there(store->directory) ? no_room_of(store->directory) : 0;
    if (error != 0 && (error != EFBIG || serves))
        no_room_note(store->directory, 0);
}

bool store_probe(void *state, bool serves, struct error *why)
{
    struct store *store = state;
    struct database *database = &store->group.database;
    if (!store_is_in_place(store, why)) /* the writer may use the connection: it saves what the old files hold */
        return false;
    if (store->group.started) { /* its result is the better test */
        error_set(why, "not tested: events are being stored");
        return false;
    }
    enum database_result result = database_begin(database);
    if (result == DATABASE_DONE) {
        result = try_to_write(store);
        result = database_end(database, result);
    }
    if (result == DATABASE_DONE) {
        wake_send(store->directory, &store->group.wake_fd); /* the log has grown, although no event was appended */
        note_probed(store, serves);
        return true;
    }
    *why = database->why;
    if (result == DATABASE_FULL && database->error == EFBIG)
        no_room_note(store->directory, EFBIG); /* before an event is refused, and as long as it lasts */
    if (result == DATABASE_DAMAGED || result == DATABASE_NEWER)
        store_failed(store, result, why);
    return false;
}

/* Under a limit on files that the queue has reached already: says so at once, for all processes, and not only when an
 * event is refused. What is written is undone. */
void store_look_at_limit(struct store *store)
{
    struct database *database = &store->group.database;
    if (store->file_limit == INT64_MAX || database_begin(database) != DATABASE_DONE)
        return;
    enum database_result result = try_to_write(store);
    int code = result == DATABASE_DONE ? sqlite3_db_cacheflush(database->db) : SQLITE_BUSY;
    if (code != SQLITE_BUSY) /* busy with readers, without a log: then it is not known */
        result = database_result_of(database, code);
    int error = database->error;
    database_rollback(database);
    if (result != DATABASE_FULL || error != EFBIG)
        return;
    bool said = no_room_of(store->directory) == EFBIG; /* by this process's other connections */
    no_room_note(store->directory, EFBIG);
    if (!said)
        log_write(
            LEVEL_ERROR,
            "msg=file_limit_reached state_dir=\"%s\" limit_bytes=%lld reason=\"queue.db or its log has reached the "
            "limit on the size of files (ulimit -f)\" advice=\"set it to unlimited, or to 64 MiB more than "
            "queue_max_bytes, "
            "where the web server starts the program: until then Close is answered 503 and keeps new events, and what "
            "waits is "
            "sent only as far as it can be noted as delivered\"",
            store->directory, (long long)store->file_limit);
}

/* ---- the reserve ---- */

#define LEAST ((int64_t)4 * 1024 * 1024)
#define BLOCK 4096
#define ENLARGE_AGAIN_S 3600
#define SHARE 2 /* full size only if the free space is that many times as large */

/* Three records "ERRNO NUMBER": why nothing is accepted and why nothing is settled, each with the time (ms), then the
 * bytes of the reserve that was given up last. Fixed length and written in place, as a full disk has no room for a new
 * file. The version before reads only the first. */
#define NOTE "no_room"
#define NOTE_FORMAT "%3d %013lld\n"
#define NOTE_LENGTH 18
#define NOTE_FRESH_MS 60000       /* older: a write may work again, nobody has tried */
#define UNSETTLED_FRESH_MS 180000 /* the owner retries within seconds; cron, every minute */

enum note { NOTE_REFUSES, NOTE_UNSETTLED, NOTE_GIVEN_UP };

/* File systems whose fallocate really allocates the blocks. Elsewhere each block is written. */
static const struct {
    long type;
} allocating[] = {{EXT4_SUPER_MAGIC}, {0x58465342 /* xfs */}, {BTRFS_SUPER_MAGIC}, {TMPFS_MAGIC}, {F2FS_SUPER_MAGIC}};

int64_t reserve_bytes(int64_t max_body)
{
    return LEAST + 2 * ((max_body + BLOCK - 1) / BLOCK * BLOCK);
}

static bool allocates(int fd)
{
    struct statfs status;
    for (size_t i = 0; fstatfs(fd, &status) == 0 && i < sizeof allocating / sizeof *allocating; i++) {
        if ((long)status.f_type == allocating[i].type)
            return true;
    }
    return false;
}

/* Writes incompressible data, as some file systems would compress all else to nothing. */
static bool write_blocks(int fd, int64_t bytes)
{
    uint64_t block[BLOCK / sizeof(uint64_t)], random = 0x9e3779b97f4a7c15U;
    for (int64_t done = 0; done < bytes; done += (int64_t)sizeof block) {
        for (size_t i = 0; i < sizeof block / sizeof *block; i++) {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            block[i] = random;
        }
        if (!files_write_all(fd, block, sizeof block))
            return false; /* a part that fits does not say why the rest does not */
    }
    return true;
}

static bool fill_reserve(int fd, int64_t bytes)
{
    bool good = ftruncate(fd, 0) == 0;
    if (good && allocates(fd))
        good = fallocate(fd, 0, 0, (off_t)bytes) == 0;
    else if (good)
        good = write_blocks(fd, bytes);
    return good && fdatasync(fd) == 0;
}

static int64_t reserve_size(const char *directory)
{
    char path[STATE_PATH];
    struct stat status;
    reserve_path(path, directory);
    return stat(path, &status) == 0 ? (int64_t)status.st_size : -1;
}

void reserve_path(char out[static STATE_PATH], const char *directory)
{
    directory_path(out, directory, "reserve");
}

bool reserve_is_there(const char *directory)
{
    return directory_has(directory, "reserve");
}

/* The size that leaves room for events on a small disk. */
static int64_t affordable(const char *directory, int64_t bytes)
{
    struct statvfs disk;
    if (statvfs(directory, &disk) != 0)
        return LEAST;
    uint64_t left = (uint64_t)disk.f_bavail * disk.f_frsize;
    return left >= SHARE * (uint64_t)bytes ? bytes : LEAST;
}

static void note(const char *directory, enum note which, int error, int64_t number)
{
    char path[STATE_PATH], text[32];
    directory_path(path, directory, NOTE);
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return;
    int length = snprintf(text, sizeof text, NOTE_FORMAT, error % 1000, (long long)number);
    ssize_t n = pwrite(fd, text, (size_t)length, which * NOTE_LENGTH);
    (void)n; /* without the record the reason is a full disk */
    close(fd);
}

static void note_full(const char *directory, enum note which, int error)
{
    note(directory, which, error, clock_unix_ms());
}

/* Returns false where there is no such record. */
static bool read_note(const char *directory, enum note which, int *error, long long *number)
{
    char path[STATE_PATH], text[NOTE_LENGTH + 1] = "";
    directory_path(path, directory, NOTE);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : pread(fd, text, NOTE_LENGTH, which * NOTE_LENGTH);
    if (fd >= 0)
        close(fd);
    /* NOLINTNEXTLINE(cert-err34-c): of our own making */
    return n > 0 && sscanf(text, "%d %lld", error, number) == 2;
}

/* The recorded errno and its age (ms); 0: none. */
static int noted(const char *directory, enum note which, int64_t *age_ms)
{
    int error = 0;
    long long when = 0;
    if (!read_note(directory, which, &error, &when) || (which == NOTE_REFUSES && !no_room_is(error)))
        return 0;
    *age_ms = clock_unix_ms() - when;
    return error;
}

void no_room_note(const char *directory, int error)
{
    note_full(directory, NOTE_REFUSES, error);
}

void unsettled_note(const char *directory, int error)
{
    int64_t age_ms;
    if (error != 0 || noted(directory, NOTE_UNSETTLED, &age_ms) != 0)
        note_full(directory, NOTE_UNSETTLED, error);
}

int unsettled_of(const char *directory)
{
    int64_t age_ms;
    int error = noted(directory, NOTE_UNSETTLED, &age_ms);
    return error != 0 && age_ms >= 0 && age_ms < UNSETTLED_FRESH_MS ? error : 0;
}

/* Creates the file under another name until it is complete. Several processes may start at once: one creates it, the
 * others wait for the lock and then find it renamed to the reserve. */
static bool make_reserve(const char *directory, int64_t bytes)
{
    char path[STATE_PATH], making[STATE_PATH];
    reserve_path(path, directory);
    directory_path(making, directory, "reserve.new");
    int fd = open(making, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return false;
    bool mine = flock(fd, LOCK_EX) == 0 && lock_is_current(fd, making);
    bool good = mine ? fill_reserve(fd, bytes) && rename(making, path) == 0 : reserve_is_there(directory);
    int error = errno;
    if (mine && good)
        no_room_note(directory, 0);
    else if (mine)
        unlink(making);
    close(fd);
    errno = error;
    return good;
}

/* Enlarges a small reserve if there is room. For a moment that may take all free space from others, so it is not tried
 * often. */
static void enlarge(const char *directory, int64_t bytes)
{
    char path[STATE_PATH];
    struct stat status;
    reserve_path(path, directory);
    if (stat(path, &status) == 0 && clock_unix_ms() / 1000 - status.st_mtim.tv_sec > ENLARGE_AGAIN_S &&
        !make_reserve(directory, bytes))
        utimensat(AT_FDCWD, path, NULL, 0);
}

int64_t reserve_given_up(const char *directory)
{
    int error;
    long long bytes;
    return read_note(directory, NOTE_GIVEN_UP, &error, &bytes) ? (int64_t)bytes : 0;
}

bool reserve_make(const char *directory, int64_t bytes, int64_t least)
{
    char record[STATE_PATH];
    int64_t size = reserve_size(directory);
    directory_path(record, directory, NOTE);
    if (size >= 0 && access(record, F_OK) != 0)
        no_room_note(directory, 0); /* a record of the version before: there is room now */
    if (size >= bytes)
        return true;
    int64_t best = affordable(directory, bytes);
    if (size >= 0) {
        if (size < best)
            enlarge(directory, best);
        return true;
    }
    best = best < least ? least : best;
    if ((best > LEAST && make_reserve(directory, best)) || (least <= LEAST && make_reserve(directory, LEAST)))
        return true; /* a small reserve is better than none */
    int64_t age_ms;
    int error = errno;
    if (noted(directory, NOTE_REFUSES, &age_ms) == 0)
        no_room_note(directory, error);
    errno = error;
    return false;
}

void reserve_give_up(const char *directory, int error)
{
    char path[STATE_PATH];
    int64_t bytes = reserve_size(directory);
    reserve_path(path, directory);
    no_room_note(directory, error); /* before: else it looks as if somebody had removed it */
    note(directory, NOTE_GIVEN_UP, error, bytes < 0 ? 0 : bytes);
    unlink(path);
}

int no_room_of(const char *directory)
{
    int64_t age_ms = 0;
    bool gone = !reserve_is_there(directory);
    int seen = no_room_predict(directory), error = noted(directory, NOTE_REFUSES, &age_ms);
    if (!gone && (age_ms < 0 || age_ms > NOTE_FRESH_MS))
        error = 0;
    return error != 0 ? error : seen == EROFS ? seen : 0; /* gone without a reason: somebody has removed it */
}

/* ---- what a result of SQLite means: of its errors those of no room are many ---- */

/* Asks the database's file system, as SQLite's later attempts may have changed errno. */
static int look_at_disk(const struct database *database)
{
    const char *path = sqlite3_db_filename(database->db, "main");
    const char *slash = path == NULL ? NULL : strrchr(path, '/');
    char directory[4096];
    if (slash == NULL || snprintf(directory, sizeof directory, "%.*s/", (int)(slash - path), path) < 0)
        return 0;
    return no_room_predict(directory);
}

/* The errno of a file's last failure as SQLite recorded it; -1: none. */
static int noted_of(const struct database *database, int which)
{
    sqlite3_file *file = NULL;
    int error = -1;
    sqlite3_file_control(database->db, "main", which, (void *)&file);
    if (file != NULL && file->pMethods != NULL)
        file->pMethods->xFileControl(file, SQLITE_FCNTL_LAST_ERRNO, &error);
    return error;
}

/* The errno that made SQLite fail. sqlite3_system_errno is not set by a failing COMMIT, so errno itself is used; only
 * where a later call has overwritten it, what SQLite recorded for log, journal and database. */
static int error_behind(const struct database *database, int error)
{
    if (database->db == NULL || (error != 0 && error != ENOENT && error != EAGAIN && error != EACCES))
        return error;
    int noted = noted_of(database, SQLITE_FCNTL_JOURNAL_POINTER);
    return no_room_is(noted) ? noted : noted_of(database, SQLITE_FCNTL_FILE_POINTER);
}

/* The errno behind an SQLite code if it means no space to write; else 0. SQLite has a code only for ENOSPC, and does
 * not always use it. */
static int no_room_behind(const struct database *database, int code, int error)
{
    switch (code & 0xff) {
    case SQLITE_FULL:
        return ENOSPC;
    case SQLITE_IOERR:
        /* Out of memory, and failing reads, say nothing about space. */
        if (code == SQLITE_IOERR_NOMEM || code == SQLITE_IOERR_READ || code == SQLITE_IOERR_SHORT_READ)
            return 0;
        error = error_behind(database, error);
        return no_room_is(error) ? error : 0;
    case SQLITE_CANTOPEN:
        return no_room_is(error) ? error : look_at_disk(database);
    case SQLITE_READONLY:
        return look_at_disk(database) == EROFS ? EROFS : 0;
    default:
        return 0;
    }
}

enum database_result database_result_of(struct database *database, int code)
{
    int error = no_room_behind(database, code, errno);
    if (error != 0) {
        database->error = error;
        error_set(&database->why, "%s: %s", no_room_words(error), no_room_advice(error));
        return DATABASE_FULL;
    }
    error_set(&database->why, "the queue's database: %s",
              database->db == NULL ? sqlite3_errstr(code) : sqlite3_errmsg(database->db));
    switch (code & 0xff) {
    case SQLITE_OK:
    case SQLITE_DONE:
    case SQLITE_ROW:
        return DATABASE_DONE;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return DATABASE_DAMAGED;
    default:
        database->error = (code & 0xff) == SQLITE_NOMEM || code == SQLITE_IOERR_NOMEM ? ENOMEM : EIO;
        return DATABASE_FAILED;
    }
}
