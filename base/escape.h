/* Writing text into pages and JSON: everything that came from outside goes through these. */
#ifndef BASE_ESCAPE_H
#define BASE_ESCAPE_H

#include <stdint.h>

#include "base/buffer.h"

/* Appends printf-like. What came from outside must not be among the arguments. */
void write_format(struct buffer *out, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Appends text for HTML, in an element or a quoted attribute: nothing of it is markup. */
void write_html(struct buffer *out, const char *text);
void write_html_bytes(struct buffer *out, const char *text, size_t length);

/* Appends a JSON string with its quotes. What is no UTF-8 becomes U+FFFD, and no `<` stands in it. */
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

#endif
