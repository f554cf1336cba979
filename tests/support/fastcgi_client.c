/* A web server's side of FastCGI: see fastcgi_client.h. */
#include "tests/support/fastcgi_client.h"

#include "base/buffer.h"
#include "base/clock.h"

#include <errno.h>
#include <fastcgi.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define REQUEST_ID 1

int fastcgi_connect(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) == 0)
        return fd;
    close(fd);
    return -1;
}

int fastcgi_connect_port(int port)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) == 0)
        return fd;
    close(fd);
    return -1;
}

static bool write_all(int fd, const void *data, size_t length)
{
    const char *at = data;
    while (length > 0) {
        ssize_t n = send(fd, at, length, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        at += n;
        length -= (size_t)n;
    }
    return true;
}

bool fastcgi_record(int fd, int type, const void *data, size_t length)
{
    FCGI_Header header = {.version = FCGI_VERSION_1,
                          .type = (unsigned char)type,
                          .requestIdB0 = REQUEST_ID,
                          .contentLengthB1 = (unsigned char)(length >> 8 & 0xff),
                          .contentLengthB0 = (unsigned char)(length & 0xff)};
    return write_all(fd, &header, sizeof header) && write_all(fd, data, length);
}

/* In records; no bytes: the stream's end. */
static bool send_stream(int fd, int type, const char *data, size_t length)
{
    do {
        size_t piece = length < 65528 ? length : 65528;
        if (!fastcgi_record(fd, type, data, piece))
            return false;
        data += piece;
        length -= piece;
    } while (length > 0);
    return true;
}

static void append_length(struct buffer *out, size_t length)
{
    unsigned char bytes[] = {(unsigned char)(length >> 24 | 0x80), (unsigned char)(length >> 16 & 0xff),
                             (unsigned char)(length >> 8 & 0xff), (unsigned char)(length & 0xff)};
    if (length < 128)
        buffer_append(out, bytes + 3, 1);
    else
        buffer_append(out, bytes, sizeof bytes);
}

bool fastcgi_begin(int fd, bool keep, const struct fastcgi_parameter *parameters)
{
    FCGI_BeginRequestBody begin = {.roleB0 = FCGI_RESPONDER, .flags = keep ? FCGI_KEEP_CONN : 0};
    struct buffer pairs = {0};
    for (; parameters->name != NULL; parameters++) {
        append_length(&pairs, strlen(parameters->name));
        append_length(&pairs, strlen(parameters->value));
        buffer_text(&pairs, parameters->name);
        buffer_text(&pairs, parameters->value);
    }
    bool sent = fastcgi_record(fd, FCGI_BEGIN_REQUEST, &begin, sizeof begin) &&
                send_stream(fd, FCGI_PARAMS, pairs.data, pairs.length) && fastcgi_record(fd, FCGI_PARAMS, "", 0);
    buffer_free(&pairs);
    return sent;
}

bool fastcgi_body(int fd, const void *data, size_t length)
{
    return send_stream(fd, FCGI_STDIN, data, length);
}

void fastcgi_post(struct fastcgi_parameter *parameters, const char *path, const char *length)
{
    *parameters++ = (struct fastcgi_parameter){"REQUEST_METHOD", "POST"};
    *parameters++ = (struct fastcgi_parameter){"PATH_INFO", path};
    *parameters++ = (struct fastcgi_parameter){"REMOTE_ADDR", "127.0.0.1"};
    if (length != NULL)
        *parameters++ = (struct fastcgi_parameter){"CONTENT_LENGTH", length};
    *parameters = (struct fastcgi_parameter){NULL, NULL};
}

bool fastcgi_send(int fd, bool keep, const char *path, const void *body, size_t length)
{
    struct fastcgi_parameter parameters[5];
    char announced[24];
    snprintf(announced, sizeof announced, "%zu", length);
    fastcgi_post(parameters, path, announced);
    return fastcgi_begin(fd, keep, parameters) && (length == 0 || fastcgi_body(fd, body, length)) &&
           fastcgi_body(fd, "", 0);
}

/* Reads exactly so many bytes. */
static bool read_all(int fd, void *out, size_t length, moment deadline)
{
    char *at = out;
    while (length > 0) {
        struct pollfd ready = {.fd = fd, .events = POLLIN};
        if (poll(&ready, 1, clock_until(deadline)) <= 0)
            return false;
        ssize_t n = read(fd, at, length);
        if (n <= 0)
            return false;
        at += n;
        length -= (size_t)n;
    }
    return true;
}

/* Reads one record's content into scrap, which has room for the longest. */
static bool read_record(int fd, FCGI_Header *header, char *scrap, size_t *length, moment deadline)
{
    if (!read_all(fd, header, sizeof *header, deadline))
        return false;
    *length = (size_t)header->contentLengthB1 << 8 | header->contentLengthB0;
    return read_all(fd, scrap, *length + header->paddingLength, deadline);
}

static void take_apart(struct fastcgi_answer *answer)
{
    if (sscanf(answer->text, "Status: %d", &answer->status) != 1)
        answer->status = 0;
    const char *end = strstr(answer->text, "\r\n\r\n");
    answer->body = end == NULL ? "" : end + 4;
}

bool fastcgi_read(int fd, struct fastcgi_answer *answer, int timeout_ms)
{
    char scrap[65536 + 256] = {0};
    moment deadline = clock_now() + timeout_ms;
    struct buffer text = {0};
    *answer = (struct fastcgi_answer){0};
    while (!answer->ended) {
        FCGI_Header header;
        size_t length;
        if (!read_record(fd, &header, scrap, &length, deadline))
            break;
        if (header.type == FCGI_STDOUT)
            buffer_append(&text, scrap, length);
        answer->ended = header.type == FCGI_END_REQUEST;
        if (answer->ended && length == sizeof(FCGI_EndRequestBody))
            answer->protocol = (unsigned char)scrap[offsetof(FCGI_EndRequestBody, protocolStatus)];
    }
    answer->closed = !answer->ended && clock_until(deadline) > 0;
    buffer_append(&text, "", 1);
    answer->text = text.data;
    answer->length = text.length - 1;
    take_apart(answer);
    return answer->ended;
}

void fastcgi_answer_free(struct fastcgi_answer *answer)
{
    free(answer->text);
    *answer = (struct fastcgi_answer){0};
}

bool fastcgi_closes(int fd, int timeout_ms)
{
    char byte;
    struct pollfd ready = {.fd = fd, .events = POLLIN};
    return poll(&ready, 1, timeout_ms) > 0 && read(fd, &byte, 1) <= 0;
}
