/* Each sample of apache/, lighttpd/ and nginx/, as it stands, passes the same requests. */
#include "tests/suites.h"

#include <stdio.h>
#include <string.h>

#include "tests/support/check.h"
#include "tests/support/event.h"
#include "tests/support/signature.h"
#include "tests/support/site.h"

#define MB ((size_t)1000000)
#define BROKEN_JSON "{\"event\":{\"id\":\"ev_broken\""

enum signing { SIGNED_ALPHA, SIGNED_BETA, SIGNED_OTHER_BODY, SIGNED_OTHER_KEY, UNSIGNED };

/* A request and what must come of it. */
struct row {
    const char *name;
    const char *path; /* after the program's own */
    enum signing signing;
    int status;
    const char *stored_for; /* the write key it must arrive under; NULL: it must not arrive */
    size_t filler;          /* bytes by which the event is larger */
    const char *body;       /* instead of an event */
    const char *method;     /* NULL: POST */
    const char *user;       /* of HTTP Basic */
    bool chunked;           /* without a Content-Length */
};

static const struct row rows[] = {
    {.name = "signed", .status = 200, .stored_for = ALPHA_WRITE_KEY},
    {.name = "signed, a slash at the end", .path = "/", .status = 200, .stored_for = ALPHA_WRITE_KEY},
    {.name = "signed, source by path", .path = "/alpha", .status = 200, .stored_for = ALPHA_WRITE_KEY},
    {.name = "3 MB", .status = 200, .stored_for = ALPHA_WRITE_KEY, .filler = 3 * MB},
    {.name = "chunked", .status = 200, .stored_for = ALPHA_WRITE_KEY, .filler = 30000, .chunked = true},
    {.name = "3 MB chunked", .status = 200, .stored_for = ALPHA_WRITE_KEY, .filler = 3 * MB, .chunked = true},
    {.name = "second source", .path = "/beta", .signing = SIGNED_BETA, .status = 200, .stored_for = BETA_WRITE_KEY},
    {.name = "second source by its key", .signing = SIGNED_BETA, .status = 200, .stored_for = BETA_WRITE_KEY},
    {.name = "signature of another body", .signing = SIGNED_OTHER_BODY, .status = 401},
    {.name = "signature with an unknown key", .signing = SIGNED_OTHER_KEY, .status = 401},
    {.name = "signature of another source", .path = "/alpha", .signing = SIGNED_BETA, .status = 401},
    {.name = "no signature", .signing = UNSIGNED, .status = 401},
    {.name = "3 MB, no signature", .signing = UNSIGNED, .status = 401, .filler = 3 * MB},
    {.name = "write key instead of a signature",
     .path = "/alpha?writeKey=" ALPHA_WRITE_KEY,
     .signing = UNSIGNED,
     .status = 401},
    {.name = "GET", .signing = UNSIGNED, .method = "GET", .status = 405},
    {.name = "20 MB", .status = 413, .filler = 20 * MB},
    {.name = "broken JSON", .status = 400, .body = BROKEN_JSON},
    {.name = "empty body", .status = 400, .body = ""},
    {.name = "unknown source", .path = "/nobody", .status = 404},
    {.name = "write key in the query",
     .path = "/open?writeKey=" OPEN_WRITE_KEY,
     .signing = UNSIGNED,
     .status = 200,
     .stored_for = OPEN_WRITE_KEY},
    {.name = "source by the write key",
     .path = "?writeKey=" OPEN_WRITE_KEY,
     .signing = UNSIGNED,
     .status = 200,
     .stored_for = OPEN_WRITE_KEY},
    {.name = "wrong write key", .path = "/open?writeKey=wrong", .signing = UNSIGNED, .status = 401},
    {.name = "write key by HTTP Basic",
     .path = "/open",
     .signing = UNSIGNED,
     .user = OPEN_WRITE_KEY,
     .status = 200,
     .stored_for = OPEN_WRITE_KEY},
    {.name = "wrong write key by HTTP Basic", .path = "/open", .signing = UNSIGNED, .user = "wrong", .status = 401},
};

/* What a row comes to in a set-up. */
static bool is_hidden(const struct setup *setup, const struct row *row)
{
    return setup->hides_basic && row->user != NULL;
}

