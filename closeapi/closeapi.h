/* Close's API for the other stages and the commands: how complete a source's events are, reconciling, backfills. Any
 * process may call these functions: what has to be remembered of a source stands in small files in
 * STATE_DIR/closeapi/SOURCE, which are replaced whole, and locks keep processes apart. */
#ifndef CLOSEAPI_CLOSEAPI_H
#define CLOSEAPI_CLOSEAPI_H

#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/error.h"
#include "closeapi/client.h"
#include "closeapi/import.h"
#include "closeapi/subscriptions.h"
#include "config/config.h"
#include "queue/inspect.h"
#include "queue/queue.h"

/* What reconciling knows of a source: from when until when all of Close's events are in the queue or were delivered
 * (the claim). Times are Unix time by Close's clock in milliseconds, 0: none. */
struct completeness {
    int64_t since_ms;    /* complete from this time ... */
    int64_t until_ms;    /* ... until this one: every page was read, and every append is durable */
    int64_t verified_ms; /* until this one the log was read a second time, a day later */
    char *types; /* the claim is about these events, a blank between; filtered ones end with `*`. "": all. Owned */

    /* Event types that were seen in the Event Log and that no subscription of the source has, a blank between. */
    char lacks[512];

    /* Events that were in the Event Log but did not come by webhook, since the first reconciling. */
    uint64_t missed;
    uint64_t missed_large;  /* of these: larger than all that came by webhook; some limit refuses them */
    uint64_t missed_paused; /* of these: while a subscription was paused */
    uint64_t missed_late;   /* of these: found only by the second reading */
    uint64_t hidden;        /* events that were not sent since Close does not show their data to this API key */

    int64_t last_run_ms;  /* when the last run ended, by this machine's clock */
    int64_t last_good_ms; /* when the last run without a failure ended, likewise */
    bool paused;          /* a subscription is paused, and not by `closecrm.fcgi pause` */
    bool lost;            /* events may be gone that are not fetched automatically: trouble says what to do */
    char trouble[512];    /* what somebody must look at; "": nothing */

    /* After a loss of events (queue/inspect.h); only for the files of closeapi/. */
    int64_t loss_ms;  /* the until_ms of the loss that was applied last */
    int64_t floor_ms; /* nothing older is read automatically: whether it was delivered is not known any more */
    int64_t again_ms; /* the next run begins to read here, before the claim; 0: it does not */
    int64_t ahead_ms; /* while a loss waits for the operator: until here the log was read beyond the claim */
};

/* Reads what is known; of a source that was never reconciled all is zero. Returns false with the reason. Free with
 * completeness_free. */
bool closeapi_completeness(const struct config *config, const struct source *source, struct completeness *out,
                           struct error *why);
void completeness_free(struct completeness *completeness);

/* Writes "complete from ... until ... (...)" or what is known instead. Returns out. */
#define COMPLETENESS_WORDS 400
const char *completeness_words(const struct completeness *completeness, char out[static COMPLETENESS_WORDS]);

/* Asks Close whether it accepts the source's API key, and how the source's subscriptions are. Returns true when all is
 * well; why then says what is known to be complete; else what is wrong and what to do. address: where Close's
 * subscription sends the source's events, without what stands behind a `?`; "": not known. */
#define CLOSE_ADDRESS 512
bool closeapi_check(const struct config *config, const struct source *source, char address[static CLOSE_ADDRESS],
                    struct error *why);

/* Whether a source can be reconciled: it has an API key, and a queue that remembers what was delivered. Returns false
 * with the reason. */
bool closeapi_can_reconcile(const struct config *config, const struct source *source, struct error *why);

/* When the source is to be reconciled next, Unix time in milliseconds by this machine's clock; INT64_MAX: never (it
 * cannot be, or the operator has switched it off). A first run is put off as long as closeapi_left_over finds
 * something.
 */
int64_t closeapi_due(const struct config *config, const struct source *source);

/* Whether there still is a state of a source that is not configured any more, which may have been renamed; name: its
 * name. */
bool closeapi_left_over(const struct config *config, char name[static 256]);

