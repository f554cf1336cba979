/* transform: events on stdin, messages on stdout. For trying out rules, for pipes, and to see what RudderStack gets. */
#include "commands/commands_private.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/escape.h"
#include "commands/commands.h"
#include "config/config.h"
#include "forward/forward.h"
#include "transform/transform.h"
#include "transform/warehouse.h"

/* ---- splitting the input: counts brackets outside of strings, and nothing else of JSON ---- */

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* Hands over the bytes from start to scanned; the next value begins behind them. */
static void emit_value(struct stream *stream)
{
    struct piece piece = {
        .text = stream->pending.data + stream->start,
        .length = stream->scanned - stream->start,
        .line = stream->first_line,
        .from = stream->start,
    };
    stream->found(stream->context, &piece);
    stream->start = stream->scanned;
    stream->depth = 0;
    stream->in_string = false;
    stream->escaped = false;
}

static void scan_string(struct stream *stream, char c)
{
    if (stream->escaped)
        stream->escaped = false;
    else if (c == '\\')
        stream->escaped = true;
    else if (c == '"')
        stream->in_string = false;
}

static void scan_structure(struct stream *stream, char c)
{
    if (c == '"') {
        stream->in_string = true;
    } else if (c == '{' || c == '[') {
        stream->depth++;
    } else if (c == '}' || c == ']') {
        stream->depth--;
        if (stream->depth == 0)
            emit_value(stream);
    }
}

static void scan_pending(struct stream *stream)
{
    while (stream->scanned < stream->pending.length) {
        char c = stream->pending.data[stream->scanned++];
        if (stream->in_string) {
            scan_string(stream, c);
        } else if (stream->depth > 0 || c == '{' || c == '[') {
            scan_structure(stream, c);
        } else if (!is_blank(c)) { /* no event begins so: the rest of the line is handed over whole */
            stream->scanned = stream->pending.length;
            emit_value(stream);
        }
    }
}

/* JSON has no newline within a string. In a line that began the value it is the line that is broken; in a value printed
 * over many lines the quotes of the next line are better taken as they look. */
static void end_of_line(struct stream *stream)
{
    if (stream->in_string && stream->first_line == stream->lines)
        emit_value(stream);
    stream->in_string = false;
    stream->escaped = false;
    if (stream->depth == 0) {
        buffer_clear(&stream->pending);
        stream->start = 0;
        stream->scanned = 0;
    }
}

/* True for a line that is an event by itself: then a value still open is a broken one, for no member looks like that.
 */
static bool is_event(const char *line, size_t length)
{
    while (length > 0 && is_blank(line[length - 1]))
        length--;
    while (length > 0 && is_blank(*line)) {
        line++;
        length--;
    }
    if (length < 2 || line[0] != '{' || line[length - 1] != '}')
        return false;
    struct parsed *parsed = transform_parse(line, length, NULL, NULL);
    bool is = parsed != NULL;
    parsed_free(parsed);
    return is;
}

bool stream_feed(struct stream *stream, const char *line, size_t length)
{
    stream->lines++;
    if (stream->depth > 0 && is_event(line, length)) {
        emit_value(stream);
        end_of_line(stream);
    }
    if (stream->pending.length == 0)
        stream->first_line = stream->lines;
    buffer_append(&stream->pending, line, length);
    if (stream->pending.failed)
        return false;
    scan_pending(stream);
    end_of_line(stream);
    return true;
}

void stream_end(struct stream *stream)
{
    if (stream->depth > 0 && !stream->pending.failed)
        emit_value(stream);
    buffer_free(&stream->pending);
}

/* ---- transform ---- */

struct transform_work {
    struct rules rules;
    struct buffer message;
    struct warehouse *warehouse; /* NULL: the messages themselves are printed */
    struct buffer row;
    size_t pieces;
    size_t bad;
};

static void report_piece(struct transform_work *work, const struct piece *piece, const char *reason)
{
    work->bad++;
    if (piece->from == 0)
        fprintf(stderr, "line %zu: %s\n", piece->line, reason);
    else
        fprintf(stderr, "line %zu, from byte %zu on: %s\n", piece->line, piece->from + 1, reason);
}

static void report_dropped(const struct parsed *parsed, const struct piece *piece)
{
    const char *id = transform_event_id(parsed);
    char quoted[LOG_QUOTED];
    const char *name = transform_event_name(parsed);
    fprintf(stderr, "line %zu: dropped by keep and drop: %s", piece->line, log_quote(quoted, name, strlen(name)));
    if (id != NULL)
        fprintf(stderr, " %s", log_quote(quoted, id, strlen(id)));
    fputc('\n', stderr);
}

/* Returns false when out of memory. */
static bool print_message(struct transform_work *work)
{
    if (work->warehouse == NULL) {
        fwrite(work->message.data, 1, work->message.length, stdout);
        putchar('\n');
        return true;
    }
    buffer_clear(&work->row);
    if (!warehouse_describe(work->warehouse, work->message.data, work->message.length, &work->row))
        return false;
    for (size_t at = 0; at < work->row.length;) { /* names come from events: nothing in them may steer a terminal */
        size_t line = (size_t)((char *)memchr(work->row.data + at, '\n', work->row.length - at) - work->row.data) - at;
        plain_write(stdout, work->row.data + at, line);
        putchar('\n');
        at += line + 1;
    }
    return true;
}

