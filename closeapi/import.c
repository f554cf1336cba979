/* Importing from the Event Log: see import.h. A window is read to its end, newest event first; events that are not
 * known go to a spool, and from there, oldest first, into the queue. */
#include "closeapi/import.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/times.h"
#include "closeapi/subscriptions.h"
#include "queue/inspect.h"
#include "telemetry/telemetry.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>

#define EXPIRED_MOST 5    /* cursors of a window: then the import has failed */
#define APPEND_MS 12000   /* deadline of an append */
#define FULL_WAIT_MS 5000 /* between attempts to append to a full queue */
#define STEP_EVENTS 200   /* appended in one step */
#define LARGE_BYTES ((size_t)100 * 1024)

#define WAITING_PLACES ((size_t)1 << 18)
#define WAITING_MOST (WAITING_PLACES / 2)
#define LIST_EVENTS 500 /* read from the queue at once */
#define LIST_BYTES ((size_t)8 << 20)

#define MINUTE_US (INT64_C(60) * 1000000)
#define HOUR_US (60 * MINUTE_US)
#define MARGIN_US (5 * MINUTE_US) /* for clocks that differ */

/* A window should be long, so that few requests are wasted, and short, so that little is repeated when it is cut short:
 * the next one is twice as long after one with few events, and half as long after one with many. */
#define SHORTEST_US MINUTE_US
#define LONGEST_US (24 * HOUR_US)
#define FEW 500
#define MANY 5000

struct waiting_place {
    unsigned char key[16];
    int64_t updated_us;
    bool used;
};

/* The identities of events that wait in the queue: a hash table of bounded size. Events beyond it are appended again,
 * which does no harm: the forwarder finds duplicates. */
struct waiting {
    struct waiting_place *places;
    size_t used;
    uint64_t last_id; /* of the event up to which the queue was read */
    struct events events;
};

enum phase { BETWEEN_WINDOWS, READING, APPENDING };

struct import {
    struct import_order order;
    struct import_counts counts;
    struct import_counts at_start; /* of the window */
    char lacks[512];               /* types of events that no subscription has, a blank between */
    enum phase phase;
    int64_t from_us, to_us, length_us; /* of the window */
    unsigned expired;                  /* cursors, in this window */

    /* The log is read with the order's filter; if that is empty and Close demands one, type by type. */
    bool by_type;
    struct event_choice types;
    size_t type; /* the one that is being read */

    struct event_log log;
    struct spool spool;     /* order: twice the date, plus one where the event has no data */
    struct waiting waiting; /* unused where there is no queue */
    struct counters
        *counters; /* likewise; of this source alone, and shared with the program; NULL: nothing is counted */
    struct buffer body;
    bool shown;         /* an event older than an hour had data: the API key is an administrator's */
    size_t largest;     /* bytes of the largest event that is known */
    int64_t now_us;     /* Close's clock, as the last page told it */
    int64_t reached_us; /* all appends of events before this time are durable */
};

static bool import_no_memory(struct error *why)
{
    error_set(why, "out of memory");
    return false;
}

/* ---- what waits in the queue ---- */

/* Keys are hashes: any of their bytes will do. */
static struct waiting_place *waiting_find(const struct waiting *waiting, const unsigned char key[16])
{
    size_t at;
    memcpy(&at, key, sizeof at);
    for (at %= WAITING_PLACES; waiting->places[at].used && memcmp(waiting->places[at].key, key, 16) != 0;)
        at = (at + 1) % WAITING_PLACES;
    return &waiting->places[at];
}

static void waiting_add(struct waiting *waiting, const struct identity *identity)
{
    struct waiting_place *place = waiting_find(waiting, identity->key);
    if (!place->used) {
        if (waiting->used == WAITING_MOST)
            return;
        waiting->used++;
        memcpy(place->key, identity->key, sizeof place->key);
        place->updated_us = identity->updated_us;
        place->used = true;
    } else if (identity->updated_us > place->updated_us) {
        place->updated_us = identity->updated_us;
    }
}

