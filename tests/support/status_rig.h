/* A status page over a real queue: sources `one` (which removes data.phone) and `two`; of `one` an event waits, two
 * dead letters are kept, and a wrong signature was refused. */
#ifndef TESTS_SUPPORT_STATUS_RIG_H
#define TESTS_SUPPORT_STATUS_RIG_H

#include <stdbool.h>

#include "status/status.h"
#include "tests/support/http_fake.h"
#include "tests/support/made_config.h"
#include "tests/support/temporary.h"

/* The Authorization of "admin:correct horse" */
#define STATUS_RIGHT "Basic YWRtaW46Y29ycmVjdCBob3JzZQ=="

#define STATUS_EVIL "<script>alert('x')</script>" /* in the events */

struct status_rig {
    struct made_config made;
    char directory[PATH_SIZE], state[PATH_SIZE];
    struct queue *queue;
    struct status *status;
    struct telemetry telemetry;
    struct fake_request fake; /* the last request, with its answer */
    const char *auth_type;    /* AUTH_TYPE of the requests; NULL: none */
};

/* For a suite's beginning and end: returns 0 when it was made. */
int status_rig_open(struct status_rig *rig);
int status_rig_close(struct status_rig *rig);

/* Stores an event of `one` like the one that waits. */
bool status_rig_append(struct status_rig *rig);

/* One request. authorization: a Basic one, or else REMOTE_USER; it, and the form, must live until the next request;
 * NULL: none. Returns its answer's status. */
int status_rig_ask(struct status_rig *rig, const char *method, const char *path, const char *query,
                   const char *authorization, const char *form);

/* Whether the last answer has this text in it. */
bool status_rig_shows(const struct status_rig *rig, const char *text);

#endif
