/* Dates, durations and ages: reading and printing. UTC, the Gregorian calendar, Unix time. Any thread. */
#ifndef BASE_TIMES_H
#define BASE_TIMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/text.h"

/* ---- dates ---- */

#define DATE_UNREADABLE INT64_MIN

/* Enough for what date_print writes, with its zero byte. */
#define DATE_PRINTED sizeof "2019-01-15T12:48:23.395000+00:00"

/* Reads `2019-01-15T12:48:23.395000+00:00`: `T` (or `t`, or a space), any number of digits after the seconds' point or
 * none, and `Z` (or `z`), `+hh:mm`, `+hhmm`, `+hh`, the same with `-`, or nothing, which means UTC. The calendar is
 * checked. A leap second (`:60`) is read where one can be, at 23:59:60 UTC, as the second after it, for Unix time has
 * none. Returns Unix time in microseconds, what is finer cut off; DATE_UNREADABLE for all else, also outside the years
 * 1 to 9999 of UTC. text needs no zero byte. */
int64_t date_read(const char *text, size_t length);

enum date_form {
    DATE_MILLISECONDS,      /* 2019-01-15T12:48:23.395+00:00, as in messages */
    DATE_MICROSECONDS,      /* 2019-01-15T12:48:23.395000+00:00 */
    DATE_Z_MILLISECONDS,    /* 2019-01-15T12:48:23.395Z */
    DATE_Z,                 /* 2019-01-15T12:48:23Z */
    DATE_BARE_MICROSECONDS, /* 2019-01-15T12:48:23.395000 */
    DATE_UTC,               /* 2019-01-15 12:48:23 UTC, for people */
};

/* Writes an instant, what is finer cut off; "?" outside the years 1 to 9999. Returns out. */
const char *date_print(int64_t microseconds, enum date_form form, char out[static DATE_PRINTED]);

/* The same for milliseconds. */
const char *date_print_ms(int64_t ms, enum date_form form, char out[static DATE_PRINTED]);

/* ---- durations: a number and s, m, h or d; milliseconds ---- */

/* Reads one: 90s, 15m, 73h, 31d. TEXT_TOO_LARGE: beyond INT64_MAX milliseconds. */
enum text_reading duration_read(const char *text, int64_t *ms);

/* Writes the shortest text that reads back as the same number of whole seconds. */
void duration_write(int64_t ms, char *out, size_t size);

/* ---- points in time and ages, for people ---- */

#define WHEN_SIZE 48

/* Writes "2026-11-24T20:45:06.123Z". Returns out. */
const char *when_print(int64_t ms, char out[static WHEN_SIZE]);

/* Writes how long a time is, to about a hundredth: "12 s", "3 min", "2 h 10 min", "3 d 4 h"; below zero is "0 s".
 * Returns out. */
const char *when_print_age(int64_t ms, char out[static WHEN_SIZE]);

/* Writes it in words and in one unit, of which there are two at least but for seconds: "90 minutes", "3 days", "a
 * moment". Returns out. */
const char *when_print_span(int64_t ms, char out[static WHEN_SIZE]);

/* Reads a date (2026-11-24, 2026-11-24T20:45, or whole as ISO 8601 has it; UTC unless it says otherwise), or how long
 * before now_ms (90s, 15m, 2h, 7d; up to 9999999d). Returns false when it is neither. */
bool when_read(const char *text, int64_t now_ms, int64_t *ms);

/* The same in microseconds. */
bool when_read_us(const char *text, int64_t now_us, int64_t *us);

/* Only how long before: whether a text means another time each day. */
bool when_read_ago(const char *text, int64_t *ms);

#endif
