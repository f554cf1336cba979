/* Linked into the program's `trace` variant, in which gcc calls these hooks at each function's entry: notes each
 * function that a thread enters for the first time, as a line "EPOCH PID THREAD OFFSET" in the file that PATHS_TRACE
 * names. The epoch is a number in the file that PATHS_EPOCH names; when it changes, all functions are new again. What
 * bench/paths/paths.py counts files with. */
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SEEN 8192 /* functions of a thread: a power of two, and larger than there are */

#define UNTRACED __attribute__((no_instrument_function))

void __cyg_profile_func_enter(void *function, void *caller) UNTRACED;
void __cyg_profile_func_exit(void *function, void *caller) UNTRACED;

extern const char __executable_start;

static _Thread_local uintptr_t *seen; /* SEEN of them: not on the thread's stack, which is small */
static _Thread_local bool inside;
static _Thread_local uint32_t seen_in; /* the epoch */
static const volatile uint32_t no_epoch, *epoch = &no_epoch;

__attribute__((constructor)) UNTRACED static void map_epoch(void)
{
    const char *path = getenv("PATHS_EPOCH");
    int fd = path == NULL ? -1 : open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    void *mapped = mmap(NULL, sizeof *epoch, PROT_READ, MAP_SHARED, fd, 0);
    if (mapped != MAP_FAILED)
        epoch = mapped;
    close(fd);
}

/* Whether this thread enters it for the first time. */
static UNTRACED bool is_new(uintptr_t function)
{
    size_t bytes = SEEN * sizeof *seen;
    if (seen == NULL) {
        void *room = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (room == MAP_FAILED)
            return false;
        seen = room;
    }
    if (seen_in != *epoch) {
        memset(seen, 0, bytes);
        seen_in = *epoch;
    }
    for (size_t i = (function >> 4) % SEEN;; i = (i + 1) % SEEN) {
        if (seen[i] == function)
            return false;
        if (seen[i] == 0) {
            seen[i] = function;
            return true;
        }
    }
}

static UNTRACED void note(uintptr_t function)
{
    char line[80];
    const char *path = getenv("PATHS_TRACE");
    int fd = path == NULL ? -1 : open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (fd < 0)
        return;
    int length = snprintf(line, sizeof line, "%u %ld %ld %lx\n", (unsigned)seen_in, (long)getpid(),
                          (long)syscall(SYS_gettid), (unsigned long)(function - (uintptr_t)&__executable_start));
    ssize_t n = write(fd, line, (size_t)length);
    (void)n; /* a line that is missing shows in the count */
    close(fd);
}

void __cyg_profile_func_enter(void *function, void *caller)
{
    (void)caller;
    if (inside || !is_new((uintptr_t)function))
        return;
    inside = true;
    note((uintptr_t)function);
    inside = false;
}

void __cyg_profile_func_exit(void *function, void *caller)
{
    (void)function;
    (void)caller;
}
