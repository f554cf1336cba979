/* The FastCGI server as a child: this very program, executed again with CLOSECRM_TEST_HTTP_SERVER in its environment.
 */
#include "tests/support/http_server.h"

#include "base/clock.h"
#include "http/http.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define ASKED "CLOSECRM_TEST_HTTP_SERVER"
#define SERVER_GRACE_MS 2000
#define SERVER_PATIENCE_MS 30000 /* less than a stalled body may take */

/* ---- the server's side ------------------------------------------------------------------------------------------ */

struct held {
    int told;
    int let;
    atomic_bool now; /* a request is held */
};

void http_server_echo(char *out, size_t size, const char *body, size_t length)
{
    unsigned sum = 0;
    for (size_t i = 0; i < length; i++)
        sum = sum * 31 + (unsigned char)body[i];
    snprintf(out, size, "%zu %08x", length, sum);
}

/* Reads the body or refuses, as a route would. */
static bool take_body(struct request *request, const char **body, size_t *length)
{
    static const int status[] = {[BODY_EMPTY] = 400, [BODY_SHORT] = 400, [BODY_TOO_LARGE] = 413, [BODY_NO_ROOM] = 503};
    struct error why = {0};
    enum body_result result = request_body(request, body, length, &why);
    if (result != BODY_OK)
        request_refuse(request, status[result], NULL, why.text);
    return result == BODY_OK;
}

static void echo(void *context, struct request *request)
{
    (void)context;
    const char *body;
    size_t length;
    char text[64];
    if (!take_body(request, &body, &length))
        return;
    http_server_echo(text, sizeof text, body, length);
    request_free_body(request);
    request_answer(request, 200, NULL, text);
}

static void hold(void *context, struct request *request)
{
    struct held *held = context;
    const char *body;
    size_t length;
    char byte = 'H';
    if (!take_body(request, &body, &length))
        return;
    request_blocks(request);
    atomic_store(&held->now, true);
    bool let = write(held->told, &byte, 1) == 1 && read(held->let, &byte, 1) == 1;
    atomic_store(&held->now, false);
    if (!let)
        request_refuse(request, 500, NULL, "the test has gone");
    else
        request_answer(request, 200, NULL, "held");
}

static void blind(void *context, struct request *request)
{
    (void)context;
    request_refuse(request, 401, NULL, "not \"you\"");
}

static void large(void *context, struct request *request)
{
    (void)context;
    size_t size = 1024 * 1024;
    char *text = malloc(size + 1);
    if (text == NULL)
        return;
    memset(text, 'x', size);
    text[size] = '\0';
    request_answer(request, 200, NULL, text);
    free(text);
}

/* Waits for the threads' end. What was cut in time is answered in time on a machine that has it: on a busy one it takes
 * longer. Only a request that is held does not end. */
static bool join(struct http *http, struct held *held)
{
    return http_join(http, clock_now() + SERVER_GRACE_MS) ||
           (!atomic_load(&held->now) && http_join(http, clock_now() + SERVER_PATIENCE_MS));
}

/* Serves until a signal comes: SIGHUP executes the program anew, SIGTERM ends it. */
static int serve(const struct http_limits *limits, struct held *held)
{
    const struct route routes[] = {{"", echo, NULL, false},
                                   {"/echo", echo, NULL, false},
                                   {"/hold", hold, held, false},
                                   {"/blind", blind, NULL, false},
                                   {"/large", large, NULL, false}};
    struct error why = {0};
    struct http *http = http_start(limits, routes, sizeof routes / sizeof *routes, &why);
    if (http == NULL) {
        fprintf(stderr, "http_start: %s\n", why.text);
        return 4;
    }
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGHUP);
    if (write(held->told, "R", 1) != 1)
        return 5;
    int number;
    sigwait(&set, &number);
    http_stop(http);
    if (!join(http, held))
        _exit(3); /* threads still run */
    if (number == SIGHUP)
        http_hand_over(http);
    http_free(http);
    if (number == SIGHUP)
        execl("/proc/self/exe", "server", "http", (char *)NULL);
    return 0;
}

