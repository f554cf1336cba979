/* Percent-encoding and Base64, as they come in a query and in HTTP Basic authentication. */
#include "http/internal.h"

#include <string.h>

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

/* Decodes the character at *at and moves past it. */
static char next_character(const char *text, size_t length, size_t *at)
{
    char c = text[(*at)++];
    if (c == '+')
        return ' ';
    if (c != '%' || length - *at < 2)
        return c;
    int high = hex_digit(text[*at]);
    int low = hex_digit(text[*at + 1]);
    if (high < 0 || low < 0)
        return c;
    *at += 2;
    return (char)(high * 16 + low);
}

long decode_percent(const char *text, size_t length, char *out, size_t size)
{
    size_t n = 0;
    for (size_t at = 0; at < length;) {
        char c = next_character(text, length, &at);
        if (c == '\0' || n + 1 >= size)
            return -1;
        out[n++] = c;
    }
    if (n >= size)
        return -1;
    out[n] = '\0';
    return (long)n;
}

/* The six bits that a character stands for, or -1. */
static int base64_value(char c)
{
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *found = c == '\0' ? NULL : strchr(alphabet, c);
    return found == NULL ? -1 : (int)(found - alphabet);
}

long decode_base64(const char *text, size_t length, char *out, size_t size)
{
    for (int padding = 0; padding < 2 && length > 0 && text[length - 1] == '='; padding++)
        length--;
    if (length % 4 == 1)
        return -1;
    size_t n = 0;
    unsigned bits = 0;
    int held = 0; /* bits not yet written */
    for (size_t i = 0; i < length; i++) {
        int value = base64_value(text[i]);
        if (value < 0)
            return -1;
        bits = (bits << 6 | (unsigned)value) & 0xffff;
        held += 6;
        if (held < 8)
            continue;
        held -= 8;
        if (n == size)
            return -1;
        out[n++] = (char)(bits >> held & 0xff);
    }
    return (long)n;
}
