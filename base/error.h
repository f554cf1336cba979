/* An error: a kind, for code that branches on it, and a text, for the person who has to fix it. Passed up as an
 * out-parameter to the one place that turns it into an HTTP error, a log line or a command's message. */
#ifndef BASE_ERROR_H
#define BASE_ERROR_H

#include <stddef.h>

/* Code never branches on the text. A function whose callers branch on the kind lists in its header the kinds that it
 * sets. */
enum error_kind {
    ERROR_GENERAL,  /* no distinction needed */
    ERROR_MISSING,  /* the requested thing does not exist */
    ERROR_REJECTED, /* the peer understood the request and refuses it as invalid: repeating it is useless */
};

struct error {
    char text[512]; /* a sentence without a full stop, never a secret; "" when nothing failed */
    enum error_kind kind;
};

/* Sets the text, printf-like, truncated to fit, and the kind ERROR_GENERAL. error may be NULL, then nothing happens. */
void error_set(struct error *error, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* As error_set, with a kind. */
void error_set_kind(struct error *error, enum error_kind kind, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Puts a prefix before the text ("config: " + "no such key"). The kind stays. */
void error_prefix(struct error *error, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
