/* What a web server executes in place of a CGI program whose processor time is measured. It is called as NAME.cgi: the
 * file NAME.run beside it says in its first line which program to execute, then with which variables (NAME=value). When
 * that program and all that it left behind have ended, the microseconds of all of them are a line of NAME.cpu. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define VARIABLES_MOST 32

static _Noreturn void give_up(const char *what)
{
    fprintf(stderr, "meter: %s: %s\n", what, strerror(errno));
    _exit(1);
}

static FILE *open_or_give_up(const char *path)
{
    FILE *file = fopen(path, "re");
    if (file == NULL)
        give_up(path);
    return file;
}

/* The path with another ending. */
static void beside(char out[static PATH_MAX], const char *self, const char *ending)
{
    int length = snprintf(out, PATH_MAX, "%.*s%s", (int)(strlen(self) - strlen(".cgi")), self, ending);
    if (length < 0 || length >= PATH_MAX)
        give_up(self);
}

static _Noreturn void run(const char *self)
{
    static char line[VARIABLES_MOST][4096];
    char path[PATH_MAX];
    beside(path, self, ".run");
    FILE *file = open_or_give_up(path);
    for (size_t i = 0; i < VARIABLES_MOST && fgets(line[i], sizeof line[i], file) != NULL; i++) {
        line[i][strcspn(line[i], "\n")] = '\0';
        if (i > 0 && line[i][0] != '\0' && putenv(line[i]) != 0)
            give_up("putenv");
    }
    fclose(file);
    execl(line[0], line[0], (char *)NULL);
    give_up(line[0]);
}

static long microseconds(const struct rusage *usage)
{
    return (usage->ru_utime.tv_sec + usage->ru_stime.tv_sec) * 1000000L + usage->ru_utime.tv_usec +
           usage->ru_stime.tv_usec;
}

static void close_all_three(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        close(fd);
}

/* Whatever the program leaves behind becomes the child of this process. */
static _Noreturn void watch(const char *self, int ended)
{
    struct rusage usage;
    char path[PATH_MAX], text[32];
    long sum = 0;
    int status = 0;
    setsid();
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    pid_t program = fork(), child;
    if (program == 0) {
        close(ended);
        run(self);
    }
    close_all_three();
    while ((child = wait4(-1, &status, 0, &usage)) > 0 || errno == EINTR) {
        if (child <= 0)
            continue;
        sum += microseconds(&usage);
        if (child == program)
            close(ended);
    }
    beside(path, self, ".cpu");
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    int length = snprintf(text, sizeof text, "%ld\n", sum);
    _exit(fd < 0 || write(fd, text, (size_t)length) != length);
}

int main(int argc, char **argv)
{
    int ends[2];
    char byte;
    signal(SIGTERM, SIG_IGN); /* a web server has its answer */
    if (argc < 1 || argv[0][0] != '/' || strlen(argv[0]) < sizeof ".cgi" || pipe2(ends, O_CLOEXEC) != 0)
        give_up("the program's path, or a pipe");
    pid_t watcher = fork();
    if (watcher < 0)
        give_up("fork");
    if (watcher == 0) {
        signal(SIGTERM, SIG_DFL);
        close(ends[0]);
        watch(argv[0], ends[1]);
    }
    close_all_three();
    close(ends[1]);
    while (read(ends[0], &byte, 1) < 0 && errno == EINTR)
        ;
    return 0;
}
