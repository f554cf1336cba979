/* Starting and ending a site. */
#include "tests/support/site.h"

#include <CUnit/CUnit.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "tests/support/check.h"
#include "tests/support/commands_run.h"

#define START_MS 60000
#define STOP_MS 30000
#define WRAPPER_WORDS 16
#define CORRECT_HORSE "L55TUjtiq8FBorTWAZ0jy6g129A=" /* SHA-1 of "correct horse", in Base64 */

const struct setup setup_lighttpd_spawn = {
    .name = "lighttpd and spawn-fcgi",
    .server = "lighttpd",
    .sample = "spawn-fcgi.conf",
    .mount = "/closecrm",
    .spawned = true,
};

const struct setup setup_apache_proxy = {
    .name = "Apache, mod_proxy_fcgi",
    .server = "apache2",
    .sample = "proxy-fcgi.conf",
    .mount = "/closecrm",
    .spawned = true,
};

const struct setup setup_apache_fcgid = {
    .name = "Apache, mod_fcgid",
    .server = "apache2",
    .sample = "fcgid.conf",
    .mount = "/closecrm",
};

static const char *const logs[] = {"program.log", "server.log", "apache.log"};

const char *program_under_test(void)
{
    const char *path = getenv("CLOSECRM_PROGRAM");
    return path != NULL && *path != '\0' ? path : "./closecrm.fcgi";
}

void site_socket(const struct site *site, char path[PATH_SIZE])
{
    path_join(path, site->directory, "closecrm.sock");
}

static bool in_cgi_bin(const struct setup *setup)
{
    return strncmp(setup->mount, "/cgi-bin/", 9) == 0;
}

void site_program(const struct site *site, char path[PATH_SIZE])
{
    path_join(path, site->directory, in_cgi_bin(site->setup) ? "cgi-bin/closecrm.cgi" : "closecrm.fcgi");
}

void site_configure(struct site *site, const char *more)
{
    char text[4096];
    int length = snprintf(text, sizeof text,
                          "%s\n"
                          "data_plane_url = http://127.0.0.1:%u\n"
                          "[source alpha]\nwrite_key = " ALPHA_WRITE_KEY "\nsignature_key = " ALPHA_SIGNATURE_KEY "\n"
                          "[source beta]\nwrite_key = " BETA_WRITE_KEY "\nsignature_key = " BETA_SIGNATURE_KEY "\n"
                          "[source open]\nwrite_key = " OPEN_WRITE_KEY "\n",
                          more == NULL ? "" : more, site->standin_port);
    CU_ASSERT(temporary_write(site->directory, "closecrm.conf", 0600, text, (size_t)length));
}

static bool standin_up(struct site *site, uint16_t port)
{
    struct standin_options options = {.port = port, .write_keys = {ALPHA_WRITE_KEY, BETA_WRITE_KEY, OPEN_WRITE_KEY}};
    site->standin = standin_start(&options);
    if (!check(site->standin != NULL, "the stand-in starts on port %u", port))
        return false;
    site->standin_port = standin_port(site->standin);
    return true;
}

void site_standin_down(struct site *site)
{
    standin_stop(site->standin);
    site->standin = NULL;
}

bool site_standin_up(struct site *site)
{
    return standin_up(site, site->standin_port);
}

/* One NAME=value for a child's environment. */
struct variable {
    char text[PATH_SIZE + 32];
};

static void set(struct variable *variable, const char *name, const char *value)
{
    snprintf(variable->text, sizeof variable->text, "%s%s", name, value);
}

bool site_spawn(struct site *site)
{
    char socket[PATH_SIZE], program[PATH_SIZE], config[PATH_SIZE], log[PATH_SIZE];
    struct variable named = {""};
    site_socket(site, socket);
    site_program(site, program);
    path_join(config, site->directory, "closecrm.conf");
    path_join(log, site->directory, "program.log");
    set(&named, "CLOSECRM_CONFIG=", config);
    const char *arguments[8 + WRAPPER_WORDS + 1] = {"spawn-fcgi", "-n", "-s", socket, "-M", "0660", "--"};
    size_t words = 0;
    while (site->wrapper != NULL && site->wrapper[words] != NULL && words < WRAPPER_WORDS) {
        arguments[7 + words] = site->wrapper[words];
        words++;
    }
    arguments[7 + words] = program;
    const char *environment[] = {named.text, NULL};
    struct process_options options = {arguments, environment, site->directory, log};
    remove(socket);
    return check(process_start(&site->program, &options) && process_wait_socket(&site->program, socket, START_MS),
                 "%s: the program starts behind spawn-fcgi", site->setup->name);
}

/* Copies a sample folder's file into the site, so that the children's user can read it wherever the tree is. */
static bool copy_sample(const struct site *site, const char *folder, const char *name, const char *as)
{
    char from[PATH_SIZE];
    path_join(from, folder, name);
    return check(temporary_copy(site->directory, as, 0644, from), "%s can be copied", from);
}

