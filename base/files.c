/* Reading, writing, syncing files, and locking by them: see files.h. */
#include "base/files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"

#define LEFT_OVER_S 3600

static bool report_file(struct error *why, const char *what, const char *path)
{
    error_set(why, "cannot %s %.300s: %s", what, path, strerror(errno));
    return false;
}

bool files_is_own_directory(const char *path)
{
    struct stat status;
    return stat(path, &status) == 0 && S_ISDIR(status.st_mode) && status.st_uid == geteuid();
}

bool files_sync(const char *path, struct error *why)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    bool good = (fd >= 0 && fsync(fd) == 0) || report_file(why, "sync", path);
    if (fd >= 0)
        close(fd);
    return good;
}

bool files_write_all(int fd, const void *data, size_t length)
{
    for (const char *at = data; length > 0;) {
        ssize_t n = write(fd, at, length);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        at += n;
        length -= (size_t)n;
    }
    return true;
}

ssize_t files_read_all(int fd, void *data, size_t size)
{
    size_t got = 0;
    while (got < size) {
        ssize_t n = read(fd, (char *)data + got, size - got);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        if (n == 0)
            break;
        got += (size_t)n;
    }
    return (ssize_t)got;
}

static bool join(char out[static FILES_PATH], const char *directory, const char *name, struct error *why)
{
    int length = snprintf(out, FILES_PATH, "%s/%s", directory, name);
    if (length > 0 && length < FILES_PATH - 8)
        return true;
    error_set(why, "the path of the state directory is too long");
    return false;
}

/* Each new directory's name is synced in the directory that holds it. */
static bool make_one(const char *path, struct error *why)
{
    char holder[FILES_PATH];
    const char *slash = strrchr(path, '/');
    int length = slash == NULL ? 0 : (int)(slash - path);
    if (mkdir(path, 0700) != 0)
        return errno == EEXIST || report_file(why, "make", path);
    snprintf(holder, sizeof holder, "%.*s%s", length, path, length == 0 ? "/" : "");
    return files_sync(holder, why);
}

bool files_make_directory(char out[static FILES_PATH], const char *parent, const char *name, struct error *why)
{
    if (!join(out, parent, name, why))
        return false;
    for (char *slash = out + strlen(parent) + 1; slash != NULL;) {
        slash = strchr(slash, '/');
        if (slash != NULL)
            *slash = '\0';
        if (!make_one(out, why))
            return false;
        if (slash != NULL)
            *slash++ = '/';
    }
    return true;
}

/* Whether a directory entry is a temporary file of files_replace for that name: `.XXXXXX.NAME.new`, or `NAME.new`
 * from an earlier release. */
static bool is_temporary_of(const char *entry, const char *name)
{
    size_t length = strlen(entry), end = strlen(name) + strlen(".new"), begin = strlen(".XXXXXX.");
    if (length != end && (length != begin + end || entry[0] != '.' || entry[begin - 1] != '.'))
        return false;
    entry += length - end;
    return strncmp(entry, name, strlen(name)) == 0 && strcmp(entry + strlen(name), ".new") == 0;
}

/* Removes temporary files of processes that were killed while writing. */
static void remove_left_over(const char *directory, const char *name)
{
    struct stat status;
    DIR *listing = opendir(directory);
    for (const struct dirent *entry; listing != NULL && (entry = readdir(listing)) != NULL;) {
        if (is_temporary_of(entry->d_name, name) &&
            fstatat(dirfd(listing), entry->d_name, &status, AT_SYMLINK_NOFOLLOW) == 0 &&
            time(NULL) - status.st_mtim.tv_sec > LEFT_OVER_S)
            unlinkat(dirfd(listing), entry->d_name, 0);
    }
    if (listing != NULL)
        closedir(listing);
}

/* Several processes may replace the same file at once, for example when they start on a new state directory: each
 * writes a temporary file of its own. */
