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

#define ALERTS_FILE "alerts.1"
#define ENTRIES 128 /* causes that last, at once */

/* What is known of one cause. All zero: a free place. */
struct entry {
    char name[32];
    char source[72];
    int64_t since_ms;  /* it is raised since then; 0: it is not */
    int64_t told_ms;   /* when its raising was told last */
    int64_t announced; /* 1: it was told that it is raised, and not that it is gone */
};

struct record {
    uint64_t sum; /* of entry */
    struct entry entry[ENTRIES];
};

struct alerts {
    char *const *command;
    int64_t interval_ms;
    const char *state_dir;
    int fd;               /* held locked once owned; -1: not open */
    struct record record; /* as in the file */
    atomic_bool hurry;
};

static uint64_t sum_of(const struct record *record)
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

void alerts_hurry(struct alerts *alerts)
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
static void read_record(struct alerts *alerts)
{
    struct record read = {0};
    if (pread(alerts->fd, &read, sizeof read, 0) == (ssize_t)sizeof read && read.sum == sum_of(&read))
        alerts->record = read;
}

/* Over the old one: there may be no room for a new file. */
static void write_record(struct alerts *alerts)
{
    alerts->record.sum = sum_of(&alerts->record);
    if (alerts->fd < 0)
        return;
    ssize_t n = pwrite(alerts->fd, &alerts->record, sizeof alerts->record, 0);
    (void)n; /* without room this process still knows */
}

bool alerts_own(struct alerts *alerts)
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
        write_record(alerts); /* the file was removed: what it said is known here */
    else
        read_record(alerts);
    return true;
}

static bool is_of(const struct entry *entry, const struct alert_cause *cause)
{
    return strcmp(entry->name, cause->name) == 0 && strcmp(entry->source, cause->source) == 0;
}

/* The cause's place; for one that is raised a new one where it has none. NULL: none. */
static struct entry *entry_of(struct alerts *alerts, const struct alert_cause *cause)
{
    struct entry *empty = NULL;
    for (size_t i = 0; i < ENTRIES; i++) {
        struct entry *entry = &alerts->record.entry[i];
        if (is_of(entry, cause))
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
static void tell(struct alerts *alerts, const struct alert_cause *cause, enum alert_state state, int64_t since_ms,
                 int64_t now_ms)
{
    struct error why = {0};
    struct alert alert = {cause->name, cause->source, state, cause->words.text, since_ms, now_ms};
    char words[LOG_QUOTED], reason[LOG_QUOTED];
    write_record(alerts);
    bool good = alert_command_run(alerts->command, &alert, &alerts->hurry, &why);
    log_write(LEVEL_WARN, "msg=alert cause=%s state=%s source=%s words=%s", cause->name, alert_state_word(state),
              cause->source[0] == '\0' ? "-" : cause->source,
              log_quote(words, cause->words.text, strlen(cause->words.text)));
    if (!good)
        log_write(LEVEL_ERROR, "msg=alert_command_failed cause=%s reason=%s", cause->name,
                  log_quote(reason, why.text, strlen(why.text)));
}

/* Returns whether something was told. A cause that comes and goes is told of once in an interval. */
static bool look_at_raised(struct alerts *alerts, struct entry *entry, const struct alert_cause *cause, int64_t now_ms)
{
    if (entry->since_ms == 0)
        entry->since_ms = now_ms;
    bool due = entry->told_ms == 0 || now_ms - entry->told_ms >= alerts->interval_ms || entry->told_ms > now_ms;
    if (!due)
        return false;
    enum alert_state state = entry->announced != 0 ? ALERT_STILL : ALERT_RAISED;
    entry->told_ms = now_ms;
    entry->announced = 1;
    tell(alerts, cause, state, entry->since_ms, now_ms);
    return true;
}

static bool look_at_gone(struct alerts *alerts, struct entry *entry, const struct alert_cause *cause, int64_t now_ms)
{
    bool announced = entry->announced != 0;
    int64_t since_ms = entry->since_ms;
    entry->announced = 0;
    entry->since_ms = 0;
    if (announced)
        tell(alerts, cause, ALERT_GONE, since_ms, now_ms);
    else if (now_ms - entry->told_ms >= alerts->interval_ms)
        memset(entry, 0, sizeof *entry);
    return announced;
}

size_t alerts_look(struct alerts *alerts, const struct alert_cause *causes, size_t count, int64_t now_ms)
{
    size_t told = 0;
    for (size_t i = 0; i < count; i++) {
        struct entry before, *entry = entry_of(alerts, &causes[i]);
        if (entry == NULL)
            continue;
        memcpy(&before, entry, sizeof before);
        bool any = causes[i].raised ? look_at_raised(alerts, entry, &causes[i], now_ms)
                                    : look_at_gone(alerts, entry, &causes[i], now_ms);
        told += any ? 1 : 0;
        if (memcmp(&before, entry, sizeof before) != 0)
            write_record(alerts);
    }
    return told;
}
