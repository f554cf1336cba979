/* The forwarder's loop: what commands ask, a step of each source's pipeline, then sleep until the next thing is due or
 * something comes. */
#include <errno.h>
#include <malloc.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "forward/forward.h"
#include "forward/forward_private.h"

#define QUIET_MS 1200
#define IDLE_MS 1000 /* what is due within this time is waited for before there is nothing left to do */
#define STARVED_MS 1000
#define SET_ASIDE_REASON "set aside by an operator"
#define SLOW_MS 1000 /* a data plane that has a batch for so long is not waited for by other sources */
#define LAST_TRIES 6
#define LAST_PAUSE_MS 50 /* between them */

struct forwarder {
    const struct config *config;
    struct queue *queue;
    struct poster *poster;
    struct gzip *gzip;
    struct pauses pauses;
    struct source_tools tools;
    const struct telemetry *telemetry; /* NULL: nothing is shown */
    struct crash_guard *guard;         /* while this process has a consumer lock; NULL: without */
    struct source_pipeline *pipeline;  /* config->sources of them */
    size_t pipelines;                  /* that are initialised */
    int stop_fd;                       /* readable once the forwarder is to stop */
    atomic_bool stopped;
    _Atomic moment stop_deadline; /* batches in hand are awaited until then */
};

void forwarder_free(struct forwarder *forwarder)
{
    if (forwarder == NULL)
        return;
    for (size_t i = 0; i < forwarder->pipelines; i++)
        source_free(&forwarder->pipeline[i]);
    free(forwarder->pipeline);
    crash_guard_close(forwarder->guard);
    gzip_free(forwarder->gzip);
    poster_free(forwarder->poster);
    if (forwarder->stop_fd >= 0)
        close(forwarder->stop_fd);
    free(forwarder);
}

struct forwarder *forwarder_new(const struct config *config, struct queue *queue, struct error *why)
{
    struct forwarder *forwarder = calloc(1, sizeof *forwarder);
    error_set(why, "out of memory");
    if (forwarder == NULL)
        return NULL;
    forwarder->config = config;
    forwarder->queue = queue;
    forwarder->pauses = (struct pauses){.starved_ms = STARVED_MS, .backoff_ms = BACKOFF_FIRST_MS};
    atomic_init(&forwarder->stopped, false);
    atomic_init(&forwarder->stop_deadline, MOMENT_NEVER);
    forwarder->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    forwarder->gzip = gzip_new();
    forwarder->pipeline = calloc(config->sources, sizeof *forwarder->pipeline);
    forwarder->poster = poster_new(why);
    bool good =
        forwarder->stop_fd >= 0 && forwarder->gzip != NULL && forwarder->pipeline != NULL && forwarder->poster != NULL;
    forwarder->tools = (struct source_tools){config, queue, forwarder->poster, forwarder->gzip, &forwarder->pauses};
    for (size_t i = 0; good && i < config->sources; i++) {
        good = source_init(&forwarder->pipeline[i], &config->source[i], &forwarder->tools, why);
        forwarder->pipelines = i + 1;
    }
    if (!good) {
        forwarder_free(forwarder);
        return NULL;
    }
    return forwarder;
}

void forwarder_watch(struct forwarder *forwarder, const struct telemetry *telemetry)
{
    forwarder->telemetry = telemetry;
    for (size_t i = 0; i < forwarder->pipelines; i++)
        samples_init(&forwarder->pipeline[i], telemetry);
}

void forwarder_limit(struct forwarder *forwarder, const struct post_limits *limits, int64_t starved_ms)
{
    poster_limit(forwarder->poster, limits);
    forwarder->pauses.starved_ms = starved_ms;
}

void forwarder_back_off(struct forwarder *forwarder, int64_t first_ms)
{
    forwarder->pauses.backoff_ms = first_ms;
}

/* ---- What operators' commands ask of the forwarder: that a waiting event is set aside as a dead letter. It is found
 * wherever it waits in memory, and what is held behind it goes on at once. ---- */

/* Where an event is. */
struct waiting_place {
    struct pending *pending; /* the event, or the one that it is the same as; NULL: it is not in memory */
    struct lane *lane;       /* in which that is; NULL: it is held */
    bool in_flight;
};

static struct waiting_place find_event(struct source_pipeline *pipeline, uint64_t id)
{
    struct waiting_place place = {.pending = hold_find(&pipeline->hold, id)};
    for (size_t i = 0; place.pending == NULL && i < pipeline->lanes; i++) {
        place.lane = &pipeline->lane[i];
        place.pending = lane_find(place.lane, id, &place.in_flight);
    }
    return place;
}

