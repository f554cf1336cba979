/* The queue's files are removed, replaced or moved under processes that use them: what was answered 200 is there once
 * in the queue that stands there afterwards, what was delivered is known, and nothing more is answered 200 meanwhile.
 */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/files.h"
#include "tests/suites.h"
#include "tests/support/check.h"
#include "tests/support/displaced.h"

/* ---- removed ---- */

/* What was saved knows nothing of what is settled afterwards: if the process were killed, it would be sent again.
 */
static void check_nothing_may_be_sent(struct queue *queue)
{
    const struct verdict verdict = {.id = 2, .kind = VERDICT_DELIVERED, .identity = displaced_identity_of(1)};
    struct error why = {0};
    check(!queue_can_settle(queue, "one", &verdict, 1, &why) && strstr(why.text, "opened anew") != NULL,
          "nothing more is sent: %s", why.text);
}

static void check_removed(const char *name, const char *const *names, bool owned)
{
    struct counts counts;
    struct error why = {0};
    struct queue *queue = displaced_open_well(name);
    if (owned)
        displaced_own(queue);
    displaced_append(queue, 0, 5);
    if (owned)
        displaced_settle(queue, 0, VERDICT_DELIVERED);
    displaced_remove_files(names);
    displaced_check_refused(queue, 5, "removed or replaced");
    displaced_wait_until_saved(queue);
    if (owned) {
        check_nothing_may_be_sent(queue);
        displaced_settle(queue, 1, VERDICT_DELIVERED); /* what is under way is noted in the old ones */
    }
    queue_close(queue);

    queue = displaced_open_well(name);
    displaced_own(queue);
    displaced_check_nothing_left();
    displaced_check_waiting(queue, owned ? 2 : 0, owned ? 3 : 5);
    if (owned)
        CU_ASSERT(displaced_is_delivered(queue, 0) && displaced_is_delivered(queue, 1));
    CU_ASSERT(queue_count(queue, "one", &counts, &why));
    CU_ASSERT(counts.accepted == 5 || counts.accepted == 6); /* with the one that was answered 503 */
    CU_ASSERT_EQUAL(counts.accepted, counts.waiting + counts.delivered);
    CU_ASSERT_EQUAL(counts.waiting, displaced.found.count);
    CU_ASSERT_EQUAL(counts.delivered, owned ? 2 : 0);
    displaced_append(queue, 6, 1);
    queue_close(queue);
}

static void the_database_is_removed(void)
{
    static const char *const all[] = {"queue.db", "queue.db-wal", "queue.db-shm", NULL}, *const one[] = {"queue.db",
                                                                                                         NULL};
    check_removed("all", all, true);
    check_removed("all-unowned", all, false);
    check_removed("one", one, true);
}

static void the_log_is_removed(void)
{
    static const char *const both[] = {"queue.db-wal", "queue.db-shm", NULL}, *const log[] = {"queue.db-wal", NULL};
    check_removed("both", both, true);
    check_removed("log", log, true);
}

static void the_index_is_removed(void)
{
    static const char *const index[] = {"queue.db-shm", NULL};
    check_removed("index", index, true);
}

static void all_files_are_removed(void)
{
    static const char *const all[] = {"queue.db", "queue.db-wal", "queue.db-shm", "write.lock", "open.lock", "reserve",
                                      NULL};
    check_removed("everything", all, false);
}

/* As long as the process runs nothing is lost. */
static void what_cannot_be_saved_is_tried_again(void)
{
    static const char *const all[] = {"queue.db", "queue.db-wal", "queue.db-shm", NULL};
    struct queue *queue = displaced_open_well("again");
    displaced_append(queue, 0, 3);
    displaced_remove_files(all);
    CU_ASSERT_EQUAL(chmod(displaced.state, 0755), 0); /* events are not written where others can get in */
    displaced_check_refused(queue, 3, "removed or replaced");
    displaced_check_refused(queue, 4, "removed or replaced");
    CU_ASSERT_FALSE(queue_must_reopen(queue));
    CU_ASSERT_EQUAL(chmod(displaced.state, 0700), 0);
    displaced_wait_until_saved(queue);
    queue_close(queue);
    queue = displaced_open_well("again");
    displaced_check_waiting(queue, 0, 3);
    displaced_check_nothing_left();
    queue_close(queue);
}

/* ---- replaced ---- */

static void replace_by(const char *copy)
{
    char path[PATH_SIZE];
    path_join(path, displaced.state, "queue.db");
    CU_ASSERT_EQUAL(rename(copy, path), 0);
}

