/* When to tell, and what was told: see alerts.h. How: alert_send.c. */
#include "health/alerts.h"

#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/files.h"
#include "base/log.h"
#include "base/text.h"
#include "health/alert_told.h"
#include "health/findings.h"
#include "kept/kept.h"

/* It was told that it is raised, and not that it is gone. */
#define ANNOUNCED 1

/* By these ways it could not be told: enum alert_way, from here on. */
#define OWED_SHIFT 1
#define OWED (INT64_C(3) << OWED_SHIFT)

/* What is owed is that it is gone, or that it is so still; else that it is raised. */
#define OWED_GONE 8
#define OWED_STILL 16

#define RETRY_FIRST_MS 15000 /* then twice as long each time, up to ... */
#define RETRY_MOST_MS 600000
#define OWED_MS INT64_C(86400000) /* nobody wants to know any more that something is over for so long */

struct alert_record {
    uint64_t sum; /* of entry */
    struct alert_entry entry[ALERT_ENTRIES];
};

/* When what is owed is tried again; not in the record, so that another process tries at once. */
struct alert_retry {
    int64_t at_ms;
    int64_t pause_ms;
};

struct alerts {
    struct alert_ways ways;
    int64_t interval_ms;
    const char *state_dir;
    int fd;                     /* held locked once owned; -1: not open */
    struct alert_record record; /* as in the file */
    struct alert_retry retry[ALERT_ENTRIES];
    const struct config *shared; /* several machines look at the same causes; NULL: only this one */
    struct kept *kept;           /* while the database is there */
    bool has_lock;               /* no other machine tells */
    bool leads;                  /* likewise, or none is to be asked */
    unsigned failed;             /* ways that failed in this look: what else is to be told by them is put off */
    atomic_bool hurry;
};

#define ONE(id) (UINT64_C(1) << (id))

/* What somebody is alerted of. One cause may have several findings. */
static const struct alert_kind {
    const char *name;
    bool each_source; /* told for each source apart */
    int64_t
        after_ms; /* not told before this process has looked for so long: a queue may be being opened, or repaired */
    uint64_t findings; /* of enum finding_id; the first one that is found gives the words */
    const char *over;  /* what to say when it is not so any more: it must be true however it ended */
    const char *brief; /* what to say of it where nothing that others said may go */
} alert_kinds[] = {
    {"events_wait", true, 0, ONE(FINDING_EVENTS_WAIT), "no event waits longer than alert_waiting any more",
     "events wait for longer than alert_waiting"},
    {"data_plane_refuses", true, 0, ONE(FINDING_DATA_PLANE_REFUSES),
     "the data plane is not known to refuse any more: it takes events, or they are tried anew",
     "the data plane refuses what is sent, and events wait until somebody acts"},
    {"dead_letters", true, 0, ONE(FINDING_DEAD_LETTERS) | ONE(FINDING_LETTERS_OF_NO_SOURCE),
     "no dead letters are kept any more", "dead letters are kept: events that cannot be delivered"},
    {"dead_letters_end", true, 0, ONE(FINDING_DEAD_LETTERS_END), "no dead letter is about to end any more",
     "dead letters will be deleted within a week"},
    {"dead_letters_large", false, 0, ONE(FINDING_DEAD_LETTERS_LARGE),
     "dead letters take no more than their quarter of queue_max_bytes",
     "dead letters take more than a quarter of queue_max_bytes"},
    {"subscription_paused", true, 0, ONE(FINDING_SUBSCRIPTION_PAUSED), "Close has no subscription paused any more",
     "Close has paused the subscription and sends nothing"},
    {"queue_full", true, 0,
     ONE(FINDING_UNSETTLED) | ONE(FINDING_NO_ROOM) | ONE(FINDING_QUEUE_FULL) | ONE(FINDING_QUEUE_NEARLY_FULL),
     "the queue is neither full nor nearly full any more", "the queue is full, or nearly"},
    {"silence", true, 0, ONE(FINDING_SILENCE),
     "the silence is over: an event was accepted, or alert_silence is another one",
     "no event was accepted for alert_silence"},
    {"disk_nearly_full", false, 0, ONE(FINDING_DISK_NEARLY_FULL), "the disk of the queue has room again",
     "the disk of the queue is nearly full"},
    {"cron_overdue", false, 0, ONE(FINDING_CRON_OVERDUE), "cron runs again", "cron does not run any more"},
    {"queue_broken", false, 30000, ONE(FINDING_QUEUE_BROKEN) | ONE(FINDING_QUEUE_PARTLY_BROKEN), "the queue works",
     "the queue does not work"},
};

