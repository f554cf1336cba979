/* Requests for /status, /metrics and /healthz: who may, what is asked for, what is answered. */
#include "status/status.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/escape.h"
#include "base/log.h"
#include "health/alerts.h"
#include "health/queue_view.h"
#include "health/write_probe.h"
#include "status/status_private.h"

#define VIEW_EVENTS 100         /* shown at once, at most */
#define VIEW_WAITING 50         /* of these the oldest that wait */
#define VIEW_WAITING_FOUND 1000 /* looked through for those that a filter asks for */
#define VIEW_LETTERS 100        /* shown at once, at most */

#define METRICS_TYPE "text/plain; version=0.0.4; charset=utf-8"
#define OPEN_METRICS_TYPE "application/openmetrics-text; version=1.0.0; charset=utf-8"
#define PAGE_TYPE "text/html; charset=utf-8"
#define JSON_TYPE "application/json"

struct status {
    const struct config *config;
    struct queue_view queue_view;
    struct tokens tokens;
    struct guesses guesses;
    struct alert_thread *alerting; /* NULL: nobody is told */
    bool no_alerts;                /* which was said */
    struct prober *prober;         /* NULL: nothing is probed */
    bool no_probes;                /* which was said */
    atomic_bool attached;          /* the stages behind do: webhooks come in */
    status_aside *aside;           /* runs what answers; NULL: the request's own thread does */
    void *aside_context;
};

struct status *status_new(const struct config *config)
{
    struct status *status = calloc(1, sizeof *status);
    if (status == NULL)
        return NULL;
    status->config = config;
    atomic_init(&status->attached, false);
    queue_view_init(&status->queue_view, config);
    tokens_init(&status->tokens);
    guesses_init(&status->guesses);
    return status;
}

void status_answer_aside(struct status *status, status_aside *aside, void *context)
{
    if (status == NULL)
        return;
    status->aside = aside;
    status->aside_context = context;
}

void status_attach(struct status *status, const struct telemetry *telemetry)
{
    if (status == NULL)
        return;
    pthread_mutex_lock(&status->queue_view.lock);
    status->queue_view.telemetry = *telemetry;
    pthread_mutex_unlock(&status->queue_view.lock);
    atomic_store(&status->attached, true);
}

void status_alert(struct status *status)
{
    if (status == NULL)
        return;
    if (status->alerting == NULL)
        status->alerting = alert_thread_start(status->config, &status->queue_view, &status->no_alerts);
    if (status->prober == NULL)
        status->prober = prober_start(status->config, &status->no_probes);
}

bool status_quiet(struct status *status)
{
    if (status == NULL)
        return true;
    atomic_store(&status->attached, false);
    alert_thread_stop(status->alerting);
    status->alerting = NULL;
    bool ended = prober_stop(status->prober);
    status->prober = NULL;
    pthread_mutex_lock(&status->queue_view.lock);
    status->queue_view.telemetry = (struct telemetry){0};
    pthread_mutex_unlock(&status->queue_view.lock);
    return ended;
}

void status_free(struct status *status)
{
    status_quiet(status);
    if (status == NULL)
        return;
    queue_view_free(&status->queue_view);
    guesses_free(&status->guesses);
    tokens_free(&status->tokens);
    free(status);
}

/* ---- answers ---- */

static void refuse_memory(struct request *request)
{
    request_refuse(request, 503, "Retry-After: 10\r\n", "out of memory: try again");
}

static void send_buffer(struct request *request, int status, const char *headers, const char *type, struct buffer *out)
{
    if (out->failed)
        refuse_memory(request);
    else
        request_send(request, status, headers, type, out->data, out->length);
    buffer_free(out);
}

static void send_page(struct request *request, struct buffer *out)
{
    struct buffer headers = {0};
    page_headers(&headers);
    if (headers.failed) {
        refuse_memory(request);
        buffer_free(out);
    } else {
        send_buffer(request, 200, headers.data, PAGE_TYPE, out);
    }
    buffer_free(&headers);
}

static bool wants_json(const struct request *request)
{
    char format[16];
    return request_query(request, "format", format, sizeof format) && strcmp(format, "json") == 0;
}

/* Whether page.js asks, which has the rest of the page. */
static bool wants_part(const struct request *request)
{
    char part[4];
    return request_query(request, "part", part, sizeof part) && part[0] == '1';
}

/* ---- the page ---- */

static uint64_t query_number(const struct request *request, const char *name)
{
    char text[24];
    return request_query(request, name, text, sizeof text) ? strtoull(text, NULL, 10) : 0;
}

static const char *read_notice(const struct request *request)
{
    char done[16];
    if (!request_query(request, "done", done, sizeof done))
        return NULL;
    return strcmp(done, "replay") == 0 ? "The event is on its way again."
                                       : "That dead letter is on its way already, or gone.";
}

/* What the page shows, with what it is made of. */
struct page_parts {
    struct view view;
    struct facts *facts;
    struct recent_event *events;
    struct letters letters;
    char source[104];
    char base[512];
};

