/* Inspection of the queue and operator commands: counts, lists, dead letters, backup. Any process may call these, also
 * while another forwards; no call holds a lock for long. One thread per struct queue. Every function returns false (-1
 * where it counts) with the reason when the queue failed or its engine stores nothing. */
#ifndef QUEUE_INSPECT_H
#define QUEUE_INSPECT_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "config/config.h"
#include "queue/queue.h"

/* accepted = delivered + duplicates + dropped + waiting + dead + ended + discarded + lost, unless queue_move is under
 * way.
 */
struct counts {
    uint64_t accepted; /* each event once; replays are not counted again */
    uint64_t delivered;
    uint64_t duplicates;
    uint64_t dropped;
    uint64_t dead;      /* dead letters stored now, without those being replayed */
    uint64_t ended;     /* dead letters deleted after dead_retention */
    uint64_t discarded; /* dead letters deleted otherwise: by queue_discard, or as a newer version was delivered */
    uint64_t lost;      /* events that could not be read in a damaged database */
    uint64_t ending;    /* dead letters to be deleted soon, within a week at most */
    int64_t ending_ms;  /* when the first of those is deleted; Unix time; 0: none */
    uint64_t waiting;   /* replays included */
    int64_t oldest_received_ms; /* of the waiting events; Unix time; 0: none waits */
    int64_t last_accepted_ms;   /* 0: never, as below */
    int64_t last_delivered_ms;
};

/* A dead letter; texts and body belong to the struct letters that holds it. */
struct letter {
    uint64_t id;
    const char *source;
    const char *reason;
    const char *body;
    size_t length;
    int64_t received_ms; /* Unix time, as died_ms */
    int64_t died_ms;
    bool replayed; /* being replayed: deleted when the replay is delivered */
};

/* All zero is empty; reusable; free with letters_free. */
struct letters {
    struct letter *at;
    size_t count;
    size_t capacity;
    struct buffer texts;
};

/* Space used in the queue. Bytes. */
struct queue_room {
    uint64_t used;    /* in all */
    uint64_t letters; /* of that, by dead letters */
    uint64_t
        share; /* what dead letters may use of queue_max_bytes; what they use beyond does not make the queue full */
};
/* Closes all files of the queue and releases its locks until the next of the calls below opens it again. For commands
 * that wait for a person's answer, while a repair may need the queue alone. Not for a process that appends or owns the
 * queue. Results read before stay valid. */
void queue_rest(struct queue *queue);

/* The sources in the queue, configured or not. The caller frees with queue_names_free. Where sources have queues of
 * their own: of those that can be looked into, as queue_letters of all sources; queue_missed says what was left out.
 * Returns false when none can. */
bool queue_names(struct queue *queue, struct strings *names, struct error *why);
void queue_names_free(struct strings *names);

/* Whether queues could not be looked into since queue_open: "source two: REASON", for people. */
bool queue_missed(struct queue *queue, struct error *words);

/* Counts of one source; all zero for one that the queue does not have. */
bool queue_count(struct queue *queue, const char *source, struct counts *counts, struct error *why);

/* Space used by all sources. */
bool queue_room(struct queue *queue, struct queue_room *room, struct error *why);

/* As queue_known, for a process that is not the owner. What is being settled at this moment may be missed. */
bool queue_look_known(struct queue *queue, const char *source, const struct identity *identities, size_t count,
                      struct known *known, struct error *why);

/* The forwarder's notes of a source. */
bool queue_notes(struct queue *queue, const char *source, struct notes *notes, struct error *why);

/* Whether a process holds the consumer lock now. *words says so to people: "process 4711 on HOST". */
bool queue_is_owned(struct queue *queue, bool *owned, struct error *words, struct error *why);

/* A server that keeps the queue, for people; all "" where none does. */
struct queue_setup {
    char server[500];      /* what it is, or each of them, as the next two */
    char copies[1200];     /* on how many machines is what was answered 200 */
    char connections[500]; /* how many it has, and how many are in use */
    struct error worry;    /* what somebody should change; "": nothing */
};

