/* Webhooks as Close sends them, and what must become of them. */
#ifndef TESTS_SUPPORT_EVENT_H
#define TESTS_SUPPORT_EVENT_H

#include <stddef.h>

#include "base/buffer.h"
#include "tests/support/slice.h"

/* What makes one event differ from another. */
struct event_options {
    const char *id;
    const char *lead;    /* NULL: lead_id is null */
    const char *note;    /* the text of data.note, as JSON spells it; NULL: "" */
    size_t filler;       /* bytes of text in data.body_text */
    const char *updated; /* date_updated; NULL: one in 2019 */
};

/* All zero is empty; make it again as often as wanted, free it with event_free. */
struct event_text {
    struct buffer body;       /* the webhook */
    struct buffer properties; /* the value of "properties" in its message, byte for byte */
};

/* Ends the program when memory runs out. */
void event_make(struct event_text *event, const struct event_options *options);

struct slice event_body(const struct event_text *event);
struct slice event_properties(const struct event_text *event);

void event_free(struct event_text *event);

#endif
