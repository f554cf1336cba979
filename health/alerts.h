/* Telling somebody: runs a command when a cause appears, now and then while it lasts, and when it is gone. Several
 * processes may look at the same causes; one of them does at a time, and what was told stands in a small file of the
 * state directory, alerts.N (N: the layout), so that all agree. One thread for one struct alerts. */
#ifndef HEALTH_ALERTS_H
#define HEALTH_ALERTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "health/facts.h"

/* Something that may be wrong. Those that are not raised must be listed too, so that their end is seen; of one that is
 * not listed nothing begins and nothing ends. */
struct alert_cause {
    const char *name;   /* "data_plane_refuses": letters and _ */
    const char *source; /* whose; "": the whole */
    bool raised;
    struct error
        words; /* what is wrong; of one that is not raised: how it is instead. Never a secret, nothing of an event */
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

struct alerts;

/* command: words for execv, a NULL behind them. state_dir NULL: what was told is known to this process only. Borrowed.
 * Returns NULL when memory is out. */
struct alerts *alerts_new(char *const *command, int64_t interval_ms, const char *state_dir);

/* Takes the looking for this process, until alerts_free: returns false while another process has it. */
bool alerts_claim(struct alerts *alerts);

/* Looks at the causes and tells what is to be told: waits for each command, ten seconds at most. Call after
 * alerts_claim returned true. Returns how many commands were run. */
size_t alerts_evaluate(struct alerts *alerts, const struct alert_cause *causes, size_t count, int64_t now_ms);

/* A command that runs is not awaited from now on: it goes on by itself. Any thread. */
void alerts_abandon(struct alerts *alerts);

void alerts_free(struct alerts *alerts);

#endif
