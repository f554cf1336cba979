/* The trace of what is being transformed: two deaths in a row make a suspect, and a suspect is tried in a child. */
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
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

/* A process that dies while it transforms one of these. */
static void die_among(uint64_t first, uint64_t last, uint64_t id)
{
    struct crumb *crumb = crumb_open(directory);
    CU_ASSERT_PTR_NOT_NULL_FATAL(crumb);
    crumb_expect(crumb, "one", first, last);
    crumb_begin(crumb, "one", first);
    crumb_end(crumb);
    crumb_begin(crumb, "one", id);
    crumb_close(crumb);
}

static bool is_suspect(uint64_t id)
{
    struct crumb *crumb = crumb_open(directory);
    bool suspects = crumb_suspects(crumb, "one", id);
    crumb_close(crumb);
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
    struct crumb *crumb = crumb_open(directory);
    CU_ASSERT_TRUE(crumb_suspects(crumb, "one", 45));
    crumb_acquit(crumb);
    crumb_close(crumb);
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
static bool writes(struct crumb *crumb, uint64_t id)
{
    char path[PATH_SIZE];
    path_join(path, directory, "transforming.1");
    CU_ASSERT_EQUAL(truncate(path, 0), 0);
    crumb_begin(crumb, "one", id);
    bool wrote = size_of_file() > 0;
    crumb_end(crumb);
    return wrote;
}

static void many_cost_one_write(void)
{
    struct crumb *crumb = crumb_open(directory);
    crumb_expect(crumb, "one", 71, 79);
    CU_ASSERT_TRUE(writes(crumb, 71));
    for (uint64_t id = 71; id <= 79; id++)
        CU_ASSERT_FALSE(writes(crumb, id));
    CU_ASSERT_TRUE(writes(crumb, 80));
    crumb_rest(crumb);
    CU_ASSERT_TRUE(size_of_file() > 0);
    CU_ASSERT_TRUE(writes(crumb, 75));
    crumb_close(crumb);
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
    struct crumb *crumb = crumb_open(directory);
    crumb_acquit(crumb);
    crumb_close(crumb);
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
    crumb_expect(NULL, "one", 1, 2);
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
        {"two deaths find the suspect among many", two_deaths_find_the_suspect_among_many},
        {"deaths among others do not add up", deaths_among_others_do_not_add_up},
        {"many cost one write", many_cost_one_write},
        {"the release before is understood and understands", the_release_before_is_understood_and_understands},
        {"a file that is cut kills nobody", a_file_that_is_cut_kills_nobody},
        {"only a signal of its own making counts", only_a_signal_of_its_own_making_counts},
        {"after some trials it is condemned", after_some_trials_it_is_condemned},
        {"without a trace all goes on", without_a_trace_all_goes_on},
        CU_TEST_INFO_NULL,
    };
    suite_add("forward crumb", make_directory, remove_directory, tests);
}
