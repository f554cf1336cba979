/* The engine `none`: an append waits for its event's end, and what nobody waits for is withdrawn. */
#include <poll.h>
#include <string.h>

#include "tests/suites.h"
#include "tests/support/appender.h"
#include "tests/support/made_config.h"

#define PATIENCE_MS 60000
#define SHORT_MS 50

static struct made_config made;
static struct queue *queue;
static struct events found;

static int open_queue(void)
{
    static char url[] = "http://127.0.0.1:9";
    struct error why;
    made_config_init(&made, url, url);
    queue = queue_open(&made.config, &why);
    return queue == NULL;
}

static int close_queue(void)
{
    queue_close(queue);
    events_free(&found);
    return 0;
}

static void start(struct appender *appender, const char *body, int64_t patience_ms)
{
    appender_start(appender, queue, "one", body, strlen(body), patience_ms);
}

/* Waits until the source has an event beyond `after`, takes it, returns its id; 0 when none comes. */
static uint64_t take_after(uint64_t after)
{
    struct pollfd wake = {.fd = queue_wake_fd(queue), .events = POLLIN};
    for (moment deadline = clock_now() + PATIENCE_MS; clock_now() < deadline;) {
        queue_clear_wakeup(queue);
        if (queue_next(queue, "one", after, 1, 4096, &found, NULL) == 1)
            return found.at[0].id;
        poll(&wake, 1, clock_until(deadline));
    }
    return 0;
}

static void settle(uint64_t id, enum verdict_kind kind, const char *reason)
{
    struct verdict verdict = {.id = id, .kind = kind, .reason = reason};
    CU_ASSERT_TRUE(queue_settle(queue, "one", &verdict, 1, NULL));
}

static uint64_t last_id;

/* Takes the next event, which must be there. */
static uint64_t take(void)
{
    uint64_t id = take_after(last_id);
    CU_ASSERT_NOT_EQUAL_FATAL(id, 0);
    last_id = id;
    return id;
}

static void delivered_is_stored(void)
{
    struct appender a;
    start(&a, "body", PATIENCE_MS);
    uint64_t id = take();
    CU_ASSERT_EQUAL(found.at[0].length, 4);
    CU_ASSERT_NSTRING_EQUAL(found.at[0].body, "body", 4);
    settle(id, VERDICT_DELIVERED, NULL);
    CU_ASSERT_EQUAL(appender_join(&a), QUEUE_STORED);
    CU_ASSERT_EQUAL(queue_next(queue, "one", 0, 10, 4096, &found, NULL), 0);
}

static void dead_is_unusable_with_its_reason(void)
{
    struct appender a;
    start(&a, "body", PATIENCE_MS);
    settle(take(), VERDICT_DEAD, "byte 3: no");
    CU_ASSERT_EQUAL(appender_join(&a), QUEUE_UNUSABLE);
    CU_ASSERT_STRING_EQUAL(a.why.text, "byte 3: no");
}

static void deadline_withdraws(void)
{
    struct appender a;
    start(&a, "nobody takes it", SHORT_MS);
    CU_ASSERT_EQUAL(appender_join(&a), QUEUE_UNKNOWN);
    CU_ASSERT_STRING_NOT_EQUAL(a.why.text, "");
    CU_ASSERT_EQUAL(queue_next(queue, "one", 0, 10, 4096, &found, NULL), 0);
}

static void on_its_way_is_not_withdrawn(void)
{
    struct appender a;
    size_t asked;
    start(&a, "on its way", 1000);
    uint64_t id = take();
    CU_ASSERT_EQUAL(appender_join(&a), QUEUE_UNKNOWN);
    CU_ASSERT_EQUAL(queue_again(queue, "one", &id, 1, 4096, &found, &asked, NULL), 1);
    settle(id, VERDICT_DELIVERED, NULL);
    CU_ASSERT_EQUAL(queue_again(queue, "one", &id, 1, 4096, &found, &asked, NULL), 0);
}

