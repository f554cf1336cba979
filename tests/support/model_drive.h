/* The queue driven by steps beside its model (model.h), in processes that may be killed: what is about them lies in
 * memory that they share. A step means something after any other, so that steps can be left out. */
#ifndef TESTS_SUPPORT_MODEL_DRIVE_H
#define TESTS_SUPPORT_MODEL_DRIVE_H

#include "tests/support/model.h"
#include "tests/support/temporary.h"

enum model_kind {
    MODEL_APPEND,
    MODEL_SETTLE,
    MODEL_NEXT,
    MODEL_AGAIN,
    MODEL_KNOWN,
    MODEL_COUNT,
    MODEL_LETTERS_READ,
    MODEL_REPLAY,
    MODEL_DISCARD,
    MODEL_NOTES,
    MODEL_ASIDE,
    MODEL_OWN,
    MODEL_CLOSE,
    MODEL_MOVE,
    MODEL_RENAME,
    MODEL_BACKUP,
    MODEL_RESTORE,
    MODEL_REPAIR,
    MODEL_PASS,
    MODEL_CHECK,
    MODEL_SCRUB,
    MODEL_ALL,
    MODEL_KILL,
    MODEL_KILL_IN, /* in the middle of the next step */
    MODEL_FAIL_IN, /* a write of the next step fails */
    MODEL_KINDS
};

struct model_step {
    enum model_kind kind;
    uint32_t a, b, c;
};

/* Of each kind: the name by which it is printed and read, and how often it is drawn. */
const char *model_step_name(enum model_kind kind);
struct model_step model_step_draw(uint64_t seed);

/* What an engine must offer beside queue.h. */
struct model_engine {
    const char *name;
    /* Called once in each process, before it opens the queue. Returns whether that worked. */
    bool (*begin)(void);
    /* Calls act before the n-th write from now on; 0: never. */
    void (*at_write)(unsigned n, void (*act)(void));
    /* The n-th write from now on fails; 0: none. Whether that write has come. */
    void (*fail_at)(unsigned n);
    bool (*has_failed)(void);
    /* Leaves a state directory that nobody uses so that the next who opens it repairs it. */
    void (*damage)(const char *state_dir);
    /* NULL, as the next two: it is sqlite, with all that lasts in the state directory, and all kinds of steps. */
    void (*configure)(struct config *config);
    bool (*begin_life)(void);
    bool (*leaves_out)(enum model_kind kind);
    bool is_a_server; /* by whose clock time is believed, and which notices a while later that a process has died */
};

/* What the processes share. */
struct model_ground {
    struct model now, saved, tried; /* saved: in the backup */
    bool has_saved;
    unsigned backups;
    char directory[PATH_SIZE]; /* of the state directory `state`, and of backups */
    size_t at;                 /* the step in hand */
    bool running;              /* it has begun */
    bool killed;               /* this process is about to be killed on purpose */
    bool has_tried;            /* tried: as it is once the step in hand has taken effect */
    bool moving;               /* a move was begun; a rename where the two are the same source: */
    size_t from, to;
    char from_name[24];
    char failure[900]; /* "": none */
    uint64_t done[MODEL_KINDS], kills_inside, failed_inside;
};

/* Goes on with the steps from ground->at; called in a process of its own, whose last act it is. Returns whether the
 * queue was as the model at every step; else ground->failure says what was different. */
bool model_drive(struct model_ground *ground, const struct model_engine *engine, const struct model_step *steps,
                 size_t count);

#endif
