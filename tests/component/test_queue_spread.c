/* The engine `postgresql`: sources spread over processes, and come to another one when theirs dies or stands still. And
 * how the owner reads. */
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "queue/engine.h"
#include "tests/suites.h"
#include "tests/support/check.h"
#include "tests/support/forward_rig.h"
#include "tests/support/queue_rig.h"

#define SOURCES 4
#define PATIENCE_MS 30000
#define TAKEN_OVER_MS 8000 /* the server ends a silent session after 3 s */

static struct made_config made;
static struct source sources[SOURCES];
static char directory[PATH_SIZE], state[PATH_SIZE];
static struct queue_rig_engine engine;
static struct events found;

static int begin(void)
{
    static char names[SOURCES][4] = {"s0", "s1", "s2", "s3"};
    bool good = queue_rig_set_up(&made, directory, state) == 0;
    path_join(state, directory, "state");
    for (size_t i = 0; i < SOURCES; i++) {
        sources[i] = made.source[0];
        sources[i].name = names[i];
    }
    made.config.source = sources;
    made.config.sources = SOURCES;
    return !(good && queue_rig_postgresql(&engine, &made));
}

static int end(void)
{
    queue_rig_engine_end(&engine);
    return queue_rig_tear_down(directory, &found);
}

static struct queue *open_joined(void)
{
    struct queue *queue = queue_rig_open(&made);
    queue_join(queue);
    return queue;
}

static size_t owned(const struct queue *queue)
{
    size_t count = 0;
    for (size_t i = 0; i < SOURCES; i++)
        count += queue_tenure(queue, sources[i].name) != 0;
    return count;
}

/* What a forwarder with nothing in flight does, and one that waits. */
static void live(struct queue *queue)
{
    struct error why;
    if (owned(queue) == 0) {
        queue_claim(queue, &why);
        return;
    }
    queue_clear_wakeup(queue);
    for (size_t i = 0; i < SOURCES; i++) {
        if (queue_should_yield(queue, sources[i].name))
            queue_yield(queue, sources[i].name);
    }
}

/* Lets them live until each has so many sources. Returns false when that never was. */
static bool reach(struct queue **queues, const size_t *expected, size_t count)
{
    bool reached = false;
    for (moment until = clock_now() + PATIENCE_MS; !reached && clock_now() < until; poll(NULL, 0, 50)) {
        reached = true;
        for (size_t i = 0; i < count; i++) {
            live(queues[i]);
            reached = reached && owned(queues[i]) == expected[i];
        }
    }
    return reached;
}

static void sources_spread_over_processes_that_come_and_go(void)
{
    struct error why = {0};
    struct verdict verdict = {.id = 1, .kind = VERDICT_DELIVERED};
    queue_rig_new(&engine, &made);
    struct queue *queues[] = {open_joined(), open_joined(), open_joined()};
    for (size_t i = 0; i < SOURCES; i++)
        queue_rig_append(queues[0], sources[i].name, "event");
    CU_ASSERT_TRUE(queue_claim(queues[0], &why));
    CU_ASSERT_EQUAL(owned(queues[0]), SOURCES);
    CU_ASSERT_FALSE(queue_claim(queues[1], &why));
    CU_ASSERT_STRING_EQUAL(why.text, "another process forwards");
    CU_ASSERT_TRUE(reach(queues, (const size_t[]){2, 2}, 2));
    for (size_t i = 0; i < SOURCES; i++) {
        bool first = queue_tenure(queues[0], sources[i].name) != 0;
        struct queue *owner = queues[!first], *other = queues[first];
        CU_ASSERT_EQUAL(queue_tenure(other, sources[i].name), 0);
        CU_ASSERT_EQUAL(queue_next(other, sources[i].name, 0, 10, 4096, &found, &why), -1);
        CU_ASSERT_STRING_EQUAL(why.text, "another process forwards this source");
        CU_ASSERT_FALSE(queue_settle(other, sources[i].name, &verdict, 1, &why));
        CU_ASSERT_EQUAL(queue_next(owner, sources[i].name, 0, 10, 4096, &found, &why), 1);
        CU_ASSERT_TRUE(queue_settle(owner, sources[i].name, &verdict, 1, &why));
        CU_ASSERT_TRUE(queue_has_reader(other, sources[i].name));
    }
    CU_ASSERT_TRUE(reach(queues, (const size_t[]){2, 2, 0}, 3)); /* three share four: two each at most */
    queue_close(queues[0]);
    CU_ASSERT_TRUE(reach(queues + 1, (const size_t[]){2, 2}, 2));
    queue_close(queues[1]);
    CU_ASSERT_TRUE(reach(queues + 2, (const size_t[]){4}, 1));
    queue_close(queues[2]);
}

