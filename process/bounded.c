/* Forwarding for a limited time: see process.h. */
#include "process/process.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/log.h"
#include "forward/forward.h"
#include "queue/inspect.h"
#include "queue/queue.h"
#include "telemetry/telemetry.h"

#define STOPPED_LATE_MS 200 /* what the thread may take beyond its deadline */
#define LOOK_MS 1000        /* between checks whether the queue must be reopened */

/* One claim of the queue, from taking it to releasing it. */
struct bounded_round {
    const struct config *config;
    struct queue *queue;
    struct forwarder *forwarder;
    pthread_t thread;           /* in which it does */
    struct telemetry telemetry; /* of what it forwards */
    moment deadline;
    const struct bounded_leave *leave; /* NULL: it does not stay, and nobody relies on it */
    sigset_t before;                   /* the signal mask of the caller */
    int signals;                       /* readable when one came */
    int done;                          /* readable when the thread has ended */
    bool stopped;
    bool left; /* others know that it leaves */
};

static void *run_forwarder(void *context)
{
    struct bounded_round *round = context;
    uint64_t one = 1;
    forwarder_run(round->forwarder, round->leave == NULL ? FORWARD_UNTIL_IDLE : FORWARD_UNTIL_QUIET, round->deadline);
    while (write(round->done, &one, sizeof one) < 0 && errno == EINTR)
        ;
    return NULL;
}

/* The thread hangs, in a disk or a library: it ends with the process, as by SIGKILL. */
static _Noreturn void exit_with_hung_thread(struct bounded_round *round)
{
    pthread_detach(round->thread);
    log_write(LEVEL_WARN, "msg=left_behind what=\"a thread that hangs\"");
    _exit(CODE_FAILED);
}

/* Waits for the thread's end, and makes it end early at a signal or when others wait to repair the queue. */
static void wait_for_thread(struct bounded_round *round)
{
    moment latest = MOMENT_NEVER;
    struct pollfd polled[] = {{.fd = round->done, .events = POLLIN}, {.fd = round->signals, .events = POLLIN}};
    while ((polled[0].revents & POLLIN) == 0) {
        polled[1].fd = round->stopped ? -1 : round->signals;
        if (clock_now() > latest)
            exit_with_hung_thread(round);
        if (poll(polled, 2, round->stopped ? STOPPED_LATE_MS : LOOK_MS) < 0)
            continue;
        if (round->stopped || ((polled[1].revents & POLLIN) == 0 && !queue_must_reopen(round->queue)))
            continue;
        round->stopped = true;
        moment deadline = clock_now() + round->config->shutdown_grace_ms;
        latest = deadline + STOPPED_LATE_MS;
        forwarder_stop(round->forwarder, deadline);
    }
}

/* No thread can be had: forwards in this one. Nothing waits for signals then, so they end the process at once, which
 * loses nothing. */
static void forward_in_this_thread(struct bounded_round *round)
{
    sigset_t blocked;
    pthread_sigmask(SIG_SETMASK, &round->before, &blocked);
    run_forwarder(round);
    pthread_sigmask(SIG_SETMASK, &blocked, NULL);
}

/* Forwards in a thread of its own. */
static enum bounded forward_in_thread(struct bounded_round *round, struct error *why)
{
    round->done = eventfd(0, EFD_CLOEXEC);
    if (round->done < 0) {
        error_set(why, "cannot make an eventfd: %s", strerror(errno));
        return BOUNDED_FAILED;
    }
    if (pthread_create(&round->thread, NULL, run_forwarder, round) == 0) {
        wait_for_thread(round);
        pthread_join(round->thread, NULL);
    } else {
        forward_in_this_thread(round);
    }
    close(round->done);
    return round->stopped ? BOUNDED_STOPPED : BOUNDED_DONE;
}

/* Claims the queue and forwards. The claim first: of many children of CGI requests most find the queue claimed, and
 * need no forwarder. */
static enum bounded claim_and_forward(struct bounded_round *round, struct error *why)
{
    if (!queue_claim(round->queue, why))
        return why->kind == ERROR_BUSY ? BOUNDED_ELSEWHERE : BOUNDED_FAILED;
    round->forwarder = forwarder_new(round->config, round->queue, why);
    if (round->forwarder == NULL)
        return BOUNDED_FAILED;
    telemetry_open(&round->telemetry, round->config);
    forwarder_watch(round->forwarder, &round->telemetry);
    return forward_in_thread(round, why);
}

