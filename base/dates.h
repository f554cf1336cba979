/* Dates as Close writes them ↔ instants. */
#ifndef BASE_DATES_H
#define BASE_DATES_H

#include <stddef.h>
#include <stdint.h>

#define DATE_UNREADABLE INT64_MIN

/* Enough for what date_print writes, with its zero byte. */
#define DATE_PRINTED sizeof "2019-01-15T12:48:23.395000+00:00"

/* Reads `2019-01-15T12:48:23.395000+00:00`: `T` (or `t`, or a space), any number of digits after the seconds' point or
 * none, and `Z` (or `z`), `+hh:mm`, `+hhmm`, `+hh`, the same with `-`, or nothing, which means UTC. The calendar is
 * checked. A leap second (`:60`) is read where one can be, at 23:59:60 UTC, as the second after it, for Unix time has
 * none. Returns Unix time in microseconds, what is finer cut off; DATE_UNREADABLE for all else, also outside the years
 * 1 to 9999 of UTC. text needs no zero byte. */
int64_t date_read(const char *text, size_t length);

enum date_precision { DATE_MILLISECONDS, DATE_MICROSECONDS };

/* Writes a readable instant as `2019-01-15T12:48:23.395+00:00`, what is finer cut off. Returns out. */
const char *date_print(int64_t microseconds, enum date_precision precision, char out[static DATE_PRINTED]);

#endif
