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

#include "base/lock_file.h"
#include "tests/suites.h"
#include "tests/support/check.h"
#include "tests/support/queue_rig.h"

#define PATIENCE_MS 60000
#define NUMBERS 64

static struct made_config made;
static char directory[PATH_SIZE], state[PATH_SIZE];
static struct events found;

static int set_up(void)
{
    int failed = queue_rig_set_up_quiet(&made, directory, state);
    made.config.dedupe_window_ms = (int64_t)86400 * 1000;
    return failed;
}

static int tear_down(void)
{
    return queue_rig_tear_down_quiet(directory, &found);
}

static struct queue *open_well(const char *name)
{
    path_join(state, directory, name);
    return queue_rig_open(&made);
}

/* Bodies are numbers, two digits. */
static enum queue_result append_saying(struct queue *queue, unsigned number, struct error *why)
{
    char body[16];
    int length = snprintf(body, sizeof body, "%02u", number);
    return queue_append(queue, "one", body, (size_t)length, clock_now() + PATIENCE_MS, why);
}

static void append(struct queue *queue, unsigned first, unsigned count)
{
    for (unsigned i = first; i < first + count; i++) {
        struct error why = {0};
        check(append_saying(queue, i, &why) == QUEUE_STORED, "number %u is stored: %s", i, why.text);
    }
}

static void check_refused(struct queue *queue, unsigned number, const char *words)
{
    struct error why = {0};
    enum queue_result result = append_saying(queue, number, &why);
    check(result == QUEUE_BROKEN && strstr(why.text, words) != NULL, "%d: %s", result, why.text);
}

static struct identity identity_of(unsigned number)
{
    struct identity identity = {.updated_us = 1};
    memset(identity.key, (int)number + 1, sizeof identity.key);
    return identity;
}

static size_t look(struct queue *queue, uint64_t id[NUMBERS], unsigned times[NUMBERS])
{
    struct error why = {0};
    memset(times, 0, NUMBERS * sizeof *times);
    int count = queue_next(queue, "one", 0, 1000, 1 << 20, &found, &why);
    check(count >= 0, "it can be read: %s", why.text);
    for (size_t i = 0; i < found.count; i++) {
        unsigned number = (unsigned)((found.at[i].body[0] - '0') * 10 + found.at[i].body[1] - '0') % NUMBERS;
        times[number]++;
        id[number] = found.at[i].id;
    }
    return found.count;
}

/* All of these wait, each once; and whatever else waits was not answered 200. */
static void check_waiting(struct queue *queue, unsigned first, unsigned count)
{
    uint64_t id[NUMBERS];
    unsigned times[NUMBERS];
    look(queue, id, times);
    for (unsigned i = first; i < first + count; i++)
        check(times[i] == 1, "number %u is there %u times", i, times[i]);
}

static void settle(struct queue *queue, unsigned number, enum verdict_kind kind)
{
    uint64_t id[NUMBERS] = {0};
    unsigned times[NUMBERS];
    struct error why = {0};
    look(queue, id, times);
    struct verdict verdict = {
        .id = id[number], .kind = kind, .identity = identity_of(number), .remember = true, .reason = "of the test"};
    check(queue_settle(queue, "one", &verdict, 1, &why), "number %u is settled: %s", number, why.text);
}

static bool is_delivered(struct queue *queue, unsigned number)
{
    struct identity identity = identity_of(number);
    struct known known = {.delivered = false};
    struct error why = {0};
    check(queue_known(queue, "one", &identity, 1, &known, &why), "it can be asked: %s", why.text);
    return known.delivered;
}

static void own(struct queue *queue)
{
    struct error why = {0};
    check(queue_claim(queue, &why), "it can be owned: %s", why.text);
}

static void remove_files(const char *const *names)
{
    for (; *names != NULL; names++) {
        char path[PATH_SIZE];
        path_join(path, state, *names);
        check(unlink(path) == 0, "%s is removed", *names);
    }
}

static void check_nothing_left(void)
{
    char path[PATH_SIZE];
    path_join(path, state, "displaced");
    CU_ASSERT_NOT_EQUAL(access(path, F_OK), 0);
    path_join(path, state, "damaged");
    CU_ASSERT_NOT_EQUAL(access(path, F_OK), 0);
}

/* Waits until what the old files hold is saved, as the process does that looks once a second. */
static void wait_until_saved(struct queue *queue)
{
    moment deadline = clock_now() + PATIENCE_MS;
    while (!queue_must_reopen(queue) && clock_now() < deadline)
        usleep(1000);
    CU_ASSERT(queue_must_reopen(queue));
}

