/* The stand-in Close's Event Log. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/times.h"
#include "tests/support/standin_close_internal.h"

#define PAGE 50
#define DAY_US (INT64_C(86400) * 1000000)
#define HOUR_US (INT64_C(3600) * 1000000)

struct logged *log_find(struct standin_close *close, const char *id)
{
    for (size_t i = close->log_count; i-- > 0;) {
        if (strcmp(close->log[i].id, id) == 0)
            return &close->log[i];
    }
    return NULL;
}

static bool is_before(const struct logged *event, int64_t updated_us, uint64_t sequence)
{
    return event->updated_us < updated_us || (event->updated_us == updated_us && event->sequence < sequence);
}

/* The first place whose event is not before that date. */
static size_t place_of(const struct standin_close *close, int64_t updated_us, uint64_t sequence)
{
    size_t low = 0, high = close->log_count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (is_before(&close->log[middle], updated_us, sequence))
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void insert(struct standin_close *close, const struct logged *event)
{
    if (close->log_count == close->log_capacity) {
        close->log_capacity = close->log_capacity == 0 ? 1024 : 2 * close->log_capacity;
        close->log = realloc(close->log, close->log_capacity * sizeof *close->log);
        if (close->log == NULL)
            abort();
    }
    size_t at = place_of(close, event->updated_us, event->sequence);
    memmove(&close->log[at + 1], &close->log[at], (close->log_count - at) * sizeof *close->log);
    close->log[at] = *event;
    close->log_count++;
}

static void copy(char *out, size_t size, const char *text, const char *otherwise)
{
    snprintf(out, size, "%s", text != NULL ? text : otherwise);
}

void standin_close_add(struct standin_close *close, const struct close_event *event)
{
    struct logged fresh = {.updated_us = event->updated_us, .filler = event->filler};
    copy(fresh.id, sizeof fresh.id, event->id, "");
    copy(fresh.lead, sizeof fresh.lead, event->lead, "");
    copy(fresh.object_type, sizeof fresh.object_type, event->object_type, "activity.note");
    copy(fresh.action, sizeof fresh.action, event->action, "created");
    copy(fresh.note, sizeof fresh.note, event->note, "");
    pthread_mutex_lock(&close->mutex);
    if (fresh.updated_us == 0)
        fresh.updated_us = close_now_us(close);
    fresh.sequence = ++close->sequence;
    struct logged *there = event->note != NULL ? log_find(close, fresh.id) : NULL; /* only notes differ */
    if (there != NULL) {
        size_t at = (size_t)(there - close->log);
        memmove(there, there + 1, (close->log_count - at - 1) * sizeof *there);
        close->log_count--;
    }
    insert(close, &fresh);
    if (!event->log_only)
        deliver_event(close, &fresh);
    pthread_mutex_unlock(&close->mutex);
}

/* ---- as JSON ---- */

static void text(struct buffer *out, const char *format, const char *value)
{
    char piece[300];
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    snprintf(piece, sizeof piece, format, value);
#pragma GCC diagnostic pop
    buffer_text(out, piece);
}

static void filler(struct buffer *out, size_t length)
{
    char *room = buffer_room(out, length);
    for (size_t i = 0; room != NULL && i < length; i++)
        room[i] = (char)('a' + (i * i / 7 + i) % 26);
    out->length += room == NULL ? 0 : length;
}

static void write_data(const struct logged *event, struct buffer *out, bool as_message)
{
    text(out, "{\"note\":\"%s\",\"name\":\"KLine\",", event->note);
    if (!as_message)
        buffer_text(out, "\"gone\":null, ");
    buffer_text(out, "\"value\":1234567890123456789012345,\"rate\":1.10,\"list\":[null,1e2,{}],"
                     "\"text\":\"caf\xc3\xa9 \\\"}]\\\" a/b\",\"body_text\":\"");
    filler(out, event->filler);
    buffer_text(out, "\"}");
}

static void date(const struct logged *event, char out[static DATE_PRINTED])
{
    times_print(event->updated_us, DATE_MICROSECONDS, out);
    out[strcspn(out, "+")] = '\0';
}

void log_write_event(const struct standin_close *close, const struct logged *event, bool shown, struct buffer *out)
{
    char updated[DATE_PRINTED];
    (void)close;
    date(event, updated);
    text(out, "{\"id\":\"%s\",", event->id);
    text(out, "\"object_type\":\"%s\",", event->object_type);
    text(out, "\"action\":\"%s\",", event->action);
    text(out, "\"date_updated\":\"%s\",\"user_id\":null,\"changed_fields\":[\"note\"],", updated);
    if (event->lead[0] != '\0')
        text(out, "\"lead_id\":\"%s\",", event->lead);
    else
        buffer_text(out, "\"lead_id\": null,");
    text(out, "\"object_id\":\"obj_%s\"", event->id);
    if (shown) {
        buffer_text(out, ",\"previous_data\":{\"note\":\"before\"},\"data\":");
        write_data(event, out, false);
    }
    buffer_text(out, "}");
}

void standin_close_properties(struct standin_close *close, const char *id, const char *subscription, struct buffer *out)
{
    char updated[DATE_PRINTED];
    pthread_mutex_lock(&close->mutex);
    const struct logged *event = log_find(close, id);
    if (event == NULL)
        abort();
    date(event, updated);
    text(out, "{\"id\":\"%s\",", event->id);
    text(out, "\"object_type\":\"%s\",", event->object_type);
    text(out, "\"action\":\"%s\",", event->action);
    text(out, "\"date_updated\":\"%s\",", updated);
    if (event->lead[0] != '\0')
        text(out, "\"lead_id\":\"%s\",", event->lead);
    text(out, "\"object_id\":\"obj_%s\",\"data\":", event->id);
    write_data(event, out, true);
    if (subscription != NULL)
        text(out, ",\"subscription_id\":\"%s\"", subscription);
    buffer_text(out, "}");
    pthread_mutex_unlock(&close->mutex);
}

/* ---- paging ---- */

struct query {
    int64_t from_us, to_us;
    uint64_t to_sequence;
    const char *object_type, *action, *lead;
    size_t limit;
};

static int64_t read_date(const char *value, int64_t otherwise)
{
    return value == NULL ? otherwise : times_read(value, strlen(value));
}

/* Which filters may be combined: a type alone is none, nor an action. */
static bool may_combine(const struct standin_close *close, const struct query *query)
{
    if (query->lead != NULL)
        return query->action == NULL || query->object_type != NULL;
    if ((query->object_type == NULL) != (query->action == NULL))
        return false;
    return query->object_type != NULL || !close->options.wants_filter;
}

static bool matches(const struct query *query, const struct logged *event)
{
    return (query->object_type == NULL || strcmp(query->object_type, event->object_type) == 0) &&
           (query->action == NULL || strcmp(query->action, event->action) == 0) &&
           (query->lead == NULL || strcmp(query->lead, event->lead) == 0);
}

/* With a cursor the dates do not count. Returns false when it is refused. */
static bool read_cursor(struct standin_close *close, const char *cursor, struct query *query)
{
    if (cursor == NULL)
        return true;
    close->cursors++;
    if (close->options.expire_every > 0 && close->cursors % close->options.expire_every == 0) {
        close->counts.expired++;
        return false;
    }
    query->from_us = 0;
    return sscanf(cursor, "c%" SCNd64 ".%" SCNu64, &query->to_us, &query->to_sequence) == 2;
}

static bool read_query(struct standin_close *close, log_parameter *get, void *context, struct query *query)
{
    const char *limit = get(context, "_limit");
    *query = (struct query){
        .from_us = read_date(get(context, "date_updated__gte"), 0),
        .to_us = read_date(get(context, "date_updated__lt"), INT64_MAX),
        .object_type = get(context, "object_type"),
        .action = get(context, "action"),
        .lead = get(context, "lead_id"),
        .limit = limit == NULL ? PAGE : (size_t)strtoul(limit, NULL, 10),
    };
    if (query->limit > PAGE || query->limit == 0)
        query->limit = PAGE;
    return query->from_us != DATE_UNREADABLE && query->to_us != DATE_UNREADABLE && may_combine(close, query);
}

int log_answer(struct standin_close *close, log_parameter *get, void *context, struct buffer *out)
{
    struct query query;
    char next[80] = "null";
    if (!read_query(close, get, context, &query)) {
        buffer_text(out, "{\"errors\": [\"these filters cannot be combined\"], \"field-errors\": {}}");
        return 400;
    }
    if (!read_cursor(close, get(context, "_cursor"), &query)) {
        buffer_text(out, "{\"errors\": [\"Invalid cursor\"], \"field-errors\": {}}");
        return 400;
    }
    int64_t now = close_now_us(close), oldest = now - 30 * DAY_US;
    size_t at = place_of(close, query.to_us, query.to_sequence), found = 0;
    buffer_text(out, "{\"data\": [");
    for (; at > 0 && close->log[at - 1].updated_us >= query.from_us && close->log[at - 1].updated_us >= oldest; at--) {
        const struct logged *event = &close->log[at - 1];
        if (!matches(&query, event))
            continue;
        if (found == query.limit) {
            snprintf(next, sizeof next, "\"c%" PRId64 ".%" PRIu64 "\"", close->log[at].updated_us,
                     close->log[at].sequence);
            break;
        }
        buffer_text(out, found++ > 0 ? ",\n " : "");
        log_write_event(close, event, !close->options.not_admin || event->updated_us > now - HOUR_US, out);
    }
    text(out, "], \"cursor_next\": %s, \"cursor_previous\": null}", next);
    close->counts.pages++;
    return 200;
}