enum reconcile_result {
    RECONCILE_DONE,
    RECONCILE_NOTHING, /* there is no subscription yet, and never was; why says how to make one */
    RECONCILE_BUSY,    /* another process reconciles the source now; why says which */
    RECONCILE_TROUBLE, /* done, but somebody must look at something: a subscription is paused, data are hidden, ... */
    RECONCILE_FAILED,
    RECONCILE_STOPPED,
};

struct reconcile_options {
    int stop_fd;         /* readable once the run is to be cut short; -1: none */
    bool all_events;     /* also those that no subscription covers */
    bool silent;         /* the caller reports what is wrong: it is not logged as well */
    bool if_due;         /* not if another process, or machine, has done it just now: RECONCILE_NOTHING */
    int64_t from_us;     /* read everything since this time, also what may be delivered already, and forget a loss;
                            Unix time in microseconds; 0: go on where the last run ended */
    int64_t patience_ms; /* as in close_options */
};

struct reconcile_report {
    int64_t from_us, to_us;      /* of the log that was read; Unix time in microseconds */
    struct import_counts counts; /* of the first reading */
    struct import_counts second; /* of what was read a second time */
    bool resumed;                /* a paused subscription was activated again */
    char rotation[512];          /* what became of a rotation, for people; "": nothing new */
};

/* Reads the Event Log from where the last run ended until five minutes ago, by Close's clock, and appends what is
 * missing; checks the subscriptions; ends a rotation whose old subscription is not needed any more, or calls it off
 * (TROUBLE). queue: of the calling thread alone; it must keep events on disk. TROUBLE and FAILED come with the reason,
 * and are logged. */
enum reconcile_result closeapi_reconcile(const struct config *config, const struct source *source, struct queue *queue,
                                         const struct reconcile_options *options, struct reconcile_report *report,
                                         struct error *why);

/* ---- backfill: a time range of the Event Log is imported into the queue; a run goes on where an earlier run with the
 * same options stopped ---- */

struct backfill_order {
    const char *since, *until; /* as typed: 2026-11-01, 2026-11-01T12:30, 7d, 12h (before now); until NULL: now */
    struct log_filter filter;
    bool all_events; /* also those that no subscription covers */
    bool again;      /* begin anew, whatever an earlier run has done */
    bool dry_run;    /* only read and count */
    bool identify;   /* they send an identify, too, where the source is configured so */
    int stop_fd;     /* -1: none */
    int64_t patience_ms;
    void (*waits)(void *context, int64_t ms, const char *reason); /* as in close_options */
    /* Called after each step; NULL: nobody wants to know. Times as in the report. */
    void (*progress)(void *context, const struct import_counts *counts, int64_t from_us, int64_t reached_us,
                     int64_t until_us);
    void *context;
};

struct backfill_report {
    int64_t since_us, until_us;  /* the range that was asked for; Unix time in microseconds, as from_us */
    int64_t from_us;             /* where this run began */
    bool beyond;                 /* Close does not keep all of the range any more */
    bool went_on;                /* this run went on where an earlier one had stopped */
    struct import_counts counts; /* of this run */
    uint64_t requests;
};

/* Reads a time as typed, relative to now; Unix time in microseconds. Returns false with the reason. */
bool backfill_read_time(const char *text, int64_t now_us, int64_t *us, struct error *why);

/* Whether since and until can be read and name a period of which Close may have something, by this machine's clock,
 * which may be a day off. Returns false with the reason: then it is the command line that is wrong. */
bool backfill_check_times(const struct backfill_order *order, int64_t now_us, struct error *why);

/* Runs a backfill. queue: of this thread alone, keeping events on disk; NULL for a dry run on a queue that keeps
 * nothing. Returns IMPORT_DONE, IMPORT_FAILED or IMPORT_STOPPED, the last two with the reason. */
enum import_result backfill_run(const struct config *config, const struct source *source, struct queue *queue,
                                const struct backfill_order *order, struct backfill_report *report, struct error *why);

/* ---- reconciler: a thread of the service that sleeps until a source is to be reconciled; and the same for cron ----
 */

struct reconciler;

/* Whether any source is to be reconciled automatically. */
bool reconciler_is_wanted(const struct config *config);

