/* The same event by all ways through the program gives the same bytes: by webhook; by a page of the Event Log; from the
 * queue, also after a restart, as a dead letter that is replayed; in a batch, compressed. Judges: the equality itself,
 * zlib, and a second reader of JSON for a batch's parts. The first byte chooses rules and ways, the rest is the event.
 */
#include "closeapi/import.h"
#include "forward/pending.h"
#include "forward/post.h"
#include "fuzz/rig/close.h"
#include "fuzz/rig/rig.h"
#include "fuzz/rig/walker.h"
#include "queue/inspect.h"
#include "tests/support/strict_json.h"
#include "transform/shown.h"

#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#define SUBSCRIPTION "whsub_x"

/* The queue's threads begin and end at each restart, and LeakSanitizer cannot look at one that ends. The other fuzzers
 * look for leaks in the same code. */
int __lsan_is_turned_off(void);
int __lsan_is_turned_off(void)
{
    return 1;
}

/* ---- the Event Log, with a page in place of Close's answer ---- */

static struct buffer page;

static struct subscription subscription = {.id = SUBSCRIPTION};
static struct coverage coverage = {.at = {&subscription}, .count = 1};
static char name[] = "acme", url[] = "http://127.0.0.1:9", write_key[] = "wk", *write_keys[] = {write_key};
static struct source source = {.name = name, .data_plane_url = url, .write_key = {write_keys, 1}};

static void put(struct buffer *out, const char *before, struct slice text, const char *after)
{
    buffer_clear(out);
    buffer_text(out, before);
    buffer_append(out, text.at, text.length);
    buffer_text(out, after);
}

/* The page's event is the same one as the body's that is made of it. */
static void check_identity(const struct log_event *event, struct slice body)
{
    struct parsed *parsed = transform_parse(body.at, body.length, NULL, NULL);
    RIG_CHECK(parsed == NULL || !event->identified ||
                  memcmp(event->identity.key, transform_identity(parsed)->key, sizeof event->identity.key) == 0,
              "the identity by the Event Log is another");
    parsed_free(parsed);
}

/* The body that is appended for the event when it stands in a page; "": the page has no such event. *identified: it has
 * an id; *covered: a subscription would have delivered it. */
static void by_event_log(struct slice event, struct buffer *out, bool *identified, bool *covered)
{
    struct error why = {0};
    struct event_log log = {.source = &source, .coverage = &coverage};
    buffer_clear(out);
    put(&page, "{\"cursor_next\":null,\"data\":[ ", event, ",{}]}");
    rig_close_answers(rig_slice(&page));
    event_log_begin(&log, &(struct log_filter){.lead_id = NULL}, -62135596800000000, 253402300800000000);
    enum log_result result = event_log_next(&log, &why);
    RIG_CHECK((result == LOG_PAGE) == is_strict_json(rig_slice(&page)) || result != LOG_PAGE,
              "a page that is no JSON was taken");
    if (result == LOG_PAGE && log.count > 0 && log.events[0].usable && log.events[0].length > 2) {
        *identified = log.events[0].identified;
        *covered = log.events[0].subscription != NULL;
        RIG_CHECK(event_log_write_body(out, &log.events[0], false), "out of memory");
        check_identity(&log.events[0], rig_slice(out));
    }
    event_log_free(&log);
}

/* ---- a body to its message ---- */

/* Appends the message, and the one about the person behind it. Returns false where the body is refused. */
static bool message_of(struct slice body, const struct rules *rules, struct buffer *out)
{
    struct error why = {0};
    buffer_clear(out);
    struct parsed *parsed = transform_parse_for(body.at, body.length, rules, NULL, &why);
    if (parsed == NULL)
        return false;
    RIG_CHECK(transform_message(parsed, rules, false, out) == TRANSFORM_OK, "no message");
    buffer_text(out, "\n");
    transform_person(parsed, rules, false, out);
    parsed_free(parsed);
    return true;
}

/* ---- the queue ---- */

static struct config config = {.queue = QUEUE_SQLITE,
                               .queue_max_bytes = (int64_t)1 << 40,
                               .queue_retention_ms = 3600000,
                               .dedupe_window_ms = 3600000,
                               .max_body = 1 << 20,
                               .lanes = 4,
                               .batch_events = 500,
                               .source = &source,
                               .sources = 1};
static struct queue *queue;

static void open_queue(void)
{
    struct error why = {0};
    queue = queue_open(&config, &why);
    RIG_CHECK(queue != NULL && queue_claim(queue, &why), "the queue cannot be opened: %s", why.text);
}

/* The only event that waits; its body must be this one. */
static uint64_t expect_waiting(struct slice body, bool replay)
{
    struct error why = {0};
    struct events found = {0};
    int count = queue_next(queue, name, 0, 10, 1 << 20, &found, &why);
    RIG_CHECK(count == 1, "%d events wait: %s", count, why.text);
    rig_check_equal((struct slice){found.at[0].body, found.at[0].length}, body, "the body that the queue gives");
    RIG_CHECK(found.at[0].replay == replay, "a replay is none, or the other way round");
    uint64_t id = found.at[0].id;
    events_free(&found);
    return id;
}

static void settle(uint64_t id, enum verdict_kind kind)
{
    struct error why = {0};
    const struct verdict verdict = {.id = id, .kind = kind, .reason = kind == VERDICT_DEAD ? "a reason" : NULL};
    RIG_CHECK(queue_settle(queue, name, &verdict, 1, &why), "it cannot be settled: %s", why.text);
}

