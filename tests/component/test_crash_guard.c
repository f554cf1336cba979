/* The trace of what is being transformed: two deaths in a row make a suspect, and a suspect is tried in a child. */
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "forward/pending.h"
#include "tests/suites.h"
#include "tests/support/temporary.h"

static char directory[PATH_SIZE];

static int make_directory(void)
{
    return !temporary_make(directory);
}

static int remove_directory(void)
{
    temporary_remove(directory);
    return 0;
}

/* A process that dies, as far as the trace can see, while it transforms this event. */
static void die_with(uint64_t id)
{
    struct crash_guard *guard = crash_guard_open(directory);
    CU_ASSERT_PTR_NOT_NULL_FATAL(guard);
    crash_guard_enter(guard, "one", 3);
    crash_guard_leave(guard);
    crash_guard_enter(guard, "one", id);
    crash_guard_close(guard);
}

static void two_deaths_make_a_suspect(void)
{
    die_with(7);
    struct crash_guard *guard = crash_guard_open(directory);
    CU_ASSERT_FALSE(crash_guard_suspects(guard, "one", 7));
    crash_guard_close(guard);
    die_with(7);
    guard = crash_guard_open(directory);
    CU_ASSERT_TRUE(crash_guard_suspects(guard, "one", 7));
    CU_ASSERT_FALSE(crash_guard_suspects(guard, "two", 7));
    CU_ASSERT_FALSE(crash_guard_suspects(guard, "one", 8));
    crash_guard_acquit(guard);
    CU_ASSERT_FALSE(crash_guard_suspects(guard, "one", 7));
    crash_guard_close(guard);
}

static void deaths_with_other_events_do_not_add_up(void)
{
    die_with(11);
    die_with(12);
    die_with(11);
    struct crash_guard *guard = crash_guard_open(directory);
    CU_ASSERT_FALSE(crash_guard_suspects(guard, "one", 11));
    CU_ASSERT_FALSE(crash_guard_suspects(guard, "one", 12));
    crash_guard_close(guard);
}

/* What has ended is no trace any more once its run of events has, and on a clean end. */
static void what_has_ended_leaves_no_trace(void)
{
    for (int i = 0; i < 4; i++) {
        pid_t pid = fork();
        CU_ASSERT_FATAL(pid >= 0);
        if (pid == 0) {
            struct crash_guard *guard = crash_guard_open(directory);
            crash_guard_enter(guard, "one", 21);
            crash_guard_leave(guard);
            crash_guard_enter(guard, "one", 22); /* parsed, and then transformed */
            crash_guard_leave(guard);
            crash_guard_enter(guard, "one", 22);
            crash_guard_leave(guard);
            if (i % 2 == 0)
                crash_guard_rest(guard); /* and it is killed after that */
            else
                crash_guard_close(guard);
            _exit(0);
        }
        CU_ASSERT_EQUAL(waitpid(pid, NULL, 0), pid);
        struct crash_guard *guard = crash_guard_open(directory);
        CU_ASSERT_FALSE(crash_guard_suspects(guard, "one", 22));
        crash_guard_close(guard);
    }
}

/* Where the file has lost its room, or anybody has cut it: a mapped one would kill the process. */
static void a_file_that_is_cut_kills_nobody(void)
{
    char path[PATH_SIZE];
    struct crash_guard *guard = crash_guard_open(directory);
    path_join(path, directory, "transforming.1");
    CU_ASSERT_EQUAL(truncate(path, 0), 0);
    crash_guard_enter(guard, "one", 31);
    crash_guard_leave(guard);
    crash_guard_close(guard);
    CU_ASSERT_EQUAL(truncate(path, 10), 0);
    guard = crash_guard_open(directory);
    CU_ASSERT_PTR_NOT_NULL_FATAL(guard);
    CU_ASSERT_FALSE(crash_guard_suspects(guard, "one", 31));
    crash_guard_close(guard);
}

