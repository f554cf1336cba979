/* queue show and dead show: one event as it came, and below it the message that it makes, without what the source's
 * `remove` names: personal data stays out of sight here too. */
#include "commands/view.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/escape.h"
#include "base/json_walk.h"
#include "base/text.h"
#include "base/times.h"
#include "commands/child_transform.h"
#include "commands/commands.h"
#include "commands/options.h"
#include "commands/session.h"
#include "forward/forward.h"
#include "transform/shown.h"

#define LETTER_BYTES ((size_t)1 << 20) /* the first always comes */

/* A newline of the layout comes in a call of its own; within a token it would be a control character. */
static void write_layout(void *context, const char *text, size_t length)
{
    if (length == 1 && *text == '\n')
        fputc('\n', context);
    else
        plain_write(context, text, length);
}

static struct layout layout_for_terminal(FILE *out)
{
    return (struct layout){.write = write_layout, .context = out};
}

bool view_layout(FILE *out, const char *text, size_t length, const char *const *paths, size_t count, size_t *removed)
{
    const struct layout layout = layout_for_terminal(out);
    bool good = layout_text(&layout, text, length, paths, count, removed);
    fputc('\n', out);
    return good;
}

/* The rules that hide members: the source's `remove`, or every source's (NULL). Borrows the paths from the
 * configuration; *paths is the caller's to free. */
static bool find_rules(struct rules *rules, char ***paths, const struct config *config, const struct source *source)
{
    size_t most = 1, count = 0;
    for (size_t i = 0; i < config->sources; i++)
        most += config->source[i].remove.count;
    *paths = calloc(most, sizeof **paths);
    for (size_t i = 0; *paths != NULL && i < config->sources; i++) {
        const struct strings *remove = &config->source[i].remove;
        for (size_t path = 0; (source == NULL || source == &config->source[i]) && path < remove->count; path++)
            (*paths)[count++] = remove->at[path];
    }
    *rules = (struct rules){.remove = *paths, .removes = count};
    return *paths != NULL;
}

static void write_incoming(const struct rules *rules, const char *body, size_t length)
{
    const struct layout layout = layout_for_terminal(stdout);
    size_t removed;
    printf("as it came, %zu bytes:\n", length);
    if (shown_write(body, length, rules, &layout, &removed))
        putchar('\n');
    else
        puts("(not shown: what `remove` names cannot be found in it)");
    if (removed > 0)
        printf("(without %zu member%s that `remove` names, which stay%s out of sight)\n", removed, text_plural(removed),
               text_singular(removed));
}

static void write_message(const char *source_name, const struct source *source, const char *body, size_t length)
{
    struct buffer message = {NULL, 0, 0, false};
    char line[OWN_COMMAND];
    struct rules rules = {.keeps = 0};
    struct error why = {0};
    size_t removed;
    if (source != NULL)
        rules = forward_rules(source);
    enum child_result result = child_transform_message(body, length, source == NULL ? NULL : &rules, &message, &why);
    if (result == CHILD_UNUSABLE) {
        printf("it makes no message: %s\n", why.text);
    } else if (result == CHILD_FAILED) {
        printf("the message that it makes cannot be shown: %s\n", why.text);
    } else if (source == NULL) {
        printf("it makes no message: no source %s is configured; `%s` gives it to another\n", source_name,
               own_command(line, NULL, NULL, "queue move %s NEW", source_name));
    } else if (result == CHILD_DROPPED) {
        puts("it makes no message: keep and drop leave it out");
    } else {
        puts("the message that it makes:");
        view_layout(stdout, message.data, message.length, NULL, 0, &removed);
    }
    buffer_free(&message);
}

/* Prints the body, and below it the message that it makes. source: its name, configured or not; of one that is not,
 * what any source removes stays out of sight. Returns false with the reason when memory ran out. */
static bool show_body(const struct config *config, const char *source_name, const char *body, size_t length,
                      struct error *why)
{
    const struct source *source = config_source(config, source_name);
    struct rules rules;
    char **paths;
    bool good = find_rules(&rules, &paths, config, source);
    if (good) {
        write_incoming(&rules, body, length);
        putchar('\n');
        fflush(stdout);
        write_message(source_name, source, body, length);
    } else {
        error_set(why, "out of memory");
    }
    free(paths);
    return good;
}

/* ---- queue show ---- */

static bool show_event(const struct config *config, const char *source, const struct event *event, struct error *why)
{
    char date[WHEN_SIZE];
    printf("event %" PRIu64 " of source %s, received %s%s\n\n", event->id, source,
           times_print_utc(event->received_ms, date), event->replay ? ", the replay of a dead letter" : "");
    return show_body(config, source, event->body, event->length, why);
}

int command_queue_show(int argc, char **argv)
{
    const char *source = NULL;
    const struct option_spec specs[] = {{"--source", &source, NULL}};
    char name[SESSION_SOURCE];
    struct events events = {NULL, 0, 0, {NULL, 0, 0, false}};
    uint64_t id;
    struct session session;
    struct error why = {0};
    if (!options_read_id(argc, argv, specs, 1, "which event? Give the number that `queue list` shows", &id))
        return COMMAND_USAGE;
    if (!session_open(&session, argv[0]))
        return session.code;
    bool good = session_find_event(session.queue, id, source, name, &events, &why);
    queue_close(session.queue); /* what is shown is a copy: the terminal may take its time */
    session.queue = NULL;
    good = good && show_event(session.config, name, &events.at[0], &why);
    events_free(&events);
    session_close(&session);
    return good ? COMMAND_OK : session_failed(argv[0], &why);
}

/* ---- dead show ---- */

static bool show_letter(const struct config *config, const struct letter *letter, struct error *why)
{
    char date[WHEN_SIZE];
    printf("dead letter %" PRIu64 " of source %s\n", letter->id, letter->source);
    printf("received  %s\n", times_print_utc(letter->received_ms, date));
    printf("died      %s%s\n", times_print_utc(letter->died_ms, date), letter->replayed ? ", on its way again" : "");
    fputs("reason    ", stdout);
    plain_column(stdout, letter->reason, 0);
    fputs("\n\n", stdout);
    return show_body(config, letter->source, letter->body, letter->length, why);
}

int command_dead_show(int argc, char **argv)
{
    uint64_t id;
    struct session session;
    struct letters letters = {NULL, 0, 0, {NULL, 0, 0, false}};
    struct error why = {0};
    if (!options_read_id(argc, argv, NULL, 0, "which dead letter? Give the number that `dead list` shows", &id))
        return COMMAND_USAGE;
    if (!session_open(&session, argv[0]))
        return session.code;
    int found = queue_letters(session.queue, NULL, id - 1, 1, LETTER_BYTES, &letters, &why);
    queue_close(session.queue); /* what is shown is a copy: the terminal may take its time */
    session.queue = NULL;
    if (found == 0 || (found > 0 && letters.at[0].id != id)) {
        error_set(&why, "there is no dead letter %" PRIu64 " (any more)", id);
        found = 0;
    }
    bool good = found > 0 && show_letter(session.config, &letters.at[0], &why);
    letters_free(&letters);
    session_close(&session);
    return good ? COMMAND_OK : session_failed(argv[0], &why);
}
