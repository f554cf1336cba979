/* Points in time for people: ISO 8601 in UTC, ages, and what somebody types for --since. Milliseconds, Unix time. */
#ifndef BASE_TIMES_H
#define BASE_TIMES_H

#include <stdbool.h>
#include <stdint.h>

#define WHEN_SIZE 48

/* Writes "2026-11-24T20:45:06.123Z". Returns out. */
const char *when_print(int64_t ms, char out[static WHEN_SIZE]);

/* Writes how long a time is, to about a hundredth: "12 s", "3 min", "2 h 10 min", "3 d 4 h"; below zero is "0 s".
 * Returns out. */
const char *when_print_age(int64_t ms, char out[static WHEN_SIZE]);

/* Reads a date (2026-11-24, 2026-11-24T20:45, or whole as ISO 8601 has it; UTC unless it says otherwise), or how long
 * before now_ms (90s, 15m, 2h, 7d). Returns false when it is neither. */
bool when_read(const char *text, int64_t now_ms, int64_t *ms);

#endif
