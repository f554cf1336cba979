/* Requests that wait: for the thread that writes, which is kept from committing; for peers that stall. Each is
 * answered, whatever becomes of the queue meanwhile, and no thread waits with them. */
#include "tests/suites.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/clock.h"
#include "tests/support/check.h"
#include "tests/support/durable.h"
#include "tests/support/fastcgi_client.h"
#include "tests/support/running.h"
#include "tests/support/temporary.h"

#define MANY 1000
#define SOON_MS 60000
#define ANSWERED_MS 12000 /* a request waits no longer */
#define BODY "{\"event\":{\"id\":\"ev_%d\",\"object_type\":\"lead\",\"action\":\"updated\",\"fill\":\"%s\"}}"

/* A program on a socket, its data plane down, and requests whose answers are not read yet. */
struct scene {
    struct site site;
    char socket[PATH_SIZE];
    int lock; /* of those who write; -1: not held */
    int *fds;
    int count;
};

static bool scene_open(struct scene *scene, const char *more)
{
    const struct rlimit enough = {4 * MANY, 4 * MANY};
    struct rlimit limit;
    *scene = (struct scene){.lock = -1, .fds = calloc(3 * MANY, sizeof *scene->fds)};
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < enough.rlim_cur) {
        limit.rlim_cur = enough.rlim_cur < limit.rlim_max ? enough.rlim_cur : limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
    bool open = scene->fds != NULL && durable_open(&scene->site, &setup_lighttpd_spawn, more);
    site_socket(&scene->site, scene->socket);
    if (open)
        site_standin_down(&scene->site);
    return open;
}

/* Nobody commits from now on. */
static void keep_from_writing(struct scene *scene)
{
    char path[PATH_SIZE];
    path_join(path, scene->site.directory, "state/write.lock");
    scene->lock = open(path, O_RDWR | O_CLOEXEC);
    check(scene->lock >= 0 && flock(scene->lock, LOCK_EX) == 0, "%s can be locked", path);
}

static void let_write(struct scene *scene)
{
    if (scene->lock >= 0)
        close(scene->lock);
    scene->lock = -1;
}

/* Begins a request, and sends so much of its body. Returns its descriptor. */
static int begin(const struct scene *scene, int number, const char *fill, size_t part)
{
    char *body = NULL, length[24];
    int size = asprintf(&body, BODY, number, fill);
    snprintf(length, sizeof length, "%d", size);
    const struct fastcgi_parameter parameters[] = {{"REQUEST_METHOD", "POST"},
                                                   {"PATH_INFO", "/open"},
                                                   {"QUERY_STRING", "writeKey=" OPEN_WRITE_KEY},
                                                   {"CONTENT_LENGTH", length},
                                                   {NULL, NULL}};
    int fd = fastcgi_connect(scene->socket);
    size_t sent = (size_t)size < part ? (size_t)size : part;
    bool good = fd >= 0 && fastcgi_begin(fd, false, parameters) && fastcgi_body(fd, body, sent) &&
                (sent < (size_t)size || fastcgi_body(fd, "", 0));
    free(body);
    check(good, "request %d is sent", number);
    return fd;
}

static void send_many(struct scene *scene, int count, const char *fill)
{
    for (int i = 0; i < count; i++, scene->count++)
        scene->fds[scene->count] = begin(scene, scene->count, fill, SIZE_MAX);
}

/* Reads an answer. Returns its status; 0: none came. */
static int status_of(int fd, const char *words)
{
    struct fastcgi_answer answer = {.text = NULL};
    int status = 0;
    if (fd >= 0 && fastcgi_read(fd, &answer, (int)durable_patience(SOON_MS)))
        status = answer.status;
    if (words != NULL)
        check(status != 0 && strstr(answer.body, words) != NULL, "\"%s\" says: %s", status == 0 ? "" : answer.body,
              words);
    fastcgi_answer_free(&answer);
    return status;
}

