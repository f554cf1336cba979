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

void look_init(struct look *look, const struct config *config)
{
    *look = (struct look){.config = config};
    pthread_mutex_init(&look->lock, NULL);
}

void look_free(struct look *look)
{
    if (look->queue != NULL)
        queue_close(look->queue);
    pthread_mutex_destroy(&look->lock);
}

/* Under the lock. The queue, or NULL: it keeps nothing, does not stand yet, or look->why says why. */
static struct queue *queue_of(struct look *look)
{
    if (look->config->queue == QUEUE_NONE)
        return NULL;
    if (look->queue != NULL && queue_must_reopen(look->queue)) {
        queue_close(look->queue);
        look->queue = NULL;
    }
    moment now = clock_now();
    if (look->queue != NULL || (look->tried > 0 && now - look->tried < TRY_AGAIN_MS))
        return look->queue;
    look->queue = queue_open(look->config, &look->why);
    look->tried = look->queue == NULL ? now : 0;
    return look->queue;
}

struct facts *look_facts(struct look *look)
{
    pthread_mutex_lock(&look->lock);
    struct queue *queue = queue_of(look);
    struct facts *facts =
        facts_gather(look->config, queue, queue == NULL ? &look->why : NULL, look->watchers.counters, clock_unix_ms());
    pthread_mutex_unlock(&look->lock);
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

size_t look_events(struct look *look, const struct facts *facts, const char *source, struct recent_event *out,
                   size_t most)
{
    size_t count = 0;
    pthread_mutex_lock(&look->lock);
    struct queue *queue = queue_of(look);
    for (size_t i = 0; queue != NULL && i < facts->sources && count < WAITING_MOST && count < most; i++) {
        if (source == NULL || strcmp(source, facts->source[i].name) == 0)
            count += list_waiting(queue, &facts->source[i], out + count,
                                  WAITING_MOST - count < most - count ? WAITING_MOST - count : most - count);
    }
    size_t recent = recent_list(look->watchers.recent, 0, facts->now_ms, out + count, most - count);
    pthread_mutex_unlock(&look->lock);
    return count + keep_source(out + count, recent, source);
}

void look_letters(struct look *look, const char *source, uint64_t after, size_t most, struct letters *letters,
                  bool *more)
{
    struct letters next = {0};
    *more = false;
    pthread_mutex_lock(&look->lock);
    struct queue *queue = queue_of(look);
    int n = queue == NULL ? 0 : queue_letters(queue, source, after, most, LETTERS_BYTES, letters, NULL);
    if (n > 0)
        *more = queue_letters(queue, source, letters->at[n - 1].id, 1, 1, &next, NULL) > 0;
    pthread_mutex_unlock(&look->lock);
    letters_free(&next);
}

bool look_event(struct look *look, uint64_t number, struct recent_whole *whole)
{
    pthread_mutex_lock(&look->lock);
    bool found = recent_get(look->watchers.recent, number, clock_unix_ms(), whole);
    pthread_mutex_unlock(&look->lock);
    return found;
}

bool look_letter(struct look *look, uint64_t id, struct letters *letters)
{
    pthread_mutex_lock(&look->lock);
    struct queue *queue = queue_of(look);
    bool found = queue != NULL && id > 0 && queue_letters(queue, NULL, id - 1, 1, LETTER_BYTES, letters, NULL) == 1 &&
                 letters->at[0].id == id;
    pthread_mutex_unlock(&look->lock);
    return found;
}

bool look_replay(struct look *look, uint64_t id, size_t *done, struct error *why)
{
    pthread_mutex_lock(&look->lock);
    struct queue *queue = queue_of(look);
    bool good = queue != NULL && queue_replay(queue, &id, 1, done, why);
    if (queue == NULL)
        error_set(why, "the queue cannot be opened");
    pthread_mutex_unlock(&look->lock);
    return good;
}
