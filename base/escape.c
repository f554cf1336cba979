/* Escapes: see escape.h. */
#include "base/escape.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "base/times.h"

void write_format(struct buffer *out, const char *format, ...)
{
    va_list args;
    char text[1024];
    va_start(args, format);
    int length = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (length > 0)
        buffer_append(out, text, (size_t)length < sizeof text ? (size_t)length : sizeof text - 1);
}

void write_html_bytes(struct buffer *out, const char *text, size_t length)
{
    static const char special[] = "<>&\"'";
    static const char *const escapes[] = {"&lt;", "&gt;", "&amp;", "&quot;", "&#39;"};
    size_t plain = 0; /* where what needs no escape begins */
    for (size_t i = 0; i < length; i++) {
        const char *found = text[i] == '\0' ? NULL : strchr(special, text[i]);
        if (found == NULL && text[i] != '\0')
            continue;
        buffer_append(out, text + plain, i - plain);
        if (found != NULL)
            buffer_text(out, escapes[found - special]);
        plain = i + 1;
    }
    buffer_append(out, text + plain, length - plain);
}

void write_html(struct buffer *out, const char *text)
{
    write_html_bytes(out, text, strlen(text));
}

/* Returns the JSON escape for the character of that many bytes; NULL: none is needed. bytes: 0 for invalid UTF-8. */
static const char *json_escape(const char *text, size_t bytes, char out[static 7])
{
    unsigned char c = (unsigned char)*text;
    if (bytes > 1 || (bytes == 1 && c >= 0x20 && c != '"' && c != '\\' && c != '<'))
        return NULL;
    if (bytes == 0)
        return "\\ufffd";
    if (c == '"' || c == '\\')
        return c == '"' ? "\\\"" : "\\\\";
    if (c == '\n')
        return "\\n";
    snprintf(out, 7, "\\u%04x", c);
    return out;
}

void escape_json(const char *text, size_t length, escape_put *put, void *context)
{
    char out[7];
    size_t plain = 0; /* where what needs no escape begins */
    for (size_t i = 0; i < length;) {
        size_t bytes = text_utf8_length(text + i, length - i);
        const char *escaped = json_escape(text + i, bytes, out);
        if (escaped != NULL) {
            put(context, text + plain, i - plain);
            put(context, escaped, strlen(escaped));
            plain = i + 1;
        }
        i += bytes == 0 ? 1 : bytes;
    }
    put(context, text + plain, length - plain);
}

static void put_into_buffer(void *context, const char *text, size_t length)
{
    buffer_append(context, text, length);
}

void write_json_bytes(struct buffer *out, const char *text, size_t length)
{
    buffer_text(out, "\"");
    escape_json(text, length, put_into_buffer, out);
    buffer_text(out, "\"");
}

void write_json(struct buffer *out, const char *text)
{
    write_json_bytes(out, text, strlen(text));
}

void write_name(struct buffer *out, const char *name)
{
    bool is_first = out->length > 0 && out->data[out->length - 1] == '{';
    write_format(out, "%s\"%s\": ", is_first ? "" : ", ", name);
}

void write_number_member(struct buffer *out, const char *name, uint64_t value)
{
    write_name(out, name);
    write_format(out, "%llu", (unsigned long long)value);
}

void write_null_member(struct buffer *out, const char *name)
{
    write_name(out, name);
    buffer_text(out, "null");
}

void write_text_member(struct buffer *out, const char *name, const char *value)
{
    write_name(out, name);
    write_json(out, value);
}

void write_bool_member(struct buffer *out, const char *name, bool value)
{
    write_name(out, name);
    buffer_text(out, value ? "true" : "false");
}

void write_time_member(struct buffer *out, const char *name, int64_t ms)
{
    write_name(out, name);
    if (ms <= 0) {
        buffer_text(out, "null");
        return;
    }
    char text[DATE_PRINTED];
    write_json(out, times_print_ms(ms, DATE_Z_MILLISECONDS, text));
}

void write_count(struct buffer *out, uint64_t count)
{
    char text[32];
    int length = snprintf(text, sizeof text, "%llu", (unsigned long long)count);
    for (int i = 0; i < length; i++) {
        buffer_append(out, &text[i], 1);
        if (i + 1 < length && (length - i - 1) % 3 == 0)
            buffer_text(out, ",");
    }
}

/* ---- terminals ---- */

/* C0, DEL, C1, line and paragraph separators, and the bidirectional controls. */
static bool is_control(uint32_t character)
{
    return character < 0x20 || (character >= 0x7f && character < 0xa0) || character == 0x2028 || character == 0x2029 ||
           (character >= 0x202a && character <= 0x202e) || (character >= 0x2066 && character <= 0x2069);
}

size_t plain_write(FILE *out, const char *text, size_t length)
{
    size_t written = 0;
    for (size_t at = 0; at < length;) {
        size_t bytes = text_utf8_length(text + at, length - at);
        uint32_t character = bytes == 0 ? 0 : text_utf8_read(text + at, bytes);
        if (bytes == 0)
            written += (size_t)fprintf(out, "\\x%02x", (unsigned char)text[at]);
        else if (is_control(character))
            written += (size_t)fprintf(out, "\\u%04x", (unsigned)character);
        else
            written += fwrite(text + at, 1, bytes, out);
        at += bytes == 0 ? 1 : bytes;
    }
    return written;
}

void plain_line(FILE *out, const char *text, size_t length)
{
    for (size_t at = 0; at < length;) {
        size_t run = 0;
        while (at + run < length && strchr("\n\r\t", text[at + run]) == NULL)
            run++;
        plain_write(out, text + at, run);
        at += run;
        if (at < length) {
            fputc(' ', out);
            at++;
        }
    }
}

void plain_column(FILE *out, const char *text, size_t width)
{
    if (text == NULL)
        text = "-";
    size_t written = plain_write(out, text, strlen(text));
    if (width == 0)
        return;
    do {
        fputc(' ', out);
    } while (++written < width);
}

void plain_utf8_in_place(char *text, size_t length)
{
    for (size_t at = 0; at < length;) {
        size_t bytes = text_utf8_length(text + at, length - at);
        if (bytes == 0)
            text[at] = '?';
        at += bytes == 0 ? 1 : bytes;
    }
}

char *plain_utf8(const char *text)
{
    char *copy = strdup(text);
    if (copy != NULL)
        plain_utf8_in_place(copy, strlen(copy));
    return copy;
}

char *escape_shell(const char *word)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./+,:@%";
    size_t length = strlen(word);
    if (length > 0 && word[0] != '-' && strspn(word, plain) == length)
        return strdup(word);
    char *quoted = malloc(4 * length + 3);
    if (quoted == NULL)
        return NULL;
    char *end = quoted;
    *end++ = '\'';
    for (; *word != '\0'; word++) {
        if (*word == '\'') {
            memcpy(end, "'\\''", 4);
            end += 4;
        } else {
            *end++ = *word;
        }
    }
    memcpy(end, "'", 2);
    return quoted;
}
