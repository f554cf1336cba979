/* Starting and ending children. */
#include "tests/support/process.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <grp.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "tests/support/temporary.h"

#if __has_include(<valgrind/valgrind.h>)
#include <valgrind/valgrind.h>
#else
#define RUNNING_ON_VALGRIND 0
#endif

#define MAX_ENVIRONMENT 16
#define FIRST_PORT 10240
#define LAST_PORT 32767
#define SEARCH_PATH "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin"

/* In the child, where only async-signal-safe calls are allowed: the stand-in's threads may hold any lock. */
static _Noreturn void become(const struct process_options *options, struct user user, int log, pid_t parent,
                             char *const *environment)
{
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
    setpgid(0, 0);
    if (geteuid() == 0 && (setgroups(0, NULL) != 0 || setgid(user.gid) != 0 || setuid(user.uid) != 0))
        _exit(126);
    /* after setuid, which undoes it */
    if (prctl(PR_SET_PDEATHSIG, SIGTERM) != 0 || getppid() != parent)
        _exit(126);
    int nothing = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (dup2(nothing, 0) < 0 || dup2(log, 1) < 0 || dup2(log, 2) < 0 || chdir(options->directory) != 0)
        _exit(126);
    execvpe(options->arguments[0], (char *const *)(uintptr_t)options->arguments, environment);
    _exit(127);
}

bool process_start(struct process *process, const struct process_options *options)
{
    char *environment[MAX_ENVIRONMENT + 2] = {(char *)(uintptr_t) "PATH=" SEARCH_PATH};
    for (size_t i = 0; options->environment != NULL && options->environment[i] != NULL; i++) {
        if (i == MAX_ENVIRONMENT)
            return false;
        environment[i + 1] = (char *)(uintptr_t)options->environment[i];
    }
    int log = open(options->log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (log < 0)
        return false;
    struct user user = user_of_children();
    pid_t parent = getpid();
    pid_t pid = fork();
    if (pid == 0)
        become(options, user, log, parent, environment);
    close(log);
    if (pid < 0)
        return false;
    setpgid(pid, pid); /* both do it, so that neither has to wait for the other */
    process->pid = pid;
    return true;
}

/* Waits for the end without reaping. */
static bool wait_end(pid_t pid, int64_t ms)
{
    int fd = pidfd_open(pid, 0);
    if (fd < 0)
        return false;
    struct pollfd ended = {.fd = fd, .events = POLLIN};
    moment deadline = clock_now() + ms;
    int result;
    do
        result = poll(&ended, 1, clock_until(deadline));
    while (result < 0);
    close(fd);
    return result == 1;
}

bool process_wait(struct process *process, int64_t ms, int *status)
{
    if (process->pid == 0 || !wait_end(process->pid, ms))
        return false;
    kill(-process->pid, SIGKILL); /* before it is reaped: until then the group's number is surely its own */
    bool reaped = waitpid(process->pid, status, 0) == process->pid;
    process->pid = 0;
    return reaped;
}

int process_stop(struct process *process, int64_t ms)
{
    int status = 0;
    if (process->pid == 0)
        return 0;
    kill(process->pid, SIGTERM);
    if (!process_wait(process, ms, &status)) {
        kill(-process->pid, SIGKILL);
        if (!process_wait(process, 60000, &status))
            return -1;
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

bool process_alive(const struct process *process)
{
    siginfo_t info = {.si_pid = 0};
    return process->pid != 0 && waitid(P_PID, (id_t)process->pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
           info.si_pid == 0;
}

long process_status(pid_t pid, const char *field)
{
    char path[64], line[256];
    size_t length = strlen(field);
    long number = 0;
    snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    FILE *file = fopen(path, "re");
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        if (strncmp(line, field, length) == 0 && line[length] == ':')
            number = strtol(line + length + 1, NULL, 10);
    }
    if (file != NULL)
        fclose(file);
    return number;
}

bool process_can_limit_addresses(void)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    return false;
#else
    return !RUNNING_ON_VALGRIND;
#endif
}

static struct sockaddr_in loopback(uint16_t port)
{
    return (struct sockaddr_in){
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

/* Whether no other test has it, which may not have begun to listen yet: it is this process's, as long as that lives, by
 * the name of a socket. */
static bool port_reserve(uint16_t port)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int length = snprintf(address.sun_path + 1, sizeof address.sun_path - 1, "closecrm-test-port-%u", (unsigned)port);
    socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)length);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && bind(fd, (struct sockaddr *)&address, size) == 0)
        return true; /* it stays open */
    if (fd >= 0)
        close(fd);
    return false;
}

/* Below the ports that the kernel gives to connections, which would take one between this look and its use; and by
 * chance, since other tests look at the same time. */
uint16_t port_free(void)
{
    for (int tries = 0; tries < 1000; tries++) {
        uint16_t number;
        if (getrandom(&number, sizeof number, 0) != sizeof number)
            abort();
        struct sockaddr_in address = loopback((uint16_t)(FIRST_PORT + number % (LAST_PORT - FIRST_PORT)));
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        bool is_free = fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof address) == 0;
        if (fd >= 0)
            close(fd);
        if (is_free && port_reserve(ntohs(address.sin_port)))
            return ntohs(address.sin_port);
    }
    abort();
}

static int connect_to(int family, const struct sockaddr *address, socklen_t length)
{
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, address, length) == 0)
        return fd;
    if (fd >= 0)
        close(fd);
    return -1;
}

int connect_port(uint16_t port)
{
    struct sockaddr_in address = loopback(port);
    return connect_to(AF_INET, (struct sockaddr *)&address, sizeof address);
}

int connect_socket(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address.sun_path)
        return -1;
    strcpy(address.sun_path, path);
    return connect_to(AF_UNIX, (struct sockaddr *)&address, sizeof address);
}

/* path NULL: the port. */
static bool wait_accepts(const struct process *process, const char *path, uint16_t port, int64_t ms)
{
    moment deadline = clock_now() + ms;
    while (process_alive(process) && clock_now() < deadline) {
        int fd = path != NULL ? connect_socket(path) : connect_port(port);
        if (fd >= 0) {
            close(fd);
            return true;
        }
        poll(NULL, 0, 10);
    }
    return false;
}

bool process_wait_port(const struct process *process, uint16_t port, int64_t ms)
{
    return wait_accepts(process, NULL, port, ms);
}

bool process_wait_socket(const struct process *process, const char *path, int64_t ms)
{
    return wait_accepts(process, path, 0, ms);
}
