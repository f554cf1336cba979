/* Processes that stay, and commands beside them: cron, forward --follow, a state directory that is not there at the
 * start, a queue that is damaged while it is used. */
#include "tests/suites.h"

#include <CUnit/CUnit.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/check.h"
#include "tests/support/durable.h"
#include "tests/support/load.h"
#include "tests/support/running.h"
#include "tests/support/site.h"

#define SOON_MS 60000
#define EVENTS 300

static const struct setup cgi = {
    .name = "Apache, mod_cgi", .server = "apache2", .sample = "cgi.conf", .mount = "/closecrm", .prefork = true};

static struct load_options some_load(const struct site *site)
{
    return (struct load_options){.url = site->url,
                                 .signature_key = ALPHA_SIGNATURE_KEY,
                                 .prefix = "ev",
                                 .count = EVENTS,
                                 .connections = 8,
                                 .marked = LOAD_NONE};
}

/* Leaves EVENTS in the queue, none of which was ever tried, and no process of the program. */
static bool fill(struct site *site)
{
    struct load_options options = some_load(site);
    int status;
    standin_fail(site->standin, &(struct standin_fault){.act = STANDIN_HOLD, .times = STANDIN_ALWAYS});
    struct load *load = load_start(&options);
    struct load_result result = load_finish(load);
    load_free(load);
    kill(site->program.pid, SIGKILL);
    bool ended = process_wait(&site->program, SOON_MS, &status);
    site_standin_down(site);
    return check(ended && result.ok == EVENTS, "%zu events are answered 200 and wait", result.ok) &&
           site_standin_up(site);
}

static void two_crons_at_once_deliver_each_event_once(void)
{
    struct site site;
    if (site_open(&site, &setup_lighttpd_spawn, NULL) && fill(&site)) {
        static const char *const logs[] = {"cron1.log", "cron2.log"};
        struct process crons[2] = {{0}, {0}};
        for (size_t i = 0; i < 2; i++)
            CU_ASSERT(command_start(&crons[i], &site, logs[i], "cron", NULL));
        for (size_t i = 0; i < 2; i++) {
            struct output output = command_finish(&crons[i], &site, logs[i]);
            CU_ASSERT_EQUAL(output.code, 0);
            CU_ASSERT_STRING_EQUAL(output.text, "");
        }
        CU_ASSERT_EQUAL(standin_counts(site.standin).messages, EVENTS);
        CU_ASSERT_EQUAL(standin_counts(site.standin).repeated, 0);
    }
    CU_ASSERT_EQUAL(site_close(&site), 0);
}

static void forward_delivers_and_ends(void)
{
    struct site site;
    if (site_open(&site, &setup_lighttpd_spawn, NULL) && fill(&site)) {
        struct output output = command_output(&site, "forward", NULL);
        CU_ASSERT_EQUAL(output.code, 0);
        CU_ASSERT_EQUAL(standin_counts(site.standin).messages, EVENTS);
        CU_ASSERT_PTR_NOT_NULL(strstr(output.text, "msg=forwarded source=alpha delivered=300 "));
    }
    CU_ASSERT_EQUAL(site_close(&site), 0);
}

static void cron_reports_new_dead_letters_once(void)
{
    struct site site;
    if (site_open(&site, &setup_lighttpd_spawn, NULL)) {
        CU_ASSERT_EQUAL(site_send_body(&site, slice_of("{\"event\":")).status, 200);
        CU_ASSERT_EQUAL(site_send(&site, "ev_1").status, 200);
        CU_ASSERT(standin_wait_messages(site.standin, 1, SOON_MS));
        CU_ASSERT_EQUAL(process_stop(&site.program, SOON_MS), 0);

        struct output output = command_output(&site, "cron", NULL);
        CU_ASSERT_EQUAL(output.code, 0); /* as to check: somebody should look at it, and nothing is wrong */
        check(strncmp(output.text, "cron: 1 new dead letter, the last of source alpha: ", 51) == 0, "%s", output.text);
        CU_ASSERT_PTR_EQUAL(strchr(output.text, '\n'), output.text + strlen(output.text) - 1);
        output = command_output(&site, "cron", NULL);
        CU_ASSERT_EQUAL(output.code, 0);
        CU_ASSERT_STRING_EQUAL(output.text, "");
    }
    CU_ASSERT_EQUAL(site_close(&site), 0);
}

