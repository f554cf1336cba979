/* The stand-in data plane as a program of its own, for benchmarks and for trying things by hand:
 *   standin PORT WRITE_KEY [CERTIFICATE_FILE KEY_FILE]
 * speaks HTTPS with a certificate, prints "port N" when it listens (PORT 0: any free one), a line of counts each second
 * in which something came, and the totals when it is told to stop (SIGINT, SIGTERM).
 *   standin show PORT WRITE_KEY
 * prints each message that it stores, a line each.
 *   standin close [FAULT]
 * stands in for Close (see close.h). */
#include "tests/support/standin.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tests/support/standin/close.h"
#include "tests/support/temporary.h"

static void print(const char *when, struct standin_counts counts)
{
    printf("%s requests=%zu stored=%zu messages=%zu repeated=%zu refused=%zu\n", when, counts.requests, counts.stored,
           counts.messages, counts.repeated, counts.refused);
}

static size_t show(struct standin *standin, size_t shown)
{
    const struct standin_message *message;
    while ((message = standin_message(standin, shown)) != NULL) {
        printf("message %.*s\n", (int)message->json.length, message->json.at);
        shown++;
    }
    return shown;
}

/* Prints the counts once a second while they change, and what came where it is kept. Returns when a signal of the set
 * came. */
static void watch(struct standin *standin, const sigset_t *signals, bool shows)
{
    struct timespec second = {.tv_sec = 1};
    size_t seen = 0, shown = 0;
    while (sigtimedwait(signals, NULL, &second) < 0) {
        struct standin_counts counts = standin_counts(standin);
        if (counts.requests != seen)
            print("now", counts);
        seen = counts.requests;
        shown = shows ? show(standin, shown) : shown;
    }
    if (shows)
        show(standin, shown);
}

int main(int argc, char **argv)
{
    if ((argc == 2 || argc == 3) && strcmp(argv[1], "close") == 0)
        return standin_close_run(argv[2]);
    bool shows = argc == 4 && strcmp(argv[1], "show") == 0;
    if (shows) {
        argc--;
        argv++;
    }
    char *end = NULL, *certificate = NULL, *private_key = NULL;
    unsigned long port = argc == 3 || argc == 5 ? strtoul(argv[1], &end, 10) : 65536;
    if (port > 65535 || *end != '\0') {
        fprintf(stderr, "usage: standin [show] PORT WRITE_KEY [CERTIFICATE_FILE KEY_FILE] | standin close [FAULT]\n");
        return 2;
    }
    if (argc == 5) {
        certificate = temporary_read(".", argv[3]);
        private_key = temporary_read(".", argv[4]);
        if (certificate == NULL || private_key == NULL) {
            fprintf(stderr, "standin: certificate or key cannot be read\n");
            return 2;
        }
    }
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    sigprocmask(SIG_BLOCK, &signals, NULL); /* before its threads start, so that they inherit it */
    signal(SIGPIPE, SIG_IGN);
    setvbuf(stdout, NULL, _IOLBF, 0);

    struct standin_options options = {.port = (uint16_t)port,
                                      .write_keys = {argv[2]},
                                      .forget_bytes = !shows,
                                      .certificate = certificate,
                                      .private_key = private_key};
    struct standin *standin = standin_start(&options);
    if (standin == NULL) {
        fprintf(stderr, "standin: port %lu cannot be had\n", port);
        return 1;
    }
    printf("port %u\n", standin_port(standin));
    watch(standin, &signals, shows);
    print("total", standin_counts(standin));
    standin_stop(standin);
    free(certificate);
    free(private_key);
    return 0;
}