/* ---- removed ---- */

static void check_removed(const char *name, const char *const *names, bool owned)
{
    struct counts counts;
    struct error why = {0};
    struct queue *queue = open_well(name);
    if (owned)
        own(queue);
    append(queue, 0, 5);
    if (owned)
        settle(queue, 0, VERDICT_DELIVERED);
    remove_files(names);
    check_refused(queue, 5, "removed or replaced");
    wait_until_saved(queue);
    if (owned)
        settle(queue, 1, VERDICT_DELIVERED); /* what is under way is noted in the old ones */
    queue_close(queue);

    queue = open_well(name);
    own(queue);
    check_nothing_left();
    check_waiting(queue, owned ? 2 : 0, owned ? 3 : 5);
    if (owned)
        CU_ASSERT(is_delivered(queue, 0) && is_delivered(queue, 1));
    CU_ASSERT(queue_count(queue, "one", &counts, &why));
    CU_ASSERT(counts.accepted == 5 || counts.accepted == 6); /* with the one that was answered 503 */
    CU_ASSERT_EQUAL(counts.accepted, counts.waiting + counts.delivered);
    CU_ASSERT_EQUAL(counts.waiting, found.count);
    CU_ASSERT_EQUAL(counts.delivered, owned ? 2 : 0);
    append(queue, 6, 1);
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
    struct queue *queue = open_well("again");
    append(queue, 0, 3);
    remove_files(all);
    CU_ASSERT_EQUAL(chmod(state, 0755), 0); /* events are not written where others can get in */
    check_refused(queue, 3, "removed or replaced");
    check_refused(queue, 4, "removed or replaced");
    CU_ASSERT_FALSE(queue_must_reopen(queue));
    CU_ASSERT_EQUAL(chmod(state, 0700), 0);
    wait_until_saved(queue);
    queue_close(queue);
    queue = open_well("again");
    check_waiting(queue, 0, 3);
    check_nothing_left();
    queue_close(queue);
}

/* ---- replaced ---- */

static void replace_by(const char *copy)
{
    char path[PATH_SIZE];
    path_join(path, state, "queue.db");
    CU_ASSERT_EQUAL(rename(copy, path), 0);
}

static void an_earlier_copy_is_put_over_it(void)
{
    char copy[PATH_SIZE];
    uint64_t letter;
    size_t done = 0;
    struct letters letters = {0};
    struct error why = {0};
    struct queue *queue = open_well("replaced");
    path_join(copy, directory, "copy.db");
    own(queue);
    append(queue, 0, 4);
    check(queue_backup(queue, copy, NULL, 1, &why), "%s", why.text);
    settle(queue, 0, VERDICT_DELIVERED);
    settle(queue, 1, VERDICT_DEAD);
    append(queue, 4, 4);
    settle(queue, 4, VERDICT_DEAD);
    CU_ASSERT_EQUAL(queue_letters(queue, "one", 0, 10, 1 << 20, &letters, &why), 2);
    letter = letters.count == 2 ? letters.at[1].id : 0;
    CU_ASSERT(queue_replay(queue, &letter, 1, &done, &why) && done == 1);
    replace_by(copy);
    check_refused(queue, 8, "removed or replaced");
    wait_until_saved(queue);
    queue_close(queue);

    queue = open_well("replaced");
    own(queue);
    check_nothing_left();
    check_waiting(queue, 2, 6);
    check(is_delivered(queue, 0), "what was delivered is known, and so not sent again");
    size_t replays = 0;
    for (size_t i = 0; i < found.count; i++)
        replays += found.at[i].replay && memcmp(found.at[i].body, "04", 2) == 0;
    CU_ASSERT_EQUAL(replays, 1);
    CU_ASSERT_EQUAL(queue_letters(queue, "one", 0, 10, 1 << 20, &letters, &why), 2);
    CU_ASSERT_EQUAL(letters.count, 2);
    settle(queue, 4, VERDICT_DELIVERED); /* the replay resolves its letter */
    CU_ASSERT_EQUAL(queue_letters(queue, "one", 0, 10, 1 << 20, &letters, &why), 1);
    letters_free(&letters);
    queue_close(queue);
}

/* ---- several processes ---- */

