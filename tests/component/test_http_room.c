/* The memory that all bodies share: taken as bytes arrive, and the newest gives way. */
#include "base/clock.h"
#include "config/config.h"
#include "http/http.h"
#include "http/http_private.h"
#include "process/process.h"
#include "tests/suites.h"
#include "tests/support/fastcgi_client.h"
#include "tests/support/http_expect.h"

#include <linux/sockios.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define KB ((size_t)1000)

static void interrupted(void *self)
{
    int *times = self;
    (*times)++;
}

static void the_newest_gives_way(void)
{
    struct body_budget room;
    int times = 0;
    struct body_share old = {.started = 1}, newer = {.started = 2}, newest = {.started = 3};
    newest.interrupt = newer.interrupt = interrupted;
    newest.self = newer.self = &times;
    budget_init(&room, 1000 * KB);
    CU_ASSERT_TRUE(budget_take(&room, &old, 400 * KB));
    CU_ASSERT_TRUE(budget_take(&room, &newer, 300 * KB));
    CU_ASSERT_TRUE(budget_take(&room, &newest, 200 * KB));
    CU_ASSERT_FALSE(budget_take(&room, &newest, 200 * KB)); /* it is the newest itself */
    CU_ASSERT_EQUAL(times, 0);
    CU_ASSERT_TRUE(budget_take(&room, &old, 200 * KB));
    CU_ASSERT_EQUAL(times, 1);
    CU_ASSERT_TRUE(budget_has_given_way(&room, &newest));
    CU_ASSERT_FALSE(budget_has_given_way(&room, &newer));
    CU_ASSERT_FALSE(budget_take(&room, &newest, 1));
    CU_ASSERT_FALSE(budget_finish(&room, &newest));
    CU_ASSERT_TRUE(budget_finish(&room, &newer));
    CU_ASSERT_FALSE(budget_take(&room, &old, 200 * KB)); /* what has come to its end gives way no more */
    budget_release(&room, &newest);
    budget_release(&room, &newer);
    CU_ASSERT_TRUE(budget_take(&room, &old, 5000 * KB)); /* it is alone */
    budget_release(&room, &old);
    CU_ASSERT_EQUAL(atomic_load(&room.taken), 0);
    budget_free(&room);
}

/* Waits until the server has read all that was sent. */
static void wait_until_read(int fd)
{
    int left = 1;
    for (moment deadline = clock_now() + HTTP_EXPECT_MS; left > 0 && clock_now() < deadline; poll(NULL, 0, 2)) {
        if (ioctl(fd, SIOCOUTQ, &left) != 0)
            break;
    }
    CU_ASSERT_EQUAL(left, 0);
}

static void what_is_only_announced_takes_no_room(void)
{
    struct http_server_settings settings = http_expect_usual;
    struct http_server server;
    char *body = http_expect_body(900 * KB);
    int stalled[3];
    settings.max_bodies = 1200 * KB;
    http_expect_start(&server, &settings);
    for (size_t i = 0; i < 3; i++) {
        stalled[i] = http_expect_stall(&server, "900000", "x");
        wait_until_read(stalled[i]);
    }
    int fd = http_expect_post(&server, "/echo", "900000", body, 900 * KB);
    http_expect_echo(fd, body, 900 * KB);
    close(fd);
    for (size_t i = 0; i < 3; i++)
        close(stalled[i]);
    free(body);
    http_expect_stop(&server);
}

/* Sends the beginning of a body of 900,000 bytes. */
static int begin(const struct http_server *server, const char *body, size_t length)
{
    struct fastcgi_parameter parameters[5];
    fastcgi_post(parameters, "/echo", "900000");
    int fd = http_expect_connect(server);
    CU_ASSERT_TRUE(fastcgi_begin(fd, false, parameters) && fastcgi_body(fd, body, length));
    wait_until_read(fd);
    return fd;
}