static void parts_free(struct page_parts *parts)
{
    facts_free(parts->facts);
    free(parts->events);
    letters_free(&parts->letters);
}

static bool gather_page(struct status *status, struct request *request, struct page_parts *parts)
{
    struct view *view = &parts->view;
    parts->facts = queue_view_facts(&status->queue_view, true);
    view->filtered = filter_read(&view->filter, request);
    size_t waiting = view->filtered ? VIEW_WAITING_FOUND : VIEW_WAITING;
    parts->events = calloc(QUEUE_VIEW_EVENTS(waiting), sizeof *parts->events);
    if (parts->facts == NULL || parts->events == NULL)
        return false;
    if (!tokens_make(&status->tokens, status->config, parts->facts->now_ms, view->token))
        view->token[0] = '\0';
    view->facts = parts->facts;
    if (request_query(request, "source", parts->source, sizeof parts->source) && parts->source[0] != '\0')
        view->source = parts->source;
    size_t found = queue_view_events(&status->queue_view, parts->facts, view->source, waiting, parts->events);
    if (view->filtered)
        found = filter_events(&view->filter, &status->queue_view, parts->events, found);
    view->events_count = found < VIEW_EVENTS ? found : VIEW_EVENTS;
    view->events = parts->events;
    queue_view_letters(&status->queue_view, view->source, query_number(request, "letters_after"), VIEW_LETTERS,
                       &parts->letters, &view->more_letters);
    view->letters = &parts->letters;
    if (parts->letters.count > 0)
        view->letters_after = parts->letters.at[parts->letters.count - 1].id;
    action_base(request, parts->base, sizeof parts->base);
    view->base = parts->base;
    return true;
}

static void answer_page(struct status *status, struct request *request, const struct action_outcome *outcome)
{
    struct page_parts parts = {0};
    struct buffer out = {0};
    if (!gather_page(status, request, &parts)) {
        refuse_memory(request);
    } else if (wants_json(request)) {
        json_write(&out, &parts.view);
        send_buffer(request, 200, NULL, JSON_TYPE, &out);
    } else {
        parts.view.part = wants_part(request);
        parts.view.notice = read_notice(request);
        if (outcome != NULL && outcome->result == ACTION_SAID) {
            parts.view.notice = outcome->words;
            parts.view.notice_is_bad = !outcome->good;
        } else if (outcome != NULL) {
            parts.view.shown_key = outcome->key.url;
            parts.view.shown_source = outcome->key.source;
        }
        page_write(&out, &parts.view);
        send_page(request, &out);
    }
    parts_free(&parts);
}

/* One event or dead letter. Returns false when it asks for none. */
static bool find_bodies(struct status *status, const struct request *request, struct bodies *bodies, bool *found)
{
    char source[104];
    uint64_t event = query_number(request, "event"), letter = query_number(request, "letter"),
             waiting = query_number(request, "waiting");
    if (event > 0)
        *found = bodies_of_event(bodies, &status->queue_view, event);
    else if (letter > 0)
        *found = bodies_of_letter(bodies, status->config, &status->queue_view, letter);
    else if (waiting > 0 && request_query(request, "of", source, sizeof source))
        *found = bodies_of_waiting(bodies, status->config, &status->queue_view, source, waiting);
    else
        return false;
    return true;
}

static bool answer_event(struct status *status, struct request *request)
{
    struct buffer out = {0};
    struct bodies bodies = {0};
    bool found = false, asked = find_bodies(status, request, &bodies, &found);
    if (asked && !found) {
        request_refuse(request, 404, NULL, "it is not kept any more");
    } else if (asked && wants_json(request)) {
        json_write_event(&out, &bodies.view);
        send_buffer(request, 200, NULL, JSON_TYPE, &out);
    } else if (asked) {
        page_write_event(&out, &bodies.view, wants_part(request));
        send_page(request, &out);
    }
    bodies_free(&bodies);
    return asked;
}

/* page.js asks for the words alone. */
static void answer_words(struct request *request, const struct action_outcome *outcome)
{
    struct buffer out = {0};
    bool good = outcome->result == ACTION_REPLAYED ? outcome->done > 0 : outcome->good;
    buffer_text(&out, "{");
    write_bool_member(&out, "good", good);
    write_text_member(&out, "words", outcome->words);
    buffer_text(&out, "}\n");
    send_buffer(request, 200, NULL, JSON_TYPE, &out);
}

static void answer_post(struct status *status, struct request *request)
{
    struct action_outcome outcome = {.result = ACTION_REFUSED};
    bool json = false;
    action_take(status->config, &status->tokens, &status->queue_view, request, &outcome, &json);
    if (outcome.result == ACTION_REFUSED)
        return; /* and answered */
    if (json && outcome.result != ACTION_KEY)
        answer_words(request, &outcome);
    else if (outcome.result == ACTION_REPLAYED)
        /* Relative, so that it holds wherever the program is mounted. */
        request_answer(request, 303, outcome.done > 0 ? "Location: ?done=replay\r\n" : "Location: ?done=gone\r\n",
                       "see the page\n");
    else
        answer_page(status, request, &outcome);
    action_forget(&outcome.key);
}

