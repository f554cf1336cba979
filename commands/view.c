/* queue show and dead show: one event as it came, and below it the message that it makes, without what the source's
 * `remove` names: personal data stays out of sight here too. */
#include "commands/commands_private.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/escape.h"
#include "base/files.h"
#include "base/json.h"
#include "base/text.h"
#include "base/times.h"
#include "commands/commands.h"
#include "forward/forward.h"
#include "transform/shown.h"

/* ---- transforming in a child ---- */

#define SECONDS_MOST 20
#define MEMORY_MOST ((rlim_t)4 << 30)

/* What the child writes first; the message follows, up to the end of the pipe. */
struct child_answer {
    enum child_result result;
    struct identity identity;
    struct error why;
};

static void limit_resource(int what, rlim_t most)
{
    struct rlimit now;
    if (getrlimit((__rlimit_resource_t)what, &now) != 0 || now.rlim_cur <= most)
        return;
    now.rlim_cur = most;
    setrlimit((__rlimit_resource_t)what, &now);
}

static void limit_child(void)
{
    limit_resource(RLIMIT_CPU, SECONDS_MOST);
    limit_resource(RLIMIT_CORE, 0);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) /* they reserve terabytes of addresses */
    limit_resource(RLIMIT_AS, MEMORY_MOST);
#endif
}

/* What the child does. Ends its process. */
static _Noreturn void run_child(int fd, const char *body, size_t length, const struct rules *rules)
{
    struct child_answer answer = {.result = CHILD_MESSAGE};
    struct buffer message = {0};
    bool out_of_memory = false;
    limit_child();
    struct parsed *parsed = transform_parse_for(body, length, rules, &out_of_memory, &answer.why);
    if (parsed == NULL)
        answer.result = out_of_memory ? CHILD_FAILED : CHILD_UNUSABLE;
    enum transform_result result = TRANSFORM_OK;
    if (parsed != NULL)
        answer.identity = *transform_identity(parsed);
    if (parsed != NULL && rules != NULL)
        result = transform_message(parsed, rules, false, &message);
    if (result == TRANSFORM_DROPPED)
        answer.result = CHILD_DROPPED;
    if (result == TRANSFORM_FAILED) {
        answer.result = CHILD_FAILED;
        error_set(&answer.why, "out of memory");
    }
    bool written = files_write_all(fd, &answer, sizeof answer) && files_write_all(fd, message.data, message.length);
    _exit(written ? 0 : 1);
}

static bool read_answer(int fd, struct child_answer *answer, struct buffer *out)
{
    bool whole = files_read_all(fd, answer, sizeof *answer) == (ssize_t)sizeof *answer;
    for (ssize_t n = 1; whole && n > 0;) {
        char piece[16384];
        n = files_read_all(fd, piece, sizeof piece);
        whole = n >= 0;
        buffer_append(out, piece, n > 0 ? (size_t)n : 0);
    }
    return whole && !out->failed;
}

/* Waits for the child. Returns whether it ended well, else why not. */
static bool wait_for_child(pid_t child, struct error *why)
{
    int status = 0;
    pid_t waited;
    do
        waited = waitpid(child, &status, 0);
    while (waited < 0 && errno == EINTR);
    if (waited == child && WIFSIGNALED(status))
        error_set(why, "making it crashes the program (signal %d, %s): please report this fault", WTERMSIG(status),
                  strsignal(WTERMSIG(status)));
    else
        error_set(why, "out of memory");
    return waited == child && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static enum child_result transform_in_child(const char *body, size_t length, const struct rules *rules,
                                            struct buffer *out, struct child_answer *answer)
{
    struct error *why = &answer->why;
    size_t before = out->length;
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) {
        error_set(why, "no process can be had to make it in: %s", strerror(errno));
        return CHILD_FAILED;
    }
    pid_t child = fork();
    if (child == 0)
        run_child(ends[1], body, length, rules);
    int error = errno;
    close(ends[1]);
    bool whole = child > 0 && read_answer(ends[0], answer, out);
    close(ends[0]);
    struct error ending = {0};
    if (child > 0 && wait_for_child(child, &ending) && whole)
        return answer->result;
    out->length = before;
    if (child < 0)
        error_set(why, "no process can be had to make it in: %s", strerror(error));
    else
        *why = ending;
    return CHILD_FAILED;
}

enum child_result child_transform_message(const char *body, size_t length, const struct rules *rules,
                                          struct buffer *out, struct error *why)
{
    struct child_answer answer = {.result = CHILD_FAILED};
    enum child_result result = transform_in_child(body, length, rules, out, &answer);
    *why = answer.why;
    return result;
}

enum child_result child_transform_identity(const char *body, size_t length, struct identity *identity,
                                           struct error *why)
{
    struct child_answer answer = {.result = CHILD_FAILED};
    struct buffer nothing = {0};
    enum child_result result = transform_in_child(body, length, NULL, &nothing, &answer);
    *identity = answer.identity;
    *why = answer.why;
    buffer_free(&nothing);
    return result;
}

/* ---- showing ---- */

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
    if (found == 0 || (found > 0 && letters.at[0].id != id)) {
        error_set(&why, "there is no dead letter %" PRIu64 " (any more)", id);
        session_missed(&session, argv[0], NULL, COMMAND_FAILED);
        found = 0;
    }
    queue_close(session.queue); /* what is shown is a copy: the terminal may take its time */
    session.queue = NULL;
    bool good = found > 0 && show_letter(session.config, &letters.at[0], &why);
    letters_free(&letters);
    session_close(&session);
    return good ? COMMAND_OK : session_failed(argv[0], &why);
}
