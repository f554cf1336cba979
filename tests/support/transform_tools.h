/* What the tests of the transform stage share: bodies in, messages out. */
#ifndef TESTS_SUPPORT_TRANSFORM_TOOLS_H
#define TESTS_SUPPORT_TRANSFORM_TOOLS_H

#include <stdbool.h>
#include <stddef.h>

#include "transform/transform.h"

/* The message of a body, NUL-terminated, to be freed; ends the test when there is none. rules NULL: none. */
char *tool_message(const char *body, size_t length, const struct rules *rules, bool newer_version);

/* The text of one top-level member of a body's message, as JSON ("\"track\""); "" when it has none. To be freed. */
char *tool_member(const char *body, const char *name);

/* Asserts that a member of the body's message has exactly this JSON text. */
void tool_check_member(const char *body, const char *name, const char *expected);

/* Whether the strict reader takes a text; why says why not. */
bool tool_is_json(const char *bytes, size_t length, struct error *why);

/* A file of the source tree, NUL-terminated, to be freed; ends the test when it cannot be read. */
char *tool_file(const char *path);

/* JSON as json-c's own parser and printer make it compact; to be freed. */
char *tool_compact(const char *json);

#endif
