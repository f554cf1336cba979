/* When to tell, and what was told: see alerts.h. How: alert_command.c. */
#include "health/alerts.h"

#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/lock_file.h"
#include "base/log.h"
#include "base/text.h"
#include "health/alert_command.h"
#include "health/report.h"

#define ALERTS_FILE "alerts.1"
#define ENTRIES 128 /* causes that last, at once */

/* What is known of one cause. All zero: a free place. */
struct alert_entry {
    char name[32];
    char source[72];
    int64_t since_ms;  /* it is raised since then; 0: it is not */
    int64_t told_ms;   /* when its raising was told last */
    int64_t announced; /* 1: it was told that it is raised, and not that it is gone */
};

struct alert_record {
    uint64_t sum; /* of entry */
    struct alert_entry entry[ENTRIES];
};

struct alerts {
    char *const *command;
    int64_t interval_ms;
    const char *state_dir;
    int fd;                     /* held locked once owned; -1: not open */
    struct alert_record record; /* as in the file */
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
} alert_kinds[] = {
    {"events_wait", true, 0, ONE(FINDING_EVENTS_WAIT), "no event waits longer than alert_waiting any more"},
    {"data_plane_refuses", true, 0, ONE(FINDING_DATA_PLANE_REFUSES),
     "the data plane is not known to refuse any more: it takes events, or they are tried anew"},
    {"dead_letters", true, 0, ONE(FINDING_DEAD_LETTERS) | ONE(FINDING_LETTERS_OF_NO_SOURCE),
     "no dead letters are kept any more"},
    {"dead_letters_end", true, 0, ONE(FINDING_DEAD_LETTERS_END), "no dead letter is about to end any more"},
    {"dead_letters_large", false, 0, ONE(FINDING_DEAD_LETTERS_LARGE),
     "dead letters take no more than their quarter of queue_max_bytes"},
    {"subscription_paused", true, 0, ONE(FINDING_SUBSCRIPTION_PAUSED), "Close has no subscription paused any more"},
    {"queue_full", true, 0,
     ONE(FINDING_UNSETTLED) | ONE(FINDING_NO_ROOM) | ONE(FINDING_QUEUE_FULL) | ONE(FINDING_QUEUE_NEARLY_FULL),
     "the queue is neither full nor nearly full any more"},
    {"silence", true, 0, ONE(FINDING_SILENCE),
     "the silence is over: an event was accepted, or alert_silence is another one"},
    {"disk_nearly_full", false, 0, ONE(FINDING_DISK_NEARLY_FULL), "the disk of the queue has room again"},
    {"cron_overdue", false, 0, ONE(FINDING_CRON_OVERDUE), "cron runs again"},
    {"queue_broken", false, 30000, ONE(FINDING_QUEUE_BROKEN), "the queue works"},
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

struct alerts *alerts_new(char *const *command, int64_t interval_ms, const char *state_dir)
{
    struct alerts *alerts = calloc(1, sizeof *alerts);
    if (alerts == NULL)
        return NULL;
    alerts->command = command;
    alerts->interval_ms = interval_ms;
    alerts->state_dir = state_dir;
    alerts->fd = -1;
    atomic_init(&alerts->hurry, false);
    return alerts;
}

void alerts_abandon(struct alerts *alerts)
{
    atomic_store(&alerts->hurry, true);
}

void alerts_free(struct alerts *alerts)
{
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

/* Over the old one: there may be no room for a new file. */
static void write_alert_record(struct alerts *alerts)
{
    alerts->record.sum = checksum(&alerts->record);
    if (alerts->fd < 0)
        return;
    ssize_t n = pwrite(alerts->fd, &alerts->record, sizeof alerts->record, 0);
    (void)n; /* without room this process still knows */
}

bool alerts_claim(struct alerts *alerts)
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

static bool is_entry_of(const struct alert_entry *entry, const struct alert_cause *cause)
{
    return strcmp(entry->name, cause->name) == 0 && strcmp(entry->source, cause->source) == 0;
}

/* The cause's place; for one that is raised a new one where it has none. NULL: none. */
static struct alert_entry *find_entry(struct alerts *alerts, const struct alert_cause *cause)
{
    struct alert_entry *empty = NULL;
    for (size_t i = 0; i < ENTRIES; i++) {
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

/* Noted first: who dies while it runs must not tell it again. */
static void run_alert(struct alerts *alerts, const struct alert_cause *cause, enum alert_state state, int64_t since_ms,
                      int64_t now_ms)
{
    struct error why = {0};
    struct alert alert = {cause->name, cause->source, state, cause->words.text, since_ms, now_ms};
    char words[LOG_QUOTED], reason[LOG_QUOTED];
    write_alert_record(alerts);
    bool good = alert_command_run(alerts->command, &alert, &alerts->hurry, &why);
    log_write(LEVEL_WARN, "msg=alert cause=%s state=%s source=%s words=%s", cause->name, alert_state_word(state),
              cause->source[0] == '\0' ? "-" : cause->source,
              log_quote(words, cause->words.text, strlen(cause->words.text)));
    if (!good)
        log_write(LEVEL_ERROR, "msg=alert_command_failed cause=%s reason=%s", cause->name,
                  log_quote(reason, why.text, strlen(why.text)));
}

/* Returns whether something was told. A cause that comes and goes is told of once in an interval. */
static bool evaluate_raised(struct alerts *alerts, struct alert_entry *entry, const struct alert_cause *cause,
                            int64_t now_ms)
{
    if (entry->since_ms == 0)
        entry->since_ms = now_ms;
    bool due = entry->told_ms == 0 || now_ms - entry->told_ms >= alerts->interval_ms || entry->told_ms > now_ms;
    if (!due)
        return false;
    enum alert_state state = entry->announced != 0 ? ALERT_STILL : ALERT_RAISED;
    entry->told_ms = now_ms;
    entry->announced = 1;
    run_alert(alerts, cause, state, entry->since_ms, now_ms);
    return true;
}

static bool evaluate_gone(struct alerts *alerts, struct alert_entry *entry, const struct alert_cause *cause,
                          int64_t now_ms)
{
    bool announced = entry->announced != 0;
    int64_t since_ms = entry->since_ms;
    entry->announced = 0;
    entry->since_ms = 0;
    if (announced)
        run_alert(alerts, cause, ALERT_GONE, since_ms, now_ms);
    else if (now_ms - entry->told_ms >= alerts->interval_ms)
        memset(entry, 0, sizeof *entry);
    return announced;
}

size_t alerts_evaluate(struct alerts *alerts, const struct alert_cause *causes, size_t count, int64_t now_ms)
{
    size_t told = 0;
    for (size_t i = 0; i < count; i++) {
        struct alert_entry before, *entry = find_entry(alerts, &causes[i]);
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
