/* U+0000 in texts: PostgreSQL takes none, and one in one row makes the load of a whole table fail. */
#include "transform/parsed.h"

#include <json-c/json.h>
#include <json-c/linkhash.h>
#include <string.h>

#include "base/buffer.h"

/* Appends a text with U+FFFD in the place of each U+0000. */
static void append_replaced(struct buffer *out, const char *text, size_t length)
{
    for (size_t at = 0; at < length;) {
        size_t run = strnlen(text + at, length - at);
        buffer_append(out, text + at, run);
        at += run;
        if (at < length) {
            buffer_text(out, "\xEF\xBF\xBD");
            at++;
        }
    }
}

static bool replace_in_string(struct json_object *string, size_t *count)
{
    const char *text = json_object_get_string(string);
    size_t length = (size_t)json_object_get_string_len(string);
    if (memchr(text, '\0', length) == NULL)
        return true;
    struct buffer out = {0};
    append_replaced(&out, text, length);
    bool good = !out.failed && json_object_set_string_len(string, out.data, (int)out.length) == 1;
    buffer_free(&out);
    *count += good;
    return good;
}

/* Recursive: JSON_DEPTH_MAX bounds the depth. */
bool nul_replace(struct json_object *value, size_t *count)
{
    bool good = true;
    if (json_object_is_type(value, json_type_string)) {
        return replace_in_string(value, count);
    } else if (json_object_is_type(value, json_type_array)) {
        size_t length = json_object_array_length(value);
        for (size_t i = 0; good && i < length; i++)
            good = nul_replace(json_object_array_get_idx(value, i), count);
    } else if (json_object_is_type(value, json_type_object)) {
        const struct lh_entry *entry;
        lh_foreach(json_object_get_object(value), entry)
        {
            good = good && nul_replace(lh_entry_v(entry), count);
        }
    }
    return good;
}
