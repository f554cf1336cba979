/* Giving the whole queue to another engine (migrate.c): what passes between two engines that know nothing of each
 * other. Both queues are closed to everybody else meanwhile, by marks that stay where the process is killed; each step
 * of the copy is one transaction of the queue that receives, which also notes how far it came. */
#ifndef QUEUE_MIGRATION_H
#define QUEUE_MIGRATION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "config/config.h"
#include "queue/queue.h"

/* The parts of a source, in the order in which they are moved: identities first, as in queue_move. Their numbers are
 * stored: never change one. */
enum cargo_part {
    CARGO_KNOWN = 1,   /* identities of settled events */
    CARGO_LATEST = 2,  /* those of an engine's journal, if it has one */
    CARGO_LETTERS = 3, /* dead letters */
    CARGO_EVENTS = 4,  /* waiting events, in their order */
    CARGO_COUNTS = 5,
    CARGO_PARTS,
};

/* A row of any part; what it has not is 0. */
struct cargo_row {
    int64_t id;       /* of a letter or event; of CARGO_LATEST its place; of a count its kind */
    int64_t n;        /* of a count */
    int64_t received; /* Unix time in ms, as the next three */
    int64_t died;
    int64_t replayed;
    int64_t at;
    int64_t updated; /* µs */
    int64_t letter;  /* of an event: the dead letter that it replays */
    bool has_key;
    unsigned char key[16];
    const char *reason;
    const char *body;
    size_t length;
};

/* Rows with their texts. All zero is empty; reusable; free with cargo_free. */
struct cargo {
    struct cargo_row *at;
    size_t count;
    size_t capacity;
    struct buffer texts;
};

/* Adds a copy of a row, the texts too. Returns false when memory is out. */
bool cargo_add(struct cargo *cargo, const struct cargo_row *row);

/* Sets the addresses of the texts; call after the last cargo_add. */
void cargo_finish(struct cargo *cargo);
void cargo_clear(struct cargo *cargo);
void cargo_free(struct cargo *cargo);

/* How many rows, and bytes of bodies, make a step. */
#define CARGO_ROWS 500
#define CARGO_KEYS 4096
#define CARGO_BYTES ((size_t)8 << 20)

/* The row up to which a part has arrived. All zero: none. */
struct cargo_place {
    int64_t id;
    unsigned char key[16]; /* of CARGO_KNOWN, whose id counts; of CARGO_EVENTS how many have arrived */
};

/* The kinds of counts that are moved; the same in all engines. */
#define CARGO_KINDS "1, 2, 3, 4, 5, 8, 9, 10, 12"
#define CARGO_KIND_IS_TIME "8, 9" /* the later one wins; others are added */
#define CARGO_KIND_DELIVERED 8
#define CARGO_KIND_ACCEPTED 9

enum migration_state {
    MIGRATION_NONE,
    MIGRATION_RECEIVES, /* a queue is being moved to here */
    MIGRATION_LEAVES,   /* this queue is being moved */
    MIGRATION_LEFT,     /* it was moved */
    MIGRATION_ARRIVED,  /* as RECEIVES, of a state directory: all of it has, and the other one may have left */
};

#define MIGRATION_PLACE 320

/* In the place of `letters`, of LEAVES: it is given up, and what has arrived is removed here. */
#define MIGRATION_LETS_GO 2

/* What stands in a queue that is moved. Engines store it where each process finds it that opens the queue, and which
 * then refuses, by migration_words; also one of a release that does not know of it. A database that was opened while
 * the other side was called gone keeps NONE with that side's number for good, beside any mark that follows, and how far
 * that side's rows had come: should it come back, it learns that they are not its own any more. */
struct migration_mark {
    enum migration_state state;
    int64_t number;              /* the same on both sides, random */
    int64_t letters;             /* of RECEIVES: is added to the numbers of dead letters; else 0, or LETS_GO */
    int64_t origin;              /* of a state directory: the database's; 0: not known */
    char place[MIGRATION_PLACE]; /* the other side, for people */
    char command[16];            /* the value of `queue migrate --to` that it was called with */
};

/* Who reads a mark: a command that is printed is to be typed where it works, with that machine's configuration. */
enum migration_reader {
    MIGRATION_OWN,       /* it stands in the state directory */
    MIGRATION_HERE,      /* in the database, and the other side is the reader's state directory */
    MIGRATION_ELSEWHERE, /* that of another machine, or another one of this machine */
    MIGRATION_STALE,     /* the reader's, which knows nothing of it any more */
};

