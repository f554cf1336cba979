/* An event that needs more memory than there is, or whose reading the kernel ends for want of it, holds up the others
 * for a while only, and is a dead letter then. */
#include "forward/pending.h"
#include "forward/post.h"
#include "tests/suites.h"
#include "tests/support/forward_rig.h"
#include "tests/support/process.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define PATIENCE_MS RIG_PATIENCE_MS

/* Whether a child of this process is killed as it begins: as the kernel kills it when memory is out. */
static atomic_bool kills_children;

static void at_fork_in_child(void)
{
    if (atomic_load(&kills_children))
        raise(SIGKILL);
}

static int prepare(void)
{
    return pthread_atfork(NULL, NULL, at_fork_in_child);
}

/* As processes would that died while they transformed the first event. */
static void leave_trace(struct rig *rig, int deaths)
{
    for (int i = 0; i < deaths; i++) {
        struct crash_guard *guard = crash_guard_open(rig->state);
        CU_ASSERT_PTR_NOT_NULL_FATAL(guard);
        crash_guard_enter(guard, "one", 1);
        crash_guard_close(guard);
    }
}

static void run_with(struct rig *rig, int64_t starved_ms)
{
    struct error why;
    rig->forwarder = forwarder_new(&rig->made.config, rig->queue, &why);
    CU_ASSERT_PTR_NOT_NULL_FATAL(rig->forwarder);
    forwarder_limit(rig->forwarder, &post_limits_usual, starved_ms);
    rig_go(rig);
}

/* Whether the only dead letter's reason has these words. */
static bool is_dead_with(struct rig *rig, const char *words)
{
    struct letters letters = {0};
    struct error why;
    struct queue *queue = queue_open(&rig->made.config, &why);
    CU_ASSERT_PTR_NOT_NULL_FATAL(queue);
    bool good = queue_letters(queue, NULL, 0, 10, 1 << 20, &letters, &why) == 1 && letters.at[0].reason != NULL &&
                strstr(letters.at[0].reason, words) != NULL;
    letters_free(&letters);
    queue_close(queue);
    return good;
}

static void one_whose_trial_is_killed_is_given_up(void)
{
    struct rig rig;
    rig_prepare(&rig);
    rig_open(&rig);
    for (unsigned i = 0; i < 10; i++)
        rig_append(&rig, i, 10, NULL);
    leave_trace(&rig, 2);
    atomic_store(&kills_children, true);
    run_with(&rig, 5);
    CU_ASSERT_TRUE(standin_wait_messages(rig.standin, 9, PATIENCE_MS));
    CU_ASSERT_TRUE(rig_wait_counts(&rig, 1, 0));
    atomic_store(&kills_children, false);
    CU_ASSERT_TRUE(is_dead_with(&rig, "SIGKILL"));
    rig_end(&rig);
}

/* Where the kernel ends the program together with the child, the trace has to tell how often. */
static void one_that_ended_the_program_again_and_again_is_not_tried(void)
{
    struct rig rig;
    rig_prepare(&rig);
    rig_open(&rig);
    for (unsigned i = 0; i < 10; i++)
        rig_append(&rig, i, 10, NULL);
    leave_trace(&rig, 7);
    rig_run(&rig);
    CU_ASSERT_TRUE(standin_wait_messages(rig.standin, 9, PATIENCE_MS));
    CU_ASSERT_TRUE(rig_wait_counts(&rig, 1, 0));
    CU_ASSERT_TRUE(is_dead_with(&rig, "more memory than there is"));
    CU_ASSERT_TRUE(is_dead_with(&rig, "something outside ended them with SIGKILL"));
    rig_end(&rig);
}

static void a_harmless_one_is_acquitted(void)
{
    struct rig rig;
    rig_prepare(&rig);
    rig_open(&rig);
    rig_append(&rig, 1, 1, NULL);
    leave_trace(&rig, 6);
    rig_run(&rig);
    CU_ASSERT_TRUE(standin_wait_messages(rig.standin, 1, PATIENCE_MS));
    CU_ASSERT_TRUE(rig_wait_counts(&rig, 0, 0));
    rig_end(&rig);
}