void http_server_if_asked(void)
{
    const char *asked = getenv(ASKED);
    if (asked == NULL)
        return;
    struct http_limits limits = {0};
    struct held held = {0};
    int timeout_ms = 0;
    if (sscanf(asked, "%zu %zu %zu %d %d %d", &limits.threads, &limits.max_body, &limits.max_bodies, &timeout_ms,
               &held.told, &held.let) != 6)
        exit(6);
    limits.request_timeout_ms = timeout_ms;
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, NULL);
    exit(serve(&limits, &held));
}

/* ---- the test's side -------------------------------------------------------------------------------------------- */

static int listen_at(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || (bind(fd, (struct sockaddr *)&address, sizeof address) == 0 && listen(fd, 1024) == 0))
        return fd;
    close(fd);
    return -1;
}

/* At a free port, which *port tells. */
static int listen_at_port(int *port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) != 0 || listen(fd, 1024) != 0 ||
        getsockname(fd, (struct sockaddr *)&address, &size) != 0)
        return -1;
    *port = ntohs(address.sin_port);
    return fd;
}

/* In the child: nothing but what may be done between fork and exec. */
static void become_server(int listening, int told, int let, int log)
{
    fcntl(told, F_SETFD, 0);
    fcntl(let, F_SETFD, 0);
    dup2(listening, STDIN_FILENO);
    dup2(log, STDERR_FILENO);
    execl("/proc/self/exe", "server", "http", (char *)NULL);
    _exit(127);
}

/* Starts the child with the ends of its pipes. */
static bool spawn(struct http_server *server, const struct http_server_settings *settings, int told, int let)
{
    char asked[128], path[128];
    snprintf(asked, sizeof asked, "%zu %zu %zu %d %d %d", settings->threads, settings->max_body, settings->max_bodies,
             settings->timeout_ms, told, let);
    snprintf(path, sizeof path, "%s/log", server->folder);
    int listening = settings->tcp ? listen_at_port(&server->port) : listen_at(server->socket);
    int log = open(path, O_CREAT | O_WRONLY | O_APPEND | O_CLOEXEC, 0600);
    setenv(ASKED, asked, 1);
    if (settings->allows != NULL)
        setenv("FCGI_WEB_SERVER_ADDRS", settings->allows, 1);
    fflush(NULL);
    server->pid = fork();
    if (server->pid == 0)
        become_server(listening, told, let, log);
    unsetenv(ASKED);
    unsetenv("FCGI_WEB_SERVER_ADDRS");
    close(listening);
    close(log);
    return server->pid > 0;
}

bool http_server_start(struct http_server *server, const struct http_server_settings *settings)
{
    int told[2], let[2];
    const char *temporary = getenv("TMPDIR");
    snprintf(server->folder, sizeof server->folder, "%s/http.XXXXXX", temporary != NULL ? temporary : "/tmp");
    if (mkdtemp(server->folder) == NULL || pipe2(told, O_CLOEXEC) != 0 || pipe2(let, O_CLOEXEC) != 0)
        return false;
    snprintf(server->socket, sizeof server->socket, "%s/socket", server->folder);
    server->port = 0;
    server->told = told[0];
    server->let = let[1];
    bool started = spawn(server, settings, told[1], let[0]);
    close(told[1]);
    close(let[0]);
    return started && http_server_tells(server, 'R');
}

bool http_server_tells(const struct http_server *server, char what)
{
    struct pollfd ready = {.fd = server->told, .events = POLLIN};
    char byte = 0;
    return poll(&ready, 1, 60000) > 0 && read(server->told, &byte, 1) == 1 && byte == what;
}

void http_server_stop(const struct http_server *server)
{
    kill(server->pid, SIGTERM);
}

/* Shows what the server had to say, sanitizers' reports above all. */
static void show_log(const char *path)
{
    char line[1024];
    FILE *log = fopen(path, "r");
    while (log != NULL && fgets(line, sizeof line, log) != NULL)
        fprintf(stderr, "server: %s", line);
    if (log != NULL)
        fclose(log);
}

int http_server_end(struct http_server *server)
{
    int status = 0;
    pid_t ended;
    do {
        ended = waitpid(server->pid, &status, 0);
    } while (ended < 0 && errno == EINTR);
    char path[128];
    snprintf(path, sizeof path, "%s/log", server->folder);
    show_log(path);
    unlink(path);
    unlink(server->socket);
    rmdir(server->folder);
    close(server->told);
    close(server->let);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}
