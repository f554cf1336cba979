/* Each call to the disk, and each of SQLite's allocations, fails once: what was said to be stored is there, what was
 * said to be settled is gone and known, and nothing is both or neither. And: the power is cut at any moment. */
#include <pthread.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/suites.h"
#include "tests/support/check.h"
#include "tests/support/disk_vfs.h"
#include "tests/support/queue_rig.h"

#define PATIENCE_MS 60000
#define BODIES 512 /* numbers of bodies that one test uses at most */
#define CALLS_MOST 400

static struct made_config made;
static char directory[PATH_SIZE], state[PATH_SIZE];
static struct events found;

static int set_up(void)
{
    temporary_in_memory();
    return queue_rig_set_up_quiet(&made, directory, state) != 0 || !disk_install();
}

static int tear_down(void)
{
    disk_remove();
    return queue_rig_tear_down_quiet(directory, &found);
}

static void use_state(const char *name, unsigned number)
{
    char numbered[64];
    snprintf(numbered, sizeof numbered, "%s-%u", name, number);
    path_join(state, directory, numbered);
    made.config.state_dir = state;
}

/* Bodies are "body N", and then some, so that they take more than one page together. */
static enum queue_result append_saying(struct queue *queue, unsigned number, struct error *why)
{
    char body[1500];
    memset(body, 'x', sizeof body);
    snprintf(body, sizeof body, "body %u", number);
    return queue_append(queue, "one", body, sizeof body, clock_now() + PATIENCE_MS, why);
}

static enum queue_result append(struct queue *queue, unsigned number)
{
    struct error why = {0};
    return append_saying(queue, number, &why);
}

/* How often each body is there. */
struct there {
    unsigned times[BODIES];
    uint64_t id[BODIES];
};

static void look(struct queue *queue, struct there *there)
{
    uint64_t after = 0;
    struct error why = {0};
    int count;
    memset(there, 0, sizeof *there);
    while ((count = queue_next(queue, "one", after, 100, 1 << 20, &found, &why)) > 0) {
        for (size_t i = 0; i < found.count; i++) {
            unsigned number = BODIES;
            after = found.at[i].id;
            check(found.at[i].length == 1500 && sscanf(found.at[i].body, "body %u", &number) == 1 && number < BODIES,
                  "no body is altered");
            if (number < BODIES) {
                there->times[number]++;
                there->id[number] = after;
            }
        }
    }
    check(count == 0, "it can be read: %s", why.text);
}

static void note_fault(void *context, const char *fault)
{
    (void)context;
    check(false, "a fault in the database: %s", fault);
}

static void check_integrity(struct queue *queue)
{
    size_t faults = 0;
    struct error why = {0};
    check(queue_check(queue, note_fault, NULL, &faults, &why) && faults == 0, "the database is whole: %s", why.text);
}

/* ---- appending ---- */

/* Said and found must agree: stored: once; not stored: not at all, or (a sync failed, say) once. */
static void check_appended(const enum queue_result said[], unsigned count)
{
    struct there there;
    struct queue *queue = queue_rig_open(&made);
    look(queue, &there);
    for (unsigned i = 0; i < count; i++) {
        check(there.times[i] == 1 || (said[i] != QUEUE_STORED && there.times[i] == 0),
              "body %u: said %d, there %u times", i, (int)said[i], there.times[i]);
    }
    check_integrity(queue);
    queue_close(queue);
}

static void check_append_fails(const char *name, int code, bool for_ever)
{
    enum queue_result said[BODIES];
    unsigned count = 0, n = 0;
    bool failed = true;
    use_state(name, (unsigned)code);
    for (n = 1; failed && n < CALLS_MOST && count + 3 < BODIES; n++) {
        struct queue *queue = queue_rig_open(&made);
        said[count] = append(queue, count);
        CU_ASSERT_EQUAL(said[count], QUEUE_STORED);
        count++;
        disk_fail(n, for_ever, code);
        said[count] = append(queue, count);
        failed = disk_failed();
        check(failed || said[count] == QUEUE_STORED, "without a fault it is stored");
        count++;
        disk_fail(0, false, SQLITE_OK);
        said[count] = append(queue, count); /* the same process goes on */
        check(said[count] == QUEUE_STORED, "call %u failed, and then it works again: %d", n, (int)said[count]);
        count++;
        queue_close(queue);
        check_appended(said, count);
    }
    printf("(%u calls) ", n - 2);
    CU_ASSERT_FALSE(failed);
    CU_ASSERT(n > 3);
}

static void an_append_meets_a_failing_disk(void)
{
    check_append_fails("write", SQLITE_IOERR_WRITE, false);
    check_append_fails("write-ever", SQLITE_IOERR_WRITE, true);
    check_append_fails("full", SQLITE_FULL, false);
    check_append_fails("full-ever", SQLITE_FULL, true);
    check_append_fails("sync", SQLITE_IOERR_FSYNC, false);
    check_append_fails("sync-ever", SQLITE_IOERR_FSYNC, true);
}

