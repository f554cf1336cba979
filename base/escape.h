/* Escaping of untrusted text for HTML, JSON, terminals and shells; all such output goes through these functions. (For
 * the log: log_quote.) */
#ifndef BASE_ESCAPE_H
#define BASE_ESCAPE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/buffer.h"

/* Appends printf-like. Untrusted text must not be among the arguments. */
void write_format(struct buffer *out, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Appends text escaped for HTML, for use in an element or a quoted attribute. */
void write_html(struct buffer *out, const char *text);
void write_html_bytes(struct buffer *out, const char *text, size_t length);

/* Passes the inside of a JSON string to put, piece by piece, without allocating. Invalid UTF-8 becomes U+FFFD, and `<`
 * is escaped. Pieces may be empty. */
typedef void escape_put(void *context, const char *text, size_t length);
void escape_json(const char *text, size_t length, escape_put *put, void *context);

/* Appends a quoted JSON string, with the same escapes. */
void write_json(struct buffer *out, const char *text);
void write_json_bytes(struct buffer *out, const char *text, size_t length);

/* Appends `"name": `, preceded by a comma unless it is the object's first member. */
void write_name(struct buffer *out, const char *name);

/* Appends a member, as write_name does, with its value. */
void write_number_member(struct buffer *out, const char *name, uint64_t value);
void write_null_member(struct buffer *out, const char *name);
void write_text_member(struct buffer *out, const char *name, const char *value);
void write_bool_member(struct buffer *out, const char *name, bool value);

/* Appends a member with a Unix time in ms as RFC 3339; 0: null. */
void write_time_member(struct buffer *out, const char *name, int64_t ms);

/* Appends a number with thousands separators: 12,345. */
void write_count(struct buffer *out, uint64_t count);

/* ---- terminals: control characters, which could move the cursor or change colours, are made visible ---- */

/* Writes text for a terminal: control characters (including Unicode's) as \u001b, bytes that are not valid UTF-8 as
 * \xff. Returns the number of bytes written. */
size_t plain_write(FILE *out, const char *text, size_t length);

/* Writes text like plain_write, as one line: line ends and tabs become blanks. */
void plain_line(FILE *out, const char *text, size_t length);

/* Writes a NUL-terminated text like plain_write ("-" for NULL), padded with blanks to width bytes; at least one
 * blank. width 0: the last column, without any. */
void plain_column(FILE *out, const char *text, size_t width);

/* Returns a copy of a NUL-terminated text as valid UTF-8, for JSON: each invalid byte becomes `?` (reasons are
 * truncated at a byte count). The caller frees it. NULL when out of memory. */
char *plain_utf8(const char *text);

/* The same in place, of so many bytes. */
void plain_utf8_in_place(char *text, size_t length);

/* ---- shells ---- */

/* Returns the word quoted for a shell; the caller frees it. NULL when out of memory. */
char *escape_shell(const char *word);

#endif
