/* Writing text: see escape.h. */
#include "base/escape.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

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

/* The length of the UTF-8 sequence at text; 0: it is none. */
static size_t sequence_length(const unsigned char *text, size_t length)
{
    static const struct {
        unsigned char least, most; /* of the first byte */
        size_t length;
        unsigned char second_least, second_most;
    } forms[] = {
        {0x00, 0x7f, 1, 0, 0},       {0xc2, 0xdf, 2, 0x80, 0xbf}, {0xe0, 0xe0, 3, 0xa0, 0xbf},
        {0xe1, 0xec, 3, 0x80, 0xbf}, {0xed, 0xed, 3, 0x80, 0x9f}, {0xee, 0xef, 3, 0x80, 0xbf},
        {0xf0, 0xf0, 4, 0x90, 0xbf}, {0xf1, 0xf3, 4, 0x80, 0xbf}, {0xf4, 0xf4, 4, 0x80, 0x8f},
    };
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        if (text[0] < forms[i].least || text[0] > forms[i].most)
            continue;
        if (forms[i].length > length)
            return 0;
        if (forms[i].length > 1 && (text[1] < forms[i].second_least || text[1] > forms[i].second_most))
            return 0;
        for (size_t k = 2; k < forms[i].length; k++) {
            if (text[k] < 0x80 || text[k] > 0xbf)
                return 0;
        }
        return forms[i].length;
    }
    return 0;
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
        size_t n = sequence_length(bytes + i, length - i);
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
