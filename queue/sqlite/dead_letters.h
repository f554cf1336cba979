/* Space and retention of dead letters. */
#ifndef QUEUE_SQLITE_DEAD_LETTERS_H
#define QUEUE_SQLITE_DEAD_LETTERS_H

#include <stdbool.h>
#include <stdint.h>

#include "queue/sqlite/database.h"

struct store;

/* Bytes that dead letters use. */
int64_t letters_bytes(struct database *database, enum database_result *result);

/* Bytes that dead letters may use of queue_max_bytes; what they use beyond does not make the queue full for events. */
int64_t letters_share(int64_t queue_max_bytes);

/* Writes what fills the queue, and the remedy. used, letters, most: bytes of all, of dead letters, and queue_max_bytes.
 */
void letters_why_full(int64_t used, int64_t letters, int64_t most, struct error *why);

/* Counts a source's letters to be deleted soon (within a week; less with a short retention), and when the first of them
 * is (Unix time, ms); 0: none. Letters being replayed do not count. */
enum database_result letters_ending(struct database *database, uint32_t number, int64_t dead_retention_ms,
                                    uint64_t *count, int64_t *first_ms);

/* Deletes a dead letter within a transaction. Its identity is remembered for as long as a delivered event's, so that
 * neither Close's repetitions nor its Event Log bring back what was deleted. *deleted: whether it was there. */
enum database_result letters_delete(struct database *database, int64_t id, int64_t dedupe_window_ms, bool *deleted);

/* Deletes dead letters older than dead_retention, up to a step's number in one transaction, counts and logs them; not
 * those being replayed. *ended: how many; 0: none is left. */
enum database_result letters_expire_step(const struct store *store, struct database *database, size_t *ended);

#endif
