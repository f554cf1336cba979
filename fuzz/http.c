/* A request's bytes to what a handler sees of it, and the answer's bytes. The same request goes three ways: by a
 * transport in memory, as CGI, and as FastCGI to the server's threads, in records of the sizes that the first bytes
 * choose, with records between that a web server need not send. Judges: the equality of the three, libcurl's and
 * OpenSSL's decoding, and a decoder of FastCGI and HTTP that reads the answer as a web server does. */
#include "fuzz/rig/request.h"
#include "fuzz/rig/rig.h"

#include <errno.h>
#include <fastcgi.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define MAX_BODY 300

/* ---- what the handler saw ---- */

struct seen {
    int times;
    char path[256], value[32], user[32], password[32];
    bool has_value, has_basic;
    enum body_result result;
    struct buffer body;
};

static void handle(void *context, struct request *request)
{
    static const int statuses[] = {200, 400, 400, 413, 503};
    struct seen *out = context;
    struct error why = {0};
    const char *body;
    size_t length;
    out->times++;
    strcpy(out->path, request_path(request));
    out->has_value = request_query(request, "a b", out->value, sizeof out->value);
    out->has_basic = request_basic(request, out->user, sizeof out->user, out->password, sizeof out->password);
    out->result = request_body(request, &body, &length, &why);
    buffer_clear(&out->body);
    buffer_append(&out->body, body == NULL ? "" : body, length);
    if (out->result == BODY_OK)
        request_send(request, 200, "X-Test: 1\r\n", "application/octet-stream", body, length);
    else
        request_refuse(request, statuses[out->result], NULL, why.text);
}

static struct seen seen;
static const struct route routes[] = {{"", handle, &seen, false}, {"/*", handle, &seen, false}};
static const struct http_limits limits = {
    .max_body = MAX_BODY, .max_bodies = 4 * MAX_BODY, .request_timeout_ms = 3600000, .threads = 1};

/* ---- CGI: descriptors 0 and 1 are these, and the environment another ---- */

static struct slice standard_in;
static struct buffer standard_out;

ssize_t __real_read(int fd, void *out, size_t size);
ssize_t __real_write(int fd, const void *data, size_t size);
int __real_poll(struct pollfd *fds, nfds_t count, int timeout);
ssize_t __wrap_read(int fd, void *out, size_t size);
ssize_t __wrap_write(int fd, const void *data, size_t size);
int __wrap_poll(struct pollfd *fds, nfds_t count, int timeout);

ssize_t __wrap_read(int fd, void *out, size_t size)
{
    if (fd != STDIN_FILENO)
        return __real_read(fd, out, size);
    size_t most = standard_in.length < size ? standard_in.length : size;
    memcpy(out, standard_in.at, most);
    standard_in.at += most;
    standard_in.length -= most;
    return (ssize_t)most;
}

ssize_t __wrap_write(int fd, const void *data, size_t size)
{
    if (fd != STDOUT_FILENO)
        return __real_write(fd, data, size);
    buffer_append(&standard_out, data, size);
    return (ssize_t)size;
}

int __wrap_poll(struct pollfd *fds, nfds_t count, int timeout)
{
    if (count != 1 || fds->fd < STDIN_FILENO || fds->fd > STDOUT_FILENO)
        return __real_poll(fds, count, timeout);
    fds->revents = fds->events;
    return 1;
}

extern char **environ;

static void by_cgi(const struct rig_request *request, struct buffer *answer)
{
    char *variables[RIG_VARIABLES + 1] = {NULL}, **before = environ;
    for (size_t i = 0; i < request->variables.count; i++) {
        struct buffer text = {0};
        buffer_text(&text, request->variables.name[i]);
        buffer_text(&text, "=");
        buffer_append(&text, request->variables.value[i], strlen(request->variables.value[i]) + 1);
        variables[i] = text.data;
    }
    standard_in = request->body;
    buffer_clear(&standard_out);
    environ = variables;
    http_serve_cgi(&limits, routes, 2);
    environ = before;
    buffer_append(answer, standard_out.data, standard_out.length);
    for (size_t i = 0; i < request->variables.count; i++)
        free(variables[i]);
}

/* ---- FastCGI ---- */

static struct sockaddr_un address = {.sun_family = AF_UNIX};

struct shape {
    size_t record; /* bytes of a record's content at most */
    unsigned noise;
};

static void put_record(struct buffer *out, int type, int id, const char *data, size_t length, size_t padding)
{
    const unsigned char head[8] = {
        FCGI_VERSION_1,        (unsigned char)type,    0, (unsigned char)id, (unsigned char)(length >> 8),
        (unsigned char)length, (unsigned char)padding, 0};
    buffer_append(out, head, sizeof head);
    buffer_append(out, data, length);
    buffer_append(out, "\1\2\3\4\5\6\7\10", padding);
}

