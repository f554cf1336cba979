/* The FastCGI server, asked by many web servers at once, good and bad. */
#include "tests/suites.h"
#include "tests/support/fastcgi_client.h"
#include "tests/support/http_expect.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void answers_a_good_request(void)
{
    struct http_server server;
    struct fastcgi_answer answer;
    http_expect_start(&server, &http_expect_usual);
    int fd = fastcgi_connect(server.socket);
    fastcgi_send(fd, false, "/echo", "{}", 2);
    CU_ASSERT_TRUE(fastcgi_read(fd, &answer, HTTP_EXPECT_MS));
    CU_ASSERT_STRING_EQUAL(answer.text, "Status: 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\n"
                                        "Content-Length: 10\r\nCache-Control: no-store\r\n"
                                        "X-Content-Type-Options: nosniff\r\n\r\n2 00000f62");
    CU_ASSERT_TRUE(fastcgi_closes(fd, HTTP_EXPECT_MS));
    fastcgi_answer_free(&answer);
    close(fd);
    http_expect_stop(&server);
}

static void keeps_a_connection(void)
{
    struct http_server server;
    http_expect_start(&server, &http_expect_usual);
    int fd = fastcgi_connect(server.socket);
    for (int i = 0; i < 5; i++) {
        CU_ASSERT_TRUE(fastcgi_send(fd, true, "/echo", "abcde", (size_t)i + 1));
        http_expect_echo(fd, "abcde", (size_t)i + 1);
    }
    CU_ASSERT_TRUE(fastcgi_send(fd, false, "/echo", "last", 4));
    http_expect_echo(fd, "last", 4);
    CU_ASSERT_TRUE(fastcgi_closes(fd, HTTP_EXPECT_MS));
    close(fd);
    http_expect_stop(&server);
}

static void idle_connections_hold_no_thread(void)
{
    struct http_server server;
    int fds[20];
    http_expect_start(&server, &http_expect_usual);
    for (int i = 0; i < 20; i++) {
        fds[i] = fastcgi_connect(server.socket);
        CU_ASSERT_TRUE(fastcgi_send(fds[i], true, "/echo", "one", 3));
        http_expect_echo(fds[i], "one", 3);
    }
    http_expect_service(&server);
    for (int i = 19; i >= 0; i--) {
        CU_ASSERT_TRUE(fastcgi_send(fds[i], true, "/echo", "another", 7));
        http_expect_echo(fds[i], "another", 7);
        close(fds[i]);
    }
    http_expect_service(&server);
    http_expect_stop(&server);
}

static void silent_connections_hold_no_thread(void)
{
    struct http_server server;
    int fds[20];
    http_expect_start(&server, &http_expect_usual);
    for (int i = 0; i < 20; i++)
        fds[i] = fastcgi_connect(server.socket);
    http_expect_service(&server);
    for (int i = 0; i < 20; i++) {
        CU_ASSERT_TRUE(fastcgi_send(fds[i], false, "/echo", "late", 4));
        http_expect_echo(fds[i], "late", 4);
        close(fds[i]);
    }
    http_expect_stop(&server);
}

static void stalled_clients_harm_nobody(void)
{
    struct http_server server;
    int fds[3];
    http_expect_start(&server, &http_expect_usual);
    for (int i = 0; i < 3; i++)
        fds[i] = http_expect_stall(&server, "100", "half of it");
    for (int i = 0; i < 10; i++)
        http_expect_service(&server);
    for (int i = 0; i < 3; i++)
        close(fds[i]);
    http_expect_stop(&server);
}

static void large_answers_are_whole(void)
{
    struct http_server server;
    struct fastcgi_answer answer;
    http_expect_start(&server, &http_expect_usual);
    int fd = fastcgi_connect(server.socket);
    CU_ASSERT_TRUE(fastcgi_send(fd, false, "/large", "x", 1));
    CU_ASSERT_TRUE(fastcgi_read(fd, &answer, HTTP_EXPECT_MS));
    CU_ASSERT_EQUAL(strlen(answer.body), 1024 * 1024);
    fastcgi_answer_free(&answer);
    close(fd);
    http_expect_stop(&server);
}

