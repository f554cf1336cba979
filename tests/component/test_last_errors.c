/* last-errors.txt: what the log said, for who cannot read the log. */
#include "tests/suites.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/last_errors.h"
#include "base/times.h"
#include "process/process.h"
#include "tests/support/commands_made.h"
#include "tests/support/commands_run.h"
#include "tests/support/temporary.h"

static char folder[PATH_SIZE], state[PATH_SIZE], beside[PATH_SIZE];

static void open_places(void)
{
    CU_ASSERT_FATAL(temporary_make(folder));
    path_join(state, folder, "state");
    path_join(beside, folder, "beside");
    CU_ASSERT_EQUAL_FATAL(mkdir(state, 0700) + mkdir(beside, 0700), 0);
    last_errors_open((const char *const[]){state, beside}, 2);
}

static void close_places(void)
{
    last_errors_open(NULL, 0);
    temporary_remove(folder);
}

static void note(enum log_level level, const char *line)
{
    last_errors_note(NULL, level, line, strlen(line));
}

/* The file was written long ago. */
static void age_file(const char *place)
{
    char path[PATH_SIZE];
    path_join(path, place, LAST_ERRORS_FILE);
    const struct timespec times[2] = {{.tv_sec = 1000}, {.tv_sec = 1000}};
    CU_ASSERT_EQUAL(utimensat(AT_FDCWD, path, times, 0), 0);
}

static bool has(const char *place, const char *text)
{
    char *all = last_errors_read(place);
    bool found = all != NULL && strstr(all, text) != NULL;
    free(all);
    return found;
}

static void one_line_a_reason_in_two_parts(void)
{
    char path[PATH_SIZE];
    struct stat status;
    open_places();
    note(LEVEL_ERROR, "error msg=not_delivered source=a tries=1 reason=\"no answer for 12 s\"");
    note(LEVEL_WARN, "warn msg=refused kind=wrong_signature status=401 source=a remote=\"1.2.3.4\" reason=\"no\"");
    note(LEVEL_ERROR, "error msg=not_delivered source=a tries=2 reason=\"no answer for 60 s\"");
    note(LEVEL_WARN, "warn msg=refused kind=wrong_signature status=401 source=a remote=\"fe80::1\" reason=\"no\"");
    note(LEVEL_ERROR, "error msg=not_delivered source=b tries=1 reason=\"no answer for 60 s\"");
    note(LEVEL_INFO, "info msg=started");
    last_errors_flush(true);
    CU_ASSERT(has(state, "Z 2 error msg=not_delivered source=a tries=2 reason=\"no answer for 60 s\"\n"));
    CU_ASSERT(has(state, "Z 1 error msg=not_delivered source=b"));
    CU_ASSERT_FALSE(has(state, "started"));
    char *all = last_errors_read(state);
    const char *part = all == NULL ? NULL : strstr(all, "\nREFUSED REQUESTS\n");
    CU_ASSERT_PTR_NOT_NULL_FATAL(part);
    CU_ASSERT_PTR_NOT_NULL(strstr(part, "Z 2 warn msg=refused kind=wrong_signature"));
    CU_ASSERT_PTR_NULL(strstr(part, "not_delivered"));
    free(all);
    path_join(path, state, LAST_ERRORS_FILE);
    CU_ASSERT_EQUAL(stat(path, &status), 0);
    CU_ASSERT_EQUAL(status.st_mode & 07777, 0600);
    close_places();
}

/* Other processes' counts are added to, at most once a second; what is put off is kept. */
static void many_processes_share_it(void)
{
    open_places();
    note(LEVEL_ERROR, "error msg=here");
    for (int i = 0; i < 3; i++) {
        fflush(NULL);
        pid_t child = fork();
        if (child == 0) {
            note(LEVEL_ERROR, "error msg=there");
            last_errors_flush(true);
            _exit(0);
        }
        int status = -1;
        waitpid(child, &status, 0);
        CU_ASSERT_EQUAL(status, 0);
        if (i < 2) /* the third comes too soon */
            age_file(state);
    }
    last_errors_flush(true);
    CU_ASSERT(has(state, "Z 2 error msg=there\n") || has(state, "Z 3 error msg=there\n"));
    CU_ASSERT_FALSE(has(state, "msg=here"));
    age_file(state);
    last_errors_flush(true);
    CU_ASSERT(has(state, "Z 1 error msg=here\n"));
    close_places();
}

/* Whatever is noted, with every reason another one. */
static void it_stays_below_64_kib(void)
{
    char line[2000], path[PATH_SIZE];
    struct stat status;
    open_places();
    for (int i = 0; i < 100; i++) {
        memset(line, 'a' + i % 26, sizeof line);
        memcpy(line, i % 2 == 0 ? "error msg=" : "warn msg=refused kind=", i % 2 == 0 ? 10 : 22);
        memset(line + 30, 'a' + i / 26, 1);
        line[sizeof line - 1] = '\0';
        note(LEVEL_ERROR, line);
    }
    last_errors_flush(true);
    path_join(path, state, LAST_ERRORS_FILE);
    CU_ASSERT_EQUAL_FATAL(stat(path, &status), 0);
    CU_ASSERT(status.st_size > 50000 && status.st_size <= LAST_ERRORS_MAX);
    close_places();
}