/* Takes it out of where it waits, and ends it. */
static void end_pending(struct source_pipeline *pipeline, const struct waiting_place *place, enum verdict_kind kind)
{
    if (place->lane != NULL)
        lane_remove(place->lane, place->pending);
    else
        hold_remove(&pipeline->hold, place->pending);
    source_end(pipeline, place->pending, kind, kind == VERDICT_DEAD ? SET_ASIDE_REASON : NULL);
}

static const char in_flight[] = "it is with the data plane at this very moment: try again when that has answered";

static bool set_event_dead(struct queue *queue, struct source_pipeline *pipeline, const struct queue_request *request,
                           struct error *words)
{
    const struct waiting_end end = {request->event, request->identity, request->remember};
    struct waiting_place place = {.pending = NULL};
    size_t ended;
    if (pipeline != NULL)
        place = find_event(pipeline, request->event);
    if (place.in_flight) {
        error_set(words, in_flight);
        return false;
    }
    if (place.pending != NULL)
        end_pending(pipeline, &place, VERDICT_DEAD);
    bool settled = pipeline == NULL || outbox_settle_now(pipeline); /* its verdict may be in the outbox */
    error_set(words, settled ? "it is a dead letter now"
                             : "it becomes a dead letter as soon as the queue takes it: see the log");
    if (place.pending != NULL)
        return true;
    error_set(words, settled ? "it does not wait any more: it was delivered or settled just now"
                             : "the queue cannot be written now: see the log, and try again");
    if (!settled || !queue_end_waiting(queue, request->source, VERDICT_DEAD, SET_ASIDE_REASON, &end, 1, &ended, words))
        return false;
    if (pipeline != NULL)
        outbox_count(pipeline, &(struct verdict){.id = end.event, .kind = VERDICT_DEAD, .reason = SET_ASIDE_REASON},
                     &(struct ended_event){0}, NULL);
    error_set(words, "it is a dead letter now");
    return true;
}

/* Of those that are in no list of ours what is in the queue still. *erased counts them. */
static bool erase_events(struct queue *queue, struct source_pipeline *pipeline, const struct queue_request *request,
                         size_t *erased, struct error *words)
{
    struct waiting_end rest[QUEUE_ERASES];
    size_t count = 0, more = 0;
    uint64_t before = pipeline == NULL ? 0 : pipeline->outbox.ended[VERDICT_ERASED];
    for (size_t i = 0; i < request->erases; i++) {
        struct waiting_place place = {.pending = NULL};
        if (pipeline != NULL)
            place = find_event(pipeline, request->erase[i].event);
        if (place.in_flight)
            error_set(words, in_flight);
        else if (place.pending != NULL)
            end_pending(pipeline, &place, VERDICT_ERASED);
        else
            rest[count++] = request->erase[i];
    }
    if (pipeline != NULL && !outbox_settle_now(pipeline)) {
        error_set(words, "the queue cannot be written now: see the log, and try again");
        return false;
    }
    *erased = pipeline == NULL ? 0 : (size_t)(pipeline->outbox.ended[VERDICT_ERASED] - before); /* duplicates, too */
    struct error why = {0};
    queue_end_waiting(queue, request->source, VERDICT_ERASED, NULL, rest, count, &more, &why);
    if (why.text[0] != '\0')
        *words = why;
    *erased += more;
    return true;
}

static bool erase_on_request(struct queue *queue, struct source_pipeline *pipeline, const struct queue_request *request,
                             struct error *words)
{
    struct error why = {.text = "some do not wait any more: they were delivered or settled just now"};
    size_t erased = 0;
    bool done = erase_events(queue, pipeline, request, &erased, &why);
    log_write(LEVEL_INFO, "msg=erased source=%.64s events=%zu of=%zu", request->source, erased, request->erases);
    if (done)
        error_set(words, "%zu %s", erased, why.text);
    else
        *words = why;
    return done;
}

static void serve_requests(struct queue *queue, struct source_pipeline *pipeline, size_t pipelines)
{
    struct queue_request request;
    while (queue_take_request(queue, &request)) {
        struct error words = {0};
        struct source_pipeline *of = NULL;
        for (size_t i = 0; i < pipelines; i++) {
            if (strcmp(pipeline[i].source->name, request.source) == 0)
                of = &pipeline[i];
        }
        bool done = request.erases > 0 ? erase_on_request(queue, of, &request, &words)
                                       : set_event_dead(queue, of, &request, &words);
        if (request.erases == 0)
            log_write(LEVEL_INFO, "msg=%s source=%.64s id=%llu", done ? "set_aside" : "not_set_aside", request.source,
                      (unsigned long long)request.event);
        queue_answer_request(queue, request.number, done, words.text);
    }
}

