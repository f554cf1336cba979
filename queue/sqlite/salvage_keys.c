/* Identities out of a damaged database. Their table has no row numbers: beyond a damaged page the reading goes on at
 * the next key that can be read, which is looked for by growing steps. Keys are evenly spread, so that what was
 * skipped of their range tells how much was lost. */
#include <string.h>

#include "queue/sqlite/salvage.h"

#define KEY 16
#define FIRST_STEP (UINT64_C(1) << 36) /* of 2^64: less than a page of any index that fits on a disk */
#define BISECTIONS 24
#define ALL 18446744073709551616.0 /* 2^64 */

/* The reading of one source's identities. */
struct keys {
    struct salvage *salvage;
    sqlite3_stmt *read;  /* from a key on */
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

/* Copies from a key on. Returns whether it came to the end; *last is where the last key that was read begins. */
static bool read_on(struct keys *keys, uint64_t from, uint64_t *last)
{
    int code;
    *last = from;
    bind_from(keys->read, keys->source, from);
    while ((code = sqlite3_step(keys->read)) == SQLITE_ROW) {
        const unsigned char *key = sqlite3_column_blob(keys->read, 1);
        if (key == NULL || sqlite3_column_bytes(keys->read, 1) != KEY)
            continue;                /* no key of ours */
        if (begin_of(key) < *last) { /* keys go up: this is a damaged page that looks like a good one */
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

/* Finds the next place after `bad` from which reading works. Returns false when there is none. */
static bool find_next(struct keys *keys, uint64_t bad, uint64_t *good)
{
    const uint64_t begin = bad;
    for (;;) {
        /* steps that grow slowly: readable pages between damaged ones must not be passed over */
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
    while (on && !salvage->failed && !read_on(&keys, at, &last)) {
        on = find_next(&keys, last, &next);
        source->identities += (on ? (double)(next - last) : ALL - (double)last) / ALL;
        at = next;
    }
    sqlite3_finalize(keys.read);
    sqlite3_finalize(keys.probe);
    sqlite3_finalize(keys.write);
}
