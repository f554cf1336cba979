/* Running the alert command: see alert_command.h. */
#include "health/alert_command.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"

#define ALERT_JSON 4096 /* bytes: every pipe holds so many. The longest words fit, each byte escaped */
#define PATIENCE_MS 10000
#define KILLED_MS 1000 /* for its end once it was killed */

/* One line on the command's stdin. What is longer than any pipe holds would block. */
static bool write_input(const struct alert *alert, struct buffer *out)
{
    bool good = alert_json(alert, alert->words, out);
    buffer_text(out, "\n");
    return good && !out->failed && out->length <= ALERT_JSON;
}

/* Nothing of ours but its stdin and the log's stderr reaches it: sockets of requests least of all. */
static int spawn_command(char *const *command, int input, pid_t *child)
{
    static char path[] = "PATH=/usr/local/bin:/usr/bin:/bin";
    char *const environment[] = {path, NULL};
    sigset_t none, all;
    posix_spawnattr_t attributes;
    posix_spawn_file_actions_t actions;
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &all);
    posix_spawnattr_setpgroup(&attributes, 0);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, input, STDIN_FILENO);
    posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    posix_spawn_file_actions_addclosefrom_np(&actions, STDERR_FILENO + 1);
    int error = posix_spawn(child, command[0], &actions, &attributes, command, environment);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    return error;
}

static bool judge_exit(int status, struct error *why)
{
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return true;
    if (WIFEXITED(status))
        error_set(why, "it ended with %d", WEXITSTATUS(status));
    else
        error_set(why, "signal %d ended it (it may take %d s)", WTERMSIG(status), PATIENCE_MS / 1000);
    return false;
}

bool alert_command_await(pid_t child, int64_t patience_ms, const atomic_bool *hurry, struct error *why)
{
    int status = 0;
    bool killed = false;
    for (moment deadline = clock_now() + patience_ms;;) {
        pid_t ended = waitpid(child, &status, WNOHANG);
        if (ended == child)
            return judge_exit(status, why);
        if ((ended < 0 && errno != EINTR) || (hurry != NULL && atomic_load(hurry)))
            return true;
        if (clock_now() > deadline && killed) {
            error_set(why, "it does not end, and cannot be killed: process %ld is left behind", (long)child);
            return false;
        }
        if (clock_now() > deadline) {
            kill(-child, SIGKILL);
            kill(child, SIGKILL); /* it may have left its group */
            killed = true;
            deadline += KILLED_MS;
        }
        poll(NULL, 0, 10);
    }
}

bool alert_command_run(char *const *command, const struct alert *alert, const atomic_bool *hurry, struct error *why)
{
    int input[2];
    pid_t child;
    struct buffer json = {0};
    if (!write_input(alert, &json) || pipe2(input, O_CLOEXEC) != 0) {
        error_set(why, "no pipe, or no memory: %s", strerror(errno));
        buffer_free(&json);
        return false;
    }
    ssize_t written = write(input[1], json.data, json.length); /* a pipe holds more than that */
    close(input[1]);
    int error = written == (ssize_t)json.length ? spawn_command(command, input[0], &child) : EIO;
    close(input[0]);
    buffer_free(&json);
    if (error != 0) {
        error_set(why, "%.300s: %s", command[0], strerror(error));
        return false;
    }
    return alert_command_await(child, PATIENCE_MS, hurry, why);
}
