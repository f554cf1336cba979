/* check, about the place: web servers' limits, permissions of an upload, cron, the clock, the certificates. */
#include "tests/suites.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "commands/commands_private.h"
#include "config/config.h"
#include "telemetry/telemetry.h"
#include "tests/support/commands_run.h"
#include "tests/support/config_text.h"
#include "tests/support/standin.h"
#include "tests/support/temporary.h"

#define KEYS "write_key = key\nsignature_key = 00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\n"
#define CONFIGURATION "data_plane_url = https://data-plane.example\n" KEYS

/* ---- web servers ---- */

/* A file of a web server's configuration, and how many limits in it are too small for 16M. */
struct row {
    const char *folder; /* of several parts, in the order in which they are made */
    const char *name;
    const char *text;
    size_t found;
};

static const struct row rows[] = {
    {"etc/nginx/sites-enabled", "site", "server {\n  client_max_body_size 1m;\n}\n", 1},
    {"etc/nginx/sites-enabled", "site", "server {\n  client_max_body_size 17m;\n}\n", 0},
    {"etc/nginx/sites-enabled", "site", "server {\n  client_max_body_size 0; # none\n}\n", 0},
    {"etc/nginx/sites-enabled", "site", "# client_max_body_size 1m;\n", 0},
    {"etc/nginx/conf.d", "a.conf", "client_max_body_size 100K;\n", 1},
    {"etc/apache2/sites-enabled", "site.conf", "FcgidMaxRequestLen 131072\n", 1},
    {"etc/apache2/sites-enabled", "site.conf", "  fcgidmaxrequestlen 33554432\n", 0},
    {"etc/apache2/sites-enabled", "site.conf", "LimitRequestBody 1000000\nLimitRequestBody 0\n", 1},
    {"etc/apache2", "closecrm.conf", "LimitRequestBody 1000000\n", 1},
    {"etc/nginx/snippets", "closecrm.conf", "client_max_body_size 1m;\n", 1},
    {"etc/httpd/conf.d", "fcgid.conf", "FcgidMaxRequestLen 131072\n", 1},
    {"etc/modsecurity", "modsecurity.conf", "SecRequestBodyNoFilesLimit 131072\n", 1},
    {"etc/lighttpd", "lighttpd.conf", "server.max-request-size = 1024\n", 1},
    {"etc/lighttpd", "lighttpd.conf", "server.max-request-size=17408\n", 0},
    {"etc/apache2/mods-enabled", "fcgid.load", "LoadModule fcgid_module mod_fcgid.so\n", 1},
    {"home", ".htaccess", "LimitRequestBody 524288\n", 1},
    {"home", ".htaccess", "LimitRequestBodyX 1\nLimitRequestBody\n", 0},
};

static void make_folders(const char *root, const char *folder)
{
    char path[PATH_SIZE];
    for (const char *end = strchr(folder, '/'); end != NULL; end = strchr(end + 1, '/')) {
        snprintf(path, sizeof path, "%.*s", (int)(end - folder), folder);
        temporary_directory(root, path);
    }
    CU_ASSERT(temporary_directory(root, folder));
}

/* What check_servers finds, quietly. */
static size_t find(const struct config *config, const char *root, const char *program)
{
    size_t found;
    FILE *before = stdout;
    FILE *nowhere = fopen("/dev/null", "we");
    CU_ASSERT_PTR_NOT_NULL_FATAL(nowhere);
    stdout = nowhere;
    found = check_servers(config, root, program);
    stdout = before;
    fclose(nowhere);
    return found;
}

