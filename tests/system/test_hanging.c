/* The end and the reload wait for nobody: a resolver that hangs, a thread that is stuck. */
#include "tests/suites.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "forward/post.h"
#include "tests/support/check.h"
#include "tests/support/durable.h"
#include "tests/support/forward_rig.h"
#include "tests/support/hung_resolver.h"
#include "tests/support/running.h"
#include "tests/support/temporary.h"

#define SOON_MS 60000
#define TRIES 5 /* of a lane, while the resolver hangs */
#define STOPPED_MS                                                                                                     \
    6000 /* mod_fcgid kills after 3 s, on a machine with a core for it; a resolver that was waited for takes 8 */

/* The usual sources, and one, named hung, whose data plane is at that URL. */
static void configure(const struct site *site, const char *url)
{
    char text[2048];
    int length = snprintf(
        text, sizeof text,
        "shutdown_grace = 1s\ndata_plane_url = http://127.0.0.1:%u\n[source alpha]\nwrite_key = " ALPHA_WRITE_KEY
        "\nsignature_key = " ALPHA_SIGNATURE_KEY "\n[source hung]\nwrite_key = key-hung\ndata_plane_url = %s\n",
        site->standin_port, url);
    CU_ASSERT(temporary_write(site->directory, "closecrm.conf", 0600, text, (size_t)length));
}

/* Opens a site of which one source's data plane hangs at that URL. */
static bool open_hung(struct site *site, const char *url)
{
    if (!durable_open(site, &setup_lighttpd_spawn, NULL))
        return false;
    configure(site, url);
    return check(durable_start_anew(site, NULL), "it starts with a source that hangs");
}

/* An event for the source that hangs. */
static void send_hung(const struct site *site, const char *id)
{
    char url[256], body[128];
    snprintf(url, sizeof url, "%s/hung?writeKey=key-hung", site->url);
    snprintf(body, sizeof body, "{\"event\":{\"id\":\"%s\",\"object_type\":\"lead\",\"action\":\"updated\"}}", id);
    struct client_answer answer;
    struct client_request request = {.url = url, .body = slice_of(body)};
    check(client_send(site->client, &request, &answer) == 200, "%s is answered 200, not %d", id, answer.status);
}

/* What alpha gets is delivered although the other source hangs. */
static void check_alpha_delivers(const struct site *site, const char *id, size_t messages)
{
    CU_ASSERT_EQUAL(site_send(site, id).status, 200);
    check(standin_wait_messages(site->standin, messages, durable_patience(SOON_MS)), "%s is delivered", id);
}

static void check_reloads(const struct site *site)
{
    size_t before = site_count_logged(site, "msg=started");
    durable_signal(site->program.pid, SIGHUP);
    check(site_wait_logged(site, "msg=started", before + 1, durable_patience(SOON_MS)), "it starts anew");
    CU_ASSERT(process_alive(&site->program));
}

static void check_stops(struct site *site)
{
    int status = -1;
    durable_signal(site->program.pid, SIGTERM);
    CU_ASSERT(process_wait(&site->program, durable_patience(STOPPED_MS), &status));
    CU_ASSERT_EQUAL(status, 0);
}

static void a_resolver_that_hangs(void)
{
    struct site site;
    struct hung_resolver resolver;
    if (hung_resolver_start(&resolver, 30) && open_hung(&site, "http://" HUNG_NAME)) {
        send_hung(&site, "ev_1");
        CU_ASSERT(hung_resolver_wait_asked(&resolver, SOON_MS));
        check_alpha_delivers(&site, "ev_2", 1);
        hung_resolver_forget(&resolver);
        check_reloads(&site);
        CU_ASSERT(hung_resolver_wait_asked(&resolver, SOON_MS));
        check_alpha_delivers(&site, "ev_3", 2);
        check_stops(&site);
    }
    CU_ASSERT_EQUAL(site_close(&site), 0);
    hung_resolver_stop(&resolver);
}

static size_t count_threads(void)
{
    size_t count = 0;
    DIR *threads = opendir("/proc/self/task");
    for (const struct dirent *entry; threads != NULL && (entry = readdir(threads)) != NULL;)
        count += entry->d_name[0] != '.';
    if (threads != NULL)
        closedir(threads);
    return count;
}

/* Waits until the last try failed because the name is being looked up, and looks how many threads there are at most. */
static bool wait_refused(struct rig *rig, size_t *threads)
{
    struct notes notes = {.reason = ""};
    for (moment deadline = clock_now() + SOON_MS; clock_now() < deadline; poll(NULL, 0, 10)) {
        size_t now = count_threads();
        *threads = now > *threads ? now : *threads;
        rig_notes(rig, &notes);
        if (strstr(notes.reason, "still being looked up") != NULL && notes.tries >= TRIES)
            return true;
    }
    return false;
}

/* Each try would leave a thread behind, for as long as the resolver hangs. Once it answers, the name is asked for
 * again.
 */
