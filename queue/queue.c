/* The faces of the queue, queue.h and inspect.h: pass each call to the engine that the configuration names; inspecting,
 * if that stores anything. */
#include "queue/queue.h"

#include <stdlib.h>
#include <string.h>

#include "queue/engine.h"
#include "queue/inspect.h"
#include "queue/routes.h"

static const struct engine *const engines[] = {
    [QUEUE_SQLITE] = &queue_engine_sqlite,
    [QUEUE_NONE] = &queue_engine_none,
#ifdef CLOSECRM_POSTGRESQL
    [QUEUE_POSTGRESQL] = &queue_engine_postgresql,
#else
    [QUEUE_POSTGRESQL] = NULL,
#endif
};

const struct engine *queue_engine_of(enum queue_kind kind)
{
    return engines[kind];
}

static bool has_engine(const struct config *config, struct error *why)
{
    if (engines[config->queue] != NULL)
        return true;
    error_set(why, "this program was built without queue = postgresql: Debian's package and the bundle have it, "
                   "and so has what is built where libpq-dev is installed");
    return false;
}

bool queue_try(const struct config *config, struct queue_setup *setup, bool *is_there, struct error *why)
{
    *setup = (struct queue_setup){.server = ""};
    *is_there = true;
    if (!has_engine(config, why))
        return false;
    if (config_has_several_queues(config))
        return routes_try(config, setup, is_there, why);
    return engines[config->queue]->try == NULL || engines[config->queue]->try(config, setup, is_there, why);
}

struct queue *queue_open(const struct config *config, struct error *why)
{
    if (!has_engine(config, why) || !state_place_may_open(config, why))
        return NULL;
    struct queue *queue = malloc(sizeof *queue);
    if (queue == NULL) {
        error_set(why, "out of memory");
        return NULL;
    }
    queue->missed.text[0] = '\0';
    queue->engine = config_has_several_queues(config) ? &queue_engine_routes : engines[config->queue];
    queue->config = config;
    queue->state = queue->engine->open(config, why);
    if (queue->state == NULL) {
        free(queue);
        return NULL;
    }
    state_place_note(config);
    return queue;
}

void queue_library(const struct config *config, char out[static QUEUE_LIBRARY])
{
    out[0] = '\0';
    if (engines[config->queue] != NULL && engines[config->queue]->library != NULL)
        engines[config->queue]->library(out);
}

enum queue_result queue_append(struct queue *queue, const char *source, const char *body, size_t length,
                               moment deadline, struct error *why)
{
    return queue->engine->append(queue->state, source, body, length, deadline, why);
}

struct waiting_append *queue_append_start(struct queue *queue, const char *source, const char *body, size_t length,
                                          append_done *done, void *context)
{
    if (queue->engine->append_start == NULL)
        return NULL;
    return queue->engine->append_start(queue->state, source, body, length, done, context);
}

bool queue_append_give_up(struct queue *queue, struct waiting_append *append, struct error *why)
{
    return queue->engine->append_give_up(queue->state, append, why);
}

void queue_append_end(struct queue *queue, struct waiting_append *append)
{
    queue->engine->append_end(append);
}

void queue_start_writer(struct queue *queue)
{
    if (queue->engine->start_writer != NULL)
        queue->engine->start_writer(queue->state);
}

void queue_set_stop_deadline(struct queue *queue, moment deadline)
{
    queue->engine->set_stop_deadline(queue->state, deadline);
}

bool queue_claim(struct queue *queue, struct error *why)
{
    return queue->engine->claim(queue->state, why);
}

void queue_join(struct queue *queue)
{
    if (queue->engine->join != NULL)
        queue->engine->join(queue->state);
}

uint64_t queue_tenure(const struct queue *queue, const char *source)
{
    return queue->engine->tenure == NULL ? 1 : queue->engine->tenure(queue->state, source);
}

bool queue_should_yield(const struct queue *queue, const char *source)
{
    return queue->engine->should_yield != NULL && queue->engine->should_yield(queue->state, source);
}

void queue_yield(struct queue *queue, const char *source)
{
    if (queue->engine->yield != NULL)
        queue->engine->yield(queue->state, source);
}

bool queue_is_lost(const struct queue *queue)
{
    return queue->engine->is_lost != NULL && queue->engine->is_lost(queue->state);
}

int queue_next(struct queue *queue, const char *source, uint64_t after, size_t max_count, size_t max_bytes,
               struct events *found, struct error *why)
{
    return queue->engine->next(queue->state, source, after, max_count, max_bytes, found, why);
}

int queue_again(struct queue *queue, const char *source, const uint64_t *ids, size_t count, size_t max_bytes,
                struct events *found, size_t *asked, struct error *why)
{
    return queue->engine->again(queue->state, source, ids, count, max_bytes, found, asked, why);
}

bool queue_known(struct queue *queue, const char *source, const struct identity *identities, size_t count,
                 struct known *known, struct error *why)
{
    return queue->engine->known(queue->state, source, identities, count, known, why);
}

bool queue_settle(struct queue *queue, const char *source, const struct verdict *verdicts, size_t count,
                  struct error *why)
{
    return queue->engine->settle(queue->state, source, verdicts, count, why);
}

