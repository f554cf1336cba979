/* Making the Bloom filter over the identity index, and the file that keeps it from one owner to the next: see store.h.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/files.h"
#include "base/text.h"
#include "queue/sqlite/store.h"

#define ASKED 4096 /* lookups in the index: a short-lived process needs no filter */
#define STEP 65536 /* keys read at once */

/* ---- the file ---- */

#define FILE_NAME "identities.filter"
#define NEW_NAME "identities.filter.new"
#define MAGIC UINT64_C(0x31726574666f6c43)

/* The file's beginning; the blocks follow. All zero where it has no padding, which is summed too. */
struct head {
    uint64_t magic;
    uint64_t sum; /* text_hash of all else */
    uint64_t blocks;
    uint64_t added;
    int64_t database; /* COUNT_DATABASE */
    int64_t moves;    /* COUNT_MOVES up to which the filter is complete */
    int64_t row;      /* of the journal: it and those before are in the filter */
    int64_t source, updated, at;
    unsigned char key[16];
};

static uint64_t sum_of(const struct head *head, const struct bloom *bloom)
{
    struct head zero = *head;
    zero.sum = 0;
    uint64_t sum = text_hash(TEXT_HASH, &zero, sizeof zero);
    return text_hash(sum, bloom->bits, bloom->blocks * BLOOM_BLOCK);
}

/* What the database says: its id, the last move, and that row of the journal. Returns false when there is no such row,
 * or it cannot be read. */
static bool read_marks(struct database *database, int64_t row, struct head *head)
{
    enum database_result result;
    *head = (struct head){.magic = MAGIC, .row = row};
    head->database = database_number(database, STATEMENT_DATABASE, &result);
    if (result == DATABASE_DONE)
        head->moves = database_number(database, STATEMENT_MOVES, &result);
    sqlite3_stmt *find = result == DATABASE_DONE ? database_statement(database, STATEMENT_JOURNAL_ROW, 0) : NULL;
    if (find != NULL)
        sqlite3_bind_int64(find, 1, row);
    bool found = database_step(database, find, &result) == SQLITE_ROW && sqlite3_column_bytes(find, 1) == 16;
    if (found) {
        head->source = sqlite3_column_int64(find, 0);
        memcpy(head->key, sqlite3_column_blob(find, 1), sizeof head->key);
        head->updated = sqlite3_column_int64(find, 2);
        head->at = sqlite3_column_int64(find, 3);
    }
    if (result == DATABASE_DONE)
        sqlite3_reset(find);
    return found;
}

static bool is_of(const struct head *head, const struct head *marks)
{
    return head->database == marks->database && head->moves == marks->moves && head->source == marks->source &&
           head->updated == marks->updated && head->at == marks->at &&
           memcmp(head->key, marks->key, sizeof head->key) == 0;
}

static bool read_bits(int fd, const struct head *head, struct bloom *bloom)
{
    size_t bytes = head->blocks * BLOOM_BLOCK;
    *bloom = (struct bloom){.blocks = head->blocks, .added = head->added, .bits = malloc(bytes)};
    return bloom->bits != NULL && files_read_all(fd, bloom->bits, bytes) == (ssize_t)bytes &&
           sum_of(head, bloom) == head->sum && !bloom_is_full(bloom);
}

/* Reads the file into an empty filter. Returns whether it belongs to the database as it stands. *moves: up to which it
 * is complete. */
static bool read_file(struct store *store, struct database *database, struct bloom *bloom, int64_t *moves)
{
    char path[STATE_PATH];
    struct head head, marks;
    directory_path(path, store->directory, FILE_NAME);
    int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    bool good = fd >= 0 && files_read_all(fd, &head, sizeof head) == (ssize_t)sizeof head && head.magic == MAGIC &&
                head.blocks > 0 && head.blocks <= BLOOM_BLOCKS_MOST && read_marks(database, head.row, &marks) &&
                is_of(&head, &marks) && read_bits(fd, &head, bloom);
    if (fd >= 0)
        close(fd);
    if (!good)
        bloom_free(bloom);
    *moves = good ? head.moves : 0;
    return good;
}

/* A move that comes meanwhile has another number, which the next lookup finds. */
bool bloom_load(struct store *store, struct database *database)
{
    struct bloom made = {0};
    int64_t moves;
    pthread_mutex_lock(&store->mirror_lock);
    bool whole = store->bloom.whole;
    pthread_mutex_unlock(&store->mirror_lock);
    if (whole || !read_file(store, database, &made, &moves))
        return whole;
    pthread_mutex_lock(&store->mirror_lock);
    bloom_free(&store->bloom);
    store->bloom = made;
    store->bloom.whole = true;
    store->moves = moves;
    pthread_mutex_unlock(&store->mirror_lock);
    return true;
}

