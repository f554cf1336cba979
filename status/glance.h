/* A quick look at a body for lists: what it says of itself, without reading it as a whole. It never fails, whatever the
 * body holds: also one that crashes a reader may be looked at. */
#ifndef STATUS_GLANCE_H
#define STATUS_GLANCE_H

#include <stddef.h>

/* As they stand in the body, escapes and all, cut to fit; "": not found. */
struct glance {
    char name[96]; /* "lead updated" */
    char lead[80];
    char id[80];
};

void glance_at(const char *body, size_t length, struct glance *glance);

#endif
