/* The log: foreign words made harmless. */
#include "base/clock.h"
#include "base/log.h"
#include "tests/suites.h"
#include "tests/support/temporary.h"

#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <syslog.h>
#include <unistd.h>

static void quotes_control_characters(void)
{
    char out[LOG_QUOTED];
    CU_ASSERT_STRING_EQUAL(log_quote(out, "a\n\"b\\\xc3\xa9", 7), "\"a\\x0a'b\\x5c\\xc3\\xa9\"");
}

static void cuts_at_200_bytes(void)
{
    char out[LOG_QUOTED], text[300];
    memset(text, '\n', sizeof text);
    log_quote(out, text, sizeof text);
    CU_ASSERT_EQUAL(strlen(out), 1 + 200 * 4 + 1 + 3);
}

static void a_reason_stays_whole(void)
{
    char out[LOG_QUOTED], text[2000] = "";
    memset(text, 'a', 1023);
    log_quote_reason(out, text);
    CU_ASSERT_EQUAL(strlen(out), 1 + 1023 + 1);
    memset(text, '\n', sizeof text - 1);
    log_quote_reason(out, text);
    CU_ASSERT_EQUAL(strlen(out), 1 + 260 * 4 + 1 + 3);
    memset(text, 'a', sizeof text - 1);
    text[0] = '\n';
    log_quote_reason(out, text);
    CU_ASSERT(strlen(out) <= 1 + 1040 + 1 + 3 && strcmp(out + strlen(out) - 5, "a\"...") == 0);
}

#define LINES 3000 /* more than a pipe holds */

/* Reads what is in the pipe. Returns how often the text stands there. */
static size_t count_in(int fd, const char *text)
{
    static char all[256 * 1024];
    size_t length = 0, count = 0;
    ssize_t n;
    while (length < sizeof all - 1 && (n = read(fd, all + length, sizeof all - 1 - length)) > 0)
        length += (size_t)n;
    all[length] = '\0';
    for (const char *at = all; (at = strstr(at, text)) != NULL; at++)
        count++;
    return count;
}

/* A pipe in stderr's place that nobody reads. */
static void a_pipe_that_nobody_reads_stops_nobody(void)
{
    int ends[2], before = dup(STDERR_FILENO);
    CU_ASSERT_EQUAL_FATAL(pipe(ends), 0);
    fcntl(ends[0], F_SETFL, O_NONBLOCK);
    dup2(ends[1], STDERR_FILENO);
    close(ends[1]);
    log_open(LEVEL_INFO);
    moment start = clock_now();
    for (int i = 0; i < LINES; i++)
        log_write(LEVEL_ERROR, "msg=line number=%d words=\"so many that they do not all fit\"", i);
    CU_ASSERT(clock_now() - start < 30000);
    size_t taken = count_in(ends[0], "error msg=line ");
    CU_ASSERT(taken > 0 && taken < LINES);
    log_write(LEVEL_ERROR, "msg=flows_again");
    char expected[80];
    snprintf(expected, sizeof expected, "warn msg=log_lines_dropped count=%zu\nerror msg=flows_again\n", LINES - taken);
    CU_ASSERT_EQUAL(count_in(ends[0], expected), 1);
    log_write(LEVEL_ERROR, "msg=and_on");
    CU_ASSERT_EQUAL(count_in(ends[0], "dropped"), 0);
    close(ends[0]);
    log_write(LEVEL_ERROR, "msg=nobody_is_there"); /* EPIPE, and SIGPIPE is ignored */
    dup2(before, STDERR_FILENO);
    close(before);
    log_open(LEVEL_INFO);
}

/* systemd says of which socket it reads with JOURNAL_STREAM; a child of the service may have another stderr. */
static void the_journal_is_told_priorities(void)
{
    char text[512] = "", stream[64];
    int ends[2], before = dup(STDERR_FILENO);
    struct stat status;
    CU_ASSERT_EQUAL_FATAL(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    dup2(ends[1], STDERR_FILENO);
    close(ends[1]);
    fstat(STDERR_FILENO, &status);
    snprintf(stream, sizeof stream, "%ju:%ju", (uintmax_t)status.st_dev, (uintmax_t)status.st_ino);
    setenv("JOURNAL_STREAM", stream, 1);
    log_open(LEVEL_DEBUG);
    log_write(LEVEL_ERROR, "msg=a");
    log_write(LEVEL_WARN, "msg=b");
    log_write(LEVEL_INFO, "msg=c");
    log_write(LEVEL_DEBUG, "msg=d");
    snprintf(stream, sizeof stream, "%ju:%ju", (uintmax_t)status.st_dev, (uintmax_t)status.st_ino + 1);
    setenv("JOURNAL_STREAM", stream, 1);
    log_open(LEVEL_INFO);
    log_write(LEVEL_ERROR, "msg=e");
    unsetenv("JOURNAL_STREAM");
    dup2(before, STDERR_FILENO);
    close(before);
    log_open(LEVEL_INFO);
    CU_ASSERT(read(ends[0], text, sizeof text - 1) > 0);
    CU_ASSERT_STRING_EQUAL(text, "<3>error msg=a\n<4>warn msg=b\n<6>info msg=c\n<7>debug msg=d\nerror msg=e\n");
    close(ends[0]);
}

/* The system's log: a socket that nobody reads. */
static void a_daemon_that_takes_nothing_stops_nobody(void)
{
    char path[PATH_SIZE], text[512] = "";
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    CU_ASSERT_TRUE_FATAL(temporary_make(path));
    snprintf(address.sun_path, sizeof address.sun_path, "%.90s/log", path);
    int daemon = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    CU_ASSERT_EQUAL_FATAL(bind(daemon, (const struct sockaddr *)&address, sizeof address), 0);
    log_syslog_open(address.sun_path);
    for (int i = 0; i < LINES; i++)
        log_syslog_write(LOG_ERR, "error msg=line", 14);
    int taken = 0;
    for (; recv(daemon, text, sizeof text - 1, 0) > 0; taken++)
        CU_ASSERT_PTR_NOT_NULL(strstr(text, "]: error msg=line"));
    CU_ASSERT(taken > 0 && taken < LINES);
    CU_ASSERT_NSTRING_EQUAL(text, "<27>", 4); /* daemon, error */
    log_syslog_write(LOG_ERR, "error msg=flows_again", 21);
    memset(text, 0, sizeof text);
    CU_ASSERT(recv(daemon, text, sizeof text - 1, 0) > 0);
    char expected[80];
    snprintf(expected, sizeof expected, "]: warn msg=log_lines_dropped count=%d", LINES - taken);
    CU_ASSERT_PTR_NOT_NULL(strstr(text, expected));
    CU_ASSERT(recv(daemon, text, sizeof text - 1, 0) > 0);
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "]: error msg=flows_again"));
    log_syslog_close();
    log_syslog_open(NULL);
    close(daemon);
    temporary_remove(path);
}

void suite_log(void)
{
    static CU_TestInfo tests[] = {
        {"control characters are quoted", quotes_control_characters},
        {"foreign words are cut at 200 bytes", cuts_at_200_bytes},
        {"a reason stays whole", a_reason_stays_whole},
        {"the journal is told priorities", the_journal_is_told_priorities},
        {"a pipe that nobody reads stops nobody", a_pipe_that_nobody_reads_stops_nobody},
        {"a daemon that takes nothing stops nobody", a_daemon_that_takes_nothing_stops_nobody},
        CU_TEST_INFO_NULL,
    };
    suite_add("log", NULL, NULL, tests);
}
