/* Counting: see counters.h. How the places are found and shared: counters_file.c. */
#include "telemetry/counters.h"

#include <string.h>

#include "telemetry/counters_layout.h"

const int64_t counters_delay_ms[COUNTED_BUCKETS - 1] = {100,   250,   500,    1000,   2500,    5000,     10000,
                                                        30000, 60000, 300000, 900000, 3600000, 21600000, 86400000};
const int64_t counters_size_bytes[COUNTED_BUCKETS - 1] = {512,   1024,   2048,   4096,    8192,    16384,   32768,
                                                          65536, 131072, 262144, 1048576, 2097152, 4194304, 16777216};

#define DELAY_MOST_MS ((int64_t)86400000) /* an event from a backfill may be years old: one would hide all others */

/* Where an answer's status is counted; those not named by their class. The order is stored: only add at the end. */
static const struct {
    int first, last;
    const char *name;
} answers[COUNTED_ANSWERS] = {
    {200, 200, "200"}, {400, 400, "400"}, {401, 401, "401"}, {403, 403, "403"}, {404, 404, "404"}, {408, 408, "408"},
    {413, 413, "413"}, {429, 429, "429"}, {500, 500, "500"}, {502, 502, "502"}, {503, 503, "503"}, {504, 504, "504"},
    {1, 299, "2xx"},   {300, 399, "3xx"}, {400, 499, "4xx"}, {500, 599, "5xx"}, {0, 0, "none"},    {600, 999, "other"},
};

static void add(_Atomic uint64_t *counter, uint64_t n)
{
    atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

/* A minute's counter carries the minute that it is of, so that counting and beginning anew are one step. */
static void add_in_minute(_Atomic uint64_t *counter, int64_t minute, uint64_t n)
{
    uint64_t stamp = (uint64_t)minute & MINUTE_STAMP_MASK;
    uint64_t old = atomic_load_explicit(counter, memory_order_relaxed), next;
    do {
        uint64_t value = old >> MINUTE_VALUE_BITS == stamp ? old & MINUTE_VALUE_MASK : 0;
        value = n > MINUTE_VALUE_MASK - value ? MINUTE_VALUE_MASK : value + n;
        next = stamp << MINUTE_VALUE_BITS | value;
    } while (!atomic_compare_exchange_weak_explicit(counter, &old, next, memory_order_relaxed, memory_order_relaxed));
}

static struct counted_minute *minute_of(struct counted *counted, int64_t minute)
{
    return &counted->minute[minute % COUNTED_MINUTES];
}

static void add_to_histogram(struct counted_histogram *histogram, const int64_t bounds[], int64_t value)
{
    size_t i = 0;
    while (i < COUNTED_BUCKETS - 1 && value > bounds[i])
        i++;
    add(&histogram->bucket[i], 1);
    add(&histogram->sum, (uint64_t)value);
}

void counters_accepted(struct counted *counted, size_t bytes, int64_t now_ms)
{
    if (counted == NULL)
        return;
    int64_t minute = now_ms / 60000;
    struct counted_minute *now = minute_of(counted, minute);
    add(&counted->outcome[COUNTED_ACCEPTED], 1);
    add_in_minute(&now->accepted, minute, 1);
    add_in_minute(&now->bytes, minute, bytes);
    add_to_histogram(&counted->size, counters_size_bytes, (int64_t)bytes);
}

void counters_ended(struct counted *counted, enum counted_outcome outcome)
{
    if (counted != NULL)
        add(&counted->outcome[outcome], 1);
}

void counters_delivered(struct counted *counted, int64_t delay_ms, int64_t now_ms)
{
    if (counted == NULL)
        return;
    int64_t minute = now_ms / 60000;
    struct counted_minute *now = minute_of(counted, minute);
    add(&counted->outcome[COUNTED_DELIVERED], 1);
    add_in_minute(&now->delivered, minute, 1);
    if (delay_ms < 0)
        return;
    add_to_histogram(&counted->delay, counters_delay_ms, delay_ms);
    add_in_minute(&now->delays, minute, 1);
    add_in_minute(&now->delay_ms, minute, (uint64_t)(delay_ms < DELAY_MOST_MS ? delay_ms : DELAY_MOST_MS));
}

void counters_refused(struct counted *counted, unsigned kind, int64_t now_ms)
{
    if (counted == NULL || kind >= COUNTED_REFUSALS)
        return;
    add(&counted->refused[kind], 1);
    atomic_store_explicit(&counted->refused_last_ms[kind], now_ms, memory_order_relaxed);
}

void counters_answered(struct counted *counted, int status, int64_t now_ms)
{
    if (counted == NULL)
        return;
    size_t i = 0;
    while (i < COUNTED_ANSWERS - 1 && answers[i].name != NULL &&
           (status < answers[i].first || status > answers[i].last))
        i++;
    add(&counted->answered[i], 1);
    atomic_store_explicit(&counted->answered_last_status, status, memory_order_relaxed);
    atomic_store_explicit(&counted->answered_last_ms, now_ms, memory_order_relaxed);
}

const char *counters_answer_name(size_t index)
{
    return index < COUNTED_ANSWERS ? answers[index].name : NULL;
}

static uint64_t get(const _Atomic uint64_t *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

static uint64_t get_in_minute(const _Atomic uint64_t *counter, int64_t minute)
{
    uint64_t value = get(counter);
    return value >> MINUTE_VALUE_BITS == ((uint64_t)minute & MINUTE_STAMP_MASK) ? value & MINUTE_VALUE_MASK : 0;
}

static void read_all(const _Atomic uint64_t *from, uint64_t *to, size_t count)
{
    for (size_t i = 0; i < count; i++)
        to[i] = get(&from[i]);
}

static void read_minutes(const struct counted *counted, int64_t now_ms, struct tally *tally)
{
    int64_t first = now_ms / 60000 - (COUNTED_MINUTES - 1);
    for (size_t i = 0; i < COUNTED_MINUTES; i++) {
        int64_t minute = first + (int64_t)i;
        const struct counted_minute *from = &counted->minute[minute % COUNTED_MINUTES];
        tally->minute[i] = (struct tally_minute){
            .accepted = get_in_minute(&from->accepted, minute),
            .bytes = get_in_minute(&from->bytes, minute),
            .delivered = get_in_minute(&from->delivered, minute),
            .delays = get_in_minute(&from->delays, minute),
            .delay_ms = get_in_minute(&from->delay_ms, minute),
        };
    }
}

void counters_read(const struct counted *counted, int64_t now_ms, struct tally *tally)
{
    memset(tally, 0, sizeof *tally);
    if (counted == NULL)
        return;
    read_all(counted->outcome, tally->outcome, COUNTED_OUTCOMES);
    read_all(counted->refused, tally->refused, COUNTED_REFUSALS);
    read_all(counted->answered, tally->answered, COUNTED_ANSWERS);
    read_all(counted->delay.bucket, tally->delay.bucket, COUNTED_BUCKETS);
    read_all(counted->size.bucket, tally->size.bucket, COUNTED_BUCKETS);
    tally->delay.sum = get(&counted->delay.sum);
    tally->size.sum = get(&counted->size.sum);
    for (size_t i = 0; i < COUNTED_REFUSALS; i++)
        tally->refused_last_ms[i] = atomic_load_explicit(&counted->refused_last_ms[i], memory_order_relaxed);
    tally->answered_last_ms = atomic_load_explicit(&counted->answered_last_ms, memory_order_relaxed);
    tally->answered_last_status = atomic_load_explicit(&counted->answered_last_status, memory_order_relaxed);
    read_minutes(counted, now_ms, tally);
}
