/* SQLite's locks are the process's: a second queue that it opens and closes beside the first, as a status page or a
 * reconcile does, must not drop them. Else another program's look deletes the log under the running one, and without a
 * log processes undo each other's transactions. */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/suites.h"
#include "tests/support/check.h"
#include "tests/support/disk_vfs.h"
#include "tests/support/queue_rig.h"
#include "tests/support/read_lock.h"

#define PATIENCE_MS 60000
#define EACH 5
#define SLOW_MS 100

static struct made_config made;
static char directory[PATH_SIZE], state[PATH_SIZE];
static struct events found;

static int set_up(void)
{
    return queue_rig_set_up(&made, directory, state) != 0 || !disk_install();
}

static int tear_down(void)
{
    disk_without_maps(false);
    disk_remove();
    return queue_rig_tear_down(directory, &found);
}

static bool append(struct queue *queue, unsigned writer, unsigned number)
{
    char body[100];
    struct error why = {0};
    int length = snprintf(body, sizeof body, "%u/%u", writer, number);
    enum queue_result result = queue_append(queue, "one", body, (size_t)length, clock_now() + PATIENCE_MS, &why);
    return check(result == QUEUE_STORED, "writer %u stores number %u: %s", writer, number, why.text);
}

/* What a status page and a reconcile do. */
static bool look_with_a_second_queue(void)
{
    struct counts counts;
    struct error why = {0};
    struct queue *second = queue_open(&made.config, &why);
    bool good = second != NULL && queue_count(second, "one", &counts, &why);
    if (second != NULL)
        queue_close(second);
    return check(good, "a second queue of the process: %s", why.text);
}

/* Whether this process has a read lock on a file of the state directory. */
static bool has_read_lock(const char *name)
{
    char path[PATH_SIZE];
    path_join(path, state, name);
    return read_lock_is_held(getpid(), path);
}

static void the_locks_stay(void)
{
    struct error why = {0};
    char copy[PATH_SIZE];
    path_join(state, directory, "stay");
    struct queue *queue = queue_open(&made.config, &why);
    CU_ASSERT_PTR_NOT_NULL_FATAL(queue);
    CU_ASSERT(append(queue, 0, 0));
    check(has_read_lock("queue.db") && has_read_lock("queue.db-shm"), "the database and its index are locked");
    CU_ASSERT(look_with_a_second_queue());
    check(has_read_lock("queue.db") && has_read_lock("queue.db-shm"), "a second queue leaves the locks");
    path_join(copy, directory, "copy.db");
    check(queue_backup(queue, copy, NULL, 1, &why), "a copy is made: %s", why.text);
    check(has_read_lock("queue.db") && has_read_lock("queue.db-shm"), "a backup leaves the locks");
    queue_close(queue);
}

/* ---- another program looks ---- */

/* A process that appends five events, has a second queue for a moment, and five more when it is told to; then it says
 * so and waits for its end. */
static void live(int told, int says)
{
    struct error why = {0};
    struct queue *queue = queue_open(&made.config, &why);
    bool good = queue != NULL;
    for (unsigned i = 0; good && i < 10; i++) {
        char word = 'w';
        good = i != 5 || (look_with_a_second_queue() && write(says, &word, 1) == 1 && read(told, &word, 1) == 1);
        good = good && append(queue, 0, i);
    }
    if (good && write(says, "d", 1) == 1)
        pause();
    _exit(1);
}

/* `sqlite3 queue.db 'select ...'`: SQLite with its own settings, in a process of its own. */
static bool look_from_outside(void)
{
    int status = -1;
    pid_t outsider = fork();
    if (outsider == 0) {
        sqlite3 *db = NULL;
        char path[PATH_SIZE];
        path_join(path, state, "queue.db");
        int code = sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE, NULL);
        if (code == SQLITE_OK)
            code = sqlite3_exec(db, "SELECT count(*) FROM event_1", NULL, NULL, NULL);
        sqlite3_close(db);
        _exit(code == SQLITE_OK ? 0 : 1);
    }
    return waitpid(outsider, &status, 0) == outsider && status == 0;
}

static void note_fault(void *context, const char *fault)
{
    (void)context;
    check(false, "a fault in the database: %s", fault);
}

static void check_stored(unsigned wanted)
{
    struct error why = {0};
    struct queue *queue = queue_open(&made.config, &why);
    CU_ASSERT_PTR_NOT_NULL_FATAL(queue);
    int count = queue_next(queue, "one", 0, 1000, 1 << 20, &found, &why);
    check(count == (int)wanted, "%d of %u that were answered are there: %s", count, wanted, why.text);
    size_t faults = 0;
    CU_ASSERT(queue_check(queue, note_fault, NULL, &faults, &why));
    queue_close(queue);
}