static bool write_file(const char *path, const struct head *head, const struct bloom *bloom)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
    bool good = fd >= 0 && files_write_all(fd, head, sizeof *head) &&
                files_write_all(fd, bloom->bits, bloom->blocks * BLOOM_BLOCK) && fsync(fd) == 0;
    if (fd >= 0 && close(fd) != 0)
        good = false;
    return good;
}

bool bloom_save(struct store *store, struct database *database, int64_t row)
{
    char path[STATE_PATH], fresh[STATE_PATH];
    struct head head;
    struct error why;
    directory_path(path, store->directory, FILE_NAME);
    directory_path(fresh, store->directory, NEW_NAME);
    pthread_mutex_lock(&store->mirror_lock);
    bool whole = store->bloom.whole;
    int64_t moves = store->moves;
    pthread_mutex_unlock(&store->mirror_lock);
    if (whole && read_marks(database, row, &head)) {
        head.moves = moves;
        head.blocks = store->bloom.blocks; /* nobody else writes what follows */
        head.added = store->bloom.added;
        head.sum = sum_of(&head, &store->bloom);
        if (write_file(fresh, &head, &store->bloom) && rename(fresh, path) == 0 && files_sync(store->directory, &why))
            return true;
    }
    unlink(fresh);
    unlink(path); /* it would not be read any more */
    return false;
}

/* ---- making it ---- */

/* Adds the next keys of the index, after *source and key. Returns whether there may be more. */
static bool add_step(struct database *database, struct bloom *bloom, int64_t *source, unsigned char key[static 16],
                     enum database_result *result)
{
    sqlite3_stmt *keys = database_statement(database, STATEMENT_KNOWN_KEYS, 0);
    size_t count = 0;
    if (keys != NULL) {
        sqlite3_bind_int64(keys, 1, *source);
        sqlite3_bind_blob(keys, 2, key, 16, SQLITE_TRANSIENT);
        sqlite3_bind_int64(keys, 3, STEP);
    }
    for (; database_step(database, keys, result) == SQLITE_ROW; count++) {
        if (sqlite3_column_bytes(keys, 1) != 16)
            continue; /* not a valid key */
        *source = sqlite3_column_int64(keys, 0);
        memcpy(key, sqlite3_column_blob(keys, 1), 16);
        bloom_add(bloom, key);
    }
    if (*result == DATABASE_DONE)
        sqlite3_reset(keys);
    return *result == DATABASE_DONE && count == STEP;
}

/* Makes it from the index. Returns whether it is complete. */
static bool scan(struct store *store, struct database *database, struct checkpointer *checkpointer, struct bloom *bloom,
                 enum database_result *result)
{
    unsigned char key[16] = {0};
    int64_t source = 0;
    int64_t keys = database_number(database, STATEMENT_KNOWN_COUNT, result);
    if (*result != DATABASE_DONE || !bloom_begin(bloom, (uint64_t)keys))
        return false;
    while (add_step(database, bloom, &source, key, result) && !housekeeper_is_ending(store))
        checkpointer_copy(checkpointer);
    return *result == DATABASE_DONE && !housekeeper_is_ending(store);
}

/* So that a process that ends before the next merge has not read the index in vain: what is not merged is in the
 * journal, whose last row the file names. */
static void save_with_journal(struct store *store, struct database *database)
{
    enum database_result result;
    int64_t last = database_number(database, STATEMENT_JOURNAL_LAST, &result);
    pthread_mutex_lock(&store->mirror_lock);
    for (size_t i = 0; i < store->mirror.used; i++)
        bloom_add(&store->bloom, store->mirror.entry[i].key);
    pthread_mutex_unlock(&store->mirror_lock);
    if (result == DATABASE_DONE && last > 0)
        bloom_save(store, database, last);
}

enum database_result bloom_make(struct store *store, struct database *database, struct checkpointer *checkpointer)
{
    struct bloom made = {0};
    enum database_result result = DATABASE_DONE;
    pthread_mutex_lock(&store->mirror_lock);
    int64_t moves = store->moves;
    if (bloom_is_full(&store->bloom))
        store->bloom.whole = false;
    bool wanted = !store->bloom.whole && store->index_asked >= ASKED;
    if (wanted)
        bloom_free(&store->bloom);
    pthread_mutex_unlock(&store->mirror_lock);
    if (!wanted)
        return result;
    if (bloom_load(store, database))
        return result;
    bool whole = scan(store, database, checkpointer, &made, &result);
    if (!whole)
        bloom_free(&made);
    pthread_mutex_lock(&store->mirror_lock);
    store->bloom = made;
    store->bloom.whole = whole && store->moves == moves; /* else a move wrote the index meanwhile */
    if (!whole)
        store->index_asked = 0; /* memory may be out: not again at once */
    pthread_mutex_unlock(&store->mirror_lock);
    if (whole)
        save_with_journal(store, database);
    return result;
}
