/* Repairing a damaged queue: killed at any of its calls to the kernel, on a disk that fails at any write, by several
 * processes at once, without room. Whatever happens, all events that could be read are there in the end. */
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "queue/inspect.h"
#include "queue/loss.h"
#include "tests/suites.h"
#include "tests/system/check.h"
#include "tests/system/small_disk.h"
#include "tests/system/temporary.h"
#include "tests/unit/made_config.h"
#include "tests/unit/test_queue_sqlite_vfs.h"

#define PATIENCE_MS 60000
#define PAGE 16384
#define SECTOR 4096
#define SETTLED 1500 /* events that are in the database itself */
#define IN_LOG 700   /* and those that are only in its log */
#define OPENERS 6
#define KILLED_ALL 40 /* the last calls of a repair: it is killed at each of them */
#define KILLED_STRIDE 9

static struct made_config made;
static char directory[PATH_SIZE], state[PATH_SIZE], damaged[PATH_SIZE];
static struct events found;
static int quiet_from = -1;
static uint64_t readable[SETTLED + IN_LOG];
static int readable_count, rows_in_pages;

static void use_state(const char *name)
{
    path_join(state, directory, name);
    made.config.state_dir = state;
}

static struct queue *open_queue(void)
{
    struct why why = {""};
    struct queue *queue = queue_open(&made.config, &why);
    check(queue != NULL, "it can be opened: %s", why.text);
    CU_ASSERT_PTR_NOT_NULL_FATAL(queue);
    return queue;
}

static void append(struct queue *queue, const char *source, int count)
{
    struct why why = {""};
    char body[100];
    memset(body, 'x', sizeof body);
    for (int i = 0; i < count; i++)
        CU_ASSERT_EQUAL(queue_append(queue, source, body, sizeof body, clock_now() + PATIENCE_MS, &why), QUEUE_STORED);
}

/* Overwrites a page with nonsense. Returns how many rows stood in it. */
static int spoil(const char *in, long page)
{
    char path[PATH_SIZE];
    path_join(path, in, "queue.db");
    FILE *file = fopen(path, "r+e");
    CU_ASSERT_PTR_NOT_NULL_FATAL(file);
    fseek(file, page * PAGE + 3, SEEK_SET);
    int rows = fgetc(file) * 256;
    rows += fgetc(file);
    fseek(file, page * PAGE, SEEK_SET);
    for (int i = 0; i < PAGE; i++)
        fputc(0x55, file);
    fclose(file);
    return rows;
}