/* A process that appends, tells, waits until files are gone, appends once more and lets go. */
static void live(unsigned first, int says, int told)
{
    struct error why = {0};
    struct queue *queue = queue_open(&made.config, &why);
    char word = 'w';
    bool good = queue != NULL;
    for (unsigned i = first; good && i < first + 5; i++)
        good = append_saying(queue, i, &why) == QUEUE_STORED;
    good = good && write(says, &word, 1) == 1 && read(told, &word, 1) == 1;
    good = good && append_saying(queue, first + 5, &why) == QUEUE_BROKEN;
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
    path_join(state, directory, "two");
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
    remove_files(all);
    CU_ASSERT_EQUAL(write(told[1], "gg", 2), 2);
    for (unsigned i = 0; i < 2; i++) {
        int status = -1;
        CU_ASSERT_EQUAL(waitpid(processes[i], &status, 0), processes[i]);
        check(status == 0, "process %u stores five, and is refused one", i);
    }
    struct queue *queue = open_well("two");
    check_waiting(queue, 0, 5);
    check_waiting(queue, 10, 5);
    check_nothing_left();
    queue_close(queue);
    for (unsigned i = 0; i < 2; i++) {
        close(says[i]);
        close(told[i]);
    }
}

/* ---- what was saved first is brought over while the last of it is not saved yet ---- */

static const char *const all_but_the_owners[] = {"queue.db",   "queue.db-wal", "queue.db-shm",
                                                 "write.lock", "open.lock",    NULL};

/* Without open.lock nothing keeps a second process from opening it meanwhile. */
static void what_was_delivered_is_known_before_another_one_forwards(void)
{
    struct error why = {0};
    struct queue *old = open_well("next-owner");
    own(old);
    append(old, 0, 3);
    check_waiting(old, 0, 3);
    remove_files(all_but_the_owners);
    check_refused(old, 3, "removed or replaced");
    wait_until_saved(old);
    struct queue *next = open_well("next-owner");
    check_waiting(next, 0, 3);
    CU_ASSERT_FALSE(queue_claim(next, &why));
    settle(old, 0, VERDICT_DELIVERED);
    queue_close(old);
    check(!queue_claim(next, &why) && strstr(why.text, "brought over") != NULL,
          "it does not know what was delivered: %s", why.text);
    CU_ASSERT(queue_must_reopen(next));
    queue_close(next);
    next = open_well("next-owner");
    own(next);
    check(is_delivered(next, 0), "what was delivered last is known");
    check_waiting(next, 1, 2);
    check_nothing_left();
    queue_close(next);
}

/* A process that appends, loses its files, saves them, goes on delivering, and saves them a last time; each when it is
 * told. */
