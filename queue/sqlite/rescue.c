/* Saving the content of replaced files, and merging it into the queue: see rescue.h. The merge of two databases is in
 * merge.c. */
#include "queue/sqlite/rescue.h"

#include "base/clock.h"
#include "base/files.h"
#include "base/log.h"
#include "queue/loss.h"
#include "queue/sqlite/directory.h"
#include "queue/sqlite/reserve.h"
#include "queue/sqlite/store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
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
    char path[STATE_PATH];
    directory_path(path, directory, MARK);
    return access(path, F_OK) == 0 || has_saved(directory);
}

void rescue_note_loss(const char *directory, const struct config *config, const char *words)
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

int64_t rescue_saved_at(const struct open_files *files, const char *directory)
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

const char *open_files_words(enum open_files_state state)
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
#define LAST_TRIES 3

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
                    "restore or move files of its state directory; what the old ones held is being brought over\"",
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
