/* A model of the queue: what must be in it after any sequence of calls of queue/queue.h and inspect.h. Plain
 * memory without pointers, so that it can be copied, and lie in memory that processes share. It knows no engine. */
#ifndef TESTS_SUPPORT_MODEL_H
#define TESTS_SUPPORT_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "queue/inspect.h"

#define MODEL_SOURCES 3
#define MODEL_WAITING 512 /* of a source; beyond it nothing is appended */
#define MODEL_LETTERS 48  /* of all sources; beyond it no event dies */
#define MODEL_KEYS 100000 /* most identities of a source */
#define MODEL_NEVER INT64_MIN
#define MODEL_RETENTION_H 40 /* dead_retention, and longer dedupe_window: no multiples of MODEL_PASS_H */
#define MODEL_WINDOW_H 80
#define MODEL_PASS_H 23 /* by which the clock goes forward: a day is a jump */

/* An event that waits. All that it is follows from its number. */
struct model_event {
    uint32_t number;
    uint32_t letter;     /* the mark of the dead letter that it replays; 0: none */
    uint64_t id;         /* 0: not seen yet */
    int64_t received_ms; /* 0: not seen yet */
};

struct model_letter {
    uint32_t number, source, mark; /* the mark is the model's own */
    bool replayed, remember;
    uint32_t reason;
    int64_t died_h;
    uint64_t id; /* 0: not seen yet */
    int64_t received_ms;
};

struct model_source {
    uint32_t generation; /* how often it was renamed */
    uint32_t count;
    struct model_event waiting[MODEL_WAITING];
    uint64_t last_id; /* the largest that was ever seen */
    uint64_t accepted, delivered, duplicates, dropped, ended, discarded;
    struct notes notes;
};

/* What is known of an identity: something from `least` to `most`. They differ where the queue may forget: beyond
 * dedupe_window, and under the name that a source had. */
struct model_known {
    int64_t least, most; /* MODEL_NEVER: nothing need be known, nothing may be */
    int64_t at_h;        /* of least */
};

struct model {
    uint32_t keys; /* how many identities there are */
    uint32_t numbers, marks;
    int64_t hours;  /* since the beginning */
    int64_t steady; /* hours when the clock was first looked at; -1: never */
    struct model_source source[MODEL_SOURCES];
    uint32_t letter_count;
    struct model_letter letter[MODEL_LETTERS];           /* in the order of their ids */
    struct model_known known[MODEL_SOURCES][MODEL_KEYS]; /* of these `keys` are used */
};

void model_begin(struct model *model, uint32_t keys);
void model_copy(struct model *to, const struct model *from);

/* ---- what follows from an event's number ---- */

#define MODEL_BODY_MOST 50000
size_t model_body(uint32_t number, char out[MODEL_BODY_MOST]); /* returns its length */
struct identity model_identity(const struct model *model, uint32_t number);
struct identity model_identity_of_key(uint32_t key);
bool model_remembers(uint32_t number);

/* ---- what happens to it ---- */

bool model_append(struct model *model, size_t source);

/* Settles as queue_settle does, in the order of the verdicts. Those with VERDICT_DEAD: with reason number `reason`. */
void model_settle(struct model *model, size_t source, const struct verdict *verdicts, size_t count, uint32_t reason);

/* All that waits is settled with VERDICT_DUPLICATE, and without an identity. */
void model_drain(struct model *model, size_t source);

/* Dead letters by their places; false: it is replayed already, or there is no room. */
bool model_replay(struct model *model, size_t place);
bool model_discard(struct model *model, size_t place);

/* Ends the dead letters that are too old. Returns how many. */
size_t model_expire(struct model *model);
size_t model_expiring(const struct model *model);

void model_pass(struct model *model); /* the clock goes forward */
void model_move(struct model *model, size_t from, size_t to);
void model_rename(struct model *model, size_t source);

/* Whether a backup may be put back over it. */
bool model_may_restore(const struct model *model);

/* Whether so much was counted that adding it up once more would leave the numbers that a database has: each backup that
 * is put back over what it was made of doubles the counts. */
bool model_has_counted_enough(const struct model *model);
void model_restore_over(struct model *model, const struct model *saved);
void model_restore_anew(struct model *model, const struct model *saved);

/* ---- comparing; each returns false with the difference in words ---- */

/* What was read after the event `after` (0: from the start). Notes ids and times that it sees first. */
bool model_matches_events(struct model *model, size_t source, uint64_t after, size_t max_count, size_t max_bytes,
                          const struct events *found, struct error *why);

/* Each id's event or its absence. */
bool model_matches_again(struct model *model, size_t source, const uint64_t *ids, size_t asked,
                         const struct events *found, struct error *why);

/* All letters of a source, or (MODEL_SOURCES) of all. names: of the sources. */
bool model_matches_letters(struct model *model, size_t source, const char *const *names, const struct letters *found,
                           struct error *why);
bool model_matches_counts(const struct model *model, size_t source, const struct counts *counts, struct error *why);
/* asked: the version that was asked for. */
bool model_matches_known(const struct model *model, size_t source, uint32_t key, int64_t asked,
                         const struct known *known, struct error *why);
bool model_matches_notes(const struct model *model, size_t source, const struct notes *notes, struct error *why);

/* The text of a reason. */
void model_reason(uint32_t reason, char out[64]);

/* The next of a sequence of numbers that looks random, from 32 bits of any seed. */
uint32_t model_mix(uint64_t seed);

#endif