/* Adds what was appended to the queue since the last call. Returns false with the reason. */
static bool waiting_read_on(struct waiting *waiting, struct queue *queue, const char *source, struct error *why)
{
    for (;;) {
        int count = queue_list(queue, source, waiting->last_id, LIST_EVENTS, LIST_BYTES, &waiting->events, why);
        if (count <= 0)
            return count == 0;
        for (int i = 0; i < count && waiting->used < WAITING_MOST; i++) {
            struct parsed *parsed =
                transform_parse(waiting->events.at[i].body, waiting->events.at[i].length, NULL, NULL);
            if (parsed != NULL)
                waiting_add(waiting, transform_identity(parsed));
            parsed_free(parsed);
        }
        waiting->last_id = waiting->events.at[count - 1].id;
        if (waiting->used == WAITING_MOST)
            return true;
    }
}

static bool waiting_has(const struct waiting *waiting, const struct identity *identity)
{
    const struct waiting_place *place = waiting_find(waiting, identity->key);
    return place->used && place->updated_us >= identity->updated_us;
}

/* ---- a page: which of its events are known, and which go to the spool ---- */

static bool is_event_known(const struct known *known, const struct identity *identity)
{
    return (known->delivered && known->delivered_us >= identity->updated_us) ||
           (known->dead && known->dead_us >= identity->updated_us);
}

/* Asks the queue what it remembers of these events; and what waits in it, unless all of them are remembered. */
static bool look_up_known(struct import *import, const struct log_event *events, size_t count, struct known *found,
                          struct error *why)
{
    const char *source = import->order.source->name;
    if (import->order.queue == NULL || count == 0)
        return true;
    struct identity *identities = calloc(count, sizeof *identities);
    if (identities == NULL)
        return import_no_memory(why);
    for (size_t i = 0; i < count; i++)
        identities[i] = events[i].identity;
    bool good = queue_look_known(import->order.queue, source, identities, count, found, why);
    bool all_known = true;
    for (size_t i = 0; good && i < count; i++)
        all_known = all_known && is_event_known(&found[i], &identities[i]);
    free(identities);
    return good && (all_known || waiting_read_on(&import->waiting, import->order.queue, source, why));
}

/* Whether the event's data is hidden: Close shows that of events older than an hour to administrators only. */
static bool is_data_hidden(struct import *import, const struct log_event *event)
{
    int64_t updated_us = event->identity.updated_us;
    int64_t age_us = updated_us == DATE_UNREADABLE ? 0 : import->now_us - updated_us;
    if (!event->empty && age_us > HOUR_US + MARGIN_US)
        import->shown = true;
    return event->empty && age_us > HOUR_US - MARGIN_US;
}

/* Whether the body says that it is no event of the webhook: its identify would bring old traits. Where no identify is
 * sent it is as the webhook would have brought it. */
static bool is_past(const struct import *import, const struct log_event *event)
{
    return import->order.source->identify == ANSWER_YES && !import->order.identify && event->identified;
}

static bool spool_event(struct import *import, const struct log_event *event, bool hidden, struct error *why)
{
    int64_t updated_us = event->identity.updated_us == DATE_UNREADABLE ? 0 : event->identity.updated_us;
    import->counts.fresh++;
    if (event->length > LARGE_BYTES && event->length > import->largest)
        import->counts.large++;
    if (!event_log_write_body(&import->body, event, is_past(import, event)))
        return import_no_memory(why);
    return spool_put(&import->spool, import->body.data, import->body.length, updated_us * 2 + hidden, why);
}

static bool spool_unknown_events(struct import *import, const struct log_event *events, size_t count,
                                 const struct known *found, struct error *why)
{
    for (size_t i = 0; i < count; i++) {
        const struct log_event *event = &events[i];
        bool hidden = is_data_hidden(import, event);
        if (is_event_known(&found[i], &event->identity) ||
            (import->order.queue != NULL && waiting_has(&import->waiting, &event->identity))) {
            import->counts.known++;
            import->largest = event->length > import->largest ? event->length : import->largest;
        } else if (!spool_event(import, event, hidden, why)) {
            return false;
        }
    }
    return true;
}

/* Counts the page's events, and keeps those that are to be imported. Returns how many these are. */
static size_t count_page_events(struct import *import, struct log_event *events, size_t count)
{
    size_t left = 0;
    for (size_t i = 0; i < count; i++) {
        bool covered = import->order.all_events || events[i].subscription != NULL;
        import->counts.events++;
        if (import->order.notes_lacks && events[i].usable && events[i].subscription == NULL &&
            !coverage_has_type(import->order.coverage, events[i].type))
            coverage_list_add(import->lacks, sizeof import->lacks, events[i].type);
        if (!events[i].usable)
            import->counts.unusable++;
        else if (!covered)
            import->counts.uncovered++;
        else
            events[left++] = events[i];
    }
    return left;
}

