/* The operations that are tried. */
#ifndef TESTS_FAULTS_OPERATIONS_H
#define TESTS_FAULTS_OPERATIONS_H

#include "tests/faults/scene.h"

struct operation {
    const char *name;
    void (*prepare)(struct scene *scene); /* once: the state that trials begin with */
    void (*begin)(struct scene *scene);   /* before each trial, after the state was put back; NULL: nothing */
    void (*act)(struct scene *scene);     /* arms the faults, does it, disarms them */
    void (*judge)(struct scene *scene);
};

/* End with a NULL name. */
extern const struct operation operations[];

#endif
