/* Telemetry for people: counters, the sample of recent events and what was tried, opened together for a configuration's
 * sources; and when cron ran last. */
#ifndef TELEMETRY_TELEMETRY_H
#define TELEMETRY_TELEMETRY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* ---- counters.c: Counters for people: refusals, the data plane's answers, events per minute for a day, delays and
 * sizes. Shared by all processes of a state directory through a mapped file, counters.N (N: version of its layout),
 * which may be deleted while no process runs; without one, counted in this process's memory. Exact counts are the
 * queue's, not these. Adding takes no lock; any thread. ---- */

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
    uint64_t nul_replaced;     /* delivered events in whose message U+0000 was replaced */
    uint64_t identify_refused; /* delivered events whose identify or alias the data plane refused */
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

/* The name of the slot at an index, the first, "", being that of no source; NULL beyond the last. */
const char *counters_name(const struct counters *counters, size_t index);

/* The name of the machine whose counters these are: its host's name when they began, and some digits of chance, so that
 * counters that begin anew are another machine's. "": they are in memory only. */
const char *counters_machine(const struct counters *counters);

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

/* Counts a delivered event in whose message U+0000 was replaced. */
void counters_nul_replaced(struct counted *counted);

/* Counts a delivered event whose identify or alias was refused. */
void counters_identify_refused(struct counted *counted);

/* Counts a refused request; kind is below COUNTED_REFUSALS. */
void counters_refused(struct counted *counted, unsigned kind, int64_t now_ms);

/* Counts an answer of the data plane; status: of HTTP, 0: no answer came. refused: somebody has to mend something. */
void counters_answered(struct counted *counted, int status, bool refused, int64_t now_ms);

/* The name of answered[index]: "200", "5xx", "none"; NULL beyond the last. */
const char *counters_answer_name(size_t index);

void counters_read(const struct counted *counted, int64_t now_ms, struct tally *tally);

void counters_close(struct counters *counters);

/* ---- attempts.c: What was tried lately: the last ten batches of each lane, with the ids of their events, so that an
 * event's attempts are found by its id. Written once a batch, never once an event. Stored in a file of the state
 * directory, attempts.N (N: version of its layout), which may be deleted at any time; without a state directory in
 * memory. Only one process, the forwarder, adds; any thread of any process reads. ---- */

#define ATTEMPTS_KEPT 10     /* of a lane */
#define ATTEMPTS_EVENTS 1000 /* of a batch that can be found: a larger one's first */

/* One batch with the data plane, as far as each of its events is concerned. */
struct attempt {
    int64_t sent_ms; /* Unix time */
    int64_t took_ms;
    int32_t status;  /* of HTTP; 0: no answer came */
    uint32_t events; /* in the batch */
    char words[160]; /* what came back, for people; cut to fit */
};

struct attempts;

/* Opens them for sources with these names and so many lanes each. state_dir NULL: in memory. Returns NULL when memory
 * is out. */
struct attempts *attempts_open(const char *state_dir, const char *const *names, size_t count, size_t lanes);

/* Adds a batch of a source's lane. attempts may be NULL. A failure loses only what is shown. */
void attempts_add(struct attempts *attempts, const char *source, size_t lane, const struct attempt *attempt,
                  const uint64_t *ids, size_t count);

/* Finds those of an event that began at since_ms or later, the oldest first. Returns how many. */
size_t attempts_of(struct attempts *attempts, const char *source, uint64_t id, int64_t since_ms,
                   struct attempt out[static ATTEMPTS_KEPT]);

void attempts_close(struct attempts *attempts);

/* ---- recent.c: A sample of recent events for people: at most 20 a second, the last 200 of the last day, each with the
 * beginning of its bodies and what was tried with it. Stored in a file of the state directory, recent.N (N: version of
 * its layout), which may be deleted at any time; without a state directory in memory. Only one process, the forwarder,
 * adds; any thread of any process reads. ---- */

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

/* The same with a file of another machine's, which is made if it is missing; NULL: in memory. */
struct recent *recent_open_file(const char *path);

/* Stores an event as it is, in the place of its number; and erases what is there. */
void recent_put(struct recent *recent, const struct recent_whole *whole, int64_t now_ms);
void recent_erase(struct recent *recent, uint64_t number);