#define ALERT_KINDS (sizeof alert_kinds / sizeof *alert_kinds)

static void add_cause(struct alert_causes *causes, const struct alert_kind *kind, const struct facts *facts,
                      const struct source_facts *source)
{
    char line[REPORT_SIZE];
    struct finding finding;
    struct alert_cause *cause = &causes->at[causes->count];
    enum finding_outcome outcome = FINDING_ABSENT;
    for (enum finding_id id = 0; id < FINDINGS && outcome != FINDING_FOUND; id++) {
        enum finding_outcome one = FINDING_ABSENT;
        if ((kind->findings & ONE(id)) != 0)
            one = finding_judge(id, facts, source, &finding);
        outcome = one == FINDING_ABSENT ? outcome : one;
    }
    if (outcome == FINDING_UNKNOWN ||
        (outcome == FINDING_FOUND && facts->now_ms - facts->watching_since_ms < kind->after_ms))
        return;
    cause->name = kind->name;
    cause->source = source == NULL ? "" : source->name;
    cause->raised = outcome == FINDING_FOUND;
    error_set(&cause->words, "%s", cause->raised ? report_line(&finding, line) : kind->over);
    cause->brief = cause->raised ? kind->brief : kind->over;
    cause->waiting = source == NULL ? facts->all.waiting : source->counts.waiting;
    cause->dead = source == NULL ? facts->all.dead : source->counts.dead;
    causes->count++;
}

bool alerts_find_causes(const struct facts *facts, struct alert_causes *causes)
{
    alerts_free_causes(causes);
    causes->at = calloc(ALERT_KINDS * (facts->sources + 1), sizeof *causes->at);
    if (causes->at == NULL)
        return false;
    for (const struct alert_kind *kind = alert_kinds; kind < alert_kinds + ALERT_KINDS; kind++) {
        if (!kind->each_source)
            add_cause(causes, kind, facts, NULL);
        for (size_t i = 0; kind->each_source && i < facts->sources; i++)
            add_cause(causes, kind, facts, &facts->source[i]);
    }
    return true;
}

void alerts_free_causes(struct alert_causes *causes)
{
    free(causes->at);
    *causes = (struct alert_causes){0};
}

static uint64_t checksum(const struct alert_record *record)
{
    return text_hash(TEXT_HASH, record->entry, sizeof record->entry);
}

struct alerts *alerts_new(const struct alert_ways *ways, int64_t interval_ms, const char *state_dir)
{
    struct alerts *alerts = calloc(1, sizeof *alerts);
    if (alerts == NULL)
        return NULL;
    alerts->ways = *ways;
    alerts->interval_ms = interval_ms;
    alerts->state_dir = state_dir;
    alerts->fd = -1;
    alerts->leads = true;
    atomic_init(&alerts->hurry, false);
    return alerts;
}

void alerts_abandon(struct alerts *alerts)
{
    atomic_store(&alerts->hurry, true);
}

void alerts_free(struct alerts *alerts)
{
    if (alerts != NULL)
        kept_close(alerts->kept);
    if (alerts != NULL && alerts->fd >= 0)
        close(alerts->fd);
    free(alerts);
}

