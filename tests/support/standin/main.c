/* The stand-in data plane as a program of its own, for benchmarks and for trying things by hand:
 *   standin PORT WRITE_KEY [CERTIFICATE_FILE KEY_FILE]
 * speaks HTTPS with a certificate, prints "port N" when it listens (PORT 0: any free one), a line of counts each second
 * in which something came, and the totals when it is told to stop (SIGINT, SIGTERM).
 *   standin close
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

/* Prints the counts once a second while they change. Returns when a signal of the set came. */
static void watch(struct standin *standin, const sigset_t *signals)
{
    struct timespec second = {.tv_sec = 1};
    size_t seen = 0;
    while (sigtimedwait(signals, NULL, &second) < 0) {
        struct standin_counts counts = standin_counts(standin);
        if (counts.requests != seen)
            print("now", counts);
        seen = counts.requests;
    }
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "close") == 0)
        return standin_close_run();
    char *end = NULL, *certificate = NULL, *private_key = NULL;
    unsigned long port = argc == 3 || argc == 5 ? strtoul(argv[1], &end, 10) : 65536;
    if (port > 65535 || *end != '\0') {
        fprintf(stderr, "usage: standin PORT WRITE_KEY [CERTIFICATE_FILE KEY_FILE] | standin close\n");
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
                                      .forget_bytes = true,
                                      .certificate = certificate,
                                      .private_key = private_key};
    struct standin *standin = standin_start(&options);
    if (standin == NULL) {
        fprintf(stderr, "standin: port %lu cannot be had\n", port);
        return 1;
    }
    printf("port %u\n", standin_port(standin));
    watch(standin, &signals);
    print("total", standin_counts(standin));
    standin_stop(standin);
    free(certificate);
    free(private_key);
    return 0;
}
