/* A message as a row: see warehouse.h. */
#include "transform/warehouse.h"

#include <json-c/json.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/escape.h"
#include "base/json.h"

#define PATH_MOST 256    /* bytes of a member's path that is shown; a longer one is cut */
#define INT_LIMIT 0x1p63 /* no bigint holds it */
#define INT_EXACT 0x1p53 /* RudderStack keeps numbers as doubles: from here on not all whole numbers are one */

struct warehouse {
    const struct warehouse_rules *rules;
    struct json_object *tables; /* by name, each with the types of its columns by name */
};

struct column {
    char name[COLUMN_NAME];
    char path[PATH_MOST]; /* of the member; "": RudderStack's own */
    enum column_type type;
    size_t bytes; /* in the row */
};

/* A row being made. */
struct row {
    const struct warehouse_rules *rules;
    const struct warehouse_row *kind;
    struct json_object *json_paths; /* an array of texts, or NULL */
    struct json_object *table;      /* the types of its columns so far */
    struct column *columns;
    size_t count, capacity;
    struct buffer warnings, empty; /* empty: paths of members without a value */
    bool failed;                   /* memory is out */
};

const char *warehouse_name(size_t index)
{
    const struct warehouse_rules *rules = warehouse_rules_at(index);
    return rules == NULL ? NULL : rules->name;
}

struct warehouse *warehouse_new(const char *name)
{
    const struct warehouse_rules *rules = NULL;
    for (size_t i = 0; rules == NULL && warehouse_name(i) != NULL; i++)
        rules = strcmp(warehouse_name(i), name) == 0 ? warehouse_rules_at(i) : NULL;
    struct warehouse *warehouse = rules == NULL ? NULL : calloc(1, sizeof *warehouse);
    if (warehouse == NULL)
        return NULL;
    *warehouse = (struct warehouse){rules, json_object_new_object()};
    if (warehouse->tables != NULL)
        return warehouse;
    free(warehouse);
    return NULL;
}

void warehouse_free(struct warehouse *warehouse)
{
    if (warehouse == NULL)
        return;
    json_object_put(warehouse->tables);
    free(warehouse);
}

/* ---- columns ---- */

static void warn(struct row *row, const char *path, const char *words)
{
    buffer_text(&row->warnings, "  warning: ");
    buffer_text(&row->warnings, path);
    buffer_text(&row->warnings, " ");
    buffer_text(&row->warnings, words);
    buffer_text(&row->warnings, "\n");
}

static struct column *find_column(const struct row *row, const char *name)
{
    for (size_t i = 0; i < row->count; i++) {
        if (strcmp(row->columns[i].name, name) == 0)
            return &row->columns[i];
    }
    return NULL;
}

/* Adds a column, or takes the one that has the name. NULL when memory is out. */
static struct column *take_column(struct row *row, const char *name, const char *path)
{
    struct column *column = find_column(row, name);
    if (column != NULL && column->path[0] != '\0') {
        char words[COLUMN_NAME + PATH_MOST + 64];
        snprintf(words, sizeof words, "is lost: %s is in the same column, %s",
                 path[0] == '\0' ? "RudderStack's own" : path, name);
        warn(row, column->path, words);
    }
    if (column == NULL && row->count == row->capacity) {
        size_t capacity = row->capacity == 0 ? 64 : row->capacity * 2;
        struct column *columns = realloc(row->columns, capacity * sizeof *columns);
        row->failed = row->failed || columns == NULL;
        if (columns == NULL)
            return NULL;
        row->columns = columns;
        row->capacity = capacity;
    }
    if (column == NULL)
        column = &row->columns[row->count++];
    snprintf(column->name, sizeof column->name, "%s", name);
    snprintf(column->path, sizeof column->path, "%s", path);
    return column;
}

static const char *const no_column = "has no column: RudderStack fills the one of that name itself";

static void add_own(struct row *row, const char *name, enum column_type type)
{
    struct column *column = take_column(row, name, "");
    if (column != NULL) {
        column->type = type;
        column->bytes = 8;
    }
}

/* ---- values ---- */

