/* closecrm.fcgi: takes Close's webhooks and forwards them to a RudderStack data plane. main finds out how it was
 * started (by a FastCGI spawner, as a CGI program, by hand with a command), builds the stages, and hands over. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "commands/commands.h"
#include "config/config.h"
#include "forward/forward.h"
#include "http/http.h"
#include "queue/queue.h"
#include "watch/changes.h"
#include "watch/log.h"
#include "webhook/webhook.h"

#define BODIES_IN_HAND ((size_t)64 * 1024 * 1024) /* bytes of all bodies together */
#define ANSWERED_MS 13000                         /* by then every request is answered, however slow the data plane */
#define HURRY_MS 300                              /* before the end of shutdown_grace, so that answers still get out */
#define LOOK_MS 1000                              /* between looks at the files */
#define SETTLED_MS 5000                           /* a changed file must have stood so long: it may be half uploaded */
#define CHECK_MS 10000                            /* for the check of what is new */

extern char **environ;

/* The stages, as they stand behind each other. */
struct stages {
    const struct config *config;
    struct queue *queue;
    struct webhook *webhook;
    struct forwarder *forwarder;
    pthread_t forwarding;
    bool is_forwarding;
    atomic_int outside; /* is the configuration outside the document root? 0: not looked yet, 1: yes, -1: no */
};

enum ending { END_STOP, END_RELOAD, END_FAILED };

static void *forward(void *context)
{
    struct stages *stages = context;
    forwarder_run(stages->forwarder);
    return NULL;
}

static void stages_stop(struct stages *stages, moment deadline)
{
    if (stages->is_forwarding) {
        forwarder_stop(stages->forwarder, deadline);
        pthread_join(stages->forwarding, NULL);
    }
    forwarder_free(stages->forwarder);
    webhook_free(stages->webhook);
    queue_close(stages->queue);
}

static bool stages_start(struct stages *stages, const struct config *config, struct why *why)
{
    *stages = (struct stages){.config = config};
    stages->queue = queue_open(config, why);
    if (stages->queue != NULL)
        stages->webhook = webhook_new(config, stages->queue, why);
    if (stages->webhook != NULL)
        stages->forwarder = forwarder_new(config, stages->queue, why);
    if (stages->forwarder != NULL) {
        int error = pthread_create(&stages->forwarding, NULL, forward, stages);
        stages->is_forwarding = error == 0;
        if (error != 0)
            why_set(why, "cannot start a thread: %s", strerror(error));
    }
    if (!stages->is_forwarding)
        stages_stop(stages, clock_now());
    return stages->is_forwarding;
}

/* The web server tells the document root with each request: the first one settles whether it would serve our keys. */
static bool is_outside(struct stages *stages, const struct request *request)
{
    int outside = atomic_load(&stages->outside);
    if (outside == 0) {
        struct why why;
        bool good = config_outside(stages->config, request_variable(request, "DOCUMENT_ROOT"), &why);
        outside = good ? 1 : -1;
        if (!good)
            log_write(LEVEL_ERROR, "msg=configuration_refused %s", why.text);
        atomic_store(&stages->outside, outside);
    }
    return outside > 0;
}

static void answer_faulty(void *context, struct request *request)
{
    (void)context;
    request_refuse(request, 503, "Retry-After: 300\r\n",
                   "the configuration is faulty: the web server's error log says where and how to mend it");
}

static void answer_webhook(void *context, struct request *request)
{
    struct stages *stages = context;
    if (is_outside(stages, request))
        webhook_handle(stages->webhook, request);
    else
        answer_faulty(NULL, request);
}

static struct http_limits limits_of(const struct config *config)
{
    return (struct http_limits){
        .max_body = (size_t)config->max_body,
        .max_bodies = BODIES_IN_HAND,
        .request_timeout_ms = config->request_timeout_ms,
        .threads = (size_t)config->request_threads,
    };
}

static int serve_cgi(void)
{
    static const struct http_limits small = {65536, 65536, 1000, 1};
    static const struct route faulty[] = {
        {"", answer_faulty, NULL}, {"/*", answer_faulty, NULL}, {"/v1/webhook", answer_faulty, NULL}};
    struct why why = {""};
    struct stages stages;
    log_open(LEVEL_INFO);
    struct config *config = config_load(&why);
    bool good = config != NULL;
    if (good) {
        log_open(config->log_level);
        good = stages_start(&stages, config, &why);
    }
    if (!good) {
        log_write(LEVEL_ERROR, "msg=cannot_start %s", why.text);
        http_serve_cgi(&small, faulty, sizeof faulty / sizeof *faulty);
        config_free(config);
        return 1;
    }
    struct http_limits limits = limits_of(config);
    const struct route routes[] = {
        {"", answer_webhook, &stages}, {"/v1/webhook", answer_webhook, &stages}, {"/*", answer_webhook, &stages}};
    http_serve_cgi(&limits, routes, sizeof routes / sizeof *routes);
    stages_stop(&stages, clock_now() + config->shutdown_grace_ms);
    config_free(config);
    return 0;
}

/* What is new must pass the check, as a child: a faulty configuration or half a program must not take the place of
 * what works. Returns whether it did. */
