/* Dead letters end: after dead_retention, told of before, and they never make the queue full for events. One table of
 * cases for both engines; how much room letters take is each engine's own. */
#include "base/clock.h"
#include "tests/suites.h"
#include "tests/support/check.h"
#include "tests/support/queue_rig.h"
#include "tests/support/shifted_clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PATIENCE_MS 60000
#define DAY_MS INT64_C(86400000)
#define DAY "CAST(86400000 AS bigint)" /* in SQL */
#define LARGE ((size_t)100000)

static struct made_config made;
static char directory[PATH_SIZE], state[PATH_SIZE];
static struct queue_rig_engine engine;
static char *large;

static int begin_sqlite(void)
{
    uint64_t random = 1;
    int failed = queue_rig_set_up(&made, directory, state);
    made.config.queue_max_bytes = 1 << 20;
    made.config.dead_retention_ms = 90 * DAY_MS;
    large = malloc(LARGE);
    for (size_t i = 0; large != NULL && i < LARGE; i++) { /* a server may pack what can be packed */
        random = random * 6364136223846793005u + 1442695040888963407u;
        large[i] = (char)('0' + (random >> 40) % 64);
    }
    return failed || large == NULL;
}

static int begin_postgresql(void)
{
    return begin_sqlite() != 0 || !queue_rig_postgresql(&engine, &made);
}

static int end(void)
{
    free(large);
    queue_rig_engine_end(&engine);
    temporary_remove(directory);
    return 0;
}

/* ---- a queue of the test's own ---- */

static struct queue *open_queue(void)
{
    struct error why = {0};
    made.config.state_dir = state;
    struct queue *queue = queue_open(&made.config, &why);
    CU_ASSERT_STRING_EQUAL(why.text, "");
    CU_ASSERT_PTR_NOT_NULL_FATAL(queue);
    return queue;
}

static struct queue *open_new(const char *name)
{
    path_join(state, directory, name);
    queue_rig_new(&engine, &made);
    return open_queue();
}

static void change(const char *statements)
{
    queue_rig_change(&engine, &made, statements, statements);
}

/* The queue is as many days older than it is, or younger. */
static void age_queue(int days)
{
    char sqlite[160], postgresql[160];
    snprintf(sqlite, sizeof sqlite, "UPDATE count SET n = n - %d * " DAY " WHERE source = 0 AND kind = 13", days);
    snprintf(postgresql, sizeof postgresql, "UPDATE meta SET made = made - %d * " DAY, days);
    queue_rig_change(&engine, &made, sqlite, postgresql);
}

/* The clock that retention believes has run for two days, or for an hour; or it is as the server's, or three days
 * behind. */
static void set_clock(bool steady)
{
    char text[64];
    if (queue_rig_is_postgresql(&made)) {
        shifted_clock_set(steady ? 0 : -72);
        return;
    }
    long long now = clock_unix_ms();
    int length = snprintf(text, sizeof text, "%lld %lld\n", now, now - (steady ? 2 * DAY_MS : 3600000));
    CU_ASSERT_TRUE(temporary_write(state, "clock", 0600, text, (size_t)length));
}

static enum queue_result append(struct queue *queue, size_t length, struct error *why)
{
    return queue_append(queue, "one", large, length, clock_now() + PATIENCE_MS, why);
}

/* Appends events, which become dead letters; this queue owns the reading. */
static void make_letters(struct queue *queue, size_t count, size_t length)
{
    struct error why = {0};
    struct events found = {0};
    for (size_t i = 0; i < count; i++)
        CU_ASSERT_EQUAL(append(queue, length, &why), QUEUE_STORED);
    CU_ASSERT_TRUE(queue_claim(queue, &why));
    CU_ASSERT_EQUAL(queue_next(queue, "one", 0, count, count * length + 1, &found, &why), (int)count);
    for (size_t i = 0; i < found.count; i++) {
        struct verdict verdict = {.id = found.at[i].id, .kind = VERDICT_DEAD, .reason = "no"};
        CU_ASSERT_TRUE(queue_settle(queue, "one", &verdict, 1, &why));
    }
    events_free(&found);
    CU_ASSERT_STRING_EQUAL(why.text, "");
}

static struct queue_room room_of(struct queue *queue)
{
    struct queue_room room;
    struct error why;
    CU_ASSERT_TRUE(queue_room(queue, &room, &why));
    return room;
}

/* ---- their end ---- */

/* 100 letters, of which 1 to 70 are too old, and 1 is on its way again. A week ago this release came. */
static void make_old_letters(const char *name, bool steady)
{
    size_t done;
    uint64_t first = 1;
    struct error why;
    struct queue *queue = open_new(name);
    make_letters(queue, 100, 10);
    CU_ASSERT_TRUE(queue_replay(queue, &first, 1, &done, &why));
    queue_close(queue);
    change("UPDATE letter SET died = died - 91 * " DAY " WHERE id <= 70");
    age_queue(8);
    set_clock(steady);
}

