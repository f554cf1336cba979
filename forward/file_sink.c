/* Messages into a file: see post.h. */
#include "forward/post.h"

#include <errno.h>
#include <fcntl.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/files.h"

/* Messages of the file that are recognized: its newest, about this many. */
#define FILE_SINK_KNOWN 100000

#define ID_MOST 64                  /* characters of a messageId: a UUID has 36 */
#define CHUNK ((size_t)1 << 20)     /* bytes read at once */
#define LOOK_BACK ((off_t)64 << 20) /* bytes of an existing file that are looked through */

const char *file_sink_path(const char *url)
{
    static const char scheme[] = "file://";
    size_t length = sizeof scheme - 1;
    return strncmp(url, scheme, length) == 0 ? url + length : NULL;
}

/* ---- known messages ---- */

static int compare_ids(const void *a, const void *b)
{
    return strcmp(a, b);
}

/* Finds a line's messageId, which stands at its top level before anything that comes from Close. */
static bool id_of_line(const char *line, size_t length, char id[static ID_MOST])
{
    static const char name[] = "\"messageId\":\"";
    const char *at = memmem(line, length, name, sizeof name - 1);
    if (at == NULL)
        return false;
    at += sizeof name - 1;
    const char *end = memchr(at, '"', length - (size_t)(at - line));
    if (end == NULL || end - at >= ID_MOST)
        return false;
    memcpy(id, at, (size_t)(end - at));
    id[end - at] = '\0';
    return true;
}

static bool is_known(const struct file_sink *sink, const char *id)
{
    return tfind(id, &sink->newer, compare_ids) != NULL || tfind(id, &sink->older, compare_ids) != NULL;
}

static void note_id(struct file_sink *sink, const char *id)
{
    if (is_known(sink, id))
        return;
    if (sink->newer_count >= FILE_SINK_KNOWN / 2) {
        tdestroy(sink->older, free);
        sink->older = sink->newer;
        sink->newer = NULL;
        sink->newer_count = 0;
    }
    char *copy = strdup(id);
    if (copy == NULL || tsearch(copy, &sink->newer, compare_ids) == NULL)
        free(copy);
    else
        sink->newer_count++;
}

static void forget_ids(struct file_sink *sink)
{
    tdestroy(sink->newer, free);
    tdestroy(sink->older, free);
    *sink = (struct file_sink){.path = sink->path};
}

void file_sink_free(struct file_sink *sink)
{
    forget_ids(sink);
}

/* Notes the messageIds of whole lines. Returns how many bytes those have. */
static size_t note_lines(struct file_sink *sink, const char *data, size_t length)
{
    char id[ID_MOST];
    size_t done = 0;
    for (const char *end; (end = memchr(data + done, '\n', length - done)) != NULL; done = (size_t)(end - data) + 1) {
        if (id_of_line(data + done, (size_t)(end - data) - done, id))
            note_id(sink, id);
    }
    return done;
}

/* Reads what was added to the file since the last time, by whomever; all of a file that has replaced it. */
static void read_new_lines(struct file_sink *sink, int file, const struct stat *status)
{
    if (status->st_dev != sink->device || status->st_ino != sink->inode || status->st_size < sink->read) {
        forget_ids(sink);
        sink->device = status->st_dev;
        sink->inode = status->st_ino;
        sink->read = status->st_size > LOOK_BACK ? status->st_size - LOOK_BACK : 0;
    }
    char *chunk = sink->read < status->st_size ? malloc(CHUNK) : NULL;
    while (chunk != NULL && sink->read < status->st_size) {
        ssize_t n = pread(file, chunk, CHUNK, sink->read);
        if (n <= 0)
            break;
        size_t done = note_lines(sink, chunk, (size_t)n);
        sink->read += done > 0 ? (off_t)done : n; /* a longer line than CHUNK has its messageId in its beginning */
    }
    free(chunk);
}

/* Copies the lines whose messageId is not known. Returns false when memory is out. */
static bool choose_lines(const struct file_sink *sink, const char *lines, size_t length, struct buffer *chosen)
{
    char id[ID_MOST];
    while (length > 0) {
        const char *end = memchr(lines, '\n', length);
        size_t line = end == NULL ? length : (size_t)(end - lines) + 1;
        if (!id_of_line(lines, line, id) || !is_known(sink, id))
            buffer_append(chosen, lines, line);
        lines += line;
        length -= line;
    }
    return !chosen->failed;
}

/* ---- appending ---- */

/* What was written by halves is taken back. */
static bool write_synced(int file, const struct stat *before, const char *data, size_t length)
{
    if (files_write_all(file, data, length) && fdatasync(file) == 0)
        return true;
    int error = errno;
    if (S_ISREG(before->st_mode) && ftruncate(file, before->st_size) != 0)
        error = errno;
    errno = error;
    return false;
}

/* Under a lock, so that several processes may share the file. */
static bool append_locked(struct file_sink *sink, int file, const char *lines, size_t length)
{
    struct stat before;
    struct buffer chosen = {0};
    if (flock(file, LOCK_EX) != 0 || fstat(file, &before) != 0)
        return false;
    if (S_ISREG(before.st_mode)) {
        read_new_lines(sink, file, &before);
        if (choose_lines(sink, lines, length, &chosen)) {
            lines = chosen.data;
            length = chosen.length;
        }
    }
    bool good = length == 0 || write_synced(file, &before, lines, length);
    int error = errno;
    buffer_free(&chosen);
    errno = error;
    return good;
}

/* A pipe is opened for writing only, which waits for its reader: opened for both, it would take messages that nobody
 * reads. So is a file that may only be written: nothing is known of it then, and nothing left out. */
static int open_file(const char *path)
{
    const int flags = O_APPEND | O_CREAT | O_CLOEXEC;
    struct stat status;
    bool regular = stat(path, &status) != 0 || S_ISREG(status.st_mode);
    int file = regular ? open(path, O_RDWR | flags, 0600) : -1;
    return file >= 0 ? file : open(path, O_WRONLY | flags, 0600);
}

void file_sink_append(struct file_sink *sink, const char *lines, size_t length, struct answer *answer)
{
    *answer = (struct answer){.status = 0};
    int file = open_file(sink->path);
    bool good = file >= 0 && append_locked(sink, file, lines, length);
    if (!good)
        error_set(&answer->error, "cannot write %s: %s", sink->path, strerror(errno));
    if (file >= 0)
        close(file);
    if (!good)
        return;
    answer->status = 200;
    memcpy(answer->body, "ok", 2);
    answer->length = 2;
}
