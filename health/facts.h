/* Everything that is known, gathered at one moment: what commands, page, JSON, metrics, health checks and
 * alerts are made of. */
#ifndef HEALTH_FACTS_H
#define HEALTH_FACTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/times.h"
#include "closeapi/closeapi.h"
#include "config/config.h"
#include "config/keyring.h"
#include "queue/inspect.h"
#include "telemetry/telemetry.h"

struct finding;

struct source_facts {
    const struct source *source; /* NULL: the queue knows it, and it is configured no more */
    char name[104];
    struct counts counts; /* where the queue keeps none, of this process alone */
    bool uncounted;       /* its queue could not be asked: nothing is known of counts and notes */
    struct error away;    /* why its queue cannot be asked; "": it can be */
    struct notes notes;
    struct tally tally;
    struct completeness close; /* what is known of Close's Event Log and of the subscription; all zero: nothing */
    struct error close_why;    /* why that could not be read; "": it was */
    int64_t oldest_seconds;    /* of what waits */
    enum signed_state signature;
    struct error keys;               /* of PART and LOST: which signature keys are missing, and what to do; else "" */
    char signers[SOURCE_KEYS_WORDS]; /* where its signature keys come from; "": it has none */
    bool takes_key;                  /* its data plane was just tried, and takes the write key: set by who tried */
};

struct facts {
    const struct config *config;
    int64_t now_ms;   /* Unix time, as all that ends in _ms */
    bool queue_works; /* else queue_why says why not */
    struct error queue_why;
    struct error replaced;  /* files of the queue were replaced, and events are refused until that is mended; "": no */
    struct error unsettled; /* why nothing is forwarded: it could not be noted as delivered; "": it is */
    struct error no_room;   /* why the queue accepts nothing new, and what to do; "": it does */
    struct error disk_full; /* the same, as the file system's figures tell before a write has failed */
    bool is_durable;        /* the queue keeps events; else counts are of this process, since it began */
    bool is_owned;          /* a process forwards */
    struct error owner;     /* which, or that none does */
    int64_t cron_ms;        /* when cron ran last; 0: never */
    const char *launcher; /* of the bundle, where cron must run: the path of the program; NULL: another installation */
    char *crontab;        /* there: the line that a crontab needs; NULL: another installation */
    uint64_t disk_free;   /* bytes; UINT64_MAX: not known */
    uint64_t disk_size;
    struct queue_setup setup; /* of a server that keeps it */
    struct error configs;     /* configs_compare's; "": they are alike, or nobody looked */
    struct queue_room room;   /* what takes room in it; all zero: not known */
    struct tally nowhere;     /* what is counted of no source */
    char machine[104];        /* the name of the machine that counted it, where several share the queue; else "" */
    size_t machines;          /* others whose counts were added (facts_add_others), */
    size_t machines_unread;   /* and how many of them could not be read, */
    char machine_unread[104]; /* one of which is this */
    int64_t heard_ms;         /* when they were asked last; 0: never */
    char left_over[256];      /* a source that is not configured, of which Close's side is still kept; "": none is */
    char backup[BACKUP_PATH]; /* an unfinished one that was killed: its path; "": none */
    struct left_elsewhere elsewhere; /* what is left in a state directory that was used before */
    struct left_behind behind;       /* and in queues that it has worked with, and that are configured no more */
    char other[PATH_MAX]; /* another configuration whose process forwards from the same state directory; "": none */
    struct counts all;    /* sums; the oldest and the last of all sources */
    struct source_facts *source; /* those that are configured first */
    size_t sources;

    int64_t watching_since_ms;  /* since when a process looks at the facts again and again; 0: this one does not */
    size_t new_letters;         /* dead letters that facts_read_letters found */
    struct error newest_letter; /* "source NAME: REASON" */
    int64_t newest_died_ms;     /* when it died */

    struct finding *found; /* set by findings_judge */
    size_t found_count;
};

/* Gathers them. queue: a connection that this thread has for itself; NULL: the queue keeps nothing, or cannot be
 * opened, as queue_why says, or (queue_why NULL) nobody looks into it. counters: the process's own; NULL:
 * those that are kept beside the queue are read. Returns NULL when memory is out. */
struct facts *facts_gather(const struct config *config, struct queue *queue, const struct error *queue_why,
                           struct counters *counters, int64_t now_ms);

/* Adds what the other machines that share the queue count, as far as this one has heard: what people are shown. What is
 * judged of this machine alone, or said of it, is without. NULL is allowed. */
void facts_add_others(struct facts *facts);

/* Counts the dead letters of a source or (NULL) of all beyond an id, which becomes that of the newest: those that are
 * new since it was asked last. Returns false with the reason. */
bool facts_read_letters(struct facts *facts, struct queue *queue, const char *source, uint64_t *after,
                        struct error *why);

/* ---- configs.c: the configurations of the machines that share a queue ---- */

/* Notes this machine's, once an hour and when it is another one. host: its name; NULL: what it is called. Blocks for
 * some seconds at most. Returns false when it could not be noted. Nothing is to be noted where nothing is shared. */
bool configs_note(const struct config *config, const char *host);

/* Adds to words which keys other machines have otherwise. Values are never told. */
void configs_compare(const struct config *config, const char *host, struct error *words);

/* Leaves out sources that were once configured and have nothing left that anybody could do something about. */
void facts_leave_out_empty(struct facts *facts);

/* Why something of it could not be gathered; "": all was. */
const char *facts_failure(const struct facts *facts);

void facts_free(struct facts *facts);

/* "3 minutes", "2 days"; of less than a second "a moment". Returns out. */
#define SPAN_SIZE WHEN_SIZE
const char *facts_span(int64_t ms, char out[static SPAN_SIZE]);

/* "2026-11-24 21:01:10 UTC". Returns out. */
#define DATE_SIZE DATE_PRINTED
const char *facts_date(int64_t ms, char out[static DATE_SIZE]);

/* The bytes in the queue that count against queue_max_bytes: dead letters beyond their share do not. */
uint64_t facts_counted_bytes(const struct facts *facts);

/* "7400 MiB of events that wait or are known, 600 MiB of dead letters". Returns out. */
#define ROOM_SIZE 96
const char *facts_room(const struct facts *facts, char out[static ROOM_SIZE]);

#endif
