/* What the FastCGI server takes no longer, and no more of: time and bytes. */
#include "base/clock.h"
#include "tests/suites.h"
#include "tests/support/fastcgi_client.h"
#include "tests/support/http_expect.h"

#include <fastcgi.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define GIVEN_UP_MS 1000 /* a request that does not stall is there by then */

static void expect_stalled_is_given_up(bool tcp)
{
    struct http_server_settings settings = http_expect_usual;
    struct http_server server;
    settings.tcp = tcp;
    settings.threads = 1;
    settings.timeout_ms = GIVEN_UP_MS;
    http_expect_start(&server, &settings);
    int fd = http_expect_stall(&server, "100", "half of it");
    http_expect_answer(fd, 400,
                       "{\"error\": \"the request did not arrive within 1000 ms; 10 bytes of its body had come\"}\n");
    CU_ASSERT_TRUE(fastcgi_closes(fd, HTTP_EXPECT_MS));
    close(fd);
    http_expect_service(&server);
    http_expect_stop(&server);
}

static void stalled_bodies_are_given_up(void)
{
    expect_stalled_is_given_up(false);
    expect_stalled_is_given_up(true);
}

static void pause_ms(long ms)
{
    struct timespec time = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
    nanosleep(&time, NULL);
}

/* 10,000 bytes at that pace would take 100 s: that the server answers before they are sent is what is proved. */
static void expect_trickle_is_given_up(bool tcp)
{
    struct http_server_settings settings = http_expect_usual;
    struct http_server server;
    settings.tcp = tcp;
    settings.timeout_ms = 500;
    http_expect_start(&server, &settings);
    moment begun = clock_now();
    int fd = http_expect_stall(&server, "10000", "x");
    int sent = 1;
    while (sent < 10000 && fastcgi_body(fd, "x", 1)) {
        pause_ms(10);
        sent++;
    }
    CU_ASSERT_TRUE(sent < 10000);
    CU_ASSERT_TRUE(clock_now() - begun >= 500);
    http_expect_answer(fd, 400, NULL);
    close(fd);
    http_expect_stop(&server);
}

static void trickling_bodies_are_given_up(void)
{
    expect_trickle_is_given_up(false);
    expect_trickle_is_given_up(true);
}

/* The same within a record's header and before there is any request. */
static void trickling_beginnings_are_given_up(void)
{
    struct http_server_settings settings = http_expect_usual;
    struct http_server server;
    settings.threads = 1;
    settings.timeout_ms = GIVEN_UP_MS;
    http_expect_start(&server, &settings);
    int fd = fastcgi_connect(server.socket);
    struct {
        FCGI_Header header;
        FCGI_BeginRequestBody body;
    } begin = {{.version = 1, .type = FCGI_BEGIN_REQUEST, .requestIdB0 = 1, .contentLengthB0 = 8}, {.roleB0 = 1}};
    int sent = 0;
    while (sent < (int)sizeof begin && write(fd, (char *)&begin + sent, 1) == 1) {
        pause_ms(250);
        sent++;
    }
    CU_ASSERT_TRUE(sent < (int)sizeof begin);
    close(fd);
    http_expect_service(&server);
    http_expect_stop(&server);
}

static void clients_that_take_no_answer_are_given_up(void)
{
    struct http_server_settings settings = http_expect_usual;
    struct http_server server;
    settings.threads = 1;
    settings.timeout_ms = GIVEN_UP_MS;
    http_expect_start(&server, &settings);
    int fd = fastcgi_connect(server.socket);
    CU_ASSERT_TRUE(fastcgi_send(fd, false, "/large", "x", 1));
    http_expect_service(&server);
    close(fd);
    http_expect_stop(&server);
}

static void judges_lengths(void)
{
    static const struct {
        const char *announced;
        const char *body;
        int status;
    } cases[] = {
        {"10", "hello", 400},
        {"5", "hello", 200},
        {"3", "hello", 200},
        {NULL, "hello", 200},
        {"five", "hello", 400},
        {"-1", "hello", 400},
        {"0x5", "hello", 400},
        {"0", "", 400},
        {NULL, "", 400},
        {"", "hello", 200},
        {"99999999999999999999999999", "hello", 413},
    };
    struct http_server server;
    http_expect_start(&server, &http_expect_usual);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int fd = http_expect_post(&server, "/echo", cases[i].announced, cases[i].body, strlen(cases[i].body));
        http_expect_answer(fd, cases[i].status, NULL);
        close(fd);
    }
    http_expect_stop(&server);
}

