/* The state directory, what its file system allows, and its small files: see files.h. */
#include "queue/sqlite/files.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/files.h"
#include "base/log.h"
#include "queue/inspect.h"
#include "queue/sqlite/database.h"

void directory_path(char out[static STATE_PATH], const char *directory, const char *name)
{
    snprintf(out, STATE_PATH, "%s/%s", directory, name);
}

/* ---- its files ---- */

static const struct {
    const char *name;
    mode_t kind;
    bool needed; /* nothing works without it */
} files[] = {
    {"queue.db", S_IFREG, true},
    {"queue.db-wal", S_IFREG, true},
    {"queue.db-shm", S_IFREG, true},
    {"open.lock", S_IFREG, true},
    {"forward.lock", S_IFREG, true},
    {"write.lock", S_IFREG, true},
    {"wake", S_IFIFO, true},
    {"forward.beat", S_IFREG, false},
    {"reserve", S_IFREG, false},
    {"damaged", S_IFREG, false},
    {"displaced", S_IFREG, false},
    {"child.lock", S_IFREG, false},
    {"forward.config", S_IFREG, false},
};

/* Whether the path can be used as a file of that kind; else false with the reason and the command that fixes it. */
static bool can_use(const char *path, mode_t kind, struct error *why)
{
    struct stat status;
    if (stat(path, &status) != 0)
        return true; /* it is created, or opening it reports why not */
    if ((status.st_mode & S_IFMT) != kind) {
        error_set(why, "%.150s is no %s, as it must be: mv '%.150s' '%.150s.old'", path,
                  kind == S_IFIFO ? "FIFO" : "regular file", path, path);
        return false;
    }
    if (status.st_uid != geteuid() && access(path, R_OK | W_OK) != 0) {
        owner_error("the file", path, status.st_uid, NULL, why);
        return false;
    }
    return true;
}

static bool can_use_all(const char *directory, struct error *why)
{
    char path[STATE_PATH];
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        directory_path(path, directory, files[i].name);
        if (files[i].needed && !can_use(path, files[i].kind, why))
            return false;
    }
    return true;
}

void directory_warn(const char *directory)
{
    char path[STATE_PATH];
    struct error why;
    struct stat status;
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        directory_path(path, directory, files[i].name);
        if (lstat(path, &status) != 0)
            continue;
        if (S_ISLNK(status.st_mode))
            log_write(LEVEL_WARN,
                      "msg=state_file_is_a_link file=\"%s\" advice=\"stop the program and put the file itself there; "
                      "state_dir may be a link as a whole\"",
                      path);
        else if (status.st_uid != geteuid()) {
            owner_error("the file", path, status.st_uid, NULL, &why);
            log_write(LEVEL_WARN, "msg=state_file_of_another_user reason=\"%s\"", why.text);
        } else if (!can_use(path, files[i].kind, &why))
            log_write(LEVEL_WARN, "msg=state_file_of_another_kind reason=\"%s\"", why.text);
    }
}

bool directory_prepare(const char *directory, struct error *why)
{
    bool made;
    if (!state_place_make(directory, &made, why))
        return false;
    return made || can_use_all(directory, why);
}

int directory_open(const char *directory, const char *name, struct error *why)
{
    char path[STATE_PATH];
    directory_path(path, directory, name);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        error_set(why, "cannot open %.300s: %s", path, strerror(errno));
    return fd;
}

bool directory_has(const char *directory, const char *name)
{
    char path[STATE_PATH];
    directory_path(path, directory, name);
    return access(path, F_OK) == 0;
}

static void remove_mark(const char *directory, const char *name)
{
    char path[STATE_PATH];
    directory_path(path, directory, name);
    unlink(path);
}

void damage_mark(const char *directory)
{
    int fd = directory_open(directory, "damaged", NULL);
    if (fd >= 0)
        close(fd);
}

bool damage_is_marked(const char *directory)
{
    return directory_has(directory, "damaged");
}

void damage_unmark(const char *directory)
{
    remove_mark(directory, "damaged");
}

#define MISSING "missing"