/* ---- the loop ---- */

/* Takes up what the data planes answered. Returns whether there was anything. */
static bool take_answers(struct forwarder *forwarder)
{
    bool any = false;
    for (struct post *post; (post = poster_done(forwarder->poster)) != NULL; any = true)
        answer_follow(post_owner(post), post_answer(post));
    return any;
}

static bool step_all(struct forwarder *forwarder, bool sending)
{
    bool more = false;
    for (size_t i = 0; i < forwarder->pipelines; i++)
        more |= source_step(&forwarder->pipeline[i], sending && !forwarder->pipeline[i].closed);
    return more;
}

static bool any_sending(const struct forwarder *forwarder)
{
    for (size_t i = 0; i < forwarder->pipelines; i++) {
        if (source_is_sending(&forwarder->pipeline[i]))
            return true;
    }
    return false;
}

static moment next_due(const struct forwarder *forwarder)
{
    moment due = MOMENT_NEVER;
    for (size_t i = 0; i < forwarder->pipelines; i++) {
        moment one = forwarder->pipeline[i].closed ? MOMENT_NEVER : source_due(&forwarder->pipeline[i]);
        due = one < due ? one : due;
    }
    return due;
}

static void log_totals(const struct forwarder *forwarder)
{
    for (size_t i = 0; i < forwarder->pipelines; i++) {
        const uint64_t *ended = forwarder->pipeline[i].outbox.ended;
        if (ended[VERDICT_DELIVERED] + ended[VERDICT_DUPLICATE] + ended[VERDICT_DROPPED] + ended[VERDICT_DEAD] == 0)
            continue;
        log_write(LEVEL_INFO, "msg=forwarded source=%s delivered=%llu duplicates=%llu dropped=%llu dead=%llu",
                  forwarder->pipeline[i].source->name, (unsigned long long)ended[VERDICT_DELIVERED],
                  (unsigned long long)ended[VERDICT_DUPLICATE], (unsigned long long)ended[VERDICT_DROPPED],
                  (unsigned long long)ended[VERDICT_DEAD]);
    }
}

/* Sources that keep this process waiting after its time send no more. Returns whether there are any. */
static bool close_slow(struct forwarder *forwarder)
{
    bool any = false;
    for (size_t i = 0; i < forwarder->pipelines; i++) {
        struct source_pipeline *pipeline = &forwarder->pipeline[i];
        if (source_sends_since(pipeline) > clock_now() - SLOW_MS)
            continue;
        source_close(pipeline);
        any = true;
    }
    return any;
}

/* A step of all after the time is over. others: those that are not closed go on. Returns whether another step at once
 * would find something to do. */
static bool step_late(struct forwarder *forwarder, bool others)
{
    bool more = false;
    if (others) {
        queue_clear_wakeup(forwarder->queue);
        serve_requests(forwarder->queue, forwarder->pipeline, forwarder->pipelines);
    }
    for (size_t i = 0; i < forwarder->pipelines; i++)
        more |= source_step(&forwarder->pipeline[i], others && !forwarder->pipeline[i].closed);
    return take_answers(forwarder) || more;
}

/* Also what failed a moment ago. It is the last chance, behind which it would be sent again: what fails once is tried
 * again at once, and as long as there is time, but not for long, for who waits for the end may kill. */
static void settle_last(struct forwarder *forwarder)
{
    const struct timespec pause = {.tv_nsec = LAST_PAUSE_MS * 1000000L};
    bool settled = false;
    for (unsigned tries = 0; !settled && tries < LAST_TRIES; tries++) {
        if (tries > 1 && clock_now() + LAST_PAUSE_MS >= atomic_load(&forwarder->stop_deadline))
            return;
        if (tries > 1)
            nanosleep(&pause, NULL);
        settled = true;
        for (size_t i = 0; i < forwarder->pipelines; i++)
            settled = outbox_settle_now(&forwarder->pipeline[i]) && settled;
    }
}

/* The time is over: what is with the data planes is awaited, and nothing new is sent. But one that is slow may take a
 * quarter of an hour, and nobody else can forward meanwhile: as long as there is one the other sources go on, each
 * until it is slow itself, so that this comes to an end. After a stop they do not. */
