/* The stand-in's HTTP side: one thread per connection, so that a held or delayed request harms no other. */
#include "tests/support/standin.h"

#include <arpa/inet.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/waiting.h"

#define MAX_UPLOAD ((size_t)64 << 20)
#define MAX_FAULTS 16
#define MAX_ARRIVALS 65536 /* remembered; beyond it only counted */

#define READ_SLOWLY ((size_t)1 << 20) /* bytes */

struct standin {
    struct standin_options options;
    struct MHD_Daemon *daemon;
    uint16_t port;

    pthread_mutex_t mutex; /* guards all below */
    pthread_cond_t changed;
    bool stopping;
    unsigned healed; /* grows with each standin_heal */
    int64_t read_pause_ms;
    struct standin_fault faults[MAX_FAULTS];
    size_t fault_count;
    struct standin_counts counts;
    struct received received;
    struct arrival *arrivals;
    size_t arrived;
};

/* When a request came, and for whom. */
struct arrival {
    moment at;
    const char *write_key; /* NULL: of nobody known */
};

/* One request while it comes in. */
struct upload {
    struct buffer body;
};

/* What becomes of a request. */
struct outcome {
    int status; /* 0: the connection is cut */
    const char *text;
    const char *retry_after;
    bool half;    /* of the text only the first byte goes out */
    bool endless; /* blanks follow, without end */
};

static const struct outcome stored_ok = {.status = 200, .text = "ok"};
static const struct outcome cut = {.status = 0};

/* Waits for so many milliseconds, or until the stand-in stops. Called under the mutex. */
static void pause_ms(struct standin *standin, int64_t ms)
{
    moment deadline = clock_now() + ms;
    while (!standin->stopping && wait_changed(&standin->changed, &standin->mutex, deadline))
        ;
}

/* Waits for standin_heal or the stand-in's end. Called under the mutex. */
static void hold(struct standin *standin)
{
    unsigned healed = standin->healed;
    standin->counts.held++;
    pthread_cond_broadcast(&standin->changed);
    while (!standin->stopping && standin->healed == healed)
        pthread_cond_wait(&standin->changed, &standin->mutex);
    standin->counts.held--;
}

/* Takes the first fault that fits, and counts it. Called under the mutex. Returns false when there is none. */
static bool take_fault(struct standin *standin, struct slice body, const char *write_key, struct standin_fault *fault)
{
    for (size_t i = 0; i < standin->fault_count; i++) {
        struct standin_fault *at = &standin->faults[i];
        if (at->times == 0 || (at->marker != NULL && !slice_contains(body, at->marker)))
            continue;
        if (at->write_key != NULL && (write_key == NULL || strcmp(at->write_key, write_key) != 0))
            continue;
        if (at->times != STANDIN_ALWAYS)
            at->times--;
        *fault = *at;
        return true;
    }
    return false;
}

/* Called under the mutex. */
static struct outcome store(struct standin *standin, const struct received_batch *batch, const char *write_key)
{
    for (size_t i = 0; i < batch->count; i++) {
        if (!received_add(&standin->received, &batch->messages[i], write_key, standin->counts.requests,
                          !standin->options.forget_bytes))
            return (struct outcome){.status = 500, .text = "no memory"};
    }
    standin->counts.stored++;
    standin->counts.messages = standin->received.count;
    standin->counts.repeated = standin->received.repeated;
    return stored_ok;
}

/* What the data plane itself makes of the request. Called under the mutex; batch was read without it. */
static struct outcome judge(struct standin *standin, struct refusal refusal, const struct received_batch *batch,
                            const char *write_key)
{
    if (refusal.status != 0)
        return (struct outcome){.status = refusal.status, .text = refusal.text};
    return store(standin, batch, write_key);
}

/* Those from this place on came with a request that met this fault. Called under the mutex. */
static void mark_unsure(struct standin *standin, size_t from, const struct standin_fault *fault)
{
    for (size_t i = from; i < standin->received.count; i++)
        standin->received.messages[i]->unsure = fault->act != STANDIN_SLOW || fault->delay_ms > 0;
}

/* Called under the mutex. */
static void note_arrival(struct standin *standin, const char *write_key)
{
    if (standin->arrived < MAX_ARRIVALS)
        standin->arrivals[standin->arrived++] = (struct arrival){clock_now(), write_key};
}

