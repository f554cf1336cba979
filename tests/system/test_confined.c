/* With `confine = yes` the program does all that it does without: signed events, new keys, each button of the page, a
 * configuration with another state directory, another directory or other files in place of those that are open, a data
 * plane that goes and comes. And its request threads are confined. */
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"
#include "process/confine.h"
#include "tests/suites.h"
#include "tests/support/check.h"
#include "tests/support/close_site.h"
#include "tests/support/durable.h"
#include "tests/support/looked.h"

#define SOON_MS 60000
#define CONFINED "confine = yes\nrequest_threads = 4\n" LOOKED_CONFIG

static const struct standin_close_options usual = {.hold_ms = 0};

/* ---- what is seen from outside ---- */

/* How many of the program's threads filter their calls. */
static size_t count_filtered(const struct site *site)
{
    char folder[64], file[PATH_SIZE];
    size_t count = 0;
    snprintf(folder, sizeof folder, "/proc/%ld/task", (long)site->program.pid);
    DIR *tasks = opendir(folder);
    for (struct dirent *task; tasks != NULL && (task = readdir(tasks)) != NULL;) {
        if (task->d_name[0] == '.')
            continue;
        snprintf(file, sizeof file, "%.20s/status", task->d_name);
        char *text = temporary_read(folder, file);
        count += text != NULL && strstr(text, "\nSeccomp:\t2\n") != NULL;
        free(text);
    }
    if (tasks != NULL)
        closedir(tasks);
    return count;
}

