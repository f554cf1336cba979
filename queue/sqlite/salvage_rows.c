/* Salvages tables whose rows have numbers: reads them in order; beyond an unreadable part reading continues at the next
 * readable number, which is searched one by one, and far away by growing steps. */
#include "base/log.h"

#include "queue/sqlite/salvage.h"

#include <string.h>

#define NEAR_MOST 5000000  /* numbers that are tried one by one */
#define NEAR_UNKNOWN 65536 /* the same where the table's last number is unknown */
#define GAP_MOST 1000000   /* missing numbers between two rows that are tried one by one */

/* The state of reading one such table. */
struct reading {
    struct salvage *salvage;
    const struct numbered_table *table;
    sqlite3_stmt *read;  /* rows from a number on */
    sqlite3_stmt *probe; /* whether rows from a number on are readable */
    sqlite3_stmt *exact; /* the row with one number */
    sqlite3_stmt *write;
    struct unreadable *gone;
    int64_t at;          /* the last number read or given up */
    int64_t last;        /* the table's last number, as far as known */
    int64_t received_ms; /* of the last row read */
    bool in_gap;
};

static int64_t highest(struct salvage *salvage, const struct numbered_table *table)
{
    char text[200];
    sqlite3_snprintf(sizeof text, text, "SELECT seq FROM sqlite_sequence WHERE name = '%s'", table->table);
    int64_t given = salvage_old_number(salvage, 0, text);
    if (given > 0)
        return given; /* not less than the last row's; a damaged page may show more */
    sqlite3_snprintf(sizeof text, text, "SELECT max(%s) FROM \"%s\"", table->number, table->table);
    int64_t there = salvage_old_number(salvage, 0, text);
    sqlite3_snprintf(sizeof text, text, "SELECT count(*) FROM \"%s\" WHERE %s = %lld", table->table, table->number,
                     (long long)there);
    return salvage_old_number(salvage, 0, text) == 1 ? there : 0;
}

static bool take_salvaged(struct reading *reading, sqlite3_stmt *row)
{
    struct unreadable *gone = reading->gone;
    reading->at = sqlite3_column_int64(row, 0);
    if (reading->table->received >= 0)
        reading->received_ms = sqlite3_column_int64(row, reading->table->received);
    if (reading->in_gap)
        gone->until_ms = reading->received_ms;
    reading->in_gap = false;
    return salvage_row(reading->salvage, row, reading->write);
}

static void record_unreadable(struct reading *reading, int64_t first, int64_t last)
{
    struct unreadable *gone = reading->gone;
    if (gone->ranges++ == 0) {
        gone->first = first;
        gone->from_ms = reading->received_ms;
    }
    gone->until_ms = 0;
    gone->last = last;
    gone->numbers += (size_t)(last - first + 1);
    reading->in_gap = true;
}

/* Looks up one number from the root: that way a damaged page with made-up numbers shows no row. */
static int look_exactly(struct reading *reading, int64_t number)
{
    sqlite3_bind_int64(reading->exact, 1, number);
    int code = sqlite3_step(reading->exact);
    sqlite3_reset(reading->exact);
    return code;
}

/* Whether a row with that number can be next: a lookup finds it, and none from `from` up to it. */
static bool is_plausible(struct reading *reading, int64_t from, int64_t number)
{
    if (number < from || number > reading->last || look_exactly(reading, number) != SQLITE_ROW)
        return false;
    for (int64_t n = from; n < number && n - from < GAP_MOST; n++) {
        if (look_exactly(reading, n) != SQLITE_DONE)
            return false;
    }
    return true;
}

/* Reads in order as far as possible. Returns whether the end was reached. */
static bool read_in_order(struct reading *reading)
{
    int code;
    sqlite3_bind_int64(reading->read, 1, reading->at + 1); /* not "> at": that would read at's page */
    while ((code = sqlite3_step(reading->read)) == SQLITE_ROW) {
        int64_t number = sqlite3_column_int64(reading->read, 0);
        /* else a damaged page that looks intact */
        if (number != reading->at + 1 && !is_plausible(reading, reading->at + 1, number)) {
            code = SQLITE_CORRUPT;
            break;
        }
        if (!take_salvaged(reading, reading->read))
            break;
    }
    sqlite3_reset(reading->read);
    return reading->salvage->failed || !salvage_is_damage(reading->salvage, code);
}

/* Whether the first row from a number on is readable; *found: its number, 0: none. */
static bool can_find(struct reading *reading, int64_t from, int64_t *found)
{
    sqlite3_bind_int64(reading->probe, 1, from);
    int code = sqlite3_step(reading->probe);
    *found = code == SQLITE_ROW ? sqlite3_column_int64(reading->probe, 0) : 0;
    sqlite3_reset(reading->probe);
    return code == SQLITE_ROW ? is_plausible(reading, from, *found) : !salvage_is_damage(reading->salvage, code);
}