/* Sets the two headers of the signature. */
static void sign(struct client_request *request, struct signature *signature, enum signing signing)
{
    static const char *const keys[] = {
        [SIGNED_ALPHA] = ALPHA_SIGNATURE_KEY,
        [SIGNED_BETA] = BETA_SIGNATURE_KEY,
        [SIGNED_OTHER_BODY] = ALPHA_SIGNATURE_KEY,
        [SIGNED_OTHER_KEY] = "0000000000000000000000000000000000000000000000000000000000000000",
    };
    if (signing == UNSIGNED)
        return;
    struct slice body = signing == SIGNED_OTHER_BODY ? slice_of("{}") : request->body;
    *signature = signature_make(keys[signing], body, 0);
    request->headers[0] = signature->hash;
    request->headers[1] = signature->timestamp;
}

/* The event arrived once, under that write key, its properties byte for byte. */
static void check_arrived(struct site *site, const char *id, const struct row *row, struct slice properties)
{
    const char *name = site->setup->name;
    const struct standin_message *message = standin_find(site->standin, id);
    if (!check(message != NULL, "%s: %s: arrives", name, row->name))
        return;
    check(message->times == 1, "%s: %s: arrives once, not %zu times", name, row->name, message->times);
    check(strcmp(message->write_key, row->stored_for) == 0, "%s: %s: for the right source", name, row->name);
    check(slice_equal(slice_member(message->json, "properties"), properties), "%s: %s: properties unaltered", name,
          row->name);
}

static void pass_row(struct site *site, const struct row *row, const char *id, struct event_text *event)
{
    char url[256];
    struct client_answer answer;
    struct signature signature;
    bool hidden = is_hidden(site->setup, row);
    int status = hidden ? 401 : row->status;
    snprintf(url, sizeof url, "%s%s", site->url, row->path == NULL ? "" : row->path);
    event_make(event, &(struct event_options){.id = id, .lead = "lead_1", .filler = row->filler});
    struct client_request request = {
        .method = row->method,
        .url = url,
        .body = row->body == NULL ? event_body(event) : slice_of(row->body),
        .chunked = row->chunked,
        .user = row->user,
    };
    if (row->method != NULL)
        request.body = (struct slice){NULL, 0};
    sign(&request, &signature, row->signing);

    client_send(site->client, &request, &answer);
    check(answer.status == status, "%s: %s: %d expected, %d came: %.80s", site->setup->name, row->name, status,
          answer.status, answer.body);
    /* of 413 a server sends what it can while the body still comes, and cuts */
    check(answer.complete || status == 413, "%s: %s: the answer comes to its end", site->setup->name, row->name);
    if (status == 405)
        CU_ASSERT_STRING_EQUAL(answer.allow, "POST");
    if (row->stored_for != NULL && !hidden)
        check_arrived(site, id, row, event_properties(event));
    else
        check(standin_find(site->standin, id) == NULL, "%s: %s: does not arrive", site->setup->name, row->name);
}

/* A well signed request that ends in the middle of its body. */
static void pass_half_a_body(struct site *site, struct event_text *event)
{
    char head[1024];
    event_make(event, &(struct event_options){.id = "ev_half", .filler = 2000});
    struct signature signature = signature_make(ALPHA_SIGNATURE_KEY, event_body(event), 0);
    int length =
        snprintf(head, sizeof head, "POST %s HTTP/1.1\r\nHost: localhost\r\n%s\r\n%s\r\nContent-Length: %zu\r\n\r\n",
                 site->setup->mount, signature.hash, signature.timestamp, event->body.length);
    struct buffer bytes = {.data = NULL};
    buffer_append(&bytes, head, (size_t)length);
    buffer_append(&bytes, event->body.data, event->body.length / 2);
    int status = raw_exchange(site->port, (struct slice){bytes.data, bytes.length}, 10000);
    buffer_free(&bytes);
    /* 500 is mod_fcgid's word for it; none is lighttpd's */
    check(status == 400 || status == 500 || status == 0, "%s: half a body: refused, not %d", site->setup->name, status);
    check(standin_find(site->standin, "ev_half") == NULL, "%s: half a body: does not arrive", site->setup->name);
}

