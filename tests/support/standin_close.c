/* The stand-in Close's HTTP side: the API's routes, and what goes wrong with them. */
#include "tests/support/standin_close.h"

#include <arpa/inet.h>
#include <json-c/json.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "tests/support/standin_close_internal.h"

#define BASE "/api/v1"
#define MOST 40

/* One request. */
struct call {
    struct MHD_Connection *connection;
    const char *method;
    const char *path; /* behind BASE */
    struct buffer body;
    struct buffer answer;
    char limit[80]; /* RateLimit; "": none */
};

int64_t close_now_us(const struct standin_close *close)
{
    return (clock_unix_ms() + close->clock_ms) * 1000;
}

int64_t standin_close_now_us(const struct standin_close *close)
{
    return close_now_us(close);
}

/* ---- subscriptions ---- */

struct subscribed *subscription_find(struct standin_close *close, const char *id)
{
    for (size_t i = 0; i < close->subscription_count; i++) {
        if (strcmp(close->subscriptions[i].id, id) == 0)
            return &close->subscriptions[i];
    }
    return NULL;
}

void subscription_pause(struct standin_close *close, struct subscribed *one, const char *reason)
{
    snprintf(one->status, sizeof one->status, "paused");
    snprintf(one->pause_reason, sizeof one->pause_reason, "%s", reason);
    one->failures = 0;
    deliver_clear(close, one->id);
    pthread_cond_broadcast(&close->changed);
}

static struct subscribed *add(struct standin_close *close, const char *url, struct json_object *events)
{
    struct subscribed *more =
        realloc(close->subscriptions, (close->subscription_count + 1) * sizeof *close->subscriptions);
    if (more == NULL)
        abort();
    close->subscriptions = more;
    struct subscribed *one = &more[close->subscription_count++];
    *one = (struct subscribed){.events = json_object_get(events)};
    close->made++;
    snprintf(one->id, sizeof one->id, "whsub_%06u", close->made);
    for (size_t i = 0; i < 32; i++)
        snprintf(one->key + 2 * i, 3, "%02x", (unsigned)((close->made * 37 + i * 11) & 0xff));
    snprintf(one->url, sizeof one->url, "%s", url);
    snprintf(one->status, sizeof one->status, "active");
    return one;
}

static void write_subscription(const struct standin_close *close, const struct subscribed *one, bool with_key,
                               struct buffer *out)
{
    struct json_object *json = json_object_new_object();
    json_object_object_add(json, "id", json_object_new_string(one->id));
    json_object_object_add(json, "url", json_object_new_string(one->url));
    json_object_object_add(json, "status", json_object_new_string(one->status));
    json_object_object_add(json, "health_status", json_object_new_string("healthy"));
    json_object_object_add(json, "pause_reason",
                           one->pause_reason[0] == '\0' ? NULL : json_object_new_string(one->pause_reason));
    json_object_object_add(json, "events", json_object_get(one->events));
    if (with_key || close->options.shows_keys)
        json_object_object_add(json, "signature_key", json_object_new_string(one->key));
    buffer_text(out, json_object_to_json_string_ext(json, JSON_C_TO_STRING_PLAIN));
    json_object_put(json);
}

/* What is wrong with a request's content has another form than the other errors: Close's own client reads it. */
static int answer_error(struct call *call, int status, const char *words)
{
    buffer_text(&call->answer, status == 400 ? "{\"errors\": [\"" : "{\"error\": \"");
    buffer_text(&call->answer, words);
    buffer_text(&call->answer, status == 400 ? "\"], \"field-errors\": {}}" : "\"}");
    return status;
}

static int list(struct standin_close *close, struct call *call)
{
    const char *skip_text = MHD_lookup_connection_value(call->connection, MHD_GET_ARGUMENT_KIND, "_skip");
    size_t skip = skip_text == NULL ? 0 : (size_t)strtoul(skip_text, NULL, 10), page = 15;
    buffer_text(&call->answer, "{\"data\": [");
    for (size_t i = skip; i < close->subscription_count && i < skip + page; i++) {
        buffer_text(&call->answer, i > skip ? ", " : "");
        write_subscription(close, &close->subscriptions[i], false, &call->answer);
    }
    buffer_text(&call->answer,
                skip + page < close->subscription_count ? "], \"has_more\": true}" : "], \"has_more\": false}");
    return 200;
}

