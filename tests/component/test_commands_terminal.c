/* What people see at a terminal: lines that fit, bash's completion, and documentation that has the commands there are.
 */
#include "tests/suites.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "commands/commands.h"
#include "commands/commands_private.h"
#include "tests/support/commands_made.h"
#include "tests/support/commands_run.h"
#include "tests/support/temporary.h"

#define PATIENCE_MS 60000

static struct ran ran;

/* ---- lines ---- */

static size_t longest_line(const char *text)
{
    size_t longest = 0;
    for (; *text != '\0'; text += strcspn(text, "\n") + (strchr(text, '\n') != NULL)) {
        size_t length = strcspn(text, "\n");
        longest = length > longest ? length : longest;
    }
    return longest;
}

static void help_fits_80_columns(void)
{
    size_t count;
    const struct command *all = commands_all(&count);
    RUN(&ran, NULL, "help");
    CU_ASSERT_TRUE(longest_line(ran.out) <= WRAP_COLUMNS);
    for (size_t i = 0; i < count; i++) {
        char name[64];
        snprintf(name, sizeof name, "%s", all[i].name);
        RUN(&ran, NULL, "help", name);
        CU_ASSERT_EQUAL(ran.code, 0);
        if (longest_line(ran.out) > WRAP_COLUMNS)
            printf("\nhelp %s has a line of %zu columns\n", name, longest_line(ran.out));
        CU_ASSERT_TRUE(longest_line(ran.out) <= WRAP_COLUMNS);
    }
    RUN(&ran, NULL, "backfill", "--no-such");
    CU_ASSERT_TRUE(longest_line(ran.err) <= WRAP_COLUMNS);
}

