/* What is counted beside the queue, for people to look at: refusals, the data plane's answers, events per minute for a
 * day, delays and sizes. Shared by all processes of a state directory through a small file, counters.N (N: the layout),
 * which may be deleted while none runs; where it cannot be had, counted in this process's memory. What must be exact is
 * counted by the queue and not here. Adding takes no lock; any thread. */
#ifndef TELEMETRY_COUNTERS_H
#define TELEMETRY_COUNTERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct counters;
struct counted; /* what is counted of one source */

enum counted_outcome {
    COUNTED_ACCEPTED,
    COUNTED_DELIVERED,
    COUNTED_DUPLICATE,
    COUNTED_DROPPED,
    COUNTED_DEAD,
    COUNTED_OUTCOMES,
};

#define COUNTED_REFUSALS 32  /* kinds of refusals; who counts gives their numbers */
#define COUNTED_ANSWERS 20   /* see counters_answer_name */
#define COUNTED_BUCKETS 15   /* of a histogram; the last one has no bound */
#define COUNTED_MINUTES 1440 /* a day */

/* Upper bounds of the buckets but the last. */
extern const int64_t counters_delay_ms[COUNTED_BUCKETS - 1];
extern const int64_t counters_size_bytes[COUNTED_BUCKETS - 1];

/* Events of one minute. */
struct tally_minute {
    uint64_t accepted;
    uint64_t bytes; /* of those accepted, together */
    uint64_t delivered;
    uint64_t delays;   /* how many of those delivered have a known delay */
    uint64_t delay_ms; /* those together */
};

struct histogram {
    uint64_t bucket[COUNTED_BUCKETS]; /* not cumulative */
    uint64_t sum;
};

/* What was counted of one source, as it stood when it was read. */
struct tally {
    uint64_t outcome[COUNTED_OUTCOMES];
    uint64_t refused[COUNTED_REFUSALS];
    int64_t refused_last_ms[COUNTED_REFUSALS]; /* Unix time; 0: never, as below */
    uint64_t answered[COUNTED_ANSWERS];
    int64_t answered_last_ms;
    int32_t answered_last_status;                /* 0: no answer came */
    struct histogram delay;                      /* ms */
    struct histogram size;                       /* bytes */
    struct tally_minute minute[COUNTED_MINUTES]; /* the last one is now */
};

/* Opens the file in state_dir (NULL: memory only) with a place for each name, and one for what is of no source.
 * Returns NULL when memory is out. *why says why it is memory only, or is "". */
struct counters *counters_open(const char *state_dir, const char *const *names, size_t count, struct error *why);

/* Whether other processes count into the same; false, too, once the disk has no room for part of the file any more. */
bool counters_are_shared(const struct counters *counters);

/* The place of a source; for an unknown name or NULL, that of no source. counters may be NULL, as the result then is;
 * adding to it does nothing. Lives as long as counters. */
struct counted *counters_of(struct counters *counters, const char *name);

/* An event of so many bytes was accepted, at that Unix time in ms. */
void counters_accepted(struct counted *counted, size_t bytes, int64_t now_ms);

/* An event has ended otherwise. */
void counters_ended(struct counted *counted, enum counted_outcome outcome);

/* An event was delivered; delay_ms since it was updated in Close; -1: not known. */
void counters_delivered(struct counted *counted, int64_t delay_ms, int64_t now_ms);

/* A request was refused; kind is below COUNTED_REFUSALS. */
void counters_refused(struct counted *counted, unsigned kind, int64_t now_ms);

/* The data plane answered with an HTTP status; 0: it did not. */
void counters_answered(struct counted *counted, int status, int64_t now_ms);

/* Words for the place of answered[] at index: "200", "5xx", "none"; NULL beyond the last. */
const char *counters_answer_name(size_t index);

void counters_read(const struct counted *counted, int64_t now_ms, struct tally *tally);

void counters_close(struct counters *counters);

#endif