bool queue_can_settle(struct queue *queue, const char *source, const struct verdict *verdicts, size_t count,
                      struct error *why)
{
    return queue->engine->can_settle == NULL || queue->engine->can_settle(queue->state, source, verdicts, count, why);
}

bool queue_note(struct queue *queue, const char *source, struct notes *notes, bool put, struct error *why)
{
    return queue->engine->note(queue->state, source, notes, put, why);
}

bool queue_take_request(struct queue *queue, struct queue_request *request)
{
    return queue->engine->take_request != NULL && queue->engine->take_request(queue->state, request);
}

void queue_answer_request(struct queue *queue, int64_t number, bool done, const char *words)
{
    queue->engine->answer_request(queue->state, number, done, words);
}

int queue_wake_fd(struct queue *queue)
{
    return queue->engine->wake_fd(queue->state);
}

void queue_clear_wakeup(struct queue *queue)
{
    queue->engine->clear_wakeup(queue->state);
}

bool queue_has_reader(struct queue *queue, const char *source)
{
    return queue->engine->has_reader != NULL && queue->engine->has_reader(queue->state, source);
}

size_t queue_reads_at_once(const struct queue *queue)
{
    return queue->engine->reads;
}

bool queue_settles_in_bulk(const struct queue *queue)
{
    return queue->engine->settles_in_bulk != NULL && queue->engine->settles_in_bulk(queue->state);
}

bool queue_is_steady(struct queue *queue)
{
    return queue->engine->is_steady(queue->state);
}

bool queue_must_reopen(struct queue *queue)
{
    /* after queue_rest the next look opens it in any case */
    return queue->state != NULL && queue->engine->must_reopen(queue->state);
}

void queue_close(struct queue *queue)
{
    if (queue == NULL)
        return;
    if (queue->state != NULL)
        queue->engine->close(queue->state);
    free(queue);
}

/* ---- inspecting ---- */

bool queue_missed(struct queue *queue, struct error *words)
{
    const struct inspection *inspection = queue->state == NULL ? NULL : queue->engine->inspection;
    if (inspection != NULL && inspection->missed != NULL && inspection->missed(queue->state, words))
        return true;
    *words = queue->missed;
    return words->text[0] != '\0';
}

void queue_rest(struct queue *queue)
{
    struct error words;
    if (queue->engine->inspection == NULL || queue->state == NULL)
        return;
    if (queue_missed(queue, &words))
        queue->missed = words;
    queue->engine->close(queue->state);
    queue->state = NULL;
}

/* Returns the engine's functions, or NULL with the reason. Opens the queue again after queue_rest. */
static const struct inspection *inspection_of(struct queue *queue, struct error *why)
{
    struct error reason = {0};
    if (queue->engine->inspection == NULL) {
        error_set(why,
                  "queue = none keeps nothing that could be looked at: events wait in memory until they are answered");
        return NULL;
    }
    if (queue->state == NULL) {
        queue->state = queue->engine->open(queue->config, &reason);
        if (queue->state == NULL)
            error_set(why, "%s", reason.text);
    }
    return queue->state == NULL ? NULL : queue->engine->inspection;
}

bool queue_names(struct queue *queue, struct strings *names, struct error *why)
{
    const struct inspection *inspection = inspection_of(queue, why);
    *names = (struct strings){NULL, 0};
    return inspection != NULL && inspection->names(queue->state, names, why);
}

void queue_names_free(struct strings *names)
{
    for (size_t i = 0; i < names->count; i++)
        free(names->at[i]);
    free(names->at);
    *names = (struct strings){NULL, 0};
}

bool queue_count(struct queue *queue, const char *source, struct counts *counts, struct error *why)
{
    const struct inspection *inspection = inspection_of(queue, why);
    return inspection != NULL && inspection->count(queue->state, source, counts, why);
}

bool queue_room(struct queue *queue, struct queue_room *room, struct error *why)
{
    const struct inspection *inspection = inspection_of(queue, why);
    *room = (struct queue_room){.used = 0};
    return inspection != NULL && inspection->room(queue->state, room, why);
}

bool queue_look_known(struct queue *queue, const char *source, const struct identity *identities, size_t count,
                      struct known *known, struct error *why)
{
    const struct inspection *inspection = inspection_of(queue, why);
    return inspection != NULL && inspection->look_known(queue->state, source, identities, count, known, why);
}

bool queue_notes(struct queue *queue, const char *source, struct notes *notes, struct error *why)
{
    const struct inspection *inspection = inspection_of(queue, why);
    return inspection != NULL && inspection->notes(queue->state, source, notes, why);
}

bool queue_is_owned(struct queue *queue, bool *owned, struct error *words, struct error *why)
{
    const struct inspection *inspection = inspection_of(queue, why);
    return inspection != NULL && inspection->is_owned(queue->state, owned, words, why);
}

bool queue_describe(struct queue *queue, struct queue_setup *setup, struct error *why)
{
    const struct inspection *inspection = inspection_of(queue, why);
    *setup = (struct queue_setup){.worry = {.text = ""}};
    return inspection != NULL && (inspection->describe == NULL || inspection->describe(queue->state, setup, why));
}

