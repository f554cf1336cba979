/* Starting and stopping the FastCGI server. Serving: worker.c; accepting connections: accept.c. */
#include "http/http_private.h"

#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"

#define STACK_SIZE ((size_t)256 * 1024)
#define CUT_LEAST_MS 250 /* time before http_join's deadline at which waiting connections are cut: a quarter */
#define CUT_MOST_MS 1000 /* of what there is, within these; thousands may wait, and all are answered */
#define CUT_AGAIN_MS 20
#define ONE_TRIES 100 /* tries to start at least one request thread */

/* Where the system limits threads, this many must remain for the rest of the process: the forwarder, the queue's writer
 * and housekeeper, the reconciler, alerts, a resolver, the check before a reload. */
#define SPARE_THREADS 7
#define SPARE_MOST (SPARE_THREADS + 8) /* with those that the caller knows of */

struct spare {
    pthread_mutex_t lock;
    pthread_t threads[SPARE_MOST];
    size_t count;
};

static void *wait_for_end(void *context)
{
    struct spare *spare = context;
    pthread_mutex_lock(&spare->lock);
    pthread_mutex_unlock(&spare->lock);
    return NULL;
}

/* Reserves these threads with threads that do nothing. */
static void spare_take(struct spare *spare, size_t wished)
{
    pthread_attr_t small;
    spare->count = 0;
    pthread_mutex_init(&spare->lock, NULL);
    pthread_mutex_lock(&spare->lock);
    if (pthread_attr_init(&small) != 0)
        return;
    pthread_attr_setstacksize(&small, (size_t)64 * 1024);
    while (spare->count < wished && spare->count < SPARE_MOST &&
           pthread_create(&spare->threads[spare->count], &small, wait_for_end, spare) == 0)
        spare->count++;
    pthread_attr_destroy(&small);
}

static void spare_leave(struct spare *spare)
{
    pthread_mutex_unlock(&spare->lock);
    for (size_t i = 0; i < spare->count; i++)
        pthread_join(spare->threads[i], NULL);
    pthread_mutex_destroy(&spare->lock);
}

bool http_is_fastcgi(void)
{
    int listens = 0;
    socklen_t size = sizeof listens;
    return getsockopt(STDIN_FILENO, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) == 0 && listens != 0;
}

/* Makes the listening socket non-blocking, because another thread or process may have taken the connection that woke
 * this one. */
static bool prepare_listening(struct http *http, struct error *why)
{
    struct sockaddr_storage address = {0};
    socklen_t size = sizeof address;
    int flags = fcntl(STDIN_FILENO, F_GETFL);
    if (getsockname(STDIN_FILENO, (struct sockaddr *)&address, &size) != 0 || flags < 0 ||
        fcntl(STDIN_FILENO, F_SETFL, flags | O_NONBLOCK) != 0) {
        error_set(why, "descriptor 0 is no listening socket: %s", strerror(errno));
        return false;
    }
    http->is_tcp = address.ss_family == AF_INET || address.ss_family == AF_INET6;
    if (http->is_tcp && !peers_init(&http->peers, getenv("FCGI_WEB_SERVER_ADDRS"), why))
        return false;
    struct epoll_event woken = {.events = EPOLLIN, .data.ptr = &http->wake};
    if (!worker_listen(http) || epoll_ctl(http->epoll, EPOLL_CTL_ADD, http->wake, &woken) != 0) {
        error_set(why, "epoll: %s", strerror(errno));
        return false;
    }
    return true;
}

/* The steps that can fail before threads exist; http_free undoes all of them. */
static bool prepare_server(struct http *http, struct error *why)
{
    pthread_mutex_init(&http->lock, NULL);
    pthread_mutex_init(&http->back_lock, NULL);
    pthread_cond_init(&http->leaderless, NULL);
    clock_condition_init(&http->ended);
    http->epoll = epoll_create1(EPOLL_CLOEXEC);
    http->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    http->reserve = -1;
    if (http->epoll < 0 || http->wake < 0) {
        error_set(why, "epoll: %s", strerror(errno));
        return false;
    }
    http->workers = calloc(http->limits.threads, sizeof *http->workers);
    if (http->workers == NULL) {
        error_set(why, "out of memory");
        return false;
    }
    return prepare_listening(http, why);
}

/* Starts request threads up to this number, or as many as possible. */
static int start_workers(struct http *http, size_t wished)
{
    pthread_attr_t small;
    int error = pthread_attr_init(&small);
    if (error != 0)
        return error;
    pthread_attr_setstacksize(&small, STACK_SIZE);
    while (http->started < wished && error == 0) {
        struct worker *worker = &http->workers[http->started];
        *worker = (struct worker){.http = http};
        pthread_mutex_lock(&http->lock);
        error = pthread_create(&worker->thread, &small, worker_run, worker);
        if (error == 0) {
            http->started++;
            http->running++;
        }
        pthread_mutex_unlock(&http->lock);
    }
    pthread_attr_destroy(&small);
    return error;
}