static bool start_server(struct site *site, const char *const *arguments, const char *const *environment)
{
    char log[PATH_SIZE];
    path_join(log, site->directory, "server.log");
    struct process_options options = {arguments, environment, site->directory, log};
    return check(process_start(&site->server, &options) && process_wait_port(&site->server, site->port, START_MS),
                 "%s: the web server starts", site->setup->name);
}

/* What the web server is told: its port, its sample, where everything is, and whether it asks for a password itself. */
enum { TELL_PORT, TELL_WORK, TELL_SAMPLE, TELL_SOCKET, TELL_PROGRAM, TELL_CONFIG, TELL_ADMIN, TELLS };

static void tell(const struct site *site, const char *const *prefixes, const char *sample, struct variable *told)
{
    char port[8], path[PATH_SIZE];
    snprintf(port, sizeof port, "%u", site->port);
    set(&told[TELL_PORT], prefixes[TELL_PORT], port);
    set(&told[TELL_WORK], prefixes[TELL_WORK], site->directory);
    set(&told[TELL_SAMPLE], prefixes[TELL_SAMPLE], sample);
    site_socket(site, path);
    set(&told[TELL_SOCKET], prefixes[TELL_SOCKET], path);
    site_program(site, path);
    set(&told[TELL_PROGRAM], prefixes[TELL_PROGRAM], path);
    path_join(path, site->directory, "closecrm.conf");
    set(&told[TELL_CONFIG], prefixes[TELL_CONFIG], path);
}

/* The file of users for the web server's own log-in. */
static bool write_users(const struct site *site)
{
    static const char users[] = "admin:{SHA}" CORRECT_HORSE "\n";
    return !site->setup->admin_server ||
           temporary_write(site->directory, "closecrm.htpasswd", 0644, users, sizeof users - 1);
}

static bool start_lighttpd(struct site *site)
{
    static const char *const prefixes[TELLS] = {"SAMPLE_PORT=",    "SAMPLE_WORK=",   "SAMPLE_NAME=", "SAMPLE_SOCKET=",
                                                "SAMPLE_PROGRAM=", "SAMPLE_CONFIG=", "SAMPLE_TAKE="};
    struct variable told[TELLS] = {{""}};
    const char *environment[TELLS + 1] = {NULL};
    char config[PATH_SIZE], sample[64];
    snprintf(sample, sizeof sample, "%.*s", (int)strcspn(site->setup->sample, "."), site->setup->sample);
    tell(site, prefixes, sample, told);
    set(&told[TELL_ADMIN], prefixes[TELL_ADMIN], site->setup->admin_server ? "admin" : "nothing");
    for (size_t i = 0; i < TELLS; i++)
        environment[i] = told[i].text;
    path_join(config, site->directory, "server.conf");
    const char *arguments[] = {"lighttpd", "-D", "-f", config, NULL};
    return copy_sample(site, "lighttpd", "server.conf", "server.conf") &&
           copy_sample(site, "lighttpd", site->setup->sample, site->setup->sample) && write_users(site) &&
           start_server(site, arguments, environment);
}

static bool start_apache(struct site *site)
{
    static const char *const prefixes[TELLS] = {"Define PORT ",
                                                "Define WORK ",
                                                "Define SAMPLE ",
                                                "Define CLOSECRM_SOCKET ",
                                                "Define CLOSECRM_PROGRAM ",
                                                "Define CLOSECRM_CONFIG ",
                                                "Define CLOSECRM_HTPASSWD "};
    struct variable told[TELLS] = {{""}};
    char config[PATH_SIZE], sample[PATH_SIZE], users[PATH_SIZE];
    const char *arguments[8 + 2 * TELLS] = {"apache2", "-D", "FOREGROUND", "-D", "EVENT", "-f", config};
    path_join(config, site->directory, "server.conf");
    path_join(sample, site->directory, "sample.conf");
    tell(site, prefixes, sample, told);
    path_join(users, site->directory, "closecrm.htpasswd");
    set(&told[TELL_ADMIN], prefixes[TELL_ADMIN], users);
    if (site->setup->prefork)
        arguments[4] = "PREFORK";
    size_t tells = site->setup->admin_server ? TELLS : TELL_ADMIN; /* only when it is defined Apache asks */
    for (size_t i = 0; i < tells; i++) {
        arguments[7 + 2 * i] = "-C";
        arguments[8 + 2 * i] = told[i].text;
    }
    return copy_sample(site, "apache", "server.conf", "server.conf") &&
           copy_sample(site, "apache", site->setup->sample, "sample.conf") &&
           (!site->setup->htaccess ||
            copy_sample(site, "apache/shared-hosting/cgi-bin", ".htaccess", "cgi-bin/.htaccess")) &&
           write_users(site) && start_server(site, arguments, NULL);
}

/* Copies a file of nginx/ into the site, with another text for a word in each place and, for the log-in of nginx's own,
 * with the lines for it: nginx cannot be told such things from outside. */
