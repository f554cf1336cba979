/* Filling the queue from the Event Log: see fill.h. */
#include "closeapi/fill.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "queue/inspect.h"
#include "transform/dates.h"
#include "watch/clock.h"
#include "watch/log.h"

#define ANEW_MOST 5       /* so often a window is begun anew when its cursor expires */
#define APPEND_MS 12000   /* for one append */
#define FULL_WAIT_MS 5000 /* until a full queue is looked at again */
#define PROGRESS_EVERY 200
#define HOUR_US (INT64_C(3600) * 1000000)
#define MARGIN_US (INT64_C(300) * 1000000) /* whose clock says when the hour is over? */

struct fill {
    struct fill_order order;
    struct fill_counts counts;
    struct spool spool;
    struct waiting *waiting;
    bool shown;                  /* an event older than an hour had data: the key is an administrator's */
    bool one_by_one;             /* Close wants a filter: the log is read type by type */
    size_t largest;              /* body that is known */
    int64_t now_us;              /* Close's clock, as the last page told it */
    int64_t reached_us;          /* all before is durable */
    struct fill_counts at_start; /* of the window */

    struct log_event *page; /* events of the page in hand; their bytes lie in the answer */
    struct page_event *understood;
    size_t page_count, page_capacity;
    struct buffer body;
};

/* What was found out about an event of the page. */
struct page_event {
    const struct log_event *event;
    struct identity identity;
    const struct subscription *subscription; /* NULL: none matches */
};

static bool no_memory(struct why *why)
{
    why_set(why, "out of memory");
    return false;
}

static bool tell(struct fill *fill, struct why *why)
{
    return fill->order.progress == NULL ||
           fill->order.progress(fill->order.context, &fill->counts, fill->reached_us, why);
}

/* ---- a page ---- */

static bool keep(void *context, const struct log_event *event, struct why *why)
{
    struct fill *fill = context;
    if (fill->page_count == fill->page_capacity) {
        size_t capacity = fill->page_capacity == 0 ? LOG_PAGE : 2 * fill->page_capacity;
        struct log_event *more = realloc(fill->page, capacity * sizeof *more);
        if (more == NULL)
            return no_memory(why);
        fill->page = more;
        struct page_event *understood = realloc(fill->understood, capacity * sizeof *understood);
        if (understood == NULL)
            return no_memory(why);
        fill->understood = understood;
        fill->page_capacity = capacity;
    }
    fill->page[fill->page_count++] = *event;
    return true;
}

/* As the webhook brings it; the event's bytes are those of the log. */
static bool write_body(struct buffer *body, const struct json_slice *event, const char *subscription, struct why *why)
{
    buffer_clear(body);
    buffer_text(body, "{\"event\": ");
    buffer_append(body, event->at, event->length);
    if (subscription != NULL) {
        buffer_text(body, ", \"subscription_id\": \"");
        buffer_text(body, subscription);
        buffer_text(body, "\"");
    }
    buffer_text(body, "}");
    return !body->failed || no_memory(why);
}

/* The subscription that would have delivered it. */
static const struct subscription *match(const struct fill *fill, const char *name, const struct json_slice *event)
{
    const struct coverage *coverage = fill->order.coverage;
    struct json_document document = {.root = NULL};
    bool out_of_memory;
    if (coverage == NULL)
        return NULL;
    if (coverage->filtered && !json_read(event->at, event->length, NULL, &document, &out_of_memory, NULL))
        return NULL;
    const struct subscription *found = coverage_match(coverage, name, document.root);
    json_document_free(&document);
    return found;
}

/* Whether the wish for a type or an action, which Close does not take alone, lets it pass. name: "lead updated". */
static bool is_asked_for(const struct log_filter *filter, const char *name)
{
    size_t type = strcspn(name, " ");
    if (filter->object_type != NULL &&
        (strlen(filter->object_type) != type || strncmp(filter->object_type, name, type) != 0))
        return false;
    return filter->action == NULL || strcmp(filter->action, name + type + 1) == 0;
}

