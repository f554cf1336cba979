/* A source that had a signature key is never open because the key is gone: it is noted beside the keys and in the
 * database, and only `signature_key = none` takes it back. */
#include "kept/keys.h"
#include "queue/inspect.h"
#include "tests/suites.h"
#include "tests/support/check.h"
#include "tests/support/webhook_rig.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define KEY "1111111111111111111111111111111111111111111111111111111111111111"
#define OTHER_KEY "2222222222222222222222222222222222222222222222222222222222222222"

/* As the commands ask. */
static enum signed_state signed_look(const struct config *config, const struct source *source, struct error *words)
{
    struct source_keys keys;
    CU_ASSERT_FATAL(source_keys_read(&keys, config, source));
    enum signed_state state = keys.state;
    *words = keys.words;
    source_keys_free(&keys);
    return state;
}

/* Posts an event, signed with the key or with the write key. Returns the status. */
static int post(struct webhook_rig *rig, bool is_signed)
{
    return webhook_rig_post(rig, is_signed ? KEY : NULL, !is_signed, WEBHOOK_RIG_BODY);
}

static void lose(const struct webhook_rig *rig, const char *name)
{
    char path[PATH_SIZE];
    path_join(path, rig->directory, name);
    temporary_remove(path);
}

static void a_lost_key_opens_nothing(void)
{
    struct webhook_rig rig;
    webhook_rig_begin(&rig, 1);
    webhook_rig_start(&rig);
    CU_ASSERT_EQUAL(post(&rig, false), 200); /* it never had one */
    webhook_rig_store_key(&rig, "acme", "whsub_1", KEY);
    CU_ASSERT_EQUAL(post(&rig, true), 200);
    CU_ASSERT_EQUAL(post(&rig, false), 401);
    lose(&rig, "keys");
    CU_ASSERT_EQUAL(post(&rig, true), 200);  /* no look was due yet */
    webhook_rig_start(&rig);                 /* the next process */
    CU_ASSERT_EQUAL(post(&rig, false), 503); /* it was 200 */
    check(strstr(rig.said, "whsub_1") == NULL && strstr(rig.said, "rotate") == NULL,
          "strangers are told neither subscription nor advice: %s", rig.said);
    CU_ASSERT_EQUAL(post(&rig, true), 503);
    webhook_rig_store_key(&rig, "acme", "whsub_2", KEY);
    CU_ASSERT_EQUAL(post(&rig, true), 200);
    CU_ASSERT_EQUAL(post(&rig, false), 401);
    rig.source[0].signature_none = true; /* the one way back */
    webhook_rig_start(&rig);
    CU_ASSERT_EQUAL(post(&rig, false), 200);
    CU_ASSERT_EQUAL(post(&rig, true), 200);
    lose(&rig, "keys");
    webhook_rig_start(&rig);
    CU_ASSERT_EQUAL(post(&rig, false), 200);
    webhook_rig_end(&rig);
}

/* A key that stood in the configuration is one, too. */
static void a_key_taken_out_of_the_configuration(void)
{
    struct webhook_rig rig;
    static unsigned char bytes[32];
    static struct signature_key key = {bytes, sizeof bytes};
    memset(bytes, 0x11, sizeof bytes);
    webhook_rig_begin(&rig, 1);
    rig.source[0].signature_key = &key;
    rig.source[0].signature_keys = 1;
    webhook_rig_start(&rig);
    CU_ASSERT_EQUAL(post(&rig, true), 200);
    rig.source[0].signature_keys = 0;
    webhook_rig_start(&rig);
    CU_ASSERT_EQUAL(post(&rig, false), 503);
    webhook_rig_end(&rig);
}

