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
#include <sys/socket.h>
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

static int connect_to(const struct http_server *server)
{
    return server->port != 0 ? fastcgi_connect_port(server->port) : fastcgi_connect(server->socket);
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
    int fd = connect_to(server);
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

static void keeps_a_connection(void)
{
    struct http_server server;
    start(&server, &usual);
    int fd = fastcgi_connect(server.socket);
    for (int i = 0; i < 5; i++) {
        CU_ASSERT_TRUE(fastcgi_send(fd, true, "/echo", "abcde", (size_t)i + 1));
        expect_echo(fd, "abcde", (size_t)i + 1);
    }
    CU_ASSERT_TRUE(fastcgi_send(fd, false, "/echo", "last", 4));
    expect_echo(fd, "last", 4);
    CU_ASSERT_TRUE(fastcgi_closes(fd, LONG_MS));
    close(fd);
    stop(&server);
}

static void kept_connections_hold_no_thread(void)
{
    struct http_server server;
    int fds[20];
    start(&server, &usual);
    for (int i = 0; i < 20; i++) {
        fds[i] = fastcgi_connect(server.socket);
        CU_ASSERT_TRUE(fastcgi_send(fds[i], true, "/echo", "one", 3));
        expect_echo(fds[i], "one", 3);
    }
    expect_service(&server);
    for (int i = 19; i >= 0; i--) {
        CU_ASSERT_TRUE(fastcgi_send(fds[i], true, "/echo", "another", 7));
        expect_echo(fds[i], "another", 7);
        close(fds[i]);
    }
    expect_service(&server);
    stop(&server);
}

static void silent_connections_hold_no_thread(void)
{
    struct http_server server;
    int fds[20];
    start(&server, &usual);
    for (int i = 0; i < 20; i++)
        fds[i] = fastcgi_connect(server.socket);
    expect_service(&server);
    for (int i = 0; i < 20; i++) {
        CU_ASSERT_TRUE(fastcgi_send(fds[i], false, "/echo", "late", 4));
        expect_echo(fds[i], "late", 4);
        close(fds[i]);
    }
    stop(&server);
}

/* Begins a POST of so many bytes and sends only some. */
static int stall(const struct http_server *server, const char *announced, const char *sent)
{
    struct fastcgi_parameter parameters[5];
    int fd = connect_to(server);
    fastcgi_post(parameters, "/echo", announced);
    CU_ASSERT_TRUE(fastcgi_begin(fd, true, parameters));
    CU_ASSERT_TRUE(fastcgi_body(fd, sent, strlen(sent)));
    return fd;
}

static void stalled_clients_harm_nobody(void)
{
    struct http_server server;
    int fds[3];
    start(&server, &usual);
    for (int i = 0; i < 3; i++)
        fds[i] = stall(&server, "100", "half of it");
    for (int i = 0; i < 10; i++)
        expect_service(&server);
    for (int i = 0; i < 3; i++)
        close(fds[i]);
    stop(&server);
}

static void expect_stalled_is_given_up(bool tcp)
{
    struct http_server_settings settings = usual;
    struct http_server server;
    settings.tcp = tcp;
    settings.threads = 1;
    settings.timeout_ms = 300;
    start(&server, &settings);
    int fd = stall(&server, "100", "half of it");
    expect(fd, 400, "{\"error\": \"the request did not arrive within 300 ms; 10 bytes of its body had come\"}\n");
    CU_ASSERT_TRUE(fastcgi_closes(fd, LONG_MS));
    close(fd);
    expect_service(&server);
    stop(&server);
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
    struct http_server_settings settings = usual;
    struct http_server server;
    settings.tcp = tcp;
    settings.timeout_ms = 500;
    start(&server, &settings);
    moment begun = clock_now();
    int fd = stall(&server, "10000", "x");
    int sent = 1;
    while (sent < 10000 && fastcgi_body(fd, "x", 1)) {
        pause_ms(10);
        sent++;
    }
    CU_ASSERT_TRUE(sent < 10000);
    CU_ASSERT_TRUE(clock_now() - begun >= 500);
    expect(fd, 400, NULL);
    close(fd);
    stop(&server);
}

static void trickling_bodies_are_given_up(void)
{
    expect_trickle_is_given_up(false);
    expect_trickle_is_given_up(true);
}

/* The same within a record's header and before there is any request. */
static void trickling_beginnings_are_given_up(void)
{
    struct http_server_settings settings = usual;
    struct http_server server;
    settings.threads = 1;
    settings.timeout_ms = 300;
    start(&server, &settings);
    int fd = fastcgi_connect(server.socket);
    struct {
        FCGI_Header header;
        FCGI_BeginRequestBody body;
    } begin = {{.version = 1, .type = FCGI_BEGIN_REQUEST, .requestIdB0 = 1, .contentLengthB0 = 8}, {.roleB0 = 1}};
    int sent = 0;
    while (sent < (int)sizeof begin && write(fd, (char *)&begin + sent, 1) == 1) {
        pause_ms(50);
        sent++;
    }
    CU_ASSERT_TRUE(sent < (int)sizeof begin);
    close(fd);
    expect_service(&server);
    stop(&server);
}

static void clients_that_take_no_answer_are_given_up(void)
{
    struct http_server_settings settings = usual;
    struct http_server server;
    settings.threads = 1;
    settings.timeout_ms = 300;
    start(&server, &settings);
    int fd = fastcgi_connect(server.socket);
    CU_ASSERT_TRUE(fastcgi_send(fd, false, "/large", "x", 1));
    expect_service(&server);
    close(fd);
    stop(&server);
}

static void large_answers_are_whole(void)
{
    struct http_server server;
    struct fastcgi_answer answer;
    start(&server, &usual);
    int fd = fastcgi_connect(server.socket);
    CU_ASSERT_TRUE(fastcgi_send(fd, false, "/large", "x", 1));
    CU_ASSERT_TRUE(fastcgi_read(fd, &answer, LONG_MS));
    CU_ASSERT_EQUAL(strlen(answer.body), 1024 * 1024);
    fastcgi_answer_free(&answer);
    close(fd);
    stop(&server);
}

/* Sends a body with whatever length is announced, and its end, on a fresh connection. */
static int post(const struct http_server *server, const char *path, const char *announced, const char *body,
                size_t length)
{
    struct fastcgi_parameter parameters[5];
    int fd = connect_to(server);
    fastcgi_post(parameters, path, announced);
    CU_ASSERT_TRUE(fastcgi_begin(fd, false, parameters));
    if (length > 0)
        CU_ASSERT_TRUE(fastcgi_body(fd, body, length));
    CU_ASSERT_TRUE(fastcgi_body(fd, "", 0));
    return fd;
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
    start(&server, &usual);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int fd = post(&server, "/echo", cases[i].announced, cases[i].body, strlen(cases[i].body));
        expect(fd, cases[i].status, NULL);
        close(fd);
    }
    stop(&server);
}

