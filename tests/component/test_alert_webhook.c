/* alert_webhook_url: what is posted, to whom, and what becomes of it where it is not taken. */
#include <microhttpd.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "health/alerts.h"
#include "tests/suites.h"
#include "tests/support/process.h"
#include "tests/support/temporary.h"

#define NOW ((int64_t)1700000000000)
#define INTERVAL ((int64_t)3600000)
#define SECRET_PATH "/services/T000/SECRET"

/* A chat service. */
static struct service {
    struct MHD_Daemon *daemon;
    char url[128];
    atomic_int status; /* to answer; 0: it never answers */
    atomic_int posts;
    char body[4096]; /* of the last one */
    size_t length;
    char type[64];
} service;

static char directory[PATH_SIZE], certificate[PATH_SIZE];

static enum MHD_Result take_post(void *context, struct MHD_Connection *connection, const char *url, const char *method,
                                 const char *version, const char *data, size_t *length, void **state)
{
    static char begun;
    (void)context, (void)version;
    if (*state == NULL) {
        *state = &begun;
        service.length = 0;
        return MHD_YES;
    }
    if (*length > 0) {
        size_t room = sizeof service.body - 1 - service.length, n = *length < room ? *length : room;
        memcpy(service.body + service.length, data, n);
        service.length += n;
        service.body[service.length] = '\0';
        *length = 0;
        return MHD_YES;
    }
    const char *type = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Content-Type");
    snprintf(service.type, sizeof service.type, "%s %s", method, type == NULL ? "" : type);
    bool right = strcmp(url, SECRET_PATH) == 0;
    atomic_fetch_add(&service.posts, 1);
    while (atomic_load(&service.status) == 0)
        poll(NULL, 0, 5);
    struct MHD_Response *response = MHD_create_response_from_buffer(0, NULL, MHD_RESPMEM_PERSISTENT);
    MHD_add_response_header(response, "Location", "http://127.0.0.1:9/");
    enum MHD_Result queued =
        MHD_queue_response(connection, right ? (unsigned)atomic_load(&service.status) : 404, response);
    MHD_destroy_response(response);
    return queued;
}

static void start_service(int status, const char *pem)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    unsigned flags = MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_THREAD_PER_CONNECTION | (pem != NULL ? MHD_USE_TLS : 0U);
    atomic_store(&service.status, status);
    atomic_store(&service.posts, 0);
    service.body[0] = '\0';
    if (pem != NULL)
        service.daemon =
            MHD_start_daemon(flags, 0, NULL, NULL, take_post, NULL, MHD_OPTION_SOCK_ADDR, &address,
                             MHD_OPTION_HTTPS_MEM_CERT, pem, MHD_OPTION_HTTPS_MEM_KEY, pem, MHD_OPTION_END);
    else
        service.daemon =
            MHD_start_daemon(flags, 0, NULL, NULL, take_post, NULL, MHD_OPTION_SOCK_ADDR, &address, MHD_OPTION_END);
    CU_ASSERT_PTR_NOT_NULL_FATAL(service.daemon);
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(service.daemon, MHD_DAEMON_INFO_BIND_PORT);
    snprintf(service.url, sizeof service.url, "%s://127.0.0.1:%u" SECRET_PATH, pem != NULL ? "https" : "http",
             (unsigned)info->port);
}

static void stop_service(void)
{
    if (atomic_load(&service.status) == 0)
        atomic_store(&service.status, 200);
    MHD_stop_daemon(service.daemon);
}

static int make_directory(void)
{
    log_open(LEVEL_ERROR);
    return temporary_make(directory) ? 0 : 1;
}

static int remove_directory(void)
{
    log_open(LEVEL_INFO);
    temporary_remove(directory);
    return 0;
}

static struct alert alert_of(void)
{
    return (struct alert){.cause = "data_plane_refuses",
                          .source = "acme",
                          .state = ALERT_RAISED,
                          .words = "it answered 401 \"lead Jane Doe\"",
                          .since_ms = NOW,
                          .now_ms = NOW + 1000,
                          .brief = "the data plane refuses",
                          .waiting = 12,
                          .dead = 3};
}