static void replay_dead(struct slice body)
{
    struct error why = {0};
    struct letters letters = {0};
    size_t done = 0;
    RIG_CHECK(queue_letters(queue, name, 0, 10, 1 << 20, &letters, &why) == 1, "no dead letter: %s", why.text);
    rig_check_equal((struct slice){letters.at[0].body, letters.at[0].length}, body, "the dead letter's body");
    RIG_CHECK(queue_replay(queue, &letters.at[0].id, 1, &done, &why) && done == 1, "no replay: %s", why.text);
    letters_free(&letters);
}

static void by_queue(struct slice body, bool restart, bool dead)
{
    struct error why = {0};
    enum queue_result result = queue_append(queue, name, body.at, body.length, clock_now() + 60000, &why);
    RIG_CHECK(result == QUEUE_STORED, "it cannot be appended: %s", why.text);
    if (restart) {
        queue_close(queue);
        open_queue();
    }
    uint64_t id = expect_waiting(body, false);
    if (dead) {
        settle(id, VERDICT_DEAD);
        replay_dead(body);
        id = expect_waiting(body, true);
    }
    settle(id, VERDICT_DELIVERED);
}

/* ---- a batch ---- */

static void inflate_all(const struct buffer *from, struct buffer *out, size_t most)
{
    z_stream stream = {.next_in = (Bytef *)from->data, .avail_in = (uInt)from->length};
    char *room = buffer_room(out, most + 1);
    RIG_CHECK(inflateInit2(&stream, 15 + 16) == Z_OK, "zlib");
    stream.next_out = (Bytef *)room;
    stream.avail_out = (uInt)most + 1;
    RIG_CHECK(inflate(&stream, Z_FINISH) == Z_STREAM_END && stream.avail_in == 0, "it is no gzip");
    out->length += stream.total_out;
    inflateEnd(&stream);
}

static void by_batch(struct slice message)
{
    static struct gzip *gzip;
    struct batch batch = {.form = &batch_for_data_plane};
    struct buffer packed = {0}, text = {0};
    for (int i = 0; i < 3; i++) {
        struct buffer *to = batch_begin(&batch);
        buffer_append(to, i == 1 ? "{\"cut" : message.at, i == 1 ? 5 : message.length);
        if (i == 1)
            batch_reject(&batch);
        else
            RIG_CHECK(batch_accept(&batch), "it does not fit");
    }
    gzip = gzip != NULL ? gzip : gzip_new();
    RIG_CHECK(batch_finish(&batch) && gzip_compress(gzip, batch.text.data, batch.text.length, &packed), "memory");
    inflate_all(&packed, &text, batch.text.length);
    struct walked walked;
    rig_check_json(rig_slice(&text), "a batch");
    walk(&walked, rig_slice(&text));
    const struct node *messages = node_member(walked.root, "batch");
    RIG_CHECK(messages != NULL && messages->first != NULL && messages->first->next != NULL &&
                  messages->first->next->next == NULL,
              "a batch has other than two messages");
    rig_check_equal(messages->first->text, message, "the first message of a batch");
    rig_check_equal(messages->first->next->text, message, "the second message of a batch");
    walk_free(&walked);
    buffer_free(&text);
    buffer_free(&packed);
    buffer_free(&batch.text);
}

/* ---- */

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    static char directory[256];
    static const char json[] = "{\"events\":[{\"object_type\":\"lead\",\"action\":\"updated\"},{\"object_type\":"
                               "\"lead\",\"action\":\"created\",\"extra_filter\":{\"type\":\"non_null\",\"field_"
                               "accessor\":\"data\"}}]}";
    (void)argc;
    (void)argv;
    rig_no_log();
    subscription.json = json_tokener_parse(json);
    rig_path("queue", directory);
    *strrchr(directory, '/') = '\0';
    config.state_dir = directory;
    open_queue();
    return 0;
}

static void all_ways(struct slice event, const struct rules *rules, unsigned choice)
{
    struct buffer webhook = {0}, logged = {0}, shown = {0}, by_webhook = {0}, by_log = {0};
    bool identified = false, covered = false;
    by_event_log(event, &logged, &identified, &covered);
    put(&webhook, covered ? "{\"subscription_id\":\"" SUBSCRIPTION "\",\n\"event\" : " : " {\"event\":", event,
        covered ? "}" : " }\n");
    bool good =
        message_of(identified || logged.length == 0 ? rig_slice(&webhook) : rig_slice(&logged), rules, &by_webhook);
    if (logged.length > 0 && is_strict_json(rig_slice(&logged))) {
        bool also = message_of(rig_slice(&logged), rules, &by_log);
        RIG_CHECK(also == good, "by webhook it is %s, by the Event Log not so", good ? "taken" : "refused");
        rig_check_equal(rig_slice(&by_log), rig_slice(&by_webhook), "the message by the Event Log");
    }
    if (good) {
        struct slice both = rig_slice(&by_webhook);
        by_batch((struct slice){both.at, (size_t)((char *)memchr(both.at, '\n', both.length) - both.at)});
        RIG_CHECK(transform_shown(webhook.data, webhook.length, rules, &shown), "it cannot be shown");
        rig_check_equal(rig_slice(&shown), rig_slice(&webhook), "the body that is shown");
    }
    if (choice >= 0x30 && choice < 0x80)
        by_queue(rig_slice(&webhook), choice < 0x34, (choice & 2) != 0);
    buffer_free(&webhook);
    buffer_free(&logged);
    buffer_free(&shown);
    buffer_free(&by_webhook);
    buffer_free(&by_log);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct rig_input input = rig_input_of(data, size);
    unsigned choice = rig_byte(&input);
    const struct rules rules = {.close_context = (choice & 1) != 0,
                                .previous_data = (choice & 4) != 0,
                                .changed_fields = (choice & 4) != 0,
                                .keep_nul = (choice & 8) != 0,
                                .identify = true,
                                .alias = true};
    if (input.left > 0)
        all_ways((struct slice){input.at, input.left}, &rules, choice);
    return 0;
}
