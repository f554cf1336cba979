/* Filling the queue from the Event Log: see import.h. */
#include "closeapi/import_private.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/dates.h"
#include "base/log.h"
#include "queue/inspect.h"

#define ANEW_MOST 5       /* so often a window is begun anew when its cursor expires */
#define APPEND_MS 12000   /* for one append */
#define FULL_WAIT_MS 5000 /* until a full queue is looked at again */
#define PROGRESS_EVERY 200

#define MINUTE_US (INT64_C(60) * 1000000)
#define FIRST_US (60 * MINUTE_US)
#define SHORTEST_US MINUTE_US
#define LONGEST_US (24 * 60 * MINUTE_US)
#define FEW 500
#define MANY 5000

static bool no_memory(struct error *why)
{
    error_set(why, "out of memory");
    return false;
}

bool fill_tell(struct fill *fill, struct error *why)
{
    return fill->order.progress == NULL ||
           fill->order.progress(fill->order.context, &fill->counts, fill->reached_us, why);
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
                                struct error *why)
{
    const struct log_reader reader = {fill->order.client, *filter, page_keep, page_take, fill};
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
                                 int64_t to_us, struct error *why)
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

static enum log_result read_covered(struct fill *fill, int64_t from_us, int64_t to_us, struct error *why)
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

static enum log_result read_types(struct fill *fill, int64_t from_us, int64_t to_us, struct error *why)
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
static enum log_result read_once(struct fill *fill, int64_t from_us, int64_t to_us, struct error *why)
{
    struct log_filter filter = filter_for_close(&fill->order.filter);
    uint64_t pages = fill->counts.pages;
    spool_clear(&fill->spool);
    if (fill->one_by_one)
        return read_types(fill, from_us, to_us, why);
    enum log_result result = read_one(fill, &filter, from_us, to_us, why);
    if (result != LOG_FAILED || has_filter(&filter) || fill->counts.pages != pages || why->kind != ERROR_REJECTED)
        return result;
    log_write(LEVEL_INFO, "msg=log_wants_a_filter source=%s", fill->order.source->name);
    fill->one_by_one = true;
    return read_types(fill, from_us, to_us, why);
}

static enum log_result read_window(struct fill *fill, int64_t from_us, int64_t to_us, struct error *why)
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
static enum log_result append(struct fill *fill, const struct buffer *body, struct error *why)
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
            error_set(why, "stopped");
            return LOG_STOPPED;
        }
    }
}

static enum log_result append_window(struct fill *fill, struct error *why)
{
    int64_t order;
    struct error reason;
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
        if (++since % PROGRESS_EVERY == 0 && !fill_tell(fill, why))
            return LOG_FAILED;
    }
    if (reason.text[0] == '\0')
        return LOG_DONE;
    *why = reason;
    return LOG_FAILED;
}

enum log_result fill_window(struct fill *fill, int64_t from_us, int64_t to_us, struct error *why)
{
    fill->reached_us = from_us;
    enum log_result result = read_window(fill, from_us, to_us, why);
    if (result == LOG_DONE)
        result = append_window(fill, why);
    if (result != LOG_DONE)
        return result;
    fill->counts.windows++;
    fill->reached_us = to_us;
    return fill_tell(fill, why) ? LOG_DONE : LOG_FAILED;
}

/* A long time in windows: so long that few requests are wasted, and so short that not much is to be done again when one
 * is cut short. */
enum log_result fill_range(struct fill *fill, int64_t from_us, int64_t to_us, fill_done *done, void *context,
                           struct error *why)
{
    int64_t length = FIRST_US;
    while (from_us < to_us) {
        int64_t end = to_us - from_us > length ? from_us + length : to_us;
        uint64_t before = fill_counted(fill)->events;
        enum log_result result = fill_window(fill, from_us, end, why);
        if (result != LOG_DONE)
            return result;
        if (done != NULL && !done(context, fill_counted(fill), end, why))
            return LOG_FAILED;
        uint64_t found = fill_counted(fill)->events - before;
        if (found < FEW && length < LONGEST_US)
            length *= 2;
        if (found > MANY && length > SHORTEST_US)
            length /= 2;
        from_us = end;
    }
    return LOG_DONE;
}

/* ---- its life ---- */

struct fill *fill_new(const struct fill_order *order, const char *directory, struct error *why)
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
