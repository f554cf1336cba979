/* send-test: what it sends is what Close would send, and each kind of answer is explained. */
#include "tests/suites.h"

#include <arpa/inet.h>
#include <json-c/json.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "commands/delivery.h"
#include "tests/support/commands_run.h"
#include "tests/support/signature.h"
#include "webhook/webhook.h"

#define KEY "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
#define WRITE_KEY "1234567890abcdefghijklmn+pq"
#define BASE "data_plane_url = https://data-plane.example\nwrite_key = " WRITE_KEY "\n"
#define SIGNED BASE "signature_key = " KEY "\n"

static struct ran ran;

/* ---- a server for one request ----------------------------------------------------------------------------------- */

struct server {
    int listening;
    uint16_t port;
    const char *answer; /* the whole of it; NULL: closes without one */
    pthread_t thread;
    char request[300000]; /* what came, NUL-terminated */
    size_t length;
    const char *body; /* in request */
};

static struct server server;

/* Reads until the announced length is there. */
static void read_request(int fd)
{
    server.length = 0;
    server.body = NULL;
    while (server.length < sizeof server.request - 1) {
        ssize_t n = read(fd, server.request + server.length, sizeof server.request - 1 - server.length);
        if (n <= 0)
            return;
        server.length += (size_t)n;
        server.request[server.length] = '\0';
        const char *end = strstr(server.request, "\r\n\r\n");
        const char *announced = strstr(server.request, "Content-Length: ");
        if (end == NULL || announced == NULL)
            continue;
        server.body = end + 4;
        if (server.length - (size_t)(server.body - server.request) >= strtoul(announced + 16, NULL, 10))
            return;
    }
}

static void *serve(void *unused)
{
    (void)unused;
    int fd = accept(server.listening, NULL, NULL);
    if (fd < 0)
        return NULL;
    read_request(fd);
    if (server.answer != NULL && write(fd, server.answer, strlen(server.answer)) < 0)
        perror("write");
    close(fd);
    return NULL;
}

static void server_start(const char *answer)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    server.answer = answer;
    server.listening = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (server.listening < 0 || bind(server.listening, (struct sockaddr *)&address, size) != 0 ||
        listen(server.listening, 1) != 0 || getsockname(server.listening, (struct sockaddr *)&address, &size) != 0 ||
        pthread_create(&server.thread, NULL, serve, NULL) != 0) {
        perror("server");
        abort();
    }
    server.port = ntohs(address.sin_port);
}

static void server_stop(void)
{
    shutdown(server.listening, SHUT_RDWR); /* where nobody came */
    pthread_join(server.thread, NULL);
    close(server.listening);
}

#define OK "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok"

/* Runs send-test against a server that gives this answer; more: arguments before the URL, ends with NULL. */
static void send_to(const char *answer, const char *path, const char *const *more, const char *input)
{
    char url[128];
    const char *arguments[12] = {"send-test"};
    size_t count = 1;
    server_start(answer);
    snprintf(url, sizeof url, "http://127.0.0.1:%u%s", server.port, path);
    for (; more[count - 1] != NULL; count++)
        arguments[count] = more[count - 1];
    arguments[count] = url;
    run_command(&ran, input, arguments);
    server_stop();
}

#define SEND(answer, path, ...) send_to((answer), (path), (const char *const[]){__VA_ARGS__}, NULL)

/* Whether the request has this header line. */
static bool has_line(const char *line)
{
    char whole[256];
    snprintf(whole, sizeof whole, "\r\n%s\r\n", line);
    const char *at = strstr(server.request, whole);
    return at != NULL && at < server.body;
}

static bool begins(const char *text, const char *start)
{
    return strncmp(text, start, strlen(start)) == 0;
}

static const char *member(struct json_object *object, const char *name)
{
    return json_object_get_string(json_object_object_get(object, name));
}

#define NOT_KEPT "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 21\r\n\r\n" WEBHOOK_PROBE_ANSWER

/* ---- what is sent ----------------------------------------------------------------------------------------------- */

