/* The engine `sqlite`, inside: one process's hold on a state directory. Appending threads share one connection, the
 * writer's (append.c); who owns the reading has another (take.c, settle.c); its housekeeper a third (housekeeper.c).
 */
#ifndef QUEUE_SQLITE_STORE_H
#define QUEUE_SQLITE_STORE_H

#include <pthread.h>
#include <stdatomic.h>

#include "queue/engine.h"
#include "queue/sqlite/bloom.h"
#include "queue/sqlite/database.h"
#include "queue/sqlite/directory.h"
#include "queue/sqlite/mirror.h"
#include "queue/sqlite/rescue.h"

#define COUNT_PROBED 64 /* a kind of no source, and no count: when a probe was written last; Unix time, ms */

/* What the table `count` counts. Numbers are stored: never change one. */
enum count_kind {
    COUNT_DELIVERED = 1,
    COUNT_DUPLICATES = 2,
    COUNT_DROPPED = 3,
    COUNT_DEAD = 4,           /* events that became dead letters, once for each time */
    COUNT_REPLAYS = 5,        /* dead letters appended again */
    COUNT_MOVED_IN = 6,       /* appended by a move from another source */
    COUNT_MOVED_OUT = 7,      /* taken away by a move to another source */
    COUNT_LAST_DELIVERED = 8, /* Unix time, ms */
    COUNT_LAST_ACCEPTED = 9,
    COUNT_LOST = 10,          /* could not be read from a damaged database */
    COUNT_LETTER_BYTES = 11,  /* the room that dead letters take, of all sources: under source 0 (dead_letters.c) */
    COUNT_ENDED = 12,         /* dead letters that dead_retention has ended */
    COUNT_LETTERS_SINCE = 13, /* since when dead letters may end at all; Unix time, ms; under source 0 */
    COUNT_MOVES = 20,         /* of source 0: transactions in which a move wrote the index of identities (move.c) */
    COUNT_SIGNED = 21,        /* not 0: the source had a signature key (config/signed.h) */
    COUNT_KINDS = 22,
};

/* An append that waits for its group's commit (append.c). */
struct waiting_append;

struct group {
    pthread_mutex_t lock; /* over all that follows but the database */
    struct waiting_append *first;
    struct waiting_append **end;
    unsigned round;              /* the number of the group that gathers */
    pthread_cond_t committed[2]; /* that the group of an even round is done, or of an odd one */
    pthread_cond_t not_empty;    /* something has, and the writer sleeps; or it shall end */
    bool sleeps;
    bool must_save; /* the writer shall save what replaced files hold (displaced.c) */
    bool started;
    bool appender_writes; /* an appender writes itself: there is no thread to be had */
    bool ending;
    pthread_t writer;
    struct database database; /* the writer's, once it is started; else of who leads */
    int wake_fd;              /* likewise; of a command, its own */
    int64_t pages;            /* likewise: of the database, its log included, when it was last written; 0: never */
    moment waits_from;        /* likewise: no checkpoint is waited for before */
    moment noted_room;        /* likewise: when it noted that there is no room; 0: not since the last commit */
};

struct housekeeper {
    pthread_t thread;
    bool owned;           /* from housekeeper_start to housekeeper_stop; of one thread, as the next two */
    bool started;         /* the thread is */
    moment tried;         /* to start it */
    pthread_mutex_t lock; /* over all that follows */
    pthread_cond_t called;
    bool work; /* something was written since it last looked */
    bool ending;
};

/* For the delivered mark (queue/delivered.h): the newest date of what was settled of a source. */
struct settled_date {
    uint32_t source;
    int64_t newest_us;
};

struct store {
    const struct config *config;
    char directory[STATE_PATH];
    int open_lock;                  /* held shared: who gets it exclusively may move the database aside */
    uint32_t *number;               /* of each configured source, in the configuration's order */
    atomic_bool must_reopen;        /* damaged, or migrated by a newer release */
    _Atomic moment logged[5];       /* when each database_result was logged last */
    bool is_open;                   /* it was opened well, and places says where */
    struct open_files files;        /* of its open files */
    atomic_int files_state;         /* enum open_files_state, when it was looked at last */
    _Atomic int64_t database_bytes; /* the database's size then, without what is in the log only */
    _Atomic moment logged_displaced;
    _Atomic int64_t committed_ms; /* the last commit of an append or a settling; Unix time */
    atomic_bool clock_steady;     /* see queue_is_steady */
    int64_t file_limit;           /* bytes that a file of this process may have; INT64_MAX: no limit */
    atomic_bool reserve_gone;     /* it was given up: nothing is accepted until it is back */
    struct group group;

    bool reading; /* `reader` is open */
    struct database reader;
    bool any_letter; /* there may be dead letters: only then are they looked for */
    bool settles;    /* the owner's: the last settling worked */

