/* Inside the engine `sqlite`: one process's state of a state directory. It has three connections: the writer's for all
 * appends (append.c), the owner's for reading and settling (claim.c, settle.c), the housekeeper's (housekeeper.c). */
#ifndef QUEUE_SQLITE_STORE_H
#define QUEUE_SQLITE_STORE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "queue/engine.h"
#include "queue/sqlite/database.h"
#include "queue/sqlite/files.h"
#include "queue/sqlite/recovery.h"

/* ---- remember.c, bloom.c: A Bloom filter over the identity index: tells for nearly every key that is not in the index
 * that it is not, without reading a page. Looking up only new keys costs a fifth of all work per event in an index of
 * 2M keys, two fifths in one of 20M (measured). It has four bits for each key and a quarter more, 1 MiB at least, and
 * is made anew when it is full. False positives, at most one in six when it is full, are safe. Keys cannot be removed.
 * The caller locks.
 *
 * Reading 20M keys takes seconds of a processor, so a file keeps the filter for the next owner. It must never lack a
 * key, whatever release used the queue meanwhile: the last row of the journal that was merged stays there, and the file
 * names it. Releases before, which do not know of this, merge and delete whole journals: as long as that row is there
 * everything settled after it is in the journal, too, which each owner reads. What else writes the index counts
 * COUNT_MOVES up. ---- */

#define BLOOM_BLOCK 64              /* bytes, a line of the processor's cache */
#define BLOOM_BLOCKS_MOST (1 << 20) /* 64 MiB */

/* All zero: no filter. */
struct bloom {
    uint64_t *bits; /* NULL: no filter */
    uint64_t blocks;
    uint64_t added; /* keys, some of them more than once */
    bool whole;     /* complete: has every key of the index */
};

struct database;
struct checkpointer;
struct store;

/* Makes an empty filter for an index of so many keys. Returns false when memory is out. */
bool bloom_begin(struct bloom *bloom, uint64_t keys);

/* Adds a key; does nothing without a filter. */
void bloom_add(struct bloom *bloom, const unsigned char key[16]);

/* False: the key is certainly not in the index. */
bool bloom_may_have(const struct bloom *bloom, const unsigned char key[16]);

/* Whether there are more keys in it than it was made for, and it could be larger. */
bool bloom_is_full(const struct bloom *bloom);

void bloom_free(struct bloom *bloom);

/* bloom.c: reads the store's filter from its file, or else makes it from the index, once enough keys were looked up
 * there to pay for it; anew when it is full. When a move wrote the index meanwhile, it is incomplete, and the next call
 * begins again. The housekeeper's. */
enum database_result bloom_make(struct store *store, struct database *database, struct checkpointer *checkpointer);

/* bloom.c: reads it from its file, unless it is there: for who merges, whose lookups were too few for a filter, and
 * after whom the file would be void. Returns whether there is one. The housekeeper's. */
bool bloom_load(struct store *store, struct database *database);

/* bloom.c: saves it, once the journal is merged up to a row. Returns whether that row must stay in the journal; else
 * the file is gone. The housekeeper's. */
bool bloom_save(struct store *store, struct database *database, int64_t row);

/* ---- remember.c: A copy in memory of the identity journal: identities of settled events that are not merged into the
 * index yet. Only the owner writes the journal, so its mirror is complete. The caller locks. ---- */

struct mirrored {
    unsigned char key[16];
    uint32_t source;
    int64_t updated;
    int64_t at; /* Unix time, ms */
};

/* All zero is empty. */
struct mirror {
    struct mirrored *entry; /* all entries, in insertion order */
    size_t used;
    size_t room;
    uint32_t *slot; /* a hash table of indexes into `entry`, from 1; 0: empty */
    size_t slots;   /* 0 or a power of two */
};

/* Adds an identity; a newer version replaces an older one. Returns false when memory is out. */
bool mirror_add(struct mirror *mirror, const struct mirrored *one);

/* Reserves memory for count more, so that mirror_add cannot fail. */
bool mirror_reserve(struct mirror *mirror, size_t count);

/* The entry with this key, or NULL. */
const struct mirrored *mirror_find(const struct mirror *mirror, uint32_t source, const unsigned char key[16]);

/* Compares in the order of the index, for bsearch. */
int mirror_compare(const void *a, const void *b);

/* A copy of all entries in the order of the index, to be freed; NULL when memory is out or there are none. */
struct mirrored *mirror_sorted(const struct mirror *mirror);

