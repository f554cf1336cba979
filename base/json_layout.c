/* JSON text, indented: see json_layout.h. */
#include "base/json_layout.h"

#include <stdlib.h>

#include "base/json_walk.h"

#define INDENT 2

/* An array or object that is open; the first stands for what is around the text. */
struct frame {
    size_t paths;   /* those that may end in it: from here on in the stack */
    size_t restore; /* how many the stack had before it */
    bool is_object;
    bool muted; /* it is left out */
    bool any;   /* a part of it was written */
};

/* The rests of the paths that may end in the value in hand lie on a stack: [paths, count). A member's name takes at
 * least one step off a path, so that the stack never holds more than all steps of all paths. */
struct laying {
    const struct layout *to;
    struct json_walk walk;
    const char **path;
    size_t count;
    size_t removed;
    size_t member_paths;   /* of the member whose value comes next */
    size_t member_restore; /* likewise */
    bool member_muted;
    struct frame frame[JSON_DEPTH_MAX + 1];
};

static void put(const struct laying *laying, const char *text, size_t length)
{
    laying->to->write(laying->to->context, text, length);
}

static void begin_line(const struct laying *laying, size_t depth)
{
    static const char blanks[] = "                                ";
    if (laying->to->compact)
        return;
    put(laying, "\n", 1);
    for (size_t left = depth * INDENT, step; left > 0; left -= step) {
        step = left < sizeof blanks - 1 ? left : sizeof blanks - 1;
        put(laying, blanks, step);
    }
}

/* What goes before a part of an array or object. */
static void begin_part(const struct laying *laying, const struct frame *frame)
{
    if (frame->any)
        put(laying, ",", 1);
    begin_line(laying, laying->walk.depth);
}

/* The rest of a path behind a name; NULL: it goes another way. *bad: the name cannot be decoded. */
static const char *behind(const char *path, const struct json_walk *walk, bool *bad)
{
    const char *at = walk->token + 1, *end = walk->token + walk->length - 1;
    while (at < end) {
        char bytes[4];
        size_t count = json_walk_character(&at, end, bytes);
        *bad = *bad || count == 0;
        for (size_t i = 0; i < count; i++, path++) {
            if (*path == '\0' || *path != bytes[i])
                return NULL;
        }
    }
    return path;
}

/* Puts the rests of those paths on the stack that go on below this member. Returns whether one ends here. */
static bool follow(struct laying *laying, size_t from)
{
    bool ends = false, bad = false;
    size_t here = laying->count;
    for (size_t i = from; i < here; i++) {
        const char *rest = behind(laying->path[i], &laying->walk, &bad);
        if (rest != NULL && *rest == '.')
            laying->path[laying->count++] = rest + 1;
        ends = ends || (rest != NULL && *rest == '\0');
    }
    return ends || bad; /* not knowing the name is no reason to show it */
}

static void lay_name(struct laying *laying, struct frame *frame)
{
    laying->member_restore = laying->member_paths = laying->count;
    bool left_out = follow(laying, frame->paths);
    laying->removed += left_out && !frame->muted;
    laying->member_muted = left_out || frame->muted;
    if (laying->member_muted)
        return;
    begin_part(laying, frame);
    put(laying, laying->walk.token, laying->walk.length);
    put(laying, ": ", laying->to->compact ? 1 : 2);
    frame->any = true;
}

/* A value comes, in the frame around it; what it is opens one of its own, which new_one is. */
static void begin_value(const struct laying *laying, struct frame *around, struct frame *new_one)
{
    *new_one = (struct frame){around->paths, laying->count, *laying->walk.token == '{', around->muted, false};
    if (around->is_object) {
        new_one->paths = laying->member_paths;
        new_one->restore = laying->member_restore;
        new_one->muted = laying->member_muted;
    }
}

static void lay_open(struct laying *laying)
{
    unsigned depth = --laying->walk.depth; /* of what is around it */
    struct frame *around = &laying->frame[depth];
    begin_value(laying, around, &laying->frame[depth + 1]);
    if (!around->is_object && !around->muted && depth > 0)
        begin_part(laying, around);
    around->any = around->any || !around->is_object;
    laying->walk.depth++;
    if (!laying->frame[depth + 1].muted)
        put(laying, laying->walk.token, 1);
}

static void lay_value(struct laying *laying)
{
    struct frame *around = &laying->frame[laying->walk.depth], itself;
    begin_value(laying, around, &itself);
    if (!around->is_object && !around->muted && laying->walk.depth > 0)
        begin_part(laying, around);
    around->any = around->any || !around->is_object;
    if (!itself.muted)
        put(laying, laying->walk.token, laying->walk.length);
    laying->count = itself.restore;
}

static void lay_close(struct laying *laying)
{
    const struct frame *closed = &laying->frame[laying->walk.depth + 1];
    if (!closed->muted && closed->any)
        begin_line(laying, laying->walk.depth);
    if (!closed->muted)
        put(laying, laying->walk.token, 1);
    laying->count = closed->restore;
}

static bool lay_all(struct laying *laying)
{
    for (;;) {
        switch (json_walk_next(&laying->walk)) {
        case JSON_TOKEN_NAME:
            lay_name(laying, &laying->frame[laying->walk.depth]);
            break;
        case JSON_TOKEN_OPEN:
            lay_open(laying);
            break;
        case JSON_TOKEN_CLOSE:
            lay_close(laying);
            break;
        case JSON_TOKEN_VALUE:
            lay_value(laying);
            break;
        case JSON_TOKEN_END:
            return true;
        case JSON_TOKEN_BROKEN:
            return false;
        }
    }
}

/* Room for all that can ever be on the stack. */
static bool make_stack(struct laying *laying, const char *const *paths, size_t count)
{
    size_t steps = 1;
    for (size_t i = 0; i < count; i++) {
        steps++;
        for (const char *at = paths[i]; *at != '\0'; at++)
            steps += *at == '.';
    }
    laying->path = calloc(steps, sizeof *laying->path);
    for (size_t i = 0; i < count && laying->path != NULL; i++)
        laying->path[laying->count++] = paths[i];
    return laying->path != NULL;
}

bool layout_text(const struct layout *layout, const char *text, size_t length, const char *const *paths, size_t count,
                 size_t *removed)
{
    struct laying *laying = calloc(1, sizeof *laying);
    *removed = 0;
    if (laying == NULL)
        return false;
    laying->to = layout;
    laying->walk.at = text;
    laying->walk.end = text + length;
    bool good = make_stack(laying, paths, count) && lay_all(laying);
    *removed = laying->removed;
    free(laying->path);
    free(laying);
    return good;
}
