/* Causes of alerts: see causes.h. */
#include "health/causes.h"

#include "webhook/refusals.h"

#include <stdlib.h>

#define STARTING_MS 30000 /* a queue that is just being opened, or repaired, is no cause yet */

/* What is looked at. */
struct look_at {
    const struct facts *facts;
    const struct source_facts *source; /* NULL: the whole */
    int64_t watching_since_ms;
};

enum finding {
    OVER,    /* it is not so, and words say how it is instead */
    RAISED,  /* words say what is wrong */
    UNKNOWN, /* it cannot be told: nothing begins, and nothing is over */
};

typedef enum finding find(const struct look_at *at, struct error *words);

static enum finding events_wait(const struct look_at *at, struct error *words)
{
    char span[SPAN_SIZE];
    const struct source_facts *source = at->source;
    bool one = source->counts.waiting == 1;
    if (source->oldest_seconds * 1000 <= at->facts->config->alert_waiting_ms) {
        error_set(words, "no event waits longer than alert_waiting any more");
        return OVER;
    }
    error_set(words, "%llu event%s, the oldest for %s%s%.300s", (unsigned long long)source->counts.waiting,
              one ? " waits" : "s wait", facts_span(source->oldest_seconds * 1000, span),
              source->notes.reason[0] == '\0' ? "" : ": ", source->notes.reason);
    return RAISED;
}

static enum finding data_plane_refuses(const struct look_at *at, struct error *words)
{
    int status = at->source->tally.answered_last_status;
    bool refuses =
        at->facts->is_durable ? at->source->notes.operator_must_act : status == 401 || status == 403 || status == 404;
    if (!refuses)
        error_set(words, "the data plane is not known to refuse any more: it takes events, or they are tried anew");
    else if (at->facts->is_durable)
        error_set(words, "%.400s", at->source->notes.reason);
    else
        error_set(words, "the data plane answered %d: look at write_key and data_plane_url", status);
    return refuses ? RAISED : OVER;
}

static enum finding dead_letters(const struct look_at *at, struct error *words)
{
    unsigned long long count = at->facts->is_durable ? at->source->counts.dead : 0;
    if (count == 0)
        error_set(words, "no dead letters are kept any more");
    else
        error_set(words, "%llu dead letter%s kept: `closecrm.fcgi dead list` shows why", count,
                  count == 1 ? " is" : "s are");
    return count > 0 ? RAISED : OVER;
}

static enum finding dead_letters_end(const struct look_at *at, struct error *words)
{
    char date[DATE_SIZE];
    const struct counts *counts = &at->source->counts;
    bool one = counts->ending == 1;
    if (counts->ending == 0) {
        error_set(words, "no dead letter is about to end any more");
        return OVER;
    }
    error_set(words,
              "%llu dead letter%s from %s on (dead_retention): replay %s, or keep a copy: `closecrm.fcgi backup FILE`",
              (unsigned long long)counts->ending, one ? " ends" : "s end", facts_date(counts->ending_ms, date),
              one ? "it" : "them");
    return RAISED;
}

static enum finding letters_beyond_share(const struct look_at *at, struct error *words)
{
    bool beyond = at->facts->room.letters > at->facts->room.share;
    error_set(words, "dead letters take %llu MiB, %s than their quarter of queue_max_bytes%s",
              (unsigned long long)(at->facts->room.letters >> 20), beyond ? "more" : "no more",
              beyond ? ": they are kept; `closecrm.fcgi dead drop` throws away those that you name" : "");
    return beyond ? RAISED : OVER;
}

static enum finding subscription_paused(const struct look_at *at, struct error *words)
{
    if (at->source->close.paused)
        error_set(words, "Close has paused the subscription and sends nothing: %s", at->source->close.trouble);
    else
        error_set(words, "Close has no subscription paused any more");
    return at->source->close.paused ? RAISED : OVER;
}

static enum finding queue_full(const struct look_at *at, struct error *words)
{
    char room[ROOM_SIZE], span[SPAN_SIZE];
    const struct facts *facts = at->facts;
    bool unsettled = facts_is_unsettled(facts, at->source);
    if (unsettled)
        error_set(words, "what waits is not sent, for it could not be noted as delivered: %.300s",
                  facts->unsettled.text);
    else if (facts->no_room.text[0] != '\0')
        error_set(words, "new events are refused: %.300s", facts->no_room.text);
    else if (!facts_queue_is_full(facts, at->source) && !facts_queue_is_nearly_full(facts))
        error_set(words, "the queue is neither full nor nearly full any more");
    else if (facts_queue_is_full(facts, at->source) && !facts_queue_is_used_up(facts))
        error_set(words, "%s ago an event was refused for want of room, and none was accepted since",
                  facts_span(facts->now_ms - at->source->tally.refused_last_ms[REFUSED_QUEUE_FULL], span));
    else
        error_set(words, "the queue is %s: %s of %lld MiB (queue_max_bytes)",
                  facts_queue_is_used_up(facts) ? "full, and new events are refused" : "nearly full",
                  facts_room(facts, room), (long long)(facts->config->queue_max_bytes >> 20));
    return unsettled || facts->no_room.text[0] != '\0' || facts_queue_is_full(facts, at->source) ||
                   facts_queue_is_nearly_full(facts)
               ? RAISED
               : OVER;
}