/* The body as JSON; the caller puts. */
static struct json_object *body_of(struct call *call)
{
    buffer_append(&call->body, "", 1);
    return json_tokener_parse(call->body.data);
}

/* Each of the events must be an object with a type and an action: names given as strings are a common mistake. */
static bool are_events(struct json_object *events)
{
    bool good = json_object_is_type(events, json_type_array) && json_object_array_length(events) > 0;
    for (size_t i = 0; good && i < json_object_array_length(events); i++) {
        struct json_object *one = json_object_array_get_idx(events, i);
        good = json_object_is_type(json_object_object_get(one, "object_type"), json_type_string) &&
               json_object_is_type(json_object_object_get(one, "action"), json_type_string);
    }
    return good;
}

static int create(struct standin_close *close, struct call *call)
{
    struct json_object *json = body_of(call);
    struct json_object *url = json_object_object_get(json, "url"), *events = json_object_object_get(json, "events");
    int status = 201;
    if (close->subscription_count >= MOST)
        status = answer_error(call, 400, "40 subscriptions at most");
    else if (!json_object_is_type(url, json_type_string) || !are_events(events))
        status = answer_error(call, 400, "url and events are required");
    else
        write_subscription(close, add(close, json_object_get_string(url), events), true, &call->answer);
    json_object_put(json);
    return status;
}

static int change(struct standin_close *close, struct call *call, struct subscribed *one)
{
    struct json_object *json = body_of(call);
    struct json_object *status = json_object_object_get(json, "status");
    if (json_object_is_type(status, json_type_string)) {
        if (strcmp(json_object_get_string(status), "paused") == 0)
            subscription_pause(close, one, "");
        snprintf(one->status, sizeof one->status, "%s", json_object_get_string(status));
        one->pause_reason[0] = '\0';
    }
    struct json_object *events = json_object_object_get(json, "events");
    bool good = events == NULL || are_events(events);
    if (good && events != NULL) {
        json_object_put(one->events);
        one->events = json_object_get(events);
    }
    json_object_put(json);
    if (!good)
        return answer_error(call, 400, "events are objects");
    write_subscription(close, one, false, &call->answer);
    return 200;
}

static void subscription_remove(struct standin_close *close, struct subscribed *one)
{
    deliver_clear(close, one->id);
    json_object_put(one->events);
    size_t at = (size_t)(one - close->subscriptions);
    memmove(one, one + 1, (close->subscription_count - at - 1) * sizeof *one);
    close->subscription_count--;
}

static int one_subscription(struct standin_close *close, struct call *call)
{
    char id[80] = "";
    sscanf(call->path, "/webhook/%79[^/]", id);
    struct subscribed *one = subscription_find(close, id);
    if (one == NULL)
        return answer_error(call, 404, "not found");
    if (strcmp(call->method, "PUT") == 0)
        return change(close, call, one);
    if (strcmp(call->method, "DELETE") == 0) {
        subscription_remove(close, one);
        buffer_text(&call->answer, "{}");
        return 200;
    }
    write_subscription(close, one, false, &call->answer);
    return 200;
}

/* ---- routes ---- */

static const char *parameter(void *context, const char *name)
{
    const struct call *call = context;
    return MHD_lookup_connection_value(call->connection, MHD_GET_ARGUMENT_KIND, name);
}

static int route(struct standin_close *close, struct call *call)
{
    if (strcmp(call->path, "/me/") == 0) {
        buffer_text(&call->answer, "{\"id\": \"user_1\", \"email\": \"admin@example.com\", \"organizations\": []}");
        return 200;
    }
    if (strcmp(call->path, "/webhook/") == 0)
        return strcmp(call->method, "POST") == 0 ? create(close, call) : list(close, call);
    if (strncmp(call->path, "/webhook/", 9) == 0)
        return one_subscription(close, call);
    if (strcmp(call->path, "/event/") == 0)
        return log_answer(close, parameter, call, &call->answer);
    return answer_error(call, 404, "not found");
}

