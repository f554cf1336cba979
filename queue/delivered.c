/* The delivered mark, in a small file: see delivered.h. */
#include "queue/delivered.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/files.h"
#include "base/times.h"

#define NAME "delivered"
#define LINE_MOST 128

int64_t delivered_mark(const char *state_dir, const char *source)
{
    char *text = small_file_read(state_dir, NAME, NULL, NULL);
    int64_t mark = text == NULL ? 0 : small_number(text, source, 0);
    small_file_free(text);
    return mark > 0 ? mark : 0;
}

bool delivered_write(const char *state_dir, const struct delivered *marks, size_t count, struct error *why)
{
    size_t size = count * LINE_MOST + 1, at = 0;
    char *text = size <= SMALL_FILE_MOST ? calloc(1, size) : NULL;
    if (text == NULL) {
        error_set(why, "too many sources for the delivered mark");
        return false;
    }
    for (size_t i = 0; i < count; i++)
        at += (size_t)snprintf(text + at, LINE_MOST, "%.79s = %lld\n", marks[i].source, (long long)marks[i].mark_ms);
    bool good = small_file_replace(state_dir, NAME, text, why);
    free(text);
    return good;
}

/* ---- a look at a body ---- */

struct text {
    const char *at, *end;
};

/* Takes the string whose quote is next; returns its bytes as they are spelt. */
static const char *take_string(struct text *text, size_t *length)
{
    const char *begin = ++text->at;
    while (text->at < text->end && *text->at != '"')
        text->at += *text->at == '\\' && text->at + 1 < text->end ? 2 : 1;
    *length = (size_t)(text->at - begin);
    if (text->at < text->end)
        text->at++;
    return begin;
}

static void skip_to_value(struct text *text)
{
    while (text->at < text->end && strchr(" \t\r\n:", *text->at) != NULL && *text->at != '\0')
        text->at++;
}

/* The member stands two levels deep: {"event": {"date_updated": "..."}}. */
int64_t delivered_date_of(const char *body, size_t length)
{
    static const char wanted[] = "date_updated";
    struct text text = {body, body + length};
    unsigned depth = 0;
    while (text.at < text.end) {
        if (*text.at != '"') {
            depth += *text.at == '{' || *text.at == '[';
            depth -= depth > 0 && (*text.at == '}' || *text.at == ']');
            text.at++;
            continue;
        }
        size_t n;
        const char *name = take_string(&text, &n);
        if (depth != 2 || n != sizeof wanted - 1 || memcmp(name, wanted, n) != 0)
            continue;
        skip_to_value(&text);
        if (text.at >= text.end || *text.at != '"')
            continue;
        const char *date = take_string(&text, &n);
        return date_read(date, n);
    }
    return DATE_UNREADABLE;
}
