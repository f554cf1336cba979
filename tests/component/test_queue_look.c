/* Another process's view of what the queue remembers. */
#include "tests/suites.h"

#include <string.h>

#include "tests/support/queue_rig.h"

static struct made_config made;
static char directory[PATH_SIZE], state[PATH_SIZE];
static struct queue_rig_engine engine;

static int begin_sqlite(void)
{
    return queue_rig_set_up(&made, directory, state);
}

static int begin_postgresql(void)
{
    return begin_sqlite() != 0 || !queue_rig_postgresql(&engine, &made);
}

static int end(void)
{
    struct events none = {.count = 0};
    queue_rig_engine_end(&engine);
    return queue_rig_tear_down(directory, &none);
}

static struct queue *open_new(const char *name)
{
    path_join(state, directory, name);
    queue_rig_new(&engine, &made);
    return queue_rig_open(&made);
}

static struct identity identity(unsigned char number, int64_t updated_us)
{
    return (struct identity){.key = {number, 1, 2, 3}, .updated_us = updated_us};
}

/* The owner appends and settles one event. */
static void settle(struct queue *owner, unsigned char number, int64_t updated_us, enum verdict_kind kind)
{
    struct error why = {0};
    struct events events = {0};
    CU_ASSERT_EQUAL(queue_append(owner, "one", "{}", 2, clock_now() + 10000, &why), QUEUE_STORED);
    CU_ASSERT_EQUAL_FATAL(queue_next(owner, "one", 0, 1, 100, &events, &why), 1);
    const struct verdict verdict = {.id = events.at[0].id,
                                    .kind = kind,
                                    .identity = identity(number, updated_us),
                                    .remember = true,
                                    .reason = "why"};
    CU_ASSERT(queue_settle(owner, "one", &verdict, 1, &why));
    CU_ASSERT_STRING_EQUAL(why.text, "");
    events_free(&events);
}

static void others_see_what_was_settled(void)
{
    struct error why = {0};
    struct queue *owner = open_new("settled"), *other = queue_rig_open(&made);
    CU_ASSERT_FATAL(queue_claim(owner, &why));
    settle(owner, 1, 100, VERDICT_DELIVERED);
    settle(owner, 2, 200, VERDICT_DEAD);

    const struct identity asked[] = {identity(1, 0), identity(2, 0), identity(3, 0)};
    struct known known[3];
    CU_ASSERT_FATAL(queue_look_known(other, "one", asked, 3, known, &why));
    CU_ASSERT(known[0].delivered && known[0].delivered_us == 100 && !known[0].dead);
    CU_ASSERT(known[1].dead && known[1].dead_us == 200);
    CU_ASSERT(!known[2].delivered && !known[2].dead);
    CU_ASSERT_FATAL(queue_look_known(other, "two", asked, 3, known, &why));
    CU_ASSERT(!known[0].delivered && !known[1].dead);

    /* and what is settled later, also a newer version */
    settle(owner, 3, 300, VERDICT_DROPPED);
    settle(owner, 1, 150, VERDICT_DELIVERED);
    CU_ASSERT_FATAL(queue_look_known(other, "one", asked, 3, known, &why));
    CU_ASSERT(known[0].delivered && known[0].delivered_us == 150);
    CU_ASSERT(known[2].delivered && known[2].delivered_us == 300);
    CU_ASSERT_FATAL(queue_look_known(owner, "one", asked, 3, known, &why)); /* the owner may ask so, too */
    CU_ASSERT(known[0].delivered && known[0].delivered_us == 150);
    queue_close(other);
    queue_close(owner);

    /* after a restart, when the journal may be merged */
    other = queue_rig_open(&made);
    CU_ASSERT_FATAL(queue_look_known(other, "one", asked, 3, known, &why));
    CU_ASSERT(known[0].delivered && known[1].dead && known[2].delivered);
    queue_close(other);
}

/* While it rests there is nothing open that would have to be opened anew. */
static void a_resting_queue_need_not_be_opened_again(void)
{
    struct error why = {0};
    struct strings names;
    struct queue *queue = open_new("rests");
    queue_rest(queue);
    CU_ASSERT_FALSE(queue_must_reopen(queue));
    CU_ASSERT(queue_names(queue, &names, &why));
    queue_names_free(&names);
    queue_close(queue);
}

