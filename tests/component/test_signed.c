/* A source that had a signature key is never open because the key is gone: it is noted beside the keys and in the
 * database, and only `signature_key = none` takes it back. */
#include "config/source_keys.h"
#include "queue/inspect.h"
#include "tests/suites.h"
#include "tests/support/check.h"
#include "tests/support/http_fake.h"
#include "tests/support/signature.h"
#include "tests/support/temporary.h"
#include "webhook/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define KEY "1111111111111111111111111111111111111111111111111111111111111111"
#define OTHER_KEY "2222222222222222222222222222222222222222222222222222222222222222"
#define BODY "{\"event\":{}}"

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
    char names[2][8];
    char write_key[8];
    char *write_keys[1];
    struct source source[2];
    struct config config;
    struct webhook *webhook;
    int stored;
    const char *signs_with; /* the key, as hexadecimal digits */
    char said[2048];        /* the last answer */
};

static void begin(struct scene *scene, size_t sources)
{
    *scene = (struct scene){.names = {"acme", "beta"}, .write_key = "wk", .signs_with = KEY};
    scene->write_keys[0] = scene->write_key;
    for (size_t i = 0; i < sources; i++)
        scene->source[i] = (struct source){
            .name = scene->names[i], .write_key = {scene->write_keys, i == 0 ? 1 : 0}, .signature_tolerance_ms = 60000};
    CU_ASSERT_FATAL(temporary_make(scene->directory));
    scene->config = (struct config){.source = scene->source, .sources = sources, .state_dir = scene->directory};
}

/* A process of its own, as after a restart. */
static void start(struct scene *scene)
{
    struct error why;
    webhook_free(scene->webhook);
    scene->webhook = webhook_new_with(&scene->config, store, &scene->stored, &why);
    CU_ASSERT_PTR_NOT_NULL_FATAL(scene->webhook);
}

static void end(struct scene *scene)
{
    webhook_free(scene->webhook);
    temporary_remove(scene->directory);
}

/* Posts an event, signed with the key or with the write key. Returns the status. */
static int post(struct scene *scene, bool is_signed)
{
    struct signature signature = signature_make(scene->signs_with, slice_of(BODY), 0);
    struct fake_variable variables[8] = {{"REQUEST_METHOD", "POST"}, {"REMOTE_ADDR", "192.0.2.1"}};
    size_t count = 2;
    struct fake_request fake;
    if (is_signed) {
        variables[count++] = (struct fake_variable){"HTTP_CLOSE_SIG_HASH", strchr(signature.hash, ' ') + 1};
        variables[count++] = (struct fake_variable){"HTTP_CLOSE_SIG_TIMESTAMP", strchr(signature.timestamp, ' ') + 1};
    } else {
        variables[count++] = (struct fake_variable){"QUERY_STRING", "writeKey=wk"};
    }
    variables[count] = (struct fake_variable){"CONTENT_LENGTH", "12"};
    fake_init(&fake, variables, BODY, strlen(BODY));
    webhook_handle(scene->webhook, &fake.request);
    int status = fake_status(&fake);
    snprintf(scene->said, sizeof scene->said, "%s", fake_body(&fake));
    fake_end(&fake);
    return status;
}

static void store_key(const struct scene *scene, const char *source, const char *subscription)
{
    struct error why;
    struct held_key key = {.created_ms = 1};
    snprintf(key.source, sizeof key.source, "%s", source);
    snprintf(key.subscription, sizeof key.subscription, "%s", subscription);
    CU_ASSERT(keyring_store(scene->directory, &key, KEY, "https://x", &why));
}

static void lose(const struct scene *scene, const char *name)
{
    char path[PATH_SIZE];
    path_join(path, scene->directory, name);
    temporary_remove(path);
}

