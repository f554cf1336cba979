/* The engine `sqlite`: what was appended is there after everything, each once, and what was settled is known. */
#include "queue/inspect.h"
#include "tests/suites.h"
#include "tests/support/queue_rig.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PATIENCE_MS 60000
#define THREADS 16
#define EACH 50

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

/* A state directory of the test's own. */
static struct queue *open_new(const char *name)
{
    path_join(state, directory, name);
    return queue_rig_open(&made);
}

static struct queue *open_again(void)
{
    return queue_rig_open(&made);
}

static void others_cannot_get_in(void)
{
    struct error why = {0};
    struct stat status;
    char path[PATH_SIZE];
    struct queue *queue = open_new("private");
    queue_rig_append(queue, "one", "x");
    static const char *const files[] = {"queue.db",   "queue.db-wal", "queue.db-shm",
                                        "write.lock", "open.lock",    "reserve"};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        path_join(path, state, files[i]);
        CU_ASSERT_EQUAL(stat(path, &status), 0);
        CU_ASSERT_EQUAL(status.st_mode & 0777, 0600);
    }
    CU_ASSERT_EQUAL(stat(state, &status), 0);
    CU_ASSERT_EQUAL(status.st_mode & 0777, 0700);
    queue_close(queue);
    chmod(state, 0750);
    CU_ASSERT_PTR_NULL(queue_open(&made.config, &why));
    CU_ASSERT_PTR_NOT_NULL(strstr(why.text, "chmod 700 '"));
}

static void count_fault(void *context, const char *fault)
{
    (void)fault;
    ++*(unsigned *)context;
}

static void a_damaged_queue_is_moved_aside_and_salvaged(void)
{
    struct error why;
    size_t faults;
    unsigned reported = 0;
    char path[PATH_SIZE], body[2001];
    struct queue *queue = open_new("damaged");
    memset(body, 'x', sizeof body - 1);
    body[sizeof body - 1] = '\0';
    for (int i = 0; i < 200; i++)
        queue_rig_append(queue, "one", body);
    queue_rig_claim(queue);
    CU_ASSERT_TRUE(queue_check(queue, count_fault, &reported, &faults, &why));
    CU_ASSERT_EQUAL(faults, 0);
    queue_close(queue); /* its housekeeper has copied all into the database */

    path_join(path, state, "queue.db");
    FILE *file = fopen(path, "r+");
    CU_ASSERT_PTR_NOT_NULL_FATAL(file);
    fseek(file, 0, SEEK_END);
    long pages = ftell(file) / 16384;
    CU_ASSERT_TRUE_FATAL(pages > 20);
    fseek(file, pages / 2 * 16384L, SEEK_SET);
    for (int i = 0; i < 16384; i++)
        fputc(0x55, file);
    fclose(file);
    path_join(path, state, "queue.db-wal");
    unlink(path);

    queue = open_again();
    CU_ASSERT_TRUE(queue_check(queue, count_fault, &reported, &faults, &why));
    CU_ASSERT_TRUE(faults > 0 && reported == faults);
    CU_ASSERT_TRUE(queue_must_reopen(queue));
    queue_close(queue);
    queue = open_again();
    CU_ASSERT_FALSE(queue_must_reopen(queue));
    CU_ASSERT_TRUE(queue_check(queue, count_fault, &reported, &faults, &why));
    CU_ASSERT_EQUAL(faults, 0);
    int left = queue_next(queue, "one", 0, 1000, (size_t)1 << 30, &found, &why);
    CU_ASSERT_TRUE(left >= 180 && left < 200);
    CU_ASSERT_EQUAL(queue_rig_counts(queue, "one").waiting, (uint64_t)left);
    uint64_t last = found.at[left - 1].id;
    queue_rig_append(queue, "one", "new");
    CU_ASSERT_EQUAL(queue_next(queue, "one", last, 10, 4096, &found, &why), 1);
    CU_ASSERT_EQUAL(found.at[0].id, 201);
    queue_close(queue);
}

static void a_backup_is_a_queue(void)
{
    struct error why;
    char path[PATH_SIZE];
    struct queue *queue = open_new("backup");
    queue_rig_append(queue, "one", "kept");
    path_join(path, directory, "restored");
    CU_ASSERT_EQUAL_FATAL(mkdir(path, 0700), 0);
    path_join(path, directory, "restored/queue.db");
    CU_ASSERT_TRUE(queue_backup(queue, path, NULL, 1, &why));
    CU_ASSERT_FALSE(queue_backup(queue, path, NULL, 1, &why)); /* never over what is there */
    queue_close(queue);
    queue = open_new("restored");
    CU_ASSERT_EQUAL(queue_next(queue, "one", 0, 10, 4096, &found, &why), 1);
    queue_close(queue);
}

/* As by SIGSTOP: it keeps its lock. */
static void an_owner_that_is_silent_is_told(void)
{
    struct error why = {0}, words = {0};
    struct timespec times[2];
    char path[PATH_SIZE];
    bool owned = false;
    struct queue *queue = open_new("silent"), *other = open_again();
    queue_rig_claim(queue);
    CU_ASSERT_TRUE(queue_is_owned(other, &owned, &words, &why) && owned);
    CU_ASSERT_PTR_NULL(strstr(words.text, "no sign of life"));
    clock_gettime(CLOCK_REALTIME, &times[0]);
    times[0].tv_sec -= 300;
    times[1] = times[0];
    path_join(path, state, "forward.beat");
    CU_ASSERT_EQUAL(utimensat(AT_FDCWD, path, times, 0), 0);
    CU_ASSERT_TRUE(queue_is_owned(other, &owned, &words, &why) && owned);
    CU_ASSERT_PTR_NOT_NULL(strstr(words.text, ", which has shown no sign of life for 300 s"));
    queue_close(other);
    queue_close(queue);
}

void suite_queue_sqlite(void)
{
    static CU_TestInfo tests[] = {
        {"others cannot get in", others_cannot_get_in},
        {"a damaged queue is moved aside and salvaged", a_damaged_queue_is_moved_aside_and_salvaged},
        {"a backup is a queue", a_backup_is_a_queue},
        {"an owner that is silent is told", an_owner_that_is_silent_is_told},
        CU_TEST_INFO_NULL,
    };
    suite_add("queue sqlite", make_directory, remove_directory, tests);
}
