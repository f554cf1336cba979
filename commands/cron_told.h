/* What cron has told: a problem that lasts is told once an interval, and once when it is over, although each run is a
 * process of its own. The record is a small file of a fixed size in the state directory, or beside the configuration
 * where that directory cannot be used; it may be deleted at any time. One thread. */
#ifndef COMMANDS_CRON_TOLD_H
#define COMMANDS_CRON_TOLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TOLD_ENTRIES 64 /* problems that last, at once */

enum told_kind {
    TOLD_FINDING, /* of health/findings */
    TOLD_CLOSE,   /* what reconciling a source said: each run does not ask */
    TOLD_TROUBLE, /* anything else that each run looks at */
    TOLD_ONCE,    /* something that happened: it is told, and is never over */
};

struct told_entry {
    uint64_t key;      /* 0: a free place */
    int64_t told_ms;   /* when it was told last, Unix time */
    int64_t since_ms;  /* it lasts since then; 0: it is over, and is known for the rest of the interval */
    int64_t period_ms; /* it is told again after so long */
    uint32_t kind;     /* enum told_kind */
    uint32_t topic;    /* of a finding: enum finding_topic */
    char name[32];     /* of a finding */
    char source[72];   /* "": the whole */
    char words[240];   /* as they were told first */
};

struct told_record {
    uint64_t sum; /* of entry */
    struct told_entry entry[TOLD_ENTRIES];
};

struct cron_told {
    struct told_record record;
    bool seen[TOLD_ENTRIES]; /* in this run */
    int fd;                  /* of the record's file, locked; -1: what is told is forgotten */
    char elsewhere[4096];    /* a second record, beside the configuration, that this one has taken over; "": none */
};

/* Reads what was told. state_dir: NULL where it cannot be used. beside: the configuration's folder; NULL: unknown.
 * Waits a moment for another run that reports just now. Never fails: at worst nothing is known. */
void cron_told_open(struct cron_told *told, const char *state_dir, const char *beside);

/* What identifies a problem: its kind, its source, and its words without the numbers in them (of a finding: its name).
 */
uint64_t cron_told_key(enum told_kind kind, const char *source, const char *words);

/* Notes that a problem is there. entry: all but key's times. Returns whether it is to be told now. */
bool cron_told_is_due(struct cron_told *told, const struct told_entry *entry, int64_t now_ms);

/* Notes that a problem that was there is over. Returns whether that is to be told. */
bool cron_told_is_over(struct cron_told *told, size_t i, int64_t now_ms);

/* Writes what was told, and closes. */
void cron_told_close(struct cron_told *told);

#endif
