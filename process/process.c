/* What every process sets up for itself: signals, memory, limits, where its last errors are kept; and executing the
 * program anew in its place. See process.h. */
#include "process/process.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <malloc.h>
#include <signal.h>
#include <spawn.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/last_errors.h"
#include "base/log.h"
#include "base/program_name.h"
#include "config/config.h"
#include "http/http.h"

#define BODIES_IN_HAND ((size_t)64 * 1024 * 1024) /* bytes of all bodies together, at most */
#define LARGE (128 * 1024)                        /* bytes: memory of that size is given back when it is freed */

/* ---- signals: over exec only "ignored" and "blocked" are inherited; handlers that are there are a sanitizer's ---- */

static bool is_a_persons(int number)
{
    return number == SIGHUP || number == SIGINT || number == SIGQUIT;
}

void process_reset_signals(bool command)
{
    for (int number = 1; number < NSIG; number++) {
        struct sigaction now;
        if (sigaction(number, NULL, &now) == 0 && now.sa_handler == SIG_IGN && !(command && is_a_persons(number)))
            signal(number, SIG_DFL);
    }
    signal(SIGPIPE, SIG_IGN); /* writing to a client that has gone is an error of write */
    signal(SIGXFSZ, SIG_IGN); /* writing beyond a file's size limit, likewise */
}

void process_unblock_signals(void)
{
    sigset_t none;
    sigemptyset(&none);
    pthread_sigmask(SIG_SETMASK, &none, NULL);
}

sigset_t process_block_signals(void)
{
    static const int numbers[] = {SIGTERM, SIGUSR1, SIGINT, SIGHUP};
    sigset_t signals;
    sigemptyset(&signals);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        sigaddset(&signals, numbers[i]);
    pthread_sigmask(SIG_SETMASK, &signals, NULL);
    return signals;
}

/* ---- limits ---- */

/* The limit of the address space; false: there is none. */
static bool address_space(size_t *bytes)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_AS, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY)
        return false;
    *bytes = (size_t)limit.rlim_cur;
    return true;
}

/* At most a quarter of the addresses there are: each body is there twice while the queue writes it. */
static size_t bodies_in_hand(void)
{
    size_t space;
    return address_space(&space) && space / 4 < BODIES_IN_HAND ? space / 4 : BODIES_IN_HAND;
}

struct http_limits process_http_limits(const struct config *config)
{
    return (struct http_limits){
        .max_body = (size_t)config->max_body,
        .max_bodies = bodies_in_hand(),
        .request_timeout_ms = config->request_timeout_ms,
        .threads = (size_t)config->request_threads,
    };
}

void process_spare_memory(void)
{
    size_t space;
    if (!address_space(&space))
        return;
    mallopt(M_ARENA_MAX, 1);
    mallopt(M_MMAP_THRESHOLD, LARGE); /* set, it does not grow with what is freed */
    mallopt(M_TRIM_THRESHOLD, LARGE);
}

/* ---- where the last errors are kept ---- */

/* The folders that may be used. */
static size_t find_places(const struct config *config, char folder[static CONFIG_FOLDER],
                          const char *places[static LAST_ERRORS_PLACES])
{
    size_t count = 0;
    if (config != NULL && config_state_dir(config) != NULL)
        places[count++] = config->state_dir;
    const char *beside = config_folder(folder);
    if (beside != NULL)
        places[count++] = beside;
    return count;
}

void errors_keep(const struct config *config)
{
    char folder[CONFIG_FOLDER];
    const char *places[LAST_ERRORS_PLACES], *good[LAST_ERRORS_PLACES];
    size_t count = find_places(config, folder, places), used = 0;
    for (size_t i = 0; i < count; i++) {
        if (!config_looks_shown(places[i]) && !config_would_show(places[i], getenv("DOCUMENT_ROOT")))
            good[used++] = places[i];
    }
    last_errors_open(good, used);
    log_observe(last_errors_note, NULL);
}

void errors_avoid(const struct config *config, const char *document_root)
{
    char folder[CONFIG_FOLDER];
    const char *places[LAST_ERRORS_PLACES];
    size_t count = find_places(config, folder, places);
    for (size_t i = 0; i < count; i++) {
        if (config_would_show(places[i], document_root))
            last_errors_leave(places[i]);
    }
}