/* Not readable is not empty: as with EACCES and EIO. A link in a circle cannot be read by root either. */
static void keys_that_cannot_be_read_open_nothing(void)
{
    struct webhook_rig rig;
    char path[PATH_SIZE];
    webhook_rig_begin(&rig, 1);
    path_join(path, rig.directory, "keys");
    CU_ASSERT_EQUAL_FATAL(symlink("keys", path), 0);
    webhook_rig_start(&rig);
    CU_ASSERT_EQUAL(post(&rig, false), 503); /* whether it had a key cannot be told */
    CU_ASSERT_EQUAL(post(&rig, true), 503);
    unlink(path);
    webhook_rig_store_key(&rig, "acme", "whsub_1", KEY);
    CU_ASSERT_EQUAL(post(&rig, true), 200);
    lose(&rig, "keys");
    CU_ASSERT_EQUAL_FATAL(symlink("keys", path), 0);
    CU_ASSERT_EQUAL(post(&rig, true), 200); /* what is known stays in use */
    webhook_rig_end(&rig);
}

/* With the directory the note is gone, too; this process knows better. */
static void a_state_directory_that_is_gone_opens_nothing(void)
{
    struct webhook_rig rig;
    webhook_rig_begin(&rig, 1);
    webhook_rig_store_key(&rig, "acme", "whsub_1", KEY);
    webhook_rig_start(&rig);
    CU_ASSERT_EQUAL(post(&rig, true), 200);
    temporary_remove(rig.directory);
    CU_ASSERT_EQUAL(webhook_rig_post(&rig, OTHER_KEY, false, WEBHOOK_RIG_BODY),
                    503); /* so that the keys are looked at again */
    CU_ASSERT_EQUAL(post(&rig, false), 503);
    check(strstr(rig.said, "nothing is taken here") != NULL, "strangers are told no more: %s", rig.said);
    webhook_rig_end(&rig);
}

/* Which source is meant only a key would say. */
static void several_sources_and_a_key_less(void)
{
    struct webhook_rig rig;
    webhook_rig_begin(&rig, 2);
    webhook_rig_store_key(&rig, "beta", "whsub_1", KEY);
    webhook_rig_start(&rig);
    CU_ASSERT_EQUAL(post(&rig, true), 200);
    lose(&rig, "keys");
    webhook_rig_start(&rig);
    CU_ASSERT_EQUAL(post(&rig, true), 503);
    CU_ASSERT_EQUAL(post(&rig, false), 200); /* the other one never had a key */
    webhook_rig_end(&rig);
}

static void the_database_notes_it_too(void)
{
    struct webhook_rig rig;
    struct error why = {0}, words = {0};
    webhook_rig_begin(&rig, 1);
    rig.config.queue = QUEUE_SQLITE;
    rig.config.queue_max_bytes = 1 << 30;
    char state[PATH_SIZE];
    path_join(state, rig.directory, "state");
    rig.config.state_dir = state;
    queue_close(queue_open(&rig.config, &why));
    struct held_key key = {.source = "acme", .subscription = "whsub_1"};
    CU_ASSERT(kept_key_store(&rig.config, &key, KEY, "https://x", &why));
    queue_close(queue_open(&rig.config, &why)); /* whichever command comes next */
    lose(&rig, "state/keys");
    lose(&rig, "state/signed");
    CU_ASSERT_EQUAL(signed_look(&rig.config, &rig.source[0], &words), SIGNED_NEVER);
    queue_close(queue_open(&rig.config, &why));
    CU_ASSERT_EQUAL(signed_look(&rig.config, &rig.source[0], &words), SIGNED_LOST);
    CU_ASSERT(strstr(words.text, "subscribe") != NULL);
    webhook_rig_end(&rig);
}

static bool is_second(const void *context, const char *id)
{
    (void)context;
    return strcmp(id, "whsub_2") == 0;
}