/* Starts the thread. config must outlive it. Of several processes with one state directory only one reconciles a source
 * at a time; the others see that it was done. Returns NULL with the reason. */
struct reconciler *reconciler_start(const struct config *config, struct error *why);

/* Tells the thread to end, and does not wait. NULL is allowed, as below. */
void reconciler_request_stop(struct reconciler *reconciler);

/* Stops and frees it: a run in progress is cut short; the next one reads again what that one has not noted. Returns
 * false when the thread has not ended by the deadline: then the process must end without freeing anything. */
bool reconciler_stop(struct reconciler *reconciler, moment deadline);

/* For cron: reconciles all sources that are due, one after the other, until the deadline. Calls outcome for each that
 * was reconciled: words: what somebody must look at; NULL: nothing. The caller must have no queue open. Returns whether
 * any was due. */
bool reconcile_due(const struct config *config, moment deadline,
                   void (*outcome)(void *context, const char *source, const char *words), void *context);

/* ---- a source that was renamed, for `queue move`: its state and its signature keys go to the new name ---- */

struct closeapi_moved {
    size_t keys;  /* signature keys that subscribe obtained */
    size_t files; /* of STATE_DIR/closeapi/SOURCE: states of reconciling and backfills, pauses, a rotation */

    /* Called for each key and file that stays under the old name, for the new source has one of its own. */
    void (*stays)(void *context, const char *words);
    void *context;
};

/* Whether there is anything to be moved from a name. */
bool closeapi_has_any(const struct config *config, const char *from);

/* Moves all of it, under the locks of both names. Killed anywhere and called again it goes on. Returns false with the
 * reason. */
bool closeapi_move(const struct config *config, const char *from, const struct source *to, struct closeapi_moved *moved,
                   struct error *why);

/* ---- between the files of closeapi/ and the commands ---- */

/* Makes the source's directory, if it is not there, and writes its path to out. Returns false with the reason: there
 * may be no state_dir. */
bool closeapi_directory(const struct config *config, const struct source *source, char out[static 4096],
                        struct error *why);

/* Takes a lock in that directory (kept_lock), until kept_close. Returns NULL with the reason when another process still
 * holds the lock after wait_ms. */
struct kept *closeapi_lock(const struct config *config, const char *directory, const char *name, int64_t wait_ms,
                           struct error *why);

/* Whether the process that reconciles this source is suspended (Ctrl-Z), so that no other one can; why then says what
 * to do. */
bool closeapi_is_stopped(const struct config *config, const struct source *source, struct error *why);

/* Notes (or forgets) that a subscription was paused by `closecrm.fcgi pause`; whether that is noted. */
bool closeapi_note_pause(struct kept *kept, const char *directory, const char *id, bool paused, struct error *why);
bool closeapi_paused_by_us(const char *directory, const char *id);

/* ---- state.c: what is remembered of a source (struct completeness), in the file `reconcile` of its directory ---- */

/* Reads it; a missing one is all zero. Returns false with the reason. Free with completeness_free. */
bool completeness_read(const char *directory, struct completeness *state, struct error *why);
bool completeness_write(struct kept *kept, const char *directory, const struct completeness *state, struct error *why);

/* ---- a claim of completeness falls with what it is about: what a loss of events (queue/inspect.h) means for it. Pure.
 * ----
 */

/* Whether reconciling may fetch by itself what is gone: it is known which events were delivered, or at least up to
 * which date all were; or no event is gone. Else some would be counted twice. */
bool setback_is_fetched(const struct loss *loss);

/* Milliseconds. */
struct setback_clock {
    int64_t now_ms;        /* Unix time, by Close's clock */
    int64_t ahead_ms;      /* how much that is ahead of this machine's, by which losses are noted */
    int64_t remembered_ms; /* how long identities are kept */
};

/* Sets the claim back to before the oldest event that may be gone, unless this loss was applied before, and says where
 * reading has to begin:
 * - identities kept: before what is gone, as far as they are remembered;
 * - identities lost, with a mark: at the mark, and nothing older is ever read again by itself;
 * - only identities lost, without a mark: after the loss;
 * - neither: likewise; the claim stays where it is until an operator names a time (setback_from).
 * Returns whether the state was changed. */