static enum import_result import_take_page(struct import *import, struct error *why)
{
    struct log_event *events = import->log.events;
    if (import->log.date_ms > 0)
        import->now_us = import->log.date_ms * 1000;
    size_t count = count_page_events(import, events, import->log.count);
    struct known *found = calloc(count + 1, sizeof *found);
    bool good = found != NULL || import_no_memory(why);
    good = good && look_up_known(import, events, count, found, why) &&
           spool_unknown_events(import, events, count, found, why);
    free(found);
    import->counts.pages++;
    return good ? IMPORT_STEP : IMPORT_FAILED;
}

/* ---- reading a window ---- */

/* Whether the order's filter lets events of the type pass. */
static bool is_type_asked_for(const struct import *import, const struct event_type *type)
{
    const struct log_filter *asked = &import->order.filter;
    return (asked->object_type == NULL || strcmp(asked->object_type, type->object_type) == 0) &&
           (asked->action == NULL || strcmp(asked->action, type->action) == 0);
}

/* Begins to read the next type, of that index or a later one, if there is one. Each type is a run of its own in the
 * spool, which merges them. */
static bool import_begin_type(struct import *import, size_t type, bool *more, struct error *why)
{
    while (type < import->types.count && !is_type_asked_for(import, &import->types.at[type]))
        type++;
    import->type = type;
    *more = type < import->types.count;
    if (!*more)
        return true;
    const struct event_type *next = &import->types.at[type];
    event_log_begin(&import->log, &(struct log_filter){.object_type = next->object_type, .action = next->action},
                    import->from_us, import->to_us);
    return spool_begin_run(&import->spool) || import_no_memory(why);
}

/* Begins to read the window; also anew, when its cursor has expired. */
static enum import_result import_begin_reading(struct import *import, struct error *why)
{
    bool more = true;
    uint64_t pages = import->counts.pages;
    import->counts = import->at_start;
    import->counts.pages = pages;
    spool_clear(&import->spool);
    if (!import->by_type)
        event_log_begin(&import->log, &import->order.filter, import->from_us, import->to_us);
    else if (!import_begin_type(import, 0, &more, why))
        return IMPORT_FAILED;
    import->phase = more ? READING : APPENDING;
    return IMPORT_STEP;
}

/* Close demands a filter: reads the window type by type, as all that follow. */
static enum import_result import_begin_by_type(struct import *import, struct error *why)
{
    log_write(LEVEL_INFO, "msg=log_wants_a_filter source=%s", import->order.source->name);
    import->by_type = true;
    bool good = import->order.all_events
                    ? event_types_choose(NULL, &import->types, why)
                    : coverage_add_types(import->order.coverage, &import->types) || import_no_memory(why);
    return good ? import_begin_reading(import, why) : IMPORT_FAILED;
}

static enum import_result import_read_page(struct import *import, struct error *why)
{
    bool more = false;
    switch (event_log_next(&import->log, why)) {
    case LOG_PAGE:
        return import_take_page(import, why);
    case LOG_END:
        if (import->by_type && !import_begin_type(import, import->type + 1, &more, why))
            return IMPORT_FAILED;
        import->phase = more ? READING : APPENDING;
        return IMPORT_STEP;
    case LOG_EXPIRED:
        return ++import->expired < EXPIRED_MOST ? import_begin_reading(import, why) : IMPORT_FAILED;
    case LOG_STOPPED:
        return IMPORT_STOPPED;
    case LOG_FAILED:
        break;
    }
    if (!import->by_type && why->kind == ERROR_REJECTED && !event_log_has_filter(&import->order.filter))
        return import_begin_by_type(import, why);
    return IMPORT_FAILED;
}

/* ---- appending ---- */

static bool import_stopped_within(const struct import *import, int ms)
{
    struct pollfd stop = {.fd = import->order.stop_fd, .events = POLLIN};
    return poll(&stop, 1, ms) > 0;
}

