/* Another process's view of what the queue remembers. */
#include "tests/suites.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "queue/inspect.h"
#include "tests/support/made_config.h"
#include "tests/support/temporary.h"

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
    char directory[PATH_SIZE], state[PATH_SIZE], url[] = "http://127.0.0.1:1";
    struct made_config made;
    struct error why = {0};
    CU_ASSERT_FATAL(temporary_make(directory));
    path_join(state, directory, "state"); /* the queue makes it: it must be this user's */
    made_config_init(&made, url, url);
    made.config.queue = QUEUE_SQLITE;
    made.config.state_dir = state;
    struct queue *owner = queue_open(&made.config, &why), *other = queue_open(&made.config, &why);
    CU_ASSERT_PTR_NOT_NULL_FATAL(owner);
    CU_ASSERT_PTR_NOT_NULL_FATAL(other);
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
    other = queue_open(&made.config, &why);
    CU_ASSERT_PTR_NOT_NULL_FATAL(other);
    CU_ASSERT_FATAL(queue_look_known(other, "one", asked, 3, known, &why));
    CU_ASSERT(known[0].delivered && known[1].dead && known[2].delivered);
    queue_close(other);
    temporary_remove(directory);
}

/* While it rests there is nothing open that would have to be opened anew. */
static void a_resting_queue_need_not_be_opened_again(void)
{
    char directory[PATH_SIZE], state[PATH_SIZE], url[] = "http://127.0.0.1:1";
    struct made_config made;
    struct error why = {0};
    struct strings names;
    CU_ASSERT_FATAL(temporary_make(directory));
    path_join(state, directory, "state");
    made_config_init(&made, url, url);
    made.config.queue = QUEUE_SQLITE;
    made.config.state_dir = state;
    struct queue *queue = queue_open(&made.config, &why);
    CU_ASSERT_PTR_NOT_NULL_FATAL(queue);
    queue_rest(queue);
    CU_ASSERT_FALSE(queue_must_reopen(queue));
    CU_ASSERT(queue_names(queue, &names, &why));
    queue_names_free(&names);
    queue_close(queue);
    temporary_remove(directory);
}

static void a_queue_that_keeps_nothing_says_so(void)
{
    char url[] = "http://127.0.0.1:1";
    struct made_config made;
    struct error why = {0};
    struct known known;
    const struct identity asked = identity(1, 0);
    made_config_init(&made, url, url);
    struct queue *queue = queue_open(&made.config, &why);
    CU_ASSERT_PTR_NOT_NULL_FATAL(queue);
    CU_ASSERT_FALSE(queue_look_known(queue, "one", &asked, 1, &known, &why));
    CU_ASSERT(strstr(why.text, "keeps nothing") != NULL);
    queue_close(queue);
}

void suite_queue_look(void)
{
    static CU_TestInfo tests[] = {
        {"others see what was settled", others_see_what_was_settled},
        {"a resting queue need not be opened again", a_resting_queue_need_not_be_opened_again},
        {"a queue that keeps nothing says so", a_queue_that_keeps_nothing_says_so},
        CU_TEST_INFO_NULL,
    };
    suite_add("queue look", NULL, NULL, tests);
}