static void an_append_meets_too_little_memory(void)
{
    enum queue_result said[BODIES];
    unsigned refused = 0;
    use_state("memory", 0);
    for (unsigned i = 0; i < 200; i++) {
        struct queue *queue = queue_rig_open(&made);
        sqlite3_hard_heap_limit64(sqlite3_memory_used() + 256 * (sqlite3_int64)i);
        said[2 * i] = append(queue, 2 * i);
        sqlite3_hard_heap_limit64(0);
        refused += said[2 * i] != QUEUE_STORED;
        struct error why = {0};
        said[2 * i + 1] = append_saying(queue, 2 * i + 1, &why);
        check(said[2 * i + 1] == QUEUE_STORED, "with %u bytes refused, with memory it works again: %s", 256 * i,
              why.text);
        queue_close(queue);
    }
    printf("(%u of 200 refused) ", refused);
    CU_ASSERT(refused > 0 && refused < 200);
    check_appended(said, 400);
}

/* ---- opening ---- */

/* A queue that holds an event, or a new one, is opened while a call fails. */
static void check_opening_fails(const char *name, int code, bool with_event)
{
    bool failed = true;
    unsigned n;
    for (n = 1; failed && n < CALLS_MOST; n++) {
        struct error why = {0};
        enum queue_result said[2] = {QUEUE_BROKEN, QUEUE_BROKEN};
        use_state(name, n);
        if (with_event) {
            struct queue *queue = queue_rig_open(&made);
            said[0] = append(queue, 0);
            CU_ASSERT_EQUAL(said[0], QUEUE_STORED);
            queue_close(queue);
        }
        disk_fail(n, false, code);
        struct queue *queue = queue_open(&made.config, &why);
        if (queue != NULL) {
            said[1] = append(queue, 1);
            queue_close(queue);
        } else {
            check(why.text[0] != '\0', "it says why");
        }
        failed = disk_failed();
        disk_fail(0, false, SQLITE_OK);
        check_appended(said, 2);
    }
    printf("(%u calls) ", n - 2);
    CU_ASSERT_FALSE(failed);
}

static void opening_meets_a_failing_disk(void)
{
    check_opening_fails("new-write", SQLITE_IOERR_WRITE, false);
    check_opening_fails("new-sync", SQLITE_IOERR_FSYNC, false);
    check_opening_fails("new-full", SQLITE_FULL, false);
    check_opening_fails("old-write", SQLITE_IOERR_WRITE, true);
    check_opening_fails("old-full", SQLITE_FULL, true);
}

/* ---- settling ---- */

static struct identity numbered(unsigned number)
{
    struct identity identity = {.updated_us = 100};
    memcpy(identity.key, &number, sizeof number);
    return identity;
}

/* All of it took effect, or nothing: rows, identities, dead letters, counts. */
static void check_settled(bool said, unsigned n)
{
    struct there there;
    struct known known[3] = {{.delivered = false}};
    struct identity identities[3] = {numbered(0), numbered(1), numbered(2)};
    struct counts counts;
    struct error why = {0};
    struct queue *queue = queue_rig_open(&made);
    CU_ASSERT_TRUE(queue_claim(queue, &why));
    look(queue, &there);
    CU_ASSERT_TRUE(queue_known(queue, "one", identities, 3, known, &why));
    CU_ASSERT_TRUE(queue_count(queue, "one", &counts, &why));
    bool settled = there.times[0] == 0;
    check(!said || settled, "call %u: what was said to be settled is gone", n);
    check(settled == (there.times[1] == 0) && settled == known[0].delivered && settled == known[1].dead &&
              counts.delivered == settled && counts.dead == settled && counts.waiting == (settled ? 1U : 3U),
          "call %u: all or nothing: %u %u, %d %d, %llu %llu, %llu wait", n, there.times[0], there.times[1],
          known[0].delivered, known[1].dead, (unsigned long long)counts.delivered, (unsigned long long)counts.dead,
          (unsigned long long)counts.waiting);
    check(there.times[2] == 1 && !known[2].delivered, "call %u: what was not settled is there", n);
    check_integrity(queue);
    queue_close(queue);
}

