/* Between the files of model_drive.h. */
#ifndef TESTS_SUPPORT_MODEL_DRIVE_INTERNAL_H
#define TESTS_SUPPORT_MODEL_DRIVE_INTERNAL_H

#include "config/config.h"
#include "tests/support/model_drive.h"

#define DRIVE_HANDLES 3
#define DRIVE_BYTES ((size_t)64 << 20)
#define DRIVE_NOBODY DRIVE_HANDLES

struct drive {
    struct model_ground *ground;
    const struct model_engine *engine;
    struct config config;
    struct source source[MODEL_SOURCES];
    char name[MODEL_SOURCES][24];
    const char *names[MODEL_SOURCES];
    char state[PATH_SIZE];
    struct queue *handle[DRIVE_HANDLES];
    size_t owner; /* who has the consumer lock, or DRIVE_NOBODY */
    struct events found;
    struct letters letters;
    struct verdict verdict[MODEL_WAITING + 1];
    uint64_t ids[MODEL_WAITING + 1];
    struct error why;
    unsigned killed_at, fails_at; /* the write at which the next step is killed, or which fails; 0: none */
};

/* Each returns false and says what is wrong, after what was not as it must be. */
bool drive_fail(struct drive *drive, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* A copy of the model for what the step in hand is about to do, as it may be killed or fail; NULL: neither. */
struct model *drive_tried(struct drive *drive);

/* The names that the sources have now. */
void drive_name(struct drive *drive);

bool drive_open(struct drive *drive);
void drive_close(struct drive *drive);

/* Whoever has the consumer lock then, takes what is too old away; that is waited for. */
bool drive_claim(struct drive *drive, size_t handle);
struct queue *drive_owner(struct drive *drive); /* NULL: failed */

/* Whether all that the queue says is as that model has it. */
bool drive_matches(struct drive *drive, struct model *model, struct error *why);
bool drive_matches_now(struct drive *drive);

/* Reads the first waiting events; and all dead letters. */
bool drive_read(struct drive *drive, size_t source, size_t count);
bool drive_read_letters(struct drive *drive);

typedef bool drive_step(struct drive *drive, const struct model_step *step);
drive_step drive_append, drive_settle, drive_next, drive_again, drive_known, drive_count, drive_letters, drive_replay,
    drive_discard, drive_notes, drive_aside; /* model_drive_events.c */
drive_step drive_own, drive_close_one, drive_move, drive_rename, drive_backup, drive_restore, drive_repair, drive_pass,
    drive_check, drive_scrub, drive_all; /* model_drive_state.c */

/* Does what ground->moving says, be it for the second time. */
bool drive_go_on_moving(struct drive *drive);

/* Ends all that waits, and all dead letters. */
bool drive_drain(struct drive *drive);

#endif
