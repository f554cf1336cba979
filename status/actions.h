/* What can be done on the status page: replay a dead letter, show a webhook URL with its key. */
#ifndef STATUS_ACTIONS_H
#define STATUS_ACTIONS_H

#include "health/queue_view.h"
#include "status/access.h"

/* A webhook URL with its key in it. */
struct shown_key {
    char source[104];
    char url[1024];
};

enum action_result {
    ACTION_REFUSED, /* and answered */
    ACTION_REPLAYED,
    ACTION_KEY,
};

/* Reads what was posted and does it, if it comes from our own page. *done: how many dead letters went on their way. */
enum action_result action_take(const struct config *config, struct tokens *tokens, struct look *look,
                               struct request *request, struct shown_key *key, size_t *done);

/* The program's own address as the request came to it, without a slash at its end. */
void action_base(const struct request *request, char *out, size_t size);

/* Overwrites it. */
void action_forget(struct shown_key *key);

#endif
