/* The sample of recent events: bounded in rate, count, age and size; whole or not at all; seen by other processes. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "telemetry/telemetry.h"
#include "tests/suites.h"
#include "tests/support/temporary.h"

#define NOW ((int64_t)1700000000000)

static char directory[PATH_SIZE];
static struct recent_event list[RECENT_COUNT];
static struct recent_whole whole;

static int make_directory(void)
{
    return !temporary_make(directory);
}

static int remove_directory(void)
{
    temporary_remove(directory);
    return 0;
}

static struct recent *open_in(const char *name)
{
    char path[PATH_SIZE];
    path_join(path, directory, name);
    mkdir(path, 0700);
    struct recent *recent = recent_open(path);
    CU_ASSERT_PTR_NOT_NULL_FATAL(recent);
    return recent;
}

static void add(struct recent *recent, const char *id, int64_t ended_ms)
{
    static struct recent_event event;
    memset(&event, 0, sizeof event);
    event.ended_ms = ended_ms;
    snprintf(event.id, sizeof event.id, "%s", id);
    recent_add(
        recent, &event,
        &(struct recent_bodies){.incoming = "incoming", .incoming_length = 8, .message = "sent", .message_length = 4});
}

static void test_newest_first_and_seen_by_another_process(void)
{
    struct recent *recent = open_in("order"), *reader = open_in("order");
    add(recent, "a", NOW);
    add(recent, "b", NOW);
    pid_t child = fork();
    if (child == 0) {
        struct recent *other = open_in("order");
        size_t count = recent_list(other, 0, NOW, list, RECENT_COUNT);
        _exit(count == 2 && strcmp(list[0].id, "b") == 0 ? 0 : 1);
    }
    int status = -1;
    waitpid(child, &status, 0);
    CU_ASSERT_EQUAL(status, 0);
    CU_ASSERT_EQUAL_FATAL(recent_list(reader, 0, NOW, list, RECENT_COUNT), 2);
    CU_ASSERT_STRING_EQUAL(list[0].id, "b");
    CU_ASSERT_STRING_EQUAL(list[1].id, "a");
    CU_ASSERT_EQUAL(recent_list(reader, list[1].number, NOW, list, RECENT_COUNT), 1);
    CU_ASSERT_TRUE_FATAL(recent_get(reader, list[0].number, NOW, &whole));
    CU_ASSERT_EQUAL(whole.event.incoming_length, 8);
    CU_ASSERT_NSTRING_EQUAL(whole.incoming, "incoming", 8);
    CU_ASSERT_NSTRING_EQUAL(whole.message, "sent", 4);
    recent_close(recent);
    recent_close(reader);
}

static void test_bounded_in_count(void)
{
    char id[16];
    struct recent *recent = open_in("count");
    for (int i = 0; i < RECENT_COUNT + 5; i++) {
        snprintf(id, sizeof id, "%d", i);
        add(recent, id, NOW);
    }
    CU_ASSERT_EQUAL(recent_list(recent, 0, NOW, list, RECENT_COUNT), RECENT_COUNT);
    CU_ASSERT_STRING_EQUAL(list[0].id, "204");
    CU_ASSERT_STRING_EQUAL(list[RECENT_COUNT - 1].id, "5");
    CU_ASSERT_EQUAL(recent_list(recent, 0, NOW, list, 3), 3);
    CU_ASSERT_STRING_EQUAL(list[2].id, "202");
    recent_close(recent);
}

static void test_bounded_in_rate(void)
{
    struct recent *recent = open_in("rate");
    unsigned allowed = 0;
    for (int i = 0; i < 1000; i++)
        allowed += recent_may_add(recent, NOW + i) ? 1 : 0; /* within one second */
    CU_ASSERT_EQUAL(allowed, RECENT_A_SECOND);
    CU_ASSERT_TRUE(recent_may_add(recent, NOW + 1000));
    CU_ASSERT_FALSE(recent_may_add(NULL, NOW));
    recent_close(recent);
}

