/* What commands do to the state directory: as its owner, without making it, and without holding the queue while they
 * print; and what `check` says of it. */
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "commands/commands.h"
#include "config/keyring.h"
#include "queue/inspect.h"
#include "telemetry/telemetry.h"
#include "tests/suites.h"
#include "tests/support/commands_made.h"
#include "tests/support/commands_run.h"
#include "tests/support/temporary.h"
#include "webhook/webhook.h"

#define PATIENCE_MS 60000

static struct ran ran;
static char body[512];

#define HAS(text) CU_ASSERT_PTR_NOT_NULL(strstr(ran.out, text))
#define HAS_NOT(text) CU_ASSERT_PTR_NULL(strstr(ran.out, text))

/* ---- whose files ---- */

static const char *const files[] = {"queue.db", "queue.db-wal", "write.lock", "open.lock", "reserve"};

static bool is_users(const char *name, struct user user)
{
    char path[PATH_SIZE];
    struct stat status;
    path_join(path, made_state(), name);
    return stat(path, &status) == 0 && status.st_uid == user.uid;
}

/* In a child, for there is no way back. Returns how many of its checks failed. */
static int run_as_root(struct user user)
{
    gid_t groups[8];
    int failures = 0;
    RUN(&ran, NULL, "queue", "status");
    failures += ran.code != 0;
    failures += geteuid() != user.uid || getuid() != user.uid || getegid() != user.gid;
    failures += setuid(0) == 0; /* for good */
    failures += getgroups(8, groups) != 1 || groups[0] != user.gid;
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        failures += !is_users(files[i], user);
    return failures;
}

static void root_takes_on_the_owner(void)
{
    struct user user = user_of_children();
    char path[PATH_SIZE];
    int status = -1;
    if (geteuid() != 0 || user.uid == 0)
        return; /* nobody can show it */
    made_begin();
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        path_join(path, made_state(), files[i]);
        CU_ASSERT_EQUAL(unlink(path), 0);
    }
    path_join(path, made_state(), "queue.db-shm");
    CU_ASSERT_EQUAL(unlink(path), 0);
    CU_ASSERT_EQUAL(chown(made_state(), user.uid, user.gid), 0);
    fflush(NULL);
    pid_t child = fork();
    if (child == 0)
        _exit(run_as_root(user));
    CU_ASSERT_EQUAL(waitpid(child, &status, 0), child);
    CU_ASSERT_EQUAL(status, 0);
    CU_ASSERT_EQUAL(geteuid(), 0);
    made_end();
}

/* In a child, as above: neither root nor the owner. */
static int run_as_another(void)
{
    int failures = setgid(1) != 0 || setuid(1) != 0;
    RUN(&ran, NULL, "queue", "status");
    failures += ran.code != 4 || strstr(ran.err, "if it runs as root, run this as root") == NULL;
    return failures;
}

static void another_user_is_told_whose_it_is(void)
{
    int status = -1;
    if (geteuid() != 0)
        return; /* nobody can show it */
    made_begin();
    CU_ASSERT_EQUAL(chown(getenv("CLOSECRM_CONFIG"), 1, 1), 0);
    fflush(NULL);
    pid_t child = fork();
    if (child == 0)
        _exit(run_as_another());
    CU_ASSERT_EQUAL(waitpid(child, &status, 0), child);
    CU_ASSERT_EQUAL(status, 0);
    made_end();
}

static void no_command_makes_the_directory(void)
{
    static const char *const commands[][4] = {
        {"queue", "status"}, {"queue", "list"},           {"queue", "check"},       {"queue", "set-aside", "1"},
        {"dead", "list"},    {"dead", "replay", "--all"}, {"backup", "/tmp/unmade"}};
    struct stat status;
    made_begin();
    temporary_remove(made_state());
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        run_command(&ran, NULL, commands[i]);
        CU_ASSERT_EQUAL(ran.code, 4);
        CU_ASSERT_STRING_EQUAL(ran.out, "");
        CU_ASSERT_PTR_NOT_NULL(strstr(ran.err, "there is no state directory "));
        const char *back = strstr(ran.err, "put it back");
        CU_ASSERT_PTR_NOT_NULL_FATAL(back); /* before anything else: a new one would have no keys */
        CU_ASSERT_PTR_NOT_NULL(strstr(back, "it makes it when it starts"));
        CU_ASSERT_EQUAL(strstr(back, "install -d -m 700 -o USER") != NULL, geteuid() == 0);
    }
    RUN(&ran, NULL, "check");
    HAS("there is no state directory ");
    HAS_NOT("The queue needs attention");
    RUN(&ran, NULL, "check", "--offline");
    CU_ASSERT_EQUAL(ran.code, 0);
    HAS("put it back");
    CU_ASSERT_EQUAL(stat(made_state(), &status), -1);
    made_end();
}

