/* The trace of what is being transformed: two deaths in a row make a suspect, and a suspect is tried in a child. */
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "forward/crash_guard.h"
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
    struct crumb *crumb = crumb_open(directory);
    CU_ASSERT_PTR_NOT_NULL_FATAL(crumb);
    crumb_begin(crumb, "one", 3);
    crumb_end(crumb);
    crumb_begin(crumb, "one", id);
    crumb_close(crumb);
}

static void two_deaths_make_a_suspect(void)
{
    die_with(7);
    struct crumb *crumb = crumb_open(directory);
    CU_ASSERT_FALSE(crumb_suspects(crumb, "one", 7));
    crumb_close(crumb);
    die_with(7);
    crumb = crumb_open(directory);
    CU_ASSERT_TRUE(crumb_suspects(crumb, "one", 7));
    CU_ASSERT_FALSE(crumb_suspects(crumb, "two", 7));
    CU_ASSERT_FALSE(crumb_suspects(crumb, "one", 8));
    crumb_acquit(crumb);
    CU_ASSERT_FALSE(crumb_suspects(crumb, "one", 7));
    crumb_close(crumb);
}

static void deaths_with_other_events_do_not_add_up(void)
{
    die_with(11);
    die_with(12);
    die_with(11);
    struct crumb *crumb = crumb_open(directory);
    CU_ASSERT_FALSE(crumb_suspects(crumb, "one", 11));
    CU_ASSERT_FALSE(crumb_suspects(crumb, "one", 12));
    crumb_close(crumb);
}

/* What has ended is no trace any more once its run of events has, and on a clean end. */
static void what_has_ended_leaves_no_trace(void)
{
    for (int orderly = 0; orderly < 2; orderly++) {
        struct crumb *crumb = crumb_open(directory);
        crumb_begin(crumb, "one", 21);
        crumb_end(crumb);
        crumb_begin(crumb, "one", 22); /* parsed, and then transformed */
        crumb_end(crumb);
        crumb_begin(crumb, "one", 22);
        crumb_end(crumb);
        if (orderly == 0)
            crumb_rest(crumb);
        struct crumb *next = crumb_open(directory); /* as if the process had been killed here */
        crumb_close(next);
        next = orderly == 0 ? crumb_open(directory) : NULL;
        CU_ASSERT_FALSE(crumb_suspects(next, "one", 22));
        crumb_close(next);
        crumb_close(crumb);
    }
    struct crumb *crumb = crumb_open(directory);
    CU_ASSERT_FALSE(crumb_suspects(crumb, "one", 22));
    crumb_close(crumb);
}

/* Where the file has lost its room, or anybody has cut it: a mapped one would kill the process. */
static void a_file_that_is_cut_kills_nobody(void)
{
    char path[PATH_SIZE];
    struct crumb *crumb = crumb_open(directory);
    path_join(path, directory, "transforming.1");
    CU_ASSERT_EQUAL(truncate(path, 0), 0);
    crumb_begin(crumb, "one", 31);
    crumb_end(crumb);
    crumb_close(crumb);
    CU_ASSERT_EQUAL(truncate(path, 10), 0);
    crumb = crumb_open(directory);
    CU_ASSERT_PTR_NOT_NULL_FATAL(crumb);
    CU_ASSERT_FALSE(crumb_suspects(crumb, "one", 31));
    crumb_close(crumb);
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
    CU_ASSERT_EQUAL(crumb_try(crash, NULL), CRUMB_CRASHED);
    CU_ASSERT_EQUAL(crumb_try(be_killed, NULL), CRUMB_KILLED);
    CU_ASSERT_EQUAL(crumb_try(do_well, NULL), CRUMB_SURVIVED);
}

/* A trial that is killed counts as a death, and so does one that the whole process dies of. */
static void after_some_trials_it_is_condemned(void)
{
    for (int i = 0; i < 4; i++)
        die_with(21);
    struct crumb *crumb = crumb_open(directory);
    for (int i = 0; i < 3; i++) {
        CU_ASSERT_FALSE(crumb_condemns(crumb, "one", 21));
        crumb_blame(crumb);
    }
    crumb_close(crumb);
    crumb = crumb_open(directory);
    CU_ASSERT_TRUE(crumb_condemns(crumb, "one", 21));
    CU_ASSERT_FALSE(crumb_condemns(crumb, "one", 22));
    crumb_close(crumb);
}

static void without_a_trace_all_goes_on(void)
{
    CU_ASSERT_PTR_NULL(crumb_open("/nonexistent"));
    crumb_begin(NULL, "one", 1);
    crumb_end(NULL);
    CU_ASSERT_FALSE(crumb_suspects(NULL, "one", 1));
    CU_ASSERT_FALSE(crumb_condemns(NULL, "one", 1));
    crumb_close(NULL);
}

void suite_crumb(void)
{
    static CU_TestInfo tests[] = {
        {"two deaths in a row make a suspect", two_deaths_make_a_suspect},
        {"deaths with other events do not add up", deaths_with_other_events_do_not_add_up},
        {"what has ended leaves no trace", what_has_ended_leaves_no_trace},
        {"a file that is cut kills nobody", a_file_that_is_cut_kills_nobody},
        {"only a signal of its own making counts", only_a_signal_of_its_own_making_counts},
        {"after some trials it is condemned", after_some_trials_it_is_condemned},
        {"without a trace all goes on", without_a_trace_all_goes_on},
        CU_TEST_INFO_NULL,
    };
    suite_add("forward crumb", make_directory, remove_directory, tests);
}