/* Personal data shall not lie there for longer than is said. */
static void test_bounded_in_age(void)
{
    char folder[PATH_SIZE], path[PATH_SIZE];
    struct recent *recent = open_in("age");
    add(recent, "old-and-private", NOW);
    CU_ASSERT_EQUAL(recent_list(recent, 0, NOW + RECENT_AGE_MS - 1, list, RECENT_COUNT), 1);
    CU_ASSERT_EQUAL(recent_list(recent, 0, NOW + RECENT_AGE_MS, list, RECENT_COUNT), 0);
    CU_ASSERT_FALSE(recent_get(recent, 1, NOW + RECENT_AGE_MS, &whole));
    recent_close(recent);
    recent = open_in("age");
    add(recent, "new", NOW + RECENT_AGE_MS);
    recent_close(recent);
    path_join(folder, directory, "age");
    char *bytes = temporary_read(folder, "recent.2");
    path_join(path, folder, "recent.2");
    struct stat status;
    CU_ASSERT_EQUAL_FATAL(stat(path, &status), 0);
    CU_ASSERT_PTR_NULL(memmem(bytes, (size_t)status.st_size, "old-and-private", 15));
    free(bytes);
}

static void test_bodies_are_cut(void)
{
    static char body[RECENT_BODY + 1];
    static struct recent_event event = {.ended_ms = NOW};
    struct recent *recent = open_in("cut");
    memset(body, 'x', sizeof body);
    recent_add(recent, &event,
               &(struct recent_bodies){
                   .incoming = body, .incoming_length = RECENT_BODY, .message = body, .message_length = sizeof body});
    CU_ASSERT_TRUE_FATAL(recent_get(recent, 1, NOW, &whole));
    CU_ASSERT_FALSE(whole.event.incoming_cut);
    CU_ASSERT_TRUE(whole.event.message_cut);
    CU_ASSERT_EQUAL(whole.event.message_length, RECENT_BODY);
    recent_add(recent, &event, &(struct recent_bodies){0});
    CU_ASSERT_TRUE_FATAL(recent_get(recent, 2, NOW, &whole));
    CU_ASSERT_EQUAL(whole.event.incoming_length, 0);
    recent_close(recent);
}

/* Left by a death in the middle of writing. */
static void test_half_a_slot_is_none(void)
{
    char folder[PATH_SIZE], path[PATH_SIZE];
    struct recent *recent = open_in("half");
    add(recent, "a", NOW);
    add(recent, "b", NOW);
    recent_close(recent);
    path_join(folder, directory, "half");
    path_join(path, folder, "recent.2");
    struct stat status;
    stat(path, &status);
    size_t slot = (size_t)status.st_size / 3; /* numbers 1 and 2 lie in the second and third */
    int fd = open(path, O_RDWR);
    CU_ASSERT_EQUAL(pwrite(fd, "damage", 6, (off_t)(2 * slot + 40)), 6);
    close(fd);
    recent = open_in("half");
    CU_ASSERT_EQUAL_FATAL(recent_list(recent, 0, NOW, list, RECENT_COUNT), 1);
    CU_ASSERT_STRING_EQUAL(list[0].id, "a");
    add(recent, "c", NOW);
    CU_ASSERT_EQUAL(recent_list(recent, 0, NOW, list, RECENT_COUNT), 2);
    CU_ASSERT_STRING_EQUAL(list[0].id, "c");
    recent_close(recent);
}

static void test_numbers_go_on(void)
{
    struct recent *recent = open_in("numbers");
    add(recent, "a", NOW);
    recent_close(recent);
    recent = open_in("numbers");
    add(recent, "b", NOW);
    CU_ASSERT_EQUAL(recent_list(recent, 0, NOW, list, RECENT_COUNT), 2);
    CU_ASSERT_EQUAL(list[0].number, 2);
    recent_close(recent);
}

static void test_in_memory(void)
{
    struct recent *recent = recent_open(NULL);
    CU_ASSERT_EQUAL(recent_list(recent, 0, NOW, list, RECENT_COUNT), 0);
    add(recent, "a", NOW);
    CU_ASSERT_EQUAL(recent_list(recent, 0, NOW, list, RECENT_COUNT), 1);
    CU_ASSERT_TRUE(recent_get(recent, 1, NOW, &whole));
    CU_ASSERT_FALSE(recent_get(recent, 2, NOW, &whole));
    recent_close(recent);
}

void suite_recent(void)
{
    static CU_TestInfo tests[] = {
        {"newest first, and seen by another process", test_newest_first_and_seen_by_another_process},
        {"bounded in count", test_bounded_in_count},
        {"bounded in rate", test_bounded_in_rate},
        {"bounded in age", test_bounded_in_age},
        {"bodies are cut", test_bodies_are_cut},
        {"half a slot is none", test_half_a_slot_is_none},
        {"numbers go on", test_numbers_go_on},
        {"in memory", test_in_memory},
        CU_TEST_INFO_NULL,
    };
    suite_add("recent", make_directory, remove_directory, tests);
}
