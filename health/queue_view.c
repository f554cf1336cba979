/* Looking into the queue: see queue_view.h. */
#include "health/queue_view.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "health/findings.h"
#include "transform/shown.h"

#define TRY_AGAIN_MS 2000
#define WAITING_BYTES ((size_t)1024 * 1024)     /* of the bodies of events that wait and are listed */
#define EVENT_BYTES ((size_t)16 * 1024 * 1024)  /* of one */
#define LETTERS_BYTES ((size_t)1024 * 1024)     /* likewise of dead letters */
#define LETTER_BYTES ((size_t)16 * 1024 * 1024) /* of one */
#define REPLAY_STEP 200                         /* dead letters that are replayed at once */

void queue_view_init(struct queue_view *view, const struct config *config)
{
    *view = (struct queue_view){.config = config};
    pthread_mutex_init(&view->lock, NULL);
}

void queue_view_free(struct queue_view *view)
{
    if (view->queue != NULL)
        queue_close(view->queue);
    pthread_mutex_destroy(&view->lock);
}

/* Under the lock. The queue, or NULL: it keeps nothing, does not stand yet, or view->why says why. */
static struct queue *open_view(struct queue_view *view)
{
    if (view->config->queue == QUEUE_NONE)
        return NULL;
    if (view->queue != NULL && queue_must_reopen(view->queue)) {
        queue_close(view->queue);
        view->queue = NULL;
    }
    moment now = clock_now();
    if (view->queue != NULL || (view->tried > 0 && now - view->tried < TRY_AGAIN_MS))
        return view->queue;
    view->queue = queue_open(view->config, &view->why);
    view->tried = view->queue == NULL ? now : 0;
    return view->queue;
}

struct facts *queue_view_facts(struct queue_view *view, bool others)
{
    pthread_mutex_lock(&view->lock);
    struct queue *queue = open_view(view);
    struct facts *facts =
        facts_gather(view->config, queue, queue == NULL ? &view->why : NULL, view->telemetry.counters, clock_unix_ms());
    pthread_mutex_unlock(&view->lock);
    if (facts == NULL)
        return NULL;
    if (others)
        facts_add_others(facts);
    facts_leave_out_empty(facts);
    if (findings_judge(facts))
        return facts;
    facts_free(facts);
    return NULL;
}

void queue_view_describe(struct recent_event *out, const char *source, const char *body, size_t length)
{
    struct headline headline;
    headline_read(&headline, body, length);
    memset(out, 0, sizeof *out);
    snprintf(out->source, sizeof out->source, "%.71s", source);
    headline_event(&headline, out->name, sizeof out->name);
    snprintf(out->lead, sizeof out->lead, "%s", headline.lead == NULL ? "" : headline.lead);
    snprintf(out->id, sizeof out->id, "%s", headline.id == NULL ? "" : headline.id);
    out->bytes = length;
}

static void describe_waiting(struct recent_event *out, const char *source, const struct event *event)
{
    queue_view_describe(out, source, event->body, event->length);
    snprintf(out->state, sizeof out->state, "waiting");
    out->queue_id = event->id;
    out->received_ms = event->received_ms;
}

/* Under the lock. */
static size_t list_waiting(struct queue *queue, const struct source_facts *source, struct recent_event *out,
                           size_t most)
{
    struct events found = {0};
    size_t count = 0;
    if (source->counts.waiting == 0 || queue_list(queue, source->name, 0, most, WAITING_BYTES, &found, NULL) <= 0) {
        events_free(&found);
        return 0;
    }
    for (; count < found.count; count++)
        describe_waiting(&out[found.count - 1 - count], source->name, &found.at[count]);
    events_free(&found);
    return count;
}

/* Takes out those of other sources. */
static size_t keep_source(struct recent_event *events, size_t count, const char *source)
{
    size_t kept = 0;
    for (size_t i = 0; i < count; i++) {
        if (source != NULL && strcmp(source, events[i].source) != 0)
            continue;
        if (kept != i)
            events[kept] = events[i];
        kept++;
    }
    return kept;
}

/* When an event came: a queue that keeps nothing does not know it, and then it is when it ended. */
static int64_t came_ms(const struct recent_event *event)
{
    return event->received_ms > 0 ? event->received_ms : event->ended_ms;
}

static int last_received_first(const void *a, const void *b)
{
    const struct recent_event *left = a, *right = b;
    if (came_ms(left) != came_ms(right))
        return came_ms(left) < came_ms(right) ? 1 : -1;
    if (left->queue_id != right->queue_id)
        return left->queue_id < right->queue_id ? 1 : -1;
    int order = strcmp(left->source, right->source);
    if (order != 0)
        return order;
    return left->number < right->number ? 1 : left->number > right->number ? -1 : 0;
}

/* In that order. An event that ended between the two looks is in both lists: then it has ended. */
static size_t leave_out_twins(struct recent_event *events, size_t count)
{
    size_t kept = 0;
    for (size_t i = 0; i < count; i++) {
        const struct recent_event *before = kept == 0 ? NULL : &events[kept - 1];
        if (before != NULL && events[i].number == 0 && before->queue_id == events[i].queue_id &&
            came_ms(before) == came_ms(&events[i]) && strcmp(before->source, events[i].source) == 0)
            continue;
        if (kept != i)
            events[kept] = events[i];
        kept++;
    }
    return kept;
}

static size_t list_recent(const struct queue_view *view, int64_t now_ms, struct recent_event *out)
{
    return machines_recent_list(view->config, view->telemetry.recent, counters_machine(view->telemetry.counters),
                                now_ms, out, RECENT_COUNT);
}

