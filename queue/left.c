/* What is left in a queue that the configuration named before: queue_left and queue_left_forget of inspect.h, and the
 * names under which a state directory notes the databases that it has worked with. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/files.h"
#include "base/program_name.h"
#include "base/text.h"
#include "queue/engine.h"
#include "queue/migration.h"

#define MAIN "main" /* of the top level's queue_url, whatever that is; those of sources go by their places */
#define NOTED_ORIGIN 40

void queue_note_name(const struct config *config, const char *place, char name[static NOTE_NAME])
{
    if (!config->is_of_route)
        snprintf(name, NOTE_NAME, MAIN);
    else
        snprintf(name, NOTE_NAME, "at-%016" PRIx64, (uint64_t)text_hash(TEXT_HASH, place, strlen(place)));
}

/* A line of the notes. */
struct noted {
    char name[NOTE_NAME], origin[NOTED_ORIGIN], place[MIGRATION_PLACE];
};

/* Returns false where the line names no database: the queue was moved away from there. */
static bool parse_line(const char *line, size_t length, struct noted *noted)
{
    char text[MIGRATION_PLACE + 200];
    int end = 0;
    *noted = (struct noted){.name = ""};
    snprintf(text, sizeof text, "%.*s", (int)length, line);
    if (sscanf(text, "%23s = %39s %*s %*s %*s %n", noted->name, noted->origin, &end) < 2 || end == 0)
        return false;
    snprintf(noted->place, sizeof noted->place, "%.*s", MIGRATION_PLACE - 1, text + end);
    return true;
}

/* Whether the configuration names the database: that is noted under the name of one of its places. */
static bool is_configured(const struct config *config, const struct noted *noted)
{
#ifdef CLOSECRM_POSTGRESQL
    for (size_t i = 0; config->queue == QUEUE_POSTGRESQL && i < config->sources; i++) {
        struct config one = *config;
        char name[NOTE_NAME], place[MIGRATION_PLACE];
        one.is_of_route = config_has_own_queue(config, &config->source[i]);
        one.queue_url = one.is_of_route ? config->source[i].queue_url : config->queue_url;
        postgresql_migration.place(&one, place);
        queue_note_name(&one, place, name);
        if (strcmp(name, noted->name) == 0)
            return true;
    }
#endif
    (void)noted;
    return config->queue == QUEUE_POSTGRESQL && queue_engine_of(config->queue) == NULL; /* it says so itself */
}

/* Whether a configured name leads to the same queue: the host has another name now. */
static bool is_known_otherwise(const struct config *config, const char *notes, const char *origin)
{
    struct noted other;
    for (const char *line = notes; *line != '\0'; line += strcspn(line, "\n"), line += *line == '\n') {
        if (parse_line(line, strcspn(line, "\n"), &other) && strcmp(other.origin, origin) == 0 &&
            is_configured(config, &other))
            return true;
    }
    return false;
}

static bool is_left(const struct config *config, const char *notes, const char *line, struct noted *noted)
{
    return parse_line(line, strcspn(line, "\n"), noted) && !is_configured(config, noted) &&
           !is_known_otherwise(config, notes, noted->origin);
}

void queue_left(const struct config *config, struct left_behind *left)
{
    struct noted noted;
    *left = (struct left_behind){.waiting = 0};
    if (config->state_dir == NULL)
        return;
    if (!queue_left_behind(config, &left->waiting, &left->dead, &left->has_copy, &left->why) &&
        left->why.text[0] == '\0')
        error_set(&left->why, "it cannot be read");
    char *notes = files_read(config->state_dir, DATABASE_NOTES, NULL, NULL);
    for (const char *line = notes; line != NULL && *line != '\0'; line += strcspn(line, "\n"), line += *line == '\n') {
        if (!is_left(config, notes, line, &noted))
            continue;
        if (left->databases++ == 0)
            snprintf(left->database, sizeof left->database, "%s", noted.place);
    }
    free(notes);
}

/* Copies to text the lines that stay; tells of the others. Returns how many those are. */
static size_t sift(const struct config *config, const char *notes, struct buffer *text,
                   void (*tell)(void *context, const char *words), void *context)
{
    struct noted noted;
    size_t count = 0;
    char words[MIGRATION_PLACE + 200];
    for (const char *line = notes; *line != '\0'; line += strcspn(line, "\n"), line += *line == '\n') {
        if (!is_left(config, notes, line, &noted)) {
            buffer_append(text, line, strcspn(line, "\n"));
            buffer_append(text, "\n", 1);
            continue;
        }
        count++;
        snprintf(words, sizeof words, "the queue %s is not this state directory's any more: what waits there stays",
                 noted.place);
        tell(context, words);
    }
    buffer_append(text, "", 1);
    return count;
}

bool queue_left_forget(const struct config *config, void (*tell)(void *context, const char *words), void *context,
                       size_t *count, struct error *why)
{
    struct left_behind left;
    struct buffer text = {0};
    char path[FILES_PATH];
    int lock = -1;
    char words[FILES_PATH + 300];
    *count = 0;
    queue_left(config, &left);
    if (left.has_copy) {
        snprintf(
            words, sizeof words,
            "a copy of the queue that was moved from here to a database is in %.4000s/queue.db: where that database "
            "is gone for good, `%s queue migrate --give-up --gone` opens the copy, as it was then",
            config->state_dir, program_name());
        tell(context, words);
    }
    if (left.databases == 0)
        return true;
    snprintf(path, sizeof path, "%.4000s/" DATABASE_NOTES_LOCK, config->state_dir);
    int error = lock_take_within(&lock, path, DATABASE_NOTES_WAIT_MS);
    if (error != 0) {
        error_set(why, "cannot lock %.300s: %s", path, strerror(error));
        return false;
    }
    char *notes = files_read(config->state_dir, DATABASE_NOTES, NULL, why);
    if (notes != NULL)
        *count = sift(config, notes, &text, tell, context);
    if (text.failed)
        error_set(why, "out of memory");
    bool good = notes != NULL && !text.failed && files_replace(config->state_dir, DATABASE_NOTES, text.data, why);
    buffer_free(&text);
    free(notes);
    close(lock);
    return good;
}