bool files_replace(const char *directory, const char *name, const char *text, struct error *why)
{
    char path[FILES_PATH], folder[FILES_PATH], fresh[FILES_PATH + 16];
    if (!join(path, directory, name, why))
        return false;
    const char *base = strrchr(path, '/') + 1; /* the name may contain directories */
    snprintf(folder, sizeof folder, "%.*s", (int)(base - 1 - path), path);
    snprintf(fresh, sizeof fresh, "%s/.XXXXXX.%s.new", folder, base);
    int fd = mkostemps(fresh, (int)(strlen(base) + strlen("..new")), O_CLOEXEC); /* mode 0600 */
    if (fd < 0)
        return report_file(why, "write", path);
    bool good = files_write_all(fd, text, strlen(text)) && fsync(fd) == 0;
    good = close(fd) == 0 && good && rename(fresh, path) == 0;
    if (!good) {
        report_file(why, "write", path);
        unlink(fresh);
        return false;
    }
    remove_left_over(folder, base);
    return files_sync(directory, why);
}

char *files_read(const char *directory, const char *name, bool *missing, struct error *why)
{
    char path[FILES_PATH];
    if (missing != NULL)
        *missing = false;
    if (!join(path, directory, name, why))
        return NULL;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        if (missing != NULL)
            *missing = errno == ENOENT;
        report_file(why, "read", path);
        return NULL;
    }
    char *text = malloc(FILES_READ_MAX + 1); /* not cleared: pages that are never used are never made */
    ssize_t n = text == NULL ? -1 : files_read_all(fd, text, FILES_READ_MAX);
    if (n < 0) {
        report_file(why, "read", path);
        free(text);
        text = NULL;
    }
    if (text != NULL)
        text[n] = '\0';
    close(fd);
    return text;
}

void files_free(char *text)
{
    if (text == NULL)
        return;
    explicit_bzero(text, strlen(text));
    free(text);
}

bool files_remove(const char *directory, const char *name, struct error *why)
{
    char path[FILES_PATH];
    if (!join(path, directory, name, why))
        return false;
    if (unlink(path) != 0)
        return errno == ENOENT || report_file(why, "remove", path);
    return files_sync(directory, why);
}

bool files_value(const char *text, const char *name, char *out, size_t size)
{
    size_t length = strlen(name);
    for (const char *line = text; *line != '\0'; line += strcspn(line, "\n"), line += *line == '\n') {
        if (strncmp(line, name, length) != 0 || strncmp(line + length, " = ", 3) != 0)
            continue;
        const char *value = line + length + 3;
        size_t n = strcspn(value, "\n");
        if (n >= size)
            break;
        memcpy(out, value, n);
        out[n] = '\0';
        return true;
    }
    out[0] = '\0';
    return false;
}

int64_t files_number(const char *text, const char *name, int64_t fallback)
{
    char value[32], *end;
    if (!files_value(text, name, value, sizeof value) || value[0] == '\0')
        return fallback;
    errno = 0;
    long long number = strtoll(value, &end, 10);
    return errno == 0 && *end == '\0' ? number : fallback;
}

/* ---- lock files ---- */

#define LOOK_MS 10 /* between attempts to take a lock */
#define RELEASE_TRIES 3
/* At /proc/locks. It is read in pieces, each from the line on at which the last one ended: of a lock released
 * meanwhile, before that line, the next line takes the place, and is not seen. */
#define LOOKS 20

bool lock_is_current(int fd, const char *path)
{
    struct stat ours, there;
    return fstat(fd, &ours) == 0 && stat(path, &there) == 0 && ours.st_ino == there.st_ino &&
           ours.st_dev == there.st_dev;
}

void lock_release(int *fd)
{
    int tries = 0;
    while (flock(*fd, LOCK_UN) != 0) {
        if (++tries == RELEASE_TRIES) {
            close(*fd); /* unlocks, too, unless a child or a mapping has the file open */
            *fd = -1;
            return;
        }
    }
}

/* Opens the file that is at the path now, creating it if missing. Returns false on failure; *fd is then unchanged. */
static bool open_anew(int *fd, const char *path)
{
    int now = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (now < 0)
        return false;
    if (*fd >= 0)
        close(*fd);
    *fd = now;
    return true;
}

