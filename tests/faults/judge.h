/* What must hold after a trial, asked without the library that made a call fail. What does not is told by scene_found.
 */
#ifndef TESTS_FAULTS_JUDGE_H
#define TESTS_FAULTS_JUDGE_H

#include <stdbool.h>

#include "tests/faults/scene.h"

#define ANY_NUMBER (-1) /* of dead letters */

/* The last command said what is wrong, if something was. */
void judge_words(struct scene *scene);

/* Runs a command without faults, which must go through. */
bool judge_again(struct scene *scene, const char *const *words);
#define JUDGE_AGAIN(scene, ...) judge_again((scene), (const char *const[]){__VA_ARGS__, NULL})

/* What waits is delivered; then: the database is whole, so many dead letters are there, the counts agree; all events
 * that must arrive have, with the bytes that they had, and none twice without a cause. subscription: theirs in Close's
 * Event Log; NULL: they came by a webhook. */
void judge_events(struct scene *scene, int dead, const char *subscription);

/* A server: it takes events again, those too that it has had, and delivers them; then judge_events. */
void judge_server(struct scene *scene, int dead);

/* Each subscription in Close has its key here, and each key its subscription. */
void judge_keys(struct scene *scene);

#endif
