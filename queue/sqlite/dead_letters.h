/* What is kept about dead letters as a whole: how much room they take, and which of them have reached their end. */
#ifndef QUEUE_SQLITE_DEAD_LETTERS_H
#define QUEUE_SQLITE_DEAD_LETTERS_H

#include <stdint.h>

#include "queue/sqlite/database.h"

struct store;

/* The room that dead letters take, in bytes. */
int64_t letters_bytes(struct database *database, enum database_result *result);

/* What dead letters may take of queue_max_bytes: beyond that they do not make the queue full for events. */
int64_t letters_share(int64_t queue_max_bytes);

/* Says what fills the queue, and what to do about it. used, letters, most: bytes of all, of dead letters, and
 * queue_max_bytes. */
void letters_why_full(int64_t used, int64_t letters, int64_t most, struct error *why);

/* Of a source (its number): how many letters end soon (within a week, less where they are not kept for long), and when
 * the first of them does (Unix time, ms); 0: none. Those on their way again do not count. */
enum database_result letters_ending(struct database *database, uint32_t number, int64_t dead_retention_ms,
                                    uint64_t *count, int64_t *first_ms);

/* Ends dead letters that are older than dead_retention, a step's worth in one transaction, counts and logs them. Only
 * those that are not on their way again. *ended: how many; 0: none is left. */
enum database_result letters_end_step(const struct store *store, struct database *database, size_t *ended);

#endif
