/* The CGI request's child: see cgi_child.h. */
#include "process/cgi_child.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "base/log_syslog.h"
#include "process/bounded.h"

#define FORWARD_MS 20000 /* then the next request's child or cron goes on */
#define WORD_FD 3
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

/* Lets go of all that the web server gave, and of what it leaked. The word's descriptor becomes WORD_FD. */
static bool let_go(int word)
{
    log_syslog_close();
    int nothing = open("/dev/null", O_RDWR);
    for (int fd = 0; fd <= 2; fd++) {
        if (nothing < 0 || dup2(nothing, fd) < 0)
            return false;
    }
    if (word != WORD_FD && dup2(word, WORD_FD) < 0)
        return false;
    close_from(WORD_FD + 1);
    return true;
}

/* Waits until the request's process has ended. Returns whether it may have brought something: it did not say that it
 * did not. A web server may kill it as soon as it has the answer (lighttpd does), before it could say anything. */
static bool wait_for_end(void)
{
    char word;
    ssize_t n;
    do {
        n = read(WORD_FD, &word, 1);
    } while (n < 0 && errno == EINTR);
    close(WORD_FD);
    return n == 0;
}

static _Noreturn void live_detached(const struct config *config, int word)
{
    struct error why = {0};
    char words[LOG_QUOTED];
    if (!let_go(word) || !wait_for_end())
        _exit(0);
    log_open(config->log_level); /* to syslog: stderr is /dev/null now */
    if (bounded_forward(config, clock_now() + FORWARD_MS, &why) == BOUNDED_FAILED)
        log_write(LEVEL_ERROR, "msg=cannot_forward reason=%s", log_quote(words, why.text, strlen(why.text)));
    _exit(0);
}

int cgi_child_start(const struct config *config)
{
    int word[2];
    if (pipe2(word, O_CLOEXEC) != 0) {
        log_write(LEVEL_WARN, "msg=no_child_to_forward reason=\"%s\"", strerror(errno));
        return -1;
    }
    pid_t child = fork();
    if (child == 0) {
        close(word[1]);
        if (setsid() < 0 || fork() != 0)
            _exit(0);
        live_detached(config, word[0]);
    }
    close(word[0]);
    if (child < 0) {
        log_write(LEVEL_WARN, "msg=no_child_to_forward reason=\"%s\"", strerror(errno));
        close(word[1]);
        return -1;
    }
    while (waitpid(child, NULL, 0) < 0 && errno == EINTR)
        ;
    return word[1];
}

void cgi_child_release(int word, bool go)
{
    if (word < 0)
        return;
    while (!go && write(word, "", 1) < 0 && errno == EINTR)
        ;
    close(word);
}
