/* Opens and closes telemetry: see telemetry.h. */
#include "telemetry/telemetry.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "config/config.h"

void telemetry_open(struct telemetry *telemetry, const struct config *config)
{
    struct error why = {0};
    const char *state_dir = config->queue == QUEUE_SQLITE ? config->state_dir : NULL;
    const char **names = calloc(config->sources, sizeof *names);
    *telemetry = (struct telemetry){0};
    if (names != NULL) {
        for (size_t i = 0; i < config->sources; i++)
            names[i] = config->source[i].name;
        telemetry->counters = counters_open(state_dir, names, config->sources, &why);
        telemetry->attempts = attempts_open(state_dir, names, config->sources, (size_t)config->lanes);
    }
    free(names);
    telemetry->recent = recent_open(state_dir);
    if (why.text[0] != '\0') {
        char words[LOG_QUOTED];
        log_write(LEVEL_WARN, "msg=counts_in_memory_only reason=%s", log_quote(words, why.text, strlen(why.text)));
    }
}

void telemetry_close(struct telemetry *telemetry)
{
    counters_close(telemetry->counters);
    recent_close(telemetry->recent);
    attempts_close(telemetry->attempts);
    *telemetry = (struct telemetry){0};
}
