/* How fast events become messages, against what json-c alone needs to read and print the same bytes. Both in one
 * thread, in turns, so that a busy machine slows both; the medians and their ratio are printed.
 * Arguments: files with one webhook body each; none: the documented sample. */
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "transform/transform.h"

#define ROUNDS 41
#define EVENTS_A_ROUND 2000

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

static void give_up(const char *what)
{
    fprintf(stderr, "bench/transform: %s\n", what);
    exit(1);
}

/* Body → message, as the forwarder does it: one buffer for all. */
static size_t transform(const struct buffer *body, struct buffer *out)
{
    static const struct rules none = {0};
    struct error why;
    buffer_clear(out);
    struct parsed *parsed = transform_parse(body->data, body->length, NULL, &why);
    if (parsed == NULL || transform_message(parsed, &none, false, out) != TRANSFORM_OK)
        give_up(parsed == NULL ? why.text : "no message");
    parsed_free(parsed);
    return out->length;
}

/* json-c's own reading and printing of the same bytes. */
static size_t bare(const struct buffer *body, struct json_tokener *tokener)
{
    json_tokener_reset(tokener);
    struct json_object *tree = json_tokener_parse_ex(tokener, body->data, (int)body->length);
    size_t length;
    if (tree == NULL || json_object_to_json_string_length(tree, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE,
                                                          &length) == NULL)
        give_up("json-c refuses it");
    json_object_put(tree);
    return length;
}

static int compare(const void *one, const void *other)
{
    double a = *(const double *)one;
    double b = *(const double *)other;
    return (a > b) - (a < b);
}

static double median(double values[static ROUNDS])
{
    qsort(values, ROUNDS, sizeof *values, compare);
    return values[ROUNDS / 2];
}

static void measure(const char *name, const struct buffer *body)
{
    struct json_tokener *tokener = json_tokener_new_ex(512);
    if (tokener == NULL)
        give_up("out of memory");
    json_tokener_set_flags(tokener, JSON_TOKENER_VALIDATE_UTF8);
    struct buffer out = {0};
    double ours[ROUNDS];
    double theirs[ROUNDS];
    size_t bytes = 0;
    for (int round = 0; round < ROUNDS; round++) {
        double start = now();
        for (int i = 0; i < EVENTS_A_ROUND; i++)
            bytes += transform(body, &out);
        double between = now();
        for (int i = 0; i < EVENTS_A_ROUND; i++)
            bytes += bare(body, tokener);
        ours[round] = (between - start) / EVENTS_A_ROUND;
        theirs[round] = (now() - between) / EVENTS_A_ROUND;
    }
    double our = median(ours);
    double their = median(theirs);
    printf("%-52s %7zu bytes  transform %7.2f us (%7.0f events/s)  json-c %7.2f us (%7.0f/s)  %.2f times as fast\n",
           name, body->length, our / 1e3, 1e9 / our, their / 1e3, 1e9 / their, their / our);
    if (bytes == 0)
        give_up("nothing was made");
    buffer_free(&out);
    json_tokener_free(tokener);
}

static void read_file(const char *path, struct buffer *body)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL)
        give_up(path);
    size_t got;
    do {
        char *room = buffer_room(body, 65536);
        if (room == NULL)
            give_up("out of memory");
        got = fread(room, 1, 65536, file);
        body->length += got;
    } while (got > 0);
    fclose(file);
}

/* The same without the white space that documentation is printed with: how it comes over the wire. */
static void measure_compact(const struct buffer *body)
{
    struct json_object *tree = json_tokener_parse(body->data);
    if (tree == NULL)
        give_up("json-c refuses it");
    struct buffer compact = {0};
    buffer_text(&compact,
                json_object_to_json_string_ext(tree, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE));
    measure("  the same without white space", &compact);
    buffer_free(&compact);
    json_object_put(tree);
}

static void measure_file(const char *path)
{
    struct buffer body = {0};
    read_file(path, &body);
    measure(path, &body);
    buffer_append(&body, "", 1);
    measure_compact(&body);
    buffer_free(&body);
}

int main(int argc, char **argv)
{
    if (argc < 2)
        measure_file("tests/data/opportunity-updated.webhook.json");
    for (int i = 1; i < argc; i++)
        measure_file(argv[i]);
    return 0;
}