static struct outcome decide(struct standin *standin, struct slice body, struct refusal refusal,
                             const struct received_batch *batch, const char *write_key)
{
    struct standin_fault fault = {.act = STANDIN_SLOW};
    pthread_mutex_lock(&standin->mutex);
    standin->counts.requests++;
    note_arrival(standin, write_key);
    pthread_cond_broadcast(&standin->changed);
    take_fault(standin, body, write_key, &fault);
    int64_t delay_ms = fault.delay_ms + fault.each_ms * (int64_t)batch->count;
    if (delay_ms > 0)
        pause_ms(standin, delay_ms);
    if (fault.act == STANDIN_HOLD)
        hold(standin);

    size_t before = standin->received.count;
    struct outcome outcome;
    if (standin->stopping || fault.act == STANDIN_CUT)
        outcome = cut;
    else if (fault.act == STANDIN_ANSWER || fault.act == STANDIN_ENDLESS)
        outcome = (struct outcome){.status = fault.status,
                                   .text = fault.body == NULL ? "" : fault.body,
                                   .retry_after = fault.retry_after,
                                   .endless = fault.act == STANDIN_ENDLESS};
    else
        outcome = judge(standin, refusal, batch, write_key);
    mark_unsure(standin, before, &fault);
    if (fault.act == STANDIN_STORE_CUT)
        outcome = cut;
    outcome.half = fault.act == STANDIN_HALF;

    if (outcome.status != 200 || outcome.half)
        standin->counts.refused++;
    pthread_cond_broadcast(&standin->changed);
    pthread_mutex_unlock(&standin->mutex);
    return outcome;
}

/* The configured write key that the request carries, or NULL with the refusal. */
static const char *write_key_of(const struct standin *standin, struct MHD_Connection *connection,
                                struct refusal *refusal)
{
    char *password = NULL;
    char *user = MHD_basic_auth_get_username_password(connection, &password);
    const char *found = NULL;
    *refusal = user == NULL ? (struct refusal){401, "failed to read writekey from header"}
                            : (struct refusal){401, "invalid write key"};
    for (size_t i = 0; user != NULL && i < STANDIN_WRITE_KEYS; i++) {
        const char *key = standin->options.write_keys[i];
        if (key != NULL && strcmp(key, user) == 0)
            found = key;
    }
    MHD_free(password);
    MHD_free(user);
    return found;
}

static bool is_gzip(struct MHD_Connection *connection)
{
    const char *encoding = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Content-Encoding");
    return encoding != NULL && strcmp(encoding, "gzip") == 0;
}

/* Unpacks and reads the body. The NUL that batch_read wants is put behind it. */
static struct refusal read_body(struct MHD_Connection *connection, const char *path, struct upload *upload,
                                struct received_batch *batch)
{
    struct buffer *body = &upload->body;
    if (is_gzip(connection)) {
        struct buffer plain = {.data = NULL};
        bool whole = batch_unpack((struct slice){body->data, body->length}, &plain);
        buffer_free(body);
        *body = plain;
        if (!whole)
            return (struct refusal){500, "gzip: invalid header"};
    }
    bool single = strcmp(path, "/v1/track") == 0;
    buffer_append(body, "", 1);
    if (body->failed)
        return (struct refusal){500, "no memory"};
    body->length--;
    return batch_read((struct slice){body->data, body->length}, single, batch);
}

static struct outcome respond(struct standin *standin, struct MHD_Connection *connection, const char *path,
                              const char *method, struct upload *upload)
{
    struct refusal refusal;
    struct received_batch batch = {NULL, 0};
    const char *write_key = write_key_of(standin, connection, &refusal);
    if (strcmp(path, "/v1/batch") != 0 && strcmp(path, "/v1/track") != 0)
        refusal = (struct refusal){404, "404 page not found"};
    else if (strcmp(method, "POST") != 0)
        refusal = (struct refusal){405, ""};
    else if (write_key != NULL)
        refusal = read_body(connection, path, upload, &batch);
    struct slice body = {upload->body.data, upload->body.length};
    struct outcome outcome = decide(standin, body, refusal, &batch, write_key);
    batch_free(&batch);
    return outcome;
}

/* Gives one byte of the answer and then no more: libmicrohttpd closes the connection. */
static ssize_t give_half(void *text, uint64_t at, char *out, size_t room)
{
    if (at > 0 || room == 0)
        return MHD_CONTENT_READER_END_WITH_ERROR;
    *out = *(const char *)text;
    return 1;
}

static ssize_t give_blanks(void *nothing, uint64_t at, char *out, size_t room)
{
    (void)nothing, (void)at;
    memset(out, ' ', room);
    return (ssize_t)room;
}

