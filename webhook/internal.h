/* The webhook with a replaceable function that stores an event: for CGI processes and tests. */
#ifndef WEBHOOK_INTERNAL_H
#define WEBHOOK_INTERNAL_H

#include "webhook/webhook.h"

/* Like queue_append; queue is the argument of webhook_new_with. */
typedef enum queue_result append_function(void *queue, const char *source, const char *body, size_t length,
                                          moment deadline, struct error *why);

/* As webhook_new, with the function that stores an event. */
struct webhook *webhook_new_with(const struct config *config, append_function *append, void *queue, struct error *why);

#endif
