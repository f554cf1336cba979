/* The reader of the Event Log: see import.h. */
#include "closeapi/import.h"

#include "base/json.h"
#include "base/log.h"
#include "base/times.h"

#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PAGE 50
#define MALFORMED 3 /* attempts to get an answer that is a page of the log */

/* ---- the request ---- */

static void path_add_parameter(struct buffer *path, const char *name, const char *value)
{
    if (value == NULL)
        return;
    char *escaped = curl_easy_escape(NULL, value, 0);
    buffer_text(path, "&");
    buffer_text(path, name);
    buffer_text(path, "=");
    if (escaped == NULL)
        path->failed = true;
    else
        buffer_text(path, escaped);
    curl_free(escaped);
}

/* Close's dates are in UTC, and have no time zone. */
static void path_add_date(struct buffer *path, const char *name, int64_t us)
{
    char date[DATE_PRINTED];
    times_print(us, DATE_MICROSECONDS, date);
    date[strcspn(date, "+")] = '\0';
    path_add_parameter(path, name, date);
}

bool event_log_has_filter(const struct log_filter *filter)
{
    return filter->lead_id != NULL || (filter->object_type != NULL && filter->action != NULL);
}

/* The first page is asked for by dates, the others by the cursor; the filter is repeated. Close accepts an action only
 * with a type, and a type without an action only with a lead. */
static bool event_log_write_path(const struct event_log *log, struct buffer *path)
{
    char limit[32];
    const struct log_filter *filter = &log->filter;
    snprintf(limit, sizeof limit, "/event/?_limit=%d", PAGE);
    buffer_text(path, limit);
    if (event_log_has_filter(filter) && filter->object_type != NULL) {
        path_add_parameter(path, "object_type", filter->object_type);
        path_add_parameter(path, "action", filter->action);
    }
    path_add_parameter(path, "lead_id", filter->lead_id);
    if (log->cursor != NULL) {
        path_add_parameter(path, "_cursor", log->cursor);
    } else {
        path_add_date(path, "date_updated__gte", log->from_us);
        path_add_date(path, "date_updated__lt", log->to_us);
    }
    buffer_append(path, "", 1);
    return !path->failed;
}

/* ---- an event ---- */

bool event_log_write_body(struct buffer *body, const struct log_event *event, bool past)
{
    buffer_clear(body);
    buffer_text(body, "{\"event\": ");
    buffer_append(body, event->bytes, event->length);
    if (event->subscription != NULL) {
        buffer_text(body, ", \"subscription_id\": \"");
        buffer_text(body, event->subscription->id);
        buffer_text(body, "\"");
    }
    if (past)
        buffer_text(body, ", \"" EVENT_LOG_MARK "\": true");
    buffer_text(body, "}");
    return !body->failed;
}

/* An event without an id is identified by a hash of its body; without the subscription, as long as that is not set. */
static bool identify_by_body(struct event_log *log, struct log_event *event)
{
    struct parsed *parsed = NULL;
    if (event_log_write_body(&log->body, event, false))
        parsed = transform_parse(log->body.data, log->body.length, NULL, NULL);
    if (parsed != NULL)
        event->identity = *transform_identity(parsed);
    parsed_free(parsed);
    return parsed != NULL;
}

/* Whether a member is missing, null, {} or []. An object whose members are all null, which a tree leaves out, is not
 * empty: the text tells. */
static bool is_member_empty(const struct json_element *event, const char *name)
{
    struct json_object *value = json_object_object_get(event->tree, name);
    if (value == NULL)
        return true;
    if (json_object_is_type(value, json_type_array))
        return json_object_array_length(value) == 0;
    return json_object_is_type(value, json_type_object) && json_object_object_length(value) == 0 &&
           json_slice_is_empty(json_slice_member((struct json_slice){event->bytes, event->length}, name));
}

static bool is_string_equal(struct json_object *value, const char *text)
{
    return json_object_is_type(value, json_type_string) && strcmp(json_object_get_string(value), text) == 0;
}

