/* The CGI request's child: see cgi_child.h. */
#include "process/cgi_child.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/last_errors.h"
#include "base/log.h"
#include "base/log_syslog.h"
#include "process/bounded.h"

#define FORWARD_MS 20000 /* then the next request's child or cron goes on */
#define RELEASE_FD 3
#define DESCRIPTORS_MOST 4096 /* that are looked for one by one */

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

/* Closes all descriptors that the web server gave or leaked. The pipe's read end becomes RELEASE_FD. */
static bool drop_descriptors(int release_fd)
{
    log_syslog_close();
    int nothing = open("/dev/null", O_RDWR);
    for (int fd = 0; fd <= 2; fd++) {
        if (nothing < 0 || dup2(nothing, fd) < 0)
            return false;
    }
    if (release_fd != RELEASE_FD && dup2(release_fd, RELEASE_FD) < 0)
        return false;
    close_from(RELEASE_FD + 1);
    return true;
}

/* Waits until the request's process has ended or released the child. Returns false when it wrote a byte: it stored
 * nothing. A web server may kill it as soon as it has the answer (lighttpd does), before it could write: then it may
 * have stored an event. */
static bool wait_for_release(void)
{
    char byte;
    ssize_t n;
    do {
        n = read(RELEASE_FD, &byte, 1);
    } while (n < 0 && errno == EINTR);
    close(RELEASE_FD);
    return n == 0;
}

static _Noreturn void run_detached(const struct config *config, int release_fd)
{
    struct error why = {0};
    char words[LOG_QUOTED];
    if (!drop_descriptors(release_fd) || !wait_for_release())
        _exit(0);
    log_open(config->log_level); /* to syslog: stderr is /dev/null now */
    if (bounded_forward(config, clock_now() + FORWARD_MS, &why) == BOUNDED_FAILED)
        log_write(LEVEL_ERROR, "msg=cannot_forward reason=%s", log_quote(words, why.text, strlen(why.text)));
    last_errors_flush(true);
    _exit(0);
}

int cgi_child_start(const struct config *config)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) {
        log_write(LEVEL_WARN, "msg=no_child_to_forward reason=\"%s\"", strerror(errno));
        return -1;
    }
    pid_t child = fork();
    if (child == 0) {
        close(ends[1]);
        if (setsid() < 0 || fork() != 0)
            _exit(0);
        run_detached(config, ends[0]);
    }
    close(ends[0]);
    if (child < 0) {
        log_write(LEVEL_WARN, "msg=no_child_to_forward reason=\"%s\"", strerror(errno));
        close(ends[1]);
        return -1;
    }
    while (waitpid(child, NULL, 0) < 0 && errno == EINTR)
        ;
    return ends[1];
}

void cgi_child_release(int release_fd, bool proceed)
{
    if (release_fd < 0)
        return;
    while (!proceed && write(release_fd, "", 1) < 0 && errno == EINTR)
        ;
    close(release_fd);
}
