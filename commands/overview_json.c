/* The overview as JSON, for other programs: the names are a promise. */
#include "base/times.h"
#include "commands/output.h"
#include "commands/overview.h"

#include <json-c/json.h>
#include <stdio.h>

/* Adds a member and takes its value over. One that could not be made is NULL, as JSON's null is: *good tells. */
static void add(struct json_object *object, const char *name, struct json_object *value, bool *good)
{
    if (object != NULL && json_object_object_add(object, name, value) == 0)
        return;
    json_object_put(value);
    *good = false;
}

static void add_number(struct json_object *object, const char *name, int64_t number, bool *good)
{
    struct json_object *value = json_object_new_int64(number);
    *good = *good && value != NULL;
    add(object, name, value, good);
}

/* NULL stands for null. */
static void add_text(struct json_object *object, const char *name, const char *text, bool *good)
{
    struct json_object *value = text == NULL ? NULL : output_utf8(text);
    *good = *good && (text == NULL || value != NULL);
    add(object, name, value, good);
}

/* 0 stands for never. */
static void add_date(struct json_object *object, const char *name, int64_t ms, bool *good)
{
    char date[WHEN_SIZE];
    add_text(object, name, ms == 0 ? NULL : times_print_utc(ms, date), good);
}

static void add_counts(struct json_object *object, const struct counts *counts, int64_t now_ms, bool *good)
{
    const struct {
        const char *name;
        uint64_t number;
    } numbers[] = {
        {"accepted", counts->accepted}, {"delivered", counts->delivered}, {"duplicates", counts->duplicates},
        {"dropped", counts->dropped},   {"waiting", counts->waiting},     {"dead", counts->dead},
        {"ended", counts->ended},       {"ending", counts->ending},
    };
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        add_number(object, numbers[i].name, (int64_t)numbers[i].number, good);
    struct json_object *refused = json_object_new_object();
    *good = *good && refused != NULL;
    add(object, "refused", refused, good);
    int64_t age = counts->oldest_received_ms == 0 ? 0 : (now_ms - counts->oldest_received_ms) / 1000;
    add_number(object, "oldest_waiting_seconds", age < 0 ? 0 : age, good);
    add_date(object, "ending_from", counts->ending_ms, good);
    add_date(object, "last_accepted", counts->last_accepted_ms, good);
    add_date(object, "last_delivered", counts->last_delivered_ms, good);
}

static void add_failure(struct json_object *object, const struct overview_source *source, int64_t now_ms, bool *good)
{
    const struct notes *notes = source == NULL ? NULL : &source->notes;
    add_text(object, "last_error", notes == NULL || notes->reason[0] == '\0' ? NULL : notes->reason, good);
    add_date(object, "next_attempt", notes == NULL || notes->next_ms <= now_ms ? 0 : notes->next_ms, good);
    add_number(object, "failed_attempts", notes == NULL ? 0 : notes->tries, good);
}

/* By Close's clock: until when all that Close's Event Log has is accepted; null where that is not known. */
static void add_complete(struct json_object *object, const struct overview_source *source, bool *good)
{
    const struct completeness *complete = &source->complete;
    bool known = source->reconciles && complete->until_ms > complete->since_ms;
    add_date(object, "complete_since", known ? complete->since_ms : 0, good);
    add_date(object, "complete_until", known ? complete->until_ms : 0, good);
    if (!source->reconciles)
        return;
    add_date(object, "verified_until", complete->verified_ms > complete->since_ms ? complete->verified_ms : 0, good);
    add_text(object, "complete_for", complete->types, good);
    add_number(object, "missed_by_webhook", (int64_t)complete->missed, good);
    add_number(object, "missed_too_large", (int64_t)complete->missed_large, good);
    add_number(object, "missed_while_paused", (int64_t)complete->missed_paused, good);
    add_number(object, "hidden", (int64_t)complete->hidden, good);
    add_text(object, "close_trouble", complete->trouble[0] == '\0' ? NULL : complete->trouble, good);
}

static struct json_object *source_json(const struct overview_source *source, int64_t now_ms, bool *good)
{
    struct json_object *object = json_object_new_object();
    struct json_object *configured = json_object_new_boolean(source->configured);
    *good = *good && configured != NULL;
    add_counts(object, &source->counts, now_ms, good);
    add_failure(object, source, now_ms, good);
    add_complete(object, source, good);
    add(object, "configured", configured, good);
    return object;
}

static struct json_object *overview_json(const struct overview *overview, bool *good)
{
    struct json_object *object = json_object_new_object(), *sources = json_object_new_object();
    struct json_object *forwarding = json_object_new_boolean(overview->forwarding);
    *good = *good && sources != NULL && forwarding != NULL;
    add_counts(object, &overview->all, overview->now_ms, good);
    add_failure(object, overview_failing(overview), overview->now_ms, good);
    add(object, "forwarding", forwarding, good);
    add_text(object, "forwarder", overview->forwarder.text, good);
    add_date(object, "last_cron", overview->last_cron_ms, good);
    for (size_t i = 0; i < overview->names.count; i++)
        add(sources, overview->source[i].name, source_json(&overview->source[i], overview->now_ms, good), good);
    add(object, "sources", sources, good);
    return object;
}

bool overview_print_json(const struct overview *overview, FILE *out)
{
    bool good = true;
    struct json_object *object = overview_json(overview, &good);
    const char *text =
        object == NULL || !good
            ? NULL
            : json_object_to_json_string_ext(object, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_NOSLASHESCAPE);
    if (text != NULL)
        fprintf(out, "%s\n", text);
    json_object_put(object);
    return text != NULL;
}
