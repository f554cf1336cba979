/* `admin = server` behind each web server with its samples' lines for that: the log-in counts, nothing but the log-in
 * does, and no other spelling of an address leads around it. */
#include "tests/suites.h"

#include <stdio.h>
#include <string.h>

#include "tests/support/check.h"
#include "tests/support/site.h"

#define RIGHT "Authorization: Basic YWRtaW46Y29ycmVjdCBob3JzZQ==" /* admin:correct horse */
#define WRONG "Authorization: Basic YWRtaW46d3Jvbmc="             /* admin:wrong */

/* Ways to write the addresses, of which a location for one may not hold for another. */
static const char *const spellings[] = {
    "/status",  "/metrics",   "/status/",   "/metrics/", "/status//",    "/status/x", "/%73tatus", "/%73tatus/",
    "//status", "/status%2F", "/status%0A", "/./status", "/x/../status", "/status;x", "/Status",   "/metrics%00",
};

static int get(const struct site *site, const char *path, const char *authorization)
{
    char url[256];
    struct client_answer answer;
    snprintf(url, sizeof url, "%s%s", site->url, path);
    struct client_request request = {.method = "GET", .url = url, .headers = {authorization}};
    client_send(site->client, &request, &answer);
    return answer.status;
}

static void never_without_the_password(const struct site *site)
{
    for (size_t i = 0; i < sizeof spellings / sizeof *spellings; i++) {
        int wrong = get(site, spellings[i], WRONG), none = get(site, spellings[i], NULL);
        check(wrong >= 400 && wrong < 500, "%s: %s with a wrong password: %d", site->setup->name, spellings[i], wrong);
        check(none >= 400 && none < 500, "%s: %s without a password: %d", site->setup->name, spellings[i], none);
    }
}

static void log_in(const char *server, const char *sample, bool spawned)
{
    const struct setup setup = {.name = sample,
                                .server = server,
                                .sample = sample,
                                .mount = "/closecrm",
                                .spawned = spawned,
                                .admin_server = true};
    struct site site;
    if (site_open(&site, &setup, "admin = server")) {
        check(get(&site, "/status", RIGHT) == 200, "%s %s: the status page", server, sample);
        check(get(&site, "/metrics", RIGHT) == 200, "%s %s: the metrics", server, sample);
        check(get(&site, "/status/", RIGHT) == 404, "%s %s: nothing beside the page", server, sample);
        check(get(&site, "/healthz", NULL) == 200, "%s %s: /healthz is for all", server, sample);
        never_without_the_password(&site);
    }
    site_close(&site);
}

/* The sample without the log-in: then nobody is let in, whatever the request says. */
static void no_log_in(const char *server, const char *sample, bool spawned)
{
    const struct setup setup = {
        .name = sample, .server = server, .sample = sample, .mount = "/closecrm", .spawned = spawned};
    struct site site;
    if (site_open(&site, &setup, "admin = server")) {
        check(get(&site, "/status", RIGHT) == 403, "%s %s: nobody is let in", server, sample);
        never_without_the_password(&site);
    }
    site_close(&site);
}

static void nginx(void)
{
    log_in("nginx", "spawn-fcgi.conf", true);
    no_log_in("nginx", "spawn-fcgi.conf", true);
}

static void lighttpd(void)
{
    log_in("lighttpd", "spawn-fcgi.conf", true);
    log_in("lighttpd", "cgi.conf", false);
}

static void apache_proxy(void)
{
    log_in("apache2", "proxy-fcgi.conf", true);
}

static void apache_fcgid(void)
{
    log_in("apache2", "fcgid.conf", false);
}

void suite_admin_servers(void)
{
    static CU_TestInfo tests[] = {
        {"nginx", nginx},
        {"lighttpd", lighttpd},
        {"Apache, mod_proxy_fcgi", apache_proxy},
        {"Apache, mod_fcgid", apache_fcgid},
        CU_TEST_INFO_NULL,
    };
    suite_add("admin_servers", NULL, NULL, tests);
}
