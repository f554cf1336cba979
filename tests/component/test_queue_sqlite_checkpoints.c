/* SQLite's WAL-reset bug needs a checkpoint that begins while the log is copied completely and writers may begin it
 * anew. None of ours does, however processes append, settle and rest; and all the same the log stays short. */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "queue/queue.h"
#include "queue/sqlite/store.h"
#include "tests/suites.h"
#include "tests/support/check.h"
#include "tests/support/disk_vfs.h"
#include "tests/support/queue_rig.h"

#define PATIENCE_MS 60000
#define WRITERS 2
#define BURSTS 8
#define BURST 6
#define REST_MS 45 /* longer than the housekeeper rests: it looks at a log that is complete */
#define LARGE ((size_t)1 << 20)
#define LARGE_ONES 80   /* of them the log would be twice as long as it may be */
#define LARGE_MOST 2000 /* MiB at most: many minutes of a busy disk */

static struct made_config made;
static char directory[PATH_SIZE], state[PATH_SIZE];
static struct events found;
static struct disk_checkpoints *checkpoints; /* shared with the children */

static int set_up(void)
{
    checkpoints = mmap(NULL, sizeof *checkpoints, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (checkpoints == MAP_FAILED || queue_rig_set_up(&made, directory, state) != 0 || !disk_install())
        return 1;
    disk_watch_checkpoints(checkpoints);
    return 0;
}

static int tear_down(void)
{
    disk_watch_checkpoints(NULL);
    disk_remove();
    munmap(checkpoints, sizeof *checkpoints);
    return queue_rig_tear_down(directory, &found);
}

static void use_state(const char *name)
{
    path_join(state, directory, name);
    atomic_store(&checkpoints->begun, 0);
    atomic_store(&checkpoints->exposed, 0);
}

static bool append(struct queue *queue, const char *body, size_t length)
{
    struct error why = {0};
    enum queue_result result = queue_append(queue, "one", body, length, clock_now() + PATIENCE_MS, &why);
    return check(result == QUEUE_STORED, "an event is stored: %s", why.text);
}

/* A process that appends in bursts. Ends with 0 when all was stored. */
static pid_t start_bursts(void)
{
    fflush(NULL);
    pid_t child = fork();
    if (child != 0)
        return child;
    struct error why = {0};
    struct queue *queue = queue_open(&made.config, &why);
    bool good = queue != NULL;
    for (unsigned i = 0; good && i < BURSTS * BURST; i++) {
        good = append(queue, "an event", 8);
        if (i % BURST == BURST - 1)
            poll(NULL, 0, REST_MS);
    }
    if (queue != NULL)
        queue_close(queue);
    _exit(good ? 0 : 1);
}

/* Reads what waits, which wakes the housekeeper, and settles it every now and then. */
static size_t take(struct queue *queue, bool settle)
{
    struct verdict verdicts[64];
    struct error why = {0};
    int count = queue_next(queue, "one", 0, 64, (size_t)1 << 30, &found, &why);
    check(count >= 0, "reading works: %s", why.text);
    queue_clear_wakeup(queue);
    if (!settle)
        return 0;
    for (size_t i = 0; i < found.count; i++)
        verdicts[i] = (struct verdict){.id = found.at[i].id, .kind = VERDICT_DROPPED};
    check(queue_settle(queue, "one", verdicts, found.count, &why), "settling works: %s", why.text);
    return found.count;
}

static void check_never_exposed(void)
{
    unsigned begun = atomic_load(&checkpoints->begun), exposed = atomic_load(&checkpoints->exposed);
    printf("(%u checkpoints) ", begun);
    check(begun >= 3, "there are checkpoints: %u", begun);
    check(exposed == 0, "%u of %u checkpoints begin with a complete log that others may begin anew", exposed, begun);
}

static void processes_append_in_bursts(void)
{
    pid_t writers[WRITERS];
    struct error why = {0};
    size_t taken = 0;
    use_state("bursts");
    for (unsigned i = 0; i < WRITERS; i++)
        writers[i] = start_bursts();
    struct queue *queue = queue_open(&made.config, &why);
    CU_ASSERT_PTR_NOT_NULL_FATAL(queue);
    CU_ASSERT_FATAL(queue_claim(queue, &why));
    moment deadline = clock_now() + PATIENCE_MS;
    for (unsigned i = 1; taken < WRITERS * BURSTS * BURST && clock_now() < deadline; i++) {
        taken += take(queue, i % 10 == 0);
        poll(NULL, 0, 10);
    }
    for (unsigned i = 0; i < WRITERS; i++) {
        int status = -1;
        CU_ASSERT_EQUAL(waitpid(writers[i], &status, 0), writers[i]);
        CU_ASSERT_EQUAL(status, 0);
    }
    check(taken == WRITERS * BURSTS * BURST, "all is taken: %zu", taken);
    poll(NULL, 0, REST_MS); /* the housekeeper looks once more, at rest */
    queue_close(queue);
    check_never_exposed();
}

/* Much in a short time: the log is made to begin anew, and with the writers held off. */
static void the_log_stays_short(void)
{
    struct error why = {0};
    struct stat log;
    char path[PATH_SIZE];
    char *body = calloc(1, LARGE);
    use_state("large");
    struct queue *queue = queue_open(&made.config, &why);
    CU_ASSERT_FATAL(queue != NULL && body != NULL);
    CU_ASSERT_FATAL(queue_claim(queue, &why));
    path_join(path, state, "queue.db-wal");
    size_t appended = 0;
    do { /* on a slow disk the housekeeper needs longer to copy than the writer to write */
        CU_ASSERT(append(queue, body, LARGE));
        queue_clear_wakeup(queue); /* as the forwarder does: the housekeeper is told */
        appended++;
        CU_ASSERT_EQUAL(stat(path, &log), 0);
    } while (appended < LARGE_ONES || (log.st_size >= (off_t)(appended * LARGE * 3 / 4) && appended < LARGE_MOST));
    check(appended < LARGE_MOST, "the log has %lld MiB", (long long)log.st_size >> 20);
    queue_close(queue);
    check_never_exposed();
    free(body);
}

/* ---- the checkpointer by itself ---- */

static void a_checkpoint_only_when_something_was_committed(void)
{
    struct error why = {0};
    struct checkpointer checkpointer;
    use_state("alone");
    struct queue *queue = queue_open(&made.config, &why);
    CU_ASSERT_PTR_NOT_NULL_FATAL(queue);
    CU_ASSERT(append(queue, "before", 6));
    CU_ASSERT_EQUAL(checkpointer_open(&checkpointer, state), DATABASE_DONE);
    checkpointer_copy(&checkpointer);
    check(atomic_load(&checkpoints->begun) == 0, "what was committed before it began does not count");
    checkpointer_copy(&checkpointer);
    check(atomic_load(&checkpoints->begun) == 1, "but is copied in a quiet moment");
    CU_ASSERT_FALSE(checkpointer_has_more(&checkpointer));
    CU_ASSERT(append(queue, "first", 5));
    checkpointer_copy(&checkpointer);
    CU_ASSERT_EQUAL(atomic_load(&checkpoints->begun), 2);
    CU_ASSERT_FALSE(checkpointer.incomplete);
    checkpointer_copy(&checkpointer);
    check(atomic_load(&checkpoints->begun) == 2, "a complete log needs none");
    CU_ASSERT(append(queue, "second", 6));
    checkpointer_copy(&checkpointer);
    CU_ASSERT_EQUAL(atomic_load(&checkpoints->begun), 3);
    checkpointer_empty(&checkpointer);
    checkpointer_copy(&checkpointer);
    check(atomic_load(&checkpoints->begun) == 4, "an empty log needs none");
    checkpointer_finish(&checkpointer);
    CU_ASSERT_EQUAL(atomic_load(&checkpoints->exposed), 0);
    queue_close(queue);
}

/* ---- beside a writer that takes room ---- */

static struct checkpointer beside;

static int copied_beside; /* SQLite's code */

static void copy_beside(void)
{
    copied_beside = sqlite3_wal_checkpoint_v2(beside.database.db, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
}

/* Everything that is read from the database's file, without the log: each event has the bytes that it was given. */
static void check_bodies(size_t count, size_t length)
{
    struct error why = {0};
    size_t altered = 0;
    struct queue *queue = queue_open(&made.config, &why);
    CU_ASSERT_PTR_NOT_NULL_FATAL(queue);
    CU_ASSERT_FATAL(queue_claim(queue, &why));
    int read = queue_next(queue, "one", 0, count + 1, (size_t)1 << 30, &found, &why);
    check(read == (int)count, "%d events of %zu: %s", read, count, why.text);
    for (size_t i = 0; i < found.count; i++) {
        for (size_t j = 0; j < length && j < found.at[i].length; j++)
            altered += found.at[i].body[j] != 'x';
    }
    check(altered == 0, "%zu bytes were altered", altered);
    queue_close(queue);
}

/* Commits something by a connection that has met a write without room. */
static void commit_with_room(struct database *writer)
{
    CU_ASSERT_EQUAL(database_begin(writer), DATABASE_DONE);
    CU_ASSERT_EQUAL(database_run_with(writer, STATEMENT_ADD_COUNT, 0, (int64_t[]){0, COUNT_PROBED, 1}, 3),
                    DATABASE_DONE);
    writer->error = ENOSPC;
    CU_ASSERT_EQUAL(database_commit(writer), DATABASE_DONE);
}

/* Where room is short a commit takes it in the database's file, into which a checkpoint of another connection may be
 * copying: SQLite takes it by writing a zero into each block beyond the size that it saw. */
static void room_is_taken_while_nobody_copies(void)
{
    enum { EVENTS = 20 };
    static char body[100000];
    struct error why = {0};
    struct database writer;
    use_state("room");
    memset(body, 'x', sizeof body);
    struct queue *queue = queue_open(&made.config, &why);
    CU_ASSERT_PTR_NOT_NULL_FATAL(queue);
    CU_ASSERT_EQUAL(checkpointer_open(&beside, state), DATABASE_DONE);
    checkpointer_copy(&beside);
    for (size_t i = 0; i < EVENTS; i++)
        CU_ASSERT(append(queue, body, sizeof body));
    CU_ASSERT_EQUAL(schema_open(&writer, state, true), DATABASE_DONE);
    copied_beside = SQLITE_DONE;
    disk_at_size_hint(copy_beside);
    commit_with_room(&writer);
    disk_at_size_hint(NULL);
    check(copied_beside == SQLITE_BUSY, "it was asked to copy, and could not: %d", copied_beside);
    database_close(&writer);
    checkpointer_empty(&beside);
    check(!beside.failed && !beside.incomplete, "it copies afterwards");
    checkpointer_close(&beside);
    queue_close(queue);
    check_bodies(EVENTS, sizeof body);
}

static atomic_bool enough;

static void *commit_all_the_time(void *context)
{
    while (!atomic_load(&enough))
        commit_with_room(context);
    return NULL;
}

/* Commits that follow one another at once, each with the lock of checkpoints: those have their turn all the same. */
static void commits_that_take_room_let_the_log_be_copied(void)
{
    enum { LOOKS = 50 };
    struct error why = {0};
    struct database writer;
    pthread_t thread;
    unsigned failed = 0, held_off = 0;
    use_state("turns");
    struct queue *queue = queue_open(&made.config, &why);
    CU_ASSERT_PTR_NOT_NULL_FATAL(queue);
    CU_ASSERT_EQUAL(schema_open(&writer, state, true), DATABASE_DONE);
    CU_ASSERT_EQUAL(checkpointer_open(&beside, state), DATABASE_DONE);
    atomic_store(&enough, false);
    CU_ASSERT_EQUAL_FATAL(pthread_create(&thread, NULL, commit_all_the_time, &writer), 0);
    for (unsigned i = 0; i < LOOKS; i++) {
        poll(NULL, 0, 2);
        copy_beside();
        held_off += copied_beside == SQLITE_BUSY;
        checkpointer_copy(&beside);
        failed += beside.failed;
    }
    atomic_store(&enough, true);
    pthread_join(thread, NULL);
    printf("(%u of %d met a commit) ", held_off, LOOKS);
    check(failed == 0, "%u of %d times nothing was copied", failed, LOOKS);
    checkpointer_close(&beside);
    database_close(&writer);
    queue_close(queue);
}

static void the_releases_with_the_bug(void)
{
    static const struct {
        int version;
        bool has;
    } releases[] = {{3006023, false}, {3040001, true}, {3044005, true},  {3044006, false},
                    {3045000, true},  {3046001, true}, {3050006, true},  {3050007, false},
                    {3051000, true},  {3051002, true}, {3051003, false}, {3053004, false}};
    for (size_t i = 0; i < sizeof releases / sizeof *releases; i++)
        check(checkpoint_has_reset_bug(releases[i].version) == releases[i].has, "%d", releases[i].version);
}

void suite_queue_sqlite_checkpoints(void)
{
    static CU_TestInfo tests[] = {
        {"only when something was committed", a_checkpoint_only_when_something_was_committed},
        {"processes append in bursts", processes_append_in_bursts},
        {"the log stays short", the_log_stays_short},
        {"room is taken while nobody copies", room_is_taken_while_nobody_copies},
        {"commits that take room let the log be copied", commits_that_take_room_let_the_log_be_copied},
        {"the releases with the bug", the_releases_with_the_bug},
        CU_TEST_INFO_NULL,
    };
    suite_add("queue sqlite checkpoints", set_up, tear_down, tests);
}
