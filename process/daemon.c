/* The life of a process that stays: a FastCGI process, or one that only forwards. It starts http and the service,
 * waits for a reason to end, lets go of everything in order, and stops or executes itself anew. */
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "config/config.h"
#include "http/http.h"
#include "process/file_changes.h"
#include "process/gate.h"
#include "process/pipeline.h"
#include "process/process.h"
#include "process/reexec.h"

#define ANSWERED_MS 13000 /* by then every request is answered, however slow the data plane */
#define HURRY_MS 300      /* before the end of shutdown_grace, so that answers still get out */
#define LOOK_MS 1000      /* between looks at the files and at the queue */
#define CLOSED_MS 500     /* beyond the deadline of those with batches in hand, for a stop */
#define RELOADED_MS 5000  /* likewise, for a reload: nobody waits to kill it, but requests wait */
#define SETTLED_MS 5000   /* a changed file must have stood so long: it may be half uploaded */

/* Closing the stages, in a thread of its own: a hung disk, an alert's look, a library may keep it for ever. */
struct closing {
    moment deadline; /* for batches in hand */
    bool closed;     /* read after done was posted */
    sem_t done;
};

/* A process that stays. */
struct life {
    const struct config *config;
    const char *program;    /* its path */
    char *const *arguments; /* with which it executes itself anew */
    bool serves;            /* requests; else it only forwards */
    sigset_t signals;       /* that tell it something */
    struct file_changes *changes;
    struct gate gate;
    struct route routes[GATE_ROUTES];
    struct pipeline *pipeline;
    struct http *http; /* NULL where it only forwards */
    struct closing closing;
};

enum ending {
    END_STOP,
    END_RELOAD, /* execute anew what has passed the check */
    END_REOPEN, /* begin anew with the configuration that was */
    END_FAILED,
};

static bool start(struct life *life, struct error *why)
{
    const char *const files[] = {life->config->path, life->program};
    error_set(why, "out of memory");
    life->changes = file_changes_new(files, sizeof files / sizeof *files, SETTLED_MS);
    if (life->changes == NULL)
        return false;
    /* Requests wait at the gate until the stages stand. In this order there is a request thread, however few threads
     * the system allows. */
    if (life->serves) {
        struct http_limits limits = process_http_limits(life->config);
        life->http = http_start(&limits, life->routes, GATE_ROUTES, why);
        if (life->http == NULL)
            return false;
    }
    life->pipeline = pipeline_start(life->config, life->serves ? &life->gate : NULL, why);
    return life->pipeline != NULL;
}

/* The queue must be opened anew: by what is installed now, which may be the release that changed it, if that is good.
 */
static enum ending reopen(const struct life *life)
{
    log_write(LEVEL_WARN, "msg=opens_the_queue_anew");
    return reexec_is_good(life->program) ? END_RELOAD : END_REOPEN;
}

/* Waits for a reason to end: a signal, files that changed, the queue. */
static enum ending wait_for_ending(const struct life *life)
{
    const struct timespec look = {.tv_sec = LOOK_MS / 1000, .tv_nsec = (long)(LOOK_MS % 1000) * 1000000};
    for (;;) {
        int signal = sigtimedwait(&life->signals, NULL, &look);
        if (signal > 0 && signal != SIGHUP)
            return END_STOP;
        pipeline_retry(life->pipeline);
        status_alert(life->gate.status);
        if (pipeline_must_reopen(life->pipeline))
            return reopen(life);
        if (signal != SIGHUP && !file_changes_look(life->changes, clock_now()))
            continue;
        if (reexec_is_good(life->program))
            return END_RELOAD;
        log_write(LEVEL_ERROR, "msg=not_reloaded reason=\"what is new is faulty: see the lines above; the old stays\"");
    }
}

/* Lets the requests in hand end. A stop ends them within shutdown_grace; a reload gives them all the time they may
 * take, unless a signal to stop comes meanwhile. Returns false when a thread hangs. */
static bool finish_requests(struct life *life, enum ending *ending)
{
    const struct timespec look = {.tv_nsec = 10000000};
    moment patience = clock_now() + ANSWERED_MS;
    if (life->http == NULL)
        return true;
    http_stop(life->http);
    while (*ending != END_STOP && !http_is_idle(life->http) && clock_now() < patience) {
        int signal = sigtimedwait(&life->signals, NULL, &look);
        if (signal > 0 && signal != SIGHUP)
            *ending = END_STOP;
    }
    moment deadline = clock_now() + life->config->shutdown_grace_ms;
    pipeline_begin_shutdown(life->pipeline, deadline - HURRY_MS);
    return http_join(life->http, deadline - HURRY_MS / 2);
}

/* Ends the process, or executes it anew, though threads are still at work: they end with this process image, as by
 * SIGKILL, which every stage is made for. */
