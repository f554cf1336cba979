/* A CGI process: one request. With a durable queue it is answered as soon as it is kept, and a child
 * forwards afterwards; else it is answered when it is delivered, by a thread of this process. */
#include "base/last_errors.h"
#include "base/log.h"
#include "forward/forward.h"
#include "kept/kept.h"
#include "process/process.h"
#include "process/process_private.h"
#include "queue/queue.h"
#include "telemetry/telemetry.h"
#include "webhook/webhook.h"

#include <pthread.h>
#include <signal.h>
#include <string.h>

/* The stages of one request. */
struct cgi_stages {
    const struct config *config;
    struct queue *queue;
    struct webhook *webhook;
    struct forwarder *forwarder; /* NULL where a child forwards */
    struct telemetry telemetry;
    pthread_t thread;
    bool is_forwarding;
};

/* The child is started before the answer: a web server may kill this process as soon as it has that (lighttpd does). */
static enum queue_result append_and_forward(void *context, const char *source, const char *body, size_t length,
                                            moment deadline, struct error *why)
{
    struct cgi_stages *stages = context;
    enum queue_result result = queue_append(stages->queue, source, body, length, deadline, why);
    bool stored = result == QUEUE_STORED || result == QUEUE_UNKNOWN;
    if (stored && stages->config->queue != QUEUE_NONE && !queue_has_reader(stages->queue, source))
        cgi_child_start(stages->config);
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
    if (!kept_is_known(config, NULL))
        kept_catch_up(config, NULL);
    stages->webhook = webhook_new_with(config, append_and_forward, stages, why);
    if (stages->webhook != NULL) {
        webhook_count(stages->webhook, stages->telemetry.counters);
        webhook_catches_up(stages->webhook);
    }
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
static int serve_request(const struct config *config)
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
        log_write(LEVEL_ERROR, "msg=cannot_open_queue reason=%s", log_quote_reason(words, why.text));
        gate_close(&gate);
    }
    http_serve_cgi(&limits, routes, GATE_ROUTES);
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
    hold_back_sigterm();
    int code = serve_request(config);
    last_errors_flush(true);
    config_free(config);
    return code;
}