/* The second one's wait ends at its own deadline: by then it has joined, for the queue holds one event only. */
static void same_body_joins(void)
{
    struct appender first, second;
    start(&first, "twice", PATIENCE_MS);
    uint64_t id = take();
    start(&second, "twice", SHORT_MS);
    CU_ASSERT_EQUAL(appender_join(&second), QUEUE_UNKNOWN);
    CU_ASSERT_EQUAL(queue_next(queue, "one", 0, 10, 4096, &found, NULL), 1);
    settle(id, VERDICT_DELIVERED, NULL);
    CU_ASSERT_EQUAL(appender_join(&first), QUEUE_STORED);
}

static void later_beyond_the_deadline_ends_the_wait(void)
{
    struct appender a;
    start(&a, "later", PATIENCE_MS);
    struct verdict verdict = {
        .id = take(), .kind = VERDICT_LATER, .next = clock_now() + 10 * PATIENCE_MS, .reason = "it answered 503"};
    queue_settle(queue, "one", &verdict, 1, NULL);
    CU_ASSERT_EQUAL(appender_join(&a), QUEUE_UNKNOWN);
    CU_ASSERT_STRING_EQUAL(a.why.text, "it answered 503");
    CU_ASSERT_TRUE(a.took_ms < PATIENCE_MS);
    CU_ASSERT_EQUAL(queue_next(queue, "one", 0, 10, 4096, &found, NULL), 0);
}

static void later_before_the_deadline_waits_on(void)
{
    struct appender a;
    start(&a, "soon", PATIENCE_MS);
    uint64_t id = take();
    struct verdict verdict = {.id = id, .kind = VERDICT_LATER, .next = clock_now() + 10, .reason = "cut"};
    queue_settle(queue, "one", &verdict, 1, NULL);
    size_t asked;
    CU_ASSERT_EQUAL(queue_again(queue, "one", &id, 1, 4096, &found, &asked, NULL), 1);
    settle(id, VERDICT_DELIVERED, NULL);
    CU_ASSERT_EQUAL(appender_join(&a), QUEUE_STORED);
}

static void refused_alone_is_unusable(void)
{
    struct appender a;
    start(&a, "refused", PATIENCE_MS);
    struct verdict verdict = {.id = take(), .kind = VERDICT_LATER, .refused = true, .reason = "400 no"};
    queue_settle(queue, "one", &verdict, 1, NULL);
    CU_ASSERT_EQUAL(appender_join(&a), QUEUE_UNUSABLE);
    CU_ASSERT_STRING_EQUAL(a.why.text, "400 no");
}

static void again_tells_what_is_gone(void)
{
    struct appender gone, there;
    start(&gone, "gone", 1000);
    uint64_t first = take();
    start(&there, "there", PATIENCE_MS);
    uint64_t second = take();
    settle(first, VERDICT_LATER, NULL);
    CU_ASSERT_EQUAL(appender_join(&gone), QUEUE_UNKNOWN);
    uint64_t ids[] = {first, second};
    size_t asked;
    CU_ASSERT_EQUAL(queue_again(queue, "one", ids, 2, 4096, &found, &asked, NULL), 1);
    CU_ASSERT_EQUAL(asked, 2);
    CU_ASSERT_EQUAL(found.at[0].id, second);
    settle(second, VERDICT_DELIVERED, NULL);
    CU_ASSERT_EQUAL(appender_join(&there), QUEUE_STORED);
}

static void full_takes_no_more(void)
{
    struct appender a;
    made.config.queue_max_bytes = 8;
    start(&a, "12345678", PATIENCE_MS);
    uint64_t id = take();
    struct error why;
    CU_ASSERT_EQUAL(queue_append(queue, "one", "9", 1, clock_now() + PATIENCE_MS, &why), QUEUE_FULL);
    settle(id, VERDICT_DELIVERED, NULL);
    CU_ASSERT_EQUAL(appender_join(&a), QUEUE_STORED);
    made.config.queue_max_bytes = 1 << 20;
}