const char *errors_where(void)
{
    return last_errors_is_kept() ? LAST_ERRORS_FILE " (in state_dir, or beside the configuration)"
                                 : "the web server's error log";
}

/* ---- executing the program anew ---- */

#define CHECK_MS 10000 /* for the check of what is new */
#define KILLED_MS 1000 /* for its end once it was killed */
#define ARGUMENTS_MOST 8
#define WRONG "WRONG: " /* in `check`, before what is wrong */

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

/* Starts the check, with no signal blocked and nothing to read; said: what it says is written there. Returns 0 or an
 * error. */
static int spawn_offline_check(const char *program, int said, int as_read, pid_t *child)
{
    sigset_t none, all;
    posix_spawnattr_t attributes;
    posix_spawn_file_actions_t actions;
    char variable[AS_READ_VARIABLE], **environment = as_read_environment(as_read, variable);
    char *const arguments[] = {(char *)(uintptr_t)program, (char[]){"check"}, (char[]){"--offline"}, NULL};
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &all);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    if (said >= 0)
        posix_spawn_file_actions_adddup2(&actions, said, STDOUT_FILENO);
    else
        posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    if (as_read >= 0)
        posix_spawn_file_actions_adddup2(&actions, as_read, as_read); /* which makes it inheritable */
    int error =
        environment == NULL ? ENOMEM : posix_spawn(child, program, &actions, &attributes, arguments, environment);
    free(environment);
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

/* Waits for the check's end. Returns whether what is new is good. */
static bool wait_for_check(pid_t child)
{
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

/* Logs what the check found wrong. */
static void log_what_is_wrong(int said)
{
    char line[1024], quoted[LOG_QUOTED];
    FILE *in = lseek(said, 0, SEEK_SET) == 0 ? fdopen(dup(said), "r") : NULL;
    while (in != NULL && fgets(line, sizeof line, in) != NULL) {
        const char *wrong = strstr(line, WRONG);
        line[strcspn(line, "\n")] = '\0';
        if (wrong != NULL)
            log_write(LEVEL_ERROR, "msg=new_configuration_is_faulty reason=%s",
                      log_quote_reason(quoted, wrong + sizeof WRONG - 1));
    }
    if (in != NULL)
        fclose(in);
}

bool reexec_is_good(const char *program, int as_read)
{
    pid_t child;
    int said = memfd_create("check", MFD_CLOEXEC);
    int error = program == NULL ? ENOENT : spawn_offline_check(program, said, as_read, &child);
    bool good = error == 0 ? wait_for_check(child) : cannot_check(strerror(error));
    if (!good && said >= 0)
        log_what_is_wrong(said);
    if (said >= 0)
        close(said);
    return good;
}

void reexec_seal(void)
{
    int error = close_range(STDERR_FILENO + 1, UINT_MAX, CLOSE_RANGE_CLOEXEC);
    (void)error; /* before Linux 5.11: ours are close-on-exec; libcurl's inner ones, if any are left, stay open */
}

static void execute(const char *file, const char *program, char *const arguments[], int as_read)
{
    char *with[ARGUMENTS_MOST + 1] = {(char *)(uintptr_t)program};
    char variable[AS_READ_VARIABLE], **environment = as_read_environment(as_read, variable);
    for (size_t i = 1; i < ARGUMENTS_MOST && arguments[i] != NULL; i++)
        with[i] = arguments[i];
    fcntl(as_read, F_SETFD, 0);
    errno = ENOMEM;
    if (environment != NULL)
        execve(file, with, environment);
    log_write(LEVEL_ERROR, "msg=cannot_execute_anew reason=\"%s\"", strerror(errno));
    fcntl(as_read, F_SETFD, FD_CLOEXEC);
    free(environment);
}

void reexec_execute(const char *program, char *const arguments[], int as_read)
{
    execute(program, program, arguments, as_read);
}

void reexec_execute_same(const char *program, char *const arguments[], int as_read)
{
    static const char running[] = "/proc/self/exe"; /* also when its file was removed */
    struct stat now, path;
    const char *launcher = getenv("CLOSECRM_LAUNCHER");
    if (program == NULL)
        return;
    bool is_other = (launcher == NULL || launcher[0] == '\0') && stat(running, &now) == 0 &&
                    (stat(program, &path) != 0 || now.st_ino != path.st_ino || now.st_dev != path.st_dev);
    execute(is_other ? running : program, program, arguments, as_read); /* by its path it has its name in ps */
}