void mirror_free(struct mirror *mirror);

/* ---- checkpoint.c: Checkpoints: copy the write-ahead log into the database, small and often, so that the log stays
 * short and no request thread has to do it. By the owner of the consumer lock, from one thread. SQLite up to 3.51.2 can
 * lose commits when a checkpoint begins while the log is completely copied and a writer restarts the log at that moment
 * (sqlite.org/wal.html#walresetbug). While frames are uncopied no writer can restart it. So a checkpoint begins only
 * when some frames certainly are uncopied, or while writers are locked out. That costs nothing, so every SQLite version
 * is treated so: distributions fix the bug without changing the version. ---- */

/* All zero does nothing and may be closed. */
struct checkpointer {
    /* A connection for checkpoints and `PRAGMA data_version` only: then every commit, also of this process, is another
     * connection's and changes the version. */
    struct database database;
    bool open;       /* open, and the database has a log */
    bool has_base;   /* `base` is valid */
    int64_t base;    /* data_version right after the last checkpoint: a later one means uncopied frames */
    bool incomplete; /* the last checkpoint left frames uncopied */
    bool unsure;     /* frames may be uncopied although data_version is `base`: committed before or while it was read */
    bool failed;     /* the last checkpoint failed */
    bool held_off;   /* because another connection had SQLite's lock of checkpoints */
    bool was_quiet;  /* nothing had been committed at the last call */
    int frames;      /* in the log when the last checkpoint began */
};

/* Opens the connection. Returns DONE, also where there is no log, or the result with the reason in database.why. */
enum database_result checkpointer_open(struct checkpointer *checkpointer, const char *directory);

/* Copies what was committed since the last call. When the log has become too long, locks writers out briefly so that
 * the log restarts. After two calls without commits, copies frames that may be uncopied with writers locked out, unless
 * a write is running. */
void checkpointer_copy(struct checkpointer *checkpointer);

/* Whether checkpointer_copy should be called again soon without new commits, to copy the last ones. */
bool checkpointer_has_more(const struct checkpointer *checkpointer);

/* Copies everything and truncates the log, with writers locked out: the log may be what fills the disk. */
void checkpointer_empty(struct checkpointer *checkpointer);

/* Copies what remains without waiting for other connections, and closes the connection. */
void checkpointer_finish(struct checkpointer *checkpointer);

/* Closes the connection without copying. */
void checkpointer_close(struct checkpointer *checkpointer);

/* Whether the SQLite version (3051003 is 3.51.3) has the WAL-reset bug, unless its distributor has fixed it. */
bool checkpoint_has_reset_bug(int version);

/* ---- owner.c: The owner's heartbeat, a file in the state directory: the machine and process that forwards, rewritten
 * periodically. ---- */

#define BEAT_MACHINE 128
#define BEAT_TEXT 160

/* Identifies this machine since its boot: "HOST BOOT"; BOOT is "?" where it is unknown. */
void beat_machine(char out[static BEAT_MACHINE]);

/* Whether a heartbeat comes from the machine named as by beat_machine. Where the boot is unknown (no /proc) the host
 * decides. */
bool beat_is_of(const char *beat, const char *machine);

/* Writes a heartbeat of this process. */
void beat_write(const char *directory);

/* Says in words, for people, which process a heartbeat is of: "process 4711 on HOST"; and for how long there was none
 * (ms), 0: it is fresh. */
void beat_words(const char *beat, int64_t silent_ms, struct error *words);

/* Reads the last heartbeat, "HOST BOOT PID", and its age. Returns false when there is none. */
bool beat_read(const char *directory, char out[static BEAT_TEXT], int64_t *age_ms);

/* ---- dead_letters.c: space and retention of dead letters ---- */

struct store;

/* Bytes that dead letters use. */
int64_t letters_bytes(struct database *database, enum database_result *result);

/* Bytes that dead letters may use of queue_max_bytes; what they use beyond does not make the queue full for events. */
int64_t letters_share(int64_t queue_max_bytes);

/* Writes what fills the queue, and the remedy. used, letters, most: bytes of all, of dead letters, and queue_max_bytes.
 */
void letters_why_full(int64_t used, int64_t letters, int64_t most, struct error *why);

/* Counts a source's letters to be deleted soon (within a week; less with a short retention), and when the first of them
 * is (Unix time, ms); 0: none. Letters being replayed do not count. */
enum database_result letters_ending(struct database *database, uint32_t number, int64_t dead_retention_ms,
                                    uint64_t *count, int64_t *first_ms);