/* The subscription that would have delivered the event. */
static const struct subscription *event_log_subscription(const struct coverage *coverage, const struct event_head *head,
                                                         struct json_object *event)
{
    for (size_t i = 0; i < coverage->count; i++) {
        struct json_object *events = json_object_object_get(coverage->at[i]->json, "events");
        for (size_t e = 0; json_object_is_type(events, json_type_array) && e < json_object_array_length(events); e++) {
            struct json_object *covered = json_object_array_get_idx(events, e);
            struct json_object *filter = json_object_object_get(covered, "extra_filter");
            if (is_string_equal(json_object_object_get(covered, "object_type"), head->object_type) &&
                is_string_equal(json_object_object_get(covered, "action"), head->action) &&
                (filter == NULL || filter_passes(filter, event)))
                return coverage->at[i];
        }
    }
    return NULL;
}

/* Whether an event is in the time range and passes the filter. *below: set when it is older than the range, as all
 * events that follow are. */
static bool is_event_asked_for(const struct event_log *log, const struct event_head *head, bool usable, bool *below)
{
    const struct log_filter *filter = &log->filter;
    int64_t updated_us = head->identity.updated_us;
    if (updated_us != DATE_UNREADABLE && updated_us < log->from_us)
        *below = true;
    if (updated_us != DATE_UNREADABLE && (updated_us < log->from_us || updated_us >= log->to_us))
        return false;
    return !usable || ((filter->object_type == NULL || strcmp(filter->object_type, head->object_type) == 0) &&
                       (filter->action == NULL || strcmp(filter->action, head->action) == 0));
}

static struct log_event *event_log_new_event(struct event_log *log)
{
    if (log->count == log->capacity) {
        size_t capacity = log->capacity == 0 ? PAGE : 2 * log->capacity;
        struct log_event *more = realloc(log->events, capacity * sizeof *more);
        if (more == NULL)
            return NULL;
        log->events = more;
        log->capacity = capacity;
    }
    return &log->events[log->count++];
}

/* Adds an element to the page's events, if it is asked for. Returns false when memory is out. */
static bool event_log_add_event(struct event_log *log, const struct json_element *element, bool *below)
{
    char quoted[LOG_QUOTED];
    struct event_head head;
    struct error reason = {0};
    bool usable = transform_read_head(element->tree, &head, &reason);
    if (!is_event_asked_for(log, &head, usable, below))
        return true;
    struct log_event *event = event_log_new_event(log);
    if (event == NULL)
        return false;
    *event = (struct log_event){.bytes = element->bytes, .length = element->length, .usable = usable};
    if (!usable) {
        log_write(LEVEL_WARN, "msg=event_of_the_log_unusable source=%s reason=%s", log->source->name,
                  log_quote_reason(quoted, reason.text));
        return true;
    }
    event->identity = head.identity;
    event->identified = head.identified;
    event->empty = is_member_empty(element, "data") && is_member_empty(element, "previous_data");
    if (!head.identified && !identify_by_body(log, event))
        return false;
    event->subscription = event_log_subscription(log->coverage, &head, element->tree);
    snprintf(event->type, sizeof event->type, "%.79s.%.79s", head.object_type, head.action);
    return true;
}

/* ---- a page ---- */

/* Of the members beside the list of events only cursor_next is needed. */
static bool is_page_member_wanted(unsigned depth, const char *parent, const char *name)
{
    (void)parent;
    return depth > 1 || strcmp(name, "cursor_next") == 0;
}

/* Takes the cursor of the next page: null at the end. Returns false with the reason where the answer is no page. */
static bool event_log_take_cursor(struct event_log *log, struct json_object *rest, bool below, struct error *why)
{
    struct json_object *next;
    bool good = json_object_is_type(json_object_object_get(rest, "data"), json_type_array) &&
                json_object_object_get_ex(rest, "cursor_next", &next) &&
                (next == NULL || json_object_is_type(next, json_type_string));
    if (!good) {
        error_set(why, "Close's Event Log answered without data and cursor_next: is close_api_url right?");
        return false;
    }
    log->ended = below || next == NULL || json_object_get_string_len(next) == 0;
    if (!log->ended && log->cursor != NULL && strcmp(log->cursor, json_object_get_string(next)) == 0) {
        error_set(why, "Close's Event Log leads in a circle: try again later");
        return false;
    }
    free(log->cursor);
    log->cursor = log->ended ? NULL : strdup(json_object_get_string(next));
    if (log->ended || log->cursor != NULL)
        return true;
    error_set(why, "out of memory");
    return false;
}

