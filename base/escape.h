/* Text from outside that goes into HTML, into JSON, to a terminal: everything of that kind passes here. (Into the log:
 * log_quote.) */
#ifndef BASE_ESCAPE_H
#define BASE_ESCAPE_H

#include <stdint.h>
#include <stdio.h>

#include "base/buffer.h"

/* Appends printf-like. What came from outside must not be among the arguments. */
void write_format(struct buffer *out, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Appends text for HTML, in an element or a quoted attribute: nothing of it is markup. */
void write_html(struct buffer *out, const char *text);
void write_html_bytes(struct buffer *out, const char *text, size_t length);

/* Hands out the inside of a JSON string piece by piece, without taking memory. What is no UTF-8 becomes U+FFFD, and no
 * `<` stands in it. put may get empty pieces. */
typedef void escape_put(void *context, const char *text, size_t length);
void escape_json(const char *text, size_t length, escape_put *put, void *context);

/* Appends a JSON string with its quotes, likewise escaped. */
void write_json(struct buffer *out, const char *text);
void write_json_bytes(struct buffer *out, const char *text, size_t length);

/* Appends `"name": `, with a comma before it unless it is an object's first. */
void write_name(struct buffer *out, const char *name);

/* Appends such members with their values. */
void write_number_member(struct buffer *out, const char *name, uint64_t value);
void write_text_member(struct buffer *out, const char *name, const char *value);

/* A Unix time in ms as RFC 3339; 0: null. */
void write_time_member(struct buffer *out, const char *name, int64_t ms);

/* Appends a number for people: 12,345. */
void write_count(struct buffer *out, uint64_t count);

/* ---- terminals: what could move the cursor or change colours is shown, not done ---- */

/* Writes text with its control characters (those of Unicode too) as \u001b, and bytes that are no UTF-8 as \xff.
 * Returns how many bytes were written. */
size_t plain_write(FILE *out, const char *text, size_t length);

/* Writes text likewise as one line: line ends and tabs in it become blanks. */
void plain_line(FILE *out, const char *text, size_t length);

/* Writes a NUL-terminated text likewise, "-" for NULL, and blanks up to width bytes, one at least. */
void plain_column(FILE *out, const char *text, size_t width);

/* A copy of a NUL-terminated text for JSON, which must be UTF-8: a byte that is none becomes `?` (reasons are cut at a
 * number of bytes). The caller frees. NULL when memory ran out. */
char *plain_utf8(const char *text);

/* ---- shells ---- */

/* A copy of a word that a shell reads as that word; the caller frees. NULL when memory ran out. */
char *escape_shell(const char *word);

#endif
