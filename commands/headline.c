/* Name, id and lead of a body: see headline.h. */
#include "commands/headline.h"

#include <stdlib.h>
#include <string.h>

#include "transform/rules.h"

void headline_read(struct headline *headline, const char *body, size_t length)
{
    *headline = (struct headline){.parsed = NULL};
    headline->parsed = transform_parse(body, length, NULL, &headline->why);
    if (headline->parsed == NULL)
        return;
    headline->name = strdup(transform_event_name(headline->parsed));
    if (headline->name == NULL) {
        headline_free(headline);
        why_set(&headline->why, "out of memory");
        return;
    }
    char *blank = strrchr(headline->name, ' '); /* "opportunity updated" */
    if (blank != NULL)
        *blank = '.';
    headline->id = transform_event_id(headline->parsed);
    headline->lead = transform_lead(headline->parsed);
}

bool headline_fits(const struct headline *headline, const char *pattern)
{
    char *patterns[] = {(char *)(uintptr_t)pattern};
    struct rules rules = {.keep = patterns, .keeps = 1};
    return headline->name != NULL && rules_keep(&rules, headline->name, strlen(headline->name));
}

void headline_free(struct headline *headline)
{
    parsed_free(headline->parsed);
    free(headline->name);
    headline->parsed = NULL;
    headline->name = NULL;
    headline->id = headline->lead = NULL;
}