/* Reads the answer's events. Returns false with the reason where it is no page of the log. */
static bool event_log_read_answer(struct event_log *log, struct error *why)
{
    struct error reason = {0};
    struct json_element element;
    bool below = false, added = true;
    const struct buffer *text = &log->answer.body;
    struct json_list *list = json_list_new(text->data, text->length, "data", is_page_member_wanted);
    enum json_step step = list != NULL ? json_list_next(list, &element, &reason) : JSON_END;
    log->count = 0;
    while (step == JSON_ELEMENT && added) {
        added = event_log_add_event(log, &element, &below);
        step = added ? json_list_next(list, &element, &reason) : JSON_END;
    }
    bool good = list != NULL && added && step == JSON_END;
    if (step == JSON_BROKEN)
        error_set(why, "Close's Event Log answered with what is no JSON (%.200s): try again later", reason.text);
    else if (!good)
        error_set(why, "out of memory");
    good = good && event_log_take_cursor(log, json_list_rest(list), below, why);
    json_list_free(list);
    return good;
}

/* Whether Close refused the cursor, and not the request as such. */
static bool is_cursor_expired(const struct close_answer *answer, const char *cursor)
{
    return cursor != NULL &&
           (answer->status == 400 || answer->status == 404 || answer->status == 410 || answer->status == 422);
}

enum log_result event_log_next(struct event_log *log, struct error *why)
{
    struct buffer path = {0};
    enum log_result result = LOG_FAILED;
    if (log->ended)
        return LOG_END;
    if (!event_log_write_path(log, &path))
        error_set(why, "out of memory");
    for (unsigned tries = 0; !path.failed && result == LOG_FAILED && tries < MALFORMED; tries++) {
        enum close_result called = close_call(log->client, "GET", path.data, NULL, &log->answer, why);
        if (called == CLOSE_DONE) {
            result = event_log_read_answer(log, why) ? LOG_PAGE : LOG_FAILED;
            continue;
        }
        result = called == CLOSE_STOPPED                        ? LOG_STOPPED
                 : is_cursor_expired(&log->answer, log->cursor) ? LOG_EXPIRED
                                                                : LOG_FAILED;
        break;
    }
    log->date_ms = log->answer.date_ms;
    buffer_free(&path);
    return result;
}

/* ---- begin and end ---- */

void event_log_begin(struct event_log *log, const struct log_filter *filter, int64_t from_us, int64_t to_us)
{
    free(log->cursor);
    log->cursor = NULL;
    log->ended = false;
    log->count = 0;
    log->filter = *filter;
    log->from_us = from_us;
    log->to_us = to_us;
}

void event_log_free(struct event_log *log)
{
    free(log->events);
    free(log->cursor);
    buffer_free(&log->body);
    close_answer_free(&log->answer);
    *log = (struct event_log){.count = 0};
}

int64_t event_log_clock(struct close_client *client, struct error *why)
{
    struct close_answer answer = {0};
    enum close_result result = close_call(client, "GET", "/me/", NULL, &answer, why);
    int64_t date_ms = result == CLOSE_DONE ? answer.date_ms : 0;
    if (result == CLOSE_DONE && date_ms == 0)
        error_set(why, "Close's answer does not say what time it is (Date): does something in between remove it?");
    close_answer_free(&answer);
    return date_ms;
}

/* ---- the spool: a run is written forwards and read backwards ---- */

static bool spool_failed(const char *what, struct error *why)
{
    error_set(why, "cannot %s a temporary file in the state directory: %s", what, strerror(errno));
    return false;
}

