/* A webhook's request to an appended body. Judges: OpenSSL's HMAC and Base64, libcurl's decoding of queries. What is
 * answered 200 is appended, with just the bytes that came, and only where the request has the signature or the key of
 * the source; nothing else is appended. `HTTP_CLOSE_SIG_HASH=good` stands for the right signature. */
#include "webhook/webhook.h"
#include "fuzz/rig/request.h"
#include "fuzz/rig/rig.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define NOW_MS INT64_C(1700000000000)
#define TOLERANCE_S 300
#define MAX_BODY 200

int64_t __wrap_clock_unix_ms(void);
int64_t __wrap_clock_unix_ms(void)
{
    return NOW_MS;
}

static unsigned char key[] = "a key of thirty-two bytes, or so";
static char write_key_text[] = "wk+/ \xC3\xA4", *write_keys[] = {write_key_text};
static char acme[] = "acme", beta[] = "beta";
static struct signature_key signature_key = {key, sizeof key - 1};
static struct source sources[] = {
    {.name = acme, .signature_key = &signature_key, .signature_keys = 1, .signature_tolerance_ms = TOLERANCE_S * 1000},
    {.name = beta, .write_key = {write_keys, 1}, .signature_tolerance_ms = TOLERANCE_S * 1000},
};
static struct config config = {.source = sources, .sources = 2, .max_body = MAX_BODY};

/* What was appended. */
struct appended {
    int times;
    char source[16];
    struct buffer body;
    enum queue_result result;
};

static enum queue_result append(void *queue, const char *source, const char *body, size_t length, moment deadline,
                                struct error *why)
{
    struct appended *out = queue;
    (void)deadline;
    (void)why;
    out->times++;
    snprintf(out->source, sizeof out->source, "%s", source);
    buffer_clear(&out->body);
    buffer_append(&out->body, body, length);
    return out->result;
}

static void hash_of(const char *timestamp, struct slice body, char out[static 65])
{
    unsigned char hash[EVP_MAX_MD_SIZE];
    struct buffer text = {0};
    buffer_text(&text, timestamp);
    buffer_append(&text, body.at, body.length);
    HMAC(EVP_sha256(), key, sizeof key - 1, (const unsigned char *)text.data, text.length, hash, NULL);
    for (size_t i = 0; i < 32; i++)
        sprintf(out + 2 * i, "%02x", hash[i]);
    buffer_free(&text);
}

static void sign(struct rig_request *request)
{
    for (size_t i = 0; i < request->variables.count; i++) {
        const char *timestamp = rig_variables_get(&request->variables, "HTTP_CLOSE_SIG_TIMESTAMP");
        if (strcmp(request->variables.name[i], "HTTP_CLOSE_SIG_HASH") != 0 ||
            strcmp(request->variables.value[i], "good") != 0)
            continue;
        request->variables.value[i] = realloc(request->variables.value[i], 65);
        hash_of(timestamp == NULL ? "" : timestamp, request->body, request->variables.value[i]);
    }
}

static bool is_signed(const struct rig_request *request, struct slice body)
{
    char hash[65];
    const char *sent = rig_variables_get(&request->variables, "HTTP_CLOSE_SIG_HASH");
    const char *timestamp = rig_variables_get(&request->variables, "HTTP_CLOSE_SIG_TIMESTAMP");
    if (sent == NULL || timestamp == NULL)
        return false;
    hash_of(timestamp, body, hash);
    long long age = NOW_MS / 1000 - strtoll(timestamp, NULL, 10);
    return strcasecmp(sent, hash) == 0 && age <= TOLERANCE_S && age >= -TOLERANCE_S;
}

static bool has_write_key(const struct rig_request *request)
{
    struct buffer value = {0};
    const char *query = rig_variables_get(&request->variables, "QUERY_STRING");
    bool found = query != NULL && rig_form_value(query, "writeKey", &value) && strcmp(value.data, write_key_text) == 0;
    if (!found && rig_basic(&request->variables, &value)) {
        value.data[strcspn(value.data, ":")] = '\0';
        found = strcmp(value.data, write_key_text) == 0;
    }
    buffer_free(&value);
    return found;
}

/* The body as the announced length has it. */
static struct slice body_of(const struct rig_request *request)
{
    struct slice body = request->body;
    const char *length = rig_variables_get(&request->variables, "CONTENT_LENGTH");
    if (length != NULL && strtoul(length, NULL, 10) < body.length)
        body.length = strtoul(length, NULL, 10);
    return body;
}

static void judge(const struct rig_request *request, const struct appended *taken, const struct rig_answer *answer)
{
    struct slice body = body_of(request);
    const char *method = rig_variables_get(&request->variables, "REQUEST_METHOD");
    const char *length = rig_variables_get(&request->variables, "CONTENT_LENGTH");
    bool of_acme = strcmp(taken->source, acme) == 0;
    RIG_CHECK(taken->times <= 1, "appended %d times", taken->times);
    if (taken->times == 0) {
        RIG_CHECK(answer->status != 200 || slice_equal(answer->body, slice_of(WEBHOOK_PROBE_ANSWER)),
                  "answered 200, and not appended");
        return;
    }
    RIG_CHECK((answer->status == 200) == (taken->result == QUEUE_STORED), "answered %d", answer->status);
    RIG_CHECK(answer->status != 200 || slice_equal(answer->body, slice_of("ok")), "200 without ok");
    RIG_CHECK(strcmp(method, "POST") == 0, "a %s was taken", method);
    RIG_CHECK(body.length > 0 && body.length <= MAX_BODY, "%zu bytes were taken", body.length);
    RIG_CHECK(length == NULL ? !request->broken : strtoul(length, NULL, 10) == body.length, "a body that was cut");
    rig_check_equal(rig_slice(&taken->body), body, "the body");
    RIG_CHECK(of_acme ? is_signed(request, body) : has_write_key(request), "of %s, without its key", taken->source);
}

static struct webhook *webhook;
static struct appended appended;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    static char directory[256];
    struct error why;
    (void)argc;
    (void)argv;
    rig_no_log();
    rig_path("keys", directory);
    *strrchr(directory, '/') = '\0';
    config.state_dir = directory;
    webhook = webhook_new_with(&config, append, &appended, &why);
    RIG_CHECK(webhook != NULL, "no webhook: %s", why.text);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const enum queue_result results[] = {QUEUE_STORED, QUEUE_STORED,  QUEUE_STORED, QUEUE_UNUSABLE,
                                                QUEUE_FULL,   QUEUE_UNKNOWN, QUEUE_BROKEN, QUEUE_STORED};
    struct rig_input input = rig_input_of(data, size);
    struct rig_request request;
    struct rig_answer answer;
    appended.times = 0;
    appended.source[0] = '\0';
    appended.result = results[rig_byte(&input) % 8];
    rig_request_begin(&request, &input, MAX_BODY);
    sign(&request);
    rig_variables_add(&request.variables, "REQUEST_METHOD", "POST");
    const struct route routes[] = {{"", (void (*)(void *, struct request *))webhook_handle, webhook, false},
                                   {"/v1/webhook", (void (*)(void *, struct request *))webhook_handle, webhook, false},
                                   {"/*", (void (*)(void *, struct request *))webhook_handle, webhook, false}};
    routes_serve(routes, 3, &request.request);
    rig_request_answer(&request, &answer);
    judge(&request, &appended, &answer);
    if (strncmp(answer.type, "application/json", strlen("application/json")) == 0 && answer.body.length > 0)
        rig_record("json", input.at == NULL ? (struct slice){"", 0} : request.body, answer.body);
    rig_request_end(&request);
    return 0;
}
