/* Repairing a damaged queue: killed at any of its calls to the kernel, on a disk that fails at any write, by several
 * processes at once, without room. Whatever happens, all events that could be read are there in the end. */
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <sqlite3.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "queue/inspect.h"
#include "tests/suites.h"
#include "tests/support/check.h"
#include "tests/support/disk_vfs.h"
#include "tests/support/repair_rig.h"
#include "tests/support/small_disk.h"
#include "tests/support/temporary.h"

#define SETTLED 1500 /* events that are in the database itself */
#define IN_LOG 700   /* and those that are only in its log */
#define OPENERS 6
#define KILLED_ALL 40 /* the last calls of a repair: it is killed at each of them */
#define KILLED_STRIDE 9

static struct repair_rig rig;
static char damaged[PATH_SIZE];
static uint64_t readable[SETTLED + IN_LOG];
static int readable_count, rows_in_pages;

/* A queue with events in the database, three pages of which are spoilt, and in its log. */
static void make_damaged(void)
{
    long pages[3];
    path_join(damaged, rig.directory, "damaged");
    repair_rig_use(&rig, "damaged");
    queue_close(repair_rig_open(&rig));
    repair_rig_fill(damaged, SETTLED, true);
    for (int i = 0; i < 3; i++) /* before the last of them is a good one: it must not be passed over */
        pages[i] = repair_rig_page(damaged, "event_1", "pagetype = 'leaf'", i < 2 ? i : 3);
    repair_rig_fill(damaged, IN_LOG, false);
    for (int i = 0; i < 3; i++)
        rows_in_pages += repair_rig_spoil(damaged, pages[i], 0x55);
}

static void copy_damaged(const char *name)
{
    static const char *const files[] = {"queue.db", "queue.db-wal"};
    char from[PATH_SIZE];
    repair_rig_use(&rig, name);
    CU_ASSERT_EQUAL_FATAL(mkdir(rig.state, 0700), 0);
    CU_ASSERT_TRUE(temporary_write(rig.state, "reserve", 0600, "", 0)); /* no 1,024 calls for making it */
    for (size_t i = 0; i < 2; i++) {
        path_join(from, damaged, files[i]);
        CU_ASSERT_TRUE_FATAL(temporary_copy(rig.state, files[i], 0600, from));
    }
    repair_rig_mark(&rig);
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
    DIR *listing = opendir(rig.state);
    for (const struct dirent *entry; listing != NULL && (entry = readdir(listing)) != NULL;) {
        if (strncmp(entry->d_name, "damaged-", 8) != 0)
            continue;
        path_join(kept, rig.state, entry->d_name);
        count++;
    }
    if (listing != NULL)
        closedir(listing);
    return count;
}

static bool exists(const char *name)
{
    char path[PATH_SIZE];
    path_join(path, rig.state, name);
    return access(path, F_OK) == 0;
}

/* All readable events are there, what was damaged is kept as it was, and nothing is left over. */
static void check_repaired(const char *when)
{
    static uint64_t ids[SETTLED + IN_LOG];
    char kept[PATH_SIZE];
    struct queue *queue = repair_rig_open(&rig);
    int count = repair_rig_list(&rig, queue, ids, SETTLED + IN_LOG);
    queue_close(queue);
    check(count == readable_count && memcmp(ids, readable, sizeof *ids * (size_t)count) == 0,
          "%s: %d events of %d are there", when, count, readable_count);
    check(find_kept(kept) == 1, "%s: the damaged files are kept once", when);
    check(has_same_bytes(kept, "queue.db") && has_same_bytes(kept, "queue.db-wal"), "%s: as they were", when);
    check(!exists("repairing") && !exists("repaired") && !exists("damaged"), "%s: nothing is left over", when);
}

static int set_up(void)
{
    return repair_rig_set_up(&rig);
}

static int tear_down(void)
{
    return repair_rig_tear_down(&rig);
}

/* ---- the repair itself ---- */

static void all_that_can_be_read_is_there(void)
{
    bool any;
    struct loss loss;
    struct error why = {0};
    make_damaged();
    copy_damaged("once");
    struct queue *queue = repair_rig_open(&rig);
    readable_count = repair_rig_list(&rig, queue, readable, SETTLED + IN_LOG);
    struct counts counts;
    CU_ASSERT_TRUE(queue_count(queue, "one", &counts, &why));
    CU_ASSERT_EQUAL(counts.accepted, SETTLED + IN_LOG);
    queue_close(queue);
    check(readable_count < SETTLED + IN_LOG, "%d can be read", readable_count);
    CU_ASSERT_TRUE_FATAL(readable_count > SETTLED + IN_LOG - 450 && readable_count < SETTLED + IN_LOG);
    CU_ASSERT_EQUAL(readable[readable_count - 1], SETTLED + IN_LOG);
    CU_ASSERT_EQUAL(readable_count, SETTLED + IN_LOG - rows_in_pages);
    check_repaired("once");
    CU_ASSERT_TRUE(loss_read(rig.state, "one", &loss, &any, &why));
    CU_ASSERT_TRUE(any && loss.identities_kept);
    CU_ASSERT_TRUE(loss.from_ms > 0 && loss.from_ms <= loss.until_ms);
    CU_ASSERT_PTR_NOT_NULL(strstr(loss.words, "could not be read"));
    CU_ASSERT_TRUE(loss_read(rig.state, "two", &loss, &any, &why));
    CU_ASSERT_FALSE(any);
    repair_rig_remove(&rig);
}