/* Finds out what an event is. Returns whether it is to be looked at further; false with a reason when that failed. */
static bool understand(struct fill *fill, const struct log_event *event, struct page_event *out, struct why *why)
{
    bool out_of_memory;
    struct why reason = {""};
    char words[LOG_QUOTED];
    why->text[0] = '\0';
    if (!write_body(&fill->body, &event->bytes, NULL, why))
        return false;
    struct parsed *parsed = transform_parse(fill->body.data, fill->body.length, &out_of_memory, &reason);
    if (parsed == NULL && out_of_memory)
        return no_memory(why);
    if (parsed == NULL) {
        fill->counts.events++;
        fill->counts.unusable++;
        log_write(LEVEL_WARN, "msg=event_of_the_log_unusable source=%s reason=%s", fill->order.source->name,
                  log_quote(words, reason.text, strlen(reason.text)));
        return false;
    }
    const char *name = transform_event_name(parsed);
    bool wanted = is_asked_for(&fill->order.filter, name);
    if (wanted) {
        *out = (struct page_event){event, *transform_identity(parsed), match(fill, name, &event->bytes)};
        fill->counts.events++;
        if (!fill->order.all_events && out->subscription == NULL) {
            fill->counts.uncovered++;
            wanted = false;
        }
    }
    parsed_free(parsed);
    return wanted;
}

static bool is_known(const struct known *known, const struct identity *identity)
{
    return (known->delivered && known->delivered_us >= identity->updated_us) ||
           (known->dead && known->dead_us >= identity->updated_us);
}

/* Which of the page's events are known. Returns false with the reason. */
static bool look_known(struct fill *fill, const struct page_event *events, size_t count, bool *known, struct why *why)
{
    memset(known, 0, count * sizeof *known);
    if (fill->order.queue == NULL)
        return true;
    struct identity *identities = calloc(count, sizeof *identities);
    struct known *found = calloc(count, sizeof *found);
    bool good = identities != NULL && found != NULL;
    for (size_t i = 0; good && i < count; i++)
        identities[i] = events[i].identity;
    if (!good)
        no_memory(why);
    const char *source = fill->order.source->name;
    good = good && queue_look_known(fill->order.queue, source, identities, count, found, why);
    bool any_fresh = false;
    for (size_t i = 0; good && i < count; i++) {
        known[i] = is_known(&found[i], &identities[i]);
        any_fresh = any_fresh || !known[i];
    }
    if (good && any_fresh && fill->waiting != NULL) {
        good = waiting_read_on(fill->waiting, fill->order.queue, source, why);
        for (size_t i = 0; good && i < count; i++)
            known[i] = known[i] || waiting_has(fill->waiting, &identities[i]);
    }
    free(identities);
    free(found);
    return good;
}

/* The data of events older than an hour is for administrators only. */
static bool is_hidden(struct fill *fill, const struct log_event *event)
{
    int64_t age_us = event->updated_us == DATE_UNREADABLE ? 0 : fill->now_us - event->updated_us;
    if (!event->hidden && age_us > HOUR_US + MARGIN_US)
        fill->shown = true;
    return event->hidden && age_us > HOUR_US - MARGIN_US;
}

static bool spool_fresh(struct fill *fill, const struct page_event *one, struct why *why)
{
    bool hidden = is_hidden(fill, one->event);
    int64_t updated = one->event->updated_us == DATE_UNREADABLE ? 0 : one->event->updated_us;
    const char *subscription = one->subscription == NULL ? NULL : one->subscription->id;
    fill->counts.fresh++;
    if (one->event->bytes.length > FILL_LARGE_BYTES && one->event->bytes.length > fill->largest)
        fill->counts.large++;
    return write_body(&fill->body, &one->event->bytes, subscription, why) &&
           spool_put(&fill->spool, fill->body.data, fill->body.length, updated * 2 + hidden, why);
}

/* Sorts the page's events out: known ones are done with, the others go to the spool. */
static bool take_page(void *context, int64_t date_ms, struct why *why)
{
    struct fill *fill = context;
    size_t count = 0;
    if (date_ms > 0)
        fill->now_us = date_ms * 1000;
    for (size_t i = 0; i < fill->page_count; i++) {
        if (understand(fill, &fill->page[i], &fill->understood[count], why))
            count++;
        else if (why->text[0] != '\0')
            return false;
    }
    bool *known = calloc(count + 1, sizeof *known);
    bool good = known != NULL || no_memory(why);
    good = good && (count == 0 || look_known(fill, fill->understood, count, known, why));
    for (size_t i = 0; good && i < count; i++) {
        const struct log_event *event = fill->understood[i].event;
        if (!known[i]) {
            good = spool_fresh(fill, &fill->understood[i], why);
            continue;
        }
        is_hidden(fill, event);
        fill->counts.known++;
        fill->largest = event->bytes.length > fill->largest ? event->bytes.length : fill->largest;
    }
    free(known);
    fill->page_count = 0;
    fill->counts.pages++;
    return good && tell(fill, why);
}

