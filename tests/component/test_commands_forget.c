/* forget: nothing of a lead is left in any file of the state directory, all else stays, and what was deleted does not
 * come back by itself. */
#include "tests/suites.h"
#include "tests/support/commands_made.h"
#include "tests/support/commands_run.h"
#include "tests/support/temporary.h"

#include <dirent.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "queue/sqlite/store.h"
#include "telemetry/telemetry.h"
#include "tests/support/check.h"
#include "tests/support/durable.h"

#define MARK "Mrs. Forget-Me of 7 Elm Street"
#define OTHER "Mr. Keep-Me of 8 Elm Street"
#define LARGE 40000 /* bytes: pages of its own, which become free when it is deleted */

static struct ran ran;

/* An event of a lead whose text stands at the beginning, in the middle and at the end. */
static const char *event_of(const char *lead, const char *id, const char *text, size_t bytes)
{
    static char out[LARGE + 1000];
    int length =
        snprintf(out, sizeof out,
                 "{\"event\":{\"id\":\"%s\",\"object_type\":\"lead\",\"action\":\"updated\",\"lead_id\":\"%s\","
                 "\"date_created\":\"2026-11-01T00:00:00.000000\",\"date_updated\":\"2026-11-01T00:00:00.000000\","
                 "\"data\":{\"name\":\"%s\",\"note\":\"",
                 id, lead, text);
    while ((size_t)length < bytes)
        length += snprintf(out + length, sizeof out - (size_t)length, "%s, ", text);
    snprintf(out + length, sizeof out - (size_t)length, "\"}},\"subscription_id\":\"whsub_1\"}");
    return out;
}

static void add_sample(const char *lead, const char *text)
{
    struct recent_event event = {
        .source = "one", .name = "lead updated", .state = "delivered", .ended_ms = INT64_MAX / 2};
    struct recent *recent = recent_open(made_state());
    snprintf(event.lead, sizeof event.lead, "%s", lead);
    recent_add(recent, &event,
               &(struct recent_bodies){
                   .incoming = text, .message = text, .incoming_length = strlen(text), .message_length = strlen(text)});
    recent_close(recent);
}

static bool file_has(const char *directory, const char *name, const char *text)
{
    char path[PATH_SIZE];
    struct stat status;
    path_join(path, directory, name);
    if (stat(path, &status) != 0 || !S_ISREG(status.st_mode)) /* a FIFO would block */
        return false;
    FILE *file = fopen(path, "re");
    CU_ASSERT_PTR_NOT_NULL_FATAL(file);
    char *all = malloc((size_t)status.st_size + 1);
    CU_ASSERT_PTR_NOT_NULL_FATAL(all);
    size_t length = fread(all, 1, (size_t)status.st_size, file);
    bool has = memmem(all, length, text, strlen(text)) != NULL;
    free(all);
    fclose(file);
    return has;
}

/* How many files of the state directory have the text. */
static int files_with(const char *text)
{
    int count = 0;
    DIR *directory = opendir(made_state());
    CU_ASSERT_PTR_NOT_NULL_FATAL(directory);
    for (const struct dirent *entry; (entry = readdir(directory)) != NULL;)
        count += file_has(made_state(), entry->d_name, text);
    closedir(directory);
    return count;
}

/* Of the lead: delivered events (free pages), one that waits, a dead letter, a sample; the same of another one. */
static void fill(void)
{
    made_begin();
    for (int i = 0; i < 4; i++)
        made_settle("one", event_of("lead_1", "ev_d", MARK, LARGE), NULL);
    made_settle("one", event_of("lead_1", "ev_2", MARK, 900), "refused");
    made_settle("two", event_of("lead_2", "ev_3", OTHER, 900), "refused");
    made_append("one", event_of("lead_1", "ev_4", MARK, LARGE));
    made_append("one", event_of("lead_2", "ev_5", OTHER, 900));
    made_append("two", event_of("lead_1", "ev_6", MARK, 900));
    add_sample("lead_1", MARK);
    add_sample("lead_2", OTHER);
}