bool queue_stands(struct queue *queue, struct error *words)
{
    struct error why;
    const struct inspection *inspection = inspection_of(queue, &why);
    return inspection == NULL || inspection->stands(queue->state, words);
}

bool queue_has_room(struct queue *queue, struct error *words)
{
    struct error why;
    const struct inspection *inspection = inspection_of(queue, &why);
    return inspection == NULL || inspection->has_room(queue->state, words);
}

bool queue_can_be_settled(struct queue *queue, struct error *words)
{
    struct error why;
    const struct inspection *inspection = inspection_of(queue, &why);
    return inspection == NULL || inspection->can_be_settled(queue->state, words);
}

int queue_list(struct queue *queue, const char *source, uint64_t after, size_t max_count, size_t max_bytes,
               struct events *found, struct error *why)
{
    const struct inspection *inspection = inspection_of(queue, why);
    return inspection == NULL ? -1 : inspection->list(queue->state, source, after, max_count, max_bytes, found, why);
}

int queue_letters(struct queue *queue, const char *source, uint64_t after, size_t max_count, size_t max_bytes,
                  struct letters *found, struct error *why)
{
    const struct inspection *inspection = inspection_of(queue, why);
    return inspection == NULL ? -1 : inspection->letters(queue->state, source, after, max_count, max_bytes, found, why);
}

bool queue_replay(struct queue *queue, const uint64_t *ids, size_t count, size_t *done, struct error *why)
{
    const struct inspection *inspection = inspection_of(queue, why);
    return inspection != NULL && inspection->replay(queue->state, ids, count, done, why);
}

bool queue_discard(struct queue *queue, const uint64_t *ids, size_t count, size_t *done, struct error *why)
{
    const struct inspection *inspection = inspection_of(queue, why);
    return inspection != NULL && inspection->discard(queue->state, ids, count, done, why);
}

bool queue_ask(struct queue *queue, const struct queue_request *request, int64_t *number, struct error *why)
{
    const struct inspection *inspection = inspection_of(queue, why);
    return inspection != NULL && inspection->ask(queue->state, request, number, why);
}

void queue_remind(struct queue *queue)
{
    struct error why;
    const struct inspection *inspection = inspection_of(queue, &why);
    if (inspection != NULL)
        inspection->remind(queue->state);
}

bool queue_answer(struct queue *queue, int64_t number, enum queue_answer *answer, struct error *words,
                  struct error *why)
{
    const struct inspection *inspection = inspection_of(queue, why);
    return inspection != NULL && inspection->answer(queue->state, number, answer, words, why);
}

bool queue_withdraw(struct queue *queue, int64_t number, bool always, bool *withdrawn, struct error *why)
{
    const struct inspection *inspection = inspection_of(queue, why);
    return inspection != NULL && inspection->withdraw(queue->state, number, always, withdrawn, why);
}

bool queue_move(struct queue *queue, const char *from, const char *to, struct moved *moved, struct error *why)
{
    const struct inspection *inspection = inspection_of(queue, why);
    return inspection != NULL && inspection->move(queue->state, from, to, moved, why);
}

bool queue_check(struct queue *queue, void (*report)(void *context, const char *fault), void *context, size_t *faults,
                 struct error *why)
{
    const struct inspection *inspection = inspection_of(queue, why);
    return inspection != NULL && inspection->check(queue->state, report, context, faults, why);
}

bool queue_backup(struct queue *queue, const char *path, const struct backup_files *files, int64_t made_ms,
                  struct error *why)
{
    const struct inspection *inspection = inspection_of(queue, why);
    return inspection != NULL && inspection->backup(queue->state, path, files, made_ms, why);
}

void queue_wake(struct queue *queue)
{
    struct error why;
    const struct inspection *inspection = inspection_of(queue, &why);
    if (inspection != NULL)
        inspection->wake(queue->state);
}

bool queue_scrub(struct queue *queue, struct error *why)
{
    const struct inspection *inspection = inspection_of(queue, why);
    return inspection != NULL && inspection->scrub(queue->state, why);
}

bool queue_adopt(struct queue *queue, void (*tell)(void *context, const char *words), void *context, struct error *why)
{
    size_t forgotten = 0;
    const struct inspection *inspection = queue->engine->inspection == NULL ? NULL : inspection_of(queue, why);
    if (queue->engine->inspection != NULL && inspection == NULL)
        return false;
    bool adopts = inspection != NULL && inspection->adopt != NULL;
    if ((adopts && !inspection->adopt(queue->state, tell, context, why)) ||
        !queue_left_forget(queue->config, tell, context, &forgotten, why))
        return false;
    if (!adopts && forgotten == 0)
        error_set(why, "only a database that was exchanged is adopted, with queue = postgresql: nothing is to be done");
    return adopts || forgotten > 0;
}

bool queue_probe(struct queue *queue, bool serves, struct error *why)
{
    const struct inspection *inspection = inspection_of(queue, why);
    return inspection != NULL && inspection->probe(queue->state, serves, why);
}
