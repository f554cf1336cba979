/* Keys that come and go while the program runs: found at once, and a source that has one takes signed requests only. */
#include "tests/suites.h"

#include <stdio.h>
#include <string.h>

#include "kept/keys.h"
#include "tests/support/webhook_rig.h"

#define FIRST "1111111111111111111111111111111111111111111111111111111111111111"
#define SECOND "2222222222222222222222222222222222222222222222222222222222222222"
#define THIRD "3333333333333333333333333333333333333333333333333333333333333333"

static void begin(struct webhook_rig *rig)
{
    webhook_rig_begin(rig, 1);
    webhook_rig_start(rig);
}

static void store_key(const struct webhook_rig *rig, const char *subscription, const char *hex)
{
    webhook_rig_store_key(rig, "acme", subscription, hex);
}

static void a_new_key_is_found_at_once(void)
{
    struct webhook_rig rig;
    begin(&rig);
    CU_ASSERT_EQUAL(webhook_rig_post(&rig, NULL, true, WEBHOOK_RIG_BODY), 200);
    CU_ASSERT_EQUAL(webhook_rig_post(&rig, FIRST, false, WEBHOOK_RIG_BODY), 401);
    store_key(&rig, "whsub_1", FIRST);
    CU_ASSERT_EQUAL(webhook_rig_post(&rig, FIRST, false, WEBHOOK_RIG_BODY), 200);
    /* from now on what is not signed is refused */
    CU_ASSERT_EQUAL(webhook_rig_post(&rig, NULL, true, WEBHOOK_RIG_BODY), 401);
    CU_ASSERT_EQUAL(webhook_rig_post(&rig, SECOND, true, WEBHOOK_RIG_BODY), 401);
    CU_ASSERT_EQUAL(rig.stored, 2);
    webhook_rig_end(&rig);
}

static void keys_are_used_side_by_side(void)
{
    struct webhook_rig rig;
    struct error why;
    begin(&rig);
    store_key(&rig, "whsub_1", FIRST);
    CU_ASSERT_EQUAL(webhook_rig_post(&rig, FIRST, false, WEBHOOK_RIG_BODY), 200);
    store_key(&rig, "whsub_2", SECOND);
    CU_ASSERT_EQUAL(webhook_rig_post(&rig, SECOND, false, WEBHOOK_RIG_BODY), 200);
    CU_ASSERT_EQUAL(webhook_rig_post(&rig, FIRST, false, WEBHOOK_RIG_BODY), 200);
    CU_ASSERT(keyring_was_used(rig.directory, "whsub_1") && keyring_was_used(rig.directory, "whsub_2"));
    CU_ASSERT(kept_key_remove(&rig.config, "acme", "whsub_1", &why));
    CU_ASSERT_EQUAL(webhook_rig_post(&rig, THIRD, false, WEBHOOK_RIG_BODY), 401);
    CU_ASSERT_EQUAL(webhook_rig_post(&rig, FIRST, false, WEBHOOK_RIG_BODY),
                    401); /* that look has found that it is gone */
    CU_ASSERT_EQUAL(webhook_rig_post(&rig, SECOND, false, WEBHOOK_RIG_BODY), 200);
    webhook_rig_end(&rig);
}

static void a_key_of_another_source_opens_nothing(void)
{
    struct webhook_rig rig;
    struct error why;
    struct held_key key = {.source = "other", .subscription = "whsub_9"};
    begin(&rig);
    CU_ASSERT(kept_key_store(&rig.config, &key, FIRST, "https://x", &why));
    CU_ASSERT_EQUAL(webhook_rig_post(&rig, FIRST, false, WEBHOOK_RIG_BODY), 401);
    CU_ASSERT_EQUAL(webhook_rig_post(&rig, NULL, true, WEBHOOK_RIG_BODY), 200);
    webhook_rig_end(&rig);
}