bool spool_begin_run(struct spool *spool)
{
    struct spool_run *more = realloc(spool->runs, (spool->run_count + 1) * sizeof *more);
    if (more == NULL)
        return false;
    uint64_t end = spool->run_count == 0 ? 0 : more[spool->run_count - 1].end;
    spool->runs = more;
    more[spool->run_count++] = (struct spool_run){.begin = end, .end = end};
    return true;
}

bool spool_open(struct spool *spool, const char *directory, struct error *why)
{
    char path[4096];
    *spool = (struct spool){.fd = -1};
    int length = snprintf(path, sizeof path, "%s/spool.XXXXXX", directory);
    spool->fd = open(directory, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (spool->fd >= 0)
        path[0] = '\0';
    else if (length > 0 && length < (int)sizeof path)
        spool->fd = mkostemp(path, O_CLOEXEC);
    if (spool->fd < 0)
        return spool_failed("make", why);
    if (path[0] != '\0') /* O_TMPFILE is not supported everywhere */
        unlink(path);
    if (spool_begin_run(spool))
        return true;
    error_set(why, "out of memory");
    spool_close(spool);
    return false;
}

static bool spool_write_at(const struct spool *spool, const void *bytes, size_t length, uint64_t at)
{
    for (const char *from = bytes; length > 0;) {
        ssize_t n = pwrite(spool->fd, from, length, (off_t)at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        from += n;
        at += (uint64_t)n;
        length -= (size_t)n;
    }
    return true;
}

static bool spool_read_at(const struct spool *spool, void *bytes, size_t length, uint64_t at)
{
    for (char *to = bytes; length > 0;) {
        ssize_t n = pread(spool->fd, to, length, (off_t)at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            errno = n == 0 ? EIO : errno;
            return false;
        }
        to += n;
        at += (uint64_t)n;
        length -= (size_t)n;
    }
    return true;
}

bool spool_put(struct spool *spool, const char *bytes, size_t length, int64_t order, struct error *why)
{
    struct spool_run *run = &spool->runs[spool->run_count - 1];
    struct spool_trailer trailer = {length, order};
    if (!spool_write_at(spool, bytes, length, run->end) ||
        !spool_write_at(spool, &trailer, sizeof trailer, run->end + length))
        return spool_failed("write", why);
    run->end += length + sizeof trailer;
    run->top = trailer;
    return true;
}

static struct spool_run *spool_first_run(const struct spool *spool)
{
    struct spool_run *first = NULL;
    for (size_t i = 0; i < spool->run_count; i++) {
        struct spool_run *run = &spool->runs[i];
        if (run->end > run->begin && (first == NULL || run->top.order < first->top.order))
            first = run;
    }
    return first;
}

bool spool_take(struct spool *spool, struct buffer *out, int64_t *order, struct error *why)
{
    struct spool_run *run = spool_first_run(spool);
    why->text[0] = '\0';
    if (run == NULL)
        return false;
    size_t length = (size_t)run->top.length;
    uint64_t begin = run->end - sizeof run->top - length;
    buffer_clear(out);
    char *room = buffer_room(out, length);
    if (room == NULL) {
        error_set(why, "out of memory");
        return false;
    }
    if (!spool_read_at(spool, room, length, begin))
        return spool_failed("read", why);
    out->length += length;
    *order = run->top.order;
    if (begin > run->begin && !spool_read_at(spool, &run->top, sizeof run->top, begin - sizeof run->top))
        return spool_failed("read", why);
    run->end = begin;
    return true;
}

void spool_clear(struct spool *spool)
{
    spool->run_count = 1;
    spool->runs[0] = (struct spool_run){.begin = 0, .end = 0};
    if (ftruncate(spool->fd, 0) != 0)
        spool->runs[0].end = 0; /* the old bytes are overwritten */
}

void spool_close(struct spool *spool)
{
    if (spool->fd >= 0)
        close(spool->fd);
    free(spool->runs);
    *spool = (struct spool){.fd = -1};
}
