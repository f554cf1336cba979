/* The queue's files were removed under a process that still delivers from them: what it saved first may be merged
 * before it saves the last of it. Nothing that it delivered is forgotten. */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/files.h"
#include "queue/inspect.h"
#include "tests/suites.h"
#include "tests/support/check.h"
#include "tests/support/displaced.h"

static const char *const all_but_the_owners[] = {"queue.db",   "queue.db-wal", "queue.db-shm",
                                                 "write.lock", "open.lock",    NULL};

/* Without open.lock nothing keeps a second process from opening it meanwhile. */
static void what_was_delivered_is_known_before_another_one_forwards(void)
{
    struct error why = {0};
    struct queue *old = displaced_open_well("next-owner");
    displaced_own(old);
    displaced_append(old, 0, 3);
    displaced_check_waiting(old, 0, 3);
    displaced_remove_files(all_but_the_owners);
    displaced_check_refused(old, 3, "removed or replaced");
    displaced_wait_until_saved(old);
    struct queue *next = displaced_open_well("next-owner");
    displaced_check_waiting(next, 0, 3);
    CU_ASSERT_FALSE(queue_claim(next, &why));
    displaced_settle(old, 0, VERDICT_DELIVERED);
    queue_close(old);
    check(!queue_claim(next, &why) && strstr(why.text, "brought over") != NULL,
          "it does not know what was delivered: %s", why.text);
    CU_ASSERT(queue_must_reopen(next));
    queue_close(next);
    next = displaced_open_well("next-owner");
    displaced_own(next);
    check(displaced_is_delivered(next, 0), "what was delivered last is known");
    displaced_check_waiting(next, 1, 2);
    displaced_check_nothing_left();
    queue_close(next);
}

/* A process that appends, loses its files, saves them, goes on delivering, and saves them a last time; each when it is
 * told. */
static void live_and_deliver(int says, int told)
{
    struct error why = {0};
    struct queue *queue = queue_open(&displaced.made.config, &why);
    char word = 'w';
    unsigned failures = CU_get_number_of_failures(); /* of other tests, before */
    if (queue == NULL)
        _exit(1);
    displaced_append(queue, 0, 5);
    displaced_check_waiting(queue, 0, 5); /* from now on both connections are open */
    bool good = write(says, &word, 1) == 1 && read(told, &word, 1) == 1;
    displaced_check_refused(queue, 5, "removed or replaced");
    displaced_wait_until_saved(queue);
    good = good && write(says, &word, 1) == 1 && read(told, &word, 1) == 1;
    displaced_settle(queue, 0, VERDICT_DELIVERED);
    queue_close(queue);
    _exit(good && CU_get_number_of_failures() == failures ? 0 : 1);
}

static bool has_open(pid_t process, const char *words)
{
    char path[PATH_SIZE], target[PATH_SIZE];
    bool has = false;
    for (int fd = 3; fd < 64 && !has; fd++) {
        snprintf(path, sizeof path, "/proc/%ld/fd/%d", (long)process, fd);
        ssize_t length = readlink(path, target, sizeof target - 1);
        target[length > 0 ? length : 0] = '\0';
        has = strstr(target, words) != NULL;
    }
    return has;
}

/* A process that opens the queue, and is stopped where it has what was saved first open and has not read it yet: then
 * it waits for the writers' lock, which is held here. */
static pid_t open_and_stop(void)
{
    char path[PATH_SIZE];
    struct error why = {0};
    int lock = -1, status;
    path_join(path, displaced.state, "write.lock");
    CU_ASSERT_EQUAL(lock_take(&lock, path, LOCK_EX), 0);
    fflush(NULL);
    pid_t process = fork();
    if (process == 0) {
        close(lock);
        struct queue *queue = queue_open(&displaced.made.config, &why);
        if (queue != NULL)
            queue_close(queue);
        _exit(queue != NULL ? 0 : 1);
    }
    moment deadline = clock_now() + PATIENCE_MS;
    while (!has_open(process, "/rescued-") && clock_now() < deadline)
        usleep(1000);
    CU_ASSERT(has_open(process, "/rescued-"));
    kill(process, SIGSTOP);
    CU_ASSERT(waitpid(process, &status, WUNTRACED) == process && WIFSTOPPED(status));
    close(lock);
    return process;
}