static void an_earlier_copy_is_put_over_it(void)
{
    char copy[PATH_SIZE];
    uint64_t letter;
    size_t done = 0;
    struct letters letters = {0};
    struct error why = {0};
    struct queue *queue = displaced_open_well("replaced");
    path_join(copy, displaced.directory, "copy.db");
    displaced_own(queue);
    displaced_append(queue, 0, 4);
    check(queue_backup(queue, copy, NULL, 1, &why), "%s", why.text);
    displaced_settle(queue, 0, VERDICT_DELIVERED);
    displaced_settle(queue, 1, VERDICT_DEAD);
    displaced_append(queue, 4, 4);
    displaced_settle(queue, 4, VERDICT_DEAD);
    CU_ASSERT_EQUAL(queue_letters(queue, "one", 0, 10, 1 << 20, &letters, &why), 2);
    letter = letters.count == 2 ? letters.at[1].id : 0;
    CU_ASSERT(queue_replay(queue, &letter, 1, &done, &why) && done == 1);
    replace_by(copy);
    displaced_check_refused(queue, 8, "removed or replaced");
    displaced_wait_until_saved(queue);
    queue_close(queue);

    queue = displaced_open_well("replaced");
    displaced_own(queue);
    displaced_check_nothing_left();
    displaced_check_waiting(queue, 2, 6);
    check(displaced_is_delivered(queue, 0), "what was delivered is known, and so not sent again");
    size_t replays = 0;
    for (size_t i = 0; i < displaced.found.count; i++)
        replays += displaced.found.at[i].replay && memcmp(displaced.found.at[i].body, "04", 2) == 0;
    CU_ASSERT_EQUAL(replays, 1);
    CU_ASSERT_EQUAL(queue_letters(queue, "one", 0, 10, 1 << 20, &letters, &why), 2);
    CU_ASSERT_EQUAL(letters.count, 2);
    displaced_settle(queue, 4, VERDICT_DELIVERED); /* the replay resolves its letter */
    CU_ASSERT_EQUAL(queue_letters(queue, "one", 0, 10, 1 << 20, &letters, &why), 1);
    letters_free(&letters);
    queue_close(queue);
}

/* ---- several processes ---- */

/* A process that appends, tells, waits until files are gone, appends once more and lets go. */
static void live(unsigned first, int says, int told)
{
    struct error why = {0};
    struct queue *queue = queue_open(&displaced.made.config, &why);
    char word = 'w';
    bool good = queue != NULL;
    for (unsigned i = first; good && i < first + 5; i++)
        good = displaced_append_saying(queue, i, &why) == QUEUE_STORED;
    good = good && write(says, &word, 1) == 1 && read(told, &word, 1) == 1;
    good = good && displaced_append_saying(queue, first + 5, &why) == QUEUE_BROKEN;
    if (queue != NULL)
        queue_close(queue);
    _exit(good ? 0 : 1);
}

static void two_processes_lose_the_database(void)
{
    static const char *const all[] = {"queue.db", "queue.db-wal", "queue.db-shm", NULL};
    pid_t processes[2];
    int says[2] = {-1, -1}, told[2] = {-1, -1};
    char words[2];
    path_join(displaced.state, displaced.directory, "two");
    CU_ASSERT_FATAL(pipe(says) == 0 && pipe(told) == 0);
    fflush(NULL);
    for (unsigned i = 0; i < 2; i++) {
        processes[i] = fork();
        if (processes[i] == 0) {
            close(told[1]);
            live(i * 10, says[1], told[0]);
        }
    }
    for (unsigned i = 0; i < 2; i++)
        CU_ASSERT_EQUAL(read(says[0], words, 1), 1);
    displaced_remove_files(all);
    CU_ASSERT_EQUAL(write(told[1], "gg", 2), 2);
    for (unsigned i = 0; i < 2; i++) {
        int status = -1;
        CU_ASSERT_EQUAL(waitpid(processes[i], &status, 0), processes[i]);
        check(status == 0, "process %u stores five, and is refused one", i);
    }
    struct queue *queue = displaced_open_well("two");
    displaced_check_waiting(queue, 0, 5);
    displaced_check_waiting(queue, 10, 5);
    displaced_check_nothing_left();
    queue_close(queue);
    for (unsigned i = 0; i < 2; i++) {
        close(says[i]);
        close(told[i]);
    }
}

/* ---- the directory ---- */

static void the_state_directory_is_moved(void)
{
    char away[PATH_SIZE];
    struct queue *queue = displaced_open_well("moved");
    path_join(away, displaced.directory, "moved-away");
    displaced_own(queue);
    displaced_append(queue, 0, 3);
    CU_ASSERT_EQUAL(rename(displaced.state, away), 0);
    displaced_check_refused(queue, 3, "the state directory was moved away or removed");
    CU_ASSERT_FALSE(queue_must_reopen(queue));
    CU_ASSERT_NOT_EQUAL(access(displaced.state, F_OK), 0);
    CU_ASSERT_EQUAL(rename(away, displaced.state), 0);
    CU_ASSERT_FALSE(queue_must_reopen(queue));
    displaced_append(queue, 4, 1);

    CU_ASSERT_EQUAL(rename(displaced.state, away), 0);
    displaced_check_refused(queue, 5, "the state directory was moved away or removed");
    queue_close(queue); /* the end of the process: now it is made */
    queue = displaced_open_well("moved");
    displaced_check_waiting(queue, 0, 3);
    displaced_check_waiting(queue, 4, 1);
    queue_close(queue);
}