/* How far the rounds have read in a source. */
struct source_progress {
    bool owned;    /* by the last round: else what comes is another process's matter */
    uint64_t read; /* up to the event of this id */
    uint64_t seen; /* id of the first event beyond it at the last look */
};

/* One round. Closes the queue, which releases the claim. */
static enum bounded run_round(struct bounded_round *round, struct source_progress *progress, struct error *why)
{
    round->forwarder = NULL;
    enum bounded result = claim_and_forward(round, why);
    for (size_t i = 0; result == BOUNDED_DONE && i < round->config->sources; i++) {
        uint64_t read = forwarder_read_up_to(round->forwarder, i);
        progress[i].owned = forwarder_owns(round->forwarder, i);
        progress[i].read = read > progress[i].read ? read : progress[i].read;
    }
    forwarder_free(round->forwarder);
    telemetry_close(&round->telemetry);
    queue_close(round->queue);
    return result;
}

/* Whether an event came in that no round has read. An event that was seen after the last round, too, is none: the round
 * could not read it, for the most that may wait in memory was reached. */
static bool came_since(const struct config *config, struct queue *queue, struct source_progress *progress)
{
    struct events found = {0};
    bool came = false;
    for (size_t i = 0; i < config->sources; i++) {
        if (!progress[i].owned || queue_list(queue, config->source[i].name, progress[i].read, 1, 1, &found, NULL) <= 0)
            continue;
        came |= found.at[0].id != progress[i].seen;
        progress[i].seen = found.at[0].id;
    }
    events_free(&found);
    return came;
}

/* From here on others know that this process leaves. */
static void leave(struct bounded_round *round)
{
    if (round->leave != NULL && !round->left)
        round->leave->leave(round->leave->context);
    round->left = true;
}

/* Whether it is this process that forwards what came. */
static bool stays(struct bounded_round *round)
{
    bool stays = round->leave == NULL || round->leave->stay(round->leave->context);
    round->left = !stays;
    return stays;
}

/* Another process has the claim. What came while others relied on this one that process may have missed, when it had
 * looked for the last time already: so the claim is asked for again, and is left to it only then. */
static bool asks_again(struct bounded_round *round)
{
    bool again = round->leave != NULL && !round->left;
    leave(round);
    return again;
}

static enum bounded run_rounds(struct bounded_round *round, struct source_progress *progress, struct error *why)
{
    round->queue = queue_open(round->config, why);
    while (round->queue != NULL) {
        enum bounded result = run_round(round, progress, why);
        bool again = result == BOUNDED_ELSEWHERE && asks_again(round);
        if (result != BOUNDED_DONE && !again)
            return result;
        if (clock_now() >= round->deadline)
            return round->leave == NULL ? BOUNDED_DONE : BOUNDED_LATE;
        leave(round);
        /* Looks without a claim: a process that stores an event from now on can claim the queue itself. */
        round->queue = queue_open(round->config, why);
        if (round->queue == NULL || again || (came_since(round->config, round->queue, progress) && stays(round)))
            continue;
        queue_close(round->queue);
        return result;
    }
    return BOUNDED_FAILED;
}

enum bounded bounded_forward(const struct config *config, moment deadline, struct error *why)
{
    return bounded_forward_on(config, deadline, NULL, why);
}

enum bounded bounded_forward_on(const struct config *config, moment deadline, const struct bounded_leave *leave,
                                struct error *why)
{
    static const int numbers[] = {SIGTERM, SIGINT};
    sigset_t signals;
    struct bounded_round round = {.config = config, .deadline = deadline, .leave = leave};
    struct source_progress *progress = calloc(config->sources, sizeof *progress);
    if (progress == NULL) {
        error_set(why, "out of memory");
        return BOUNDED_FAILED;
    }
    sigemptyset(&signals);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        sigaddset(&signals, numbers[i]);
    pthread_sigmask(SIG_BLOCK, &signals, &round.before); /* in every thread that starts from here */
    round.signals = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
    enum bounded result = run_rounds(&round, progress, why);
    if (round.signals >= 0)
        close(round.signals);
    /* A pending signal takes effect here, when everything is released. */
    pthread_sigmask(SIG_SETMASK, &round.before, NULL);
    free(progress);
    return result;
}
