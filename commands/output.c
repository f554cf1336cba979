/* What commands print as JSON: see output.h. */
#include "commands/output.h"

#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/escape.h"
#include "base/times.h"
#include "commands/commands.h"

/* Returns the value; ends the process when it is NULL, for memory ran out. */
static struct json_object *value_or_exit(struct json_object *value)
{
    if (value != NULL)
        return value;
    fputs("closecrm.fcgi: out of memory\n", stderr);
    exit(COMMAND_FAILED);
}

void output_member(struct json_object *object, const char *name, struct json_object *member)
{
    if (json_object_object_add(object, name, member) != 0)
        value_or_exit(NULL);
}

static struct json_object *make_utf8(const char *text)
{
    char *copy = plain_utf8(text);
    struct json_object *value = copy == NULL ? NULL : json_object_new_string(copy);
    free(copy);
    return value;
}

void output_moment(const char *label, int64_t ms, int64_t now_ms)
{
    char date[WHEN_SIZE], age[WHEN_SIZE];
    if (ms == 0)
        printf("%s never\n", label);
    else
        printf("%s %s (%s ago)\n", label, times_print_utc(ms, date), times_print_age(now_ms - ms, age));
}

struct json_object *output_new(void)
{
    return value_or_exit(json_object_new_object());
}

void output_text(struct json_object *object, const char *name, const char *text)
{
    output_member(object, name, text == NULL ? NULL : value_or_exit(make_utf8(text)));
}

void output_number(struct json_object *object, const char *name, uint64_t number)
{
    output_member(object, name, value_or_exit(json_object_new_uint64(number)));
}

void output_bool(struct json_object *object, const char *name, bool value)
{
    output_member(object, name, value_or_exit(json_object_new_boolean(value)));
}

void output_ms(struct json_object *object, const char *name, int64_t ms)
{
    char date[WHEN_SIZE];
    output_text(object, name, ms == 0 ? NULL : times_print_utc(ms, date));
}

void output_us(struct json_object *object, const char *name, int64_t us)
{
    char date[DATE_PRINTED];
    output_text(object, name, us == 0 ? NULL : times_print(us, DATE_MILLISECONDS, date));
}

void output_print(struct json_object *object)
{
    const char *text = json_object_to_json_string_ext(object, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);
    puts(text == NULL ? "null" : text);
    json_object_put(object);
}

struct json_object *output_event(uint64_t id, const char *source, const struct headline *headline, size_t bytes)
{
    struct json_object *object = output_new();
    output_number(object, "id", id);
    output_text(object, "source", source);
    output_text(object, "event", headline->name);
    output_text(object, "event_id", headline->id);
    output_text(object, "lead_id", headline->lead);
    output_number(object, "bytes", bytes);
    if (headline->why.text[0] != '\0')
        output_text(object, "unusable", headline->why.text);
    return object;
}