static void warn_number(struct row *row, const char *path, const char *text)
{
    char kept[400];
    double number = strtod(text, NULL);
    snprintf(kept, sizeof kept, "%.0f", number);
    if (fabs(number) >= INT_LIMIT)
        warn(row, path, "is beyond what a bigint holds: another number is stored");
    else if (strcmp(kept, text) != 0 && fabs(number) >= INT_EXACT)
        warn(row, path, "has more digits than RudderStack keeps: it is rounded");
}

/* A day that its month does not have is one of the next month. */
static bool has_day(const char *date)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    char *end;
    long year = strtol(date, &end, 10);
    long month = *end == '-' ? strtol(end + 1, &end, 10) : 0;
    long day = *end == '-' ? strtol(end + 1, &end, 10) : 0;
    if (month < 1 || month > 12)
        return true;
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return day <= days[month - 1] + (month == 2 && leap);
}

static void warn_date(struct row *row, const char *path, const char *text, bool in_column)
{
    const char *fraction = strchr(text, '.');
    if (!in_column)
        warn(row, path, "looks like a date, and makes the column one: other texts in it will be NULL");
    if (!has_day(text))
        warn(row, path, "is a day that there is not: one of the next month is stored");
    else if (strlen(text) <= 11)
        warn(row, path, "is a date alone: midnight UTC is stored");
    if (fraction != NULL && strspn(fraction + 1, "0123456789") > 3 &&
        strspn(fraction + 4, "0") < strspn(fraction + 4, "0123456789"))
        warn(row, path, "is cut to milliseconds");
}

/* Names of members that Close's documentation gives dates to: these are no surprise. */
static bool is_date_name(const char *path)
{
    const char *dot = strrchr(path, '.'), *name = dot == NULL ? path : dot + 1;
    return strncmp(name, "date", 4) == 0 || strstr(name, "_at") != NULL || strstr(name, "date") != NULL;
}

static enum column_type type_of(struct json_object *value)
{
    double number;
    switch (json_object_get_type(value)) {
    case json_type_boolean:
        return COLUMN_BOOLEAN;
    case json_type_double:
    case json_type_int:
        number = strtod(json_object_to_json_string(value), NULL);
        return number == floor(number) ? COLUMN_INT : COLUMN_FLOAT;
    case json_type_string:
        return warehouse_rules_is_date(json_object_get_string(value), (size_t)json_object_get_string_len(value))
                   ? COLUMN_DATETIME
                   : COLUMN_STRING;
    default:
        return COLUMN_STRING; /* an array, as JSON text */
    }
}

/* What becomes of a value in a column whose type an earlier value has decided; NULL: nothing. */
static const char *lost_in(enum column_type column, enum column_type value)
{
    if (column == value || column == COLUMN_STRING || column == COLUMN_JSON)
        return NULL;
    if (column == COLUMN_FLOAT && value == COLUMN_INT)
        return NULL;
    if (column == COLUMN_INT && value == COLUMN_FLOAT)
        return "loses its decimals: the column's first value was a whole number";
    return "is NULL, and kept in rudder_discards: the column's first value had another type";
}

static void warn_value(struct row *row, const struct column *column, struct json_object *value)
{
    struct json_object *earlier = NULL;
    bool in_column = json_object_object_get_ex(row->table, column->name, &earlier);
    const char *lost = in_column ? lost_in((enum column_type)json_object_get_int(earlier), column->type) : NULL;
    if (lost != NULL)
        warn(row, column->path, lost);
    else if (column->type == COLUMN_INT)
        warn_number(row, column->path, json_object_to_json_string(value));
    else if (column->type == COLUMN_DATETIME)
        warn_date(row, column->path, json_object_get_string(value), in_column || is_date_name(column->path));
}

/* Texts are kept outside of the row when they are long, and leave a pointer there. */
static size_t bytes_of(const struct row *row, enum column_type type, struct json_object *value)
{
    if (type != COLUMN_STRING && type != COLUMN_JSON)
        return type == COLUMN_BOOLEAN ? 1 : 8;
    size_t length = strlen(json_object_to_json_string_ext(value, JSON_C_TO_STRING_PLAIN));
    return length < row->rules->text_most ? length : row->rules->text_most;
}

