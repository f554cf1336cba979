/* Which source of the configuration a command means. */
#ifndef COMMANDS_SOURCE_H
#define COMMANDS_SOURCE_H

#include "config/config.h"
#include "transform/transform.h"

/* The source of that name; name NULL: the only one. Returns NULL when there is no such source or it must be named; then
 * stderr says which there are. command is its name for that message. Lives as long as config. */
const struct source *session_source(const struct config *config, const char *name, const char *command);

/* The source's keep, drop and remove; they live as long as it. */
struct rules session_rules(const struct source *source);

#endif