static void lines_are_broken_between_words(void)
{
    static const struct {
        const char *text, *broken;
    } rows[] = {
        {"short\n", "short\n"},
        {"  a line that is longer than twenty columns\n", "  a line that is\n    longer than\n    twenty columns\n"},
        {"run `a command that stays whole` now\n", "run\n  `a command that stays whole`\n  now\n"},
        {"table   with   columns   of its own\n", "table   with\n  columns   of its\n  own\n"},
        {"unbreakablewordthatislongerthanthat x\n", "unbreakablewordthatislongerthanthat\n  x\n"},
        {"\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4 \xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4 \xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\n",
         "\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4 \xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4 \xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\n"},
        {"\n\nno newline", "\n\nno newline"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char *text = NULL;
        size_t length = 0;
        FILE *out = open_memstream(&text, &length);
        FILE *wrapping = wrap_open(out, 20);
        CU_ASSERT_PTR_NOT_NULL_FATAL(wrapping);
        fputs(rows[i].text, wrapping);
        CU_ASSERT_EQUAL(fclose(wrapping), 0);
        fclose(out);
        CU_ASSERT_STRING_EQUAL(text, rows[i].broken);
        free(text);
    }
}

/* ---- a terminal ---- */

/* Opens a terminal of so many columns. Returns its other end. */
static int terminal_open(int *line, unsigned short columns)
{
    const struct winsize size = {.ws_row = 24, .ws_col = columns};
    int terminal = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    CU_ASSERT_TRUE_FATAL(terminal >= 0 && grantpt(terminal) == 0 && unlockpt(terminal) == 0);
    *line = open(ptsname(terminal), O_RDWR | O_NOCTTY | O_CLOEXEC);
    CU_ASSERT_TRUE_FATAL(*line >= 0);
    CU_ASSERT_EQUAL(ioctl(*line, TIOCSWINSZ, &size), 0);
    return terminal;
}

/* Reads until wanted was shown (NULL: to the end). Returns whether it was. */
static bool terminal_read(int terminal, const char *wanted, char *shown, size_t size)
{
    size_t length = 0;
    shown[0] = '\0';
    for (moment deadline = clock_now() + PATIENCE_MS; length + 1 < size && clock_now() < deadline;) {
        struct pollfd ready = {.fd = terminal, .events = POLLIN};
        if (poll(&ready, 1, 100) != 1)
            continue;
        ssize_t n = read(terminal, shown + length, size - length - 1);
        if (n <= 0)
            return wanted == NULL;
        length += (size_t)n;
        shown[length] = '\0';
        if (wanted != NULL && strstr(shown, wanted) != NULL)
            return true;
    }
    return false;
}

static void a_terminal_gets_lines_that_fit(void)
{
    static char shown[16384];
    int line, status = -1;
    made_begin();
    int terminal = terminal_open(&line, 60);
    fflush(NULL);
    pid_t child = fork();
    CU_ASSERT_TRUE_FATAL(child >= 0);
    if (child == 0) {
        char *argv[] = {(char[]){"closecrm.fcgi"}, (char[]){"check"}, (char[]){"--offline"}, NULL};
        unsetenv("CLOSECRM_PROGRAM");
        _exit(dup2(line, 1) < 0 ? 99 : commands_run(3, argv));
    }
    close(line);
    CU_ASSERT_TRUE(terminal_read(terminal, NULL, shown, sizeof shown));
    CU_ASSERT_EQUAL(waitpid(child, &status, 0), child);
    CU_ASSERT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    close(terminal);
    for (char *c = shown; *c != '\0'; c++) {
        if (*c == '\r')
            memmove(c, c + 1, strlen(c));
    }
    CU_ASSERT_PTR_NOT_NULL(strstr(shown, "address for Close:"));
    CU_ASSERT_PTR_NOT_NULL(strstr(shown, "\nThe configuration is good; nothing else was tried\n"));
    size_t long_lines = 0;
    for (const char *at = shown; (at = strchr(at, '\n')) != NULL;
         at++) { /* but for words and commands that are longer */
        const char *first = at + 1 + strspn(at + 1, " ");
        size_t whole = *first == '`' ? 1 + strcspn(first + 1, "`\n") : strcspn(first, " \n");
        long_lines += strcspn(at + 1, "\n") > 60 && whole <= 56;
    }
    CU_ASSERT_EQUAL(long_lines, 0);
    made_end();
}

/* They are there to be copied: longer than their columns, and than a terminal is wide. */
static void ids_are_whole(void)
{
    static const char id[] = "ev_2sYKRjcrA79yKxi3S4Crd7sYKRjcrA79yKxi3S4C",
                      lead[] = "lead_70jZ5hiVt5X31MZ3vJ0R9GIhDRAiOkpVuvfVkFD9vNd";
    static const char *const lists[] = {"queue", "dead"};
    char body[512], *wrapped = NULL;
    size_t length = 0;
    made_begin();
    made_settle("one", made_event(body, "lead", "created", id, lead), "by the test");
    made_append("two", body);
    for (size_t i = 0; i < 2; i++) {
        RUN(&ran, NULL, lists[i], "list");
        CU_ASSERT(strstr(ran.out, id) != NULL && strstr(ran.out, lead) != NULL);
        FILE *memory = open_memstream(&wrapped, &length), *terminal = wrap_open(memory, 30);
        CU_ASSERT_PTR_NOT_NULL_FATAL(terminal);
        fputs(ran.out, terminal);
        fclose(terminal);
        fclose(memory);
        CU_ASSERT(strstr(wrapped, id) != NULL && strstr(wrapped, lead) != NULL);
        free(wrapped);
    }
    made_end();
}

/* ---- bash ---- */

/* bash at the terminal, in a folder with what `completion` printed. */
static pid_t start_bash(int line, const char *folder)
{
    fflush(NULL);
    pid_t child = fork();
    if (child != 0)
        return child;
    setsid();
    ioctl(line, TIOCSCTTY, 0);
    if (chdir(folder) == 0 && dup2(line, 0) == 0 && dup2(line, 1) == 1 && dup2(line, 2) == 2) {
        char *const environment[] = {(char[]){"PATH=/usr/bin:/bin"}, (char[]){"TERM=dumb"},
                                     (char[]){"INPUTRC=/dev/null"},  (char[]){"PS1=> "},
                                     (char[]){"HISTFILE="},          NULL};
        execle("/bin/bash", "bash", "--norc", "--noprofile", "-i", (char *)NULL, environment);
    }
    _exit(127);
}

static void bash_completes(void)
{
    static const struct {
        const char *typed, *shown;
    } rows[] = {
        {"closecrm.fcgi subscriptio\t", "closecrm.fcgi subscriptions "},
        {"closecrm.fcgi queue li\t", "closecrm.fcgi queue list "},
        {"closecrm.fcgi queue list --lim\t", "closecrm.fcgi queue list --limit "},
        {"closecrm.fcgi --config x dead dr\t", "closecrm.fcgi --config x dead drop "},
        {"closecrm.fcgi dead drop --rea\t", "closecrm.fcgi dead drop --reason "},
        {"closecrm.fcgi check --conf\t", "closecrm.fcgi check --config "},
        {"closecrm.fcgi help queue mo\t", "closecrm.fcgi help queue move "},
        {"closecrm.fcgi backup a-fi\t", "closecrm.fcgi backup a-file.txt "},
        {"closecrm.fcgi check --config a-fi\t", "closecrm.fcgi check --config a-file.txt "},
        {"closecrm.fcgi dead list --source tw\t", "closecrm.fcgi dead list --source two "},
        {"closecrm.fcgi check --source=o\t", "closecrm.fcgi check --source=one "},
        {"closecrm.fcgi dead show \t", "closecrm.fcgi dead show 1 "},
        {"closecrm.fcgi queue show \t", "closecrm.fcgi queue show 1 "},
    };
    static char shown[65536];
    char folder[PATH_SIZE];
    int line, status;
    char programs[PATH_SIZE], body[512];
    CU_ASSERT_TRUE_FATAL(temporary_make(folder) && getenv("CLOSECRM_PROGRAM") != NULL);
    snprintf(programs, sizeof programs, "%s", getenv("CLOSECRM_PROGRAM"));
    *strrchr(programs, '/') = '\0';
    made_begin();
    made_settle("one", made_event(body, "lead", "created", "ev_1", "lead_1"), "by the test");
    made_append("two", made_event(body, "lead", "created", "ev_2", "lead_2"));
    RUN(&ran, NULL, "completion");
    CU_ASSERT_EQUAL(ran.code, 0);
    CU_ASSERT_TRUE(temporary_write(folder, "completion", 0644, ran.out, strlen(ran.out)));
    CU_ASSERT_TRUE(temporary_write(folder, "a-file.txt", 0644, "", 0));
    int terminal = terminal_open(&line, 200);
    pid_t child = start_bash(line, folder);
    close(line);
    dprintf(terminal, "source ./completion; PATH=%s:$PATH; CLOSECRM_CONFIG=%s; export CLOSECRM_CONFIG; echo re''ady\n",
            programs, getenv("CLOSECRM_CONFIG"));
    CU_ASSERT_TRUE(terminal_read(terminal, "\nready", shown, sizeof shown));
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        dprintf(terminal, "%s", rows[i].typed);
        bool good = terminal_read(terminal, rows[i].shown, shown, sizeof shown);
        if (!good)
            printf("\n%s: %s\n", rows[i].typed, shown);
        CU_ASSERT_TRUE(good);
        dprintf(terminal, "\025"); /* the line is taken away */
        if (!good)
            break;
    }
    kill(child, SIGKILL);
    CU_ASSERT_EQUAL(waitpid(child, &status, 0), child);
    close(terminal);
    made_end();
    temporary_remove(folder);
}