static void another_directory_is_put_there(void)
{
    char away[PATH_SIZE];
    struct queue *queue = displaced_open_well("another");
    path_join(away, displaced.directory, "another-away");
    displaced_append(queue, 0,
                     3); /* it does not own the reading: its housekeeper could notice before the next append does */
    CU_ASSERT_EQUAL(rename(displaced.state, away), 0);
    struct queue *fresh = displaced_open_well("another"); /* as another process does */
    displaced_append(fresh, 20, 2);
    displaced_check_refused(queue, 3, "another directory");
    displaced_wait_until_saved(queue);
    CU_ASSERT(queue_must_reopen(fresh));
    queue_close(fresh);
    queue_close(queue);
    queue = displaced_open_well("another");
    displaced_check_waiting(queue, 0, 3);
    displaced_check_waiting(queue, 20, 2);
    displaced_check_nothing_left();
    queue_close(queue);
}

/* ---- locks ---- */

static void the_forward_lock_is_removed(void)
{
    static const char *const lock[] = {"forward.lock", NULL};
    struct error why = {0};
    struct queue *queue = displaced_open_well("forward"), *second = displaced_open_well("forward");
    displaced_own(queue);
    displaced_remove_files(lock);
    check(!queue_claim(second, &why), "only one forwards");
    bool owned = false;
    struct error words;
    CU_ASSERT(queue_is_owned(second, &owned, &words, &why) && owned);
    queue_close(queue);
    check(queue_claim(second, &why), "the other one may, once the first has ended: %s", why.text);
    queue_close(second);
}

static void the_write_lock_is_removed(void)
{
    static const char *const lock[] = {"write.lock", NULL};
    char path[PATH_SIZE];
    struct queue *queue = displaced_open_well("write"), *second = displaced_open_well("write");
    displaced_append(queue, 0, 1);
    displaced_append(second, 1, 1);
    displaced_remove_files(lock);
    displaced_append(queue, 2, 1);
    displaced_append(second, 3, 1);
    path_join(path, displaced.state, "write.lock");
    CU_ASSERT_EQUAL(access(path, F_OK), 0);
    displaced_check_waiting(queue, 0, 4);
    queue_close(second);
    queue_close(queue);
}

/* ---- files that are not what they should be ---- */

static void a_directory_stands_where_a_file_should(void)
{
    static const char *const locks[] = {"forward.lock", "write.lock", "wake"};
    char path[PATH_SIZE];
    queue_close(displaced_open_well("kinds"));
    for (size_t i = 0; i < sizeof locks / sizeof *locks; i++) {
        struct error why = {0};
        path_join(path, displaced.state, locks[i]);
        unlink(path);
        CU_ASSERT_EQUAL(mkdir(path, 0700), 0);
        struct queue *queue = queue_open(&displaced.made.config, &why);
        check(queue == NULL && strstr(why.text, locks[i]) != NULL && strstr(why.text, "mv '") != NULL, "%s: %s",
              locks[i], why.text);
        if (queue != NULL)
            queue_close(queue);
        CU_ASSERT_EQUAL(rmdir(path), 0);
    }
    queue_close(displaced_open_well("kinds"));
}

/* It worked before, and so it does. */
static void the_database_is_a_link(void)
{
    char path[PATH_SIZE], elsewhere[PATH_SIZE];
    struct queue *queue = displaced_open_well("links");
    displaced_append(queue, 0, 2);
    queue_close(queue);
    path_join(path, displaced.state, "queue.db");
    path_join(elsewhere, displaced.directory, "elsewhere.db");
    CU_ASSERT_EQUAL(rename(path, elsewhere), 0);
    CU_ASSERT_EQUAL(symlink(elsewhere, path), 0);
    path_join(path, displaced.state, "queue.db-wal");
    path_join(elsewhere, displaced.directory, "elsewhere.db-wal");
    CU_ASSERT_EQUAL(rename(path, elsewhere), 0);
    queue = displaced_open_well("links");
    displaced_own(queue);
    displaced_append(queue, 2, 2);
    CU_ASSERT_FALSE(queue_must_reopen(queue));
    displaced_check_waiting(queue, 0, 4);
    queue_close(queue);
}

void suite_queue_sqlite_displaced(void)
{
    static CU_TestInfo tests[] = {
        {"the database is removed", the_database_is_removed},
        {"its log is removed", the_log_is_removed},
        {"the log's index is removed", the_index_is_removed},
        {"all files are removed", all_files_are_removed},
        {"what cannot be saved is tried again", what_cannot_be_saved_is_tried_again},
        {"an earlier copy is put over it", an_earlier_copy_is_put_over_it},
        {"two processes lose the database", two_processes_lose_the_database},
        {"the state directory is moved away, and comes back", the_state_directory_is_moved},
        {"another directory is put there", another_directory_is_put_there},
        {"forward.lock is removed", the_forward_lock_is_removed},
        {"write.lock is removed", the_write_lock_is_removed},
        {"a directory stands where a file should", a_directory_stands_where_a_file_should},
        {"the database is a link", the_database_is_a_link},
        CU_TEST_INFO_NULL,
    };
    suite_add("queue sqlite displaced", displaced_set_up, displaced_tear_down, tests);
}