/* What was told before. Half a record counts as none. */
static void read_alert_record(struct alerts *alerts)
{
    struct alert_record read = {0};
    if (pread(alerts->fd, &read, sizeof read, 0) == (ssize_t)sizeof read && read.sum == checksum(&read))
        alerts->record = read;
}

/* ---- what several machines share ---- */

#define TOLD "told"
#define TOLD_ALERTS "alerts"
#define ALERTS_LOCK "alerts.lock"

/* Where that fails the lock is asked for again. */
static void share_record(struct alerts *alerts)
{
    char directory[FILES_PATH];
    struct buffer text = {0};
    alert_entries_print(alerts->record.entry, &text);
    alerts->has_lock = !text.failed && files_make_directory(directory, alerts->state_dir, TOLD, NULL) &&
                       kept_put(alerts->kept, directory, TOLD_ALERTS, text.data, NULL);
    buffer_free(&text);
}

static void read_shared(struct alerts *alerts)
{
    char *text = files_read(alerts->state_dir, TOLD "/" TOLD_ALERTS, NULL, NULL);
    if (text != NULL)
        alert_entries_take(alerts->record.entry, text);
    free(text);
}

/* Without the database each machine tells: rather twice than not at all. */
static void claim_shared(struct alerts *alerts)
{
    char directory[FILES_PATH];
    if (alerts->has_lock && kept_look(alerts->kept, NULL))
        return;
    bool led = alerts->leads;
    if (alerts->has_lock || alerts->kept == NULL) {
        kept_close(alerts->kept); /* what it had is lost */
        alerts->kept = kept_open(alerts->shared, NULL);
    }
    alerts->has_lock = alerts->kept != NULL && files_make_directory(directory, alerts->state_dir, TOLD, NULL) &&
                       kept_lock(alerts->kept, directory, ALERTS_LOCK, 0, NULL);
    alerts->leads = alerts->has_lock || alerts->kept == NULL || !kept_look(alerts->kept, NULL);
    if (!alerts->leads)
        alert_entries_forget(alerts->record.entry);
    else if (alerts->has_lock || !led)
        read_shared(alerts);
}

void alerts_share(struct alerts *alerts, const struct config *config)
{
    alerts->shared = config;
    alerts->leads = false;
}

/* Over the old one: there may be no room for a new file. */
static void write_alert_record(struct alerts *alerts)
{
    alerts->record.sum = checksum(&alerts->record);
    if (alerts->fd < 0)
        return;
    ssize_t n = pwrite(alerts->fd, &alerts->record, sizeof alerts->record, 0);
    (void)n; /* without room this process still knows */
    if (alerts->has_lock)
        share_record(alerts);
}

/* Of all processes of this machine. */
static bool claim_here(struct alerts *alerts)
{
    char path[PATH_MAX];
    bool owned = alerts->fd >= 0;
    if (alerts->state_dir == NULL)
        return true;
    snprintf(path, sizeof path, "%s/" ALERTS_FILE, alerts->state_dir);
    if (owned && lock_is_current(alerts->fd, path))
        return true;
    if (lock_take(&alerts->fd, path, LOCK_EX | LOCK_NB) != 0) {
        if (alerts->fd >= 0)
            close(alerts->fd);
        alerts->fd = -1;
        return false;
    }
    if (owned)
        write_alert_record(alerts); /* the file was removed: what it said is known here */
    else
        read_alert_record(alerts);
    return true;
}

bool alerts_claim(struct alerts *alerts)
{
    if (!claim_here(alerts))
        return false;
    if (alerts->shared != NULL)
        claim_shared(alerts);
    return true;
}

static bool is_entry_of(const struct alert_entry *entry, const struct alert_cause *cause)
{
    return strcmp(entry->name, cause->name) == 0 && strcmp(entry->source, cause->source) == 0;
}