static void sources_do_not_mix(void)
{
    struct appender a;
    start(&a, "of one", PATIENCE_MS);
    uint64_t id = take();
    CU_ASSERT_EQUAL(queue_next(queue, "two", 0, 10, 4096, &found, NULL), 0);
    settle(id, VERDICT_DELIVERED, NULL);
    CU_ASSERT_EQUAL(appender_join(&a), QUEUE_STORED);
}

static void max_bytes_limits_but_for_the_first(void)
{
    struct appender a, b;
    start(&a, "0123456789", PATIENCE_MS);
    uint64_t first = take();
    start(&b, "abcdefghij", PATIENCE_MS);
    uint64_t second = take();
    CU_ASSERT_EQUAL(queue_next(queue, "one", 0, 10, 15, &found, NULL), 1);
    CU_ASSERT_EQUAL(queue_next(queue, "one", 0, 10, 5, &found, NULL), 1);
    CU_ASSERT_EQUAL(queue_next(queue, "one", 0, 10, 20, &found, NULL), 2);
    CU_ASSERT_NSTRING_EQUAL(found.at[1].body, "abcdefghij", 10);
    settle(first, VERDICT_DELIVERED, NULL);
    settle(second, VERDICT_DELIVERED, NULL);
    appender_join(&a);
    appender_join(&b);
}

static void identities_are_remembered(void)
{
    struct known known;
    struct identity old = {.key = {1, 2, 3}, .updated_us = 100}, newer = {.key = {1, 2, 3}, .updated_us = 200};
    struct verdict verdict = {.id = 999999, .kind = VERDICT_DELIVERED, .identity = old, .remember = true};
    queue_known(queue, "one", &old, 1, &known, NULL);
    CU_ASSERT_FALSE(known.delivered);
    queue_settle(queue, "one", &verdict, 1, NULL);
    queue_known(queue, "one", &newer, 1, &known, NULL);
    CU_ASSERT_TRUE(known.delivered);
    CU_ASSERT_EQUAL(known.delivered_us, 100);
    queue_known(queue, "two", &old, 1, &known, NULL);
    CU_ASSERT_FALSE(known.delivered);
    verdict.identity = newer;
    queue_settle(queue, "one", &verdict, 1, NULL);
    verdict.identity = old;
    queue_settle(queue, "one", &verdict, 1, NULL);
    queue_known(queue, "one", &old, 1, &known, NULL);
    CU_ASSERT_EQUAL(known.delivered_us, 200);
}

static void hurry_ends_all_waits(void)
{
    struct appender a;
    start(&a, "hurry", PATIENCE_MS);
    settle(take(), VERDICT_LATER, NULL);
    queue_set_stop_deadline(queue, clock_now());
    CU_ASSERT_EQUAL(appender_join(&a), QUEUE_UNKNOWN);
    CU_ASSERT_TRUE(a.took_ms < PATIENCE_MS);
    queue_set_stop_deadline(queue, MOMENT_NEVER);
}

void suite_queue(void)
{
    static CU_TestInfo tests[] = {
        {"what was delivered is answered as stored", delivered_is_stored},
        {"what is dead is answered as unusable, with the reason", dead_is_unusable_with_its_reason},
        {"at the deadline an event is withdrawn", deadline_withdraws},
        {"an event on its way is not withdrawn", on_its_way_is_not_withdrawn},
        {"the same body joins the wait", same_body_joins},
        {"a next try beyond the deadline ends the wait", later_beyond_the_deadline_ends_the_wait},
        {"a next try before the deadline is waited for", later_before_the_deadline_waits_on},
        {"what the data plane refused alone is unusable", refused_alone_is_unusable},
        {"reading again leaves out what was withdrawn", again_tells_what_is_gone},
        {"a full queue takes no more", full_takes_no_more},
        {"a source gets its own events only", sources_do_not_mix},
        {"a reading is limited in bytes, but for the first event", max_bytes_limits_but_for_the_first},
        {"delivered identities are remembered per source, the newest version", identities_are_remembered},
        {"hurry ends all waits", hurry_ends_all_waits},
        CU_TEST_INFO_NULL,
    };
    suite_add("queue", open_queue, close_queue, tests);
}
