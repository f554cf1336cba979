/* An answer of Close's Event Log to the events of a page. Judges: SQLite (what is a page), a second reader of JSON and
 * Python (which events are in it, byte for byte). */
#include "base/times.h"
#include "closeapi/import.h"
#include "fuzz/rig/close.h"
#include "fuzz/rig/rig.h"
#include "fuzz/rig/walker.h"
#include "tests/support/strict_json.h"

#include <stdlib.h>
#include <string.h>

static char name[] = "acme";
static const struct source source = {.name = name};
static const struct coverage nothing;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    rig_no_log();
    return 0;
}

/* The page's list; NULL: this is no page. */
static const struct node *list_of(const struct walked *walked)
{
    const struct node *found = NULL;
    const struct node *root = walked->root;
    for (const struct node *member = root != NULL && root->kind == '{' ? root->first : NULL; member != NULL;
         member = member->next) {
        if (member->kind == '[' && member->name_length == 4 && memcmp(member->name, "data", 4) == 0)
            found = member;
    }
    return found;
}

/* An event of the list that the reader has found, as it stands there; and the body that is appended for it. */
static void judge_event(const struct log_event *event, const struct node *expected, struct buffer *record)
{
    struct buffer body = {0};
    RIG_CHECK(expected != NULL, "more events than the page has");
    rig_check_equal((struct slice){event->bytes, event->length}, expected->text, "an event of a page");
    RIG_CHECK(!event->usable || expected->kind == '{', "a usable event that is no object");
    RIG_CHECK(!event->identified || node_member(expected, "id") != NULL, "an id that is not there");
    RIG_CHECK(!event->empty || (node_member(expected, "data") == NULL || node_member(expected, "data")->first == NULL),
              "an event with data counts as empty");
    RIG_CHECK(event_log_write_body(&body, event, true), "out of memory");
    rig_check_json(rig_slice(&body), "the body of an event");
    if (expected->kind == '{') {
        buffer_append(record, event->bytes, event->length);
        buffer_append(record, "", 1);
    }
    buffer_free(&body);
}

static void judge_page(const struct event_log *log, struct slice text)
{
    struct walked walked;
    struct buffer record = {0};
    RIG_CHECK(is_strict_json(text), "a page that is no JSON");
    walk(&walked, text);
    const struct node *list = list_of(&walked);
    RIG_CHECK(list != NULL, "a page without a list");
    const struct node *expected = list->first;
    for (size_t i = 0; i < log->count; i++, expected = expected->next)
        judge_event(&log->events[i], expected, &record);
    RIG_CHECK(expected == NULL, "an event of the page is missing: %.*s", (int)expected->text.length, expected->text.at);
    const struct node *cursor = node_member(walked.root, "cursor_next");
    bool more = cursor != NULL && cursor->kind == '"' && cursor->length > 0 && cursor->bytes[0] != '\0';
    RIG_CHECK(!more || !log->ended, "the log ends, and there is a cursor");
    rig_record("events", text, rig_slice(&record));
    buffer_free(&record);
    walk_free(&walked);
}

/* A page that was refused, and is one. */
static void judge_refused(struct slice text, const struct error *why)
{
    struct walked walked;
    if (!is_strict_json(text))
        return;
    walk(&walked, text);
    const struct node *list = list_of(&walked), *cursor = node_member(walked.root, "cursor_next");
    size_t lists = 0, cursors = 0;
    for (const struct node *at = list == NULL ? NULL : walked.root->first; at != NULL; at = at->next) {
        lists += at->name_length == 4 && memcmp(at->name, "data", 4) == 0;
        cursors += at->name_length == 11 && memcmp(at->name, "cursor_next", 11) == 0;
    }
    bool good = lists == 1 && cursors == 1 && (cursor == NULL || cursor->kind == '"') && walked.deepest <= 512;
    RIG_CHECK(!good, "a page was refused: %s", why->text);
    walk_free(&walked);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct error why = {0};
    struct event_log log = {.source = &source, .coverage = &nothing};
    const struct slice answered = {size == 0 ? "" : (const char *)data, size};
    rig_close_answers(answered);
    event_log_begin(&log, &(struct log_filter){.lead_id = NULL}, -62135596800000000, 253402300800000000);
    enum log_result result = event_log_next(&log, &why);
    RIG_CHECK(result == LOG_PAGE || result == LOG_FAILED, "neither a page nor a failure");
    if (result == LOG_PAGE)
        judge_page(&log, answered);
    else
        judge_refused(answered, &why);
    event_log_free(&log);
    return 0;
}
