/* Events in flight, and what is made of them: batches, the search for the event that a refusal is about, the guard over
 * their parsing. */
#ifndef FORWARD_PENDING_H
#define FORWARD_PENDING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/clock.h"
#include "forward/post.h"
#include "queue/queue.h"
#include "transform/transform.h"

/* ---- intake.c: An event in flight: what is held of it in memory while the queue holds its body. And lists of such
 * events (intake.c). ---- */

struct pending {
    struct pending *next; /* in its list */
    uint64_t id;          /* in the queue */
    struct identity identity;
    int64_t received_ms;        /* Unix time; 0: not known; of a replay: when it was read */
    uint64_t ordering_key;      /* hash of whom the event is about: picks the lane */
    struct pending *duplicates; /* the same event come again: they end as this one does */
    struct pending *hashed;     /* next in the same bucket of struct pending_table */
    bool newer;                 /* an older version was delivered or is in flight: the messageId must differ */
    bool replay;                /* an operator has sent it again: not counted again */
    bool live;                  /* it came as soon as it happened: its delay is told */
    bool deferred_reported;     /* the queue knows, since it last gave out the body, that it stays */
    bool settling;              /* its verdict is in the outbox, to be settled */
    bool delivered;             /* that verdict is DELIVERED */
    bool holds;                 /* events about its ordering key wait until it has ended */
    bool has_person;            /* it has a message about the person, which goes with it ... */
    bool track_only;            /* ... but not this time: the data plane refused both */
    bool nul_replaced;          /* in its message U+0000 was replaced */
    bool suspected;             /* it was in a batch that the data plane refused */
    unsigned char starved;      /* times that memory was out for it alone */
    uint64_t accepted; /* requests of the source that were sent when it was suspected first, or failed last, parked */
    moment until;      /* set aside or parked: when to try again */
    int64_t parked_ms; /* parked: since when; Unix time; 0: not */
    bool unproven;     /* parked: nothing shows yet that its last failure was its own and not everybody's */
    bool recalled;     /* parked: before a restart */
    unsigned tries;    /* parked: that failed */
    unsigned proofs;   /* parked: of these, while others were accepted */
};

/* What was tried with its message about the person was refused: the next try is without. What was tried without: the
 * next one is with it again. Returns whether the next try is without. */
bool pending_toggle_person(struct pending *pending);

/* In the order in which they came. All zero is no list: use pending_list_init. */
struct pending_list {
    struct pending *first;
    struct pending **end;
    size_t count;
};

void pending_list_init(struct pending_list *list);

void pending_push(struct pending_list *list, struct pending *pending);

/* Takes the first one out; NULL when the list is empty. */
struct pending *pending_pop(struct pending_list *list);

void pending_push_first(struct pending_list *list, struct pending *pending);

/* Takes this one out. Returns false when it is not in the list. */
bool pending_remove(struct pending_list *list, const struct pending *pending);

/* The one that has this id, or that this id is a duplicate of; NULL: none. */
struct pending *pending_find(const struct pending_list *list, uint64_t id);

/* Moves all of `from` before those of list; from is empty then. */
void pending_prepend(struct pending_list *list, struct pending_list *from);

/* Moves those with one ordering key to the end of another list, in order. */
void pending_move_key(struct pending_list *list, struct pending_list *from, uint64_t ordering_key);

/* Moves all of `from` to an empty list. */
void pending_move(struct pending_list *list, struct pending_list *from);

/* Frees all of the list and their duplicates. */
void pending_list_free(struct pending_list *list);

/* Events in flight, found by identity: the same event come again must wait for the first one's end. */
struct pending_table {
    struct pending **bucket;
    size_t buckets; /* a power of two */
};

/* Returns false when memory is out. */
bool pending_table_init(struct pending_table *table);

/* The newest version in flight of this identity, or NULL. */
struct pending *pending_table_find(const struct pending_table *table, const struct identity *identity);

/* Adds one; an older version with the same key may be in already. */
void pending_table_add(struct pending_table *table, struct pending *pending);

/* Takes it out; one that is not in is fine. */
void pending_table_remove(struct pending_table *table, const struct pending *pending);

void pending_table_free(struct pending_table *table);

/* ---- lane.c: The body under construction (lane.c): messages one after another, in the form that the data plane or the
 * file takes. ---- */

/* Below the data plane's 4,096,000 bytes, which it counts after decompression. */
#define BATCH_BYTES ((size_t)3900 * 1024)

