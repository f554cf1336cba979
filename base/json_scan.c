/* The smallest parts of JSON, read in place: see json_scan.h. */
#include "base/json_scan.h"

#include <endian.h>
#include <stdint.h>
#include <string.h>

bool json_scan_refuse(struct json_scan *scan, const char *at, const char *problem)
{
    if (scan->problem == NULL) {
        scan->problem = problem;
        scan->problem_at = at;
    }
    return false;
}

char json_scan_space(struct json_scan *scan)
{
    char *at = scan->at;
    while (*at == ' ' || *at == '\n' || *at == '\r' || *at == '\t')
        at++;
    scan->at = at;
    return *at;
}

/* ---- strings ---- */

/* The length of the well-formed sequence of two to four bytes that starts here, as the Unicode standard's table 3-7 has
 * it: nothing overlong, no coded surrogates, nothing above U+10FFFF. 0: there is none. The zero bytes after the text
 * stop it. */
static size_t utf8_sequence(const char *text)
{
    const unsigned char *at = (const unsigned char *)text;
    unsigned char lowest = 0x80;
    unsigned char highest = 0xBF;
    size_t length = 0;
    if (at[0] >= 0xC2 && at[0] <= 0xDF) {
        length = 2;
    } else if (at[0] >= 0xE0 && at[0] <= 0xEF) {
        length = 3;
        lowest = at[0] == 0xE0 ? 0xA0 : 0x80;
        highest = at[0] == 0xED ? 0x9F : 0xBF;
    } else if (at[0] >= 0xF0 && at[0] <= 0xF4) {
        length = 4;
        lowest = at[0] == 0xF0 ? 0x90 : 0x80;
        highest = at[0] == 0xF4 ? 0x8F : 0xBF;
    }
    if (length == 0 || at[1] < lowest || at[1] > highest)
        return 0;
    for (size_t i = 2; i < length; i++) {
        if (at[i] < 0x80 || at[i] > 0xBF)
            return 0;
    }
    return length;
}

/* Finds the first byte that is no plain ASCII inside a string: a quote, a backslash, a control character, a byte of
 * 0x80 and above. Eight at a time: in `found` the high bit of each such byte is set. A borrow may set more of them, but
 * only above the lowest, and only the lowest counts. */
static char *skip_ascii(char *at)
{
    const uint64_t ones = UINT64_C(0x0101010101010101);
    for (;;) {
        uint64_t bytes;
        memcpy(&bytes, at, sizeof bytes);
        bytes = le64toh(bytes);
        uint64_t found = bytes | (bytes - ones * ' ') | ((bytes ^ ones * '"') - ones) | ((bytes ^ ones * '\\') - ones);
        found &= ones * 0x80;
        if (found != 0)
            return at + __builtin_ctzll(found) / 8;
        at += sizeof bytes;
    }
}

/* Finds the first byte of a string that does not simply stand for itself. */
static char *skip_plain(char *at)
{
    for (;;) {
        at = skip_ascii(at);
        size_t length = 0;
        while ((*at & 0x80) != 0 && (length = utf8_sequence(at)) != 0)
            at += length;
        if (length == 0)
            return at;
    }
}

/* Four hexadecimal digits as a number; -1: there are none. */
static int32_t four_digits(const char *at)
{
    int32_t value = 0;
    for (int i = 0; i < 4; i++) {
        char digit = at[i];
        if (digit >= '0' && digit <= '9')
            value = value * 16 + (digit - '0');
        else if (digit >= 'a' && digit <= 'f')
            value = value * 16 + (digit - 'a' + 10);
        else if (digit >= 'A' && digit <= 'F')
            value = value * 16 + (digit - 'A' + 10);
        else
            return -1;
    }
    return value;
}

/* Writes a code point as UTF-8; returns where the next byte goes. */
static char *put_utf8(char *to, int32_t code)
{
    if (code < 0x80) {
        *to++ = (char)code;
    } else if (code < 0x800) {
        *to++ = (char)(0xC0 | code >> 6);
        *to++ = (char)(0x80 | (code & 0x3F));
    } else if (code < 0x10000) {
        *to++ = (char)(0xE0 | code >> 12);
        *to++ = (char)(0x80 | (code >> 6 & 0x3F));
        *to++ = (char)(0x80 | (code & 0x3F));
    } else {
        *to++ = (char)(0xF0 | code >> 18);
        *to++ = (char)(0x80 | (code >> 12 & 0x3F));
        *to++ = (char)(0x80 | (code >> 6 & 0x3F));
        *to++ = (char)(0x80 | (code & 0x3F));
    }
    return to;
}

