/* What the queue remembers: the identities of settled events, in its index, in a copy of the journal and a Bloom filter
 * in memory; and the forwarder's notes. */
#include "queue/sqlite/store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- a Bloom filter over the index ---- */

#define BLOCK_WORDS (BLOOM_BLOCK / 8) /* a key's bits are in one block */
#define BLOCKS_LEAST 4096             /* 256 KiB */
#define FEW 4000000                   /* keys: below, the filter is made for twice as many, else for a quarter more */
#define KEYS_A_BLOCK 128              /* when it is full: four bits each */

bool bloom_begin(struct bloom *bloom, uint64_t keys)
{
    bloom_free(bloom);
    uint64_t blocks = (keys + (keys < FEW ? keys : keys / 4)) / KEYS_A_BLOCK + 1;
    blocks = blocks < BLOCKS_LEAST ? BLOCKS_LEAST : blocks;
    bloom->blocks = blocks > BLOOM_BLOCKS_MOST ? BLOOM_BLOCKS_MOST : blocks;
    bloom->bits = calloc(bloom->blocks, BLOCK_WORDS * sizeof *bloom->bits);
    return bloom->bits != NULL;
}

/* The block of a key, which is a hash, and the bits in it. In the order of the keys, so that who reads the index passes
 * through the filter once. */
static uint64_t *block_of(const struct bloom *bloom, const unsigned char key[16], unsigned bit[static 3])
{
    uint64_t first = (uint64_t)key[0] << 24 | (uint64_t)key[1] << 16 | (uint64_t)key[2] << 8 | key[3];
    uint64_t rest;
    memcpy(&rest, key + 8, sizeof rest);
    for (unsigned i = 0; i < 3; i++)
        bit[i] = (unsigned)(rest >> (9 * i)) % (BLOCK_WORDS * 64);
    return bloom->bits + (first * bloom->blocks >> 32) * BLOCK_WORDS;
}

void bloom_add(struct bloom *bloom, const unsigned char key[16])
{
    unsigned bit[3];
    if (bloom->bits == NULL)
        return;
    uint64_t *block = block_of(bloom, key, bit);
    for (unsigned i = 0; i < 3; i++)
        block[bit[i] / 64] |= (uint64_t)1 << bit[i] % 64;
    bloom->added++;
}

bool bloom_may_have(const struct bloom *bloom, const unsigned char key[16])
{
    unsigned bit[3];
    if (!bloom->whole)
        return true;
    const uint64_t *block = block_of(bloom, key, bit);
    for (unsigned i = 0; i < 3; i++) {
        if ((block[bit[i] / 64] & (uint64_t)1 << bit[i] % 64) == 0)
            return false;
    }
    return true;
}

void bloom_free(struct bloom *bloom)
{
    free(bloom->bits);
    *bloom = (struct bloom){0};
}

bool bloom_is_full(const struct bloom *bloom)
{
    return bloom->added > bloom->blocks * KEYS_A_BLOCK && bloom->blocks < BLOOM_BLOCKS_MOST;
}

/* ---- the journal's mirror: a hash table with open addressing ---- */

#define FIRST_SLOTS 1024
#define FIRST_ROOM 512

/* The key is a hash already. */
static size_t slot_of(const struct mirror *mirror, uint32_t source, const unsigned char key[16])
{
    uint64_t hash;
    memcpy(&hash, key, sizeof hash);
    return (size_t)(hash ^ source) & (mirror->slots - 1);
}

/* The slot of the entry with this key, or the empty slot where it would go. */
static uint32_t *find_mirrored(const struct mirror *mirror, uint32_t source, const unsigned char key[16])
{
    size_t at = slot_of(mirror, source, key);
    for (; mirror->slot[at] != 0; at = (at + 1) & (mirror->slots - 1)) {
        const struct mirrored *one = &mirror->entry[mirror->slot[at] - 1];
        if (one->source == source && memcmp(one->key, key, sizeof one->key) == 0)
            break;
    }
    return &mirror->slot[at];
}

const struct mirrored *mirror_find(const struct mirror *mirror, uint32_t source, const unsigned char key[16])
{
    if (mirror->slots == 0)
        return NULL;
    uint32_t which = *find_mirrored(mirror, source, key);
    return which == 0 ? NULL : &mirror->entry[which - 1];
}

