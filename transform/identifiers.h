/* Ids: which of Close's count, and those that are made where Close gives none. */
#ifndef TRANSFORM_IDENTIFIERS_H
#define TRANSFORM_IDENTIFIERS_H

#include <stdbool.h>
#include <stddef.h>

/* A UUID as text, with its zero byte. */
#define IDENTIFIER_TEXT 37

/* Whether UTF-8 text is empty or nothing but white space, in the sense of Unicode, Go or JavaScript: RudderStack trims
 * with all of them. */
bool identifier_is_blank(const char *text, size_t length);

/* The UUID version 5 over these bytes in this program's own namespace: the same for the same bytes always. */
void identifier_make(const void *bytes, size_t length, unsigned char uuid[static 16]);

/* The same as text, in small letters. */
void identifier_make_text(const void *bytes, size_t length, char text[static IDENTIFIER_TEXT]);

#endif
