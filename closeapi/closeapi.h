/* The Close side for the other stages and commands: how complete a source is, and its reconciling. Any process may;
 * what it knows stands in small files in STATE_DIR/closeapi/SOURCE, which are replaced whole. */
#ifndef CLOSEAPI_CLOSEAPI_H
#define CLOSEAPI_CLOSEAPI_H

#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/error.h"
#include "closeapi/client.h"
#include "closeapi/import.h"
#include "config/config.h"
#include "queue/queue.h"

/* What is known of a source's completeness, and what reconciling remembers. Times are Unix time by Close's clock in
 * milliseconds, 0: none. */
struct completeness {
    int64_t since_ms;    /* complete from here ... */
    int64_t until_ms;    /* ... to here: every page was read, and every append is durable */
    int64_t verified_ms; /* and read a second time, a day later, to here */
    char *types;         /* of these events, a blank between; filtered ones end with `*`. "": all. Owned */

    /* What the webhook did not bring and the Event Log did, since the first reconciling. */
    uint64_t missed;
    uint64_t missed_large;  /* of these: larger than all that came; some limit refuses them */
    uint64_t missed_paused; /* of these: while a subscription was paused */
    uint64_t missed_late;   /* of these: found only by the second reading */
    uint64_t hidden;        /* events whose data this API key may not see: not sent */

    int64_t last_run_ms;  /* by this machine's clock */
    int64_t last_good_ms; /* likewise */
    bool paused;          /* a subscription is, and not by our own `pause` */
    bool lost;            /* events may be gone that are not fetched by themselves: trouble says what to do */
    char trouble[512];    /* what somebody must look at; "": nothing */

    /* Of a loss of events (state.h), for reconciling alone. */
    int64_t loss_ms;  /* the one that was applied last: its until_ms */
    int64_t floor_ms; /* nothing older is read by itself: it is not known any more whether it was delivered */
    int64_t again_ms; /* what is read begins here, though it is older than the claim; 0: it does not */
    int64_t ahead_ms; /* while a loss waits for the operator: how far was read beyond it; the claim stays */
};

/* Reads it. One that was never reconciled is all zero. Returns false with the reason. Free with completeness_free. */
bool closeapi_completeness(const struct config *config, const struct source *source, struct completeness *out,
                           struct error *why);
void completeness_free(struct completeness *completeness);

/* Writes "complete from ... until ... (...)" or what is known instead. Returns out. */
#define COMPLETENESS_WORDS 400
const char *completeness_words(const struct completeness *completeness, char out[static COMPLETENESS_WORDS]);

/* Asks Close whether it takes the source's API key, and how its subscriptions are. Returns true when all is well; why
 * then says so in words, with what is known to be complete; else what is wrong and what to do. */
bool closeapi_try(const struct config *config, const struct source *source, struct error *why);

/* Whether a source can be reconciled: it has an API key, and a queue that remembers what was delivered. Returns false
 * with the reason. */
bool closeapi_can_reconcile(const struct config *config, const struct source *source, struct error *why);

/* When the source is to be reconciled next, Unix time in milliseconds by this machine's clock; INT64_MAX: never (it
 * cannot be, or is not to be by itself). One that never was is not, as long as something is left over. */
int64_t closeapi_due(const struct config *config, const struct source *source);

/* Whether the Close side still keeps what it knows of a source that is not configured any more: was it renamed? */
bool closeapi_left_over(const struct config *config, char name[static 256]);

enum reconcile_result {
    RECONCILE_DONE,
    RECONCILE_NOTHING, /* there is no subscription yet, and never was; why says how to make one */
    RECONCILE_BUSY,    /* another process is at it, and why says which */
    RECONCILE_TROUBLE, /* done, but somebody must look at something: it is paused, unhealthy, or data are hidden */
    RECONCILE_FAILED,
    RECONCILE_STOPPED,
};

struct reconcile_options {
    int stop_fd;     /* readable once all is to end; -1: none */
    bool all_events; /* whatever the subscriptions cover */
    bool silent;     /* the caller tells what is wrong: it is not logged as well */
    /* Read all from here on, also what may be delivered already, and forget a loss; Unix time in microseconds; 0: from
     * where the last run ended. */
    int64_t from_us;
    int64_t patience_ms;
};

struct reconcile_report {
    int64_t from_us, to_us;      /* what was read */
    struct import_counts counts; /* of the first reading */
    struct import_counts second; /* of what was read a second time */
    bool resumed;                /* a paused subscription was activated again */
    bool rotated;                /* an old subscription was removed */
};

/* Reads the Event Log from the last verified moment to five minutes ago, by Close's clock, appends what is missing,
 * watches the subscriptions, ends a rotation that has got so far. queue: of the calling thread alone; it must keep
 * events on disk. TROUBLE and FAILED come with the reason, and are logged. */
