/* JSON arrays as they come: see output.h. */
#include "commands/output.h"

#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/terminal.h"
#include "base/times.h"

static bool add(struct json_object *row, const char *name, struct json_object *value)
{
    if (json_object_object_add(row, name, value) == 0)
        return true;
    json_object_put(value);
    return false;
}

struct json_object *rows_text(const char *text)
{
    char *copy = plain_utf8(text);
    struct json_object *value = copy == NULL ? NULL : json_object_new_string(copy);
    free(copy);
    return value;
}

bool rows_add_text(struct json_object *row, const char *name, const char *text)
{
    struct json_object *value = text == NULL ? NULL : rows_text(text);
    return (text == NULL || value != NULL) && add(row, name, value);
}

bool rows_add_date(struct json_object *row, const char *name, int64_t ms)
{
    char date[WHEN_SIZE];
    return rows_add_text(row, name, ms == 0 ? NULL : when_print(ms, date));
}

bool rows_add_truth(struct json_object *row, const char *name, bool truth)
{
    struct json_object *value = json_object_new_boolean(truth);
    return value != NULL && add(row, name, value);
}

static bool add_number(struct json_object *row, const char *name, uint64_t number)
{
    struct json_object *value = json_object_new_uint64(number);
    return value != NULL && add(row, name, value);
}

struct json_object *rows_new(uint64_t id, const char *source, const struct headline *headline, size_t bytes)
{
    struct json_object *row = json_object_new_object();
    if (row == NULL)
        return NULL;
    bool good = add_number(row, "id", id) && rows_add_text(row, "source", source) &&
                rows_add_text(row, "event", headline->name) && rows_add_text(row, "event_id", headline->id) &&
                rows_add_text(row, "lead_id", headline->lead) && add_number(row, "bytes", bytes);
    if (good && headline->why.text[0] != '\0')
        good = rows_add_text(row, "unusable", headline->why.text);
    if (good)
        return row;
    json_object_put(row);
    return NULL;
}

void rows_write(struct rows *rows, struct json_object *row)
{
    const char *text = json_object_to_json_string_ext(row, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);
    printf("%s%s", rows->count++ == 0 ? "[\n" : ",\n", text == NULL ? "null" : text);
    json_object_put(row);
}

void rows_end(const struct rows *rows)
{
    puts(rows->count == 0 ? "[]" : "\n]");
}
