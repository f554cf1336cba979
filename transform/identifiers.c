/* Ids: see identifiers.h. */
#include "transform/identifiers.h"

#include <string.h>
#include <uuid/uuid.h>

/* 6f0e7b1c-2d49-4c58-9a3e-84c1d7f05b62: a random UUID, this program's namespace. It must never change: with it all
 * made ids would, and people and duplicates would not be known again. */
static const uuid_t namespace = {0x6f, 0x0e, 0x7b, 0x1c, 0x2d, 0x49, 0x4c, 0x58,
                                 0x9a, 0x3e, 0x84, 0xc1, 0xd7, 0xf0, 0x5b, 0x62};

/* White space beyond ASCII, as UTF-8: U+0085, U+00A0, U+1680, U+2000 to U+200A, U+2028, U+2029, U+202F, U+205F, U+3000
 * and the byte order mark U+FEFF. */
static const char *const wide_spaces[] = {
    "\xC2\x85",     "\xC2\xA0",     "\xE1\x9A\x80", "\xE2\x80\x80", "\xE2\x80\x81", "\xE2\x80\x82", "\xE2\x80\x83",
    "\xE2\x80\x84", "\xE2\x80\x85", "\xE2\x80\x86", "\xE2\x80\x87", "\xE2\x80\x88", "\xE2\x80\x89", "\xE2\x80\x8A",
    "\xE2\x80\xA8", "\xE2\x80\xA9", "\xE2\x80\xAF", "\xE2\x81\x9F", "\xE3\x80\x80", "\xEF\xBB\xBF",
};

/* The length of the white space character at the start of the text; 0: there is none. */
static size_t space_length(const char *text, size_t length)
{
    if (length == 0)
        return 0;
    if (*text == ' ' || (*text >= '\t' && *text <= '\r'))
        return 1;
    for (size_t i = 0; i < sizeof wide_spaces / sizeof *wide_spaces; i++) {
        size_t wide = strlen(wide_spaces[i]);
        if (wide <= length && memcmp(text, wide_spaces[i], wide) == 0)
            return wide;
    }
    return 0;
}

bool identifier_is_blank(const char *text, size_t length)
{
    size_t at = 0;
    size_t space;
    while ((space = space_length(text + at, length - at)) != 0)
        at += space;
    return at == length;
}

void identifier_make(const void *bytes, size_t length, unsigned char uuid[static 16])
{
    uuid_generate_sha1(uuid, namespace, bytes, length);
}

void identifier_make_text(const void *bytes, size_t length, char text[static IDENTIFIER_TEXT])
{
    uuid_t uuid = {0};
    identifier_make(bytes, length, uuid);
    uuid_unparse_lower(uuid, text);
}