/* Fills it in. */
bool queue_describe(struct queue *queue, struct queue_setup *setup, struct error *why);

/* Tries whether the queue of a configuration could be used, as far as that can be told without making anything, in the
 * state directory or elsewhere: the servers that it names. Fills setup in. *is_there: false when a server can be used
 * and has no queue yet, which opening it would make. Returns false with the reason, that of each server that fails.
 * Blocks for seconds. */
bool queue_try(const struct config *config, struct queue_setup *setup, bool *is_there, struct error *why);

/* Whether the files of the queue are those that every process uses; else false with the problem in *words: files were
 * replaced, and events are refused until what the old ones held is brought over. Always true for the engine `none`. */
bool queue_stands(struct queue *queue, struct error *words);

/* Whether new events are accepted as far as disk space goes; else false with the problem and its remedy in *words.
 * Always true for the engine `none`. */
bool queue_has_room(struct queue *queue, struct error *words);

/* Whether settling works, as the owner found in the last minutes: without it nothing is sent. Else false with the
 * problem and its remedy in *words. Always true for the engine `none`. */
bool queue_can_be_settled(struct queue *queue, struct error *words);

/* Reads waiting events as queue_next does, but claims nothing. */
int queue_list(struct queue *queue, const char *source, uint64_t after, size_t max_count, size_t max_bytes,
               struct events *found, struct error *why);

/* Reads dead letters after the id `after`, oldest first, of one source or (NULL) of all, at most max_count and
 * max_bytes together (the first is always returned). Of one source, `after` may have been told when its queue stood in
 * another place among those of a configuration. */
int queue_letters(struct queue *queue, const char *source, uint64_t after, size_t max_count, size_t max_bytes,
                  struct letters *found, struct error *why);
void letters_free(struct letters *letters);

/* Replays dead letters in one transaction: each is appended as a new event, unless it is being replayed already or is
 * gone. *done: how many were. */
bool queue_replay(struct queue *queue, const uint64_t *ids, size_t count, size_t *done, struct error *why);

/* Deletes dead letters in one transaction, but those that are being replayed: whether they will be delivered is not
 * known yet. *done: how many were. */
bool queue_discard(struct queue *queue, const uint64_t *ids, size_t count, size_t *done, struct error *why);

/* The state of a request. */
enum queue_answer {
    QUEUE_ASKED,   /* not taken by the owner yet */
    QUEUE_TAKEN,   /* the owner is processing it */
    QUEUE_DONE,    /* done; words describe it */
    QUEUE_REFUSED, /* nothing was done; words give the reason */
};

/* Sends a request to the owner; *number identifies it. queue_remind wakes the owner: repeat it while there is no
 * answer, because the owner may change. A request is deleted after a minute. */
bool queue_ask(struct queue *queue, const struct queue_request *request, int64_t *number, struct error *why);
void queue_remind(struct queue *queue);
bool queue_answer(struct queue *queue, int64_t number, enum queue_answer *answer, struct error *words,
                  struct error *why);

/* Withdraws a request unless the owner has taken it (always: in any case, as after its answer). *withdrawn: it was
 * there. */
bool queue_withdraw(struct queue *queue, int64_t number, bool always, bool *withdrawn, struct error *why);

/* What queue_move has moved. */
struct moved {
    uint64_t events;     /* waiting */
    uint64_t letters;    /* dead letters */
    uint64_t identities; /* of delivered and dropped events */
};

/* Moves everything of a source (renamed or removed) to another in short transactions: its waiting events, in their
 * order, after those of the target; its dead letters; the identities of delivered events, so that duplicates are still
 * recognised; its counts. For an identity in both, the newer version wins. A running forwarder sees the change at once.
 * *moved counts, also when the call fails. A second call goes on where the first stopped. */
bool queue_move(struct queue *queue, const char *from, const char *to, struct moved *moved, struct error *why);

