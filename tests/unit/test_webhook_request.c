/* Whole webhooks, with a queue of the test's own: what is answered, and what reaches the queue. */
#include "base/log.h"
#include "tests/suites.h"
#include "tests/support/http_fake.h"
#include "webhook/webhook.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <string.h>

#define TOLERANCE_MS 262800000 /* 73 h */

static unsigned char signed_bytes[32] = {7}, other_bytes[32] = {8};
static struct signature_key signed_keys[] = {{signed_bytes, 32}}, other_keys[] = {{other_bytes, 32}};
static char open_key[] = "open-key", signed_key[] = "signed-key", other_key[] = "other-key";
static char *open_list[] = {open_key}, *signed_list[] = {signed_key}, *other_list[] = {other_key};
static char open_name[] = "open", signed_name[] = "signed", other_name[] = "other";

static struct source sources[] = {
    {.name = open_name, .write_key = {open_list, 1}, .signature_tolerance_ms = TOLERANCE_MS},
    {.name = signed_name,
     .write_key = {signed_list, 1},
     .signature_key = signed_keys,
     .signature_keys = 1,
     .signature_tolerance_ms = TOLERANCE_MS},
    {.name = other_name,
     .write_key = {other_list, 1},
     .signature_key = other_keys,
     .signature_keys = 1,
     .signature_tolerance_ms = 60000},
};

/* The queue. */
struct stored {
    enum queue_result result;
    const char *words; /* its reason */
    int times;
    char source[16];
    char body[64];
    size_t length;
    moment deadline;
};

static enum queue_result store(void *queue, const char *source, const char *body, size_t length, moment deadline,
                               struct error *why)
{
    struct stored *stored = queue;
    stored->times++;
    snprintf(stored->source, sizeof stored->source, "%s", source);
    stored->length = length;
    memcpy(stored->body, body, length < sizeof stored->body ? length : sizeof stored->body);
    stored->deadline = deadline;
    if (stored->words != NULL)
        error_set(why, "%s", stored->words);
    return stored->result;
}

/* A request and what becomes of it. */
struct scene {
    struct config config;
    struct stored stored;
    struct fake_request fake;
    struct fake_variable variables[12];
    size_t variables_count;
    char hash[65];
    char timestamp[24];
};

static void add(struct scene *scene, const char *name, const char *value)
{
    scene->variables[scene->variables_count++] = (struct fake_variable){name, value};
}

/* A POST to a path, of the sources from first on. */
static void begin(struct scene *scene, size_t first, size_t count, const char *method, const char *path)
{
    *scene = (struct scene){.config = {.source = sources + first, .sources = count}};
    add(scene, "REQUEST_METHOD", method);
    add(scene, "PATH_INFO", path);
    add(scene, "REMOTE_ADDR", "192.0.2.1");
}

/* Signs as Close does, by another way than the code under test: so many seconds from now. */
static void sign(struct scene *scene, const unsigned char *key, const char *body, long long seconds)
{
    char data[256];
    unsigned char hash[32];
    unsigned length = 0;
    snprintf(scene->timestamp, sizeof scene->timestamp, "%lld", (long long)(clock_unix_ms() / 1000) + seconds);
    int n = snprintf(data, sizeof data, "%s%s", scene->timestamp, body);
    HMAC(EVP_sha256(), key, 32, (const unsigned char *)data, (size_t)n, hash, &length);
    for (size_t i = 0; i < 32; i++)
        snprintf(scene->hash + 2 * i, 3, "%02x", hash[i]);
    add(scene, "HTTP_CLOSE_SIG_HASH", scene->hash);
    add(scene, "HTTP_CLOSE_SIG_TIMESTAMP", scene->timestamp);
}

static void handle(struct scene *scene, const char *body)
{
    struct error why = {0};
    struct webhook *webhook = webhook_new_with(&scene->config, store, &scene->stored, &why);
    CU_ASSERT_PTR_NOT_NULL_FATAL(webhook);
    fake_init(&scene->fake, scene->variables, body, strlen(body));
    webhook_handle(webhook, &scene->fake.request);
    CU_ASSERT_EQUAL(scene->fake.finished, 1);
    fake_end(&scene->fake);
    webhook_free(webhook);
}

