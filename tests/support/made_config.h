/* A configuration made in memory, for tests of the stages behind config/: sources with write keys `wk_NAME`. */
#ifndef TESTS_SUPPORT_MADE_CONFIG_H
#define TESTS_SUPPORT_MADE_CONFIG_H

#include "config/config.h"

#define MADE_SOURCES 2

struct made_config {
    struct config config;
    struct source source[MADE_SOURCES];
    char name[MADE_SOURCES][16];
    char write_key[MADE_SOURCES][24];
    char *write_keys[MADE_SOURCES];
};

/* Sets up `made` with the sources `one` and `two`; their URLs are borrowed. made must not move. */
void made_config_init(struct made_config *made, char *first_url, char *second_url);

#endif
