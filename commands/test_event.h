/* The event that send-test sends: shaped as Close's are, and harmless: nothing is named closecrm_test. */
#ifndef COMMANDS_TEST_EVENT_H
#define COMMANDS_TEST_EVENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"

#define TEST_EVENT_TYPE "closecrm_test"
#define TEST_EVENT_ACTION "created"

struct test_event {
    const char *object_type;  /* as test_event_name_fits allows: they are not escaped */
    const char *action;       /* likewise */
    unsigned char unique[16]; /* random bytes: they make its id */
    int64_t now_ms;           /* its dates, Unix time in milliseconds */
    size_t size;              /* bytes to fill the body up to, exactly; 0 or below its own length: as it is */
};

/* Appends the body of the webhook. Out of memory: out->failed is set. */
void test_event_write(const struct test_event *event, struct buffer *out);

/* Writes the event's id, NUL-terminated. */
void test_event_id(const struct test_event *event, char out[static 48]);

/* True for a name that may stand for object_type or action: letters, digits, _ and dots (activity.email). */
bool test_event_name_fits(const char *name, size_t length);

#endif
