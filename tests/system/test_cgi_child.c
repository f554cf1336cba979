/* The child of CGI requests: how many there are, and that none of the events is left behind. */
#include "tests/suites.h"

#include <CUnit/CUnit.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/files.h"
#include "tests/support/check.h"
#include "tests/support/durable.h"
#include "tests/support/load.h"
#include "tests/support/running.h"
#include "tests/support/site.h"

#define SOON_MS 60000
#define CHILDREN_MOST 64
#define LIVES_MS 1000 /* each, at least, and one after the other */

static const struct setup lighttpd = {
    .name = "lighttpd, CGI", .server = "lighttpd", .sample = "cgi.conf", .mount = "/closecrm"};
static const struct setup apache = {
    .name = "Apache, mod_cgid", .server = "apache2", .sample = "cgi.conf", .mount = "/closecrm"};

/* Processes that were seen. */
struct children {
    pid_t pid[CHILDREN_MOST];
    size_t count;
};

static bool is_child(pid_t pid)
{
    char path[64], line[4096];
    snprintf(path, sizeof path, "/proc/%d/cmdline", (int)pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t length = fd < 0 ? -1 : read(fd, line, sizeof line);
    if (fd >= 0)
        close(fd);
    return length > 0 && memmem(line, (size_t)length, "--child-of-cgi", 14) != NULL;
}

/* Notes those that live now. Each lives longer than a second: looked at often, none is missed. Returns how many. */
static size_t look(const struct site *site, struct children *seen)
{
    pid_t pids[DURABLE_PROCESSES];
    size_t count = durable_processes(site, pids), alive = 0;
    for (size_t i = 0; i < count; i++) {
        if (!is_child(pids[i]))
            continue;
        alive++;
        size_t k = 0;
        while (k < seen->count && seen->pid[k] != pids[i])
            k++;
        if (k == seen->count && k < CHILDREN_MOST)
            seen->pid[seen->count++] = pids[i];
    }
    return alive;
}

static void a_burst_starts_few(const struct setup *setup)
{
    struct site site;
    struct children seen = {.count = 0};
    if (site_open(&site, setup, NULL)) {
        struct load_options options = {.url = site.url,
                                       .signature_key = ALPHA_SIGNATURE_KEY,
                                       .prefix = "ev",
                                       .count = durable_share(200),
                                       .connections = 16,
                                       .marked = LOAD_NONE};
        moment start = clock_now();
        struct load *load = load_start(&options);
        for (moment deadline = clock_now() + 4 * SOON_MS; !load_used_up(load) && clock_now() < deadline;) {
            look(&site, &seen);
            poll(NULL, 0, 50);
        }
        struct load_result result = load_finish(load);
        check(result.ok > 0, "%s: some are answered 200", setup->name); /* a slow disk does not take all in time */
        check(standin_wait_messages(site.standin, result.ok, SOON_MS), "%s: all arrive", setup->name);
        look(&site, &seen);
        size_t slow = (size_t)((clock_now() - start) / LIVES_MS) + 2, most = slow > 10 ? slow : 10;
        check(seen.count <= most, "%s: %zu children", setup->name, seen.count);
        check(programs_wait_gone(&site, SOON_MS), "%s: the children end", setup->name);
        check(load_count_arrived(load, site.standin, 1) == result.ok, "%s: each once", setup->name);
        load_free(load);
    }
    CU_ASSERT_EQUAL(site_close(&site), 0);
}

static void a_burst_starts_few_children(void)
{
    a_burst_starts_few(&lighttpd);
    a_burst_starts_few(&apache);
}

/* The child is about to find that nothing came for a second; the last event of all comes just before. */
static void what_comes_late_is_delivered(void)
{
    struct site site;
    if (site_open(&site, &lighttpd, NULL)) {
        CU_ASSERT_EQUAL(site_send(&site, "ev_1").status, 200);
        poll(NULL, 0, 900);
        CU_ASSERT_EQUAL(site_send(&site, "ev_2").status, 200);
        CU_ASSERT(standin_wait_messages(site.standin, 2, SOON_MS));
        CU_ASSERT_PTR_NOT_NULL(standin_find(site.standin, "ev_2"));
        CU_ASSERT(programs_wait_gone(&site, SOON_MS));
    }
    CU_ASSERT_EQUAL(site_close(&site), 0);
}

/* A killed process is a zombie before its last thread has let go of its locks. */
static void wait_unlocked(const struct site *site)
{
    char path[PATH_SIZE];
    int lock = -1, error = EWOULDBLOCK;
    path_join(path, site->directory, "state/child.lock");
    for (moment deadline = clock_now() + SOON_MS; error != 0 && clock_now() < deadline; poll(NULL, 0, 10))
        error = lock_take(&lock, path, LOCK_EX | LOCK_NB);
    CU_ASSERT_EQUAL(error, 0);
    close(lock);
}

static void where_it_was_killed_the_next_event_starts_another(void)
{
    struct site site;
    if (site_open(&site, &lighttpd, NULL)) {
        standin_fail(site.standin, &(struct standin_fault){.act = STANDIN_HOLD, .times = STANDIN_ALWAYS});
        CU_ASSERT_EQUAL(site_send(&site, "ev_1").status, 200);
        CU_ASSERT(standin_wait_held(site.standin, 1, SOON_MS));
        CU_ASSERT(programs_kill(&site) > 0);
        CU_ASSERT(programs_wait_gone(&site, SOON_MS));
        wait_unlocked(&site);
        site_standin_down(&site);
        CU_ASSERT(site_standin_up(&site));
        CU_ASSERT_EQUAL(site_send(&site, "ev_2").status, 200);
        CU_ASSERT(standin_wait_messages(site.standin, 2, SOON_MS));
        CU_ASSERT_PTR_NOT_NULL(standin_find(site.standin, "ev_1"));
        CU_ASSERT_PTR_NOT_NULL(standin_find(site.standin, "ev_2"));
    }
    CU_ASSERT_EQUAL(site_close(&site), 0);
}

static void where_a_process_forwards_there_is_none(void)
{
    struct site site;
    struct children seen = {.count = 0};
    struct process follower = {0};
    if (site_open(&site, &lighttpd, NULL)) {
        const char *const words[] = {"forward", "--follow", NULL};
        CU_ASSERT_EQUAL(site_send(&site, "ev_1").status, 200); /* this makes the state directory */
        CU_ASSERT(standin_wait_messages(site.standin, 1, SOON_MS));
        CU_ASSERT(programs_wait_gone(&site, SOON_MS));
        CU_ASSERT(command_start_words(&follower, &site, "follow.log", words));
        char *log = NULL;
        for (moment deadline = clock_now() + SOON_MS; clock_now() < deadline; poll(NULL, 0, 10)) {
            free(log);
            log = temporary_read(site.directory, "follow.log");
            if (log != NULL && strstr(log, "msg=forwards") != NULL)
                break;
        }
        free(log);
        for (size_t i = 2; i <= 6; i++) {
            char id[16];
            snprintf(id, sizeof id, "ev_%zu", i);
            CU_ASSERT_EQUAL(site_send(&site, id).status, 200);
            look(&site, &seen);
        }
        CU_ASSERT(standin_wait_messages(site.standin, 6, SOON_MS));
        look(&site, &seen);
        CU_ASSERT_EQUAL(seen.count, 0);
        CU_ASSERT_EQUAL(process_stop(&follower, SOON_MS), 0);
    }
    process_stop(&follower, SOON_MS);
    CU_ASSERT_EQUAL(site_close(&site), 0);
}

/* One is being started, or leaves and has not looked for the last time: it has the lock. */
static void while_one_lives_there_is_no_second(void)
{
    struct site site;
    struct children seen = {.count = 0};
    char path[PATH_SIZE];
    if (site_open(&site, &lighttpd, NULL)) {
        CU_ASSERT_EQUAL(site_send(&site, "ev_1").status, 200);
        CU_ASSERT(standin_wait_messages(site.standin, 1, SOON_MS));
        CU_ASSERT(programs_wait_gone(&site, SOON_MS));
        path_join(path, site.directory, "state/child.lock");
        int lock = -1;
        CU_ASSERT_EQUAL(lock_take(&lock, path, LOCK_EX | LOCK_NB), 0);
        CU_ASSERT_EQUAL(site_send(&site, "ev_2").status, 200);
        CU_ASSERT_EQUAL(look(&site, &seen), 0);
        close(lock);
        CU_ASSERT_EQUAL(site_send(&site, "ev_3").status, 200);
        CU_ASSERT(standin_wait_messages(site.standin, 3, SOON_MS));
    }
    CU_ASSERT_EQUAL(site_close(&site), 0);
}

/* A person types what only the program itself does; and a request brings it as its query, which servers hand over as
 * words of the command line. */
static void it_is_nobodys_command(void)
{
    struct site site;
    char url[200];
    struct client_answer answer;
    if (site_open(&site, &lighttpd, NULL)) {
        struct output output = command_output(&site, "--child-of-cgi", NULL);
        CU_ASSERT_EQUAL(output.code, 2);
        snprintf(url, sizeof url, "%s/alpha?--child-of-cgi", site.url);
        CU_ASSERT_EQUAL(client_send(site.client, &(struct client_request){.method = "GET", .url = url}, &answer), 405);
    }
    CU_ASSERT_EQUAL(site_close(&site), 0);
}

void suite_cgi_child(void)
{
    static CU_TestInfo tests[] = {
        {"a burst of requests starts few children", a_burst_starts_few_children},
        {"what comes late is delivered without cron", what_comes_late_is_delivered},
        {"where it was killed the next event starts another", where_it_was_killed_the_next_event_starts_another},
        {"where a process forwards there is none", where_a_process_forwards_there_is_none},
        {"while one lives there is no second", while_one_lives_there_is_no_second},
        {"it is nobody's command", it_is_nobodys_command},
        CU_TEST_INFO_NULL,
    };
    suite_add("life: CGI child", NULL, NULL, tests);
}
