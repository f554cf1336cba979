/* Counters: right across threads, processes and deaths; forgotten when they are too old; harmless where there is no
 * file.
 */
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "telemetry/telemetry.h"
#include "tests/suites.h"
#include "tests/support/temporary.h"

#define EACH 20000
#define MINUTE ((int64_t)60000)
#define NOON ((int64_t)1700000000 * 1000 / MINUTE * MINUTE)

static char directory[PATH_SIZE];
static const char *const names[] = {"one", "two"};
static struct tally tally;

static int make_directory(void)
{
    return !temporary_make(directory);
}

static int remove_directory(void)
{
    temporary_remove(directory);
    return 0;
}

/* Counters in a folder of the test's own. */
static struct counters *open_in(const char *name)
{
    char path[PATH_SIZE];
    struct error why;
    path_join(path, directory, name);
    mkdir(path, 0700);
    struct counters *counters = counters_open(path, names, 2, &why);
    CU_ASSERT_STRING_EQUAL(why.text, "");
    CU_ASSERT_PTR_NOT_NULL_FATAL(counters);
    CU_ASSERT_TRUE(counters_are_shared(counters));
    return counters;
}

static const struct tally *read_of(struct counters *counters, const char *name, int64_t now_ms)
{
    counters_read(counters_of(counters, name), now_ms, &tally);
    return &tally;
}

static void *count_many(void *context)
{
    struct counted *counted = counters_of(context, "one");
    for (int i = 0; i < EACH; i++)
        counters_accepted(counted, 1000, NOON + i);
    return NULL;
}

static void test_threads_and_processes_lose_nothing(void)
{
    struct counters *counters = open_in("shared");
    pthread_t threads[2];
    pid_t child = fork();
    if (child == 0) {
        struct counters *own = open_in("shared");
        count_many(own);
        kill(getpid(), SIGKILL); /* nobody tidies up */
    }
    for (int i = 0; i < 2; i++)
        pthread_create(&threads[i], NULL, count_many, counters);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    waitpid(child, NULL, 0);
    const struct tally *now = read_of(counters, "one", NOON);
    CU_ASSERT_EQUAL(now->outcome[COUNTED_ACCEPTED], 3 * EACH);
    CU_ASSERT_EQUAL(now->minute[COUNTED_MINUTES - 1].accepted, 3 * EACH);
    CU_ASSERT_EQUAL(now->minute[COUNTED_MINUTES - 1].bytes, 3 * EACH * 1000);
    CU_ASSERT_EQUAL(now->size.sum, 3 * EACH * 1000);
    CU_ASSERT_EQUAL(read_of(counters, "two", NOON)->outcome[COUNTED_ACCEPTED], 0);
    counters_close(counters);
}

static void test_survive_the_process(void)
{
    struct counters *counters = open_in("survive");
    counters_refused(counters_of(counters, "two"), 9, NOON);
    counters_answered(counters_of(counters, "two"), 401, true, NOON + 5);
    counters_close(counters);
    counters = open_in("survive");
    const struct tally *now = read_of(counters, "two", NOON);
    CU_ASSERT_EQUAL(now->refused[9], 1);
    CU_ASSERT_EQUAL(now->refused_last_ms[9], NOON);
    CU_ASSERT_EQUAL(now->answered_last_status, 401);
    CU_ASSERT_TRUE(now->answered_last_refused);
    CU_ASSERT_EQUAL(now->answered_last_ms, NOON + 5);
    counters_close(counters);
}

/* A source that is new in the configuration, while a process with the old one still counts. */
static void test_a_new_source_gets_a_place(void)
{
    static const char *const more[] = {"one", "three"};
    char path[PATH_SIZE];
    struct error why;
    struct counters *old = open_in("new");
    path_join(path, directory, "new");
    struct counters *counters = counters_open(path, more, 2, &why);
    CU_ASSERT_TRUE(counters_are_shared(counters));
    counters_accepted(counters_of(counters, "three"), 1, NOON);
    counters_accepted(counters_of(counters, "one"), 1, NOON);
    counters_accepted(counters_of(old, "one"), 1, NOON);
    CU_ASSERT_EQUAL(read_of(counters, "three", NOON)->outcome[COUNTED_ACCEPTED], 1);
    CU_ASSERT_EQUAL(read_of(old, "one", NOON)->outcome[COUNTED_ACCEPTED], 2);
    CU_ASSERT_EQUAL(read_of(old, "two", NOON)->outcome[COUNTED_ACCEPTED], 0);
    counters_close(counters);
    counters_close(old);
}

