/* Running the alert command: no shell, a clean environment, what there is to say as JSON on its stdin. */
#ifndef HEALTH_ALERT_COMMAND_H
#define HEALTH_ALERT_COMMAND_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"
#include "health/alert.h"

/* Runs the command and waits for its end, ten seconds at most; then it is killed. Returns false with the reason when it
 * could not be run, or did not end well. Once hurry (may be NULL) is set it is not awaited. */
bool alert_command_run(char *const *command, const struct alert *alert, const atomic_bool *hurry, struct error *why);

/* The second half of it: waits for a child so long, kills it and its process group, and leaves it behind when that does
 * not end it within a second: it may be another user's (setuid), or hang in the kernel. */
bool alert_command_await(pid_t child, int64_t patience_ms, const atomic_bool *hurry, struct error *why);

#endif
