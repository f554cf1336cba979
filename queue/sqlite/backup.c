/* Writing a backup: queue_backup of inspect.h.
 *
 * VACUUM INTO instead of SQLite's backup call: it leaves out deleted content, copies only used pages, and makes a file
 * without a log. Either needs one read transaction for the whole copy: without it each commit of another process would
 * restart a stepwise copy, which under load would never end. While it runs (some seconds per gigabyte) the log cannot
 * restart and grows by what is written; nobody waits for it. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
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

/* ---- the unfinished file ---- */

/* Whether the file begins like one that SQLite was writing. */
static bool looks_begun(int fd)
{
    static const unsigned char nothing[16];
    unsigned char begin[sizeof nothing] = {0};
    return pread(fd, begin, sizeof begin, 0) >= 0 &&
           (memcmp(begin, "SQLite format 3", sizeof begin) == 0 || memcmp(begin, nothing, sizeof begin) == 0);
}

/* Whether an unfinished file was left by a killed backup: a running one holds a lock on it; one of an earlier release
 * holds none, but writes all the time. */
static bool is_left_over(const char *part)
{
    struct stat status;
    int fd = open(part, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    bool left = fd >= 0 && fstat(fd, &status) == 0 && S_ISREG(status.st_mode) && status.st_uid == geteuid() &&
                (status.st_mode & 0777) == 0600 && status.st_nlink == 1 &&
                time(NULL) - status.st_mtim.tv_sec > LEFT_OVER_S && flock(fd, LOCK_EX | LOCK_NB) == 0 &&
                looks_begun(fd);
    if (fd >= 0)
        close(fd);
    return left;
}

static bool remove_left_over(const char *part, struct error *why)
{
    static const char *const ends[] = {"-journal", ""};
    char path[STATE_PATH + 16];
    struct stat status;
    if (lstat(part, &status) != 0)
        return true;
    if (!is_left_over(part)) {
        error_set(why,
                  "%.300s is there: another backup is being written, or one was killed a moment ago, or it is not this "
                  "program's; if no backup is being written, remove it",
                  part);
        return false;
    }
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        snprintf(path, sizeof path, "%s%s", part, ends[i]);
        if (unlink(path) != 0 && errno != ENOENT)
            return report_backup("remove", path, why);
    }
    log_write(LEVEL_WARN, "msg=left_over_removed file=\"%s\" reason=\"a backup was killed while it wrote it\"", part);
    return true;
}

/* Creates the file and locks it until its descriptor is closed. Returns -1 with the reason. */
static int make_part(const char *part, struct error *why)
{
    int fd = open(part, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        report_backup("make", part, why);
    else
        flock(fd, LOCK_EX | LOCK_NB); /* without locks, its age shows for a while that it is in use */
    return fd;
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
    int lock = remove_left_over(part, why) ? make_part(part, why) : -1;
    if (lock < 0)
        return false;
    bool good = write_part(store, part, files, made_ms, why) && link_backup(part, path, why);
    if (!good)
        unlink(part);
    close(lock);
    return good && backup_sync(path, why);
}