/* Bytes of which no two stretches are alike. */
static char *make_body(size_t length)
{
    char *body = malloc(length);
    CU_ASSERT_PTR_NOT_NULL_FATAL(body);
    unsigned state = 1;
    for (size_t i = 0; i < length; i++) {
        state = state * 1103515245 + 12345;
        body[i] = (char)(state >> 16 & 0xff);
    }
    return body;
}

/* The client sends all of the body before it reads: the answer must arrive none the less. */
static void too_large_bodies_are_answered_413(void)
{
    struct http_server server;
    size_t length = 3000000;
    char *body = make_body(length);
    start(&server, &usual);
    int fd = post(&server, "/echo", "3000000", body, length);
    expect(fd, 413, "{\"error\": \"the body is larger than the 1000000 bytes that max_body allows\"}\n");
    close(fd);
    fd = post(&server, "/echo", NULL, body, length);
    expect(fd, 413, NULL);
    close(fd);
    fd = post(&server, "/echo", NULL, body, 1000001);
    expect(fd, 413, NULL);
    close(fd);
    fd = post(&server, "/echo", NULL, body, 1000000);
    expect_echo(fd, body, 1000000);
    close(fd);
    free(body);
    stop(&server);
}

static void a_kept_connection_survives_a_refused_body(void)
{
    struct http_server server;
    size_t length = 3000000;
    char *body = make_body(length);
    start(&server, &usual);
    int fd = fastcgi_connect(server.socket);
    CU_ASSERT_TRUE(fastcgi_send(fd, true, "/echo", body, length));
    expect(fd, 413, NULL);
    CU_ASSERT_TRUE(fastcgi_send(fd, true, "/blind", body, length));
    expect(fd, 401, "{\"error\": \"not \\\"you\\\"\"}\n");
    CU_ASSERT_TRUE(fastcgi_send(fd, true, "/nothing", body, 100));
    expect(fd, 404, NULL);
    CU_ASSERT_TRUE(fastcgi_send(fd, true, "/echo/", "good", 4));
    expect_echo(fd, "good", 4);
    close(fd);
    free(body);
    stop(&server);
}

