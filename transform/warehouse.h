/* Which table and columns a RudderStack warehouse destination makes of a message, and what is lost there. For people,
 * before anything is sent: rules of RudderStack's that are known to change are in one table (warehouse_rules.c). Pure,
 * as all of transform/; one thread. */
#ifndef TRANSFORM_WAREHOUSE_H
#define TRANSFORM_WAREHOUSE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buffer.h"

/* ---- warehouse_rules.c: The rules by which RudderStack makes columns: names, types, limits. Private to
 * warehouse.c. ---- */

enum column_type {
    COLUMN_INT,
    COLUMN_FLOAT,
    COLUMN_BOOLEAN,
    COLUMN_DATETIME,
    COLUMN_STRING,
    COLUMN_JSON,
    COLUMN_TYPES
};

#define COLUMN_NAME 160 /* bytes of a column's or table's name with its NUL */

/* One kind of warehouse. */
struct warehouse_rules {
    const char *name;
    const char *types[COLUMN_TYPES];
    size_t name_most;            /* bytes of a name; the rest is cut */
    size_t columns_most;         /* an event with more vanishes whole */
    size_t row_most;             /* bytes of a row */
    size_t row_own;              /* of them, without any value */
    size_t text_most;            /* bytes of a text in the row at most: a longer one is kept elsewhere */
    const char *const *reserved; /* words that get an underscore before them; sorted, NULL-terminated */
};

/* The version of rudder-server with which these rules were seen. */
#define WAREHOUSE_SEEN_WITH "rudder-server 1.83.0"

const struct warehouse_rules *warehouse_rules_at(size_t index); /* NULL beyond the last */

/* A row that a message of a type becomes; a message may become several. */
struct warehouse_row {
    const char *type;         /* of the message */
    const char *table;        /* NULL: named like the event */
    const char *words;        /* for people, behind the table's name */
    const char *members;      /* of the message, whose members are columns; NULL: none */
    const char *const *texts; /* columns of texts that RudderStack fills; NULL-terminated */
    bool has_user;            /* so is user_id, or anonymous_id */
};

const struct warehouse_row *warehouse_rules_row(size_t index); /* NULL beyond the last */

/* Writes the name that a column or table gets: words of ASCII letters and digits, in small letters, with underscores
 * between. "": there is none. Returns whether it was cut. */
bool warehouse_rules_name(const struct warehouse_rules *rules, const char *text, char name[static COLUMN_NAME]);

/* Whether only RudderStack itself fills this column of a track message's tables; a member of that name is dropped. */
bool warehouse_rules_is_own_column(const char *name);

/* Whether a text is taken for a date. */
bool warehouse_rules_is_date(const char *text, size_t length);

/* ---- warehouse.c: a message as a row ---- */

/* A warehouse of which only the tables' columns and their types are known, from the messages described so far: the
 * first value of a column decides its type. */
struct warehouse;

/* The names of the known warehouses, as `postgres`; NULL beyond the last. */
const char *warehouse_name(size_t index);

/* Returns an empty warehouse of that name; NULL when there is none, or memory is out. Free with warehouse_free. */
struct warehouse *warehouse_new(const char *name);
void warehouse_free(struct warehouse *warehouse);

/* Appends lines on a message as transform_message or transform_person makes it: its tables, their columns with their
 * types and the members that are in them, and a line that begins with "warning" for all that is lost. Returns false
 * when out of memory. */
bool warehouse_describe(struct warehouse *warehouse, const char *message, size_t length, struct buffer *out);

#endif
