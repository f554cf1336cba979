/* What a request says, its body, its answer, its route. */
#include "tests/suites.h"
#include "tests/support/http_fake.h"

#include <stdio.h>
#include <string.h>

/* ---- variables, path, query, authorization ------------------------------------------------------------------------
 */

static void empty_variables_count_as_absent(void)
{
    static const struct fake_variable variables[] = {{"EMPTY", ""}, {"HTTP_X_Y", "z"}, {"HTTP_X_EMPTY", ""}, {0}};
    struct fake_request fake;
    fake_init(&fake, variables, "", 0);
    CU_ASSERT_PTR_NULL(request_variable(&fake.request, "EMPTY"));
    CU_ASSERT_PTR_NULL(request_variable(&fake.request, "ABSENT"));
    CU_ASSERT_STRING_EQUAL(request_header(&fake.request, "X_Y"), "z");
    CU_ASSERT_PTR_NULL(request_header(&fake.request, "X_EMPTY"));
    fake_end(&fake);
}

static void finds_query_parameters(void)
{
    static const struct {
        const char *query;
        const char *value; /* NULL: not found */
    } cases[] = {
        {"writeKey=abc", "abc"},
        {"a=1&writeKey=abc&b=2", "abc"},
        {"writeKey=first&writeKey=second", "first"},
        {"writeKey=a%2Bb+c%20d%3D%26", "a+b c d=&"},
        {"write%4bey=named", "named"},
        {"writeKey=100%", "100%"},
        {"writeKey=%zz%4", "%zz%4"},
        {"writeKey=a=b", "a=b"},
        {"writeKey=", ""},
        {"writeKey", ""},
        {"&&writeKey=x", "x"},
        {"writekey=abc", NULL},
        {"xwriteKey=abc", NULL},
        {"writeKeyx=abc", NULL},
        {"writeKey=a%00b", NULL},
        {"writeKey=0123456789abcdef", NULL}, /* one byte too long */
        {"writeKey=0123456789abcde", "0123456789abcde"},
        {"", NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct fake_variable variables[] = {{"QUERY_STRING", cases[i].query}, {0}};
        struct fake_request fake;
        char out[16] = "before";
        fake_init(&fake, variables, "", 0);
        CU_ASSERT_EQUAL(request_query(&fake.request, "writeKey", out, sizeof out), cases[i].value != NULL);
        CU_ASSERT_STRING_EQUAL(out, cases[i].value != NULL ? cases[i].value : "");
        fake_end(&fake);
    }
}

static void finds_the_basic_user(void)
{
    static const struct {
        const char *variable;
        const char *value;
        const char *user; /* NULL: none */
    } cases[] = {
        {"HTTP_AUTHORIZATION", "Basic a2V5Og==", "key"},             /* key: */
        {"HTTP_AUTHORIZATION", "basic a2V5OnBhc3M6d29yZA==", "key"}, /* key:pass:word */
        {"REDIRECT_HTTP_AUTHORIZATION", "Basic a2V5Og==", "key"},
        {"HTTP_AUTHORIZATION", "Basic  a2V5Og== ", "key"},
        {"HTTP_AUTHORIZATION", "Basic a2V5Og", "key"}, /* without padding */
        {"HTTP_AUTHORIZATION", "Basic a2V5", "key"},   /* key, no colon */
        {"HTTP_AUTHORIZATION", "Basic OnB3", NULL},    /* :pw */
        {"HTTP_AUTHORIZATION", "Basic a2V5O", NULL},   /* no Base64 */
        {"HTTP_AUTHORIZATION", "Basic a2V*Og==", NULL},
        {"HTTP_AUTHORIZATION", "Basic awB5Og==", NULL},                 /* k\0y: */
        {"HTTP_AUTHORIZATION", "Basic MDEyMzQ1Njc4OWFiY2RlZjo=", NULL}, /* 16 characters: do not fit */
        {"HTTP_AUTHORIZATION", "Basic MDEyMzQ1Njc4OWFiY2RlOg==", "0123456789abcde"},
        {"HTTP_AUTHORIZATION", "Basic", NULL},
        {"HTTP_AUTHORIZATION", "Basic ", NULL},
        {"HTTP_AUTHORIZATION", "Bearer a2V5Og==", NULL},
        {"X", "", NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct fake_variable variables[] = {{cases[i].variable, cases[i].value}, {0}};
        struct fake_request fake;
        char out[16] = "before";
        fake_init(&fake, variables, "", 0);
        CU_ASSERT_EQUAL(request_basic_user(&fake.request, out, sizeof out), cases[i].user != NULL);
        CU_ASSERT_STRING_EQUAL(out, cases[i].user != NULL ? cases[i].user : "");
        fake_end(&fake);
    }
}

/* ---- routes -------------------------------------------------------------------------------------------------------
 */

static void answer_with_context(void *context, struct request *request)
{
    request_answer(request, 200, NULL, context);
}

static void answer_nothing(void *context, struct request *request)
{
    (void)context;
    (void)request;
}

static void finds_the_route(void)
{
    static char none[] = "none", webhook[] = "webhook", name[] = "name", status[] = "status";
    static const struct route routes[] = {
        {"", answer_with_context, none, false},   {"/v1/webhook", answer_with_context, webhook, false},
        {"/silent", answer_nothing, NULL, false}, {"/status", answer_with_context, status, true},
        {"/*", answer_with_context, name, false},
    };
    static const struct {
        const char *path;
        int status;
        const char *body;
    } cases[] = {
        {NULL, 200, "none"},
        {"", 200, "none"},
        {"/", 200, "none"},
        {"/v1/webhook", 200, "webhook"},
        {"/v1/webhook/", 200, "webhook"},
        {"/acme", 200, "name"},
        {"/acme/", 200, "name"},
        {"/status", 200, "status"},
        {"/status/", 404, "{\"error\": \"there is nothing at this address\"}\n"},
        {"/status//", 404, "{\"error\": \"there is nothing at this address\"}\n"},
        {"/status/x", 404, "{\"error\": \"there is nothing at this address\"}\n"},
        {"//status", 404, "{\"error\": \"there is nothing at this address\"}\n"},
        {"/V1/webhook", 404, "{\"error\": \"there is nothing at this address\"}\n"},
        {"/v1/webhook/x", 404, "{\"error\": \"there is nothing at this address\"}\n"},
        {"//", 404, "{\"error\": \"there is nothing at this address\"}\n"},
        {"acme", 404, "{\"error\": \"there is nothing at this address\"}\n"},
        {"/silent", 500, "{\"error\": \"an internal fault: this request was not handled\"}\n"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct fake_variable variables[] = {{"PATH_INFO", cases[i].path}, {0}};
        struct fake_request fake;
        fake_init(&fake, variables, "", 0);
        routes_serve(routes, sizeof routes / sizeof *routes, &fake.request);
        CU_ASSERT_EQUAL(fake_status(&fake), cases[i].status);
        CU_ASSERT_STRING_EQUAL(fake_body(&fake), cases[i].body);
        CU_ASSERT_EQUAL(fake.finished, 1);
        fake_end(&fake);
    }
}

static void an_endless_path_is_not_found(void)
{
    static const struct route routes[] = {{"", answer_nothing, NULL, false}, {"/*", answer_nothing, NULL, false}};
    char path[2 * PATH_SIZE];
    memset(path, 'x', sizeof path - 1);
    path[0] = '/';
    path[sizeof path - 1] = '\0';
    const struct fake_variable variables[] = {{"PATH_INFO", path}, {0}};
    struct fake_request fake;
    fake_init(&fake, variables, "", 0);
    routes_serve(routes, 2, &fake.request);
    CU_ASSERT_EQUAL(fake_status(&fake), 404);
    fake_end(&fake);
}

/* ---- the body -----------------------------------------------------------------------------------------------------
 */

static void reads_bodies_in_pieces(void)
{
    static const struct fake_variable announced[] = {{"CONTENT_LENGTH", "11"}, {0}}, not_announced[] = {{0}};
    const struct fake_variable *const cases[] = {announced, not_announced};
    for (size_t i = 0; i < 2; i++) {
        struct fake_request fake;
        struct error why = {0};
        const char *body;
        size_t length;
        fake_init(&fake, cases[i], "hello world", 11);
        fake.limits.max_body = 11;
        fake.piece = 3;
        CU_ASSERT_EQUAL_FATAL(request_body(&fake.request, &body, &length, &why), BODY_OK);
        CU_ASSERT_EQUAL(length, 11);
        CU_ASSERT_NSTRING_EQUAL(body, "hello world", 11);
        fake_end(&fake);
        CU_ASSERT_EQUAL(atomic_load(&fake.budget.taken), 0);
    }
}

/* Without an announced length only the stream's good end tells that nothing is missing. */
static void a_broken_stream_is_no_body(void)
{
    static const struct fake_variable variables[] = {{0}};
    struct fake_request fake;
    struct error why = {0};
    const char *body;
    size_t length;
    fake_init(&fake, variables, "hello", 5);
    fake.broken = true;
    CU_ASSERT_EQUAL(request_body(&fake.request, &body, &length, &why), BODY_SHORT);
    CU_ASSERT_STRING_EQUAL(why.text, "the body ended after 5 bytes, before its end");
    CU_ASSERT_PTR_NULL(body);
    fake_end(&fake);
}

static void announced_bodies_take_their_room_at_once(void)
{
    static const struct fake_variable variables[] = {{"CONTENT_LENGTH", "600"}, {0}};
    char text[600];
    struct fake_request fake;
    struct error why = {0};
    const char *body;
    size_t length;
    memset(text, 'x', sizeof text);
    fake_init(&fake, variables, text, sizeof text);
    fake.budget.limit = 1000;
    atomic_store(&fake.budget.taken, 401);
    CU_ASSERT_EQUAL(request_body(&fake.request, &body, &length, &why), BODY_NO_ROOM);
    CU_ASSERT_EQUAL(fake.at, 0);
    CU_ASSERT_EQUAL(atomic_load(&fake.budget.taken), 401);
    atomic_store(&fake.budget.taken, 400);
    CU_ASSERT_EQUAL(request_body(&fake.request, &body, &length, &why), BODY_OK);
    CU_ASSERT_EQUAL(atomic_load(&fake.budget.taken), 1000);
    fake_end(&fake);
    CU_ASSERT_EQUAL(atomic_load(&fake.budget.taken), 400);
}

/* ---- the answer ---------------------------------------------------------------------------------------------------
 */

static void escapes_errors(void)
{
    static const struct fake_variable variables[] = {{0}};
    struct fake_request fake;
    fake_init(&fake, variables, "", 0);
    CU_ASSERT_TRUE(request_refuse(&fake.request, 413, "X: y\r\n", "a \"b\" \\ c\n\x01 \xc3\xa9 \xff <"));
    CU_ASSERT_STRING_EQUAL(fake.text, "Status: 413 Payload Too Large\r\nContent-Type: application/json\r\n"
                                      "Content-Length: 51\r\nCache-Control: no-store\r\n"
                                      "X-Content-Type-Options: nosniff\r\nX: y\r\n\r\n"
                                      "{\"error\": \"a \\\"b\\\" \\\\ c\\n\\u0001 \xc3\xa9 \\ufffd \\u003c\"}\n");
    CU_ASSERT_EQUAL(strlen(fake_body(&fake)), 51);
    fake_end(&fake);
}

static void answers_head_without_a_body(void)
{
    static const struct fake_variable variables[] = {{"REQUEST_METHOD", "HEAD"}, {0}};
    struct fake_request fake;
    fake_init(&fake, variables, "", 0);
    CU_ASSERT_TRUE(request_answer(&fake.request, 200, NULL, "hello"));
    CU_ASSERT_PTR_NOT_NULL(strstr(fake.text, "Content-Length: 5\r\n"));
    CU_ASSERT_STRING_EQUAL(fake_body(&fake), "");
    fake_end(&fake);
}

static void answers_once(void)
{
    static const struct fake_variable variables[] = {{0}};
    struct fake_request fake;
    fake_init(&fake, variables, "", 0);
    fake.gone = true;
    CU_ASSERT_FALSE(request_answer(&fake.request, 200, NULL, "hello"));
    // cppcheck-suppress redundantAssignment
    fake.gone = false;
    CU_ASSERT_FALSE(request_answer(&fake.request, 200, NULL, "hello"));
    CU_ASSERT_EQUAL(fake.finished, 1);
    CU_ASSERT_EQUAL(fake.written, 0);
    fake_end(&fake);
}

void suite_http_request(void)
{
    static CU_TestInfo tests[] = {
        {"empty variables count as absent", empty_variables_count_as_absent},
        {"query parameters", finds_query_parameters},
        {"the user name of Basic authentication", finds_the_basic_user},
        {"routes", finds_the_route},
        {"an endless path is not found", an_endless_path_is_not_found},
        {"a body in pieces", reads_bodies_in_pieces},
        {"a broken stream is no body", a_broken_stream_is_no_body},
        {"an announced body takes its room at once", announced_bodies_take_their_room_at_once},
        {"errors are escaped", escapes_errors},
        {"HEAD is answered without a body", answers_head_without_a_body},
        {"there is one answer", answers_once},
        CU_TEST_INFO_NULL,
    };
    suite_add("http request", NULL, NULL, tests);
}