static void small_limits_of_web_servers_are_found(void)
{
    const struct config config = {.max_body = 16 << 20};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char root[PATH_SIZE], program[PATH_SIZE], name[PATH_SIZE];
        CU_ASSERT_FATAL(temporary_make(root));
        make_folders(root, rows[i].folder);
        path_join(name, rows[i].folder, rows[i].name);
        CU_ASSERT(temporary_write(root, name, 0644, rows[i].text, strlen(rows[i].text)));
        path_join(program, root, "home/closecrm.fcgi");
        size_t found = find(&config, root, program);
        if (found != rows[i].found)
            printf("%s/%s: %zu found\n", rows[i].folder, rows[i].name, found);
        CU_ASSERT_EQUAL(found, rows[i].found);
        temporary_remove(root);
    }
}

/* ---- an upload on a shared host: the bundle's launcher stands for the program ---- */

static struct ran ran;

/* Runs check with a launcher of that name and mode in public_html/cgi-bin of a new home, whose mode is given, too. */
static void check_upload(char home[PATH_SIZE], const char *name, mode_t file, mode_t folder, bool cron)
{
    char path[PATH_SIZE];
    CU_ASSERT_FATAL(temporary_make(home));
    make_folders(home, "public_html/cgi-bin");
    path_join(path, "public_html/cgi-bin", name);
    CU_ASSERT(temporary_write(home, path, 0600, "", 0));
    char launcher[PATH_SIZE], bin[PATH_SIZE], state[PATH_SIZE + 256];
    path_join(launcher, home, path);
    path_join(bin, home, "public_html/cgi-bin");
    CU_ASSERT_EQUAL(chmod(launcher, file), 0);
    CU_ASSERT_EQUAL(chmod(bin, folder), 0);
    path_join(path, home, "state");
    CU_ASSERT_EQUAL(mkdir(path, 0700), 0); /* of this user: as root check would take on another owner, for good */
    if (cron)
        CU_ASSERT(cron_mark_write(path, 0, ""));
    snprintf(state, sizeof state, "%sstate_dir = %s\n", "data_plane_url = http://127.0.0.1:1\n" KEYS, path);
    configuration_use(state);
    setenv("CLOSECRM_LAUNCHER", launcher, 1);
    RUN(&ran, NULL, "check");
    unsetenv("CLOSECRM_LAUNCHER");
    configuration_forget();
    temporary_remove(home);
}

static void a_good_upload_is_fine(void)
{
    char home[PATH_SIZE];
    check_upload(home, "closecrm.cgi", 0755, 0755, true);
    CU_ASSERT_PTR_NOT_NULL(strstr(ran.out, "  last cron: 20"));
    CU_ASSERT_PTR_NULL(strstr(ran.out, "The place where the program runs needs attention"));
}

