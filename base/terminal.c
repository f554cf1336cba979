/* Text that can do nothing to a terminal: see terminal.h. */
#include "base/terminal.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/text.h"

/* C0, DEL, C1, and what turns the direction of writing. */
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

void plain_column(FILE *out, const char *text, size_t width)
{
    if (text == NULL)
        text = "-";
    size_t written = plain_write(out, text, strlen(text));
    do {
        fputc(' ', out);
    } while (++written < width);
}

char *plain_utf8(const char *text)
{
    size_t length = strlen(text);
    char *copy = strdup(text);
    for (size_t at = 0; copy != NULL && at < length;) {
        size_t bytes = text_utf8_length(text + at, length - at);
        if (bytes == 0)
            copy[at] = '?';
        at += bytes == 0 ? 1 : bytes;
    }
    return copy;
}