/* A record that is not of this request, or that nobody has to understand. */
static void put_noise(struct buffer *out, unsigned noise)
{
    static const struct {
        int type, id;
        const char *data;
        size_t length;
    } records[] = {{FCGI_GET_VALUES, 0, "\16\0FCGI_MAX_CONNS", 16},
                   {FCGI_STDIN, 9, "other", 5},
                   {FCGI_PARAMS, 9, "\1\1ab", 4},
                   {FCGI_GET_VALUES, 0, "\17\0FCGI_MPXS_CONNS", 17},
                   {FCGI_DATA, 1, "data", 4},
                   {FCGI_MAXTYPE, 0, "unknown", 7},
                   {FCGI_STDIN, 9, "", 0}};
    if (noise < sizeof records / sizeof *records)
        put_record(out, records[noise].type, records[noise].id, records[noise].data, records[noise].length, noise);
}

static void put_stream(struct buffer *out, int type, struct slice data, const struct shape *shape)
{
    for (size_t at = 0; at < data.length;) {
        size_t length = data.length - at < shape->record ? data.length - at : shape->record;
        put_record(out, type, 1, data.at + at, length, shape->record % 8);
        at += length;
        if (at == shape->record)
            put_noise(out, shape->noise);
    }
    put_record(out, type, 1, "", 0, 0);
}

static void put_length(struct buffer *out, size_t length)
{
    const unsigned char four[] = {(unsigned char)(length >> 24 | 0x80), (unsigned char)(length >> 16),
                                  (unsigned char)(length >> 8), (unsigned char)length};
    buffer_append(out, length < 128 ? four + 3 : four, length < 128 ? 1 : 4);
}

static void put_request(struct buffer *out, const struct rig_request *request, const struct shape *shape, bool keep)
{
    struct buffer parameters = {0};
    const char begin[8] = {0, FCGI_RESPONDER, keep ? FCGI_KEEP_CONN : 0};
    for (size_t i = 0; i < request->variables.count; i++) {
        put_length(&parameters, strlen(request->variables.name[i]));
        put_length(&parameters, strlen(request->variables.value[i]));
        buffer_text(&parameters, request->variables.name[i]);
        buffer_text(&parameters, request->variables.value[i]);
    }
    put_record(out, FCGI_BEGIN_REQUEST, 1, begin, sizeof begin, 0);
    put_stream(out, FCGI_PARAMS, rig_slice(&parameters), shape);
    put_stream(out, FCGI_STDIN, request->body, shape);
    buffer_free(&parameters);
}

static bool read_whole(int fd, void *out, size_t length)
{
    for (char *at = out; length > 0;) {
        ssize_t n = __real_read(fd, at, length);
        if (n < 0 && errno == EINTR) /* libFuzzer's clock */
            continue;
        if (n <= 0)
            return false;
        at += n;
        length -= (size_t)n;
    }
    return true;
}

/* Reads one answer's records. Returns false where the connection was closed before their end. */
static bool read_answer(int fd, struct buffer *answer)
{
    unsigned char head[8];
    static char content[65536 + 256];
    while (read_whole(fd, head, sizeof head)) {
        size_t length = (size_t)head[4] << 8 | head[5];
        RIG_CHECK(head[0] == FCGI_VERSION_1 && read_whole(fd, content, length + head[6]), "a record that is cut");
        if (head[1] == FCGI_STDOUT)
            buffer_append(answer, content, length);
        if (head[1] != FCGI_END_REQUEST)
            continue;
        RIG_CHECK(head[3] == 1 && length == 8 && content[4] == FCGI_REQUEST_COMPLETE, "the end of another request");
        return true;
    }
    return false;
}

static int connect_server(void)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    RIG_CHECK(fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) == 0, "no connection");
    return fd;
}