static void pass_all(const struct setup *setup)
{
    struct site site;
    struct event_text event = {.body = {.data = NULL}};
    size_t arrived = 0;
    if (site_open(&site, setup, "queue = none")) {
        for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
            char id[32];
            snprintf(id, sizeof id, "ev_%zu", i);
            pass_row(&site, &rows[i], id, &event);
            arrived += rows[i].stored_for != NULL && !is_hidden(setup, &rows[i]);
        }
        pass_half_a_body(&site, &event);
        CU_ASSERT_EQUAL(standin_counts(site.standin).messages, arrived);
    }
    event_free(&event);
    CU_ASSERT_EQUAL(site_close(&site), 0);
}

enum { LIGHTTPD_FASTCGI, LIGHTTPD_CGI, NGINX, APACHE_CGI, APACHE_CGID, SHARED, SHARED_HTACCESS };

static const struct setup setups[] = {
    [LIGHTTPD_FASTCGI] = {.name = "lighttpd, fastcgi",
                          .server = "lighttpd",
                          .sample = "fastcgi.conf",
                          .mount = "/closecrm"},
    [LIGHTTPD_CGI] = {.name = "lighttpd, CGI", .server = "lighttpd", .sample = "cgi.conf", .mount = "/closecrm"},
    [NGINX] = {.name = "nginx and spawn-fcgi",
               .server = "nginx",
               .sample = "spawn-fcgi.conf",
               .mount = "/closecrm",
               .spawned = true},
    [APACHE_CGI] =
        {.name = "Apache, mod_cgi", .server = "apache2", .sample = "cgi.conf", .mount = "/closecrm", .prefork = true},
    [APACHE_CGID] = {.name = "Apache, mod_cgid", .server = "apache2", .sample = "cgi.conf", .mount = "/closecrm"},
    [SHARED] = {.name = "shared hosting",
                .server = "apache2",
                .sample = "shared-hosting/host.conf",
                .mount = "/cgi-bin/closecrm.cgi",
                .prefork = true,
                .hides_basic = true},
    [SHARED_HTACCESS] = {.name = "shared hosting, .htaccess",
                         .server = "apache2",
                         .sample = "shared-hosting/host.conf",
                         .mount = "/cgi-bin/closecrm.cgi",
                         .prefork = true,
                         .htaccess = true},
};

static void lighttpd_spawn(void)
{
    pass_all(&setup_lighttpd_spawn);
}

static void lighttpd_fastcgi(void)
{
    pass_all(&setups[LIGHTTPD_FASTCGI]);
}

static void lighttpd_cgi(void)
{
    pass_all(&setups[LIGHTTPD_CGI]);
}

static void nginx_spawn(void)
{
    pass_all(&setups[NGINX]);
}

static void apache_proxy(void)
{
    pass_all(&setup_apache_proxy);
}

static void apache_fcgid(void)
{
    pass_all(&setup_apache_fcgid);
}

static void apache_cgi(void)
{
    pass_all(&setups[APACHE_CGI]);
}

static void apache_cgid(void)
{
    pass_all(&setups[APACHE_CGID]);
}

static void shared_hosting(void)
{
    pass_all(&setups[SHARED]);
}

static void shared_hosting_htaccess(void)
{
    pass_all(&setups[SHARED_HTACCESS]);
}

void suite_servers(void)
{
    static CU_TestInfo tests[] = {
        {"lighttpd, program behind spawn-fcgi", lighttpd_spawn},
        {"lighttpd starts the program", lighttpd_fastcgi},
        {"lighttpd, CGI", lighttpd_cgi},
        {"nginx, program behind spawn-fcgi", nginx_spawn},
        {"Apache, mod_proxy_fcgi and spawn-fcgi", apache_proxy},
        {"Apache, mod_fcgid", apache_fcgid},
        {"Apache, mod_cgi", apache_cgi},
        {"Apache, mod_cgid", apache_cgid},
        {"shared hosting, cgi-bin", shared_hosting},
        {"shared hosting, cgi-bin with .htaccess", shared_hosting_htaccess},
        CU_TEST_INFO_NULL,
    };
    suite_add("servers", NULL, NULL, tests);
}
