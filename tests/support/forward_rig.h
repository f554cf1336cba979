/* What tests of the forwarder share: the durable queue before it, the stand-in data plane behind it, in this process.
 * What cannot be had is a CUnit failure. */
#ifndef TESTS_SUPPORT_FORWARD_RIG_H
#define TESTS_SUPPORT_FORWARD_RIG_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "forward/forward.h"
#include "queue/inspect.h"
#include "tests/support/event.h"
#include "tests/support/made_config.h"
#include "tests/support/standin.h"
#include "tests/support/temporary.h"

#define RIG_PATIENCE_MS 60000 /* a wait ends as soon as its condition holds */
#define RIG_BACKOFF_MS 100    /* the longest first pause after a failed request: tests need not wait for seconds */

struct rig {
    char directory[PATH_SIZE];
    char state[PATH_SIZE];
    char url[64];
    struct standin *standin;
    struct made_config made;
    struct queue *queue;
    struct forwarder *forwarder;
    pthread_t thread;
    atomic_bool over; /* of rig_run_anew */
};

/* At the beginning of a suite: its queues are in memory, for it is not about the disk. */
int rig_in_memory(void);

/* Or they are a server's: the beginning is durable_use_postgresql, the end durable_end_postgresql. */

/* Makes a directory, a stand-in and a configuration whose two sources both lead there. The rig must not move. */
void rig_prepare(struct rig *rig);

/* Opens the queue; then makes the forwarder, and starts its thread. */
void rig_open(struct rig *rig);
void rig_run(struct rig *rig);

/* Starts the thread of a forwarder that the test has made. */
void rig_go(struct rig *rig);

/* As the program does: a forwarder that has lost the queue ends, and another one goes on, in a thread, until the second
 * call. */
void rig_run_anew(struct rig *rig);
void rig_end_anew(struct rig *rig);

/* Stops the forwarder and closes the queue; the same and both anew. */
void rig_halt(struct rig *rig);
void rig_restart(struct rig *rig);

/* Stops and removes everything. */
void rig_end(struct rig *rig);

/* Appends an event of source `one`; the second one's id is ev_NUMBER, its lead lead_(NUMBER modulo leads). */
void rig_append_options(struct rig *rig, const struct event_options *options);
void rig_append(struct rig *rig, unsigned number, unsigned leads, const char *note);

/* Appends many, from 0 on, in no certain order, from several threads, so that they share transactions; the one of the
 * number `marked` with the note POISON. */
void rig_append_many(struct rig *rig, unsigned count, unsigned leads, unsigned marked);

/* Counts of source `one`, by a connection of its own, for the queue's is the forwarder's. */
struct counts rig_counts(struct rig *rig);

/* Likewise its notes. */
void rig_notes(struct rig *rig, struct notes *notes);

/* Waits until so many events are dead, and none but `waiting` wait. */
bool rig_wait_counts(struct rig *rig, uint64_t dead, uint64_t waiting);

#endif