/* The cause's place; for one that is raised a new one where it has none. NULL: none. */
static struct alert_entry *find_entry(struct alerts *alerts, const struct alert_cause *cause)
{
    struct alert_entry *empty = NULL;
    for (size_t i = 0; i < ALERT_ENTRIES; i++) {
        struct alert_entry *entry = &alerts->record.entry[i];
        if (is_entry_of(entry, cause))
            return entry;
        if (entry->name[0] == '\0' && empty == NULL)
            empty = entry;
    }
    if (!cause->raised || empty == NULL)
        return NULL;
    memset(empty, 0, sizeof *empty);
    snprintf(empty->name, sizeof empty->name, "%s", cause->name);
    snprintf(empty->source, sizeof empty->source, "%s", cause->source);
    return empty;
}

static void log_failed(const struct alerts *alerts, const struct alert_cause *cause, enum alert_way way,
                       const struct error *why)
{
    char reason[LOG_QUOTED];
    if (atomic_load(&alerts->hurry))
        return;
    log_write(LEVEL_ERROR, "msg=%s cause=%s reason=%s",
              way == ALERT_BY_COMMAND ? "alert_command_failed" : "alert_webhook_failed", cause->name,
              log_quote_reason(reason, why->text));
}

/* Tells by these ways. Returns those that failed. */
static unsigned send_by(struct alerts *alerts, const struct alert_cause *cause, const struct alert *alert,
                        unsigned ways)
{
    unsigned failed = 0;
    for (unsigned i = 0; i < ALERT_WAYS; i++) {
        enum alert_way way = (enum alert_way)(1U << i);
        struct error why = {0};
        if ((ways & way) == 0)
            continue;
        if ((alerts->failed & way) != 0) {
            failed |= way;
        } else if (!alert_send(&alerts->ways, way, alert, &alerts->hurry, &why)) {
            failed |= way;
            alerts->failed |= ALERT_BY_WEBHOOK & way; /* ten seconds for each cause would be long */
            log_failed(alerts, cause, way, &why);
        }
    }
    return failed;
}

static void put_off(struct alert_retry *retry, int64_t now_ms)
{
    int64_t pause_ms = retry->pause_ms == 0 ? RETRY_FIRST_MS : 2 * retry->pause_ms;
    retry->pause_ms = pause_ms < RETRY_MOST_MS ? pause_ms : RETRY_MOST_MS;
    retry->at_ms = now_ms + retry->pause_ms;
}

/* Noted first: who dies while it runs must not tell it again. */
static void run_alert(struct alerts *alerts, struct alert_entry *entry, const struct alert_cause *cause,
                      enum alert_state state, int64_t now_ms, unsigned ways)
{
    struct alert_retry *retry = &alerts->retry[entry - alerts->record.entry];
    struct alert alert = {.cause = cause->name,
                          .source = cause->source,
                          .state = state,
                          .words = cause->words.text,
                          .since_ms = entry->since_ms,
                          .now_ms = now_ms,
                          .brief = cause->brief,
                          .waiting = cause->waiting,
                          .dead = cause->dead};
    entry->announced = state == ALERT_GONE ? 0 : ANNOUNCED;
    write_alert_record(alerts);
    unsigned failed = send_by(alerts, cause, &alert, ways);
    if (failed == 0) {
        *retry = (struct alert_retry){0};
        return;
    }
    entry->announced |= (int64_t)failed << OWED_SHIFT;
    entry->announced |= state == ALERT_GONE ? OWED_GONE : state == ALERT_STILL ? OWED_STILL : 0;
    put_off(retry, now_ms);
}

static void begin_alert(struct alerts *alerts, struct alert_entry *entry, const struct alert_cause *cause,
                        enum alert_state state, int64_t now_ms, unsigned ways)
{
    char words[LOG_QUOTED];
    log_write(LEVEL_WARN, "msg=alert cause=%s state=%s source=%s words=%s", cause->name, alert_state_word(state),
              cause->source[0] == '\0' ? "-" : cause->source, log_quote_reason(words, cause->words.text));
    alerts->retry[entry - alerts->record.entry] = (struct alert_retry){0};
    run_alert(alerts, entry, cause, state, now_ms, ways);
}

