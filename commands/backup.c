/* backup and restore: queue, keys and the notes about Close to one file, while all of them are in use, and back from
 * it. */
#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/files.h"
#include "base/log.h"
#include "base/text.h"
#include "base/times.h"
#include "closeapi/subscriptions.h"
#include "commands/commands.h"
#include "commands/commands_private.h"
#include "config/config.h"
#include "config/keyring.h"
#include "queue/inspect.h"

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

/* ---- restore: puts a backup back, into a state directory that has no events. What was there stays until one rename at
 * the end; called again after it was killed, it goes through. ---- */

#define PATIENCE_MS 8000 /* with Close, about the keys of a source */

enum key_fate {
    KEY_NONE,    /* the file is no key */
    KEY_GOOD,    /* Close has its subscription */
    KEY_GONE,    /* Close has it no more */
    KEY_UNKNOWN, /* Close cannot be asked */
};

#define KEY_TEXT 128

struct restore_key {
    enum key_fate fate;
    char source[KEY_TEXT];
    char subscription[KEY_TEXT];
    struct error why; /* of UNKNOWN */
};

struct restore {
    struct config *config;
    const char *command;
    const char *path;
    bool all_keys; /* --keys */
    struct backup *backup;
    struct strings sources;
    struct backup_files files;
    struct restore_key *keys; /* of each file */
    int lock;
};

/* The state directory may be missing: then it is created, as the program would, but not by root. */
static bool prepare_restore(struct restore *restore, struct error *why)
{
    log_open(LEVEL_ERROR);
    if (restore->config->queue != QUEUE_SQLITE) {
        error_set(why, restore->config->queue == QUEUE_NONE
                           ? "queue = none keeps nothing, so that nothing can be put back"
                           : "this queue is in PostgreSQL, whose own tools put dumps back: pg_restore");
        return false;
    }
    if (session_may_open(restore->config, why))
        return true;
    const char *state_dir = restore->config->state_dir;
    if (why->kind == ERROR_MISSING) /* it was moved aside for this: root must not make it */
        error_set(why,
                  "there is no state directory %.150s: run this as the user as which the program runs, or make it "
                  "before: install -d -m 700 -o USER '%.150s'",
                  state_dir, state_dir);
    return false;
}

static bool read_backup(struct restore *restore, struct error *why)
{
    restore->backup = backup_open(restore->path, why);
    if (restore->backup == NULL || !backup_sources(restore->backup, &restore->sources, why) ||
        !backup_read_files(restore->backup, &restore->files, why))
        return false;
    restore->keys = calloc(restore->files.count + 1, sizeof *restore->keys);
    if (restore->keys == NULL)
        error_set(why, "out of memory");
    return restore->keys != NULL;
}

static bool read_key_file(const struct backup_file *file, struct restore_key *key)
{
    return strncmp(file->name, "keys/", 5) == 0 &&
           files_value(file->bytes, "source", key->source, sizeof key->source) &&
           files_value(file->bytes, "subscription", key->subscription, sizeof key->subscription);
}

/* Judges the keys of one source. */
static void judge_keys_of_source(const struct config *config, const struct source *source, struct restore_key *keys,
                                 size_t count)
{
    static const struct close_options options = {.patience_ms = PATIENCE_MS, .stop_fd = -1};
    struct subscriptions list = {0};
    struct error why = {0};
    struct close_client *client = close_client_new(config, source, &options, &why);
    bool asked = client != NULL && subscriptions_list(client, &list, &why) == CLOSE_DONE;
    for (size_t i = 0; i < count; i++) {
        if (keys[i].fate != KEY_UNKNOWN || strcmp(keys[i].source, source->name) != 0)
            continue;
        if (asked)
            keys[i].fate = subscriptions_find(&list, keys[i].subscription) != NULL ? KEY_GOOD : KEY_GONE;
        else
            keys[i].why = why;
    }
    subscriptions_free(&list);
    close_client_free(client);
}

static void judge_keys(const struct config *config, const struct backup_files *files, struct restore_key *keys)
{
    bool any[64] = {false}; /* of the first sources; of more Close is asked in any case */
    for (size_t i = 0; i < files->count; i++) {
        keys[i] = (struct restore_key){.fate = KEY_NONE};
        if (!read_key_file(&files->at[i], &keys[i]))
            continue;
        keys[i].fate = KEY_UNKNOWN;
        const struct source *source = config_source(config, keys[i].source);
        if (source == NULL)
            error_set(&keys[i].why, "source %.60s is not in the configuration", keys[i].source);
        else if (source->close_api_key == NULL)
            error_set(&keys[i].why, "source %.60s has no close_api_key", keys[i].source);
        else if ((size_t)(source - config->source) < sizeof any / sizeof *any)
            any[source - config->source] = true;
    }
    for (size_t i = 0; i < config->sources; i++) {
        if (config->source[i].close_api_key != NULL && (i >= sizeof any / sizeof *any || any[i]))
            judge_keys_of_source(config, &config->source[i], keys, files->count);
    }
}