static void test_a_minute_is_forgotten_after_a_day(void)
{
    struct counters *counters = open_in("minutes");
    struct counted *one = counters_of(counters, "one");
    counters_live_delay(one, 1500, NOON);
    counters_live_delay(one, 500, NOON + 59999);
    counters_done(one, NOON);
    counters_done(one, NOON + 59999);
    counters_done(one, NOON + MINUTE);
    const struct tally *now = read_of(counters, "one", NOON + MINUTE);
    const struct tally_minute *last = &now->minute[COUNTED_MINUTES - 1];
    CU_ASSERT_EQUAL(last[-1].done, 2);
    CU_ASSERT_EQUAL(last[-1].delay[2] + last[-1].delay[4], 2);
    CU_ASSERT_EQUAL(last->done, 1);
    CU_ASSERT_EQUAL(counters_quantile(last->delay, 0.5), -1);
    now = read_of(counters, "one", NOON + (COUNTED_MINUTES - 1) * MINUTE);
    CU_ASSERT_EQUAL(now->minute[0].done, 2);
    now = read_of(counters, "one", NOON + COUNTED_MINUTES * MINUTE);
    CU_ASSERT_EQUAL(now->minute[COUNTED_MINUTES - 1].done, 0);
    counters_done(one, NOON + COUNTED_MINUTES * MINUTE); /* the same place: it begins anew */
    counters_live_delay(one, 7, NOON + COUNTED_MINUTES * MINUTE);
    now = read_of(counters, "one", NOON + COUNTED_MINUTES * MINUTE);
    CU_ASSERT_EQUAL(now->minute[COUNTED_MINUTES - 1].done, 1);
    CU_ASSERT_EQUAL(now->minute[COUNTED_MINUTES - 1].delay[0], 1);
    counters_close(counters);
}

static void test_buckets(void)
{
    struct counters *counters = open_in("buckets");
    struct counted *one = counters_of(counters, "one");
    counters_delivered(one, 100, NOON); /* the bound itself is in */
    counters_delivered(one, 101, NOON);
    counters_delivered(one, (int64_t)400 * 24 * 3600 * 1000, NOON); /* a backfill */
    const struct tally *now = read_of(counters, "one", NOON);
    CU_ASSERT_EQUAL(now->delay.bucket[0], 1);
    CU_ASSERT_EQUAL(now->delay.bucket[1], 1);
    CU_ASSERT_EQUAL(now->delay.bucket[COUNTED_BUCKETS - 1], 1);
    counters_close(counters);
}

/* 90 events of up to 100 ms, ten of up to a second: half of all are within 56 ms, 95 of a hundred within 750. */
static void test_quantiles(void)
{
    const uint64_t none[COUNTED_BUCKETS] = {0}, some[COUNTED_BUCKETS] = {[0] = 90, [3] = 10},
                   endless[COUNTED_BUCKETS] = {[COUNTED_BUCKETS - 1] = 3};
    CU_ASSERT_EQUAL(counters_quantile(none, 0.5), -1);
    CU_ASSERT_EQUAL((int)counters_quantile(some, 0.5), 55);
    CU_ASSERT_EQUAL((int)counters_quantile(some, 0.95), 750);
    CU_ASSERT_EQUAL((int)counters_quantile(some, 1), 1000);
    CU_ASSERT_EQUAL((int)counters_quantile(endless, 0.5), 86400000);
}

static void test_answers_by_their_status(void)
{
    static const struct {
        int status;
        const char *name;
    } rows[] = {{200, "200"}, {401, "401"}, {503, "503"}, {204, "2xx"},  {302, "3xx"},
                {418, "4xx"}, {599, "5xx"}, {0, "none"},  {777, "other"}};
    struct counters *counters = open_in("answers");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        size_t found = 0;
        counters_answered(counters_of(counters, "one"), rows[i].status, false, NOON);
        while (counters_answer_name(found) != NULL && strcmp(counters_answer_name(found), rows[i].name) != 0)
            found++;
        CU_ASSERT_PTR_NOT_NULL_FATAL(counters_answer_name(found));
        CU_ASSERT_EQUAL(read_of(counters, "one", NOON)->answered[found], 1);
    }
    counters_close(counters);
}

