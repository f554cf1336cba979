/* Each call by which a repair writes, syncs or renames fails once, with EIO: a repair that could not write is one that
 * failed. Up to the moment at which it takes effect the old queue then is as it was, and still to be repaired; after it
 * whoever opens the queue next brings the repair to its end. The database is larger than the memory that SQLite may
 * use, so that some writes fail in the middle of the copying, and not with its commit. */
#include <elf.h>
#include <errno.h>
#include <glob.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "queue/inspect.h"
#include "tests/suites.h"
#include "tests/support/check.h"
#include "tests/support/queue_rig.h"

#define EVENTS 30
#define BODY 16000
#define HEAP 200000 /* bytes that SQLite may use: beyond it pages are written before the commit */
#define MISSING 5   /* an event that is gone without a trace: a loss to be noted */
#define CALLS_MOST 2000
#define PAGES_STRIDE 20 /* of the writes of pages only so many are tried */
#define REFUSED 3       /* exit code of a process that could not open the queue */

/* When a call is made. */
enum phase { PHASE_BEFORE, PHASE_BUILDING, PHASE_AFTER };

struct call {
    uint64_t number; /* of the kernel */
    enum phase phase;
    bool of_index; /* a log's index: SQLite can do without that file */
};

static const char *const files[] = {"queue.db", "queue.db-wal"};

static struct made_config made;
static char directory[PATH_SIZE], state[PATH_SIZE], original[PATH_SIZE];
static struct events found;
static struct call calls[CALLS_MOST];

static void use_state(const char *name)
{
    path_join(state, directory, name);
    made.config.state_dir = state;
}