/* Only the program's own sentence is an answer to that: `ok` means that an older version has taken it for an event. */
static void goes_only_as_far_as_the_program(void)
{
    configuration_use(SIGNED);
    SEND(NOT_KEPT, "/closecrm", "--no-forward", NULL);
    CU_ASSERT_EQUAL(ran.code, 0);
    CU_ASSERT_STRING_EQUAL(server.body, WEBHOOK_TEST);
    CU_ASSERT_PTR_NOT_NULL(strstr(server.request, "close-sig-hash: "));
    SEND(OK, "/closecrm", "--no-forward", NULL);
    CU_ASSERT_EQUAL(ran.code, 1);
    SEND(NOT_KEPT, "/closecrm", NULL);
    CU_ASSERT_EQUAL(ran.code, 1);
    run_command(&ran, NULL,
                (const char *const[]){"send-test", "--no-forward", "--size", "9", "http://127.0.0.1:9", NULL});
    CU_ASSERT_EQUAL(ran.code, 2);
    configuration_forget();
}

static void sends_a_harmless_event(void)
{
    configuration_use(SIGNED);
    SEND(OK, "/closecrm", NULL);
    configuration_forget();

    CU_ASSERT_EQUAL(ran.code, 0);
    CU_ASSERT_STRING_EQUAL(ran.err, "");
    CU_ASSERT_TRUE(begins(server.request, "POST /closecrm HTTP/1.1\r\n"));
    CU_ASSERT_TRUE(has_line("Content-Type: application/json"));
    struct json_object *body = json_tokener_parse(server.body);
    struct json_object *event = json_object_object_get(body, "event");
    CU_ASSERT_STRING_EQUAL(member(event, "object_type"), "closecrm_test");
    CU_ASSERT_STRING_EQUAL(member(event, "action"), "created");
    CU_ASSERT_STRING_EQUAL(member(event, "lead_id"), "lead_closecrm_test");
    CU_ASSERT_TRUE(begins(member(event, "id"), "ev_test_"));
    CU_ASSERT_EQUAL(strlen(member(event, "id")), 40);
    CU_ASSERT_EQUAL(strlen(member(event, "date_updated")), 26);
    CU_ASSERT_PTR_NOT_NULL(strstr(ran.out, member(event, "id")));
    json_object_put(body);
}

static void signs_as_close_does(void)
{
    configuration_use(SIGNED);
    SEND(OK, "/", NULL);
    configuration_forget();

    const char *sent = strstr(server.request, "close-sig-timestamp: ");
    CU_ASSERT_PTR_NOT_NULL_FATAL(sent);
    struct slice body = {server.body, server.length - (size_t)(server.body - server.request)};
    struct signature expected = signature_make(KEY, body, strtoll(sent + 21, NULL, 10));
    CU_ASSERT_TRUE(has_line(expected.hash));
    CU_ASSERT_TRUE(has_line(expected.timestamp));
}

static void without_signature_key_the_write_key_is_in_the_query(void)
{
    configuration_use(BASE);
    SEND(OK, "/closecrm?a=b", NULL);
    CU_ASSERT_EQUAL(ran.code, 0);
    CU_ASSERT_TRUE(begins(server.request, "POST /closecrm?a=b&writeKey=1234567890abcdefghijklmn%2bpq HTTP/1.1\r\n"));
    CU_ASSERT_PTR_NULL(strstr(server.request, "close-sig-hash"));
    CU_ASSERT_PTR_NULL(strstr(ran.out, "1234567890"));
    CU_ASSERT_PTR_NULL(strstr(ran.err, "1234567890"));

    SEND(OK, "/?writeKey=another", NULL);
    CU_ASSERT_TRUE(begins(server.request, "POST /?writeKey=another HTTP/1.1\r\n"));
    configuration_forget();
}

static void another_event_and_size(void)
{
    configuration_use(SIGNED);
    SEND(OK, "/", "--event", "activity.email.updated", "--size", "200K", NULL);
    configuration_forget();

    CU_ASSERT_EQUAL(ran.code, 0);
    CU_ASSERT_TRUE(has_line("Content-Length: 204800"));
    CU_ASSERT_PTR_NOT_NULL(strstr(server.body, "\"object_type\": \"activity.email\", \"action\": \"updated\""));
}

static void file_goes_as_it_is(void)
{
    configuration_use(SIGNED);
    send_to(OK, "/", (const char *const[]){"--body", "-", NULL}, " any {bytes\n");
    configuration_forget();

    CU_ASSERT_EQUAL(ran.code, 0);
    CU_ASSERT_STRING_EQUAL(server.body, " any {bytes\n");
}