bool missing_mark(const char *directory, struct error *why)
{
    int fd = directory_open(directory, MISSING, why);
    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

bool missing_is_marked(const char *directory)
{
    return directory_has(directory, MISSING);
}

void missing_unmark(const char *directory)
{
    remove_mark(directory, MISSING);
}

#define REPLACED "replaced"
#define REPLACED_FRESH_MS 3000

void replaced_note(const char *directory)
{
    int fd = directory_open(directory, REPLACED, NULL);
    if (fd < 0)
        return;
    futimens(fd, NULL);
    close(fd);
}

bool replaced_is_noted(const char *directory)
{
    char path[STATE_PATH];
    struct stat status;
    directory_path(path, directory, REPLACED);
    if (stat(path, &status) != 0)
        return false;
    int64_t age_ms = clock_unix_ms() - clock_timespec_ms(status.st_mtim);
    return age_ms >= 0 && age_ms < REPLACED_FRESH_MS;
}

/* ---- its file system, and the journal mode for it ---- */

/* File systems that are certainly local: WAL needs shared memory, and corrupts databases on others even with one
 * client. Copy-on-write file systems cannot promise space for a mapped file, whatever was allocated before: on a full
 * disk SQLite's mapped index of the log would end the process with SIGBUS. On those the queue uses a rollback journal.
 * (Files without copy-on-write are no way out: Linux before 6.16 ignores that for mapped files.) Not all kernel headers
 * define all of these. */
static const struct {
    long type;
    bool copies; /* on write */
} local[] = {
    {EXT4_SUPER_MAGIC, false},      {0x58465342 /* xfs */, false},     {BTRFS_SUPER_MAGIC, true},
    {TMPFS_MAGIC, false},           {F2FS_SUPER_MAGIC, false},         {0x2fc12fc1 /* zfs */, true},
    {OVERLAYFS_SUPER_MAGIC, false}, {REISERFS_SUPER_MAGIC, false},     {0x3153464a /* jfs */, false},
    {0x3434 /* nilfs */, true},     {0xca451a4e /* bcachefs */, true},
};

enum file_system_kind directory_file_system(const char *directory)
{
    struct statfs status;
    if (statfs(directory, &status) != 0)
        return FILE_SYSTEM_REMOTE;
    for (size_t i = 0; i < sizeof local / sizeof *local; i++) {
        if (((long)status.f_type & 0xffffffffL) == local[i].type)
            return local[i].copies ? FILE_SYSTEM_COPIES : FILE_SYSTEM_LOCAL;
    }
    return FILE_SYSTEM_REMOTE;
}

static bool has_log(const struct database *database)
{
    char log[4096];
    const char *path = sqlite3_db_filename(database->db, "main");
    snprintf(log, sizeof log, "%s-wal", path == NULL ? "" : path);
    return access(log, F_OK) == 0;
}

/* Takes a database out of WAL mode when no other process has it open: its log is copied and removed. The version before
 * uses WAL on every local file system; until all its processes on this machine are gone the database is used with the
 * log. A process that has it alone reads the log without the mapped index. */
static int leave_wal(struct database *database, enum file_system_kind kind, char mode[static DATABASE_TEXT])
{
    int no = 0, yes = 1;
    if (!has_log(database))
        return database_ask_text(database, "PRAGMA journal_mode = TRUNCATE", mode);
    sqlite3_file_control(database->db, "main", SQLITE_FCNTL_PERSIST_WAL,
                         &no); /* a log file left behind would be read */
    sqlite3_exec(database->db, "PRAGMA locking_mode = EXCLUSIVE", NULL, NULL, NULL);
    int code = database_ask_text(database, "PRAGMA journal_mode = TRUNCATE", mode);
    sqlite3_file_control(database->db, "main", SQLITE_FCNTL_PERSIST_WAL, &yes);
    sqlite3_exec(database->db, "PRAGMA locking_mode = NORMAL", NULL, NULL, NULL);
    if ((code & 0xff) == SQLITE_BUSY && kind == FILE_SYSTEM_COPIES)
        code = database_ask_text(database, "PRAGMA journal_mode", mode);
    database->wal = strcmp(mode, "wal") == 0;
    return code;
}

/* Sets the journal mode and checks SQLite's answer: there is no error when WAL is impossible, as where a file cannot be
 * mapped. */
enum database_result database_set_journal_mode(struct database *database, const char *directory)
{
    char mode[DATABASE_TEXT] = "";
    int code = SQLITE_OK;
    enum file_system_kind kind = directory_file_system(directory);
    if (kind == FILE_SYSTEM_LOCAL)
        code = database_ask_text(database, "PRAGMA journal_mode = WAL", mode);
    database->wal = strcmp(mode, "wal") == 0;
    if (code == SQLITE_OK && !database->wal)
        code = leave_wal(database, kind, mode);
    if (code == SQLITE_OK && !database->wal && strcmp(mode, "truncate") != 0) {
        error_set(&database->why, "the queue's database has journal mode %s, which is not safe", mode);
        return DATABASE_FAILED;
    }
    return database_result_of(database, code);
}
