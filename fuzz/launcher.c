/* The bundle's launcher: environment, arguments and /etc/passwd to the command that is executed. Judges: glibc's
 * fgetpwent reads the home; the command and the environment are what the launcher's description says, nothing is added,
 * lost or reordered, and no LD_ variable is left. The text: the lines of /etc/passwd up to an empty one, the
 * environment's likewise, then the arguments, a line each. In a home directory that begins with /home/good lies our
 * folder. */
#include "fuzz/rig/rig.h"

#include <pwd.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What it prints is its answer; what it logs is dropped. */
static void launcher_says(const char *format, ...) __attribute__((format(printf, 1, 2)));
int launcher_main(int argc, char **argv);

#define main launcher_main
#define printf launcher_says
#define fprintf(stream, ...) ((void)(stream))
#include "packaging/bundle/launcher.c" /* NOLINT(bugprone-suspicious-include): its main and statics are what is run */
#undef main
#undef printf
#undef fprintf

#define MOST 64

static struct slice passwd;
static jmp_buf executed;
static char *command_line[2 * MOST];
static size_t command_length;
static struct buffer said;

/* ---- what the launcher meets ---- */

static void launcher_says(const char *format, ...)
{
    char text[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    buffer_text(&said, text);
}

FILE *__real_fopen(const char *path, const char *mode);
FILE *__wrap_fopen(const char *path, const char *mode);
FILE *__wrap_fopen(const char *path, const char *mode)
{
    if (strcmp(path, "/etc/passwd") != 0)
        return __real_fopen(path, mode);
    return passwd.length == 0 ? NULL : fmemopen((char *)(uintptr_t)passwd.at, passwd.length, "r");
}

char *__wrap_realpath(const char *path, char *out);
char *__real_realpath(const char *path, char *out);
char *__wrap_realpath(const char *path, char *out)
{
    if (strcmp(path, "/proc/self/exe") != 0)
        return __real_realpath(path, out);
    return strcpy(out, "/srv/www/cgi-bin/closecrm.cgi");
}

int __wrap_stat(const char *path, struct stat *status);
int __real_stat(const char *path, struct stat *status);
int __wrap_stat(const char *path, struct stat *status)
{
    if (strncmp(path, "/home/", 6) != 0)
        return __real_stat(path, status);
    *status = (struct stat){.st_mode = S_IFDIR | 0700, .st_uid = geteuid()};
    if (strncmp(path, "/home/bad", 9) == 0)
        status->st_mode |= 020;
    return strncmp(path, "/home/good", 10) == 0 || strncmp(path, "/home/bad", 9) == 0 ? 0 : -1;
}

int __wrap_access(const char *path, int mode);
int __real_access(const char *path, int mode);
int __wrap_access(const char *path, int mode)
{
    return strncmp(path, "/home/good", 10) == 0 ? 0 : __real_access(path, mode);
}

int __wrap_execv(const char *path, char *const *argv);
int __wrap_execv(const char *path, char *const *argv)
{
    (void)path;
    for (command_length = 0; argv[command_length] != NULL; command_length++)
        command_line[command_length] = rig_string(slice_of(argv[command_length]));
    free((void *)(uintptr_t)argv);
    longjmp(executed, 1);
}

/* ---- judging ---- */

/* Whether all lines are as in a real file: the C library skips others in ways of its own. */
static bool is_real_passwd(void)
{
    struct rig_input input = {passwd.at, passwd.length};
    while (input.left > 0) {
        struct slice line = rig_until(&input, '\n');
        size_t colons = 0, digits = 0;
        for (size_t i = 0; i < line.length; i++) {
            bool number = colons == 2 || colons == 3;
            char c = line.at[i];
            if (c == '\0' || (number && c != ':' && (c < '0' || c > '9')) ||
                (number && c == ':' && line.at[i - 1] == ':'))
                return false;
            digits = number && c != ':' ? digits + 1 : 0;
            if (digits > 9) /* more than its type holds */
                return false;
            colons += c == ':';
        }
        bool named = line.length > 0 && line.at[0] >= 'a' && line.at[0] <= 'z';
        if (line.length > 0 && (colons != 6 || !named || line.length > 900))
            return false;
    }
    return true;
}

/* The home that the C library finds for this user; "" : none. */
static void home_by_library(char out[static PATH_MAX])
{
    FILE *file = passwd.length == 0 ? NULL : fmemopen((char *)(uintptr_t)passwd.at, passwd.length, "r");
    out[0] = '\0';
    for (struct passwd *entry; file != NULL && out[0] == '\0' && (entry = fgetpwent(file)) != NULL;) {
        if (entry->pw_uid == geteuid())
            snprintf(out, PATH_MAX, "%s", entry->pw_dir);
    }
    if (file != NULL)
        fclose(file);
}

/* Of a name that comes twice the last counts. */
static const char *value_of(char *const *variables, const char *name)
{
    const char *value = NULL;
    size_t length = strlen(name);
    for (size_t i = 0; variables[i] != NULL; i++) {
        if (strncmp(variables[i], name, length) == 0 && variables[i][length] == '=')
            value = variables[i] + length + 1;
    }
    return value;
}

static void judge_command(char *const *before, int argc, char *const *argv)
{
    static const char program[] = "/closecrm/" PROGRAM;
    const char *config = value_of(environ, "CLOSECRM_CONFIG"), *given = value_of(before, "CLOSECRM_CONFIG");
    RIG_CHECK(command_length == (size_t)argc + ARGUMENTS_OURS, "%zu arguments", command_length);
    RIG_CHECK(strncmp(command_line[0], "/home/good", 10) == 0, "executed from a folder of others: %s", command_line[0]);
    RIG_CHECK(strstr(command_line[0], program) != NULL, "not the program's loader: %s", command_line[0]);
    RIG_CHECK(strpbrk(command_line[3], ":;$") == NULL, "libraries from elsewhere: %s", command_line[3]);
    for (int i = 1; i < argc; i++)
        RIG_CHECK(strcmp(command_line[ARGUMENTS_OURS + i], argv[i]) == 0, "argument %d is another", i);
    for (size_t i = 0; environ[i] != NULL; i++)
        RIG_CHECK(strncmp(environ[i], "LD_", 3) != 0 || strcspn(environ[i], "=") > 63 || environ[i][3] == '\0' ||
                      strchr(environ[i], '=') == NULL,
                  "left in the environment: %s", environ[i]);
    for (size_t i = 0; before[i] != NULL; i++) {
        const char *equals = strchr(before[i], '=');
        bool again = false;
        for (size_t k = 0; equals != NULL && before[k] != NULL; k++)
            again = again || (k != i && strncmp(before[k], before[i], (size_t)(equals - before[i]) + 1) == 0);
        if (equals == NULL || again || equals == before[i] || strncmp(before[i], "LD_", 3) == 0 ||
            strncmp(before[i], "CLOSECRM_", 9) == 0 || strncmp(before[i], "OPENSSL_CONF=", 13) == 0)
            continue;
        bool found = false;
        for (size_t k = 0; environ[k] != NULL; k++)
            found = found || strcmp(environ[k], before[i]) == 0;
        RIG_CHECK(found, "a variable is lost: %s", before[i]);
    }
    if (given != NULL && given[0] != '\0')
        RIG_CHECK(strcmp(config, given) == 0, "another configuration than the one that was named");
}

/* Where the folder is found: the home of /etc/passwd, else HOME. */
static void judge_home(char *const *before)
{
    char home[PATH_MAX], folder[PATH_MAX];
    const char *of_environment = value_of(before, "HOME");
    if (!is_real_passwd())
        return;
    home_by_library(home);
    const char *expected = strncmp(home, "/home/good", 10) == 0 ? home : of_environment;
    if (strncmp(home, "/home/good", 10) != 0 &&
        strncmp(of_environment == NULL ? "" : of_environment, "/home/good", 10) != 0)
        return;
    snprintf(folder, sizeof folder, "%.*s/closecrm/" PROGRAM, PATH_MAX - 100, expected);
    if (command_length > 0)
        RIG_CHECK(strncmp(command_line[0], folder, strlen(folder)) == 0, "%s and not %s", command_line[0], folder);
}

/* ---- */

static size_t read_lines(struct rig_input *input, char **lines, size_t most)
{
    size_t count = 0;
    for (struct slice line; count < most && input->left > 0 && (line = rig_until(input, '\n')).length > 0;)
        lines[count++] = rig_string(line);
    return count;
}

static void free_lines(char **lines)
{
    for (size_t i = 0; lines[i] != NULL; i++)
        free(lines[i]);
}

static struct slice read_passwd(struct rig_input *input)
{
    const char *start = input->at;
    while (input->left > 0 && rig_until(input, '\n').length > 0)
        ;
    return (struct slice){start, (size_t)(input->at - start)};
}

static int run(int argc, char **argv)
{
    command_length = 0;
    return setjmp(executed) != 0 ? -1 : launcher_main(argc, argv);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    buffer_text(&said, "");
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct rig_input input = rig_input_of(data, size);
    char *variables[MOST + 1] = {NULL}, *before[MOST + 1] = {NULL}, *argv[MOST + 2] = {NULL};
    static char *nothing[] = {NULL};
    char **own = environ;
    passwd = read_passwd(&input);
    size_t count = read_lines(&input, variables, MOST);
    memcpy(before, variables, sizeof before);
    argv[0] = rig_string(slice_of("closecrm.cgi"));
    int argc = 1 + (int)read_lines(&input, argv + 1, MOST);
    environ = nothing;
    for (size_t i = 0; i < count; i++) {
        if (strchr(variables[i], '=') != NULL && variables[i][0] != '=')
            putenv(variables[i]);
    }
    buffer_clear(&said);
    if (run(argc, argv) == -1) {
        judge_command(before, argc, argv);
        judge_home(before);
    }
    environ = own;
    if (said.length > 0) {
        const char *body = memmem(said.data, said.length, "\r\n\r\n", 4);
        RIG_CHECK(body != NULL, "no headers");
        rig_check_json((struct slice){body + 4, said.length - (size_t)(body - said.data) - 4}, "the answer");
    }
    for (size_t i = 0; i < command_length; i++)
        free(command_line[i]);
    free_lines(before);
    free_lines(argv);
    return 0;
}
