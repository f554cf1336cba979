/* Inside a process that serves: the gate before the webhook, and the stages behind http. */
#ifndef PROCESS_PROCESS_PRIVATE_H
#define PROCESS_PROCESS_PRIVATE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "base/clock.h"
#include "base/error.h"
#include "config/config.h"
#include "http/http.h"
#include "process/confine.h"
#include "status/status.h"
#include "webhook/webhook.h"

/* ---- gate.c: The gate before the webhook: requests wait here until the pipeline is up, and are answered 503 while it
 * cannot be opened, or where the web server would show our configuration or events to everybody. ---- */

#define ROOTS_KEPT 64 /* verdicts; those beyond are found anew each time */

/* The document roots that requests name. The web server tells it with each request, and several sites, of which one may
 * show our files to everybody, can lead to one process: each is judged once, whatever came before it. Any thread. */
struct roots {
    const struct config *config;
    _Atomic(struct root_verdict *) at[ROOTS_KEPT]; /* never changed once it is there; NULL: from here on none is */
    pthread_mutex_t lock;                          /* over adding, and what follows */
    moment logged; /* when it was last said of one that is not kept; INT64_MIN / 2: never */
};

struct gate {
    const struct config *config;
    struct status *status;             /* what people look at; NULL: memory was out */
    struct confine *confine;           /* of request threads; borrowed; NULL: they are not confined */
    _Atomic(struct webhook *) webhook; /* NULL: closed, or not known yet */
    struct roots roots;                /* document roots of requests, and what lies in them */
    pthread_mutex_t lock;              /* over what follows */
    pthread_cond_t changed;
    bool decided; /* open, or closed for a reason */
};

#define GATE_ROUTES 6

/* Not decided yet: requests wait. config and confine (NULL: none) are borrowed and must outlive it. */
void gate_init(struct gate *gate, const struct config *config, struct confine *confine);

/* The routes that lead to the gate. */
void gate_routes(struct gate *gate, struct route routes[static GATE_ROUTES]);

/* The pipeline is up: requests pass to this webhook. Any thread, as gate_close. */
void gate_open(struct gate *gate, struct webhook *webhook);

/* The pipeline cannot be opened: requests that wait, and those that come until gate_open, are answered 503. */
void gate_close(struct gate *gate);

/* No request may be in hand any more. */
void gate_free(struct gate *gate);

/* ---- cgi_child.c: The child of CGI requests. It outlives the request that started it and forwards what that one and
 * the next stored. At most one lives at a time: it holds a lock (child.lock in the state directory) from before it
 * starts until it leaves, and looks at the queue for the last time after that. ---- */

/* Starts the child, unless one lives. It executes this program anew, has a session of its own and none of this
 * process's descriptors. Call after the event is stored: a child that is alive then finds it. Threads may run. Where no
 * child can be had, which is logged, another request or cron forwards. */
void cgi_child_start(const struct config *config);

/* ---- pipeline.c: The stages behind http in a process that lives long: queue, webhook, forwarder. A thread of their
 * own opens them, again and again where the queue cannot be opened (a full disk, a missing directory, another process
 * that repairs it), and forwards once they are open. ---- */

struct pipeline;

/* Starts the thread. The gate is opened once the stages are open, and closed while they are not; NULL: no webhooks are
 * taken, the pipeline only forwards. config and gate are borrowed and must outlive it. Returns NULL with the reason. */
struct pipeline *pipeline_start(const struct config *config, struct gate *gate, struct error *why);

/* Logs when another configuration uses the same state directory: what waits goes to the data plane of whichever
 * forwards. */
void pipeline_warn_of_other(const struct config *config);

/* Whether all stages must be closed and opened again: the queue is damaged, or another release has changed it. Not
 * within the first second after they were opened, so that a reopening that does not help is not repeated all the time.
 */
bool pipeline_must_reopen(struct pipeline *pipeline);

/* Starts again what could not be started for want of a thread. Call it about every second. */
void pipeline_retry(struct pipeline *pipeline);

/* The process is about to stop: requests that wait for the queue are answered at this moment at the latest. */
void pipeline_begin_shutdown(struct pipeline *pipeline, moment deadline);

/* Ends forwarding, waiting for batches in flight until the deadline, and frees all. No request may be in hand. Returns
 * false when the queue is still being opened: the process must end without freeing anything. */
bool pipeline_stop(struct pipeline *pipeline, moment deadline);

#endif
