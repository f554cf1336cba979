/* What the tests of the FastCGI server all do, each step asserted. */
#ifndef TESTS_SUPPORT_HTTP_EXPECT_H
#define TESTS_SUPPORT_HTTP_EXPECT_H

#include "tests/support/http_server.h"

#define HTTP_EXPECT_MS 60000 /* longer than anything here should take */

/* Four threads, bodies of up to 1,000,000 bytes, a minute for a request. */
extern const struct http_server_settings http_expect_usual;

/* Starts the server. */
void http_expect_start(struct http_server *server, const struct http_server_settings *settings);

/* Stops it: all of its threads end. */
void http_expect_stop(struct http_server *server);

/* A fresh connection. */
int http_expect_connect(const struct http_server *server);

/* The answer has this status and this body; NULL: whatever it is. */
void http_expect_answer(int fd, int status, const char *body);

/* The answer is what "/echo" makes of a body. */
void http_expect_echo(int fd, const char *body, size_t length);

/* A good request on a connection of its own is answered, and the connection closed. */
void http_expect_service(const struct http_server *server);

/* Begins a POST of so many bytes and sends only some. Returns the connection. */
int http_expect_stall(const struct http_server *server, const char *announced, const char *sent);

/* Sends a body, whatever length is announced (NULL: none), and its end. Returns the connection. */
int http_expect_post(const struct http_server *server, const char *path, const char *announced, const char *body,
                     size_t length);

/* Bytes of which no two stretches are alike; free them. */
char *http_expect_body(size_t length);

#endif
