/* How fast events become messages, by default and with all options on, against what json-c alone needs to read and
 * print the same bytes. All in one thread, in turns, so that a busy machine slows all; the medians and their ratios are
 * printed.
 * Arguments: files with one webhook body each; none: the documented sample, and a lead's event. */
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

/* Body → messages, as the forwarder does it: one buffer for all. */
static size_t transform(const struct buffer *body, const struct rules *rules, struct buffer *out)
{
    struct error why;
    buffer_clear(out);
    struct parsed *parsed = transform_parse_for(body->data, body->length, rules, NULL, &why);
    if (parsed == NULL || transform_message(parsed, rules, false, out) != TRANSFORM_OK)
        give_up(parsed == NULL ? why.text : "no message");
    if ((rules->identify || rules->alias) && transform_person(parsed, rules, false, out) == TRANSFORM_FAILED)
        give_up("no message about the person");
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
    static const struct rules plain = {0}, options = {.json_columns = true,
                                                      .close_context = true,
                                                      .previous_data = true,
                                                      .changed_fields = true,
                                                      .identify = true,
                                                      .alias = true};
    struct json_tokener *tokener = json_tokener_new_ex(512);
    if (tokener == NULL)
        give_up("out of memory");
    json_tokener_set_flags(tokener, JSON_TOKENER_VALIDATE_UTF8);
    struct buffer out = {0};
    double ours[ROUNDS], all[ROUNDS], theirs[ROUNDS];
    size_t bytes = 0;
    for (int round = 0; round < ROUNDS; round++) {
        double start = now();
        for (int i = 0; i < EVENTS_A_ROUND; i++)
            bytes += transform(body, &plain, &out);
        double between = now();
        for (int i = 0; i < EVENTS_A_ROUND; i++)
            bytes += transform(body, &options, &out);
        double last = now();
        for (int i = 0; i < EVENTS_A_ROUND; i++)
            bytes += bare(body, tokener);
        ours[round] = (between - start) / EVENTS_A_ROUND;
        all[round] = (last - between) / EVENTS_A_ROUND;
        theirs[round] = (now() - last) / EVENTS_A_ROUND;
    }
    double our = median(ours);
    double their = median(theirs);
    printf("%-52s %7zu bytes  transform %7.2f us (%7.0f events/s)  json-c %7.2f us (%7.0f/s)  %.2f times as fast  "
           "all options %.2f times as long\n",
           name, body->length, our / 1e3, 1e9 / our, their / 1e3, 1e9 / their, their / our, median(all) / our);
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
    if (argc < 2) {
        measure_file("tests/data/opportunity-updated.webhook.json");
        measure_file("tests/data/lead-updated.webhook.json"); /* with all options an identify, too */
    }
    for (int i = 1; i < argc; i++)
        measure_file(argv[i]);
    return 0;
}
