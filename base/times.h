/* Reading and printing of dates, durations and ages. UTC, Gregorian calendar, Unix time. Any thread. */
#ifndef BASE_TIMES_H
#define BASE_TIMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/text.h"

/* ---- dates ---- */

#define DATE_UNREADABLE INT64_MIN

/* Bytes for times_print's output, with its NUL. */
#define DATE_PRINTED sizeof "2019-01-15T12:48:23.395000+00:00"

/* Reads `2019-01-15T12:48:23.395000+00:00`: `T` (or `t`, or a space), an optional fraction of any length, and `Z` (or
 * `z`), `+hh:mm`, `+hhmm`, `+hh`, the same with `-`, or nothing, which means UTC. The calendar is checked. A leap
 * second (`:60`) is accepted at 23:59:60 UTC and read as the following second, since Unix time has none. Returns Unix
 * time in microseconds, truncated; DATE_UNREADABLE for any other text and outside the years 1 to 9999 UTC. text need
 * not be NUL-terminated. */
int64_t times_read(const char *text, size_t length);

enum date_form {
    DATE_MILLISECONDS,      /* 2019-01-15T12:48:23.395+00:00, as in messages */
    DATE_MICROSECONDS,      /* 2019-01-15T12:48:23.395000+00:00 */
    DATE_Z_MILLISECONDS,    /* 2019-01-15T12:48:23.395Z */
    DATE_Z,                 /* 2019-01-15T12:48:23Z */
    DATE_BARE_MICROSECONDS, /* 2019-01-15T12:48:23.395000 */
    DATE_UTC,               /* 2019-01-15 12:48:23 UTC, for people */
};

/* Writes a Unix time in microseconds, truncated to the form's precision; "?" outside the years 1 to 9999. Returns
 * out. */
const char *times_print(int64_t microseconds, enum date_form form, char out[static DATE_PRINTED]);

/* The same for a Unix time in milliseconds. */
const char *times_print_ms(int64_t ms, enum date_form form, char out[static DATE_PRINTED]);

/* ---- durations: a number and s, m, h or d; milliseconds ---- */

/* Reads a duration: 90s, 15m, 73h, 31d. TEXT_TOO_LARGE: beyond INT64_MAX milliseconds. */
enum text_reading times_read_duration(const char *text, int64_t *ms);

/* Writes the shortest text that reads back as the same number of whole seconds. */
void times_write_duration(int64_t ms, char *out, size_t size);

/* ---- points in time and ages, for people ---- */

#define WHEN_SIZE 48

/* Writes a Unix time in milliseconds as "2026-11-24T20:45:06.123Z". Returns out. */
const char *times_print_utc(int64_t ms, char out[static WHEN_SIZE]);

/* Writes a duration in milliseconds, precise to about 1%: "12 s", "3 min", "2 h 10 min", "3 d 4 h"; negative ones as "0
 * s". Returns out. */
const char *times_print_age(int64_t ms, char out[static WHEN_SIZE]);

/* Writes a duration in milliseconds in words and one unit, so that the number is at least two except for seconds: "90
 * minutes", "3 days", "a moment". Returns out. */
const char *times_print_span(int64_t ms, char out[static WHEN_SIZE]);

/* Reads a date (2026-11-24, 2026-11-24T20:45, or complete as in ISO 8601; UTC by default) or an age relative to now_ms
 * (90s, 15m, 2h, 7d; up to 9999999d), as Unix time in milliseconds. Returns false when text is neither. */
bool times_read_point(const char *text, int64_t now_ms, int64_t *ms);

/* The same in microseconds. */
bool times_read_point_us(const char *text, int64_t now_us, int64_t *us);

/* Reads an age only (90s, 15m, 2h, 7d): a text whose meaning depends on the current time. Returns false for any other
 * text. */
bool times_read_age(const char *text, int64_t *ms);

#endif
