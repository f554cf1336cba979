/* Messages into a file: see file_sink.h. */
#include "forward/file_sink.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/files.h"

const char *file_sink_path(const char *url)
{
    static const char scheme[] = "file://";
    size_t length = sizeof scheme - 1;
    return strncmp(url, scheme, length) == 0 ? url + length : NULL;
}

/* Under a lock, so that several processes may share the file, and what was written by halves can be taken back. */
static bool append_synced(int file, const char *data, size_t length)
{
    struct stat before;
    if (flock(file, LOCK_EX) != 0 || fstat(file, &before) != 0)
        return false;
    if (files_write_all(file, data, length) && fdatasync(file) == 0)
        return true;
    int error = errno;
    if (S_ISREG(before.st_mode) && ftruncate(file, before.st_size) != 0)
        error = errno;
    errno = error;
    return false;
}

void file_sink_append(const char *path, const char *data, size_t length, struct answer *answer)
{
    *answer = (struct answer){.status = 0};
    int file = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    bool good = file >= 0 && append_synced(file, data, length);
    if (!good)
        error_set(&answer->error, "cannot write %s: %s", path, strerror(errno));
    if (file >= 0)
        close(file);
    if (!good)
        return;
    answer->status = 200;
    memcpy(answer->body, "ok", 2);
    answer->length = 2;
}