static void large_bodies_come_through(void)
{
    struct http_server_settings settings = usual;
    struct http_server server;
    size_t length = 4 * 1024 * 1024 + 17;
    char *body = make_body(length);
    settings.max_body = 5000000;
    settings.max_bodies = 6000000;
    start(&server, &settings);
    int fd = fastcgi_connect(server.socket);
    CU_ASSERT_TRUE(fastcgi_send(fd, false, "/echo", body, length));
    expect_echo(fd, body, length);
    CU_ASSERT_TRUE(fastcgi_closes(fd, LONG_MS));
    close(fd);
    fd = post(&server, "/echo", NULL, body, length);
    expect_echo(fd, body, length);
    close(fd);
    free(body);
    stop(&server);
}

static void all_bodies_in_hand_share_their_room(void)
{
    struct http_server_settings settings = usual;
    struct http_server server;
    char *body = make_body(900000);
    settings.max_bodies = 1500000;
    start(&server, &settings);
    int first = post(&server, "/hold", "900000", body, 900000);
    CU_ASSERT_TRUE(http_server_tells(&server, 'H'));
    int second = post(&server, "/echo", "900000", body, 900000);
    expect(second, 503, NULL);
    close(second);
    expect_service(&server);
    CU_ASSERT_EQUAL(write(server.let, "L", 1), 1);
    expect(first, 200, "held");
    CU_ASSERT_TRUE(fastcgi_closes(first, LONG_MS));
    second = post(&server, "/echo", NULL, body, 900000);
    expect_echo(second, body, 900000);
    close(first);
    close(second);
    free(body);
    stop(&server);
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
    start(&server, &usual);
    for (size_t i = 0; i < sizeof garbage / sizeof *garbage; i++) {
        int fd = fastcgi_connect(server.socket);
        CU_ASSERT_EQUAL(write(fd, garbage[i].bytes, garbage[i].length), (ssize_t)garbage[i].length);
        shutdown(fd, SHUT_WR);
        CU_ASSERT_TRUE(fastcgi_closes(fd, LONG_MS));
        close(fd);
    }
    expect_service(&server);
    stop(&server);
}

static void serves_200_connections_at_once(void)
{
    struct http_server server;
    int fds[200];
    start(&server, &usual);
    for (int i = 0; i < 200; i++) {
        fds[i] = fastcgi_connect(server.socket);
        CU_ASSERT_TRUE(fastcgi_send(fds[i], i % 2 == 0, "/echo", "many", 4));
    }
    for (int i = 0; i < 200; i++) {
        expect_echo(fds[i], "many", 4);
        close(fds[i]);
    }
    stop(&server);
}

/* A second is what web servers leave at least before they kill; threads and kept connections idle. */
static void stops_at_once_when_idle(void)
{
    struct http_server server;
    start(&server, &usual);
    int kept = fastcgi_connect(server.socket);
    CU_ASSERT_TRUE(fastcgi_send(kept, true, "/echo", "kept", 4));
    expect_echo(kept, "kept", 4);
    moment asked = clock_now();
    stop(&server);
    CU_ASSERT_TRUE(clock_now() - asked < 1000);
    CU_ASSERT_TRUE(fastcgi_closes(kept, 0));
    close(kept);
}

static void finishes_requests_in_hand(void)
{
    struct http_server server;
    start(&server, &usual);
    int fd = fastcgi_connect(server.socket);
    CU_ASSERT_TRUE(fastcgi_send(fd, true, "/hold", "x", 1));
    CU_ASSERT_TRUE(http_server_tells(&server, 'H'));
    http_server_stop(&server);
    CU_ASSERT_EQUAL(write(server.let, "L", 1), 1);
    expect(fd, 200, "held");
    CU_ASSERT_EQUAL(http_server_end(&server), 0);
    close(fd);
}

static void cuts_stalled_bodies_when_it_stops(void)
{
    struct http_server server;
    start(&server, &usual);
    int fd = stall(&server, "100", "half of it");
    expect_service(&server);
    http_server_stop(&server);
    expect(fd, 400, NULL);
    CU_ASSERT_EQUAL(http_server_end(&server), 0);
    close(fd);
}

static void says_when_a_request_does_not_end(void)
{
    struct http_server server;
    start(&server, &usual);
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
    start(&server, &usual);
    for (int i = 0; i < 3; i++)
        fds[i] = fastcgi_connect(server.socket);
    for (int i = 0; i < 2; i++) {
        CU_ASSERT_TRUE(fastcgi_send(fds[i], true, "/echo", "old", 3));
        expect_echo(fds[i], "old", 3);
    }
    kill(server.pid, SIGHUP);
    CU_ASSERT_TRUE(fastcgi_send(fds[0], true, "/echo", "between", 7));
    expect_echo(fds[0], "between", 7);
    CU_ASSERT_TRUE(http_server_tells(&server, 'R'));
    for (int i = 0; i < 3; i++) {
        CU_ASSERT_TRUE(fastcgi_send(fds[i], i == 1, "/echo", "new", 3));
        expect_echo(fds[i], "new", 3);
        CU_ASSERT_EQUAL(fastcgi_closes(fds[i], i == 1 ? 0 : LONG_MS), i != 1);
    }
    expect_service(&server);
    stop(&server);
    CU_ASSERT_TRUE(fastcgi_closes(fds[1], 0));
    for (int i = 0; i < 3; i++)
        close(fds[i]);
}