/* ---- pagers ---- */

/* Half of them become dead letters. */
static void fill_queue(void)
{
    enum { EVENTS = 600 };
    static struct verdict verdicts[EVENTS / 2];
    struct error why;
    struct queue *queue = made_open();
    made_event(body, "lead", "updated", "ev_1", "lead_1");
    for (uint64_t i = 0; i < EVENTS; i++)
        CU_ASSERT_EQUAL(queue_append(queue, "one", body, strlen(body), clock_now() + PATIENCE_MS, &why), QUEUE_STORED);
    for (uint64_t i = 0; i < EVENTS / 2; i++)
        verdicts[i] = (struct verdict){.id = i + 1, .kind = VERDICT_DEAD, .reason = "no"};
    CU_ASSERT_TRUE(queue_claim(queue, &why));
    CU_ASSERT_TRUE(queue_settle(queue, "one", verdicts, EVENTS / 2, &why));
    made_close(queue);
}

/* Whether the process sleeps, as /proc tells it. */
static bool is_asleep(pid_t pid)
{
    char path[64], text[256] = "";
    snprintf(path, sizeof path, "/proc/%ld/stat", (long)pid);
    FILE *file = fopen(path, "re");
    size_t n = file == NULL ? 0 : fread(text, 1, sizeof text - 1, file);
    if (file != NULL)
        fclose(file);
    text[n] = '\0';
    const char *name_ends = strrchr(text, ')');
    return name_ends != NULL && name_ends[1] == ' ' && name_ends[2] == 'S';
}

/* Waits until the pipe takes no further line, and its writer sleeps over it. */
static bool wait_blocked(pid_t pid, int pipe_end)
{
    int capacity = fcntl(pipe_end, F_GETPIPE_SZ), held = 0;
    for (moment deadline = clock_now() + PATIENCE_MS; clock_now() < deadline; poll(NULL, 0, 5)) {
        if (ioctl(pipe_end, FIONREAD, &held) == 0 && held > capacity / 2 && is_asleep(pid))
            return true;
    }
    return false;
}

/* A checkpoint that empties the log succeeds only while no reader and no writer is in any transaction. */
static bool queue_is_free(void)
{
    char path[PATH_SIZE];
    sqlite3 *database = NULL;
    int log = -1, copied = -1;
    path_join(path, made_state(), "queue.db");
    bool good = sqlite3_open_v2(path, &database, SQLITE_OPEN_READWRITE, NULL) == SQLITE_OK &&
                sqlite3_exec(database, "SELECT count(*) FROM source", NULL, NULL, NULL) == SQLITE_OK &&
                sqlite3_wal_checkpoint_v2(database, "main", SQLITE_CHECKPOINT_TRUNCATE, &log, &copied) == SQLITE_OK;
    sqlite3_close(database);
    return good && log == 0;
}

static void a_pager_left_open_holds_nothing(void)
{
    static const char *const commands[4][3] = {
        {"queue", "list"}, {"queue", "list", "--json"}, {"dead", "list"}, {"dead", "list", "--json"}};
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        int ends[2], status = -1;
        made_begin();
        fill_queue();
        CU_ASSERT_EQUAL_FATAL(pipe2(ends, O_CLOEXEC), 0);
        CU_ASSERT_TRUE(fcntl(ends[1], F_SETPIPE_SZ, 4096) >= 4096);
        fflush(NULL);
        pid_t child = fork();
        CU_ASSERT_TRUE_FATAL(child >= 0);
        if (child == 0) {
            close(ends[0]);
            const char *arguments[] = {commands[i][0], commands[i][1], commands[i][2], NULL};
            run_command_into(&ran, NULL, ends[1], arguments);
            _exit(ran.code);
        }
        close(ends[1]);
        CU_ASSERT_TRUE(wait_blocked(child, ends[0]));
        made_append("two", body); /* so that there is something to copy, and a reader would be in the way */
        CU_ASSERT_TRUE(queue_is_free());
        made_settle("one", body, NULL); /* accepting and settling go on */
        CU_ASSERT_EQUAL(made_counts("one").delivered, 1);
        CU_ASSERT_TRUE(wait_blocked(child, ends[0])); /* it is still there */
        close(ends[0]);                               /* the pager is closed: the command ends */
        CU_ASSERT_EQUAL(waitpid(child, &status, 0), child);
        CU_ASSERT_TRUE(WIFEXITED(status));
        made_end();
    }
}

