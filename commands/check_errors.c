/* The last errors, shown: see check_errors.h. */
#include "commands/check_errors.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/escape.h"
#include "base/last_errors.h"
#include "process/errors_kept.h"

static void print_file(const char *folder)
{
    char *text = last_errors_read(folder);
    if (text == NULL)
        return;
    printf("\nlast errors, %s/" LAST_ERRORS_FILE "\n", folder);
    const char *line = strchr(text, '\n'); /* the first one says what this is */
    for (line = line == NULL ? "" : line + 1; *line != '\0';) {
        size_t length = strcspn(line, "\n");
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
