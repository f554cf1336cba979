/* Where the last errors are kept: see errors_kept.h. */
#include "process/errors_kept.h"

#include <stdlib.h>

#include "base/last_errors.h"
#include "base/log.h"

/* The folders that may be used. */
static size_t find_places(const struct config *config, char folder[static CONFIG_FOLDER],
                          const char *places[static LAST_ERRORS_PLACES])
{
    size_t count = 0;
    if (config != NULL && config->queue == QUEUE_SQLITE && config->state_dir != NULL)
        places[count++] = config->state_dir;
    const char *beside = config_folder(folder);
    if (beside != NULL)
        places[count++] = beside;
    return count;
}

void errors_keep(const struct config *config)
{
    char folder[CONFIG_FOLDER];
    const char *places[LAST_ERRORS_PLACES], *good[LAST_ERRORS_PLACES];
    size_t count = find_places(config, folder, places), used = 0;
    for (size_t i = 0; i < count; i++) {
        if (!config_looks_shown(places[i]) && !config_would_show(places[i], getenv("DOCUMENT_ROOT")))
            good[used++] = places[i];
    }
    last_errors_open(good, used);
    log_observe(last_errors_note, NULL);
}

void errors_avoid(const struct config *config, const char *document_root)
{
    char folder[CONFIG_FOLDER];
    const char *places[LAST_ERRORS_PLACES];
    size_t count = find_places(config, folder, places);
    for (size_t i = 0; i < count; i++) {
        if (config_would_show(places[i], document_root))
            last_errors_leave(places[i]);
    }
}

const char *errors_where(void)
{
    return last_errors_is_kept() ? LAST_ERRORS_FILE " (in state_dir, or beside the configuration)"
                                 : "the web server's error log";
}
