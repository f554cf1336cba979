/* Saving the content of replaced files, and merging it into the queue: see recovery.h. The merge of two databases is in
 * merge.c. */
#include "queue/sqlite/recovery.h"

#include "base/clock.h"
#include "base/files.h"
#include "base/log.h"
#include "queue/inspect.h"
#include "queue/sqlite/files.h"
#include "queue/sqlite/store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define MARK "displaced"
#define SAVED "rescued-"
#define SAVING "rescuing-"

static bool is_saved(const char *name)
{
    size_t length = strlen(name);
    return strncmp(name, SAVED, strlen(SAVED)) == 0 && length > 3 && strcmp(name + length - 3, ".db") == 0;
}

/* Makes it due. */
static void rescue_mark(const char *directory)
{
    int fd = directory_open(directory, MARK, NULL);
    if (fd >= 0)
        close(fd);
}

static bool has_saved(const char *directory)
{
    bool has = false;
    DIR *files = opendir(directory);
    for (struct dirent *file; files != NULL && !has && (file = readdir(files)) != NULL;)
        has = is_saved(file->d_name);
    if (files != NULL)
        closedir(files);
    return has;
}

/* The saved files count too, not only the mark: where open.lock was removed as well, one process may save while another
 * merges earlier files and removes the mark of both. */
bool rescue_is_due(const char *directory)
{
    return directory_has(directory, MARK) || has_saved(directory);
}

/* Logs that the content of the old files could not be saved, and records a loss of all sources (queue/inspect.h): the
 * next reconcile fetches what Close still has. */
static void rescue_note_loss(const char *directory, const struct config *config, const char *words)
{
    struct loss loss = {.until_ms = clock_unix_ms()};
    snprintf(loss.words, sizeof loss.words, "files of the queue were removed or replaced while it was in use: %.200s",
             words);
    log_write(LEVEL_ERROR,
              "msg=not_rescued state_dir=\"%s\" reason=\"%s\" advice=\"events that waited may be lost: reconciling "
              "fetches what Close still has\"",
              directory, words);
    for (size_t i = 0; i < config->sources; i++) {
        struct error why = {0};
        if (!loss_note(directory, config->source[i].name, &loss, &why))
            log_write(LEVEL_ERROR, "msg=not_noted source=%s reason=\"%s\"", config->source[i].name, why.text);
    }
}

/* ---- saving ---- */

/* Where open.lock was removed, too, one process may bring over what was saved while another one saves: it would take
 * what is being written for the rest of a process that died, and remove what was saved last after it has read what was
 * saved before. So both hold a lock on the mark meanwhile, which makes the mark. Taken before the writers' lock, which
 * both take then. Returns the descriptor; -1: files cannot be locked there, and then it is tried without. */
static int lock_saved(const char *directory)
{
    char path[STATE_PATH];
    int fd = -1;
    directory_path(path, directory, MARK);
    (void)lock_take(&fd, path, LOCK_EX);
    return fd;
}

static void release_saved(int lock)
{
    if (lock >= 0)
        close(lock);
}

static void saved_name(char out[static 80], dev_t device, ino_t inode)
{
    snprintf(out, 80, SAVED "%llx-%llx.db", (unsigned long long)device, (unsigned long long)inode);
}

/* When those files were last saved: Unix time in ms; 0: never. */
static int64_t rescue_saved_at(const struct open_files *files, const char *directory)
{
    char name[80], path[STATE_PATH];
    struct stat status;
    saved_name(name, files->database.device, files->database.inode);
    directory_path(path, directory, name);
    return stat(path, &status) == 0 ? clock_timespec_ms(status.st_mtim) : 0;
}

static enum database_result rescue_failed(const char *path, struct error *why)
{
    error_set(why, "cannot write %.300s: %s", path, strerror(errno));
    return errno == ENOSPC || errno == EDQUOT ? DATABASE_FULL : DATABASE_FAILED;
}

/* Copies the whole database as a snapshot. */
static enum database_result copy_database(struct database *old, const char *path, struct error *why)
{
    struct database fresh = {.write_lock = -1};
    enum database_result result = database_connect(&fresh, path);
    if (result == DATABASE_DONE) {
        sqlite3_backup *backup = sqlite3_backup_init(fresh.db, "main", old->db, "main");
        int code = backup == NULL ? sqlite3_errcode(fresh.db) : sqlite3_backup_step(backup, -1);
        sqlite3_backup_finish(backup);
        result = database_result_of(&fresh, code == SQLITE_DONE ? SQLITE_OK : code == SQLITE_OK ? SQLITE_ERROR : code);
    }
    *why = fresh.why;
    database_close(&fresh);
    return result;
}

