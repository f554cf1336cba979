/* Commands run within the test program: see commands_run.h. */
#include "tests/support/commands_run.h"

#include <CUnit/CUnit.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "commands/commands.h"
#include "process/process.h"
#include "tests/support/check.h"

#define ARGUMENTS_MOST 16

static char folder[PATH_MAX]; /* of the configuration in use; "" for none */

static void must(bool good, const char *what)
{
    if (!good) {
        perror(what);
        abort();
    }
}

static int memory_file(const char *text)
{
    int fd = memfd_create("test", MFD_CLOEXEC);
    must(fd >= 0, "memfd_create");
    size_t length = text == NULL ? 0 : strlen(text);
    must(length == 0 || write(fd, text, length) == (ssize_t)length, "write");
    must(lseek(fd, 0, SEEK_SET) == 0, "lseek");
    return fd;
}

static void read_back(int fd, char *out, size_t size)
{
    ssize_t n = pread(fd, out, size - 1, 0);
    out[n < 0 ? 0 : n] = '\0';
}

/* Runs with these descriptors as 0, 1 and 2. */
static int run_with(const int fds[3], const char *const *arguments)
{
    char *argv[ARGUMENTS_MOST + 2] = {(char[]){"closecrm.fcgi"}};
    int argc = 1, saved[3];
    for (; arguments[argc - 1] != NULL && argc <= ARGUMENTS_MOST; argc++)
        must((argv[argc] = strdup(arguments[argc - 1])) != NULL, "strdup");
    /* The system tests' own variable would be a wrong key of the configuration. */
    const char *program = getenv("CLOSECRM_PROGRAM");
    char *kept = program == NULL ? NULL : strdup(program);
    unsetenv("CLOSECRM_PROGRAM");
    fflush(stdout);
    fflush(stderr);
    for (int i = 0; i < 3; i++) {
        must((saved[i] = fcntl(i, F_DUPFD_CLOEXEC, 3)) >= 0, "dup");
        must(dup2(fds[i], i) == i, "dup2");
    }
    int code = commands_run(argc, argv);
    fflush(stdout);
    clearerr(stdout);
    for (int i = 0; i < 3; i++) {
        must(dup2(saved[i], i) == i, "dup2");
        close(saved[i]);
    }
    for (int i = 1; i < argc; i++)
        free(argv[i]);
    if (kept != NULL)
        setenv("CLOSECRM_PROGRAM", kept, 1);
    free(kept);
    return code;
}

/* Whether a command of the program begins there. */
static bool is_command(const char *text)
{
    size_t count, length = strspn(text, "abcdefghijklmnopqrstuvwxyz-");
    const struct command *all = commands_all(&count);
    for (size_t i = 0; i < count; i++) {
        if (length > 0 && strncmp(all[i].name, text, length) == 0 && strchr(" ", all[i].name[length]) != NULL)
            return true;
    }
    return false;
}

void check_advice(const char *text, const char *config, const char *told_by)
{
    static const char name[] = "closecrm.fcgi ", option[] = "--config ";
    bool is_plain = config[0] == '/' && strpbrk(config, " '") == NULL;
    for (const char *at = text; (at = strstr(at, name)) != NULL; at++) {
        const char *words = at + sizeof name - 1;
        check(!is_command(words), "%s advises a command with its configuration: %.120s", told_by, at);
        if (is_plain && strncmp(words, option, sizeof option - 1) == 0)
            check(strncmp(words + sizeof option - 1, config, strlen(config)) == 0,
                  "%s advises its own configuration: %.120s", told_by, at);
    }
}

/* Of what a command has printed: but for usage, and for manuals. */
static void check_printed(const struct ran *ran, const char *const *arguments)
{
    const char *config = getenv("CLOSECRM_CONFIG");
    bool is_manual = config == NULL || ran->code == CODE_USAGE;
    for (size_t i = 0; arguments[i] != NULL; i++)
        is_manual = is_manual || strstr(arguments[i], "help") != NULL || strcmp(arguments[i], "completion") == 0;
    if (is_manual)
        return;
    check_advice(ran->out, config, arguments[0]);
    check_advice(ran->err, config, arguments[0]);
}

void run_command(struct ran *ran, const char *input, const char *const *arguments)
{
    int fds[3] = {memory_file(input), memory_file(NULL), memory_file(NULL)};
    ran->code = run_with(fds, arguments);
    read_back(fds[1], ran->out, sizeof ran->out);
    read_back(fds[2], ran->err, sizeof ran->err);
    for (int i = 0; i < 3; i++)
        close(fds[i]);
    check_printed(ran, arguments);
}

void run_command_into(struct ran *ran, const char *input, int out, const char *const *arguments)
{
    int fds[3] = {memory_file(input), out, memory_file(NULL)};
    ran->code = run_with(fds, arguments);
    ran->out[0] = '\0';
    read_back(fds[2], ran->err, sizeof ran->err);
    for (int i = 0; i < 3; i++)
        close(fds[i]);
}

void configuration_use(const char *text)
{
    const char *parent = getenv("TMPDIR");
    snprintf(folder, sizeof folder, "%s/closecrm.XXXXXX", parent != NULL && parent[0] != '\0' ? parent : "/tmp");
    must(mkdtemp(folder) != NULL, "mkdtemp");
    char path[PATH_MAX + 32];
    snprintf(path, sizeof path, "%s/closecrm.conf", folder);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    must(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text), path);
    close(fd);
    must(setenv("CLOSECRM_CONFIG", path, 1) == 0, "setenv");
}

void configuration_forget(void)
{
    char path[PATH_MAX + 32];
    unsetenv("CLOSECRM_CONFIG");
    snprintf(path, sizeof path, "%s/closecrm.conf", folder);
    unlink(path);
    rmdir(folder);
    folder[0] = '\0';
}

struct json_object *ran_lines(const struct ran *ran)
{
    struct json_object *array = json_object_new_array();
    for (const char *line = ran->out; *line != '\0'; line += strcspn(line, "\n") + (strchr(line, '\n') != NULL)) {
        char *copy = strndup(line, strcspn(line, "\n"));
        struct json_object *object = copy == NULL ? NULL : json_tokener_parse(copy);
        CU_ASSERT_TRUE_FATAL(json_object_is_type(object, json_type_object));
        json_object_array_add(array, object);
        free(copy);
    }
    return array;
}

void check_waits_seconds(const struct ran *ran, const char *then)
{
    static const char words[] = "the oldest since ";
    char *end = NULL;
    const char *age = strstr(ran->out, words);
    CU_ASSERT_PTR_NOT_NULL_FATAL(age);
    CU_ASSERT(strtoul(age + strlen(words), &end, 10) < 60);
    CU_ASSERT(strncmp(end, " s", 2) == 0 && strncmp(end + 2, then, strlen(then)) == 0);
}
