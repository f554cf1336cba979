/* Confinement: what a confined thread is refused, what it needs and still has, and what it has done aside. Where the
 * kernel has only a part of it, that part is tested, and the test says so. */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <syslog.h>
#include <unistd.h>

#include "base/log.h"
#include "process/confine.h"
#include "tests/suites.h"
#include "tests/support/check.h"
#include "tests/support/temporary.h"

static struct scene {
    struct config config;
    char directory[PATH_SIZE], state[PATH_SIZE], outside[PATH_SIZE];
    struct confine *confine;
    int listening;
    struct sockaddr_in address;
} scene;

static bool listen_somewhere(void)
{
    socklen_t size = sizeof scene.address;
    scene.address = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    scene.listening = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    return bind(scene.listening, (struct sockaddr *)&scene.address, size) == 0 && listen(scene.listening, 4) == 0 &&
           getsockname(scene.listening, (struct sockaddr *)&scene.address, &size) == 0;
}

static int prepare(void)
{
    if (!temporary_make(scene.directory) || !temporary_directory(scene.directory, "state") ||
        !temporary_write(scene.directory, "outside", 0600, "x", 1) ||
        !temporary_write(scene.directory, "spare", 0600, "x", 1))
        return 1;
    path_join(scene.state, scene.directory, "state");
    path_join(scene.outside, scene.directory, "outside");
    return listen_somewhere() ? 0 : 1;
}

static int tidy(void)
{
    close(scene.listening);
    temporary_remove(scene.directory);
    return 0;
}

static void begin(void)
{
    scene.config = (struct config){.confine = CONFINE_YES, .state_dir = scene.state};
    scene.confine = confine_open(&scene.config);
    confine_start(scene.confine);
    confine_to_state(scene.confine);
}

static void end(void)
{
    confine_close(scene.confine);
    scene.confine = NULL;
}

/* Runs it in a thread of its own, as confinement is for ever. */
static void in_a_thread(void *(*run)(void *), const void *context)
{
    pthread_t thread;
    CU_ASSERT_EQUAL_FATAL(pthread_create(&thread, NULL, run, (void *)(uintptr_t)context), 0);
    pthread_join(thread, NULL);
}

/* ---- what is tried: each returns 0 when it was possible, else the error ---- */

/* A program that is not there: if it may be executed, that is the error. */
static int try_execute(void)
{
    char *const arguments[] = {(char[]){"nothing"}, NULL};
    execv("/nothing/here", arguments);
    return errno;
}

static int try_fork(void)
{
    pid_t child = fork();
    if (child == 0)
        _exit(0);
    if (child < 0)
        return errno;
    waitpid(child, NULL, 0);
    return 0;
}

static void *do_nothing(void *context)
{
    return context;
}

static int try_thread(void)
{
    pthread_t thread;
    int error = pthread_create(&thread, NULL, do_nothing, NULL);
    if (error == 0)
        pthread_join(thread, NULL);
    return error;
}

static int try_socket(void)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return errno;
    close(fd);
    return 0;
}

static int unconnected = -1; /* a socket of another thread's */

static int try_connect(void)
{
    return connect(unconnected, (const struct sockaddr *)&scene.address, sizeof scene.address) == 0 ? 0 : errno;
}

static int try_bind(void)
{
    const struct sockaddr_in any = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    return bind(unconnected, (const struct sockaddr *)&any, sizeof any) == 0 ? 0 : errno;
}

static int try_signal(void)
{
    return kill(getpid(), 0) == 0 ? 0 : errno;
}

/* Not libc's, which asks each thread of the process, and ends it when they do not agree. */
static int try_user(void)
{
    return syscall(SYS_setuid, getuid()) == 0 ? 0 : errno;
}

static int try_open(const char *path, int flags)
{
    int fd = open(path, flags | O_CLOEXEC, 0600);
    if (fd < 0)
        return errno;
    close(fd);
    return 0;
}

static int try_read_passwd(void)
{
    return try_open("/etc/passwd", O_RDONLY);
}

static int try_read_outside(void)
{
    return try_open(scene.outside, O_RDONLY);
}

static int try_write_outside(void)
{
    return try_open(scene.outside, O_WRONLY);
}