/* Deletes a dead letter within a transaction. Its identity is remembered for as long as a delivered event's, so that
 * neither Close's repetitions nor its Event Log bring back what was deleted. *deleted: whether it was there. */
enum database_result letters_delete(struct database *database, int64_t id, int64_t dedupe_window_ms, bool *deleted);

/* Deletes dead letters older than dead_retention, up to a step's number in one transaction, counts and logs them; not
 * those being replayed. *ended: how many; 0: none is left. */
enum database_result letters_expire_step(const struct store *store, struct database *database, size_t *ended);

/* ---- the store ---- */

#define COUNT_PROBED 64 /* not a count, under source 0: when a probe was last written; Unix time, ms */

/* Kinds of the table `count`. Their numbers are stored: never change one. */
enum count_kind {
    COUNT_DELIVERED = 1,
    COUNT_DUPLICATES = 2,
    COUNT_DROPPED = 3,
    COUNT_DEAD = 4,           /* events that became dead letters, each time they did */
    COUNT_REPLAYS = 5,        /* dead letters appended again */
    COUNT_MOVED_IN = 6,       /* appended by a move from another source */
    COUNT_MOVED_OUT = 7,      /* removed by a move to another source */
    COUNT_LAST_DELIVERED = 8, /* Unix time, ms */
    COUNT_LAST_ACCEPTED = 9,
    COUNT_LOST = 10,          /* unreadable in a damaged database */
    COUNT_LETTER_BYTES = 11,  /* bytes that dead letters of all sources use; under source 0 (dead_letters.c) */
    COUNT_ENDED = 12,         /* dead letters deleted after dead_retention */
    COUNT_LETTERS_SINCE = 13, /* start of dead_retention for older letters; Unix time, ms; under source 0 */
    COUNT_DATABASE = 14,      /* not a count: the database's id, random (merge.c); under source 0 */
    COUNT_MOVES = 20,         /* transactions of moves that wrote the identity index (move.c); under source 0 */
    COUNT_SIGNED = 21,        /* not 0: the source had a signature key (config/keyring.h) */
    COUNT_KINDS = 22,
};

struct group {
    pthread_mutex_t lock; /* protects all that follows but the writer's own members */
    struct waiting_append *first;
    struct waiting_append **end;
    unsigned round;              /* number of the group that is being filled */
    pthread_cond_t committed[2]; /* the group of an even or odd round is committed */
    pthread_cond_t not_empty;    /* wakes the writer: an append is queued, or it must save or end */
    bool sleeps;
    bool must_save; /* the writer has to save the content of replaced files (rescue.c) */
    bool started;
    bool appender_writes; /* an appender commits its group, as no writer thread can be started */
    bool ending;
    pthread_t writer;
    struct database database; /* the writer's own, as all below; without a writer, that of the appender that writes */
    int wake_fd;              /* of a process that does not append: its own */
    moment noted_room;        /* when no room was last recorded; 0: not since the last commit */
    bool has_stored;          /* this process has stored an event */
};

struct housekeeper {
    pthread_t thread;
    bool owned;           /* between housekeeper_start and _stop; of one thread, as the next two */
    bool started;         /* the thread is running */
    moment tried;         /* when starting the thread was last tried */
    pthread_mutex_t lock; /* protects all that follows */
    pthread_cond_t called;
    bool work; /* something was written since the thread last looked */
    bool ending;
};

/* For the delivered mark (queue/inspect.h): the newest date among a source's settled events. */
struct settled_date {
    uint32_t source;
    int64_t newest_us;
};

struct store {
    const struct config *config;
    char directory[STATE_PATH];
    char reserve[STATE_PATH]; /* the path of the reserve, for which each append looks */
    int open_lock;            /* held shared; a process that holds it exclusively may replace the database */
    uint32_t *number;         /* number of each configured source, in the configuration's order */
    atomic_bool must_reopen;  /* damaged, replaced, or migrated by another release */
    _Atomic moment logged[5]; /* when each database_result was last logged */
    bool is_open;             /* opened successfully; `files` is set */
    struct open_files files;  /* identity of the open files */
    atomic_int files_state;   /* enum open_files_state at the last check */
    _Atomic moment logged_displaced;
    _Atomic moment noted_replaced; /* when replaced_note was last called; 0: never */
    _Atomic int64_t committed_ms;  /* last commit of an append or settling; Unix time */
    atomic_bool clock_steady;      /* see queue_is_steady */
    int64_t file_limit;            /* the process's limit on a file's bytes; INT64_MAX: none */
    atomic_bool reserve_gone;      /* the reserve was deleted: nothing is accepted until it exists again */
    struct group group;