static void check_ends_well(pid_t process)
{
    int status = -1;
    CU_ASSERT_EQUAL(waitpid(process, &status, 0), process);
    check(status == 0, "it ends well: %d", status);
}

/* It must not remove what was saved last after it has read what was saved first. The process that saves waits for it;
 * one that did not would have ended before the other one goes on. */
static void what_is_saved_last_is_not_removed(void)
{
    int says[2] = {-1, -1}, told[2] = {-1, -1};
    char word;
    path_join(displaced.state, displaced.directory, "last");
    CU_ASSERT_FATAL(pipe(says) == 0 && pipe(told) == 0);
    fflush(NULL);
    pid_t old = fork();
    if (old == 0) {
        close(told[1]);
        live_and_deliver(says[1], told[0]);
    }
    CU_ASSERT_EQUAL(read(says[0], &word, 1), 1);
    displaced_remove_files(all_but_the_owners);
    queue_close(displaced_open_well("last")); /* so that there is a queue into which it is brought over */
    CU_ASSERT_EQUAL(write(told[1], "g", 1), 1);
    CU_ASSERT_EQUAL(read(says[0], &word, 1), 1);
    pid_t command = open_and_stop();
    CU_ASSERT_EQUAL(write(told[1], "g", 1), 1);
    siginfo_t ended = {.si_pid = 0};
    for (int i = 0; i < 100 && ended.si_pid == 0; i++) {
        usleep(2000);
        CU_ASSERT_EQUAL(waitid(P_PID, (id_t)old, &ended, WEXITED | WNOHANG | WNOWAIT), 0);
    }
    kill(command, SIGCONT);
    check_ends_well(command);
    check_ends_well(old);
    struct queue *queue = displaced_open_well("last");
    displaced_own(queue);
    check(displaced_is_delivered(queue, 0), "what was delivered last is known");
    displaced_check_waiting(queue, 1, 4);
    displaced_check_nothing_left();
    queue_close(queue);
    for (unsigned i = 0; i < 2; i++) {
        close(says[i]);
        close(told[i]);
    }
}

/* accepted, delivered, what waits, and dead letters */
static void check_counts(struct queue *queue, const char *when, const uint64_t expected[4])
{
    struct error why = {0};
    struct counts counts;
    check(queue_count(queue, "one", &counts, &why), "it can be counted: %s", why.text);
    const uint64_t found[4] = {counts.accepted, counts.delivered, counts.waiting, counts.dead};
    for (unsigned i = 0; i < 4; i++)
        check(found[i] == expected[i], "%s: the %u. count is %u, not %u", when, i, (unsigned)found[i],
              (unsigned)expected[i]);
}

/* A queue is made in the place of the one that was removed; what that counted is brought over twice: what it saved
 * first, and what it saved when it had delivered more. */
static void counts_are_brought_over_once(void)
{
    struct error why = {0};
    struct counts counts;
    struct queue *old = displaced_open_well("counts");
    displaced_own(old);
    displaced_append(old, 0, 6);
    displaced_settle(old, 0, VERDICT_DELIVERED);
    displaced_settle(old, 5, VERDICT_DEAD);
    displaced_remove_files(all_but_the_owners);
    struct queue *next = displaced_open_well("counts");
    displaced_append(next, 10, 2);
    queue_close(next);
    displaced_check_refused(old, 6, "removed or replaced");
    displaced_wait_until_saved(old);
    next = displaced_open_well("counts");
    CU_ASSERT_TRUE(queue_count(next, "one", &counts, &why));
    uint64_t more = counts.accepted == 9; /* it may be stored all the same, unless it was noticed before */
    check_counts(next, "first", (const uint64_t[]){8 + more, 1, 6 + more, 1});
    displaced_check_waiting(next, 1, 4);
    displaced_check_waiting(next, 10, 2);
    queue_close(next);
    displaced_settle(old, 1, VERDICT_DELIVERED);
    displaced_settle(old, 2, VERDICT_DELIVERED);
    queue_close(old);
    next = displaced_open_well("counts");
    displaced_own(next);
    check_counts(next, "then", (const uint64_t[]){8 + more, 3, 6 + more, 1});
    displaced_settle(next, 1, VERDICT_DUPLICATE);
    displaced_settle(next, 2, VERDICT_DUPLICATE);
    displaced_settle(next, 3, VERDICT_DELIVERED);
    check_counts(next, "at the end", (const uint64_t[]){8 + more, 4, 3 + more, 1});
    displaced_check_waiting(next, 10, 2);
    displaced_check_nothing_left();
    queue_close(next);
}

