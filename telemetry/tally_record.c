/* Counters as a record: see tally_record.h. Numbers of seven bits a byte, the lowest first: the first minute; then for
 * each source its name, its totals, and of each minute in which something was counted how many minutes after the first
 * it is, one bit for each number that is not zero, and these. */
#include "telemetry/tally_record.h"

#include <string.h>

/* Whoever changes the order of anything here changes this. What is only added behind all totals is left out by who does
 * not know it. */
static const char layout[] = "closecrm counts 1\n";

#define LAYOUT (sizeof layout - 1)
#define MINUTE_NUMBERS (sizeof(struct tally_minute) / sizeof(uint64_t))
#define AHEAD 5 /* minutes that another machine's clock may be ahead: then what it counts is of this minute */

_Static_assert(sizeof(struct tally_minute) == (4 + COUNTED_BUCKETS) * sizeof(uint64_t), "nothing but numbers");

/* The totals that are added, in their order. */
static const struct {
    size_t at, count;
} summed[] = {
    {offsetof(struct tally, outcome), COUNTED_OUTCOMES},
    {offsetof(struct tally, refused), COUNTED_REFUSALS},
    {offsetof(struct tally, answered), COUNTED_ANSWERS},
    {offsetof(struct tally, nul_replaced), 1},
    {offsetof(struct tally, identify_refused), 1},
    {offsetof(struct tally, delay.bucket), COUNTED_BUCKETS},
    {offsetof(struct tally, delay.sum), 1},
    {offsetof(struct tally, size.bucket), COUNTED_BUCKETS},
    {offsetof(struct tally, size.sum), 1},
};

#define SUMMED                                                                                                         \
    (COUNTED_OUTCOMES + COUNTED_REFUSALS + COUNTED_ANSWERS + 2 + 2 * (COUNTED_BUCKETS + 1)) /* of `summed` together */
#define TOTALS (SUMMED + COUNTED_REFUSALS + 2)

static void pack_totals(const struct tally *tally, uint64_t out[static TOTALS])
{
    size_t n = 0;
    for (size_t i = 0; i < sizeof summed / sizeof *summed; n += summed[i++].count)
        memcpy(&out[n], (const char *)tally + summed[i].at, summed[i].count * sizeof *out);
    for (size_t i = 0; i < COUNTED_REFUSALS; i++)
        out[n++] = (uint64_t)tally->refused_last_ms[i];
    out[n++] = (uint64_t)tally->answered_last_ms;
    out[n] = (uint64_t)tally->answered_last_status * 2 + tally->answered_last_refused;
}

static void add_totals(const uint64_t totals[static TOTALS], struct tally *tally)
{
    uint64_t sum[SUMMED];
    size_t n = 0;
    for (size_t i = 0; i < sizeof summed / sizeof *summed; n += summed[i++].count) {
        char *at = (char *)tally + summed[i].at;
        memcpy(sum, at, summed[i].count * sizeof *sum);
        for (size_t k = 0; k < summed[i].count; k++)
            sum[k] += totals[n + k];
        memcpy(at, sum, summed[i].count * sizeof *sum);
    }
    for (size_t i = 0; i < COUNTED_REFUSALS; i++, n++) {
        if ((int64_t)totals[n] > tally->refused_last_ms[i])
            tally->refused_last_ms[i] = (int64_t)totals[n];
    }
    if ((int64_t)totals[n] <= tally->answered_last_ms)
        return;
    tally->answered_last_ms = (int64_t)totals[n];
    tally->answered_last_status = (int32_t)(totals[n + 1] / 2);
    tally->answered_last_refused = totals[n + 1] % 2 != 0;
}

/* ---- writing ---- */

void record_put(struct buffer *out, uint64_t value)
{
    char bytes[10];
    size_t n = 0;
    do {
        bytes[n++] = (char)((value & 0x7F) | (value > 0x7F ? 0x80 : 0));
        value >>= 7;
    } while (value > 0);
    buffer_append(out, bytes, n);
}

void tally_record_begin(struct buffer *out, int64_t from_minute)
{
    buffer_clear(out);
    buffer_append(out, layout, LAYOUT);
    record_put(out, (uint64_t)from_minute);
}

static void put_totals(struct buffer *out, const struct tally *tally)
{
    uint64_t totals[TOTALS];
    size_t count = TOTALS;
    pack_totals(tally, totals);
    while (count > 0 && totals[count - 1] == 0)
        count--;
    record_put(out, count);
    for (size_t i = 0; i < count; i++)
        record_put(out, totals[i]);
}

/* Returns how many numbers are not zero. */
static size_t put_minute(struct buffer *out, size_t after, const struct tally_minute *minute)
{
    uint64_t number[MINUTE_NUMBERS], mask = 0;
    memcpy(number, minute, sizeof number);
    for (size_t i = 0; i < MINUTE_NUMBERS; i++)
        mask |= (uint64_t)(number[i] != 0) << i;
    if (mask == 0)
        return 0;
    record_put(out, after + 1);
    record_put(out, mask);
    for (size_t i = 0; i < MINUTE_NUMBERS; i++) {
        if (number[i] != 0)
            record_put(out, number[i]);
    }
    return 1;
}

