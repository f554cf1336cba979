/* A library that stands between the program and libc (LD_PRELOAD), and so between SQLite, libcurl, libfcgi and libc,
 * too: their calls go through the same symbols. SQLite's file system layer keeps the addresses of these functions in a
 * table, which the loader fills with the ones here; the plan counts how many calls SQLite made. The nth call of a kind,
 * counted over all processes of the program, fails or ends its process, as the plan says.
 *
 * What libc calls within itself is not met: the open within opendir is (by opendir here), the write within fprintf is
 * not, but fflush and fclose are. */
#include "tests/faults/plan.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <unistd.h>

#define NOT_COUNTED FAULT_CALLS

static struct fault_plan *shared; /* NULL: this is not the program, or there is no plan */

/* Fills a pointer to a function, once, with the one that stands behind this library. */
static void find(void *pointer, const char *name)
{
    void *found = NULL;
    memcpy(&found, pointer, sizeof found);
    if (found != NULL)
        return;
    found = dlsym(RTLD_NEXT, name);
    memcpy(pointer, &found, sizeof found);
}

__attribute__((constructor)) static void begin(void)
{
    const char *path = getenv(FAULT_PLAN);
    void *frames[1];
    if (path == NULL || strcmp(program_invocation_short_name, "closecrm.fcgi") != 0)
        return;
    long fd = syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC, 0);
    if (fd < 0)
        return;
    void *mapped = (void *)syscall(SYS_mmap, NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    syscall(SYS_close, fd);
    backtrace(frames, 1); /* loads what it needs while nothing is counted */
    if (mapped == MAP_FAILED)
        return;
    shared = mapped;
}

static const char *library_of(const void *caller)
{
    Dl_info info;
    if (dladdr(caller, &info) == 0 || info.dli_fname == NULL)
        return "?";
    const char *slash = strrchr(info.dli_fname, '/');
    return slash == NULL ? info.dli_fname : slash + 1;
}

static void note_frames(void)
{
    void *frames[FAULT_FRAMES + 8];
    int count = backtrace(frames, FAULT_FRAMES + 8);
    size_t noted = 0;
    for (int i = 0; i < count && noted < FAULT_FRAMES - 1; i++) {
        Dl_info info;
        const char *name = library_of(frames[i]);
        if (strncmp(name, "closecrm", 8) == 0 && dladdr(frames[i], &info) != 0)
            shared->frames[noted++] = (uintptr_t)frames[i] - (uintptr_t)info.dli_fbase - 1;
    }
    shared->frames[noted] = 0;
}

static void note(const char *function, const void *caller)
{
    strncpy(shared->function, function, sizeof shared->function - 1);
    strncpy(shared->caller, library_of(caller), sizeof shared->caller - 1);
    note_frames();
}

/* Counts a call. Returns whether it is the one that fails: then errno says why. */
static bool meets(unsigned call, const char *function, const void *caller)
{
    if (shared == NULL || call == NOT_COUNTED || atomic_load(&shared->armed) == 0)
        return false;
    unsigned number = atomic_fetch_add(&shared->seen[call], 1) + 1;
    if (shared->nth == 0 && call != FAULT_MEMORY) { /* counting: it may take its time */
        const char *library = library_of(caller);
        if (strncmp(library, "closecrm", 8) != 0)
            atomic_fetch_add(&shared->by_library[call], 1);
        if (strncmp(library, "libsqlite3", 10) == 0)
            atomic_fetch_add(&shared->by_sqlite[call], 1);
    }
    if (shared->call != call || shared->nth != number)
        return false;
    note(function, caller);
    atomic_store(&shared->met, 1);
    if (shared->error == FAULT_KILL)
        syscall(SYS_exit_group, 137);
    errno = shared->error;
    return true;
}

static bool is_short(void)
{
    return shared->error == FAULT_SHORT;
}