static unsigned owed_ways(const struct alert_entry *entry)
{
    return (unsigned)((entry->announced & OWED) >> OWED_SHIFT);
}

/* Tries again what could not be told. Returns whether it did. */
static bool try_owed(struct alerts *alerts, struct alert_entry *entry, const struct alert_cause *cause, int64_t now_ms)
{
    const struct alert_retry *retry = &alerts->retry[entry - alerts->record.entry];
    unsigned ways = owed_ways(entry);
    bool is_gone = (entry->announced & OWED_GONE) != 0;
    if (ways == 0 || is_gone == cause->raised || (retry->at_ms > now_ms && retry->at_ms - now_ms <= RETRY_MOST_MS))
        return false;
    enum alert_state state = is_gone ? ALERT_GONE : (entry->announced & OWED_STILL) != 0 ? ALERT_STILL : ALERT_RAISED;
    run_alert(alerts, entry, cause, state, now_ms, ways);
    return true;
}

/* Returns whether something was told. A cause that comes and goes is told of once in an interval. */
static bool evaluate_raised(struct alerts *alerts, struct alert_entry *entry, const struct alert_cause *cause,
                            int64_t now_ms)
{
    if (entry->since_ms == 0 || (entry->announced & OWED_GONE) != 0) {
        entry->since_ms = now_ms;
        entry->announced = entry->announced != 0 ? ANNOUNCED : 0; /* who does not know that it was gone knows enough */
    }
    bool due = entry->told_ms == 0 || now_ms - entry->told_ms >= alerts->interval_ms || entry->told_ms > now_ms;
    if (!due)
        return try_owed(alerts, entry, cause, now_ms);
    enum alert_state state = (entry->announced & ANNOUNCED) != 0 ? ALERT_STILL : ALERT_RAISED;
    entry->told_ms = now_ms;
    begin_alert(alerts, entry, cause, state, now_ms, alert_ways_all(&alerts->ways));
    return true;
}

/* Who was not told that it is raised is not told that it is gone. */
static bool evaluate_gone(struct alerts *alerts, struct alert_entry *entry, const struct alert_cause *cause,
                          int64_t now_ms)
{
    bool told = false, owes_raised = (entry->announced & (OWED_GONE | OWED_STILL)) == 0;
    if ((entry->announced & ANNOUNCED) != 0) {
        unsigned ways = alert_ways_all(&alerts->ways) & ~(owes_raised ? owed_ways(entry) : 0U);
        begin_alert(alerts, entry, cause, ALERT_GONE, now_ms, ways);
        told = true;
    } else {
        told = try_owed(alerts, entry, cause, now_ms);
    }
    if ((entry->announced & OWED) != 0 && now_ms - entry->told_ms < alerts->interval_ms + OWED_MS)
        return told; /* since_ms is told with what is owed */
    entry->announced = 0;
    entry->since_ms = 0;
    if (!told && now_ms - entry->told_ms >= alerts->interval_ms)
        memset(entry, 0, sizeof *entry);
    return told;
}

size_t alerts_evaluate(struct alerts *alerts, const struct alert_cause *causes, size_t count, int64_t now_ms)
{
    size_t told = 0;
    alerts->failed = 0;
    for (size_t i = 0; i < count; i++) {
        bool mine = alerts->leads || alert_is_of_machine(causes[i].name);
        struct alert_entry before, *entry = mine ? find_entry(alerts, &causes[i]) : NULL;
        if (entry == NULL)
            continue;
        memcpy(&before, entry, sizeof before);
        bool any = causes[i].raised ? evaluate_raised(alerts, entry, &causes[i], now_ms)
                                    : evaluate_gone(alerts, entry, &causes[i], now_ms);
        told += any ? 1 : 0;
        if (memcmp(&before, entry, sizeof before) != 0)
            write_alert_record(alerts);
    }
    return told;
}