/* ---- docs/commands.md ---- */

static void documentation_has_the_commands_that_there_are(void)
{
    static char documentation[65536];
    size_t count, rows = 0;
    const struct command *all = commands_all(&count);
    FILE *file = fopen("docs/commands.md", "re");
    CU_ASSERT_PTR_NOT_NULL_FATAL(file);
    documentation[fread(documentation, 1, sizeof documentation - 1, file)] = '\0';
    fclose(file);
    for (size_t i = 0; i < count; i++) {
        char row[400];
        snprintf(row, sizeof row, "\n| `closecrm.fcgi %s%s%s` | ", all[i].name, all[i].arguments[0] == '\0' ? "" : " ",
                 all[i].arguments);
        if (strstr(documentation, row) == NULL)
            printf("\ndocs/commands.md lacks: %s\n", row + 1);
        CU_ASSERT_PTR_NOT_NULL(strstr(documentation, row));
    }
    for (const char *at = documentation; (at = strstr(at, "\n| `closecrm.fcgi ")) != NULL; at++)
        rows++;
    CU_ASSERT_EQUAL(rows, count);
}

void suite_commands_terminal(void)
{
    static CU_TestInfo tests[] = {
        {"help fits 80 columns", help_fits_80_columns},
        {"lines are broken between words", lines_are_broken_between_words},
        {"a terminal gets lines that fit", a_terminal_gets_lines_that_fit},
        {"ids are whole in lists", ids_are_whole},
        {"bash completes commands, options, files", bash_completes},
        {"the documentation has the commands that there are", documentation_has_the_commands_that_there_are},
        CU_TEST_INFO_NULL,
    };
    suite_add("commands: terminal", NULL, NULL, tests);
}
