/* A queue whose files are removed, replaced or moved while it is open: what the suites about that share. */
#ifndef TESTS_SUPPORT_DISPLACED_H
#define TESTS_SUPPORT_DISPLACED_H

#include "queue/inspect.h"
#include "tests/support/queue_rig.h"

#define PATIENCE_MS 60000
#define NUMBERS 64

/* The scene of the test that runs. */
extern struct displaced {
    struct made_config made;
    char directory[PATH_SIZE], state[PATH_SIZE];
    struct events found;
} displaced;

int displaced_set_up(void);

int displaced_tear_down(void);

struct queue *displaced_open_well(const char *name);

/* Bodies are numbers, two digits. */
enum queue_result displaced_append_saying(struct queue *queue, unsigned number, struct error *why);

void displaced_append(struct queue *queue, unsigned first, unsigned count);

void displaced_check_refused(struct queue *queue, unsigned number, const char *words);

struct identity displaced_identity_of(unsigned number);

size_t displaced_look(struct queue *queue, uint64_t id[NUMBERS], unsigned times[NUMBERS]);

/* All of these wait, each once; and whatever else waits was not answered 200. */
void displaced_check_waiting(struct queue *queue, unsigned first, unsigned count);

void displaced_settle(struct queue *queue, unsigned number, enum verdict_kind kind);

bool displaced_is_delivered(struct queue *queue, unsigned number);

void displaced_own(struct queue *queue);

void displaced_remove_files(const char *const *names);

void displaced_check_nothing_left(void);

/* Waits until what the old files hold is saved, as the process does that looks once a second. */
void displaced_wait_until_saved(struct queue *queue);

#endif