/* ---- check ---- */

static void check_tells_how_the_queue_stands(void)
{
    made_begin();
    made_append("one", made_event(body, "lead", "updated", "ev_1", "lead_1"));
    made_settle("two", "poison", "no");
    RUN(&ran, NULL, "check");
    HAS("\nstate directory ");
    HAS("  waiting: 1, the oldest since ");
    check_waits_seconds(&ran, "\n  forwarding: no process forwards now\n");
    HAS("  last delivered: never\n");
    HAS("  last cron: never\n");
    HAS(made_advice("  source two: 1 dead letter is kept\n    see why, mend that, and replay them: ",
                    "dead list --source two\n"));
    HAS_NOT("The queue needs attention");
    struct queue *queue = made_open();
    struct error why = {0};
    struct notes notes = {.tries = 1, .operator_must_act = true, .reason = "the data plane answered 401"};
    CU_ASSERT_TRUE(queue_note(queue, "one", &notes, true, &why));
    CU_ASSERT_TRUE(queue_claim(queue, &why));
    CU_ASSERT_TRUE(cron_mark_write(made_state(), 0, ""));
    RUN(&ran, NULL, "check");
    HAS("  last cron: 20");
    CU_ASSERT_PTR_NULL(strstr(strstr(ran.out, "  last cron: 20") + 14, "cron: ")); /* once */
    HAS("  WRONG: source one: 1 event waits until you act, for the data plane refuses what is sent: the data plane "
        "answered 401\n    mend write_key");
    HAS_NOT("no process forwards now");
    HAS("The queue needs attention");
    CU_ASSERT_EQUAL(ran.code, 1);
    made_close(queue);
    made_end();
}

/* Received long ago, and nothing forwards: but what was tried and waits for its next attempt is not late. */
static void check_tells_when_nothing_forwards(void)
{
    char path[PATH_SIZE];
    sqlite3 *database = NULL;
    made_begin();
    made_append("one", made_event(body, "lead", "updated", "ev_1", "lead_1"));
    path_join(path, made_state(), "queue.db");
    CU_ASSERT_EQUAL(sqlite3_open_v2(path, &database, SQLITE_OPEN_READWRITE, NULL), SQLITE_OK);
    CU_ASSERT_EQUAL(sqlite3_exec(database, "UPDATE event_1 SET received = received - 600000", NULL, NULL, NULL),
                    SQLITE_OK);
    sqlite3_close(database);
    RUN(&ran, NULL, "check");
    HAS("  waiting: 1, the oldest since 10 min\n");
    HAS("  WRONG: source one: events wait and nothing forwards them, the oldest for 10 minutes\n");
    HAS("The queue needs attention");

    struct queue *queue = made_open();
    struct error why = {0};
    struct notes notes = {.tries = 7, .next_ms = clock_unix_ms() + 60000, .reason = "no connection"};
    CU_ASSERT_TRUE(queue_note(queue, "one", &notes, true, &why));
    made_close(queue);
    RUN(&ran, NULL, "check");
    HAS("  source one: the data plane takes nothing: 7 attempts failed, and it is tried again by itself; the last: no "
        "connection\n");
    HAS_NOT("The queue needs attention");
    made_end();
}

/* A moment after the program was stopped: it is not late yet, but all is not well either. */
static void what_waits_alone_is_told_at_once(void)
{
    static const char words[] = "what waits is not forwarded now";
    char text[PATH_SIZE + 128];
    struct error why = {0};
    made_begin();
    snprintf(text, sizeof text, "data_plane_url = file://%s/out\n[source one]\nwrite_key = k\n", made_state());
    made_configure(text);
    RUN(&ran, NULL, "check");
    HAS("\nNothing is wrong\n");
    CU_ASSERT_EQUAL(ran.code, 0);
    made_append("one", made_event(body, "lead", "updated", "ev_1", "lead_1"));
    RUN(&ran, NULL, "check");
    HAS(words);
    HAS("\nEvents wait, and no process forwards them now");
    HAS_NOT("Nothing is wrong");
    RUN(&ran, NULL, "queue", "status");
    HAS(words);
    struct queue *queue = made_open();
    CU_ASSERT_TRUE(queue_claim(queue, &why));
    RUN(&ran, NULL, "queue", "status");
    HAS_NOT(words);
    made_close(queue);
    made_end();
}

