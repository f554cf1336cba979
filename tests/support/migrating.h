/* queue_migrate that is killed, and queues of several machines. */
#ifndef TESTS_SUPPORT_MIGRATING_H
#define TESTS_SUPPORT_MIGRATING_H

#include "queue/inspect.h"
#include "tests/support/queue_rig.h"

#define MIGRATING_GIVE_UP QUEUE_NONE /* in the place of where to */
#define MIGRATING_KILLED 77

/* Migrates in a child that dies after so many steps (0: lives). Returns its exit code: 0, 1 where it is refused, or
 * MIGRATING_KILLED. */
int migrating_in_child(const struct made_config *made, enum queue_kind to, int steps);

/* The same with `--give-up --gone`. */
int migrating_gone_in_child(const struct made_config *made, int steps);

/* Each asserts that it is so. is_killed: returns whether it was, and had not ended before. refused: also of
 * MIGRATING_GIVE_UP. */
bool migrating_is_killed(const struct made_config *made, enum queue_kind to, int steps);
void migrating_killed(const struct made_config *made, enum queue_kind to, int steps);
void migrating_moves(const struct made_config *made, enum queue_kind to);
void migrating_refused(const struct made_config *made, enum queue_kind to, const char *words);
void migrating_gives_up(const struct made_config *made, bool gone, struct migrated *done);

/* As queue_filled_text and queue_rig_counts, of source "one" of either queue; made is left with queue = sqlite. */
char *migrating_text(struct made_config *made, enum queue_kind kind);
struct counts migrating_counts(struct made_config *made, enum queue_kind kind);

/* A database, and a state directory of that name, which have no queue yet; made is left with queue = sqlite. */
void migrating_use_new(struct queue_rig_engine *engine, struct made_config *made, const char *directory,
                       const char *name, char state[static PATH_SIZE]);

#endif