static void the_note_follows_the_subscriptions(void)
{
    struct webhook_rig rig;
    struct error why, words = {0};
    webhook_rig_begin(&rig, 2);
    const struct source *acme = &rig.source[0], *beta = &rig.source[1];
    webhook_rig_store_key(&rig, "acme", "whsub_1", KEY);
    webhook_rig_store_key(&rig, "acme", "whsub_2", KEY);
    webhook_rig_store_key(&rig, "acme", "whsub_22", KEY);
    CU_ASSERT_EQUAL(signed_look(&rig.config, acme, &words), SIGNED_HELD);
    CU_ASSERT(kept_key_remove(&rig.config, "acme", "whsub_22", &why)); /* unsubscribed: nothing is missing */
    CU_ASSERT_EQUAL(signed_look(&rig.config, acme, &words), SIGNED_HELD);
    lose(&rig, "keys/acme-whsub_1.key");
    CU_ASSERT_EQUAL(signed_look(&rig.config, acme, &words), SIGNED_PART);
    CU_ASSERT(strstr(words.text, "rotate --source acme whsub_1 ") != NULL);
    CU_ASSERT(signed_retain(rig.directory, "acme", is_second, NULL, &why)); /* Close has it no more */
    CU_ASSERT_EQUAL(signed_look(&rig.config, acme, &words), SIGNED_HELD);
    CU_ASSERT(signed_rename(rig.directory, "acme", "beta", &why));
    CU_ASSERT(signed_is_noted(rig.directory, "beta") && !signed_is_noted(rig.directory, "acme"));
    CU_ASSERT_EQUAL(signed_look(&rig.config, beta, &words), SIGNED_LOST);
    CU_ASSERT(strstr(words.text, "whsub_2") != NULL);
    CU_ASSERT(kept_key_remove(&rig.config, "beta", "whsub_2", &why));
    CU_ASSERT_EQUAL(signed_look(&rig.config, beta, &words), SIGNED_LOST); /* that it had one stays */
    webhook_rig_end(&rig);
}

/* `subscribe` notes one while the running program notes another, that it has just found. */
static void two_processes_that_note_at_once(void)
{
    enum { PROCESSES = 2, EACH = 20 };
    struct webhook_rig rig;
    pid_t child[PROCESSES];
    webhook_rig_begin(&rig, 1);
    fflush(NULL);
    for (int i = 0; i < PROCESSES; i++) {
        child[i] = fork();
        for (int j = 0; child[i] == 0 && j <= EACH; j++) {
            char id[32];
            struct error why;
            snprintf(id, sizeof id, "whsub_%d_%d", i, j);
            if (j == EACH)
                _exit(0);
            if (!signed_note(rig.directory, "acme", id, &why))
                _exit(1);
        }
    }
    for (int i = 0; i < PROCESSES; i++) {
        int status = -1;
        CU_ASSERT_EQUAL(waitpid(child[i], &status, 0), child[i]);
        CU_ASSERT_EQUAL(status, 0);
    }
    size_t found = 0;
    char *text = temporary_read(rig.directory, "signed/acme");
    for (const char *at = text; at != NULL && (at = strstr(at, "whsub_")) != NULL; at++)
        found++;
    check(found == (size_t)PROCESSES * EACH, "%zu of %d are noted", found, PROCESSES * EACH);
    free(text);
    webhook_rig_end(&rig);
}

void suite_signed(void)
{
    static CU_TestInfo tests[] = {
        {"a lost key opens nothing", a_lost_key_opens_nothing},
        {"nor does one taken out of the configuration", a_key_taken_out_of_the_configuration},
        {"nor do keys that cannot be read", keys_that_cannot_be_read_open_nothing},
        {"nor does a state directory that is gone", a_state_directory_that_is_gone_opens_nothing},
        {"several sources, and a key less", several_sources_and_a_key_less},
        {"the database notes it, too", the_database_notes_it_too},
        {"the note follows the subscriptions", the_note_follows_the_subscriptions},
        {"two processes that note at once", two_processes_that_note_at_once},
        CU_TEST_INFO_NULL,
    };
    suite_add("signed", NULL, NULL, tests);
}