/* ---- killed ---- */

/* What changes something on disk. */
static const unsigned changing[] = {
    SYS_write,    SYS_pwrite64, SYS_ftruncate, SYS_fsync,     SYS_fdatasync,
    SYS_renameat, SYS_unlinkat, SYS_mkdirat,   SYS_renameat2,
#ifdef SYS_rename
    SYS_rename,   SYS_unlink,   SYS_mkdir,     SYS_rmdir,
#endif
};
#define CHANGING (sizeof changing / sizeof *changing)

/* Only these calls stop the process for its tracer: all others would take most of the time. */
static bool stop_at_changes(void)
{
    struct sock_filter code[2 * CHANGING + 2];
    struct sock_fprog program = {.filter = code};
    program.filter[program.len++] =
        (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
    for (size_t i = 0; i < CHANGING; i++) {
        program.filter[program.len++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, changing[i], 0, 1);
        program.filter[program.len++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRACE);
    }
    program.filter[program.len++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

static void open_traced(void)
{
    struct error why;
    if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0)
        _exit(1);
    kill(getpid(), SIGSTOP); /* until its tracer has said what it wants to see */
    if (!stop_at_changes())
        _exit(1);
    queue_close(queue_open(&rig.made.config, &why));
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
    ptrace(PTRACE_SETOPTIONS, child, NULL, PTRACE_O_TRACESECCOMP | PTRACE_O_EXITKILL);
    while (WIFSTOPPED(status)) {
        if (status >> 8 == (SIGTRAP | PTRACE_EVENT_SECCOMP << 8) && ++calls == n)
            kill(child, SIGKILL);
        else
            ptrace(PTRACE_CONT, child, NULL, NULL);
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
    repair_rig_remove(&rig);
    for (unsigned n = 1; n <= calls; n += n + KILLED_ALL < calls ? KILLED_STRIDE : 1) {
        char name[32];
        snprintf(name, sizeof name, "killed-%u", n);
        copy_damaged(name);
        CU_ASSERT_EQUAL(kill_before(n), n);
        check_repaired(name);
        repair_rig_remove(&rig);
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
    repair_rig_remove(&rig);
}

/* ---- a failing disk ---- */

static void check_not_repaired(unsigned n)
{
    check(has_same_bytes(rig.state, "queue.db") && has_same_bytes(rig.state, "queue.db-wal"),
          "call %u: the old one is as it was", n);
    check(exists("damaged") && !exists("repairing") && !exists("repaired"), "call %u: it is still to be repaired", n);
}

static void check_disk_fails(int code, bool for_ever, unsigned stride)
{
    unsigned n = 1, refused = 0;
    for (bool failed = true; failed; n += stride) {
        char name[32];
        struct error why = {0};
        snprintf(name, sizeof name, "disk-%d-%d-%u", code, for_ever, n);
        copy_damaged(name);
        disk_fail(n, for_ever, code);
        struct queue *queue = queue_open(&rig.made.config, &why);
        failed = disk_failed();
        disk_fail(0, false, SQLITE_OK);
        if (queue == NULL && exists("damaged")) {
            check_not_repaired(n);
            check(why.text[0] != '\0', "call %u: it says why", n);
            refused++;
        }
        queue_close(queue);
        check_repaired(name);
        repair_rig_remove(&rig);
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
    struct error why = {0};
    bool good = small_disk_mount(rig.directory, "12m");
    if (good) {
        copy_damaged("no-room");
        small_disk_fill(rig.directory, "filler");
        good = queue_open(&rig.made.config, &why) == NULL && strstr(why.text, "needs room") != NULL &&
               exists("damaged") && has_same_bytes(rig.state, "queue.db");
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
        struct error why;
        struct queue *queue = NULL;
        for (moment deadline = clock_now() + REPAIR_PATIENCE_MS; queue == NULL && clock_now() < deadline;)
            queue = queue_open(&rig.made.config, &why);
        queue_close(queue);
        _exit(queue != NULL ? 0 : 1);
    }
    for (int i = 0; i < OPENERS; i++) {
        int status = -1;
        CU_ASSERT_EQUAL(waitpid(openers[i], &status, 0), openers[i]);
        check(status == 0, "opener %d gets in", i);
    }
    check_repaired("several");
    repair_rig_remove(&rig);
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
        CU_TEST_INFO_NULL,
    };
    suite_add("queue repair", set_up, tear_down, tests);
}
