/* The child of CGI requests: see process_private.h. */
#include "process/process_private.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/files.h"
#include "base/last_errors.h"
#include "base/log.h"
#include "kept/kept.h"
#include "process/process.h"

#define ARGUMENT "--child-of-cgi" /* a request cannot name it: the child's environment is no longer that of CGI */
#define LOCK_FD 3
#define FORWARD_MS 20000      /* then it executes the program anew: configuration and program may have changed */
#define DESCRIPTORS_MOST 4096 /* that are looked for one by one */

extern char **environ;

static bool lock_path(const struct config *config, char path[static PATH_MAX])
{
    int length = snprintf(path, PATH_MAX, "%s/child.lock", config->state_dir);
    return length > 0 && length < PATH_MAX;
}

/* ---- in the request's process ---- */

/* Whether a variable makes a process one of CGI, or holds what the client says. */
static bool is_of_request(const char *variable)
{
    static const char *const begins[] = {"GATEWAY_INTERFACE=", "HTTP_",        "QUERY_STRING=",         "PATH_INFO=",
                                         "PATH_TRANSLATED=",   "REQUEST_URI=", "REDIRECT_QUERY_STRING="};
    for (size_t i = 0; i < sizeof begins / sizeof *begins; i++) {
        if (strncmp(variable, begins[i], strlen(begins[i])) == 0)
            return true;
    }
    return false;
}

/* The caller frees the array; NULL: memory is out. */
static char **child_environment(void)
{
    size_t count = 0, kept = 0;
    while (environ[count] != NULL)
        count++;
    char **all = calloc(count + 1, sizeof *all);
    for (size_t i = 0; all != NULL && i < count; i++) {
        if (!is_of_request(environ[i]))
            all[kept++] = environ[i];
    }
    return all;
}

/* Descriptors 0 to 2 come to nothing: the web server waits until nobody has its own any more. Returns 0 or an error. */
static int spawn_child(const char *program, char *const environment[], int lock)
{
    pid_t child;
    sigset_t none;
    posix_spawnattr_t attributes;
    posix_spawn_file_actions_t actions;
    char *const arguments[] = {(char[]){"closecrm.fcgi"}, (char[]){ARGUMENT}, NULL};
    sigemptyset(&none);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSID);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, lock, LOCK_FD);
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        posix_spawn_file_actions_addopen(&actions, fd, "/dev/null", O_RDWR, 0);
    int error = posix_spawn(&child, program, &actions, &attributes, arguments, environment);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    return error;
}

void cgi_child_start(const struct config *config)
{
    char path[PATH_MAX];
    int lock = -1, error = lock_path(config, path) ? lock_take(&lock, path, LOCK_EX | LOCK_NB) : ENAMETOOLONG;
    if (error == 0) {
        char *program = reexec_path(), **environment = child_environment();
        error = program == NULL || environment == NULL ? ENOMEM : spawn_child(program, environment, lock);
        free(program);
        free(environment);
    }
    if (error != 0 && error != EWOULDBLOCK) /* else one lives */
        log_write(LEVEL_WARN, "msg=no_child_to_forward reason=\"%s\"", strerror(error));
    if (lock >= 0)
        close(lock); /* the child has its own */
}

/* ---- in the child ---- */

bool cgi_child_is_started(int argc, char *const argv[])
{
    return argc == 2 && strcmp(argv[1], ARGUMENT) == 0;
}

/* closefrom ends the process where the kernel has no close_range (before Linux 5.9) and there is no /proc. */
static void close_from(int first)
{
    if (close_range((unsigned)first, UINT_MAX, 0) == 0)
        return;
    if (access("/proc/self/fd", X_OK) == 0) {
        closefrom(first);
        return;
    }
    for (int fd = first; fd < DESCRIPTORS_MOST; fd++)
        close(fd);
}

/* From here on a request starts another child. */
static void leave(void *unused)
{
    (void)unused;
    int lock = LOCK_FD;
    lock_release(&lock);
}

/* Whether no other child has begun meanwhile. */
static bool stay(void *unused)
{
    (void)unused;
    return flock(LOCK_FD, LOCK_EX | LOCK_NB) == 0;
}

/* Goes on as another process image, with the lock. Returns when that cannot be had. */
static void continue_anew(void)
{
    char *const arguments[] = {NULL, (char[]){ARGUMENT}, NULL};
    char *program = reexec_path();
    reexec_seal();
    fcntl(LOCK_FD, F_SETFD, 0);
    if (program != NULL)
        reexec_execute(program, arguments, -1);
    fcntl(LOCK_FD, F_SETFD, FD_CLOEXEC);
    free(program);
}

/* Whether it was started by cgi_child_start. A person who types it gives no lock. */
static bool has_lock(const struct config *config)
{
    char path[PATH_MAX];
    return config->queue != QUEUE_NONE && lock_path(config, path) && lock_is_current(LOCK_FD, path) && stay(NULL);
}

/* Who stored an event and found the lock taken relies on this process: it ends only when it has left, or where it
 * cannot forward, which is logged. */
static void forward(const struct config *config)
{
    struct error why = {0};
    char words[LOG_QUOTED];
    const struct bounded_leave leaving = {leave, stay, NULL};
    enum bounded result;
    while ((result = bounded_forward_on(config, clock_now() + FORWARD_MS, &leaving, &why)) == BOUNDED_STOPPED ||
           result == BOUNDED_LATE) {
        last_errors_flush(true);
        continue_anew();
    }
    if (result == BOUNDED_FAILED)
        log_write(LEVEL_ERROR, "msg=cannot_forward reason=%s", log_quote_reason(words, why.text));
    last_errors_flush(true);
}

int cgi_child_serve(void)
{
    struct error why = {0};
    process_unblock_signals();
    if (fcntl(LOCK_FD, F_SETFD, FD_CLOEXEC) != 0)
        return CODE_USAGE;
    close_from(LOCK_FD + 1); /* what the web server has leaked */
    log_open(LEVEL_INFO);    /* to syslog: stderr is /dev/null */
    struct config *config = config_load(&why);
    if (config == NULL)
        return CODE_CONFIGURATION; /* the request's process said so */
    int code = has_lock(config) ? CODE_OK : CODE_USAGE;
    if (code == CODE_OK) {
        log_open(config->log_level);
        errors_keep(config);
        pipeline_warn_of_other(config);
        kept_catch_up(config, NULL); /* the queue says it, where the database is away */
        forward(config);
        machines_exchange(config); /* nobody waits for it */
    }
    config_free(config);
    return code;
}
