/* Looking into the queue: see queue_view.h. */
#include "health/queue_view.h"

#include <stdio.h>
#include <string.h>

#include "health/findings.h"
#include "transform/headline.h"

#define TRY_AGAIN_MS 2000
#define WAITING_MOST 20                         /* events shown that wait */
#define WAITING_BYTES ((size_t)1024 * 1024)     /* of their bodies */
#define LETTERS_BYTES ((size_t)1024 * 1024)     /* likewise of dead letters */
#define LETTER_BYTES ((size_t)16 * 1024 * 1024) /* of one */

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

struct facts *queue_view_facts(struct queue_view *view)
{
    pthread_mutex_lock(&view->lock);
    struct queue *queue = open_view(view);
    struct facts *facts =
        facts_gather(view->config, queue, queue == NULL ? &view->why : NULL, view->telemetry.counters, clock_unix_ms());
    pthread_mutex_unlock(&view->lock);
    if (facts == NULL)
        return NULL;
    facts_leave_out_empty(facts);
    if (findings_judge(facts))
        return facts;
    facts_free(facts);
    return NULL;
}

/* An event that waits, as far as a look at its text tells. */
static void describe_waiting(struct recent_event *out, const char *source, const struct event *event)
{
    struct headline headline;
    headline_read(&headline, event->body, event->length);
    memset(out, 0, sizeof *out);
    snprintf(out->source, sizeof out->source, "%.71s", source);
    headline_event(&headline, out->name, sizeof out->name);
    snprintf(out->lead, sizeof out->lead, "%s", headline.lead == NULL ? "" : headline.lead);
    snprintf(out->id, sizeof out->id, "%s", headline.id == NULL ? "" : headline.id);
    snprintf(out->state, sizeof out->state, "waiting");
    out->received_ms = event->received_ms;
    out->bytes = event->length;
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

size_t queue_view_events(struct queue_view *view, const struct facts *facts, const char *source,
                         struct recent_event *out, size_t most)
{
    size_t count = 0;
    pthread_mutex_lock(&view->lock);
    struct queue *queue = open_view(view);
    for (size_t i = 0; queue != NULL && i < facts->sources && count < WAITING_MOST && count < most; i++) {
        if (source == NULL || strcmp(source, facts->source[i].name) == 0)
            count += list_waiting(queue, &facts->source[i], out + count,
                                  WAITING_MOST - count < most - count ? WAITING_MOST - count : most - count);
    }
    size_t recent = recent_list(view->telemetry.recent, 0, facts->now_ms, out + count, most - count);
    pthread_mutex_unlock(&view->lock);
    return count + keep_source(out + count, recent, source);
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

bool queue_view_event(struct queue_view *view, uint64_t number, struct recent_whole *whole)
{
    pthread_mutex_lock(&view->lock);
    bool found = recent_get(view->telemetry.recent, number, clock_unix_ms(), whole);
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
