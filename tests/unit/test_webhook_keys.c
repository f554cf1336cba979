/* Keys that come and go while the program runs: found at once, and a source that has one takes signed requests only. */
#include "tests/suites.h"

#include <stdio.h>
#include <string.h>

#include "config/keyring.h"
#include "tests/support/http_fake.h"
#include "tests/support/signature.h"
#include "tests/support/temporary.h"
#include "webhook/internal.h"

#define FIRST "1111111111111111111111111111111111111111111111111111111111111111"
#define SECOND "2222222222222222222222222222222222222222222222222222222222222222"
#define THIRD "3333333333333333333333333333333333333333333333333333333333333333"
#define BODY "{\"event\":{}}"

static enum queue_result store(void *queue, const char *source, const char *body, size_t length, moment deadline,
                               struct error *why)
{
    int *times = queue;
    (void)source, (void)body, (void)length, (void)deadline, (void)why;
    ++*times;
    return QUEUE_STORED;
}

struct scene {
    char directory[PATH_SIZE];
    char name[8];
    char write_key[8];
    char *write_keys[1];
    struct source source;
    struct config config;
    struct webhook *webhook;
    int stored;
    char answer[600]; /* the last one's body */
};

static void begin(struct scene *scene)
{
    struct error why;
    *scene = (struct scene){.name = "acme", .write_key = "wk"};
    scene->write_keys[0] = scene->write_key;
    scene->source =
        (struct source){.name = scene->name, .write_key = {scene->write_keys, 1}, .signature_tolerance_ms = 60000};
    CU_ASSERT_FATAL(temporary_make(scene->directory));
    scene->config = (struct config){.source = &scene->source, .sources = 1, .state_dir = scene->directory};
    scene->webhook = webhook_new_with(&scene->config, store, &scene->stored, &why);
    CU_ASSERT_PTR_NOT_NULL_FATAL(scene->webhook);
}

static void end(struct scene *scene)
{
    webhook_free(scene->webhook);
    temporary_remove(scene->directory);
}

/* Posts a body, signed with a key (NULL: not), with the write key or without. Returns the status. */
static int post(struct scene *scene, const char *key, bool with_write_key, const char *body)
{
    struct signature signature = signature_make(key == NULL ? FIRST : key, slice_of(body), 0);
    struct fake_variable variables[8] = {{"REQUEST_METHOD", "POST"}, {"REMOTE_ADDR", "192.0.2.1"}};
    size_t count = 2;
    struct fake_request fake;
    if (with_write_key)
        variables[count++] = (struct fake_variable){"QUERY_STRING", "writeKey=wk"};
    if (key != NULL) {
        variables[count++] = (struct fake_variable){"HTTP_CLOSE_SIG_HASH", strchr(signature.hash, ' ') + 1};
        variables[count++] = (struct fake_variable){"HTTP_CLOSE_SIG_TIMESTAMP", strchr(signature.timestamp, ' ') + 1};
    }
    char length[24];
    snprintf(length, sizeof length, "%zu", strlen(body));
    variables[count] = (struct fake_variable){"CONTENT_LENGTH", length};
    fake_init(&fake, variables, body, strlen(body));
    webhook_handle(scene->webhook, &fake.request);
    int status = fake_status(&fake);
    snprintf(scene->answer, sizeof scene->answer, "%s", fake_body(&fake));
    fake_end(&fake);
    return status;
}

static void store_key(const struct scene *scene, const char *subscription, const char *hex)
{
    struct error why;
    struct held_key key = {.source = "acme"};
    snprintf(key.subscription, sizeof key.subscription, "%s", subscription);
    CU_ASSERT(keyring_store(scene->directory, &key, hex, "https://x", &why));
}

static void a_new_key_is_found_at_once(void)
{
    struct scene scene;
    begin(&scene);
    CU_ASSERT_EQUAL(post(&scene, NULL, true, BODY), 200);
    CU_ASSERT_EQUAL(post(&scene, FIRST, false, BODY), 401);
    store_key(&scene, "whsub_1", FIRST);
    CU_ASSERT_EQUAL(post(&scene, FIRST, false, BODY), 200);
    /* from now on what is not signed is refused */
    CU_ASSERT_EQUAL(post(&scene, NULL, true, BODY), 401);
    CU_ASSERT_EQUAL(post(&scene, SECOND, true, BODY), 401);
    CU_ASSERT_EQUAL(scene.stored, 2);
    end(&scene);
}

static void keys_are_used_side_by_side(void)
{
    struct scene scene;
    struct error why;
    begin(&scene);
    store_key(&scene, "whsub_1", FIRST);
    CU_ASSERT_EQUAL(post(&scene, FIRST, false, BODY), 200);
    store_key(&scene, "whsub_2", SECOND);
    CU_ASSERT_EQUAL(post(&scene, SECOND, false, BODY), 200);
    CU_ASSERT_EQUAL(post(&scene, FIRST, false, BODY), 200);
    CU_ASSERT(keyring_was_used(scene.directory, "whsub_1") && keyring_was_used(scene.directory, "whsub_2"));
    CU_ASSERT(keyring_remove(scene.directory, "acme", "whsub_1", &why));
    CU_ASSERT_EQUAL(post(&scene, THIRD, false, BODY), 401);
    CU_ASSERT_EQUAL(post(&scene, FIRST, false, BODY), 401); /* that look has found that it is gone */
    CU_ASSERT_EQUAL(post(&scene, SECOND, false, BODY), 200);
    end(&scene);
}