/* The message about the person, where the event has one. Returns false when out of memory. */
static bool print_person(struct transform_work *work, const struct parsed *parsed)
{
    buffer_clear(&work->message);
    enum transform_result result = transform_person(parsed, &work->rules, false, &work->message);
    return result == TRANSFORM_DROPPED || (result == TRANSFORM_OK && print_message(work));
}

static void take_piece(void *context, const struct piece *piece)
{
    struct transform_work *work = context;
    struct error why = {0};
    work->pieces++;
    struct parsed *parsed = transform_parse_for(piece->text, piece->length, &work->rules, NULL, &why);
    if (parsed == NULL) {
        report_piece(work, piece, why.text);
        return;
    }
    buffer_clear(&work->message);
    switch (transform_message(parsed, &work->rules, false, &work->message)) {
    case TRANSFORM_OK:
        if (!print_message(work) || !print_person(work, parsed))
            report_piece(work, piece, "out of memory");
        break;
    case TRANSFORM_DROPPED:
        report_dropped(parsed, piece);
        break;
    case TRANSFORM_FAILED:
        report_piece(work, piece, "out of memory");
        break;
    }
    parsed_free(parsed);
}

/* Feeds all of stdin to the stream, a line at a time, through a FILE of its own, so that nothing is left in stdin's
 * buffer. Returns false, and stderr says why, when stdin could not be read to its end. */
static bool read_events(struct transform_work *work)
{
    int fd = dup(STDIN_FILENO);
    FILE *in = fd < 0 ? NULL : fdopen(fd, "r");
    if (in == NULL) {
        fprintf(stderr, "transform: stdin: %s\n", strerror(errno));
        if (fd >= 0)
            close(fd);
        return false;
    }
    struct stream stream = {.found = take_piece, .context = work};
    char *line = NULL;
    size_t capacity = 0;
    ssize_t length;
    bool fed = true;
    errno = 0;
    while (fed && !ferror(stdout) && (length = getline(&line, &capacity, in)) >= 0)
        fed = stream_feed(&stream, line, (size_t)length);
    bool read_error = fed && ferror(in);
    if (!fed)
        fprintf(stderr, "transform: out of memory\n");
    else if (read_error)
        fprintf(stderr, "transform: stdin: %s\n", strerror(errno));
    stream_end(&stream);
    free(line);
    fclose(in);
    return fed && !read_error;
}

static int transform_events(const struct rules *rules, struct warehouse *warehouse)
{
    struct transform_work work = {.rules = *rules, .warehouse = warehouse};
    if (isatty(STDIN_FILENO))
        fprintf(stderr, "transform: reading events from the terminal; Ctrl-D ends them\n");
    bool complete = read_events(&work);
    buffer_free(&work.message);
    buffer_free(&work.row);
    if (complete && work.pieces == 0)
        fprintf(stderr, "transform: there was no event on stdin\n");
    return complete && work.pieces > 0 && work.bad == 0 ? COMMAND_OK : COMMAND_FAILED;
}

/* Transforms by the rules of the source of that name (NULL: the only one, or none where nothing is configured). */
static int transform_for(const char *name, struct warehouse *warehouse, const char *command)
{
    bool missing = false;
    struct config *config = session_configuration_if_any(command, name == NULL ? &missing : NULL);
    if (config == NULL)
        return missing ? transform_events(&(struct rules){0}, warehouse) : COMMAND_CONFIGURATION;
    const struct source *source = session_source(config, name, command);
    struct rules rules = source == NULL ? (struct rules){0} : forward_rules(source);
    int code = source == NULL ? COMMAND_USAGE_SAID : transform_events(&rules, warehouse);
    config_free(config);
    return code;
}

/* Says which warehouses are known. */
static int refuse_warehouse(const char *command, const char *kind)
{
    fprintf(stderr, "%s: --warehouse %s is not known; there is:", command, kind);
    for (size_t i = 0; warehouse_name(i) != NULL; i++)
        fprintf(stderr, " %s", warehouse_name(i));
    fputc('\n', stderr);
    return COMMAND_USAGE;
}

int command_transform(int argc, char **argv)
{
    const char *name = NULL, *kind = NULL;
    const struct option_spec specs[] = {{"--source", &name, NULL}, {"--warehouse", &kind, NULL}};
    if (!options_read(argc, argv, specs, 2, NULL))
        return COMMAND_USAGE;
    struct warehouse *warehouse = kind == NULL ? NULL : warehouse_new(kind);
    if (kind != NULL && warehouse == NULL)
        return refuse_warehouse(argv[0], kind);
    int code = transform_for(name, warehouse, argv[0]);
    warehouse_free(warehouse);
    return code;
}