/* Appends the event, durably. Waits while the queue is full, until enough of it is delivered. */
static enum import_result import_append_event(struct import *import, struct error *why)
{
    bool said = false;
    const struct import_order *order = &import->order;
    for (;;) {
        enum queue_result result = queue_append(order->queue, order->source->name, import->body.data,
                                                import->body.length, clock_now() + APPEND_MS, why);
        if (result == QUEUE_STORED) {
            counters_accepted(counters_of(import->counters, order->source->name), import->body.length, clock_unix_ms());
            return IMPORT_STEP;
        }
        if (result == QUEUE_BROKEN || result == QUEUE_UNUSABLE)
            return IMPORT_FAILED;
        if (result == QUEUE_FULL && !said)
            log_write(LEVEL_WARN, "msg=queue_full source=%s advice=\"this goes on when there is room\"",
                      order->source->name);
        said = said || result == QUEUE_FULL;
        if (import_stopped_within(import, result == QUEUE_FULL ? FULL_WAIT_MS : 0)) {
            error_set(why, "stopped");
            return IMPORT_STOPPED;
        }
    }
}

static enum import_result import_end_window(struct import *import)
{
    uint64_t found = import->counts.events - import->at_start.events;
    import->counts.windows++;
    import->reached_us = import->from_us = import->to_us;
    import->phase = BETWEEN_WINDOWS;
    if (found < FEW && import->length_us < LONGEST_US)
        import->length_us *= 2;
    if (found > MANY && import->length_us > SHORTEST_US)
        import->length_us /= 2;
    return IMPORT_WINDOW;
}

/* Appends some of the events in the spool. */
static enum import_result import_append_events(struct import *import, struct error *why)
{
    int64_t order;
    for (unsigned appended = 0; appended < STEP_EVENTS;) {
        struct error reason;
        if (!spool_take(&import->spool, &import->body, &order, &reason)) {
            if (reason.text[0] == '\0')
                return import_end_window(import);
            *why = reason;
            return IMPORT_FAILED;
        }
        bool hidden = (order & 1) != 0 && !import->shown;
        if (hidden)
            import->counts.hidden++;
        if (hidden || import->order.dry_run || import->order.queue == NULL)
            continue;
        enum import_result result = import_append_event(import, why);
        if (result != IMPORT_STEP)
            return result;
        if (order / 2 > import->reached_us)
            import->reached_us = order / 2;
        appended++;
    }
    return IMPORT_STEP;
}

/* ---- a range of windows ---- */

static enum import_result import_begin_window(struct import *import, struct error *why)
{
    int64_t left_us = import->order.to_us - import->from_us;
    if (left_us <= 0)
        return IMPORT_DONE;
    import->to_us = import->from_us + (left_us > import->length_us ? import->length_us : left_us);
    import->reached_us = import->from_us;
    import->at_start = import->counts;
    import->expired = 0;
    return import_begin_reading(import, why);
}

enum import_result import_next(struct import *import, struct error *why)
{
    enum import_result result = import->phase == BETWEEN_WINDOWS ? import_begin_window(import, why) : IMPORT_STEP;
    if (result != IMPORT_STEP)
        return result;
    return import->phase == READING ? import_read_page(import, why) : import_append_events(import, why);
}

struct import *import_new(const struct import_order *order, const char *directory, struct error *why)
{
    struct error unshared; /* then it is counted in vain */
    const char *name = order->source->name;
    struct import *import = calloc(1, sizeof *import);
    if (import == NULL) {
        import_no_memory(why);
        return NULL;
    }
    import->order = *order;
    import->from_us = order->from_us;
    import->length_us = HOUR_US;
    import->now_us = clock_unix_ms() * 1000;
    import->log.client = order->client;
    import->log.source = order->source;
    import->log.coverage = order->coverage;
    import->spool.fd = -1;
    bool good = spool_open(&import->spool, directory, why);
    if (good && order->queue != NULL) {
        import->counters = counters_open(order->config->state_dir, &name, 1, &unshared);
        import->waiting.places = calloc(WAITING_PLACES, sizeof *import->waiting.places);
        good = import->waiting.places != NULL || import_no_memory(why);
    }
    if (good)
        return import;
    import_free(import);
    return NULL;
}

const struct import_counts *import_counted(const struct import *import)
{
    return &import->counts;
}

const char *import_lacks(const struct import *import)
{
    return import->lacks;
}

int64_t import_reached(const struct import *import)
{
    return import->reached_us;
}

void import_free(struct import *import)
{
    if (import == NULL)
        return;
    event_log_free(&import->log);
    spool_close(&import->spool);
    events_free(&import->waiting.events);
    free(import->waiting.places);
    counters_close(import->counters);
    buffer_free(&import->body);
    event_choice_free(&import->types);
    free(import);
}
