/* What the forwarder shows of its work: counts, and a sample of the events that ended. */
#include "forward/forward_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "transform/headline.h"
#include "transform/shown.h"

#define BODY_MOST ((size_t)1024 * 1024) /* larger ones are too much to look at again */

static const struct {
    enum counted_outcome outcome;
    const char *state; /* as people see it */
} ends[] = {
    [VERDICT_DELIVERED] = {COUNTED_DELIVERED, "delivered"},
    [VERDICT_DUPLICATE] = {COUNTED_DUPLICATE, "duplicate"},
    [VERDICT_DROPPED] = {COUNTED_DROPPED, "dropped"},
    [VERDICT_DEAD] = {COUNTED_DEAD, "dead"},
};

void samples_init(struct source_pipeline *pipeline, const struct telemetry *telemetry)
{
    pipeline->samples = (struct samples){
        .on = true, .counted = counters_of(telemetry->counters, pipeline->source->name), .recent = telemetry->recent};
}

void samples_free(struct samples *samples)
{
    events_free(&samples->events);
}

static bool has_date(const struct verdict *verdict)
{
    return verdict->identity.updated_us != INT64_MIN && verdict->identity.updated_us != 0;
}

static void count_verdict(const struct samples *samples, const struct verdict *verdict, int64_t now_ms)
{
    if (verdict->kind != VERDICT_DELIVERED) {
        counters_ended(samples->counted, ends[verdict->kind].outcome);
        return;
    }
    int64_t delay_ms = has_date(verdict) ? now_ms - verdict->identity.updated_us / 1000 : -1;
    if (delay_ms < 0 && has_date(verdict))
        delay_ms = 0; /* Close's clock is ahead of ours */
    counters_delivered(samples->counted, delay_ms, now_ms);
}

/* What the body says of itself, without the parser: what ended may have crashed it. */
static void describe_event(const struct event *event, const struct verdict *verdict, struct recent_event *recent)
{
    struct headline headline;
    headline_read(&headline, event->body, event->length);
    headline_event(&headline, recent->name, sizeof recent->name);
    snprintf(recent->lead, sizeof recent->lead, "%s", headline.lead == NULL ? "" : headline.lead);
    snprintf(recent->id, sizeof recent->id, "%s", headline.id == NULL ? "" : headline.id);
    recent->updated_ms = has_date(verdict) ? verdict->identity.updated_us / 1000 : 0;
}

/* The message that was sent: what made it once makes it again. */
static void make_message(const struct source_pipeline *pipeline, const struct event *event, bool newer,
                         struct buffer *message)
{
    struct parsed *parsed = transform_parse_for(event->body, event->length, &pipeline->rules, NULL, NULL);
    if (parsed != NULL)
        transform_message(parsed, &pipeline->rules, newer, message);
    parsed_free(parsed);
}

static void add_sample(const struct source_pipeline *pipeline, const struct event *event, const struct verdict *verdict,
                       bool newer, int64_t now_ms)
{
    struct buffer incoming = {0}, message = {0};
    struct recent_event *recent = calloc(1, sizeof *recent);
    if (recent == NULL)
        return;
    recent->ended_ms = now_ms;
    recent->received_ms = event->received_ms;
    recent->bytes = event->length;
    snprintf(recent->source, sizeof recent->source, "%s", pipeline->source->name);
    snprintf(recent->state, sizeof recent->state, "%s", ends[verdict->kind].state);
    snprintf(recent->reason, sizeof recent->reason, "%s", verdict->reason == NULL ? "" : verdict->reason);
    describe_event(event, verdict, recent);
    if (event->length <= BODY_MOST && !transform_shown(event->body, event->length, &pipeline->rules, &incoming))
        buffer_clear(&incoming);
    if (event->length <= BODY_MOST && verdict->kind == VERDICT_DELIVERED)
        make_message(pipeline, event, newer, &message);
    recent_add(pipeline->samples.recent, recent, incoming.data, incoming.length, message.data, message.length);
    buffer_free(&incoming);
    buffer_free(&message);
    free(recent);
}

void samples_verdict(struct source_pipeline *pipeline, const struct verdict *verdict, bool newer,
                     const struct event *event)
{
    struct samples *samples = &pipeline->samples;
    size_t asked;
    if (!samples->on)
        return;
    int64_t now_ms = clock_unix_ms();
    count_verdict(samples, verdict, now_ms);
    if (!recent_may_add(samples->recent, now_ms))
        return;
    if (event == NULL && queue_again(pipeline->queue, pipeline->source->name, &verdict->id, 1, BODY_MOST,
                                     &samples->events, &asked, NULL) == 1)
        event = &samples->events.at[0];
    if (event != NULL)
        add_sample(pipeline, event, verdict, newer, now_ms);
}

void samples_messages(struct samples *samples, const struct pending *pending)
{
    if (samples->counted != NULL && pending->nul_replaced)
        counters_nul_replaced(samples->counted);
    if (samples->counted != NULL && pending->has_person && pending->track_only)
        counters_identify_refused(samples->counted);
}

void samples_answer(struct samples *samples, int status)
{
    if (samples->counted != NULL)
        counters_answered(samples->counted, status, clock_unix_ms());
}