static bool is_authorized(struct MHD_Connection *connection)
{
    char *password = NULL;
    char *user = MHD_basic_auth_get_username_password(connection, &password);
    bool good = user != NULL && strcmp(user, CLOSE_API_KEY) == 0 && (password == NULL || password[0] == '\0');
    MHD_free(password);
    MHD_free(user);
    return good;
}

static bool is_every(size_t count, unsigned every)
{
    return every > 0 && count % every == 0;
}

/* What goes wrong whatever is asked. 0: nothing. */
static int refuse(struct standin_close *close, struct call *call)
{
    if (!is_authorized(call->connection))
        return answer_error(call, 401, "unauthorized");
    if (is_every(close->counts.requests, close->options.refuse_every)) {
        close->counts.refused++;
        return answer_error(call, 401, "unauthorized");
    }
    if (is_every(close->counts.requests, close->options.limit_every)) {
        close->counts.limited++;
        snprintf(call->limit, sizeof call->limit, "limit=100, remaining=0, reset=%s", close->options.limit_for);
        return answer_error(call, 429, "rate limited");
    }
    return 0;
}

static bool take_fault(struct standin_close *close, const struct call *call, struct close_fault *fault)
{
    char line[300];
    snprintf(line, sizeof line, "%s %s", call->method, call->path);
    for (size_t i = 0; i < close->fault_count; i++) {
        struct close_fault *at = &close->faults[i];
        if (at->times == 0 || strstr(line, at->match) == NULL)
            continue;
        at->times--;
        *fault = *at;
        return true;
    }
    return false;
}

static void hold(struct standin_close *close)
{
    unsigned healed = close->healed;
    close->held++;
    pthread_cond_broadcast(&close->changed);
    while (!close->stopping && close->healed == healed)
        pthread_cond_wait(&close->changed, &close->mutex);
    close->held--;
}

/* The status; 0: the connection is cut without an answer, -1: in the middle of it. */
static int decide(struct standin_close *close, struct call *call)
{
    struct close_fault fault = {.act = CLOSE_ANSWER};
    close->counts.requests++;
    bool faulty = take_fault(close, call, &fault);
    if (faulty && fault.act == CLOSE_CUT)
        return 0;
    if (faulty && fault.act == CLOSE_ANSWER) {
        buffer_text(&call->answer, fault.body == NULL ? "" : fault.body);
        return fault.status;
    }
    int status = refuse(close, call);
    if (status == 0)
        status = route(close, call);
    if (faulty && fault.act == CLOSE_HOLD)
        hold(close);
    if (faulty && fault.act == CLOSE_DONE_CUT)
        return 0;
    close->random = close->random * 1103515245 + 12345;
    if ((close->random >> 16) % 1000 < close->options.cut_per_mille) {
        close->counts.cut++;
        return (close->random & 0x10000000) != 0 ? 0 : -1;
    }
    return status;
}

/* ---- HTTP ---- */

/* Half of an answer, and then the connection's end. */
static ssize_t half(void *context, uint64_t at, char *out, size_t most)
{
    const struct buffer *whole = context;
    size_t length = whole->length / 2;
    if (at >= length)
        return MHD_CONTENT_READER_END_WITH_ERROR;
    size_t n = length - (size_t)at < most ? length - (size_t)at : most;
    memcpy(out, whole->data + at, n);
    return (ssize_t)n;
}

static void free_half(void *context)
{
    struct buffer *whole = context;
    buffer_free(whole);
    free(whole);
}

static struct MHD_Response *make_response(struct call *call, int status)
{
    if (status != -1)
        return MHD_create_response_from_buffer(call->answer.length, call->answer.data, MHD_RESPMEM_MUST_COPY);
    struct buffer *whole = malloc(sizeof *whole);
    if (whole == NULL)
        abort();
    *whole = call->answer;
    call->answer = (struct buffer){.data = NULL};
    return MHD_create_response_from_callback(whole->length, 1024, half, whole, free_half);
}