/* Decodes \uXXXX at *from, or the two that make a surrogate pair, to *to; moves both on. */
static bool decode_code(struct json_scan *scan, char **from, char **to)
{
    const char *at = *from;
    int32_t code = four_digits(at + 2);
    if (code < 0)
        return json_scan_refuse(scan, at, "\\u must be followed by four hexadecimal digits");
    *from += 6;
    if (code >= 0xD800 && code <= 0xDBFF && at[6] == '\\' && at[7] == 'u') {
        int32_t low = four_digits(at + 8);
        if (low >= 0xDC00 && low <= 0xDFFF) {
            *from += 6;
            code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
        }
    }
    if (code >= 0xD800 && code <= 0xDFFF) {
        scan->replaced++;
        code = 0xFFFD;
    }
    scan->nuls += code == 0;
    *to = put_utf8(*to, code);
    return true;
}

/* Decodes the escape at *from to *to; moves both on. */
static bool decode_escape(struct json_scan *scan, char **from, char **to)
{
    static const char names[] = "\"\\/bfnrt";
    static const char meanings[] = "\"\\/\b\f\n\r\t";
    char name = (*from)[1];
    if (name == 'u')
        return decode_code(scan, from, to);
    const char *found = name == '\0' ? NULL : strchr(names, name);
    if (found == NULL)
        return json_scan_refuse(scan, *from, "JSON has no such escape; a backslash itself is written \\\\");
    *(*to)++ = meanings[found - names];
    *from += 2;
    return true;
}

/* Says what is wrong with a byte that can stand nowhere in a string. */
static bool refuse_byte(struct json_scan *scan, const char *at)
{
    if (at == scan->end)
        return json_scan_refuse(scan, at, "a string is not closed");
    if ((unsigned char)*at < ' ')
        return json_scan_refuse(scan, at, "a control character in a string must be escaped, as \\n or \\u000a");
    return json_scan_refuse(scan, at, "a string is not valid UTF-8");
}

char *json_scan_string(struct json_scan *scan, size_t *length)
{
    char *start = scan->at + 1;
    char *from = start;
    char *to = start;
    for (;;) {
        char *run = from;
        from = skip_plain(run);
        if (to != run)
            memmove(to, run, (size_t)(from - run));
        to += from - run;
        if (*from == '"')
            break;
        if (*from == '\\' ? !decode_escape(scan, &from, &to) : !refuse_byte(scan, from))
            return NULL;
    }
    *to = '\0';
    *length = (size_t)(to - start);
    scan->at = from + 1;
    return start;
}

/* ---- numbers and words ---- */

static char *skip_digits(char *at)
{
    while (*at >= '0' && *at <= '9')
        at++;
    return at;
}

bool json_scan_number(struct json_scan *scan)
{
    char *at = scan->at;
    at += *at == '-';
    char *whole = at;
    at = skip_digits(at);
    if (at == whole)
        return json_scan_refuse(scan, at, "a number needs a digit here");
    if (*whole == '0' && at - whole > 1)
        return json_scan_refuse(scan, whole, "a number must not start with a 0 that others follow");
    if (*at == '.') {
        char *fraction = at + 1;
        at = skip_digits(fraction);
        if (at == fraction)
            return json_scan_refuse(scan, at, "a number needs a digit after its point");
    }
    if (*at == 'e' || *at == 'E') {
        at++;
        at += *at == '+' || *at == '-';
        char *exponent = at;
        at = skip_digits(exponent);
        if (at == exponent)
            return json_scan_refuse(scan, at, "a number needs a digit in its exponent");
    }
    scan->at = at;
    return true;
}

bool json_scan_word(struct json_scan *scan, const char *word)
{
    size_t length = strlen(word);
    if (strncmp(scan->at, word, length) != 0)
        return json_scan_refuse(scan, scan->at, "this is no value of JSON; only true, false and null are words");
    scan->at += length;
    return true;
}