static enum database_result save_copy(struct database *old, const char *directory, const char *name, struct error *why)
{
    char saving[80], from[STATE_PATH], to[STATE_PATH];
    snprintf(saving, sizeof saving, SAVING "%ld-%p", (long)getpid(), (void *)old);
    directory_path(from, directory, saving);
    directory_path(to, directory, name);
    unlink(from);
    int fd = open(from, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600); /* closed after SQLite has closed it */
    if (fd < 0)
        return rescue_failed(from, why);
    enum database_result result = copy_database(old, from, why);
    if (result == DATABASE_DONE && (fsync(fd) != 0 || rename(from, to) != 0))
        result = rescue_failed(to, why);
    close(fd);
    if (result == DATABASE_DONE && !files_sync(directory, why))
        result = DATABASE_FAILED;
    if (result != DATABASE_DONE)
        unlink(from);
    return result;
}

enum database_result rescue_save(struct database *old, const struct open_files *files, const char *directory,
                                 struct error *why)
{
    char name[80];
    if (!directory_prepare(directory, why))
        return DATABASE_FAILED;
    int lock = lock_saved(directory);
    if (!database_lock_writers(old, true)) {
        *why = old->why;
        release_saved(lock);
        return DATABASE_FAILED;
    }
    saved_name(name, files->database.device, files->database.inode);
    enum database_result result = save_copy(old, directory, name, why);
    if (result == DATABASE_FULL && reserve_is_there(directory)) {
        reserve_give_up(directory, ENOSPC);
        result = save_copy(old, directory, name, why);
    }
    database_unlock_writers(old);
    release_saved(lock);
    return result;
}

/* ---- merging saved files ---- */

static bool remove_if_there(const char *directory, const char *name)
{
    char path[STATE_PATH];
    directory_path(path, directory, name);
    return unlink(path) == 0 || errno == ENOENT;
}

/* Whether the file at queue.db is the one that was open, and nothing was written since with a new log. */
static bool is_untouched(const char *directory, const char *name)
{
    char path[STATE_PATH], origin[80];
    struct stat database, log;
    directory_path(path, directory, "queue.db");
    if (stat(path, &database) != 0)
        return errno == ENOENT; /* there is no log at all */
    saved_name(origin, database.st_dev, database.st_ino);
    directory_path(path, directory, "queue.db-wal");
    bool written = stat(path, &log) == 0 && log.st_size > 0;
    return strcmp(origin, name) == 0 && !written;
}

/* Renames the saved file to queue.db, without a log, which would be taken for the new database's. */
static enum database_result rename_saved(const char *directory, const char *saved, struct error *why)
{
    char to[STATE_PATH];
    directory_path(to, directory, "queue.db");
    if (!remove_if_there(directory, "queue.db-wal") || !remove_if_there(directory, "queue.db-shm") ||
        !remove_if_there(directory, "queue.db-journal") || rename(saved, to) != 0)
        return rescue_failed(to, why);
    log_write(LEVEL_WARN, "msg=queue_rescued state_dir=\"%s\" reason=\"what the old files held is in place again\"",
              directory);
    return DATABASE_DONE;
}

/* Keeps a damaged saved file under another name, for a repair by hand. */
static enum database_result set_aside(const char *directory, const char *saved, const char *name, struct error *why)
{
    char aside[STATE_PATH], to[STATE_PATH];
    snprintf(aside, sizeof aside, "un%.200s", name);
    directory_path(to, directory, aside);
    log_write(LEVEL_ERROR,
              "msg=not_rescued file=\"%s\" reason=\"%s\" advice=\"events that waited may be in this file only: keep "
              "it\"",
              to, why->text);
    return rename(saved, to) == 0 ? DATABASE_DONE : rescue_failed(to, why);
}

/* Whether the database at this path never had a log, as a backup that was copied there (by the write version in its
 * header: sqlite.org/fileformat.html, 1.3.3). The open lock is held exclusively: no connection has the file open. */
