/* The FastCGI server, asked by many web servers at once, good and bad. */
#include "tests/suites.h"
#include "tests/support/fastcgi_client.h"
#include "tests/support/http_expect.h"

#include <fastcgi.h>
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

/* The server ends the request with this protocolStatus, and answers nothing to it. */
static void expect_end(int fd, int protocol)
{
    struct fastcgi_answer answer;
    CU_ASSERT_TRUE(fastcgi_read(fd, &answer, HTTP_EXPECT_MS));
    CU_ASSERT_EQUAL(answer.protocol, protocol);
    CU_ASSERT_EQUAL(answer.length, 0);
    fastcgi_answer_free(&answer);
}

static void other_roles_are_refused(void)
{
    static const char filter[] = "\1\1\0\1\0\x08\0\0\0\3\0\0\0\0\0\0" /* its parameters' end, and a body: */
                                 "\1\4\0\1\0\0\0\0\1\5\0\1\0\1\0\0A\1\5\0\1\0\0\0\0";
    struct http_server_settings settings = http_expect_usual;
    for (int tcp = 0; tcp < 2; tcp++) {
        struct http_server server;
        settings.tcp = tcp == 1;
        http_expect_start(&server, &settings);
        int fd = http_expect_connect(&server);
        CU_ASSERT_EQUAL(write(fd, filter, sizeof filter - 1), (ssize_t)sizeof filter - 1);
        expect_end(fd, FCGI_UNKNOWN_ROLE);
        CU_ASSERT_TRUE(fastcgi_closes(fd, HTTP_EXPECT_MS));
        close(fd);
        http_expect_stop(&server);
    }
}

/* While parameters come, and while the body does; a connection that is kept is used again. */
static void what_is_aborted_ends(void)
{
    struct http_server server;
    struct fastcgi_parameter parameters[5];
    http_expect_start(&server, &http_expect_usual);
    fastcgi_post(parameters, "/echo", "5");
    int fd = fastcgi_connect(server.socket);
    CU_ASSERT_TRUE(fastcgi_begin(fd, true, parameters) && fastcgi_body(fd, "he", 2));
    CU_ASSERT_TRUE(fastcgi_record(fd, FCGI_ABORT_REQUEST, "", 0));
    expect_end(fd, FCGI_REQUEST_COMPLETE);
    CU_ASSERT_TRUE(fastcgi_send(fd, false, "/echo", "another", 7));
    http_expect_echo(fd, "another", 7);
    close(fd);
    fd = fastcgi_connect(server.socket);
    FCGI_BeginRequestBody begin = {.roleB0 = FCGI_RESPONDER};
    CU_ASSERT_TRUE(fastcgi_record(fd, FCGI_BEGIN_REQUEST, &begin, sizeof begin));
    CU_ASSERT_TRUE(fastcgi_record(fd, FCGI_ABORT_REQUEST, "", 0));
    expect_end(fd, FCGI_REQUEST_COMPLETE);
    CU_ASSERT_TRUE(fastcgi_closes(fd, HTTP_EXPECT_MS));
    close(fd);
    http_expect_stop(&server);
}

static void parameters_that_are_too_large_are_answered(void)
{
    struct http_server server;
    size_t length = (size_t)1024 * 1024 + 1;
    char *value = calloc(1, length);
    CU_ASSERT_PTR_NOT_NULL_FATAL(value);
    memset(value, 'x', length - 1);
    const struct fastcgi_parameter parameters[] = {{"REQUEST_METHOD", "POST"}, {"HTTP_COOKIE", value}, {NULL, NULL}};
    http_expect_start(&server, &http_expect_usual);
    int fd = fastcgi_connect(server.socket);
    fastcgi_begin(fd, true, parameters);
    http_expect_answer(fd, 431, NULL);
    close(fd);
    free(value);
    http_expect_service(&server);
    http_expect_stop(&server);
}

/* The record that ends a body is missing: what was announced has come. */
static void a_body_that_is_there_is_not_waited_for(void)
{
    struct http_server_settings settings = http_expect_usual;
    struct http_server server;
    struct fastcgi_parameter parameters[5];
    settings.timeout_ms = 2 * HTTP_EXPECT_MS;
    http_expect_start(&server, &settings);
    fastcgi_post(parameters, "/echo", "5");
    int fd = fastcgi_connect(server.socket);
    CU_ASSERT_TRUE(fastcgi_begin(fd, false, parameters) && fastcgi_body(fd, "hello", 5));
    http_expect_echo(fd, "hello", 5);
    CU_ASSERT_TRUE(fastcgi_closes(fd, HTTP_EXPECT_MS));
    close(fd);
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
        {"other roles are refused", other_roles_are_refused},
        {"what is aborted ends", what_is_aborted_ends},
        {"parameters that are too large are answered", parameters_that_are_too_large_are_answered},
        {"a body that is there is not waited for", a_body_that_is_there_is_not_waited_for},
        {"200 connections at once", serves_200_connections_at_once},
        {"only listed hosts may connect", only_listed_hosts_may_connect},
        CU_TEST_INFO_NULL,
    };
    suite_add("http fastcgi", NULL, NULL, tests);
}
