/* Looking at a body: see glance.h. One pass that counts braces and takes the members of `event`. */
#include "status/glance.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* The members of the event that are wanted. */
enum { TYPE, ACTION, LEAD, ID, WANTED };

struct look {
    const char *at, *end;
    size_t depth;
    char text[WANTED][80];
};

/* Goes over a string; at is at its first quote. Its inside. */
static const char *take_string(struct look *look, size_t *length)
{
    const char *start = ++look->at;
    while (look->at < look->end && *look->at != '"')
        look->at += *look->at == '\\' && look->end - look->at > 1 ? 2 : 1;
    *length = (size_t)(look->at - start);
    if (look->at < look->end)
        look->at++;
    return start;
}

static void skip_blanks(struct look *look)
{
    while (look->at < look->end && strchr(" \t\r\n", *look->at) != NULL && *look->at != '\0')
        look->at++;
}

/* A string was read: if it is a wanted member's name, its value is taken. */
static void take_member(struct look *look, const char *name, size_t length)
{
    static const char *const names[WANTED] = {"object_type", "action", "lead_id", "id"};
    skip_blanks(look);
    if (look->depth != 2 || look->at >= look->end || *look->at != ':')
        return;
    look->at++;
    skip_blanks(look);
    if (look->at >= look->end || *look->at != '"')
        return;
    size_t value_length;
    const char *value = take_string(look, &value_length);
    for (size_t i = 0; i < WANTED; i++) {
        if (strlen(names[i]) == length && memcmp(names[i], name, length) == 0)
            snprintf(look->text[i], sizeof look->text[i], "%.*s", (int)(value_length < 79 ? value_length : 79), value);
    }
}

void glance_at(const char *body, size_t length, struct glance *glance)
{
    struct look look = {.at = body, .end = body + length};
    memset(glance, 0, sizeof *glance);
    while (look.at < look.end) {
        char c = *look.at;
        if (c == '"') {
            size_t name_length;
            const char *name = take_string(&look, &name_length);
            take_member(&look, name, name_length);
            continue;
        }
        if (c == '{' || c == '[')
            look.depth++;
        if ((c == '}' || c == ']') && look.depth > 0)
            look.depth--;
        look.at++;
    }
    if (look.text[TYPE][0] != '\0' || look.text[ACTION][0] != '\0')
        snprintf(glance->name, sizeof glance->name, "%.60s %.30s", look.text[TYPE], look.text[ACTION]);
    snprintf(glance->lead, sizeof glance->lead, "%s", look.text[LEAD]);
    snprintf(glance->id, sizeof glance->id, "%s", look.text[ID]);
}