    atomic_bool owned;
    bool asked;         /* of the owner: there may be requests */
    int forward_lock;   /* held exclusively by the owner */
    int directory_lock; /* likewise, on the state directory itself, which nobody removes by chance; -1: not possible */
    int wake_fd;        /* the owner's end of the FIFO */
    pthread_mutex_t mirror_lock;
    struct mirror mirror;         /* the owner's; of others what they saw of the journal (look.c) */
    int64_t seen;                 /* of others: up to where */
    struct bloom bloom;           /* the owner's, with the mirror's lock; the housekeeper makes it */
    struct settled_date *settled; /* likewise: of each configured source, in the configuration's order; may be NULL */
    size_t index_asked;           /* how many keys were looked for in the index: so many that a sketch pays? */
    int64_t moves;                /* with the mirror's lock: COUNT_MOVES when it was looked at last */
    struct housekeeper housekeeper;
};

/* The number of a source; 0 when the queue does not know it. */
uint32_t store_number(struct store *store, const char *name);

/* Opens the reader's connection unless it is open. */
bool store_reader(struct store *store, struct error *why);

/* Takes note of what a result means for the whole process, and logs what an operator must know. */
void store_failed(struct store *store, enum database_result result, const struct error *why);

/* Why nothing new is accepted, in words: false where there is room. */
bool store_has_room(void *state, struct error *words);

/* Why nothing is settled, and so nothing sent, in words: false where nothing can be. */
bool store_can_be_settled(void *state, struct error *words);

/* The owner's, after a DATABASE_FULL: gives up the reserve where that helps, for settling needs room too. It is made
 * again as soon as there is room. Returns whether there was one to give. */
bool store_give_up_reserve(struct store *store, const struct database *database);
/* displaced.c */

/* Whether its files still stand where they were opened: else with the reason, and the operator is told; what they hold
 * is saved, and the queue must be opened anew, unless the whole directory is gone, which may come back. Any thread. */
bool store_is_in_place(struct store *store, struct error *why);

/* Saves what files hold that do not stand there any more. The writer's thread, or nobody appends any more. last: what
 * cannot be saved now is lost; else it is tried again. */
void store_save(struct store *store, bool last);

/* append.c */
void store_ask_writer_to_save(struct store *store);
bool group_init(struct group *group);
void group_free(struct group *group);
void store_stop_writer(struct store *store); /* once nobody appends any more */
enum queue_result store_append(void *state, const char *source, const char *body, size_t length, moment deadline,
                               struct error *why);
void store_hurry(void *state, moment deadline);

/* take.c */
int store_next(void *state, const char *source, uint64_t after, size_t max_count, size_t max_bytes,
               struct events *found, struct error *why);
int store_again(void *state, const char *source, const uint64_t *ids, size_t count, size_t max_bytes,
                struct events *found, size_t *asked, struct error *why);

/* settle.c */
bool store_known(void *state, const char *source, const struct identity *identities, size_t count, struct known *known,
                 struct error *why);
bool store_settle(void *state, const char *source, const struct verdict *verdicts, size_t count, struct error *why);
bool store_can_settle(void *state, const char *source, const struct verdict *verdicts, size_t count, struct error *why);
bool store_note(void *state, const char *source, struct notes *notes, bool put, struct error *why);
bool store_read_notes(void *state, const char *source, struct notes *notes, struct error *why);

/* claim.c */
bool store_claim(void *state, struct error *why);
void store_release(struct store *store);
/* Whether the owner's lock and FIFO still stand; else takes them anew, or the queue must be opened anew. The
 * housekeeper's thread. */
void store_keep_claim(struct store *store);
bool store_is_owned(void *state, bool *owned, struct error *words, struct error *why);
/* steady.c: looks at the calendar's clock, now and then. */
void store_check_clock(struct store *store);

/* housekeeper.c */
void housekeeper_start(struct store *store);
void housekeeper_call(struct store *store);
void housekeeper_stop(struct store *store);

/* probe.c */
bool store_probe(void *state, struct error *why);

/* marks.c: the delivered mark. settled: an event with that date was; with the mirror's lock held. note: writes the
 * marks of all sources as they stand, with a connection of the calling thread. */
bool marks_begin(struct store *store);
void marks_settled(struct store *store, uint32_t source, int64_t updated_us);
void marks_note(struct store *store, struct database *database);

/* requests.c */
bool store_ask(void *state, const struct queue_request *request, int64_t *number, struct error *why);
void store_remind(void *state);
bool store_answer(void *state, int64_t number, enum queue_answer *answer, struct error *words, struct error *why);
bool store_withdraw(void *state, int64_t number, bool always, bool *withdrawn, struct error *why);
bool store_take_request(void *state, struct queue_request *request);
void store_answer_request(void *state, int64_t number, bool done, const char *words);

/* look.c */
bool store_look_known(void *state, const char *source, const struct identity *identities, size_t count,
                      struct known *known, struct error *why);

/* backup.c */
bool store_backup(void *state, const char *path, const struct backup_files *files, int64_t made_ms, struct error *why);

/* move.c */
bool store_move(void *state, const char *from, const char *to, struct moved *moved, struct error *why);

/* signed.c: that a source had a signature key is noted in the database and beside the keys: where one of the two is
 * missing it is made again from the other. */
enum database_result store_note_signed(struct store *store, const struct source *source, uint32_t number);

/* inspect.c */
extern const struct inspection store_inspection;

#endif
