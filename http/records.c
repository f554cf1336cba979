/* FastCGI's records: see http_private.h. libfcgi reads a connection until a request is there, and blocks meanwhile: a
 * peer that stalls would have a thread. So the records are read here, as their bytes arrive; libfcgi is the code of
 * parameters (FCGX_GetParam) and of the protocol's constants. */
#include "http/http_private.h"

#include <fastcgi.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define PARAMETERS_MOST                                                                                                \
    ((size_t)1024 * 1024)           /* bytes of all of a request: web servers allow 8 to 64 KiB of headers             \
                                     */
#define RECORD_MOST ((size_t)65528) /* bytes of a record's content, a multiple of 8 */

static FCGI_Header header_of(int type, unsigned id, size_t length)
{
    return (FCGI_Header){.version = FCGI_VERSION_1,
                         .type = (unsigned char)type,
                         .requestIdB1 = (unsigned char)(id >> 8),
                         .requestIdB0 = (unsigned char)(id & 0xff),
                         .contentLengthB1 = (unsigned char)(length >> 8),
                         .contentLengthB0 = (unsigned char)(length & 0xff)};
}

static void put_end(struct buffer *out, unsigned id, int status)
{
    FCGI_EndRequestRecord end = {.header = header_of(FCGI_END_REQUEST, id, sizeof end.body)};
    end.body.protocolStatus = (unsigned char)status;
    buffer_append(out, &end, sizeof end);
}

/* ---- parameters ---- */

/* Reads a length of one or four bytes. Returns false when it is cut. */
static bool read_length(const unsigned char **at, const unsigned char *end, size_t *length)
{
    if (*at == end || (**at >= 128 && end - *at < 4))
        return false;
    if (**at < 128) {
        *length = *(*at)++;
        return true;
    }
    *length = (size_t)((*at)[0] & 0x7f) << 24 | (size_t)(*at)[1] << 16 | (size_t)(*at)[2] << 8 | (*at)[3];
    *at += 4;
    return true;
}

struct pair {
    size_t name, value; /* bytes */
    const unsigned char *at;
};

/* Reads the lengths of a pair, which stands at its `at`. Returns false when it is cut. */
static bool read_pair(const unsigned char **at, const unsigned char *end, struct pair *pair)
{
    if (!read_length(at, end, &pair->name) || !read_length(at, end, &pair->value))
        return false;
    size_t left = (size_t)(end - *at);
    pair->at = *at;
    if (pair->name > left || pair->value > left - pair->name)
        return false;
    *at += pair->name + pair->value;
    return true;
}

/* Rewrites the parameters where they are as "NAME=VALUE": a pair's two lengths have at least the room of `=` and the
 * NUL. */
static void rewrite_pairs(struct incoming *incoming)
{
    char *out = incoming->parameters.data;
    const unsigned char *at = (const unsigned char *)out, *end = at;
    struct pair pair;
    size_t count = 0;
    if (end != NULL) /* there are parameters */
        end += incoming->parameters.length;
    while (at < end && read_pair(&at, end, &pair)) {
        incoming->variables[count++] = out;
        memmove(out, pair.at, pair.name);
        out += pair.name;
        *out++ = '=';
        memmove(out, pair.at + pair.name, pair.value);
        out += pair.value;
        *out++ = '\0';
    }
    incoming->variables[count] = NULL;
}

static enum gathering end_parameters(struct incoming *incoming, struct request *request)
{
    const unsigned char *at = (const unsigned char *)incoming->parameters.data, *end = at;
    struct pair pair;
    size_t count = 0;
    if (incoming->parameters.failed)
        return GATHERING_NO_MEMORY;
    if (end != NULL)
        end += incoming->parameters.length;
    for (; at < end; count++) {
        if (!read_pair(&at, end, &pair))
            return GATHERING_BROKEN;
    }
    incoming->variables = malloc((count + 1) * sizeof *incoming->variables);
    if (incoming->variables == NULL)
        return GATHERING_NO_MEMORY;
    rewrite_pairs(incoming);
    incoming->stage = STAGE_BODY;
    body_begin(request);
    return GATHERING_ON;
}

/* ---- records ---- */

static unsigned id_of(const struct incoming *incoming)
{
    return (unsigned)incoming->header[2] << 8 | incoming->header[3];
}

/* Whether the record belongs to a stream of the request. */
static bool is_stream(const struct incoming *incoming, int type)
{
    return incoming->header[1] == type && incoming->stage != STAGE_BEGIN && id_of(incoming) == incoming->id;
}

/* Whether the record is understood as a whole: its content is gathered. */
static bool is_small(const struct incoming *incoming)
{
    return incoming->header[1] == FCGI_BEGIN_REQUEST || (id_of(incoming) == FCGI_NULL_REQUEST_ID);
}

