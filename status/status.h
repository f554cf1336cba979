/* What people and their tools look at: the status page, /metrics, /healthz. They open the queue on a connection of
 * their own, when first asked, and take nothing from those who accept and forward. */
#ifndef STATUS_STATUS_H
#define STATUS_STATUS_H

#include "config/config.h"
#include "http/http.h"
#include "telemetry/telemetry.h"

struct status;

/* config is borrowed and must outlive it. Returns NULL when memory is out. */
struct status *status_new(const struct config *config);

/* Runs a job elsewhere, and waits until it is done. */
typedef void status_aside(void *context, void (*job)(void *argument), void *argument);

/* Answers are made by this from now on, once it is known that the request may see them: where the threads of requests
 * may not open and connect to all that answers need. status may be NULL. Call before requests come. */
void status_answer_aside(struct status *status, status_aside *aside, void *context);

/* The stages stand, and these watch them: borrowed until status_free. Before, the page says that the queue cannot be
 * opened. status may be NULL. Any thread. */
void status_attach(struct status *status, const struct telemetry *telemetry);

/* Looks for causes of alerts, and whether the queue can be written, from now on, in threads of their own, until
 * status_quiet: for processes that live long. Call it again now and then: there may have been no thread to be had. */
void status_alert(struct status *status);

/* Ends that, before what watches is closed. Returns false when a thread of it hangs and is left behind: nothing that it
 * uses, config among it, may be freed then. status may be NULL, as in the above. */
bool status_quiet(struct status *status);

/* Answers a request for /status, /metrics or /healthz. status may be NULL. Any thread. */
void status_handle(struct status *status, struct request *request);

/* No request may be in hand any more. */
void status_free(struct status *status);

#endif
