/* What tests of the durable queue share: a configuration with it, and a directory for state directories. They are the
 * test's own, usually static. Needs tests that run one after another. */
#ifndef TESTS_SUPPORT_QUEUE_RIG_H
#define TESTS_SUPPORT_QUEUE_RIG_H

#include "queue/inspect.h"
#include "tests/support/made_config.h"
#include "tests/support/postgresql.h"
#include "tests/support/temporary.h"

/* Sets up `made` with the engine sqlite, no limit that a test reaches, and the state directory `state`, a path of
 * PATH_SIZE bytes that is borrowed and may be set later; makes the directory, and puts its path there, as many bytes.
 * Returns 0, or 1 where that failed, as CUnit has it. made must not move. */
int queue_rig_set_up(struct made_config *made, char *directory, char *state);

/* Frees the events and removes the directory. Returns 0. */
int queue_rig_tear_down(const char *directory, struct events *found);

/* The same, and between the two nothing is printed on stderr: for what is logged again and again when a disk fails. */
int queue_rig_set_up_quiet(struct made_config *made, char *directory, char *state);
int queue_rig_tear_down_quiet(const char *directory, struct events *found);

/* An engine beside sqlite, whose queues are not in the state directory. All zero: sqlite. */
struct queue_rig_engine {
    struct postgresql postgresql;
    char url[POSTGRESQL_URL];
};

/* Sets `made`, after queue_rig_set_up, up with the engine postgresql, and starts a server. Returns false when that
 * failed. engine must not move. */
bool queue_rig_postgresql(struct queue_rig_engine *engine, struct made_config *made);
void queue_rig_engine_end(struct queue_rig_engine *engine);

/* A new queue: of postgresql another database. */
void queue_rig_new(struct queue_rig_engine *engine, struct made_config *made);

bool queue_rig_is_postgresql(const struct made_config *made);

/* Changes the tables as an operator's hand would, by SQL for the one engine or the other; nobody has the queue open. */
void queue_rig_change(const struct queue_rig_engine *engine, const struct made_config *made, const char *for_sqlite,
                      const char *for_postgresql);

/* Opens the queue of the state directory, which is made where it is missing. Ends the test where that fails. Close with
 * queue_close. */
struct queue *queue_rig_open(const struct made_config *made);

/* Asserts that an append ends so, and that it, the consumer lock and counts fail with the words. */
void queue_rig_refused(const struct made_config *made, enum queue_result expected, const char *words);

/* Keeps the consumer lock, or has it again: a server ends the session of an owner that has said nothing for 3 s, as on
 * a busy machine. */
void queue_rig_go_on_owning(struct queue *queue);

/* Assert that it works, without a word: take the consumer lock; append a text; count. */
void queue_rig_claim(struct queue *queue);
void queue_rig_append(struct queue *queue, const char *source, const char *body);
struct counts queue_rig_counts(struct queue *queue, const char *source);

/* `queue adopt`: the database is another one, on purpose. */
void queue_rig_adopt(const struct config *config);

#endif