/* Reads all answers. Returns how many have that status; words: what each says (NULL: anything). */
static int count_answers(struct scene *scene, int status, const char *words)
{
    int found = 0;
    for (int i = 0; i < scene->count; i++) {
        found += status_of(scene->fds[i], words) == status ? 1 : 0;
        close(scene->fds[i]);
    }
    scene->count = 0;
    return found;
}

static uint64_t waiting(const struct scene *scene)
{
    return durable_counts(&scene->site, "open").waiting;
}

static int answered_by_one(const struct scene *scene)
{
    int fd = begin(scene, -1, "", SIZE_MAX);
    int status = status_of(fd, NULL);
    close(fd);
    return status;
}

static void scene_close(struct scene *scene)
{
    let_write(scene);
    site_close(&scene->site);
    free(scene->fds);
}

static void a_thousand_wait_for_one_commit(void)
{
    struct scene scene;
    if (scene_open(&scene, "request_threads = 2\n")) {
        keep_from_writing(&scene);
        send_many(&scene, MANY, "");
        let_write(&scene);
        CU_ASSERT_EQUAL(count_answers(&scene, 200, "ok"), MANY);
        CU_ASSERT_EQUAL(waiting(&scene), MANY);
    }
    scene_close(&scene);
}

static void a_full_queue_answers_each(void)
{
    struct scene scene;
    char fill[60001];
    memset(fill, 'x', sizeof fill - 1);
    fill[sizeof fill - 1] = '\0';
    if (scene_open(&scene, "request_threads = 2\nqueue_max_bytes = 1M\nmax_body = 1M\n")) {
        do {
            send_many(&scene, 4, fill);
        } while (count_answers(&scene, 200, NULL) > 0);
        keep_from_writing(&scene);
        send_many(&scene, MANY, "");
        let_write(&scene);
        CU_ASSERT_EQUAL(count_answers(&scene, 503, "there is no room for the event"), MANY);
    }
    scene_close(&scene);
}

static void a_queue_that_is_moved_away_answers_each(void)
{
    struct scene scene;
    char from[PATH_SIZE], to[PATH_SIZE];
    if (scene_open(&scene, "request_threads = 2\n")) {
        path_join(from, scene.site.directory, "state/queue.db");
        path_join(to, scene.site.directory, "state/moved.db");
        keep_from_writing(&scene);
        send_many(&scene, MANY, "");
        CU_ASSERT_EQUAL(rename(from, to), 0);
        let_write(&scene);
        CU_ASSERT_EQUAL(count_answers(&scene, 503, NULL), MANY);
        CU_ASSERT_EQUAL(rename(to, from), 0);
    }
    scene_close(&scene);
}

/* Who gives up leaves its body to the group: it may be stored, and nothing breaks when it is. */
static void who_waits_too_long_is_answered(void)
{
    struct scene scene;
    if (scene_open(&scene, "request_threads = 2\n")) {
        keep_from_writing(&scene);
        moment asked = clock_now();
        send_many(&scene, MANY / 10, "");
        CU_ASSERT_EQUAL(count_answers(&scene, 503, "the event was not stored in time: "), MANY / 10);
        CU_ASSERT(site_count_logged(&scene.site, "the disk has not taken the event in time") > 0);
        int64_t took = clock_now() - asked;
        check(took >= ANSWERED_MS && took < durable_patience(ANSWERED_MS + 3000), "they are answered after %lld ms",
              (long long)took);
        let_write(&scene);
        CU_ASSERT_EQUAL(answered_by_one(&scene), 200);
        CU_ASSERT(waiting(&scene) <= MANY / 10 + 1);
    }
    scene_close(&scene);
}

static int descriptors_of(pid_t pid)
{
    char path[64];
    int count = 0;
    snprintf(path, sizeof path, "/proc/%d/fd", (int)pid);
    DIR *all = opendir(path);
    while (all != NULL && readdir(all) != NULL)
        count++;
    if (all != NULL)
        closedir(all);
    return count;
}

/* Until the program has accepted them all: what is not accepted ends with a stop. */
static void wait_until_accepted(const struct scene *scene)
{
    moment deadline = clock_now() + durable_patience(SOON_MS);
    while (descriptors_of(scene->site.program.pid) < scene->count && clock_now() < deadline)
        poll(NULL, 0, 10);
    poll(NULL, 0, 100); /* and read the last ones */
}

