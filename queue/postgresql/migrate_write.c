/* Receiving another queue, and giving back what was received: the side of migrate.c that is written. */
#include <string.h>

#include "queue/postgresql/migrate.h"

bool pg_side_arrived(void *state, const struct migration_mark *mark, const char *source, enum cargo_part part,
                     struct cargo_place *place, struct error *why)
{
    struct pg_side *side = state;
    PGresult *row = NULL;
    struct params params = {.count = 0};
    *place = (struct cargo_place){.id = 0};
    params_text(&params, source);
    params_int4(&params, (int32_t)part);
    params_int8(&params, mark->number);
    enum pg_outcome result = pg_session_ask(
        &side->session, "SELECT id, key FROM migrated WHERE source = $1 AND part = $2 AND number = $3", &params, &row);
    if (result == PG_DONE && PQntuples(row) > 0) {
        place->id = result_int(row, 0, 0);
        memcpy(place->key, PQgetvalue(row, 0, 1), sizeof place->key);
    }
    PQclear(row);
    return side_done(side, result, why);
}

/* $1: the source's number; $2: what is added to the numbers of dead letters; then the columns of `reads` as arrays. */
#define ROWS                                                                                                           \
    "unnest($3::int8[], $4::int8[], $5::int8[], $6::int8[], $7::int8[], $8::int8[], $9::int8[], $10::int8[],"          \
    " $11::uuid[], $12::text[], $13::bytea[]) WITH ORDINALITY AS v (id, n, received, died, replayed, at, updated,"     \
    " letter, key, reason, body, place)"
#define KNOWS                                                                                                          \
    "INSERT INTO known AS k (source, at, key, updated) SELECT $1, max(at), key, max(updated) FROM " ROWS               \
    " WHERE $2 >= 0::int8 GROUP BY key ON CONFLICT (source, key) DO UPDATE SET"                                        \
    " updated = greatest(k.updated, excluded.updated), at = greatest(k.at, excluded.at)"

static const char *const writes[CARGO_PARTS] = {
    [CARGO_KNOWN] = KNOWS,
    [CARGO_LATEST] = KNOWS,
    [CARGO_LETTERS] =
        "INSERT INTO letter (id, source, key, updated, received, died, replayed, reason, body) OVERRIDING SYSTEM VALUE"
        " SELECT id + $2, $1, key, CASE WHEN key IS NOT NULL THEN updated END, received, died, nullif(replayed, 0),"
        " reason, body FROM " ROWS,
    [CARGO_EVENTS] =
        "INSERT INTO event (source, id, received, letter, body)"
        " SELECT $1, nextval((SELECT ('id_' || $1)::regclass)), received, nullif(letter, 0) + $2, body FROM"
        " (SELECT * FROM " ROWS " ORDER BY place) v",
    [CARGO_COUNTS] =
        "INSERT INTO count AS c (source, kind, n) SELECT $1, id::int2, n FROM " ROWS
        " WHERE $2 >= 0::int8 ON CONFLICT (source, kind) DO UPDATE SET n = CASE"
        " WHEN c.kind IN (" CARGO_KIND_IS_TIME ") THEN greatest(c.n, excluded.n) ELSE c.n + excluded.n END",
};

#define NUMBERS 8

struct columns {
    struct array number[NUMBERS], key, reason, body;
};

static void add_row(struct columns *columns, const struct cargo_row *row)
{
    const int64_t numbers[NUMBERS] = {row->id,       row->n,  row->received, row->died,
                                      row->replayed, row->at, row->updated,  row->letter};
    for (size_t i = 0; i < NUMBERS; i++)
        array_int8(&columns->number[i], numbers[i]);
    array_add(&columns->key, row->has_key ? row->key : NULL, sizeof row->key);
    array_add(&columns->reason, row->reason, strlen(row->reason));
    array_add(&columns->body, row->body, row->length);
}

static void columns_free(struct columns *columns)
{
    for (size_t i = 0; i < NUMBERS; i++)
        buffer_free(&columns->number[i].bytes);
    buffer_free(&columns->key.bytes);
    buffer_free(&columns->reason.bytes);
    buffer_free(&columns->body.bytes);
}

/* How many dead letters have arrived that no event replays: their number stands in the place of an id. Where the queue
 * is opened before the counts have arrived, each was an event that died (pg_side_set_mark). */
#define DIED_PART 200

static void send_died(struct pg_side *side, const struct migration_mark *mark, const char *source,
                      const struct cargo *cargo)
{
    struct params params = {.count = 0};
    int64_t died = 0;
    for (size_t i = 0; i < cargo->count; i++)
        died += cargo->at[i].replayed == 0;
    params_text(&params, source);
    params_int8(&params, died);
    params_int8(&params, mark->number);
    pg_session_send_text(&side->session,
                         "INSERT INTO migrated AS m (source, part, id, key, number) VALUES ($1, 200, $2,"
                         " '00000000-0000-0000-0000-000000000000', $3)"
                         " ON CONFLICT (number, source, part) DO UPDATE SET id = m.id + excluded.id",
                         &params);
}

