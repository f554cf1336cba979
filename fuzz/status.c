/* Requests for /status, /metrics and /healthz: their parameters, headers and forms, over a real queue. Judges: an HTML
 * tokenizer that knows only the tags and attributes which the page has, so that nothing which came from outside can
 * become one; SQLite for JSON; OpenSSL's Base64 for who may see it. `HTTP_AUTHORIZATION=good` stands for the right
 * password, and `token=good` in a form for the page's token. What would leave the machine is stubbed. */
#include "status/status.h"
#include "fuzz/rig/request.h"
#include "fuzz/rig/rig.h"
#include "queue/queue.h"
#include "status/status_private.h"
#include "telemetry/telemetry.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define RIGHT "admin:correct horse"
#define RIGHT_BASIC "Basic YWRtaW46Y29ycmVjdCBob3JzZQ=="
#define PRIVATE "555-private" /* in the events, and to be removed */
#define WRITE_KEY "wk_never_typed_%3D"

static char one[] = "one", url[] = "http://127.0.0.1:9", write_key[] = "wk_never_typed_=", *write_keys[] = {write_key};
static char password[] = "correct horse", removed_path[] = "data.phone", *removed[] = {removed_path};
static struct source source = {
    .name = one, .line = 3, .data_plane_url = url, .write_key = {write_keys, 1}, .remove = {removed, 1}};
static struct config config = {.queue = QUEUE_SQLITE,
                               .queue_max_bytes = (int64_t)1 << 40,
                               .queue_retention_ms = 3600000,
                               .dedupe_window_ms = 3600000,
                               .poison_after_ms = 60000,
                               .alert_waiting_ms = 600000,
                               .max_body = 1 << 20,
                               .lanes = 4,
                               .batch_events = 500,
                               .admin_password = password,
                               .source = &source,
                               .sources = 1};
static struct status *status;
static char token[TOKEN_SIZE];
static int acted; /* what would have left the machine */

/* ---- stubs ---- */

bool __wrap_forward_try(const struct config *of, const struct source *which, struct error *why);
bool __wrap_self_test(const struct config *of, const struct source *which, const char *base,
                      char words[static ACTION_WORDS]);

bool __wrap_forward_try(const struct config *of, const struct source *which, struct error *why)
{
    (void)of, (void)which;
    acted++;
    error_set(why, "the data plane answered 400 \"<ZQZ>\"");
    return true;
}

bool __wrap_self_test(const struct config *of, const struct source *which, const char *base,
                      char words[static ACTION_WORDS])
{
    (void)of, (void)which;
    acted++;
    snprintf(words, ACTION_WORDS, "%.400s", base);
    return false;
}

/* ---- the page ---- */

static bool is_one_of(const char *list, const char *at, size_t length)
{
    for (; *list != '\0'; list += strcspn(list, " ") + (list[strcspn(list, " ")] != '\0')) {
        if (strcspn(list, " ") == length && memcmp(list, at, length) == 0)
            return true;
    }
    return false;
}

/* Reads one attribute, its value in double quotes. Returns what is behind it. */
static const char *check_attribute(const char *at, const char *end)
{
    static const char allowed[] =
        "aria-hidden aria-label aria-labelledby autocomplete checked class charset colspan content d data-act "
        "data-fact "
        "data-icon "
        "data-key data-letter data-list data-ms data-open data-own data-source data-title data-token datetime disabled "
        "for height hidden href id lang list media method name open placeholder rel role scope selected src style "
        "tabindex text-anchor type value viewBox width x x1 x2 y y1 y2";
    size_t length = 0;
    while (at + length < end && strchr("= >/", at[length]) == NULL)
        length++;
    RIG_CHECK(is_one_of(allowed, at, length), "an attribute that the page does not have: %.60s", at);
    bool link = is_one_of("href src action", at, length);
    at += length;
    if (at == end || *at != '=')
        return at;
    RIG_CHECK(at + 1 < end && at[1] == '"', "a value without quotes: %.60s", at);
    const char *close = memchr(at + 2, '"', (size_t)(end - at) - 2);
    RIG_CHECK(close != NULL && memchr(at + 2, '<', (size_t)(close - at) - 2) == NULL, "a value's end: %.60s", at);
    RIG_CHECK(!link || strncasecmp(at + 2, "javascript:", 11) != 0, "a link to a script: %.60s", at);
    return close + 1;
}

