/* The gate before the webhook: who comes before it is decided waits, who comes while it is closed is told to come
 * again, and nobody passes where the web server would show the configuration. */
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "process/process_private.h"
#include "tests/suites.h"
#include "tests/support/http_fake.h"
#include "tests/support/made_config.h"
#include "tests/support/temporary.h"
#include "webhook/webhook.h"

/* A gate, and a webhook whose queue takes everything. */
struct scene {
    struct made_config made;
    struct gate gate;
    struct webhook *webhook;
    struct fake_request fake;
};

static enum queue_result take(void *queue, const char *source, const char *body, size_t length, moment deadline,
                              struct error *why)
{
    (void)queue, (void)source, (void)body, (void)length, (void)deadline, (void)why;
    return QUEUE_STORED;
}

static void scene_start(struct scene *scene)
{
    static char url[] = "http://127.0.0.1:9";
    struct error why = {0};
    made_config_init(&scene->made, url, url);
    gate_init(&scene->gate, &scene->made.config);
    scene->webhook = webhook_new_with(&scene->made.config, take, NULL, &why);
    CU_ASSERT_PTR_NOT_NULL_FATAL(scene->webhook);
}

static void scene_end(struct scene *scene)
{
    webhook_free(scene->webhook);
    gate_free(&scene->gate);
}

/* Sends a request to the gate. Returns the status of the answer. */
static int pass(struct scene *scene, const char *document_root)
{
    const struct fake_variable variables[] = {{"REQUEST_METHOD", "POST"},
                                              {"PATH_INFO", "/one"},
                                              {"QUERY_STRING", "writeKey=wk_one"},
                                              {"DOCUMENT_ROOT", document_root},
                                              {NULL, NULL}};
    struct route routes[GATE_ROUTES];
    gate_routes(&scene->gate, routes);
    fake_init(&scene->fake, variables, "{}", 2);
    routes_serve(routes, GATE_ROUTES, &scene->fake.request);
    fake_end(&scene->fake);
    return fake_status(&scene->fake);
}

static void *pass_in_a_thread(void *context)
{
    pass(context, "");
    return NULL;
}

static void open_lets_pass(void)
{
    struct scene scene;
    scene_start(&scene);
    gate_open(&scene.gate, scene.webhook);
    CU_ASSERT_EQUAL(pass(&scene, ""), 200);
    scene_end(&scene);
}

static void closed_says_when_to_come_again(void)
{
    struct scene scene;
    scene_start(&scene);
    gate_close(&scene.gate);
    CU_ASSERT_EQUAL(pass(&scene, ""), 503);
    CU_ASSERT_PTR_NOT_NULL(strstr(scene.fake.text, "Retry-After: 30\r\n"));
    CU_ASSERT_PTR_NOT_NULL(strstr(fake_body(&scene.fake), "the queue is not open"));
    gate_open(&scene.gate, scene.webhook);
    CU_ASSERT_EQUAL(pass(&scene, ""), 200);
    scene_end(&scene);
}

static void check_waits_for(bool opened, int status)
{
    struct scene scene;
    pthread_t thread;
    scene_start(&scene);
    CU_ASSERT_EQUAL_FATAL(pthread_create(&thread, NULL, pass_in_a_thread, &scene), 0);
    usleep(100000);
    if (opened)
        gate_open(&scene.gate, scene.webhook);
    else
        gate_close(&scene.gate);
    pthread_join(thread, NULL);
    CU_ASSERT_EQUAL(fake_status(&scene.fake), status);
    scene_end(&scene);
}

static void undecided_lets_wait(void)
{
    check_waits_for(true, 200);
    check_waits_for(false, 503);
}

static void a_configuration_in_the_document_root_stops_all(void)
{
    struct scene scene;
    char directory[PATH_SIZE], file[PATH_SIZE];
    CU_ASSERT_TRUE_FATAL(temporary_make(directory));
    CU_ASSERT_TRUE(temporary_write(directory, "closecrm.conf", 0600, "", 0));
    path_join(file, directory, "closecrm.conf");
    scene_start(&scene);
    scene.made.config.path = file;
    gate_open(&scene.gate, scene.webhook);
    CU_ASSERT_EQUAL(pass(&scene, directory), 503);
    CU_ASSERT_PTR_NOT_NULL(strstr(scene.fake.text, "Retry-After: 300\r\n"));
    CU_ASSERT_PTR_NULL(strstr(scene.fake.text, directory));
    scene_end(&scene);
    temporary_remove(directory);
}

/* One process may stand behind several sites. */
static void each_document_root_is_judged(void)
{
    struct scene scene;
    char directory[PATH_SIZE], file[PATH_SIZE], other[PATH_SIZE];
    CU_ASSERT_TRUE_FATAL(temporary_make(directory));
    CU_ASSERT_TRUE_FATAL(temporary_make(other));
    CU_ASSERT_TRUE(temporary_write(directory, "closecrm.conf", 0600, "", 0));
    path_join(file, directory, "closecrm.conf");
    scene_start(&scene);
    scene.made.config.path = file;
    gate_open(&scene.gate, scene.webhook);
    CU_ASSERT_EQUAL(pass(&scene, ""), 200);
    CU_ASSERT_EQUAL(pass(&scene, other), 200);
    CU_ASSERT_EQUAL(pass(&scene, directory), 503);
    CU_ASSERT_EQUAL(pass(&scene, other), 200);
    for (int i = 0; i < ROOTS_KEPT + 2; i++) { /* more than are kept */
        char root[PATH_SIZE];
        snprintf(root, sizeof root, "%.200s/%d", other, i);
        CU_ASSERT_EQUAL(pass(&scene, root), 200);
    }
    CU_ASSERT_EQUAL(pass(&scene, directory), 503);
    char beside[PATH_SIZE];
    snprintf(beside, sizeof beside, "%.200s/.", directory);
    CU_ASSERT_EQUAL(pass(&scene, beside), 503);
    scene_end(&scene);
    temporary_remove(directory);
    temporary_remove(other);
}

void suite_life_gate(void)
{
    static CU_TestInfo tests[] = {
        {"open lets pass", open_lets_pass},
        {"closed says when to come again", closed_says_when_to_come_again},
        {"undecided lets wait", undecided_lets_wait},
        {"a configuration in the document root stops all", a_configuration_in_the_document_root_stops_all},
        {"each document root is judged", each_document_root_is_judged},
        CU_TEST_INFO_NULL,
    };
    suite_add("life: gate", NULL, NULL, tests);
}
