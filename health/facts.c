/* Gathering facts: see facts.h. */
#include "health/facts.h"

#include "closeapi/closeapi.h"
#include "config/signed.h"
#include "telemetry/cron_mark.h"
#include "webhook/refusals.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <time.h>

const char *facts_span(int64_t ms, char out[static SPAN_SIZE])
{
    return times_print_span(ms, out);
}

const char *facts_date(int64_t ms, char out[static DATE_SIZE])
{
    return times_print_ms(ms, DATE_UTC, out);
}

const char *facts_room(const struct facts *facts, char out[static ROOM_SIZE])
{
    const struct queue_room *room = &facts->room;
    uint64_t waiting = room->used > room->letters ? room->used - room->letters : 0;
    snprintf(out, ROOM_SIZE, "%llu MiB of events that wait or are known, %llu MiB of dead letters",
             (unsigned long long)(waiting >> 20), (unsigned long long)(room->letters >> 20));
    return out;
}

/* The end of the last minute of the day in which there was any; 0: there was none. */
static void find_last(const struct tally *tally, int64_t now_ms, struct counts *counts)
{
    for (size_t i = 0; i < COUNTED_MINUTES; i++) {
        int64_t end_ms = (now_ms / 60000 - COUNTED_MINUTES + 2 + (int64_t)i) * 60000;
        if (tally->minute[i].accepted > 0)
            counts->last_accepted_ms = end_ms < now_ms ? end_ms : now_ms;
        if (tally->minute[i].delivered > 0)
            counts->last_delivered_ms = end_ms < now_ms ? end_ms : now_ms;
    }
}

/* The queue keeps no counts: those of this process. */
static void count_in_memory(struct source_facts *one, int64_t now_ms)
{
    const uint64_t *outcome = one->tally.outcome;
    one->counts = (struct counts){
        .accepted = outcome[COUNTED_ACCEPTED],
        .delivered = outcome[COUNTED_DELIVERED],
        .duplicates = outcome[COUNTED_DUPLICATE],
        .dropped = outcome[COUNTED_DROPPED],
        .dead = outcome[COUNTED_DEAD],
    };
    find_last(&one->tally, now_ms, &one->counts);
}

static bool ask_queue(struct facts *facts, struct source_facts *one, struct queue *queue)
{
    if (queue_count(queue, one->name, &one->counts, &facts->queue_why) &&
        queue_notes(queue, one->name, &one->notes, &facts->queue_why))
        return true;
    facts->queue_works = false;
    return false;
}

static void gather_close(const struct facts *facts, struct source_facts *one)
{
    struct completeness known;
    if (!closeapi_completeness(facts->config, one->source, &known, NULL))
        return;
    one->close = (struct close_facts){.asked_ms = known.last_run_ms,
                                      .since_ms = known.since_ms,
                                      .until_ms = known.until_ms,
                                      .missed = known.missed,
                                      .paused = known.paused};
    snprintf(one->close.trouble, sizeof one->close.trouble, "%.255s", known.trouble);
    completeness_free(&known);
}

static void gather_source(struct facts *facts, struct source_facts *one, struct queue *queue, struct counters *counters)
{
    if (one->source != NULL)
        counters_read(counters_of(counters, one->name), facts->now_ms, &one->tally);
    if (!facts->is_durable)
        count_in_memory(one, facts->now_ms);
    else if (queue != NULL)
        ask_queue(facts, one, queue);
    if (one->source != NULL)
        gather_close(facts, one);
    if (one->counts.oldest_received_ms > 0 && facts->now_ms > one->counts.oldest_received_ms)
        one->oldest_seconds = (facts->now_ms - one->counts.oldest_received_ms) / 1000;
}

/* Which sources let nothing in, for their signature key is missing. */
static void gather_locked(struct facts *facts)
{
    struct keyring held;
    struct error unread = {0};
    bool unnoted, is_read = keyring_read(facts->config->state_dir, &held, &unread);
    for (size_t i = 0; i < facts->sources; i++) {
        struct source_facts *one = &facts->source[i];
        if (one->source != NULL && signed_judge(facts->config, one->source, is_read ? &held : NULL, &unread, &unnoted,
                                                &one->locked) != SIGNED_LOST)
            one->locked.text[0] = '\0';
    }
    if (is_read)
        keyring_free(&held);
}

/* The configured sources, and those that only the queue knows any more. */
static bool list_sources(struct facts *facts, const struct strings *names)
{
    const struct config *config = facts->config;
    facts->source = calloc(config->sources + names->count, sizeof *facts->source);
    if (facts->source == NULL)
        return false;
    for (size_t i = 0; i < config->sources; i++) {
        struct source_facts *one = &facts->source[facts->sources++];
        one->source = &config->source[i];
        snprintf(one->name, sizeof one->name, "%s", config->source[i].name);
    }
    for (size_t i = 0; i < names->count; i++) {
        if (config_source(config, names->at[i]) == NULL)
            snprintf(facts->source[facts->sources++].name, sizeof facts->source->name, "%s", names->at[i]);
    }
    return true;
}