static int64_t first_minute(int64_t now_ms)
{
    return now_ms / 60000 - (COUNTED_MINUTES - 1);
}

uint64_t record_get(struct record_reader *reader)
{
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        if (reader->at == reader->end)
            break;
        unsigned char byte = *reader->at++;
        value |= (uint64_t)(byte & 0x7F) << shift;
        if ((byte & 0x80) == 0)
            return value;
    }
    reader->bad = true;
    reader->at = reader->end;
    return 0;
}

struct record_reader record_begin(const void *bytes, size_t length, const char *expected)
{
    struct record_reader reader = {bytes, (const unsigned char *)bytes + length, false};
    size_t head = strlen(expected);
    reader.bad = length < head || memcmp(bytes, expected, head) != 0;
    reader.at = reader.bad ? reader.end : reader.at + head;
    return reader;
}

static struct record_reader begin_reading(const void *bytes, size_t length, int64_t *from_minute)
{
    struct record_reader reader = record_begin(bytes, length, layout);
    *from_minute = (int64_t)record_get(&reader);
    return reader;
}

void tally_record_add(struct buffer *out, const char *source, const struct tally *tally, int64_t now_ms,
                      int64_t until_minute, bool totals)
{
    int64_t from = 0, first = first_minute(now_ms);
    size_t begins = out->length, name = strlen(source), said = 0;
    begin_reading(out->data, out->length, &from);
    record_put(out, name);
    buffer_append(out, source, name);
    size_t empty = out->length + 1;
    if (totals)
        put_totals(out, tally);
    else
        record_put(out, 0);
    said = out->length > empty;
    for (size_t i = 0; i < COUNTED_MINUTES; i++) {
        int64_t minute = first + (int64_t)i;
        if (minute >= from && minute < until_minute)
            said += put_minute(out, (size_t)(minute - from), &tally->minute[i]);
    }
    record_put(out, 0);
    if (said == 0)
        out->length = begins;
}

/* ---- reading ---- */

static void get_totals(struct record_reader *reader, struct tally *tally)
{
    uint64_t totals[TOTALS] = {0};
    uint64_t count = record_get(reader);
    for (uint64_t i = 0; i < count && !reader->bad; i++) {
        uint64_t value = record_get(reader);
        if (i < TOTALS)
            totals[i] = value;
    }
    if (tally != NULL && !reader->bad)
        add_totals(totals, tally);
}

static void add_minute(struct tally_minute *sum, const uint64_t number[static MINUTE_NUMBERS])
{
    uint64_t all[MINUTE_NUMBERS];
    memcpy(all, sum, sizeof all);
    for (size_t i = 0; i < MINUTE_NUMBERS; i++)
        all[i] += number[i];
    memcpy(sum, all, sizeof all);
}

/* Returns false behind the last one. */
static bool get_minute(struct record_reader *reader, int64_t from, int64_t first, int64_t before, struct tally *tally)
{
    uint64_t number[MINUTE_NUMBERS] = {0}, after = record_get(reader);
    if (after == 0)
        return false;
    uint64_t mask = record_get(reader);
    for (size_t i = 0; i < 64 && !reader->bad; i++) {
        uint64_t value = (mask >> i & 1) != 0 ? record_get(reader) : 0;
        if (i < MINUTE_NUMBERS)
            number[i] = value;
    }
    int64_t minute = from + (int64_t)(after & INT32_MAX) - 1, at = minute - first;
    at = at >= COUNTED_MINUTES && at < COUNTED_MINUTES + AHEAD ? COUNTED_MINUTES - 1 : at;
    if (tally != NULL && !reader->bad && minute < before && at >= 0 && at < COUNTED_MINUTES)
        add_minute(&tally->minute[at], number);
    return true;
}

/* source NULL: of none of them. */
static bool read_record(const void *bytes, size_t length, const char *source, int64_t now_ms, int64_t before,
                        struct tally *tally, int64_t *from)
{
    struct record_reader reader = begin_reading(bytes, length, from);
    while (reader.at < reader.end) {
        uint64_t name = record_get(&reader);
        if (name > (uint64_t)(reader.end - reader.at)) {
            reader.bad = true;
            break;
        }
        bool wanted = source != NULL && strlen(source) == name && memcmp(source, reader.at, name) == 0;
        reader.at += name;
        get_totals(&reader, wanted ? tally : NULL);
        while (get_minute(&reader, *from, first_minute(now_ms), before, wanted ? tally : NULL) && !reader.bad)
            ;
    }
    return !reader.bad;
}

bool tally_record_check(const void *bytes, size_t length, int64_t *from_minute)
{
    return read_record(bytes, length, NULL, 0, 0, NULL, from_minute);
}

void tally_record_sum(const void *bytes, size_t length, const char *source, int64_t now_ms, int64_t before_minute,
                      struct tally *tally)
{
    int64_t from;
    read_record(bytes, length, source, now_ms, before_minute, tally, &from);
}