static void old_letters_end(void)
{
    struct error why;
    struct letters letters = {0};
    make_old_letters("end", true);
    struct queue *queue = open_queue();
    CU_ASSERT_EQUAL(queue_rig_counts(queue, "one").dead, 99); /* one is on its way, and waits */
    CU_ASSERT_TRUE(queue_claim(queue, &why));
    for (moment end = clock_now() + PATIENCE_MS; queue_rig_counts(queue, "one").ended < 69 && clock_now() < end;)
        usleep(10000);
    struct counts counts = queue_rig_counts(queue, "one");
    CU_ASSERT_EQUAL(counts.ended, 69);
    CU_ASSERT_EQUAL(counts.dead, 30);
    CU_ASSERT_EQUAL(counts.accepted, 100); /* what became of events stays as it was */
    CU_ASSERT_EQUAL(counts.waiting, 1);
    CU_ASSERT_EQUAL(queue_letters(queue, "one", 0, 2, 1000, &letters, &why), 2);
    if (letters.count == 2) {
        CU_ASSERT_TRUE(letters.at[0].id == 1 && letters.at[0].replayed);
        CU_ASSERT_EQUAL(letters.at[1].id, 71);
    }
    if (!queue_rig_is_postgresql(&made)) {
        CU_ASSERT_EQUAL(room_of(queue).letters, 31 * (10 + 256));
    }
    letters_free(&letters);
    queue_close(queue);
}

/* A pass of the housekeeper is over when what was settled meanwhile is in the database's own file; what it is to leave
 * alone is there then. */
static void expect_all_kept(struct queue *queue)
{
    struct error why;
    CU_ASSERT_TRUE(queue_claim(queue, &why));
    usleep(300000); /* it begins at once, and needs a few milliseconds */
    CU_ASSERT_EQUAL(queue_rig_counts(queue, "one").ended, 0);
    CU_ASSERT_EQUAL(queue_rig_counts(queue, "one").dead, 99);
}

static void nothing_ends_by_a_clock_that_was_set(void)
{
    make_old_letters("unsteady", false);
    struct queue *queue = open_queue();
    expect_all_kept(queue);
    queue_close(queue);
    shifted_clock_set(0);
}

static void nothing_ends_for_ever(void)
{
    make_old_letters("ever", true);
    made.config.dead_retention_ms = 0;
    struct queue *queue = open_queue();
    expect_all_kept(queue);
    CU_ASSERT_EQUAL(queue_rig_counts(queue, "one").ending, 0);
    queue_close(queue);
    made.config.dead_retention_ms = 90 * DAY_MS;
}

/* Who has letters that are old already when this release comes has a week, too. */
static void the_end_is_told_a_week_before(void)
{
    struct queue *queue = open_new("told");
    make_letters(queue, 5, 10);
    CU_ASSERT_EQUAL(queue_rig_counts(queue, "one").ending, 0);
    queue_close(queue);
    change("UPDATE letter SET died = died - 84 * " DAY " WHERE id <= 2;"
           "UPDATE letter SET died = died - 82 * " DAY " WHERE id = 3");
    age_queue(8);
    queue = open_queue();
    CU_ASSERT_EQUAL(queue_rig_counts(queue, "one").ending, 2);
    int64_t left_ms = queue_rig_counts(queue, "one").ending_ms - clock_unix_ms();
    CU_ASSERT_TRUE(left_ms > 5 * DAY_MS && left_ms <= 6 * DAY_MS);
    queue_close(queue);
    change("UPDATE letter SET died = died - 1000 * " DAY " WHERE id <= 2");
    age_queue(-8);
    queue = open_queue();
    left_ms = queue_rig_counts(queue, "one").ending_ms - clock_unix_ms();
    CU_ASSERT_TRUE(left_ms > 6 * DAY_MS && left_ms <= 7 * DAY_MS);
    queue_close(queue);
}

/* ---- their room ---- */

