/* Telling somebody: runs a command, and posts, when a cause appears, now and then while it lasts, and when it is gone.
 * Several processes may look at the same causes; one of them does at a time, and what was told stands in a small file
 * of the state directory, alerts.N (N: the layout), so that all agree. What could not be told is tried again soon. One
 * thread for one struct alerts. */
#ifndef HEALTH_ALERTS_H
#define HEALTH_ALERTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "health/alert_send.h"
#include "health/facts.h"

/* Something that may be wrong. Those that are not raised must be listed too, so that their end is seen; of one that is
 * not listed nothing begins and nothing ends. */
struct alert_cause {
    const char *name;   /* "data_plane_refuses": letters and _ */
    const char *source; /* whose; "": the whole */
    bool raised;
    struct error
        words; /* what is wrong; of one that is not raised: how it is instead. Never a secret, nothing of an event */
    const char *brief;      /* the same without what others said */
    uint64_t waiting, dead; /* events of the source, or of all */
};

/* All zero is empty; reuse it, free it with alerts_free_causes. */
struct alert_causes {
    struct alert_cause *at;
    size_t count;
};

/* Lists all causes, of which findings of the facts tell; what cannot be told is left out. The names of sources are
 * borrowed from the facts. Returns false when memory is out. */
bool alerts_find_causes(const struct facts *facts, struct alert_causes *causes);
void alerts_free_causes(struct alert_causes *causes);

/* The record of the alerts that were sent, in the state directory; the process that evaluates alerts has it locked. */
#define ALERTS_FILE "alerts.1"

struct alerts;

/* state_dir NULL: what was told is known to this process only. Borrowed, as what the ways name. Returns NULL when
 * memory is out. */
struct alerts *alerts_new(const struct alert_ways *ways, int64_t interval_ms, const char *state_dir);

/* Takes the looking for this process, until alerts_free: returns false while another process has it. */
bool alerts_claim(struct alerts *alerts);

/* Looks at the causes and tells what is to be told: waits for each way, ten seconds at most. Call after alerts_claim
 * returned true. Returns how many alerts were sent, or tried to be. */
size_t alerts_evaluate(struct alerts *alerts, const struct alert_cause *causes, size_t count, int64_t now_ms);

/* Nothing is awaited from now on: a command goes on by itself, a POST is given up, and told by who comes next. Any
 * thread. */
void alerts_abandon(struct alerts *alerts);

void alerts_free(struct alerts *alerts);

#endif
