/* The HTTP client of the tests. */
#include "tests/support/client.h"

#include <curl/curl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "tests/support/process.h"

struct client {
    CURL *curl;
    struct slice unsent;
    struct client_answer *answer;
    size_t body_length;
    struct buffer *whole;
};

static void require(bool condition, const char *what)
{
    if (condition)
        return;
    fprintf(stderr, "client: %s\n", what);
    abort();
}

struct client *client_new(void)
{
    struct client *client = calloc(1, sizeof *client);
    require(client != NULL, "no memory");
    client->curl = curl_easy_init();
    require(client->curl != NULL, "libcurl does not start");
    return client;
}

void client_free(struct client *client)
{
    curl_easy_cleanup(client->curl);
    free(client);
}

static size_t on_read(char *to, size_t size, size_t count, void *context)
{
    struct client *client = context;
    size_t length = size * count < client->unsent.length ? size * count : client->unsent.length;
    memcpy(to, client->unsent.at, length);
    client->unsent.at += length;
    client->unsent.length -= length;
    return length;
}

/* What does not fit is let go. */
static size_t on_body(char *from, size_t size, size_t count, void *context)
{
    struct client *client = context;
    size_t room = sizeof client->answer->body - 1 - client->body_length;
    size_t length = size * count < room ? size * count : room;
    memcpy(client->answer->body + client->body_length, from, length);
    client->body_length += length;
    if (client->whole != NULL)
        buffer_append(client->whole, from, size * count);
    return size * count;
}

static void take_header(const char *line, size_t length, const char *name, char *value, size_t size)
{
    size_t name_length = strlen(name);
    if (length <= name_length || strncasecmp(line, name, name_length) != 0)
        return;
    line += name_length;
    length -= name_length;
    while (length > 0 && *line == ' ') {
        line++;
        length--;
    }
    while (length > 0 && (line[length - 1] == '\r' || line[length - 1] == '\n'))
        length--;
    snprintf(value, size, "%.*s", (int)length, line);
}

static size_t on_header(char *line, size_t size, size_t count, void *context)
{
    struct client *client = context;
    take_header(line, size * count, "Retry-After:", client->answer->retry_after, sizeof client->answer->retry_after);
    take_header(line, size * count, "Allow:", client->answer->allow, sizeof client->answer->allow);
    return size * count;
}

static struct curl_slist *make_headers(const struct client_request *request)
{
    /* without Expect: a large body would otherwise wait a second for a "100 Continue" that may not come */
    struct curl_slist *headers = curl_slist_append(NULL, "Expect:");
    headers = curl_slist_append(headers, "Content-Type: application/json");
    for (size_t i = 0; i < CLIENT_HEADERS && request->headers[i] != NULL; i++)
        headers = curl_slist_append(headers, request->headers[i]);
    if (request->chunked)
        headers = curl_slist_append(headers, "Transfer-Encoding: chunked");
    require(headers != NULL, "no memory");
    return headers;
}

static void set_body(struct client *client, const struct client_request *request)
{
    CURL *curl = client->curl;
    client->unsent = request->body;
    if (request->chunked) {
        curl_easy_setopt(curl, CURLOPT_POST, 1L);
        curl_easy_setopt(curl, CURLOPT_READFUNCTION, on_read);
        curl_easy_setopt(curl, CURLOPT_READDATA, client);
    } else if (request->body.at != NULL) {
        curl_easy_setopt(curl, CURLOPT_POSTFIELDS, request->body.at);
        curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)request->body.length);
    }
}

int client_send(struct client *client, const struct client_request *request, struct client_answer *answer)
{
    CURL *curl = client->curl;
    struct curl_slist *headers = make_headers(request);
    long status = 0;
    *answer = (struct client_answer){.status = 0};
    client->answer = answer;
    client->body_length = 0;
    client->whole = request->whole;
    curl_easy_reset(curl); /* keeps the connection */
    curl_easy_setopt(curl, CURLOPT_URL, request->url);
    curl_easy_setopt(curl, CURLOPT_PROXY, "");
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long)(request->timeout_ms == 0 ? 60000 : request->timeout_ms));
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, client);
    curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(curl, CURLOPT_HEADERDATA, client);
    set_body(client, request);
    curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, request->method == NULL ? "POST" : request->method);
    if (request->user != NULL) {
        curl_easy_setopt(curl, CURLOPT_USERNAME, request->user);
        curl_easy_setopt(curl, CURLOPT_PASSWORD, "");
    }
    /* the status also where the server answered and then cut the upload short, as with 413 */
    answer->complete = curl_easy_perform(curl) == CURLE_OK;
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    curl_slist_free_all(headers);
    answer->status = (int)status;
    return answer->status;
}

bool raw_write(int fd, struct slice bytes)
{
    while (bytes.length > 0) {
        ssize_t sent = send(fd, bytes.at, bytes.length, MSG_NOSIGNAL);
        if (sent < 0)
            return false;
        bytes.at += sent;
        bytes.length -= (size_t)sent;
    }
    return true;
}

int raw_exchange(uint16_t port, struct slice bytes, int64_t ms)
{
    moment deadline = clock_now() + ms;
    char answer[4096];
    size_t length = 0;
    ssize_t got = -1;
    int fd = connect_port(port);
    if (fd < 0)
        return -1;
    raw_write(fd, bytes);
    shutdown(fd, SHUT_WR);
    struct pollfd readable = {.fd = fd, .events = POLLIN};
    while (length < sizeof answer - 1 && poll(&readable, 1, clock_until(deadline)) > 0) {
        got = recv(fd, answer + length, sizeof answer - 1 - length, 0);
        if (got <= 0)
            break;
        length += (size_t)got;
    }
    close(fd);
    answer[length] = '\0';
    int status = 0;
    if (sscanf(answer, "HTTP/1.%*d %d", &status) == 1)
        return status;
    return got > 0 || readable.revents == 0 ? -1 : 0;
}