static void wrong_wishes_are_told(void)
{
    static const struct {
        const char *arguments[4];
        int code;
        const char *words;
    } cases[] = {
        {{"send-test", "--size=12X", "http://127.0.0.1:9/"}, 2, "--size must be a number of bytes"},
        {{"send-test", "--size=-1", "http://127.0.0.1:9/"}, 2, "--size must be a number of bytes"},
        {{"send-test", "--size=99999999999999999999K", "http://127.0.0.1:9/"}, 2, "--size must be a number of bytes"},
        {{"send-test", "--size=1025M", "http://127.0.0.1:9/"}, 2, "--size must be a number of bytes"},
        {{"send-test", "--event=lead", "http://127.0.0.1:9/"}, 2, "--event must be TYPE.ACTION"},
        {{"send-test", "--event=le\"ad.x", "http://127.0.0.1:9/"}, 2, "--event must be TYPE.ACTION"},
        {{"send-test", "--body=/nonexistent/x", "http://127.0.0.1:9/"}, 1, "/nonexistent/x: No such file"},
        {{"send-test", "--source=other", "http://127.0.0.1:9/"}, 2, "no source is called \"other\""},
    };
    configuration_use(SIGNED);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        run_command(&ran, NULL, cases[i].arguments);
        CU_ASSERT_EQUAL(ran.code, cases[i].code);
        CU_ASSERT_PTR_NOT_NULL(strstr(ran.err, cases[i].words));
    }
    configuration_forget();
}

static void event_fills_up_to_the_very_byte(void)
{
    struct test_event event = {.object_type = "a", .action = "b", .now_ms = 1547556503395};
    static const size_t sizes[] = {0, 1, 700, 701, 131072};
    size_t own = 0;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct buffer body = {0};
        event.size = sizes[i];
        test_event_write(&event, &body);
        CU_ASSERT_FALSE(body.failed);
        if (i == 0)
            own = body.length;
        CU_ASSERT_EQUAL(body.length, sizes[i] > own ? sizes[i] : own);
        CU_ASSERT_PTR_NOT_NULL(memmem(body.data, body.length, "\"2019-01-15T12:48:23.395000\"", 28));
        buffer_free(&body);
    }
}

/* ---- what comes back -------------------------------------------------------------------------------------------- */

#define JSON(status, text)                                                                                             \
    "HTTP/1.1 " status " x\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n{\"error\": \"" text "\"}"
#define PAGE(status)                                                                                                   \
    "HTTP/1.1 " status " x\r\nContent-Type: text/html\r\nConnection: close\r\n\r\n<html><body>no</body></html>"

static void answers_are_explained(void)
{
    static const struct {
        const char *answer;
        const char *words;
    } cases[] = {
        {PAGE("200"), "something else answers at this address"},
        {PAGE("301"), "the address redirects"},
        {JSON("401", "wrong signature"), "the running program has other keys"},
        {PAGE("401"), "asks for a password of its own"},
        {PAGE("403"), "the web server refuses"},
        {JSON("404", "no such source"), "the program has no source of the name"},
        {PAGE("404"), "the web server knows nothing at this path"},
        {PAGE("405"), "takes the program for a plain file"},
        {PAGE("411"), "drops the body's length"},
        {JSON("413", "too large"), "raise max_body"},
        {PAGE("413"), "client_max_body_size"},
        {PAGE("500"), "did not start or died"},
        {PAGE("502"), "no program behind its socket"},
        {JSON("401", "the write key is missing: add it"), "drop the query"},
        {JSON("401", "close-sig-timestamp is 9 seconds ahead"), "the clocks of this machine"},
        {JSON("503", "try later"), "cannot take the event now: `"},
        {JSON("503", "there is no room for the event: the disk is full"), "no room for new events"},
        {JSON("503", "the event was not stored in time: the data plane"), "within 12 s"},
        {JSON("503", "the queue does not work: disk I/O error"), "cannot write into its queue"},
        {JSON("503", "nothing is taken here at the moment: send"), "its signature key is missing"},
        {JSON("503", "too much at once: send it again later"), "more in hand than it has memory for"},
        {PAGE("503"), "has no process for it"},
        {PAGE("504"), "waited too long"},
        {PAGE("418"), "not an answer that this program gives"},
        {NULL, "closed without an answer"},
        {"SSH-2.0-OpenSSH\r\n", "does not speak HTTP"},
    };
    configuration_use(SIGNED);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        SEND(cases[i].answer, "/", NULL);
        CU_ASSERT_EQUAL(ran.code, 1);
        CU_ASSERT_PTR_NOT_NULL(strstr(ran.out, cases[i].words));
    }
    configuration_forget();
}

