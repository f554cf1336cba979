/* The files of a configuration as they were read, in memory: with them the program executed next has just the
 * configuration that was checked, or is in force, whatever the files are by then. See config.h. */
#include "config/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/files.h"

/* The descriptor's number. Not CLOSECRM_...: a release that does not know it, and is to be taken on, would refuse it as
 * a key. */
#define VARIABLE "AS_READ_CLOSECRM"

extern char **environ;

/* What is noted is one behind the other: a name, a NUL, the length as decimal digits, a NUL, the bytes. */

/* Whether it is a file in memory: the variable may be wrong or set by somebody else. */
static bool is_in_memory(int fd)
{
    return fd > STDERR_FILENO && fcntl(fd, F_GET_SEALS) >= 0;
}

/* The one that the environment names; -1: none. */
static int named(void)
{
    char *end;
    const char *number = getenv(VARIABLE);
    if (number == NULL)
        return -1;
    errno = 0;
    long fd = strtol(number, &end, 10);
    return errno == 0 && *end == '\0' && fd >= 0 && fd <= 0x7fffffff && is_in_memory((int)fd) ? (int)fd : -1;
}

/* Finds a name in the bytes. Returns what is noted under it, borrowed; NULL: nothing. */
static const char *find(const char *bytes, size_t size, const char *name, size_t *length)
{
    const char *at = bytes, *end = bytes + size;
    while (at < end) {
        const char *number = memchr(at, '\0', (size_t)(end - at));
        const char *data = number == NULL ? NULL : memchr(number + 1, '\0', (size_t)(end - number) - 1);
        if (data == NULL)
            break;
        data++;
        unsigned long long count = strtoull(number + 1, NULL, 10);
        if (count > (size_t)(end - data))
            break;
        *length = (size_t)count;
        if (strcmp(at, name) == 0)
            return data;
        at = data + count;
    }
    return NULL;
}

/* As as_read_find, in this descriptor. */
static char *find_in(int fd, const char *name, size_t *length)
{
    struct stat status;
    if (fd < 0 || fstat(fd, &status) != 0 || status.st_size <= 0)
        return NULL;
    size_t size = (size_t)status.st_size;
    char *bytes = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
    if (bytes == MAP_FAILED)
        return NULL;
    const char *data = find(bytes, size, name, length);
    char *copy = data == NULL ? NULL : malloc(*length + 1);
    if (copy != NULL) {
        memcpy(copy, data, *length);
        copy[*length] = '\0';
    }
    munmap(bytes, size);
    return copy;
}

char *as_read_find(const char *name, size_t *length)
{
    return find_in(named(), name, length);
}

/* Half of a note is none: it is cut off again. */
void as_read_note(const char *name, const char *data, size_t length)
{
    char number[24];
    int fd = named(), digits = snprintf(number, sizeof number, "%zu", length);
    off_t end = fd < 0 ? -1 : lseek(fd, 0, SEEK_END);
    if (end >= 0 && !(files_write_all(fd, name, strlen(name) + 1) && files_write_all(fd, number, (size_t)digits + 1) &&
                      files_write_all(fd, data, length)))
        (void)!ftruncate(fd, end);
}

int as_read_new(void)
{
    return memfd_create("configuration", MFD_CLOEXEC);
}

int as_read_begin(void)
{
    char number[16];
    int fd = named();
    if (fd >= 0) {
        fcntl(fd, F_SETFD, FD_CLOEXEC);
        return fd;
    }
    fd = as_read_new();
    snprintf(number, sizeof number, "%d", fd);
    if (fd >= 0)
        setenv(VARIABLE, number, 1);
    return fd;
}

void as_read_end(void)
{
    unsetenv(VARIABLE);
}

bool as_read_is_on_disk(int fd, const char *path)
{
    struct error why;
    size_t noted_length = 0, length = 0;
    char *noted = find_in(fd, path, &noted_length);
    if (noted == NULL)
        return true;
    char *now = file_read_from_disk(path, &length, &why);
    bool same = now != NULL && length == noted_length && memcmp(now, noted, length) == 0;
    file_free(noted, noted_length);
    file_free(now, now == NULL ? 0 : length);
    return same;
}

char **as_read_environment(int fd, char variable[static AS_READ_VARIABLE])
{
    size_t count = 0, kept = 0;
    while (environ[count] != NULL)
        count++;
    char **with = calloc(count + 2, sizeof *with);
    if (with == NULL)
        return NULL;
    for (size_t i = 0; i < count; i++) {
        if (strncmp(environ[i], VARIABLE "=", sizeof VARIABLE) != 0)
            with[kept++] = environ[i];
    }
    snprintf(variable, AS_READ_VARIABLE, VARIABLE "=%d", fd);
    if (fd >= 0)
        with[kept] = variable;
    return with;
}
