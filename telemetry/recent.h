/* A sample of recent events for people: at most 20 a second, the last 200 of the last day, each with the beginning of
 * its bodies and what was tried with it. Stored in a file of the state directory, recent.N (N: version of its layout),
 * which may be deleted at any time; without a state directory in memory. Only one process, the forwarder, adds; any
 * thread of any process reads. */
#ifndef TELEMETRY_RECENT_H
#define TELEMETRY_RECENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "telemetry/attempts.h"

#define RECENT_COUNT 200
#define RECENT_BODY 8000 /* bytes kept of each body */
#define RECENT_A_SECOND 20
#define RECENT_AGE_MS ((int64_t)24 * 60 * 60 * 1000)

/* One event. Texts are cut to fit, and always end with a NUL. */
struct recent_event {
    uint64_t number;   /* increasing; never 0; set by recent_add */
    uint64_t queue_id; /* of the event in its source's queue */
    char source[72];
    char name[96]; /* "lead updated" */
    char lead[80];
    char id[80];      /* of the event in Close */
    char state[16];   /* delivered, duplicate, dropped, dead */
    char reason[200]; /* of dead; else "" */
    int64_t ended_ms; /* Unix time, as the following; 0: unknown */
    int64_t received_ms;
    int64_t updated_ms;
    uint64_t bytes; /* of the incoming body, whole */
    uint32_t incoming_length, message_length;
    bool incoming_cut, message_cut;
};

/* An event with its bodies, without NUL, and the attempts to deliver it, the oldest first. */
struct recent_whole {
    struct recent_event event;
    struct attempt attempt[ATTEMPTS_KEPT];
    size_t attempts;
    char incoming[RECENT_BODY];
    char message[RECENT_BODY];
};

struct recent;

/* Opens the sample; state_dir NULL: in memory. Returns NULL when memory is out. */
struct recent *recent_open(const char *state_dir);

/* Whether another event may be added now: call before preparing one. recent may be NULL. */
bool recent_may_add(struct recent *recent, int64_t now_ms);

/* What is kept beside an event. */
struct recent_bodies {
    const char *incoming, *message; /* may be NULL */
    size_t incoming_length, message_length;
    const struct attempt *attempt;
    size_t attempts; /* at most ATTEMPTS_KEPT */
};

/* Adds an event; lengths, cut and number are set here. A failure loses only the sample. */
void recent_add(struct recent *recent, const struct recent_event *event, const struct recent_bodies *bodies);

/* Reads the events with a higher number than `after`, newest first, at most `most`. Returns how many. */
size_t recent_list(struct recent *recent, uint64_t after, int64_t now_ms, struct recent_event *out, size_t most);

/* Reads one event with its bodies. Returns false when it is no longer stored. */
bool recent_get(struct recent *recent, uint64_t number, int64_t now_ms, struct recent_whole *out);

/* Deletes the events of a lead, of one source or (NULL) of all. dry_run: only counts them. Returns how many. A sample
 * that is added at this moment may be lost. */
size_t recent_forget(struct recent *recent, const char *source, const char *lead, bool dry_run);

void recent_close(struct recent *recent);

#endif
