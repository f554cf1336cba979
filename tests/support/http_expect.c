/* What the tests of the FastCGI server all do: see http_expect.h. */
#include "tests/support/http_expect.h"

#include "tests/support/fastcgi_client.h"

#include <CUnit/CUnit.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const struct http_server_settings http_expect_usual = {
    .threads = 4, .max_body = 1000000, .max_bodies = 4000000, .timeout_ms = 60000};

void http_expect_start(struct http_server *server, const struct http_server_settings *settings)
{
    CU_ASSERT_TRUE_FATAL(http_server_start(server, settings));
}

void http_expect_stop(struct http_server *server)
{
    http_server_stop(server);
    CU_ASSERT_EQUAL(http_server_end(server), 0);
}

int http_expect_connect(const struct http_server *server)
{
    return server->port != 0 ? fastcgi_connect_port(server->port) : fastcgi_connect(server->socket);
}

void http_expect_answer(int fd, int status, const char *body)
{
    struct fastcgi_answer answer;
    CU_ASSERT_TRUE(fastcgi_read(fd, &answer, HTTP_EXPECT_MS));
    CU_ASSERT_EQUAL(answer.status, status);
    if (body != NULL)
        CU_ASSERT_STRING_EQUAL(answer.body, body);
    fastcgi_answer_free(&answer);
}

void http_expect_echo(int fd, const char *body, size_t length)
{
    char text[64];
    http_server_echo(text, sizeof text, body, length);
    http_expect_answer(fd, 200, text);
}

void http_expect_service(const struct http_server *server)
{
    int fd = http_expect_connect(server);
    CU_ASSERT_TRUE(fastcgi_send(fd, false, "/echo", "hello", 5));
    http_expect_echo(fd, "hello", 5);
    CU_ASSERT_TRUE(fastcgi_closes(fd, HTTP_EXPECT_MS));
    close(fd);
}

int http_expect_stall(const struct http_server *server, const char *announced, const char *sent)
{
    struct fastcgi_parameter parameters[5];
    int fd = http_expect_connect(server);
    fastcgi_post(parameters, "/echo", announced);
    CU_ASSERT_TRUE(fastcgi_begin(fd, true, parameters));
    CU_ASSERT_TRUE(fastcgi_body(fd, sent, strlen(sent)));
    return fd;
}

int http_expect_post(const struct http_server *server, const char *path, const char *announced, const char *body,
                     size_t length)
{
    struct fastcgi_parameter parameters[5];
    int fd = http_expect_connect(server);
    fastcgi_post(parameters, path, announced);
    CU_ASSERT_TRUE(fastcgi_begin(fd, false, parameters));
    if (length > 0)
        CU_ASSERT_TRUE(fastcgi_body(fd, body, length));
    CU_ASSERT_TRUE(fastcgi_body(fd, "", 0));
    return fd;
}

char *http_expect_body(size_t length)
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