static struct MHD_Response *make_response(struct outcome outcome)
{
    if (outcome.endless)
        return MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, 4096, give_blanks, NULL, NULL);
    void *text = (void *)(uintptr_t)outcome.text;
    if (outcome.half)
        return MHD_create_response_from_callback(strlen(outcome.text), 64, give_half, text, NULL);
    return MHD_create_response_from_buffer(strlen(outcome.text), text, MHD_RESPMEM_MUST_COPY);
}

static enum MHD_Result answer(struct MHD_Connection *connection, struct outcome outcome)
{
    if (outcome.status == 0)
        return MHD_NO; /* libmicrohttpd closes the connection */
    struct MHD_Response *response = make_response(outcome);
    if (response == NULL)
        return MHD_NO;
    MHD_add_response_header(response, "Content-Type", "text/plain; charset=utf-8");
    if (outcome.retry_after != NULL)
        MHD_add_response_header(response, "Retry-After", outcome.retry_after);
    enum MHD_Result result = MHD_queue_response(connection, (unsigned)outcome.status, response);
    MHD_destroy_response(response);
    return result;
}

/* What is to be read slowly must not be taken by the kernel meanwhile. */
static void take_little(struct standin *standin, struct MHD_Connection *connection)
{
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    int bytes = 128 * 1024;
    pthread_mutex_lock(&standin->mutex);
    if (standin->read_pause_ms > 0 && info != NULL)
        (void)setsockopt(info->connect_fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes);
    pthread_mutex_unlock(&standin->mutex);
}

static void pause_reading(struct standin *standin, size_t read)
{
    pthread_mutex_lock(&standin->mutex);
    if (standin->read_pause_ms > 0 && read < READ_SLOWLY)
        pause_ms(standin, standin->read_pause_ms);
    pthread_mutex_unlock(&standin->mutex);
}

/* libmicrohttpd calls this once with the headers, then with each piece of the body, then once without a piece. */
static enum MHD_Result on_request(void *context, struct MHD_Connection *connection, const char *path,
                                  const char *method, const char *version, const char *piece, size_t *piece_length,
                                  void **state)
{
    (void)version;
    struct upload *upload = *state;
    if (upload == NULL) {
        take_little(context, connection);
        *state = calloc(1, sizeof *upload);
        return *state == NULL ? MHD_NO : MHD_YES;
    }
    if (*piece_length > 0) {
        pause_reading(context, upload->body.length);
        buffer_append(&upload->body, piece, *piece_length);
        *piece_length = 0;
        return upload->body.failed || upload->body.length > MAX_UPLOAD ? MHD_NO : MHD_YES;
    }
    return answer(connection, respond(context, connection, path, method, upload));
}

static void on_end(void *context, struct MHD_Connection *connection, void **state, enum MHD_RequestTerminationCode why)
{
    (void)context, (void)connection, (void)why;
    struct upload *upload = *state;
    if (upload == NULL)
        return;
    buffer_free(&upload->body);
    free(upload);
}

static bool listen_at(struct standin *standin)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(standin->options.port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const char *certificate = standin->options.certificate, *private_key = standin->options.private_key;
    const struct MHD_OptionItem tls[] = {
        {MHD_OPTION_HTTPS_MEM_CERT, 0, (void *)(uintptr_t)certificate},
        {MHD_OPTION_HTTPS_MEM_KEY, 0, (void *)(uintptr_t)private_key},
        {MHD_OPTION_END, 0, NULL},
    };
    const struct MHD_OptionItem *more = certificate != NULL ? tls : tls + 2;
    unsigned flags = MHD_USE_THREAD_PER_CONNECTION | MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_POLL;
    if (certificate != NULL)
        flags |= MHD_USE_TLS;
    standin->daemon = MHD_start_daemon(flags, 0, NULL, NULL, on_request, standin, MHD_OPTION_SOCK_ADDR, &address,
                                       MHD_OPTION_NOTIFY_COMPLETED, on_end, NULL, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
                                       (size_t)256 << 10, MHD_OPTION_LISTENING_ADDRESS_REUSE, 1U, MHD_OPTION_ARRAY,
                                       more, MHD_OPTION_END);
    if (standin->daemon == NULL)
        return false;
    standin->port = MHD_get_daemon_info(standin->daemon, MHD_DAEMON_INFO_BIND_PORT)->port;
    return true;
}