/* A probe is answered, and goes nowhere; nobody but us can send one. */
static void a_probe_is_not_kept(void)
{
    struct webhook_rig rig;
    static const char probe[] = WEBHOOK_PROBE "\"x\"}";
    begin(&rig);
    CU_ASSERT_EQUAL(webhook_rig_post(&rig, NULL, true, probe), 200); /* without a key it is any body */
    CU_ASSERT_EQUAL(rig.stored, 1);
    store_key(&rig, "whsub_1", FIRST);
    CU_ASSERT_EQUAL(webhook_rig_post(&rig, FIRST, false, probe), 200);
    CU_ASSERT_EQUAL(rig.stored, 1);
    CU_ASSERT_FALSE(keyring_was_used(rig.directory, "whsub_1")); /* Close has delivered nothing by it */
    CU_ASSERT_EQUAL(webhook_rig_post(&rig, SECOND, false, probe), 401);
    webhook_rig_end(&rig);
}

/* The test that `send-test --no-forward` sends is answered and not kept, also where a write key is enough; who has no
 * key is refused; and whatever differs from it by a byte, or holds it, is an event. */
static void a_test_goes_as_far_as_the_program(void)
{
    static const char *const events[] = {WEBHOOK_TEST " ", " " WEBHOOK_TEST, "{\"event\": " WEBHOOK_TEST "}",
                                         WEBHOOK_PROBE " \"send-test --no-forward\", \"event\": {}}"};
    struct webhook_rig rig;
    begin(&rig);
    CU_ASSERT_EQUAL(webhook_rig_post(&rig, NULL, true, WEBHOOK_TEST), 200);
    CU_ASSERT_STRING_EQUAL(rig.said, WEBHOOK_PROBE_ANSWER);
    CU_ASSERT_EQUAL(rig.stored, 0);
    CU_ASSERT_EQUAL(webhook_rig_post(&rig, NULL, false, WEBHOOK_TEST), 401);
    for (size_t i = 0; i < sizeof events / sizeof *events; i++) {
        CU_ASSERT_EQUAL(webhook_rig_post(&rig, NULL, true, events[i]), 200);
        CU_ASSERT_EQUAL(rig.stored, i + 1);
    }
    store_key(&rig, "whsub_1", FIRST);
    CU_ASSERT_EQUAL(webhook_rig_post(&rig, FIRST, false, WEBHOOK_TEST), 200);
    CU_ASSERT_EQUAL(rig.stored, sizeof events / sizeof *events);
    CU_ASSERT_EQUAL(webhook_rig_post(&rig, SECOND, false, WEBHOOK_TEST), 401);
    webhook_rig_end(&rig);
}

/* Whoever asks is a stranger: neither a subscription's name nor advice to the operator is for him. */
static void a_locked_source_tells_strangers_nothing(void)
{
    struct webhook_rig rig;
    struct error why;
    begin(&rig);
    store_key(&rig, "whsub_1", FIRST);
    store_key(&rig, "whsub_2", SECOND);
    CU_ASSERT_EQUAL(webhook_rig_post(&rig, FIRST, false, WEBHOOK_RIG_BODY), 200);
    CU_ASSERT(kept_key_remove(&rig.config, "acme", "whsub_2", &why));
    CU_ASSERT_EQUAL(webhook_rig_post(&rig, THIRD, false, WEBHOOK_RIG_BODY), 401);
    CU_ASSERT_PTR_NOT_NULL(strstr(rig.said, "the signature does not match: is signature_key"));
    CU_ASSERT_PTR_NULL(strstr(rig.said, "whsub_2"));
    CU_ASSERT(kept_key_remove(&rig.config, "acme", "whsub_1", &why));
    CU_ASSERT_EQUAL(webhook_rig_post(&rig, THIRD, true, WEBHOOK_RIG_BODY), 503);
    CU_ASSERT_STRING_EQUAL(rig.said, "{\"error\": \"nothing is taken here at the moment: send it again later\"}\n");
    webhook_rig_end(&rig);
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
