/* A trace of the events that are being transformed, in a file that outlives the process: should an event kill its
 * process, the next one knows where to look. Events are traced many at once, for each write of the trace costs; those
 * among which a process has died are traced one by one by the next. One that was left there by two deaths, alone by the
 * second at least, is tried in a child first. */
#ifndef FORWARD_CRASH_GUARD_H
#define FORWARD_CRASH_GUARD_H

#include <stdbool.h>
#include <stdint.h>

#include "queue/queue.h"
#include "transform/transform.h"

struct crumb;

/* Opens the trace in a state directory and looks at what the last process left. Returns NULL when it cannot be had:
 * then all goes on without it. One thread of the queue's owner. */
struct crumb *crumb_open(const char *directory);

/* Events of this source with ids from first to last are transformed next, in any order, some maybe more than once: they
 * share one trace. crumb may be NULL, as in all that follows. */
void crumb_expect(struct crumb *crumb, const char *source, uint64_t first, uint64_t last);

/* This event is being transformed from now on, until crumb_end. One that was not expected is traced alone. */
void crumb_begin(struct crumb *crumb, const char *source, uint64_t id);
void crumb_end(struct crumb *crumb);

/* No other event follows for now. Until then those that have ended may still stand in the file: call it after each run
 * of events, before anything else is done that may take long. */
void crumb_rest(struct crumb *crumb);

/* Whether two processes in a row have died while they transformed this event, the first maybe while it transformed
 * others as well. */
bool crumb_suspects(const struct crumb *crumb, const char *source, uint64_t id);

/* It was found harmless. */
void crumb_acquit(struct crumb *crumb);

/* Whether it had so many chances, in this process's children too, that it must not be tried again. */
bool crumb_condemns(const struct crumb *crumb, const char *source, uint64_t id);

/* The suspect's trial ended by a death that may have been its fault: counts it. */
void crumb_blame(struct crumb *crumb);

enum crumb_trial {
    CRUMB_SURVIVED, /* also when there is no child to be had */
    CRUMB_CRASHED,  /* it died of a signal of its own making (SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT) */
    CRUMB_KILLED,   /* of SIGKILL: by the kernel, where memory is out, or by somebody */
};

/* Runs act in a child and says how that ended. */
enum crumb_trial crumb_try(void (*act)(void *context), void *context);

/* The events that were just read are parsed and transformed next, as with crumb_expect. */
void crumb_expect_events(struct crumb *crumb, const char *source, const struct events *events);

/* transform_parse, with the event in the trace. One that is known to crash it is unusable, and why says so. */
struct parsed *crumb_parse(struct crumb *crumb, const char *source, const struct rules *rules,
                           const struct event *event, bool *out_of_memory, struct error *why);

/* transform_message likewise. */
enum transform_result crumb_transform(struct crumb *crumb, const char *source, uint64_t id, struct parsed *parsed,
                                      const struct rules *rules, bool newer, struct buffer *out);

void crumb_close(struct crumb *crumb);

#endif
