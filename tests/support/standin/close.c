/* The stand-in for Close as a program of its own: its API at "url", until it is told to stop. */
#include "tests/support/standin/close.h"

#include <signal.h>
#include <stdio.h>

#include "tests/support/standin_close.h"

int standin_close_run(void)
{
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGUSR1);
    sigprocmask(SIG_BLOCK, &signals, NULL); /* before its threads start, so that they inherit it */
    signal(SIGPIPE, SIG_IGN);
    setvbuf(stdout, NULL, _IOLBF, 0);

    struct standin_close *close = standin_close_start(&(struct standin_close_options){.hold_ms = 0});
    printf("url %s\n", standin_close_url(close));
    int caught = 0;
    for (unsigned made = 0; sigwait(&signals, &caught) == 0 && caught == SIGUSR1;) {
        char id[32];
        snprintf(id, sizeof id, "ev_close_%u", ++made);
        standin_close_add(close, &(struct close_event){.id = id, .lead = "lead_1"});
        printf("event %s\n", id);
    }
    struct standin_close_counts counts = standin_close_counts(close);
    printf("total subscriptions=%zu delivered=%zu failed=%zu waiting=%zu\n", standin_close_subscriptions(close),
           counts.delivered, counts.failed, counts.waiting);
    standin_close_stop(close);
    return 0;
}
