/* Executing the program anew in this process's place: see reexec.h. */
#include "process/reexec.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/program_name.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define CHECK_MS 10000 /* for the check of what is new */
#define KILLED_MS 1000 /* for its end once it was killed */
#define ARGUMENTS_MOST 8

extern char **environ;

char *reexec_path(void)
{
    /* Started by the bundle's launcher: /proc/self/exe is the loader, which cannot be executed alone. */
    const char *launcher = getenv("CLOSECRM_LAUNCHER");
    if (launcher != NULL && launcher[0] != '\0')
        return realpath(launcher, NULL);
    char path[PATH_MAX];
    if (!program_path(path)) { /* it is resolved already */
        /* Without /proc, as in a chroot: what was executed, as it was named. */
        const char *named = (const char *)(uintptr_t)getauxval(AT_EXECFN);
        return named == NULL ? NULL : realpath(named, NULL);
    }
    return strdup(path);
}

/* Starts the check, with no signal blocked and nothing to read or to write to but stderr. Returns 0 or an error. */
static int spawn_offline_check(const char *program, pid_t *child)
{
    sigset_t none, all;
    posix_spawnattr_t attributes;
    posix_spawn_file_actions_t actions;
    char *const arguments[] = {(char *)(uintptr_t)program, (char[]){"check"}, (char[]){"--offline"}, NULL};
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &all);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    int error = posix_spawn(child, program, &actions, &attributes, arguments, environ);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    return error;
}

/* What the check did not say itself. */
static bool cannot_check(const char *reason)
{
    log_write(LEVEL_ERROR, "msg=cannot_check_what_is_new reason=\"%s\"", reason);
    return false;
}

bool reexec_is_good(const char *program)
{
    pid_t child;
    int error = program == NULL ? ENOENT : spawn_offline_check(program, &child);
    if (error != 0)
        return cannot_check(strerror(error));
    int status = -1;
    const struct timespec moment_between = {.tv_nsec = 20000000};
    moment deadline = clock_now() + CHECK_MS;
    while (waitpid(child, &status, WNOHANG) == 0) {
        if (clock_now() > deadline)
            kill(child, SIGKILL);
        if (clock_now() > deadline + KILLED_MS)
            return cannot_check("it hangs, perhaps with a disk");
        nanosleep(&moment_between, NULL);
    }
    if (WIFEXITED(status))
        return WEXITSTATUS(status) == 0;
    char reason[64];
    snprintf(reason, sizeof reason, "%s by signal %d",
             clock_now() > deadline ? "it took too long: ended" : "it was ended", WTERMSIG(status));
    return cannot_check(reason);
}

void reexec_seal(void)
{
    int error = close_range(STDERR_FILENO + 1, UINT_MAX, CLOSE_RANGE_CLOEXEC);
    (void)error; /* before Linux 5.11: ours are close-on-exec; libcurl's inner ones, if any are left, stay open */
}

void reexec_execute(const char *program, char *const arguments[])
{
    char *with[ARGUMENTS_MOST + 1] = {(char *)(uintptr_t)program};
    for (size_t i = 1; i < ARGUMENTS_MOST && arguments[i] != NULL; i++)
        with[i] = arguments[i];
    execv(program, with);
    log_write(LEVEL_ERROR, "msg=cannot_execute_anew reason=\"%s\"", strerror(errno));
}
