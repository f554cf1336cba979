/* Why something failed, in words for the person who has to mend it. Travels as an out-parameter up to the one place
 * that knows what to answer: an HTTP error, a log line, a command's message. */
#ifndef BASE_ERROR_H
#define BASE_ERROR_H

#include <stddef.h>

struct why {
    char text[512]; /* a sentence without a full stop, never a secret; "" when nothing failed */
};

/* Sets the reason, printf-like; what does not fit is cut. why may be NULL: then nobody wants to know. */
void why_set(struct why *why, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Puts words before the reason that is there ("config: " + "no such key"). */
void why_prefix(struct why *why, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
