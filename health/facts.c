/* Gathering facts: see facts.h. */
#include "health/facts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>

#include "base/error.h"
#include "base/program_name.h"
#include "kept/kept.h"
#include "kept/keys.h"
#include "telemetry/telemetry.h"

#define LETTERS_AT_ONCE 256                         /* read at once, ... */
#define LETTERS_BYTES_AT_ONCE ((size_t)1024 * 1024) /* ... and their bytes */

const char *facts_span(int64_t ms, char out[static SPAN_SIZE])
{
    return times_print_span(ms, out);
}

const char *facts_date(int64_t ms, char out[static DATE_SIZE])
{
    return times_print_ms(ms, DATE_UTC, out);
}

/* The end of the last minute of the day in which there was any; 0: there was none. */
static void find_last_minutes(const struct tally *tally, int64_t now_ms, struct counts *counts)
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
    find_last_minutes(&one->tally, now_ms, &one->counts);
}

static void ask_queue_of_source(struct source_facts *one, struct queue *queue)
{
    if (queue_count(queue, one->name, &one->counts, &one->away) &&
        queue_notes(queue, one->name, &one->notes, &one->away))
        one->away.text[0] = '\0';
    else if (one->away.text[0] == '\0')
        error_set(&one->away, "it cannot be asked");
}

/* Sources may have queues of their own: what is broken is the queue only where none works. */
static void look_whether_any_works(struct facts *facts)
{
    for (size_t i = 0; i < facts->config->sources; i++) {
        if (facts->source[i].away.text[0] == '\0')
            return;
    }
    facts->queue_works = false;
    facts->queue_why = facts->source[0].away;
    if (config_has_several_queues(facts->config) && facts->source[0].away.text[0] != '\0')
        error_prefix(&facts->queue_why, "source %.64s: ", facts->source[0].name);
}

static int64_t earlier(int64_t a, int64_t b)
{
    return a == 0 || (b != 0 && b < a) ? b : a;
}