/* Deletes the events of a lead, of one source or (NULL) of all. dry_run: only counts them. Returns how many. A sample
 * that is added at this moment may be lost. */
size_t recent_forget(struct recent *recent, const char *source, const char *lead, bool dry_run);

/* The same of all that are meant. erased (may be NULL): which places these are. */
size_t recent_forget_with(struct recent *recent, bool (*meant)(const void *context, const struct recent_event *event),
                          const void *context, bool dry_run, bool erased[RECENT_COUNT]);

struct recent_lead {
    const char *source, *lead;
};

/* As `meant`: context is a struct recent_lead. */
bool recent_is_of(const void *context, const struct recent_event *event);

void recent_close(struct recent *recent);

/* ---- machines.c: what the other machines that share a queue count. Each says it every few seconds (kept/kept.h), and
 * the others keep it in files below the state directory. ---- */

struct config;
struct kept;
struct kept_speaker;
struct machines;

/* Who speaks for this machine. Opens what it needs when it is called. config: borrowed. */
void machines_speaker(const struct config *config, struct kept_speaker *speaker);

/* Says and hears once, for a process that does not stay. A failure costs what is shown. */
void machines_exchange(const struct config *config);

/* Reads what was heard. Returns NULL when memory is out, or nothing is shared. */
struct machines *machines_read(const struct config *config);

/* Adds what they counted of a source (NULL: of none) to what counters_read said. */
void machines_add(const struct machines *machines, const char *source, int64_t now_ms, struct tally *tally);

/* How many were heard within a day; and of how many what they said is left out, as it has another layout. *name: of one
 * of these. */
size_t machines_count(const struct machines *machines);
size_t machines_unreadable(const struct machines *machines, const char **name);

void machines_free(struct machines *machines);

/* ---- machines_recent.c: the sample of recent events, of all machines that share a queue: each says up to ten events
 * every few seconds. Where nothing is shared it is this machine's alone. ---- */

/* The events of all machines, the last that ended first, at most `most`. Their numbers are the same on each machine, if
 * own is this one's name (counters_machine). Returns how many. */
size_t machines_recent_list(const struct config *config, struct recent *recent, const char *own, int64_t now_ms,
                            struct recent_event *out, size_t most);

/* Reads one of them with its bodies. Returns false when it is no longer stored, or was not heard. */
bool machines_recent_get(const struct config *config, struct recent *recent, const char *own, uint64_t number,
                         int64_t now_ms, struct recent_whole *out);

/* As recent_forget, on all machines: on others within seconds, or when they are there again. Returns false, with what
 * was counted here, and the reason when the others cannot be told. */
bool machines_recent_forget(const struct config *config, const char *source, const char *lead, bool dry_run,
                            uint64_t *count, struct error *why);

/* ---- counters.c: all of it, opened together ---- */

/* Opens the counters of all sources of a configuration, where it keeps them. As counters_open. */
struct counters *counters_open_all(const struct config *config, struct error *why);

/* NULL members record nothing. */
struct telemetry {
    struct counters *counters;
    struct recent *recent;
    struct attempts *attempts;
};

/* Opens all, in the state directory if the configuration has one; it must exist. Never fails: counters that cannot be
 * shared are kept in memory, which is logged, and what needs memory that is not there is NULL. Close with
 * telemetry_close. */
void telemetry_open(struct telemetry *telemetry, const struct config *config);

void telemetry_close(struct telemetry *telemetry);

/* ---- The state of `closecrm.fcgi cron` in the state directory: when it last ran, and up to which dead letter it has
 * reported. The file, cron.last, may be deleted at any time. ---- */

struct cron_mark {
    int64_t ran_ms;  /* end of the last run; Unix time; 0: never or unknown */
    uint64_t letter; /* id of the newest reported dead letter; 0: none */
};

/* Reads the file; what cannot be read is 0. */
void cron_mark_read(const char *state_dir, struct cron_mark *mark);

/* Writes the file with the current time. more: further lines, which cron alone reads. Returns false with errno. */
bool cron_mark_write(const char *state_dir, uint64_t letter, const char *more);

#endif