static void answer_status(struct status *status, struct request *request)
{
    const char *method = request_variable(request, "REQUEST_METHOD");
    if (method != NULL && strcmp(method, "POST") == 0)
        answer_post(status, request);
    else if (!answer_event(status, request))
        answer_page(status, request, NULL);
}

/* ---- for tools ---- */

static void answer_metrics(struct status *status, struct request *request)
{
    struct buffer out = {0};
    const char *accept = request_header(request, "ACCEPT");
    bool open_metrics = accept != NULL && strstr(accept, "application/openmetrics-text") != NULL;
    struct facts *facts = queue_view_facts(&status->queue_view, false);
    if (facts == NULL) {
        refuse_memory(request);
        return;
    }
    metrics_write(&out, facts, open_metrics);
    facts_free(facts);
    send_buffer(request, 200, NULL, open_metrics ? OPEN_METRICS_TYPE : METRICS_TYPE, &out);
}

/* The answer of .../healthz. */
static void write_health(struct buffer *out, const struct facts *facts, const struct health *health)
{
    int64_t delivered_ms = 0;
    for (size_t i = 0; i < facts->sources; i++) {
        int64_t one = facts->source[i].counts.last_delivered_ms;
        delivered_ms = one > delivered_ms ? one : delivered_ms;
    }
    buffer_text(out, "{");
    write_bool_member(out, "ok", health->good);
    write_text_member(out, "words", health->words.text);
    write_time_member(out, "last_forwarded", delivered_ms);
    write_time_member(out, "written", health->written_ms);
    buffer_text(out, "}\n");
}

static void answer_health(struct status *status, struct request *request)
{
    struct buffer out = {0};
    struct health health;
    struct probed probed;
    struct facts *facts = queue_view_facts(&status->queue_view, false);
    if (facts == NULL) {
        refuse_memory(request);
        return;
    }
    prober_result(status->prober, status->config, &probed);
    prober_judge(facts, atomic_load(&status->attached), &probed, &health);
    write_health(&out, facts, &health);
    facts_free(facts);
    send_buffer(request, health.good ? 200 : 503, health.good ? NULL : "Retry-After: 10\r\n", JSON_TYPE, &out);
}

/* ---- who may, and what ---- */

static void refuse_access(struct request *request, enum access_result access)
{
    static const struct {
        int status;
        const char *headers;
        const char *words;
    } refusals[] = {
        [ACCESS_NONE] = {404, NULL, "there is nothing at this address"},
        [ACCESS_ASK] = {401, "WWW-Authenticate: Basic realm=\"closecrm status\", charset=\"UTF-8\"\r\n",
                        "user admin and the admin_password of the configuration are needed"},
        [ACCESS_SLOWED] = {429, "Retry-After: 10\r\n",
                           "too many wrong passwords came from this address: wait some seconds"},
        [ACCESS_NOT_LET_IN] = {403, NULL,
                               "admin = server: this page is for whom the web server lets in, and it did not say that "
                               "it asked for a password (REMOTE_USER and AUTH_TYPE): protect this address there, with "
                               "what its sample has for that"},
    };
    request_refuse(request, refusals[access].status, refusals[access].headers, refusals[access].words);
}

static const struct {
    const char *path;
    bool is_open; /* without a password */
    bool takes_post;
    void (*answer)(struct status *, struct request *);
} pages[] = {
    {"/status", false, true, answer_status},
    {"/metrics", false, false, answer_metrics},
    {"/healthz", true, false, answer_health},
};

struct answering {
    void (*answer)(struct status *, struct request *);
    struct status *status;
    struct request *request;
};

static void answer_one(void *argument)
{
    const struct answering *answering = argument;
    answering->answer(answering->status, answering->request);
}

static void answer_aside(struct answering *answering)
{
    struct status *status = answering->status;
    if (status->aside == NULL)
        answer_one(answering);
    else
        status->aside(status->aside_context, answer_one, answering);
}

static bool takes_method(const struct request *request, bool post)
{
    const char *method = request_variable(request, "REQUEST_METHOD");
    return method != NULL &&
           (strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0 || (post && strcmp(method, "POST") == 0));
}

void status_handle(struct status *status, struct request *request)
{
    size_t i = 0;
    while (i + 1 < sizeof pages / sizeof *pages && strcmp(pages[i].path, request_path(request)) != 0)
        i++;
    if (status == NULL) {
        refuse_memory(request);
        return;
    }
    enum access_result access =
        pages[i].is_open ? ACCESS_ALLOWED : access_check(status->config, &status->guesses, request);
    if (access != ACCESS_ALLOWED)
        refuse_access(request, access);
    else if (!takes_method(request, pages[i].takes_post))
        request_refuse(request, 405, pages[i].takes_post ? "Allow: GET, HEAD, POST\r\n" : "Allow: GET, HEAD\r\n",
                       "only looking is possible here");
    else
        answer_aside(&(struct answering){pages[i].answer, status, request});
}