/* A process that dies while it transforms one of these. */
static void die_among(uint64_t first, uint64_t last, uint64_t id)
{
    struct crash_guard *guard = crash_guard_open(directory);
    CU_ASSERT_PTR_NOT_NULL_FATAL(guard);
    crash_guard_expect(guard, "one", first, last);
    crash_guard_enter(guard, "one", first);
    crash_guard_leave(guard);
    crash_guard_enter(guard, "one", id);
    crash_guard_close(guard);
}

static bool is_suspect(uint64_t id)
{
    struct crash_guard *guard = crash_guard_open(directory);
    bool suspects = crash_guard_suspects(guard, "one", id);
    crash_guard_close(guard);
    return suspects;
}

/* The second time they are traced one by one, and so it takes no death more than with one alone. */
static void two_deaths_find_the_suspect_among_many(void)
{
    die_among(41, 48, 45);
    for (uint64_t id = 41; id <= 48; id++)
        CU_ASSERT_FALSE(is_suspect(id));
    die_among(43, 50, 45); /* they need not be read in the same portions */
    for (uint64_t id = 41; id <= 50; id++)
        CU_ASSERT_EQUAL(is_suspect(id), id == 45);
    die_among(43, 50, 45);
    struct crash_guard *guard = crash_guard_open(directory);
    CU_ASSERT_TRUE(crash_guard_suspects(guard, "one", 45));
    crash_guard_acquit(guard);
    crash_guard_close(guard);
}

static void deaths_among_others_do_not_add_up(void)
{
    die_among(51, 54, 52);
    die_among(61, 64, 62);
    for (uint64_t id = 51; id <= 64; id++)
        CU_ASSERT_FALSE(is_suspect(id));
}

static off_t size_of_file(void)
{
    char path[PATH_SIZE];
    struct stat status;
    path_join(path, directory, "transforming.1");
    return stat(path, &status) == 0 ? status.st_size : -1;
}

/* What is written makes the file longer again. */
static bool writes(struct crash_guard *guard, uint64_t id)
{
    char path[PATH_SIZE];
    path_join(path, directory, "transforming.1");
    CU_ASSERT_EQUAL(truncate(path, 0), 0);
    crash_guard_enter(guard, "one", id);
    bool wrote = size_of_file() > 0;
    crash_guard_leave(guard);
    return wrote;
}

static void many_cost_one_write(void)
{
    struct crash_guard *guard = crash_guard_open(directory);
    crash_guard_expect(guard, "one", 71, 79);
    CU_ASSERT_TRUE(writes(guard, 71));
    for (uint64_t id = 71; id <= 79; id++)
        CU_ASSERT_FALSE(writes(guard, id));
    CU_ASSERT_TRUE(writes(guard, 80));
    crash_guard_rest(guard);
    CU_ASSERT_TRUE(size_of_file() > 0);
    CU_ASSERT_TRUE(writes(guard, 75));
    crash_guard_close(guard);
}

/* As the release before writes and reads it. */
struct old_trace {
    char source[72];
    uint64_t id;
    char suspect_source[72];
    uint64_t suspect_id;
    uint32_t deaths;
};

static void the_release_before_is_understood_and_understands(void)
{
    char path[PATH_SIZE];
    struct old_trace old = {.source = "one", .id = 85, .suspect_source = "one", .suspect_id = 85, .deaths = 1};
    temporary_remove(directory);
    CU_ASSERT_TRUE_FATAL(temporary_make(directory));
    path_join(path, directory, "transforming.1");
    int fd = open(path, O_RDWR | O_CREAT, 0600);
    CU_ASSERT_EQUAL(write(fd, &old, sizeof old), (ssize_t)sizeof old);
    CU_ASSERT_TRUE(is_suspect(85));
    struct crash_guard *guard = crash_guard_open(directory);
    crash_guard_acquit(guard);
    crash_guard_close(guard);
    die_among(81, 88, 85);
    CU_ASSERT_EQUAL(pread(fd, &old, sizeof old, 0), (ssize_t)sizeof old);
    CU_ASSERT_STRING_EQUAL(old.source, "one");
    CU_ASSERT_EQUAL(old.id, 81);
    /* It dies of another one: what it does not know does not count. */
    old = (struct old_trace){.source = "one", .id = 86, .suspect_source = "one", .suspect_id = 86, .deaths = 1};
    CU_ASSERT_EQUAL(pwrite(fd, &old, sizeof old, 0), (ssize_t)sizeof old);
    close(fd);
    CU_ASSERT_FALSE(is_suspect(81));
    CU_ASSERT_FALSE(is_suspect(85));
    die_among(81, 88, 86);
    CU_ASSERT_TRUE(is_suspect(86));
}

