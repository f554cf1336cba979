/* Alerts: what somebody is told of one cause, in which ways, when and how often, and the thread that looks for causes.
 * Each section names its file. */
#ifndef HEALTH_ALERTS_H
#define HEALTH_ALERTS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/buffer.h"
#include "base/error.h"
#include "config/config.h"
#include "health/facts.h"
#include "health/queue_view.h"

/* ---- alert_send.c: an alert and its JSON, which each way carries ---- */

enum alert_state { ALERT_RAISED, ALERT_STILL, ALERT_GONE };

/* The texts are borrowed. */
struct alert {
    const char *cause;
    const char *source; /* "": the whole */
    enum alert_state state;
    const char *words;      /* may quote what the data plane or Close said: for this machine only */
    const char *brief;      /* the same in the program's own words, with nothing of an event: for anybody */
    uint64_t waiting, dead; /* events of the source, or of all */
    int64_t since_ms;       /* Unix time, as the next */
    int64_t now_ms;
};

const char *alert_state_word(enum alert_state state);

/* ---- alert_send.c: the alert command: no shell, a clean environment, what there is to say as JSON on its
 * stdin ---- */

/* Runs the command and waits for its end, ten seconds at most; then it is killed. Returns false with the reason when it
 * could not be run, or did not end well. Once hurry (may be NULL) is set it is not awaited. */
bool alert_command_run(char *const *command, const struct alert *alert, const atomic_bool *hurry, struct error *why);

/* The second half of it: waits for a child so long, kills it and its process group, and leaves it behind when that does
 * not end it within a second: it may be another user's (setuid), or hang in the kernel. */
bool alert_command_await(pid_t child, int64_t patience_ms, const atomic_bool *hurry, struct error *why);

/* ---- alert_send.c: posting an alert to a web address, which is a secret: only its host is ever shown. What is posted
 * goes to others than the log: it has the cause in the program's own words and counts, and nothing that the data plane
 * or an event said. ---- */

/* Posts its JSON, with the brief words: certificates are verified, redirects are not followed. Returns false with the
 * reason unless it was answered 2xx within ten seconds. Once hurry (may be NULL) is set it is given up within a
 * fraction of a second, also while a name server hangs. certificates: as in http_options. */
bool alert_webhook_post(const char *url, const char *certificates, const struct alert *alert, const atomic_bool *hurry,
                        struct error *why);

/* ---- alert_send.c: the ways in which somebody is told of a cause: a command, and a POST to a web address ---- */

/* One bit each. */
enum alert_way { ALERT_BY_COMMAND = 1, ALERT_BY_WEBHOOK = 2 };
#define ALERT_WAYS 2

/* All borrowed. */
struct alert_ways {
    char *const *command;     /* words for execv, a NULL behind them; NULL, or no words: there is none */
    const char *webhook_url;  /* NULL: there is none */
    const char *certificates; /* as in http_options */
};

struct alert_ways alert_ways_of(const struct config *config);

/* Which there are, as bits. */
unsigned alert_ways_all(const struct alert_ways *ways);

/* Tells by one way, and waits for that, ten seconds at most. hurry (may be NULL): once it is set it is not awaited: the
 * command goes on by itself, the POST is given up and has failed. Returns false with the reason, which names the host
 * only. Without that way returns true. */
bool alert_send(const struct alert_ways *ways, enum alert_way way, const struct alert *alert, const atomic_bool *hurry,
                struct error *why);

/* ---- alerts.c: somebody is told when a cause appears, now and then while it lasts, and when it is gone. Several
 * processes may look at the same causes; one of them does at a time, and what was told stands in a small file of the
 * state directory, alerts.N (N: the layout), so that all agree. What could not be told is tried again soon. One thread
 * for one struct alerts. ---- */

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

/* Shares what was told with all machines that share a queue: one of them tells. While their database is away each tells
 * by itself. config: borrowed. Call before the others. */
void alerts_share(struct alerts *alerts, const struct config *config);

/* Takes the looking for this process, until alerts_free: returns false while another process has it. */
bool alerts_claim(struct alerts *alerts);

/* Looks at the causes and tells what is to be told: waits for each way, ten seconds at most. Call after alerts_claim
 * returned true. Returns how many alerts were sent, or tried to be. */
size_t alerts_evaluate(struct alerts *alerts, const struct alert_cause *causes, size_t count, int64_t now_ms);

/* Nothing is awaited from now on: a command goes on by itself, a POST is given up, and told by who comes next. Any
 * thread. */
void alerts_abandon(struct alerts *alerts);

void alerts_free(struct alerts *alerts);

/* ---- alert_thread.c: looking for causes: once a second in a thread of a process that lives long, once by cron ---- */

struct alert_thread;

/* Starts the thread where there is an alert_command or an alert_webhook_url. Both are borrowed and must outlive it.
 * Returns NULL where there is none, or no thread can be had, which is logged unless it was *said, and may be tried
 * again. */
struct alert_thread *alert_thread_start(const struct config *config, struct queue_view *view, bool *said);

/* Ends it: what is being told is not awaited. alerting may be NULL. */
void alert_thread_stop(struct alert_thread *alerting);

/* Looks once, unless a process that lives long does. Does nothing where nobody is to be told. */
void alert_thread_once(const struct config *config, const struct telemetry *telemetry);

#endif