/* In "original": all in the database but the last event, which is in the log. */
static void make_original(void)
{
    char path[PATH_SIZE], text[400];
    struct error why = {0};
    sqlite3 *db = NULL;
    int yes = 1;
    use_state("original");
    memcpy(original, state, sizeof original);
    struct queue *queue = queue_open(&made.config, &why);
    check(queue != NULL, "a queue is made: %s", why.text);
    queue_close(queue);
    path_join(path, state, "queue.db");
    snprintf(text, sizeof text,
             "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d)"
             " INSERT INTO event_1 (received, body) SELECT 1790000000000 + i, zeroblob(%d) FROM n;"
             " DELETE FROM event_1 WHERE id = %d; PRAGMA wal_checkpoint(TRUNCATE);"
             " INSERT INTO event_1 (received, body) VALUES (1790000001000, zeroblob(%d))",
             EVENTS - 1, BODY, MISSING, BODY);
    CU_ASSERT_EQUAL(sqlite3_open(path, &db), SQLITE_OK);
    sqlite3_db_config(db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    sqlite3_file_control(db, "main", SQLITE_FCNTL_PERSIST_WAL, &yes);
    CU_ASSERT_EQUAL(sqlite3_exec(db, text, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
}

static void copy_original(const char *name)
{
    char from[PATH_SIZE];
    use_state(name);
    CU_ASSERT_EQUAL_FATAL(mkdir(state, 0700), 0);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        path_join(from, original, files[i]);
        CU_ASSERT_TRUE_FATAL(temporary_copy(state, files[i], 0600, from));
    }
    CU_ASSERT_TRUE(temporary_write(state, "reserve", 0600, "", 0)); /* making it takes 1,024 calls */
    CU_ASSERT_TRUE(temporary_write(state, "damaged", 0600, "", 0));
}

static bool exists(const char *name)
{
    char path[PATH_SIZE];
    path_join(path, state, name);
    return access(path, F_OK) == 0;
}

static bool has_same_bytes(const char *in, const char *name)
{
    static char left[1 << 16], right[sizeof left];
    char a[PATH_SIZE], b[PATH_SIZE];
    path_join(a, original, name);
    path_join(b, in, name);
    FILE *one = fopen(a, "re"), *two = fopen(b, "re");
    bool same = one != NULL && two != NULL;
    for (size_t n = 1; same && n > 0;) {
        n = fread(left, 1, sizeof left, one);
        same = n == fread(right, 1, sizeof right, two) && memcmp(left, right, n) == 0;
    }
    if (one != NULL)
        fclose(one);
    if (two != NULL)
        fclose(two);
    return same;
}

static bool is_as_it_was(const char *in)
{
    return has_same_bytes(in, files[0]) && has_same_bytes(in, files[1]);
}

/* Whether the damaged files are kept as they were. */
static bool is_kept(void)
{
    glob_t found_paths;
    char pattern[PATH_SIZE];
    path_join(pattern, state, "damaged-*");
    bool kept = glob(pattern, 0, NULL, &found_paths) == 0;
    kept = kept && found_paths.gl_pathc == 1 && is_as_it_was(found_paths.gl_pathv[0]);
    globfree(&found_paths);
    return kept;
}

/* ---- calls that fail ---- */

/* Whether a call's failure is to be noticed. A word to standard error need not get through; what cannot be removed or
 * cut is removed at another time; and fdatasync is SQLite's, which takes no notice where it is of a directory: before
 * the repair takes effect all of it is synced again, by fsync. */
static bool counts(const struct __ptrace_syscall_info *info)
{
    switch (info->entry.nr) {
    case SYS_write:
        return info->entry.args[0] != STDERR_FILENO;
    case SYS_pwrite64:
    case SYS_fsync:
#ifdef SYS_rename
    case SYS_rename:
    case SYS_mkdir:
#endif
    case SYS_renameat:
    case SYS_renameat2:
    case SYS_mkdirat:
        return true;
    default:
        return false;
    }
}

static bool is_of_index(pid_t process, const struct __ptrace_syscall_info *info)
{
    static const char ending[] = "-shm";
    char link[64], path[PATH_SIZE];
    snprintf(link, sizeof link, "/proc/%d/fd/%u", (int)process, (unsigned)info->entry.args[0]);
    ssize_t length = readlink(link, path, sizeof path);
    return info->entry.nr == SYS_pwrite64 && length > (ssize_t)strlen(ending) &&
           memcmp(path + length - strlen(ending), ending, strlen(ending)) == 0;
}

/* Where the registers of NT_PRSTATUS have a call's result. */
#if defined __aarch64__
#define RESULT 0
#else
#define RESULT 10 /* rax */
#define CALL 15   /* orig_rax */
#endif

static bool set_register(pid_t process, size_t at, uint64_t value)
{
    uint64_t registers[64];
    struct iovec words = {registers, sizeof registers};
    if (ptrace(PTRACE_GETREGSET, process, NT_PRSTATUS, &words) != 0)
        return false;
    registers[at] = value;
    return ptrace(PTRACE_SETREGSET, process, NT_PRSTATUS, &words) == 0;
}

/* The call that the process has just begun is not made. Returns whether that can be done: on x86-64 and ARM. */
static bool skip_call(pid_t process)
{
#if defined __x86_64__
    return set_register(process, CALL, UINT64_MAX);
#elif defined __aarch64__
    int none = -1;
    struct iovec word = {&none, sizeof none};
    return ptrace(PTRACE_SETREGSET, process, NT_ARM_SYSTEM_CALL, &word) == 0;
#else
    (void)process;
    return false;
#endif
}

/* Whether the new database has a log: that is so only while an empty one is made. What cannot be copied out of the log
 * then stays in it, and is copied later. */
static bool has_log(void)
{
    char path[PATH_SIZE];
    struct stat status;
    path_join(path, state, "repairing/new.db-wal");
    return stat(path, &status) == 0 && status.st_size > 0;
}

static enum phase phase_now(void)
{
    if (exists("repairing"))
        return has_log() ? PHASE_BEFORE : PHASE_BUILDING;
    return exists("damaged") && !exists("repaired") ? PHASE_BEFORE : PHASE_AFTER;
}

static void open_traced(void)
{
    struct error why;
    if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0)
        _exit(1);
    sqlite3_soft_heap_limit64(HEAP);
    kill(getpid(), SIGSTOP);
    struct queue *queue = queue_open(&made.config, &why);
    queue_close(queue);
    _exit(queue != NULL ? 0 : REFUSED);
}

/* Opens the queue in a process whose n-th call that counts fails. The calls up to there, or to the end, are noted in
 * calls. Returns how many they are; *code: how the process ended. */
static unsigned open_failing(unsigned n, int *code)
{
    unsigned count = 0;
    bool fails = false;
    int status = 0;
    fflush(NULL);
    pid_t child = fork();
    CU_ASSERT_TRUE_FATAL(child >= 0);
    if (child == 0)
        open_traced();
    CU_ASSERT_EQUAL_FATAL(waitpid(child, &status, 0), child);
    ptrace(PTRACE_SETOPTIONS, child, NULL, PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL);
    while (WIFSTOPPED(status)) {
        struct __ptrace_syscall_info info = {.op = PTRACE_SYSCALL_INFO_NONE};
        ptrace(PTRACE_GET_SYSCALL_INFO, child, sizeof info, &info);
        if (info.op == PTRACE_SYSCALL_INFO_ENTRY && counts(&info) && count < n && count < CALLS_MOST) {
            calls[count++] = (struct call){info.entry.nr, phase_now(), is_of_index(child, &info)};
            fails = count == n && check(skip_call(child), "a call can be made to fail");
        } else if (info.op == PTRACE_SYSCALL_INFO_EXIT && fails) {
            fails = false;
            check(set_register(child, RESULT, (uint64_t)-EIO), "a call can be made to fail");
        }
        ptrace(PTRACE_SYSCALL, child, NULL, NULL);
        if (waitpid(child, &status, 0) != child)
            break;
    }
    *code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    return count;
}

/* ---- what must be so then ---- */

static void check_untouched(unsigned n, int code)
{
    check(code == REFUSED, "call %u (%d) fails, and so does the repair: %d", n, (int)calls[n - 1].number, code);
    check(is_as_it_was(state) && exists("damaged"), "call %u: the old one is as it was, and still to be repaired", n);
    check(!exists("repairing") && !exists("repaired"), "call %u: of the new one nothing is left", n);
}

static void check_repaired(unsigned n)
{
    bool any;
    struct error why = {0};
    struct loss loss;
    struct queue *queue = queue_open(&made.config, &why);
    check(queue != NULL, "call %u: it can be opened then: %s", n, why.text);
    if (queue == NULL)
        return;
    int count = queue_list(queue, "one", 0, EVENTS + 1, 1 << 30, &found, &why);
    check(count == EVENTS - 1, "call %u: %d events are there", n, count);
    for (size_t i = 0; i < found.count; i++)
        CU_ASSERT_EQUAL(found.at[i].length, BODY);
    queue_close(queue);
    check(loss_read(state, "one", &loss, &any, &why) && any, "call %u: the loss is noted", n);
    check(is_kept(), "call %u: what was damaged is kept as it was", n);
    check(!exists("repairing") && !exists("repaired") && !exists("damaged"), "call %u: nothing is left over", n);
}

static void try_call(unsigned n)
{
    char name[32];
    int code;
    snprintf(name, sizeof name, "call-%u", n);
    copy_original(name);
    CU_ASSERT_EQUAL(open_failing(n, &code), n);
    if (calls[n - 1].phase == PHASE_BUILDING && (code != 0 || !calls[n - 1].of_index))
        check_untouched(n, code);
    else
        check_repaired(n);
    temporary_remove(state);
}

/* Not each write of a page; and afterwards only what moves the files. */
static bool is_tried(const struct call *call, unsigned n)
{
    switch (call->phase) {
    case PHASE_BEFORE:
        return false;
    case PHASE_BUILDING:
        return call->number != SYS_pwrite64 || n % PAGES_STRIDE == 0;
    case PHASE_AFTER:
        break;
    }
    return call->number != SYS_pwrite64 && call->number != SYS_fsync;
}

static void a_write_that_fails_is_a_repair_that_failed(void)
{
    int code;
    unsigned tried[3] = {0};
    make_original();
    copy_original("counted");
    unsigned count = open_failing(CALLS_MOST, &code);
    CU_ASSERT_EQUAL(code, 0);
    check_repaired(count);
    temporary_remove(state);
    for (unsigned n = 1; n <= count; n++) {
        const struct call call = calls[n - 1];
        if (is_tried(&call, n)) {
            tried[call.phase]++;
            try_call(n);
        }
    }
    printf("(%u and %u of %u calls) ", tried[PHASE_BUILDING], tried[PHASE_AFTER], count);
    CU_ASSERT_TRUE(tried[PHASE_BUILDING] > 10 && tried[PHASE_AFTER] >= 4);
}

static int set_up(void)
{
    return queue_rig_set_up_quiet(&made, directory, state);
}

static int tear_down(void)
{
    return queue_rig_tear_down_quiet(directory, &found);
}

void suite_queue_repair_writes(void)
{
    static CU_TestInfo tests[] = {
        {"a write that fails is a repair that failed", a_write_that_fails_is_a_repair_that_failed},
        CU_TEST_INFO_NULL,
    };
    suite_add("queue repair: writes", set_up, tear_down, tests);
}