static void what_the_writer_has_survives(int signal)
{
    struct scene scene;
    if (scene_open(&scene, "request_threads = 2\nshutdown_grace = 10s\n")) {
        size_t opened = site_opened(&scene.site);
        keep_from_writing(&scene);
        send_many(&scene, MANY / 2, "");
        wait_until_accepted(&scene);
        durable_signal(scene.site.program.pid, signal);
        poll(NULL, 0, 300);
        let_write(&scene);
        CU_ASSERT_EQUAL(count_answers(&scene, 200, "ok"), MANY / 2);
        if (signal == SIGHUP)
            site_wait_opened(&scene.site, opened + 1);
        CU_ASSERT_EQUAL(waiting(&scene), MANY / 2);
    }
    scene_close(&scene);
}

static void a_stop_answers_what_the_writer_has(void)
{
    what_the_writer_has_survives(SIGTERM);
}

static void a_reload_answers_what_the_writer_has(void)
{
    what_the_writer_has_survives(SIGHUP);
}

/* More than there are threads by far: good ones are served beside them. */
static void stalled_peers_hold_a_descriptor_only(void)
{
    struct scene scene;
    if (scene_open(&scene, "request_threads = 1\nrequest_timeout = 12s\n")) {
        for (int i = 0; i < 2 * MANY; i++, scene.count++)
            scene.fds[scene.count] = begin(&scene, i, "some more that never comes", 10);
        for (int i = 0; i < 10; i++)
            CU_ASSERT_EQUAL(answered_by_one(&scene), 200);
        long memory = process_status(scene.site.program.pid, "VmRSS");
        check(memory < 64 * 1024, "it takes %ld KiB", memory);
        CU_ASSERT_EQUAL(count_answers(&scene, 400, "did not arrive within"), 2 * MANY);
    }
    scene_close(&scene);
}

/* Beyond the limit of descriptors there is an answer, and room again once others have gone. */
static void beyond_the_limit_the_answer_is_503(void)
{
    static const char *const few[] = {"/bin/sh", "-c", "ulimit -n 200; exec \"$0\"", NULL};
    struct scene scene;
    if (scene_open(&scene, NULL) && check(durable_start_anew(&scene.site, few), "it starts with few descriptors")) {
        for (int i = 0; i < 150; i++, scene.count++)
            scene.fds[scene.count] = begin(&scene, i, "some more that never comes", 10);
        CU_ASSERT_EQUAL(answered_by_one(&scene), 503);
        for (int i = 0; i < 100; i++, scene.count++)
            scene.fds[scene.count] = fastcgi_connect(scene.socket);
        CU_ASSERT(site_wait_logged(&scene.site, "msg=accept_failed", 1, SOON_MS));
        for (int i = 0; i < scene.count; i++)
            close(scene.fds[i]);
        moment deadline = clock_now() + durable_patience(SOON_MS);
        while (answered_by_one(&scene) != 200 && clock_now() < deadline)
            poll(NULL, 0, 20);
        CU_ASSERT_EQUAL(answered_by_one(&scene), 200);
    }
    scene_close(&scene);
}

void suite_waiting(void)
{
    static CU_TestInfo tests[] = {
        {"a thousand wait for one commit", a_thousand_wait_for_one_commit},
        {"a queue that is full answers each", a_full_queue_answers_each},
        {"a queue that is moved away answers each", a_queue_that_is_moved_away_answers_each},
        {"who waits too long is answered", who_waits_too_long_is_answered},
        {"a stop answers what the writer has", a_stop_answers_what_the_writer_has},
        {"a reload answers what the writer has", a_reload_answers_what_the_writer_has},
        {"stalled peers hold a descriptor only", stalled_peers_hold_a_descriptor_only},
        {"beyond the limit of descriptors the answer is 503", beyond_the_limit_the_answer_is_503},
        CU_TEST_INFO_NULL,
    };
    suite_add("waiting", NULL, NULL, tests);
}