/* ---- a window ---- */

/* Which of the filters Close takes: a type or an action alone is none of them. */
static struct log_filter filter_for_close(const struct log_filter *wanted)
{
    struct log_filter filter = *wanted;
    if (filter.lead_id == NULL && (filter.object_type == NULL || filter.action == NULL))
        filter.object_type = filter.action = NULL;
    if (filter.object_type == NULL)
        filter.action = NULL;
    return filter;
}

static bool has_filter(const struct log_filter *filter)
{
    return filter->object_type != NULL || filter->lead_id != NULL;
}

static enum log_result read_one(struct fill *fill, const struct log_filter *filter, int64_t from_us, int64_t to_us,
                                struct why *why)
{
    const struct log_reader reader = {fill->order.client, *filter, keep, take_page, fill};
    fill->page_count = 0;
    return log_read(&reader, from_us, to_us, why);
}

static bool is_wished(const struct fill *fill, const char *type, const char *action)
{
    const struct log_filter *wish = &fill->order.filter;
    return (wish->object_type == NULL || strcmp(wish->object_type, type) == 0) &&
           (wish->action == NULL || strcmp(wish->action, action) == 0);
}

/* Reads one type after the other, each a run of its own in the spool, so that all come out in order. */
static enum log_result read_type(struct fill *fill, const char *type, const char *action, int64_t from_us,
                                 int64_t to_us, struct why *why)
{
    const struct log_filter filter = {.object_type = type, .action = action};
    if (!is_wished(fill, type, action))
        return LOG_DONE;
    if (!spool_begin_run(&fill->spool)) {
        no_memory(why);
        return LOG_FAILED;
    }
    return read_one(fill, &filter, from_us, to_us, why);
}

/* Whether an earlier one of the covered events has the same type and action. */
static bool came_before(struct json_object *const *events, size_t at, const char *type, const char *action)
{
    for (size_t i = 0; i < at; i++) {
        const char *other_type = json_object_get_string(json_object_object_get(events[i], "object_type"));
        const char *other_action = json_object_get_string(json_object_object_get(events[i], "action"));
        if (other_type != NULL && other_action != NULL && strcmp(type, other_type) == 0 &&
            strcmp(action, other_action) == 0)
            return true;
    }
    return false;
}

static enum log_result read_covered(struct fill *fill, int64_t from_us, int64_t to_us, struct why *why)
{
    enum log_result result = LOG_DONE;
    struct json_object *events[2048];
    size_t count = 0;
    for (size_t i = 0; i < fill->order.coverage->count; i++) {
        struct json_object *list = json_object_object_get(fill->order.coverage->at[i]->json, "events");
        size_t length = json_object_is_type(list, json_type_array) ? json_object_array_length(list) : 0;
        for (size_t e = 0; e < length && count < sizeof events / sizeof *events; e++)
            events[count++] = json_object_array_get_idx(list, e);
    }
    for (size_t i = 0; i < count && result == LOG_DONE; i++) {
        const char *type = json_object_get_string(json_object_object_get(events[i], "object_type"));
        const char *action = json_object_get_string(json_object_object_get(events[i], "action"));
        if (type != NULL && action != NULL && !came_before(events, i, type, action))
            result = read_type(fill, type, action, from_us, to_us, why);
    }
    return result;
}

static enum log_result read_types(struct fill *fill, int64_t from_us, int64_t to_us, struct why *why)
{
    size_t count;
    const struct event_type *types = event_types_all(&count);
    enum log_result result = LOG_DONE;
    if (!fill->order.all_events)
        return read_covered(fill, from_us, to_us, why);
    for (size_t i = 0; i < count && result == LOG_DONE; i++)
        result = read_type(fill, types[i].object_type, types[i].action, from_us, to_us, why);
    return result;
}

/* Reads the window once. Where Close wants a filter and there is none, type by type. */
static enum log_result read_once(struct fill *fill, int64_t from_us, int64_t to_us, struct why *why)
{
    struct log_filter filter = filter_for_close(&fill->order.filter);
    uint64_t pages = fill->counts.pages;
    spool_clear(&fill->spool);
    if (fill->one_by_one)
        return read_types(fill, from_us, to_us, why);
    enum log_result result = read_one(fill, &filter, from_us, to_us, why);
    if (result != LOG_FAILED || has_filter(&filter) || fill->counts.pages != pages ||
        strstr(why->text, "(answered 400") == NULL)
        return result;
    log_write(LEVEL_INFO, "msg=log_wants_a_filter source=%s", fill->order.source->name);
    fill->one_by_one = true;
    return read_types(fill, from_us, to_us, why);
}

