/* The SQL statements of the queue in one table, their parameters, and the columns of what they give back: all of it in
 * PostgreSQL's binary format. */
#ifndef QUEUE_POSTGRESQL_STATEMENTS_H
#define QUEUE_POSTGRESQL_STATEMENTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "queue/postgresql/libpq.h"

enum statement {
    STATEMENT_SETUP,
    STATEMENT_SOURCES,
    STATEMENT_LOCK,
    STATEMENT_ADD_SOURCE,
    STATEMENT_MARK_GROUP,
    STATEMENT_APPEND,
    STATEMENT_PROVE,
    STATEMENT_FULLNESS,
    STATEMENT_HAS_OWNER,
    STATEMENT_CLAIM,
    STATEMENT_ENTER,
    STATEMENT_CLAIM_SOURCES,
    STATEMENT_YIELD,
    STATEMENT_KEEP,
    STATEMENT_KEPT,
    STATEMENT_OWNER,
    STATEMENT_LAST_ID,
    STATEMENT_BEAT,
    STATEMENT_WRITERS,
    STATEMENT_NEXT,
    STATEMENT_AGAIN,
    STATEMENT_KNOWN,
    STATEMENT_DEAD_KNOWN,
    STATEMENT_DIED_AGAIN,
    STATEMENT_DIES,
    STATEMENT_RESOLVE,
    STATEMENT_SETTLE,
    STATEMENT_NOTE,
    STATEMENT_PARKED,
    STATEMENT_SET_NOTE,
    STATEMENT_CLEAR_PARKED,
    STATEMENT_SET_PARKED,
    STATEMENT_COUNTS,
    STATEMENT_LETTERS,
    STATEMENT_REPLAY,
    STATEMENT_DISCARD,
    STATEMENT_EXPIRE,
    STATEMENT_MADE,
    STATEMENT_FORGET,
    STATEMENT_FORGET_GROUPS,
    STATEMENT_ASK,
    STATEMENT_ANSWER,
    STATEMENT_WITHDRAW,
    STATEMENT_TAKE_REQUEST,
    STATEMENT_SET_REQUEST,
    STATEMENT_FORGET_REQUESTS,
    STATEMENT_MOVE_KNOWN,
    STATEMENT_MOVE_EVENTS,
    STATEMENT_MOVE_LETTERS,
    STATEMENT_MOVE_COUNTS,
    STATEMENT_KEPT_VERSION,
    STATEMENT_KEPT_ALL,
    STATEMENT_KEPT_NEXT,
    STATEMENT_KEPT_PUT,
    STATEMENT_KEPT_REMOVE,
    STATEMENT_KEPT_ADD,
    STATEMENT_KEPT_LOCK,
    STATEMENT_KEPT_LOCKER,
    STATEMENT_GUARD,
    STATEMENT_PROBE,
    STATEMENT_CHECK,
    STATEMENTS,
};

/* Beyond 64 a session cannot note which of them it has prepared. */
_Static_assert(STATEMENTS <= 64, "a bit for each");

extern const char *const pg_statement_texts[STATEMENTS];

/* The kinds of the table `count`, under a source's number; they begin with those of enum verdict_kind plus one. */
enum count_kind {
    COUNT_DELIVERED = 1,
    COUNT_DUPLICATES = 2,
    COUNT_DROPPED = 3,
    COUNT_DEAD = 4,           /* each time an event became a dead letter */
    COUNT_REPLAYS = 5,        /* dead letters appended again */
    COUNT_LAST_DELIVERED = 8, /* Unix time, ms */
    COUNT_LAST_ACCEPTED = 9,
    COUNT_LOST = 10,  /* in a damaged database, before the queue was moved here */
    COUNT_ENDED = 12, /* dead letters deleted after dead_retention */
};

/* ---- parameters ---- */

#define PARAMS_MOST 16

/* All zero is none. What is added by address is borrowed until pg_session_send. */
struct params {
    int count;
    Oid type[PARAMS_MOST];
    const char *value[PARAMS_MOST];
    int length[PARAMS_MOST];
    char number[PARAMS_MOST][8];
};

/* The object ids of types never change. */
#define TYPE_BYTEA 17
#define TYPE_INT8 20
#define TYPE_INT2 21
#define TYPE_INT4 23
#define TYPE_TEXT 25
#define TYPE_UUID 2950

void params_int4(struct params *params, int32_t value);
void params_int8(struct params *params, int64_t value);
void params_text(struct params *params, const char *text);

/* Words that may come from anywhere, or are cut off: bytes that are no UTF-8, which the server would refuse together
 * with all else in the transaction, become `?` there. The same happens to the texts of an array. */
void params_words(struct params *params, char *words);
void params_bytes(struct params *params, const void *bytes, size_t length);
void params_null_texts(struct params *params);            /* no array of texts */
void params_uuid(struct params *params, const void *key); /* 16 bytes; NULL: none */

/* A one-dimensional array of values without a fixed number; all zero but for its type is an empty one. */
struct array {
    Oid type; /* of its elements */
    uint32_t count;
    struct buffer bytes;
};

void array_add(struct array *array, const void *value, size_t length); /* value NULL: NULL */
void array_int8(struct array *array, int64_t value);
void array_int4(struct array *array, int32_t value);
void array_int2(struct array *array, int value);

/* Adds the array; borrowed. Returns false when memory is out. */
bool params_array(struct params *params, struct array *array);

/* ---- results ---- */

/* An integer of 2, 4 or 8 bytes; 0 for NULL. */
int64_t result_int(const PGresult *result, int row, int column);

#endif