static void a_lost_key_opens_nothing(void)
{
    struct scene scene;
    begin(&scene, 1);
    start(&scene);
    CU_ASSERT_EQUAL(post(&scene, false), 200); /* it never had one */
    store_key(&scene, "acme", "whsub_1");
    CU_ASSERT_EQUAL(post(&scene, true), 200);
    CU_ASSERT_EQUAL(post(&scene, false), 401);
    lose(&scene, "keys");
    CU_ASSERT_EQUAL(post(&scene, true), 200);  /* no look was due yet */
    start(&scene);                             /* the next process */
    CU_ASSERT_EQUAL(post(&scene, false), 503); /* it was 200 */
    check(strstr(scene.said, "whsub_1") == NULL && strstr(scene.said, "rotate") == NULL,
          "strangers are told neither subscription nor advice: %s", scene.said);
    CU_ASSERT_EQUAL(post(&scene, true), 503);
    store_key(&scene, "acme", "whsub_2");
    CU_ASSERT_EQUAL(post(&scene, true), 200);
    CU_ASSERT_EQUAL(post(&scene, false), 401);
    scene.source[0].signature_none = true; /* the one way back */
    start(&scene);
    CU_ASSERT_EQUAL(post(&scene, false), 200);
    CU_ASSERT_EQUAL(post(&scene, true), 200);
    lose(&scene, "keys");
    start(&scene);
    CU_ASSERT_EQUAL(post(&scene, false), 200);
    end(&scene);
}

/* A key that stood in the configuration is one, too. */
static void a_key_taken_out_of_the_configuration(void)
{
    struct scene scene;
    static unsigned char bytes[32];
    static struct signature_key key = {bytes, sizeof bytes};
    memset(bytes, 0x11, sizeof bytes);
    begin(&scene, 1);
    scene.source[0].signature_key = &key;
    scene.source[0].signature_keys = 1;
    start(&scene);
    CU_ASSERT_EQUAL(post(&scene, true), 200);
    scene.source[0].signature_keys = 0;
    start(&scene);
    CU_ASSERT_EQUAL(post(&scene, false), 503);
    end(&scene);
}

/* Not readable is not empty: as with EACCES and EIO. A link in a circle cannot be read by root either. */
static void keys_that_cannot_be_read_open_nothing(void)
{
    struct scene scene;
    char path[PATH_SIZE];
    begin(&scene, 1);
    path_join(path, scene.directory, "keys");
    CU_ASSERT_EQUAL_FATAL(symlink("keys", path), 0);
    start(&scene);
    CU_ASSERT_EQUAL(post(&scene, false), 503); /* whether it had a key cannot be told */
    CU_ASSERT_EQUAL(post(&scene, true), 503);
    unlink(path);
    store_key(&scene, "acme", "whsub_1");
    CU_ASSERT_EQUAL(post(&scene, true), 200);
    lose(&scene, "keys");
    CU_ASSERT_EQUAL_FATAL(symlink("keys", path), 0);
    CU_ASSERT_EQUAL(post(&scene, true), 200); /* what is known stays in use */
    end(&scene);
}

/* With the directory the note is gone, too; this process knows better. */
static void a_state_directory_that_is_gone_opens_nothing(void)
{
    struct scene scene;
    begin(&scene, 1);
    store_key(&scene, "acme", "whsub_1");
    start(&scene);
    CU_ASSERT_EQUAL(post(&scene, true), 200);
    temporary_remove(scene.directory);
    scene.signs_with = OTHER_KEY;
    CU_ASSERT_EQUAL(post(&scene, true), 503); /* so that the keys are looked at again */
    CU_ASSERT_EQUAL(post(&scene, false), 503);
    check(strstr(scene.said, "nothing is taken here") != NULL, "strangers are told no more: %s", scene.said);
    end(&scene);
}

/* Which source is meant only a key would say. */
static void several_sources_and_a_key_less(void)
{
    struct scene scene;
    begin(&scene, 2);
    store_key(&scene, "beta", "whsub_1");
    start(&scene);
    CU_ASSERT_EQUAL(post(&scene, true), 200);
    lose(&scene, "keys");
    start(&scene);
    CU_ASSERT_EQUAL(post(&scene, true), 503);
    CU_ASSERT_EQUAL(post(&scene, false), 200); /* the other one never had a key */
    end(&scene);
}