/* A command's request goes to who forwards its source. */
static void a_request_is_taken_by_the_owner_of_its_source(void)
{
    struct queue_request taken, asked = {.source = "", .event = 7};
    struct error why = {0};
    int64_t number;
    queue_rig_new(&engine, &made);
    struct queue *queues[] = {open_joined(), open_joined()}, *command = queue_rig_open(&made);
    CU_ASSERT_TRUE_FATAL(reach(queues, (const size_t[]){2, 2}, 2));
    for (size_t i = 0; i < SOURCES; i++) {
        snprintf(asked.source, sizeof asked.source, "%s", sources[i].name);
        CU_ASSERT_TRUE(queue_ask(command, &asked, &number, &why));
        bool first = queue_tenure(queues[0], sources[i].name) != 0;
        poll(NULL, 0, 1100); /* then both look without being told */
        queue_clear_wakeup(queues[0]);
        queue_clear_wakeup(queues[1]);
        CU_ASSERT_FALSE(queue_take_request(queues[first], &taken));
        CU_ASSERT_TRUE_FATAL(queue_take_request(queues[!first], &taken));
        CU_ASSERT_STRING_EQUAL(taken.source, sources[i].name);
        queue_answer_request(queues[!first], taken.number, true, "done");
    }
    snprintf(asked.source, sizeof asked.source, "gone"); /* nobody's: whoever comes first */
    CU_ASSERT_TRUE(queue_ask(command, &asked, &number, &why));
    poll(NULL, 0, 1100);
    queue_clear_wakeup(queues[0]);
    queue_clear_wakeup(queues[1]);
    CU_ASSERT_EQUAL(queue_take_request(queues[0], &taken) + queue_take_request(queues[1], &taken), 1);
    queue_close(queues[0]);
    queue_close(queues[1]);
    queue_close(command);
}

/* Another process with all the sources, until it is killed; it exits with 0 when, let go on after SIGSTOP, it can
 * settle nothing. */
