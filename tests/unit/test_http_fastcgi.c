/* The FastCGI server, asked by a web server that behaves, and by some that do not. */
#include "tests/suites.h"
#include "tests/unit/fastcgi_client.h"
#include "tests/unit/test_http_server.h"
#include "watch/clock.h"

#include <fastcgi.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LONG_MS 20000 /* longer than anything here should take */

static const struct http_server_settings usual = {
    .threads = 4, .max_body = 1000000, .max_bodies = 4000000, .timeout_ms = 10000};

static void start(struct http_server *server, const struct http_server_settings *settings)
{
    CU_ASSERT_TRUE_FATAL(http_server_start(server, settings));
}

static void stop(struct http_server *server)
{
    http_server_stop(server);
    CU_ASSERT_EQUAL(http_server_end(server), 0);
}

/* Reads the answer and asserts status and body; body NULL: whatever it is. */
static void expect(int fd, int status, const char *body)
{
    struct fastcgi_answer answer;
    CU_ASSERT_TRUE(fastcgi_read(fd, &answer, LONG_MS));
    CU_ASSERT_EQUAL(answer.status, status);
    if (body != NULL)
        CU_ASSERT_STRING_EQUAL(answer.body, body);
    fastcgi_answer_free(&answer);
}

static void expect_echo(int fd, const char *body, size_t length)
{
    char text[64];
    http_server_echo(text, sizeof text, body, length);
    expect(fd, 200, text);
}

/* One good request on a connection of its own. */
static void expect_service(const struct http_server *server)
{
    int fd = fastcgi_connect(server->socket);
    CU_ASSERT_TRUE(fastcgi_send(fd, false, "/echo", "hello", 5));
    expect_echo(fd, "hello", 5);
    CU_ASSERT_TRUE(fastcgi_closes(fd, LONG_MS));
    close(fd);
}

static void answers_a_good_request(void)
{
    struct http_server server;
    struct fastcgi_answer answer;
    start(&server, &usual);
    int fd = fastcgi_connect(server.socket);
    fastcgi_send(fd, false, "/echo", "{}", 2);
    CU_ASSERT_TRUE(fastcgi_read(fd, &answer, LONG_MS));
    CU_ASSERT_STRING_EQUAL(answer.text, "Status: 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\n"
                                        "Content-Length: 10\r\nCache-Control: no-store\r\n"
                                        "X-Content-Type-Options: nosniff\r\n\r\n2 00000f62");
    CU_ASSERT_TRUE(fastcgi_closes(fd, LONG_MS));
    fastcgi_answer_free(&answer);
    close(fd);
    stop(&server);
}

void suite_http_fastcgi(void)
{
    http_server_if_asked();
    static CU_TestInfo tests[] = {
        {"a good request is answered", answers_a_good_request},
        CU_TEST_INFO_NULL,
    };
    (void)expect_service;
    suite_add("http fastcgi", NULL, NULL, tests);
}