static enum log_result read_window(struct fill *fill, int64_t from_us, int64_t to_us, struct why *why)
{
    enum log_result result = LOG_EXPIRED;
    fill->at_start = fill->counts;
    for (unsigned tries = 0; result == LOG_EXPIRED && tries < ANEW_MOST; tries++) {
        uint64_t pages = fill->counts.pages;
        fill->counts = fill->at_start;
        fill->counts.pages = pages;
        result = read_once(fill, from_us, to_us, why);
    }
    if (result == LOG_EXPIRED)
        result = LOG_FAILED;
    return result;
}

/* ---- appending ---- */

static bool stopped_within(const struct fill *fill, int ms)
{
    struct pollfd stop = {.fd = fill->order.stop_fd, .events = POLLIN};
    return poll(&stop, 1, ms) > 0;
}

/* Appends until it is durable. A full queue is waited for: what is in it is being delivered. */
static enum log_result append(struct fill *fill, const struct buffer *body, struct why *why)
{
    bool said = false;
    for (;;) {
        enum queue_result result = queue_append(fill->order.queue, fill->order.source->name, body->data, body->length,
                                                clock_now() + APPEND_MS, why);
        if (result == QUEUE_STORED)
            return LOG_DONE;
        if (result == QUEUE_BROKEN || result == QUEUE_UNUSABLE)
            return LOG_FAILED;
        if (result == QUEUE_FULL && !said)
            log_write(LEVEL_WARN, "msg=queue_full source=%s advice=\"this goes on when there is room\"",
                      fill->order.source->name);
        said = said || result == QUEUE_FULL;
        if (stopped_within(fill, result == QUEUE_FULL ? FULL_WAIT_MS : 0)) {
            why_set(why, "stopped");
            return LOG_STOPPED;
        }
    }
}

static enum log_result append_window(struct fill *fill, struct why *why)
{
    int64_t order;
    struct why reason;
    unsigned since = 0;
    while (spool_take(&fill->spool, &fill->body, &order, &reason)) {
        bool hidden = (order & 1) != 0 && !fill->shown;
        if (hidden)
            fill->counts.hidden++;
        if (hidden || fill->order.dry_run || fill->order.queue == NULL)
            continue;
        enum log_result result = append(fill, &fill->body, why);
        if (result != LOG_DONE)
            return result;
        if (order / 2 > fill->reached_us)
            fill->reached_us = order / 2;
        if (++since % PROGRESS_EVERY == 0 && !tell(fill, why))
            return LOG_FAILED;
    }
    if (reason.text[0] == '\0')
        return LOG_DONE;
    *why = reason;
    return LOG_FAILED;
}

enum log_result fill_window(struct fill *fill, int64_t from_us, int64_t to_us, struct why *why)
{
    fill->reached_us = from_us;
    enum log_result result = read_window(fill, from_us, to_us, why);
    if (result == LOG_DONE)
        result = append_window(fill, why);
    if (result != LOG_DONE)
        return result;
    fill->counts.windows++;
    fill->reached_us = to_us;
    return tell(fill, why) ? LOG_DONE : LOG_FAILED;
}

/* ---- its life ---- */

struct fill *fill_new(const struct fill_order *order, const char *directory, struct why *why)
{
    struct fill *fill = calloc(1, sizeof *fill);
    if (fill == NULL) {
        no_memory(why);
        return NULL;
    }
    fill->order = *order;
    fill->now_us = clock_unix_ms() * 1000;
    fill->spool.fd = -1;
    bool good = spool_open(&fill->spool, directory, why);
    if (good && order->count_waiting) {
        fill->waiting = waiting_new();
        good = fill->waiting != NULL || no_memory(why);
    }
    if (good)
        return fill;
    fill_free(fill);
    return NULL;
}

const struct fill_counts *fill_counted(const struct fill *fill)
{
    return &fill->counts;
}

void fill_free(struct fill *fill)
{
    if (fill == NULL)
        return;
    spool_close(&fill->spool);
    waiting_free(fill->waiting);
    buffer_free(&fill->body);
    free(fill->page);
    free(fill->understood);
    free(fill);
}