/* Fresh and kept connections in turn, all through five exchanges of the program. */
static void loses_no_request_while_it_is_exchanged(void)
{
    struct http_server server;
    int kept[4];
    start(&server, &usual);
    for (int i = 0; i < 4; i++)
        kept[i] = fastcgi_connect(server.socket);
    for (int round = 0; round < 5; round++) {
        kill(server.pid, SIGHUP);
        for (int i = 0; i < 40; i++) {
            CU_ASSERT_TRUE(fastcgi_send(kept[i % 4], true, "/echo", "kept", 4));
            expect_echo(kept[i % 4], "kept", 4);
            expect_service(&server);
        }
        CU_ASSERT_TRUE(http_server_tells(&server, 'R'));
    }
    for (int i = 0; i < 4; i++)
        close(kept[i]);
    stop(&server);
}

/* A TCP connection closed with bytes unread is reset, and its answer lost: nothing may be unread. */
static void refusals_arrive_over_tcp(void)
{
    struct http_server_settings settings = usual;
    struct http_server server;
    size_t length = 3000000;
    char *body = make_body(length);
    settings.tcp = true;
    settings.allows = "192.0.2.1,127.0.0.1";
    start(&server, &settings);
    for (int i = 0; i < 20; i++) {
        int fd = fastcgi_connect_port(server.port);
        CU_ASSERT_TRUE(fastcgi_send(fd, false, i % 2 == 0 ? "/echo" : "/blind", body, length));
        expect(fd, i % 2 == 0 ? 413 : 401, NULL);
        close(fd);
    }
    free(body);
    stop(&server);
}

static void only_listed_hosts_may_connect(void)
{
    struct http_server_settings settings = usual;
    struct http_server server;
    settings.tcp = true;
    settings.allows = "192.0.2.1";
    start(&server, &settings);
    int fd = fastcgi_connect_port(server.port);
    CU_ASSERT_TRUE(fastcgi_closes(fd, LONG_MS));
    close(fd);
    stop(&server);
}

void suite_http_fastcgi(void)
{
    http_server_if_asked();
    static CU_TestInfo tests[] = {
        {"a good request is answered", answers_a_good_request},
        {"several requests come on one connection", keeps_a_connection},
        {"20 kept connections hold none of 4 threads", kept_connections_hold_no_thread},
        {"20 silent connections hold none of 4 threads", silent_connections_hold_no_thread},
        {"stalled clients harm nobody", stalled_clients_harm_nobody},
        {"a stalled body is given up", stalled_bodies_are_given_up},
        {"a trickling body is given up at the same time", trickling_bodies_are_given_up},
        {"a trickling beginning is given up", trickling_beginnings_are_given_up},
        {"a client that takes no answer is given up", clients_that_take_no_answer_are_given_up},
        {"a large answer is whole", large_answers_are_whole},
        {"lengths announced, true, false and absent", judges_lengths},
        {"too large a body is answered 413, whenever it is read", too_large_bodies_are_answered_413},
        {"a kept connection survives a refused body", a_kept_connection_survives_a_refused_body},
        {"4 MB come through", large_bodies_come_through},
        {"all bodies in hand share their room", all_bodies_in_hand_share_their_room},
        {"garbage is survived", survives_garbage},
        {"200 connections at once", serves_200_connections_at_once},
        {"stopping when idle takes no time", stops_at_once_when_idle},
        {"requests in hand are finished", finishes_requests_in_hand},
        {"a stalled body does not hold up stopping", cuts_stalled_bodies_when_it_stops},
        {"a request that does not end is reported", says_when_a_request_does_not_end},
        {"idle connections are handed over", hands_connections_over},
        {"no request is lost while the program is exchanged", loses_no_request_while_it_is_exchanged},
        {"refusals arrive over TCP", refusals_arrive_over_tcp},
        {"only listed hosts may connect", only_listed_hosts_may_connect},
        CU_TEST_INFO_NULL,
    };
    suite_add("http fastcgi", NULL, NULL, tests);
}
