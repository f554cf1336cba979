/* backup: writes queue, keys and the notes about Close to one file, while all of them are in use. */
#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "commands/check_place.h"
#include "commands/commands.h"
#include "commands/options.h"
#include "commands/session.h"
#include "queue/backup.h"

/* Whether the backup would lie outside the folders that a web server shows to everybody. */
static bool is_outside(const char *path, struct error *why)
{
    char copy[PATH_MAX], folder[PATH_MAX + 1];
    snprintf(copy, sizeof copy, "%s", path);
    if (realpath(dirname(copy), folder) == NULL) {
        error_set(why, "cannot write to %.300s: %s", path, strerror(errno));
        return false;
    }
    strcat(folder, "/"); /* NOLINT: there is room for it */
    if (!config_looks_shown(folder) && !config_would_show(folder, getenv("DOCUMENT_ROOT")))
        return true;
    error_set(
        why,
        "%.300s would lie where a web server shows files to everybody, and it holds keys and customer data: choose a "
        "folder outside",
        path);
    return false;
}

static bool write_backup(const struct session *session, const char *path, struct error *why)
{
    struct backup_files files;
    int64_t made_ms = clock_unix_ms();
    if (!is_outside(path, why))
        return false;
    /* before the queue: the noted position in the Event Log must not be ahead of the events in the queue */
    if (!backup_files_gather(session->config->state_dir, &files, why))
        return false;
    bool good = queue_backup(session->queue, path, &files, made_ms, why);
    backup_files_free(&files);
    return good;
}

int command_backup(int argc, char **argv)
{
    const char *path = NULL;
    struct session session;
    struct stat status;
    struct error why = {0};
    if (!options_read(argc, argv, NULL, 0, &path))
        return COMMAND_USAGE;
    if (path == NULL || path[0] == '\0')
        return options_wrong(argv[0], "into which file?");
    if (!session_open(&session, argv[0]))
        return session.code;
    bool good = write_backup(&session, path, &why);
    session_close(&session);
    if (!good)
        return session_failed(argv[0], &why);
    printf("%s: %lld bytes; it holds keys and customer data: keep it as secret as they are\n", path,
           stat(path, &status) == 0 ? (long long)status.st_size : 0LL);
    return COMMAND_OK;
}
