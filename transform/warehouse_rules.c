/* What RudderStack's warehouse destinations do with names and values. All of it was seen with WAREHOUSE_SEEN_WITH:
 * after an update of the data plane compare it here. */
#include "transform/warehouse.h"

#include <string.h>

static const char *const postgres_reserved[] = {
    "all",
    "analyse",
    "analyze",
    "and",
    "any",
    "array",
    "as",
    "asc",
    "asymmetric",
    "authorization",
    "between",
    "binary",
    "both",
    "case",
    "cast",
    "check",
    "collate",
    "column",
    "constraint",
    "create",
    "cross",
    "current_date",
    "current_role",
    "current_time",
    "current_timestamp",
    "current_user",
    "default",
    "deferrable",
    "desc",
    "distinct",
    "do",
    "else",
    "end",
    "except",
    "false",
    "for",
    "foreign",
    "freeze",
    "from",
    "full",
    "grant",
    "group",
    "having",
    "ilike",
    "in",
    "initially",
    "inner",
    "intersect",
    "into",
    "is",
    "isnull",
    "join",
    "leading",
    "left",
    "like",
    "limit",
    "localtime",
    "localtimestamp",
    "natural",
    "new",
    "not",
    "notnull",
    "null",
    "off",
    "offset",
    "old",
    "on",
    "only",
    "or",
    "order",
    "outer",
    "overlaps",
    "placing",
    "primary",
    "references",
    "right",
    "select",
    "session_user",
    "similar",
    "some",
    "symmetric",
    "table",
    "then",
    "to",
    "trailing",
    "true",
    "union",
    "unique",
    "user",
    "using",
    "verbose",
    "when",
    "where",
    NULL,
};

static const struct warehouse_rules warehouses[] = {
    {
        .name = "postgres",
        .types = {"bigint", "numeric", "boolean", "timestamptz", "text", "jsonb"},
        .name_most = 63,
        .columns_most = 1600,
        .row_most = 8160,
        .row_own = 24,
        .text_most = 18,
        .reserved = postgres_reserved,
    },
};

/* Of the tables of track messages. */
static const char *const own_columns[] = {
    "anonymous_id",       "channel",     "context_ip", "context_passed_ip", "context_request_ip", "event_text", "id",
    "original_timestamp", "received_at", "record_id",  "sent_at",           "timestamp",          "user_id",
};

const struct warehouse_rules *warehouse_rules_at(size_t index)
{
    return index < sizeof warehouses / sizeof *warehouses ? &warehouses[index] : NULL;
}

/* Those that begin with context_ and are no member: where a message came from and goes to. */
#define CONTEXT_TEXTS                                                                                                  \
    "context_ip", "context_request_ip", "context_source_id", "context_source_type", "context_destination_id",          \
        "context_destination_type", NULL

static const char *const track_texts[] = {"event", "event_text", "id", CONTEXT_TEXTS};
static const char *const person_texts[] = {"id", CONTEXT_TEXTS};
static const char *const alias_texts[] = {"previous_id", "id", CONTEXT_TEXTS};

/* In `users` the id is the user's, and one row is kept for each. */
static const struct warehouse_row message_rows[] = {
    {"track", NULL, ", and one in tracks", "properties", track_texts, true},
    {"identify", "identifies", "", "traits", person_texts, true},
    {"identify", "users", " where \"Skip User Table\" is off", "traits", person_texts, false},
    {"alias", "aliases", "", NULL, alias_texts, true},
};

const struct warehouse_row *warehouse_rules_row(size_t index)
{
    return index < sizeof message_rows / sizeof *message_rows ? &message_rows[index] : NULL;
}

bool warehouse_rules_is_own_column(const char *name)
{
    for (size_t i = 0; i < sizeof own_columns / sizeof *own_columns; i++) {
        if (strcmp(name, own_columns[i]) == 0)
            return true;
    }
    return false;
}

/* ---- names ---- */

static bool is_lower(char c)
{
    return c >= 'a' && c <= 'z';
}

