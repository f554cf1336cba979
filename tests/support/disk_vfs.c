/* A VFS before SQLite's own. What it remembers of a file goes by its name, for several connections have it open. */
#include "tests/support/disk_vfs.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/support/disk_record.h"
#include "tests/support/temporary.h"

struct shim {
    sqlite3_file base;
    size_t number; /* of the file; DISK_FILES: another */
    sqlite3_file *real;
    char directory[PATH_SIZE]; /* where it lies */
};

static struct {
    sqlite3_vfs *root;
    sqlite3_vfs vfs;
    pthread_mutex_t lock; /* over all below */
    unsigned calls, fail_at;
    bool for_ever, failed;
    int code, error;
    size_t log_limit; /* 0: none */
    void (*at_sync)(void);
    void (*at_size_hint)(void);
    unsigned calls_left; /* until at_call; 0: never */
    void (*at_call)(void);
    bool unmapped;
    struct disk_checkpoints *checkpoints; /* where they are counted; NULL: nowhere */
} disk = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* ---- while room is taken: SQLite looks at the file's size by fstat ---- */

static _Thread_local bool takes_room;
static int (*fstat_before)(int fd, struct stat *status);

static int on_fstat(int fd, struct stat *status)
{
    int result = fstat_before(fd, status);
    pthread_mutex_lock(&disk.lock);
    void (*act)(void) = takes_room ? disk.at_size_hint : NULL;
    disk.at_size_hint = takes_room ? NULL : disk.at_size_hint;
    pthread_mutex_unlock(&disk.lock);
    if (act != NULL)
        act();
    return result;
}

/* SQLite's table of system calls has functions of any type. */
static void watch_fstat(bool watch)
{
    if (watch)
        fstat_before = (int (*)(int, struct stat *))disk.root->xGetSystemCall(disk.root, "fstat");
    disk.root->xSetSystemCall(disk.root, "fstat", watch ? (sqlite3_syscall_ptr)on_fstat : NULL);
}

void disk_at_size_hint(void (*act)(void))
{
    pthread_mutex_lock(&disk.lock);
    disk.at_size_hint = act;
    pthread_mutex_unlock(&disk.lock);
}

/* ---- faults ---- */

/* Counts a call; under the lock. Returns the code with which it fails, or SQLITE_OK. */
static int count_call(void)
{
    if (disk.calls_left > 0 && --disk.calls_left == 0)
        disk.at_call();
    disk.calls++;
    bool fails = disk.fail_at > 0 && (disk.calls == disk.fail_at || (disk.for_ever && disk.calls > disk.fail_at));
    disk.failed |= fails;
    return fails ? disk.code : SQLITE_OK;
}

void disk_fail(unsigned n, bool for_ever, int code)
{
    disk_fail_with(n, for_ever, code, EIO);
}

void disk_limit_log(size_t bytes)
{
    pthread_mutex_lock(&disk.lock);
    disk.log_limit = bytes;
    disk.failed = false;
    pthread_mutex_unlock(&disk.lock);
}

/* With the lock held. */
static int check_log(const struct shim *shim, int length, sqlite3_int64 at)
{
    if (disk.log_limit == 0 || shim->number != DISK_LOG || (size_t)(at + length) <= disk.log_limit)
        return SQLITE_OK;
    disk.failed = true;
    return SQLITE_IOERR_WRITE;
}

void disk_fail_with(unsigned n, bool for_ever, int code, int error)
{
    pthread_mutex_lock(&disk.lock);
    disk.calls = 0;
    disk.fail_at = n;
    disk.for_ever = for_ever;
    disk.code = code;
    disk.error = error;
    disk.failed = false;
    pthread_mutex_unlock(&disk.lock);
}

bool disk_failed(void)
{
    pthread_mutex_lock(&disk.lock);
    bool failed = disk.failed;
    pthread_mutex_unlock(&disk.lock);
    return failed;
}

/* ---- a file's calls ---- */

static struct shim *shim_of(sqlite3_file *file)
{
    return (struct shim *)file;
}

static sqlite3_file *real_of(sqlite3_file *file)
{
    return shim_of(file)->real;
}

static int on_close(sqlite3_file *file)
{
    return real_of(file)->pMethods->xClose(real_of(file));
}

static int on_read(sqlite3_file *file, void *out, int length, sqlite3_int64 at)
{
    return real_of(file)->pMethods->xRead(real_of(file), out, length, at);
}