bool setback_apply(struct completeness *state, const struct loss *loss, const struct setback_clock *clock);

/* An operator names the time from which all is to be read: the claim is set back to it. Where it leaves a hole the
 * claim begins there. */
void setback_from(struct completeness *state, int64_t from_ms);

/* Says what to do about a loss that is not fetched by itself, in at most 255 characters. */
void setback_advise(const struct loss *loss, const char *source, char *out, size_t size);

/* ---- subscribe.c: Creating a subscription so that its signature key is never lost, whatever is killed in between; and
 * the note of a rotation. ---- */

/* The work on the subscriptions of a source. All is borrowed: the directory of closeapi_directory, the list of
 * subscriptions_list, the lock `subscribe.lock` in that directory (NULL where nothing is changed). */
struct subscribing {
    const struct config *config;
    const struct source *source;
    struct close_client *client;
    const char *directory;
    const struct subscriptions *list;
    struct kept *lock;
};

/* Creates one from a body whose URL is url, and stores its key. SIGINT, SIGTERM and SIGHUP are blocked meanwhile. Sets
 * id and *created_ms (Close's clock) when DONE. Otherwise none is left behind in Close, or a note in the directory
 * makes subscribe_recover remove it. */
enum close_result subscribe_create(const struct subscribing *work, const char *body, const char *url,
                                   char id[static KEYRING_ID], int64_t *created_ms, struct error *why);

/* Cleans up after a subscribe that was killed: a subscription whose key nobody has is removed in Close, or its key is
 * stored where Close shows it; a rotation that was interrupted goes on. *changed: the list is out of date. Returns DONE
 * also when there was nothing to do. */
enum close_result subscribe_recover(const struct subscribing *work, bool *changed, struct error *why);

/* A rotation under way: a new subscription takes the place of an old one. */
struct rotation {
    char from[KEYRING_ID]; /* the old subscription */
    char to[KEYRING_ID];   /* the new one */
    int64_t created_us;    /* when the new one was created, by Close's clock */
};

/* Reads the source's rotation; false: there is none. */
bool rotation_read(const char *directory, struct rotation *rotation);

/* Before the new subscription is made: notes what for. If the rest of the note is not written, subscribe_recover finds
 * that subscription and writes it. */
bool rotation_intend(const struct subscribing *work, const struct subscription *old, struct error *why);
bool rotation_write(struct kept *lock, const char *directory, const struct rotation *rotation, struct error *why);

/* Removes the note: there is no rotation any more. */
bool rotation_forget(struct kept *lock, const char *directory, struct error *why);

/* ---- rotation.c: The end of a rotation. The old subscription is removed only when Close has said in the same round
 * that the new one is there and active, its key is held here, it has delivered, and the Event Log was read beyond its
 * creation. ---- */

enum rotation_stage {
    ROTATION_NONE,       /* there is no rotation */
    ROTATION_WAITS,      /* for a delivery, or for the Event Log */
    ROTATION_HELD_UP,    /* the new one is not active: the old one stays until somebody resumes the new one */
    ROTATION_CALLED_OFF, /* the new one is gone, or its key is: the old one stays */
    ROTATION_OVER,       /* nothing depends on the old one any more */
};

/* Judges a rotation and changes nothing. successor: what Close says about the new subscription; NULL: it does not
 * exist. complete_us: until when the Event Log was read. why: what is missing and what to do; "" when OVER. */
enum rotation_stage rotation_judge(const struct subscribing *work, const struct rotation *rotation,
                                   const struct subscription *successor, int64_t complete_us, struct error *why);

/* Asks Close about the new subscription of the rotation, if there is one, and judges. On anything but DONE Close did
 * not tell, or another step failed; why has the reason. */
enum close_result rotation_look(const struct subscribing *work, struct rotation *rotation, int64_t complete_us,
                                enum rotation_stage *stage, struct error *why);

/* The same, and does what follows: removes the old subscription, or the note of a rotation that is called off. */
enum close_result rotation_go_on(const struct subscribing *work, int64_t complete_us, enum rotation_stage *stage,
                                 struct error *why);

#endif