static void cron_reports_what_waits_for_the_operator(void)
{
    struct site site;
    if (site_open(&site, &setup_lighttpd_spawn, NULL) && fill(&site)) {
        standin_fail(site.standin,
                     &(struct standin_fault){
                         .act = STANDIN_ANSWER, .times = STANDIN_ALWAYS, .status = 401, .body = "invalid write key"});
        struct output output = command_output(&site, "cron", NULL);
        CU_ASSERT_EQUAL(output.code, 1);
        check(strstr(output.text,
                     "cron: source alpha: 300 events wait until you act, for the data plane refuses what is sent: ") !=
                      NULL &&
                  strstr(output.text, "invalid write key") != NULL,
              "%s", output.text);
        output = command_output(&site, "cron", NULL); /* it is not tried again, and not told again for an hour */
        CU_ASSERT_EQUAL(output.code, 1);
        CU_ASSERT_STRING_EQUAL(output.text, "");
        CU_ASSERT_EQUAL(standin_counts(site.standin).messages, 0);
    }
    CU_ASSERT_EQUAL(site_close(&site), 0);
}

static void cron_that_is_stopped_awaits_its_batch(void)
{
    struct site site;
    if (site_open(&site, &setup_lighttpd_spawn, "lanes = 1\nbatch_events = 10") && fill(&site)) {
        struct process cron = {0};
        int status = 0;
        standin_fail(site.standin,
                     &(struct standin_fault){.act = STANDIN_SLOW, .times = STANDIN_ALWAYS, .delay_ms = 700});
        CU_ASSERT(command_start(&cron, &site, "command.log", "cron", NULL));
        CU_ASSERT(standin_wait_requests(site.standin, 2, SOON_MS));
        kill(cron.pid, SIGTERM);
        CU_ASSERT(process_wait(&cron, SOON_MS, &status));
        CU_ASSERT(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
        size_t delivered = standin_counts(site.standin).messages;
        CU_ASSERT_EQUAL(delivered, standin_counts(site.standin).requests * 10);
        standin_heal(site.standin);
        CU_ASSERT_EQUAL(command_output(&site, "cron", NULL).code, 0);
        CU_ASSERT_EQUAL(standin_counts(site.standin).messages, EVENTS);
        CU_ASSERT_EQUAL(standin_counts(site.standin).repeated, 0);
    }
    CU_ASSERT_EQUAL(site_close(&site), 0);
}

/* Under systemd, beside plain CGI: the children find the reading taken. */
static void forward_follow_delivers_what_cgi_takes(void)
{
    struct site site;
    struct process follow = {0};
    if (site_open(&site, &cgi, NULL)) {
        CU_ASSERT(command_start(&follow, &site, "program.log", "forward", "--follow"));
        CU_ASSERT(site_wait_logged(&site, "msg=forwards", 1, SOON_MS));
        struct load_options options = some_load(&site);
        options.count = 40;
        struct load *load = load_start(&options);
        struct load_result result = load_finish(load);
        CU_ASSERT_EQUAL(result.ok, options.count);
        CU_ASSERT(standin_wait_messages(site.standin, options.count, SOON_MS));
        struct output second = command_output(&site, "forward", NULL);
        CU_ASSERT_EQUAL(second.code, 0);
        CU_ASSERT_PTR_NOT_NULL(strstr(second.text, "Nothing is left to do here: another process forwards"));

        kill(follow.pid, SIGHUP); /* takes what is new, as a FastCGI process does */
        CU_ASSERT(site_wait_logged(&site, "msg=reloading", 1, SOON_MS));
        CU_ASSERT(site_wait_logged(&site, "msg=forwarded source=alpha delivered=40 ", 1, SOON_MS));
        CU_ASSERT_EQUAL(site_send(&site, "ev_last").status, 200);
        CU_ASSERT(standin_wait_messages(site.standin, options.count + 1, SOON_MS));
        CU_ASSERT_EQUAL(process_stop(&follow, SOON_MS), 0);
        CU_ASSERT_EQUAL(load_count_arrived(load, site.standin, 1), options.count);
        load_free(load);
        CU_ASSERT(programs_wait_gone(&site, SOON_MS));
    }
    process_stop(&follow, SOON_MS);
    CU_ASSERT_EQUAL(site_close(&site), 0);
}

/* Sends until it is answered 200. Returns whether it was. */
static bool send_until_taken(const struct site *site, const char *id)
{
    moment deadline = clock_now() + SOON_MS;
    while (site_send(site, id).status != 200) {
        if (clock_now() > deadline)
            return false;
        poll(NULL, 0, 100);
    }
    return true;
}

static void check_refused_for_now(const struct site *site)
{
    struct client_answer answer = site_send(site, "ev_refused");
    check(answer.status == 503, "503, not %d", answer.status);
    CU_ASSERT_STRING_EQUAL(answer.retry_after, "30");
    CU_ASSERT_PTR_NOT_NULL(
        strstr(answer.body, "the queue is not open: if this stays so, last-errors.txt (in state_dir, or beside"));
    CU_ASSERT(site_wait_logged(site, "msg=cannot_open_queue", 1, 0));
}

/* Waits until the file beside the configuration has the text. */
static bool wait_last_errors(const struct site *site, const char *text)
{
    for (moment deadline = clock_now() + SOON_MS; clock_now() < deadline; poll(NULL, 0, 50)) {
        char *all = temporary_read(site->directory, "last-errors.txt");
        bool found = all != NULL && strstr(all, text) != NULL;
        free(all);
        if (found)
            return true;
    }
    return false;
}

static void a_missing_state_directory_is_waited_for(void)
{
    struct site site;
    if (site_open(&site, &setup_lighttpd_spawn, "state_dir = later/state\nshutdown_grace = 2m")) {
        check_refused_for_now(&site);
        CU_ASSERT(site_wait_logged(&site, "cannot make the state directory", 1, 0));
        CU_ASSERT(wait_last_errors(&site, "msg=cannot_open_queue"));
        CU_ASSERT(temporary_directory(site.directory, "later"));
        CU_ASSERT(send_until_taken(&site, "ev_1"));
        CU_ASSERT(site_wait_logged(&site, "msg=queue_opened", 1, 0));
        CU_ASSERT(standin_wait_messages(site.standin, 1, SOON_MS));
    }
    CU_ASSERT_EQUAL(site_close(&site), 0);
}

static void a_state_directory_that_is_not_writable_is_waited_for(void)
{
    struct site site;
    char state[PATH_SIZE];
    if (site_open(&site, &setup_lighttpd_spawn, NULL)) {
        CU_ASSERT_EQUAL(site_send(&site, "ev_1").status, 200);
        CU_ASSERT(standin_wait_messages(site.standin, 1, SOON_MS));
        CU_ASSERT_EQUAL(process_stop(&site.program, SOON_MS), 0);
        path_join(state, site.directory, "state");
        CU_ASSERT_EQUAL(chmod(state, 0500), 0);
        CU_ASSERT(site_spawn(&site));
        check_refused_for_now(&site);
        CU_ASSERT_EQUAL(chmod(state, 0700), 0);
        CU_ASSERT(send_until_taken(&site, "ev_2"));
        CU_ASSERT(standin_wait_messages(site.standin, 2, SOON_MS));
    }
    CU_ASSERT_EQUAL(site_close(&site), 0);
}

/* Another process repairs the queue: nobody else may open it until it is done, however long that takes. */
static void check_locked(bool unlock)
{
    struct site site;
    char path[PATH_SIZE];
    if (site_open(&site, &setup_lighttpd_spawn, "shutdown_grace = 1s")) {
        int status = -1;
        CU_ASSERT_EQUAL(site_send(&site, "ev_1").status, 200);
        CU_ASSERT_EQUAL(process_stop(&site.program, SOON_MS), 0);
        path_join(path, site.directory, "state/open.lock");
        int lock = open(path, O_RDWR | O_CLOEXEC);
        CU_ASSERT_EQUAL(flock(lock, LOCK_EX | LOCK_NB), 0);
        CU_ASSERT(site_spawn(&site));
        struct client_answer answer = site_send(&site, "ev_2");
        check(answer.status == 503, "503, not %d", answer.status);
        if (unlock) {
            close(lock);
            CU_ASSERT(send_until_taken(&site, "ev_2"));
            CU_ASSERT(standin_wait_messages(site.standin, 2, SOON_MS));
        } else {
            kill(site.program.pid, SIGTERM);
            CU_ASSERT(process_wait(&site.program, SOON_MS, &status));
            CU_ASSERT_EQUAL(status, 0);
            close(lock);
        }
    }
    CU_ASSERT_EQUAL(site_close(&site), 0);
}

static void a_locked_queue_is_waited_for(void)
{
    check_locked(true);
}

static void it_stops_while_the_queue_is_locked(void)
{
    check_locked(false);
}

static void it_stops_while_it_waits_for_its_directory(void)
{
    struct site site;
    if (site_open(&site, &setup_lighttpd_spawn, "state_dir = later/state\nshutdown_grace = 2m")) {
        int status = -1;
        check_refused_for_now(&site);
        kill(site.program.pid, SIGTERM);
        CU_ASSERT(process_wait(&site.program, SOON_MS, &status));
        CU_ASSERT_EQUAL(status, 0);
    }
    CU_ASSERT_EQUAL(site_close(&site), 0);
}

/* Somebody found it damaged (queue check marks it): all let go of it, and who opens it next repairs it. */
static void a_damaged_queue_is_opened_anew_under_load(void)
{
    struct site site;
    if (site_open(&site, &setup_lighttpd_spawn, NULL)) {
        struct load_options options = some_load(&site);
        options.count = 100000;
        options.pause_ms = 10;
        struct load *load = load_start(&options);
        CU_ASSERT(load_wait(load, 200, SOON_MS));
        CU_ASSERT(temporary_write(site.directory, "state/damaged", 0600, "", 0));
        CU_ASSERT(site_wait_logged(&site, "msg=opens_the_queue_anew", 1, SOON_MS));
        CU_ASSERT(site_wait_logged(&site, "msg=started", 2, SOON_MS));
        CU_ASSERT(send_until_taken(&site, "ev_after"));
        load_stop(load);
        struct load_result result = load_finish(load);
        CU_ASSERT_EQUAL(site_count_logged(&site, "msg=started"), 2);
        check(result.ok >= 200 && (result.other == 0 || result.other == 503), "%zu answered 200, else %d", result.ok,
              result.other);
        CU_ASSERT(standin_wait_messages(site.standin, result.ok + 1, SOON_MS));
        check(load_count_arrived(load, site.standin, 0) == result.ok, "all %zu arrive", result.ok);
        load_free(load);
    }
    CU_ASSERT_EQUAL(site_close(&site), 0);
}

/* One process holds the queue while another must let go of it: both do. */
static void forward_follow_lets_go_of_a_damaged_queue(void)
{
    struct site site;
    struct process follow = {0};
    if (site_open(&site, &cgi, NULL)) {
        CU_ASSERT(command_start(&follow, &site, "program.log", "forward", "--follow"));
        CU_ASSERT(site_wait_logged(&site, "msg=forwards", 1, SOON_MS));
        CU_ASSERT_EQUAL(site_send(&site, "ev_1").status, 200);
        CU_ASSERT(standin_wait_messages(site.standin, 1, SOON_MS));
        CU_ASSERT(temporary_write(site.directory, "state/damaged", 0600, "", 0));
        CU_ASSERT(site_wait_logged(&site, "msg=opens_the_queue_anew", 1, SOON_MS));
        CU_ASSERT(send_until_taken(&site, "ev_2"));
        CU_ASSERT(standin_wait_messages(site.standin, 2, SOON_MS));
        CU_ASSERT_EQUAL(process_stop(&follow, SOON_MS), 0);
        CU_ASSERT(programs_wait_gone(&site, SOON_MS));
    }
    process_stop(&follow, SOON_MS);
    CU_ASSERT_EQUAL(site_close(&site), 0);
}

/* Whether a process has libcurl loaded. */
static bool has_libcurl(pid_t pid)
{
    char path[64], line[512];
    bool has = false;
    snprintf(path, sizeof path, "/proc/%ld/maps", (long)pid);
    FILE *maps = fopen(path, "re");
    CU_ASSERT_PTR_NOT_NULL_FATAL(maps);
    while (fgets(line, sizeof line, maps) != NULL)
        has = has || strstr(line, "libcurl") != NULL;
    fclose(maps);
    return has;
}

/* The owner ends: one that waits for the reading takes over. Until then it does without what only sending needs. */
static void stops_at_once_while_another_forwards(void)
{
    struct site site;
    struct process follow = {0};
    if (site_open(&site, &setup_lighttpd_spawn, "shutdown_grace = 2m")) {
        int status = -1;
        CU_ASSERT(site_wait_logged(&site, "msg=forwards", 1, SOON_MS));
        CU_ASSERT(command_start(&follow, &site, "follow.log", "forward", "--follow"));
        moment deadline = clock_now() + SOON_MS;
        for (bool waits = false; !waits && clock_now() < deadline; poll(NULL, 0, 20)) {
            char *log = temporary_read(site.directory, "follow.log");
            waits = log != NULL && strstr(log, "msg=does_not_forward") != NULL;
            free(log);
        }
        CU_ASSERT_TRUE(has_libcurl(site.program.pid));
        CU_ASSERT_FALSE(has_libcurl(follow.pid));
        kill(follow.pid, SIGTERM);
        CU_ASSERT(process_wait(&follow, SOON_MS, &status));
        CU_ASSERT_EQUAL(status, 0);
        kill(site.program.pid, SIGTERM);
        CU_ASSERT(process_wait(&site.program, SOON_MS, &status));
        CU_ASSERT_EQUAL(status, 0);
    }
    process_stop(&follow, SOON_MS);
    CU_ASSERT_EQUAL(site_close(&site), 0);
}

void suite_life_processes(void)
{
    static CU_TestInfo tests[] = {
        {"two crons at once deliver each event once", two_crons_at_once_deliver_each_event_once},
        {"forward delivers and ends", forward_delivers_and_ends},
        {"cron reports new dead letters, once", cron_reports_new_dead_letters_once},
        {"cron reports what waits for the operator", cron_reports_what_waits_for_the_operator},
        {"cron that is stopped awaits its batch", cron_that_is_stopped_awaits_its_batch},
        {"forward --follow delivers what CGI takes", forward_follow_delivers_what_cgi_takes},
        {"a missing state directory is waited for", a_missing_state_directory_is_waited_for},
        {"one that is not writable, too", a_state_directory_that_is_not_writable_is_waited_for},
        {"a locked queue is waited for", a_locked_queue_is_waited_for},
        {"SIGTERM while the queue is locked", it_stops_while_the_queue_is_locked},
        {"SIGTERM while it waits for its directory", it_stops_while_it_waits_for_its_directory},
        {"a damaged queue is opened anew under load", a_damaged_queue_is_opened_anew_under_load},
        {"forward --follow lets go of a damaged queue", forward_follow_lets_go_of_a_damaged_queue},
        {"SIGTERM while another process forwards", stops_at_once_while_another_forwards},
        CU_TEST_INFO_NULL,
    };
    suite_add("life: processes", NULL, NULL, tests);
}