static pid_t start_owner(void)
{
    int ready[2];
    char byte;
    fflush(NULL);
    CU_ASSERT_FATAL(pipe(ready) == 0);
    pid_t pid = fork();
    CU_ASSERT_FATAL(pid >= 0);
    if (pid == 0) {
        struct error why;
        struct verdict verdict = {.id = 1, .kind = VERDICT_DELIVERED};
        struct queue *queue = queue_open(&made.config, &why);
        queue_join(queue);
        queue_rig_append(queue, "s0", "event");
        bool claimed = queue_claim(queue, &why) && queue_next(queue, "s0", 0, 10, 4096, &found, &why) == 1;
        bool told = claimed && write(ready[1], "r", 1) == 1;
        for (moment last = clock_now(); told && clock_now() - last < 2000; poll(NULL, 0, 100)) {
            last = clock_now();
            queue_clear_wakeup(queue);
            if (getppid() == 1)
                _exit(3);
        }
        _exit(!told || queue_settle(queue, "s0", &verdict, 1, &why));
    }
    close(ready[1]);
    CU_ASSERT_EQUAL(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    return pid;
}

static void take_over_after(int signal)
{
    struct error why = {0};
    int status = 0;
    queue_rig_new(&engine, &made);
    pid_t pid = start_owner(); /* before this process has threads: sanitizers want that */
    struct queue *queue = open_joined();
    CU_ASSERT_FALSE(queue_claim(queue, &why));
    moment began = clock_now();
    kill(pid, signal);
    CU_ASSERT_TRUE(reach(&queue, (const size_t[]){SOURCES}, 1));
    check(clock_now() - began < TAKEN_OVER_MS, "it takes %lld ms", (long long)(clock_now() - began));
    printf("(%lld ms) ", (long long)(clock_now() - began));
    CU_ASSERT_EQUAL(queue_next(queue, "s0", 0, 10, 4096, &found, &why), 1);
    kill(pid, SIGCONT);
    CU_ASSERT_EQUAL(waitpid(pid, &status, 0), pid);
    CU_ASSERT_TRUE(signal == SIGKILL ? WIFSIGNALED(status) : WIFEXITED(status) && WEXITSTATUS(status) == 0);
    CU_ASSERT_EQUAL(queue_rig_counts(queue, "s0").waiting, 1);
    queue_close(queue);
}

static void a_killed_process_s_sources_are_taken_over(void)
{
    take_over_after(SIGKILL);
}

static void those_of_one_that_stands_still_too(void)
{
    take_over_after(SIGSTOP);
}

/* Cron and the children of CGI requests: they take what is free, and nobody gives anything back to them. */
static void who_does_not_stay_is_not_counted(void)
{
    struct error why = {0};
    queue_rig_new(&engine, &made);
    struct queue *stays = open_joined(), *cron = queue_rig_open(&made);
    CU_ASSERT_TRUE(queue_claim(stays, &why));
    for (int i = 0; i < 25; i++) {
        CU_ASSERT_FALSE(queue_claim(cron, &why));
        live(stays);
        poll(NULL, 0, 100);
    }
    CU_ASSERT_EQUAL(owned(stays), SOURCES);
    queue_close(stays);
    CU_ASSERT_TRUE(queue_claim(cron, &why));
    CU_ASSERT_EQUAL(owned(cron), SOURCES);
    queue_close(cron);
}

/* The other process counts, but its configuration has one of the sources only. */
static void what_nobody_takes_is_taken_whatever_the_share_is(void)
{
    struct made_config few = made;
    struct error why = {0};
    few.config.sources = 1;
    queue_rig_new(&engine, &made);
    struct queue *all = open_joined(), *one = queue_open(&few.config, &why);
    CU_ASSERT_PTR_NOT_NULL_FATAL(one);
    queue_join(one);
    bool gave = false, alone = false;
    for (moment until = clock_now() + PATIENCE_MS; !alone && clock_now() < until; poll(NULL, 0, 50)) {
        live(all);
        if (queue_tenure(one, "s0") != 0)
            queue_clear_wakeup(one);
        else
            queue_claim(one, &why);
        gave |= owned(all) == SOURCES / 2;
        alone = gave && owned(all) + (queue_tenure(one, "s0") != 0) == SOURCES;
    }
    CU_ASSERT_TRUE(gave);
    CU_ASSERT_TRUE(alone);
    queue_close(all);
    queue_close(one);
}

/* ---- the log ---- */

/* Forwards while its connections are cut. What it logs meanwhile is in the file. */
static void forward_while_cut(struct rig *rig, const char *log)
{
    enum { COUNT = 200, CUTS = 4 };
    int file = open(log, O_WRONLY | O_CREAT | O_CLOEXEC, 0600), before = dup(STDERR_FILENO);
    CU_ASSERT_FATAL(file >= 0 && before >= 0 && dup2(file, STDERR_FILENO) >= 0);
    rig_run_anew(rig);
    for (unsigned i = 0; i < CUTS; i++) {
        for (unsigned n = 0; n < COUNT / CUTS; n++)
            rig_append(rig, i * COUNT / CUTS + n, 20, NULL);
        CU_ASSERT_TRUE(rig_wait_counts(rig, 0, 0));
        free(postgresql_run(engine.url, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                                        " WHERE application_name LIKE '%forwards'"));
    }
    rig_end_anew(rig);
    dup2(before, STDERR_FILENO);
    close(before);
    close(file);
}

static void a_connection_that_is_cut_is_no_error_of_each_source(void)
{
    struct rig rig;
    char log[PATH_SIZE];
    queue_rig_new(&engine, &made);
    rig_prepare(&rig);
    rig.made.config.queue = QUEUE_POSTGRESQL;
    rig.made.config.queue_url = engine.url;
    path_join(log, rig.directory, "log");
    rig_open(&rig);
    forward_while_cut(&rig, log);
    char *text = temporary_read(rig.directory, "log");
    CU_ASSERT_PTR_NOT_NULL_FATAL(text);
    check(strstr(text, "queue_lost") != NULL, "that it was lost is logged: %s", text);
    check(strstr(text, "error ") == NULL, "nothing is logged as an error: %s", text);
    free(text);
    queue_close(rig.queue);
    standin_stop(rig.standin);
    temporary_remove(rig.directory);
}

/* ---- what waits is read many at once: each time costs two round trips ---- */

static const struct engine *whole;
static atomic_uint reads; /* that found something */

static int next_counted(void *inner, const char *source, uint64_t after, size_t max_count, size_t max_bytes,
                        struct events *events, struct error *why)
{
    int count = whole->next(inner, source, after, max_count, max_bytes, events, why);
    atomic_fetch_add(&reads, count > 0);
    return count;
}

static void a_backlog_is_read_in_few_round_trips(void)
{
    enum { COUNT = 1000, MOST = COUNT / 250 };
    struct rig rig;
    queue_rig_new(&engine, &made);
    rig_prepare(&rig);
    rig.made.config.queue = QUEUE_POSTGRESQL;
    rig.made.config.queue_url = engine.url;
    rig_open(&rig);
    rig_append_many(&rig, COUNT, 20, COUNT);
    whole = rig.queue->engine;
    struct engine counted = *whole;
    counted.next = next_counted;
    rig.queue->engine = &counted;
    atomic_store(&reads, 0);
    rig_run(&rig);
    CU_ASSERT_TRUE(rig_wait_counts(&rig, 0, 0));
    check(atomic_load(&reads) <= MOST, "so many reads: %u", atomic_load(&reads));
    CU_ASSERT_EQUAL(standin_counts(rig.standin).messages, COUNT);
    rig_end(&rig);
}

void suite_queue_spread(void)
{
    static CU_TestInfo tests[] = {
        {"sources spread over processes that come and go", sources_spread_over_processes_that_come_and_go},
        {"a request is taken by the owner of its source", a_request_is_taken_by_the_owner_of_its_source},
        {"a killed process's sources are taken over", a_killed_process_s_sources_are_taken_over},
        {"those of one that stands still, too", those_of_one_that_stands_still_too},
        {"who does not stay is not counted", who_does_not_stay_is_not_counted},
        {"what nobody takes is taken, whatever the share is", what_nobody_takes_is_taken_whatever_the_share_is},
        {"a connection that is cut is no error of each source", a_connection_that_is_cut_is_no_error_of_each_source},
        {"a backlog is read in few round trips", a_backlog_is_read_in_few_round_trips},
        CU_TEST_INFO_NULL,
    };
    suite_add("queue spread", begin, end, tests);
}