static bool make_slots(struct mirror *mirror, size_t slots)
{
    uint32_t *slot = calloc(slots, sizeof *slot);
    if (slot == NULL)
        return false;
    free(mirror->slot);
    mirror->slot = slot;
    mirror->slots = slots;
    for (size_t i = 0; i < mirror->used; i++)
        *find_mirrored(mirror, mirror->entry[i].source, mirror->entry[i].key) = (uint32_t)i + 1;
    return true;
}

/* Grows in small steps: the kernel remaps large blocks instead of copying them, so steps are cheap and little is
 * unused. */
static bool make_room(struct mirror *mirror, size_t room)
{
    size_t least = mirror->room + mirror->room / 4 + FIRST_ROOM;
    room = room > least ? room : least;
    struct mirrored *one = realloc(mirror->entry, room * sizeof *one);
    if (one == NULL)
        return false;
    mirror->entry = one;
    mirror->room = room;
    return true;
}

bool mirror_reserve(struct mirror *mirror, size_t count)
{
    size_t wanted = mirror->used + count;
    size_t slots = mirror->slots == 0 ? FIRST_SLOTS : mirror->slots;
    while (wanted * 2 > slots)
        slots *= 2;
    if (wanted > mirror->room && !make_room(mirror, wanted))
        return false;
    return slots == mirror->slots || make_slots(mirror, slots);
}

bool mirror_add(struct mirror *mirror, const struct mirrored *one)
{
    if (!mirror_reserve(mirror, 1))
        return false;
    uint32_t *slot = find_mirrored(mirror, one->source, one->key);
    if (*slot == 0) {
        mirror->entry[mirror->used++] = *one;
        *slot = (uint32_t)mirror->used;
        return true;
    }
    struct mirrored *there = &mirror->entry[*slot - 1];
    if (one->updated > there->updated)
        there->updated = one->updated;
    if (one->at > there->at)
        there->at = one->at;
    return true;
}

int mirror_compare(const void *a, const void *b)
{
    const struct mirrored *x = a, *y = b;
    if (x->source != y->source)
        return x->source < y->source ? -1 : 1;
    return memcmp(x->key, y->key, sizeof x->key);
}

struct mirrored *mirror_sorted(const struct mirror *mirror)
{
    struct mirrored *sorted = mirror->used == 0 ? NULL : malloc(mirror->used * sizeof *sorted);
    if (sorted == NULL)
        return NULL;
    memcpy(sorted, mirror->entry, mirror->used * sizeof *sorted);
    qsort(sorted, mirror->used, sizeof *sorted, mirror_compare);
    return sorted;
}

void mirror_free(struct mirror *mirror)
{
    free(mirror->entry);
    free(mirror->slot);
    *mirror = (struct mirror){0};
}

/* ---- identities and notes ---- */

/* Another process may have moved identities of a renamed source into the index: then the Bloom filter is incomplete.
 * With the mirror's lock held, in the transaction that reads the index. */
static enum database_result look_for_moves(struct store *store)
{
    enum database_result result;
    int64_t moves = database_number(&store->reader, STATEMENT_MOVES, &result);
    if (result == DATABASE_DONE && moves != store->moves) {
        store->bloom.whole = false; /* the housekeeper fills a new one */
        store->moves = moves;
    }
    return result;
}

/* Looks an identity up in memory: in the mirror of the journal and in the Bloom filter. Returns whether the index must
 * be read too; also where the mirror has an older version, as a move, a restore or a merge may have put a newer one
 * there. With the mirror's lock held. */
static bool must_ask_index(struct store *store, uint32_t number, const struct identity *identity, struct known *known)
{
    const struct mirrored *one = mirror_find(&store->mirror, number, identity->key);
    known->delivered = one != NULL;
    if (one != NULL)
        known->delivered_us = one->updated;
    bool is_older = one != NULL && one->updated < identity->updated_us;
    bool ask = (one == NULL || is_older) && bloom_may_have(&store->bloom, identity->key);
    store->index_asked += ask;
    return ask;
}

static enum database_result find_known(struct store *store, uint32_t number, const struct identity *identity,
                                       struct known *known)
{
    enum database_result result;
    sqlite3_stmt *find = database_statement(&store->reader, STATEMENT_FIND_KNOWN, 0);
    if (find != NULL) {
        sqlite3_bind_int64(find, 1, number);
        sqlite3_bind_blob(find, 2, identity->key, sizeof identity->key, SQLITE_STATIC);
        sqlite3_bind_int64(find, 3, clock_unix_ms() - store->config->dedupe_window_ms);
    }
    if (database_step(&store->reader, find, &result) == SQLITE_ROW) {
        int64_t updated = sqlite3_column_int64(find, 0);
        if (!known->delivered || updated > known->delivered_us)
            known->delivered_us = updated;
        known->delivered = true;
    }
    if (result == DATABASE_DONE)
        sqlite3_reset(find);
    return result;
}

