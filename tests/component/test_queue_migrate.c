/* queue_migrate: a whole queue goes to the other engine and back, killed after each step: nothing is lost, nothing is
 * there twice, order and counts stay. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/suites.h"
#include "tests/support/check.h"
#include "tests/support/queue_rig.h"

#define EVENTS 1300 /* more than two steps */
#define SETTLED 60
#define KILLED 77
#define RUNS 100

static struct made_config made;
static char directory[PATH_SIZE], state[PATH_SIZE];
static struct queue_rig_engine engine;
static struct events found;

static int begin(void)
{
    return queue_rig_set_up(&made, directory, state) != 0 || !queue_rig_postgresql(&engine, &made);
}

static int end(void)
{
    queue_rig_engine_end(&engine);
    return queue_rig_tear_down(directory, &found);
}

static void use_new(const char *name)
{
    made.config.queue = QUEUE_POSTGRESQL;
    queue_rig_new(&engine, &made);
    path_join(state, directory, name);
    made.config.queue = QUEUE_SQLITE;
}

/* ---- a queue with something of everything ---- */

static struct identity numbered(unsigned number)
{
    struct identity identity = {.updated_us = 100 + number};
    memcpy(identity.key, &number, sizeof number);
    identity.key[15] = 1;
    return identity;
}

static void settle_some(struct queue *queue)
{
    static const enum verdict_kind kinds[] = {VERDICT_DELIVERED, VERDICT_DUPLICATE, VERDICT_DROPPED, VERDICT_DEAD};
    struct error why = {0};
    struct verdict verdicts[SETTLED];
    CU_ASSERT_EQUAL_FATAL(queue_next(queue, "one", 0, SETTLED, 1 << 20, &found, &why), SETTLED);
    for (unsigned i = 0; i < SETTLED; i++)
        verdicts[i] = (struct verdict){.id = found.at[i].id,
                                       .kind = kinds[i % 4],
                                       .identity = numbered(i),
                                       .remember = i % 4 != 1,
                                       .reason = i % 4 == 3 ? "it is dead" : NULL};
    check(queue_settle(queue, "one", verdicts, SETTLED, &why), "it is settled: %s", why.text);
}

/* The oldest two dead letters are replayed, the next one is thrown away. */
static void treat_letters(struct queue *queue)
{
    size_t done;
    struct error why = {0};
    struct letters letters = {0};
    CU_ASSERT_EQUAL_FATAL(queue_letters(queue, NULL, 0, 3, 1 << 20, &letters, &why), 3);
    const uint64_t ids[] = {letters.at[0].id, letters.at[1].id, letters.at[2].id};
    CU_ASSERT_TRUE(queue_replay(queue, ids, 2, &done, &why));
    CU_ASSERT_TRUE(queue_discard(queue, ids + 2, 1, &done, &why));
    letters_free(&letters);
}

static void fill(void)
{
    char body[64];
    struct queue *queue = queue_rig_open(&made);
    queue_rig_claim(queue);
    for (int i = 0; i < SETTLED + 1; i++) {
        snprintf(body, sizeof body, "event %d", i);
        queue_rig_append(queue, "one", body);
    }
    settle_some(queue);
    for (int i = SETTLED + 1; i < EVENTS; i++) {
        snprintf(body, sizeof body, "event %d", i);
        queue_rig_append(queue, i % 50 == 0 ? "two" : "one", body);
    }
    treat_letters(queue);
    queue_rig_append(queue, "two", "");
    queue_close(queue);
}

/* ---- what is in it, as text ---- */

static void print_counts(FILE *out, struct queue *queue, const char *source)
{
    struct counts c = queue_rig_counts(queue, source);
    fprintf(
        out,
        "%s: %lu accepted %lu delivered %lu duplicates %lu dropped %lu dead %lu discarded %lu waiting %ld %ld %ld\n",
        source, (unsigned long)c.accepted, (unsigned long)c.delivered, (unsigned long)c.duplicates,
        (unsigned long)c.dropped, (unsigned long)c.dead, (unsigned long)c.discarded, (unsigned long)c.waiting,
        (long)c.oldest_received_ms, (long)c.last_accepted_ms, (long)c.last_delivered_ms);
}