static bool is_empty(struct json_object *value, bool as_json)
{
    if (value == NULL)
        return true;
    if (json_object_is_type(value, json_type_string))
        return json_object_get_string_len(value) == 0;
    if (json_object_is_type(value, json_type_object))
        return !as_json && json_object_object_length(value) == 0;
    if (!json_object_is_type(value, json_type_array))
        return false;
    size_t length = json_object_array_length(value);
    return length == 0 || (length == 1 && json_object_array_get_idx(value, 0) != NULL &&
                           is_empty(json_object_array_get_idx(value, 0), true));
}

static void note_empty(struct row *row, const char *path)
{
    buffer_text(&row->empty, row->empty.length > 0 ? ", " : "");
    buffer_text(&row->empty, path);
}

/* ---- members ---- */

/* Where a member stands: the text that its column's name is made of, and its path for people. */
struct place {
    char name[PATH_MOST];
    char path[PATH_MOST];
};

static void enter(struct place *inner, const struct place *outer, const char *key)
{
    snprintf(inner->name, sizeof inner->name, "%.*s%.*s", 127, outer->name, 127, key);
    snprintf(inner->path, sizeof inner->path, "%.*s%s%.*s", 127, outer->path, outer->path[0] == '\0' ? "" : ".", 127,
             key);
}

static bool is_json_path(const struct row *row, const struct place *place)
{
    char wanted[PATH_MOST + 32];
    snprintf(wanted, sizeof wanted, "%s.%s.%s", row->kind->type, row->kind->members, place->path);
    size_t paths = row->json_paths == NULL ? 0 : json_object_array_length(row->json_paths);
    for (size_t i = 0; i < paths; i++) {
        const char *path = json_object_get_string(json_object_array_get_idx(row->json_paths, i));
        if (path != NULL && strcmp(path, wanted) == 0)
            return true;
    }
    return false;
}

static void add_value(struct row *row, const struct place *place, struct json_object *value, bool as_json)
{
    char name[COLUMN_NAME];
    bool cut = warehouse_rules_name(row->rules, place->name, name);
    if (name[0] == '\0' || warehouse_rules_is_own_column(name)) {
        warn(row, place->path, name[0] == '\0' ? "has no column: there is no letter or digit in its name" : no_column);
        return;
    }
    struct column *column = take_column(row, name, place->path);
    if (column == NULL)
        return;
    column->type = as_json ? COLUMN_JSON : type_of(value);
    column->bytes = bytes_of(row, column->type, value);
    if (cut)
        warn(row, place->path, "has a longer name than a column may have: it is cut");
    warn_value(row, column, value);
}

/* Adds the columns of an object's members. Recursive: JSON_DEPTH_MAX bounds the depth. */
static void add_members(struct row *row, const struct place *outer, struct json_object *object)
{
    json_object_object_foreach(object, key, value)
    {
        struct place place;
        enter(&place, outer, key);
        bool as_json = outer->path[0] == '\0' && is_json_path(row, &place);
        if (is_empty(value, as_json)) {
            note_empty(row, place.path);
        } else if (!as_json && json_object_is_type(value, json_type_object)) {
            snprintf(place.name + strlen(place.name), sizeof place.name - strlen(place.name), "_");
            add_members(row, &place, value);
        } else {
            add_value(row, &place, value, as_json);
        }
    }
}

static void add_own_columns(struct row *row, struct json_object *message)
{
    static const char *const dates[] = {"original_timestamp", "timestamp", "received_at", "sent_at"};
    for (const char *const *text = row->kind->texts; *text != NULL; text++)
        add_own(row, *text, COLUMN_STRING);
    for (size_t i = 0; i < sizeof dates / sizeof *dates; i++)
        add_own(row, dates[i], COLUMN_DATETIME);
    if (row->kind->has_user)
        add_own(row, json_object_object_get(message, "userId") != NULL ? "user_id" : "anonymous_id", COLUMN_STRING);
}

/* ---- the row ---- */

