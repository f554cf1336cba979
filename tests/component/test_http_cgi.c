/* The one request of a CGI process: a child whose stdin and stdout are pipes of the test's. */
#include "http/http.h"
#include "tests/suites.h"
#include "tests/support/http_server.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static void echo(void *context, struct request *request)
{
    (void)context;
    struct error why = {0};
    const char *body;
    size_t length;
    char text[64];
    if (request_body(request, &body, &length, &why) != BODY_OK) {
        request_refuse(request, 400, NULL, why.text);
        return;
    }
    http_server_echo(text, sizeof text, body, length);
    request_answer(request, 200, NULL, text);
}

/* The child: exits with 0 when it was asked as CGI and answered. */
static void serve(int in, int out, const char *announced)
{
    static const struct route routes[] = {{"/echo", echo, NULL, false}};
    static const struct http_limits limits = {
        .max_body = 200000, .max_bodies = 400000, .request_timeout_ms = 1500, .threads = 1};
    dup2(in, STDIN_FILENO);
    dup2(out, STDOUT_FILENO);
    setenv("GATEWAY_INTERFACE", "CGI/1.1", 1);
    setenv("REQUEST_METHOD", "POST", 1);
    setenv("PATH_INFO", "/echo", 1);
    if (announced != NULL)
        setenv("CONTENT_LENGTH", announced, 1);
    if (!http_is_cgi() || http_is_fastcgi())
        _exit(1);
    http_serve_cgi(&limits, routes, 1);
    _exit(0);
}

struct cgi {
    pid_t pid;
    int in;
    int out;
};

static void start(struct cgi *cgi, const char *announced)
{
    int in[2], out[2];
    CU_ASSERT_EQUAL_FATAL(pipe(in), 0);
    CU_ASSERT_EQUAL_FATAL(pipe(out), 0);
    fflush(NULL);
    cgi->pid = fork();
    if (cgi->pid == 0) {
        close(in[1]);
        close(out[0]);
        serve(in[0], out[1], announced);
    }
    close(in[0]);
    close(out[1]);
    cgi->in = in[1];
    cgi->out = out[0];
}

/* Reads the answer to its end, and asserts how it begins and ends. */
static void expect(struct cgi *cgi, const char *begins, const char *ends)
{
    char answer[1024];
    size_t length = 0;
    ssize_t n;
    int status;
    while ((n = read(cgi->out, answer + length, sizeof answer - 1 - length)) > 0)
        length += (size_t)n;
    answer[length] = '\0';
    CU_ASSERT_NSTRING_EQUAL(answer, begins, strlen(begins));
    CU_ASSERT_STRING_EQUAL(length < strlen(ends) ? "" : answer + length - strlen(ends), ends);
    CU_ASSERT_EQUAL(waitpid(cgi->pid, &status, 0), cgi->pid);
    CU_ASSERT_EQUAL(status, 0);
    close(cgi->out);
}

static void send_body(struct cgi *cgi, size_t length)
{
    static char body[100000];
    memset(body, 'y', sizeof body);
    for (size_t at = 0; at < length;) {
        size_t piece = length - at < sizeof body ? length - at : sizeof body;
        ssize_t n = write(cgi->in, body, piece);
        CU_ASSERT_TRUE_FATAL(n > 0);
        at += (size_t)n;
    }
}

static void answers(void)
{
    static char body[100000];
    struct cgi cgi;
    char echoed[64], ends[80];
    memset(body, 'y', sizeof body);
    http_server_echo(echoed, sizeof echoed, body, sizeof body);
    snprintf(ends, sizeof ends, "\r\n\r\n%s", echoed);
    start(&cgi, "100000");
    send_body(&cgi, sizeof body);
    expect(&cgi, "Status: 200 OK\r\n", ends); /* without waiting for the body's end */
    close(cgi.in);
    start(&cgi, NULL);
    send_body(&cgi, sizeof body);
    close(cgi.in);
    expect(&cgi, "Status: 200 OK\r\n", ends);
}

static void gives_up_a_stalled_body(void)
{
    struct cgi cgi;
    start(&cgi, "100");
    send_body(&cgi, 10);
    expect(&cgi, "Status: 400 Bad Request\r\n",
           "{\"error\": \"the request did not arrive within 1500 ms; 10 bytes of its body had come\"}\n");
    close(cgi.in);
}

static void refuses_half_a_body(void)
{
    struct cgi cgi;
    start(&cgi, "100");
    send_body(&cgi, 50);
    close(cgi.in);
    expect(&cgi, "Status: 400 Bad Request\r\n", "{\"error\": \"the body ended after 50 bytes, before its end\"}\n");
}

/* The web server must be able to hand over all of it, or it may not look at the answer. */
static void reads_a_refused_body_to_its_end(void)
{
    struct cgi cgi;
    start(&cgi, "300000");
    send_body(&cgi, 300000);
    expect(&cgi, "Status: 400 Bad Request\r\n",
           "{\"error\": \"the body is larger than the 200000 bytes that max_body allows\"}\n");
    close(cgi.in);
}

static void survives_a_client_that_has_gone(void)
{
    struct cgi cgi;
    int status;
    start(&cgi, "5");
    close(cgi.out);
    send_body(&cgi, 5);
    close(cgi.in);
    CU_ASSERT_EQUAL(waitpid(cgi.pid, &status, 0), cgi.pid);
    CU_ASSERT_EQUAL(status, 0);
}

void suite_http_cgi(void)
{
    static CU_TestInfo tests[] = {
        {"a request is answered", answers},
        {"a stalled body is given up", gives_up_a_stalled_body},
        {"half a body is refused", refuses_half_a_body},
        {"a refused body is read to its end", reads_a_refused_body_to_its_end},
        {"a client that has gone is survived", survives_a_client_that_has_gone},
        CU_TEST_INFO_NULL,
    };
    suite_add("http cgi", NULL, NULL, tests);
}