/* A tag, behind its `<`. Returns what is behind it; *depth counts those that are open. */
static const char *check_tag(const char *at, const char *end, int *depth)
{
    static const char allowed[] =
        "!DOCTYPE !doctype html head meta title link style script body header main footer h1 h2 h3 p div span section "
        "article ol ul li dl dt dd table thead tbody tr th td form input button label select option a code pre strong "
        "details summary time svg path line text figure figcaption";
    bool closes = *at == '/';
    at += closes;
    size_t length = 0;
    while (at + length < end && strchr(" >/", at[length]) == NULL)
        length++;
    RIG_CHECK(is_one_of(allowed, at, length), "a tag that the page does not have: <%.60s", at);
    bool empty = is_one_of("!DOCTYPE !doctype meta link input", at, length);
    bool is_script = is_one_of("script style", at, length);
    const char *name = at;
    at += length;
    while (at < end && *at != '>') {
        if (*at == ' ' || *at == '/' || *at == '\n')
            empty |= *at++ == '/';
        else if (*name == '!')
            at++;
        else
            at = check_attribute(at, end);
    }
    RIG_CHECK(at < end, "a tag that is cut: <%.60s", name);
    *depth += closes ? -1 : !empty;
    if (!is_script || closes)
        return at + 1;
    const char *close = memmem(at, (size_t)(end - at), "</", 2);
    RIG_CHECK(close != NULL && memmem(at, (size_t)(close - at), "ZQZ", 3) == NULL, "a script from outside");
    return close;
}

static void check_page(struct slice page)
{
    int depth = 0;
    const char *at = page.at, *end = at + page.length;
    while (at < end && (at = memchr(at, '<', (size_t)(end - at))) != NULL)
        at = check_tag(at + 1, end, &depth);
    RIG_CHECK(depth == 0, "%d tags are open at the end", depth);
}

/* ---- the requests ---- */

static void append(struct queue *queue, const char *body, bool dead)
{
    static uint64_t id;
    struct error why = {0};
    RIG_CHECK(queue_append(queue, one, body, strlen(body), clock_now() + 60000, &why) == QUEUE_STORED, "append");
    id++;
    const struct verdict verdict = {.id = id, .kind = VERDICT_DEAD, .reason = "answered 400 \"<ZQZ>'\""};
    RIG_CHECK(!dead || queue_settle(queue, one, &verdict, 1, &why), "settle: %s", why.text);
}

static void fill_queue(void)
{
    struct error why = {0};
    struct queue *queue = queue_open(&config, &why);
    RIG_CHECK(queue != NULL && queue_claim(queue, &why), "no queue: %s", why.text);
    append(queue,
           "{\"event\":{\"object_type\":\"lead\",\"action\":\"<ZQZ>\",\"id\":\"\\\"ZQZ='\",\"data\":{\"note\":\"<ZQZ>"
           "\",\"phone\":\"" PRIVATE "\"}}}",
           true);
    append(queue, "{\"event\":{\"object_type\":\"<ZQZ", true);
    append(queue,
           "{\"event\":{\"object_type\":\"lead\",\"action\":\"updated\",\"id\":\"ev_1\",\"lead_id\":\"<ZQZ>&\","
           "\"data\":{\"phone\":\"" PRIVATE "\"}}}",
           false);
    queue_close(queue);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    static char directory[256];
    static struct telemetry telemetry;
    static const char *const names[] = {"one"};
    struct tokens tokens;
    struct error why;
    (void)argc;
    (void)argv;
    rig_no_log();
    rig_path("state", directory);
    *strrchr(directory, '/') = '\0';
    config.state_dir = directory;
    fill_queue();
    telemetry = (struct telemetry){counters_open(directory, names, 1, &why), recent_open(directory),
                                   attempts_open(directory, names, 1, 4)};
    status = status_new(&config);
    status_attach(status, &telemetry);
    tokens_init(&tokens);
    RIG_CHECK(tokens_make(&tokens, &config, clock_unix_ms(), token), "no token");
    tokens_free(&tokens);
    return 0;
}