static void expect_stored(const struct scene *scene, const char *source, const char *body)
{
    CU_ASSERT_EQUAL(fake_status(&scene->fake), 200);
    CU_ASSERT_STRING_EQUAL(fake_body(&scene->fake), "ok");
    CU_ASSERT_EQUAL(scene->stored.times, 1);
    CU_ASSERT_STRING_EQUAL(scene->stored.source, source);
    CU_ASSERT_EQUAL(scene->stored.length, strlen(body));
    CU_ASSERT_NSTRING_EQUAL(scene->stored.body, body, strlen(body));
}

/* Nothing is stored, and the words hold this. */
static void expect_refused(const struct scene *scene, int status, const char *words)
{
    CU_ASSERT_EQUAL(fake_status(&scene->fake), status);
    CU_ASSERT_PTR_NOT_NULL(strstr(scene->fake.text, "Content-Type: application/json\r\n"));
    CU_ASSERT_PTR_NOT_NULL(strstr(fake_body(&scene->fake), words));
    CU_ASSERT_EQUAL(scene->stored.times, 0);
}

static void takes_a_signed_webhook(void)
{
    struct scene scene;
    begin(&scene, 1, 1, "POST", "/v1/webhook");
    sign(&scene, signed_bytes, "{\"a\": 1}", 0);
    handle(&scene, "{\"a\": 1}");
    expect_stored(&scene, "signed", "{\"a\": 1}");
    CU_ASSERT_EQUAL(scene.stored.deadline, scene.fake.request.started + 12000);
}

static void takes_the_write_key_of_a_source_without_signature_keys(void)
{
    struct scene scene;
    begin(&scene, 0, 3, "POST", "/v1/webhook");
    add(&scene, "QUERY_STRING", "writeKey=open-key");
    handle(&scene, "{}");
    expect_stored(&scene, "open", "{}");
    begin(&scene, 0, 1, "POST", "");
    add(&scene, "HTTP_AUTHORIZATION", "Basic b3Blbi1rZXk6");
    handle(&scene, "{}");
    expect_stored(&scene, "open", "{}");
}

static void finds_the_source_by_the_key_that_signs(void)
{
    struct scene scene;
    begin(&scene, 0, 3, "POST", "");
    sign(&scene, other_bytes, "{}", 0);
    handle(&scene, "{}");
    expect_stored(&scene, "other", "{}");
    begin(&scene, 0, 3, "POST", "");
    sign(&scene, signed_bytes, "{}", 0);
    handle(&scene, "{}");
    expect_stored(&scene, "signed", "{}");
    begin(&scene, 0, 3, "POST", "");
    sign(&scene, (const unsigned char[32]){9}, "{}", 0);
    handle(&scene, "{}");
    expect_refused(&scene, 401, "the signature does not match");
}

/* The found source's tolerance counts, not the largest. */
static void a_found_source_keeps_its_tolerance(void)
{
    struct scene scene;
    begin(&scene, 0, 3, "POST", "");
    sign(&scene, other_bytes, "{}", -3600);
    handle(&scene, "{}");
    expect_refused(&scene, 401, "behind this machine's time, and signature_tolerance allows 60");
    begin(&scene, 0, 3, "POST", "");
    sign(&scene, signed_bytes, "{}", -3600);
    handle(&scene, "{}");
    expect_stored(&scene, "signed", "{}");
}

static void a_write_key_does_not_replace_a_signature(void)
{
    struct scene scene;
    begin(&scene, 1, 1, "POST", "/v1/webhook");
    add(&scene, "QUERY_STRING", "writeKey=signed-key");
    handle(&scene, "{}");
    expect_refused(&scene, 401, "close-sig-hash and close-sig-timestamp are missing");
    begin(&scene, 0, 3, "POST", "/signed");
    add(&scene, "QUERY_STRING", "writeKey=signed-key");
    sign(&scene, other_bytes, "{}", 0);
    handle(&scene, "{}");
    expect_refused(&scene, 401, "the signature does not match");
}

static void a_signature_does_not_replace_a_write_key(void)
{
    struct scene scene;
    begin(&scene, 0, 3, "POST", "/open");
    sign(&scene, signed_bytes, "{}", 0);
    handle(&scene, "{}");
    expect_refused(&scene, 401, "the write key is missing");
    begin(&scene, 0, 1, "POST", "");
    add(&scene, "QUERY_STRING", "writeKey=opem-key");
    handle(&scene, "{}");
    expect_refused(&scene, 401, "this write key is not the one of the source");
}