/* What queue_migrate has moved, in this call and in those before that it goes on with; where the queue was, and is. */
struct migrated {
    uint64_t events, letters, identities;
    bool was_done;         /* an earlier call had done all of it */
    bool is_elsewhere;     /* on another machine: `holds` is a queue of this machine's own */
    bool is_opened;        /* as it is, for its other side is gone; the figures are what is in it */
    bool stays_there;      /* what had arrived: the other side was opened; the figures are what is removed here */
    enum queue_kind holds; /* what the key `queue` must be */
    char from[320], to[320];
};

/* step (may be NULL) is called when something more is durable; it returns false to stop there. */
struct migrating {
    bool (*step)(void *context, const struct migrated *done);
    void *context;
};

/* Gives the whole queue to the other engine, of the same configuration, which must have state_dir and queue_url:
 * waiting events in their order, dead letters, identities, counts; behind what that one has already. Killed or failed
 * at any point, it goes on when it is called again; until it is done neither queue can be opened. Refuses while another
 * process has one of them open. Where the database's queue is on another machine already, QUEUE_SQLITE opens this
 * machine's own, empty where it had left. to: QUEUE_SQLITE or QUEUE_POSTGRESQL. Returns false with the reason. */
bool queue_migrate(const struct config *config, enum queue_kind to, const struct migrating *watch,
                   struct migrated *done, struct error *why);

/* Undoes a migration that was begun and is not done, whichever way: what has arrived is removed there, unless it is an
 * identity, and the queue that was to be moved is as it was. Killed or failed at any point, it goes on when it is
 * called again, and queue_migrate, too. done: what was removed; from, to: as they were. gone: opens a queue as it is,
 * whose other side is on another machine or in another database, which is gone for good; refused without. Where this
 * machine was called gone by another one, which opened the database, what had arrived there stays there, and is removed
 * here. Returns false with the reason. */
bool queue_migrate_give_up(const struct config *config, bool gone, const struct migrating *watch, struct migrated *done,
                           struct error *why);

/* Checks the queue's integrity and calls report for each fault. Returns true when the check itself worked; *faults
 * counts. */
bool queue_check(struct queue *queue, void (*report)(void *context, const char *fault), void *context, size_t *faults,
                 struct error *why);

/* The library behind the configured engine, for people: its name, release and known problems; "" if there is none. */
#define QUEUE_LIBRARY 160
void queue_library(const struct config *config, char out[static QUEUE_LIBRARY]);

/* How many events wait, and how many dead letters are kept, in the queue.db of a state directory that is now configured
 * with another queue, so that nobody delivers them; 0 where there is none, or queue_migrate has moved it, and that is a
 * copy (*has_copy). Only reads.
 * Returns false with the reason when they cannot be read. */
bool queue_left_behind(const struct config *config, uint64_t *waiting, uint64_t *dead, bool *has_copy,
                       struct error *why);

#define LEFT_PLACE 320

/* What is left in queues that this state directory has worked with, and that are configured no more. */
struct left_behind {
    uint64_t waiting, dead; /* as queue_left_behind, as has_copy */
    bool has_copy;
    struct error why;          /* why those cannot be told; "": they can */
    size_t databases;          /* of PostgreSQL; what is in them is not known */
    char database[LEFT_PLACE]; /* one of them, for people: "in PostgreSQL, database DATABASE on HOST" */
};

/* Looks for it. Only reads files: connects to nothing. */
void queue_left(const struct config *config, struct left_behind *left);

/* Forgets the databases among it, as the operator says; each is told as queue_adopt does. *count: how many there were.
 * Returns false with the reason when that cannot be noted. */
bool queue_left_forget(const struct config *config, void (*tell)(void *context, const char *words), void *context,
                       size_t *count, struct error *why);

/* What is left in a state directory that the configuration named before (state_places_before). */
struct left_elsewhere {
    char directory[PATH_MAX]; /* the first one in which something is; "": in none */
    uint64_t waiting;         /* events */
    uint64_t dead;            /* dead letters */
    bool keys;                /* signature keys that `subscribe` obtained are there, too */
    struct error why;         /* what is in it cannot be told, and why; "": it can */
};

/* Looks for events that wait, and for dead letters, where nobody delivers them any more since state_dir was changed;
 * not where another process forwards them. Only reads. */
