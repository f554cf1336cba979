/* Whether the queue can be written: a small synced write, by a thread of its own and not by who asks, at most one in
 * HEALTH_EVERY_MS by all processes of a state directory together. The time of the file health.probe says when the last
 * one succeeded. */
#ifndef HEALTH_WRITE_PROBE_H
#define HEALTH_WRITE_PROBE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"
#include "config/config.h"
#include "health/facts.h"

/* What is known now. */
struct probed {
    bool known; /* a look has ended, in this process */
    bool good;
    int64_t written_ms; /* the last write that succeeded, of any process; Unix time; 0: none is known */
    moment looked;      /* when that was known: long ago means that a write hangs */
};

struct prober;

/* Starts the thread, which looks once a second. config must outlive it. Returns NULL where nothing is kept, or no
 * thread can be had, which is logged unless *said is set already. */
struct prober *prober_start(const struct config *config, bool *said);

/* The last result; prober may be NULL: then only what the file says. Never waits for a write. Any thread. */
void prober_result(struct prober *prober, const struct config *config, struct probed *probed);

/* Ends the thread, and waits for it a moment. Returns false when its write hangs: it is left behind then, and goes on
 * to use its configuration, which must not be freed: the process ends by _exit, or executes itself anew. prober may be
 * NULL. */
bool prober_stop(struct prober *prober);

/* Looks once, for a process that does not live long. */
void prober_once(const struct config *config);

/* Whether it works, for a health check. The words are for everybody: no secret, no path, nothing of an event. */
struct health {
    bool good;
    struct error words;
    int64_t written_ms; /* the last probe that was written; Unix time; 0: none, or nothing is kept */
};

/* Judges it by what happens: whether webhooks can come in at all (stands), what became of the last event that one
 * brought, and what the probe says. Nothing is written. */
void prober_judge(const struct facts *facts, bool stands, const struct probed *probed, struct health *health);

#endif
