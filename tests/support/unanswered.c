/* See unanswered.h. */
#include "tests/support/unanswered.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/clock.h"
#include "tests/support/check.h"
#include "tests/support/fastcgi_client.h"

#define SOON_MS 60000
#define BODY "{\"event\":{\"id\":\"ev_%d\",\"object_type\":\"lead\",\"action\":\"updated\",\"fill\":\"%s\"}}"

bool unanswered_open(struct unanswered *scene, const char *more)
{
    const struct rlimit enough = {UNANSWERED_MOST + 1000, UNANSWERED_MOST + 1000};
    struct rlimit limit;
    *scene = (struct unanswered){.source = "open", .lock = -1, .fds = calloc(UNANSWERED_MOST, sizeof *scene->fds)};
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

void unanswered_keep_from_writing(struct unanswered *scene)
{
    char path[PATH_SIZE];
    path_join(path, scene->site.directory, "state/write.lock");
    scene->lock = open(path, O_RDWR | O_CLOEXEC);
    check(scene->lock >= 0 && flock(scene->lock, LOCK_EX) == 0, "%s can be locked", path);
}

void unanswered_let_write(struct unanswered *scene)
{
    if (scene->lock >= 0)
        close(scene->lock);
    scene->lock = -1;
}

int unanswered_begin(const struct unanswered *scene, int number, const char *fill, size_t part)
{
    char *body = NULL, length[24], path[16], key[40], root[40] = "";
    int size = asprintf(&body, BODY, number, fill);
    snprintf(length, sizeof length, "%d", size);
    snprintf(path, sizeof path, "/%s", scene->source);
    snprintf(key, sizeof key, "writeKey=key-%s", scene->source);
    if (number % 2 == 1)
        snprintf(root, sizeof root, "/srv/%d", number);
    const struct fastcgi_parameter parameters[] = {{"REQUEST_METHOD", "POST"}, {"PATH_INFO", path},
                                                   {"QUERY_STRING", key},      {"DOCUMENT_ROOT", root},
                                                   {"CONTENT_LENGTH", length}, {NULL, NULL}};
    int fd = fastcgi_connect(scene->socket);
    size_t sent = (size_t)size < part ? (size_t)size : part;
    bool good = fd >= 0 && fastcgi_begin(fd, false, parameters) && fastcgi_body(fd, body, sent) &&
                (sent < (size_t)size || fastcgi_body(fd, "", 0));
    free(body);
    check(good, "request %d is sent", number);
    return fd;
}

void unanswered_send(struct unanswered *scene, int count, const char *fill)
{
    for (int i = 0; i < count; i++, scene->count++)
        scene->fds[scene->count] = unanswered_begin(scene, scene->count, fill, SIZE_MAX);
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

int unanswered_count(struct unanswered *scene, int status, const char *words)
{
    int found = 0;
    for (int i = 0; i < scene->count; i++) {
        found += status_of(scene->fds[i], words) == status ? 1 : 0;
        close(scene->fds[i]);
    }
    scene->count = 0;
    return found;
}

int unanswered_ask(const struct unanswered *scene)
{
    int fd = unanswered_begin(scene, -1, "", SIZE_MAX);
    int status = status_of(fd, NULL);
    close(fd);
    return status;
}

void unanswered_close(struct unanswered *scene)
{
    unanswered_let_write(scene);
    site_close(&scene->site);
    free(scene->fds);
}

/* A connection that waits to be accepted has no inode yet. */
static int accepted(const struct unanswered *scene)
{
    char line[512], path[PATH_SIZE];
    unsigned state;
    unsigned long inode;
    int count = 0;
    FILE *sockets = fopen("/proc/net/unix", "re");
    while (sockets != NULL && fgets(line, sizeof line, sockets) != NULL) {
        bool is_one = sscanf(line, "%*s %*s %*s %*s %*s %x %lu %255s", &state, &inode, path) == 3; /* NOLINT */
        count += is_one && state == 3 && inode != 0 && strcmp(path, scene->socket) == 0;
    }
    if (sockets != NULL)
        fclose(sockets);
    return count;
}

void unanswered_wait_until_accepted(const struct unanswered *scene)
{
    moment deadline = clock_now() + durable_patience(SOON_MS);
    while (accepted(scene) < scene->count && clock_now() < deadline)
        poll(NULL, 0, 10);
    check(accepted(scene) >= scene->count, "the program accepts all requests");
    poll(NULL, 0, 100); /* and reads the last ones */
}