/* What the processes of the state directory have counted: a queue that takes nothing any more. */
static void commands_see_what_was_refused(void)
{
    static const char *const name = "one";
    static const char words[] = "ago an event was refused for want of room, and none was accepted since";
    struct error why = {0};
    made_begin();
    made_append("one", made_event(body, "lead", "updated", "ev_1", "lead_1"));
    struct counters *counters = counters_open(made_state(), &name, 1, &why);
    CU_ASSERT_PTR_NOT_NULL_FATAL(counters);
    counters_refused(counters_of(counters, name), REFUSED_QUEUE_FULL, clock_unix_ms() + 1);
    counters_close(counters);
    RUN(&ran, NULL, "check");
    HAS("  WRONG: source one: ");
    HAS(words);
    CU_ASSERT_EQUAL(ran.code, 1);
    RUN(&ran, NULL, "cron", "--seconds", "1");
    CU_ASSERT_PTR_NOT_NULL(strstr(ran.err, words));
    CU_ASSERT_EQUAL(ran.code, 1);
    made_end();
}

/* What check advises for dead letters of a source that is not configured works as it stands there. */
static void letters_without_a_source_can_be_replayed(void)
{
    made_begin();
    made_settle("one", made_event(body, "lead", "updated", "ev_1", "lead_1"), "no");
    made_configure(MADE_WITHOUT_ONE);
    RUN(&ran, NULL, "dead", "replay", "--all");
    CU_ASSERT_EQUAL(ran.code, 1);
    HAS("0 dead letters replayed; 1 is left alone, for its source is not in the configuration: configure source one "
        "again, or: ");
    HAS(made_advice("again, or: ", "queue move one NEW\n"));
    CU_ASSERT_EQUAL(made_counts("one").waiting, 0);
    RUN(&ran, NULL, "check");
    HAS_NOT("dead replay --source one");
    HAS(made_advice("", "queue move one NEW && "));
    HAS(made_advice(" && ", "dead replay --source NEW\n"));
    RUN(&ran, NULL, "queue", "move", "one", "two");
    CU_ASSERT_EQUAL(ran.code, 0);
    RUN(&ran, NULL, "dead", "replay", "--source", "two");
    CU_ASSERT_EQUAL(ran.code, 0);
    CU_ASSERT_EQUAL(made_counts("two").waiting, 1);
    made_end();
}

/* What it was before is over in the very check that finds it mended. */
static void what_check_finds_mended_is_not_wrong(void)
{
    char text[PATH_SIZE + 128];
    struct error why = {0};
    struct notes notes = {.tries = 1, .operator_must_act = true, .reason = "the data plane answered 401"};
    made_begin();
    snprintf(text, sizeof text, "data_plane_url = file://%s/out\n[source one]\nwrite_key = k\n", made_state());
    made_configure(text);
    made_append("one", made_event(body, "lead", "updated", "ev_1", "lead_1"));
    struct queue *queue = made_open();
    CU_ASSERT_TRUE(queue_claim(queue, &why));
    CU_ASSERT_TRUE(queue_note(queue, "one", &notes, true, &why));
    RUN(&ran, NULL, "check");
    CU_ASSERT_EQUAL(ran.code, 0);
    HAS("  source one: the data plane takes the write key again");
    HAS_NOT("until you act");
    HAS("\nNothing is wrong\n");
    made_close(queue);
    made_settle("one", "poison", "no");
    RUN(&ran, NULL, "check");
    CU_ASSERT_EQUAL(ran.code, 0); /* as cron */
    HAS("1 dead letter is kept");
    HAS("\nIt works, but look at what stands above\n");
    made_end();
}