struct standin *standin_start(const struct standin_options *options)
{
    struct standin *standin = calloc(1, sizeof *standin);
    if (standin == NULL)
        return NULL;
    standin->options = *options;
    standin->arrivals = calloc(MAX_ARRIVALS, sizeof *standin->arrivals);
    if (standin->arrivals == NULL) {
        free(standin);
        return NULL;
    }
    pthread_mutex_init(&standin->mutex, NULL);
    pthread_cond_init(&standin->changed, NULL);
    if (listen_at(standin))
        return standin;
    standin_stop(standin);
    return NULL;
}

uint16_t standin_port(const struct standin *standin)
{
    return standin->port;
}

void standin_fail(struct standin *standin, const struct standin_fault *fault)
{
    pthread_mutex_lock(&standin->mutex);
    if (standin->fault_count == MAX_FAULTS)
        abort();
    standin->faults[standin->fault_count++] = *fault;
    pthread_mutex_unlock(&standin->mutex);
}

void standin_read_slowly(struct standin *standin, int64_t ms)
{
    pthread_mutex_lock(&standin->mutex);
    standin->read_pause_ms = ms;
    pthread_mutex_unlock(&standin->mutex);
}

void standin_heal(struct standin *standin)
{
    pthread_mutex_lock(&standin->mutex);
    standin->fault_count = 0;
    standin->healed++;
    pthread_cond_broadcast(&standin->changed);
    pthread_mutex_unlock(&standin->mutex);
}

struct standin_counts standin_counts(struct standin *standin)
{
    pthread_mutex_lock(&standin->mutex);
    struct standin_counts counts = standin->counts;
    pthread_mutex_unlock(&standin->mutex);
    return counts;
}

/* Waits until the count that the pointer names has come to what is wanted. */
static bool wait_for(struct standin *standin, const size_t *count, size_t wanted, int64_t ms)
{
    moment deadline = clock_now() + ms;
    pthread_mutex_lock(&standin->mutex);
    while (*count < wanted && wait_changed(&standin->changed, &standin->mutex, deadline))
        ;
    bool reached = *count >= wanted;
    pthread_mutex_unlock(&standin->mutex);
    return reached;
}

bool standin_wait_messages(struct standin *standin, size_t count, int64_t ms)
{
    return wait_for(standin, &standin->counts.messages, count, ms);
}

bool standin_wait_requests(struct standin *standin, size_t count, int64_t ms)
{
    return wait_for(standin, &standin->counts.requests, count, ms);
}

bool standin_wait_held(struct standin *standin, size_t count, int64_t ms)
{
    return wait_for(standin, &standin->counts.held, count, ms);
}

size_t standin_arrivals(struct standin *standin, const char *write_key, moment *at, size_t most)
{
    size_t count = 0;
    pthread_mutex_lock(&standin->mutex);
    for (size_t i = 0; i < standin->arrived; i++) {
        const char *key = standin->arrivals[i].write_key;
        if (write_key != NULL && (key == NULL || strcmp(key, write_key) != 0))
            continue;
        if (count < most)
            at[count] = standin->arrivals[i].at;
        count++;
    }
    pthread_mutex_unlock(&standin->mutex);
    return count;
}

const struct standin_message *standin_message(struct standin *standin, size_t index)
{
    pthread_mutex_lock(&standin->mutex);
    struct received *received = &standin->received;
    const struct standin_message *message = index < received->count ? received->messages[index] : NULL;
    pthread_mutex_unlock(&standin->mutex);
    return message;
}

const struct standin_message *standin_find(struct standin *standin, const char *message_id)
{
    pthread_mutex_lock(&standin->mutex);
    const struct standin_message *message = received_find(&standin->received, message_id);
    pthread_mutex_unlock(&standin->mutex);
    return message;
}

void standin_forget(struct standin *standin)
{
    pthread_mutex_lock(&standin->mutex);
    received_clear(&standin->received);
    standin->counts = (struct standin_counts){.held = standin->counts.held};
    standin->arrived = 0;
    pthread_mutex_unlock(&standin->mutex);
}

void standin_stop(struct standin *standin)
{
    pthread_mutex_lock(&standin->mutex);
    standin->stopping = true;
    pthread_cond_broadcast(&standin->changed);
    pthread_mutex_unlock(&standin->mutex);
    if (standin->daemon != NULL)
        MHD_stop_daemon(standin->daemon);
    received_clear(&standin->received);
    pthread_cond_destroy(&standin->changed);
    pthread_mutex_destroy(&standin->mutex);
    free(standin->arrivals);
    free(standin);
}