static int64_t later(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static void add_counts(struct counts *all, const struct counts *one)
{
    all->accepted += one->accepted;
    all->delivered += one->delivered;
    all->duplicates += one->duplicates;
    all->dropped += one->dropped;
    all->dead += one->dead;
    all->ended += one->ended;
    all->discarded += one->discarded;
    all->lost += one->lost;
    all->ending += one->ending;
    all->ending_ms = earlier(all->ending_ms, one->ending_ms);
    all->waiting += one->waiting;
    all->oldest_received_ms = earlier(all->oldest_received_ms, one->oldest_received_ms);
    all->last_accepted_ms = later(all->last_accepted_ms, one->last_accepted_ms);
    all->last_delivered_ms = later(all->last_delivered_ms, one->last_delivered_ms);
}

static void gather_source(struct facts *facts, struct source_facts *one, struct queue *queue, struct counters *counters)
{
    if (one->source != NULL)
        counters_read(counters_of(counters, one->name), facts->now_ms, &one->tally);
    if (!facts->is_durable)
        count_in_memory(one, facts->now_ms);
    else if (queue != NULL)
        ask_queue_of_source(one, queue);
    one->uncounted = facts->is_durable && (queue == NULL || one->away.text[0] != '\0');
    if (one->source != NULL && closeapi_completeness(facts->config, one->source, &one->close, &one->close_why))
        one->close_why.text[0] = '\0'; /* it may stand there all the same */
    if (one->counts.oldest_received_ms > 0 && facts->now_ms > one->counts.oldest_received_ms)
        one->oldest_seconds = (facts->now_ms - one->counts.oldest_received_ms) / 1000;
    add_counts(&facts->all, &one->counts);
}

static void gather_keys(struct facts *facts)
{
    struct keyring held;
    struct error unread = {0};
    bool unnoted, is_read = kept_keys_read(facts->config, &held, &unread);
    for (size_t i = 0; i < facts->sources; i++) {
        struct source_facts *one = &facts->source[i];
        struct source_keys keys;
        if (one->source != NULL)
            one->signature =
                signed_judge(facts->config, one->source, is_read ? &held : NULL, &unread, &unnoted, &one->keys);
        if (one->source != NULL && source_keys_list(&keys, one->source, is_read ? &held : NULL)) {
            source_keys_words(&keys, facts->config, one->signers);
            source_keys_free(&keys);
        }
        if (one->signature != SIGNED_PART && one->signature != SIGNED_LOST)
            one->keys.text[0] = '\0';
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

bool facts_read_letters(struct facts *facts, struct queue *queue, const char *source, uint64_t *after,
                        struct error *why)
{
    struct letters letters = {0};
    int n;
    while ((n = queue_letters(queue, source, *after, LETTERS_AT_ONCE, LETTERS_BYTES_AT_ONCE, &letters, why)) > 0) {
        const struct letter *newest = &letters.at[n - 1];
        facts->new_letters += (size_t)n;
        if (newest->died_ms >= facts->newest_died_ms)
            error_set(&facts->newest_letter, "source %.64s: %.300s", newest->source, newest->reason);
        facts->newest_died_ms = newest->died_ms > facts->newest_died_ms ? newest->died_ms : facts->newest_died_ms;
        *after = newest->id;
    }
    letters_free(&letters);
    return n == 0;
}

void facts_leave_out_empty(struct facts *facts)
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
    facts->launcher = getenv("CLOSECRM_LAUNCHER");
    facts->crontab = facts->launcher == NULL ? NULL : program_name_crontab();
    facts->disk_free = facts->disk_size = UINT64_MAX;
    queue_left(facts->config, &facts->behind);
    if (!facts->is_durable || state_dir == NULL)
        return;
    cron_mark_read(state_dir, &mark);
    facts->cron_ms = mark.ran_ms;
    int error = no_room_predict(state_dir);
    if (error != 0)
        error_set(&facts->disk_full, "%s: %s", no_room_words(error), no_room_advice(error));
    if (statvfs(state_dir, &disk) == 0) {
        facts->disk_free = (uint64_t)disk.f_bavail * disk.f_frsize;
        facts->disk_size = (uint64_t)disk.f_blocks * disk.f_frsize;
    }
    if (!closeapi_left_over(facts->config, facts->left_over))
        facts->left_over[0] = '\0';
    if (!backup_unfinished(state_dir, facts->backup))
        facts->backup[0] = '\0';
    queue_look_elsewhere(facts->config, &facts->elsewhere);
    queue_look_for_other(facts->config, facts->other);
}

static void ask_queue_of_all(struct facts *facts, struct queue *queue, struct strings *names)
{
    if (!facts->is_durable) {
        facts->is_owned = true;
        error_set(&facts->owner, "each process forwards what it has accepted");
    } else if (queue != NULL && (!queue_names(queue, names, &facts->queue_why) ||
                                 !queue_is_owned(queue, &facts->is_owned, &facts->owner, &facts->queue_why))) {
        facts->queue_works = false;
    }
    if (queue != NULL && !queue_stands(queue, &facts->replaced) && facts->replaced.kind == ERROR_MISSING) {
        facts->queue_works = false; /* nor is there a full disk: what is looked at is gone */
        facts->queue_why = facts->replaced;
        facts->replaced.text[0] = '\0';
    } else if (queue != NULL) {
        queue_has_room(queue, &facts->no_room);
        queue_can_be_settled(queue, &facts->unsettled);
    }
}

/* What the processes of this state directory count is kept beside the queue: commands read it there. */
static void gather_sources(struct facts *facts, struct queue *queue, struct counters *counters)
{
    struct error unread;
    bool kept = counters == NULL && queue != NULL && facts->is_durable;
    if (kept)
        counters = counters_open_all(facts->config, &unread);
    if (counters != NULL)
        counters_read(counters_of(counters, NULL), facts->now_ms, &facts->nowhere);
    if (kept_is_shared(facts->config))
        snprintf(facts->machine, sizeof facts->machine, "%s", counters_machine(counters));
    for (size_t i = 0; i < facts->sources; i++)
        gather_source(facts, &facts->source[i], queue, counters);
    look_whether_any_works(facts);
    if (kept)
        counters_close(counters);
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
    facts->queue_works = queue != NULL || queue_why == NULL || !facts->is_durable;
    if (queue_why != NULL)
        facts->queue_why = *queue_why;
    ask_queue_of_all(facts, queue, &names);
    bool good = list_sources(facts, &names);
    queue_names_free(&names);
    if (!good) {
        facts_free(facts);
        return NULL;
    }
    gather_machine(facts);
    gather_sources(facts, queue, counters);
    gather_keys(facts);
    if (facts->is_durable && queue != NULL &&
        (!queue_room(queue, &facts->room, &facts->queue_why) ||
         !queue_describe(queue, &facts->setup, &facts->queue_why)))
        facts->queue_works = false;
    return facts;
}

void facts_add_others(struct facts *facts)
{
    struct machines *machines = facts == NULL ? NULL : machines_read(facts->config);
    const char *unread = "";
    if (machines == NULL)
        return;
    for (size_t i = 0; i < facts->sources; i++) {
        if (facts->source[i].source != NULL)
            machines_add(machines, facts->source[i].name, facts->now_ms, &facts->source[i].tally);
    }
    machines_add(machines, NULL, facts->now_ms, &facts->nowhere);
    facts->machines = machines_count(machines);
    facts->machines_unread = machines_unreadable(machines, &unread);
    snprintf(facts->machine_unread, sizeof facts->machine_unread, "%s", unread);
    facts->heard_ms = kept_heard_ms(facts->config);
    machines_free(machines);
}

void facts_free(struct facts *facts)
{
    if (facts == NULL)
        return;
    for (size_t i = 0; i < facts->sources; i++)
        completeness_free(&facts->source[i].close);
    free(facts->source);
    free(facts->found);
    free(facts->crontab);
    free(facts);
}

const char *facts_failure(const struct facts *facts)
{
    if (!facts->queue_works)
        return facts->queue_why.text;
    for (size_t i = 0; i < facts->sources; i++) {
        if (facts->source[i].away.text[0] != '\0')
            return facts->source[i].away.text;
        if (facts->source[i].close_why.text[0] != '\0')
            return facts->source[i].close_why.text;
    }
    return "";
}

uint64_t facts_counted_bytes(const struct facts *facts)
{
    const struct queue_room *room = &facts->room;
    uint64_t letters = room->letters < room->used ? room->letters : room->used;
    return room->used - letters + (letters < room->share ? letters : room->share);
}

const char *facts_room(const struct facts *facts, char out[static ROOM_SIZE])
{
    const struct queue_room *room = &facts->room;
    uint64_t waiting = room->used > room->letters ? room->used - room->letters : 0;
    snprintf(out, ROOM_SIZE, "%llu MiB of events that wait or are known, %llu MiB of dead letters",
             (unsigned long long)(waiting >> 20), (unsigned long long)(room->letters >> 20));
    return out;
}