static void what_is_posted(void)
{
    struct error why = {0};
    struct alert alert = alert_of();
    start_service(204, NULL);
    CU_ASSERT_TRUE(alert_webhook_post(service.url, NULL, &alert, NULL, &why));
    CU_ASSERT_STRING_EQUAL(why.text, "");
    CU_ASSERT_STRING_EQUAL(service.type, "POST application/json");
    static const char start[] = "{\"cause\": \"data_plane_refuses\", \"state\": \"raised\", \"source\": \"acme\", "
                                "\"words\": \"the data plane refuses\", \"waiting\": 12, \"dead_letters\": 3, "
                                "\"since\": \"2023-11-14T22:13:20Z\", \"time\": \"2023-11-14T22:13:21Z\", \"host\": \"";
    CU_ASSERT_NSTRING_EQUAL(service.body, start, sizeof start - 1);
    CU_ASSERT_PTR_NOT_NULL(
        strstr(service.body, ": source acme: the data plane refuses (waiting: 12, dead letters: 3)\"}"));
    CU_ASSERT_PTR_NULL(strstr(service.body, "Jane Doe"));
    stop_service();
}

static void what_is_not_taken(void)
{
    struct error why = {0};
    struct alert alert = alert_of();
    start_service(302, NULL);
    CU_ASSERT_FALSE(alert_webhook_post(service.url, NULL, &alert, NULL, &why));
    CU_ASSERT_PTR_NOT_NULL(strstr(why.text, "127.0.0.1 answered 302, a redirect, which is not followed"));
    CU_ASSERT_EQUAL(atomic_load(&service.posts), 1);
    atomic_store(&service.status, 500);
    CU_ASSERT_FALSE(alert_webhook_post(service.url, NULL, &alert, NULL, &why));
    CU_ASSERT_STRING_EQUAL(why.text, "127.0.0.1 answered 500");
    stop_service();
    CU_ASSERT_FALSE(alert_webhook_post(service.url, NULL, &alert, NULL, &why)); /* nobody is there */
    CU_ASSERT_NSTRING_EQUAL(why.text, "127.0.0.1: ", 11);
    CU_ASSERT_PTR_NULL(strstr(why.text, "SECRET"));
}

/* Makes a certificate for 127.0.0.1 that its owner has signed. Returns it with its key. */
static char *make_certificate(void)
{
    char line[5 * PATH_SIZE + 300];
    path_join(certificate, directory, "both.pem");
    snprintf(line, sizeof line,
             "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout %s/key.pem -out "
             "%s/cert.pem -days 2 -subj /CN=test -addext subjectAltName=IP:127.0.0.1 2>/dev/null && "
             "cat %s/key.pem %s/cert.pem >%s",
             directory, directory, directory, directory, certificate);
    char log[PATH_SIZE];
    struct process shell = {0};
    int status = -1;
    const char *arguments[] = {"/bin/sh", "-c", line, NULL};
    const char *environment[] = {"PATH=/usr/bin:/bin", NULL};
    path_join(log, directory, "openssl.log");
    CU_ASSERT_FATAL(process_start(&shell, &(struct process_options){arguments, environment, directory, log}));
    CU_ASSERT(process_wait(&shell, 60000, &status));
    CU_ASSERT_EQUAL_FATAL(status, 0);
    return temporary_read(directory, "both.pem");
}

static void certificates_are_verified(void)
{
    struct error why = {0};
    struct alert alert = alert_of();
    char *pem = make_certificate();
    start_service(200, pem);
    CU_ASSERT_TRUE(alert_webhook_post(service.url, certificate, &alert, NULL, &why));
    CU_ASSERT_FALSE(alert_webhook_post(service.url, NULL, &alert, NULL, &why));
    CU_ASSERT_PTR_NOT_NULL(strstr(why.text, "certificate"));
    CU_ASSERT_EQUAL(atomic_load(&service.posts), 1);
    stop_service();
    free(pem);
}

static void *set_soon(void *hurry)
{
    while (atomic_load(&service.posts) == 0)
        poll(NULL, 0, 5);
    atomic_store((atomic_bool *)hurry, true);
    return NULL;
}

/* The process ends, or reloads. */
static void a_service_that_hangs_holds_up_nothing(void)
{
    pthread_t thread;
    atomic_bool hurry = false;
    struct error why = {0};
    struct alert alert = alert_of();
    start_service(0, NULL);
    CU_ASSERT_EQUAL_FATAL(pthread_create(&thread, NULL, set_soon, &hurry), 0);
    moment start = clock_now();
    CU_ASSERT_FALSE(alert_webhook_post(service.url, NULL, &alert, &hurry, &why));
    CU_ASSERT(clock_now() - start < 60000);
    CU_ASSERT_PTR_NOT_NULL(strstr(why.text, "given up")); /* and not timed out */
    pthread_join(thread, NULL);
    stop_service();
}

/* ---- trying again ---- */