/* The release before knows nothing of it, and its database gets it when it is opened. */
static void their_room_is_known(void)
{
    const uint64_t two = 2, three = 3;
    size_t done;
    struct error why;
    struct queue *queue = open_new("room");
    make_letters(queue, 3, LARGE);
    CU_ASSERT_EQUAL(room_of(queue).letters, 3 * (LARGE + 256));
    CU_ASSERT_TRUE(room_of(queue).used >= 3 * LARGE);
    CU_ASSERT_TRUE(queue_discard(queue, &two, 1, &done, &why));
    CU_ASSERT_EQUAL(room_of(queue).letters, 2 * (LARGE + 256));
    queue_close(queue);

    change("DROP TRIGGER letter_added; DROP TRIGGER letter_removed; DROP INDEX letter_died; DROP TABLE request;"
           "DELETE FROM count WHERE source = 0");
    queue = open_queue();
    CU_ASSERT_EQUAL(room_of(queue).letters, 2 * (LARGE + 256));
    queue_close(queue);
    change("INSERT INTO letter SELECT NULL, source, key, updated, received, died, replayed, reason, body FROM letter"
           " WHERE id = 1"); /* as the release before does it */
    queue = open_queue();
    CU_ASSERT_EQUAL(room_of(queue).letters, 3 * (LARGE + 256));
    queue_close(queue);
    change("DROP TRIGGER letter_removed; CREATE TRIGGER letter_removed AFTER DELETE ON letter BEGIN UPDATE count"
           " SET n = n - length(old.body) - 256 WHERE source = 0 AND kind = 11; END"); /* of builds before */
    queue = open_queue();
    /* an error, integer overflow, where it is still that one */
    change("SELECT abs(-9223372036854775808) FROM sqlite_master WHERE sql LIKE '%old.body%'");
    CU_ASSERT_TRUE(queue_discard(queue, &three, 1, &done, &why));
    CU_ASSERT_EQUAL(room_of(queue).letters, 2 * (LARGE + 256));
    queue_close(queue);
}

/* Appends large events until one is refused, or there are so many. A server counts what it holds with a delay, and is
 * asked now and then. Returns how many were taken. */
static size_t fill(struct queue *queue, struct error *why)
{
    size_t taken = 0;
    moment until = clock_now() + PATIENCE_MS;
    while ((taken < 100 || queue_rig_is_postgresql(&made)) && clock_now() < until &&
           append(queue, LARGE, why) == QUEUE_STORED) {
        taken++;
        if (queue_rig_is_postgresql(&made) && taken > 20)
            usleep(200000);
    }
    return taken;
}

/* More letters than the queue is large: events have three quarters of it, and the refusal says what fills it. */
static void letters_never_make_the_queue_full(void)
{
    struct error why = {0};
    made.config.queue_max_bytes = 64 << 20;
    struct queue *queue = open_new("full");
    make_letters(queue, 50, LARGE);
    queue_close(queue);
    made.config.queue_max_bytes = 4 << 20;
    queue = open_queue();
    size_t taken = fill(queue, &why), late = queue_rig_is_postgresql(&made) ? 40 : 0;
    check(taken >= 20 && taken <= 32 + late, "%zu are taken", taken); /* of 3 MiB; a page is 16 KiB */
    CU_ASSERT_PTR_NOT_NULL(strstr(why.text, "queue_max_bytes (4 MiB) is reached: "));
    CU_ASSERT_PTR_NOT_NULL(
        strstr(why.text, queue_rig_is_postgresql(&made) ? " 5 MiB of dead letters: " : " 4 MiB of dead letters: "));
    CU_ASSERT_PTR_NOT_NULL(strstr(why.text, "`closecrm.fcgi dead list`"));
    queue_close(queue);

    queue = open_new("alone"); /* without letters all of it is for events, and nobody speaks of letters */
    taken = fill(queue, &why);
    check(taken >= 30 && taken <= 42 + late, "%zu are taken", taken);
    CU_ASSERT_PTR_NULL(strstr(why.text, "dead list"));
    queue_close(queue);
    made.config.queue_max_bytes = 64 << 20;
}

/* ---- what commands ask of who forwards ---- */

static void what_nobody_waits_for_is_forgotten(void)
{
    struct error why = {0};
    int64_t number, old_number;
    bool withdrawn;
    enum queue_answer answer;
    struct queue_request request = {.source = "one", .event = 7, .identity = {.updated_us = 5}, .remember = true};
    struct queue *queue = open_new("requests");
    CU_ASSERT_TRUE(queue_ask(queue, &request, &old_number, &why));
    queue_close(queue);
    change("UPDATE request SET made = made - 61000");
    queue = open_queue();
    CU_ASSERT_TRUE(queue_ask(queue, &request, &number, &why));
    CU_ASSERT_TRUE(queue_claim(queue, &why));
    CU_ASSERT_TRUE(queue_take_request(queue, &request)); /* a new owner looks without being woken */
    CU_ASSERT_EQUAL(request.number, number);
    CU_ASSERT_TRUE(request.event == 7 && request.remember && request.identity.updated_us == 5);
    CU_ASSERT_FALSE(queue_take_request(queue, &request));
    CU_ASSERT_TRUE(queue_withdraw(queue, number, false, &withdrawn, &why));
    CU_ASSERT_FALSE(withdrawn); /* it was taken */
    queue_answer_request(queue, number, true, "so it is");
    CU_ASSERT_TRUE(queue_answer(queue, number, &answer, &why, &why));
    CU_ASSERT_EQUAL(answer, QUEUE_DONE);
    CU_ASSERT_STRING_EQUAL(why.text, "so it is");
    CU_ASSERT_TRUE(queue_answer(queue, old_number, &answer, &why, &why));
    CU_ASSERT_EQUAL(answer, QUEUE_REFUSED);

    CU_ASSERT_TRUE(queue_ask(queue, &request, &number, &why)); /* one that is withdrawn is not taken */
    queue_remind(queue);
    CU_ASSERT_TRUE(queue_withdraw(queue, number, false, &withdrawn, &why));
    CU_ASSERT_TRUE(withdrawn);
    queue_clear_wakeup(queue);
    CU_ASSERT_FALSE(queue_take_request(queue, &request));
    queue_close(queue);
}