static void test_without_a_file_in_memory(void)
{
    struct error why;
    struct counters *counters = counters_open("/nonexistent/folder", names, 2, &why);
    CU_ASSERT_STRING_EQUAL(why.text, "/nonexistent/folder/counters.2: No such file or directory");
    CU_ASSERT_PTR_NOT_NULL_FATAL(counters);
    CU_ASSERT_FALSE(counters_are_shared(counters));
    counters_accepted(counters_of(counters, "two"), 1, NOON);
    CU_ASSERT_EQUAL(read_of(counters, "two", NOON)->outcome[COUNTED_ACCEPTED], 1);
    counters_close(counters);
    counters = counters_open(NULL, names, 2, &why);
    CU_ASSERT_STRING_EQUAL(why.text, "");
    counters_close(counters);
}

/* As on a full disk that copies on write: a page of the file is there no more. In a child, for it would die of that. */
static void test_a_lost_page_is_counted_in_memory(void)
{
    char path[PATH_SIZE];
    int status = 0;
    struct counters *counters = open_in("lost");
    counters_accepted(counters_of(counters, "two"), 1, NOON);
    path_join(path, directory, "lost/counters.2");
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        bool good = truncate(path, 0) == 0;
        for (int64_t minute = 0; minute < COUNTED_MINUTES; minute++) /* all pages of the place */
            counters_accepted(counters_of(counters, "two"), 1, NOON + minute * MINUTE);
        counters_accepted(counters_of(counters, NULL), 1, NOON);
        good = good && !counters_are_shared(counters);
        counters_read(counters_of(counters, NULL), NOON, &tally);
        _exit(good && tally.outcome[COUNTED_ACCEPTED] >= 1 ? 0 : 1);
    }
    CU_ASSERT_EQUAL(waitpid(child, &status, 0), child);
    CU_ASSERT(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    counters_close(counters);
}

/* Other faults end the process as ever. */
static void test_other_faults_are_no_business_of_the_guard(void)
{
    int status = 0;
    struct counters *counters = open_in("faults");
    pid_t child = fork();
    if (child == 0) {
        int nothing = open("/dev/null", O_WRONLY | O_CLOEXEC);
        dup2(nothing, STDERR_FILENO); /* a sanitizer says more about it */
        kill(getpid(), SIGBUS);
        _exit(0);
    }
    CU_ASSERT_EQUAL(waitpid(child, &status, 0), child);
    CU_ASSERT(WIFSIGNALED(status) ? WTERMSIG(status) == SIGBUS : WEXITSTATUS(status) != 0);
    counters_close(counters);
}

static void test_what_is_of_no_source(void)
{
    struct counters *counters = open_in("nowhere");
    counters_refused(counters_of(counters, NULL), 2, NOON);
    counters_refused(counters_of(counters, "unheard-of"), 2, NOON);
    CU_ASSERT_EQUAL(read_of(counters, NULL, NOON)->refused[2], 2);
    CU_ASSERT_EQUAL(read_of(counters, "one", NOON)->refused[2], 0);
    counters_refused(counters_of(NULL, "one"), 2, NOON); /* nobody counts */
    counters_close(counters);
}

void suite_counters(void)
{
    static CU_TestInfo tests[] = {
        {"threads and processes lose nothing", test_threads_and_processes_lose_nothing},
        {"they survive the process", test_survive_the_process},
        {"a new source gets a place", test_a_new_source_gets_a_place},
        {"a minute is forgotten after a day", test_a_minute_is_forgotten_after_a_day},
        {"buckets", test_buckets},
        {"quantiles", test_quantiles},
        {"answers are counted by their status", test_answers_by_their_status},
        {"without a file they are in memory", test_without_a_file_in_memory},
        {"a lost page is counted in memory", test_a_lost_page_is_counted_in_memory},
        {"other faults are no business of the guard", test_other_faults_are_no_business_of_the_guard},
        {"what is of no source", test_what_is_of_no_source},
        CU_TEST_INFO_NULL,
    };
    suite_add("counters", make_directory, remove_directory, tests);
}