static enum MHD_Result answer(struct call *call, int status, time_t now)
{
    char date[64];
    struct tm parts;
    if (status == 0)
        return MHD_NO;
    struct MHD_Response *response = make_response(call, status);
    gmtime_r(&now, &parts);
    strftime(date, sizeof date, "%a, %d %b %Y %H:%M:%S GMT", &parts);
    MHD_add_response_header(response, "Date", date);
    MHD_add_response_header(response, "Content-Type", "application/json");
    if (call->limit[0] != '\0') {
        MHD_add_response_header(response, "RateLimit", call->limit);
        MHD_add_response_header(response, "Retry-After", "1");
    }
    enum MHD_Result result = MHD_queue_response(call->connection, status == -1 ? 200 : (unsigned)status, response);
    MHD_destroy_response(response);
    return result;
}

static enum MHD_Result on_request(void *context, struct MHD_Connection *connection, const char *path,
                                  const char *method, const char *version, const char *piece, size_t *piece_length,
                                  void **state)
{
    (void)version;
    struct standin_close *close = context;
    struct call *call = *state;
    if (call == NULL) {
        *state = calloc(1, sizeof *call);
        return *state == NULL ? MHD_NO : MHD_YES;
    }
    if (*piece_length > 0) {
        buffer_append(&call->body, piece, *piece_length);
        *piece_length = 0;
        return MHD_YES;
    }
    call->connection = connection;
    call->method = method;
    call->path = strncmp(path, BASE, sizeof BASE - 1) == 0 ? path + sizeof BASE - 1 : "";
    pthread_mutex_lock(&close->mutex);
    int status = decide(close, call);
    time_t now = (time_t)(close_now_us(close) / 1000000);
    pthread_cond_broadcast(&close->changed);
    pthread_mutex_unlock(&close->mutex);
    return answer(call, status, now);
}

static void on_end(void *context, struct MHD_Connection *connection, void **state, enum MHD_RequestTerminationCode why)
{
    (void)context, (void)connection, (void)why;
    struct call *call = *state;
    if (call == NULL)
        return;
    buffer_free(&call->body);
    buffer_free(&call->answer);
    free(call);
}

struct standin_close *standin_close_start(const struct standin_close_options *options)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct standin_close *close = calloc(1, sizeof *close);
    if (close == NULL)
        abort();
    close->options = *options;
    close->random = 4711;
    pthread_mutex_init(&close->mutex, NULL);
    clock_condition_init(&close->changed);
    close->daemon = MHD_start_daemon(MHD_USE_THREAD_PER_CONNECTION | MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_POLL |
                                         MHD_USE_SUPPRESS_DATE_NO_CLOCK,
                                     0, NULL, NULL, on_request, close, MHD_OPTION_SOCK_ADDR, &address,
                                     MHD_OPTION_NOTIFY_COMPLETED, on_end, NULL, MHD_OPTION_END);
    if (close->daemon == NULL)
        abort();
    snprintf(close->url, sizeof close->url, "http://127.0.0.1:%u" BASE,
             MHD_get_daemon_info(close->daemon, MHD_DAEMON_INFO_BIND_PORT)->port);
    deliver_start(close);
    return close;
}

void standin_close_stop(struct standin_close *close)
{
    pthread_mutex_lock(&close->mutex);
    close->stopping = true;
    pthread_cond_broadcast(&close->changed);
    pthread_mutex_unlock(&close->mutex);
    MHD_stop_daemon(close->daemon);
    deliver_stop(close);
    for (size_t i = 0; i < close->subscription_count; i++)
        json_object_put(close->subscriptions[i].events);
    free(close->subscriptions);
    free(close->log);
    pthread_cond_destroy(&close->changed);
    pthread_mutex_destroy(&close->mutex);
    free(close);
}

void standin_close_subscribe(struct standin_close *close, const char *url)
{
    struct json_object *events = json_tokener_parse("[{\"object_type\": \"lead\", \"action\": \"created\"}]");
    pthread_mutex_lock(&close->mutex);
    add(close, url, events);
    pthread_mutex_unlock(&close->mutex);
    json_object_put(events);
}

void standin_close_remove(struct standin_close *close, const char *id)
{
    pthread_mutex_lock(&close->mutex);
    struct subscribed *one = subscription_find(close, id);
    if (one != NULL)
        subscription_remove(close, one);
    pthread_mutex_unlock(&close->mutex);
}
