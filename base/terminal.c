/* Text that can do nothing to a terminal: see terminal.h. */
#include "base/terminal.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/* Takes the character that begins at text. Returns its bytes; 0 when that is no UTF-8. */
static size_t take_character(const unsigned char *text, size_t length, uint32_t *character)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t bytes = 1;
    *character = text[0];
    if (text[0] >= 0xf0 && text[0] <= 0xf4)
        bytes = 4;
    else if (text[0] >= 0xe0)
        bytes = 3;
    else if (text[0] >= 0xc0)
        bytes = 2;
    else if (text[0] >= 0x80)
        return 0;
    if (text[0] > 0xf4 || bytes > length)
        return 0;
    if (bytes > 1)
        *character &= 0x7fU >> bytes;
    for (size_t i = 1; i < bytes; i++) {
        if ((text[i] & 0xc0) != 0x80)
            return 0;
        *character = *character << 6 | (text[i] & 0x3f);
    }
    return *character < least[bytes] ? 0 : bytes;
}

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
        uint32_t character;
        size_t bytes = take_character((const unsigned char *)text + at, length - at, &character);
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
        uint32_t character;
        size_t bytes = take_character((const unsigned char *)text + at, length - at, &character);
        if (bytes == 0)
            copy[at] = '?';
        at += bytes == 0 ? 1 : bytes;
    }
    return copy;
}