static void without_a_state_directory_it_is_beside(void)
{
    open_places();
    CU_ASSERT_EQUAL(rmdir(state), 0);
    note(LEVEL_ERROR, "error msg=state_dir_gone");
    last_errors_flush(true);
    CU_ASSERT(has(beside, "msg=state_dir_gone"));
    last_errors_leave(beside);
    CU_ASSERT_FALSE(has(beside, "msg"));
    CU_ASSERT_EQUAL(rmdir(beside), 0); /* nothing is left */
    close_places();
}

/* What is over does not stand beside the configuration for ever. */
static void it_moves_when_the_state_directory_is_back(void)
{
    open_places();
    CU_ASSERT_EQUAL(rmdir(state), 0);
    note(LEVEL_ERROR, "error msg=state_dir_gone");
    last_errors_flush(true);
    CU_ASSERT(has(beside, "msg=state_dir_gone"));
    CU_ASSERT_EQUAL(mkdir(state, 0700), 0);
    last_errors_flush(true);
    CU_ASSERT(has(state, "Z 1 error msg=state_dir_gone"));
    CU_ASSERT_EQUAL(rmdir(beside), 0); /* nothing is left */
    close_places();
}

static struct ran ran;

static void check_says_what_did_not_come_again(void)
{
    char text[400], now[WHEN_SIZE];
    made_begin();
    snprintf(text, sizeof text,
             "title\n\nERRORS\n%.19sZ 1 error msg=new\n2026-11-01T10:00:00Z 1 error msg=old\n\nREFUSED REQUESTS\n",
             times_print_utc(clock_unix_ms(), now));
    CU_ASSERT(temporary_write(made_state(), LAST_ERRORS_FILE, 0600, text, strlen(text)));
    RUN(&ran, NULL, "check");
    const char *said = strstr(ran.out, "  (not again within the last hour:)\n  2026-11-01T10:00:00Z 1 error msg=old\n");
    CU_ASSERT_PTR_NOT_NULL_FATAL(said);
    CU_ASSERT(strstr(ran.out, "msg=new") < said);
    CU_ASSERT_PTR_NULL(strstr(said + 10, "not again"));
    made_end();
}

/* The program notes it, check shows it. */
static void check_prints_it(void)
{
    struct error why;
    char folder_name[PATH_SIZE];
    made_begin();
    static char *nothing[] = {NULL};
    struct config *config = config_read(getenv("CLOSECRM_CONFIG"), nothing, &why);
    CU_ASSERT_PTR_NOT_NULL_FATAL(config);
    errors_keep(config);
    log_write(LEVEL_ERROR, "msg=queue_failed reason=\"by the test\"");
    last_errors_flush(true);
    CU_ASSERT(has(made_state(), "Z 1 error msg=queue_failed reason=\"by the test\"\n"));
    CU_ASSERT_PTR_NOT_NULL(strstr(errors_where(), "last-errors.txt"));
    CU_ASSERT_PTR_NULL(strchr(errors_where(), '/'));
    log_observe(NULL, NULL);
    RUN(&ran, NULL, "check");
    CU_ASSERT_PTR_NOT_NULL(strstr(ran.out, "/state/last-errors.txt\n  ERRORS\n  20"));
    CU_ASSERT_PTR_NOT_NULL(strstr(ran.out, "msg=queue_failed reason=\"by the test\"\n"));

    path_join(folder_name, made_state(), "..");
    errors_avoid(config, folder_name); /* it turns out to be a document root */
    CU_ASSERT_FALSE(has(made_state(), "msg"));
    CU_ASSERT_STRING_EQUAL(errors_where(), "the web server's error log");
    setenv("DOCUMENT_ROOT", folder_name, 1);
    errors_keep(config);
    CU_ASSERT_FALSE(last_errors_is_kept());
    unsetenv("DOCUMENT_ROOT");
    log_observe(NULL, NULL);
    config_free(config);
    made_end();
}

void suite_last_errors(void)
{
    static CU_TestInfo tests[] = {
        {"one line a reason, in two parts", one_line_a_reason_in_two_parts},
        {"many processes share it", many_processes_share_it},
        {"it stays below 64 KiB", it_stays_below_64_kib},
        {"without a state directory it is beside the configuration", without_a_state_directory_it_is_beside},
        {"it moves when the state directory is back", it_moves_when_the_state_directory_is_back},
        {"check says what did not come again", check_says_what_did_not_come_again},
        {"check prints it", check_prints_it},
        CU_TEST_INFO_NULL,
    };
    suite_add("last errors", NULL, NULL, tests);
}