static void another_program_looks_and_the_process_is_killed(void)
{
    int tell[2] = {-1, -1}, hear[2] = {-1, -1}, status;
    char word;
    path_join(state, directory, "outside");
    CU_ASSERT_FATAL(pipe(tell) == 0 && pipe(hear) == 0);
    fflush(NULL);
    pid_t process = fork();
    if (process == 0) {
        close(tell[1]); /* should the test die, so does this */
        live(tell[0], hear[1]);
    }
    close(hear[1]);
    CU_ASSERT_EQUAL(read(hear[0], &word, 1), 1);
    CU_ASSERT(look_from_outside());
    CU_ASSERT_EQUAL(write(tell[1], "g", 1), 1);
    check(read(hear[0], &word, 1) == 1, "ten events are answered");
    kill(process, SIGKILL);
    CU_ASSERT_EQUAL(waitpid(process, &status, 0), process);
    check_stored(10);
    close(tell[0]);
    close(tell[1]);
    close(hear[0]);
}

/* ---- without a log ---- */

/* In each of the two processes. */
static struct {
    int ask, answer; /* pipes to the other */
    atomic_int looks;
} other;

static void *look_on(void *context)
{
    (void)context;
    look_with_a_second_queue();
    atomic_fetch_add(&other.looks, 1);
    return NULL;
}

/* In the middle of a transaction, while the disk is slow: this process opens a second queue, and the other one reads.
 * Both may well wait for the transaction. */
static void while_it_syncs(void)
{
    static atomic_int running;
    pthread_t looker;
    if (atomic_fetch_add(&running, 1) == 0 && pthread_create(&looker, NULL, look_on, NULL) == 0) {
        struct pollfd told = {.fd = other.answer, .events = POLLIN};
        char word = 'r';
        pthread_detach(looker);
        poll(NULL, 0, SLOW_MS);
        if (write(other.ask, &word, 1) == 1)
            poll(&told, 1, SLOW_MS);
    } else {
        atomic_fetch_sub(&running, 1);
    }
}

/* Appends, the first time with a slow disk. Ends with 0 when all was stored. */
static void append_slowly(void)
{
    struct error why = {0};
    struct queue *queue = queue_open(&made.config, &why);
    bool good = queue != NULL;
    for (unsigned i = 0; good && i < EACH; i++) {
        disk_at_sync(i == 1 ? while_it_syncs : NULL);
        good = append(queue, 0, i);
    }
    while (good && atomic_load(&other.looks) == 0)
        poll(NULL, 0, 1);
    if (queue != NULL)
        queue_close(queue);
    _exit(good ? 0 : 1);
}

/* Reads when asked, by way of a second queue too, and appends then. */
static void read_when_asked(int asked, int answer)
{
    struct error why = {0};
    struct queue *queue = queue_open(&made.config, &why);
    char word;
    bool good = queue != NULL && read(asked, &word, 1) == 1 && look_with_a_second_queue() && write(answer, "a", 1) == 1;
    for (unsigned i = 0; good && i < EACH; i++)
        good = append(queue, 1, i);
    if (queue != NULL)
        queue_close(queue);
    _exit(good ? 0 : 1);
}

static void two_processes_without_a_log_lose_nothing(void)
{
    pid_t processes[2];
    char log[PATH_SIZE];
    int ask[2] = {-1, -1}, answer[2] = {-1, -1};
    path_join(state, directory, "unlogged");
    CU_ASSERT_FATAL(pipe(ask) == 0 && pipe(answer) == 0);
    disk_without_maps(true);
    CU_ASSERT(look_with_a_second_queue()); /* makes it */
    other.ask = ask[1];
    other.answer = answer[0];
    fflush(NULL);
    for (unsigned i = 0; i < 2; i++) {
        processes[i] = fork();
        if (processes[i] == 0 && i == 0)
            append_slowly();
        if (processes[i] == 0)
            read_when_asked(ask[0], answer[1]);
    }
    for (unsigned i = 0; i < 2; i++) {
        int status = -1;
        CU_ASSERT_EQUAL(waitpid(processes[i], &status, 0), processes[i]);
        check(status == 0, "process %u stores all, and can look", i);
    }
    path_join(log, state, "queue.db-wal");
    check(access(log, F_OK) != 0 && errno == ENOENT, "there is no log");
    check_stored(2 * EACH);
    disk_without_maps(false);
    for (unsigned i = 0; i < 2; i++) {
        close(ask[i]);
        close(answer[i]);
    }
}

void suite_queue_sqlite_locks(void)
{
    static CU_TestInfo tests[] = {
        {"a second queue and a backup leave the locks", the_locks_stay},
        {"another program looks, and the process is killed", another_program_looks_and_the_process_is_killed},
        {"two processes without a log lose nothing", two_processes_without_a_log_lose_nothing},
        CU_TEST_INFO_NULL,
    };
    suite_add("queue sqlite locks", set_up, tear_down, tests);
}
