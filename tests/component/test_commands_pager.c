/* A pager that is left open holds nothing up: a command whose output nobody takes has let go of the queue, so that a
 * repair can have it, and goes on where it was once somebody reads. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "tests/suites.h"
#include "tests/support/check.h"
#include "tests/support/commands_made.h"
#include "tests/support/commands_run.h"
#include "tests/support/site.h"

#define EVENTS 48
#define FILLER ((size_t)200000) /* so that several pages are read */
#define PIPE_BYTES 4096
#define PATIENCE_MS 60000

/* A command that writes into a pipe. */
struct paged {
    pid_t pid;
    int out;
};

static bool paged_start(struct paged *paged, const char *group, const char *word)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0 || fcntl(ends[1], F_SETPIPE_SZ, PIPE_BYTES) < 0)
        return false;
    paged->out = ends[0];
    paged->pid = fork();
    if (paged->pid == 0) {
        dup2(ends[1], STDOUT_FILENO);
        const char *program = program_under_test();
        char path[4096];
        snprintf(path, sizeof path, "%s", program);
        unsetenv("CLOSECRM_PROGRAM"); /* it would be a wrong key of the configuration */
        execl(path, path, group, word, "--json", (char *)NULL);
        _exit(127);
    }
    close(ends[1]);
    return paged->pid > 0;
}

/* Waits until the pipe is full, so that the command cannot go on. */
static bool is_stuck(const struct paged *paged)
{
    int bytes = 0;
    for (moment deadline = clock_now() + PATIENCE_MS; bytes < PIPE_BYTES && clock_now() < deadline; poll(NULL, 0, 5))
        ioctl(paged->out, FIONREAD, &bytes);
    return bytes >= PIPE_BYTES;
}

/* What a repair needs. */
static bool can_be_had_alone(void)
{
    char path[PATH_SIZE];
    path_join(path, made_state(), "open.lock");
    int fd = open(path, O_RDWR | O_CLOEXEC);
    bool had = fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0;
    if (fd >= 0)
        close(fd);
    return had;
}

static size_t count(const char *text, const char *part)
{
    size_t found = 0;
    for (const char *at = text; (at = strstr(at, part)) != NULL; at++)
        found++;
    return found;
}

/* Reads all that it prints, and waits for it. Returns how many rows came; its exit code in *code. */
static size_t paged_end(struct paged *paged, int *code)
{
    struct buffer text = {0};
    char piece[4096];
    ssize_t n;
    int status = 0;
    while ((n = read(paged->out, piece, sizeof piece)) > 0 || (n < 0 && errno == EINTR))
        buffer_append(&text, piece, n > 0 ? (size_t)n : 0);
    buffer_append(&text, "", 1);
    close(paged->out);
    waitpid(paged->pid, &status, 0);
    *code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    size_t rows = text.failed ? 0 : count(text.data, "\"event_id\":");
    buffer_free(&text);
    return rows;
}

static void check_command(const char *group, const char *word)
{
    struct paged paged = {.out = -1};
    int code = -1;
    if (!check(paged_start(&paged, group, word), "%s %s is started", group, word))
        return;
    CU_ASSERT_TRUE(is_stuck(&paged));
    bool had = false; /* it may be reading a page at this moment */
    for (moment deadline = clock_now() + PATIENCE_MS; !had && clock_now() < deadline; poll(NULL, 0, 5))
        had = can_be_had_alone();
    CU_ASSERT_TRUE(had);
    CU_ASSERT_EQUAL(paged_end(&paged, &code), EVENTS);
    CU_ASSERT_EQUAL(code, 0);
}

/* Large events, so that the list has several pages. */
static char *make_event(int number)
{
    struct buffer text = {0};
    char name[32];
    buffer_text(&text, "{\"event\":{\"object_type\":\"lead\",\"action\":\"updated\",\"id\":\"ev_");
    snprintf(name, sizeof name, "%d", number);
    buffer_text(&text, name);
    buffer_text(&text, "\",\"lead_id\":\"lead_1\",\"data\":{\"filler\":\"");
    for (size_t i = 0; i < FILLER / 10; i++)
        buffer_text(&text, "0123456789");
    buffer_text(&text, "\"}}}");
    buffer_append(&text, "", 1);
    CU_ASSERT_FALSE_FATAL(text.failed);
    return text.data;
}

static void fill(struct queue *queue)
{
    struct error why;
    for (int i = 0; i < EVENTS; i++) {
        char *event = make_event(i);
        CU_ASSERT_EQUAL(queue_append(queue, "one", event, strlen(event), clock_now() + PATIENCE_MS, &why),
                        QUEUE_STORED);
        free(event);
    }
}

static void bury(struct queue *queue)
{
    struct error why;
    struct verdict verdicts[EVENTS];
    for (uint64_t i = 0; i < EVENTS; i++)
        verdicts[i] = (struct verdict){.id = i + 1, .kind = VERDICT_DEAD, .reason = "a trial"};
    CU_ASSERT_TRUE(queue_claim(queue, &why));
    CU_ASSERT_TRUE(queue_settle(queue, "one", verdicts, EVENTS, &why));
}

static void lists_hold_nothing(void)
{
    made_begin();
    struct queue *queue = made_open();
    fill(queue);
    made_close(queue);
    check_command("queue", "list");
    queue = made_open();
    bury(queue);
    made_close(queue);
    check_command("dead", "list");
    made_end();
}

/* Between pages the queue is closed, and opened again by what is asked next. */
static void what_rests_is_there_again(void)
{
    made_begin();
    made_append("one", "x");
    struct queue *queue = made_open();
    struct counts counts = {0};
    struct error why;
    CU_ASSERT_FALSE(can_be_had_alone());
    queue_rest(queue);
    queue_rest(queue);
    CU_ASSERT_TRUE(can_be_had_alone());
    CU_ASSERT_TRUE(queue_count(queue, "one", &counts, &why));
    CU_ASSERT_EQUAL(counts.waiting, 1);
    CU_ASSERT_FALSE(can_be_had_alone());
    queue_rest(queue);
    made_close(queue);
    made_end();
}

/* As `| head` does it: no word about a broken pipe. */
static void a_pager_that_is_closed_is_no_fault(void)
{
    static struct ran ran;
    static const char *const commands[][4] = {
        {"queue", "list"}, {"queue", "list", "--json"}, {"dead", "list"}, {"queue", "status"}, {"check", "--offline"}};
    char body[512];
    made_begin();
    made_append("one", made_event(body, "lead", "updated", "ev_1", "lead_1"));
    made_settle("two", made_event(body, "lead", "updated", "ev_2", "lead_2"), "no");
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        int ends[2];
        CU_ASSERT_EQUAL_FATAL(pipe2(ends, O_CLOEXEC), 0);
        close(ends[0]);
        run_command_into(&ran, NULL, ends[1], commands[i]);
        CU_ASSERT_EQUAL(ran.code, 0);
        CU_ASSERT_STRING_EQUAL(ran.err, "");
    }
    made_end();
}

void suite_commands_pager(void)
{
    static CU_TestInfo tests[] = {
        {"lists hold nothing", lists_hold_nothing},
        {"what rests is there again", what_rests_is_there_again},
        {"a pager that is closed is no fault", a_pager_that_is_closed_is_no_fault},
        CU_TEST_INFO_NULL,
    };
    suite_add("commands: pager", NULL, NULL, tests);
}