static void print_events(FILE *out, struct queue *queue, const char *source)
{
    struct error why = {0};
    uint64_t after = 0;
    while (queue_list(queue, source, after, 100, 1 << 20, &found, &why) > 0) {
        for (size_t i = 0; i < found.count; i++)
            fprintf(out, "%.*s %ld %d\n", (int)found.at[i].length, found.at[i].body, (long)found.at[i].received_ms,
                    found.at[i].replay);
        after = found.at[found.count - 1].id;
    }
}

static void print_letters(FILE *out, struct queue *queue)
{
    struct error why = {0};
    struct letters letters = {0};
    queue_letters(queue, NULL, 0, 1000, 1 << 20, &letters, &why);
    for (size_t i = 0; i < letters.count; i++) {
        const struct letter *l = &letters.at[i];
        fprintf(out, "%lu %s %s %.*s %ld %ld %d\n", (unsigned long)l->id, l->source, l->reason, (int)l->length, l->body,
                (long)l->received_ms, (long)l->died_ms, l->replayed);
    }
    letters_free(&letters);
}

static void print_known(FILE *out, struct queue *queue)
{
    struct error why = {0};
    for (unsigned i = 0; i < SETTLED + 5; i++) {
        struct known known = {0};
        struct identity identity = numbered(i);
        CU_ASSERT_TRUE(queue_look_known(queue, "one", &identity, 1, &known, &why));
        fprintf(out, "%u: %d %ld %d %ld\n", i, known.delivered, (long)known.delivered_us, known.dead,
                (long)known.dead_us);
    }
}

/* To be freed. */
static char *all_of_it(void)
{
    char *text = NULL;
    size_t length;
    FILE *out = open_memstream(&text, &length);
    struct queue *queue = queue_rig_open(&made);
    print_counts(out, queue, "one");
    print_counts(out, queue, "two");
    print_events(out, queue, "one");
    print_events(out, queue, "two");
    print_letters(out, queue);
    print_known(out, queue);
    queue_close(queue);
    fclose(out);
    return text;
}

/* ---- moving ---- */

static bool die_at_last(void *context, const struct migrated *done)
{
    int *steps = context;
    (void)done;
    if (--*steps == 0)
        _exit(KILLED);
    return true;
}

/* In a child that dies after so many steps (0: lives). Returns its exit code. */
static int move_in_child(enum queue_kind to, int steps)
{
    int status = -1;
    pid_t child = fork();
    if (child == 0) {
        struct error why = {0};
        struct migrated done;
        const struct migrating watch = {die_at_last, &steps};
        bool good = queue_migrate(&made.config, to, &watch, &done, &why);
        if (!good)
            fprintf(stderr, "%s\n", why.text);
        _exit(good ? 0 : 1);
    }
    CU_ASSERT_FATAL(child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status));
    return WEXITSTATUS(status);
}

/* Neither queue is opened; each says what is going on. */
static void refuses(enum queue_kind kind, const char *words)
{
    bool owned;
    struct error why = {0}, ignored;
    made.config.queue = kind;
    struct queue *queue = queue_open(&made.config, &why);
    if (queue != NULL) /* it connects when it is used */
        CU_ASSERT_FALSE(queue_is_owned(queue, &owned, &ignored, &why));
    queue_close(queue);
    check(strstr(why.text, words) != NULL, "%s: %s", words, why.text);
}

/* Killed after the last step. */
static bool move_is_over(enum queue_kind from, enum queue_kind to)
{
    struct error why = {0}, ignored;
    bool owned;
    made.config.queue = to;
    struct queue *queue = queue_open(&made.config, &why);
    bool opens = queue != NULL && queue_is_owned(queue, &owned, &ignored, &why);
    queue_close(queue);
    if (opens)
        refuses(from, "this queue was moved");
    return opens;
}

/* Returns how often it was killed: after each step. */
static int move_and_kill(enum queue_kind to)
{
    enum queue_kind from = to == QUEUE_SQLITE ? QUEUE_POSTGRESQL : QUEUE_SQLITE;
    for (int kills = 0; kills < RUNS; kills++) {
        int code = move_in_child(to, 1);
        if (code == 0)
            return kills;
        CU_ASSERT_EQUAL_FATAL(code, KILLED);
        if (kills > 0 && move_is_over(from, to))
            continue;
        refuses(from, "moved");
        if (kills > 0)
            refuses(to, "a queue is being moved to here");
    }
    return RUNS;
}

