/* The last errors, shown: see check_errors.h. */
#include "commands/check_errors.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/escape.h"
#include "base/last_errors.h"
#include "base/times.h"
#include "process/errors_kept.h"

#define EARLIER_MS (60 * INT64_C(60000))
#define DATE_LENGTH (sizeof "2026-11-24T20:45:06Z" - 1)

/* Whether it was last seen before that. What is over is not to be taken for what is wrong now. */
static bool is_earlier(const char *line, size_t length, int64_t now_ms)
{
    int64_t last_us = length < DATE_LENGTH ? DATE_UNREADABLE : times_read(line, DATE_LENGTH);
    return last_us != DATE_UNREADABLE && now_ms - last_us / 1000 > EARLIER_MS;
}

/* The newest comes first, in each of the parts that a title begins. */
static void print_file(const char *folder)
{
    char *text = last_errors_read(folder);
    if (text == NULL)
        return;
    printf("\nlast errors, %s/" LAST_ERRORS_FILE "\n", folder);
    const char *line = strchr(text, '\n'); /* the first one says what this is */
    bool earlier = false;
    for (line = line == NULL ? "" : line + 1; *line != '\0';) {
        size_t length = strcspn(line, "\n");
        bool was = is_earlier(line, length, clock_unix_ms());
        if (was && !earlier)
            puts("  (not again within the last hour:)");
        earlier = was;
        if (length > 0) {
            fputs("  ", stdout);
            plain_write(stdout, line, length);
            putchar('\n');
        }
        line += length + (line[length] == '\n' ? 1 : 0);
    }
    free(text);
}

void print_last_errors(const struct config *config)
{
    char folder[CONFIG_FOLDER];
    const char *beside = config_folder(folder), *state = config == NULL ? NULL : config->state_dir;
    if (state != NULL)
        print_file(state);
    if (beside != NULL && (state == NULL || strcmp(beside, state) != 0))
        print_file(beside);
}

void keep_refused_configuration(void)
{
    struct strings faults;
    struct error why = {0};
    config_free(config_load_all(&faults, &why));
    errors_keep(NULL);
    log_observe(NULL, NULL); /* only what follows */
    for (size_t i = 0; i <= faults.count; i++) {
        char line[sizeof why.text + 64];
        const char *words = i < faults.count ? faults.at[i] : faults.count == 0 ? why.text : "";
        int length = snprintf(line, sizeof line, "error msg=configuration_refused %.*s", (int)sizeof why.text, words);
        if (words[0] != '\0')
            last_errors_note(NULL, LEVEL_ERROR, line, (size_t)length);
    }
    last_errors_flush(true);
    last_errors_open(NULL, 0);
    strings_free(&faults);
}
