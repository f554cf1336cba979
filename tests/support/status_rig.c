/* A status page to ask: see status_rig.h. */
#include "tests/support/status_rig.h"

#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "queue/inspect.h"
#include "webhook/webhook.h"

static const char waiting_body[] =
    "{\"event\":{\"object_type\":\"lead\",\"action\":\"updated\",\"id\":\"ev_1\",\"lead_id\":"
    "\"" STATUS_EVIL "\",\"data\":{\"id\":\"x\"}}}";
static const char dead_body[] = "{\"event\":{\"object_type\":\"lead\",\"action\":\"" STATUS_EVIL "\",\"id\":\"ev_2\","
                                "\"data\":{\"note\":\"" STATUS_EVIL "\",\"phone\":\"555-private\"},"
                                "\"previous_data\":{\"phone\":\"556-private\"}}}";

static char password[] = "correct horse", remove_path[] = "data.phone";
static char *removed[] = {remove_path};

static bool append(struct status_rig *rig, const char *body)
{
    struct error why;
    return queue_append(rig->queue, "one", body, strlen(body), clock_now() + 20000, &why) == QUEUE_STORED;
}

bool status_rig_append(struct status_rig *rig)
{
    return append(rig, waiting_body);
}

static bool kill_event(struct status_rig *rig, uint64_t id)
{
    struct error why;
    struct verdict verdict = {
        .id = id, .kind = VERDICT_DEAD, .reason = "the data plane answered 400 \"" STATUS_EVIL "\""};
    return queue_settle(rig->queue, "one", &verdict, 1, &why);
}

static void configure(struct status_rig *rig)
{
    static char url[] = "http://127.0.0.1:9";
    struct config *config = &rig->made.config;
    made_config_init(&rig->made, url, url);
    config->queue = QUEUE_SQLITE;
    config->queue_max_bytes = (int64_t)1 << 40;
    config->state_dir = rig->state;
    config->admin_password = password;
    config->alert_waiting_ms = 600000;
    rig->made.source[0].remove = (struct strings){removed, 1};
    rig->made.source[0].line = rig->made.source[1].line = 3; /* sections: their names stand in their addresses */
}

int status_rig_open(struct status_rig *rig)
{
    static const char *const names[] = {"one", "two"};
    struct error why = {0};
    log_open(LEVEL_ERROR);
    memset(rig, 0, sizeof *rig);
    if (!temporary_make(rig->directory))
        return 1;
    path_join(rig->state, rig->directory, "state");
    configure(rig);
    rig->queue = queue_open(&rig->made.config, &why);
    if (rig->queue == NULL || !queue_claim(rig->queue, &why)) {
        fprintf(stderr, "%s\n", why.text);
        return 1;
    }
    if (!append(rig, dead_body) || !append(rig, dead_body) || !append(rig, waiting_body) || !kill_event(rig, 1) ||
        !kill_event(rig, 2))
        return 1;
    rig->telemetry = (struct telemetry){counters_open(rig->state, names, 2, &why), recent_open(rig->state),
                                        attempts_open(rig->state, names, 2, 4)};
    counters_refused(counters_of(rig->telemetry.counters, "one"), REFUSED_SIGNATURE, clock_unix_ms());
    rig->status = status_new(&rig->made.config);
    status_attach(rig->status, &rig->telemetry);
    return 0;
}

int status_rig_close(struct status_rig *rig)
{
    if (rig->fake.request.budget != NULL)
        fake_end(&rig->fake);
    status_free(rig->status);
    counters_close(rig->telemetry.counters);
    recent_close(rig->telemetry.recent);
    attempts_close(rig->telemetry.attempts);
    queue_close(rig->queue);
    temporary_remove(rig->directory);
    log_open(LEVEL_INFO);
    return 0;
}

int status_rig_ask(struct status_rig *rig, const char *method, const char *path, const char *query,
                   const char *authorization, const char *form)
{
    static struct fake_variable variables[8]; /* they must live as long as the request */
    size_t n = 0;
    variables[n++] = (struct fake_variable){"REQUEST_METHOD", method};
    variables[n++] = (struct fake_variable){"PATH_INFO", path};
    variables[n++] = (struct fake_variable){"SCRIPT_NAME", "/closecrm"};
    variables[n++] = (struct fake_variable){"HTTP_HOST", "example.com"};
    variables[n++] = (struct fake_variable){"QUERY_STRING", query};
    if (rig->auth_type != NULL)
        variables[n++] = (struct fake_variable){"AUTH_TYPE", rig->auth_type};
    if (authorization != NULL)
        variables[n++] = (struct fake_variable){
            strncmp(authorization, "Basic", 5) == 0 ? "HTTP_AUTHORIZATION" : "REMOTE_USER", authorization};
    variables[n] = (struct fake_variable){NULL, NULL};
    if (rig->fake.request.budget != NULL)
        fake_end(&rig->fake);
    fake_init(&rig->fake, variables, form == NULL ? "" : form, form == NULL ? 0 : strlen(form));
    status_handle(rig->status, &rig->fake.request);
    return fake_status(&rig->fake);
}

bool status_rig_shows(const struct status_rig *rig, const char *text)
{
    return strstr(rig->fake.text, text) != NULL;
}