/* How messages stand together. */
struct batch_form {
    const char *head, *between, *tail;
};

extern const struct batch_form batch_for_data_plane; /* {"batch":[a,b]} */
extern const struct batch_form batch_for_file;       /* a line each */

struct batch {
    const struct batch_form *form;
    struct buffer text; /* without the tail */
    size_t count;       /* of messages */
    size_t whole;       /* length of text up to the last message that is in */
};

/* Where the next message goes: appends what stands before it and returns the text, to append the message to. Then
 * call batch_accept or batch_reject. */
struct buffer *batch_begin(struct batch *batch);

/* The message is in. Returns false, with the message taken out again, when it does not fit: memory is out
 * (text.failed), or the batch would be larger than BATCH_BYTES and has others already: one alone always fits. */
bool batch_accept(struct batch *batch);

/* Takes out again what batch_begin and its caller appended. */
void batch_reject(struct batch *batch);

/* Appends the tail; text is then what is to be sent. Returns false when memory is out. */
bool batch_finish(struct batch *batch);

/* Empties it and keeps its memory, up to a bound: one huge event must not be paid for for ever. */
void batch_clear(struct batch *batch);

/* ---- hold.c: The search for events that the data plane refuses: whose fault is a refusal? Part of a source's
 * pipeline: what forward_private.h says holds here. ---- */

struct source_pipeline;
struct lane;

/* What the data plane answered to an empty batch while events are refused. */
enum search_said {
    SAID_NOTHING, /* not asked yet, or no answer that tells anything */
    SAID_GOOD,    /* address and key are good: it is the events */
    SAID_BAD,     /* it is refused too */
};

/* Numbers are those of requests, in the order of their sending. */
struct search {
    size_t suspects;       /* events in flight that were in a batch that was refused; 0: there is no search */
    uint64_t since;        /* the last request before it began */
    struct answer refusal; /* of the last event that was refused alone */
    unsigned alike;        /* events refused alone with its status, one after another, and none accepted */
    bool asking;           /* an empty batch is with the data plane */
    enum search_said said; /* to the last one */
    uint64_t vouched;      /* the last one that found all good */
    bool lately_spent;     /* what was accepted before the search has counted for one lone event: not for another */
    bool said_so;          /* events are refused, none is accepted, and that was logged: somebody has to look */
    bool one_only;         /* only one event at a time is sent, until one is accepted: somebody has to mend something */
    moment there_at;       /* an empty batch found the data plane there while it failed at events; 0: none did */
};

/* The lane's batch was refused in a way that may be one event's fault (OUTCOME_REFUSED). */
void search_refused(struct lane *lane, const struct answer *answer);

/* Whether this is no lane, but the place of empty batches; and such a one was answered. */
bool search_is_asker(const struct lane *lane);
void search_asked(struct lane *asker, const struct answer *answer);

/* The data plane fails at event after event and takes none in between: is it there at all, and takes others? Asks with
 * an empty batch; the answer to the last one tells, for some seconds. */
void search_ask_if_there(struct source_pipeline *pipeline);
bool search_is_there(const struct source_pipeline *pipeline);

/* A batch was accepted, as data_plane.accepted says already. */
void search_accepted(struct source_pipeline *pipeline);

/* The operator must act. all_alike: see answer_operator_must_act. */
void search_give_up(struct source_pipeline *pipeline, bool all_alike);

/* The event is in flight no longer. */
void search_forget(struct search *search, const struct pending *pending);

/* Before a restart the operator had to act. */
void search_recall(struct search *search, bool operator_must_act);

/* ---- crash_guard.c: A trace of the events that are being transformed, in a file that outlives the process: should an
 * event kill its process, the next one knows where to look. Events are traced many at once, for each write of the trace
 * costs; those among which a process has died are traced one by one by the next. One that was left there by two deaths,
 * alone by the second at least, is tried in a child first. ---- */

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

/* transform_person likewise. */
enum transform_result crash_guard_transform_person(struct crash_guard *guard, const char *source,
                                                   const struct pending *pending, const struct parsed *parsed,
                                                   const struct rules *rules, struct buffer *out);

/* transform_message likewise. */
enum transform_result crash_guard_transform(struct crash_guard *guard, const char *source, uint64_t id,
                                            struct parsed *parsed, const struct rules *rules, bool newer,
                                            struct buffer *out);

void crash_guard_close(struct crash_guard *guard);

#endif
