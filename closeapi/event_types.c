/* Event types: see event_types.h. */
#include "closeapi/event_types.h"

#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* made by make from event-types.tsv */
static const struct event_type documented[] = {
#include "build/closeapi/event-types.inc"
};

#define DOCUMENTED (sizeof documented / sizeof *documented)

const struct event_type *event_types_all(size_t *count)
{
    *count = DOCUMENTED;
    return documented;
}

static bool choice_has(const struct event_choice *choice, const struct event_type *type)
{
    for (size_t i = 0; i < choice->count; i++) {
        if (strcmp(choice->at[i].object_type, type->object_type) == 0 &&
            strcmp(choice->at[i].action, type->action) == 0)
            return true;
    }
    return false;
}

bool event_choice_add(struct event_choice *choice, const struct event_type *type)
{
    if (choice_has(choice, type))
        return true;
    struct event_type *more = realloc(choice->at, (choice->count + 1) * sizeof *more);
    if (more == NULL)
        return false;
    choice->at = more;
    more[choice->count++] = *type;
    return true;
}

/* Adds all documented types that the pattern matches. Returns how many it matched; -1: no memory. */
static int choice_add_matching(struct event_choice *choice, const char *pattern)
{
    int matched = 0;
    for (size_t i = 0; i < DOCUMENTED; i++) {
        char name[128];
        snprintf(name, sizeof name, "%s.%s", documented[i].object_type, documented[i].action);
        if (fnmatch(pattern, name, 0) != 0)
            continue;
        if (!event_choice_add(choice, &documented[i]))
            return -1;
        matched++;
    }
    return matched;
}

static bool is_type_pattern(const char *word)
{
    size_t length = strlen(word);
    return strspn(word, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.*") == length && length < 120;
}

/* word is a part of choice->text, and may be split there. */
static bool choice_take_word(struct event_choice *choice, char *word, struct error *why)
{
    char *dot = strrchr(word, '.');
    if (!is_type_pattern(word) || (dot == NULL && strcmp(word, "*") != 0) || dot == word ||
        (dot != NULL && dot[1] == '\0')) {
        error_set(why, "events are named like lead.created, opportunity.* or *.deleted, not \"%.60s\"", word);
        return false;
    }
    int matched = choice_add_matching(choice, word);
    bool pattern = strchr(word, '*') != NULL;
    if (matched == 0 && pattern) {
        error_set(why, "no documented event matches \"%.60s\": name a new one in full, like lead.created", word);
        return false;
    }
    bool added = matched >= 0;
    if (matched == 0 && dot != NULL) {
        *dot = '\0';
        added = event_choice_add(choice, &(struct event_type){word, dot + 1});
    }
    if (!added)
        error_set(why, "out of memory");
    return added;
}

bool event_types_choose(const char *patterns, struct event_choice *choice, struct error *why)
{
    static const char between[] = ", \t\n";
    *choice = (struct event_choice){.text = strdup(patterns == NULL ? "*" : patterns)};
    bool good = choice->text != NULL;
    if (!good)
        error_set(why, "out of memory");
    for (char *rest = choice->text, *word; good && (word = strtok_r(NULL, between, &rest)) != NULL;)
        good = choice_take_word(choice, word, why);
    if (good && choice->count == 0) {
        error_set(why, "no event is named");
        good = false;
    }
    if (!good)
        event_choice_free(choice);
    return good;
}

void event_choice_free(struct event_choice *choice)
{
    free(choice->at);
    free(choice->text);
    *choice = (struct event_choice){0};
}