static enum database_result find_dead(struct store *store, uint32_t number, const struct identity *identity,
                                      struct known *known)
{
    enum database_result result;
    sqlite3_stmt *find = database_statement(&store->reader, STATEMENT_FIND_DEAD, 0);
    if (find != NULL) {
        sqlite3_bind_int64(find, 1, number);
        sqlite3_bind_blob(find, 2, identity->key, sizeof identity->key, SQLITE_STATIC);
    }
    if (database_step(&store->reader, find, &result) == SQLITE_ROW) {
        known->dead = sqlite3_column_type(find, 0) != SQLITE_NULL;
        known->dead_us = sqlite3_column_int64(find, 0);
        known->dead_first_us = sqlite3_column_int64(find, 1);
    }
    if (result == DATABASE_DONE)
        sqlite3_reset(find);
    return result;
}

/* Holds the mirror's lock for the whole read transaction: an identity that has left the mirror before is in the index
 * that the transaction reads, and in the Bloom filter. */
bool store_known(void *state, const char *source, const struct identity *identities, size_t count, struct known *known,
                 struct error *why)
{
    struct store *store = state;
    uint32_t number = store_number(store, source);
    if (!store_reader(store, why))
        return false;
    pthread_mutex_lock(&store->mirror_lock);
    enum database_result result = database_begin_reading(&store->reader);
    bool any_letter = result == DATABASE_DONE && database_number(&store->reader, STATEMENT_ANY_LETTER, &result) != 0;
    if (result == DATABASE_DONE)
        result = look_for_moves(store);
    for (size_t i = 0; i < count && result == DATABASE_DONE; i++) {
        known[i] = (struct known){.delivered = false};
        if (must_ask_index(store, number, &identities[i], &known[i]))
            result = find_known(store, number, &identities[i], &known[i]);
        if (result == DATABASE_DONE && any_letter)
            result = find_dead(store, number, &identities[i], &known[i]);
    }
    database_end_reading(&store->reader);
    pthread_mutex_unlock(&store->mirror_lock);
    return result == DATABASE_DONE || store_reader_failed(store, result, why);
}

/* ---- notes ---- */

static enum database_result read_parked(struct database *database, uint32_t number, struct notes *notes)
{
    enum database_result result = DATABASE_DONE;
    sqlite3_stmt *parked = database_statement(database, STATEMENT_PARKED, 0);
    if (parked == NULL)
        return DATABASE_FAILED;
    sqlite3_bind_int64(parked, 1, number);
    while (notes->parked_count < NOTES_PARKED && database_step(database, parked, &result) == SQLITE_ROW) {
        notes->parked[notes->parked_count].id = (uint64_t)sqlite3_column_int64(parked, 0);
        notes->parked[notes->parked_count++].since_ms = sqlite3_column_int64(parked, 1);
    }
    sqlite3_reset(parked);
    return result;
}

static enum database_result read_notes(struct database *database, uint32_t number, struct notes *notes)
{
    enum database_result result;
    memset(notes, 0, sizeof *notes);
    sqlite3_stmt *note = database_statement(database, STATEMENT_NOTE, 0);
    if (note != NULL)
        sqlite3_bind_int64(note, 1, number);
    if (database_step(database, note, &result) == SQLITE_ROW) {
        notes->tries = (uint32_t)sqlite3_column_int64(note, 1);
        notes->since_ms = sqlite3_column_int64(note, 2);
        notes->next_ms = sqlite3_column_int64(note, 3);
        notes->operator_must_act = sqlite3_column_int64(note, 4) != 0;
        notes->config_fingerprint = (uint64_t)sqlite3_column_int64(note, 5);
        snprintf(notes->reason, sizeof notes->reason, "%s", (const char *)sqlite3_column_text(note, 6));
    }
    if (result != DATABASE_DONE)
        return result;
    sqlite3_reset(note);
    return read_parked(database, number, notes);
}