static void nothing_of_it_is_left(void)
{
    fill();
    CU_ASSERT(files_with(MARK) >= 2);
    RUN(&ran, NULL, "forget", "--lead", "lead_1", "--dry-run");
    CU_ASSERT_EQUAL(ran.code, 0);
    CU_ASSERT_PTR_NOT_NULL(
        strstr(ran.out, "Would be deleted of lead lead_1: 2 waiting events, 1 dead letter, 1 sample\n"));
    CU_ASSERT(made_counts("one").waiting == 2 && made_counts("one").dead == 1);

    RUN(&ran, NULL, "forget", "--lead", "lead_1", "--yes");
    CU_ASSERT_EQUAL(ran.code, 0);
    check(strstr(ran.out, "Deleted of lead lead_1: 2 waiting events, 1 dead letter, 1 sample\n") != NULL, "%s%s",
          ran.out, ran.err);
    CU_ASSERT_PTR_NOT_NULL(strstr(ran.out, "Not reached: backups"));
    CU_ASSERT_EQUAL(files_with(MARK), 0);

    CU_ASSERT(files_with(OTHER) >= 2);
    CU_ASSERT(made_counts("one").waiting == 1 && made_counts("one").dead == 0);
    CU_ASSERT(made_counts("two").waiting == 0 && made_counts("two").dead == 1);
    RUN(&ran, NULL, "queue", "check");
    CU_ASSERT_EQUAL(ran.code, 0);
    RUN(&ran, NULL, "forget", "--lead", "lead_1", "--yes");
    CU_ASSERT_PTR_NOT_NULL(strstr(ran.out, "Deleted of lead lead_1: 0 waiting events, 0 dead letters, 0 samples\n"));
    made_end();
}

static void only_of_the_named_source(void)
{
    fill();
    RUN(&ran, NULL, "forget", "--lead", "lead_1", "--source", "two", "--yes");
    CU_ASSERT_EQUAL(ran.code, 0);
    CU_ASSERT_PTR_NOT_NULL(strstr(ran.out, "1 waiting event, 0 dead letters, 0 samples\n"));
    CU_ASSERT(made_counts("one").waiting == 2 && made_counts("one").dead == 1);
    RUN(&ran, NULL, "forget", "--lead", "lead_1", "--source", "tow", "--yes");
    CU_ASSERT_EQUAL(ran.code, 1);
    made_end();
}

static void it_asks_first(void)
{
    fill();
    RUN(&ran, NULL, "forget", "--lead", "lead_1");
    CU_ASSERT_EQUAL(ran.code, 2);
    CU_ASSERT_PTR_NOT_NULL(strstr(ran.err, "say so with --yes"));
    RUN(&ran, NULL, "forget", "--yes");
    CU_ASSERT_EQUAL(ran.code, 2);
    CU_ASSERT_PTR_NOT_NULL(strstr(ran.err, "which lead?"));
    CU_ASSERT(made_counts("one").waiting == 2 && made_counts("one").dead == 1);
    made_end();
}

/* Looks up so many identities that the owner's housekeeper fills a Bloom filter, and waits for it. */
static void fill_bloom_filter(struct queue *owner)
{
    struct store *store = owner->state;
    struct identity unknown = {.updated_us = 1};
    struct known known;
    struct error why = {0};
    bool whole = false;
    for (uint32_t i = 0; i < 5000; i++) {
        memcpy(unknown.key, &i, sizeof i);
        CU_ASSERT_FATAL(queue_known(owner, "one", &unknown, 1, &known, &why));
    }
    for (moment until = clock_now() + 60000; !whole && clock_now() < until; poll(NULL, 0, 10)) {
        housekeeper_call(store);
        pthread_mutex_lock(&store->mirror_lock);
        whole = store->bloom.whole;
        pthread_mutex_unlock(&store->mirror_lock);
    }
    CU_ASSERT(whole);
}

/* Deleted letters are known as long as delivered events are: the second reading of the Event Log, Close's repetitions
 * and `backfill` do not bring them back. The owner's Bloom filter, filled before, must not hide them. */
static void what_was_deleted_is_known(void)
{
    struct error why = {0};
    struct events found = {NULL, 0, 0, {NULL, 0, 0, false}};
    struct known known;
    struct identity identity = {.updated_us = 1000};
    size_t done = 0;
    uint64_t letter = 1;
    memset(identity.key, 7, sizeof identity.key);
    made_begin();
    made_append("one", event_of("lead_1", "ev_1", MARK, 900));
    struct queue *owner = made_open(), *other = made_open();
    CU_ASSERT_FATAL(queue_claim(owner, &why));
    CU_ASSERT_EQUAL_FATAL(queue_next(owner, "one", 0, 1, 1 << 20, &found, &why), 1);
    const struct verdict dead = {
        .id = 1, .kind = VERDICT_DEAD, .identity = identity, .remember = true, .reason = "bad"};
    CU_ASSERT(queue_settle(owner, "one", &dead, 1, &why));
    CU_ASSERT(queue_known(owner, "one", &identity, 1, &known, &why) && known.dead && !known.delivered);
    fill_bloom_filter(owner);
    CU_ASSERT(queue_discard(other, &letter, 1, &done, &why) && done == 1);
    CU_ASSERT(queue_known(owner, "one", &identity, 1, &known, &why));
    CU_ASSERT(!known.dead && known.delivered && known.delivered_us == 1000);
    CU_ASSERT(queue_look_known(other, "one", &identity, 1, &known, &why) && known.delivered);
    events_free(&found);
    made_close(other);
    made_close(owner);
    made_end();
}

