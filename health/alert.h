/* An alert: what somebody is told of one cause, and its JSON, which each way of health/alert_send.h carries. */
#ifndef HEALTH_ALERT_H
#define HEALTH_ALERT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buffer.h"

enum alert_state { ALERT_RAISED, ALERT_STILL, ALERT_GONE };

/* The texts are borrowed. */
struct alert {
    const char *cause;
    const char *source; /* "": the whole */
    enum alert_state state;
    const char *words;      /* may quote what the data plane or Close said: for this machine only */
    const char *brief;      /* the same in the program's own words, with nothing of an event: for anybody */
    uint64_t waiting, dead; /* events of the source, or of all */
    int64_t since_ms;       /* Unix time, as the next */
    int64_t now_ms;
};

const char *alert_state_word(enum alert_state state);

/* Appends the alert as one JSON object without a line end. words: which of the two it gets. `text` says it in one
 * sentence, which is what chat services show; it is always made of brief. Returns false when memory is out. */
bool alert_json(const struct alert *alert, const char *words, struct buffer *out);

#endif
