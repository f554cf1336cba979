/* The webhook with another queue behind it, so that it can be tested alone. */
#ifndef WEBHOOK_INTERNAL_H
#define WEBHOOK_INTERNAL_H

#include "webhook/webhook.h"

/* What queue_append does; queue is what webhook_new_with was given. */
typedef enum queue_result append_function(void *queue, const char *source, const char *body, size_t length,
                                          moment deadline, struct error *why);

/* As webhook_new, with the step that stores an event. */
struct webhook *webhook_new_with(const struct config *config, append_function *append, void *queue, struct error *why);

#endif