/* The client sends all of the body before it reads: the answer must arrive none the less. */
static void too_large_bodies_are_answered_413(void)
{
    struct http_server server;
    size_t length = 3000000;
    char *body = http_expect_body(length);
    http_expect_start(&server, &http_expect_usual);
    int fd = http_expect_post(&server, "/echo", "3000000", body, length);
    http_expect_answer(fd, 413, "{\"error\": \"the body is larger than the 1000000 bytes that max_body allows\"}\n");
    close(fd);
    fd = http_expect_post(&server, "/echo", NULL, body, length);
    http_expect_answer(fd, 413, NULL);
    close(fd);
    fd = http_expect_post(&server, "/echo", NULL, body, 1000001);
    http_expect_answer(fd, 413, NULL);
    close(fd);
    fd = http_expect_post(&server, "/echo", NULL, body, 1000000);
    http_expect_echo(fd, body, 1000000);
    close(fd);
    free(body);
    http_expect_stop(&server);
}

static void a_kept_connection_survives_a_refused_body(void)
{
    struct http_server server;
    size_t length = 3000000;
    char *body = http_expect_body(length);
    http_expect_start(&server, &http_expect_usual);
    int fd = fastcgi_connect(server.socket);
    CU_ASSERT_TRUE(fastcgi_send(fd, true, "/echo", body, length));
    http_expect_answer(fd, 413, NULL);
    CU_ASSERT_TRUE(fastcgi_send(fd, true, "/blind", body, length));
    http_expect_answer(fd, 401, "{\"error\": \"not \\\"you\\\"\"}\n");
    CU_ASSERT_TRUE(fastcgi_send(fd, true, "/nothing", body, 100));
    http_expect_answer(fd, 404, NULL);
    CU_ASSERT_TRUE(fastcgi_send(fd, true, "/echo/", "good", 4));
    http_expect_echo(fd, "good", 4);
    close(fd);
    free(body);
    http_expect_stop(&server);
}

static void all_bodies_in_hand_share_their_room(void)
{
    struct http_server_settings settings = http_expect_usual;
    struct http_server server;
    char *body = http_expect_body(900000);
    settings.max_bodies = 1500000;
    http_expect_start(&server, &settings);
    int first = http_expect_post(&server, "/hold", "900000", body, 900000);
    CU_ASSERT_TRUE(http_server_tells(&server, 'H'));
    int second = http_expect_post(&server, "/echo", "900000", body, 900000);
    http_expect_answer(second, 503, NULL);
    close(second);
    http_expect_service(&server);
    CU_ASSERT_EQUAL(write(server.let, "L", 1), 1);
    http_expect_answer(first, 200, "held");
    CU_ASSERT_TRUE(fastcgi_closes(first, HTTP_EXPECT_MS));
    second = http_expect_post(&server, "/echo", NULL, body, 900000);
    http_expect_echo(second, body, 900000);
    close(first);
    close(second);
    free(body);
    http_expect_stop(&server);
}

/* A TCP connection closed with bytes unread is reset, and its answer lost: nothing may be unread. */
static void refusals_arrive_over_tcp(void)
{
    struct http_server_settings settings = http_expect_usual;
    struct http_server server;
    size_t length = 3000000;
    char *body = http_expect_body(length);
    settings.tcp = true;
    settings.allows = "192.0.2.1,127.0.0.1";
    http_expect_start(&server, &settings);
    for (int i = 0; i < 20; i++) {
        int fd = fastcgi_connect_port(server.port);
        CU_ASSERT_TRUE(fastcgi_send(fd, false, i % 2 == 0 ? "/echo" : "/blind", body, length));
        http_expect_answer(fd, i % 2 == 0 ? 413 : 401, NULL);
        close(fd);
    }
    free(body);
    http_expect_stop(&server);
}

void suite_http_limits(void)
{
    static CU_TestInfo tests[] = {
        {"a stalled body is given up", stalled_bodies_are_given_up},
        {"a trickling body is given up at the same time", trickling_bodies_are_given_up},
        {"a trickling beginning is given up", trickling_beginnings_are_given_up},
        {"a client that takes no answer is given up", clients_that_take_no_answer_are_given_up},
        {"lengths announced, true, false and absent", judges_lengths},
        {"too large a body is answered 413, whenever it is read", too_large_bodies_are_answered_413},
        {"a kept connection survives a refused body", a_kept_connection_survives_a_refused_body},
        {"all bodies in hand share their room", all_bodies_in_hand_share_their_room},
        {"refusals arrive over TCP", refusals_arrive_over_tcp},
        CU_TEST_INFO_NULL,
    };
    suite_add("http limits", NULL, NULL, tests);
}
