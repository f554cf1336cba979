/* What the tests of the transform stage share: see transform_tools.h. */
#include "tests/support/transform_tools.h"

#include <CUnit/CUnit.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"

#define FLAGS (JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE)

char *tool_message(const char *body, size_t length, const struct rules *rules, bool newer_version)
{
    static const struct rules none;
    struct error why = {0};
    struct parsed *parsed = transform_parse_for(body, length, rules, NULL, &why);
    if (parsed == NULL)
        printf("\n    %s", why.text);
    CU_ASSERT_PTR_NOT_NULL_FATAL(parsed);
    struct buffer out = {0};
    CU_ASSERT_EQUAL_FATAL(transform_message(parsed, rules == NULL ? &none : rules, newer_version, &out), TRANSFORM_OK);
    parsed_free(parsed);
    buffer_append(&out, "", 1);
    CU_ASSERT_FALSE_FATAL(out.failed);
    return out.data;
}

char *tool_member(const char *body, const char *name)
{
    char *message = tool_message(body, strlen(body), NULL, false);
    struct json_object *tree = json_tokener_parse(message);
    CU_ASSERT_PTR_NOT_NULL_FATAL(tree);
    struct json_object *value;
    bool found = json_object_object_get_ex(tree, name, &value);
    char *text = strdup(found ? json_object_to_json_string_ext(value, FLAGS) : "");
    json_object_put(tree);
    free(message);
    return text;
}

void tool_check_member(const char *body, const char *name, const char *expected)
{
    char *text = tool_member(body, name);
    if (strcmp(text, expected) != 0)
        printf("\n    %s of %s is %s, not %s", name, body, text, expected);
    CU_ASSERT_STRING_EQUAL(text, expected);
    free(text);
}

bool tool_is_json(const char *bytes, size_t length, struct error *why)
{
    /* Exactly as long as the text, so that the sanitizers see a reader that goes beyond it. */
    char *copy = malloc(length > 0 ? length : 1);
    memcpy(copy, bytes, length);
    struct json_document document;
    bool out_of_memory;
    bool taken = json_read(copy, length, NULL, &document, &out_of_memory, why);
    json_document_free(&document);
    free(copy);
    return taken;
}

char *tool_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL)
        printf("\n    %s cannot be read; tests run from the top of the source tree", path);
    CU_ASSERT_PTR_NOT_NULL_FATAL(file);
    char *text = calloc(1, 65536);
    CU_ASSERT_PTR_NOT_NULL_FATAL(text);
    size_t length = fread(text, 1, 65535, file);
    CU_ASSERT_TRUE_FATAL(length > 0);
    fclose(file);
    return text;
}

char *tool_compact(const char *json)
{
    struct json_object *tree = json_tokener_parse(json);
    CU_ASSERT_PTR_NOT_NULL_FATAL(tree);
    char *text = strdup(json_object_to_json_string_ext(tree, FLAGS));
    json_object_put(tree);
    return text;
}
