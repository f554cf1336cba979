/* Running the alert command: no shell, a clean environment, what there is to say as JSON on its stdin. */
#ifndef HEALTH_ALERT_COMMAND_H
#define HEALTH_ALERT_COMMAND_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/buffer.h"
#include "base/error.h"

enum alert_state { ALERT_RAISED, ALERT_STILL, ALERT_GONE };

struct alert {
    const char *cause;
    const char *source; /* "": the whole */
    enum alert_state state;
    const char *words;
    int64_t since_ms; /* Unix time, as the next */
    int64_t now_ms;
    const char *brief;      /* the cause in words that are the program's alone, for alert_webhook.h */
    uint64_t waiting, dead; /* events of the source, or of all */
};

const char *alert_state_word(enum alert_state state);

/* Appends the alert as one JSON object in a line. Returns false when memory is out, or it is longer than ALERT_JSON. */
#define ALERT_JSON 4096 /* bytes; every pipe holds so many */
bool alert_json(const struct alert *alert, struct buffer *out);

/* Runs the command and waits for its end, ten seconds at most; then it is killed. Returns false with the reason when it
 * could not be run, or did not end well. Once hurry (may be NULL) is set it is not awaited. */
bool alert_command_run(char *const *command, const struct alert *alert, const atomic_bool *hurry, struct error *why);

/* The second half of it: waits for a child so long, kills it and its process group, and leaves it behind when that does
 * not end it within a second: it may be another user's (setuid), or hang in the kernel. */
bool alert_command_await(pid_t child, int64_t patience_ms, const atomic_bool *hurry, struct error *why);

#endif
