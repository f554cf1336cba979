/* A stand-in for RudderStack's data plane, since the real one cannot be had here: it answers /v1/batch and /v1/track
 * as reference and experiment have it, faults on demand included, and remembers what it stored. */
#ifndef TESTS_SUPPORT_STANDIN_H
#define TESTS_SUPPORT_STANDIN_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tests/support/received.h"

struct standin;

#define STANDIN_WRITE_KEYS 4

struct standin_options {
    uint16_t port;                              /* on 127.0.0.1; 0: any free one */
    const char *write_keys[STANDIN_WRITE_KEYS]; /* the accepted ones; borrowed */
    bool forget_bytes;                          /* keep messageIds only: for long runs */
    const char *certificate, *private_key;      /* PEM, borrowed: it speaks HTTPS; NULL: HTTP */
};

/* What goes wrong. */
enum standin_act {
    STANDIN_ANSWER,    /* answers with the fault's status and body; stores nothing */
    STANDIN_CUT,       /* closes the connection without an answer; stores nothing */
    STANDIN_STORE_CUT, /* the same, after it stored the messages */
    STANDIN_HALF,      /* stores the messages, and closes the connection in the middle of its answer */
    STANDIN_HOLD,      /* waits for standin_heal, then goes on as if nothing had been */
    STANDIN_SLOW,      /* only the delay */
    STANDIN_ENDLESS,   /* answers with the fault's status and a body without end; stores nothing */
};

#define STANDIN_ALWAYS UINT_MAX

struct standin_fault {
    enum standin_act act;
    unsigned times;          /* requests it meets, then it is used up; STANDIN_ALWAYS: until standin_heal */
    const char *marker;      /* it meets only requests whose body holds this text; NULL: any. Borrowed, as all here */
    const char *write_key;   /* it meets only requests with that key; NULL: any */
    int status;              /* of STANDIN_ANSWER */
    const char *body;        /* of STANDIN_ANSWER; NULL: empty */
    const char *retry_after; /* header of STANDIN_ANSWER; NULL: none */
    int64_t delay_ms;        /* before anything else happens */
    int64_t each_ms;         /* likewise, for each message of the request */
};

struct standin_counts {
    size_t requests; /* whole bodies that came, whatever became of them */
    size_t stored;   /* requests whose messages were stored */
    size_t messages; /* stored, repetitions included */
    size_t repeated; /* of these, those whose messageId had been stored before */
    size_t refused;  /* requests answered otherwise than 200, or cut */
    size_t held;     /* requests that wait for standin_heal now */
};

/* Starts it with threads of its own. Returns NULL when the port cannot be had. Stop with standin_stop. */
struct standin *standin_start(const struct standin_options *options);

uint16_t standin_port(const struct standin *standin);

/* Adds a fault; of several that fit a request the oldest is taken. Any thread, as all that follows. */
void standin_fail(struct standin *standin, const struct standin_fault *fault);

/* From now on each piece of a request's body (some 100 KB), up to 1 MiB, is read only after a pause; what comes behind
 * at once, so that the sender is not silent for long while the last of it is in the kernel's buffers. 0: all at once.
 */
void standin_read_slowly(struct standin *standin, int64_t ms);

/* Takes all faults away and lets go of what is held. */
void standin_heal(struct standin *standin);

struct standin_counts standin_counts(struct standin *standin);

/* Wait until so many messages were stored, requests came, requests are held. Return false when that did not happen
 * within the milliseconds. */
bool standin_wait_messages(struct standin *standin, size_t count, int64_t ms);
bool standin_wait_requests(struct standin *standin, size_t count, int64_t ms);
bool standin_wait_held(struct standin *standin, size_t count, int64_t ms);

/* When whole requests with that write key (NULL: any) came, the first `most` of them. Returns how many there were. */
size_t standin_arrivals(struct standin *standin, const char *write_key, moment *at, size_t most);

/* The stored message at that place, from 0, and the first stored one of that messageId; NULL when there is none. Valid
 * until standin_forget or standin_stop. */
const struct standin_message *standin_message(struct standin *standin, size_t index);
const struct standin_message *standin_find(struct standin *standin, const char *message_id);

/* Forgets what it stored and sets the counts to zero. No held request may be left. */
void standin_forget(struct standin *standin);

/* Cuts what is in hand, closes the port, frees everything. */
void standin_stop(struct standin *standin);

#endif
