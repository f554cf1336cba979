/* Looking into the queue, and the operator's hand in it: counts, lists, dead letters, backup. Any process may, also
 * while another forwards; no call holds the queue for long. One thread for one struct queue. Every function returns
 * false (-1 where it counts) with the reason when the queue failed, or is one that keeps nothing. */
#ifndef QUEUE_INSPECT_H
#define QUEUE_INSPECT_H

#include "queue/queue.h"

struct counts {
    uint64_t accepted; /* each event once, replays not counted again */
    uint64_t delivered;
    uint64_t duplicates;
    uint64_t dropped;
    uint64_t dead;              /* dead letters that are kept now, and not on their way again */
    uint64_t ended;             /* dead letters that dead_retention has ended */
    uint64_t ending;            /* dead letters that it ends soon, within a week at most */
    int64_t ending_ms;          /* when the first of them ends; Unix time; 0: none does */
    uint64_t waiting;           /* replays included */
    int64_t oldest_received_ms; /* of those that wait; Unix time; 0: none waits */
    int64_t last_accepted_ms;   /* 0: never, as below */
    int64_t last_delivered_ms;
};

/* A dead letter; texts and body belong to the struct letters it stands in. */
struct letter {
    uint64_t id;
    const char *source;
    const char *reason;
    const char *body;
    size_t length;
    int64_t received_ms; /* Unix time, as died_ms */
    int64_t died_ms;
    bool replayed; /* it is on its way again: it goes when that is delivered */
};

/* All zero is empty; reuse it, free it with letters_free. */
struct letters {
    struct letter *at;
    size_t count;
    size_t capacity;
    struct buffer texts;
};

/* What takes room in the queue. Bytes. */
struct queue_room {
    uint64_t used;    /* by all that is in it */
    uint64_t letters; /* of it, by dead letters */
    uint64_t share;   /* of queue_max_bytes, that dead letters may take: beyond it they do not make the queue full */
};
/* Lets go of the queue: nothing of it is open or locked until the next of the calls below opens it again. For who is
 * about to print or ask, which takes as long as a person likes, while a repair may need the queue for itself. Only
 * where nobody appends to it or owns it. What was read from it stays. */
void queue_rest(struct queue *queue);

/* The sources that the queue knows, configured or not. The caller frees with queue_names_free. */
bool queue_names(struct queue *queue, struct strings *names, struct error *why);
void queue_names_free(struct strings *names);

/* Counts of one source. One that the queue does not know has none. */
bool queue_count(struct queue *queue, const char *source, struct counts *counts, struct error *why);

/* What takes room, of all sources. */
bool queue_room(struct queue *queue, struct queue_room *room, struct error *why);

/* Says what is remembered of each identity, as queue_known does for the owner. What is settled at this very moment may
 * not be seen yet. */
bool queue_look_known(struct queue *queue, const char *source, const struct identity *identities, size_t count,
                      struct known *known, struct error *why);

/* The forwarder's notes of a source. */
bool queue_notes(struct queue *queue, const char *source, struct notes *notes, struct error *why);

/* Whether a process forwards now. *words says so to people: "process 4711 on HOST". */
bool queue_is_owned(struct queue *queue, bool *owned, struct error *words, struct error *why);

/* Whether new events are accepted as far as room for files goes; false with the words of what is wrong and what to do
 * about it. Of a queue that keeps nothing: true. */
bool queue_has_room(struct queue *queue, struct error *words);

/* Whether what becomes of events can be noted, as whoever forwards found in the last minutes: else nothing is sent;
 * false with the words of what is wrong and what to do about it. Of a queue that keeps nothing: true. */
bool queue_can_be_settled(struct queue *queue, struct error *words);

/* Finds waiting events as queue_next does, but takes nothing. */
int queue_list(struct queue *queue, const char *source, uint64_t after, size_t max_count, size_t max_bytes,
               struct events *found, struct error *why);

/* Finds dead letters beyond the id `after`, oldest first, of one source or (NULL) of all; the first always comes
 * whatever max_bytes says. */
int queue_letters(struct queue *queue, const char *source, uint64_t after, size_t max_count, size_t max_bytes,
                  struct letters *found, struct error *why);
void letters_free(struct letters *letters);

/* Sends dead letters on their way again, all or none: each is appended anew, unless it is on its way already or gone.
 * *done counts those that were. */
bool queue_replay(struct queue *queue, const uint64_t *ids, size_t count, size_t *done, struct error *why);

/* Throws dead letters away, all or none. */
bool queue_discard(struct queue *queue, const uint64_t *ids, size_t count, size_t *done, struct error *why);

/* What became of a request. */
enum queue_answer {
    QUEUE_ASKED,   /* nobody has taken it yet */
    QUEUE_TAKEN,   /* the owner is at it */
    QUEUE_DONE,    /* words say what was done */
    QUEUE_REFUSED, /* nothing was done, and words say why */
};

/* Asks the process that forwards for something; its number tells it from others. queue_remind makes the owner look:
 * call it again and again while there is no answer, for the owner may change. A request is forgotten after a minute. */
bool queue_ask(struct queue *queue, const struct queue_request *request, int64_t *number, struct error *why);
void queue_remind(struct queue *queue);
bool queue_answer(struct queue *queue, int64_t number, enum queue_answer *answer, struct error *words,
                  struct error *why);

/* Takes a request back that nobody has taken (always: in any case, as after its answer). *withdrawn: it was there. */
bool queue_withdraw(struct queue *queue, int64_t number, bool always, bool *withdrawn, struct error *why);

/* What a move has moved. */
struct moved {
    uint64_t events;     /* that wait */
    uint64_t letters;    /* dead letters */
    uint64_t identities; /* of events that were delivered or dropped */
};

/* Gives all of a source (renamed, or removed) to another in short steps: its waiting events, in their order, behind
 * what waits there; its dead letters; what was delivered, so that it is known when it comes again; its counts. Of an
 * identity that both have the newer version counts. A process that forwards meanwhile sees it at once. *moved counts,
 * also when it fails. Goes on where it stopped when called again. */
bool queue_move(struct queue *queue, const char *from, const char *to, struct moved *moved, struct error *why);

/* Checks the queue's integrity; each fault is told by a call of report. Returns true when the check itself worked;
 * *faults counts. */
bool queue_check(struct queue *queue, void (*report)(void *context, const char *fault), void *context, size_t *faults,
                 struct error *why);

/* What keeps the queue that a configuration names, for people: a library's name and release, and what is to be known of
 * it. "": nothing does. */
#define QUEUE_LIBRARY 160
void queue_library(const struct config *config, char out[static QUEUE_LIBRARY]);

/* How many events wait in the database of a state directory that is configured with queue = none, by which nothing of
 * it is delivered; 0 where there is none. Only reads. Returns false with the reason when it cannot be told. */
bool queue_left_behind(const struct config *config, uint64_t *waiting, struct error *why);

/* Wakes the process that forwards, if one does, as an append would. */
void queue_wake(struct queue *queue);

struct backup_files;

/* Writes a backup (backup.h) to a new file, mode 0600: the whole queue as it is at one moment, in a form that is good
 * as a state directory's, and the small files (NULL: none), which were read at made_ms or later. It appears under its
 * name when it is whole and synced. Others write meanwhile. */
bool queue_backup(struct queue *queue, const char *path, const struct backup_files *files, int64_t made_ms,
                  struct error *why);

/* Writes something small and syncs it, as an append would, and changes nothing that counts. Returns whether that
 * worked. Not where anything is appended to this struct queue. May block as long as the disk does. */
bool queue_probe(struct queue *queue, struct error *why);

#endif
