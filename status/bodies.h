/* One event or dead letter, opened: its bodies as people may see them. */
#ifndef STATUS_BODIES_H
#define STATUS_BODIES_H

#include "health/queue_view.h"
#include "status/views.h"

/* All zero is empty. */
struct bodies {
    struct view_bodies view;
    struct recent_whole *whole; /* of an event */
    struct recent_event event;  /* made of a dead letter */
    struct letters letters;
};

/* Return false when it is not kept any more, or memory is out. Then, too, call bodies_free. */
bool bodies_of_event(struct bodies *bodies, struct look *look, uint64_t number);
bool bodies_of_letter(struct bodies *bodies, const struct config *config, struct look *look, uint64_t id);

void bodies_free(struct bodies *bodies);

#endif