static int on_write(sqlite3_file *file, const void *bytes, int length, sqlite3_int64 at)
{
    pthread_mutex_lock(&disk.lock);
    int code = count_call(), error = code == SQLITE_OK ? EDQUOT : disk.error;
    if (code == SQLITE_OK)
        code = check_log(shim_of(file), length, at);
    if (code != SQLITE_OK)
        length /= 2;
    int result = real_of(file)->pMethods->xWrite(real_of(file), bytes, length, at);
    if (result == SQLITE_OK)
        disk_record_write(shim_of(file)->number, bytes, (size_t)length, (size_t)at);
    pthread_mutex_unlock(&disk.lock);
    if (code != SQLITE_OK)
        errno = error;
    return code != SQLITE_OK ? code : result;
}

static int on_truncate(sqlite3_file *file, sqlite3_int64 size)
{
    pthread_mutex_lock(&disk.lock);
    int code = count_call();
    if (code == SQLITE_OK) {
        code = real_of(file)->pMethods->xTruncate(real_of(file), size);
        if (code == SQLITE_OK)
            disk_record_truncate(shim_of(file)->number, (size_t)size);
    } else {
        errno = disk.error;
    }
    pthread_mutex_unlock(&disk.lock);
    return code;
}

/* What was written before it began is synced once it has ended. */
static int on_sync(sqlite3_file *file, int flags)
{
    pthread_mutex_lock(&disk.lock);
    int code = count_call();
    size_t covered = disk_record_length();
    int error = disk.error;
    void (*act)(void) = shim_of(file)->number == 0 ? disk.at_sync : NULL;
    pthread_mutex_unlock(&disk.lock);
    if (act != NULL)
        act();
    if (code != SQLITE_OK)
        errno = error;
    if (code == SQLITE_OK)
        code = real_of(file)->pMethods->xSync(real_of(file), flags);
    if (code == SQLITE_OK)
        disk_record_sync(shim_of(file)->number, covered);
    return code;
}

static int on_size(sqlite3_file *file, sqlite3_int64 *size)
{
    return real_of(file)->pMethods->xFileSize(real_of(file), size);
}

static int on_lock(sqlite3_file *file, int kind)
{
    return real_of(file)->pMethods->xLock(real_of(file), kind);
}

static int on_unlock(sqlite3_file *file, int kind)
{
    return real_of(file)->pMethods->xUnlock(real_of(file), kind);
}

static int on_reserved(sqlite3_file *file, int *out)
{
    return real_of(file)->pMethods->xCheckReservedLock(real_of(file), out);
}

static int on_control(sqlite3_file *file, int what, void *value)
{
    takes_room = what == SQLITE_FCNTL_SIZE_HINT;
    int code = real_of(file)->pMethods->xFileControl(real_of(file), what, value);
    takes_room = false;
    return code;
}

static int on_sector_size(sqlite3_file *file)
{
    return real_of(file)->pMethods->xSectorSize(real_of(file));
}

static int on_characteristics(sqlite3_file *file)
{
    return real_of(file)->pMethods->xDeviceCharacteristics(real_of(file));
}

static int on_map(sqlite3_file *file, int page, int size, int extend, void volatile **out)
{
    return real_of(file)->pMethods->xShmMap(real_of(file), page, size, extend, out);
}

/* Whether anybody holds the file on which writers queue: asked by a descriptor of its own. */
static bool writers_are_locked(const struct shim *shim)
{
    char path[PATH_SIZE];
    path_join(path, shim->directory, "write.lock");
    int fd = open(path, O_RDWR | O_CLOEXEC);
    bool locked = fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) != 0;
    if (fd >= 0)
        close(fd);
    return locked;
}

/* A checkpoint begins. The log's index says how many frames the log has (32-bit word at byte 16), and how many of them
 * are in the database already (at byte 96). */
static void look_at_checkpoint(const struct shim *shim)
{
    void volatile *mapped = NULL;
    if (shim->real->pMethods->xShmMap(shim->real, 0, 32768, 0, &mapped) != SQLITE_OK || mapped == NULL)
        return;
    const uint32_t volatile *words = mapped;
    uint32_t frames = __atomic_load_n(&words[16 / 4], __ATOMIC_RELAXED);
    uint32_t copied = __atomic_load_n(&words[96 / 4], __ATOMIC_RELAXED);
    bool exposed = frames > 0 && copied >= frames && !writers_are_locked(shim);
    atomic_fetch_add(&disk.checkpoints->begun, 1);
    atomic_fetch_add(&disk.checkpoints->exposed, exposed);
}

/* Lock 1 is the checkpoints'. */
static int on_shm_lock(sqlite3_file *file, int offset, int n, int flags)
{
    int code = real_of(file)->pMethods->xShmLock(real_of(file), offset, n, flags);
    if (code == SQLITE_OK && offset == 1 && n == 1 && flags == (SQLITE_SHM_LOCK | SQLITE_SHM_EXCLUSIVE) &&
        disk.checkpoints != NULL)
        look_at_checkpoint(shim_of(file));
    return code;
}

