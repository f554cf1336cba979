/* Text encodings, hashing, edit distance and numbers: see text.h. */
#include "base/text.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

bool text_hex_decode(const char *digits, size_t count, unsigned char *out)
{
    for (size_t i = 0; i + 1 < count; i += 2) {
        int high = text_hex_digit(digits[i]), low = text_hex_digit(digits[i + 1]);
        if (high < 0 || low < 0)
            return false;
        out[i / 2] = (unsigned char)(high * 16 + low);
    }
    return count % 2 == 0;
}

char *text_hex_encode(const void *bytes, size_t count, char *out)
{
    static const char digits[] = "0123456789abcdef";
    const unsigned char *from = bytes;
    for (size_t i = 0; i < count; i++) {
        out[2 * i] = digits[from[i] >> 4];
        out[2 * i + 1] = digits[from[i] & 15];
    }
    out[2 * count] = '\0';
    return out;
}

/* Decodes the character at *at and moves past it. */
static char next_character(const char *text, size_t length, size_t *at)
{
    char c = text[(*at)++];
    if (c == '+')
        return ' ';
    if (c != '%' || length - *at < 2)
        return c;
    int high = text_hex_digit(text[*at]);
    int low = text_hex_digit(text[*at + 1]);
    if (high < 0 || low < 0)
        return c;
    *at += 2;
    return (char)(high * 16 + low);
}

long text_percent_decode(const char *text, size_t length, char *out, size_t size)
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

static const char base64_alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/* Returns the six bits of a Base64 character, or -1. */
static int base64_value(char c)
{
    const char *found = c == '\0' ? NULL : strchr(base64_alphabet, c);
    return found == NULL ? -1 : (int)(found - base64_alphabet);
}

char *text_base64_encode(const void *bytes, size_t count, char *out)
{
    const unsigned char *from = bytes;
    char *to = out;
    for (size_t i = 0; i < count; i += 3) {
        size_t left = count - i;
        unsigned three = (unsigned)from[i] << 16 | (left > 1 ? (unsigned)from[i + 1] << 8 : 0) |
                         (left > 2 ? (unsigned)from[i + 2] : 0);
        *to++ = base64_alphabet[three >> 18];
        *to++ = base64_alphabet[three >> 12 & 63];
        *to++ = left > 1 ? base64_alphabet[three >> 6 & 63] : '=';
        *to++ = left > 2 ? base64_alphabet[three & 63] : '=';
    }
    *to = '\0';
    return out;
}

long text_base64_decode(const char *text, size_t length, char *out, size_t size)
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

uint32_t text_utf8_read(const char *text, size_t bytes)
{
    uint32_t code = bytes == 1 ? (unsigned char)text[0] : (unsigned char)text[0] & 0x7FU >> bytes;
    for (size_t i = 1; i < bytes; i++)
        code = code << 6 | ((unsigned char)text[i] & 0x3FU);
    return code;
}

uint64_t text_hash(uint64_t hash, const void *bytes, size_t length)
{
    const unsigned char *at = bytes;
    for (size_t i = 0; i < length; i++)
        hash = (hash ^ at[i]) * UINT64_C(1099511628211);
    return hash;
}

uint64_t text_hash_without_digits(uint64_t hash, const char *text, size_t length)
{
    for (size_t i = 0; i < length; i++)
        hash = text[i] >= '0' && text[i] <= '9' ? hash : text_hash(hash, text + i, 1);
    return hash;
}

static size_t least_of(size_t a, size_t b)
{
    return a < b ? a : b;
}

static bool is_same_letter(char a, char b)
{
    return tolower((unsigned char)a) == tolower((unsigned char)b);
}

size_t text_distance(const char *a, const char *b)
{
    size_t rows[3][TEXT_DISTANCE_MOST + 1]; /* row[j]: from the first i letters of a to the first j of b */
    size_t *before = rows[0], *above = rows[1], *row = rows[2];
    size_t a_length = strlen(a), b_length = strlen(b);
    if (a_length > TEXT_DISTANCE_MOST || b_length > TEXT_DISTANCE_MOST)
        return SIZE_MAX;
    for (size_t j = 0; j <= b_length; j++)
        row[j] = j;
    for (size_t i = 1; i <= a_length; i++) {
        size_t *spare = before;
        before = above;
        above = row;
        row = spare;
        row[0] = i;
        for (size_t j = 1; j <= b_length; j++) {
            size_t change = is_same_letter(a[i - 1], b[j - 1]) ? 0 : 1;
            row[j] = least_of(least_of(above[j], row[j - 1]) + 1, above[j - 1] + change);
            if (i > 1 && j > 1 && is_same_letter(a[i - 1], b[j - 2]) && is_same_letter(a[i - 2], b[j - 1]))
                row[j] = least_of(row[j], before[j - 2] + 1);
        }
    }
    return row[b_length];
}

enum text_reading text_read_units(const char *text, const struct text_unit *units, size_t count, int64_t *value)
{
    int64_t number = 0;
    bool too_large = false;
    const char *at = text;
    for (; *at >= '0' && *at <= '9'; at++) {
        int digit = *at - '0';
        too_large = too_large || number > (INT64_MAX - digit) / 10;
        number = too_large ? 0 : number * 10 + digit;
    }
    if (at == text || (*at != '\0' && at[1] != '\0'))
        return TEXT_UNREADABLE;
    for (size_t i = 0; i < count; i++) {
        if (units[i].letter != *at)
            continue;
        if (too_large || number > INT64_MAX / units[i].factor)
            return TEXT_TOO_LARGE;
        *value = number * units[i].factor;
        return TEXT_READ;
    }
    return TEXT_UNREADABLE;
}

void text_write_units(int64_t value, const struct text_unit *units, size_t count, char *out, size_t size)
{
    size_t unit = 0;
    for (size_t i = 1; i < count && value != 0; i++) {
        if (value % units[i].factor == 0)
            unit = i;
    }
    char letter[2] = {units[unit].letter, '\0'};
    snprintf(out, size, "%" PRId64 "%s", value / units[unit].factor, letter);
}

static const struct text_unit counts[] = {{'\0', 1}};
static const struct text_unit sizes[] = {{'\0', 1}, {'K', 1024}, {'M', 1024 * 1024}, {'G', 1024 * 1024 * 1024}};

enum text_reading text_read_count(const char *text, int64_t *count)
{
    return text_read_units(text, counts, sizeof counts / sizeof *counts, count);
}

enum text_reading text_read_size(const char *text, int64_t *bytes)
{
    return text_read_units(text, sizes, sizeof sizes / sizeof *sizes, bytes);
}

void text_write_count(int64_t count, char *out, size_t size)
{
    text_write_units(count, counts, sizeof counts / sizeof *counts, out, size);
}

void text_write_size(int64_t bytes, char *out, size_t size)
{
    text_write_units(bytes, sizes, sizeof sizes / sizeof *sizes, out, size);
}

bool text_read_id(const char *text, uint64_t *id)
{
    int64_t number = 0;
    if (text_read_count(text, &number) != TEXT_READ || number == 0)
        return false;
    *id = (uint64_t)number;
    return true;
}

const char *text_plural(uint64_t count)
{
    return count == 1 ? "" : "s";
}

const char *text_singular(uint64_t count)
{
    return count == 1 ? "s" : "";
}