static _Noreturn void leave(const struct life *life, enum ending ending)
{
    if (ending == END_STOP)
        _exit(CODE_OK);
    reexec_execute(life->program, life->arguments);
    _exit(CODE_FAILED); /* the web server, or systemd, starts it again */
}

static void *close_stages(void *context)
{
    struct life *life = context;
    bool quiet = status_quiet(life->gate.status);
    life->closing.closed = pipeline_stop(life->pipeline, life->closing.deadline) && quiet;
    sem_post(&life->closing.done);
    return NULL;
}

/* Waits for the thread that closes the stages. Returns whether it has ended. */
static bool wait_closed(struct life *life, moment until)
{
    const struct timespec t = {.tv_sec = until / 1000, .tv_nsec = (long)(until % 1000) * 1000000};
    while (sem_clockwait(&life->closing.done, CLOCK_MONOTONIC, &t) != 0) {
        if (errno != EINTR)
            return false;
    }
    return true;
}

/* Closes the stages. Returns false when that has not ended patience_ms after the deadline; nothing may be freed then.
 */
static bool close_in_time(struct life *life, moment deadline, int64_t patience_ms)
{
    pthread_t thread;
    life->closing = (struct closing){.deadline = deadline};
    sem_init(&life->closing.done, 0, 0);
    if (pthread_create(&thread, NULL, close_stages, life) != 0) {
        close_stages(life); /* no thread to be had: without a bound, then */
        return life->closing.closed;
    }
    if (!wait_closed(life, deadline + patience_ms))
        return false;
    pthread_join(thread, NULL);
    return life->closing.closed;
}

/* Lets go of everything. What cannot be waited for is left behind, and then it does not return. */
static void finish(struct life *life, enum ending *ending)
{
    moment grace = life->config->shutdown_grace_ms - HURRY_MS / 2, deadline = clock_now() + grace;
    if (!finish_requests(life, ending)) {
        log_write(LEVEL_WARN, "msg=stopped_with_requests_in_hand");
        reexec_seal();
        leave(life, *ending); /* their threads still use everything */
    }
    if (*ending != END_STOP)
        deadline = clock_now() + grace; /* nobody waits to kill it */
    bool closed = close_in_time(life, deadline, *ending == END_STOP ? CLOSED_MS : RELOADED_MS);
    if (!closed)
        log_write(LEVEL_WARN, "msg=left_behind what=\"a thread that hangs\"");
    if (*ending != END_STOP)
        reexec_seal();
    if (life->http != NULL && *ending != END_STOP)
        http_hand_over(life->http);
    if (!closed)
        leave(life, *ending);
    if (life->http != NULL)
        http_free(life->http);
    file_changes_free(life->changes);
}

/* The process must end without having served: its threads end with it. */
static enum ending fail(const struct error *why)
{
    log_write(LEVEL_ERROR, "msg=cannot_start reason=\"%s\"", why->text);
    return END_FAILED;
}

static enum ending live(struct life *life)
{
    struct error why;
    gate_init(&life->gate, life->config);
    gate_routes(&life->gate, life->routes);
    if (!start(life, &why))
        return fail(&why);
    status_alert(life->gate.status);
    log_write(LEVEL_INFO, "msg=started version=%s sources=%zu threads=%zu", CLOSECRM_VERSION, life->config->sources,
              life->serves ? (size_t)life->config->request_threads : (size_t)0);
    enum ending ending = wait_for_ending(life);
    log_write(LEVEL_INFO, "msg=%s", ending == END_STOP ? "stopping" : "reloading");
    finish(life, &ending);
    gate_free(&life->gate);
    return ending;
}

static int stay(bool serves, char *const arguments[])
{
    struct error why = {0};
    struct life life = {
        .serves = serves, .arguments = arguments, .signals = process_block_signals()}; /* in every thread */
    enum ending ending;
    process_spare_memory();
    log_open(LEVEL_INFO);
    char *program = reexec_path();
    struct config *config = config_load(&why);
    if (config == NULL) {
        log_write(LEVEL_ERROR, "msg=cannot_start %s", why.text);
        free(program);
        return CODE_CONFIGURATION;
    }
    life.config = config;
    life.program = program;
    log_open(config->log_level);
    do {
        ending = live(&life);
        /* A signal that comes from here on stays pending, and is the new program's. */
        if (ending == END_RELOAD)
            reexec_execute(program, arguments); /* it returned: the old one goes on */
    } while (ending == END_RELOAD || ending == END_REOPEN);
    if (ending == END_FAILED)
        _exit(CODE_FAILED); /* threads may have been started */
    config_free(config);
    free(program);
    return CODE_OK;
}

int daemon_serve(void)
{
    char *const arguments[] = {NULL, NULL};
    return stay(true, arguments);
}

int daemon_follow(char *const arguments[])
{
    return stay(false, arguments);
}
