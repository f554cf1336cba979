/* Writing a backup: queue_backup of inspect.h.
 *
 * VACUUM INTO instead of SQLite's backup call: it leaves out deleted content, copies only used pages, and makes a file
 * without a log. Either needs one read transaction for the whole copy: without it each commit of another process would
 * restart a stepwise copy, which under load would never end. While it runs (some seconds per gigabyte) the log cannot
 * restart and grows by what is written; nobody waits for it. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/files.h"
#include "base/log.h"
#include "queue/inspect.h"
#include "queue/sqlite/recovery.h"
#include "queue/sqlite/store.h"

#define LEFT_OVER_S 60

static bool report_backup(const char *what, const char *path, struct error *why)
{
    error_set(why, "cannot %s %.300s: %s", what, path, strerror(errno));
    return false;
}

/* Runs a statement that returns no rows, with texts bound in order. */
static enum database_result run_text(struct database *database, const char *text, const char *first)
{
    sqlite3_stmt *one = NULL;
    int code = sqlite3_prepare_v2(database->db, text, -1, &one, NULL);
    if (code == SQLITE_OK && first != NULL)
        sqlite3_bind_text(one, 1, first, -1, SQLITE_STATIC);
    if (code == SQLITE_OK)
        code = sqlite3_step(one);
    enum database_result result = database_result_of(database, code == SQLITE_DONE ? SQLITE_OK : code);
    sqlite3_finalize(one);
    return result;
}

enum database_result backup_vacuum(struct database *database, const char *path)
{
    return run_text(database, "VACUUM INTO ?1", path);
}

static enum database_result add_file(struct database *copy, const struct backup_file *file)
{
    sqlite3_stmt *add = NULL;
    int code =
        sqlite3_prepare_v2(copy->db, "INSERT INTO " BACKUP_FILES " (name, bytes) VALUES (?1, ?2)", -1, &add, NULL);
    if (code == SQLITE_OK) {
        sqlite3_bind_text(add, 1, file->name, -1, SQLITE_STATIC);
        sqlite3_bind_blob64(add, 2, file->bytes, file->length, SQLITE_STATIC);
        code = sqlite3_step(add);
    }
    enum database_result result = database_result_of(copy, code == SQLITE_DONE ? SQLITE_OK : code);
    sqlite3_finalize(add);
    return result;
}

/* Adds to the copy when it was made, and the small files. */
static bool add_files(const char *path, const struct backup_files *files, int64_t made_ms, struct error *why)
{
    struct database copy = {.write_lock = -1};
    char text[300];
    sqlite3_snprintf(sizeof text, text,
                     "BEGIN; CREATE TABLE " BACKUP_ABOUT " (made_ms INTEGER NOT NULL, version TEXT NOT NULL);"
                     "CREATE TABLE " BACKUP_FILES " (name TEXT PRIMARY KEY, bytes BLOB NOT NULL);"
                     "INSERT INTO " BACKUP_ABOUT " VALUES (%lld, '%q')",
                     (long long)made_ms, CLOSECRM_VERSION);
    enum database_result result = database_connect(&copy, path);
    if (result == DATABASE_DONE)
        result = database_result_of(&copy, sqlite3_exec(copy.db, text, NULL, NULL, NULL));
    for (size_t i = 0; files != NULL && i < files->count && result == DATABASE_DONE; i++)
        result = add_file(&copy, &files->at[i]);
    if (result == DATABASE_DONE)
        result = database_result_of(&copy, sqlite3_exec(copy.db, "COMMIT", NULL, NULL, NULL));
    *why = copy.why;
    database_close(&copy);
    return result == DATABASE_DONE;
}

bool backup_sync(const char *path, struct error *why)
{
    char folder[STATE_PATH];
    snprintf(folder, sizeof folder, "%s", path);
    char *slash = strrchr(folder, '/');
    if (slash == NULL)
        snprintf(folder, sizeof folder, ".");
    else
        slash[slash == folder] = '\0';
    return files_sync(path, why) && files_sync(folder, why);
}

/* Renames the complete file to its name, which must be free. */
static bool link_backup(const char *part, const char *path, struct error *why)
{
    struct stat status;
    if (renameat2(AT_FDCWD, part, AT_FDCWD, path, RENAME_NOREPLACE) == 0)
        return true;
    if (errno == EINVAL || errno == ENOSYS) { /* not supported by every file system */
        if (lstat(path, &status) == 0)
            errno = EEXIST;
        else if (rename(part, path) == 0)
            return true;
    }
    return report_backup("make", path, why);
}

/* ---- The unfinished file: who writes it holds a lock on it. One that nobody has locked was left by a backup that was
 * killed: it is taken over, and one to another file removes it, too. A note in the state directory says where it is.
 * ---- */

#define NOTE "backup.unfinished"

/* Whether the file begins like one that SQLite was writing. */
static bool looks_begun(int fd)
{
    static const unsigned char nothing[16];
    unsigned char begin[sizeof nothing] = {0};
    return pread(fd, begin, sizeof begin, 0) >= 0 &&
           (memcmp(begin, "SQLite format 3", sizeof begin) == 0 || memcmp(begin, nothing, sizeof begin) == 0);
}

/* Who only looks whether there is a lock has it for a moment. */
static bool lock_soon(int fd)
{
    static const struct timespec moment_between = {.tv_nsec = 10000000};
    int tries = 0;
    while (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        if (errno != EWOULDBLOCK || ++tries == 20)
            return false;
        nanosleep(&moment_between, NULL);
    }
    return true;
}

