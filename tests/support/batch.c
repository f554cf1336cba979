/* The data plane's judgement of a body, as reference and experiment have it: all or nothing. */
#include "tests/support/batch.h"

#include <json-c/json.h>
#include <json-c/json_visit.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "tests/support/strict_json.h"

/* The real one takes 20,000; is_strict_json may stop here, and the program itself stops at 512. */
#define MAX_DEPTH 1000

/* What /v1/track and its kin put around their one message before they measure it. */
#define WRAPPER_LENGTH (sizeof "{\"batch\": []}" - 1)

static const struct refusal accepted = {0, NULL};
static const struct refusal invalid_json = {400, "invalid json"};
static const struct refusal not_identifiable = {400, "request neither has anonymousId nor userId"};

bool batch_unpack(struct slice packed, struct buffer *body)
{
    z_stream stream = {.next_in = (Bytef *)(uintptr_t)packed.at, .avail_in = (uInt)packed.length};
    if (inflateInit2(&stream, 16 + MAX_WBITS) != Z_OK)
        return false;
    int result = Z_OK;
    while (result == Z_OK && body->length <= DATA_PLANE_MAX_BODY) {
        char *room = buffer_room(body, 65536);
        if (room == NULL)
            break;
        stream.next_out = (Bytef *)room;
        stream.avail_out = 65536;
        result = inflate(&stream, Z_NO_FLUSH);
        body->length += 65536 - stream.avail_out;
    }
    inflateEnd(&stream);
    return !body->failed && (result == Z_STREAM_END || body->length > DATA_PLANE_MAX_BODY);
}

/* Stops at a number that is none for the data plane: beyond a double (1e400). */
static int find_infinite(json_object *value, int flags, json_object *parent, const char *key, size_t *index,
                         void *found)
{
    (void)parent, (void)key, (void)index;
    if (flags == 0 && json_object_is_type(value, json_type_double) && !isfinite(json_object_get_double(value))) {
        *(bool *)found = true;
        return JSON_C_VISIT_RETURN_STOP;
    }
    return JSON_C_VISIT_RETURN_CONTINUE;
}

static json_object *parse(struct slice body)
{
    json_tokener *tokener = is_strict_json(body) ? json_tokener_new_ex(MAX_DEPTH) : NULL;
    if (tokener == NULL)
        return NULL;
    /* with the NUL, so that a number at the end is known to have ended */
    json_object *root = json_tokener_parse_ex(tokener, body.at, (int)body.length + 1);
    json_tokener_free(tokener);
    bool infinite = false;
    if (root != NULL)
        json_c_visit(root, 0, find_infinite, &infinite);
    if (!infinite)
        return root;
    json_object_put(root);
    return NULL;
}

static bool is_blank(json_object *message, const char *key)
{
    json_object *value = json_object_object_get(message, key);
    const char *text = value == NULL ? "" : json_object_get_string(value);
    return text[strspn(text, " \t\r\n")] == '\0';
}

static struct refusal judge(json_object *message)
{
    if (!json_object_is_type(message, json_type_object))
        return invalid_json;
    if (is_blank(message, "userId") && is_blank(message, "anonymousId"))
        return not_identifiable;
    return accepted;
}

/* Adds one message; there is room. Returns false without memory. */
static bool add(struct received_batch *batch, json_object *message, struct slice json)
{
    json_object *id = json_object_object_get(message, "messageId");
    bool is_text = json_object_is_type(id, json_type_string);
    char *copy = strdup(is_text ? json_object_get_string(id) : "");
    batch->messages[batch->count++] = (struct batch_message){json, copy};
    return copy != NULL;
}

static struct refusal read_all(json_object *messages, struct slice text, struct received_batch *batch)
{
    size_t count = json_object_array_length(messages);
    batch->messages = calloc(count, sizeof *batch->messages);
    if (batch->messages == NULL)
        return (struct refusal){500, "no memory"};
    struct slice element = {NULL, 0};
    for (size_t i = 0; i < count; i++) {
        json_object *message = json_object_array_get_idx(messages, i);
        struct refusal refusal = judge(message);
        if (refusal.status != 0)
            return refusal;
        if (!slice_element(text, &element) || !add(batch, message, element))
            return (struct refusal){500, "the stand-in lost its place"};
    }
    return accepted;
}

static struct refusal read_batch(json_object *root, struct slice body, struct received_batch *batch)
{
    if (!json_object_is_type(root, json_type_object))
        return invalid_json;
    json_object *messages = json_object_object_get(root, "batch");
    if (!json_object_is_type(messages, json_type_array) || json_object_array_length(messages) == 0)
        return (struct refusal){400, "empty batch payload"};
    return read_all(messages, slice_member(body, "batch"), batch);
}

static struct refusal read_single(json_object *message, struct slice body, struct received_batch *batch)
{
    struct refusal refusal = judge(message);
    if (refusal.status != 0)
        return refusal;
    batch->messages = calloc(1, sizeof *batch->messages);
    if (batch->messages == NULL || !add(batch, message, body))
        return (struct refusal){500, "no memory"};
    return accepted;
}

struct refusal batch_read(struct slice body, bool single, struct received_batch *batch)
{
    if (body.length + (single ? WRAPPER_LENGTH : 0) > DATA_PLANE_MAX_BODY)
        return (struct refusal){413, "request size exceeds max limit"};
    json_object *root = parse(body);
    if (root == NULL)
        return invalid_json;
    struct refusal refusal = single ? read_single(root, body, batch) : read_batch(root, body, batch);
    json_object_put(root);
    if (refusal.status != 0)
        batch_free(batch);
    return refusal;
}

void batch_free(struct received_batch *batch)
{
    for (size_t i = 0; i < batch->count; i++)
        free(batch->messages[i].message_id);
    free(batch->messages);
    *batch = (struct received_batch){NULL, 0};
}