static bool new_one_is_good(const char *program)
{
    pid_t child;
    sigset_t none;
    posix_spawnattr_t attributes;
    posix_spawn_file_actions_t actions;
    char *const arguments[] = {(char *)(uintptr_t)program, (char[]){"check"}, (char[]){"--offline"}, NULL};
    sigemptyset(&none);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    int error = posix_spawn(&child, program, &actions, &attributes, arguments, environ);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    if (error != 0) {
        log_write(LEVEL_ERROR, "msg=cannot_check_what_is_new reason=\"%s\"", strerror(error));
        return false;
    }
    int status = -1;
    const struct timespec moment_between = {.tv_nsec = 20000000};
    for (moment deadline = clock_now() + CHECK_MS; waitpid(child, &status, WNOHANG) == 0;) {
        if (clock_now() > deadline)
            kill(child, SIGKILL);
        nanosleep(&moment_between, NULL);
    }
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/* Waits for a reason to end: a signal, or files that changed. */
static enum ending wait_for_ending(const sigset_t *signals, struct changes *changes, const char *program)
{
    const struct timespec look = {.tv_sec = LOOK_MS / 1000, .tv_nsec = (long)(LOOK_MS % 1000) * 1000000};
    for (;;) {
        int signal = sigtimedwait(signals, NULL, &look);
        if (signal > 0 && signal != SIGHUP)
            return END_STOP;
        if (signal != SIGHUP && !changes_look(changes, clock_now()))
            continue;
        if (new_one_is_good(program))
            return END_RELOAD;
        log_write(LEVEL_ERROR, "msg=not_reloaded reason=\"what is new is faulty: see the lines above; the old stays\"");
    }
}

/* Lets the requests in hand end. A stop ends them within shutdown_grace; a reload gives them all the time they may
 * take, unless a signal to stop comes meanwhile. Returns false when a thread hangs. */
static bool finish_requests(struct http *http, struct stages *stages, enum ending *ending, const sigset_t *signals)
{
    const struct timespec look = {.tv_nsec = 10000000};
    moment patience = clock_now() + ANSWERED_MS;
    http_stop(http);
    while (*ending == END_RELOAD && !http_is_idle(http) && clock_now() < patience) {
        int signal = sigtimedwait(signals, NULL, &look);
        if (signal > 0 && signal != SIGHUP)
            *ending = END_STOP;
    }
    moment deadline = clock_now() + stages->config->shutdown_grace_ms;
    queue_hurry(stages->queue, deadline - HURRY_MS);
    return http_join(http, deadline - HURRY_MS / 2);
}

static enum ending serve(const struct config *config, const char *program, const sigset_t *signals)
{
    struct why why = {""};
    struct stages stages;
    const char *const files[] = {config->path, program};
    struct http_limits limits = limits_of(config);
    const struct route routes[] = {
        {"", answer_webhook, &stages}, {"/v1/webhook", answer_webhook, &stages}, {"/*", answer_webhook, &stages}};
    struct changes *changes = changes_new(files, sizeof files / sizeof *files, SETTLED_MS);
    struct http *http = NULL;
    bool started = changes != NULL && stages_start(&stages, config, &why);
    if (started)
        http = http_start(&limits, routes, sizeof routes / sizeof *routes, &why);
    if (http == NULL) {
        log_write(LEVEL_ERROR, "msg=cannot_start reason=\"%s\"", changes == NULL ? "out of memory" : why.text);
        if (started)
            stages_stop(&stages, clock_now());
        changes_free(changes);
        return END_FAILED;
    }
    log_write(LEVEL_INFO, "msg=started version=%s sources=%zu threads=%zu", CLOSECRM_VERSION, config->sources,
              limits.threads);

    enum ending ending = wait_for_ending(signals, changes, program);
    log_write(LEVEL_INFO, "msg=%s", ending == END_STOP ? "stopping" : "reloading");
    if (!finish_requests(http, &stages, &ending, signals)) {
        log_write(LEVEL_WARN, "msg=stopped_with_requests_in_hand");
        _exit(0); /* their threads still use everything */
    }
    stages_stop(&stages, clock_now() + HURRY_MS / 2);
    if (ending == END_RELOAD)
        http_hand_over(http);
    http_free(http);
    changes_free(changes);
    return ending;
}

static int serve_fastcgi(const char *program)
{
    sigset_t signals;
    struct why why = {""};
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGUSR1);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &signals, NULL); /* in every thread: wait_for_ending takes them */
    log_open(LEVEL_INFO);
    for (;;) {
        struct config *config = config_load(&why);
        if (config == NULL) {
            log_write(LEVEL_ERROR, "msg=cannot_start %s", why.text);
            return 1;
        }
        log_open(config->log_level);
        enum ending ending = serve(config, program, &signals);
        config_free(config);
        if (ending != END_RELOAD)
            return ending == END_STOP ? 0 : 1;

        /* A signal that comes from here on stays pending, and is the new program's. */
        char *const arguments[] = {(char *)(uintptr_t)program, NULL};
        execv(program, arguments);
        log_write(LEVEL_ERROR, "msg=cannot_execute_anew reason=\"%s\"", strerror(errno)); /* so: the old one goes on */
    }
}

int main(int argc, char **argv)
{
    signal(SIGPIPE, SIG_IGN);
    if (http_is_fastcgi()) {
        char *program = realpath("/proc/self/exe", NULL);
        int code = serve_fastcgi(program != NULL ? program : argv[0]);
        free(program);
        return code;
    }
    return http_is_cgi() ? serve_cgi() : commands_run(argc, argv);
}
