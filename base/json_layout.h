/* JSON text laid out for people: every token as it stands in the text, a member a line, and without the members that
 * nobody is to see. A tree would lose what a look at the event must show (null members, names that come twice, how a
 * number or string is spelt), and would be built by the parser, which this text may crash. */
#ifndef BASE_JSON_LAYOUT_H
#define BASE_JSON_LAYOUT_H

#include <stdbool.h>
#include <stddef.h>

/* Where it goes, and how. */
struct layout {
    void (*write)(void *context, const char *text, size_t length);
    void *context;
    bool compact; /* all in one line, without blanks between tokens */
};

/* Lays out JSON text. paths: members to leave out, from the root on, in the way of `remove` (rules.h); a member whose
 * name cannot be decoded is left out where there are paths. *removed counts what was left out. Needs memory for the
 * paths only, whatever the text is. Returns false at the place where the text is no JSON, or when memory is out. */
bool layout_text(const struct layout *layout, const char *text, size_t length, const char *const *paths, size_t count,
                 size_t *removed);

#endif