void queue_look_elsewhere(const struct config *config, struct left_elsewhere *left);

/* The path of another configuration whose process forwards from this state directory, too; "": there is none. */
void queue_look_for_other(const struct config *config, char where[static PATH_MAX]);

/* Wakes the owner, if there is one, as an append would. */
void queue_wake(struct queue *queue);

struct backup_files;

/* Writes a backup (below) to a new file, mode 0600: a snapshot of the whole queue that can serve as a state
 * directory's database, and the small files (NULL: none), which were read at made_ms or later. The file gets its name
 * when it is complete and synced. Others may write meanwhile. */
bool queue_backup(struct queue *queue, const char *path, const struct backup_files *files, int64_t made_ms,
                  struct error *why);

/* Whether a backup of this state directory was killed and has left its unfinished file, which nobody writes any more:
 * part is its path. The next backup removes it. */
#define BACKUP_PATH 512
bool backup_unfinished(const char *state_dir, char part[static BACKUP_PATH]);

/* Removes what deleted events left in the database's free pages and in its log, while others may write: for erasure.
 * Takes long where many pages are free. Deletions from then on leave their traces again. */
bool queue_scrub(struct queue *queue, struct error *why);

/* Takes what is at the place that the configuration names for this machine's queue from now on, though it has worked
 * with another one before, and forgets databases that the configuration does not name (queue_left): tell is called with
 * a sentence for each place. Returns false with the reason. */
bool queue_adopt(struct queue *queue, void (*tell)(void *context, const char *words), void *context, struct error *why);

/* Tests writing: commits a small row with a sync, as an append would, without changing any count. Returns whether that
 * worked. serves: this process accepts events, too; else a limit on files that it does not have may be theirs. Not on a
 * struct queue that appends. Blocks as long as the disk does. */
bool queue_probe(struct queue *queue, bool serves, struct error *why);

/* ---- state.c: Records of lost events, outside of the database: the time range that may be incomplete since the
 * database was damaged, lost or restored from a backup. The file STATE_DIR/loss/SOURCE exists until reconciling has
 * fetched the missing events from Close; until then nothing is reported complete beyond its beginning. Any process may
 * call these. Whoever writes a record holds open.lock exclusively or is the only process that uses the queue. ---- */

#define LOSS_WORDS 400

/* Times are Unix time in milliseconds. */
struct loss {
    int64_t from_ms;        /* events received from here on may be lost; 0: from the beginning */
    int64_t until_ms;       /* when the record was written: events received later are safe */
    bool identities_kept;   /* identities of delivered events are intact: fetching again makes no duplicates */
    int64_t mark_ms;        /* every event with an older date_updated was settled (struct delivered); 0: unknown */
    char words[LOSS_WORDS]; /* what happened, for people; one line */
};

/* Writes a record, durably. With mark_ms 0 the delivered mark is used. An existing record is merged: the earliest
 * beginning and mark (unknown counts as earliest), the latest end, identities_kept only if both have it. Returns false
 * with the reason; then the record is unchanged. */
bool loss_note(const char *state_dir, const char *source, const struct loss *loss, struct error *why);

/* Reads the record; *any: there is one. A record that cannot be parsed counts as everything lost. Returns false with
 * the reason when it cannot be read. */
bool loss_read(const char *state_dir, const char *source, struct loss *loss, bool *any, struct error *why);

/* Deletes the record, once the events are fetched or an operator has accepted the loss. No record is no error. Returns
 * false with the reason. */
bool loss_clear(const char *state_dir, const char *source, struct error *why);

/* ---- the delivered mark ---- */

struct delivered {
    char source[80];
    int64_t mark_ms; /* every event with an older date_updated was settled: Unix time in milliseconds, Close's clock */
};

/* Reads the mark of a source; 0: there is none. */
int64_t delivered_mark(const char *state_dir, const char *source);

/* Replaces the marks of all sources. Returns false with the reason; then the old ones are unchanged. */
bool delivered_write(const char *state_dir, const struct delivered *marks, size_t count, struct error *why);