static int try_remove_outside(void)
{
    char path[PATH_SIZE];
    path_join(path, scene.directory, "spare");
    return unlink(path) == 0 ? 0 : errno;
}

/* What webhooks do in the state directory: see config/keyring. */
static int try_state(void)
{
    char made[PATH_SIZE], folder[PATH_SIZE], renamed[PATH_SIZE];
    path_join(made, scene.state, "made");
    path_join(folder, scene.state, "folder");
    path_join(renamed, scene.state, "renamed");
    bool good = try_open(made, O_RDWR | O_CREAT) == 0 && mkdir(folder, 0700) == 0 && rename(made, renamed) == 0 &&
                try_open(renamed, O_WRONLY | O_TRUNC) == 0 && try_open(scene.state, O_RDONLY | O_DIRECTORY) == 0 &&
                unlink(renamed) == 0 && rmdir(folder) == 0;
    return good ? 0 : errno;
}

/* ---- and by whom ---- */

enum means { SECCOMP, LANDLOCK };

static const struct attempt {
    const char *what;
    int (*try)(void);
    int request, job; /* the error in a request thread, and aside; 0: possible */
    enum means means;
} attempts[] = {
    {"execute", try_execute, EPERM, EPERM, SECCOMP},
    {"send a signal", try_signal, EPERM, EPERM, SECCOMP},
    {"change the user", try_user, EPERM, EPERM, SECCOMP},
    {"fork", try_fork, EAGAIN, 0, SECCOMP},
    {"start a thread", try_thread, EAGAIN, 0, SECCOMP},
    {"make a socket", try_socket, EPERM, 0, SECCOMP},
    {"bind", try_bind, EPERM, 0, SECCOMP},
    {"connect", try_connect, EPERM, 0, SECCOMP},
    {"read /etc/passwd", try_read_passwd, EACCES, 0, LANDLOCK},
    {"read beside the state directory", try_read_outside, EACCES, 0, LANDLOCK},
    {"write beside it", try_write_outside, EACCES, 0, LANDLOCK},
    {"remove a file there", try_remove_outside, EACCES, 0, LANDLOCK},
    {"work in the state directory", try_state, 0, 0, LANDLOCK},
};

static bool has(enum means means)
{
    struct confine_means there = confine_means();
    bool yes = means == SECCOMP ? there.seccomp : there.landlock > 0;
    if (!yes)
        printf("(there is no %s) ", means == SECCOMP ? "seccomp" : "Landlock");
    return yes;
}

/* Tries all. Assertions are counted in the test's own thread only, afterwards: it waits. */
static void attempt_all(bool aside)
{
    const bool there[] = {[SECCOMP] = has(SECCOMP), [LANDLOCK] = has(LANDLOCK)};
    for (size_t i = 0; i < sizeof attempts / sizeof *attempts; i++) {
        const struct attempt *one = &attempts[i];
        int wanted = !there[one->means] ? 0 : aside ? one->job : one->request, error = one->try();
        if (one->try == try_execute && wanted == 0)
            wanted = ENOENT;
        check(error == wanted, "%s, %s: \"%s\", expected \"%s\"", one->what, aside ? "aside" : "in a request thread",
              strerror(error), strerror(wanted));
    }
}

static void attempt_aside(void *context)
{
    (void)context;
    attempt_all(true);
}

static void *be_confined(void *context)
{
    confine_thread(scene.confine);
    confine_thread(scene.confine); /* what is done twice is done once */
    attempt_all(false);
    confine_aside(scene.confine, attempt_aside, context);
    return context;
}

static void refuses_what_requests_do_not_need(void)
{
    begin();
    unconnected = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    in_a_thread(be_confined, NULL);
    close(unconnected);
    CU_ASSERT_EQUAL(try_read_passwd(), 0); /* other threads are free */
    CU_ASSERT_EQUAL(try_thread(), 0);
    end();
}

/* ---- the state directory ---- */

static void *work_before_and_after(void *context)
{
    struct confine_means means = confine_means();
    confine_thread(scene.confine);
    CU_ASSERT_EQUAL(try_read_outside(), 0); /* the queue is not open yet */
    confine_to_state(scene.confine);
    confine_thread(scene.confine);
    CU_ASSERT_EQUAL(try_read_outside(), means.landlock > 0 ? EACCES : 0);
    CU_ASSERT_EQUAL(try_state(), 0);
    return context;
}