/* ---- what was deleted is counted ---- */

static void settle_as(struct queue *queue, uint64_t id, enum verdict_kind kind, unsigned char key, int64_t updated_us)
{
    struct error why;
    struct verdict verdict = {.id = id,
                              .kind = kind,
                              .identity = {.key = {key}, .updated_us = updated_us},
                              .remember = kind != VERDICT_DUPLICATE,
                              .reason = "no"};
    CU_ASSERT_TRUE(queue_settle(queue, "one", &verdict, 1, &why));
}

static void expect_sum(struct queue *queue, uint64_t accepted, uint64_t discarded)
{
    struct counts counts = queue_rig_counts(queue, "one");
    CU_ASSERT_EQUAL(counts.accepted, accepted);
    CU_ASSERT_EQUAL(counts.discarded, discarded);
    CU_ASSERT_EQUAL(counts.accepted, counts.delivered + counts.duplicates + counts.dropped + counts.waiting +
                                         counts.dead + counts.ended + counts.discarded + counts.lost);
}

/* Two versions of an event, which a third one that is delivered replaces; one that is dropped, one that is replayed. */
static void deleted_letters_are_counted(void)
{
    struct queue *queue = open_new("deleted");
    struct error why;
    size_t done = 0;
    for (unsigned i = 0; i < 5; i++)
        CU_ASSERT_EQUAL(append(queue, 100 + i, &why), QUEUE_STORED);
    CU_ASSERT_TRUE(queue_claim(queue, &why));
    settle_as(queue, 1, VERDICT_DEAD, 1, 1);
    settle_as(queue, 2, VERDICT_DEAD, 1, 2);
    settle_as(queue, 3, VERDICT_DEAD, 2, 1);
    settle_as(queue, 4, VERDICT_DEAD, 3, 1);
    expect_sum(queue, 5, 0);
    settle_as(queue, 5, VERDICT_DELIVERED, 1, 3);
    expect_sum(queue, 5, 2);
    CU_ASSERT_TRUE(queue_discard(queue, &(uint64_t){3}, 1, &done, &why));
    expect_sum(queue, 5, 3);
    CU_ASSERT_TRUE(queue_replay(queue, &(uint64_t){4}, 1, &done, &why));
    expect_sum(queue, 5, 3);
    settle_as(queue, 6, VERDICT_DEAD, 3, 1);
    expect_sum(queue, 5, 3);
    CU_ASSERT_TRUE(queue_replay(queue, &(uint64_t){4}, 1, &done, &why));
    CU_ASSERT_TRUE(queue_discard(queue, &(uint64_t){4}, 1, &done, &why));
    CU_ASSERT_EQUAL(done, 0); /* it is on its way */
    expect_sum(queue, 5, 3);
    settle_as(queue, 7, VERDICT_DUPLICATE, 3, 1);
    expect_sum(queue, 5, 3);
    queue_close(queue);
}

#define OF_BOTH                                                                                                        \
    {"old letters end, but those on their way", old_letters_end},                                                      \
        {"nothing ends by a clock that was set", nothing_ends_by_a_clock_that_was_set},                                \
        {"nothing ends with dead_retention = 0", nothing_ends_for_ever},                                               \
        {"the end is told a week before", the_end_is_told_a_week_before},                                              \
        {"letters never make the queue full", letters_never_make_the_queue_full},                                      \
        {"deleted letters are counted", deleted_letters_are_counted},                                                  \
    {                                                                                                                  \
        "what nobody waits for any more is forgotten", what_nobody_waits_for_is_forgotten                              \
    }

void suite_queue_letters(void)
{
    static CU_TestInfo tests[] = {OF_BOTH, {"their room is known", their_room_is_known}, CU_TEST_INFO_NULL};
    suite_add("queue letters", begin_sqlite, end, tests);
}

void suite_queue_letters_postgresql(void)
{
    static CU_TestInfo tests[] = {OF_BOTH, CU_TEST_INFO_NULL};
    suite_add("queue letters postgresql", begin_postgresql, end, tests);
}