/* Starts request threads, fewer than wished where the system limits them, at least one, and leaves room for the other
 * threads that the process needs. Returns false, with none started, when not even one is possible. */
static bool start_some_workers(struct http *http, struct error *why)
{
    const struct timespec moment_between = {.tv_nsec = 10000000};
    struct spare spare;
    spare_take(&spare, SPARE_THREADS + http->limits.more_spare);
    int error = start_workers(http, http->limits.threads);
    spare_leave(&spare);
    /* A joined thread counts against the limit for a moment longer. */
    for (int tries = 0; http->started == 0 && tries < ONE_TRIES; tries++) {
        error = start_workers(http, 1);
        nanosleep(&moment_between, NULL);
    }
    if (http->started == 0) {
        error_set(why, "no request thread could be started: %s", strerror(error));
        return false;
    }
    if (http->started < http->limits.threads)
        log_write(LEVEL_WARN, "msg=fewer_request_threads started=%zu wished=%zu reason=\"%s\"", http->started,
                  http->limits.threads, strerror(error));
    return true;
}

/* Starts the request threads with all signals blocked: the main thread handles those. */
static bool start_threads(struct http *http, struct error *why)
{
    sigset_t all, before;
    sigfillset(&all);
    sigdelset(&all, SIGBUS); /* if blocked, a full disk under a mapped page would end the process: base/files.h */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    bool started = start_some_workers(http, why);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return started;
}

struct http *http_start(const struct http_limits *limits, const struct route *routes, size_t count, struct error *why)
{
    struct http *http = calloc(1, sizeof *http);
    if (http == NULL) {
        error_set(why, "out of memory");
        return NULL;
    }
    http->limits = *limits;
    budget_init(&http->budget, limits->max_bodies);
    headroom_init(&http->headroom);
    http->routes = routes;
    http->routes_count = count;
    http->full_logged = http->wait_logged = INT64_MIN / 2;
    http->earliest = http->listen_again = MOMENT_NEVER;
    http->back_end = &http->back;
    atomic_store(&http->stopped_at, MOMENT_NEVER);
    bool started = prepare_server(http, why);
    if (started) {
        accept_prepare(http);
        accept_take_over(http);
        started = start_threads(http, why);
    }
    if (started)
        return http;
    http_free(http);
    return NULL;
}

void http_stop(struct http *http)
{
    atomic_store(&http->stopped_at, clock_now());
    epoll_ctl(http->epoll, EPOLL_CTL_DEL, STDIN_FILENO, NULL);
    worker_wake(http);
}

bool http_is_idle(struct http *http)
{
    pthread_mutex_lock(&http->lock);
    bool idle = http->running == 0;
    pthread_mutex_unlock(&http->lock);
    return idle;
}

/* Waits until the last thread has ended, or until the moment. Returns whether it has ended. */
static bool wait_ended(struct http *http, moment until)
{
    pthread_mutex_lock(&http->lock);
    while (http->running > 0 && clock_condition_wait(&http->ended, &http->lock, until))
        ;
    bool ended = http->running == 0;
    pthread_mutex_unlock(&http->lock);
    return ended;
}

static void join_ended(struct http *http)
{
    for (size_t i = 0; i < http->started; i++) {
        struct worker *worker = &http->workers[i];
        pthread_mutex_lock(&http->lock);
        bool ended = worker->ended;
        pthread_mutex_unlock(&http->lock);
        if (!ended || worker->joined)
            continue;
        pthread_join(worker->thread, NULL);
        worker->joined = true;
    }
}

/* A request whose handler runs is never cut: it does not wait for its client. One that is cut, or whose commit is given
 * up, may still be answered, so some time is reserved for that; and a thread may begin another request before it ends.
 */
bool http_join(struct http *http, moment deadline)
{
    moment reserve = deadline == MOMENT_NEVER ? 0 : (deadline - clock_now()) / 4;
    reserve = reserve < CUT_LEAST_MS ? CUT_LEAST_MS : reserve > CUT_MOST_MS ? CUT_MOST_MS : reserve;
    bool ended = wait_ended(http, deadline == MOMENT_NEVER ? deadline : deadline - reserve);
    while (!ended && clock_now() < deadline) {
        atomic_store(&http->cut, true);
        worker_wake(http);
        ended = wait_ended(http, clock_now() + CUT_AGAIN_MS);
    }
    join_ended(http);
    return ended;
}

void http_hand_over(struct http *http)
{
    accept_hand_over(http);
}

void http_free(struct http *http)
{
    const int descriptors[] = {http->epoll, http->wake, http->reserve};
    while (http->first != NULL)
        connection_close(http->first);
    for (size_t i = 0; i < sizeof descriptors / sizeof *descriptors; i++) {
        if (descriptors[i] >= 0)
            close(descriptors[i]);
    }
    peers_free(&http->peers);
    budget_free(&http->budget);
    pthread_cond_destroy(&http->ended);
    pthread_cond_destroy(&http->leaderless);
    pthread_mutex_destroy(&http->back_lock);
    pthread_mutex_destroy(&http->lock);
    free(http->workers);
    free(http);
}