size_t queue_view_events(struct queue_view *view, const struct facts *facts, const char *source, size_t waiting,
                         struct recent_event *out)
{
    size_t count = 0;
    pthread_mutex_lock(&view->lock);
    struct queue *queue = open_view(view);
    for (size_t i = 0; queue != NULL && i < facts->sources && count < waiting; i++) {
        if (source == NULL || strcmp(source, facts->source[i].name) == 0)
            count += list_waiting(queue, &facts->source[i], out + count, waiting - count);
    }
    size_t recent = list_recent(view, facts->now_ms, out + count);
    pthread_mutex_unlock(&view->lock);
    count += keep_source(out + count, recent, source);
    qsort(out, count, sizeof *out, last_received_first);
    return leave_out_twins(out, count);
}

bool queue_view_waiting(struct queue_view *view, const char *source, uint64_t id, struct events *found)
{
    pthread_mutex_lock(&view->lock);
    struct queue *queue = open_view(view);
    bool there = queue != NULL && id > 0 && queue_list(queue, source, id - 1, 1, EVENT_BYTES, found, NULL) == 1 &&
                 found->at[0].id == id;
    pthread_mutex_unlock(&view->lock);
    return there;
}

size_t queue_view_attempts(struct queue_view *view, const char *source, uint64_t id, int64_t since_ms,
                           struct attempt out[static ATTEMPTS_KEPT])
{
    pthread_mutex_lock(&view->lock);
    size_t count = attempts_of(view->telemetry.attempts, source, id, since_ms, out);
    pthread_mutex_unlock(&view->lock);
    return count;
}

void queue_view_letters(struct queue_view *view, const char *source, uint64_t after, size_t most,
                        struct letters *letters, bool *more)
{
    struct letters next = {0};
    *more = false;
    pthread_mutex_lock(&view->lock);
    struct queue *queue = open_view(view);
    int n = queue == NULL ? 0 : queue_letters(queue, source, after, most, LETTERS_BYTES, letters, NULL);
    if (n > 0)
        *more = queue_letters(queue, source, letters->at[n - 1].id, 1, 1, &next, NULL) > 0;
    pthread_mutex_unlock(&view->lock);
    letters_free(&next);
}

size_t queue_view_recent(struct queue_view *view, struct recent_event *out)
{
    pthread_mutex_lock(&view->lock);
    size_t count = list_recent(view, clock_unix_ms(), out);
    pthread_mutex_unlock(&view->lock);
    return count;
}

bool queue_view_event(struct queue_view *view, uint64_t number, struct recent_whole *whole)
{
    pthread_mutex_lock(&view->lock);
    bool found = machines_recent_get(view->config, view->telemetry.recent, counters_machine(view->telemetry.counters),
                                     number, clock_unix_ms(), whole);
    pthread_mutex_unlock(&view->lock);
    return found;
}

bool queue_view_letter(struct queue_view *view, uint64_t id, struct letters *letters)
{
    pthread_mutex_lock(&view->lock);
    struct queue *queue = open_view(view);
    bool found = queue != NULL && id > 0 && queue_letters(queue, NULL, id - 1, 1, LETTER_BYTES, letters, NULL) == 1 &&
                 letters->at[0].id == id;
    pthread_mutex_unlock(&view->lock);
    return found;
}

bool queue_view_replay(struct queue_view *view, uint64_t id, size_t *done, struct error *why)
{
    pthread_mutex_lock(&view->lock);
    struct queue *queue = open_view(view);
    bool good = queue != NULL && queue_replay(queue, &id, 1, done, why);
    if (queue == NULL)
        error_set(why, "the queue cannot be opened");
    pthread_mutex_unlock(&view->lock);
    return good;
}

/* Under the lock. One step: replays the next dead letters beyond *after. Returns false with the reason, or when there
 * are no more: then why is "". */
static bool replay_step(struct queue_view *view, const char *source, size_t most, uint64_t *after, size_t *done,
                        struct error *why)
{
    uint64_t ids[REPLAY_STEP];
    size_t count = 0, replayed = 0;
    struct letters found = {0};
    struct queue *queue = open_view(view);
    error_set(why, "%s", queue == NULL ? "the queue cannot be opened" : "");
    int n = queue == NULL ? -1 : queue_letters(queue, source, *after, REPLAY_STEP, LETTERS_BYTES, &found, why);
    for (int i = 0; i < n && *done + count < most; i++) {
        *after = found.at[i].id;
        if (!found.at[i].replayed)
            ids[count++] = found.at[i].id;
    }
    bool good = n > 0 && (count == 0 || queue_replay(queue, ids, count, &replayed, why));
    *done += replayed;
    letters_free(&found);
    return good;
}

/* A letter that dies again meanwhile keeps its id: none is replayed twice. */
bool queue_view_replay_all(struct queue_view *view, const char *source, size_t most, moment deadline, size_t *done,
                           struct error *why)
{
    uint64_t after = 0;
    bool more = true;
    *done = 0;
    error_set(why, "%s", "");
    while (more && *done < most && clock_now() < deadline) {
        pthread_mutex_lock(&view->lock); /* others may look in between */
        more = replay_step(view, source, most, &after, done, why);
        pthread_mutex_unlock(&view->lock);
    }
    return more || why->text[0] == '\0';
}

void queue_view_wake(struct queue_view *view)
{
    pthread_mutex_lock(&view->lock);
    struct queue *queue = open_view(view);
    if (queue != NULL)
        queue_wake(queue);
    pthread_mutex_unlock(&view->lock);
}
