/* Text from outside on a terminal: what could move the cursor or change colours is shown, not done. */
#ifndef BASE_TERMINAL_H
#define BASE_TERMINAL_H

#include <stddef.h>
#include <stdio.h>

/* Writes text with its control characters (those of Unicode too) as \u001b, and bytes that are no UTF-8 as \xff.
 * Returns how many bytes were written. */
size_t plain_write(FILE *out, const char *text, size_t length);

/* Writes a NUL-terminated text likewise, "-" for NULL, and blanks up to width bytes, one at least. */
void plain_column(FILE *out, const char *text, size_t width);

/* A copy of a NUL-terminated text for JSON, which must be UTF-8: a byte that is none becomes `?` (reasons are cut at a
 * number of bytes). The caller frees. NULL when memory ran out. */
char *plain_utf8(const char *text);

#endif
