/* Several processes at one queue: opened by all at once when there is none yet, and read while another one commits. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/suites.h"
#include "tests/support/check.h"
#include "tests/support/queue_rig.h"

#define PATIENCE_MS 60000
#define ROUNDS 40
#define OPENERS 8
#define WRITERS 3
#define EACH 400

static struct made_config made;
static char directory[PATH_SIZE], state[PATH_SIZE];
static struct events found;

static int make_directory(void)
{
    return queue_rig_set_up(&made, directory, state);
}

static int remove_directory(void)
{
    return queue_rig_tear_down(directory, &found);
}

static void use_state(const char *name, unsigned number)
{
    char numbered[64];
    snprintf(numbered, sizeof numbered, "%s-%u", name, number);
    path_join(state, directory, numbered);
}

/* Appends "WRITER/N" and some more, with an end by which half a body would show. */
static bool append(struct queue *queue, unsigned writer, unsigned number)
{
    char body[900];
    struct error why = {0};
    memset(body, 'x', sizeof body);
    snprintf(body, sizeof body, "%u/%u", writer, number);
    memcpy(body + sizeof body - 3, "end", 3);
    bool stored = queue_append(queue, "one", body, sizeof body, clock_now() + PATIENCE_MS, &why) == QUEUE_STORED;
    if (!stored)
        fprintf(stderr, "append: %s\n", why.text);
    return stored;
}

/* Starts a process that opens the queue, appends, and ends with 0 when all were stored. */
static pid_t start_writer(unsigned writer, unsigned count)
{
    fflush(NULL);
    pid_t child = fork();
    if (child != 0)
        return child;
    struct error why = {0};
    struct queue *queue = queue_open(&made.config, &why);
    bool good = queue != NULL;
    if (!good)
        fprintf(stderr, "open: %s\n", why.text);
    for (unsigned i = 0; good && i < count; i++)
        good = append(queue, writer, i);
    if (queue != NULL)
        queue_close(queue);
    _exit(good ? 0 : 1);
}

static void check_writers(const pid_t *writers, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        int status = -1;
        CU_ASSERT_EQUAL(waitpid(writers[i], &status, 0), writers[i]);
        check(status == 0, "writer %u stores all", i);
    }
}

static void a_new_queue_is_opened_by_all_at_once(void)
{
    for (unsigned round = 0; round < ROUNDS; round++) {
        pid_t openers[OPENERS];
        struct error why = {0};
        struct counts counts = {.accepted = 0};
        use_state("new", round);
        for (unsigned i = 0; i < OPENERS; i++)
            openers[i] = start_writer(i, 1);
        check_writers(openers, OPENERS);
        struct queue *queue = queue_open(&made.config, &why);
        CU_ASSERT_PTR_NOT_NULL_FATAL(queue);
        CU_ASSERT_TRUE(queue_count(queue, "one", &counts, &why));
        CU_ASSERT_EQUAL(counts.waiting, OPENERS);
        queue_close(queue);
    }
}

/* Takes one event into account: whole, the next of its writer, with an id beyond the last. */
static void take(const struct event *event, unsigned next[WRITERS], uint64_t *last)
{
    unsigned writer = WRITERS, number = 0;
    check(event->length == 900 && memcmp(event->body + event->length - 3, "end", 3) == 0, "a body is whole");
    CU_ASSERT_EQUAL_FATAL(sscanf(event->body, "%u/%u", &writer, &number), 2);
    CU_ASSERT_FATAL(writer < WRITERS);
    check(number == next[writer], "writer %u: number %u comes when %u is due", writer, number, next[writer]);
    check(event->id > *last, "ids grow");
    next[writer] = number + 1;
    *last = event->id;
}

static void settle(struct queue *queue)
{
    struct verdict verdicts[64];
    struct error why = {0};
    for (size_t i = 0; i < found.count; i++)
        verdicts[i] = (struct verdict){.id = found.at[i].id, .kind = VERDICT_DROPPED};
    check(queue_settle(queue, "one", verdicts, found.count, &why), "settling works: %s", why.text);
}

/* What is read is never half, never out of order, and nothing is passed over: an id that is committed later than a
 * higher one would be lost for a reader that goes by ids. */
