/* Between the files of operations. */
#ifndef TESTS_FAULTS_OPERATIONS_PRIVATE_H
#define TESTS_FAULTS_OPERATIONS_PRIVATE_H

#include "tests/faults/judge.h"
#include "tests/faults/operations.h"

/* Runs a command with faults. */
void act_command(struct scene *scene, const char *const *words);
#define ACT(scene, ...) act_command((scene), (const char *const[]){__VA_ARGS__, NULL})

/* A state directory with so many events that wait; they are the scene's events. */
void prepare_waiting(struct scene *scene, size_t count, size_t filler);

/* Of events that stand in the state that was put back. */
void expect_events(struct scene *scene, size_t count, size_t filler);

/* operations_queue.c */
void prepare_nothing(struct scene *scene);
void prepare_empty(struct scene *scene);
void act_start(struct scene *scene);
void act_accept(struct scene *scene);
void judge_accept(struct scene *scene);
void prepare_settle(struct scene *scene);
void begin_settle(struct scene *scene);
void act_settle(struct scene *scene);
void judge_settle(struct scene *scene);
void prepare_repair(struct scene *scene);
void act_repair(struct scene *scene);
void judge_repair(struct scene *scene);

/* operations_copy.c */
void prepare_backup(struct scene *scene);
void act_backup(struct scene *scene);
void judge_backup(struct scene *scene);
void prepare_restore(struct scene *scene);
void begin_restore(struct scene *scene);
void act_restore(struct scene *scene);
void judge_restore(struct scene *scene);

/* operations_close.c */
void begin_subscribe(struct scene *scene);
void act_subscribe(struct scene *scene);
void judge_subscribe(struct scene *scene);
void begin_rotate(struct scene *scene);
void act_rotate(struct scene *scene);
void judge_rotate(struct scene *scene);
void prepare_reconcile(struct scene *scene);
void begin_reconcile(struct scene *scene);
void act_reconcile(struct scene *scene);
void judge_reconcile(struct scene *scene);
void act_backfill(struct scene *scene);
void judge_backfill(struct scene *scene);

/* operations_life.c */
void begin_reload(struct scene *scene);
void act_reload(struct scene *scene);
void prepare_upgrade(struct scene *scene);
void begin_upgrade(struct scene *scene);
void act_upgrade(struct scene *scene);
void begin_take_on(struct scene *scene);

#endif
