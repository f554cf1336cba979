/* The table of errors that mean "no space": see no_room.h. */
#include "base/no_room.h"

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/statvfs.h>

static const struct {
    int error;
    bool space; /* it concerns bytes on this file system */
    const char *words;
    const char *advice;
} table[] = {
    {ENOSPC, true, "the disk is full", "make room on the disk"},
    {EDQUOT, true, "the quota is used up", "make room, or have the quota raised"},
    {EFBIG, false, "a limit on the size of files is reached (ulimit -f, or the file system's own)",
     "set it to unlimited, or to 64 MiB more than queue_max_bytes, where the web server starts the program"},
    {EROFS, false, "the file system is read-only", "look into the kernel's log, repair and remount the file system"},
    {ENOMEM, false, "the kernel has no memory for the write", "free memory, or raise the limit on it"},
};
#define NEXT_TO_NOTHING 131072 /* bytes free; file systems reserve some */
#define ROWS (sizeof table / sizeof *table)

static size_t row_of(int error)
{
    size_t i = 0;
    while (i < ROWS && table[i].error != error)
        i++;
    return i;
}

bool no_room_is(int error)
{
    return row_of(error) < ROWS;
}

bool no_room_helped_by_space(int error)
{
    size_t row = row_of(error);
    return row < ROWS && table[row].space;
}

const char *no_room_words(int error)
{
    return table[row_of(error) % ROWS].words;
}

const char *no_room_advice(int error)
{
    return table[row_of(error) % ROWS].advice;
}

int no_room_predict(const char *directory)
{
    struct statvfs disk;
    if (statvfs(directory, &disk) != 0)
        return 0;
    if ((disk.f_flag & ST_RDONLY) != 0)
        return EROFS;
    return (uint64_t)disk.f_bavail * disk.f_frsize < NEXT_TO_NOTHING || (disk.f_files > 0 && disk.f_favail == 0)
               ? ENOSPC
               : 0;
}
