/* How commands print: JSON objects, and lines for people. */
#include "commands/commands_private.h"

#include <json-c/json.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base/buffer.h"
#include "base/escape.h"
#include "base/times.h"
#include "commands/commands.h"

/* Returns the value; ends the process when it is NULL, for memory ran out. */
static struct json_object *value_or_exit(struct json_object *value)
{
    if (value != NULL)
        return value;
    fputs("closecrm.fcgi: out of memory\n", stderr);
    exit(COMMAND_FAILED);
}

void output_member(struct json_object *object, const char *name, struct json_object *member)
{
    if (json_object_object_add(object, name, member) != 0)
        value_or_exit(NULL);
}

static struct json_object *make_utf8(const char *text)
{
    char *copy = plain_utf8(text);
    struct json_object *value = copy == NULL ? NULL : json_object_new_string(copy);
    free(copy);
    return value;
}

void output_moment(const char *label, int64_t ms, int64_t now_ms)
{
    char date[WHEN_SIZE], age[WHEN_SIZE];
    if (ms == 0)
        printf("%s never\n", label);
    else
        printf("%s %s (%s ago)\n", label, times_print_utc(ms, date), times_print_age(now_ms - ms, age));
}

struct json_object *output_new(void)
{
    return value_or_exit(json_object_new_object());
}

void output_text(struct json_object *object, const char *name, const char *text)
{
    output_member(object, name, text == NULL ? NULL : value_or_exit(make_utf8(text)));
}

void output_number(struct json_object *object, const char *name, uint64_t number)
{
    output_member(object, name, value_or_exit(json_object_new_uint64(number)));
}

void output_bool(struct json_object *object, const char *name, bool value)
{
    output_member(object, name, value_or_exit(json_object_new_boolean(value)));
}

void output_ms(struct json_object *object, const char *name, int64_t ms)
{
    char date[WHEN_SIZE];
    output_text(object, name, ms == 0 ? NULL : times_print_utc(ms, date));
}

void output_us(struct json_object *object, const char *name, int64_t us)
{
    char date[DATE_PRINTED];
    output_text(object, name, us == 0 ? NULL : times_print(us, DATE_MILLISECONDS, date));
}

void output_print(struct json_object *object)
{
    const char *text = json_object_to_json_string_ext(object, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);
    puts(text == NULL ? "null" : text);
    json_object_put(object);
}

struct json_object *output_event(uint64_t id, const char *source, const struct headline *headline, size_t bytes)
{
    struct json_object *object = output_new();
    output_number(object, "id", id);
    output_text(object, "source", source);
    output_text(object, "event", headline->name);
    output_text(object, "event_id", headline->id);
    output_text(object, "lead_id", headline->lead);
    output_number(object, "bytes", bytes);
    if (headline->why.text[0] != '\0')
        output_text(object, "unusable", headline->why.text);
    return object;
}

/* ---- breaking lines ---- */

#define COLUMNS_LEAST 40 /* what is narrower is not broken any more */
#define INDENT 2         /* of further lines, beyond that of the first */

size_t wrap_columns(int fd)
{
    struct winsize size;
    if (ioctl(fd, TIOCGWINSZ, &size) != 0 || size.ws_col == 0)
        return WRAP_COLUMNS;
    return size.ws_col < COLUMNS_LEAST ? COLUMNS_LEAST : size.ws_col;
}

/* Characters, as far as UTF-8 tells: each takes a column. */
static size_t width_of(const char *text, size_t length)
{
    size_t width = 0;
    for (size_t i = 0; i < length; i++)
        width += ((unsigned char)text[i] & 0xC0) != 0x80;
    return width;
}

/* The length of a word at the text's beginning: to a blank that does not stand between backquotes. */
static size_t word_length(const char *text, size_t length)
{
    bool quoted = false;
    for (size_t i = 0; i < length; i++) {
        if (text[i] == '`')
            quoted = !quoted && memchr(text + i + 1, '`', length - i - 1) != NULL;
        if (text[i] == ' ' && !quoted)
            return i;
    }
    return length;
}

size_t wrap_line(FILE *out, const char *line, size_t length, size_t column, size_t indent, size_t columns)
{
    bool begun = false;
    while (length > 0) {
        size_t blanks = 0;
        while (blanks < length && line[blanks] == ' ')
            blanks++;
        size_t word = word_length(line + blanks, length - blanks), width = width_of(line + blanks, word);
        if (begun && word > 0 && column + blanks + width > columns) {
            fprintf(out, "\n%*s", (int)indent, "");
            column = indent;
        } else if (word > 0 || !begun) {
            fprintf(out, "%*s", (int)blanks, "");
            column += blanks;
        }
        fwrite(line + blanks, 1, word, out);
        column += width;
        begun = begun || word > 0;
        line += blanks + word;
        length -= blanks + word;
    }
    return column;
}

struct wrapping {
    FILE *out;
    size_t columns;
    struct buffer line; /* the one that has no newline yet */
};

static void put_line(struct wrapping *wrapping, bool ends)
{
    const char *line = wrapping->line.data;
    size_t length = wrapping->line.length, indent = 0;
    while (indent < length && line[indent] == ' ')
        indent++;
    if (length > 0)
        wrap_line(wrapping->out, line, length, 0, indent + INDENT, wrapping->columns);
    if (ends)
        putc('\n', wrapping->out);
    buffer_clear(&wrapping->line);
}

/* Takes what is written. Returns how much was taken; 0: an error, as out's. */
static ssize_t take(void *cookie, const char *text, size_t size)
{
    struct wrapping *wrapping = cookie;
    for (size_t i = 0; i < size; i++) {
        if (text[i] == '\n')
            put_line(wrapping, true);
        else
            buffer_append(&wrapping->line, &text[i], 1);
    }
    fflush(wrapping->out);
    return ferror(wrapping->out) || wrapping->line.failed ? 0 : (ssize_t)size;
}

static int end(void *cookie)
{
    struct wrapping *wrapping = cookie;
    put_line(wrapping, false);
    buffer_free(&wrapping->line);
    int failed = fflush(wrapping->out);
    free(wrapping);
    return failed;
}

FILE *wrap_open(FILE *out, size_t columns)
{
    struct wrapping *wrapping = calloc(1, sizeof *wrapping);
    if (wrapping == NULL)
        return NULL;
    wrapping->out = out;
    wrapping->columns = columns;
    FILE *stream = fopencookie(wrapping, "w", (cookie_io_functions_t){.write = take, .close = end});
    if (stream == NULL)
        free(wrapping);
    return stream;
}
