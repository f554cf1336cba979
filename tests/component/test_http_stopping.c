/* How the FastCGI server stops, and how it makes room for its successor. */
#include "base/clock.h"
#include "tests/suites.h"
#include "tests/support/durable.h"
#include "tests/support/fastcgi_client.h"
#include "tests/support/http_expect.h"

#include <signal.h>
#include <unistd.h>

/* With threads and kept connections idle. Returns after how many milliseconds. */
static int64_t stop_when_idle(void)
{
    struct http_server server;
    http_expect_start(&server, &http_expect_usual);
    int kept = fastcgi_connect(server.socket);
    CU_ASSERT_TRUE(fastcgi_send(kept, true, "/echo", "kept", 4));
    http_expect_echo(kept, "kept", 4);
    moment asked = clock_now();
    http_expect_stop(&server);
    int64_t took = clock_now() - asked;
    CU_ASSERT_TRUE(fastcgi_closes(kept, 0));
    close(kept);
    return took;
}

/* A second is what web servers leave at least before they kill. A machine that has much else to do may take longer at
 * times: a program that waited for something would always. */
static void stops_at_once_when_idle(void)
{
    bool in_time = false;
    for (int i = 0; i < 5 && !in_time; i++)
        in_time = stop_when_idle() < durable_patience(1000);
    CU_ASSERT_TRUE(in_time);
}

static void finishes_requests_in_hand(void)
{
    struct http_server server;
    http_expect_start(&server, &http_expect_usual);
    int fd = fastcgi_connect(server.socket);
    CU_ASSERT_TRUE(fastcgi_send(fd, true, "/hold", "x", 1));
    CU_ASSERT_TRUE(http_server_tells(&server, 'H'));
    http_server_stop(&server);
    CU_ASSERT_EQUAL(write(server.let, "L", 1), 1);
    http_expect_answer(fd, 200, "held");
    CU_ASSERT_EQUAL(http_server_end(&server), 0);
    close(fd);
}

static void cuts_stalled_bodies_when_it_stops(void)
{
    struct http_server server;
    http_expect_start(&server, &http_expect_usual);
    int fd = http_expect_stall(&server, "100", "half of it");
    http_expect_service(&server);
    http_server_stop(&server);
    http_expect_answer(fd, 400, NULL);
    CU_ASSERT_EQUAL(http_server_end(&server), 0);
    close(fd);
}

static void says_when_a_request_does_not_end(void)
{
    struct http_server server;
    http_expect_start(&server, &http_expect_usual);
    int fd = fastcgi_connect(server.socket);
    CU_ASSERT_TRUE(fastcgi_send(fd, false, "/hold", "x", 1));
    CU_ASSERT_TRUE(http_server_tells(&server, 'H'));
    http_server_stop(&server);
    CU_ASSERT_EQUAL(http_server_end(&server), 3);
    close(fd);
}

/* A kept connection, one whose request comes while the program is exchanged, and one that never said anything. */
static void hands_connections_over(void)
{
    struct http_server server;
    int fds[3];
    http_expect_start(&server, &http_expect_usual);
    for (int i = 0; i < 3; i++)
        fds[i] = fastcgi_connect(server.socket);
    for (int i = 0; i < 2; i++) {
        CU_ASSERT_TRUE(fastcgi_send(fds[i], true, "/echo", "old", 3));
        http_expect_echo(fds[i], "old", 3);
    }
    kill(server.pid, SIGHUP);
    CU_ASSERT_TRUE(fastcgi_send(fds[0], true, "/echo", "between", 7));
    http_expect_echo(fds[0], "between", 7);
    CU_ASSERT_TRUE(http_server_tells(&server, 'R'));
    for (int i = 0; i < 3; i++) {
        CU_ASSERT_TRUE(fastcgi_send(fds[i], i == 1, "/echo", "new", 3));
        http_expect_echo(fds[i], "new", 3);
        CU_ASSERT_EQUAL(fastcgi_closes(fds[i], i == 1 ? 0 : HTTP_EXPECT_MS), i != 1);
    }
    http_expect_service(&server);
    http_expect_stop(&server);
    CU_ASSERT_TRUE(fastcgi_closes(fds[1], 0));
    for (int i = 0; i < 3; i++)
        close(fds[i]);
}

/* Fresh and kept connections in turn, all through five exchanges of the program. */
static void loses_no_request_while_it_is_exchanged(void)
{
    struct http_server server;
    int kept[4];
    http_expect_start(&server, &http_expect_usual);
    for (int i = 0; i < 4; i++)
        kept[i] = fastcgi_connect(server.socket);
    for (int round = 0; round < 5; round++) {
        kill(server.pid, SIGHUP);
        for (int i = 0; i < 40; i++) {
            CU_ASSERT_TRUE(fastcgi_send(kept[i % 4], true, "/echo", "kept", 4));
            http_expect_echo(kept[i % 4], "kept", 4);
            http_expect_service(&server);
        }
        CU_ASSERT_TRUE(http_server_tells(&server, 'R'));
    }
    for (int i = 0; i < 4; i++)
        close(kept[i]);
    http_expect_stop(&server);
}

void suite_http_stopping(void)
{
    static CU_TestInfo tests[] = {
        {"stopping when idle takes no time", stops_at_once_when_idle},
        {"requests in hand are finished", finishes_requests_in_hand},
        {"a stalled body does not hold up stopping", cuts_stalled_bodies_when_it_stops},
        {"a request that does not end is reported", says_when_a_request_does_not_end},
        {"idle connections are handed over", hands_connections_over},
        {"no request is lost while the program is exchanged", loses_no_request_while_it_is_exchanged},
        CU_TEST_INFO_NULL,
    };
    suite_add("http stopping", NULL, NULL, tests);
}