/* What a descriptor is decides what can go wrong with it. Pipes, events and the like: nothing that is tried here. */
static unsigned kind_of(int fd, unsigned file, unsigned peer)
{
    struct statx about;
    int kept = errno;
    unsigned call = NOT_COUNTED;
    if (shared != NULL && atomic_load(&shared->armed) != 0 &&
        syscall(SYS_statx, fd, "", AT_EMPTY_PATH, STATX_TYPE, &about) == 0)
        call = S_ISREG(about.stx_mode) ? file : S_ISSOCK(about.stx_mode) ? peer : NOT_COUNTED;
    errno = kept;
    return call;
}

#define CALLER __builtin_return_address(0)

/* The macros below get types and lists of parameters; and the function that is looked for is always found.
 * NOLINTBEGIN(bugprone-macro-parentheses,clang-analyzer-core.CallAndMessage) */

/* Defines a function of libc: its kind of call, and what it returns when it fails. */
#define STANDS(call, type, name, parameters, arguments, failed)                                                        \
    type name parameters                                                                                               \
    {                                                                                                                  \
        static type(*real) parameters;                                                                                 \
        find(&real, #name);                                                                                            \
        return meets((call), #name, CALLER) ? (failed) : real arguments;                                               \
    }

/* The same for those that return an errno. */
#define STANDS_RETURNING(call, name, parameters, arguments)                                                            \
    STANDS(call, int, name, parameters, arguments, shared->error)

/* ---- files ---- */

#define WRITES(name, parameters, arguments, half)                                                                      \
    ssize_t name parameters                                                                                            \
    {                                                                                                                  \
        static ssize_t(*real) parameters;                                                                              \
        find(&real, #name);                                                                                            \
        if (!meets(kind_of(fd, FAULT_WRITE, FAULT_SEND), #name, CALLER))                                               \
            return real arguments;                                                                                     \
        return is_short() ? real half : -1;                                                                            \
    }

WRITES(write, (int fd, const void *data, size_t n), (fd, data, n), (fd, data, (n + 1) / 2))
WRITES(pwrite, (int fd, const void *data, size_t n, off_t at), (fd, data, n, at), (fd, data, (n + 1) / 2, at))
WRITES(pwrite64, (int fd, const void *data, size_t n, off64_t at), (fd, data, n, at), (fd, data, (n + 1) / 2, at))
WRITES(writev, (int fd, const struct iovec *parts, int n), (fd, parts, n), (fd, parts, (n + 1) / 2))
WRITES(pwritev2, (int fd, const struct iovec *parts, int n, off_t at, int flags), (fd, parts, n, at, flags),
       (fd, parts, (n + 1) / 2, at, flags))

STANDS(kind_of(fd, FAULT_READ, FAULT_RECEIVE), ssize_t, read, (int fd, void *data, size_t n), (fd, data, n), -1)
STANDS(FAULT_READ, ssize_t, pread, (int fd, void *data, size_t n, off_t at), (fd, data, n, at), -1)
STANDS(FAULT_READ, ssize_t, pread64, (int fd, void *data, size_t n, off64_t at), (fd, data, n, at), -1)
STANDS(FAULT_READ, ssize_t, readlink, (const char *path, char *out, size_t n), (path, out, n), -1)
STANDS(FAULT_SYNC, int, fsync, (int fd), (fd), -1)
STANDS(FAULT_SYNC, int, fdatasync, (int fd), (fd), -1)

/* open's third argument is there when it makes a file; else it is not looked at. */
#define OPENS(name, parameters, last, arguments)                                                                       \
    int name parameters                                                                                                \
    {                                                                                                                  \
        static int(*real) parameters;                                                                                  \
        va_list more;                                                                                                  \
        va_start(more, last);                                                                                          \
        mode_t mode = (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(more, mode_t) : 0;                                 \
        va_end(more);                                                                                                  \
        find(&real, #name);                                                                                            \
        return meets(FAULT_OPEN, #name, CALLER) ? -1 : real arguments;                                                 \
    }

OPENS(open, (const char *path, int flags, ...), flags, (path, flags, mode))
OPENS(open64, (const char *path, int flags, ...), flags, (path, flags, mode))
OPENS(openat, (int at, const char *path, int flags, ...), flags, (at, path, flags, mode))
OPENS(openat64, (int at, const char *path, int flags, ...), flags, (at, path, flags, mode))

int __open_2(const char *path, int flags);
STANDS(FAULT_OPEN, int, __open_2, (const char *path, int flags), (path, flags), -1)
int __openat_2(int at, const char *path, int flags);
STANDS(FAULT_OPEN, int, __openat_2, (int at, const char *path, int flags), (at, path, flags), -1)
STANDS(FAULT_OPEN, FILE *, fopen, (const char *path, const char *mode), (path, mode), NULL)
STANDS(FAULT_OPEN, FILE *, fopen64, (const char *path, const char *mode), (path, mode), NULL)
STANDS(FAULT_OPEN, DIR *, opendir, (const char *path), (path), NULL)
STANDS(FAULT_OPEN, int, mkostemp, (char *path, int flags), (path, flags), -1)
STANDS(FAULT_OPEN, int, mkostemps, (char *path, int suffix, int flags), (path, suffix, flags), -1)

/* A file is closed whatever close says. */
int close(int fd)
{
    static int (*real)(int fd);
    find(&real, "close");
    bool fails = meets(kind_of(fd, FAULT_CLOSE, NOT_COUNTED), "close", CALLER);
    int result = real(fd);
    if (fails)
        errno = shared->error;
    return fails ? -1 : result;
}

int fclose(FILE *file)
{
    static int (*real)(FILE * file);
    find(&real, "fclose");
    bool fails = meets(kind_of(fileno(file), FAULT_CLOSE, NOT_COUNTED), "fclose", CALLER);
    int result = real(file);
    if (fails)
        errno = shared->error;
    return fails ? EOF : result;
}

int fflush(FILE *file)
{
    static int (*real)(FILE * file);
    find(&real, "fflush");
    unsigned call = file == NULL ? NOT_COUNTED : kind_of(fileno(file), FAULT_WRITE, NOT_COUNTED);
    return meets(call, "fflush", CALLER) && !is_short() ? EOF : real(file);
}

STANDS(FAULT_RENAME, int, rename, (const char *from, const char *to), (from, to), -1)
STANDS(FAULT_RENAME, int, renameat, (int a, const char *from, int b, const char *to), (a, from, b, to), -1)
STANDS(FAULT_EXCHANGE, int, renameat2, (int a, const char *from, int b, const char *to, unsigned flags),
       (a, from, b, to, flags), -1)
STANDS(FAULT_UNLINK, int, unlink, (const char *path), (path), -1)
STANDS(FAULT_UNLINK, int, unlinkat, (int at, const char *path, int flags), (at, path, flags), -1)
STANDS(FAULT_UNLINK, int, rmdir, (const char *path), (path), -1)
STANDS(FAULT_UNLINK, int, remove, (const char *path), (path), -1)
STANDS(FAULT_MAKE, int, mkdir, (const char *path, mode_t mode), (path, mode), -1)
STANDS(FAULT_MAKE, int, mkdirat, (int at, const char *path, mode_t mode), (at, path, mode), -1)
STANDS(FAULT_MAKE, int, mkfifo, (const char *path, mode_t mode), (path, mode), -1)
STANDS(FAULT_MAKE, int, link, (const char *from, const char *to), (from, to), -1)
STANDS(FAULT_MAKE, int, linkat, (int a, const char *from, int b, const char *to, int flags), (a, from, b, to, flags),
       -1)
STANDS(FAULT_ATTRIBUTES, int, chmod, (const char *path, mode_t mode), (path, mode), -1)
STANDS(FAULT_ATTRIBUTES, int, fchmod, (int fd, mode_t mode), (fd, mode), -1)
STANDS(FAULT_ATTRIBUTES, int, fchown, (int fd, uid_t user, gid_t group), (fd, user, group), -1)
STANDS(FAULT_ATTRIBUTES, int, futimens, (int fd, const struct timespec times[2]), (fd, times), -1)
STANDS(FAULT_ATTRIBUTES, int, utimensat, (int at, const char *path, const struct timespec times[2], int flags),
       (at, path, times, flags), -1)
STANDS(FAULT_STAT, int, stat, (const char *path, struct stat *about), (path, about), -1)
STANDS(FAULT_STAT, int, stat64, (const char *path, struct stat64 *about), (path, about), -1)
STANDS(FAULT_STAT, int, lstat, (const char *path, struct stat *about), (path, about), -1)
STANDS(FAULT_STAT, int, lstat64, (const char *path, struct stat64 *about), (path, about), -1)
STANDS(FAULT_STAT, int, fstat, (int fd, struct stat *about), (fd, about), -1)
STANDS(FAULT_STAT, int, fstat64, (int fd, struct stat64 *about), (fd, about), -1)
STANDS(FAULT_STAT, int, fstatat, (int at, const char *path, struct stat *about, int flags), (at, path, about, flags),
       -1)
STANDS(FAULT_STAT, int, access, (const char *path, int mode), (path, mode), -1)
STANDS(FAULT_STAT, int, faccessat, (int at, const char *path, int mode, int flags), (at, path, mode, flags), -1)
STANDS(FAULT_STAT, int, statfs, (const char *path, struct statfs *about), (path, about), -1)
STANDS(FAULT_STAT, int, fstatfs, (int fd, struct statfs *about), (fd, about), -1)
STANDS(FAULT_STAT, int, statvfs, (const char *path, struct statvfs *about), (path, about), -1)
STANDS(FAULT_STAT, int, fstatvfs, (int fd, struct statvfs *about), (fd, about), -1)
STANDS(FAULT_LIST, struct dirent *, readdir, (DIR * folder), (folder), NULL)
STANDS(FAULT_SIZE, int, ftruncate, (int fd, off_t size), (fd, size), -1)
STANDS(FAULT_SIZE, int, ftruncate64, (int fd, off64_t size), (fd, size), -1)
STANDS(FAULT_SIZE, int, fallocate, (int fd, int mode, off_t at, off_t size), (fd, mode, at, size), -1)
STANDS_RETURNING(FAULT_SIZE, posix_fallocate, (int fd, off_t at, off_t size), (fd, at, size))
STANDS(FAULT_MAP, void *, mmap, (void *at, size_t size, int protection, int flags, int fd, off_t from),
       (at, size, protection, flags, fd, from), MAP_FAILED)
STANDS(FAULT_MAP, void *, mmap64, (void *at, size_t size, int protection, int flags, int fd, off64_t from),
       (at, size, protection, flags, fd, from), MAP_FAILED)
STANDS(FAULT_LOCK, int, flock, (int fd, int operation), (fd, operation), -1)

static unsigned kind_of_command(int command)
{
    switch (command) {
    case F_SETLK:
    case F_SETLKW:
    case F_OFD_SETLK:
    case F_OFD_SETLKW:
        return FAULT_LOCK;
    case F_DUPFD:
    case F_DUPFD_CLOEXEC:
        return FAULT_DESCRIPTOR;
    default:
        return NOT_COUNTED;
    }
}

/* Unlocking does not fail. */
static bool unlocks(int command, const void *argument)
{
    return kind_of_command(command) == FAULT_LOCK && ((const struct flock *)argument)->l_type == F_UNLCK;
}

#define CONTROLS(name)                                                                                                 \
    int name(int fd, int command, ...)                                                                                 \
    {                                                                                                                  \
        static int (*real)(int fd, int command, ...);                                                                  \
        va_list more;                                                                                                  \
        va_start(more, command);                                                                                       \
        void *argument = va_arg(more, void *);                                                                         \
        va_end(more);                                                                                                  \
        find(&real, #name);                                                                                            \
        unsigned call = unlocks(command, argument) ? NOT_COUNTED : kind_of_command(command);                           \
        return meets(call, #name, CALLER) ? -1 : real(fd, command, argument);                                          \
    }

CONTROLS(fcntl)
CONTROLS(fcntl64)

/* ---- memory, threads, processes ---- */

#ifndef SHIM_WITHOUT_MEMORY
STANDS(FAULT_MEMORY, void *, malloc, (size_t size), (size), NULL)
STANDS(FAULT_MEMORY, void *, calloc, (size_t count, size_t size), (count, size), NULL)
STANDS(FAULT_MEMORY, void *, realloc, (void *old, size_t size), (old, size), NULL)
STANDS(FAULT_MEMORY, void *, aligned_alloc, (size_t alignment, size_t size), (alignment, size), NULL)
#endif
STANDS_RETURNING(FAULT_THREAD, pthread_create,
                 (pthread_t * thread, const pthread_attr_t *attributes, void *(*run)(void *), void *context),
                 (thread, attributes, run, context))
STANDS(FAULT_FORK, pid_t, fork, (void), (), -1)
STANDS_RETURNING(FAULT_FORK, posix_spawn,
                 (pid_t * pid, const char *path, const posix_spawn_file_actions_t *actions,
                  const posix_spawnattr_t *attributes, char *const *arguments, char *const *environment),
                 (pid, path, actions, attributes, arguments, environment))
STANDS(FAULT_EXECUTE, int, execv, (const char *path, char *const *arguments), (path, arguments), -1)
STANDS(FAULT_EXECUTE, int, execve, (const char *path, char *const *arguments, char *const *environment),
       (path, arguments, environment), -1)

/* ---- descriptors and sockets ---- */

STANDS(FAULT_DESCRIPTOR, int, pipe2, (int fds[2], int flags), (fds, flags), -1)
STANDS(FAULT_DESCRIPTOR, int, eventfd, (unsigned first, int flags), (first, flags), -1)
STANDS(FAULT_DESCRIPTOR, int, epoll_create1, (int flags), (flags), -1)
STANDS(FAULT_DESCRIPTOR, int, signalfd, (int fd, const sigset_t *set, int flags), (fd, set, flags), -1)
STANDS(FAULT_DESCRIPTOR, int, timerfd_create, (clockid_t clock, int flags), (clock, flags), -1)
STANDS(FAULT_DESCRIPTOR, int, socketpair, (int domain, int type, int protocol, int fds[2]),
       (domain, type, protocol, fds), -1)
STANDS(FAULT_DESCRIPTOR, int, dup, (int fd), (fd), -1)
STANDS(FAULT_DESCRIPTOR, int, dup2, (int fd, int wanted), (fd, wanted), -1)
STANDS(FAULT_WATCH, int, epoll_ctl, (int epoll, int operation, int fd, struct epoll_event *event),
       (epoll, operation, fd, event), -1)
STANDS(FAULT_WAIT, int, poll, (struct pollfd * fds, nfds_t count, int ms), (fds, count, ms), -1)
STANDS(FAULT_WAIT, int, epoll_wait, (int epoll, struct epoll_event *events, int count, int ms),
       (epoll, events, count, ms), -1)
STANDS(FAULT_SOCKET, int, socket, (int domain, int type, int protocol), (domain, type, protocol), -1)
STANDS(FAULT_CONNECT, int, connect, (int fd, __CONST_SOCKADDR_ARG address, socklen_t length), (fd, address, length), -1)
STANDS(FAULT_ACCEPT, int, accept, (int fd, __SOCKADDR_ARG address, socklen_t *restrict length), (fd, address, length),
       -1)
STANDS(FAULT_ACCEPT, int, accept4, (int fd, __SOCKADDR_ARG address, socklen_t *restrict length, int flags),
       (fd, address, length, flags), -1)
STANDS(FAULT_SEND, ssize_t, send, (int fd, const void *data, size_t n, int flags), (fd, data, n, flags), -1)
STANDS(FAULT_SEND, ssize_t, sendto,
       (int fd, const void *data, size_t n, int flags, __CONST_SOCKADDR_ARG to, socklen_t length),
       (fd, data, n, flags, to, length), -1)
STANDS(FAULT_RECEIVE, ssize_t, recv, (int fd, void *data, size_t n, int flags), (fd, data, n, flags), -1)
STANDS(FAULT_RECEIVE, ssize_t, recvfrom,
       (int fd, void *restrict data, size_t n, int flags, __SOCKADDR_ARG from, socklen_t *restrict length),
       (fd, data, n, flags, from, length), -1)
STANDS(FAULT_RESOLVE, int, getaddrinfo,
       (const char *restrict name, const char *restrict service, const struct addrinfo *restrict hints,
        struct addrinfo **restrict found),
       (name, service, hints, found), EAI_AGAIN)
/* NOLINTEND(bugprone-macro-parentheses,clang-analyzer-core.CallAndMessage) */