static void a_thread_is_confined_in_two_steps(void)
{
    scene.config = (struct config){.confine = CONFINE_YES, .state_dir = scene.state};
    scene.confine = confine_open(&scene.config);
    confine_start(scene.confine);
    in_a_thread(work_before_and_after, NULL);
    end();
}

static void another_directory_in_its_place_is_seen(void)
{
    char away[PATH_SIZE];
    bool there = has(LANDLOCK);
    path_join(away, scene.directory, "away");
    begin();
    CU_ASSERT_FALSE(confine_is_stale(scene.confine));
    CU_ASSERT_EQUAL(rename(scene.state, away), 0);
    CU_ASSERT_FALSE(confine_is_stale(scene.confine)); /* it may come back */
    CU_ASSERT_EQUAL(mkdir(scene.state, 0700), 0);
    CU_ASSERT_EQUAL(confine_is_stale(scene.confine), there);
    CU_ASSERT_EQUAL(rmdir(scene.state), 0);
    CU_ASSERT_EQUAL(rename(away, scene.state), 0);
    CU_ASSERT_FALSE(confine_is_stale(scene.confine));
    end();
}

static void one_that_comes_later_is_seen(void)
{
    char later[PATH_SIZE];
    path_join(later, scene.directory, "later");
    scene.config = (struct config){.confine = CONFINE_YES, .state_dir = later};
    scene.confine = confine_open(&scene.config);
    confine_start(scene.confine);
    CU_ASSERT_FALSE(confine_is_stale(scene.confine));
    confine_to_state(scene.confine);
    CU_ASSERT_FALSE(confine_is_stale(scene.confine));
    CU_ASSERT_EQUAL(mkdir(later, 0700), 0);
    CU_ASSERT_EQUAL(confine_is_stale(scene.confine), has(LANDLOCK));
    CU_ASSERT_EQUAL(rmdir(later), 0);
    end();
}

/* A folder of keys that lies elsewhere is read all the same. */
static void *read_linked(void *context)
{
    char file[PATH_SIZE];
    path_join(file, scene.state, "keys/a.key");
    confine_thread(scene.confine);
    CU_ASSERT_EQUAL(try_open(file, O_RDONLY), 0);
    return context;
}

static void linked_keys_are_read(void)
{
    char real[PATH_SIZE], link[PATH_SIZE];
    path_join(real, scene.directory, "real");
    path_join(link, scene.state, "keys");
    CU_ASSERT(temporary_directory(scene.directory, "real"));
    CU_ASSERT(temporary_write(real, "a.key", 0600, "x", 1));
    CU_ASSERT_EQUAL(symlink(real, link), 0);
    begin();
    in_a_thread(read_linked, NULL);
    end();
    unlink(link);
}

/* ---- whether it is wanted ---- */

static bool is_wanted(enum confinement confine, const char *started)
{
    const struct config config = {.confine = confine};
    if (started == NULL)
        unsetenv("SYSTEMD_EXEC_PID");
    else
        setenv("SYSTEMD_EXEC_PID", started, 1);
    bool wanted = confine_is_wanted(&config);
    unsetenv("SYSTEMD_EXEC_PID");
    return wanted;
}

static void auto_is_where_systemd_starts_it(void)
{
    char own[24], others[24];
    snprintf(own, sizeof own, "%ld", (long)getpid());
    snprintf(others, sizeof others, "%ld", (long)getppid());
    CU_ASSERT_FALSE(is_wanted(CONFINE_AUTO, NULL));
    CU_ASSERT_FALSE(is_wanted(CONFINE_AUTO, others)); /* a web server's child */
    CU_ASSERT_TRUE(is_wanted(CONFINE_AUTO, own));
    CU_ASSERT_FALSE(is_wanted(CONFINE_NO, own));
    CU_ASSERT_TRUE(is_wanted(CONFINE_YES, NULL));
    scene.config = (struct config){.confine = CONFINE_NO, .state_dir = scene.state};
    CU_ASSERT_PTR_NULL(confine_open(&scene.config));
    confine_start(NULL);
}

