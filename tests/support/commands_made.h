/* A configuration whose queue a test fills, before it runs commands on it: sources `one`, which removes data.secret,
 * and `two`. */
#ifndef TESTS_SUPPORT_COMMANDS_MADE_H
#define TESTS_SUPPORT_COMMANDS_MADE_H

#include <stddef.h>
#include <stdint.h>

#include "queue/inspect.h"

#define MADE_TEXT                                                                                                      \
    "data_plane_url = http://127.0.0.1:9\n"                                                                            \
    "[source one]\nwrite_key = 1234567890abcdefghijklmnopq\nremove = data.secret\n"                                    \
    "[source two]\nwrite_key = 2234567890abcdefghijklmnopq\ndrop = task.*\n"
#define MADE_WITHOUT_ONE                                                                                               \
    "data_plane_url = http://127.0.0.1:9\n"                                                                            \
    "[source two]\nwrite_key = 2234567890abcdefghijklmnopq\n"

/* Makes it current, with an empty queue; and ends it. One at a time. In a database where the suite begins with
 * durable_use_postgresql. */
void made_begin(void);
void made_end(void);

/* The configuration's file gets this text instead. */
void made_configure(const char *text);

/* A text with a command of the program as it is advised, behind `before`: it names the configuration. Static, until the
 * next call. */
const char *made_advice(const char *before, const char *words);

/* Its state directory. */
const char *made_state(void);

/* Opens its queue, as another process would; close it with made_close. Ends the program when it cannot. */
struct queue *made_open(void);
void made_close(struct queue *queue);

/* Writes the body of an event into out and returns out. secret: a text of data.secret. */
const char *made_event(char out[static 512], const char *type, const char *action, const char *id, const char *lead);

/* Opens the queue, appends, and closes it. */
void made_append(const char *source, const char *body);

/* The same, and the event becomes a dead letter; NULL reason: it is delivered. */
void made_settle(const char *source, const char *body, const char *reason);

struct counts made_counts(const char *source);

#endif
