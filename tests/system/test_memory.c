/* Memory that is short: strangers send large bodies to a program whose address space is limited. It answers, whatever
 * it answers, and is there afterwards. */
#include "tests/suites.h"

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "tests/support/check.h"
#include "tests/support/durable.h"
#include "tests/support/fastcgi_client.h"
#include "tests/support/running.h"

#define STRANGERS 24
#define BODY "15000000"
#define PIECE 65528
#define EVENTS 20
#define ROOM_KILOBYTES 28000
#define PATIENCE_MS 60000

/* The sanitizers need more addresses than there are: with them only the bodies' own limit is tried. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define LIMITED false
#else
#define LIMITED true
#endif

struct strangers {
    char socket[PATH_SIZE];
    atomic_bool stop;
    atomic_size_t answered; /* requests of theirs */
    pthread_t threads[STRANGERS];
};

static void send_body(const struct strangers *strangers, int fd)
{
    static const char piece[PIECE] = "x";
    size_t left = strtoul(BODY, NULL, 10);
    while (left > 0 && !atomic_load(&strangers->stop)) {
        size_t length = left < PIECE ? left : PIECE;
        if (!fastcgi_body(fd, piece, length))
            return;
        left -= length;
    }
    fastcgi_body(fd, "", 0);
}

/* Looks like Close until its body is there. */
static void *be_a_stranger(void *context)
{
    struct strangers *strangers = context;
    char now[24];
    snprintf(now, sizeof now, "%lld", (long long)(clock_unix_ms() / 1000));
    const struct fastcgi_parameter parameters[] = {
        {"REQUEST_METHOD", "POST"},
        {"PATH_INFO", "/alpha"},
        {"REMOTE_ADDR", "192.0.2.1"},
        {"CONTENT_LENGTH", BODY},
        {"HTTP_CLOSE_SIG_HASH", "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"},
        {"HTTP_CLOSE_SIG_TIMESTAMP", now},
        {NULL, NULL}};
    while (!atomic_load(&strangers->stop)) {
        struct fastcgi_answer answer;
        int fd = fastcgi_connect(strangers->socket);
        if (fd < 0)
            break;
        if (fastcgi_begin(fd, false, parameters))
            send_body(strangers, fd);
        if (!atomic_load(&strangers->stop)) {
            if (fastcgi_read(fd, &answer, PATIENCE_MS) && answer.status != 0)
                atomic_fetch_add(&strangers->answered, 1);
            fastcgi_answer_free(&answer);
        }
        close(fd);
    }
    return NULL;
}

static void storm(struct site *site, pid_t program)
{
    static struct strangers strangers;
    size_t kept = 0;
    char id[32];
    atomic_store(&strangers.stop, false);
    site_socket(site, strangers.socket);
    for (size_t i = 0; i < STRANGERS; i++)
        pthread_create(&strangers.threads[i], NULL, be_a_stranger, &strangers);
    for (size_t i = 0; i < EVENTS; i++) {
        snprintf(id, sizeof id, "ev_%zu", i);
        int status = site_send(site, id).status;
        check(status == 200 || status == 503, "%s is answered %d", id, status);
        kept += status == 200;
        poll(NULL, 0, 20);
    }
    for (moment deadline = clock_now() + PATIENCE_MS; atomic_load(&strangers.answered) < STRANGERS;) {
        if (!check(clock_now() < deadline && process_alive(&site->program), "strangers are answered"))
            break;
        poll(NULL, 0, 10);
    }
    atomic_store(&strangers.stop, true);
    for (size_t i = 0; i < STRANGERS; i++)
        pthread_join(strangers.threads[i], NULL);
    check(process_alive(&site->program) && site->program.pid == program, "the program lives");
    CU_ASSERT_EQUAL(site_send(site, "ev_after").status, 200);
    check(site_wait_logged(site, "msg=refused kind=no_memory", 1, PATIENCE_MS), "some were refused for want of memory");
    check(kept > 0, "events were kept meanwhile");
}

/* Starts it with little more addresses than it needs when nothing happens. */
static bool start_limited(struct site *site)
{
    static char limit[32];
    static const char *const generous[] = {"/usr/bin/prlimit", "--as=2000000000", NULL};
    static const char *const tight[] = {"/usr/bin/prlimit", limit, NULL};
    if (!LIMITED)
        return true;
    if (!durable_start_anew(site, generous) || !check(site_send(site, "ev_first").status == 200, "it works"))
        return false;
    snprintf(limit, sizeof limit, "--as=%ld", (process_status(site->program.pid, "VmSize") + ROOM_KILOBYTES) * 1024);
    return durable_start_anew(site, tight);
}

static void strangers_cannot_end_it(void)
{
    struct site site;
    if (durable_open(&site, &setup_lighttpd_spawn, NULL) && start_limited(&site))
        storm(&site, site.program.pid);
    CU_ASSERT_EQUAL(site_close(&site), 0);
}

void suite_memory(void)
{
    static CU_TestInfo tests[] = {
        {"strangers with large bodies cannot end it", strangers_cannot_end_it},
        CU_TEST_INFO_NULL,
    };
    suite_add("memory", NULL, NULL, tests);
}