static bool is_noted_as_lost(void)
{
    struct loss loss;
    struct error why = {0};
    bool any = false;
    check(loss_read(displaced.state, "one", &loss, &any, &why), "it can be read: %s", why.text);
    return any;
}

/* The first to look finds no database, and makes one; who forwards has the old one open, and brings it over. */
static void what_is_brought_over_is_not_called_lost(void)
{
    struct error words = {0};
    struct queue *old = displaced_open_well("not-lost");
    displaced_own(old);
    displaced_append(old, 0, 2);
    displaced_remove_files(all_but_the_owners);
    struct queue *next = displaced_open_well("not-lost");
    CU_ASSERT_FALSE(is_noted_as_lost());
    check(queue_stands(next, &words) || strstr(words.text, "brought over") != NULL, /* it may be noticed already */
          "the new one stands: %s", words.text);
    displaced_check_refused(old, 2, "removed or replaced");
    CU_ASSERT_FALSE(queue_stands(next, &words));
    check(strstr(words.text, "brought over") != NULL, "others know: %s", words.text);
    check(!queue_probe(old, true, &words) && strstr(words.text, "removed or replaced") != NULL, "%s", words.text);
    queue_close(next);
    displaced_wait_until_saved(old);
    queue_close(old);
    next = displaced_open_well("not-lost");
    displaced_own(next);
    displaced_check_waiting(next, 0, 2);
    CU_ASSERT_FALSE(is_noted_as_lost());
    displaced_check_nothing_left();
    queue_close(next);
}

static void own_and_die(int says)
{
    struct error why = {0};
    struct queue *queue = queue_open(&displaced.made.config, &why);
    if (queue == NULL || !queue_claim(queue, &why) || write(says, "o", 1) != 1)
        _exit(1);
    for (;;)
        pause();
}

/* Nobody can save any more what a killed process had open: then it is lost, whoever forwards next. */
static void what_nobody_saves_is_called_lost(void)
{
    for (int owner = 0; owner < 2; owner++) {
        int says[2] = {-1, -1}, status;
        char word;
        path_join(displaced.state, displaced.directory, owner ? "lost-owner" : "lost");
        CU_ASSERT_FATAL(pipe(says) == 0);
        fflush(NULL);
        pid_t old = fork();
        if (old == 0)
            own_and_die(says[1]);
        CU_ASSERT_EQUAL(read(says[0], &word, 1), 1);
        kill(old, SIGSTOP); /* else it might save it before it is killed */
        CU_ASSERT(waitpid(old, &status, WUNTRACED) == old && WIFSTOPPED(status));
        displaced_remove_files(all_but_the_owners);
        struct queue *next = queue_rig_open(&displaced.made);
        CU_ASSERT_FALSE(is_noted_as_lost());
        kill(old, SIGKILL);
        CU_ASSERT_EQUAL(waitpid(old, &status, 0), old);
        if (owner)
            displaced_own(next);
        queue_close(next);
        queue_close(queue_rig_open(&displaced.made));
        CU_ASSERT_TRUE(is_noted_as_lost());
        close(says[0]);
        close(says[1]);
    }
}

void suite_queue_sqlite_rescue(void)
{
    static CU_TestInfo tests[] = {
        {"what was delivered is known before another one forwards",
         what_was_delivered_is_known_before_another_one_forwards},
        {"what is saved last is not removed", what_is_saved_last_is_not_removed},
        {"counts are brought over once", counts_are_brought_over_once},
        {"what is brought over is not called lost", what_is_brought_over_is_not_called_lost},
        {"what nobody saves is called lost", what_nobody_saves_is_called_lost},
        CU_TEST_INFO_NULL,
    };
    suite_add("queue sqlite rescue", displaced_set_up, displaced_tear_down, tests);
}
