/* JSON tokens: white space, strings, numbers, literals; strict as in RFC 8259 and UTF-8. Strings are decoded in place,
 * which always fits, because an escape is never shorter than the bytes it stands for. */
#ifndef BASE_JSON_SCAN_H
#define BASE_JSON_SCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Number of zero bytes that must follow the text: scanning stops at the first, so no step needs a bounds check, and
 * strings can be scanned eight bytes at a time. */
#define JSON_SCAN_SPARE 8

/* A text being scanned. One thread. */
struct json_scan {
    char *at;         /* the next byte to read */
    const char *text; /* start, from which offsets count */
    const char *end;  /* the first zero byte after the text */

    size_t replaced; /* lone surrogates that became U+FFFD */
    size_t nuls;     /* \u0000 escapes so far: tells a reader that a name contains one */

    const char *problem;    /* the first error; NULL: none yet */
    const char *problem_at; /* its position */
};

/* Records an error at a position in the text; only the first is kept. problem must be a literal. Always returns
 * false. */
bool json_scan_refuse(struct json_scan *scan, const char *at, const char *problem);

/* Skips white space and returns the byte after it without consuming it: '\0' at the end of the text. */
char json_scan_space(struct json_scan *scan);

/* Reads the string whose opening quote is next. Returns its decoded bytes, zero-terminated, with their number in
 * *length (there may be a NUL among them); they stay in the text's memory. NULL with the error recorded. */
char *json_scan_string(struct json_scan *scan, size_t *length);

/* Makes each NUL of a string that json_scan_string returned U+FFFD, in the text's memory, where there is room: a NUL
 * stands for an escape of six bytes. Call before anything else is scanned. Returns the new length. */
size_t json_scan_replace_nuls(char *string, size_t length);

/* Reads the four digits after \u, or the two such codes of a surrogate pair; moves *at behind them. Returns the code
 * point (a lone surrogate as itself); -1 when there are no four digits. */
int32_t json_scan_code(const char **at, const char *end);

/* Reads a number; its text lies between the old and the new scan->at. Returns false with the error recorded. */
bool json_scan_number(struct json_scan *scan);

/* Reads exactly that literal: true, false or null. Returns false with the error recorded. */
bool json_scan_word(struct json_scan *scan, const char *word);

#endif
