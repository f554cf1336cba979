/* Reading a configuration: the file's lines, the environment, then what only the whole can show. */
#include "config/internal.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Makes a path absolute without resolving links: people shall recognize it in reasons. NULL: no memory. */
static char *absolute(const char *path)
{
    if (path[0] == '/')
        return strdup(path);
    char *folder = getcwd(NULL, 0);
    char *whole = NULL;
    if (folder != NULL && asprintf(&whole, "%s/%s", folder, path) < 0)
        whole = NULL;
    free(folder);
    return whole;
}

static bool read_all(struct config *config, const char *path, char *const environment[], struct error *why)
{
    if (path != NULL) {
        config->path = absolute(path);
        if (config->path == NULL) {
            error_set(why, "%.300s: could not be read: out of memory", path);
            return false;
        }
        if (!lines_read(config, why))
            return false;
    }
    if (!environment_read(config, environment, why))
        return false;
    if (config->sources == 0 && !sources_add(config, "default", 0)) {
        error_set(why, "the configuration could not be read: out of memory");
        return false;
    }
    return apply_settings(config, why) && validate_config(config, why);
}

struct config *config_read(const char *path, char *const environment[], struct error *why)
{
    struct config *config = calloc(1, sizeof *config);
    if (config == NULL) {
        error_set(why, "the configuration could not be read: out of memory");
        return NULL;
    }
    if (!read_all(config, path, environment, why)) {
        config_free(config);
        return NULL;
    }
    return config;
}