/* ---- interrupted, and beside others ---- */

#define EVENTS 450
#define LETTERS 30
#define CALLS_MOST 50

/* Of lead_1 and of another one: events that wait, and dead letters before them. */
static void fill_two_leads(void)
{
    char id[24];
    struct error why = {0};
    made_begin();
    struct queue *queue = made_open();
    for (unsigned i = 0; i < LETTERS + EVENTS; i++) {
        snprintf(id, sizeof id, "ev_%u", i);
        const char *body = event_of(i % 3 == 0 ? "lead_2" : "lead_1", id, "x", 0);
        CU_ASSERT_EQUAL(queue_append(queue, "one", body, strlen(body), clock_now() + 60000, &why), QUEUE_STORED);
    }
    struct verdict verdict[LETTERS];
    for (unsigned i = 0; i < LETTERS; i++)
        verdict[i] = (struct verdict){.id = i + 1, .kind = VERDICT_DEAD, .reason = "refused"};
    CU_ASSERT_FATAL(queue_claim(queue, &why)); /* not before: a busy server takes long for so many */
    CU_ASSERT(queue_settle(queue, "one", verdict, LETTERS, &why));
    made_close(queue);
}

/* Begins a command in a process of its own. */
static pid_t begin_command(const char *const *arguments)
{
    fflush(NULL);
    pid_t child = fork();
    CU_ASSERT_FATAL(child >= 0);
    if (child == 0) {
        run_command(&ran, NULL, arguments);
        _exit(ran.code);
    }
    return child;
}

static const char *const forget[] = {"forget", "--lead", "lead_1", "--yes", NULL};

/* Called until it says that nothing is left. What a server has of deleted rows is its administrator's to remove, and
 * told as a failure. */
static void finish_forgetting(void)
{
    run_command(&ran, NULL, forget);
    check(ran.code == 0 || strstr(ran.err, "forget: this queue is in PostgreSQL: VACUUM FULL") != NULL, "%s%s", ran.out,
          ran.err);
    CU_ASSERT_PTR_NULL(strstr(ran.out, "call this again"));
}

/* Nothing of the lead is left, and nothing of it was sent, or counted otherwise. */
static void expect_forgotten(void)
{
    struct counts counts = made_counts("one");
    CU_ASSERT(counts.waiting == EVENTS / 3 && counts.dead == LETTERS / 3);
    CU_ASSERT_EQUAL(counts.discarded, (EVENTS + LETTERS) / 3 * 2);
    CU_ASSERT_EQUAL(counts.accepted, EVENTS + LETTERS);
    CU_ASSERT_EQUAL(counts.delivered + counts.duplicates + counts.dropped, 0);
    RUN(&ran, NULL, "queue", "list", "--json");
    CU_ASSERT_PTR_NULL(strstr(ran.out, "lead_1"));
    RUN(&ran, NULL, "dead", "list", "--json");
    CU_ASSERT_PTR_NULL(strstr(ran.out, "lead_1"));
}

/* How many dead letters the lead has, all of which were there before: an event that waits never becomes one, and is not
 * there for `dead replay --all` to send. */
static uint64_t letters_of_lead(void)
{
    struct error why = {0};
    struct letters letters = {0};
    uint64_t count = 0;
    struct queue *queue = made_open();
    CU_ASSERT(queue_letters(queue, "one", 0, 1000, 4 << 20, &letters, &why) >= 0);
    for (size_t i = 0; i < letters.count; i++) {
        CU_ASSERT(letters.at[i].id <= LETTERS && strcmp(letters.at[i].reason, "refused") == 0);
        count += memmem(letters.at[i].body, letters.at[i].length, "lead_1", 6) != NULL;
    }
    letters_free(&letters);
    made_close(queue);
    return count;
}

/* Kills it, and looks what it has left. Once the first event is gone no letter of the lead is left that could be sent.
 * Returns whether it came to its end before. */
static bool kill_it(pid_t child)
{
    int status;
    kill(child, SIGKILL);
    CU_ASSERT_EQUAL(waitpid(child, &status, 0), child);
    uint64_t letters = letters_of_lead();
    CU_ASSERT(made_counts("one").waiting == EVENTS || letters == 0);
    return WIFEXITED(status);
}

/* Killed after more and more time, until it comes to its end. */
static void killed_at_any_moment(void)
{
    pid_t child;
    fill_two_leads();
    unsigned wait_us = 100;
    do {
        child = begin_command(forget);
        usleep(wait_us);
        wait_us += wait_us / 3;
    } while (!kill_it(child));
    finish_forgetting();
    expect_forgotten();
    made_end();
}

