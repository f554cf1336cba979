/* What tests of repairing a damaged queue share: a directory with state directories in it, and damage done to them.
 * Between repair_rig_set_up and repair_rig_tear_down nothing is printed on stderr. What cannot be had is a CUnit
 * failure. Needs tests that run one after another. */
#ifndef TESTS_SUPPORT_REPAIR_RIG_H
#define TESTS_SUPPORT_REPAIR_RIG_H

#include <stdbool.h>
#include <stdint.h>

#include "tests/support/queue_rig.h"

#define REPAIR_PAGE 16384
#define REPAIR_PATIENCE_MS 60000

struct repair_rig {
    struct made_config made;
    char directory[PATH_SIZE];
    char state[PATH_SIZE]; /* the state directory in hand, in `directory` */
    struct events found;
};

/* Return 0, or something else where that failed. The rig must not move. */
int repair_rig_set_up(struct repair_rig *rig);
int repair_rig_tear_down(struct repair_rig *rig);

/* Makes the state directory of that name the one in hand; it is made by whoever opens it. Removes it. */
void repair_rig_use(struct repair_rig *rig, const char *name);
void repair_rig_remove(const struct repair_rig *rig);

/* Opens the queue of the state directory, which repairs it if it is marked as damaged. Close with queue_close. */
struct queue *repair_rig_open(const struct repair_rig *rig);
void repair_rig_mark(const struct repair_rig *rig);

/* Takes the ids of all that waits for source `one`, at most so many. Returns how many. */
int repair_rig_list(struct repair_rig *rig, struct queue *queue, uint64_t *ids, int most);

/* Adds events of 100 bytes to source `one` in one transaction, into the log of the database in a directory: one at a
 * time would make it large. Then copies it into the database, or not. */
void repair_rig_fill(const char *in, int count, bool checkpoint);

/* The number of the page, from 0, of a table's root or leaf (wanted: a condition on the table dbstat), so many beyond
 * the one in the middle. */
long repair_rig_page(const char *in, const char *table, const char *wanted, int beyond);

/* Overwrites a page with one byte. Returns how many rows stood in it. */
int repair_rig_spoil(const char *in, long page, int byte);

#endif
