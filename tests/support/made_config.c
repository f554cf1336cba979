/* A configuration without a file: see made_config.h. */
#include "tests/support/made_config.h"

#include <stdio.h>

void made_config_init(struct made_config *made, char *first_url, char *second_url)
{
    static const char *const names[MADE_SOURCES] = {"one", "two"};
    char *const urls[MADE_SOURCES] = {first_url, second_url};
    *made = (struct made_config){.config = {.queue = QUEUE_NONE,
                                            .queue_max_bytes = 1 << 20,
                                            .dedupe_window_ms = 3600000,
                                            .queue_retention_ms = 60000,
                                            .poison_after_ms = 60000,
                                            .max_body = 1 << 20,
                                            .log_level = LEVEL_ERROR,
                                            .lanes = 4,
                                            .batch_events = 500,
                                            .sources = MADE_SOURCES}};
    made->config.source = made->source;
    for (size_t i = 0; i < MADE_SOURCES; i++) {
        snprintf(made->name[i], sizeof made->name[i], "%s", names[i]);
        snprintf(made->write_key[i], sizeof made->write_key[i], "wk_%s", names[i]);
        made->write_keys[i] = made->write_key[i];
        made->source[i].name = made->name[i];
        made->source[i].data_plane_url = urls[i];
        made->source[i].write_key = (struct strings){&made->write_keys[i], 1};
    }
}
