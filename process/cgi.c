/* The life of a CGI process: one request. With a durable queue it is answered as soon as it is kept, and a child
 * forwards afterwards; else it is answered when it is delivered, by a thread of this process. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "forward/forward.h"
#include "process/cgi_child.h"
#include "process/exit_codes.h"
#include "process/gate.h"
#include "process/limits.h"
#include "process/process.h"
#include "process/signals.h"
#include "queue/queue.h"
#include "telemetry/telemetry.h"
#include "webhook/internal.h"

/* The stages of one request. */
struct visit {
    const struct config *config;
    struct queue *queue;
    bool stored; /* something was */
    struct webhook *webhook;
    struct forwarder *forwarder; /* NULL where a child forwards */
    struct watchers watchers;
    pthread_t thread;
    bool is_forwarding;
};

/* Only a POST can bring something. */
static bool may_append(void)
{
    const char *method = getenv("REQUEST_METHOD");
    return method != NULL && strcmp(method, "POST") == 0;
}

static enum queue_result append(void *context, const char *source, const char *body, size_t length, moment deadline,
                                struct error *why)
{
    struct visit *visit = context;
    enum queue_result result = queue_append(visit->queue, source, body, length, deadline, why);
    visit->stored = result == QUEUE_STORED || result == QUEUE_UNKNOWN;
    return result;
}

static void *forward(void *context)
{
    forwarder_run(context, FORWARD_UNTIL_STOPPED, MOMENT_NEVER);
    return NULL;
}

/* The engine `none` answers when the event is delivered. */
static bool start_forwarding(struct visit *visit, struct error *why)
{
    visit->forwarder = forwarder_new(visit->config, visit->queue, why);
    if (visit->forwarder == NULL)
        return false;
    forwarder_watch(visit->forwarder, &visit->watchers);
    int error = pthread_create(&visit->thread, NULL, forward, visit->forwarder);
    visit->is_forwarding = error == 0;
    if (error != 0)
        error_set(why, "cannot start a thread: %s", strerror(error));
    return error == 0;
}

static bool start(struct visit *visit, const struct config *config, struct error *why)
{
    *visit = (struct visit){.config = config, .queue = queue_open(config, why)};
    if (visit->queue == NULL)
        return false;
    watching_open(&visit->watchers, config);
    visit->webhook = webhook_new_with(config, append, visit, why);
    if (visit->webhook != NULL)
        webhook_count(visit->webhook, visit->watchers.counters);
    return visit->webhook != NULL && (config->queue != QUEUE_NONE || start_forwarding(visit, why));
}

static void stop(struct visit *visit)
{
    if (visit->is_forwarding) {
        forwarder_stop(visit->forwarder, clock_now() + visit->config->shutdown_grace_ms);
        pthread_join(visit->thread, NULL);
    }
    forwarder_free(visit->forwarder);
    webhook_free(visit->webhook);
    if (visit->queue != NULL)
        queue_close(visit->queue);
    watching_close(&visit->watchers);
}

/* Returns an exit code: when the queue could not be opened, 503 was answered. */
static int serve(const struct config *config, int word)
{
    struct error why = {0};
    char words[LOG_QUOTED];
    struct gate gate;
    struct visit visit;
    struct route routes[GATE_ROUTES];
    struct http_limits limits = limits_of(config);
    gate_init(&gate, config);
    gate_routes(&gate, routes);
    bool good = start(&visit, config, &why);
    if (good) {
        status_attach(gate.status, &visit.watchers);
        gate_open(&gate, visit.webhook);
    } else {
        log_write(LEVEL_ERROR, "msg=cannot_open_queue reason=%s", log_quote(words, why.text, strlen(why.text)));
        gate_close(&gate);
    }
    http_serve_cgi(&limits, routes, GATE_ROUTES);
    detached_tell(word, visit.stored);
    stop(&visit);
    gate_free(&gate);
    return good ? CODE_OK : CODE_STATE;
}

static void answer_faulty(void *context, struct request *request)
{
    (void)context;
    request_refuse(request, 503, "Retry-After: 300\r\n",
                   "the configuration is faulty: the web server's error log says where and how to mend it");
}

static int serve_faulty(const struct error *why)
{
    static const struct http_limits small = {65536, 65536, 1000, 1};
    static const struct route faulty[] = {{"", answer_faulty, NULL, false},
                                          {"/*", answer_faulty, NULL, false},
                                          {"/v1/webhook", answer_faulty, NULL, false}};
    log_write(LEVEL_ERROR, "msg=cannot_start %s", why->text);
    http_serve_cgi(&small, faulty, sizeof faulty / sizeof *faulty);
    return CODE_CONFIGURATION;
}

int life_cgi(void)
{
    struct error why = {0};
    signals_unblock();
    log_open(LEVEL_INFO);
    struct config *config = config_load(&why);
    if (config == NULL)
        return serve_faulty(&why);
    log_open(config->log_level);
    int word = config->queue != QUEUE_NONE && may_append() ? detached_start(config) : -1;
    int code = serve(config, word);
    config_free(config);
    return code;
}
