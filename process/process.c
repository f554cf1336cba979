/* Signals, memory and limits of a process: see process.h. */
#include "process/process.h"

#include <malloc.h>
#include <stddef.h>
#include <sys/resource.h>

#include "config/config.h"
#include "http/http.h"

#define BODIES_IN_HAND ((size_t)64 * 1024 * 1024) /* bytes of all bodies together, at most */
#define LARGE (128 * 1024)                        /* bytes: memory of that size is given back when it is freed */

/* ---- signals: over exec only "ignored" and "blocked" are inherited; handlers that are there are a sanitizer's ---- */

static bool is_a_persons(int number)
{
    return number == SIGHUP || number == SIGINT || number == SIGQUIT;
}

void process_reset_signals(bool command)
{
    for (int number = 1; number < NSIG; number++) {
        struct sigaction now;
        if (sigaction(number, NULL, &now) == 0 && now.sa_handler == SIG_IGN && !(command && is_a_persons(number)))
            signal(number, SIG_DFL);
    }
    signal(SIGPIPE, SIG_IGN); /* writing to a client that has gone is an error of write */
    signal(SIGXFSZ, SIG_IGN); /* writing beyond a file's size limit, likewise */
}

void process_unblock_signals(void)
{
    sigset_t none;
    sigemptyset(&none);
    pthread_sigmask(SIG_SETMASK, &none, NULL);
}

sigset_t process_block_signals(void)
{
    static const int numbers[] = {SIGTERM, SIGUSR1, SIGINT, SIGHUP};
    sigset_t signals;
    sigemptyset(&signals);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        sigaddset(&signals, numbers[i]);
    pthread_sigmask(SIG_SETMASK, &signals, NULL);
    return signals;
}

/* ---- limits ---- */

/* The limit of the address space; false: there is none. */
static bool address_space(size_t *bytes)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_AS, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY)
        return false;
    *bytes = (size_t)limit.rlim_cur;
    return true;
}

/* At most a quarter of the addresses there are: each body is there twice while the queue writes it. */
static size_t bodies_in_hand(void)
{
    size_t space;
    return address_space(&space) && space / 4 < BODIES_IN_HAND ? space / 4 : BODIES_IN_HAND;
}

struct http_limits process_http_limits(const struct config *config)
{
    return (struct http_limits){
        .max_body = (size_t)config->max_body,
        .max_bodies = bodies_in_hand(),
        .request_timeout_ms = config->request_timeout_ms,
        .threads = (size_t)config->request_threads,
    };
}

void process_spare_memory(void)
{
    size_t space;
    if (!address_space(&space))
        return;
    mallopt(M_ARENA_MAX, 1);
    mallopt(M_MMAP_THRESHOLD, LARGE); /* set, it does not grow with what is freed */
    mallopt(M_TRIM_THRESHOLD, LARGE);
}
