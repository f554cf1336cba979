/* libcurl cannot be loaded: it is missing, or is another one than the program needs. What Close delivers is kept all
 * the same, it is said which package helps, and when it is there, it is used. */
#include "tests/suites.h"

#include <CUnit/CUnit.h>
#include <dlfcn.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#include "tests/support/check.h"
#include "tests/support/durable.h"
#include "tests/support/running.h"
#include "tests/support/site.h"

#define SOON_MS 60000
#define PACKAGE "it comes with the package libcurl4 (Debian, Ubuntu) or libcurl"

static const struct setup setup_cgi = {
    .name = "lighttpd, CGI", .server = "lighttpd", .sample = "cgi.conf", .mount = "/closecrm"};

/* The loader looks into the site's folder lib first, and finds this there. */
static void break_libcurl(const struct site *site)
{
    CU_ASSERT(temporary_directory(site->directory, "lib"));
    CU_ASSERT(temporary_write(site->directory, "lib/libcurl.so.4", 0644, "no library\n", 11));
}

/* Some library stands in its place: it can be loaded, and has none of its functions. */
static void confuse_libcurl(const struct site *site)
{
    Dl_info zlib;
    char path[PATH_SIZE];
    const char *(*version)(void) = zlibVersion;
    void *address;
    memcpy(&address, &version, sizeof address);
    CU_ASSERT(temporary_directory(site->directory, "lib"));
    path_join(path, site->directory, "lib/libcurl.so.4");
    CU_ASSERT(dladdr(address, &zlib) != 0 && symlink(zlib.dli_fname, path) == 0);
}

static void mend_libcurl(const struct site *site)
{
    char path[PATH_SIZE];
    path_join(path, site->directory, "lib/libcurl.so.4");
    CU_ASSERT_EQUAL(unlink(path), 0);
}

/* What a shell's line says, in which $0 is the program. more: NAME=value for its environment. */
static struct output run(const struct site *site, const char *line, const char *const *more)
{
    char program[PATH_SIZE], config[PATH_SIZE + 32], library[PATH_SIZE + 32], log[PATH_SIZE];
    struct process process = {0};
    const char *environment[12] = {config, library};
    site_program(site, program);
    snprintf(config, sizeof config, "CLOSECRM_CONFIG=%s/closecrm.conf", site->directory);
    snprintf(library, sizeof library, "LD_LIBRARY_PATH=%s/lib", site->directory);
    path_join(log, site->directory, "run.log");
    for (size_t i = 0; more != NULL && more[i] != NULL && i < 9; i++)
        environment[2 + i] = more[i];
    const char *arguments[] = {"/bin/sh", "-c", line, program, NULL};
    remove(log);
    CU_ASSERT(process_start(&process, &(struct process_options){arguments, environment, site->directory, log}));
    return command_finish(&process, site, "run.log");
}

/* One CGI request, as a web server makes it, with an event of the source that has no signature key. */
static struct output request(const struct site *site)
{
    static const char *const cgi[] = {
        "GATEWAY_INTERFACE=CGI/1.1",     "SERVER_PROTOCOL=HTTP/1.1", "REQUEST_METHOD=POST",
        "REMOTE_ADDR=127.0.0.1",         "PATH_INFO=/open",          "QUERY_STRING=writeKey=" OPEN_WRITE_KEY,
        "CONTENT_TYPE=application/json", "CONTENT_LENGTH=62",        NULL};
    return run(site, "printf '{\"event\":{\"id\":\"ev_1\",\"object_type\":\"lead\",\"action\":\"new\"}}   ' | \"$0\"",
               cgi);
}

static void check_said(const char *what, const struct output *output, const char *words)
{
    check(strstr(output->text, words) != NULL, "%s says \"%s\": %s", what, words, output->text);
}

static void a_process_that_stays_keeps_and_waits_for_it(void)
{
    struct site site;
    char library[PATH_SIZE + 32];
    const char *const wrapper[] = {"/usr/bin/env", library, NULL};
    if (durable_open(&site, &setup_lighttpd_spawn, NULL)) {
        break_libcurl(&site);
        snprintf(library, sizeof library, "LD_LIBRARY_PATH=%s/lib", site.directory);
        CU_ASSERT(durable_start_anew(&site, wrapper));
        CU_ASSERT_EQUAL(site_send(&site, "ev_1").status, 200);
        CU_ASSERT(site_wait_logged(&site, "msg=cannot_load_libcurl advice=\"" PACKAGE, 1, SOON_MS));
        CU_ASSERT(site_wait_logged(&site, "msg=cannot_forward ", 1, SOON_MS));
        CU_ASSERT_EQUAL(site_send(&site, "ev_2").status, 200);
        CU_ASSERT_EQUAL(standin_counts(site.standin).messages, 0);
        mend_libcurl(&site);
        CU_ASSERT(standin_wait_messages(site.standin, 2, SOON_MS));
        CU_ASSERT_EQUAL(standin_counts(site.standin).messages, 2);
    }
    CU_ASSERT_EQUAL(site_close(&site), 0);
}

