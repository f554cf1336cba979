/* The stand-in for Close as a program of its own: its API at "url", until it is told to stop. */
#include "tests/support/standin/close.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "tests/support/standin_close.h"

int standin_close_run(const char *fault)
{
    bool limits = fault != NULL && strcmp(fault, "limit") == 0, cuts = fault != NULL && strcmp(fault, "cut") == 0;
    if (fault != NULL && !limits && !cuts) {
        fprintf(stderr, "standin close: no fault %s\n", fault);
        return 2;
    }
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGUSR1);
    sigprocmask(SIG_BLOCK, &signals, NULL); /* before its threads start, so that they inherit it */
    signal(SIGPIPE, SIG_IGN);
    setvbuf(stdout, NULL, _IOLBF, 0);

    struct standin_close *close =
        standin_close_start(&(struct standin_close_options){.limit_every = limits ? 3 : 0, .limit_for = "1"});
    if (cuts)
        standin_close_fail(close, &(struct close_fault){.match = "POST", .act = CLOSE_DONE_CUT, .times = 1});
    printf("url %s\n", standin_close_url(close));
    int caught = 0;
    for (unsigned made = 0; sigwait(&signals, &caught) == 0 && caught == SIGUSR1;) {
        char id[32];
        snprintf(id, sizeof id, "ev_close_%u", ++made);
        standin_close_add(close, &(struct close_event){.id = id, .lead = "lead_1"});
        printf("event %s\n", id);
    }
    struct standin_close_counts counts = standin_close_counts(close);
    printf("total subscriptions=%zu delivered=%zu failed=%zu waiting=%zu limited=%zu\n",
           standin_close_subscriptions(close), counts.delivered, counts.failed, counts.waiting, counts.limited);
    standin_close_stop(close);
    return 0;
}
