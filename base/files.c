/* Reading, writing and syncing files: see files.h. */
#include "base/files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

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

static bool make_one(const char *path, const char *parent, struct error *why)
{
    if (mkdir(path, 0700) == 0)
        return files_sync(parent, why);
    return errno == EEXIST || report_file(why, "make", path);
}

bool files_make_directory(char out[static FILES_PATH], const char *parent, const char *name, struct error *why)
{
    if (!join(out, parent, name, why))
        return false;
    for (char *slash = out + strlen(parent) + 1; slash != NULL;) {
        slash = strchr(slash, '/');
        if (slash != NULL)
            *slash = '\0';
        if (!make_one(out, parent, why))
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
    char *text = calloc(1, FILES_READ_MAX + 1);
    ssize_t n = text == NULL ? -1 : files_read_all(fd, text, FILES_READ_MAX);
    if (n < 0) {
        report_file(why, "read", path);
        free(text);
        text = NULL;
    }
    close(fd);
    return text;
}

void files_free(char *text)
{
    if (text == NULL)
        return;
    explicit_bzero(text, FILES_READ_MAX);
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