/* Searches number by number, so that readable pages between damaged ones are not skipped. */
static bool find_near(struct reading *reading, int64_t *good)
{
    bool known = reading->last != INT64_MAX;
    int64_t found, end = reading->at + (known ? NEAR_MOST : NEAR_UNKNOWN);
    if (known && end > reading->last)
        end = reading->last;
    for (*good = reading->at + 2; *good <= end; ++*good) {
        if (can_find(reading, *good, &found) || look_exactly(reading, *good) == SQLITE_ROW)
            return true;
    }
    return false;
}

/* Finds the next number from which reading works; far away by growing steps and then by bisecting the last one. Returns
 * false when there is none. */
static bool find_next(struct reading *reading, int64_t *good)
{
    int64_t bad, step, found;
    if (find_near(reading, good))
        return true;
    bad = *good - 1;
    for (;;) {
        step = (bad - reading->at) / 8 + 1;
        if (bad > INT64_MAX / 4)
            return false;
        *good = bad + step;
        if (can_find(reading, *good, &found))
            break;
        bad = *good;
    }
    while (*good - bad > 1) {
        int64_t middle = bad + (*good - bad) / 2;
        if (can_find(reading, middle, &found))
            *good = middle;
        else
            bad = middle;
    }
    return true;
}

/* Reads the next number by lookup, where only reading in order fails. Returns whether its row was readable. */
static bool take_next_exactly(struct reading *reading)
{
    sqlite3_bind_int64(reading->exact, 1, reading->at + 1);
    bool taken = sqlite3_step(reading->exact) == SQLITE_ROW && take_salvaged(reading, reading->exact);
    sqlite3_reset(reading->exact);
    return taken;
}

/* Skips an unreadable part. Returns whether there is more. */
static bool skip_unreadable(struct reading *reading)
{
    int64_t next, found;
    if (take_next_exactly(reading))
        return true;
    if (can_find(reading, reading->at + 1, &found) && found > reading->at) {
        reading->at = found - 1; /* no row before it */
        if (take_next_exactly(reading))
            return true;
        record_unreadable(reading, found, found); /* its number is readable, its body is not */
        reading->at = found;
        return found < reading->last;
    }
    bool on = find_next(reading, &next) && !reading->salvage->failed;
    int64_t last = on ? next - 1 : reading->last;
    if (last <= reading->at || last == INT64_MAX)
        last = reading->at + 1;
    record_unreadable(reading, reading->at + 1, last);
    reading->at = last;
    return on;
}

void salvage_numbered(struct salvage *salvage, const struct numbered_table *table, struct unreadable *gone)
{
    struct reading reading = {.salvage = salvage, .table = table, .gone = gone};
    reading.read = salvage_prepare(salvage, salvage->old, "SELECT * FROM \"%s\" WHERE %s >= ?1 ORDER BY %s",
                                   table->table, table->number, table->number);
    reading.probe = salvage_prepare(salvage, salvage->old, "SELECT %s FROM \"%s\" WHERE %s >= ?1 ORDER BY %s LIMIT 1",
                                    table->number, table->table, table->number, table->number);
    reading.exact =
        salvage_prepare(salvage, salvage->old, "SELECT * FROM \"%s\" WHERE %s = ?1", table->table, table->number);
    reading.write = salvage_insert(salvage, table->table, table->columns);
    size_t rows = salvage->out->rows;
    bool end = reading.read == NULL || reading.probe == NULL || reading.exact == NULL || reading.write == NULL;
    reading.last = end ? 0 : highest(salvage, table);
    if (reading.last == 0) /* or the table is empty */
        reading.last = INT64_MAX;
    if (end)
        record_unreadable(&reading, 1, 1);
    while (!end && !salvage->failed)
        end = read_in_order(&reading) || !skip_unreadable(&reading);
    sqlite3_finalize(reading.read);
    sqlite3_finalize(reading.probe);
    sqlite3_finalize(reading.exact);
    sqlite3_finalize(reading.write);
    log_write(gone->numbers > 0 ? LEVEL_ERROR : LEVEL_INFO, "msg=salvaged table=%s rows=%zu unreadable=%zu",
              table->table, salvage->out->rows - rows, gone->numbers);
}