/* What was once configured, and has nothing left that anybody could do something about, is not shown. */
static void leave_out_empty(struct facts *facts)
{
    size_t kept = facts->config->sources;
    for (size_t i = kept; i < facts->sources; i++) {
        if (facts->source[i].counts.waiting + facts->source[i].counts.dead == 0)
            continue;
        if (kept < i)
            memcpy(&facts->source[kept], &facts->source[i], sizeof *facts->source);
        kept++;
    }
    facts->sources = kept;
}

static void gather_machine(struct facts *facts)
{
    struct statvfs disk;
    struct cron_mark mark;
    const char *state_dir = facts->config->state_dir;
    facts->disk_free = facts->disk_size = UINT64_MAX;
    if (!facts->is_durable || state_dir == NULL)
        return;
    cron_mark_read(state_dir, &mark);
    facts->cron_ms = mark.ran_ms;
    if (statvfs(state_dir, &disk) == 0) {
        facts->disk_free = (uint64_t)disk.f_bavail * disk.f_frsize;
        facts->disk_size = (uint64_t)disk.f_blocks * disk.f_frsize;
    }
}

/* "HOST BOOT PID" as the queue has it, for people. */
static void say_owner(struct error *owner)
{
    char host[64], boot[48], pid[16], rest[2];
    if (sscanf(owner->text, "%63s %47s %15[0-9]%1s", host, boot, pid, rest) == 3)
        error_set(owner, "process %s on %s", pid, host);
}

static void ask_queue_first(struct facts *facts, struct queue *queue, struct strings *names)
{
    if (facts->is_durable && queue == NULL)
        facts->queue_works = false;
    if (!facts->is_durable) {
        facts->is_owned = true;
        error_set(&facts->owner, "each process forwards what it has accepted");
    } else if (queue != NULL && (!queue_names(queue, names, &facts->queue_why) ||
                                 !queue_is_owned(queue, &facts->is_owned, &facts->owner, &facts->queue_why))) {
        facts->queue_works = false;
    }
    if (queue != NULL)
        queue_has_room(queue, &facts->no_room);
    if (queue != NULL)
        queue_can_be_settled(queue, &facts->unsettled);
    say_owner(&facts->owner);
}

struct facts *facts_gather(const struct config *config, struct queue *queue, const struct error *queue_why,
                           struct counters *counters, int64_t now_ms)
{
    struct strings names = {0};
    struct facts *facts = calloc(1, sizeof *facts);
    if (facts == NULL)
        return NULL;
    facts->config = config;
    facts->now_ms = now_ms;
    facts->is_durable = config->queue != QUEUE_NONE;
    facts->queue_works = true;
    if (queue_why != NULL)
        facts->queue_why = *queue_why;
    ask_queue_first(facts, queue, &names);
    bool good = list_sources(facts, &names);
    queue_names_free(&names);
    if (!good) {
        facts_free(facts);
        return NULL;
    }
    gather_machine(facts);
    if (counters != NULL)
        counters_read(counters_of(counters, NULL), now_ms, &facts->nowhere);
    for (size_t i = 0; i < facts->sources; i++)
        gather_source(facts, &facts->source[i], queue, counters);
    gather_locked(facts);
    leave_out_empty(facts);
    if (facts->is_durable && queue != NULL && !queue_room(queue, &facts->room, &facts->queue_why))
        facts->queue_works = false;
    facts_judge(facts);
    return facts;
}

void facts_free(struct facts *facts)
{
    if (facts == NULL)
        return;
    free(facts->source);
    free(facts);
}

bool facts_cron_is_overdue(const struct facts *facts)
{
    return facts->cron_ms > 0 && facts->now_ms - facts->cron_ms > FACTS_CRON_OVERDUE_MS;
}

/* The bytes of it that count against queue_max_bytes. */
static uint64_t counted_bytes(const struct facts *facts)
{
    const struct queue_room *room = &facts->room;
    uint64_t letters = room->letters < room->used ? room->letters : room->used;
    return room->used - letters + (letters < room->share ? letters : room->share); /* more of them do not fill it */
}

bool facts_queue_is_nearly_full(const struct facts *facts)
{
    return counted_bytes(facts) > (uint64_t)facts->config->queue_max_bytes / 5 * 4;
}

bool facts_queue_is_used_up(const struct facts *facts)
{
    return counted_bytes(facts) >= (uint64_t)facts->config->queue_max_bytes;
}

bool facts_is_unsettled(const struct facts *facts, const struct source_facts *source)
{
    return facts->unsettled.text[0] != '\0' && source->counts.waiting > 0;
}

bool facts_queue_is_full(const struct facts *facts, const struct source_facts *source)
{
    int64_t full_ms = source->tally.refused_last_ms[REFUSED_QUEUE_FULL];
    return full_ms > 0 && full_ms > source->counts.last_accepted_ms && facts->now_ms - full_ms < 10 * FACTS_LATELY_MS;
}