static void check_settling_fails(const char *name, int code, bool for_ever)
{
    unsigned failures = 0;
    for (unsigned n = 1; n <= 20; n++) {
        struct error why = {0};
        use_state(name, n);
        struct queue *queue = queue_rig_open(&made);
        CU_ASSERT_TRUE(queue_claim(queue, &why));
        for (unsigned i = 0; i < 3; i++)
            CU_ASSERT_EQUAL(append(queue, i), QUEUE_STORED);
        struct there there;
        look(queue, &there);
        struct verdict verdicts[] = {
            {.id = there.id[0], .kind = VERDICT_DELIVERED, .identity = numbered(0), .remember = true},
            {.id = there.id[1], .kind = VERDICT_DEAD, .identity = numbered(1), .remember = true, .reason = "no"},
            {.id = there.id[2], .kind = VERDICT_LATER},
        };
        disk_fail(n, for_ever, code);
        bool said = queue_settle(queue, "one", verdicts, 3, &why);
        failures += disk_failed();
        disk_fail(0, false, SQLITE_OK);
        if (!said) {
            check(why.text[0] != '\0', "it says why");
            bool again = queue_settle(queue, "one", verdicts, 3, &why); /* as the forwarder does */
            check(again, "call %u failed, and then it works again: %s", n, why.text);
            said = again;
        }
        queue_close(queue);
        check_settled(said, n);
    }
    CU_ASSERT(failures > 0);
}

static void settling_meets_a_failing_disk(void)
{
    check_settling_fails("settle-write", SQLITE_IOERR_WRITE, false);
    check_settling_fails("settle-full", SQLITE_FULL, true);
    check_settling_fails("settle-sync", SQLITE_IOERR_FSYNC, false);
}

/* ---- power ---- */

#define THREADS 4
#define EACH 25
#define SETTLED 1000 /* promises beyond: that number was settled */
#define CUTS 120

struct writer {
    struct queue *queue;
    unsigned first;
};

static void *append_some(void *context)
{
    struct writer *writer = context;
    for (unsigned i = 0; i < EACH; i++) {
        if (append(writer->queue, writer->first + i) == QUEUE_STORED)
            disk_mark(writer->first + i);
    }
    return NULL;
}

/* Settles what is found, one by one, so that checkpoints, too, happen meanwhile. */
static void settle_some(struct queue *queue, unsigned most)
{
    uint64_t after = 0;
    struct error why = {0};
    for (unsigned settled = 0; settled < most;) {
        unsigned number = 0;
        if (queue_next(queue, "one", after, 1, 1 << 20, &found, &why) != 1)
            continue;
        after = found.at[0].id;
        CU_ASSERT_EQUAL_FATAL(sscanf(found.at[0].body, "body %u", &number), 1);
        struct verdict verdict = {
            .id = after, .kind = VERDICT_DELIVERED, .identity = numbered(number), .remember = true};
        disk_mark(SETTLED + number); /* from here on it may be gone */
        CU_ASSERT_TRUE(queue_settle(queue, "one", &verdict, 1, &why));
        settled++;
    }
}

static void record_work(void)
{
    pthread_t threads[THREADS];
    struct writer writers[THREADS];
    struct error why = {0};
    use_state("power", 0);
    struct queue *queue = queue_rig_open(&made);
    disk_record(state);
    CU_ASSERT_TRUE(queue_claim(queue, &why));
    for (unsigned i = 0; i < THREADS; i++) {
        writers[i] = (struct writer){.queue = queue, .first = i * EACH};
        CU_ASSERT_EQUAL_FATAL(pthread_create(&threads[i], NULL, append_some, &writers[i]), 0);
    }
    settle_some(queue, THREADS * EACH / 2);
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    queue_close(queue);
}

static struct queue *open_after_cut(const char *name, size_t cut, unsigned random)
{
    use_state(name, (unsigned)cut);
    CU_ASSERT_EQUAL_FATAL(mkdir(state, 0700), 0);
    disk_after_cut(state, cut, random);
    return queue_rig_open(&made);
}

static void check_cut(size_t cut, unsigned random)
{
    struct there there;
    struct known known;
    struct error why = {0};
    struct queue *queue = open_after_cut("cut", cut, random);
    CU_ASSERT_FALSE(queue_must_reopen(queue));
    CU_ASSERT_TRUE(queue_claim(queue, &why));
    look(queue, &there);
    for (unsigned i = 0; i < THREADS * EACH; i++) {
        struct identity identity = numbered(i);
        CU_ASSERT_TRUE(queue_known(queue, "one", &identity, 1, &known, &why));
        bool stored = disk_promised(cut, i), may_be_gone = disk_promised(cut, SETTLED + i);
        check(there.times[i] <= 1, "cut at %zu (%u): body %u is there %u times", cut, random, i, there.times[i]);
        check(!stored || there.times[i] == 1 || may_be_gone, "cut at %zu (%u): body %u is lost", cut, random, i);
        check(!may_be_gone || known.delivered != (there.times[i] == 1), "cut at %zu (%u): body %u is gone or unknown",
              cut, random, i);
    }
    check_integrity(queue);
    queue_close(queue);
    temporary_remove(state);
}