static void says_what_is_missing(void)
{
    struct scene scene;
    begin(&scene, 0, 3, "POST", "");
    handle(&scene, "{}");
    expect_refused(&scene, 401, "does not say which is meant");
    begin(&scene, 0, 3, "POST", "/nobody");
    handle(&scene, "{}");
    expect_refused(&scene, 404, "no source has this name");
    begin(&scene, 1, 1, "POST", "");
    add(&scene, "HTTP_CLOSE_SIG_HASH", "abc");
    add(&scene, "HTTP_CLOSE_SIG_TIMESTAMP", "1700000000");
    handle(&scene, "{}");
    expect_refused(&scene, 401, "64 hexadecimal digits");
}

static void says_how_far_the_clock_is_off(void)
{
    struct scene scene;
    begin(&scene, 1, 1, "POST", "");
    sign(&scene, signed_bytes, "{}", -300000);
    handle(&scene, "{}");
    expect_refused(&scene, 401, "seconds behind this machine's time");
    CU_ASSERT_PTR_NOT_NULL(strstr(fake_body(&scene.fake), " 30000")); /* 300000, or 1 more */
    begin(&scene, 1, 1, "POST", "");
    sign(&scene, signed_bytes, "{}", 300000);
    handle(&scene, "{}");
    expect_refused(&scene, 401, "seconds ahead of this machine's time");
}

/* What is refused without the body is refused before it is read. */
static void reads_no_body_in_vain(void)
{
    struct scene scene;
    begin(&scene, 1, 1, "POST", "");
    handle(&scene, "{}");
    CU_ASSERT_EQUAL(scene.fake.at, 0);
    begin(&scene, 0, 1, "POST", "");
    handle(&scene, "{}");
    CU_ASSERT_EQUAL(scene.fake.at, 0);
}

static void tells_people_that_the_address_is_right(void)
{
    static const char *const methods[] = {"GET", "HEAD", "PUT", "post"};
    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++) {
        struct scene scene;
        begin(&scene, 0, 3, methods[i], "/open");
        handle(&scene, "");
        CU_ASSERT_EQUAL(fake_status(&scene.fake), 405);
        CU_ASSERT_PTR_NOT_NULL(strstr(scene.fake.text, "\r\nAllow: POST\r\n"));
        CU_ASSERT_EQUAL(strstr(fake_body(&scene.fake), "it works") != NULL, i == 0);
        CU_ASSERT_PTR_NULL(strstr(fake_body(&scene.fake), "/status")); /* nobody may see one */
    }
    struct scene scene;
    begin(&scene, 0, 3, "GET", "/opne");
    handle(&scene, "");
    expect_refused(&scene, 404, "no source has this name");
}

static void judges_bodies(void)
{
    static char large[1001];
    memset(large, 'x', 1001);
    static const struct {
        const char *announced;
        size_t length;
        int status;
    } cases[] = {{"0", 0, 400}, {"11", 10, 400}, {"1001", 1001, 413}, {"1000", 1000, 200}, {"x", 10, 400}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct scene scene;
        char body[1002] = "";
        memcpy(body, large, cases[i].length);
        begin(&scene, 0, 1, "POST", "");
        add(&scene, "QUERY_STRING", "writeKey=open-key");
        add(&scene, "CONTENT_LENGTH", cases[i].announced);
        handle(&scene, body);
        CU_ASSERT_EQUAL(fake_status(&scene.fake), cases[i].status);
        CU_ASSERT_EQUAL(scene.stored.times, cases[i].status == 200);
    }
}

#define LOG_SAYS ": the program's log says why. Send it again later\"}\n"

static void answers_what_the_queue_says(void)
{
    static const struct {
        enum queue_result result;
        const char *words;
        int status;
        const char *answer;
    } cases[] = {
        {QUEUE_STORED, NULL, 200, "ok"},
        {QUEUE_UNUSABLE, "no event in it", 400, "{\"error\": \"no event in it\"}\n"},
        {QUEUE_FULL, NULL, 503, "{\"error\": \"there is no room for the event" LOG_SAYS},
        {QUEUE_UNKNOWN, NULL, 503, "{\"error\": \"the event was not stored in time" LOG_SAYS},
        {QUEUE_FULL, "the disk is full", 503, "{\"error\": \"there is no room for the event" LOG_SAYS},
        {QUEUE_BROKEN, "disk on fire", 503, "{\"error\": \"the queue does not work" LOG_SAYS},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct scene scene;
        begin(&scene, 0, 1, "POST", "");
        add(&scene, "QUERY_STRING", "writeKey=open-key");
        scene.stored.result = cases[i].result;
        scene.stored.words = cases[i].words;
        handle(&scene, "{}");
        CU_ASSERT_EQUAL(fake_status(&scene.fake), cases[i].status);
        CU_ASSERT_STRING_EQUAL(fake_body(&scene.fake), cases[i].answer);
        CU_ASSERT_EQUAL(strstr(scene.fake.text, "\r\nRetry-After: 30\r\n") != NULL, cases[i].status == 503);
    }
}