static void an_older_body_comes_to_its_end(void)
{
    struct http_server_settings settings = http_expect_usual;
    struct http_server server;
    char *body = http_expect_body(900 * KB);
    settings.max_bodies = 1200 * KB;
    http_expect_start(&server, &settings);
    int older = begin(&server, body, 500 * KB);
    int newer = begin(&server, body, 500 * KB); /* and it stalls there */
    CU_ASSERT_TRUE(fastcgi_body(older, body + 500 * KB, 400 * KB) && fastcgi_body(older, "", 0));
    http_expect_echo(older, body, 900 * KB);
    http_expect_answer(newer, 503, NULL);
    close(older);
    close(newer);
    http_expect_service(&server);
    free(body);
    http_expect_stop(&server);
}

static void one_body_may_be_larger_than_the_room(void)
{
    struct http_server_settings settings = http_expect_usual;
    struct http_server server;
    char *body = http_expect_body(900 * KB);
    settings.max_bodies = 100 * KB;
    http_expect_start(&server, &settings);
    int fd = http_expect_post(&server, "/echo", "900000", body, 900 * KB);
    http_expect_echo(fd, body, 900 * KB);
    close(fd);
    fd = http_expect_post(&server, "/echo", NULL, body, 900 * KB);
    http_expect_echo(fd, body, 900 * KB);
    close(fd);
    free(body);
    http_expect_stop(&server);
}

static void a_limit_of_addresses_limits_the_room(void)
{
    const struct config config = {.max_body = 16777216, .request_threads = 32};
    struct rlimit before, limit;
    CU_ASSERT_EQUAL(process_http_limits(&config).max_bodies, 64 * 1024 * 1024);
    CU_ASSERT_EQUAL_FATAL(getrlimit(RLIMIT_AS, &before), 0);
    if (before.rlim_cur != RLIM_INFINITY)
        return; /* it is limited already, and who knows how */
    limit = before;
    pid_t child = fork();
    if (child == 0) {
        limit.rlim_cur = 100000000;
        bool good = setrlimit(RLIMIT_AS, &limit) == 0 && process_http_limits(&config).max_bodies == 25000000;
        _exit(good ? 0 : 1);
    }
    int status = -1;
    CU_ASSERT_EQUAL(waitpid(child, &status, 0), child);
    CU_ASSERT_EQUAL(status, 0);
}

/* The answer that needs no memory is one that a web server understands. */
static void is_answered_without_memory(void)
{
    int ends[2];
    struct fastcgi_parameter parameters[5];
    struct fastcgi_answer answer;
    CU_ASSERT_EQUAL_FATAL(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    fastcgi_post(parameters, "/echo", "5");
    CU_ASSERT_TRUE(fastcgi_begin(ends[0], true, parameters) && fastcgi_body(ends[0], "hello", 5));
    headroom_refuse(ends[1]);
    CU_ASSERT_TRUE(fastcgi_read(ends[0], &answer, HTTP_EXPECT_MS));
    CU_ASSERT_EQUAL(answer.status, 503);
    CU_ASSERT_PTR_NOT_NULL(strstr(answer.text, "\r\nRetry-After: "));
    CU_ASSERT_STRING_EQUAL(answer.body, "{\"error\": \"out of memory or of descriptors: send it again later\"}\n");
    fastcgi_answer_free(&answer);
    close(ends[0]);
    close(ends[1]);
}

void suite_http_room(void)
{
    static CU_TestInfo tests[] = {
        {"the newest gives way", the_newest_gives_way},
        {"what is only announced takes no room", what_is_only_announced_takes_no_room},
        {"an older body comes to its end", an_older_body_comes_to_its_end},
        {"one body may be larger than the room", one_body_may_be_larger_than_the_room},
        {"a limit of addresses limits the room", a_limit_of_addresses_limits_the_room},
        {"is answered without memory", is_answered_without_memory},
        CU_TEST_INFO_NULL,
    };
    suite_add("http room", NULL, NULL, tests);
}
