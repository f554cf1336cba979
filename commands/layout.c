/* JSON text, indented: see layout.h. */
#include "commands/layout.h"

#include "base/escape.h"

/* A line's end comes by itself where it is the layout's own; in a token it would be a control character. */
static void write_plain(void *context, const char *text, size_t length)
{
    if (length == 1 && *text == '\n')
        fputc('\n', context);
    else
        plain_write(context, text, length);
}

struct layout layout_on(FILE *out)
{
    return (struct layout){.write = write_plain, .context = out};
}

bool layout_write(FILE *out, const char *text, size_t length, const char *const *paths, size_t count, size_t *removed)
{
    const struct layout layout = layout_on(out);
    bool good = layout_text(&layout, text, length, paths, count, removed);
    fputc('\n', out);
    return good;
}
