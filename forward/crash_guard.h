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

struct crash_guard;

/* Opens the trace in a state directory and looks at what the last process left. Returns NULL when it cannot be had:
 * then all goes on without it. One thread of the queue's owner. */
struct crash_guard *crash_guard_open(const char *directory);

/* Events of this source with ids from first to last are transformed next, in any order, some maybe more than once: they
 * share one trace. guard may be NULL, as in all that follows. */
void crash_guard_expect(struct crash_guard *guard, const char *source, uint64_t first, uint64_t last);

/* This event is being transformed from now on, until crash_guard_leave. One that was not expected is traced alone. */
void crash_guard_enter(struct crash_guard *guard, const char *source, uint64_t id);
void crash_guard_leave(struct crash_guard *guard);

/* No other event follows for now. Until then those that have ended may still stand in the file: call it after each run
 * of events, before anything else is done that may take long. */
void crash_guard_rest(struct crash_guard *guard);

/* Whether two processes in a row have died while they transformed this event, the first maybe while it transformed
 * others as well. */
bool crash_guard_suspects(const struct crash_guard *guard, const char *source, uint64_t id);

/* It was found harmless. */
void crash_guard_acquit(struct crash_guard *guard);

/* Whether it had so many chances, in this process's children too, that it must not be tried again. */
bool crash_guard_condemns(const struct crash_guard *guard, const char *source, uint64_t id);

/* The suspect's trial ended by a death that may have been its fault: counts it. */
void crash_guard_blame(struct crash_guard *guard);

enum crash_guard_trial {
    TRIAL_SURVIVED, /* also when there is no child to be had */
    TRIAL_CRASHED,  /* it died of a signal of its own making (SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT) */
    TRIAL_KILLED,   /* of SIGKILL: by the kernel, where memory is out, or by somebody */
};

/* Runs act in a child and says how that ended. */
enum crash_guard_trial crash_guard_try(void (*act)(void *context), void *context);

/* The events that were just read are parsed and transformed next, as with crash_guard_expect. */
void crash_guard_expect_events(struct crash_guard *guard, const char *source, const struct events *events);

/* transform_parse_for, with the event in the trace. One that is known to crash it is unusable, and why says so. */
struct parsed *crash_guard_parse(struct crash_guard *guard, const char *source, const struct rules *rules,
                                 const struct event *event, bool *out_of_memory, struct error *why);

/* transform_message likewise. */
enum transform_result crash_guard_transform(struct crash_guard *guard, const char *source, uint64_t id,
                                            struct parsed *parsed, const struct rules *rules, bool newer,
                                            struct buffer *out);

void crash_guard_close(struct crash_guard *guard);

#endif
