/* Counters for people: refusals, the data plane's answers, events per minute for a day, delays and sizes. Shared by all
 * processes of a state directory through a mapped file, counters.N (N: version of its layout), which may be deleted
 * while no process runs; without one, counted in this process's memory. Exact counts are the queue's, not these. Adding
 * takes no lock; any thread. */
#ifndef TELEMETRY_COUNTERS_H
#define TELEMETRY_COUNTERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct counters;
struct counted; /* the counters of one source */

enum counted_outcome {
    COUNTED_ACCEPTED,
    COUNTED_DELIVERED,
    COUNTED_DUPLICATE,
    COUNTED_DROPPED,
    COUNTED_DEAD,
    COUNTED_OUTCOMES,
};

#define COUNTED_REFUSALS 32  /* kinds of refusals, numbered by the caller */
#define COUNTED_ANSWERS 19   /* see counters_answer_name */
#define COUNTED_BUCKETS 15   /* of a histogram; the last one is unbounded */
#define COUNTED_MINUTES 1440 /* a day */

/* Upper bounds of all buckets but the last. */
extern const int64_t counters_delay_ms[COUNTED_BUCKETS - 1];
extern const int64_t counters_size_bytes[COUNTED_BUCKETS - 1];

/* Events of one minute. */
struct tally_minute {
    uint64_t accepted;
    uint64_t bytes; /* of the accepted events */
    uint64_t delivered;
    uint64_t done;                   /* of the accepted events: delivered, known already or left out by a rule */
    uint64_t delay[COUNTED_BUCKETS]; /* of live events that were delivered: a histogram, not cumulative */
};

struct histogram {
    uint64_t bucket[COUNTED_BUCKETS]; /* not cumulative */
    uint64_t sum;
};

/* A snapshot of one source's counters. */
struct tally {
    uint64_t outcome[COUNTED_OUTCOMES];
    uint64_t refused[COUNTED_REFUSALS];
    int64_t refused_last_ms[COUNTED_REFUSALS]; /* Unix time; 0: never, as below */
    uint64_t answered[COUNTED_ANSWERS];
    uint64_t nul_replaced; /* delivered events in whose message U+0000 was replaced */
    int64_t answered_last_ms;
    int32_t answered_last_status;                /* 0: no answer came */
    bool answered_last_refused;                  /* that answer means that somebody has to mend something */
    struct histogram delay;                      /* ms */
    struct histogram size;                       /* bytes */
    struct tally_minute minute[COUNTED_MINUTES]; /* the last one is now */
};

/* Opens the file in state_dir (NULL: memory only) with a slot for each name, and one for no source. Returns NULL when
 * memory is out. *why: the reason for memory only, or "". */
struct counters *counters_open(const char *state_dir, const char *const *names, size_t count, struct error *why);

/* Whether other processes share the counters; false, too, once the disk had no room for a page of the file. */
bool counters_are_shared(const struct counters *counters);

/* The counters of a source; for an unknown name or NULL, those of no source. NULL if counters is NULL; adding to NULL
 * does nothing. Valid as long as counters. */
struct counted *counters_of(struct counters *counters, const char *name);

/* Counts an accepted event, however it came; now_ms: Unix time. */
void counters_accepted(struct counted *counted, size_t bytes, int64_t now_ms);

/* Counts an event with another outcome. */
void counters_ended(struct counted *counted, enum counted_outcome outcome);

/* Counts a delivered event; delay_ms: since its update in Close, -1: unknown. */
void counters_delivered(struct counted *counted, int64_t delay_ms, int64_t now_ms);

/* Counts, in its minute, that an event which was counted as accepted is done with: each once, and no replays. So both
 * counts of a minute are about the same events. */
void counters_done(struct counted *counted, int64_t now_ms);

/* Counts, in its minute, the delay of a live event that was delivered. */
void counters_live_delay(struct counted *counted, int64_t delay_ms, int64_t now_ms);

/* The delay below which this part (0 to 1) of a histogram's events lies, in milliseconds, as well as buckets tell; -1:
 * there are none. */
double counters_quantile(const uint64_t bucket[static COUNTED_BUCKETS], double part);

/* Counts a delivered event in whose message U+0000 was replaced. And reads only this counter. */
void counters_nul_replaced(struct counted *counted);
uint64_t counters_read_nul_replaced(const struct counted *counted);

/* Counts a refused request; kind is below COUNTED_REFUSALS. */
void counters_refused(struct counted *counted, unsigned kind, int64_t now_ms);

/* Counts an answer of the data plane; status: of HTTP, 0: no answer came. refused: somebody has to mend something. */
void counters_answered(struct counted *counted, int status, bool refused, int64_t now_ms);

/* The name of answered[index]: "200", "5xx", "none"; NULL beyond the last. */
const char *counters_answer_name(size_t index);

void counters_read(const struct counted *counted, int64_t now_ms, struct tally *tally);

void counters_close(struct counters *counters);

#endif