/* Of what was not synced some survives and some does not, in any order. */
static void the_power_is_cut(void)
{
    record_work();
    size_t length = disk_recorded();
    printf("(%zu entries) ", length);
    for (unsigned i = 0; i < CUTS; i++)
        check_cut(length * (i + 1) / CUTS, i + 1);
    disk_forget();
}

/* ---- power, and what commands were told ---- */

#define ACTS 4
#define MOVING ACTS /* from that mark on the source is about to be empty */

/* Makes the event with that number a dead letter, as who forwards does on request. */
static void set_aside_on_request(struct queue *queue, unsigned number)
{
    struct there there;
    struct queue_request request = {.source = "one"};
    struct error why = {0};
    int64_t asked;
    look(queue, &there);
    request.event = there.id[number];
    CU_ASSERT_TRUE(queue_ask(queue, &request, &asked, &why));
    CU_ASSERT_TRUE(queue_claim(queue, &why) && queue_take_request(queue, &request));
    struct verdict verdict = {.id = request.event, .kind = VERDICT_DEAD, .identity = numbered(number)};
    CU_ASSERT_TRUE(queue_settle(queue, "one", &verdict, 1, &why));
    queue_answer_request(queue, asked, true, "it is");
}

/* 0 and 1 are dead letters, 2 and 3 wait. */
static void prepare_acts(uint64_t letter[static 2])
{
    struct there there;
    struct error why = {0};
    use_state("acts", 0);
    struct queue *queue = queue_rig_open(&made);
    for (unsigned i = 0; i < ACTS; i++)
        CU_ASSERT_EQUAL(append(queue, i), QUEUE_STORED);
    CU_ASSERT_TRUE(queue_claim(queue, &why));
    look(queue, &there);
    for (unsigned i = 0; i < 2; i++) {
        letter[i] = there.id[i];
        struct verdict verdict = {.id = letter[i], .kind = VERDICT_DEAD, .identity = numbered(i), .remember = true};
        CU_ASSERT_TRUE(queue_settle(queue, "one", &verdict, 1, &why));
    }
    queue_close(queue);
}

/* Each act is done once the call is: what a command then says holds. */
static void record_acts(const uint64_t letter[static 2])
{
    size_t done;
    struct moved moved;
    struct error why = {0};
    struct queue *queue = queue_rig_open(&made);
    disk_record(state);
    CU_ASSERT_TRUE(queue_discard(queue, &letter[0], 1, &done, &why) && done == 1);
    disk_mark(0);
    CU_ASSERT_TRUE(queue_replay(queue, &letter[1], 1, &done, &why) && done == 1);
    disk_mark(1);
    set_aside_on_request(queue, 2);
    disk_mark(2);
    queue_close(queue);
    queue = queue_rig_open(&made);
    disk_mark(MOVING);
    CU_ASSERT_TRUE(queue_move(queue, "one", "two", &moved, &why));
    disk_mark(3);
    queue_close(queue);
}

static void check_acts(size_t cut, unsigned random)
{
    struct there there;
    struct counts counts;
    struct error why = {0};
    struct queue *queue = open_after_cut("acts-cut", cut, random);
    CU_ASSERT_TRUE(queue_count(queue, "one", &counts, &why));
    look(queue, &there);
    bool stays = !disk_promised(cut, MOVING);
    check(!stays || !disk_promised(cut, 0) || counts.discarded == 1, "cut at %zu: what was dropped is back", cut);
    check(!stays || !disk_promised(cut, 1) || there.times[1] == 1, "cut at %zu: what was replayed does not wait", cut);
    check(!stays || !disk_promised(cut, 2) || there.times[2] == 0, "cut at %zu: what was set aside waits again", cut);
    check(!disk_promised(cut, 3) || counts.accepted == 0, "cut at %zu: what was moved is back", cut);
    queue_close(queue);
    temporary_remove(state);
}

/* With nothing after it that would sync it by the way. */
static void what_a_command_was_told_holds(void)
{
    uint64_t letter[2];
    prepare_acts(letter);
    record_acts(letter);
    size_t length = disk_recorded();
    printf("(%zu entries) ", length);
    for (size_t cut = 1; cut <= length; cut++)
        check_acts(cut, (unsigned)cut);
    CU_ASSERT_TRUE(disk_promised(length, ACTS - 1));
    disk_forget();
}

void suite_queue_sqlite_faults(void)
{
    static CU_TestInfo tests[] = {
        {"an append meets a failing disk", an_append_meets_a_failing_disk},
        {"an append meets too little memory", an_append_meets_too_little_memory},
        {"opening meets a failing disk", opening_meets_a_failing_disk},
        {"settling meets a failing disk", settling_meets_a_failing_disk},
        {"the power is cut at any moment", the_power_is_cut},
        {"what a command was told holds when the power is cut", what_a_command_was_told_holds},
        CU_TEST_INFO_NULL,
    };
    suite_add("queue sqlite faults", set_up, tear_down, tests);
}