/* Before anything was accepted, it is silent as long as somebody watches. */
static enum finding silence(const struct look_at *at, struct error *words)
{
    char span[SPAN_SIZE];
    int64_t limit_ms = at->facts->config->alert_silence_ms, last_ms = at->source->counts.last_accepted_ms;
    int64_t since_ms = last_ms > 0 ? last_ms : at->watching_since_ms;
    int64_t silent_ms = at->facts->now_ms - since_ms;
    if (limit_ms == 0)
        error_set(words, "silence is not looked for any more (alert_silence)");
    else if (since_ms > 0 && silent_ms > limit_ms)
        error_set(words, "nothing was accepted for %s", facts_span(silent_ms, span));
    else
        error_set(words, "an event was accepted %s ago", facts_span(silent_ms, span));
    if (limit_ms > 0 && since_ms > 0 && silent_ms > limit_ms)
        return RAISED;
    return limit_ms > 0 && last_ms == 0 ? UNKNOWN : OVER;
}

static enum finding disk_nearly_full(const struct look_at *at, struct error *words)
{
    error_set(words, "%llu MiB are free where the queue is", (unsigned long long)(at->facts->disk_free >> 20));
    if (at->facts->disk_free == UINT64_MAX)
        return UNKNOWN;
    return at->facts->disk_free < FACTS_DISK_LEAST ? RAISED : OVER;
}

static enum finding cron_overdue(const struct look_at *at, struct error *words)
{
    char span[SPAN_SIZE];
    bool overdue = facts_cron_is_overdue(at->facts);
    facts_span(at->facts->now_ms - at->facts->cron_ms, span);
    if (overdue)
        error_set(words, "`closecrm.fcgi cron` has not run for %s", span);
    else
        error_set(words, "`closecrm.fcgi cron` ran %s ago", span);
    if (at->facts->cron_ms == 0)
        return UNKNOWN;
    return overdue ? RAISED : OVER;
}

static enum finding queue_broken(const struct look_at *at, struct error *words)
{
    error_set(words, "%.400s", at->facts->queue_works ? "the queue works" : at->facts->queue_why.text);
    if (at->facts->queue_works)
        return OVER;
    return at->facts->now_ms - at->watching_since_ms > STARTING_MS ? RAISED : UNKNOWN;
}

static const struct {
    const char *name;
    bool of_source;
    find *find;
} table[] = {
    {"events_wait", true, events_wait},
    {"data_plane_refuses", true, data_plane_refuses},
    {"dead_letters", true, dead_letters},
    {"dead_letters_end", true, dead_letters_end},
    {"dead_letters_large", false, letters_beyond_share},
    {"subscription_paused", true, subscription_paused},
    {"queue_full", true, queue_full},
    {"silence", true, silence},
    {"disk_nearly_full", false, disk_nearly_full},
    {"cron_overdue", false, cron_overdue},
    {"queue_broken", false, queue_broken},
};

#define KINDS (sizeof table / sizeof *table)

/* Of a source nothing is known while the queue does not work. */
static void add(struct causes *causes, size_t kind, const struct look_at *at)
{
    if (table[kind].of_source && !at->facts->queue_works)
        return;
    struct alert_cause *cause = &causes->at[causes->count];
    enum finding found = table[kind].find(at, &cause->words);
    if (found == UNKNOWN)
        return;
    cause->name = table[kind].name;
    cause->source = at->source == NULL ? "" : at->source->name;
    cause->raised = found == RAISED;
    causes->count++;
}

bool causes_find(const struct facts *facts, int64_t watching_since_ms, struct causes *causes)
{
    struct look_at at = {.facts = facts, .watching_since_ms = watching_since_ms};
    causes_free(causes);
    causes->at = calloc(KINDS * (facts->sources + 1), sizeof *causes->at);
    if (causes->at == NULL)
        return false;
    for (size_t kind = 0; kind < KINDS; kind++) {
        at.source = NULL;
        if (!table[kind].of_source)
            add(causes, kind, &at);
        for (size_t i = 0; table[kind].of_source && i < facts->sources; i++) {
            at.source = &facts->source[i];
            add(causes, kind, &at);
        }
    }
    return true;
}

void causes_free(struct causes *causes)
{
    free(causes->at);
    *causes = (struct causes){0};
}