/* HERE or ELSEWHERE, of a mark of the database. */
enum migration_reader migration_reader(const struct migration_mark *mark, const struct config *config);

/* Says why a queue with that mark cannot be opened, and what to do. No command in it is cut, however long the program's
 * name and the configuration's are. */
void migration_words(const struct migration_mark *mark, enum migration_reader reader, struct error *why);

/* An engine's side of it. Each returns false with the reason when it fails. */
struct migration {
    const char *value; /* of the key `queue` */

    /* Opens the queue with the consumer lock, makes it where there is none, and refuses while any other process has it
     * open. any: of a database, also one that the state directory has not worked with, for its mark says what is right.
     * Returns NULL with the reason; ERROR_MISSING: nothing is there that could be opened, or not what was there, maybe
     * for good. */
    void *(*open)(const struct config *config, bool any, struct error *why);
    void (*close)(void *state);

    /* Where the queue is, for people, without a secret. */
    void (*place)(const struct config *config, char out[static MIGRATION_PLACE]);

    /* The same for a mark, by which it is known again: also with what tells two servers of a machine apart. */
    void (*mark_place)(const struct config *config, char out[static MIGRATION_PLACE]);

    /* Stores a mark, durably. NONE also ends what receiving needed, unless it has a number, which is kept for good.
     * After any other one no other process has the queue open, or else it fails, and the mark is as before. What came
     * with another number is forgotten, unless that is kept. */
    bool (*mark)(void *state, struct migration_mark *mark, struct error *why);
    bool (*set_mark)(void *state, const struct migration_mark *mark, struct error *why);

    /* Of a database: finds what is kept of the migration with that number (not 0); all zero: nothing. */
    bool (*opened)(void *state, int64_t number, struct migration_mark *mark, struct error *why);

    /* Of a database: a number by chance that its queue got when it was made, so that one that is made anew with the
     * same address is known for another one. 0: it has none. */
    bool (*origin)(void *state, int64_t *number, struct error *why);

    /* The same: notes in the state directory that it works with this one. */
    bool (*note)(void *state, struct error *why);

    /* The same: the one that was noted is gone for good, and whichever comes next is the right one. */
    void (*forget)(const struct config *config);

    /* Empties a queue that has left: what came later is where it went. It keeps its mark. */
    bool (*empty)(void *state, struct error *why);
    bool (*last_letter)(void *state, int64_t *number, struct error *why);

    /* From now on new dead letters have numbers beyond this one: those up to it are to arrive, and the queue may be
     * opened before they have. NULL: a state directory, which never is. */
    bool (*reserve_letters)(void *state, int64_t number, struct error *why);

    bool (*names)(void *state, struct strings *names, struct error *why);

    /* Reads the rows of a part that follow a place; none: that was the last. */
    bool (*read)(void *state, const char *source, enum cargo_part part, const struct cargo_place *after,
                 struct cargo *cargo, struct error *why);

    /* How far a part has arrived with a mark's number. */
    bool (*arrived)(void *state, const struct migration_mark *mark, const char *source, enum cargo_part part,
                    struct cargo_place *place, struct error *why);

    /* Adds rows, and notes the place under the mark's number, in one transaction. */
    bool (*write)(void *state, const struct migration_mark *mark, const char *source, enum cargo_part part,
                  const struct cargo *cargo, const struct cargo_place *place, struct error *why);

    /* How many rows there are up to a place; 0 of a part whose place says it, and of counts. */
    bool (*count)(void *state, const char *source, enum cargo_part part, const struct cargo_place *last, int64_t *count,
                  struct error *why);

    /* Of a queue that receives: removes what has arrived of a part, and its place, in one transaction: the last `count`
     * events, or the dead letters whose numbers are beyond the mark's; of a state directory also the counts. */
    bool (*take_back)(void *state, const struct migration_mark *mark, const char *source, enum cargo_part part,
                      int64_t count, struct error *why);

    /* Of a queue that leaves: removes the rows of a part up to a place, which stay where they arrived, in one
     * transaction. Called again it changes nothing. Only of a state directory. */
    bool (*let_go)(void *state, const char *source, enum cargo_part part, const struct cargo_place *place,
                   struct error *why);
};

extern const struct migration sqlite_migration;
extern const struct migration postgresql_migration; /* where the program was built with it */

#endif