static bool says(enum confinement confine, bool seccomp, int landlock, const char *text)
{
    const struct config config = {.confine = confine};
    char words[CONFINE_WORDS];
    confine_say(&config, (struct confine_means){seccomp, landlock}, words);
    return check(strcmp(words, text) == 0, "\"%s\" is \"%s\"", words, text);
}

static void says_what_there_is(void)
{
    CU_ASSERT(says(CONFINE_YES, true, 7,
                   "confine = yes: what reads requests is confined: by seccomp, by Landlock, version 7"));
    CU_ASSERT(says(CONFINE_AUTO, true, 0,
                   "confine = auto: what reads requests is confined where systemd starts the program itself: by "
                   "seccomp, there is no Landlock"));
    CU_ASSERT(says(CONFINE_YES, false, 1,
                   "confine = yes: what reads requests is confined: there is no seccomp, by Landlock, version 1"));
    CU_ASSERT(says(CONFINE_YES, false, 0,
                   "confine = yes: nothing is confined, for there is neither seccomp nor Landlock here"));
    CU_ASSERT(says(CONFINE_NO, true, 7, "confine = no: what reads requests may do all that the program may"));
}

/* ---- jobs aside ---- */

static void count_up(void *argument)
{
    (*(int *)argument)++;
}

static void *ask_often(void *context)
{
    for (int i = 0; i < 20; i++)
        confine_aside(scene.confine, count_up, context);
    return context;
}

static void jobs_of_many_threads_are_done(void)
{
    enum { THREADS = 8 };
    pthread_t thread[THREADS];
    int done[THREADS] = {0};
    begin();
    for (size_t i = 0; i < THREADS; i++)
        CU_ASSERT_EQUAL_FATAL(pthread_create(&thread[i], NULL, ask_often, &done[i]), 0);
    for (size_t i = 0; i < THREADS; i++) {
        pthread_join(thread[i], NULL);
        CU_ASSERT_EQUAL(done[i], 20);
    }
    end();
    confine_aside(NULL, count_up, &done[0]); /* where nothing is confined, at once */
    CU_ASSERT_EQUAL(done[0], 21);
}

/* ---- the log ---- */

static int listen_as_syslog(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    snprintf(address.sun_path, sizeof address.sun_path, "%.100s", path);
    unlink(path);
    CU_ASSERT_EQUAL(bind(fd, (const struct sockaddr *)&address, sizeof address), 0);
    return fd;
}

static void *log_confined(void *context)
{
    confine_thread(scene.confine);
    log_syslog_write(LOG_ERR, context, strlen(context));
    return NULL;
}

static bool took(int fd, const char *words)
{
    char line[2048] = "";
    ssize_t n = recv(fd, line, sizeof line - 1, 0);
    return n > 0 && strstr(line, words) != NULL;
}

/* A confined thread cannot connect to a syslog daemon that was started anew: another one does it soon. */
static void a_new_syslog_is_found(void)
{
    char path[PATH_SIZE];
    path_join(path, scene.directory, "log");
    int before = listen_as_syslog(path);
    log_syslog_open(path);
    begin();
    in_a_thread(log_confined, "first");
    CU_ASSERT(took(before, "first"));
    close(before);
    int after = listen_as_syslog(path);
    in_a_thread(log_confined, "second");
    log_syslog_keep();
    in_a_thread(log_confined, "third");
    CU_ASSERT(took(after, confine_means().seccomp ? "msg=log_lines_dropped count=1" : "second"));
    CU_ASSERT(took(after, "third"));
    end();
    log_syslog_open(NULL);
    close(after);
}

void suite_confine(void)
{
    static CU_TestInfo tests[] = {
        {"refuses what requests do not need", refuses_what_requests_do_not_need},
        {"a thread is confined in two steps", a_thread_is_confined_in_two_steps},
        {"another directory in its place is seen", another_directory_in_its_place_is_seen},
        {"one that comes later is seen", one_that_comes_later_is_seen},
        {"linked keys are read", linked_keys_are_read},
        {"a new syslog is found", a_new_syslog_is_found},
        {"auto is where systemd starts it", auto_is_where_systemd_starts_it},
        {"says what there is", says_what_there_is},
        {"jobs of many threads are done", jobs_of_many_threads_are_done},
        CU_TEST_INFO_NULL,
    };
    suite_add("confine", prepare, tidy, tests);
}