/* Judges a record by its header. */
static enum gathering begin_record(struct incoming *incoming)
{
    const unsigned char *header = incoming->header;
    incoming->content = (size_t)header[4] << 8 | header[5];
    incoming->padding = header[6];
    if (header[0] != FCGI_VERSION_1 || (is_stream(incoming, FCGI_PARAMS) && incoming->stage != STAGE_PARAMETERS) ||
        (is_stream(incoming, FCGI_STDIN) && incoming->stage != STAGE_BODY))
        return GATHERING_BROKEN;
    return GATHERING_ON;
}

static enum gathering begin_request(struct incoming *incoming, struct buffer *reply)
{
    FCGI_BeginRequestBody body;
    unsigned id = id_of(incoming);
    if (incoming->small.length != sizeof body || id == FCGI_NULL_REQUEST_ID || id == incoming->id)
        return GATHERING_BROKEN;
    if (incoming->stage != STAGE_BEGIN) {
        put_end(reply, id, FCGI_CANT_MPX_CONN);
        return GATHERING_ON;
    }
    memcpy(&body, incoming->small.data, sizeof body);
    if (body.roleB1 != 0 || body.roleB0 != FCGI_RESPONDER) {
        put_end(reply, id, FCGI_UNKNOWN_ROLE);
        return GATHERING_ENDED;
    }
    incoming->id = id;
    incoming->keep = (body.flags & FCGI_KEEP_CONN) != 0;
    incoming->stage = STAGE_PARAMETERS;
    return GATHERING_ON;
}

/* Answers a question about the program. Of the values only one is known: that connections carry one request at a time.
 */
static void answer_management(const struct incoming *incoming, struct buffer *reply)
{
    static const char name[] = FCGI_MPXS_CONNS;
    size_t length = sizeof name - 1;
    if (incoming->header[1] != FCGI_GET_VALUES) {
        FCGI_UnknownTypeRecord unknown = {.header = header_of(FCGI_UNKNOWN_TYPE, 0, sizeof unknown.body)};
        unknown.body.type = incoming->header[1];
        buffer_append(reply, &unknown, sizeof unknown);
        return;
    }
    bool asked =
        incoming->small.length > 0 && memmem(incoming->small.data, incoming->small.length, name, length) != NULL;
    FCGI_Header header = header_of(FCGI_GET_VALUES_RESULT, 0, asked ? length + 3 : 0);
    const char lengths[] = {(char)length, 1};
    buffer_append(reply, &header, sizeof header);
    if (!asked)
        return;
    buffer_append(reply, lengths, sizeof lengths);
    buffer_append(reply, name, length);
    buffer_append(reply, "0", 1);
}

/* All of a record has come. */
static enum gathering end_record(struct incoming *incoming, struct request *request, struct buffer *reply)
{
    bool empty = incoming->header[4] == 0 && incoming->header[5] == 0;
    enum gathering result = GATHERING_ON;
    incoming->header_length = 0;
    if (is_small(incoming)) {
        if (incoming->small.failed)
            return GATHERING_NO_MEMORY;
        if (incoming->header[1] == FCGI_BEGIN_REQUEST)
            result = begin_request(incoming, reply);
        else
            answer_management(incoming, reply);
        buffer_free(&incoming->small);
    } else if (is_stream(incoming, FCGI_ABORT_REQUEST)) {
        put_end(reply, incoming->id, FCGI_REQUEST_COMPLETE);
        incoming->stage = STAGE_WHOLE; /* nothing of it follows */
        result = GATHERING_ENDED;
    } else if (empty && is_stream(incoming, FCGI_PARAMS)) {
        result = end_parameters(incoming, request);
    } else if (empty && is_stream(incoming, FCGI_STDIN)) {
        incoming->stage = STAGE_WHOLE;
        result = GATHERING_WHOLE;
    }
    return result;
}

/* Takes a part of a record's content. */
static enum gathering take_content(struct incoming *incoming, struct request *request, const char *data, size_t length)
{
    if (is_small(incoming)) {
        buffer_append(&incoming->small, data, length);
    } else if (is_stream(incoming, FCGI_PARAMS)) {
        buffer_append(&incoming->parameters, data, length);
        if (incoming->parameters.length > PARAMETERS_MOST)
            return GATHERING_TOO_LARGE;
    } else if (is_stream(incoming, FCGI_STDIN) && !body_put(request, data, length)) {
        incoming->discarded += length;
    }
    return GATHERING_ON;
}

/* Takes the next bytes: of a header, of content, or of padding. Returns how many; *result: what follows from them. */
static size_t take_some(struct incoming *incoming, struct request *request, const char *data, size_t length,
                        enum gathering *result)
{
    size_t missing = sizeof incoming->header - incoming->header_length;
    size_t wanted = missing > 0 ? missing : incoming->content > 0 ? incoming->content : incoming->padding;
    size_t n = length < wanted ? length : wanted;
    if (missing > 0) {
        memcpy(incoming->header + incoming->header_length, data, n);
        incoming->header_length += n;
        if (n == missing)
            *result = begin_record(incoming);
    } else if (incoming->content > 0) {
        *result = take_content(incoming, request, data, n);
        incoming->content -= n;
    } else {
        incoming->padding -= n;
    }
    return n;
}