    bool reading; /* `reader` is open */
    struct database reader;
    bool any_letter; /* dead letters may exist: else lookups are skipped */
    bool settles;    /* the owner's: the last settling worked */

    atomic_bool owned;
    bool asked;         /* the owner's: requests may be waiting */
    int forward_lock;   /* held exclusively by the owner */
    int directory_lock; /* likewise, on the state directory, which is rarely removed; -1: unsupported */
    int wake_fd;        /* the owner's end of the FIFO */
    pthread_mutex_t mirror_lock;
    struct mirror mirror;         /* the journal's; of a process that is not the owner, as read by remember.c */
    int64_t seen;                 /* of such a process: the last journal row read */
    struct bloom bloom;           /* the owner's, protected by mirror_lock; filled by the housekeeper */
    struct settled_date *settled; /* likewise, of each configured source in the configuration's order; may be NULL */
    size_t index_asked;           /* keys looked up in the index: decides when a Bloom filter pays */
    int64_t moves;                /* protected by mirror_lock: the last COUNT_MOVES read */
    struct housekeeper housekeeper;
};

/* The number of a source; 0 when the queue does not have it. */
uint32_t store_number(struct store *store, const char *name);

/* remember.c: adds the rows of the journal that a bound statement of the reader finds to the mirror; with mirror_lock
 * held. claimed: by the owner, who notes their dates for the delivered mark, too; else notes in `seen` how far it read.
 */
enum database_result store_mirror_journal(struct store *store, sqlite3_stmt *journal, bool claimed);

/* Opens the reader's connection unless it is open. */
bool store_reader(struct store *store, struct error *why);

/* Handles a failure of the reader's connection; why may be NULL. Reading, too, may want room: what a refused
 * transaction left is undone first where there is no log, and some file systems have no room for that. The owner gives
 * up the reserve for it. Returns false. */
bool store_reader_failed(struct store *store, enum database_result result, struct error *why);

/* ---- store.c: waking the forwarder from any process, by a FIFO ---- */

/* For the owner: opens the FIFO, readable when another process has written; never at end of file, whichever writers
 * come and go. Returns -1 with the reason. */
int wake_open(const char *directory, struct error *why);

/* Wakes the owner, if there is one. *fd: -1 before the first call; kept open for the next. */
void wake_send(const char *directory, int *fd);

#define WAKE_ASKS 'r'
/* Wakes the owner with the byte WAKE_ASKS, which tells it to look for requests too. */
void wake_ask(const char *directory, int *fd);

/* Only the owner is woken; -1 for other processes. */
int store_wake_fd(void *state);
bool store_has_reader(void *state, const char *source);
void store_clear_wakeup(void *state);

bool store_is_steady(void *state);
bool store_must_reopen(void *state);

/* Handles a failure: sets must_reopen and the damage mark where due, and logs what an operator must know. */
void store_failed(struct store *store, enum database_result result, const struct error *why);

/* Whether there is room for new events; else false with the reason for people. */
bool store_has_room(void *state, struct error *words);

/* Whether events are refused for the moment because files were replaced; else true. words: for people. */
bool store_stands(void *state, struct error *words);

/* Whether settling works; else false with the reason for people. */
bool store_can_be_settled(void *state, struct error *words);

/* Whether the open files are still at their paths; else false with the reason: the operator is told, the content is
 * saved, and the queue must be opened again, unless the whole directory is gone, which may come back. Any thread. */
bool store_is_in_place(struct store *store, struct error *why);

/* After it has found that they are not: tells all processes, rarely. Any thread. */
void store_note_replaced(struct store *store);

/* Whether a database of so many pages, some of them unused, may grow: else FULL, with the reason in the
 * writer's connection. */
enum database_result store_check_size(struct store *store, int64_t pages, int64_t unused);

/* The owner's, after a DATABASE_FULL: deletes the reserve where that helps, because settling needs room too. It is
 * created again as soon as there is room. Returns whether there was one. */
bool store_give_up_reserve(struct store *store, const struct database *database);

/* Creates the reserve unless it exists, by a connection of the calling thread. Returns false with errno when there is
 * no room. */
bool store_make_reserve(struct store *store, struct database *database);