static struct alerts *open_alerts(const char *name, bool also_command)
{
    static char path[PATH_SIZE], script[PATH_SIZE], told[PATH_SIZE], *command[] = {script, told, NULL};
    static const char text[] = "#!/bin/sh\ncat >>\"$1\"\n";
    path_join(path, directory, name);
    path_join(script, directory, "tell");
    path_join(told, directory, "told");
    mkdir(path, 0700);
    temporary_write(directory, "tell", 0755, text, sizeof text - 1);
    unlink(told);
    struct alert_ways ways = {.command = also_command ? command : NULL, .webhook_url = service.url};
    struct alerts *alerts = alerts_new(&ways, INTERVAL, path);
    CU_ASSERT_PTR_NOT_NULL_FATAL(alerts);
    CU_ASSERT_TRUE(alerts_claim(alerts));
    return alerts;
}

static size_t look(struct alerts *alerts, bool raised, int64_t now_ms)
{
    struct alert_cause cause = {.name = "silence", .source = "", .raised = raised, .brief = "it is silent"};
    error_set(&cause.words, "silent for long");
    return alerts_evaluate(alerts, &cause, 1, now_ms);
}

static size_t lines_told(void)
{
    size_t lines = 0;
    char *text = temporary_read(directory, "told");
    for (const char *c = text; c != NULL && *c != '\0'; c++)
        lines += *c == '\n';
    free(text);
    return lines;
}

static void what_failed_is_tried_again_soon(void)
{
    start_service(503, NULL);
    struct alerts *alerts = open_alerts("again", true);
    CU_ASSERT_EQUAL(look(alerts, true, NOW), 1);
    CU_ASSERT_EQUAL(look(alerts, true, NOW + 1000), 0);
    CU_ASSERT_EQUAL(look(alerts, true, NOW + 15000), 1); /* and fails once more: the pause grows */
    CU_ASSERT_EQUAL(look(alerts, true, NOW + 30000), 0);
    atomic_store(&service.status, 200);
    CU_ASSERT_EQUAL(look(alerts, true, NOW + 45000), 1);
    CU_ASSERT_PTR_NOT_NULL(strstr(service.body, "\"state\": \"raised\""));
    CU_ASSERT_EQUAL(look(alerts, true, NOW + 3000000), 0);
    CU_ASSERT_EQUAL(atomic_load(&service.posts), 3);
    CU_ASSERT_EQUAL(lines_told(), 1); /* the command did its part */
    alerts_free(alerts);
    stop_service();
}

static void another_process_tries_again_at_once(void)
{
    start_service(503, NULL);
    struct alerts *alerts = open_alerts("other", false);
    CU_ASSERT_EQUAL(look(alerts, true, NOW), 1);
    alerts_free(alerts);
    atomic_store(&service.status, 200);
    alerts = open_alerts("other", false);
    CU_ASSERT_EQUAL(look(alerts, true, NOW + 1000), 1);
    CU_ASSERT_EQUAL(look(alerts, true, NOW + 100000), 0);
    atomic_store(&service.status, 503);
    CU_ASSERT_EQUAL(look(alerts, false, NOW + 200000), 1);
    atomic_store(&service.status, 200);
    CU_ASSERT_EQUAL(look(alerts, false, NOW + 215000), 1);
    CU_ASSERT_PTR_NOT_NULL(strstr(service.body, "\"state\": \"gone\""));
    CU_ASSERT_PTR_NOT_NULL(strstr(service.body, "\"since\": \"2023-11-14T22:13:20Z\""));
    CU_ASSERT_EQUAL(look(alerts, false, NOW + 900000), 0);
    alerts_free(alerts);
    stop_service();
}

/* Nobody was told that it began. */
static void one_that_was_never_told_is_not_told_to_be_gone(void)
{
    start_service(503, NULL);
    struct alerts *alerts = open_alerts("never", false);
    CU_ASSERT_EQUAL(look(alerts, true, NOW), 1);
    look(alerts, false, NOW + 1000);
    look(alerts, false, NOW + 100000);
    CU_ASSERT_EQUAL(atomic_load(&service.posts), 1);
    alerts_free(alerts);
    stop_service();
}

void suite_alert_webhook(void)
{
    static CU_TestInfo tests[] = {
        {"what is posted", what_is_posted},
        {"what is not taken", what_is_not_taken},
        {"certificates are verified", certificates_are_verified},
        {"a service that hangs holds up nothing", a_service_that_hangs_holds_up_nothing},
        {"what failed is tried again soon", what_failed_is_tried_again_soon},
        {"another process tries again at once", another_process_tries_again_at_once},
        {"one that was never told is not told to be gone", one_that_was_never_told_is_not_told_to_be_gone},
        CU_TEST_INFO_NULL,
    };
    suite_add("alert webhook", make_directory, remove_directory, tests);
}