static void live_and_deliver(int says, int told)
{
    struct error why = {0};
    struct queue *queue = queue_open(&made.config, &why);
    char word = 'w';
    unsigned failures = CU_get_number_of_failures(); /* of other tests, before */
    if (queue == NULL)
        _exit(1);
    append(queue, 0, 5);
    check_waiting(queue, 0, 5); /* from now on both connections are open */
    bool good = write(says, &word, 1) == 1 && read(told, &word, 1) == 1;
    check_refused(queue, 5, "removed or replaced");
    wait_until_saved(queue);
    good = good && write(says, &word, 1) == 1 && read(told, &word, 1) == 1;
    settle(queue, 0, VERDICT_DELIVERED);
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
    path_join(path, state, "write.lock");
    CU_ASSERT_EQUAL(lock_take(&lock, path, LOCK_EX), 0);
    fflush(NULL);
    pid_t process = fork();
    if (process == 0) {
        close(lock);
        struct queue *queue = queue_open(&made.config, &why);
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
    path_join(state, directory, "last");
    CU_ASSERT_FATAL(pipe(says) == 0 && pipe(told) == 0);
    fflush(NULL);
    pid_t old = fork();
    if (old == 0) {
        close(told[1]);
        live_and_deliver(says[1], told[0]);
    }
    CU_ASSERT_EQUAL(read(says[0], &word, 1), 1);
    remove_files(all_but_the_owners);
    queue_close(open_well("last")); /* so that there is a queue into which it is brought over */
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
    struct queue *queue = open_well("last");
    own(queue);
    check(is_delivered(queue, 0), "what was delivered last is known");
    check_waiting(queue, 1, 4);
    check_nothing_left();
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
    struct queue *queue = open_well("moved");
    path_join(away, directory, "moved-away");
    own(queue);
    append(queue, 0, 3);
    CU_ASSERT_EQUAL(rename(state, away), 0);
    check_refused(queue, 3, "the state directory was moved away or removed");
    CU_ASSERT_FALSE(queue_must_reopen(queue));
    CU_ASSERT_NOT_EQUAL(access(state, F_OK), 0);
    CU_ASSERT_EQUAL(rename(away, state), 0);
    CU_ASSERT_FALSE(queue_must_reopen(queue));
    append(queue, 4, 1);

    CU_ASSERT_EQUAL(rename(state, away), 0);
    check_refused(queue, 5, "the state directory was moved away or removed");
    queue_close(queue); /* the end of the process: now it is made */
    queue = open_well("moved");
    check_waiting(queue, 0, 3);
    check_waiting(queue, 4, 1);
    queue_close(queue);
}

static void another_directory_is_put_there(void)
{
    char away[PATH_SIZE];
    struct queue *queue = open_well("another");
    path_join(away, directory, "another-away");
    append(queue, 0, 3); /* it does not own the reading: its housekeeper could notice before the next append does */
    CU_ASSERT_EQUAL(rename(state, away), 0);
    struct queue *fresh = open_well("another"); /* as another process does */
    append(fresh, 20, 2);
    check_refused(queue, 3, "another directory");
    wait_until_saved(queue);
    CU_ASSERT(queue_must_reopen(fresh));
    queue_close(fresh);
    queue_close(queue);
    queue = open_well("another");
    check_waiting(queue, 0, 3);
    check_waiting(queue, 20, 2);
    check_nothing_left();
    queue_close(queue);
}

/* ---- locks ---- */

static void the_forward_lock_is_removed(void)
{
    static const char *const lock[] = {"forward.lock", NULL};
    struct error why = {0};
    struct queue *queue = open_well("forward"), *second = open_well("forward");
    own(queue);
    remove_files(lock);
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
    struct queue *queue = open_well("write"), *second = open_well("write");
    append(queue, 0, 1);
    append(second, 1, 1);
    remove_files(lock);
    append(queue, 2, 1);
    append(second, 3, 1);
    path_join(path, state, "write.lock");
    CU_ASSERT_EQUAL(access(path, F_OK), 0);
    check_waiting(queue, 0, 4);
    queue_close(second);
    queue_close(queue);
}

/* ---- files that are not what they should be ---- */

static void a_directory_stands_where_a_file_should(void)
{
    static const char *const locks[] = {"forward.lock", "write.lock", "wake"};
    char path[PATH_SIZE];
    queue_close(open_well("kinds"));
    for (size_t i = 0; i < sizeof locks / sizeof *locks; i++) {
        struct error why = {0};
        path_join(path, state, locks[i]);
        unlink(path);
        CU_ASSERT_EQUAL(mkdir(path, 0700), 0);
        struct queue *queue = queue_open(&made.config, &why);
        check(queue == NULL && strstr(why.text, locks[i]) != NULL && strstr(why.text, "mv '") != NULL, "%s: %s",
              locks[i], why.text);
        if (queue != NULL)
            queue_close(queue);
        CU_ASSERT_EQUAL(rmdir(path), 0);
    }
    queue_close(open_well("kinds"));
}

/* It worked before, and so it does. */
static void the_database_is_a_link(void)
{
    char path[PATH_SIZE], elsewhere[PATH_SIZE];
    struct queue *queue = open_well("links");
    append(queue, 0, 2);
    queue_close(queue);
    path_join(path, state, "queue.db");
    path_join(elsewhere, directory, "elsewhere.db");
    CU_ASSERT_EQUAL(rename(path, elsewhere), 0);
    CU_ASSERT_EQUAL(symlink(elsewhere, path), 0);
    path_join(path, state, "queue.db-wal");
    path_join(elsewhere, directory, "elsewhere.db-wal");
    CU_ASSERT_EQUAL(rename(path, elsewhere), 0);
    queue = open_well("links");
    own(queue);
    append(queue, 2, 2);
    CU_ASSERT_FALSE(queue_must_reopen(queue));
    check_waiting(queue, 0, 4);
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
        {"what was delivered is known before another one forwards",
         what_was_delivered_is_known_before_another_one_forwards},
        {"what is saved last is not removed", what_is_saved_last_is_not_removed},
        {"the state directory is moved away, and comes back", the_state_directory_is_moved},
        {"another directory is put there", another_directory_is_put_there},
        {"forward.lock is removed", the_forward_lock_is_removed},
        {"write.lock is removed", the_write_lock_is_removed},
        {"a directory stands where a file should", a_directory_stands_where_a_file_should},
        {"the database is a link", the_database_is_a_link},
        CU_TEST_INFO_NULL,
    };
    suite_add("queue sqlite displaced", set_up, tear_down, tests);
}