static void a_queue_that_keeps_nothing_says_so(void)
{
    char url[] = "http://127.0.0.1:1";
    struct made_config none;
    struct error why = {0};
    struct known known;
    const struct identity asked = identity(1, 0);
    made_config_init(&none, url, url);
    struct queue *queue = queue_open(&none.config, &why);
    CU_ASSERT_PTR_NOT_NULL_FATAL(queue);
    CU_ASSERT_FALSE(queue_look_known(queue, "one", &asked, 1, &known, &why));
    CU_ASSERT(strstr(why.text, "keeps nothing") != NULL);
    queue_close(queue);
}

/* Pages of waiting events and of dead letters: each once, in their order, as far as count and bytes go; also of a
 * process that owns nothing. */
static void lists_go_through_all_pages(void)
{
    struct error why = {0};
    struct events events = {0};
    struct letters letters = {0};
    struct queue *owner = open_new("pages"), *other = queue_rig_open(&made);
    CU_ASSERT_FATAL(queue_claim(owner, &why));
    for (unsigned char i = 0; i < 3; i++)
        settle(owner, i, 100, VERDICT_DEAD);
    for (int i = 0; i < 5; i++)
        queue_rig_append(owner, "one", "0123456789");
    queue_rig_append(owner, "two", "other");
    CU_ASSERT_EQUAL(queue_list(other, "one", 0, 2, 4096, &events, &why), 2);
    CU_ASSERT_EQUAL_FATAL(queue_list(other, "one", events.at[1].id, 10, 4096, &events, &why), 3);
    CU_ASSERT(events.at[0].id < events.at[1].id && events.at[0].received_ms > 0 && !events.at[0].replay);
    CU_ASSERT_NSTRING_EQUAL(events.at[2].body, "0123456789", 10);
    CU_ASSERT_EQUAL(queue_list(other, "one", events.at[2].id, 10, 4096, &events, &why), 0);
    CU_ASSERT_EQUAL(queue_list(other, "one", 0, 10, 25, &events, &why), 2);
    CU_ASSERT_EQUAL(queue_list(other, "one", 0, 10, 1, &events, &why), 1);
    CU_ASSERT_EQUAL(queue_list(other, "two", 0, 10, 4096, &events, &why), 1);
    CU_ASSERT_EQUAL(queue_list(other, "nobody", 0, 10, 4096, &events, &why), 0);
    CU_ASSERT_EQUAL_FATAL(queue_letters(other, NULL, 0, 2, 4096, &letters, &why), 2);
    CU_ASSERT_EQUAL_FATAL(queue_letters(other, "one", letters.at[1].id, 10, 4096, &letters, &why), 1);
    CU_ASSERT(letters.at[0].died_ms >= letters.at[0].received_ms && letters.at[0].received_ms > 0);
    CU_ASSERT_EQUAL(queue_letters(other, "one", 0, 10, 1, &letters, &why), 1);
    CU_ASSERT_EQUAL(queue_letters(other, "two", 0, 10, 4096, &letters, &why), 0);
    CU_ASSERT_EQUAL(queue_letters(other, "nobody", 0, 10, 4096, &letters, &why), 0);
    CU_ASSERT_STRING_EQUAL(why.text, "");
    events_free(&events);
    letters_free(&letters);
    queue_close(other);
    queue_close(owner);
}

static CU_TestInfo tests[] = {
    {"others see what was settled", others_see_what_was_settled},
    {"lists go through all pages", lists_go_through_all_pages},
    {"a resting queue need not be opened again", a_resting_queue_need_not_be_opened_again},
    {"a queue that keeps nothing says so", a_queue_that_keeps_nothing_says_so},
    CU_TEST_INFO_NULL,
};

void suite_queue_look(void)
{
    suite_add("queue look", begin_sqlite, end, tests);
}

void suite_queue_look_postgresql(void)
{
    suite_add("queue look postgresql", begin_postgresql, end, tests);
}
