/* Settling, in one transaction on the session that has the consumer lock: who has lost that cannot settle. Also the
 * forwarder's notes. */
#include <string.h>

#include "queue/postgresql/store.h"

/* The verdicts of a settling as arrays. */
struct verdicts {
    struct array ids, kinds, keys, updated; /* of all */
    struct array dead_ids, dead_keys, dead_updated, reasons;
};

static void add_identity(struct array *keys, struct array *updated, const struct verdict *verdict)
{
    if (verdict->remember) {
        array_add(keys, verdict->identity.key, sizeof verdict->identity.key);
        array_int8(updated, verdict->identity.updated_us);
    } else {
        array_add(keys, NULL, 0);
        array_add(updated, NULL, 0);
    }
}

static void add_verdict(struct verdicts *all, const struct verdict *verdict)
{
    const char *reason = verdict->reason == NULL ? "" : verdict->reason;
    array_int8(&all->ids, (int64_t)verdict->id);
    array_int2(&all->kinds, (int)verdict->kind + 1);
    add_identity(&all->keys, &all->updated, verdict);
    if (verdict->kind != VERDICT_DEAD)
        return;
    array_int8(&all->dead_ids, (int64_t)verdict->id);
    add_identity(&all->dead_keys, &all->dead_updated, verdict);
    array_add(&all->reasons, reason, strlen(reason));
}

static void free_verdicts(struct verdicts *all)
{
    struct array *arrays[] = {&all->ids,      &all->kinds,     &all->keys,         &all->updated,
                              &all->dead_ids, &all->dead_keys, &all->dead_updated, &all->reasons};
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++)
        buffer_free(&arrays[i]->bytes);
}

/* Dead letters before the events' rows go: those are what they are made of. What is not dead ends the letters of its
 * identity, also of those that die in the same transaction with an older version. */
static enum pg_outcome send_all(struct pg_queue *queue, struct verdicts *all, int32_t number)
{
    struct pg_session *session = &queue->own;
    struct params params = {.count = 0}, dead = {.count = 0};
    int64_t now = clock_unix_ms();
    bool dies = all->dead_ids.count > 0;
    params_int4(&params, number);
    bool good = params_array(&params, &all->ids) && params_array(&params, &all->kinds) &&
                params_array(&params, &all->keys) && params_array(&params, &all->updated);
    params_int4(&dead, number);
    good = good && params_array(&dead, &all->dead_ids) && params_array(&dead, &all->dead_keys) &&
           params_array(&dead, &all->dead_updated) && params_array(&dead, &all->reasons);
    params_int8(&dead, now);
    if (!good)
        return pg_session_lose(session, "out of memory");
    if (dies) {
        pg_session_send(session, STATEMENT_DIED_AGAIN, &dead);
        pg_session_send(session, STATEMENT_DIES, &dead);
    }
    if (dies || queue->any_letter)
        pg_session_send(session, STATEMENT_RESOLVE, &params);
    params_int8(&params, now);
    pg_session_send(session, STATEMENT_SETTLE, &params);
    queue->any_letter = queue->any_letter || dies;
    return pg_session_finish(session, NULL);
}

bool pg_settle(void *state, const char *source, const struct verdict *verdicts, size_t count, struct error *why)
{
    struct pg_queue *queue = state;
    struct verdicts all = {.ids.type = TYPE_INT8,
                           .kinds.type = TYPE_INT2,
                           .keys.type = TYPE_UUID,
                           .updated.type = TYPE_INT8,
                           .dead_ids.type = TYPE_INT8,
                           .dead_keys.type = TYPE_UUID,
                           .dead_updated.type = TYPE_INT8,
                           .reasons.type = TYPE_TEXT};
    int32_t number;
    for (size_t i = 0; i < count; i++) {
        if (verdicts[i].kind != VERDICT_LATER)
            add_verdict(&all, &verdicts[i]);
    }
    bool any = all.ids.count > 0;
    if (any && !pg_may_own(queue, source, why)) {
        free_verdicts(&all);
        return false;
    }
    enum pg_outcome result = any ? pg_session_number(&queue->own, source, false, &number) : PG_DONE;
    if (any && result == PG_DONE)
        result = send_all(queue, &all, number);
    free_verdicts(&all);
    if (!any)
        return true;
    if (result == PG_DONE && queue->keeper != NULL)
        keeper_call(queue->keeper);
    return pg_owned_done(queue, result, why);
}