static void lookups_that_hang_do_not_gather(void)
{
    struct rig rig;
    struct hung_resolver resolver;
    struct error why;
    struct post_limits limits = post_limits_usual;
    if (hung_resolver_start(&resolver, 2)) {
        rig_prepare(&rig);
        rig.made.source[0].data_plane_url = (char[]){"http://" HUNG_NAME};
        rig_open(&rig);
        for (unsigned i = 0; i < 20; i++)
            rig_append(&rig, i, 20, NULL);
        rig.forwarder = forwarder_new(&rig.made.config, rig.queue, &why);
        CU_ASSERT_PTR_NOT_NULL_FATAL(rig.forwarder);
        limits.connect_ms = 50;
        forwarder_limit(rig.forwarder, &limits, 1000);
        forwarder_back_off(rig.forwarder, 50);
        size_t before = count_threads(), threads = 0;
        rig_go(&rig);
        CU_ASSERT(wait_refused(&rig, &threads));
        /* the forwarder, a try of each lane, who asks, and some of the queue's: far less than TRIES of each lane */
        size_t most = before + 2 * (size_t)rig.made.config.lanes + 2;
        check(threads <= most, "there are %zu threads, and not more than %zu", threads, most);
        hung_resolver_forget(&resolver);
        CU_ASSERT(hung_resolver_wait_asked(&resolver, SOON_MS));
        rig_end(&rig);
    }
    hung_resolver_stop(&resolver);
}

/* Without a reader nothing is taken: the messages would be lost in the pipe. */
static void file_sink_waits_for_a_pipes_reader(void)
{
    char directory[PATH_SIZE], path[PATH_SIZE], taken[8];
    struct file_sink sink = {.path = path};
    int status = 0;
    CU_ASSERT_TRUE_FATAL(temporary_make(directory));
    path_join(path, directory, "pipe");
    CU_ASSERT_EQUAL_FATAL(mkfifo(path, 0600), 0);
    pid_t child = fork();
    if (child == 0) {
        struct answer answer;
        alarm(1); /* it hangs, and is ended by that */
        file_sink_append(&sink, "{}\n", 3, &answer);
        _exit(0);
    }
    CU_ASSERT(child > 0 && waitpid(child, &status, 0) == child);
    CU_ASSERT(WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM);
    int pipe = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    CU_ASSERT(pipe >= 0 && read(pipe, taken, sizeof taken) == 0);
    close(pipe);
    temporary_remove(directory);
}

static void wait_forwards(const struct site *site)
{
    bool forwards = false;
    for (moment deadline = clock_now() + SOON_MS; !forwards && clock_now() < deadline; poll(NULL, 0, 50)) {
        char *log = temporary_read(site->directory, "command.log");
        forwards = log != NULL && strstr(log, "msg=forwards") != NULL;
        free(log);
    }
    check(forwards, "the command forwards");
}

/* A command that forwards, and hangs while it opens the pipe, ends too. */
static void check_command_stops(const struct site *site)
{
    struct process forward = {0};
    int status = -1;
    CU_ASSERT(command_start(&forward, site, "command.log", "forward", NULL));
    wait_forwards(site);
    durable_signal(forward.pid, SIGTERM);
    CU_ASSERT(process_wait(&forward, durable_patience(STOPPED_MS), &status));
    CU_ASSERT((WIFEXITED(status) && WEXITSTATUS(status) == 1) || WIFSIGNALED(status)); /* it may not hang yet */
}

/* A pipe into which nobody looks: opening it for writing hangs, and the forwarder with it. */
static bool open_stuck(struct site *site)
{
    char pipe[PATH_SIZE], url[PATH_SIZE + 16];
    struct user user = user_of_children();
    if (!durable_open(site, &setup_lighttpd_spawn, NULL))
        return false;
    path_join(pipe, site->directory, "pipe");
    snprintf(url, sizeof url, "file://%s", pipe);
    CU_ASSERT_EQUAL(mkfifo(pipe, 0600), 0);
    CU_ASSERT_EQUAL(chown(pipe, user.uid, user.gid), 0);
    configure(site, url);
    CU_ASSERT(durable_start_anew(site, NULL));
    send_hung(site, "ev_1");
    CU_ASSERT_EQUAL(site_send(site, "ev_2").status, 200);
    return true;
}

static void a_thread_that_is_stuck(void)
{
    struct site site;
    if (open_stuck(&site)) {
        check_reloads(&site);
        CU_ASSERT_EQUAL(site_send(&site, "ev_3").status, 200);
        check_stops(&site);
        check_command_stops(&site);
    }
    CU_ASSERT_EQUAL(site_close(&site), 0);
}

/* The configuration is good and then faulty, and the program executed anew because a thread hangs: it goes on with what
 * was good. */
