/* A finding, as findings.h finds it and report.h shows it. */
#ifndef HEALTH_FINDING_H
#define HEALTH_FINDING_H

#include <stdbool.h>
#include <stdint.h>

#include "health/facts.h"

/* In the order of the table: the worst come first. */
enum finding_id {
    FINDING_QUEUE_BROKEN,
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
    FINDING_EVENTS_OF_NO_SOURCE,
    FINDING_NOTHING_FORWARDS,
    FINDING_CRON_MISSING,
    FINDING_DATA_PLANE_MENDED,
    FINDING_QUEUE_NEARLY_FULL,
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
    FINDING_LEFT_OVER,
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
    char sentence[560];                /* what is wrong; begins with a small letter */
    char remedy[400];                  /* what to do; "": the sentence says it, or nothing is to be done */
    char command[4500];                /* what to type for it; "": nothing */
};

enum finding_outcome {
    FINDING_ABSENT,
    FINDING_FOUND,
    FINDING_UNKNOWN, /* it cannot be told: nothing begins, and nothing is over */
};

#endif
