/* Memory-mapped files that survive a full disk: see files.h. */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/files.h"

#define MAPPINGS_MOST 16 /* at the same time in one process */

/* Read by the signal handler, which can run at any moment: `at` is set last and cleared first. */
static struct {
    _Atomic(char *) at; /* NULL: unused slot */
    atomic_size_t bytes;
    atomic_int fd;
    atomic_bool lost;
} mapped[MAPPINGS_MOST];

static struct {
    pthread_mutex_t lock;
    bool installed;
    uintptr_t page; /* size */
    struct sigaction before;
} guard = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* Uses only async-signal-safe calls, including mmap on Linux. */
static bool replace_page(size_t i, uintptr_t address)
{
    char *begin = atomic_load(&mapped[i].at);
    if (begin == NULL || address < (uintptr_t)begin || address - (uintptr_t)begin >= atomic_load(&mapped[i].bytes))
        return false;
    size_t offset = (address - (uintptr_t)begin) / guard.page * guard.page;
    void *page =
        mmap(begin + offset, guard.page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    if (page == MAP_FAILED)
        return false;
    ssize_t n = pread(atomic_load(&mapped[i].fd), page, guard.page, (off_t)offset);
    (void)n; /* unreadable parts become zero */
    atomic_store(&mapped[i].lost, true);
    return true;
}

/* A fault outside guarded mappings is left to recur under the handler installed before. */
static void on_fault(int number, siginfo_t *info, void *context)
{
    int error = errno;
    (void)context;
    bool mended = false;
    for (size_t i = 0; i < MAPPINGS_MOST && info->si_code > 0 && !mended; i++)
        mended = replace_page(i, (uintptr_t)info->si_addr);
    if (!mended) {
        sigaction(number, &guard.before, NULL);
        if (info->si_code <= 0)
            raise(number); /* sent by kill */
    }
    errno = error;
}

/* With the lock held. */
static bool install_handler(void)
{
    sigset_t bus;
    sigemptyset(&bus);
    sigaddset(&bus, SIGBUS);
    pthread_sigmask(SIG_UNBLOCK, &bus, NULL); /* even if the process inherited it as blocked */
    if (guard.installed)
        return true;
    struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_RESTART};
    sigemptyset(&action.sa_mask);
    guard.page = (uintptr_t)sysconf(_SC_PAGESIZE);
    guard.installed = sigaction(SIGBUS, &action, &guard.before) == 0;
    return guard.installed;
}

/* With the lock held. */
static bool note_mapping(void *at, size_t bytes, int fd)
{
    for (size_t i = 0; i < MAPPINGS_MOST; i++) {
        if (atomic_load(&mapped[i].at) != NULL)
            continue;
        atomic_store(&mapped[i].bytes, bytes);
        atomic_store(&mapped[i].fd, fd);
        atomic_store(&mapped[i].lost, false);
        atomic_store(&mapped[i].at, at);
        return true;
    }
    errno = EMFILE;
    return false;
}

void *mapping_open(int fd, size_t bytes)
{
    void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    pthread_mutex_lock(&guard.lock);
    bool good = at != MAP_FAILED && install_handler() && note_mapping(at, bytes, fd);
    pthread_mutex_unlock(&guard.lock);
    if (good)
        return at;
    int error = errno;
    if (at != MAP_FAILED)
        munmap(at, bytes);
    close(fd);
    errno = error;
    return NULL;
}

static size_t find_mapping(const void *at)
{
    size_t i = 0;
    while (i < MAPPINGS_MOST && atomic_load(&mapped[i].at) != at)
        i++;
    return i;
}

bool mapping_is_lost(const void *at)
{
    size_t i = find_mapping(at);
    return i < MAPPINGS_MOST && atomic_load(&mapped[i].lost);
}

void mapping_close(void *at)
{
    pthread_mutex_lock(&guard.lock);
    size_t i = find_mapping(at);
    if (i < MAPPINGS_MOST) {
        size_t bytes = atomic_load(&mapped[i].bytes);
        int fd = atomic_load(&mapped[i].fd);
        munmap(at, bytes);
        close(fd);
        atomic_store(&mapped[i].at, NULL);
    }
    pthread_mutex_unlock(&guard.lock);
}