/* While Close cannot confirm that a subscription still exists, whoever has its key may have lost the right to sign:
 * only the operator can decide. */
static bool keys_are_judged(struct restore *restore, struct error *why)
{
    size_t unknown = 0;
    judge_keys(restore->config, &restore->files, restore->keys);
    for (size_t i = 0; i < restore->files.count; i++) {
        struct restore_key *key = &restore->keys[i];
        if (key->fate != KEY_UNKNOWN)
            continue;
        if (restore->all_keys)
            key->fate = KEY_GOOD;
        else if (unknown++ == 0)
            fputs("Whether Close still has these subscriptions is not known:\n", stderr);
        if (!restore->all_keys)
            fprintf(stderr, "  %s of source %s: %s\n", key->subscription, key->source, key->why.text);
    }
    if (unknown > 0)
        error_set(why, "nothing was changed; to take on their keys in any case, call this again with --keys");
    return unknown == 0;
}

static bool note_losses(const struct restore *restore, struct error *why)
{
    char date[WHEN_SIZE];
    struct loss loss = {.from_ms = backup_made_ms(restore->backup), .until_ms = clock_unix_ms()};
    snprintf(loss.words, sizeof loss.words, "a backup of %s was put back", times_print_utc(loss.from_ms, date));
    for (size_t i = 0; i < restore->sources.count; i++) {
        if (!loss_note(restore->config->state_dir, restore->sources.at[i], &loss, why))
            return false;
    }
    return true;
}

/* Files that are there already stay. */
static bool put_files(const struct restore *restore, struct error *why)
{
    const char *state_dir = restore->config->state_dir;
    for (size_t i = 0; i < restore->files.count; i++) {
        const struct backup_file *file = &restore->files.at[i];
        bool there;
        if (restore->keys[i].fate == KEY_GONE)
            continue;
        if (!backup_file_put(state_dir, file, &there, why))
            return false;
        if (there && strncmp(file->name, "closeapi/", 9) == 0)
            printf("%s is there already, and stays as it is\n", file->name);
    }
    for (size_t i = 0; i < restore->files.count; i++) {
        const struct restore_key *key = &restore->keys[i];
        if (key->fate != KEY_GONE)
            continue;
        printf("the key of subscription %s is left out: Close has it no more\n", key->subscription);
        if (!signed_forget(state_dir, key->source, key->subscription, why))
            return false;
    }
    return true;
}

/* The losses first: from then on no report claims a completeness that the backup does not have. */
static bool put_backup_back(struct restore *restore, struct error *why)
{
    const char *state_dir = restore->config->state_dir;
    bool busy;
    restore->lock = backup_lock(state_dir, &busy, why);
    if (busy)
        session_print_holders(restore->config, stderr);
    return restore->lock >= 0 && backup_build(restore->backup, state_dir, why) && note_losses(restore, why) &&
           put_files(restore, why) && backup_commit(state_dir, why);
}

static void free_restore(struct restore *restore)
{
    if (restore->lock >= 0)
        close(restore->lock);
    backup_close(restore->backup);
    queue_names_free(&restore->sources);
    backup_files_free(&restore->files);
    free(restore->keys);
    config_free(restore->config);
}

static size_t count_keys(const struct restore *restore)
{
    size_t count = 0;
    for (size_t i = 0; i < restore->files.count; i++)
        count += restore->keys[i].fate == KEY_GOOD;
    return count;
}

static void print_restored(const struct restore *restore)
{
    char date[WHEN_SIZE], line[OWN_COMMAND];
    size_t keys = count_keys(restore);
    printf(
        "restored what there was at %s, with %zu signature key%s. What Close sent since is fetched by `reconcile`, and "
        "what was\ndelivered since may go again. Start the program; `%s` says whether all is well.\n",
        times_print_utc(backup_made_ms(restore->backup), date), keys, text_plural(keys),
        own_command(line, NULL, NULL, "check"));
}

int command_restore(int argc, char **argv)
{
    struct restore restore = {.command = argv[0], .lock = -1};
    const struct option_spec specs[] = {{"--keys", NULL, &restore.all_keys}};
    struct error why = {0};
    if (!options_read(argc, argv, specs, 1, &restore.path))
        return COMMAND_USAGE;
    if (restore.path == NULL || restore.path[0] == '\0')
        return options_wrong(argv[0], "which file?");
    restore.config = session_configuration(argv[0]);
    if (restore.config == NULL)
        return COMMAND_CONFIGURATION;
    bool good = prepare_restore(&restore, &why) && read_backup(&restore, &why) && keys_are_judged(&restore, &why) &&
                put_backup_back(&restore, &why);
    if (good)
        print_restored(&restore);
    free_restore(&restore);
    return good ? COMMAND_OK : session_failed(argv[0], &why);
}