static void send_place(struct pg_side *side, const struct migration_mark *mark, const char *source,
                       enum cargo_part part, const struct cargo_place *place)
{
    struct params params = {.count = 0};
    params_text(&params, source);
    params_int4(&params, (int32_t)part);
    params_int8(&params, place->id);
    params_uuid(&params, place->key);
    params_int8(&params, mark->number);
    pg_session_send_text(&side->session,
                         "INSERT INTO migrated (source, part, id, key, number) VALUES ($1, $2, $3, $4, $5)"
                         " ON CONFLICT (number, source, part) DO UPDATE SET id = excluded.id, key = excluded.key",
                         &params);
}

bool pg_side_write(void *state, const struct migration_mark *mark, const char *source, enum cargo_part part,
                   const struct cargo *cargo, const struct cargo_place *place, struct error *why)
{
    struct pg_side *side = state;
    struct params params = {.count = 0};
    struct columns columns = {.key = {.type = TYPE_UUID}, .reason = {.type = TYPE_TEXT}, .body = {.type = TYPE_BYTEA}};
    int32_t number;
    bool memory = true;
    enum pg_outcome result = pg_session_number(&side->session, source, true, &number);
    params_int4(&params, number);
    params_int8(&params, mark->letters);
    for (size_t i = 0; i < NUMBERS; i++)
        columns.number[i].type = TYPE_INT8;
    for (size_t i = 0; i < cargo->count; i++)
        add_row(&columns, &cargo->at[i]);
    for (size_t i = 0; i < NUMBERS; i++)
        memory = params_array(&params, &columns.number[i]) && memory;
    memory = params_array(&params, &columns.key) && params_array(&params, &columns.reason) &&
             params_array(&params, &columns.body) && memory;
    if (result == PG_DONE && !memory)
        result = pg_session_lose(&side->session, "out of memory");
    if (result == PG_DONE) {
        pg_session_send_text(&side->session, writes[part], &params);
        send_place(side, mark, source, part, place);
        if (part == CARGO_LETTERS)
            send_died(side, mark, source, cargo);
        result = pg_session_finish(&side->session, NULL);
    }
    columns_free(&columns);
    return side_done(side, result, why);
}

/* ---- counting, and giving it up ---- */

bool pg_side_count(void *state, const char *source, enum cargo_part part, const struct cargo_place *last,
                   int64_t *count, struct error *why)
{
    struct pg_side *side = state;
    PGresult *row = NULL;
    int32_t number;
    struct params params = {.count = 0};
    const char *text = part == CARGO_EVENTS    ? "SELECT count(*) FROM event WHERE source = $1 AND id <= $2"
                       : part == CARGO_LETTERS ? "SELECT count(*) FROM letter WHERE source = $1 AND id <= $2"
                                               : NULL;
    *count = 0;
    enum pg_outcome result = pg_session_number(&side->session, source, false, &number);
    if (result != PG_DONE || text == NULL)
        return side_done(side, result, why);
    params_int4(&params, number);
    params_int8(&params, last->id);
    result = pg_session_ask(&side->session, text, &params, &row);
    *count = result == PG_DONE ? result_int(row, 0, 0) : 0;
    PQclear(row);
    return side_done(side, result, why);
}

/* Nobody has appended behind it: the queue is closed. */
bool pg_side_take_back(void *state, const struct migration_mark *mark, const char *source, enum cargo_part part,
                       int64_t count, struct error *why)
{
    struct pg_side *side = state;
    int32_t number;
    struct params params = {.count = 0};
    const struct cargo_place none = {.id = 0};
    enum pg_outcome result = pg_session_number(&side->session, source, false, &number);
    if (result != PG_DONE || number == 0)
        return side_done(side, result, why);
    params_int4(&params, number);
    params_int8(&params, part == CARGO_LETTERS ? mark->letters : count);
    pg_session_send_text(&side->session,
                         part == CARGO_LETTERS
                             ? "DELETE FROM letter WHERE source = $1 AND id > $2"
                             : "DELETE FROM event WHERE source = $1 AND id IN (SELECT id FROM event WHERE source = $1"
                               " ORDER BY id DESC LIMIT $2)",
                         &params);
    send_place(side, mark, source, part, &none);
    if (part == CARGO_LETTERS)
        send_place(side, mark, source, (enum cargo_part)DIED_PART, &none);
    return side_done(side, pg_session_finish(&side->session, NULL), why);
}