static void finish_in_flight(struct forwarder *forwarder)
{
    int descriptors[] = {forwarder->stop_fd, queue_wake_fd(forwarder->queue)};
    while (any_sending(forwarder)) {
        bool stopped = atomic_load(&forwarder->stopped); /* a stop may still come, with its own deadline */
        moment deadline = atomic_load(&forwarder->stop_deadline), look = clock_now() + SLOW_MS;
        if (clock_now() >= deadline)
            break;
        bool others = !stopped && close_slow(forwarder);
        if (step_late(forwarder, others))
            continue;
        moment due = others ? next_due(forwarder) : MOMENT_NEVER;
        due = due < look ? due : look;
        unsigned awaited = others ? 2 : 1; /* new events wake only who may still send */
        poster_wait(forwarder->poster, descriptors, stopped ? 0 : awaited,
                    clock_until(due < deadline ? due : deadline));
    }
    settle_last(forwarder);
    step_all(forwarder, false);
    log_totals(forwarder);
}

static bool is_idle(const struct forwarder *forwarder)
{
    return !any_sending(forwarder) && next_due(forwarder) > clock_now() + IDLE_MS;
}

static bool claim_queue(const struct forwarder *forwarder)
{
    struct error why;
    char words[LOG_QUOTED];
    bool claimed = queue_claim(forwarder->queue, &why);
    if (claimed)
        log_write(LEVEL_INFO, "msg=forwards");
    else
        log_write(why.kind == ERROR_BUSY ? LEVEL_INFO : LEVEL_ERROR, "msg=%s_forward reason=%s",
                  why.kind == ERROR_BUSY ? "does_not" : "cannot", log_quote_reason(words, why.text));
    return claimed;
}

static void follow_all(struct forwarder *forwarder)
{
    for (size_t i = 0; i < forwarder->pipelines; i++)
        source_follow(&forwarder->pipeline[i], &forwarder->tools, forwarder->telemetry, forwarder->guard);
}

static void rest_all(struct forwarder *forwarder)
{
    bool much = false;
    for (size_t i = 0; i < forwarder->pipelines; i++)
        much |= source_rest(&forwarder->pipeline[i]);
    if (much)
        malloc_trim(0); /* else most of it stays this process's */
}

/* Whether the owner is to go on. */
static bool may_go_on(const struct forwarder *forwarder, moment deadline)
{
    return !atomic_load(&forwarder->stopped) && clock_now() < deadline && !queue_is_lost(forwarder->queue);
}

bool forwarder_run(struct forwarder *forwarder, enum forward_until until, moment deadline)
{
    if (!claim_queue(forwarder))
        return false;
    if (forwarder->guard == NULL && config_state_dir(forwarder->config) != NULL)
        forwarder->guard = crash_guard_open(forwarder->config->state_dir);
    int descriptors[] = {queue_wake_fd(forwarder->queue), forwarder->stop_fd};
    moment busy = clock_now();
    while (may_go_on(forwarder, deadline)) {
        queue_clear_wakeup(forwarder->queue); /* before looking: what comes after it wakes */
        follow_all(forwarder);
        serve_requests(forwarder->queue, forwarder->pipeline, forwarder->pipelines);
        bool more = step_all(forwarder, true);
        more |= take_answers(forwarder);
        if (more || any_sending(forwarder))
            busy = clock_now();
        if (more)
            continue;
        moment end = until == FORWARD_UNTIL_QUIET ? busy + QUIET_MS : 0;
        if (until != FORWARD_UNTIL_STOPPED && is_idle(forwarder) && clock_now() >= end)
            break;
        rest_all(forwarder);
        moment due = next_due(forwarder);
        if (end > clock_now() && end < due)
            due = end;
        if (may_go_on(forwarder, deadline)) /* a queue that was lost just now wakes nobody */
            poster_wait(forwarder->poster, descriptors, 2, clock_until(due < deadline ? due : deadline));
    }
    if (!queue_is_lost(forwarder->queue)) /* else what is in hand is another owner's, who reads it again */
        finish_in_flight(forwarder);
    return true;
}

bool forwarder_owns(const struct forwarder *forwarder, size_t source)
{
    return source_is_owned(&forwarder->pipeline[source]);
}

uint64_t forwarder_read_up_to(const struct forwarder *forwarder, size_t source)
{
    return forwarder->pipeline[source].intake.last_id;
}

void forwarder_stop(struct forwarder *forwarder, moment deadline)
{
    uint64_t one = 1;
    atomic_store(&forwarder->stop_deadline, deadline);
    atomic_store(&forwarder->stopped, true);
    ssize_t n = write(forwarder->stop_fd, &one, sizeof one);
    (void)n; /* EAGAIN: it is readable already */
}