static void a_cgi_request_is_kept_and_its_child_says_so(void)
{
    struct site site;
    if (durable_open(&site, &setup_cgi, NULL)) {
        break_libcurl(&site);
        struct output output = request(&site);
        check_said("the answer", &output, "200");
        CU_ASSERT(programs_wait_gone(&site, SOON_MS));
        char *errors = temporary_read(site.directory, "state/last-errors.txt");
        check(errors != NULL && strstr(errors, PACKAGE) != NULL, "the child: %s", errors == NULL ? "" : errors);
        free(errors);
        CU_ASSERT_EQUAL(standin_counts(site.standin).messages, 0);

        output = run(&site, "\"$0\" cron", NULL);
        CU_ASSERT_EQUAL(output.code, 1);
        check_said("cron", &output, PACKAGE);
        mend_libcurl(&site);
        output = run(&site, "\"$0\" cron", NULL);
        CU_ASSERT_EQUAL(output.code, 0);
        CU_ASSERT_EQUAL(standin_counts(site.standin).messages, 1);
        CU_ASSERT_PTR_NOT_NULL(standin_find(site.standin, "ev_1"));
    }
    CU_ASSERT_EQUAL(site_close(&site), 0);
}

static void commands_say_so(void)
{
    struct site site;
    if (durable_open(&site, &setup_cgi, NULL)) {
        confuse_libcurl(&site);
        struct output output = run(&site, "\"$0\" check --offline", NULL);
        CU_ASSERT_EQUAL(output.code, 1);
        check_said("check", &output, "WRONG: libcurl cannot be loaded (");
        check_said("check", &output, "undefined symbol: curl_");
        check_said("check", &output, PACKAGE);
        output = run(&site, "\"$0\" version", NULL);
        CU_ASSERT_EQUAL(output.code, 0);
        check_said("version", &output, "closecrm.fcgi ");
        output = run(&site, "\"$0\" send-test http://127.0.0.1:1/", NULL);
        CU_ASSERT_NOT_EQUAL(output.code, 0);
        check_said("send-test", &output, PACKAGE);
        mend_libcurl(&site);
        output = run(&site, "\"$0\" check --offline", NULL);
        CU_ASSERT_EQUAL(output.code, 0);
    }
    CU_ASSERT_EQUAL(site_close(&site), 0);
}

/* Which of these libraries a command loads, as the loader says. */
#define LOADED                                                                                                         \
    "LD_DEBUG=files \"$0\" queue status 2>&1 | grep -o 'calling init:.*lib\\(sqlite3\\|pq\\)' | sed 's|.*/||'"

/* libpq belongs to queue = postgresql alone. */
static void a_queue_of_sqlite_loads_no_libpq(void)
{
    static const char *const other[] = {"CLOSECRM_QUEUE=postgresql",
                                        "CLOSECRM_QUEUE_URL=postgresql://user@/database?host=/nowhere", NULL};
    struct site site;
    if (durable_open(&site, &setup_cgi, NULL)) {
        struct output output = request(&site); /* it makes the state directory */
        check_said("the answer", &output, "200");
        CU_ASSERT(programs_wait_gone(&site, SOON_MS));
        output = run(&site, LOADED, NULL);
        check(strcmp(output.text, "libsqlite3\n") == 0, "with sqlite it loads: %s", output.text);
        output = run(&site, LOADED, other);
        check(strstr(output.text, "libsqlite3\n") != NULL, "with postgresql it loads: %s", output.text);
#ifdef CLOSECRM_POSTGRESQL
        check(strstr(output.text, "libpq\n") != NULL, "with postgresql it loads: %s", output.text);
#endif
    }
    CU_ASSERT_EQUAL(site_close(&site), 0);
}

void suite_no_libcurl(void)
{
    static CU_TestInfo tests[] = {
        {"a process that stays keeps events, and waits for it", a_process_that_stays_keeps_and_waits_for_it},
        {"a CGI request is kept, and its child says so", a_cgi_request_is_kept_and_its_child_says_so},
        {"commands say so", commands_say_so},
        {"a queue of sqlite loads no libpq", a_queue_of_sqlite_loads_no_libpq},
        CU_TEST_INFO_NULL,
    };
    suite_add("no libcurl", NULL, NULL, tests);
}
