/* The gate before the webhook: requests wait here until the pipeline is up, and are answered 503 while it cannot be
 * opened, or where the web server would show our configuration or events to everybody. */
#ifndef PROCESS_GATE_H
#define PROCESS_GATE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "base/clock.h"
#include "base/error.h"
#include "config/config.h"
#include "http/http.h"
#include "status/status.h"
#include "webhook/webhook.h"

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
    _Atomic(struct webhook *) webhook; /* NULL: closed, or not known yet */
    struct roots roots;                /* document roots of requests, and what lies in them */
    pthread_mutex_t lock;              /* over what follows */
    pthread_cond_t changed;
    bool decided; /* open, or closed for a reason */
};

#define GATE_ROUTES 6

/* Not decided yet: requests wait. config is borrowed and must outlive it. */
void gate_init(struct gate *gate, const struct config *config);

/* The routes that lead to the gate. */
void gate_routes(struct gate *gate, struct route routes[static GATE_ROUTES]);

/* The pipeline is up: requests pass to this webhook. Any thread, as gate_close. */
void gate_open(struct gate *gate, struct webhook *webhook);

/* The pipeline cannot be opened: requests that wait, and those that come until gate_open, are answered 503. */
void gate_close(struct gate *gate);

/* No request may be in hand any more. */
void gate_free(struct gate *gate);

#endif