#define INSIDE "cannot write /var/lib/closecrm/queue.db for role closecrm at db.internal"

/* The log. */
static bool keep_line(void *context, enum log_level level, const char *line, size_t length)
{
    (void)level;
    snprintf(context, LOG_QUOTED, "%.*s", (int)length, line);
    return true;
}

/* Who sends learns nothing of the place: where the program cannot take an event, why is the log's. */
static void a_fault_of_ours_is_explained_in_the_log_only(void)
{
    const struct error why = {.text = INSIDE};
    size_t ours = 0;
    for (unsigned i = REFUSAL_NONE + 1; i < REFUSALS; i++) {
        static const struct fake_variable none[] = {{NULL, NULL}};
        char line[LOG_QUOTED] = "";
        struct fake_request fake;
        struct refusal_log log;
        fake_init(&fake, none, "", 0);
        refusal_log_init(&log);
        log_observe(keep_line, line);
        refuse(&log, &fake.request, (enum refusal)i, NULL, &why);
        log_observe(NULL, NULL);
        refusal_log_free(&log);
        if (fake_status(&fake) >= 500) {
            ours++;
            CU_ASSERT_PTR_NULL(strstr(fake.text, "/var/lib"));
            CU_ASSERT_PTR_NULL(strstr(fake.text, "db.internal"));
            CU_ASSERT_PTR_NOT_NULL(strstr(line, INSIDE));
        }
        fake_end(&fake);
    }
    CU_ASSERT(ours >= 5);
}

static void logs_only_some_refusals(void)
{
    struct refusal_log log;
    unsigned left_out;
    refusal_log_init(&log);
    for (int i = 0; i < 5; i++)
        CU_ASSERT_TRUE(refusal_log_may(&log, REFUSED_SIGNATURE, 1000 + i, &left_out));
    for (int i = 0; i < 7; i++)
        CU_ASSERT_FALSE(refusal_log_may(&log, REFUSED_SIGNATURE, 10999, &left_out));
    CU_ASSERT_TRUE(refusal_log_may(&log, REFUSED_WRITE_KEY, 10999, &left_out));
    CU_ASSERT_EQUAL(left_out, 0);
    CU_ASSERT_TRUE(refusal_log_may(&log, REFUSED_SIGNATURE, 11000, &left_out));
    CU_ASSERT_EQUAL(left_out, 7);
    CU_ASSERT_TRUE(refusal_log_may(&log, REFUSED_SIGNATURE, 11001, &left_out));
    CU_ASSERT_EQUAL(left_out, 0);
    refusal_log_free(&log);
}

void suite_webhook_request(void)
{
    static CU_TestInfo tests[] = {
        {"a signed webhook is stored as it came", takes_a_signed_webhook},
        {"a write key opens a source without signature keys", takes_the_write_key_of_a_source_without_signature_keys},
        {"the key that signs names the source", finds_the_source_by_the_key_that_signs},
        {"a source found so keeps its tolerance", a_found_source_keeps_its_tolerance},
        {"a write key does not replace a signature", a_write_key_does_not_replace_a_signature},
        {"a signature does not replace a write key", a_signature_does_not_replace_a_write_key},
        {"the answer says what is missing", says_what_is_missing},
        {"the answer says how far the clock is off", says_how_far_the_clock_is_off},
        {"no body is read in vain", reads_no_body_in_vain},
        {"people learn that the address is right", tells_people_that_the_address_is_right},
        {"bodies empty, short, too large", judges_bodies},
        {"the queue's word decides", answers_what_the_queue_says},
        {"a fault of ours is explained in the log only", a_fault_of_ours_is_explained_in_the_log_only},
        {"only some refusals are logged", logs_only_some_refusals},
        CU_TEST_INFO_NULL,
    };
    suite_add("webhook request", NULL, NULL, tests);
}
