/* A page of the Event Log: what its events are, which are known, and which go to the spool. */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/times.h"
#include "closeapi/import_private.h"
#include "queue/inspect.h"

#define HOUR_US (INT64_C(3600) * 1000000)
#define MARGIN_US (INT64_C(300) * 1000000) /* whose clock says when the hour is over? */

static bool no_memory(struct error *why)
{
    error_set(why, "out of memory");
    return false;
}

bool page_keep(void *context, const struct log_event *event, struct error *why)
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
static bool write_body(struct buffer *body, const struct json_slice *event, const char *subscription, struct error *why)
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
static bool understand(struct fill *fill, const struct log_event *event, struct page_event *out, struct error *why)
{
    bool out_of_memory;
    struct error reason = {0};
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
static bool look_known(struct fill *fill, const struct page_event *events, size_t count, bool *known, struct error *why)
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

static bool spool_fresh(struct fill *fill, const struct page_event *one, struct error *why)
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

bool page_take(void *context, int64_t date_ms, struct error *why)
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
    return good && fill_tell(fill, why);
}
