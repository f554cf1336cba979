/* The life of a process that stays: a FastCGI process, or one that only forwards. It starts http and the service,
 * waits for a reason to end, lets go of everything in order, and stops or executes itself anew. */
#include <signal.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "config/config.h"
#include "http/http.h"
#include "life/gate.h"
#include "life/life.h"
#include "life/limits.h"
#include "life/service.h"
#include "life/successor.h"
#include "watch/changes.h"
#include "watch/log.h"

#define ANSWERED_MS 13000 /* by then every request is answered, however slow the data plane */
#define HURRY_MS 300      /* before the end of shutdown_grace, so that answers still get out */
#define LOOK_MS 1000      /* between looks at the files and at the queue */
#define SETTLED_MS 5000   /* a changed file must have stood so long: it may be half uploaded */

/* A process that stays. */
struct life {
    const struct config *config;
    const char *program; /* its path */
    bool serves;         /* requests; else it only forwards */
    sigset_t signals;    /* that tell it something */
    struct changes *changes;
    struct gate gate;
    struct route routes[GATE_ROUTES];
    struct service *service;
    struct http *http; /* NULL where it only forwards */
};

enum ending {
    END_STOP,
    END_RELOAD, /* execute anew what has passed the check */
    END_REOPEN, /* begin anew with the configuration that was */
    END_FAILED,
};

static bool start(struct life *life, struct why *why)
{
    const char *const files[] = {life->config->path, life->program};
    why_set(why, "out of memory");
    life->changes = changes_new(files, sizeof files / sizeof *files, SETTLED_MS);
    if (life->changes == NULL)
        return false;
    life->service = service_start(life->config, life->serves ? &life->gate : NULL, why);
    if (life->service == NULL || !life->serves)
        return life->service != NULL;
    struct http_limits limits = limits_of(life->config);
    life->http = http_start(&limits, life->routes, GATE_ROUTES, why);
    return life->http != NULL;
}

/* The queue must be opened anew: by what is installed now, which may be the release that changed it, if that is good.
 */
static enum ending reopen(const struct life *life)
{
    log_write(LEVEL_WARN, "msg=opens_the_queue_anew");
    return successor_is_good(life->program) ? END_RELOAD : END_REOPEN;
}

/* Waits for a reason to end: a signal, files that changed, the queue. */
static enum ending wait_for_ending(const struct life *life)
{
    const struct timespec look = {.tv_sec = LOOK_MS / 1000, .tv_nsec = (long)(LOOK_MS % 1000) * 1000000};
    for (;;) {
        int signal = sigtimedwait(&life->signals, NULL, &look);
        if (signal > 0 && signal != SIGHUP)
            return END_STOP;
        if (service_must_reopen(life->service))
            return reopen(life);
        if (signal != SIGHUP && !changes_look(life->changes, clock_now()))
            continue;
        if (successor_is_good(life->program))
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
    service_hurry(life->service, deadline - HURRY_MS);
    return http_join(life->http, deadline - HURRY_MS / 2);
}

/* Lets go of everything. What cannot be waited for ends with the process. */
static void finish(struct life *life, enum ending *ending)
{
    moment grace = life->config->shutdown_grace_ms - HURRY_MS / 2, deadline = clock_now() + grace;
    if (!finish_requests(life, ending)) {
        log_write(LEVEL_WARN, "msg=stopped_with_requests_in_hand");
        _exit(0); /* their threads still use everything */
    }
    if (*ending != END_STOP)
        deadline = clock_now() + grace; /* nobody waits to kill it */
    status_quiet(life->gate.status);
    if (!service_stop(life->service, deadline)) {
        log_write(LEVEL_WARN, "msg=stopped_while_opening_the_queue");
        _exit(0);
    }
    if (life->http != NULL) {
        if (*ending != END_STOP)
            http_hand_over(life->http);
        http_free(life->http);
    }
    changes_free(life->changes);
}

/* The process must end without having served: its threads end with it. */
static enum ending fail(const struct why *why)
{
    log_write(LEVEL_ERROR, "msg=cannot_start reason=\"%s\"", why->text);
    return END_FAILED;
}

static enum ending live(struct life *life)
{
    struct why why;
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

/* Blocks the signals that mean something, in every thread: wait_for_ending takes them. */
static void block_signals(sigset_t *signals)
{
    static const int numbers[] = {SIGTERM, SIGUSR1, SIGINT, SIGHUP};
    sigemptyset(signals);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        sigaddset(signals, numbers[i]);
    pthread_sigmask(SIG_BLOCK, signals, NULL);
}

static int stay(bool serves, char *const arguments[])
{
    struct why why = {""};
    struct life life = {.serves = serves};
    enum ending ending = END_FAILED;
    block_signals(&life.signals);
    limits_spare_memory();
    log_open(LEVEL_INFO);
    char *program = successor_path();
    struct config *config = config_load(&why);
    if (config == NULL || program == NULL) {
        log_write(LEVEL_ERROR, "msg=cannot_start %s", config == NULL ? why.text : "the program's path is not known");
        goto out;
    }
    life.config = config;
    life.program = program;
    log_open(config->log_level);
    do {
        ending = live(&life);
        /* A signal that comes from here on stays pending, and is the new program's. */
        if (ending == END_RELOAD)
            successor_execute(program, arguments); /* it returned: the old one goes on */
    } while (ending == END_RELOAD || ending == END_REOPEN);
out:
    if (ending == END_FAILED)
        _exit(1); /* threads may have been started */
    config_free(config);
    free(program);
    return ending == END_STOP ? 0 : 1;
}

int life_fastcgi(void)
{
    char *const arguments[] = {NULL, NULL};
    return stay(true, arguments);
}

int life_follow(char *const arguments[])
{
    return stay(false, arguments);
}