/* Takes the lock of a file that nobody writes. Where the file system has none, who writes does so all the time. */
static bool take_lock(int fd, const char *part, const struct stat *status)
{
    bool taken = lock_soon(fd);
    if (!taken && (errno == EWOULDBLOCK || time(NULL) - status->st_mtim.tv_sec <= LEFT_OVER_S))
        return false;
    return lock_is_current(fd, part); /* else another backup was faster, and is done with it */
}

/* Opens and locks an unfinished file that was left behind. -1: it is none. */
static int open_left_over(const char *part)
{
    struct stat status;
    int fd = open(part, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    bool left = fd >= 0 && fstat(fd, &status) == 0 && S_ISREG(status.st_mode) && status.st_uid == geteuid() &&
                (status.st_mode & 0777) == 0600 && status.st_nlink == 1 && take_lock(fd, part, &status) &&
                looks_begun(fd);
    if (fd >= 0 && !left)
        close(fd);
    return left ? fd : -1;
}

/* Empties a file that was left behind, and removes its journal. */
static bool empty_left_over(int fd, const char *part, struct error *why)
{
    char path[STATE_PATH + 16];
    snprintf(path, sizeof path, "%s-journal", part);
    if (unlink(path) != 0 && errno != ENOENT)
        return report_backup("remove", path, why);
    if (ftruncate(fd, 0) != 0)
        return report_backup("empty", part, why);
    log_write(LEVEL_WARN, "msg=left_over_removed file=\"%s\" reason=\"a backup was killed while it wrote it\"", part);
    return true;
}

/* Makes the file, or takes one that was left behind, and locks it until its descriptor is closed. Returns -1 with the
 * reason. */
static int make_part(const char *part, struct error *why)
{
    int fd = open(part, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0 && errno != EEXIST) {
        report_backup("make", part, why);
        return -1;
    }
    if (fd >= 0 && !lock_soon(fd) && errno == EWOULDBLOCK) {
        close(fd); /* another backup has taken it for left behind */
        fd = -1;
    } else if (fd < 0) {
        fd = open_left_over(part);
        if (fd >= 0 && !empty_left_over(fd, part, why)) {
            close(fd);
            return -1;
        }
    }
    if (fd < 0)
        error_set(why,
                  "%.300s is there: another backup is being written, or it is not this program's; if no backup is "
                  "being written, remove it",
                  part);
    return fd;
}

/* The file that the note names, where it was left behind: opened and locked. -1: there is none. */
static int open_noted(const char *state_dir, char part[static BACKUP_PATH])
{
    struct error why;
    char *text = files_read(state_dir, NOTE, NULL, &why);
    bool named = text != NULL && files_value(text, "path", part, BACKUP_PATH);
    files_free(text);
    return named ? open_left_over(part) : -1;
}

bool backup_unfinished(const char *state_dir, char part[static BACKUP_PATH])
{
    int fd = open_noted(state_dir, part);
    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

/* Removes what a backup to another file has left behind, and notes where this one writes. A note of one that is being
 * written stays; a disk that is full is no reason not to make a backup. */
static void note_part(const char *state_dir, const char *part)
{
    struct error why;
    char noted[BACKUP_PATH], text[BACKUP_PATH + 16], whole[PATH_MAX];
    int fd = open_noted(state_dir, noted);
    if (fd >= 0) {
        if (empty_left_over(fd, noted, &why))
            unlink(noted);
        close(fd);
    }
    char *old = files_read(state_dir, NOTE, NULL, &why);
    bool is_anothers = old != NULL && files_value(old, "path", noted, sizeof noted) && access(noted, F_OK) == 0;
    files_free(old);
    if (!is_anothers && realpath(part, whole) != NULL &&
        snprintf(text, sizeof text, "path = %s\n", whole) < (int)sizeof text)
        files_replace(state_dir, NOTE, text, &why);
}

/* Forgets the note, where it is about this file, which is no more. */
static void forget_part(const char *state_dir)
{
    struct error why;
    char noted[BACKUP_PATH];
    char *text = files_read(state_dir, NOTE, NULL, &why);
    bool over = text != NULL && files_value(text, "path", noted, sizeof noted) && access(noted, F_OK) != 0;
    files_free(text);
    if (over)
        files_remove(state_dir, NOTE, &why);
}

static bool write_part(struct store *store, const char *part, const struct backup_files *files, int64_t made_ms,
                       struct error *why)
{
    enum database_result result = backup_vacuum(&store->reader, part);
    if (result != DATABASE_DONE) {
        *why = store->reader.why;
        store_failed(store, result == DATABASE_DAMAGED ? result : DATABASE_FAILED, why);
    }
    return result == DATABASE_DONE && add_files(part, files, made_ms, why) && backup_sync(part, why);
}

bool store_backup(void *state, const char *path, const struct backup_files *files, int64_t made_ms, struct error *why)
{
    struct store *store = state;
    char part[STATE_PATH];
    struct stat status;
    if (!store_reader(store, why))
        return false;
    if (lstat(path, &status) == 0) {
        error_set(why, "%.300s is there already, and is not written over", path);
        return false;
    }
    if (snprintf(part, sizeof part, "%s.part", path) >= (int)sizeof part) {
        error_set(why, "the path is too long");
        return false;
    }
    int lock = make_part(part, why);
    if (lock < 0)
        return false;
    note_part(store->directory, part);
    bool good = write_part(store, part, files, made_ms, why) && link_backup(part, path, why);
    if (!good)
        unlink(part);
    forget_part(store->directory);
    close(lock);
    if (good && !backup_sync(path, why)) {
        unlink(path); /* what failed leaves nothing that could be taken for a backup */
        return false;
    }
    return good;
}