static bool copy_changed(const struct site *site, const char *name, const char *word, const char *instead)
{
    static const char admin[] = "# admin: ";
    struct buffer text = {.data = NULL};
    char *file = temporary_read("nginx", name);
    for (const char *at = file; at != NULL && *at != '\0';) {
        if (strncmp(at, word, strlen(word)) == 0) {
            buffer_append(&text, instead, strlen(instead));
            at += strlen(word);
        } else if (site->setup->admin_server && strncmp(at, admin, sizeof admin - 1) == 0) {
            at += sizeof admin - 1;
        } else {
            buffer_append(&text, at++, 1);
        }
    }
    bool copied = text.length > 0 && temporary_write(site->directory, name, 0644, text.data, text.length);
    buffer_free(&text);
    free(file);
    return check(copied, "nginx/%s can be copied", name);
}

static bool start_nginx(struct site *site)
{
    char port[32], socket[PATH_SIZE], config[PATH_SIZE];
    snprintf(port, sizeof port, "127.0.0.1:%u", site->port);
    site_socket(site, socket);
    path_join(config, site->directory, "server.conf");
    const char *arguments[] = {"nginx", "-e", "stderr", "-p", site->directory, "-c", config, NULL};
    return copy_changed(site, "server.conf", "127.0.0.1:8082", port) &&
           copy_changed(site, site->setup->sample, "/run/closecrm/closecrm.sock", socket) && write_users(site) &&
           start_server(site, arguments, NULL);
}

/* The web servers by name. */
static const struct {
    const char *name;
    bool (*start)(struct site *site);
} servers[] = {{"lighttpd", start_lighttpd}, {"apache2", start_apache}, {"nginx", start_nginx}};

static bool start_named_server(struct site *site)
{
    for (size_t i = 0; i < sizeof servers / sizeof *servers; i++) {
        if (strcmp(site->setup->server, servers[i].name) == 0)
            return servers[i].start(site);
    }
    return check(false, "%s is no web server that is known here", site->setup->server);
}

static bool make_files(struct site *site, const char *more)
{
    if (!check(temporary_make(site->directory), "a temporary directory can be made"))
        return false;
    bool made = temporary_directory(site->directory, "htdocs") && temporary_directory(site->directory, "cgi-bin") &&
                temporary_copy(site->directory, in_cgi_bin(site->setup) ? "cgi-bin/closecrm.cgi" : "closecrm.fcgi",
                               0755, program_under_test());
    site_configure(site, more);
    return check(made, "%s is there", program_under_test());
}

bool site_open(struct site *site, const struct setup *setup, const char *more)
{
    *site =
        (struct site){.setup = setup, .client = client_new(), .failures_before = CU_get_number_of_failure_records()};
    if (!standin_up(site, port_free()) || !make_files(site, more))
        return false;
    if (setup->spawned && !site_spawn(site))
        return false;
    site->port = port_free();
    snprintf(site->url, sizeof site->url, "http://127.0.0.1:%u%s", site->port, setup->mount);
    if (!start_named_server(site))
        return false;
    if (setup->spawned)
        site_wait_opened(site, 1);
    return true;
}

size_t site_count_logged(const struct site *site, const char *text)
{
    char *log = temporary_read(site->directory, "program.log");
    size_t count = 0;
    for (const char *at = log; at != NULL && (at = strstr(at, text)) != NULL; at++)
        count++;
    free(log);
    return count;
}

size_t site_opened(const struct site *site)
{
    return site_count_logged(site, "msg=forwards") + site_count_logged(site, "msg=does_not_forward") +
           site_count_logged(site, "msg=cannot_open_queue");
}

void site_wait_opened(const struct site *site, size_t opened)
{
    moment deadline = clock_now() + START_MS;
    while (site_opened(site) < opened && kill(site->program.pid, 0) == 0 && clock_now() < deadline)
        poll(NULL, 0, 10);
}

bool site_wait_logged(const struct site *site, const char *text, size_t times, int64_t ms)
{
    moment deadline = clock_now() + ms;
    while (site_count_logged(site, text) < times) {
        if (clock_now() >= deadline)
            return false;
        poll(NULL, 0, 20);
    }
    return true;
}

/* The last part of each log. */
static void show_logs(const struct site *site)
{
    for (size_t i = 0; i < sizeof logs / sizeof *logs; i++) {
        char *log = temporary_read(site->directory, logs[i]);
        size_t length = log == NULL ? 0 : strlen(log);
        if (length > 0)
            printf("\n---- %s: %s\n%s\n", site->setup->name, logs[i], log + (length > 3000 ? length - 3000 : 0));
        free(log);
    }
}

/* Whoever reads the log types what it advises in a shell that does not know the program's environment. */
static void check_logged(const struct site *site)
{
    char *log = site->directory[0] == '\0' ? NULL : temporary_read(site->directory, "program.log");
    if (log != NULL)
        check_advice(log, "", "the log");
    free(log);
}

int site_close(struct site *site)
{
    process_stop(&site->server, STOP_MS);
    int code = process_stop(&site->program, STOP_MS);
    if (site->standin != NULL)
        standin_stop(site->standin);
    check_logged(site);
    if (CU_get_number_of_failure_records() > site->failures_before && site->directory[0] != '\0')
        show_logs(site);
    const char *keep = getenv("CLOSECRM_TEST_KEEP");
    if (site->directory[0] != '\0' && (keep == NULL || *keep == '\0'))
        temporary_remove(site->directory);
    client_free(site->client);
    return code;
}