static void status_answer_and_time_are_said(void)
{
    configuration_use(SIGNED);
    SEND(JSON("503", "try \x1b[31mlater"), "/", NULL);
    configuration_forget();

    const char *answer = strstr(ran.out, "\nanswer: 503 after ");
    CU_ASSERT_PTR_NOT_NULL_FATAL(answer);
    CU_ASSERT_PTR_NOT_NULL(strstr(answer, " ms: {\"error\": \"try \\u001b[31mlater\"}\nthe program cannot take"));
}

static void web_page_is_named_by_its_title(void)
{
    configuration_use(SIGNED);
    SEND("HTTP/1.0 502 x\r\nContent-Type: text/html\r\n\r\n<html>\n<head><title>502 Bad\n Gateway</title></head>", "/",
         NULL);
    CU_ASSERT_PTR_NOT_NULL(strstr(ran.out, " ms: a web page: 502 Bad  Gateway\nthe web server found no program"));
    SEND("HTTP/1.0 502 x\r\nContent-Type: text/html\r\n\r\n<title>", "/", NULL);
    CU_ASSERT_PTR_NOT_NULL(strstr(ran.out, " ms: a web page: nothing\n"));
    configuration_forget();
}

static void refused_connection_is_explained(void)
{
    char url[64];
    configuration_use(SIGNED);
    server_start(OK);
    snprintf(url, sizeof url, "http://127.0.0.1:%u/", server.port);
    server_stop(); /* nobody listens there now */
    RUN(&ran, NULL, "send-test", url);
    configuration_forget();

    CU_ASSERT_EQUAL(ran.code, 1);
    CU_ASSERT_PTR_NOT_NULL(strstr(ran.out, "nothing listens there"));
}

static void limit_of_mod_fcgid_is_named_for_large_bodies_only(void)
{
    CU_ASSERT_PTR_NOT_NULL(strstr(advice_on_answer(500, NULL, 131073), "FcgidMaxRequestLen"));
    CU_ASSERT_PTR_NULL(strstr(advice_on_answer(500, NULL, 131072), "FcgidMaxRequestLen"));
    CU_ASSERT_PTR_NOT_NULL(strstr(advice_on_answer(404, "no such source", 0), "no source of the name")); /* a GET's */
    CU_ASSERT_PTR_NOT_NULL(strstr(advice_on_answer(400, "the body is empty", 0), "cannot use this body"));
    CU_ASSERT_PTR_NOT_NULL(strstr(advice_on_answer(418, "no", 1), "the program's answer says why"));
}

void suite_commands_send_test(void)
{
    static CU_TestInfo tests[] = {
        {"sends a harmless event", sends_a_harmless_event},
        {"goes only as far as the program", goes_only_as_far_as_the_program},
        {"signs as Close does", signs_as_close_does},
        {"without signature key the write key is in the query", without_signature_key_the_write_key_is_in_the_query},
        {"another event and size may be wished for", another_event_and_size},
        {"a file goes as it is", file_goes_as_it_is},
        {"wrong wishes are told", wrong_wishes_are_told},
        {"the event fills up to the very byte", event_fills_up_to_the_very_byte},
        {"every kind of answer is explained", answers_are_explained},
        {"status, answer and time are said", status_answer_and_time_are_said},
        {"a web page is named by its title", web_page_is_named_by_its_title},
        {"a refused connection is explained", refused_connection_is_explained},
        {"mod_fcgid's limit is named for large bodies only", limit_of_mod_fcgid_is_named_for_large_bodies_only},
        CU_TEST_INFO_NULL,
    };
    suite_add("commands: send-test", NULL, NULL, tests);
}