/* ---- notes ---- */

enum pg_outcome read_notes(struct pg_session *session, int32_t number, struct notes *notes)
{
    struct params params = {.count = 0};
    PGresult *results[2] = {NULL, NULL};
    memset(notes, 0, sizeof *notes);
    params_int4(&params, number);
    pg_session_send(session, STATEMENT_NOTE, &params);
    pg_session_send(session, STATEMENT_PARKED, &params);
    enum pg_outcome result = pg_session_finish(session, results);
    if (result == PG_DONE && PQntuples(results[0]) > 0) {
        notes->tries = (uint32_t)result_int(results[0], 0, 0);
        notes->since_ms = result_int(results[0], 0, 1);
        notes->next_ms = result_int(results[0], 0, 2);
        notes->operator_must_act = result_int(results[0], 0, 3) != 0;
        notes->config_fingerprint = (uint64_t)result_int(results[0], 0, 4);
        strncpy(notes->reason, PQgetvalue(results[0], 0, 5), sizeof notes->reason - 1);
    }
    int parked = result == PG_DONE ? PQntuples(results[1]) : 0;
    for (int i = 0; i < parked && i < NOTES_PARKED; i++) {
        notes->parked[i].id = (uint64_t)result_int(results[1], i, 0);
        notes->parked[i].since_ms = result_int(results[1], i, 1);
        notes->parked_count++;
    }
    PQclear(results[0]);
    PQclear(results[1]);
    return result;
}

static enum pg_outcome write_notes(struct pg_session *session, int32_t number, const struct notes *notes)
{
    struct array ids = {.type = TYPE_INT8}, since = {.type = TYPE_INT8};
    struct params source = {.count = 0}, params = {.count = 0}, parked = {.count = 0};
    char reason[sizeof notes->reason];
    for (uint32_t i = 0; i < notes->parked_count; i++) {
        array_int8(&ids, (int64_t)notes->parked[i].id);
        array_int8(&since, notes->parked[i].since_ms);
    }
    params_int4(&source, number);
    params_int4(&params, number);
    params_int4(&params, (int32_t)notes->tries);
    params_int8(&params, notes->since_ms);
    params_int8(&params, notes->next_ms);
    params_int4(&params, notes->operator_must_act);
    params_int8(&params, (int64_t)notes->config_fingerprint);
    memcpy(reason, notes->reason, sizeof reason);
    params_words(&params, reason);
    params_int4(&parked, number);
    bool good = params_array(&parked, &ids) && params_array(&parked, &since);
    enum pg_outcome result = good ? PG_DONE : pg_session_lose(session, "out of memory");
    if (good) {
        pg_session_send(session, STATEMENT_SET_NOTE, &params);
        pg_session_send(session, STATEMENT_CLEAR_PARKED, &source);
        pg_session_send(session, STATEMENT_SET_PARKED, &parked);
        result = pg_session_finish(session, NULL);
    }
    buffer_free(&ids.bytes);
    buffer_free(&since.bytes);
    return result;
}

bool pg_note(void *state, const char *source, struct notes *notes, bool put, struct error *why)
{
    struct pg_queue *queue = state;
    int32_t number;
    if (!pg_may_own(queue, source, why))
        return false;
    enum pg_outcome result = pg_session_number(&queue->own, source, put, &number);
    if (result == PG_DONE)
        result = put ? write_notes(&queue->own, number, notes) : read_notes(&queue->own, number, notes);
    return pg_owned_done(queue, result, why);
}