static bool never_had_a_log(const char *path)
{
    unsigned char head[20] = {0};
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    bool whole = fd >= 0 && pread(fd, head, sizeof head, 0) == (ssize_t)sizeof head;
    if (fd >= 0)
        close(fd);
    return whole && head[18] == 1;
}

/* Removes a log beside such a database: it belongs to the old database, whose events are saved, and SQLite would take
 * it for the new one's. */
static bool drop_foreign_log(const char *directory)
{
    char path[STATE_PATH];
    directory_path(path, directory, "queue.db");
    return !never_had_a_log(path) ||
           (remove_if_there(directory, "queue.db-wal") && remove_if_there(directory, "queue.db-shm"));
}

static enum database_result merge_replaced_files(const char *directory, const char *name, const struct config *config,
                                                 struct error *why)
{
    static const char *const beside[] = {"", "-wal", "-shm", "-journal"};
    char saved[STATE_PATH], more[STATE_PATH];
    directory_path(saved, directory, name);
    enum database_result result =
        is_untouched(directory, name) ? rename_saved(directory, saved, why) : merge_into_queue(directory, saved, why);
    if (result == DATABASE_DAMAGED) {
        rescue_note_loss(directory, config, why->text);
        result = set_aside(directory, saved, name, why);
    }
    for (size_t i = 0; result == DATABASE_DONE && i < sizeof beside / sizeof *beside; i++) {
        snprintf(more, sizeof more, "%.200s%s", name, beside[i]);
        remove_if_there(directory, more);
    }
    return result;
}

static enum database_result merge_all_saved(const char *directory, const struct config *config, struct error *why)
{
    enum database_result result = DATABASE_DONE;
    DIR *files = opendir(directory);
    if (files == NULL)
        return rescue_failed(directory, why);
    if (!drop_foreign_log(directory))
        result = rescue_failed(directory, why);
    for (struct dirent *file; result == DATABASE_DONE && (file = readdir(files)) != NULL;) {
        if (is_saved(file->d_name)) {
            result = merge_replaced_files(directory, file->d_name, config, why);
            if (result == DATABASE_DONE)
                missing_unmark(directory);
        } else if (strncmp(file->d_name, SAVING, strlen(SAVING)) == 0)
            remove_if_there(directory, file->d_name); /* of a process that died */
    }
    closedir(files);
    if (result == DATABASE_DONE && (!files_sync(directory, why) || !remove_if_there(directory, MARK)))
        result = DATABASE_FAILED;
    return result;
}

enum database_result rescue_merge_saved(const char *directory, const struct config *config, struct error *why)
{
    int lock = lock_saved(directory);
    enum database_result result = merge_all_saved(directory, config, why);
    release_saved(lock);
    return result;
}

/* ---- Files of an open store are removed or replaced: detected after each commit and once a second, logged, and saved
 * at once by the writer's thread, whose connection has the old ones open ---- */

#define LAST_TRIES 3

/* Whether another process has saved everything: it saved after this process's last commit. Not for the owner, who goes
 * on committing. */
static bool was_saved_since(const struct store *store)
{
    int64_t saved_ms = rescue_saved_at(&store->files, store->directory);
    return saved_ms > 0 && !store->owned && saved_ms > atomic_load(&store->committed_ms);
}

/* A replaced index of the log is built from the log again, so there is nothing to save. */
static enum database_result save_displaced(struct store *store, enum open_files_state state, struct error *why)
{
    if (state != FILES_INDEX_REPLACED && !was_saved_since(store))
        return rescue_save(&store->group.database, &store->files, store->directory, why);
    rescue_mark(store->directory);
    return DATABASE_DONE;
}

void store_save(struct store *store, bool last)
{
    struct error why = {0};
    enum open_files_state state = open_files_check(&store->files, store->directory);
    if (state == FILES_IN_PLACE)
        return;
    enum database_result result = save_displaced(store, state, &why);
    for (int tries = 1; last && result != DATABASE_DONE && tries < LAST_TRIES; tries++)
        result = save_displaced(store, state, &why);
    if (result == DATABASE_DONE || last)
        atomic_store(&store->must_reopen, true);
    if (result == DATABASE_DONE)
        return;
    if (last)
        rescue_note_loss(store->directory, store->config, why.text);
    else
        store_failed(store, result, &why); /* tried again within a second */
}
