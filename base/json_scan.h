/* The smallest parts of JSON: white space, strings, numbers, words; strict as RFC 8259 and UTF-8 have them. They are
 * read in place: a string is decoded where it stands, which is always possible, for no escape is shorter than what it
 * means. */
#ifndef BASE_JSON_SCAN_H
#define BASE_JSON_SCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Zero bytes that must follow the text: reading stops at the first, so no step has to ask whether the text is over, and
 * a string may be looked at eight bytes at a time. */
#define JSON_SCAN_SPARE 8

/* A text being read. One thread. */
struct json_scan {
    char *at;         /* what is read next */
    const char *text; /* offsets count from here */
    const char *end;  /* the first of the zero bytes */

    size_t replaced; /* lone surrogates that became U+FFFD */
    size_t nuls;     /* \u0000 met: how a reader knows that a name holds one */

    const char *problem;    /* the first thing that was wrong, in words; NULL: nothing yet */
    const char *problem_at; /* and where */
};

/* Notes a problem at a place in the text; the first one stays. problem must be a literal. Returns false, always. */
bool json_scan_refuse(struct json_scan *scan, const char *at, const char *problem);

/* Skips white space and returns the byte after it, which is not consumed: '\0' at the end of the text. */
char json_scan_space(struct json_scan *scan);

/* Reads the string whose opening quote is next. Returns its decoded bytes, ended by a zero byte, with their number in
 * *length (they may hold a NUL); they stay where they are in the text. NULL with a problem noted. */
char *json_scan_string(struct json_scan *scan, size_t *length);

/* Reads the four digits behind \u, or the two such codes that make a surrogate pair; *at moves behind them. Returns the
 * code point, of a lone surrogate itself; -1: there are no four digits. */
int32_t json_scan_code(const char **at, const char *end);

/* Reads the number that is next; its text is what lies between the old and the new scan->at. False with a problem. */
bool json_scan_number(struct json_scan *scan);

/* Reads exactly that word: true, false or null. False with a problem noted. */
bool json_scan_word(struct json_scan *scan, const char *word);

#endif
