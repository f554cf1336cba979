/* Counts brackets outside of strings, and nothing else of JSON: see stream.h. */
#include "commands/stream.h"

#include "transform/transform.h"

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