/* The same for a reserve that nobody has given up: somebody has removed it, which is logged. Returns false with the
 * reason, which is logged, too; unless the queue's files are not where they were. */
bool store_replace_reserve(struct store *store, struct database *database, struct error *why);

/* rescue.c */

/* Saves the content of files that are no longer at their paths. Only the writer's thread, or when nobody appends any
 * more. last: what cannot be saved now is lost; else saving is tried again. */
void store_save(struct store *store, bool last);

/* append.c */
void store_ask_writer_to_save(struct store *store);
void store_start_writer(void *state); /* unless it is there, or cannot be started */
bool group_init(struct group *group);
void group_free(struct group *group);
void store_stop_writer(struct store *store); /* when nobody appends any more */
enum queue_result store_append(void *state, const char *source, const char *body, size_t length, moment deadline,
                               struct error *why);
struct waiting_append *store_append_start(void *state, const char *source, const char *body, size_t length,
                                          append_done *done, void *context);
bool store_append_give_up(void *state, struct waiting_append *append, struct error *why);
void store_append_end(struct waiting_append *append);
void store_set_stop_deadline(void *state, moment deadline);

/* claim.c: reading events */
int store_next(void *state, const char *source, uint64_t after, size_t max_count, size_t max_bytes,
               struct events *found, struct error *why);
int store_again(void *state, const char *source, const uint64_t *ids, size_t count, size_t max_bytes,
                struct events *found, size_t *asked, struct error *why);

/* settle.c */
bool store_known(void *state, const char *source, const struct identity *identities, size_t count, struct known *known,
                 struct error *why);
bool store_settle(void *state, const char *source, const struct verdict *verdicts, size_t count, struct error *why);
bool store_settles_in_bulk(void *state);
bool store_can_settle(void *state, const char *source, const struct verdict *verdicts, size_t count, struct error *why);
bool store_note(void *state, const char *source, struct notes *notes, bool put, struct error *why);
bool store_read_notes(void *state, const char *source, struct notes *notes, struct error *why);

/* claim.c: the consumer lock */
bool store_claim(void *state, struct error *why);
void store_release(struct store *store);
/* Checks that the owner's lock file and FIFO are still in place; else locks again, or sets must_reopen. The
 * housekeeper's thread. */
void store_keep_claim(struct store *store);
bool store_is_owned(void *state, bool *owned, struct error *words, struct error *why);
/* Whether a process forwards from that directory, or is about to. */
bool store_is_claimed(const char *directory);
/* owner.c: checks the system clock for jumps; call periodically. */
void store_check_clock(struct store *store);

/* housekeeper.c */
void housekeeper_start(struct store *store);
void housekeeper_call(struct store *store);
void housekeeper_stop(struct store *store);
bool housekeeper_is_ending(struct store *store);

/* room.c; store_look_at_limit: when the database is opened, whether it has reached the limit. */
void store_look_at_limit(struct store *store);
bool store_probe(void *state, bool serves, struct error *why);

/* owner.c: the delivered mark. settled: reports the date of a settled event; with mirror_lock held. note: writes the
 * marks of all sources, with a connection of the calling thread. */
bool marks_begin(struct store *store);
void marks_settled(struct store *store, uint32_t source, int64_t updated_us);
void marks_note(struct store *store, struct database *database);

/* owner.c: requests of commands */
bool store_ask(void *state, const struct queue_request *request, int64_t *number, struct error *why);
void store_remind(void *state);
bool store_answer(void *state, int64_t number, enum queue_answer *answer, struct error *words, struct error *why);
bool store_withdraw(void *state, int64_t number, bool always, bool *withdrawn, struct error *why);
bool store_take_request(void *state, struct queue_request *request);
void store_answer_request(void *state, int64_t number, bool done, const char *words);

/* remember.c: for a process that is not the owner */
bool store_look_known(void *state, const char *source, const struct identity *identities, size_t count,
                      struct known *known, struct error *why);

/* backup.c */
bool store_backup(void *state, const char *path, const struct backup_files *files, int64_t made_ms, struct error *why);

/* checkpoint.c */
bool store_scrub(void *state, struct error *why);

/* move.c */
bool store_move(void *state, const char *from, const char *to, struct moved *moved, struct error *why);

/* owner.c: records that a source had a signature key, in the database and beside the keys; a missing one of the two is
 * written from the other. */
enum database_result store_note_signed(struct store *store, const struct source *source, uint32_t number);

/* inspect.c */
extern const struct inspection store_inspection;

#endif
