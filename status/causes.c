/* Causes of alerts: see causes.h. */
#include "status/causes.h"

#include <stdlib.h>

#define STARTING_MS 30000 /* a queue that is just being opened, or repaired, is no cause yet */

/* What is looked at. */
struct look_at {
    const struct facts *facts;
    const struct source_facts *source; /* NULL: the whole */
    int64_t watching_since_ms;
};

typedef bool find(const struct look_at *at, struct why *words);

static bool events_wait(const struct look_at *at, struct why *words)
{
    char span[SPAN_SIZE];
    const struct source_facts *source = at->source;
    why_set(words, "%llu events wait, the oldest for %s%s%.300s", (unsigned long long)source->counts.waiting,
            facts_span(source->oldest_seconds * 1000, span), source->notes.reason[0] == '\0' ? "" : ": ",
            source->notes.reason);
    return source->oldest_seconds * 1000 > at->facts->config->alert_waiting_ms;
}

static bool data_plane_refuses(const struct look_at *at, struct why *words)
{
    int status = at->source->tally.answered_last_status;
    if (!at->facts->is_durable) {
        why_set(words, "the data plane answered %d: look at write_key and data_plane_url", status);
        return status == 401 || status == 403 || status == 404;
    }
    why_set(words, "%.400s", at->source->notes.reason);
    return at->source->notes.operator_must_act;
}

static bool dead_letters(const struct look_at *at, struct why *words)
{
    why_set(words, "%llu dead letters are kept: the status page shows why, and can replay them",
            (unsigned long long)at->source->counts.dead);
    return at->facts->is_durable && at->source->counts.dead > 0;
}

static bool dead_letters_end(const struct look_at *at, struct why *words)
{
    char date[DATE_SIZE];
    const struct counts *counts = &at->source->counts;
    why_set(words,
            "%llu dead letters end from %s on (dead_retention): replay them, or keep a copy: `closecrm.fcgi queue "
            "backup FILE`",
            (unsigned long long)counts->ending, facts_date(counts->ending_ms, date));
    return counts->ending > 0;
}

static bool letters_beyond_share(const struct look_at *at, struct why *words)
{
    why_set(words,
            "dead letters take %llu MiB, more than their quarter of queue_max_bytes: they are kept; "
            "`closecrm.fcgi dead drop` throws away those that you name",
            (unsigned long long)(at->facts->room.letters >> 20));
    return at->facts->room.letters > at->facts->room.share;
}

static bool subscription_paused(const struct look_at *at, struct why *words)
{
    why_set(words, "Close has paused the subscription and sends nothing: %s", at->source->close.trouble);
    return at->source->close.paused;
}

static bool queue_full(const struct look_at *at, struct why *words)
{
    char room[ROOM_SIZE];
    bool no_room = at->facts->no_room.text[0] != '\0', full = no_room || facts_queue_is_full(at->facts, at->source);
    if (no_room)
        why_set(words, "new events are refused: %.300s", at->facts->no_room.text);
    else if (full)
        why_set(words, "the queue is full, and new events are refused: %s", facts_room(at->facts, room));
    else
        why_set(words, "the queue is nearly full: %s of %lld MiB (queue_max_bytes)", facts_room(at->facts, room),
                (long long)(at->facts->config->queue_max_bytes >> 20));
    return full || facts_queue_is_nearly_full(at->facts);
}

static bool silence(const struct look_at *at, struct why *words)
{
    char span[SPAN_SIZE];
    int64_t limit_ms = at->facts->config->alert_silence_ms, last_ms = at->source->counts.last_accepted_ms;
    if (last_ms == 0)
        last_ms = at->watching_since_ms;
    why_set(words, "nothing was accepted for %s", facts_span(at->facts->now_ms - last_ms, span));
    return limit_ms > 0 && last_ms > 0 && at->facts->now_ms - last_ms > limit_ms;
}

static bool disk_nearly_full(const struct look_at *at, struct why *words)
{
    why_set(words, "%llu MiB are free where the queue is", (unsigned long long)(at->facts->disk_free >> 20));
    return at->facts->disk_free < FACTS_DISK_LEAST;
}

static bool cron_overdue(const struct look_at *at, struct why *words)
{
    char span[SPAN_SIZE];
    why_set(words, "`closecrm.fcgi cron` has not run for %s", facts_span(at->facts->now_ms - at->facts->cron_ms, span));
    return facts_cron_is_overdue(at->facts);
}

static bool queue_broken(const struct look_at *at, struct why *words)
{
    why_set(words, "%.400s", at->facts->queue_why.text);
    return !at->facts->queue_works && at->facts->now_ms - at->watching_since_ms > STARTING_MS;
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

/* Of a source nothing is known while the queue does not work: then nothing has begun, and nothing is over. */
static void add(struct causes *causes, size_t kind, const struct look_at *at)
{
    if (table[kind].of_source && !at->facts->queue_works)
        return;
    struct alert_cause *cause = &causes->at[causes->count++];
    cause->name = table[kind].name;
    cause->source = at->source == NULL ? "" : at->source->name;
    cause->raised = table[kind].find(at, &cause->words);
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