static void a_key_of_another_source_opens_nothing(void)
{
    struct scene scene;
    struct error why;
    struct held_key key = {.source = "other", .subscription = "whsub_9"};
    begin(&scene);
    CU_ASSERT(keyring_store(scene.directory, &key, FIRST, "https://x", &why));
    CU_ASSERT_EQUAL(post(&scene, FIRST, false, BODY), 401);
    CU_ASSERT_EQUAL(post(&scene, NULL, true, BODY), 200);
    end(&scene);
}

/* A probe is answered, and goes nowhere; nobody but us can send one. */
static void a_probe_is_not_kept(void)
{
    struct scene scene;
    static const char probe[] = WEBHOOK_PROBE "\"x\"}";
    begin(&scene);
    CU_ASSERT_EQUAL(post(&scene, NULL, true, probe), 200); /* without a key it is any body */
    CU_ASSERT_EQUAL(scene.stored, 1);
    store_key(&scene, "whsub_1", FIRST);
    CU_ASSERT_EQUAL(post(&scene, FIRST, false, probe), 200);
    CU_ASSERT_EQUAL(scene.stored, 1);
    CU_ASSERT_FALSE(keyring_was_used(scene.directory, "whsub_1")); /* Close has delivered nothing by it */
    CU_ASSERT_EQUAL(post(&scene, SECOND, false, probe), 401);
    end(&scene);
}

/* The test that `send-test --no-forward` sends is answered and not kept, also where a write key is enough; who has no
 * key is refused; and whatever differs from it by a byte, or holds it, is an event. */
static void a_test_goes_as_far_as_the_program(void)
{
    static const char *const events[] = {WEBHOOK_TEST " ", " " WEBHOOK_TEST, "{\"event\": " WEBHOOK_TEST "}",
                                         WEBHOOK_PROBE " \"send-test --no-forward\", \"event\": {}}"};
    struct scene scene;
    begin(&scene);
    CU_ASSERT_EQUAL(post(&scene, NULL, true, WEBHOOK_TEST), 200);
    CU_ASSERT_STRING_EQUAL(scene.answer, WEBHOOK_PROBE_ANSWER);
    CU_ASSERT_EQUAL(scene.stored, 0);
    CU_ASSERT_EQUAL(post(&scene, NULL, false, WEBHOOK_TEST), 401);
    for (size_t i = 0; i < sizeof events / sizeof *events; i++) {
        CU_ASSERT_EQUAL(post(&scene, NULL, true, events[i]), 200);
        CU_ASSERT_EQUAL(scene.stored, i + 1);
    }
    store_key(&scene, "whsub_1", FIRST);
    CU_ASSERT_EQUAL(post(&scene, FIRST, false, WEBHOOK_TEST), 200);
    CU_ASSERT_EQUAL(scene.stored, sizeof events / sizeof *events);
    CU_ASSERT_EQUAL(post(&scene, SECOND, false, WEBHOOK_TEST), 401);
    end(&scene);
}

/* Whoever asks is a stranger: neither a subscription's name nor advice to the operator is for him. */
static void a_locked_source_tells_strangers_nothing(void)
{
    struct scene scene;
    struct error why;
    begin(&scene);
    store_key(&scene, "whsub_1", FIRST);
    store_key(&scene, "whsub_2", SECOND);
    CU_ASSERT_EQUAL(post(&scene, FIRST, false, BODY), 200);
    CU_ASSERT(keyring_remove(scene.directory, "acme", "whsub_2", &why));
    CU_ASSERT_EQUAL(post(&scene, THIRD, false, BODY), 401);
    CU_ASSERT_PTR_NOT_NULL(strstr(scene.answer, "the signature does not match: is signature_key"));
    CU_ASSERT_PTR_NULL(strstr(scene.answer, "whsub_2"));
    CU_ASSERT(keyring_remove(scene.directory, "acme", "whsub_1", &why));
    CU_ASSERT_EQUAL(post(&scene, THIRD, true, BODY), 503);
    CU_ASSERT_STRING_EQUAL(scene.answer, "{\"error\": \"nothing is taken here at the moment: send it again later\"}\n");
    end(&scene);
}

void suite_webhook_keys(void)
{
    static CU_TestInfo tests[] = {
        {"a new key is found at once", a_new_key_is_found_at_once},
        {"keys are used side by side", keys_are_used_side_by_side},
        {"a key of another source opens nothing", a_key_of_another_source_opens_nothing},
        {"a probe is answered and not kept", a_probe_is_not_kept},
        {"a test goes as far as the program", a_test_goes_as_far_as_the_program},
        {"a locked source tells strangers nothing", a_locked_source_tells_strangers_nothing},
        CU_TEST_INFO_NULL,
    };
    suite_add("webhook keys", NULL, NULL, tests);
}
