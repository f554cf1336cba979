/* What is wrong, judged once. One table has every finding: how bad it is, its threshold, what is said of it, what to do
 * about it, the command to type, and who shows it. `check`, `cron`, `queue status`, the status page, /metrics and
 * alerts are views of what is found here, and judge nothing themselves. */
#ifndef HEALTH_FINDINGS_H
#define HEALTH_FINDINGS_H

#include <stdbool.h>
#include <stdint.h>

#include "health/facts.h"

/* ---- a finding ---- */

/* In the order of the table: the worst come first. */
enum finding_id {
    FINDING_QUEUE_BROKEN,
    FINDING_QUEUE_PARTLY_BROKEN,
    FINDING_QUEUE_REPLACED,
    FINDING_UNSETTLED,
    FINDING_NO_ROOM,
    FINDING_QUEUE_FULL,
    FINDING_DISK_NEARLY_FULL,
    FINDING_SOURCE_LOCKED,
    FINDING_KEY_MISSING,
    FINDING_DATA_PLANE_REFUSES,
    FINDING_SUBSCRIPTION_PAUSED,
    FINDING_EVENTS_LOST,
    FINDING_CLOSE_UNREADABLE,
    FINDING_STATE_DIR_LEFT,
    FINDING_QUEUE_NOT_USED,
    FINDING_EVENTS_OF_NO_SOURCE,
    FINDING_NOTHING_FORWARDS,
    FINDING_CRON_MISSING,
    FINDING_DATA_PLANE_MENDED,
    FINDING_QUEUE_NEARLY_FULL,
    FINDING_QUEUE_SETUP,
    FINDING_MACHINES_DIFFER,
    FINDING_STATE_DIR_SHARED,
    FINDING_DATABASE_NOT_USED,
    FINDING_DATA_PLANE_AWAY,
    FINDING_EVENTS_WAIT,
    FINDING_CRON_OVERDUE,
    FINDING_CLOSE_TROUBLE,
    FINDING_DEAD_LETTERS_END,
    FINDING_LETTERS_OF_NO_SOURCE,
    FINDING_DEAD_LETTERS,
    FINDING_DEAD_LETTERS_NEW,
    FINDING_DEAD_LETTERS_LARGE,
    FINDING_SILENCE,
    FINDING_MACHINE_UNREAD,
    FINDING_MACHINES_UNHEARD,
    FINDING_LEFT_OVER,
    FINDING_BACKUP_UNFINISHED,
    FINDING_NOT_FORWARDED_NOW,
    FINDING_EVENT_TYPES_LACKING,
    FINDINGS, /* how many */
};

enum severity {
    SEVERITY_GOOD,  /* good to know */
    SEVERITY_WORRY, /* it works, but somebody should look at it */
    SEVERITY_BAD,   /* it does not work, or will not for long; to `check` it is WRONG */
};

/* Who shows findings. */
enum finding_view {
    VIEW_PAGE = 1,
    VIEW_CHECK = 2,
    VIEW_OFFLINE = 4,      /* check --offline: nobody has looked into the queue */
    VIEW_QUEUE_STATUS = 8, /* where the counts beside it do not say it already */
    VIEW_CRON = 16,        /* each run mails it again ... */
    VIEW_CRON_DAILY = 32,  /* ... or only the first run of a day: it is so for a week */
};

/* Of one source and topic the worst finding that a view shows says enough: events wait because the data plane refuses
 * them. Of its own topic each is told. */
enum finding_topic { TOPIC_OWN, TOPIC_ROOM, TOPIC_DELIVERY, TOPIC_CLOSE, TOPIC_CRON };

/* Something that was found. Texts have no full stop; never a secret, nothing of an event. */
struct finding {
    enum finding_id id;
    enum severity severity;
    enum finding_topic topic;
    unsigned views;                    /* of enum finding_view */
    const struct source_facts *source; /* whose; NULL: of the whole */
    char sentence[1200];               /* what is wrong; begins with a small letter */
    char remedy[700];                  /* what to do; "": the sentence says it, or nothing is to be done */
    char command[4500];                /* what to type for it; "": nothing */
};

enum finding_outcome {
    FINDING_ABSENT,
    FINDING_FOUND,
    FINDING_UNKNOWN, /* it cannot be told: nothing begins, and nothing is over */
};

/* ---- findings.c: judging ---- */

/* The finding's name: "data_plane_refuses". */
const char *finding_name(enum finding_id id);

/* Judges one. source: of those that are of a source; the others do not look at it. out (may be NULL) is set when it is
 * found. */
enum finding_outcome finding_judge(enum finding_id id, const struct facts *facts, const struct source_facts *source,
                                   struct finding *out);

/* Judges all: sets facts->found, the worst first. Returns false when memory is out. Calling it again judges anew. */
bool findings_judge(struct facts *facts);

/* ---- report.c: what the views show of the findings: which of them, in which words. Nothing is judged there. ---- */

/* Whether a view shows one of facts->found: of those that say the same only the worst. */
bool report_shows(const struct facts *facts, const struct finding *finding, enum finding_view view);

/* The first one that a view shows, from `after` on (NULL: of all). NULL: there is none. */
const struct finding *report_next(const struct facts *facts, const struct finding *after, enum finding_view view);

/* Whether a view shows a finding of that kind. */
bool report_finds(const struct facts *facts, enum finding_id id, enum finding_view view);

/* Whether a view shows nothing that keeps a data plane from taking events: else it may not say that it works. */
bool report_delivers(const struct facts *facts, enum finding_view view);

#define REPORT_SIZE 6000

/* Writes a finding as one line: "sentence; remedy: `command`". Returns out. */
const char *report_line(const struct finding *finding, char out[static REPORT_SIZE]);

/* Of the whole (source NULL) or of a source, which what is wrong with the whole concerns, too: how it is, ... */
enum severity report_severity(const struct facts *facts, const struct source_facts *source);

/* ... and in sentences, for the status page. Returns out. */
const char *report_words(const struct facts *facts, const struct source_facts *source, char out[static REPORT_SIZE]);

#endif