static void it_goes_there_and_back_whatever_is_killed(void)
{
    use_new("kills");
    fill();
    char *before = all_of_it();
    int kills = move_and_kill(QUEUE_POSTGRESQL);
    check(kills > 9 && kills < RUNS, "it was killed after each of %d steps", kills);
    refuses(QUEUE_SQLITE, "Set queue = postgresql");
    made.config.queue = QUEUE_POSTGRESQL;
    char *there = all_of_it();
    CU_ASSERT_STRING_EQUAL(there, before);
    kills = move_and_kill(QUEUE_SQLITE);
    check(kills > 9 && kills < RUNS, "back it was killed after each of %d steps", kills);
    refuses(QUEUE_POSTGRESQL, "in the state directory");
    made.config.queue = QUEUE_SQLITE;
    char *back = all_of_it();
    CU_ASSERT_STRING_EQUAL(back, before);
    CU_ASSERT_EQUAL(move_in_child(QUEUE_POSTGRESQL, 0), 0); /* over what has left there */
    made.config.queue = QUEUE_POSTGRESQL;
    char *again = all_of_it();
    CU_ASSERT_STRING_EQUAL(again, before);
    free(before);
    free(there);
    free(back);
    free(again);
}

/* A replay that is delivered from the new queue takes its dead letter along, whatever number that has there. */
static void a_replay_belongs_to_its_letter(void)
{
    struct error why = {0};
    use_new("replays");
    fill();
    CU_ASSERT_EQUAL(move_in_child(QUEUE_POSTGRESQL, 0), 0);
    path_join(state, directory, "replays-2"); /* a second machine's, whose letters have the same numbers */
    fill();
    CU_ASSERT_EQUAL(move_in_child(QUEUE_POSTGRESQL, 0), 0);
    made.config.queue = QUEUE_POSTGRESQL;
    struct queue *queue = queue_rig_open(&made);
    struct counts before = queue_rig_counts(queue, "one");
    queue_rig_claim(queue);
    uint64_t after = 0;
    unsigned replays = 0;
    while (queue_next(queue, "one", after, 500, 1 << 20, &found, &why) > 0) {
        after = found.at[found.count - 1].id;
        for (size_t i = 0; i < found.count; i++) {
            struct verdict verdict = {.id = found.at[i].id, .kind = VERDICT_DELIVERED};
            replays += found.at[i].replay;
            if (found.at[i].replay)
                CU_ASSERT_TRUE(queue_settle(queue, "one", &verdict, 1, &why));
        }
    }
    CU_ASSERT_EQUAL(replays, 4);
    struct letters letters = {0};
    CU_ASSERT_EQUAL(queue_letters(queue, NULL, 0, 1000, 1 << 20, &letters, &why), 2 * (SETTLED / 4 - 3));
    struct counts counts = queue_rig_counts(queue, "one");
    CU_ASSERT_EQUAL(counts.delivered, before.delivered + 4);
    CU_ASSERT_EQUAL(counts.accepted, before.accepted);
    letters_free(&letters);
    queue_close(queue);
}

/* By a process of its own, as the command is. */
static void refused(enum queue_kind to, const char *words)
{
    struct error why = {0};
    int ends[2], status = -1;
    CU_ASSERT_FATAL(pipe(ends) == 0);
    pid_t child = fork();
    if (child == 0) {
        struct migrated done;
        const struct migrating watch = {NULL, NULL};
        bool good = queue_migrate(&made.config, to, &watch, &done, &why);
        ssize_t n = write(ends[1], why.text, sizeof why.text);
        _exit(good || n < 0);
    }
    close(ends[1]);
    ssize_t n = read(ends[0], why.text, sizeof why.text - 1);
    close(ends[0]);
    CU_ASSERT(n > 0 && child > 0 && waitpid(child, &status, 0) == child);
    CU_ASSERT_EQUAL(status, 0);
    check(strstr(why.text, words) != NULL, "%s: %s", words, why.text);
}