static void crash(void *context)
{
    (void)context;
    signal(SIGSEGV, SIG_DFL); /* a sanitizer would make an ordinary end of it */
    raise(SIGSEGV);
}

static void be_killed(void *context)
{
    (void)context;
    raise(SIGKILL);
}

static void do_well(void *context)
{
    (void)context;
}

static void only_a_signal_of_its_own_making_counts(void)
{
    CU_ASSERT_EQUAL(crash_guard_try(crash, NULL), TRIAL_CRASHED);
    CU_ASSERT_EQUAL(crash_guard_try(be_killed, NULL), TRIAL_KILLED);
    CU_ASSERT_EQUAL(crash_guard_try(do_well, NULL), TRIAL_SURVIVED);
}

/* A trial that is killed counts as a death, and so does one that the whole process dies of. */
static void after_some_trials_it_is_condemned(void)
{
    for (int i = 0; i < 4; i++)
        die_with(21);
    struct crash_guard *guard = crash_guard_open(directory);
    for (int i = 0; i < 3; i++) {
        CU_ASSERT_FALSE(crash_guard_condemns(guard, "one", 21));
        crash_guard_blame(guard);
    }
    crash_guard_close(guard);
    guard = crash_guard_open(directory);
    CU_ASSERT_TRUE(crash_guard_condemns(guard, "one", 21));
    CU_ASSERT_FALSE(crash_guard_condemns(guard, "one", 22));
    crash_guard_close(guard);
}

static void without_a_trace_all_goes_on(void)
{
    CU_ASSERT_PTR_NULL(crash_guard_open("/nonexistent"));
    crash_guard_expect(NULL, "one", 1, 2);
    crash_guard_enter(NULL, "one", 1);
    crash_guard_leave(NULL);
    CU_ASSERT_FALSE(crash_guard_suspects(NULL, "one", 1));
    CU_ASSERT_FALSE(crash_guard_condemns(NULL, "one", 1));
    crash_guard_close(NULL);
}

/* Two processes that forward other sources each: what the one is at is no death that the other one sees. */
static void each_process_has_a_trace_of_its_own(void)
{
    struct crash_guard *first = crash_guard_open(directory), *second = NULL;
    crash_guard_enter(first, "one", 95);
    for (int i = 0; i < 3; i++) {
        second = crash_guard_open(directory);
        CU_ASSERT_PTR_NOT_NULL_FATAL(second);
        CU_ASSERT_FALSE(crash_guard_suspects(second, "one", 95));
        crash_guard_enter(second, "two", 96);
        crash_guard_leave(second);
        crash_guard_close(second);
    }
    crash_guard_close(first);
    CU_ASSERT_FALSE(is_suspect(96));
}

void suite_crash_guard(void)
{
    static CU_TestInfo tests[] = {
        {"two deaths in a row make a suspect", two_deaths_make_a_suspect},
        {"deaths with other events do not add up", deaths_with_other_events_do_not_add_up},
        {"what has ended leaves no trace", what_has_ended_leaves_no_trace},
        {"two deaths find the suspect among many", two_deaths_find_the_suspect_among_many},
        {"deaths among others do not add up", deaths_among_others_do_not_add_up},
        {"many cost one write", many_cost_one_write},
        {"the release before is understood and understands", the_release_before_is_understood_and_understands},
        {"a file that is cut kills nobody", a_file_that_is_cut_kills_nobody},
        {"only a signal of its own making counts", only_a_signal_of_its_own_making_counts},
        {"after some trials it is condemned", after_some_trials_it_is_condemned},
        {"without a trace all goes on", without_a_trace_all_goes_on},
        {"each process has a trace of its own", each_process_has_a_trace_of_its_own},
        CU_TEST_INFO_NULL,
    };
    suite_add("crash guard", make_directory, remove_directory, tests);
}
