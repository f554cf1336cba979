/* Temporary directories and files. */
#include "tests/support/temporary.h"

#include <fcntl.h>
#include <ftw.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define MEMORY_LEAST ((unsigned long)256 << 20) /* what a suite may fill, and others beside it */

struct user user_of_children(void)
{
    static const char *const names[] = {"www-data", "nobody"};
    struct user user = {geteuid(), getegid()};
    for (size_t i = 0; geteuid() == 0 && user.uid == 0 && i < sizeof names / sizeof *names; i++) {
        const struct passwd *entry = getpwnam(names[i]);
        if (entry != NULL)
            user = (struct user){entry->pw_uid, entry->pw_gid};
    }
    return user;
}

/* Gives a path to the children's user, where that is another. */
static bool give(const char *path)
{
    struct user user = user_of_children();
    return geteuid() != 0 || chown(path, user.uid, user.gid) == 0;
}

void path_join(char path[PATH_SIZE], const char *directory, const char *name)
{
    int length = snprintf(path, PATH_SIZE, "%s/%s", directory, name);
    if (length < 0 || length >= PATH_SIZE) {
        fprintf(stderr, "%s/%s: too long a path for the tests\n", directory, name);
        abort();
    }
}

bool temporary_make(char path[PATH_SIZE])
{
    const char *parent = getenv("TMPDIR");
    path_join(path, parent != NULL && *parent != '\0' ? parent : "/tmp", "closecrm-test-XXXXXX");
    if (mkdtemp(path) == NULL)
        return false;
    return chmod(path, 0755) == 0 && give(path);
}

void temporary_in_memory(void)
{
    static const char memory[] = "/dev/shm";
    struct statvfs room;
    if (getenv("TMPDIR") == NULL && access(memory, W_OK) == 0 && statvfs(memory, &room) == 0 &&
        room.f_bavail >= MEMORY_LEAST / room.f_frsize)
        setenv("TMPDIR", memory, 1);
}

static int remove_one(const char *path, const struct stat *about, int kind, struct FTW *walk)
{
    (void)about, (void)kind, (void)walk;
    return remove(path);
}

void temporary_remove(const char *path)
{
    nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static bool write_all(int file, const char *content, size_t length)
{
    while (length > 0) {
        ssize_t written = write(file, content, length);
        if (written < 0)
            return false;
        content += written;
        length -= (size_t)written;
    }
    return true;
}

bool temporary_write(const char *directory, const char *name, mode_t mode, const char *content, size_t length)
{
    char path[PATH_SIZE], fresh[PATH_SIZE];
    path_join(path, directory, name);
    path_join(fresh, directory, ".new");
    int file = open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (file < 0)
        return false;
    bool written = write_all(file, content, length);
    written = close(file) == 0 && written;
    return written && chmod(fresh, mode) == 0 && give(fresh) && rename(fresh, path) == 0;
}

static char *read_file(const char *path, size_t *length)
{
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return NULL;
    char *content = NULL;
    FILE *out = open_memstream(&content, length);
    char piece[65536];
    size_t got;
    while (out != NULL && (got = fread(piece, 1, sizeof piece, file)) > 0)
        fwrite(piece, 1, got, out);
    fclose(file);
    if (out == NULL || fclose(out) != 0)
        return NULL;
    return content;
}

bool temporary_copy(const char *directory, const char *name, mode_t mode, const char *from)
{
    size_t length = 0;
    char *content = read_file(from, &length);
    bool copied = content != NULL && temporary_write(directory, name, mode, content, length);
    free(content);
    return copied;
}

bool temporary_directory(const char *directory, const char *name)
{
    char path[PATH_SIZE];
    path_join(path, directory, name);
    return mkdir(path, 0755) == 0 && give(path);
}

char *temporary_read(const char *directory, const char *name)
{
    char path[PATH_SIZE];
    size_t length = 0;
    path_join(path, directory, name);
    return read_file(path, &length);
}