static void send_all(int fd, struct slice data)
{
    while (data.length > 0) {
        ssize_t n = send(fd, data.at, data.length, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return;
        data.at += n;
        data.length -= (size_t)n;
    }
}

static void by_fastcgi(const struct rig_request *request, const struct shape *shape, bool keep, struct buffer *answer)
{
    struct buffer sent = {0};
    int fd = connect_server();
    put_request(&sent, request, shape, keep);
    for (int i = 0; i < (keep ? 2 : 1); i++) {
        buffer_clear(answer);
        send_all(fd, rig_slice(&sent));
        RIG_CHECK(read_answer(fd, answer), "no end of answer %d on a connection", i);
    }
    close(fd);
    buffer_free(&sent);
}

/* A web server that is killed: what has come is no whole request, or is the one. */
static void by_cut_fastcgi(const struct rig_request *request, const struct shape *shape, size_t cut)
{
    struct buffer sent = {0}, answer = {0};
    int fd = connect_server();
    put_request(&sent, request, shape, false);
    send_all(fd, (struct slice){sent.data, cut % sent.length});
    shutdown(fd, SHUT_WR);
    read_answer(fd, &answer);
    close(fd);
    buffer_free(&sent);
    buffer_free(&answer);
}

/* ---- judging ---- */

static void judge_seen(const struct rig_request *request)
{
    struct buffer value = {0};
    const char *query = rig_variables_get(&request->variables, "QUERY_STRING");
    const char *path = rig_variables_get(&request->variables, "PATH_INFO");
    bool there = query != NULL && rig_form_value(query, "a b", &value);
    bool fits = there && value.length < sizeof seen.value && memchr(value.data, '\0', value.length) == NULL;
    RIG_CHECK(seen.has_value == fits, "a value of the query is %s", fits ? "missing" : "invented");
    if (fits)
        rig_check_equal(slice_of(seen.value), rig_slice(&value), "a value of the query");
    if (seen.has_basic) {
        struct buffer both = {0};
        RIG_CHECK(rig_basic(&request->variables, &value), "credentials were invented");
        buffer_text(&both, seen.user);
        buffer_text(&both, ":");
        buffer_text(&both, seen.password);
        rig_check_equal(rig_slice(&both), rig_slice(&value), "the credentials");
        buffer_free(&both);
    }
    size_t length = path == NULL ? 0 : strlen(path);
    if (length > 0 && path[length - 1] == '/')
        length--;
    rig_check_equal(slice_of(seen.path), (struct slice){path, length}, "the path");
    buffer_free(&value);
}

/* The body, and what is said of it, by the rules alone. */
static void judge_body(const struct rig_request *request)
{
    const char *announced = rig_variables_get(&request->variables, "CONTENT_LENGTH");
    struct slice body = request->body;
    enum body_result expected = body.length == 0 ? BODY_EMPTY : body.length > MAX_BODY ? BODY_TOO_LARGE : BODY_OK;
    if (announced != NULL && announced[strspn(announced, "0123456789")] != '\0') {
        expected = BODY_SHORT;
    } else if (announced != NULL) {
        unsigned long length = strtoul(announced, NULL, 10);
        expected = length == 0 ? BODY_EMPTY : length > MAX_BODY ? BODY_TOO_LARGE : BODY_OK;
        if (expected == BODY_OK && length > body.length)
            expected = BODY_SHORT;
        body.length = length < body.length ? length : body.length;
    }
    RIG_CHECK(seen.result == expected, "the body is %d, and should be %d", (int)seen.result, (int)expected);
    if (expected == BODY_OK)
        rig_check_equal(rig_slice(&seen.body), body, "the body");
}

/* The answers are equal, but for the words about a body that was cut: how much of it has come may differ. */
static void judge_answers(const struct buffer *answers, bool of_head, bool served)
{
    struct rig_answer first, other;
    rig_answer_read(&first, rig_slice(&answers[0]), of_head);
    RIG_CHECK(!served || first.status != 200 || of_head || slice_equal(first.body, rig_slice(&seen.body)), "the echo");
    for (int i = 1; i < 3; i++) {
        rig_answer_read(&other, rig_slice(&answers[i]), of_head);
        RIG_CHECK(first.status == other.status, "%d and %d", first.status, other.status);
        if (first.status == 200)
            rig_check_equal(rig_slice(&answers[i]), rig_slice(&answers[0]), "the answer");
    }
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    char path[256];
    struct error why;
    (void)argc;
    (void)argv;
    rig_no_log();
    memcpy(address.sun_path, rig_path("socket", path), strlen(path) + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    RIG_CHECK(fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof address) == 0 && listen(fd, 16) == 0 &&
                  dup2(fd, STDIN_FILENO) == STDIN_FILENO && close(fd) == 0,
              "no socket");
    RIG_CHECK(http_start(&limits, routes, 2, &why) != NULL, "no server: %s", why.text);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct rig_input input = rig_input_of(data, size);
    struct buffer answers[3] = {{0}};
    struct rig_request request;
    struct shape shape = {.noise = rig_byte(&input) % 16};
    shape.record = 1 + rig_byte(&input);
    unsigned cut = rig_byte(&input);
    rig_request_begin(&request, &input, MAX_BODY);
    request.broken = false;
    const char *method = rig_variables_get(&request.variables, "REQUEST_METHOD");
    bool of_head = method != NULL && strcmp(method, "HEAD") == 0;
    for (int way = 0; way < 3; way++) {
        seen.times = 0;
        if (way == 0) {
            routes_serve(routes, 2, &request.request);
            buffer_append(&answers[0], request.answer.data, request.answer.length);
        } else if (way == 1) {
            by_cgi(&request, &answers[1]);
        } else {
            by_fastcgi(&request, &shape, (cut & 1) != 0, &answers[2]);
        }
        if (seen.times > 0) {
            judge_seen(&request);
            judge_body(&request);
        }
    }
    judge_answers(answers, of_head, seen.times > 0);
    if ((cut & 6) == 6)
        by_cut_fastcgi(&request, &shape, cut * 31);
    for (int way = 0; way < 3; way++)
        buffer_free(&answers[way]);
    rig_request_end(&request);
    return 0;
}
