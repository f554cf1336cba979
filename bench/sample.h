/* Distinct events out of one sample: the documented webhook, with an id and a lead of its own for each number. All are
 * equally long. For the benchmarks' programs: what goes wrong ends them. */
#ifndef BENCH_SAMPLE_H
#define BENCH_SAMPLE_H

#include <stddef.h>
#include <stdint.h>

#define SAMPLE_PATH "tests/data/opportunity-updated.webhook.json"

struct sample {
    char *body; /* NUL-terminated; its places are written anew for each number */
    size_t length;
    size_t id; /* where the event's id stands in the body, 22 digits behind "ev_" */
    size_t lead;
};

/* Reads the file. */
void sample_read(struct sample *sample, const char *path);

/* Makes the body, a copy of the sample's, that of event `number` of a run. Runs differ, so that no event is a duplicate
 * of another run's. Leads repeat after 10,000 events. */
void sample_number(const struct sample *sample, char *body, uint32_t run, uint64_t number);

void sample_free(struct sample *sample);

/* Nanoseconds on the monotonic clock. */
int64_t bench_now(void);

/* Zeroed memory; never NULL. */
void *bench_allocate(size_t count, size_t size);

/* Says what went wrong, with errno's words unless it is 0, and ends the program. */
_Noreturn void bench_give_up(const char *what);

#endif
