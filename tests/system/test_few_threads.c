/* A system that allows fewer threads than wished (RLIMIT_NPROC, as hosts and containers set it): the program serves
 * with those, and forwards. The limit counts all processes of a user, so the program runs as one that nobody else is.
 */
#include "tests/suites.h"

#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/check.h"
#include "tests/support/durable.h"
#include "tests/support/fastcgi_client.h"

#define SOON_MS 60000
#define WISHED 32
#define OTHERS 1    /* threads that are there before: main */
#define KEPT_FREE 7 /* for those that it starts later */

#ifdef __SANITIZE_THREAD__
#define SANITIZERS_OWN 1
#else
#define SANITIZERS_OWN 0
#endif

/* The program on a socket of its own, without a web server. */
struct few {
    struct site site; /* only its directory, stand-in and program are used */
    char socket[PATH_SIZE];
    uid_t user;
};

static bool write_files(struct few *few, const char *more)
{
    static const struct standin_options options = {.write_keys = {OPEN_WRITE_KEY}};
    char text[512], path[PATH_SIZE];
    struct site *site = &few->site;
    few->user = (uid_t)(61000 + getpid() % 4000);
    site->standin = standin_start(&options);
    if (!check(site->standin != NULL && temporary_make(site->directory), "a stand-in and a directory"))
        return false;
    int length = snprintf(text, sizeof text,
                          "data_plane_url = http://127.0.0.1:%u\nwrite_key = " OPEN_WRITE_KEY
                          "\nrequest_threads = %d\nshutdown_grace = 1s\n%s",
                          standin_port(site->standin), WISHED, more);
    path_join(few->socket, site->directory, "socket");
    path_join(path, site->directory, "closecrm.conf");
    return check(temporary_write(site->directory, "closecrm.conf", 0600, text, (size_t)length) &&
                     temporary_copy(site->directory, "closecrm.fcgi", 0755, program_under_test()) &&
                     chown(path, few->user, few->user) == 0 && chown(site->directory, few->user, few->user) == 0,
                 "root can give files to user %u", (unsigned)few->user);
}

static _Noreturn void become(const struct few *few, int listening, int log, rlim_t threads)
{
    char program[PATH_SIZE], config[PATH_SIZE + 32];
    char *const environment[] = {config, NULL};
    path_join(program, few->site.directory, "closecrm.fcgi");
    snprintf(config, sizeof config, "CLOSECRM_CONFIG=%s/closecrm.conf", few->site.directory);
    const struct rlimit limit = {threads, threads};
    dup2(listening, STDIN_FILENO);
    dup2(log, STDOUT_FILENO);
    dup2(log, STDERR_FILENO);
    if (setgroups(0, NULL) != 0 || setgid(few->user) != 0 || setuid(few->user) != 0 ||
        setrlimit(RLIMIT_NPROC, &limit) != 0 || prctl(PR_SET_PDEATHSIG, SIGKILL) != 0)
        _exit(126);
    execle(program, program, (char *)NULL, environment);
    _exit(127);
}

/* Starts it with so many threads in all, and more lines of configuration. */
static bool start(struct few *few, rlim_t threads, const char *more)
{
    char path[PATH_SIZE];
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    *few = (struct few){.site = {.setup = &setup_lighttpd_spawn,
                                 .client = client_new(),
                                 .failures_before = CU_get_number_of_failure_records()}};
    if (!write_files(few, more))
        return false;
    path_join(path, few->site.directory, "program.log");
    snprintf(address.sun_path, sizeof address.sun_path, "%.100s", few->socket);
    int log = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    int listening = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool ready = bind(listening, (const struct sockaddr *)&address, sizeof address) == 0 && listen(listening, 64) == 0;
    few->site.program.pid = ready ? fork() : -1;
    if (few->site.program.pid == 0)
        become(few, listening, log, threads);
    setpgid(few->site.program.pid, few->site.program.pid);
    close(log);
    close(listening);
    return check(few->site.program.pid > 0, "the program starts");
}