static void the_database_notes_it_too(void)
{
    struct scene scene;
    struct error why = {0}, words = {0};
    begin(&scene, 1);
    scene.config.queue = QUEUE_SQLITE;
    scene.config.queue_max_bytes = 1 << 30;
    char state[PATH_SIZE];
    path_join(state, scene.directory, "state");
    scene.config.state_dir = state;
    queue_close(queue_open(&scene.config, &why));
    struct held_key key = {.source = "acme", .subscription = "whsub_1"};
    CU_ASSERT(keyring_store(state, &key, KEY, "https://x", &why));
    queue_close(queue_open(&scene.config, &why)); /* whichever command comes next */
    lose(&scene, "state/keys");
    lose(&scene, "state/signed");
    CU_ASSERT_EQUAL(signed_look(&scene.config, &scene.source[0], &words), SIGNED_NEVER);
    queue_close(queue_open(&scene.config, &why));
    CU_ASSERT_EQUAL(signed_look(&scene.config, &scene.source[0], &words), SIGNED_LOST);
    CU_ASSERT(strstr(words.text, "subscribe") != NULL);
    end(&scene);
}

static bool is_second(const void *context, const char *id)
{
    (void)context;
    return strcmp(id, "whsub_2") == 0;
}

static void the_note_follows_the_subscriptions(void)
{
    struct scene scene;
    struct error why, words = {0};
    begin(&scene, 2);
    const struct source *acme = &scene.source[0], *beta = &scene.source[1];
    store_key(&scene, "acme", "whsub_1");
    store_key(&scene, "acme", "whsub_2");
    store_key(&scene, "acme", "whsub_22");
    CU_ASSERT_EQUAL(signed_look(&scene.config, acme, &words), SIGNED_HELD);
    CU_ASSERT(keyring_remove(scene.directory, "acme", "whsub_22", &why)); /* unsubscribed: nothing is missing */
    CU_ASSERT_EQUAL(signed_look(&scene.config, acme, &words), SIGNED_HELD);
    lose(&scene, "keys/acme-whsub_1.key");
    CU_ASSERT_EQUAL(signed_look(&scene.config, acme, &words), SIGNED_PART);
    CU_ASSERT(strstr(words.text, "rotate --source acme whsub_1 ") != NULL);
    CU_ASSERT(signed_retain(scene.directory, "acme", is_second, NULL, &why)); /* Close has it no more */
    CU_ASSERT_EQUAL(signed_look(&scene.config, acme, &words), SIGNED_HELD);
    CU_ASSERT(signed_rename(scene.directory, "acme", "beta", &why));
    CU_ASSERT(signed_is_noted(scene.directory, "beta") && !signed_is_noted(scene.directory, "acme"));
    CU_ASSERT_EQUAL(signed_look(&scene.config, beta, &words), SIGNED_LOST);
    CU_ASSERT(strstr(words.text, "whsub_2") != NULL);
    CU_ASSERT(keyring_remove(scene.directory, "beta", "whsub_2", &why));
    CU_ASSERT_EQUAL(signed_look(&scene.config, beta, &words), SIGNED_LOST); /* that it had one stays */
    end(&scene);
}

/* `subscribe` notes one while the running program notes another, that it has just found. */
static void two_processes_that_note_at_once(void)
{
    enum { PROCESSES = 2, EACH = 20 };
    struct scene scene;
    pid_t child[PROCESSES];
    begin(&scene, 1);
    fflush(NULL);
    for (int i = 0; i < PROCESSES; i++) {
        child[i] = fork();
        for (int j = 0; child[i] == 0 && j <= EACH; j++) {
            char id[32];
            struct error why;
            snprintf(id, sizeof id, "whsub_%d_%d", i, j);
            if (j == EACH)
                _exit(0);
            if (!signed_note(scene.directory, "acme", id, &why))
                _exit(1);
        }
    }
    for (int i = 0; i < PROCESSES; i++) {
        int status = -1;
        CU_ASSERT_EQUAL(waitpid(child[i], &status, 0), child[i]);
        CU_ASSERT_EQUAL(status, 0);
    }
    size_t found = 0;
    char *text = temporary_read(scene.directory, "signed/acme");
    for (const char *at = text; at != NULL && (at = strstr(at, "whsub_")) != NULL; at++)
        found++;
    check(found == (size_t)PROCESSES * EACH, "%zu of %d are noted", found, PROCESSES * EACH);
    free(text);
    end(&scene);
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