static void read_while_others_commit(void)
{
    pid_t writers[WRITERS];
    unsigned next[WRITERS] = {0}, taken = 0;
    uint64_t last = 0;
    struct error why = {0};
    use_state("read", 0);
    for (unsigned i = 0; i < WRITERS; i++)
        writers[i] = start_writer(i, EACH);
    struct queue *queue = queue_open(&made.config, &why);
    CU_ASSERT_PTR_NOT_NULL_FATAL(queue);
    CU_ASSERT_TRUE(queue_claim(queue, &why));
    moment deadline = clock_now() + 3 * PATIENCE_MS;
    while (taken < WRITERS * EACH && clock_now() < deadline) {
        int count = queue_next(queue, "one", last, 64, 1 << 20, &found, &why);
        CU_ASSERT_FATAL(count >= 0);
        for (size_t i = 0; i < found.count; i++)
            take(&found.at[i], next, &last);
        taken += (unsigned)count;
        if (count > 0)
            settle(queue);
    }
    check_writers(writers, WRITERS);
    check(taken == WRITERS * EACH, "%u of %d are read", taken, WRITERS * EACH);
    struct counts counts;
    CU_ASSERT_TRUE(queue_count(queue, "one", &counts, &why));
    CU_ASSERT_EQUAL(counts.dropped, WRITERS * EACH);
    CU_ASSERT_EQUAL(counts.waiting, 0);
    queue_close(queue);
}

/* ---- threads of one process, while it forwards and a command looks ---- */

struct crowd {
    struct queue *queue;
    unsigned writer;
    unsigned stored;
};

static void *append_many(void *context)
{
    struct crowd *crowd = context;
    for (unsigned i = 0; i < EACH / 2; i++)
        crowd->stored += append(crowd->queue, crowd->writer, i);
    return NULL;
}

struct watcher {
    atomic_bool done;
    unsigned looks, wrong;
};

/* Another process's view, with a queue of its own: what it counts must always fit together. */
static void *watch(void *context)
{
    struct watcher *watcher = context;
    struct error why = {0};
    struct queue *queue = queue_open(&made.config, &why);
    while (queue != NULL && !atomic_load(&watcher->done)) {
        struct counts counts;
        watcher->wrong += !queue_count(queue, "one", &counts, &why) ||
                          counts.accepted != counts.waiting + counts.dropped || counts.delivered != 0;
        watcher->looks++;
    }
    if (queue != NULL)
        queue_close(queue);
    return NULL;
}

static void threads_append_while_one_settles_and_one_looks(void)
{
    pthread_t threads[WRITERS], looking;
    struct crowd crowd[WRITERS];
    struct watcher watcher = {.done = false};
    unsigned next[WRITERS] = {0}, taken = 0;
    uint64_t last = 0;
    struct error why = {0};
    use_state("threads", 0);
    struct queue *queue = queue_open(&made.config, &why);
    CU_ASSERT_PTR_NOT_NULL_FATAL(queue);
    CU_ASSERT_TRUE(queue_claim(queue, &why));
    CU_ASSERT_EQUAL_FATAL(pthread_create(&looking, NULL, watch, &watcher), 0);
    for (unsigned i = 0; i < WRITERS; i++) {
        crowd[i] = (struct crowd){.queue = queue, .writer = i};
        CU_ASSERT_EQUAL_FATAL(pthread_create(&threads[i], NULL, append_many, &crowd[i]), 0);
    }
    moment deadline = clock_now() + 3 * PATIENCE_MS;
    while (taken < WRITERS * EACH / 2 && clock_now() < deadline) {
        int count = queue_next(queue, "one", last, 64, 1 << 20, &found, &why);
        CU_ASSERT_FATAL(count >= 0);
        for (size_t i = 0; i < found.count; i++)
            take(&found.at[i], next, &last);
        taken += (unsigned)count;
        if (count > 0)
            settle(queue);
    }
    for (unsigned i = 0; i < WRITERS; i++) {
        pthread_join(threads[i], NULL);
        CU_ASSERT_EQUAL(crowd[i].stored, EACH / 2);
    }
    atomic_store(&watcher.done, true);
    pthread_join(looking, NULL);
    printf("(%u looks) ", watcher.looks);
    CU_ASSERT(watcher.looks > 0);
    check(watcher.wrong == 0, "%u of %u looks do not fit together", watcher.wrong, watcher.looks);
    CU_ASSERT_EQUAL(taken, WRITERS * EACH / 2);
    queue_close(queue);
}

void suite_queue_sqlite_processes(void)
{
    static CU_TestInfo tests[] = {
        {"a new queue is opened by all at once", a_new_queue_is_opened_by_all_at_once},
        {"read while others commit", read_while_others_commit},
        {"threads append while one settles and one looks", threads_append_while_one_settles_and_one_looks},
        CU_TEST_INFO_NULL,
    };
    suite_add("queue sqlite processes", make_directory, remove_directory, tests);
}