enum gathering incoming_take(struct incoming *incoming, struct request *request, const char *data, size_t length,
                             struct buffer *reply)
{
    enum gathering result = GATHERING_ON;
    for (size_t n; length > 0 && result == GATHERING_ON; data += n, length -= n) {
        n = take_some(incoming, request, data, length, &result);
        if (result == GATHERING_ON && incoming->header_length == sizeof incoming->header && incoming->content == 0 &&
            incoming->padding == 0)
            result = end_record(incoming, request, reply);
    }
    incoming->too_much = length > 0;
    return result;
}

void incoming_free(struct incoming *incoming)
{
    buffer_free(&incoming->small);
    buffer_free(&incoming->parameters);
    free(incoming->variables);
    incoming->variables = NULL;
}

/* ---- the answer ---- */

static void begin_output(struct outgoing *outgoing)
{
    static const FCGI_Header later;
    outgoing->record = outgoing->bytes.length;
    outgoing->filling = true;
    buffer_append(&outgoing->bytes, &later, sizeof later);
}

/* Writes the header of the record that is being filled, now that its length is known. */
static void end_output(struct outgoing *outgoing, unsigned id)
{
    if (!outgoing->filling || outgoing->bytes.failed)
        return;
    size_t length = outgoing->bytes.length - outgoing->record - sizeof(FCGI_Header);
    FCGI_Header header = header_of(FCGI_STDOUT, id, length);
    memcpy(outgoing->bytes.data + outgoing->record, &header, sizeof header);
    outgoing->filling = false;
}

void outgoing_put(struct outgoing *outgoing, unsigned id, const char *data, size_t length)
{
    while (length > 0 && !outgoing->bytes.failed) {
        if (!outgoing->filling)
            begin_output(outgoing);
        size_t room = RECORD_MOST - (outgoing->bytes.length - outgoing->record - sizeof(FCGI_Header));
        size_t piece = length < room ? length : room;
        buffer_append(&outgoing->bytes, data, piece);
        if (piece == room)
            end_output(outgoing, id);
        data += piece;
        length -= piece;
    }
}

void outgoing_end(struct outgoing *outgoing, unsigned id)
{
    FCGI_Header header = header_of(FCGI_STDOUT, id, 0);
    end_output(outgoing, id);
    buffer_append(&outgoing->bytes, &header, sizeof header);
    put_end(&outgoing->bytes, id, FCGI_REQUEST_COMPLETE);
}

/* ---- the answer without memory ---- */

#define BEGIN_WAIT_MS 1 /* for a request's first bytes: a web server writes at once after connecting */
#define HEADROOM_WORDS "{\"error\": \"out of memory or of descriptors: send it again later\"}\n"
#define HEADROOM_ANSWER                                                                                                \
    "Status: 503 Service Unavailable\r\nContent-Type: application/json\r\nRetry-After: 30\r\n"                         \
    "Cache-Control: no-store\r\n\r\n" HEADROOM_WORDS

/* The records of the answer: STDOUT, its end, END_REQUEST. */
struct refusal_records {
    FCGI_Header head;
    char text[sizeof HEADROOM_ANSWER - 1];
    FCGI_Header text_end;
    FCGI_EndRequestRecord end;
};

void headroom_refuse_request(int fd, unsigned id)
{
    struct refusal_records records = {.head = header_of(FCGI_STDOUT, id, sizeof records.text)};
    memcpy(records.text, HEADROOM_ANSWER, sizeof records.text);
    records.text_end = header_of(FCGI_STDOUT, id, 0);
    records.end.header = header_of(FCGI_END_REQUEST, id, sizeof records.end.body);
    records.end.body.protocolStatus = FCGI_REQUEST_COMPLETE;
    ssize_t n = send(fd, &records, sizeof records, MSG_NOSIGNAL | MSG_DONTWAIT);
    (void)n; /* a client that does not read it is gone */
}

void headroom_refuse(int fd)
{
    FCGI_Header request;
    char scrap[4096];
    struct pollfd ready = {.fd = fd, .events = POLLIN};
    if (poll(&ready, 1, BEGIN_WAIT_MS) <= 0 ||
        recv(fd, &request, sizeof request, MSG_DONTWAIT) != (ssize_t)sizeof request ||
        request.version != FCGI_VERSION_1 || request.type != FCGI_BEGIN_REQUEST)
        return;
    while (recv(fd, scrap, sizeof scrap, MSG_DONTWAIT) == (ssize_t)sizeof scrap)
        ; /* a socket that is closed with bytes unread is reset, and the answer lost */
    headroom_refuse_request(fd, (unsigned)request.requestIdB1 << 8 | request.requestIdB0);
}
