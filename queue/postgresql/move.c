/* Moving everything of a source to another, in short transactions; the tables show what is left to do. Identities go
 * first: before an event waits for the new source, what was delivered under the old name must be known. */
#include "queue/postgresql/store.h"

#define EVENTS_AT_ONCE 500
#define IDENTITIES_AT_ONCE 4096
#define LETTERS_AT_ONCE 100

struct move {
    struct pg_session *session;
    int32_t from, to;
};

/* Runs a step until it finds nothing more: the first column says how many rows it took, the second how many count. */
static enum pg_outcome repeat(const struct move *move, enum statement statement, int64_t at_once, uint64_t *moved)
{
    enum pg_outcome result = PG_DONE;
    for (bool more = true; more && result == PG_DONE;) {
        struct params params = {.count = 0};
        PGresult *row = NULL;
        params_int4(&params, move->from);
        params_int4(&params, move->to);
        params_int8(&params, at_once);
        result = pg_session_run(move->session, statement, &params, &row);
        more = result == PG_DONE && result_int(row, 0, 0) > 0;
        *moved += more ? (uint64_t)result_int(row, 0, 1) : 0;
        PQclear(row);
    }
    return result;
}

static enum pg_outcome move_all(const struct move *move, struct moved *moved)
{
    struct params params = {.count = 0};
    params_int4(&params, move->from);
    params_int4(&params, move->to);
    enum pg_outcome result = repeat(move, STATEMENT_MOVE_KNOWN, IDENTITIES_AT_ONCE, &moved->identities);
    if (result == PG_DONE)
        result = repeat(move, STATEMENT_MOVE_EVENTS, EVENTS_AT_ONCE, &moved->events);
    if (result == PG_DONE)
        result = repeat(move, STATEMENT_MOVE_LETTERS, LETTERS_AT_ONCE, &moved->letters);
    if (result == PG_DONE)
        result = pg_session_run(move->session, STATEMENT_MOVE_COUNTS, &params, NULL);
    if (result == PG_DONE) /* settled meanwhile by a forwarder that knows the old name */
        result = repeat(move, STATEMENT_MOVE_KNOWN, IDENTITIES_AT_ONCE, &moved->identities);
    return result;
}

bool pg_move(void *state, const char *from, const char *to, struct moved *moved, struct error *why)
{
    struct pg_queue *queue = state;
    struct move move = {.session = &queue->look};
    *moved = (struct moved){0};
    if (!pg_look(queue, why))
        return false;
    enum pg_outcome result = pg_session_number(&queue->look, from, false, &move.from);
    if (result == PG_DONE)
        result = pg_session_number(&queue->look, to, config_source(queue->config, to) != NULL, &move.to);
    if (result == PG_DONE && (move.from == 0 || move.to == 0 || move.from == move.to)) {
        error_set(why, move.from == move.to ? "the two sources are the same" : "the queue knows no source %.64s",
                  move.from == 0 ? from : to);
        return false;
    }
    if (result == PG_DONE)
        result = move_all(&move, moved);
    if (result == PG_DONE)
        notify_owner(&queue->look, false);
    return pg_looked(queue, result, why);
}