enum reconcile_result closeapi_reconcile(const struct config *config, const struct source *source, struct queue *queue,
                                         const struct reconcile_options *options, struct reconcile_report *report,
                                         struct error *why);

/* ---- a backfill: a stretch of the Event Log into the queue, going on where an earlier run of the same one stopped
 * ---- */

struct backfill_order {
    const char *since, *until; /* as typed: 2026-11-01, 2026-11-01T12:30, 7d, 12h (before now); until NULL: now */
    struct log_filter filter;
    bool all_events; /* whatever the subscriptions cover */
    bool again;      /* from the start, also where an earlier run has got further */
    bool dry_run;    /* only read and count */
    int stop_fd;     /* -1: none */
    int64_t patience_ms;
    void (*waits)(void *context, int64_t ms, const char *reason); /* as in close_options */
    void (*progress)(void *context, const struct import_counts *counts, int64_t from_us, int64_t reached_us,
                     int64_t until_us);
    void *context;
};

struct backfill_report {
    int64_t since_us, until_us;  /* what was asked for, as far as Close has it */
    int64_t from_us;             /* where this run began */
    bool beyond;                 /* since is older than what Close keeps */
    bool went_on;                /* an earlier run had stopped */
    struct import_counts counts; /* of this run */
    uint64_t requests;
};

/* Reads a time as typed, relative to now; Unix time in microseconds. Returns false with the reason. */
bool backfill_read_time(const char *text, int64_t now_us, int64_t *us, struct error *why);

/* Does it. queue: of this thread alone, keeping events on disk; NULL for a dry run on a queue that cannot be looked
 * into. */
enum import_result backfill_run(const struct config *config, const struct source *source, struct queue *queue,
                                const struct backfill_order *order, struct backfill_report *report, struct error *why);

/* ---- reconciling by a process that lives long: a thread that sleeps until a source is due ---- */

struct reconciler;

/* Whether any source is to be reconciled by itself. */
bool reconciler_is_wanted(const struct config *config);

/* Starts the thread. config must outlive it. Of several processes with one state directory one reconciles at a time,
 * and the others see that it was done. Returns NULL with the reason. */
struct reconciler *reconciler_start(const struct config *config, struct error *why);

/* Tells it to end, and does not wait. NULL is allowed, as below. */
void reconciler_hurry(struct reconciler *reconciler);

/* Ends it: what it has in hand is cut short, and read again next time. Returns false when it has not ended by the
 * deadline: then the process must end without freeing anything. */
bool reconciler_stop(struct reconciler *reconciler, moment deadline);

/* For cron: reconciles all sources that are due, one after the other, until the deadline. Calls trouble for each that
 * somebody must look at. Call with no queue open in this thread's hands. Returns whether any was due. */
bool reconcile_due(const struct config *config, moment deadline,
                   void (*trouble)(void *context, const char *source, const char *words), void *context);

/* ---- what is known of a source, and its keys, given to another name: for `queue move` ---- */

struct closeapi_moved {
    size_t keys;  /* signature keys that subscribe obtained */
    size_t files; /* of STATE_DIR/closeapi/SOURCE: positions, pauses, a rotation */

    /* Called for each thing that cannot be moved since the new source has one already; what it has stays. */
    void (*stays)(void *context, const char *words);
    void *context;
};

/* Whether there is anything to be moved. */
bool closeapi_has_any(const struct config *config, const char *from);

/* Moves it, file by file, while no other process works on either. Killed anywhere and called again it goes on. Returns
 * false with the reason. */
bool closeapi_move(const struct config *config, const char *from, const struct source *to, struct closeapi_moved *moved,
                   struct error *why);

/* ---- between the files of closeapi/ and the commands ---- */

/* Makes the source's directory and writes its path. Returns false with the reason: there may be no state_dir. */
bool closeapi_directory(const struct config *config, const struct source *source, char out[static 4096],
                        struct error *why);

/* Locks a file in it, for this process. Returns a descriptor that holds the lock until it is closed; -1 with the reason
 * when another process has it still after the milliseconds. */
int closeapi_lock(const char *directory, const char *name, int64_t wait_ms, struct error *why);

/* Whether a process that reconciles this source was stopped in the middle, so that nobody else can; why says what to do
 * then. */
bool closeapi_is_stopped(const struct config *config, const struct source *source, struct error *why);

/* Notes that it is us who paused a subscription; whether it was. */
bool closeapi_note_pause(const char *directory, const char *id, bool paused, struct error *why);
bool closeapi_paused_by_us(const char *directory, const char *id);

#endif
