/* A CGI process: one request. With a durable queue it is answered as soon as it is kept, and a child
 * forwards afterwards; else it is answered when it is delivered, by a thread of this process. */
#include "base/last_errors.h"
#include "base/log.h"
#include "forward/forward.h"
#include "process/process.h"
#include "process/process_private.h"
#include "queue/queue.h"
#include "telemetry/telemetry.h"
#include "webhook/webhook.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define FORWARD_MS 20000 /* then the next request's child or cron goes on */
#define RELEASE_FD 3
#define DESCRIPTORS_MOST 4096 /* that are looked for one by one */

/* ---- A child that outlives the request: it forwards what the request stored, after the answer is out. It is forked
 * before any database is opened, for a connection must not cross a fork, and waits until the request's process has
 * ended. ---- */

/* closefrom ends the process where the kernel has no close_range (before Linux 5.9) and there is no /proc. */
static void close_from(int first)
{
    if (close_range((unsigned)first, UINT_MAX, 0) == 0)
        return;
    if (access("/proc/self/fd", X_OK) == 0) {
        closefrom(first);
        return;
    }
    for (int fd = first; fd < DESCRIPTORS_MOST; fd++)
        close(fd);
}

/* Closes all descriptors that the web server gave or leaked. The pipe's read end becomes RELEASE_FD. */
static bool drop_descriptors(int release_fd)
{
    log_syslog_close();
    int nothing = open("/dev/null", O_RDWR);
    for (int fd = 0; fd <= 2; fd++) {
        if (nothing < 0 || dup2(nothing, fd) < 0)
            return false;
    }
    if (release_fd != RELEASE_FD && dup2(release_fd, RELEASE_FD) < 0)
        return false;
    close_from(RELEASE_FD + 1);
    return true;
}

/* Waits until the request's process has ended or released the child. Returns false when it wrote a byte: it stored
 * nothing. A web server may kill it as soon as it has the answer (lighttpd does), before it could write: then it may
 * have stored an event. */
static bool wait_for_release(void)
{
    char byte;
    ssize_t n;
    do {
        n = read(RELEASE_FD, &byte, 1);
    } while (n < 0 && errno == EINTR);
    close(RELEASE_FD);
    return n == 0;
}

static _Noreturn void run_detached(const struct config *config, int release_fd)
{
    struct error why = {0};
    char words[LOG_QUOTED];
    if (!drop_descriptors(release_fd) || !wait_for_release())
        _exit(0);
    log_open(config->log_level); /* to syslog: stderr is /dev/null now */
    if (bounded_forward(config, clock_now() + FORWARD_MS, &why) == BOUNDED_FAILED)
        log_write(LEVEL_ERROR, "msg=cannot_forward reason=%s", log_quote(words, why.text, strlen(why.text)));
    last_errors_flush(true);
    _exit(0);
}

/* Forks the child, before threads start and anything is opened. It has a session of its own and none of the request's
 * descriptors: the web server waits until all processes that have them are gone. Returns the write end of a pipe, for
 * release_child; -1 when no child can be had, which is logged: then another request or cron forwards. */
static int start_child(const struct config *config)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) {
        log_write(LEVEL_WARN, "msg=no_child_to_forward reason=\"%s\"", strerror(errno));
        return -1;
    }
    pid_t child = fork();
    if (child == 0) {
        close(ends[1]);
        if (setsid() < 0 || fork() != 0)
            _exit(0);
        run_detached(config, ends[0]);
    }
    close(ends[0]);
    if (child < 0) {
        log_write(LEVEL_WARN, "msg=no_child_to_forward reason=\"%s\"", strerror(errno));
        close(ends[1]);
        return -1;
    }
    while (waitpid(child, NULL, 0) < 0 && errno == EINTR)
        ;
    return ends[1];
}

/* Lets the child forward (proceed), or ends it; where this process ends before, the child forwards. Closes release_fd,
 * of start_child; -1 does nothing. */
static void release_child(int release_fd, bool proceed)
{
    if (release_fd < 0)
        return;
    while (!proceed && write(release_fd, "", 1) < 0 && errno == EINTR)
        ;
    close(release_fd);
}

/* ---- the request ---- */

/* The stages of one request. */
struct cgi_stages {
    const struct config *config;
    struct queue *queue;
    bool stored; /* the request stored an event, or may have */
    struct webhook *webhook;
    struct forwarder *forwarder; /* NULL where a child forwards */
    struct telemetry telemetry;
    pthread_t thread;
    bool is_forwarding;
};

/* Only a POST can store an event. */
static bool may_append(void)
{
    const char *method = getenv("REQUEST_METHOD");
    return method != NULL && strcmp(method, "POST") == 0;
}