/* Finds an event's date_updated in its unparsed body, for inspecting waiting events. Unix time in microseconds;
 * DATE_UNREADABLE when there is none. */
int64_t delivered_date_of(const char *body, size_t length);

/* ---- Backup and restore: one file with the queue and the small files of the state directory (signature keys,
 * state of the Close side). The file is a queue database with two more tables, so that an older release can use it as
 * queue.db. It contains keys and customer data. ---- */

/* A small file: name relative to the state directory ("keys/acme-whsub_1.key"). Owned by the struct backup_files. */
struct backup_file {
    char *name;
    char *bytes;
    size_t length;
};

/* All zero is empty; free with backup_files_free, which overwrites the bytes. */
struct backup_files {
    struct backup_file *at;
    size_t count;
};

/* Reads the small files of a state directory. Returns false with the reason. */
bool backup_files_gather(const char *state_dir, struct backup_files *files, struct error *why);

/* Adds a copy of a file. Returns false when memory is out. */
bool backup_files_add(struct backup_files *files, const char *name, const void *bytes, size_t length);

/* Writes a file to the state directory, synced, unless it exists: then *there is set and the existing file is kept. */
bool backup_file_put(const char *state_dir, const struct backup_file *file, bool *there, struct error *why);

void backup_files_free(struct backup_files *files);

/* ---- reading and restoring a backup ---- */

struct backup;

/* Opens a backup, or a copy of a queue that an older release made, and checks its integrity. Only reads. Returns NULL
 * with the reason. */
struct backup *backup_open(const char *path, struct error *why);

/* When the backup was begun; nothing later is in it. Unix time in milliseconds. */
int64_t backup_made_ms(const struct backup *backup);

/* The sources in the backup; free with queue_names_free. */
bool backup_sources(struct backup *backup, struct strings *names, struct error *why);

/* The small files in the backup. */
bool backup_read_files(struct backup *backup, struct backup_files *files, struct error *why);

/* Locks a state directory for a restore: no other process may have its queue open, and the queue must hold no events.
 * Returns a descriptor that holds the lock until it is closed; -1 with the reason and its remedy. *busy: another
 * process uses the queue. */
int backup_lock(const char *state_dir, bool *busy, struct error *why);

/* Builds the restored queue beside the existing one, and adds the existing one's counts and identities of delivered
 * events. Call with the lock. */
bool backup_build(struct backup *backup, const char *state_dir, struct error *why);

/* Renames the built queue into place; until then nothing has changed. Call with the lock. */
bool backup_commit(const char *state_dir, struct error *why);

void backup_close(struct backup *backup);

/* ---- place.c: That a state directory was used, noted beside the configuration: one that is away (its disk is not
 * mounted, it was renamed) must not be made anew, empty, while what waits and the keys are elsewhere; nor may the empty
 * folder be used on which its disk was mounted. Where the
 * configuration's folder belongs to another user nothing is noted; there the state directory's folder mostly does, too,
 * and nothing can be made in it. ---- */

/* Creates the directory if it is missing (*made), mode 0700, and checks it. Returns false with the reason and the
 * command that fixes it when it cannot be used or other users have access. */
bool state_place_make(const char *directory, bool *made, struct error *why);

/* Whether the state directory is there, or may be made. Returns false with the reason, ERROR_MISSING, and what to do.
 */
bool state_place_may_open(const struct config *config, struct error *why);

/* Notes that it is used, and which ones were before. What cannot be noted is not. */
void state_place_note(const struct config *config);

/* The state directories that were noted, without the present one under whatever name, the newest first: all that are
 * known, also those in which nothing is left. The caller frees with queue_names_free. */
void state_places_before(const struct config *config, struct strings *places);

/* Notes, in the state directory, the configuration of the process that forwards. */
void state_forwarder_note(const struct config *config);

/* Whether a process of another configuration forwards from the same state directory (is_claimed: one forwards now), or
 * did within the last hour; where is set to its path. The same file by another name is none. */
bool state_forwarder_other(const struct config *config, bool is_claimed, char where[static PATH_MAX]);

#endif
