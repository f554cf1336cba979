/* A webhook's body to messages. Judges: SQLite (what is made is JSON, what is taken was), and a second reader of JSON
 * (no number, text or member is altered). The first byte chooses the rules. */
#include "fuzz/rig/expected.h"
#include "fuzz/rig/rig.h"

#include <string.h>

static char *traits[] = {"cf_size", "custom.cf_\xC3\xA4"};

static void set_rules(struct rules *rules, unsigned choice)
{
    *rules = (struct rules){.trait = traits, .traits = 2};
    rules->keep_nul = choice & 1;
    rules->json_columns = choice & 2;
    rules->close_context = choice & 4;
    rules->previous_data = choice & 8;
    rules->changed_fields = choice & 16;
    rules->identify = rules->alias = choice & 32;
}

/* The messages of a body, behind what was there. */
static void make(struct slice body, const struct rules *rules, bool newer, struct buffer *track, struct buffer *person)
{
    struct error why = {0};
    struct parsed *parsed = transform_parse_for(body.at, body.length, rules, NULL, &why);
    RIG_CHECK(parsed != NULL, "the second reading of a body is another: %s", why.text);
    buffer_text(track, "kept");
    RIG_CHECK(transform_message(parsed, rules, newer, track) == TRANSFORM_OK, "no message of a body that was taken");
    transform_person(parsed, rules, false, person);
    parsed_free(parsed);
}

static void judge(struct slice body, const struct rules *rules, bool newer)
{
    struct buffer track = {0}, again = {0}, person = {0}, person_again = {0};
    expect_taken(body, rules);
    make(body, rules, newer, &track, &person);
    make(body, rules, newer, &again, &person_again);
    RIG_CHECK(track.length > 4 && memcmp(track.data, "kept", 4) == 0, "what was there before is gone");
    struct slice message = {track.data + 4, track.length - 4};
    RIG_CHECK(memchr(message.at, '\n', message.length) == NULL, "a message has a newline");
    expect_message(body, rules, newer, message);
    rig_check_equal(rig_slice(&again), rig_slice(&track), "the message of the same body");
    rig_check_equal(rig_slice(&person_again), rig_slice(&person), "the person's message of the same body");
    if (person.length > 0)
        expect_person(body, rules, rig_slice(&person));
    rig_record(newer || rules->keep_nul ? "json" : "message", body, message);
    if (person.length > 0)
        rig_record("json", body, rig_slice(&person));
    buffer_free(&track);
    buffer_free(&again);
    buffer_free(&person);
    buffer_free(&person_again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct rig_input input = rig_input_of(data, size);
    unsigned choice = rig_byte(&input);
    struct slice body = {input.at, input.left};
    struct rules rules;
    struct error why = {0};
    set_rules(&rules, choice);
    struct parsed *parsed = transform_parse_for(body.at, body.length, &rules, NULL, &why);
    bool taken = parsed != NULL;
    parsed_free(parsed);
    if (taken)
        judge(body, &rules, (choice & 0x40) != 0);
    else
        expect_refused(body, &rules, &why);
    return 0;
}