static enum queue_result append_and_note(void *context, const char *source, const char *body, size_t length,
                                         moment deadline, struct error *why)
{
    struct cgi_stages *stages = context;
    enum queue_result result = queue_append(stages->queue, source, body, length, deadline, why);
    stages->stored = result == QUEUE_STORED || result == QUEUE_UNKNOWN;
    return result;
}

static void *run_cgi_forwarder(void *context)
{
    forwarder_run(context, FORWARD_UNTIL_STOPPED, MOMENT_NEVER);
    return NULL;
}

/* With queue = none the request is answered when the event is delivered: this process must forward. */
static bool start_forwarding(struct cgi_stages *stages, struct error *why)
{
    stages->forwarder = forwarder_new(stages->config, stages->queue, why);
    if (stages->forwarder == NULL)
        return false;
    forwarder_watch(stages->forwarder, &stages->telemetry);
    int error = pthread_create(&stages->thread, NULL, run_cgi_forwarder, stages->forwarder);
    stages->is_forwarding = error == 0;
    if (error != 0)
        error_set(why, "cannot start a thread: %s", strerror(error));
    return error == 0;
}

static bool open_cgi_stages(struct cgi_stages *stages, const struct config *config, struct error *why)
{
    *stages = (struct cgi_stages){.config = config, .queue = queue_open(config, why)};
    if (stages->queue == NULL)
        return false;
    telemetry_open(&stages->telemetry, config);
    stages->webhook = webhook_new_with(config, append_and_note, stages, why);
    if (stages->webhook != NULL)
        webhook_count(stages->webhook, stages->telemetry.counters);
    return stages->webhook != NULL && (config->queue != QUEUE_NONE || start_forwarding(stages, why));
}

static void close_cgi_stages(struct cgi_stages *stages)
{
    if (stages->is_forwarding) {
        forwarder_stop(stages->forwarder, clock_now() + stages->config->shutdown_grace_ms);
        pthread_join(stages->thread, NULL);
    }
    forwarder_free(stages->forwarder);
    webhook_free(stages->webhook);
    if (stages->queue != NULL)
        queue_close(stages->queue);
    telemetry_close(&stages->telemetry);
}

/* A web server may end it as soon as it has the answer (lighttpd does), before it could write what it has noted. All
 * that it waits for has a limit. */
static void hold_back_sigterm(void)
{
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
}

/* Returns an exit code: when the queue could not be opened, 503 was answered. */
static int serve_request(const struct config *config, int release_fd)
{
    struct error why = {0};
    char words[LOG_QUOTED];
    struct gate gate;
    struct cgi_stages stages;
    struct route routes[GATE_ROUTES];
    struct http_limits limits = process_http_limits(config);
    gate_init(&gate, config, NULL); /* not confined: one process for one request, which forks and forwards */
    gate_routes(&gate, routes);
    bool good = open_cgi_stages(&stages, config, &why);
    if (good) {
        status_attach(gate.status, &stages.telemetry);
        gate_open(&gate, stages.webhook);
    } else {
        log_write(LEVEL_ERROR, "msg=cannot_open_queue reason=%s", log_quote(words, why.text, strlen(why.text)));
        gate_close(&gate);
    }
    http_serve_cgi(&limits, routes, GATE_ROUTES);
    release_child(release_fd, stages.stored);
    close_cgi_stages(&stages);
    gate_free(&gate);
    return good ? CODE_OK : CODE_STATE;
}

static void answer_faulty(void *context, struct request *request)
{
    (void)context;
    struct error words;
    error_set(&words, "the configuration is faulty: %s says where and how to mend it", errors_where());
    request_refuse(request, 503, "Retry-After: 300\r\n", words.text);
}

static int serve_faulty(const struct error *why)
{
    static const struct http_limits small = {
        .max_body = 65536, .max_bodies = 65536, .request_timeout_ms = 1000, .threads = 1};
    static const struct route faulty[] = {{"", answer_faulty, NULL, false},
                                          {"/*", answer_faulty, NULL, false},
                                          {"/v1/webhook", answer_faulty, NULL, false}};
    errors_keep(NULL);
    hold_back_sigterm();
    log_write(LEVEL_ERROR, "msg=cannot_start %s", why->text);
    http_serve_cgi(&small, faulty, sizeof faulty / sizeof *faulty);
    last_errors_flush(true);
    return CODE_CONFIGURATION;
}

int cgi_serve(void)
{
    struct error why = {0};
    process_unblock_signals();
    log_open(LEVEL_INFO);
    struct config *config = config_load(&why);
    if (config == NULL)
        return serve_faulty(&why);
    log_open(config->log_level);
    errors_keep(config);
    int release_fd = config->queue != QUEUE_NONE && may_append() ? start_child(config) : -1;
    hold_back_sigterm();
    int code = serve_request(config, release_fd);
    last_errors_flush(true);
    config_free(config);
    return code;
}