/* Killed as soon as something has happened, which it goes on behind. */
static void killed_between_two_steps(void)
{
    unsigned between = 0;
    for (unsigned i = 0; i < 5; i++) {
        struct error why = {0};
        struct counts counts = {.waiting = EVENTS};
        fill_two_leads();
        struct queue *queue = made_open();
        pid_t child = begin_command(forget);
        for (moment until = clock_now() + 60000; counts.waiting == EVENTS && clock_now() < until; usleep(100))
            CU_ASSERT(queue_count(queue, "one", &counts, &why));
        made_close(queue);
        kill_it(child);
        between += made_counts("one").waiting > EVENTS / 3;
        finish_forgetting();
        expect_forgotten();
        made_end();
    }
    CU_ASSERT(between > 0);
}

static void end_process(pid_t child)
{
    int status;
    kill(child, SIGTERM);
    CU_ASSERT_EQUAL(waitpid(child, &status, 0), child);
}

/* Waits until a process has claimed the queue, and read it. */
static void wait_for_owner(void)
{
    bool owned = false;
    struct error words, why = {0};
    struct queue *queue = made_open();
    for (moment until = clock_now() + 60000; !owned && clock_now() < until; poll(NULL, 0, 10))
        CU_ASSERT(queue_is_owned(queue, &owned, &words, &why));
    CU_ASSERT(owned);
    made_close(queue);
    poll(NULL, 0, 500);
}

/* While another process has them in its lanes: in a few requests, not in one for each event. */
static void of_who_forwards_in_few_requests(void)
{
    static const char *const forwards[] = {"forward", "--follow", NULL};
    const struct queue_request next = {.source = "one", .event = 1};
    struct error why = {0};
    int64_t first = 0, last = 0;
    bool withdrawn;
    fill_two_leads();
    struct queue *queue = made_open();
    CU_ASSERT(queue_ask(queue, &next, &first, &why) && queue_withdraw(queue, first, true, &withdrawn, &why));
    pid_t owner = begin_command(forwards);
    wait_for_owner();
    unsigned calls = 0;
    do { /* it may be trying some of them at that moment */
        run_command(&ran, NULL, forget);
        calls++;
    } while (strstr(ran.out, "call this again") != NULL && calls < CALLS_MOST);
    if (calls == 1)
        CU_ASSERT_PTR_NOT_NULL(
            strstr(ran.out, "Deleted of lead lead_1: 300 waiting events, 20 dead letters, 0 samples\n"));
    CU_ASSERT(queue_ask(queue, &next, &last, &why) && queue_withdraw(queue, last, true, &withdrawn, &why));
    check(last - first <= 4 * calls, "%lld requests in %u calls", (long long)(last - first - 1), calls);
    made_close(queue);
    expect_forgotten();
    end_process(owner);
    made_end();
}

/* What a replay sends on its way meanwhile is met where it waits. */
static void while_its_letters_are_replayed(void)
{
    static const char *const replay[] = {"dead", "replay", "--lead", "lead_1", NULL};
    for (unsigned delay_us = 0; delay_us < 20000; delay_us = 2 * delay_us + 500) {
        int status;
        fill_two_leads();
        pid_t child = begin_command(forget);
        usleep(delay_us);
        run_command(&(struct ran){.code = 0}, NULL, replay);
        CU_ASSERT_EQUAL(waitpid(child, &status, 0), child);
        CU_ASSERT(WIFEXITED(status) && WEXITSTATUS(status) <= 1);
        finish_forgetting(); /* where it said that something was left */
        expect_forgotten();
        made_end();
    }
}

static int in_memory(void)
{
    temporary_in_memory();
    return 0;
}

#define OF_BOTH                                                                                                        \
    {"killed at any moment it leaves nothing to be replayed", killed_at_any_moment},                                   \
        {"killed between two steps", killed_between_two_steps},                                                        \
        {"of who forwards, in few requests", of_who_forwards_in_few_requests},                                         \
    {                                                                                                                  \
        "while its letters are replayed", while_its_letters_are_replayed                                               \
    }

void suite_commands_forget_postgresql(void)
{
    static CU_TestInfo tests[] = {OF_BOTH, CU_TEST_INFO_NULL};
    suite_add("commands: forget postgresql", durable_use_postgresql, durable_end_postgresql, tests);
}

void suite_commands_forget(void)
{
    static CU_TestInfo tests[] = {
        {"nothing of the lead is left in any file, all else stays", nothing_of_it_is_left},
        {"only of the named source", only_of_the_named_source},
        {"it asks first", it_asks_first},
        {"what was deleted is known, and does not come back", what_was_deleted_is_known},
        OF_BOTH,
        CU_TEST_INFO_NULL,
    };
    suite_add("commands: forget", in_memory, NULL, tests);
}