static void a_queue_in_use_is_not_moved(void)
{
    use_new("used");
    struct queue *sqlite = queue_rig_open(&made);
    queue_rig_append(sqlite, "one", "first");
    refused(QUEUE_POSTGRESQL, "a process has the queue in ");
    queue_close(sqlite);
    made.config.queue = QUEUE_POSTGRESQL;
    struct queue *postgresql = queue_rig_open(&made);
    queue_rig_append(postgresql, "one", "other");
    refused(QUEUE_POSTGRESQL, " appends)");
    queue_rig_claim(postgresql);
    refused(QUEUE_SQLITE, "a process forwards from the database");
    queue_close(postgresql);
    made.config.queue = QUEUE_SQLITE;
    sqlite = queue_rig_open(&made); /* nothing was marked */
    CU_ASSERT_EQUAL(queue_rig_counts(sqlite, "one").waiting, 1);
    queue_close(sqlite);
    CU_ASSERT_EQUAL(move_in_child(QUEUE_POSTGRESQL, 0), 0);
    made.config.queue = QUEUE_POSTGRESQL;
    postgresql = queue_rig_open(&made);
    struct error why = {0};
    CU_ASSERT_EQUAL(queue_list(postgresql, "one", 0, 10, 4096, &found, &why), 2);
    CU_ASSERT_NSTRING_EQUAL(found.at[0].body, "other", 5);
    CU_ASSERT_NSTRING_EQUAL(found.at[1].body, "first", 5);
    queue_close(postgresql);
}

/* Another queue is not mixed into one that another move was killed in. */
static void two_moves_do_not_mix(void)
{
    use_new("first");
    fill();
    CU_ASSERT_EQUAL(move_in_child(QUEUE_POSTGRESQL, 5), KILLED);
    path_join(state, directory, "second");
    fill();
    refused(QUEUE_POSTGRESQL, "a queue is being moved to here; it was in the state directory");
    struct queue *queue = queue_rig_open(&made);
    CU_ASSERT_TRUE(queue_rig_counts(queue, "one").waiting > 0);
    queue_close(queue);
    path_join(state, directory, "first");
    CU_ASSERT_EQUAL(move_in_child(QUEUE_POSTGRESQL, 0), 0);
    path_join(state, directory, "second");
    CU_ASSERT_EQUAL(move_in_child(QUEUE_POSTGRESQL, 0), 0);
}

/* What nobody would deliver is told of, until it is moved. */
static void what_is_left_behind_is_counted(void)
{
    uint64_t waiting = 0;
    struct error why = {0};
    bool busy;
    use_new("left");
    fill();
    made.config.queue = QUEUE_POSTGRESQL;
    CU_ASSERT_TRUE(queue_left_behind(&made.config, &waiting, &why));
    CU_ASSERT_TRUE(waiting > EVENTS - SETTLED);
    CU_ASSERT_EQUAL(move_in_child(QUEUE_POSTGRESQL, 1), KILLED);
    CU_ASSERT_TRUE(queue_left_behind(&made.config, &waiting, &why));
    CU_ASSERT_TRUE(waiting > EVENTS - SETTLED);
    CU_ASSERT_EQUAL(move_in_child(QUEUE_POSTGRESQL, 0), 0);
    CU_ASSERT_TRUE(queue_left_behind(&made.config, &waiting, &why));
    CU_ASSERT_EQUAL(waiting, 0);
    CU_ASSERT_EQUAL(backup_lock(state, &busy, &why), -1); /* nor is a backup put over it */
    check(strstr(why.text, "this queue was moved") != NULL, "it is said: %s", why.text);
}

static void without_an_address_it_is_said(void)
{
    use_new("nowhere");
    made.config.queue_url = NULL;
    refused(QUEUE_POSTGRESQL, "names no queue_url");
    made.config.queue_url = engine.url;
}

static void a_source_with_a_database_of_its_own_is_said(void)
{
    char elsewhere[] = "postgresql://user@host/elsewhere?host=/nowhere";
    use_new("elsewhere");
    made.config.source[0].queue_url = elsewhere;
    refused(QUEUE_POSTGRESQL, "source one has a database of its own");
    refused(QUEUE_SQLITE, "source one has a database of its own");
    made.config.source[0].queue_url = NULL;
}

void suite_queue_migrate(void)
{
    static CU_TestInfo tests[] = {
        {"it goes there and back, whatever is killed", it_goes_there_and_back_whatever_is_killed},
        {"a replay belongs to its letter", a_replay_belongs_to_its_letter},
        {"a queue in use is not moved", a_queue_in_use_is_not_moved},
        {"two moves do not mix", two_moves_do_not_mix},
        {"what is left behind is counted", what_is_left_behind_is_counted},
        {"without an address it is said", without_an_address_it_is_said},
        {"a source with a database of its own is said", a_source_with_a_database_of_its_own_is_said},
        CU_TEST_INFO_NULL,
    };
    suite_add("queue migrate", begin, end, tests);
}