static void check_goes_on(struct site *site, const char *event)
{
    CU_ASSERT(site_wait_logged(site, "msg=left_behind", 1, durable_patience(SOON_MS)));
    CU_ASSERT(site_wait_logged(site, "msg=started", 3, durable_patience(SOON_MS)));
    CU_ASSERT_EQUAL(site_send(site, event).status, 200);
    CU_ASSERT(site_wait_logged(site, "msg=not_reloaded", 1, durable_patience(SOON_MS)));
    CU_ASSERT_EQUAL(site_count_logged(site, "msg=cannot_start"), 0);
    CU_ASSERT(process_alive(&site->program));
    check_stops(site);
}

static void faulty_once_the_check_is_over(void)
{
    struct site site;
    if (open_stuck(&site)) {
        durable_signal(site.program.pid, SIGHUP);
        CU_ASSERT(site_wait_logged(&site, "msg=reloading", 1, durable_patience(SOON_MS)));
        site_configure(&site, "wriet_key = misspelt");
        check_goes_on(&site, "ev_3");
    }
    CU_ASSERT_EQUAL(site_close(&site), 0);
}

static void faulty_while_the_queue_is_opened_anew(void)
{
    static const char *const files[] = {"state/queue.db", "state/queue.db-wal", "state/queue.db-shm"};
    struct site site;
    char path[PATH_SIZE];
    if (open_stuck(&site)) {
        site_configure(&site, "wriet_key = misspelt");
        for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
            path_join(path, site.directory, files[i]);
            CU_ASSERT_EQUAL(unlink(path), 0);
        }
        CU_ASSERT(site_wait_logged(&site, "msg=opens_the_queue_anew", 1, durable_patience(SOON_MS)));
        check_goes_on(&site, "ev_3");
    }
    CU_ASSERT_EQUAL(site_close(&site), 0);
}

/* Lets the first probe write, as the second one does: what says when the last one succeeded is there and old. */
static void age_probe(const struct site *site)
{
    const struct timespec long_ago[2] = {{.tv_sec = 1}, {.tv_sec = 1}};
    char path[PATH_SIZE];
    path_join(path, site->directory, "state/health.probe");
    CU_ASSERT(temporary_write(site->directory, "state/health.probe", 0600, "", 0));
    CU_ASSERT_EQUAL(utimensat(AT_FDCWD, path, long_ago, 0), 0);
}

/* Whether some process has a flock on that file. */
static bool is_locked(const struct site *site, const char *name)
{
    char path[PATH_SIZE], inode[32], line[256];
    struct stat status;
    bool locked = false;
    path_join(path, site->directory, name);
    FILE *locks = fopen("/proc/locks", "re");
    bool known = stat(path, &status) == 0;
    snprintf(inode, sizeof inode, ":%llu ", known ? (unsigned long long)status.st_ino : 0ULL);
    while (known && locks != NULL && !locked && fgets(line, sizeof line, locks) != NULL)
        locked = strstr(line, "FLOCK") != NULL && strstr(line, inode) != NULL;
    if (locks != NULL)
        fclose(locks);
    return locked;
}

/* A probe holds the lock on its file, and that on writing once it is about to write. */
static void wait_probes(const struct site *site)
{
    bool probes = false;
    for (moment deadline = clock_now() + SOON_MS; !probes && clock_now() < deadline; poll(NULL, 0, 5))
        probes = is_locked(site, "state/health.probe") && is_locked(site, "state/write.lock");
    check(probes, "a probe has begun to write");
}

/* Somebody else's transaction: what is left behind in a write must find its memory until the process is gone. */
static void a_database_that_is_locked(void)
{
    struct site site;
    char path[PATH_SIZE];
    sqlite3 *outside = NULL;
    if (durable_open(&site, &setup_lighttpd_spawn, "shutdown_grace = 1s\n")) {
        CU_ASSERT_EQUAL(site_send(&site, "ev_1").status, 200);
        age_probe(&site);
        CU_ASSERT(standin_wait_messages(site.standin, 1, durable_patience(SOON_MS)));
        path_join(path, site.directory, "state/queue.db");
        CU_ASSERT_EQUAL(sqlite3_open_v2(path, &outside, SQLITE_OPEN_READWRITE, NULL), SQLITE_OK);
        sqlite3_busy_timeout(outside, SOON_MS);
        CU_ASSERT_EQUAL(sqlite3_exec(outside, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
        wait_probes(&site);
        check_stops(&site);
        sqlite3_close(outside);
    }
    CU_ASSERT_EQUAL(site_close(&site), 0);
}

void suite_hanging(void)
{
    static CU_TestInfo tests[] = {
        {"a resolver that hangs", a_resolver_that_hangs},
        {"lookups that hang do not gather", lookups_that_hang_do_not_gather},
        {"the file sink waits for a pipe's reader", file_sink_waits_for_a_pipes_reader},
        {"a thread that is stuck", a_thread_that_is_stuck},
        {"a configuration that is faulty once the check is over", faulty_once_the_check_is_over},
        {"a faulty configuration while the queue is opened anew", faulty_while_the_queue_is_opened_anew},
        {"a database that is locked from outside", a_database_that_is_locked},
        CU_TEST_INFO_NULL,
    };
    suite_add("hanging", NULL, NULL, tests);
}
