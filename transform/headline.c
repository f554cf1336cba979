/* Name, id and lead of a body: see headline.h. */
#include "transform/headline.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "transform/parsed.h"
#include "transform/rules.h"

/* The wanted members of the event. */
enum { TYPE, ACTION, ID, LEAD, WANTED };

struct reading {
    struct json_walk walk;
    bool in_event; /* the current member of the body is `event`, and an object */
    bool has_event;
    char text[WANTED][HEADLINE_TEXT];
};

/* Decodes a string token, truncated to fit; "" for other tokens and blank strings, which are not usable. */
static void take_text(const struct json_walk *walk, char out[static HEADLINE_TEXT])
{
    const char *at = walk->token + 1, *end = walk->token + walk->length;
    size_t used = 0;
    out[0] = '\0';
    if (*walk->token != '"')
        return;
    if (walk->length > 1 && end[-1] == '"')
        end--;
    while (at < end) {
        char bytes[4];
        size_t count = json_walk_character(&at, end, bytes);
        bool is_nul = count == 1 && bytes[0] == '\0';
        if (is_nul)
            memcpy(bytes, "\xEF\xBF\xBD", count = 3);
        if (used + count >= HEADLINE_TEXT)
            break;
        memcpy(out + used, bytes, count);
        used += count;
    }
    if (used + 4 >= HEADLINE_TEXT) { /* the cut may be inside a character */
        while (used > 0 && ((unsigned char)out[used - 1] & 0xC0) == 0x80)
            used--;
        used -= used > 0 && ((unsigned char)out[used - 1] & 0x80) != 0;
    }
    out[identifier_is_blank(out, used) ? 0 : used] = '\0';
}

/* Reads the value of a member of the event. Of duplicate names the last counts. */
static enum json_token take_member(struct reading *reading)
{
    static const char *const names[WANTED] = {"object_type", "action", "id", "lead_id"};
    char *wanted = NULL;
    for (size_t i = 0; i < WANTED && wanted == NULL; i++)
        wanted = json_walk_is(&reading->walk, names[i]) ? reading->text[i] : NULL;
    enum json_token token = json_walk_next(&reading->walk);
    if (wanted != NULL)
        wanted[0] = '\0';
    if (wanted != NULL && token == JSON_TOKEN_VALUE)
        take_text(&reading->walk, wanted);
    return token;
}

/* Reads the value of a member of the body. */
static enum json_token take_outer(struct reading *reading)
{
    bool is_event = json_walk_is(&reading->walk, "event");
    enum json_token token = json_walk_next(&reading->walk);
    reading->in_event = is_event && token == JSON_TOKEN_OPEN && *reading->walk.token == '{';
    if (is_event) {
        reading->has_event = reading->in_event;
        memset(reading->text, 0, sizeof reading->text);
    }
    return token;
}

static enum json_token read_all(struct reading *reading)
{
    struct json_walk *walk = &reading->walk;
    bool is_object = false;
    enum json_token token = json_walk_next(walk);
    if (token == JSON_TOKEN_OPEN)
        is_object = *walk->token == '{';
    while (token != JSON_TOKEN_END && token != JSON_TOKEN_BROKEN) {
        if (token == JSON_TOKEN_NAME && is_object && walk->depth == 1)
            token = take_outer(reading);
        else if (token == JSON_TOKEN_NAME && reading->in_event && walk->depth == 2)
            token = take_member(reading);
        else
            token = json_walk_next(walk);
    }
    return token;
}

static const char *given(const char *text)
{
    return text[0] == '\0' ? NULL : text;
}

static void say_why(struct headline *headline, const struct reading *reading, enum json_token last, const char *body)
{
    const char *type = reading->text[TYPE], *action = reading->text[ACTION];
    if (last == JSON_TOKEN_BROKEN)
        error_set(&headline->why, "byte %zu: from here on it is no JSON", (size_t)(reading->walk.at - body));
    else if (!reading->has_event)
        error_set(&headline->why, "it has no member event that is an object");
    else if (*type == '\0' || *action == '\0')
        error_set(&headline->why, "event.%s is missing, blank or not a string",
                  *type == '\0' ? "object_type" : "action");
}

void headline_read(struct headline *headline, const char *body, size_t length)
{
    struct reading reading = {.walk = {.at = body, .end = body + length}};
    *headline = (struct headline){.name = NULL};
    enum json_token last = read_all(&reading);
    say_why(headline, &reading, last, body);
    const char *type = reading.text[TYPE], *action = reading.text[ACTION];
    if (*type != '\0' && *action != '\0') {
        snprintf(headline->name_text, sizeof headline->name_text, "%.*s.%.*s", HEADLINE_TEXT / 2 - 1, type,
                 HEADLINE_TEXT / 2 - 1, action);
        headline->type_length = strlen(type) < HEADLINE_TEXT / 2 - 1 ? strlen(type) : HEADLINE_TEXT / 2 - 1;
        headline->name = headline->name_text;
    }
    memcpy(headline->id_text, reading.text[ID], HEADLINE_TEXT);
    memcpy(headline->lead_text, reading.text[LEAD], HEADLINE_TEXT);
    headline->id = given(headline->id_text);
    headline->lead = given(headline->lead_text);
}

bool headline_matches(const struct headline *headline, const char *pattern)
{
    char *patterns[] = {(char *)(uintptr_t)pattern};
    struct rules rules = {.keep = patterns, .keeps = 1};
    return headline->name != NULL && rules_keep(&rules, headline->name, strlen(headline->name));
}

void headline_event(const struct headline *headline, char *out, size_t size)
{
    snprintf(out, size, "%s", headline->name == NULL ? "(unreadable)" : headline->name);
    if (headline->name != NULL && headline->type_length < strlen(out))
        out[headline->type_length] = ' ';
}