/* What check advises for events that may be gone works as it stands there, also without an API key. */
static void a_loss_can_be_left_so(void)
{
    const struct loss loss = {.until_ms = clock_unix_ms(), .words = "the database was gone"};
    struct loss found;
    struct error why = {0};
    bool any = true;
    made_begin();
    CU_ASSERT_TRUE(loss_note(made_state(), "one", &loss, &why));
    RUN(&ran, NULL, "check");
    CU_ASSERT_EQUAL(ran.code, 1);
    HAS(made_advice("`", "reconcile --source one --from 0s` leaves it so\n"));
    HAS_NOT("rm '");
    RUN(&ran, NULL, "reconcile", "--source", "one", "--from", "0s");
    CU_ASSERT_EQUAL(ran.code, 0);
    CU_ASSERT_TRUE(loss_read(made_state(), "one", &found, &any, &why) && !any);
    RUN(&ran, NULL, "check");
    HAS_NOT("may be gone");
    made_end();
}

static void a_locked_source_has_no_address_with_a_write_key(void)
{
    struct error why = {0};
    made_begin();
    CU_ASSERT_TRUE(signed_note(made_state(), "one", "whsub_1", &why));
    RUN(&ran, NULL, "check");
    HAS("  address for Close: https://YOUR-SITE/WHERE-IT-IS-MOUNTED/one\n");
    HAS("/two?writeKey=");
    HAS("  WRONG: source one: nothing is let in, and Close keeps its events meanwhile, for 72 hours: source one takes "
        "only what Close has signed");
    made_end();
}

static void check_tells_of_events_without_a_source(void)
{
    made_begin();
    made_append("one", made_event(body, "lead", "updated", "ev_1", "lead_1"));
    made_configure(MADE_WITHOUT_ONE);
    RUN(&ran, NULL, "check");
    CU_ASSERT_EQUAL(ran.code, 1);
    HAS("  WRONG: source one: 1 event waits for a source that is not in the configuration");
    HAS(made_advice("", "queue move one NEW\n"));
    HAS("The queue needs attention");

    RUN(&ran, NULL, "check", "--offline"); /* a new configuration may well leave a source out */
    CU_ASSERT_EQUAL(ran.code, 0);
    made_end();
}

static void offline_check_changes_nothing(void)
{
    char path[PATH_SIZE];
    struct stat before, after;
    made_begin();
    path_join(path, made_state(), "damaged"); /* whoever opens the queue would repair it */
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    CU_ASSERT_TRUE(fd >= 0);
    close(fd);
    CU_ASSERT_EQUAL(stat(made_state(), &before), 0);
    RUN(&ran, NULL, "check", "--offline");
    CU_ASSERT_EQUAL(ran.code, 0);
    CU_ASSERT_EQUAL(stat(made_state(), &after), 0);
    CU_ASSERT_EQUAL(access(path, F_OK), 0);
    CU_ASSERT_EQUAL(before.st_mtim.tv_sec, after.st_mtim.tv_sec);
    CU_ASSERT_EQUAL(before.st_mtim.tv_nsec, after.st_mtim.tv_nsec);

    CU_ASSERT_EQUAL(chmod(made_state(), 0755), 0);
    RUN(&ran, NULL, "check", "--offline");
    CU_ASSERT_EQUAL(ran.code, 1);
    HAS("  WRONG: others can get into it, where events wait: chmod 700 '");
    RUN(&ran, NULL, "check");
    CU_ASSERT_EQUAL(ran.code, 1);
    HAS("chmod 700 '");
    made_end();
}

void suite_commands_state(void)
{
    static CU_TestInfo tests[] = {
        {"root takes on the owner", root_takes_on_the_owner},
        {"another user is told whose it is", another_user_is_told_whose_it_is},
        {"no command makes the directory", no_command_makes_the_directory},
        {"a pager left open holds nothing", a_pager_left_open_holds_nothing},
        {"check tells how the queue stands", check_tells_how_the_queue_stands},
        {"check tells when nothing forwards", check_tells_when_nothing_forwards},
        {"what waits alone is told at once", what_waits_alone_is_told_at_once},
        {"commands see what was refused", commands_see_what_was_refused},
        {"letters without a source can be replayed", letters_without_a_source_can_be_replayed},
        {"a loss can be left so", a_loss_can_be_left_so},
        {"what check finds mended is not wrong", what_check_finds_mended_is_not_wrong},
        {"a locked source has no address with a write key", a_locked_source_has_no_address_with_a_write_key},
        {"check tells of events without a source", check_tells_of_events_without_a_source},
        {"an offline check changes nothing", offline_check_changes_nothing},
        CU_TEST_INFO_NULL,
    };
    suite_add("commands: state directory", NULL, NULL, tests);
}
