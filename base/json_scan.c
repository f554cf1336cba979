/* JSON tokens, decoded in place: see json_scan.h. */
#include "base/json_scan.h"

#include <endian.h>
#include <stdint.h>
#include <string.h>

#include "base/text.h"

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

/* Finds the first byte of a string that is not plain ASCII: a quote, backslash, control character or byte from 0x80 on.
 * Eight bytes at a time: `found` has the high bit set for each such byte. A borrow can set further bits, but only above
 * the lowest, and only the lowest counts. */
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

/* Finds the first byte of a string that needs decoding or is invalid. */
static char *skip_plain(char *at)
{
    for (;;) {
        at = skip_ascii(at);
        size_t length = 0;
        while ((*at & 0x80) != 0 && (length = text_utf8_length(at, 4)) != 0) /* the NULs behind the text stop it */
            at += length;
        if (length == 0)
            return at;
    }
}

/* Four hexadecimal digits as a number; -1: there are none. */
static inline int32_t four_digits(const char *at, const char *end)
{
    int32_t value = 0;
    if (end - at < 4)
        return -1;
    for (int i = 0; i < 4; i++) {
        int digit = text_hex_digit(at[i]);
        if (digit < 0)
            return -1;
        value = value * 16 + digit;
    }
    return value;
}

int32_t json_scan_code(const char **at, const char *end)
{
    int32_t code = four_digits(*at, end);
    if (code < 0)
        return code;
    *at += 4;
    if (code >= 0xD800 && code <= 0xDBFF && end - *at >= 6 && (*at)[0] == '\\' && (*at)[1] == 'u') {
        int32_t low = four_digits(*at + 2, end);
        if (low >= 0xDC00 && low <= 0xDFFF) {
            *at += 6;
            code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
        }
    }
    return code;
}

/* Decodes \uXXXX or a surrogate pair from *from to *to; advances both. */
static bool decode_code(struct json_scan *scan, char **from, char **to)
{
    const char *at = *from + 2;
    int32_t code = json_scan_code(&at, scan->end);
    if (code < 0)
        return json_scan_refuse(scan, *from, "\\u must be followed by four hexadecimal digits");
    *from += at - *from;
    if (code >= 0xD800 && code <= 0xDFFF) {
        scan->replaced++;
        code = 0xFFFD;
    }
    scan->nuls += code == 0;
    *to += text_utf8_write(*to, (uint32_t)code);
    return true;
}

/* Decodes the escape from *from to *to; advances both. */
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

/* Records why a byte is invalid in a string. */
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

size_t json_scan_replace_nuls(char *string, size_t length)
{
    size_t nuls = 0;
    for (size_t i = 0; i < length; i++)
        nuls += string[i] == '\0';
    size_t whole = length + 2 * nuls, to = whole;
    string[to] = '\0';
    for (size_t from = length; nuls > 0; from--) {
        if (string[from - 1] != '\0') {
            string[--to] = string[from - 1];
            continue;
        }
        to -= 3;
        memcpy(string + to, "\xEF\xBF\xBD", 3);
        nuls--;
    }
    return whole;
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
