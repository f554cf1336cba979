/* Counters as a record that another machine reads, whatever it is built for: small numbers take few bytes. */
#ifndef TELEMETRY_TALLY_RECORD_H
#define TELEMETRY_TALLY_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "telemetry/telemetry.h"

/* ---- numbers of records: seven bits a byte, the lowest first ---- */

/* What a reader takes from a record. Behind its end, or where it is wrong, all is 0. */
struct record_reader {
    const unsigned char *at, *end;
    bool bad;
};

void record_put(struct buffer *out, uint64_t value);

/* Begins behind the words with which each record of a layout begins. */
struct record_reader record_begin(const void *bytes, size_t length, const char *expected);
uint64_t record_get(struct record_reader *reader);

/* ---- counters ---- */

/* Begins a record, of minutes from this one on (Unix time). */
void tally_record_begin(struct buffer *out, int64_t from_minute);

/* Adds a source, unless nothing was counted of it: its minutes from there until before `until_minute`; totals: its
 * counts since ever, too. tally: of now_ms. */
void tally_record_add(struct buffer *out, const char *source, const struct tally *tally, int64_t now_ms,
                      int64_t until_minute, bool totals);

/* Whether it can be read. *from_minute: as it began. */
bool tally_record_check(const void *bytes, size_t length, int64_t *from_minute);

/* Adds what it says of a source, of minutes before one. */
void tally_record_sum(const void *bytes, size_t length, const char *source, int64_t now_ms, int64_t before_minute,
                      struct tally *tally);

#endif