static void limit_files(rlim_t most)
{
    struct rlimit limit;
    CU_ASSERT_EQUAL(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = most;
    CU_ASSERT_EQUAL(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

/* With which a CGI request and its child get by, and FastCGI's threads do not. */
static void a_limit_is_judged_by_how_it_runs(void)
{
    char home[PATH_SIZE];
    struct rlimit before;
    CU_ASSERT_EQUAL(getrlimit(RLIMIT_NOFILE, &before), 0);
    limit_files(40);
    check_upload(home, "closecrm.cgi", 0755, 0755, true);
    CU_ASSERT_PTR_NULL(strstr(ran.out, "ulimit"));
    check_upload(home, "closecrm", 0755, 0755, true);
    CU_ASSERT_PTR_NOT_NULL(strstr(ran.out, "WRONG: the limit of open files (ulimit -n) is 40"));
    limit_files(before.rlim_cur);
}

static void permissions_that_suexec_refuses_are_told(void)
{
    char home[PATH_SIZE];
    static const struct {
        mode_t file, folder;
    } modes[] = {{0644, 0755}, {0775, 0755}, {0755, 0775}, {0777, 0755}, {0755, 0777}};
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
        check_upload(home, "closecrm.cgi", modes[i].file, modes[i].folder, true);
        CU_ASSERT_EQUAL(ran.code, 1);
        CU_ASSERT_PTR_NOT_NULL(strstr(ran.out, "chmod 755 '"));
        CU_ASSERT_PTR_NOT_NULL(strstr(ran.out, "The place where the program runs needs attention"));
    }
}

static void a_name_that_mod_fcgid_takes_is_told(void)
{
    char home[PATH_SIZE];
    check_upload(home, "closecrm.fcgi", 0755, 0755, true);
    CU_ASSERT_EQUAL(ran.code, 1);
    CU_ASSERT_PTR_NOT_NULL(strstr(ran.out, "rename it to closecrm.cgi"));
}

static void a_missing_cron_line_is_told(void)
{
    char home[PATH_SIZE], line[2 * PATH_SIZE];
    check_upload(home, "closecrm.cgi", 0755, 0755, false);
    CU_ASSERT_EQUAL(ran.code, 1);
    /* with the configuration that was used, which a crontab knows nothing of */
    CU_ASSERT_PTR_NOT_NULL(strstr(ran.out, "WRONG: cron has never been here"));
    snprintf(line, sizeof line, "* * * * * %s/public_html/cgi-bin/closecrm.cgi --config /", home);
    const char *found = strstr(ran.out, line);
    CU_ASSERT_PTR_NOT_NULL_FATAL(found);
    const char *end = strchr(found, '\n');
    CU_ASSERT_EQUAL(strncmp(end - strlen(".conf cron"), ".conf cron", strlen(".conf cron")), 0);
}

/* ---- the data plane's certificates and clock ---- */

static void the_certificates_are_named(void)
{
    struct folder folder;
    char text[PATH_MAX + 512], line[PATH_MAX + 64];
    folder_make(&folder);
    snprintf(text, sizeof text, CONFIGURATION "queue = none\nca_file = %s/certificates.pem\n", folder.path);
    configuration_use(text);
    RUN(&ran, NULL, "check");
    configuration_forget();
    snprintf(line, sizeof line, "  certificates: %s/certificates.pem (ca_file)\n", folder.path);
    CU_ASSERT_PTR_NOT_NULL(strstr(ran.out, line));
    folder_remove(&folder);
}

static void the_clock_is_compared(void)
{
    char text[512];
    struct standin *standin = standin_start(&(struct standin_options){.write_keys = {"key"}});
    CU_ASSERT_PTR_NOT_NULL_FATAL(standin);
    snprintf(text, sizeof text, "data_plane_url = http://127.0.0.1:%u\nqueue = none\n" KEYS, standin_port(standin));
    configuration_use(text);
    RUN(&ran, NULL, "check");
    configuration_forget();
    standin_stop(standin);
    CU_ASSERT_EQUAL(ran.code, 0);
    CU_ASSERT_PTR_NOT_NULL(strstr(ran.out, "  clock: agrees with the data plane's\n"));
}

static void offline_looks_at_no_place(void)
{
    configuration_use(CONFIGURATION "queue = none\n");
    RUN(&ran, NULL, "check", "--offline");
    configuration_forget();
    CU_ASSERT_EQUAL(ran.code, 0);
    CU_ASSERT_PTR_NULL(strstr(ran.out, "\nplace\n"));
}

void suite_commands_place(void)
{
    static CU_TestInfo tests[] = {
        {"small limits of web servers are found", small_limits_of_web_servers_are_found},
        {"a good upload is fine", a_good_upload_is_fine},
        {"a limit is judged by how it runs", a_limit_is_judged_by_how_it_runs},
        {"permissions that suexec refuses are told", permissions_that_suexec_refuses_are_told},
        {"a name that mod_fcgid takes is told", a_name_that_mod_fcgid_takes_is_told},
        {"a missing cron line is told", a_missing_cron_line_is_told},
        {"the certificates are named", the_certificates_are_named},
        {"the clock is compared with the data plane's", the_clock_is_compared},
        {"an offline check looks at no place", offline_looks_at_no_place},
        CU_TEST_INFO_NULL,
    };
    suite_add("commands: place", NULL, NULL, tests);
}