/* Nothing that the program tried was refused to it. */
static void check_nothing_refused(const struct site *site)
{
    static const char *const words[] = {"ermission denied", "not permitted", "msg=not_confined"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        check(site_count_logged(site, words[i]) == 0, "the log has no \"%s\"", words[i]);
}

/* Presses a button. Returns the status of the answer; the words are in it. */
static int press(const struct site *site, const char *action, struct client_answer *answer)
{
    char url[256], form[256], token[LOOKED_TOKEN] = "";
    CU_ASSERT(looked_token(site, token));
    snprintf(url, sizeof url, "%s/status", site->url);
    snprintf(form, sizeof form, "token=%s&format=json&source=default&action=%s", token, action);
    const struct client_request request = {
        .url = url, .headers = {"Authorization: Basic YWRtaW46Y29ycmVjdCBob3JzZQ=="}, .body = slice_of(form)};
    return client_send(site->client, &request, answer);
}

/* Whether it did what it is for. */
static void check_pressed(const struct site *site, const char *action, const char *words)
{
    struct client_answer answer = {.status = 0};
    int status = press(site, action, &answer);
    check(status == 200 && strstr(answer.body, "\"good\": true") != NULL && strstr(answer.body, words) != NULL,
          "%s: %d, %s", action, status, answer.body);
}

static void add_event(struct close_site *site, const char *id)
{
    standin_close_add(site->close, &(struct close_event){.id = id, .lead = "lead_1"});
}

/* An event comes by Close, signed, and arrives. */
static void check_passes(struct close_site *site, const char *id)
{
    moment deadline = clock_now() + SOON_MS;
    add_event(site, id);
    while (standin_find(site->site.standin, id) == NULL && clock_now() < deadline)
        poll(NULL, 0, 20);
    check(standin_find(site->site.standin, id) != NULL, "%s arrives", id);
}

static bool subscribed_open(struct close_site *site)
{
    return close_site_open(site, &setup_lighttpd_spawn, &usual, CONFINED) &&
           check(CLOSE_RUN(site, "subscribe", "--url", close_site_url(site)) == 0, "subscribed: %s", site->said);
}

/* ---- what people press ---- */

static bool wait_dead(const struct site *site, int64_t count)
{
    moment deadline = clock_now() + SOON_MS;
    static const char sample[] = "closecrm_settled_events_total{source=\"default\",outcome=\"dead\"}";
    while (looked_metric(site, sample) != count && clock_now() < deadline)
        poll(NULL, 0, 20);
    return looked_metric(site, sample) == count;
}

/* A data plane that takes no other either would be to blame itself. */
static void make_dead_letters(struct close_site *site)
{
    standin_fail(site->site.standin,
                 &(struct standin_fault){
                     .act = STANDIN_ANSWER, .times = STANDIN_ALWAYS, .marker = "dead_", .status = 400, .body = "bad"});
    standin_close_add(site->close, &(struct close_event){.id = "dead_1", .lead = "lead_2"});
    check_passes(site, "ev_between");
    CU_ASSERT(wait_dead(&site->site, 1));
    standin_close_add(site->close, &(struct close_event){.id = "dead_2", .lead = "lead_3"});
    check_passes(site, "ev_behind");
    CU_ASSERT(wait_dead(&site->site, 2));
    standin_heal(site->site.standin);
}

static void each_button_works(void)
{
    struct close_site site;
    struct client_answer answer;
    struct buffer page = {0};
    if (subscribed_open(&site)) {
        struct confine_means means = confine_means();
        check_passes(&site, "ev_1");
        check(count_filtered(&site.site) > 0 || !means.seccomp, "a thread filters its calls");
        make_dead_letters(&site);
        CU_ASSERT_EQUAL(looked_get(&site.site, "/status?letter=1", &page), 200);
        CU_ASSERT_EQUAL(looked_get(&site.site, "/status?event=1", &page), 200);
        CU_ASSERT_EQUAL(looked_get(&site.site, "/metrics", &page), 200);
        CU_ASSERT_EQUAL(looked_get(&site.site, "/healthz", &page), 200);
        check_pressed(&site.site, "try", "");
        check_pressed(&site.site, "test", "got through");
        check_pressed(&site.site, "replay&letter=1", "on its way");
        check_pressed(&site.site, "replay_all&count=1", "1 dead letter");
        CU_ASSERT(standin_wait_messages(site.site.standin, 5, SOON_MS));
        standin_close_pause(site.close, 0, "too many failures");
        check_pressed(&site.site, "resume", "active again");
        CU_ASSERT_EQUAL(press(&site.site, "key", &answer), 200);
        check_passes(&site, "ev_2");
        size_t filtered = count_filtered(&site.site);
        check(filtered <= 4 && (filtered > 0 || !means.seccomp), "%zu of 4 threads filter their calls", filtered);
        check_nothing_refused(&site.site);
    }
    buffer_free(&page);
    close_site_close(&site);
}

/* ---- what operators do ---- */

static void a_new_key_is_read(struct close_site *site)
{
    char id[80];
    standin_close_id(site->close, 0, id);
    check(CLOSE_RUN(site, "rotate", id) == 0, "rotated: %s", site->said);
}

/* Moves the state directory's files, or copies of them, into another directory, and that into its place at once. */
static void exchange_directory(const struct site *site, bool copies)
{
    char state[PATH_SIZE], other[PATH_SIZE], from[PATH_SIZE * 2], to[PATH_SIZE * 2];
    struct user user = user_of_children();
    path_join(state, site->directory, "state");
    path_join(other, site->directory, "other");
    CU_ASSERT(mkdir(other, 0700) == 0 && chown(other, user.uid, user.gid) == 0);
    DIR *files = opendir(state);
    for (struct dirent *file; files != NULL && (file = readdir(files)) != NULL;) {
        struct stat status;
        snprintf(from, sizeof from, "%s/%.200s", state, file->d_name);
        snprintf(to, sizeof to, "%s/%.200s", other, file->d_name);
        if (file->d_name[0] == '.' || lstat(from, &status) != 0)
            continue;
        bool moved = S_ISDIR(status.st_mode)             ? rename(from, to) == 0
                     : copies && S_ISREG(status.st_mode) ? temporary_copy(other, file->d_name, 0600, from)
                                                         : link(from, to) == 0;
        check(moved || access(from, F_OK) != 0, "%s is there too", to);
    }
    if (files != NULL)
        closedir(files);
    CU_ASSERT_EQUAL(syscall(SYS_renameat2, AT_FDCWD, other, AT_FDCWD, state, 2 /* RENAME_EXCHANGE */), 0);
}

/* The queue's files are the same, so that it stays open; but what request threads may open lies elsewhere now. */
static void another_directory_with_the_same_files(void)
{
    struct close_site site;
    struct buffer page = {0};
    if (subscribed_open(&site)) {
        struct confine_means means = confine_means();
        check_passes(&site, "ev_1");
        exchange_directory(&site.site, false);
        CU_ASSERT(means.landlock == 0 || site_wait_logged(&site.site, "msg=opens_the_queue_anew", 1, SOON_MS));
        a_new_key_is_read(&site);
        check_passes(&site, "ev_2");
        CU_ASSERT_EQUAL(looked_get(&site.site, "/status", &page), 200);
    }
    buffer_free(&page);
    close_site_close(&site);
}

/* What the open files hold is saved into the new directory by the thread that writes, which must not be confined. */
static void another_directory_with_copies(void)
{
    struct close_site site;
    struct buffer page = {0};
    if (subscribed_open(&site)) {
        check_passes(&site, "ev_1");
        exchange_directory(&site.site, true);
        CU_ASSERT(site_wait_logged(&site.site, "msg=opens_the_queue_anew", 1, SOON_MS));
        a_new_key_is_read(&site);
        check_passes(&site, "ev_2");
        CU_ASSERT_EQUAL(looked_get(&site.site, "/status", &page), 200);
    }
    buffer_free(&page);
    close_site_close(&site);
}

/* Copies what was read, without SQLite's files beside it, over a queue that is in use. */
static void an_older_copy_over_the_queue(struct close_site *site)
{
    char copy[PATH_SIZE], queue[PATH_SIZE];
    path_join(copy, site->site.directory, "state/copy.db");
    path_join(queue, site->site.directory, "state/queue.db");
    CU_ASSERT_EQUAL(CLOSE_RUN(site, "queue", "backup", copy), 0);
    check_passes(site, "ev_later");
    CU_ASSERT_EQUAL(rename(copy, queue), 0);
    CU_ASSERT(site_wait_logged(&site->site, "msg=opens_the_queue_anew", 1, SOON_MS));
}

static void reload_with_another_directory(struct close_site *site)
{
    size_t opened = site_opened(&site->site);
    CU_ASSERT(temporary_directory(site->site.directory, "second"));
    close_site_configure(site, NULL, NULL, CONFINED "state_dir = second/state\n");
    durable_signal(site->site.program.pid, SIGHUP);
    site_wait_opened(&site->site, opened + 1);
}

static void operators_do_what_they_do(void)
{
    struct close_site site;
    struct buffer page = {0};
    if (subscribed_open(&site)) {
        check_passes(&site, "ev_1");
        a_new_key_is_read(&site);
        check_passes(&site, "ev_2");
        site_standin_down(&site.site);
        add_event(&site, "ev_away");
        CU_ASSERT(site_wait_logged(&site.site, "msg=not_delivered", 1, SOON_MS));
        CU_ASSERT(site_standin_up(&site.site));
        CU_ASSERT(standin_wait_messages(site.site.standin, 1, SOON_MS));
        an_older_copy_over_the_queue(&site);
        check_passes(&site, "ev_3");
        reload_with_another_directory(&site);
        a_new_key_is_read(&site);
        check_passes(&site, "ev_4");
        CU_ASSERT_EQUAL(looked_get(&site.site, "/status", &page), 200);
        check_nothing_refused(&site.site);
    }
    buffer_free(&page);
    close_site_close(&site);
}

void suite_confined(void)
{
    static CU_TestInfo tests[] = {
        {"each button works", each_button_works},
        {"another directory with the same files", another_directory_with_the_same_files},
        {"another directory with copies", another_directory_with_copies},
        {"operators do what they do", operators_do_what_they_do},
        CU_TEST_INFO_NULL,
    };
    suite_add("confined", NULL, NULL, tests);
}
