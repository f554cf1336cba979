/* Text encodings, hashing, edit distance and numbers: pure functions, any thread. */
#ifndef BASE_TEXT_H
#define BASE_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- hexadecimal ---- */

/* Returns the value of a hexadecimal digit of either case; -1 for other characters. Inline, because the JSON scanner
 * calls it for every digit of an escape. */
static inline int text_hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

/* Decodes hexadecimal digits into half as many bytes. Returns false when count is odd or a character is no digit; part
 * of out may then have been written. */
bool text_hex_decode(const char *digits, size_t count, unsigned char *out);

/* Writes two lower-case digits per byte and a NUL: 2 * count + 1 bytes. Returns out. */
char *text_hex_encode(const void *bytes, size_t count, char *out);

/* ---- URLs and HTTP Basic ---- */

/* Percent-decodes; `+` becomes a space, a percent sign without two digits stays. Returns the length, or -1 when the
 * result and its NUL do not fit or the result contains a NUL. */
long text_percent_decode(const char *text, size_t length, char *out, size_t size);

/* Decodes Base64, with or without padding. Returns the length, or -1 when the text is invalid or the result does not
 * fit. Writes no NUL. */
long text_base64_decode(const char *text, size_t length, char *out, size_t size);

/* Bytes of so many in Base64, with a NUL. */
#define TEXT_BASE64(count) (((count) + 2) / 3 * 4 + 1)

/* Writes Base64, padded, and a NUL: TEXT_BASE64(count) bytes. Returns out. */
char *text_base64_encode(const void *bytes, size_t count, char *out);

/* ---- UTF-8 ---- */

/* Returns the length of the well-formed sequence at the start of text (length is at least 1), as in table 3-7 of the
 * Unicode standard: no overlong forms, no surrogates, nothing above U+10FFFF; 0: not well-formed. Reads no byte after
 * the first invalid one, so a NUL-terminated text needs no exact length. Inline, because the JSON scanner calls it for
 * every non-ASCII character. */
static inline size_t text_utf8_length(const char *text, size_t length)
{
    const unsigned char *at = (const unsigned char *)text;
    if (at[0] < 0x80)
        return 1;
    size_t bytes = at[0] < 0xC2 ? 0 : at[0] < 0xE0 ? 2 : at[0] < 0xF0 ? 3 : at[0] < 0xF5 ? 4 : 0;
    unsigned char lowest = at[0] == 0xE0 ? 0xA0 : at[0] == 0xF0 ? 0x90 : 0x80;
    unsigned char highest = at[0] == 0xED ? 0x9F : at[0] == 0xF4 ? 0x8F : 0xBF;
    if (bytes == 0 || bytes > length || at[1] < lowest || at[1] > highest)
        return 0;
    for (size_t i = 2; i < bytes; i++) {
        if (at[i] < 0x80 || at[i] > 0xBF)
            return 0;
    }
    return bytes;
}

/* Returns the code point of a well-formed sequence of that many bytes. */
uint32_t text_utf8_read(const char *text, size_t bytes);

/* Writes a code point as UTF-8, without a NUL. Returns the number of bytes, 1 to 4. Inline for the same reason. */
static inline size_t text_utf8_write(char *out, uint32_t code)
{
    if (code < 0x80) {
        out[0] = (char)code;
        return 1;
    }
    size_t length = code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    out[0] = (char)((0xF00U >> length & 0xFF) | code >> 6 * (length - 1));
    for (size_t i = 1; i < length; i++)
        out[i] = (char)(0x80 | (code >> 6 * (length - 1 - i) & 0x3F));
    return length;
}

/* ---- hash and distance ---- */

/* 64-bit FNV-1a: continues from a hash, or starts from TEXT_HASH. Must never change, because checksums in files use
 * it. */
#define TEXT_HASH UINT64_C(14695981039346656037)
uint64_t text_hash(uint64_t hash, const void *bytes, size_t length);

/* The same, but decimal digits are left out: texts that differ only in numbers have one hash. */
uint64_t text_hash_without_digits(uint64_t hash, const char *text, size_t length);

/* The edit distance, case-insensitive: how many characters must be inserted, deleted, changed or swapped with their
 * neighbour to turn one word into the other. SIZE_MAX when one is longer than TEXT_DISTANCE_MOST bytes. */
#define TEXT_DISTANCE_MOST 40
size_t text_distance(const char *a, const char *b);

/* ---- numbers ---- */

enum text_reading { TEXT_READ, TEXT_UNREADABLE, TEXT_TOO_LARGE };

/* A unit suffix of a number. */
struct text_unit {
    char letter; /* '\0': no suffix */
    int64_t factor;
};

/* Reads decimal digits followed by one of the unit letters. TEXT_TOO_LARGE: beyond INT64_MAX. */
enum text_reading text_read_units(const char *text, const struct text_unit *units, size_t count, int64_t *value);

/* Writes the shortest text that reads back as the same value. units: smallest first; the smallest must divide the
 * value. */
void text_write_units(int64_t value, const struct text_unit *units, size_t count, char *out, size_t size);

/* The same for plain numbers, and for bytes with the units K, M and G (1024-based). */
enum text_reading text_read_count(const char *text, int64_t *count);
enum text_reading text_read_size(const char *text, int64_t *bytes);
void text_write_count(int64_t count, char *out, size_t size);
void text_write_size(int64_t bytes, char *out, size_t size);

/* The ending of a noun, and of its verb, behind a number: "1 event waits", "2 events wait". */
const char *text_plural(uint64_t count);
const char *text_singular(uint64_t count);

/* Reads an id: a decimal number from 1 to INT64_MAX. Returns false for any other text. */
bool text_read_id(const char *text, uint64_t *id);

#endif
