/* Requests of commands to the owner, rows of a table, and its answers. The owner is told by a notification, and looks
 * each second. A command that died leaves a row, which the keeper deletes. */
#include <stdio.h>
#include <string.h>

#include "queue/postgresql/store.h"

/* ASKED_TO_ERASE: `words` says what; a release that knows of no such requests does not see it. */
enum { ASKED = 0, TAKEN = 1, DONE = 2, REFUSED = 3, ASKED_TO_ERASE = 4 };

/* ---- the command's side ---- */

bool pg_ask(void *state, const struct queue_request *request, int64_t *number, struct error *why)
{
    struct pg_queue *queue = state;
    struct params params = {.count = 0};
    PGresult *asked = NULL;
    char words[REQUEST_TEXT];
    if (!pg_look(queue, why))
        return false;
    request_pack(request, words);
    params_text(&params, request->source);
    params_int8(&params, (int64_t)request->event);
    params_uuid(&params, request->remember ? request->identity.key : NULL);
    params_int8(&params, request->identity.updated_us);
    params_int4(&params, request->erases > 0 ? ASKED_TO_ERASE : ASKED);
    params_text(&params, words);
    enum pg_outcome result = pg_session_run(&queue->look, STATEMENT_ASK, &params, &asked);
    *number = result == PG_DONE ? result_int(asked, 0, 0) : 0;
    PQclear(asked);
    return pg_looked(queue, result, why);
}

void pg_remind(void *state)
{
    struct pg_queue *queue = state;
    if (pg_look(queue, NULL))
        notify_owner(&queue->look, true);
}

bool pg_answer(void *state, int64_t number, enum queue_answer *answer, struct error *words, struct error *why)
{
    static const enum queue_answer answers[] = {QUEUE_ASKED, QUEUE_TAKEN, QUEUE_DONE, QUEUE_REFUSED, QUEUE_ASKED};
    struct pg_queue *queue = state;
    struct params params = {.count = 0};
    PGresult *found = NULL;
    *answer = QUEUE_REFUSED;
    error_set(words, "the request was forgotten");
    if (!pg_look(queue, why))
        return false;
    params_int8(&params, number);
    enum pg_outcome result = pg_session_run(&queue->look, STATEMENT_ANSWER, &params, &found);
    if (result == PG_DONE && PQntuples(found) > 0) {
        int64_t at = result_int(found, 0, 0);
        *answer = answers[at >= ASKED && at <= ASKED_TO_ERASE ? at : REFUSED];
        error_set(words, "%s", PQgetvalue(found, 0, 1));
    }
    PQclear(found);
    return pg_looked(queue, result, why);
}

bool pg_withdraw(void *state, int64_t number, bool always, bool *withdrawn, struct error *why)
{
    struct pg_queue *queue = state;
    struct params params = {.count = 0};
    PGresult *gone = NULL;
    if (!pg_look(queue, why))
        return false;
    params_int8(&params, number);
    params_int4(&params, always);
    enum pg_outcome result = pg_session_run(&queue->look, STATEMENT_WITHDRAW, &params, &gone);
    *withdrawn = result == PG_DONE && strcmp(PQcmdTuples(gone), "0") != 0;
    PQclear(gone);
    return pg_looked(queue, result, why);
}

/* ---- the owner's side ---- */

static void read_request(const PGresult *row, struct queue_request *request)
{
    *request = (struct queue_request){.number = result_int(row, 0, 0),
                                      .event = (uint64_t)result_int(row, 0, 2),
                                      .identity = {.updated_us = result_int(row, 0, 4)},
                                      .remember = !PQgetisnull(row, 0, 3)};
    strncpy(request->source, PQgetvalue(row, 0, 1), sizeof request->source - 1);
    if (request->remember)
        memcpy(request->identity.key, PQgetvalue(row, 0, 3), sizeof request->identity.key);
    request_unpack(request, PQgetvalue(row, 0, 5));
}

/* What nobody waits for any more is not done, however long nobody forwarded. */
bool pg_take_request(void *state, struct queue_request *request)
{
    struct pg_queue *queue = state;
    struct array owned, configured;
    struct params params = {.count = 0};
    PGresult *row = NULL;
    if (!queue->asked || !queue->owned)
        return false;
    spread_names(queue, &owned, &configured);
    bool good = params_array(&params, &owned) && params_array(&params, &configured);
    enum pg_outcome result = good ? pg_session_run(&queue->own, STATEMENT_FORGET_REQUESTS, NULL, NULL)
                                  : pg_session_lose(&queue->own, "out of memory");
    if (result == PG_DONE)
        result = pg_session_run(&queue->own, STATEMENT_TAKE_REQUEST, &params, &row);
    buffer_free(&owned.bytes);
    buffer_free(&configured.bytes);
    bool taken = result == PG_DONE && PQntuples(row) > 0;
    if (taken)
        read_request(row, request);
    PQclear(row);
    queue->asked = taken;
    pg_owned_done(queue, result, NULL);
    return taken;
}

void pg_answer_request(void *state, int64_t number, bool done, const char *words)
{
    struct pg_queue *queue = state;
    struct params params = {.count = 0};
    char text[sizeof((struct error *)NULL)->text];
    if (!queue->owned)
        return;
    snprintf(text, sizeof text, "%s", words);
    params_int8(&params, number);
    params_int4(&params, done ? DONE : REFUSED);
    params_words(&params, text);
    pg_owned_done(queue, pg_session_run(&queue->own, STATEMENT_SET_REQUEST, &params, NULL), NULL);
}
