/* Writing text: see escape.h. */
#include "base/escape.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/text.h"

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

static bool is_plain(unsigned char c)
{
    return c >= 0x20 && c != '"' && c != '\\' && c != '<';
}

void write_json_bytes(struct buffer *out, const char *text, size_t length)
{
    const unsigned char *bytes = (const unsigned char *)text;
    size_t plain = 0;
    buffer_text(out, "\"");
    for (size_t i = 0; i < length;) {
        size_t n = text_utf8_length(text + i, length - i);
        if (n > 1 || (n == 1 && is_plain(bytes[i]))) {
            i += n;
            continue;
        }
        buffer_append(out, text + plain, i - plain);
        if (n == 0)
            buffer_text(out, "\\ufffd");
        else if (bytes[i] == '"' || bytes[i] == '\\')
            write_format(out, "\\%c", bytes[i]);
        else if (bytes[i] == '\n')
            buffer_text(out, "\\n");
        else
            write_format(out, "\\u%04x", bytes[i]);
        plain = ++i;
    }
    buffer_append(out, text + plain, length - plain);
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

void write_text_member(struct buffer *out, const char *name, const char *value)
{
    write_name(out, name);
    write_json(out, value);
}

void write_time_member(struct buffer *out, const char *name, int64_t ms)
{
    time_t seconds = (time_t)(ms / 1000);
    struct tm tm;
    char text[40];
    write_name(out, name);
    if (ms <= 0 || gmtime_r(&seconds, &tm) == NULL || strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &tm) == 0) {
        buffer_text(out, "null");
        return;
    }
    write_format(out, "\"%s.%03dZ\"", text, (int)(ms % 1000));
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