static void large_bodies_come_through(void)
{
    struct http_server_settings settings = http_expect_usual;
    struct http_server server;
    size_t length = 4 * 1024 * 1024 + 17;
    char *body = http_expect_body(length);
    settings.max_body = 5000000;
    settings.max_bodies = 6000000;
    http_expect_start(&server, &settings);
    int fd = fastcgi_connect(server.socket);
    CU_ASSERT_TRUE(fastcgi_send(fd, false, "/echo", body, length));
    http_expect_echo(fd, body, length);
    CU_ASSERT_TRUE(fastcgi_closes(fd, HTTP_EXPECT_MS));
    close(fd);
    fd = http_expect_post(&server, "/echo", NULL, body, length);
    http_expect_echo(fd, body, length);
    close(fd);
    free(body);
    http_expect_stop(&server);
}

static void survives_garbage(void)
{
    static const struct {
        const char *bytes;
        size_t length;
    } garbage[] = {
        {"GET / HTTP/1.0\r\n\r\n", 18},                                     /* no FastCGI at all */
        {"\1\1\0\1\0\x08\0\0\0\1\0\0\0\0\0", 15},                           /* one byte is missing */
        {"\1\4\0\1\0\0\0\0", 8},                                            /* parameters without a request */
        {"\1\1\0\1\0\x08\0\0\0\x09\0\0\0\0\0\0", 16},                       /* a role that does not exist */
        {"\1\1\0\1\0\x08\0\0\0\1\0\0\0\0\0\0\1\4\0\1\0\2\0\0\xff\xff", 26}, /* a parameter's length is cut */
        {"\1\1\0\1\0\x08\0\0\0\1\0\0\0\0\0\0\1\5\0\1\0\0\0\0", 24},         /* a body before the parameters' end */
        {"\1\1\0\1\0\x08\0\0\0\1\0\0\0\0\0\0\1\4\0\1\0\4\0\0\1\1AB", 28},   /* cut between two parameters */
        {"", 0},
    };
    struct http_server server;
    http_expect_start(&server, &http_expect_usual);
    for (size_t i = 0; i < sizeof garbage / sizeof *garbage; i++) {
        int fd = fastcgi_connect(server.socket);
        CU_ASSERT_EQUAL(write(fd, garbage[i].bytes, garbage[i].length), (ssize_t)garbage[i].length);
        shutdown(fd, SHUT_WR);
        CU_ASSERT_TRUE(fastcgi_closes(fd, HTTP_EXPECT_MS));
        close(fd);
    }
    http_expect_service(&server);
    http_expect_stop(&server);
}

static void serves_200_connections_at_once(void)
{
    struct http_server server;
    int fds[200];
    http_expect_start(&server, &http_expect_usual);
    for (int i = 0; i < 200; i++) {
        fds[i] = fastcgi_connect(server.socket);
        CU_ASSERT_TRUE(fastcgi_send(fds[i], i % 2 == 0, "/echo", "many", 4));
    }
    for (int i = 0; i < 200; i++) {
        http_expect_echo(fds[i], "many", 4);
        close(fds[i]);
    }
    http_expect_stop(&server);
}

static void only_listed_hosts_may_connect(void)
{
    struct http_server_settings settings = http_expect_usual;
    struct http_server server;
    settings.tcp = true;
    settings.allows = "192.0.2.1";
    http_expect_start(&server, &settings);
    int fd = fastcgi_connect_port(server.port);
    CU_ASSERT_TRUE(fastcgi_closes(fd, HTTP_EXPECT_MS));
    close(fd);
    http_expect_stop(&server);
}

void suite_http_fastcgi(void)
{
    http_server_if_asked();
    static CU_TestInfo tests[] = {
        {"a good request is answered", answers_a_good_request},
        {"several requests come on one connection", keeps_a_connection},
        {"20 kept connections hold none of 4 threads", idle_connections_hold_no_thread},
        {"20 silent connections hold none of 4 threads", silent_connections_hold_no_thread},
        {"stalled clients harm nobody", stalled_clients_harm_nobody},
        {"a large answer is whole", large_answers_are_whole},
        {"4 MB come through", large_bodies_come_through},
        {"garbage is survived", survives_garbage},
        {"200 connections at once", serves_200_connections_at_once},
        {"only listed hosts may connect", only_listed_hosts_may_connect},
        CU_TEST_INFO_NULL,
    };
    suite_add("http fastcgi", NULL, NULL, tests);
}