/* The number of the page, from 0, of a table's root or, with leaf, of one of its leaves in the middle. */
static long page_of(const char *in, const char *table, const char *wanted, int beyond)
{
    char path[PATH_SIZE], text[300];
    sqlite3 *db = NULL;
    sqlite3_stmt *find = NULL;
    long page = -1;
    path_join(path, in, "queue.db");
    CU_ASSERT_EQUAL(sqlite3_open(path, &db), SQLITE_OK);
    sqlite3_db_config(db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    snprintf(
        text, sizeof text,
        "SELECT pageno FROM dbstat WHERE name = '%s' AND (%s) ORDER BY pageno LIMIT 1 OFFSET %d + (SELECT count(*) / 2"
        " FROM dbstat WHERE name = '%s' AND (%s))",
        table, wanted, beyond, table, wanted);
    CU_ASSERT_EQUAL(sqlite3_prepare_v2(db, text, -1, &find, NULL), SQLITE_OK);
    if (sqlite3_step(find) == SQLITE_ROW)
        page = (long)sqlite3_column_int64(find, 0) - 1;
    sqlite3_finalize(find);
    sqlite3_close(db);
    CU_ASSERT_TRUE_FATAL(page > 0);
    return page;
}

static void mark_as_damaged(void)
{
    CU_ASSERT_TRUE(temporary_write(state, "damaged", 0600, "", 0));
}

/* Adds events in one transaction, into the log: one at a time would make it large. Then copies it into the database, or
 * not. */
static void fill(const char *in, int count, bool checkpoint)
{
    char path[PATH_SIZE], text[200];
    sqlite3 *db = NULL;
    int yes = 1;
    path_join(path, in, "queue.db");
    CU_ASSERT_EQUAL(sqlite3_open(path, &db), SQLITE_OK);
    sqlite3_db_config(db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    sqlite3_file_control(db, "main", SQLITE_FCNTL_PERSIST_WAL, &yes);
    snprintf(text, sizeof text,
             "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d)"
             " INSERT INTO event_1 (received, body) SELECT 1790000000000 + i, zeroblob(100) FROM n",
             count);
    CU_ASSERT_EQUAL(sqlite3_exec(db, text, NULL, NULL, NULL), SQLITE_OK);
    if (checkpoint)
        CU_ASSERT_EQUAL(sqlite3_wal_checkpoint_v2(db, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
}

/* A queue with events in the database, three pages of which are spoilt, and in its log. */
static void make_damaged(void)
{
    long pages[3];
    path_join(damaged, directory, "damaged");
    use_state("damaged");
    queue_close(open_queue());
    fill(damaged, SETTLED, true);
    for (int i = 0; i < 3; i++) /* before the last of them is a good one: it must not be passed over */
        pages[i] = page_of(damaged, "event_1", "pagetype = 'leaf'", i < 2 ? i : 3);
    fill(damaged, IN_LOG, false);
    for (int i = 0; i < 3; i++)
        rows_in_pages += spoil(damaged, pages[i]);
}

static void copy_damaged(const char *name)
{
    static const char *const files[] = {"queue.db", "queue.db-wal"};
    char from[PATH_SIZE];
    use_state(name);
    CU_ASSERT_EQUAL_FATAL(mkdir(state, 0700), 0);
    CU_ASSERT_TRUE(temporary_write(state, "reserve", 0600, "", 0)); /* no 1,024 calls for making it */
    for (size_t i = 0; i < 2; i++) {
        path_join(from, damaged, files[i]);
        CU_ASSERT_TRUE_FATAL(temporary_copy(state, files[i], 0600, from));
    }
    mark_as_damaged();
}

static int list(struct queue *queue, uint64_t *ids, int most)
{
    struct why why = {""};
    int count = 0, n;
    uint64_t after = 0;
    while ((n = queue_list(queue, "one", after, 500, 1 << 20, &found, &why)) > 0) {
        for (int i = 0; i < n && count < most; i++)
            ids[count++] = after = found.at[i].id;
    }
    check(n == 0, "it can be read: %s", why.text);
    return count;
}

static bool has_same_bytes(const char *in, const char *name)
{
    char a[PATH_SIZE], b[PATH_SIZE];
    char left[4096], right[4096];
    path_join(a, damaged, name);
    path_join(b, in, name);
    FILE *one = fopen(a, "re"), *two = fopen(b, "re");
    bool same = one != NULL && two != NULL;
    while (same) {
        size_t n = fread(left, 1, sizeof left, one), m = fread(right, 1, sizeof right, two);
        same = n == m && memcmp(left, right, n) == 0;
        if (n == 0)
            break;
    }
    if (one != NULL)
        fclose(one);
    if (two != NULL)
        fclose(two);
    return same;
}

/* Returns how many directories with damaged files there are, and the path of one. */
static int find_kept(char kept[static PATH_SIZE])
{
    int count = 0;
    DIR *listing = opendir(state);
    for (const struct dirent *entry; listing != NULL && (entry = readdir(listing)) != NULL;) {
        if (strncmp(entry->d_name, "damaged-", 8) != 0)
            continue;
        path_join(kept, state, entry->d_name);
        count++;
    }
    if (listing != NULL)
        closedir(listing);
    return count;
}

static bool exists(const char *name)
{
    char path[PATH_SIZE];
    path_join(path, state, name);
    return access(path, F_OK) == 0;
}

/* All readable events are there, what was damaged is kept as it was, and nothing is left over. */
static void check_repaired(const char *when)
{
    static uint64_t ids[SETTLED + IN_LOG];
    char kept[PATH_SIZE];
    struct queue *queue = open_queue();
    int count = list(queue, ids, SETTLED + IN_LOG);
    queue_close(queue);
    check(count == readable_count && memcmp(ids, readable, sizeof *ids * (size_t)count) == 0,
          "%s: %d events of %d are there", when, count, readable_count);
    check(find_kept(kept) == 1, "%s: the damaged files are kept once", when);
    check(has_same_bytes(kept, "queue.db") && has_same_bytes(kept, "queue.db-wal"), "%s: as they were", when);
    check(!exists("repairing") && !exists("repaired") && !exists("damaged"), "%s: nothing is left over", when);
}

static void remove_state(void)
{
    temporary_remove(state);
}

static int set_up(void)
{
    static char url[] = "http://127.0.0.1:9";
    made_config_init(&made, url, url);
    made.config.queue = QUEUE_SQLITE;
    made.config.queue_max_bytes = (int64_t)1 << 40;
    int nothing = open("/dev/null", O_WRONLY | O_CLOEXEC);
    quiet_from = dup(STDERR_FILENO);
    if (nothing < 0 || dup2(nothing, STDERR_FILENO) < 0)
        return 1;
    close(nothing);
    return !temporary_make(directory);
}

static int tear_down(void)
{
    events_free(&found);
    temporary_remove(directory);
    dup2(quiet_from, STDERR_FILENO);
    close(quiet_from);
    return 0;
}

/* ---- the repair itself ---- */

static void all_that_can_be_read_is_there(void)
{
    bool any;
    struct loss loss;
    struct why why = {""};
    make_damaged();
    copy_damaged("once");
    struct queue *queue = open_queue();
    readable_count = list(queue, readable, SETTLED + IN_LOG);
    struct counts counts;
    CU_ASSERT_TRUE(queue_count(queue, "one", &counts, &why));
    CU_ASSERT_EQUAL(counts.accepted, SETTLED + IN_LOG);
    queue_close(queue);
    check(readable_count < SETTLED + IN_LOG, "%d can be read", readable_count);
    CU_ASSERT_TRUE_FATAL(readable_count > SETTLED + IN_LOG - 450 && readable_count < SETTLED + IN_LOG);
    CU_ASSERT_EQUAL(readable[readable_count - 1], SETTLED + IN_LOG);
    CU_ASSERT_EQUAL(readable_count, SETTLED + IN_LOG - rows_in_pages);
    check_repaired("once");
    CU_ASSERT_TRUE(loss_read(state, "one", &loss, &any, &why));
    CU_ASSERT_TRUE(any && loss.identities_kept);
    CU_ASSERT_TRUE(loss.from_ms > 0 && loss.from_ms <= loss.until_ms);
    CU_ASSERT_PTR_NOT_NULL(strstr(loss.words, "could not be read"));
    CU_ASSERT_TRUE(loss_read(state, "two", &loss, &any, &why));
    CU_ASSERT_FALSE(any);
    remove_state();
}

/* ---- killed ---- */

static bool changes_something(uint64_t call)
{
    return call == SYS_write || call == SYS_pwrite64 || call == SYS_ftruncate || call == SYS_fsync ||
           call == SYS_fdatasync ||
#ifdef SYS_rename
           call == SYS_rename || call == SYS_unlink || call == SYS_mkdir || call == SYS_rmdir ||
#endif
           call == SYS_renameat || call == SYS_unlinkat || call == SYS_mkdirat || call == SYS_renameat2;
}

static void open_traced(void)
{
    struct why why;
    if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0)
        _exit(1);
    kill(getpid(), SIGSTOP);
    queue_close(queue_open(&made.config, &why));
    _exit(0);
}

/* Opens the queue in a process that is killed before its n-th call that changes something. Returns how many there were:
 * less than n where it has come to its end. */
static unsigned kill_before(unsigned n)
{
    unsigned calls = 0;
    int status = 0;
    fflush(NULL);
    pid_t child = fork();
    CU_ASSERT_TRUE_FATAL(child >= 0);
    if (child == 0)
        open_traced();
    CU_ASSERT_EQUAL_FATAL(waitpid(child, &status, 0), child);
    check(WIFSTOPPED(status), "a child can be traced");
    ptrace(PTRACE_SETOPTIONS, child, NULL, PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL);
    while (WIFSTOPPED(status)) {
        struct __ptrace_syscall_info info = {.op = PTRACE_SYSCALL_INFO_NONE};
        ptrace(PTRACE_GET_SYSCALL_INFO, child, sizeof info, &info);
        if (info.op == PTRACE_SYSCALL_INFO_ENTRY && changes_something(info.entry.nr) && ++calls == n)
            kill(child, SIGKILL);
        else
            ptrace(PTRACE_SYSCALL, child, NULL, NULL);
        if (waitpid(child, &status, 0) != child)
            break;
    }
    check(calls == n || (WIFEXITED(status) && WEXITSTATUS(status) == 0), "it ends well when it is left alone");
    return calls;
}

/* Most of the calls write the new database, which nobody looks at if it is not whole: of those only some. */
static void a_repair_is_killed_at_any_step(void)
{
    copy_damaged("counted");
    unsigned calls = kill_before(UINT_MAX);
    check_repaired("left alone");
    remove_state();
    for (unsigned n = 1; n <= calls; n += n + KILLED_ALL < calls ? KILLED_STRIDE : 1) {
        char name[32];
        snprintf(name, sizeof name, "killed-%u", n);
        copy_damaged(name);
        CU_ASSERT_EQUAL(kill_before(n), n);
        check_repaired(name);
        remove_state();
    }
    printf("(%u calls) ", calls);
    CU_ASSERT_TRUE(calls > 60);
}

/* Each start has a part of what the one before has left to do. */
static void a_repair_is_killed_again_and_again(void)
{
    copy_damaged("again");
    for (unsigned n = 64; n > 0; n -= 4)
        kill_before(n);
    check_repaired("again and again");
    remove_state();
}

/* ---- a failing disk ---- */

static void check_not_repaired(unsigned n)
{
    check(has_same_bytes(state, "queue.db") && has_same_bytes(state, "queue.db-wal"),
          "call %u: the old one is as it was", n);
    check(exists("damaged") && !exists("repairing") && !exists("repaired"), "call %u: it is still to be repaired", n);
}

static void check_disk_fails(int code, bool for_ever, unsigned stride)
{
    unsigned n = 1, refused = 0;
    for (bool failed = true; failed; n += stride) {
        char name[32];
        struct why why = {""};
        snprintf(name, sizeof name, "disk-%d-%d-%u", code, for_ever, n);
        copy_damaged(name);
        disk_fail(n, for_ever, code);
        struct queue *queue = queue_open(&made.config, &why);
        failed = disk_failed();
        disk_fail(0, false, SQLITE_OK);
        if (queue == NULL && exists("damaged")) {
            check_not_repaired(n);
            check(why.text[0] != '\0', "call %u: it says why", n);
            refused++;
        }
        queue_close(queue);
        check_repaired(name);
        remove_state();
    }
    printf("(%u refused) ", refused);
    CU_ASSERT_TRUE(refused > 3);
}

static void a_repair_meets_a_failing_disk(void)
{
    CU_ASSERT_TRUE_FATAL(disk_install());
    check_disk_fails(SQLITE_FULL, true, 13);
    check_disk_fails(SQLITE_IOERR_WRITE, false, 7);
    disk_remove();
}

static void try_without_room(void)
{
    struct why why = {""};
    bool good = small_disk_mount(directory, "12m");
    if (good) {
        copy_damaged("no-room");
        small_disk_fill(directory, "filler");
        good = queue_open(&made.config, &why) == NULL && strstr(why.text, "needs room") != NULL && exists("damaged") &&
               has_same_bytes(state, "queue.db");
    }
    _exit(good ? 0 : 1);
}

/* The copy of what is damaged is made before the disk is full: it stands outside. */
static void a_repair_without_room_touches_nothing(void)
{
    char outside[PATH_SIZE], from[PATH_SIZE];
    int status = -1;
    CU_ASSERT_TRUE_FATAL(temporary_make(outside));
    path_join(from, damaged, "queue.db");
    CU_ASSERT_TRUE(temporary_copy(outside, "queue.db", 0600, from));
    path_join(from, damaged, "queue.db-wal");
    CU_ASSERT_TRUE(temporary_copy(outside, "queue.db-wal", 0600, from));
    memcpy(from, damaged, sizeof from);
    memcpy(damaged, outside, sizeof damaged);
    fflush(NULL);
    pid_t child = fork();
    if (child == 0)
        try_without_room();
    CU_ASSERT_EQUAL(waitpid(child, &status, 0), child);
    check(status == 0, "the repair is refused, with words, and nothing is touched (needs to mount: %d)", status);
    memcpy(damaged, from, sizeof damaged);
    temporary_remove(outside);
}

/* ---- several processes ---- */

static void several_processes_open_it_at_once(void)
{
    pid_t openers[OPENERS];
    copy_damaged("several");
    fflush(NULL);
    for (int i = 0; i < OPENERS; i++) {
        openers[i] = fork();
        if (openers[i] != 0)
            continue;
        struct why why;
        struct queue *queue = NULL;
        for (moment deadline = clock_now() + PATIENCE_MS; queue == NULL && clock_now() < deadline;)
            queue = queue_open(&made.config, &why);
        queue_close(queue);
        _exit(queue != NULL ? 0 : 1);
    }
    for (int i = 0; i < OPENERS; i++) {
        int status = -1;
        CU_ASSERT_EQUAL(waitpid(openers[i], &status, 0), openers[i]);
        check(status == 0, "opener %d gets in", i);
    }
    check_repaired("several");
    remove_state();
}

/* ---- what else can be damaged ---- */

#define IDENTITIES 4000

/* Evenly spread, as real ones are, and in the index as if they were merged. */
static void make_identities(struct identity *identities)
{
    char path[PATH_SIZE];
    sqlite3 *db = NULL;
    sqlite3_stmt *add = NULL;
    path_join(path, state, "queue.db");
    CU_ASSERT_EQUAL(sqlite3_open(path, &db), SQLITE_OK);
    sqlite3_exec(db, "BEGIN", NULL, NULL, NULL);
    sqlite3_prepare_v2(db, "INSERT INTO known VALUES (1, ?1, 0, 9000000000000)", -1, &add, NULL);
    for (uint32_t i = 0; i < IDENTITIES; i++) {
        uint32_t hash = i * 2654435761U;
        for (int b = 0; b < 4; b++)
            identities[i].key[b] = (unsigned char)(hash >> (24 - 8 * b));
        sqlite3_bind_blob(add, 1, identities[i].key, sizeof identities[i].key, SQLITE_STATIC);
        CU_ASSERT_EQUAL(sqlite3_step(add), SQLITE_DONE);
        sqlite3_reset(add);
    }
    sqlite3_finalize(add);
    CU_ASSERT_EQUAL(sqlite3_exec(db, "COMMIT", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
}

static void identities_beyond_a_damaged_page_are_read(void)
{
    static struct identity identities[IDENTITIES];
    static struct known known[IDENTITIES];
    bool any;
    int left = 0;
    struct loss loss;
    struct why why = {""};
    use_state("identities");
    queue_close(open_queue());
    make_identities(identities);
    spoil(state, page_of(state, "known", "pagetype = 'leaf'", 0));
    mark_as_damaged();
    struct queue *queue = open_queue();
    CU_ASSERT_TRUE(queue_look_known(queue, "one", identities, IDENTITIES, known, &why));
    for (int i = 0; i < IDENTITIES; i++)
        left += known[i].delivered;
    check(left < IDENTITIES && left > IDENTITIES - 600, "one page is lost: %d of %d are left", left, IDENTITIES);
    queue_close(queue);
    CU_ASSERT_TRUE(loss_read(state, "one", &loss, &any, &why));
    CU_ASSERT_TRUE(any && !loss.identities_kept);
    double share = 0;
    const char *words = strstr(loss.words, "delivered, ");
    CU_ASSERT_TRUE(words != NULL && sscanf(words, "delivered, %lf", &share) == 1);
    check(share > 50.0 * (IDENTITIES - left) / IDENTITIES && share < 200.0 * (IDENTITIES - left) / IDENTITIES,
          "it says how much: %g %% of which %d are gone", share, IDENTITIES - left);
    remove_state();
}

static void events_of_sources_without_names_are_kept(void)
{
    bool any;
    struct loss loss;
    struct why why = {""};
    struct counts counts;
    use_state("names");
    struct queue *queue = open_queue();
    append(queue, "two", 10);
    queue_close(queue);
    fill(state, 1, true);
    spoil(state, page_of(state, "source", "pagetype = 'leaf'", 0));
    mark_as_damaged();
    queue = open_queue();
    CU_ASSERT_TRUE(queue_count(queue, "recovered-2", &counts, &why));
    CU_ASSERT_EQUAL(counts.waiting, 10);
    queue_close(queue);
    CU_ASSERT_TRUE(loss_read(state, "two", &loss, &any, &why));
    CU_ASSERT_TRUE(any && !loss.identities_kept && loss.from_ms == 0);
    remove_state();
}

/* Overwrites a disk's sector in a page with what looks random, by a generator that the test knows. */
static void spoil_sector(const char *in, long page, int sector, unsigned *random)
{
    char path[PATH_SIZE];
    path_join(path, in, "queue.db");
    FILE *file = fopen(path, "r+e");
    CU_ASSERT_PTR_NOT_NULL_FATAL(file);
    fseek(file, page * PAGE + (long)sector * SECTOR, SEEK_SET);
    for (int i = 0; i < SECTOR; i++)
        fputc((int)(rand_r(random) >> 7 & 0xff), file);
    fclose(file);
}

/* How many of the ids can be found one by one, with their whole body. */
static int count_found(const char *in, int last)
{
    char path[PATH_SIZE];
    sqlite3 *db = NULL;
    sqlite3_stmt *find = NULL;
    int count = 0;
    path_join(path, in, "queue.db");
    CU_ASSERT_EQUAL(sqlite3_open(path, &db), SQLITE_OK);
    sqlite3_db_config(db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    sqlite3_prepare_v2(db, "SELECT received, letter, body FROM event_1 WHERE id = ?1", -1, &find, NULL);
    for (int id = 1; id <= last; id++) {
        sqlite3_bind_int(find, 1, id);
        count += sqlite3_step(find) == SQLITE_ROW && sqlite3_column_type(find, 0) != SQLITE_NULL &&
                 sqlite3_column_blob(find, 2) != NULL;
        sqlite3_reset(find);
    }
    sqlite3_finalize(find);
    sqlite3_close(db);
    return count;
}

/* Such a page shows rows whose numbers are made up: they must not hide what stands behind them. */
static void a_spoilt_sector_hides_nothing(void)
{
    unsigned random = 1;
    for (int round = 0; round < 16; round++) {
        char name[32];
        struct why why = {""};
        snprintf(name, sizeof name, "sector-%d", round);
        use_state(name);
        queue_close(open_queue());
        fill(state, SETTLED, true);
        spoil_sector(state, page_of(state, "event_1", "pagetype = 'leaf'", round % 5 - 2), round % 4, &random);
        int expected = count_found(state, SETTLED);
        mark_as_damaged();
        struct queue *queue = open_queue();
        int there = queue_list(queue, "one", 0, SETTLED, 1 << 30, &found, &why);
        check(there >= expected && there <= SETTLED, "round %d: %d of the %d that can be read are there", round, there,
              expected);
        for (size_t i = 0; i < found.count; i++)
            CU_ASSERT(found.at[i].id >= 1 && found.at[i].id <= SETTLED);
        queue_close(queue);
        remove_state();
    }
}

/* SQLite would take it for the new database's. */
static void the_log_of_a_missing_database_is_kept_apart(void)
{
    struct why why = {""};
    struct counts counts;
    char path[PATH_SIZE];
    for (int emptied = 0; emptied < 2; emptied++) {
        use_state(emptied ? "emptied" : "log-only");
        queue_close(open_queue());
        fill(state, IN_LOG, false);
        path_join(path, state, "queue.db");
        CU_ASSERT_EQUAL(emptied ? truncate(path, 0) : unlink(path), 0);
        struct queue *queue = open_queue();
        CU_ASSERT_TRUE(queue_count(queue, "one", &counts, &why));
        CU_ASSERT_EQUAL(counts.accepted, 0);
        CU_ASSERT_EQUAL(counts.waiting, 0);
        append(queue, "one", 3);
        queue_close(queue);
        queue = open_queue();
        CU_ASSERT_EQUAL(queue_list(queue, "one", 0, IN_LOG, 1 << 30, &found, &why), 3);
        queue_close(queue);
        remove_state();
    }
}

static void a_missing_database_is_a_loss(void)
{
    bool any;
    char path[PATH_SIZE];
    struct loss loss;
    struct why why = {""};
    use_state("missing");
    struct queue *queue = open_queue();
    CU_ASSERT_TRUE(loss_read(state, "one", &loss, &any, &why));
    CU_ASSERT_FALSE(any); /* a first start loses nothing */
    CU_ASSERT_TRUE(queue_own(queue, &why));
    queue_close(queue);
    path_join(path, state, "queue.db");
    CU_ASSERT_EQUAL(unlink(path), 0);
    queue_close(open_queue());
    CU_ASSERT_TRUE(loss_read(state, "one", &loss, &any, &why));
    CU_ASSERT_TRUE(any && !loss.identities_kept && loss.from_ms == 0);
    remove_state();
}

void suite_queue_repair(void)
{
    static CU_TestInfo tests[] = {
        {"all that can be read is there", all_that_can_be_read_is_there},
        {"a repair is killed at any step", a_repair_is_killed_at_any_step},
        {"a repair is killed again and again", a_repair_is_killed_again_and_again},
        {"a repair meets a failing disk", a_repair_meets_a_failing_disk},
        {"a repair without room touches nothing", a_repair_without_room_touches_nothing},
        {"several processes open it at once", several_processes_open_it_at_once},
        {"identities beyond a damaged page are read", identities_beyond_a_damaged_page_are_read},
        {"events of sources without names are kept", events_of_sources_without_names_are_kept},
        {"a missing database is a loss", a_missing_database_is_a_loss},
        {"a spoilt sector hides nothing behind it", a_spoilt_sector_hides_nothing},
        {"the log of a missing database is kept apart", the_log_of_a_missing_database_is_kept_apart},
        CU_TEST_INFO_NULL,
    };
    suite_add("queue repair", set_up, tear_down, tests);
}
