/* Rules of the configuration that do nothing, or drop everything, because a name in them is misspelt: judged by the
 * event types that Close documents, by the members that its events have, and by events that were seen. */
#ifndef HEALTH_RULE_LOOK_H
#define HEALTH_RULE_LOOK_H

#include "config/config.h"
#include "telemetry/telemetry.h"

/* Calls tell with a sentence for each pattern of the source's keep and drop that matches no event, and each path of its
 * remove that no event has. recent: the events that were seen; NULL: none. words is borrowed during the call. */
void rule_look(const struct source *source, struct recent *recent, void (*tell)(void *context, const char *words),
               void *context);

/* The same for all sources. sampled: by the sample in the state directory, too, where that is this user's. */
void rule_look_all(const struct config *config, bool sampled,
                   void (*tell)(void *context, const struct source *source, const char *words), void *context);

#endif
