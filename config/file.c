/* Reading files with secrets: only regular files that others cannot read. */
#include "config/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/escape.h"
#include "base/files.h"
#include "base/owner.h"
#include "base/program_name.h"

void secret_free(void *data, size_t length)
{
    if (data == NULL)
        return;
    explicit_bzero(data, length);
    free(data);
}

void file_free(char *data)
{
    secret_free(data, FILE_LIMIT + 1);
}

static void why_not_open(const char *path, int error, struct error *why)
{
    char user[OWNER_NAME], owner[OWNER_NAME];
    struct stat status;
    bool is_known = error == EACCES && stat(path, &status) == 0;
    owner_name(geteuid(), user);
    if (is_known && status.st_uid == 0)
        error_set(why,
                  "%.200s: user %s, as which this runs, may not read it, for it is root's%s: run this as root (sudo "
                  "%s ...)",
                  path, user, (status.st_mode & S_IRGRP) != 0 ? ", and its group's" : "", program_name());
    else if (is_known && status.st_uid != geteuid())
        error_set(why,
                  "%.200s: user %s, as which this runs, may not read it, for it is %s's: run this as that user; if the "
                  "program is to run as %s, let %s own it",
                  path, user, owner_name(status.st_uid, owner), user, user);
    else if (error == EACCES)
        error_set(why, "%.300s: user %s, as which this runs, may not read it%s", path, user,
                  is_known ? ", for its permissions do not let its owner: chmod 600" : ", nor look into its folder");
    else
        error_set(why, "%.300s: cannot be read: %s", path, strerror(error));
}

static bool may_be_used(int descriptor, const char *path, struct error *why)
{
    struct stat status;
    if (fstat(descriptor, &status) != 0) {
        error_set(why, "%.300s: cannot be looked at: %s", path, strerror(errno));
        return false;
    }
    if (!S_ISREG(status.st_mode)) {
        error_set(why, "%.300s: is not a regular file", path);
        return false;
    }
    if ((status.st_mode & S_IRWXO) == 0)
        return true;
    char *quoted = escape_shell(path);
    if (quoted == NULL)
        error_set(why, "%.300s: out of memory", path);
    else
        error_set(why, "%s: others can read it, and there are secrets in it; run: chmod o-rwx %s", path, quoted);
    free(quoted);
    return false;
}

static char *read_descriptor(int descriptor, const char *path, size_t *length, struct error *why)
{
    char *data = malloc(FILE_LIMIT + 1);
    if (data == NULL) {
        error_set(why, "%.300s: cannot be read: out of memory", path);
        return NULL;
    }
    ssize_t got = files_read_all(descriptor, data, FILE_LIMIT + 1);
    if (got < 0)
        error_set(why, "%.300s: cannot be read: %s", path, strerror(errno));
    else if (got > FILE_LIMIT)
        error_set(why, "%.300s: is larger than %d KiB; is it the right file?", path, FILE_LIMIT / 1024);
    if (got < 0 || got > FILE_LIMIT) {
        file_free(data);
        return NULL;
    }
    size_t mark = got >= 3 && memcmp(data, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
    *length = (size_t)got - mark;
    memmove(data, data + mark, *length);
    data[*length] = '\0';
    return data;
}

char *file_read(const char *path, size_t *length, struct error *why)
{
    /* Without O_NONBLOCK, opening a FIFO would block the start. */
    int descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (descriptor < 0) {
        why_not_open(path, errno, why);
        return NULL;
    }
    char *data = may_be_used(descriptor, path, why) ? read_descriptor(descriptor, path, length, why) : NULL;
    close(descriptor);
    return data;
}