static void on_barrier(sqlite3_file *file)
{
    real_of(file)->pMethods->xShmBarrier(real_of(file));
}

static int on_unmap(sqlite3_file *file, int remove)
{
    return real_of(file)->pMethods->xShmUnmap(real_of(file), remove);
}

/* Up to version 1 a file cannot be mapped: SQLite does without a write-ahead log. */
#define METHODS(VERSION)                                                                                               \
    {                                                                                                                  \
        .iVersion = (VERSION), .xClose = on_close, .xRead = on_read, .xWrite = on_write, .xTruncate = on_truncate,     \
        .xSync = on_sync, .xFileSize = on_size, .xLock = on_lock, .xUnlock = on_unlock,                                \
        .xCheckReservedLock = on_reserved, .xFileControl = on_control, .xSectorSize = on_sector_size,                  \
        .xDeviceCharacteristics = on_characteristics, .xShmMap = on_map, .xShmLock = on_shm_lock,                      \
        .xShmBarrier = on_barrier, .xShmUnmap = on_unmap,                                                              \
    }

static const sqlite3_io_methods methods = METHODS(2), methods_without_maps = METHODS(1);

/* ---- the file system's calls ---- */

static size_t number_of(const char *path)
{
    const char *name = path == NULL ? "" : strrchr(path, '/') == NULL ? path : strrchr(path, '/') + 1;
    size_t number = 0;
    while (number < DISK_FILES && strcmp(name, disk_names[number]) != 0)
        number++;
    return number;
}

static int on_open(sqlite3_vfs *vfs, const char *path, sqlite3_file *file, int flags, int *out)
{
    (void)vfs;
    struct shim *shim = shim_of(file);
    *shim = (struct shim){.number = number_of(path), .real = (sqlite3_file *)(shim + 1)};
    int code = disk.root->xOpen(disk.root, path, shim->real, flags, out);
    shim->base.pMethods = shim->real->pMethods == NULL ? NULL : disk.unmapped ? &methods_without_maps : &methods;
    snprintf(shim->directory, sizeof shim->directory, "%s", path == NULL ? "" : path);
    char *slash = strrchr(shim->directory, '/');
    if (slash != NULL)
        *slash = '\0';
    return code;
}

static int on_delete(sqlite3_vfs *vfs, const char *path, int sync)
{
    (void)vfs;
    return disk.root->xDelete(disk.root, path, sync);
}

static int on_access(sqlite3_vfs *vfs, const char *path, int flags, int *out)
{
    (void)vfs;
    return disk.root->xAccess(disk.root, path, flags, out);
}

static int on_full_path(sqlite3_vfs *vfs, const char *path, int size, char *out)
{
    (void)vfs;
    return disk.root->xFullPathname(disk.root, path, size, out);
}

bool disk_install(void)
{
    disk.root = sqlite3_vfs_find(NULL);
    if (disk.root == NULL)
        return false;
    disk.vfs = *disk.root; /* what is not replaced looks at no file of ours */
    disk.vfs.zName = "failing disk";
    disk.vfs.pNext = NULL;
    disk.vfs.szOsFile = (int)sizeof(struct shim) + disk.root->szOsFile;
    disk.vfs.xOpen = on_open;
    disk.vfs.xDelete = on_delete;
    disk.vfs.xAccess = on_access;
    disk.vfs.xFullPathname = on_full_path;
    watch_fstat(true);
    return sqlite3_vfs_register(&disk.vfs, 1) == SQLITE_OK;
}

void disk_remove(void)
{
    disk_fail(0, false, SQLITE_OK);
    watch_fstat(false);
    sqlite3_vfs_unregister(&disk.vfs);
    sqlite3_vfs_register(disk.root, 1);
}

void disk_at_sync(void (*act)(void))
{
    pthread_mutex_lock(&disk.lock);
    disk.at_sync = act;
    pthread_mutex_unlock(&disk.lock);
}

void disk_at_call(unsigned n, void (*act)(void))
{
    pthread_mutex_lock(&disk.lock);
    disk.calls_left = n;
    disk.at_call = act;
    pthread_mutex_unlock(&disk.lock);
}

void disk_without_maps(bool unmapped)
{
    pthread_mutex_lock(&disk.lock);
    disk.unmapped = unmapped;
    pthread_mutex_unlock(&disk.lock);
}

void disk_watch_checkpoints(struct disk_checkpoints *checkpoints)
{
    disk.checkpoints = checkpoints;
}
