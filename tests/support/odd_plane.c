#include "tests/support/odd_plane.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/suites.h"
#include "tests/support/check.h"

#define IDLE_MS 250 /* what is early has come by then */

struct connection {
    struct plane *plane;
    int fd;
    const char *next;
    char head[4096];
};

static void say(int fd, const char *words)
{
    if (words != NULL && send(fd, words, strlen(words), MSG_NOSIGNAL) < 0)
        return; /* the client has gone, which is what some tests are about */
}

/* Reads up to the end of the headers. Returns how long the body is; -1: the connection ended. */
static long read_head(struct connection *connection)
{
    size_t length = 0;
    char *head = connection->head;
    while (length < sizeof connection->head - 1 && (length < 4 || memcmp(head + length - 4, "\r\n\r\n", 4) != 0)) {
        if (recv(connection->fd, head + length, 1, 0) != 1)
            return -1;
        length++;
        say(connection->fd, connection->next);
        connection->next = NULL;
    }
    head[length] = '\0';
    const char *field = strcasestr(head, "Content-Length:");
    return field == NULL ? 0 : strtol(field + strlen("Content-Length:"), NULL, 10);
}

/* Reads the body, of which the beginning is kept. */
static bool read_body(const struct connection *connection, long length, char beginning[static 32])
{
    static _Thread_local char piece[65536];
    for (long at = 0; at < length;) {
        size_t left = (size_t)(length - at);
        ssize_t got = recv(connection->fd, piece, left < sizeof piece ? left : sizeof piece, 0);
        if (got <= 0)
            return false;
        if (at == 0)
            snprintf(beginning, 32, "%.*s", (int)(got < 31 ? got : 31), piece);
        at += got;
    }
    return true;
}

/* Each third is stored. What is not is answered 500, and then, late, what belongs to nobody. */
static void answer_by_number(const struct connection *connection, const char *beginning)
{
    unsigned number = (unsigned)strtoul(beginning, NULL, 10);
    if (number % 3 == 0) {
        atomic_store(&connection->plane->stored[number % MOST], true);
        say(connection->fd, OK);
        return;
    }
    say(connection->fd, ANSWER("500", "0", ""));
    poll(NULL, 0, (int)(number % 5));
    say(connection->fd, OK);
}

static bool serve_one(struct connection *connection)
{
    struct plane *plane = connection->plane;
    char byte, beginning[32] = "";
    struct pollfd readable = {.fd = connection->fd, .events = POLLIN};
    if (poll(&readable, 1, -1) < 0 || recv(connection->fd, &byte, 1, MSG_PEEK) != 1)
        return false;
    int number = atomic_fetch_add(&plane->requests, 1);
    const struct turn *turn = &plane->turns[number < plane->turn_count ? number : plane->turn_count - 1];
    if (turn->early != NULL) {
        say(connection->fd, turn->early);
        poll(NULL, 0, IDLE_MS);
    }
    long length = read_head(connection);
    if (length < 0 || !read_body(connection, length, beginning))
        return false;
    poll(NULL, 0, turn->hold_ms);
    atomic_fetch_add(&plane->pipelined, recv(connection->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0);
    if (turn->answer == NULL)
        answer_by_number(connection, beginning);
    say(connection->fd, turn->answer);
    if (turn->cut)
        return false;
    if (turn->late != NULL)
        poll(NULL, 0, turn->late_ms);
    say(connection->fd, turn->late);
    connection->next = turn->next;
    return true;
}

static void *serve(void *context)
{
    struct connection *connection = context;
    while (serve_one(connection))
        ;
    struct plane *plane = connection->plane;
    pthread_mutex_lock(&plane->lock); /* plane_stop must not shut down another one's descriptor */
    for (int i = 0; i < MOST; i++)
        plane->fds[i] = plane->fds[i] == connection->fd ? -1 : plane->fds[i];
    close(connection->fd);
    pthread_mutex_unlock(&plane->lock);
    free(connection);
    atomic_fetch_sub(&plane->living, 1);
    return NULL;
}

static void *accept_all(void *context)
{
    struct plane *plane = context;
    int fd;
    while ((fd = accept(plane->listening, NULL, NULL)) >= 0) {
        pthread_t thread;
        struct connection *connection = calloc(1, sizeof *connection);
        int number = atomic_fetch_add(&plane->connections, 1);
        if (connection == NULL || number >= MOST)
            abort();
        *connection = (struct connection){.plane = plane, .fd = fd};
        pthread_mutex_lock(&plane->lock);
        plane->fds[number] = fd;
        pthread_mutex_unlock(&plane->lock);
        atomic_fetch_add(&plane->living, 1);
        if (pthread_create(&thread, NULL, serve, connection) != 0 || pthread_detach(thread) != 0)
            abort();
    }
    return NULL;
}

void plane_start(struct plane *plane, const struct turn *turns, int count)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int little = 4096; /* so that a large request is not in the kernel at once */
    memset(plane, 0, sizeof *plane);
    plane->turns = turns;
    plane->turn_count = count;
    pthread_mutex_init(&plane->lock, NULL);
    for (int i = 0; i < MOST; i++)
        plane->fds[i] = -1;
    plane->listening = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(plane->listening, SOL_SOCKET, SO_RCVBUF, &little, sizeof little);
    CU_ASSERT_TRUE_FATAL(plane->listening >= 0 && bind(plane->listening, (struct sockaddr *)&address, size) == 0 &&
                         listen(plane->listening, 64) == 0 &&
                         getsockname(plane->listening, (struct sockaddr *)&address, &size) == 0 &&
                         pthread_create(&plane->thread, NULL, accept_all, plane) == 0);
    snprintf(plane->url, sizeof plane->url, "http://127.0.0.1:%d", ntohs(address.sin_port));
}

void plane_stop(struct plane *plane)
{
    shutdown(plane->listening, SHUT_RDWR);
    pthread_join(plane->thread, NULL);
    close(plane->listening);
    pthread_mutex_lock(&plane->lock);
    for (int i = 0; i < MOST; i++) {
        if (plane->fds[i] >= 0)
            shutdown(plane->fds[i], SHUT_RDWR);
    }
    pthread_mutex_unlock(&plane->lock);
    while (atomic_load(&plane->living) > 0)
        poll(NULL, 0, 1);
    pthread_mutex_destroy(&plane->lock);
}