/* It waits for its next try for long, but not beyond queue_retention. */
static void retention_applies_to_it(void)
{
    struct rig rig;
    char clock[64];
    rig_prepare(&rig);
    rig.made.config.queue_retention_ms = 1;
    rig_open(&rig);
    queue_close(rig.queue);
    int length = snprintf(clock, sizeof clock, "%lld %lld\n", (long long)clock_unix_ms(),
                          (long long)clock_unix_ms() - 2 * 86400000LL); /* it has run well for two days */
    CU_ASSERT_TRUE(temporary_write(rig.state, "clock", 0600, clock, (size_t)length));
    rig_open(&rig);
    rig_append(&rig, 1, 1, NULL);
    standin_wait_messages(rig.standin, 1, 10);
    leave_trace(&rig, 2);
    atomic_store(&kills_children, true);
    run_with(&rig, 3600000);
    CU_ASSERT_TRUE(rig_wait_counts(&rig, 1, 0));
    atomic_store(&kills_children, false);
    CU_ASSERT_TRUE(is_dead_with(&rig, "queue_retention"));
    rig_end(&rig);
}

/* ---- real want of memory ---- */

/* Lets this process have only so many bytes of addresses more than it has. */
static bool limit_memory(size_t more)
{
    unsigned long pages = 0;
    struct rlimit limit;
    FILE *file = fopen("/proc/self/statm", "r");
    bool read = file != NULL && fscanf(file, "%lu", &pages) == 1;
    if (file != NULL)
        fclose(file);
    if (!read || getrlimit(RLIMIT_AS, &limit) != 0)
        return false;
    limit.rlim_cur = (rlim_t)pages * (rlim_t)sysconf(_SC_PAGESIZE) + more;
    return setrlimit(RLIMIT_AS, &limit) == 0;
}

/* An event of many small values: read, it takes thirty times its length. */
static void append_hungry(struct rig *rig)
{
    enum { VALUES = 4000000 };
    struct error why;
    char *body = malloc(VALUES * 2 + 256);
    CU_ASSERT_PTR_NOT_NULL_FATAL(body);
    char *at = body + sprintf(body, "{\"event\":{\"object_type\":\"a\",\"action\":\"b\",\"id\":\"ev_big\",\"data\":[");
    for (int i = 0; i < VALUES; i++, at += 2)
        memcpy(at, "1,", 2);
    at += sprintf(at, "1]}}");
    CU_ASSERT_EQUAL(queue_append(rig->queue, "one", body, (size_t)(at - body), clock_now() + PATIENCE_MS, &why),
                    QUEUE_STORED);
    free(body);
}

/* In a child, so that neither the stand-in nor who looks on is starved too. Ends when the pipe is closed. */
static _Noreturn void starve(struct rig *rig, int told)
{
    char word;
    if (!limit_memory((size_t)160 << 20))
        _exit(1);
    run_with(rig, 5);
    while (read(told, &word, 1) > 0)
        ;
    rig_halt(rig);
    _exit(0);
}

static void one_that_needs_too_much_is_given_up(void)
{
    struct rig rig;
    int status = -1, tell[2];
    rig_prepare(&rig);
    rig_open(&rig);
    rig_append(&rig, 1, 10, NULL);
    append_hungry(&rig);
    for (unsigned i = 2; i < 10; i++)
        rig_append(&rig, i, 10, NULL);
    queue_close(rig.queue);
    CU_ASSERT_EQUAL_FATAL(pipe(tell), 0);
    fflush(stdout);
    pid_t child = fork();
    CU_ASSERT_TRUE_FATAL(child >= 0);
    if (child == 0) {
        close(tell[1]);
        rig_open(&rig);
        starve(&rig, tell[0]);
    }
    CU_ASSERT_TRUE(standin_wait_messages(rig.standin, 9, 3 * PATIENCE_MS)); /* it reads hundreds of megabytes of JSON */
    CU_ASSERT_TRUE(rig_wait_counts(&rig, 1, 0));
    CU_ASSERT_TRUE(is_dead_with(&rig, "more memory than there is"));
    close(tell[0]);
    close(tell[1]);
    CU_ASSERT_EQUAL(waitpid(child, &status, 0), child);
    CU_ASSERT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    standin_stop(rig.standin);
    temporary_remove(rig.directory);
}

void suite_forwarder_starved(void)
{
    static CU_TestInfo tests[] = {
        {"one whose trial is killed is given up, others pass", one_whose_trial_is_killed_is_given_up},
        {"one that ended the program again and again is not tried",
         one_that_ended_the_program_again_and_again_is_not_tried},
        {"a harmless one is acquitted", a_harmless_one_is_acquitted},
        {"retention applies to it", retention_applies_to_it},
        CU_TEST_INFO_NULL,
    };
    static CU_TestInfo limited[] = {
        {"one that needs too much is given up, others pass", one_that_needs_too_much_is_given_up},
        CU_TEST_INFO_NULL,
    };
    suite_add("forwarder starved", prepare, NULL, tests);
    if (process_can_limit_addresses())
        suite_add("forwarder starved: little memory", NULL, NULL, limited);
}
