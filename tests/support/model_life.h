/* Lives of a queue: a state directory's steps from its beginning, in child processes, and the shortest list of steps
 * that still fails. */
#ifndef TESTS_SUPPORT_MODEL_LIFE_H
#define TESTS_SUPPORT_MODEL_LIFE_H

#include "tests/support/model_drive.h"

/* Freed with model_list_free. */
struct model_list {
    uint32_t keys; /* how many identities the events of a source have */
    struct model_step *at;
    size_t count;
};

/* Draws that many steps; the same for the same seed. Ends the program where memory is out, as all here. */
void model_list_draw(struct model_list *list, uint64_t seed, size_t count, uint32_t keys);
void model_list_free(struct model_list *list);

/* A list as text, one step a line: what is printed can be read. Returns false where it is none. */
void model_list_print(const struct model_list *list, FILE *file);
bool model_list_read(struct model_list *list, FILE *file);

/* Maps what the processes share, in which directories are made. NULL where that failed. Free with model_ground_free. */
struct model_ground *model_ground_new(const char *directory);
void model_ground_free(struct model_ground *ground);

/* Lives through the steps, in a state directory that is removed then. Returns false when anything was different, or a
 * process died, or hung; ground->failure says what, ground->at is the step. */
bool model_live(struct model_ground *ground, const struct model_engine *engine, const struct model_list *list);

/* Leaves out whatever is not needed for a failure, for at most so many milliseconds. */
void model_shrink(struct model_ground *ground, const struct model_engine *engine, struct model_list *list, int64_t ms);

#endif