static enum database_result write_parked(struct database *database, uint32_t number, const struct notes *notes)
{
    sqlite3_stmt *clear = database_statement(database, STATEMENT_CLEAR_PARKED, 0);
    if (clear != NULL)
        sqlite3_bind_int64(clear, 1, number);
    enum database_result result = database_run(database, clear);
    for (uint32_t i = 0; i < notes->parked_count && result == DATABASE_DONE; i++) {
        sqlite3_stmt *add = database_statement(database, STATEMENT_ADD_PARKED, 0);
        if (add != NULL) {
            sqlite3_bind_int64(add, 1, number);
            sqlite3_bind_int64(add, 2, (int64_t)notes->parked[i].id);
            sqlite3_bind_int64(add, 3, notes->parked[i].since_ms);
        }
        result = database_run(database, add);
    }
    return result;
}

static enum database_result write_notes(struct database *database, uint32_t number, const struct notes *notes)
{
    enum database_result result = database_begin(database);
    if (result != DATABASE_DONE)
        return result;
    sqlite3_stmt *set = database_statement(database, STATEMENT_SET_NOTE, 0);
    if (set != NULL) {
        sqlite3_bind_int64(set, 1, number);
        sqlite3_bind_int64(set, 2, notes->tries);
        sqlite3_bind_int64(set, 3, notes->since_ms);
        sqlite3_bind_int64(set, 4, notes->next_ms);
        sqlite3_bind_int64(set, 5, notes->operator_must_act);
        sqlite3_bind_int64(set, 6, (int64_t)notes->config_fingerprint);
        sqlite3_bind_text(set, 7, notes->reason, -1, SQLITE_STATIC);
    }
    result = database_run(database, set);
    if (result == DATABASE_DONE)
        result = write_parked(database, number, notes);
    return database_end(database, result);
}

bool store_note(void *state, const char *source, struct notes *notes, bool put, struct error *why)
{
    struct store *store = state;
    if (!store_reader(store, why))
        return false;
    uint32_t number = store_number(store, source);
    enum database_result result =
        put ? write_notes(&store->reader, number, notes) : read_notes(&store->reader, number, notes);
    return result == DATABASE_DONE || store_reader_failed(store, result, why);
}

bool store_read_notes(void *state, const char *source, struct notes *notes, struct error *why)
{
    return store_note(state, source, notes, false, why);
}

/* ---- Lookups for a process that does not forward: in the index, and in the part of the journal that is not merged
 * ---- */

enum database_result store_mirror_journal(struct store *store, sqlite3_stmt *journal, bool claimed)
{
    enum database_result result;
    while (database_step(&store->reader, journal, &result) == SQLITE_ROW) {
        struct mirrored one = {.source = (uint32_t)sqlite3_column_int64(journal, 1),
                               .updated = sqlite3_column_int64(journal, 3),
                               .at = sqlite3_column_int64(journal, 4)};
        const void *key = sqlite3_column_blob(journal, 2);
        if (key == NULL || sqlite3_column_bytes(journal, 2) != (int)sizeof one.key)
            continue;
        memcpy(one.key, key, sizeof one.key);
        if (claimed)
            marks_settled(store, one.source, one.updated);
        if (!mirror_add(&store->mirror, &one)) {
            error_set(&store->reader.why, "out of memory");
            result = DATABASE_FAILED;
            break;
        }
        if (!claimed)
            store->seen = sqlite3_column_int64(journal, 0);
    }
    sqlite3_reset(journal);
    return result;
}

/* Reads the new rows of the journal into the mirror. Rows merged meanwhile stay known, being in the index. When all
 * rows read are merged, the mirror is emptied, so that memory does not grow. */
static enum database_result read_journal(struct store *store)
{
    enum database_result result;
    int64_t first = database_number(&store->reader, STATEMENT_JOURNAL_FIRST, &result);
    if (result != DATABASE_DONE)
        return result;
    if (first == 0 || first >= store->seen) /* the last merged row may stay: see bloom_save */
        mirror_free(&store->mirror);
    sqlite3_stmt *journal = database_statement(&store->reader, STATEMENT_JOURNAL_AFTER, 0);
    if (journal != NULL)
        sqlite3_bind_int64(journal, 1, store->mirror.used == 0 ? 0 : store->seen);
    return store_mirror_journal(store, journal, false);
}

bool store_look_known(void *state, const char *source, const struct identity *identities, size_t count,
                      struct known *known, struct error *why)
{
    struct store *store = state;
    if (!store_reader(store, why))
        return false;
    if (!store->owned) {
        pthread_mutex_lock(&store->mirror_lock);
        enum database_result result = read_journal(store);
        pthread_mutex_unlock(&store->mirror_lock);
        if (result != DATABASE_DONE)
            return store_reader_failed(store, result, why);
    }
    return store_known(state, source, identities, count, known, why);
}
