/* See webhook_rig.h. */
#include "tests/support/webhook_rig.h"

#include <CUnit/CUnit.h>
#include <stdio.h>
#include <string.h>

#include "kept/kept.h"
#include "kept/keys.h"
#include "telemetry/telemetry.h"
#include "tests/support/check.h"
#include "tests/support/http_fake.h"
#include "tests/support/signature.h"

static enum queue_result count_stored(void *queue, const char *source, const char *body, size_t length, moment deadline,
                                      struct error *why)
{
    int *times = queue;
    (void)source, (void)body, (void)length, (void)deadline, (void)why;
    ++*times;
    return QUEUE_STORED;
}

void webhook_rig_begin(struct webhook_rig *rig, size_t sources)
{
    *rig = (struct webhook_rig){.names = {"acme", "beta"}, .write_key = "wk"};
    rig->write_keys[0] = rig->write_key;
    for (size_t i = 0; i < sources; i++)
        rig->source[i] = (struct source){
            .name = rig->names[i], .write_key = {rig->write_keys, i == 0 ? 1 : 0}, .signature_tolerance_ms = 60000};
    CU_ASSERT_FATAL(temporary_make(rig->directory));
    rig->config = (struct config){.source = rig->source, .sources = sources, .state_dir = rig->directory};
}

void webhook_rig_start(struct webhook_rig *rig)
{
    struct error why;
    webhook_free(rig->webhook);
    rig->webhook = webhook_new_with(&rig->config, count_stored, &rig->stored, &why);
    CU_ASSERT_PTR_NOT_NULL_FATAL(rig->webhook);
}

void webhook_rig_end(struct webhook_rig *rig)
{
    webhook_free(rig->webhook);
    temporary_remove(rig->directory);
}

int webhook_rig_post(struct webhook_rig *rig, const char *key, bool with_write_key, const char *body)
{
    struct signature signature; /* with a key */
    struct fake_variable variables[8] = {{"REQUEST_METHOD", "POST"}, {"REMOTE_ADDR", "192.0.2.1"}};
    size_t count = 2;
    struct fake_request fake;
    if (with_write_key)
        variables[count++] = (struct fake_variable){"QUERY_STRING", "writeKey=wk"};
    if (key != NULL) {
        signature = signature_make(key, slice_of(body), 0);
        variables[count++] = (struct fake_variable){"HTTP_CLOSE_SIG_HASH", strchr(signature.hash, ' ') + 1};
        variables[count++] = (struct fake_variable){"HTTP_CLOSE_SIG_TIMESTAMP", strchr(signature.timestamp, ' ') + 1};
    }
    char length[24];
    snprintf(length, sizeof length, "%zu", strlen(body));
    variables[count] = (struct fake_variable){"CONTENT_LENGTH", length};
    fake_init(&fake, variables, body, strlen(body));
    webhook_handle(rig->webhook, &fake.request);
    int status = fake_status(&fake);
    snprintf(rig->said, sizeof rig->said, "%s", fake_body(&fake));
    fake_end(&fake);
    return status;
}

void webhook_rig_store_key(const struct webhook_rig *rig, const char *source, const char *subscription, const char *hex)
{
    struct error why;
    struct held_key key = {.created_ms = 1};
    snprintf(key.source, sizeof key.source, "%s", source);
    snprintf(key.subscription, sizeof key.subscription, "%s", subscription);
    CU_ASSERT(kept_key_store(&rig->config, &key, hex, "https://x", &why));
}

void webhook_rig_exchange(const struct webhook_rig *rig)
{
    struct error why = {0};
    struct kept_speaker speaker;
    machines_speaker(&rig->config, &speaker);
    struct kept *kept = kept_open(&rig->config, &why);
    CU_ASSERT_PTR_NOT_NULL_FATAL(kept);
    check(kept_exchange(kept, &speaker, &why), "the machine in %s exchanges: %s", rig->directory, why.text);
    kept_close(kept);
    speaker.close(speaker.context);
}

void webhook_rig_exchange_all(const struct webhook_rig *rigs, size_t count)
{
    for (size_t i = 0; i < 2 * count; i++)
        webhook_rig_exchange(&rigs[i % count]);
}