/* One event in a connection of its own. Returns the status. */
static int send_event(const struct few *few, const char *id)
{
    char body[128], length[16];
    struct fastcgi_answer answer = {.text = NULL};
    snprintf(body, sizeof body, "{\"event\":{\"id\":\"%s\",\"object_type\":\"lead\",\"action\":\"updated\"}}", id);
    snprintf(length, sizeof length, "%zu", strlen(body));
    const struct fastcgi_parameter parameters[] = {{"REQUEST_METHOD", "POST"},
                                                   {"PATH_INFO", ""},
                                                   {"QUERY_STRING", "writeKey=" OPEN_WRITE_KEY},
                                                   {"CONTENT_LENGTH", length},
                                                   {NULL, NULL}};
    int fd = fastcgi_connect(few->socket), status = 0;
    if (fd >= 0 && fastcgi_begin(fd, false, parameters) && fastcgi_body(fd, body, strlen(body)) &&
        fastcgi_body(fd, "", 0) && fastcgi_read(fd, &answer, (int)durable_patience(SOON_MS)))
        status = answer.status == 0 ? 200 : answer.status;
    fastcgi_answer_free(&answer);
    if (fd >= 0)
        close(fd);
    return status;
}

static void check_serves_and_forwards(struct few *few)
{
    for (size_t i = 1; i <= 3; i++) {
        char id[16];
        snprintf(id, sizeof id, "ev_%zu", i);
        CU_ASSERT_EQUAL(send_event(few, id), 200);
        CU_ASSERT(standin_wait_messages(few->site.standin, i, durable_patience(SOON_MS)));
    }
}

static void end(struct few *few)
{
    int status = -1;
    kill(few->site.program.pid, SIGTERM);
    CU_ASSERT(process_wait(&few->site.program, durable_patience(SOON_MS), &status));
    CU_ASSERT_EQUAL(status, 0);
    site_close(&few->site);
}

static void seventeen_of_thirty_two(void)
{
    struct few few;
    if (start(&few, OTHERS + KEPT_FREE + 17 + SANITIZERS_OWN, "")) {
        check_serves_and_forwards(&few);
        CU_ASSERT_EQUAL(site_count_logged(&few.site, "msg=fewer_request_threads started=17 wished=32 "), 1);
        CU_ASSERT_EQUAL(site_count_logged(&few.site, "msg=no_housekeeper"), 0);
    }
    end(&few);
}

static void a_single_one(void)
{
    struct few few;
    if (start(&few, OTHERS + 1 + 1 + SANITIZERS_OWN, "")) {
        check_serves_and_forwards(&few);
        CU_ASSERT_EQUAL(site_count_logged(&few.site, "msg=fewer_request_threads started=1 wished=32 "), 1);
        CU_ASSERT_EQUAL(site_count_logged(&few.site, "msg=no_housekeeper"), 1);
    }
    end(&few);
}

/* The thread that starts jobs aside is the last that may be missing: then nothing is confined. */
static void a_single_one_is_not_confined(void)
{
    struct few few;
    if (start(&few, OTHERS + 1 + 1 + SANITIZERS_OWN, "confine = yes\n")) {
        check_serves_and_forwards(&few);
        CU_ASSERT_EQUAL(site_count_logged(&few.site, "msg=fewer_request_threads started=1 wished=32 "), 1);
        CU_ASSERT_EQUAL(site_count_logged(&few.site, "msg=not_confined to=anything "), 1);
    }
    end(&few);
}

static void sixteen_are_confined(void)
{
    struct few few;
    if (start(&few, OTHERS + KEPT_FREE + 17 + SANITIZERS_OWN, "confine = yes\n")) {
        check_serves_and_forwards(&few);
        CU_ASSERT_EQUAL(site_count_logged(&few.site, "msg=fewer_request_threads started=16 wished=32 "), 1);
        CU_ASSERT_EQUAL(site_count_logged(&few.site, "msg=confines_request_threads "), 1);
        CU_ASSERT_EQUAL(site_count_logged(&few.site, "msg=no_housekeeper"), 0);
    }
    end(&few);
}

/* What supervisors go by: it is no use to start it again before somebody has mended it. */
static void a_faulty_configuration_ends_it_with_3(void)
{
    struct few few;
    int status = -1;
    if (start(&few, WISHED * 2, "wriet_key = x\n"))
        CU_ASSERT(process_wait(&few.site.program, durable_patience(SOON_MS), &status));
    CU_ASSERT(WIFEXITED(status) && WEXITSTATUS(status) == 3);
    site_close(&few.site);
}

void suite_few_threads(void)
{
    static CU_TestInfo tests[] = {
        {"17 request threads of 32", seventeen_of_thirty_two},
        {"a single one, and none to write or to keep house", a_single_one},
        {"a single one is not confined", a_single_one_is_not_confined},
        {"16 are confined", sixteen_are_confined},
        {"a faulty configuration ends it with 3", a_faulty_configuration_ends_it_with_3},
        CU_TEST_INFO_NULL,
    };
    suite_add("few threads", NULL, NULL, tests);
}