static void warn_size(struct row *row)
{
    size_t bytes = row->rules->row_own + row->count / 8;
    char words[128];
    for (size_t i = 0; i < row->count; i++)
        bytes += row->columns[i].bytes;
    snprintf(words, sizeof words, "of %zu columns", row->count);
    if (row->count > row->rules->columns_most)
        warn(row, "the whole event vanishes: it is a row", words);
    else if (bytes > row->rules->row_most)
        warn(row, "the whole table cannot be loaded: too many filled columns are in a row", words);
}

/* The first value of a column decides its type. */
static void remember_types(struct row *row)
{
    for (size_t i = 0; i < row->count; i++) {
        const struct column *column = &row->columns[i];
        if (json_object_object_get(row->table, column->name) != NULL)
            continue;
        struct json_object *type = json_object_new_int((int)column->type);
        if (type == NULL || json_object_object_add(row->table, column->name, type) != 0) {
            json_object_put(type);
            row->failed = true;
        }
    }
}

static void write_row(const struct row *row, const char *table, const char *id, struct buffer *out)
{
    write_format(out, "%s: a row of %zu columns in table %s%s\n", id, row->count, table, row->kind->words);
    for (size_t i = 0; i < row->count; i++)
        write_format(out, "  %-45s %-12s %s\n", row->columns[i].name, row->rules->types[row->columns[i].type],
                     row->columns[i].path[0] == '\0' ? "(RudderStack's own)" : row->columns[i].path);
    buffer_append(out, row->warnings.data, row->warnings.length);
    if (row->empty.length > 0) {
        buffer_text(out, "  warning: empty, which is NULL, and no column where it is the first: ");
        buffer_append(out, row->empty.data, row->empty.length);
        buffer_text(out, "\n");
    }
}

static struct json_object *find_table(const struct warehouse *warehouse, const char *name)
{
    struct json_object *table = json_object_object_get(warehouse->tables, name);
    if (table != NULL)
        return table;
    table = json_object_new_object();
    if (table != NULL && json_object_object_add(warehouse->tables, name, table) == 0)
        return table;
    json_object_put(table);
    return NULL;
}

static struct json_object *find_json_paths(struct json_object *message)
{
    static const char *const steps[] = {"integrations", "DATA_WAREHOUSE", "options", "jsonPaths"};
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++)
        message = json_object_object_get(message, steps[i]);
    return json_object_is_type(message, json_type_array) ? message : NULL;
}

static bool describe_row(const struct warehouse *warehouse, const struct warehouse_row *kind,
                         struct json_object *message, struct buffer *out)
{
    char table[COLUMN_NAME];
    const char *name = kind->table;
    if (name == NULL)
        name = json_object_get_string(json_object_object_get(message, "event"));
    warehouse_rules_name(warehouse->rules, name, table);
    struct row row = {.rules = warehouse->rules,
                      .kind = kind,
                      .json_paths = find_json_paths(message),
                      .table = find_table(warehouse, table)};
    const struct place top = {"", ""}, context = {"context_", "context"};
    struct json_object *members = kind->members == NULL ? NULL : json_object_object_get(message, kind->members);
    if (members != NULL)
        add_members(&row, &top, members);
    add_members(&row, &context, json_object_object_get(message, "context"));
    add_own_columns(&row, message);
    warn_size(&row);
    if (row.table != NULL)
        remember_types(&row);
    write_row(&row, table, json_object_get_string(json_object_object_get(message, "messageId")), out);
    bool good = row.table != NULL && !row.failed && !row.warnings.failed && !row.empty.failed && !out->failed;
    buffer_free(&row.warnings);
    buffer_free(&row.empty);
    free(row.columns);
    return good;
}

bool warehouse_describe(struct warehouse *warehouse, const char *message, size_t length, struct buffer *out)
{
    struct json_document document;
    bool out_of_memory;
    if (!json_read(message, length, NULL, &document, &out_of_memory, NULL))
        return false;
    const char *type = json_object_get_string(json_object_object_get(document.root, "type"));
    const struct warehouse_row *kind;
    bool good = true;
    for (size_t i = 0; good && (kind = warehouse_rules_row(i)) != NULL; i++) {
        if (strcmp(kind->type, type) == 0)
            good = describe_row(warehouse, kind, document.root, out);
    }
    json_document_free(&document);
    return good;
}
