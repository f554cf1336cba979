/* An error: its kind, for the code that branches on it, and its text, for the person who has to mend it. Travels as an
 * out-parameter up to the one place that knows what to answer: an HTTP error, a log line, a command's message. */
#ifndef BASE_ERROR_H
#define BASE_ERROR_H

#include <stddef.h>

/* Nobody branches on an error's text. A function whose callers branch says in its header which kinds it sets. */
enum error_kind {
    ERROR_GENERAL,  /* nothing that a caller has to know apart */
    ERROR_MISSING,  /* what was asked for does not exist */
    ERROR_REJECTED, /* the other side understood the request and refuses it as wrong: the same one will not pass */
};

struct error {
    char text[512]; /* a sentence without a full stop, never a secret; "" when nothing failed */
    enum error_kind kind;
};

/* Sets the text, printf-like; what does not fit is cut. The kind becomes ERROR_GENERAL. error may be NULL: then nobody
 * wants to know. */
void error_set(struct error *error, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The same with a kind. */
void error_set_kind(struct error *error, enum error_kind kind, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Puts words before the text that is there ("config: " + "no such key"). The kind stays. */
void error_prefix(struct error *error, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