/* What stands for the right password and the right token. */
static void put_secrets(struct rig_request *request, struct buffer *form)
{
    const char *end = request->body.at + request->body.length;
    const char *good = memmem(request->body.at, request->body.length, "token=good", 10);
    for (size_t i = 0; i < request->variables.count; i++) {
        if (strcmp(request->variables.name[i], "HTTP_AUTHORIZATION") == 0 &&
            strcmp(request->variables.value[i], "good") == 0) {
            free(request->variables.value[i]);
            request->variables.value[i] = rig_string(slice_of(RIGHT_BASIC));
        }
    }
    if (good == NULL)
        return;
    buffer_append(form, request->body.at, (size_t)(good - request->body.at) + 6);
    buffer_text(form, token);
    buffer_append(form, good + 10, (size_t)(end - good) - 10);
    request->body = rig_slice(form);
}

static bool is_right(const struct rig_request *request)
{
    struct buffer credentials = {0};
    bool right = rig_basic(&request->variables, &credentials) && slice_equal(rig_slice(&credentials), slice_of(RIGHT));
    buffer_free(&credentials);
    return right;
}

static bool has_token(const struct rig_request *request)
{
    struct buffer value = {0};
    char *form = rig_string(request->body);
    bool right = rig_form_value(form, "token", &value) && strcmp(value.data, token) == 0;
    buffer_free(&value);
    free(form);
    return right;
}

static bool has(struct slice text, const char *word)
{
    return text.length > 0 && memmem(text.at, text.length, word, strlen(word)) != NULL;
}

/* What stands in the input the page may show again. */
static void judge(const struct rig_request *request, const struct rig_answer *answer, struct slice input)
{
    const char *method = rig_variables_get(&request->variables, "REQUEST_METHOD");
    bool is_open = strcmp(request->request.path, "/healthz") == 0, right = is_right(request);
    bool posted = method != NULL && strcmp(method, "POST") == 0;
    bool changes = posted && right && has_token(request);
    RIG_CHECK(is_open || right || answer->status >= 400, "shown to somebody without the password");
    RIG_CHECK(acted == 0 || changes, "done for somebody without the password or the token");
    RIG_CHECK(has(input, PRIVATE) || !has(answer->body, PRIVATE), "a removed member");
    RIG_CHECK(changes || has(input, "wk_") || !has(answer->body, WRITE_KEY),
              "the write key is shown to somebody who has not asked for it");
    if (strncmp(answer->type, "text/html", 9) == 0)
        check_page(answer->body);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct route routes[] = {
        {"/status", (void (*)(void *, struct request *))status_handle, NULL, true},
        {"/metrics", (void (*)(void *, struct request *))status_handle, NULL, false},
        {"/healthz", (void (*)(void *, struct request *))status_handle, NULL, false},
    };
    struct route attached[3];
    struct rig_input input = rig_input_of(data, size);
    struct rig_request request;
    struct rig_answer answer;
    struct buffer form = {0};
    for (size_t i = 0; i < 3; i++) {
        attached[i] = routes[i];
        attached[i].context = status;
    }
    acted = 0;
    rig_request_begin(&request, &input, 4096);
    rig_variables_add(&request.variables, "REQUEST_METHOD", "GET");
    put_secrets(&request, &form);
    routes_serve(attached, 3, &request.request);
    rig_request_answer(&request, &answer);
    judge(&request, &answer, (struct slice){(const char *)data, size});
    if (strncmp(answer.type, "application/json", strlen("application/json")) == 0 && answer.body.length > 0)
        rig_record("json", request.body, answer.body);
    buffer_free(&form);
    rig_request_end(&request);
    return 0;
}