static bool is_upper(char c)
{
    return c >= 'A' && c <= 'Z';
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static size_t run(const char *text, bool (*is)(char))
{
    size_t n = 0;
    while (is(text[n]))
        n++;
    return n;
}

/* The length of the word at the start of a run of letters and digits: letters of one case, perhaps with a capital
 * before small ones, and digits beside them: getHTTPCode2b is get, HTTP, Code2, b. */
static size_t word_length(const char *text)
{
    size_t capital = is_upper(*text), small = run(text + capital, is_lower);
    if (small > 0)
        return capital + small + run(text + capital + small, is_digit);
    size_t capitals = run(text, is_upper);
    if (capitals > 0) {
        size_t digits = run(text + capitals, is_digit);
        return capitals + digits - (digits == 0 && is_lower(text[capitals]) && capitals > 1);
    }
    size_t digits = run(text, is_digit);
    capital = is_upper(text[digits]);
    small = run(text + digits + capital, is_lower);
    return digits + (small > 0 ? capital + small : run(text + digits, is_upper));
}

static bool is_word(char c)
{
    return is_lower(c) || is_upper(c) || is_digit(c);
}

struct naming {
    char *name;
    size_t length;
    bool cut;
};

static void put(struct naming *naming, char c)
{
    if (naming->length >= COLUMN_NAME - 2) {
        naming->cut = true;
        return;
    }
    naming->name[naming->length++] = is_upper(c) ? (char)(c - 'A' + 'a') : c;
}

static bool is_reserved(const struct warehouse_rules *rules, const char *name)
{
    for (const char *const *word = rules->reserved; *word != NULL; word++) {
        if (strcmp(*word, name) == 0)
            return true;
    }
    return false;
}

bool warehouse_rules_name(const struct warehouse_rules *rules, const char *text, char name[static COLUMN_NAME])
{
    struct naming naming = {.name = name};
    size_t leading = strspn(text, "_");
    for (size_t i = 0; i < leading; i++)
        put(&naming, '_');
    for (text += leading; *text != '\0';) {
        if (!is_word(*text)) {
            text++;
            continue;
        }
        if (naming.length > leading || (leading == 0 && is_digit(*text)))
            put(&naming, '_');
        for (size_t n = word_length(text); n > 0; n--)
            put(&naming, *text++);
    }
    naming.cut = naming.cut || naming.length > rules->name_most;
    if (naming.length > rules->name_most)
        naming.length = rules->name_most;
    name[naming.length] = '\0';
    if (is_reserved(rules, name)) {
        memmove(name + 1, name, naming.length + 1);
        name[0] = '_';
    }
    return naming.cut;
}

/* ---- dates ---- */

/* Whether two digits are there, from least to most; moves *text behind them. */
static bool take_two(const char **text, int least, int most)
{
    if (!is_digit((*text)[0]) || !is_digit((*text)[1]))
        return false;
    int value = ((*text)[0] - '0') * 10 + (*text)[1] - '0';
    if (value < least || value > most)
        return false;
    *text += 2;
    return true;
}

/* A colon and two digits up to 59. */
static bool take_sixtieth(const char **text)
{
    const char *at = *text + 1;
    if (**text != ':' || !take_two(&at, 0, 59))
        return false;
    *text = at;
    return true;
}

static void take_zone(const char **text)
{
    if (**text == 'z' || **text == 'Z') {
        ++*text;
    } else if (**text == '+' || **text == '-') {
        const char *at = *text + 1;
        if (!take_two(&at, 0, 23))
            return;
        at += *at == ':';
        take_two(&at, 0, 59);
        *text = at;
    }
}

static void take_time(const char **text)
{
    const char *at = *text;
    if (take_two(&at, 0, 23) && take_sixtieth(&at))
        *text = at;
    if (take_sixtieth(text) && **text == '.' && is_digit((*text)[1]))
        *text += 1 + run(*text + 1, is_digit);
    take_zone(text);
}

bool warehouse_rules_is_date(const char *text, size_t length)
{
    const char *end = text + length;
    if (strlen(text) != length || length > 40)
        return false;
    text += *text == '+' || *text == '-';
    if (run(text, is_digit) != 4 || text[4] != '-')
        return false;
    text += 5;
    if (!take_two(&text, 1, 12) || *text++ != '-' || !take_two(&text, 1, 31))
        return false;
    if (*text == 'T' || *text == ' ') {
        text++;
        take_time(&text);
    }
    return text == end;
}