void salvage_sequence(struct salvage *salvage, const struct numbered_table *table)
{
    int64_t last = highest(salvage, table);
    salvage_write(salvage,
                  "DELETE FROM sqlite_sequence WHERE name = '%s';"
                  "INSERT INTO sqlite_sequence SELECT '%s', max(%lld, (SELECT coalesce(max(%s), 0) FROM \"%s\"))",
                  table->table, table->table, (long long)last, table->number, table->table);
}

/* ---- Identities. Their table has no row numbers: beyond a damaged page reading continues at the next readable key,
 * searched by growing steps. Keys are evenly distributed, so the part of their range that was skipped estimates how
 * many were lost. ---- */

#define KEY 16
#define FIRST_STEP (UINT64_C(1) << 36) /* of 2^64: less than a page of any index that fits on a disk */
#define BISECTIONS 24
#define ALL 18446744073709551616.0 /* 2^64 */

/* The state of reading one source's identities. */
struct keys {
    struct salvage *salvage;
    sqlite3_stmt *read;  /* rows from a key on */
    sqlite3_stmt *probe; /* likewise, one row */
    sqlite3_stmt *write;
    uint32_t source;
};

static uint64_t begin_of(const unsigned char *key)
{
    uint64_t begin = 0;
    for (int i = 0; i < 8; i++)
        begin = begin << 8 | key[i];
    return begin;
}

static void bind_from(sqlite3_stmt *statement, uint32_t source, uint64_t begin)
{
    unsigned char key[KEY] = {0};
    for (int i = 0; i < 8; i++)
        key[i] = (unsigned char)(begin >> (56 - 8 * i));
    sqlite3_bind_int64(statement, 1, source);
    sqlite3_bind_blob(statement, 2, key, KEY, SQLITE_TRANSIENT);
}

/* Copies from a key on. Returns whether the end was reached; *last: the first 8 bytes of the last key read. */
static bool read_on_keys(struct keys *keys, uint64_t from, uint64_t *last)
{
    int code;
    *last = from;
    bind_from(keys->read, keys->source, from);
    while ((code = sqlite3_step(keys->read)) == SQLITE_ROW) {
        const unsigned char *key = sqlite3_column_blob(keys->read, 1);
        if (key == NULL || sqlite3_column_bytes(keys->read, 1) != KEY)
            continue;                /* not a valid key */
        if (begin_of(key) < *last) { /* keys ascend: this is a damaged page that looks intact */
            code = SQLITE_CORRUPT;
            break;
        }
        *last = begin_of(key);
        if (!salvage_row(keys->salvage, keys->read, keys->write))
            break;
    }
    sqlite3_reset(keys->read);
    return !salvage_is_damage(keys->salvage, code);
}

static bool can_read(struct keys *keys, uint64_t from)
{
    bind_from(keys->probe, keys->source, from);
    int code = sqlite3_step(keys->probe);
    sqlite3_reset(keys->probe);
    return !salvage_is_damage(keys->salvage, code);
}

/* Finds the next key after `bad` from which reading works. Returns false when there is none. */
static bool find_next_key(struct keys *keys, uint64_t bad, uint64_t *good)
{
    const uint64_t begin = bad;
    for (;;) {
        /* slowly growing steps, so that readable pages between damaged ones are not skipped */
        uint64_t step = FIRST_STEP + (bad - begin) / 8;
        if (UINT64_MAX - bad < step)
            return false;
        *good = bad + step;
        if (can_read(keys, *good))
            break;
        bad = *good;
    }
    for (int i = 0; i<BISECTIONS && * good - bad> 1; i++) {
        uint64_t middle = bad + (*good - bad) / 2;
        if (can_read(keys, middle))
            *good = middle;
        else
            bad = middle;
    }
    return true;
}

void salvage_known(struct salvage *salvage, struct salvaged_source *source)
{
    static const char from[] = "SELECT * FROM known WHERE source = ?1 AND key >= ?2 ORDER BY key";
    struct keys keys = {.salvage = salvage, .source = source->number};
    keys.read = salvage_prepare(salvage, salvage->old, from);
    keys.probe = salvage_prepare(salvage, salvage->old, "%s LIMIT 1", from);
    keys.write = salvage_insert(salvage, "known", 4);
    bool on = keys.read != NULL && keys.probe != NULL && keys.write != NULL;
    uint64_t at = 0, last, next;
    if (!on)
        source->identities = 1;
    while (on && !salvage->failed && !read_on_keys(&keys, at, &last)) {
        on = find_next_key(&keys, last, &next);
        source->identities += (on ? (double)(next - last) : ALL - (double)last) / ALL;
        at = next;
    }
    sqlite3_finalize(keys.read);
    sqlite3_finalize(keys.probe);
    sqlite3_finalize(keys.write);
}