int lock_take(int *fd, const char *path, int how)
{
    if (*fd < 0 && !open_anew(fd, path))
        return errno;
    for (;;) {
        int error = flock(*fd, how) == 0 ? 0 : errno;
        if (error == EINTR)
            continue;
        if ((error != 0 && error != EWOULDBLOCK) || lock_is_current(*fd, path) || !open_anew(fd, path))
            return error;
    }
}

int lock_take_within(int *fd, const char *path, int64_t wait_ms)
{
    int error;
    for (moment deadline = clock_now() + wait_ms;;) {
        error = lock_take(fd, path, LOCK_EX | LOCK_NB);
        if (error != EWOULDBLOCK || clock_now() >= deadline)
            break;
        poll(NULL, 0, LOOK_MS);
    }
    if (error != 0 && *fd >= 0) {
        close(*fd);
        *fd = -1;
    }
    return error;
}

/* Whether the process has the file open: known only of our own user's processes. */
static bool has_open(long pid, const struct stat *file)
{
    char path[64];
    struct stat open_file;
    bool found = false;
    snprintf(path, sizeof path, "/proc/%ld/fd", pid);
    DIR *listing = opendir(path);
    for (const struct dirent *entry; listing != NULL && !found && (entry = readdir(listing)) != NULL;)
        found = fstatat(dirfd(listing), entry->d_name, &open_file, 0) == 0 && open_file.st_dev == file->st_dev &&
                open_file.st_ino == file->st_ino;
    if (listing != NULL)
        closedir(listing);
    return found;
}

/* Parses a line of /proc/locks. Returns whether it describes the exclusive lock on this file, and its holder in *pid. A
 * line looks like "3: FLOCK  ADVISORY  WRITE 4711 08:01:131 0 EOF", with the device numbers in hexadecimal, which are
 * not those of stat on btrfs and overlayfs. */
static bool is_about(const char *line, const struct stat *file, long *pid)
{
    const char *write = strstr(line, " WRITE ");
    if (write == NULL || strstr(line, " FLOCK ") == NULL)
        return false;
    char *at;
    *pid = strtol(write + strlen(" WRITE "), &at, 10);
    unsigned long major_number = strtoul(at, &at, 16);
    unsigned long minor_number = strtoul(at + (*at == ':'), &at, 16);
    unsigned long long inode = strtoull(at + (*at == ':'), &at, 10);
    return inode == file->st_ino &&
           ((major_number == major(file->st_dev) && minor_number == minor(file->st_dev)) || has_open(*pid, file));
}

static bool is_stopped(long pid)
{
    char path[64], text[256] = "";
    snprintf(path, sizeof path, "/proc/%ld/stat", pid);
    FILE *file = fopen(path, "re");
    size_t length = file == NULL ? 0 : fread(text, 1, sizeof text - 1, file);
    if (file != NULL)
        fclose(file);
    text[length] = '\0';
    const char *name_ends = strrchr(text, ')'); /* the process state is the letter that follows the name */
    return name_ends != NULL && strncmp(name_ends, ") T", 3) == 0;
}

/* Returns whether the list of locks has one on that file, and its holder in *pid. */
static bool look_for_holder(const struct stat *file, long *pid)
{
    char line[256];
    bool found = false;
    FILE *locks = fopen("/proc/locks", "re");
    while (locks != NULL && !found && fgets(line, sizeof line, locks) != NULL)
        found = is_about(line, file, pid);
    if (locks != NULL)
        fclose(locks);
    return found;
}

struct lock_holder lock_find_holder(const char *path)
{
    struct stat file;
    long pid = 0;
    bool there = stat(path, &file) == 0, found = false;
    for (int i = 0; there && !found && i < LOOKS; i++)
        found = look_for_holder(&file, &pid);
    if (!found || pid <= 0)
        return (struct lock_holder){.pid = 0};
    return (struct lock_holder){.pid = (pid_t)pid, .stopped = is_stopped(pid)};
}
