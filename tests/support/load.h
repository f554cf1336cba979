/* Many signed, distinct events over many connections at once, and what became of each. */
#ifndef TESTS_SUPPORT_LOAD_H
#define TESTS_SUPPORT_LOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tests/support/standin.h"

struct load;

#define LOAD_NONE SIZE_MAX

struct load_options {
    const char *url;
    const char *signature_key;
    const char *prefix; /* of the events' ids: PREFIX_0, PREFIX_1, ... */
    size_t count;       /* events */
    size_t connections; /* each with a thread of its own */
    size_t filler;      /* bytes by which each event is larger than its 700 */
    size_t marked;      /* the event whose note is LOAD_MARK, or LOAD_NONE */
    bool ordered;       /* each connection has a lead of its own and sends its events one after another */
    size_t first_lead;  /* number of the first of its leads */
    int64_t pause_ms;   /* of each connection between its requests */
    int64_t refused_ms; /* likewise after one that was not answered 200; 0: pause_ms */
    int64_t timeout_ms; /* of a request; 0: a minute */
    unsigned times;     /* an event that is not answered 200 is sent so often at most; 0: once */
};

#define LOAD_MARK "marked-by-the-test"

/* What became of all. */
struct load_result {
    size_t sent;
    size_t ok;       /* answered 200, to the end */
    int other;       /* a status other than 200 that came; 0: none, or a connection that broke */
    int64_t slowest; /* ms */
};

/* Starts sending. The strings are borrowed until load_free. */
struct load *load_start(const struct load_options *options);

/* Waits until so many were answered. Returns false when that did not happen within the milliseconds. */
bool load_wait(struct load *load, size_t answered, int64_t ms);

/* Waits until so many more were answered 200. Returns false when that did not happen within the milliseconds. */
bool load_wait_ok(struct load *load, size_t more, int64_t ms);

/* How many were answered 200 so far. */
size_t load_ok(struct load *load);

/* Whether there is none left to be sent. */
bool load_used_up(struct load *load);

/* Sends no more; what is under way is awaited by load_finish. */
void load_stop(struct load *load);

/* Waits until all that is to be sent was answered. Call once. */
struct load_result load_finish(struct load *load);

/* After load_finish: the status of one event; 0: no whole answer, -1: it was never sent. */
int load_status(const struct load *load, size_t index);

/* After load_finish: how many events answered 200 the stand-in stored exactly `times` times (0: at least once), with
 * properties as they were sent, byte for byte. */
size_t load_count_arrived(const struct load *load, struct standin *standin, size_t times);

/* After load_finish: how often events were stored. */
struct load_arrivals {
    size_t times[4]; /* events answered 200 that were stored never, once, twice, more often */
    size_t altered;  /* as load_count_altered */
};

/* After load_finish: counts them, and prints the counts where an event answered 200 was not stored exactly once, with
 * its id, the status that the client got and when, and each message's request and time, in ms since the first message
 * of the load. */
struct load_arrivals load_report_arrivals(const struct load *load, struct standin *standin, const char *write_key);

/* After load_finish: how many messages of this load, repetitions included, the stand-in stored with other properties
 * than were sent, or under another write key than write_key. */
size_t load_count_altered(const struct load *load, struct standin *standin, const char *write_key);

/* After load_finish, of an ordered load: how many events were stored, for the first time, after a later one of the same
 * lead. */
size_t load_count_disordered(const struct load *load, struct standin *standin);

/* After load_finish: the median of the milliseconds from an event's answer to its arrival at the stand-in; 0: it
 * arrived before. */
int64_t load_median_delay(const struct load *load, struct standin *standin);

void load_free(struct load *load);

#endif
