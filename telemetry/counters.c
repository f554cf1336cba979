/* Counters in a mapped file or in memory; the opening of all telemetry; and when cron ran last. */
#include "telemetry/telemetry.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/files.h"
#include "base/log.h"
#include "config/config.h"

/* The layout of the file. Whoever changes anything here increments the number in COUNTERS_FILE: another layout is
 * another file. */

#define COUNTERS_FILE "counters.2"
#define COUNTERS_NAME 104 /* bytes of a source's name with its NUL; longer names are cut */

/* A minute's counter: the minute in the upper bits, the value in the lower. */
#define MINUTE_VALUE_BITS 40
#define MINUTE_VALUE_MASK ((UINT64_C(1) << MINUTE_VALUE_BITS) - 1)
#define MINUTE_STAMP_MASK ((UINT64_C(1) << (64 - MINUTE_VALUE_BITS)) - 1)

struct counted_minute {
    _Atomic uint64_t accepted, bytes, delivered, done;
    _Atomic uint64_t delay[COUNTED_BUCKETS];
};

struct counted_histogram {
    _Atomic uint64_t bucket[COUNTED_BUCKETS];
    _Atomic uint64_t sum;
};

struct counted {
    char name[COUNTERS_NAME]; /* "": no source; written before other processes use the slot */
    _Atomic uint64_t outcome[COUNTED_OUTCOMES];
    _Atomic uint64_t refused[COUNTED_REFUSALS];
    _Atomic int64_t refused_last_ms[COUNTED_REFUSALS];
    _Atomic uint64_t answered[COUNTED_ANSWERS];
    _Atomic uint64_t nul_replaced;
    _Atomic int64_t answered_last_ms;
    _Atomic int32_t answered_last_status; /* negative: of an answer after which somebody has to mend something */
    _Atomic uint32_t identify_refused;    /* in what was padding: an older release leaves it zero */
    struct counted_histogram delay, size;
    struct counted_minute minute[COUNTED_MINUTES];
};

_Static_assert(sizeof(struct counted) == 219968 && offsetof(struct counted, answered_last_ms) == 816,
               "another layout needs another COUNTERS_FILE");
_Static_assert(ATOMIC_LLONG_LOCK_FREE == 2, "counters are shared by processes: they need atomics without a lock");

#define LOCK_PATIENCE_MS 500 /* others hold the lock only briefly */
#define SLOTS_MOST 1024

struct counters {
    struct counted *at; /* the first is that of no source */
    size_t count;
    size_t mapped; /* bytes; 0: in memory */
};

static int open_locked(const char *state_dir, struct error *why)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/" COUNTERS_FILE, state_dir);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    moment deadline = clock_now() + LOCK_PATIENCE_MS;
    while (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) != 0) {
        if (errno != EWOULDBLOCK || clock_now() > deadline) {
            error_set(why, "%s cannot be locked: %s", path, strerror(errno));
            close(fd);
            return -1;
        }
        usleep(2000);
    }
    if (fd < 0)
        error_set(why, "%s: %s", path, strerror(errno));
    return fd;
}

static bool read_name(int fd, size_t slot, char name[static COUNTERS_NAME])
{
    ssize_t n = pread(fd, name, COUNTERS_NAME, (off_t)(slot * sizeof(struct counted)));
    name[COUNTERS_NAME - 1] = '\0';
    return n == COUNTERS_NAME;
}

static bool counters_are_there(int fd, size_t slots, const char *name)
{
    char other[COUNTERS_NAME];
    for (size_t i = 1; i < slots; i++) {
        if (read_name(fd, i, other) && strncmp(other, name, COUNTERS_NAME - 1) == 0)
            return true;
    }
    return false;
}

/* Adds a slot at the end. Returns false when there is no room. */
static bool add_slot(int fd, size_t *slots, const char *name, struct error *why)
{
    char text[COUNTERS_NAME] = "";
    off_t at = (off_t)(*slots * sizeof(struct counted));
    int error = *slots < SLOTS_MOST ? posix_fallocate(fd, at, sizeof(struct counted)) : ENOSPC;
    snprintf(text, sizeof text, "%s", name);
    if (error == 0 && pwrite(fd, text, sizeof text, at) == (ssize_t)sizeof text) {
        ++*slots;
        return true;
    }
    error_set(why, COUNTERS_FILE ": no room for it: %s", strerror(error != 0 ? error : errno));
    return false;
}

/* Finds or adds the slots. Returns how many there are in all; 0: not all could be added. */
static size_t make_slots(int fd, const char *const *names, size_t count, struct error *why)
{
    struct stat status;
    if (fstat(fd, &status) != 0)
        return 0;
    size_t slots = (size_t)status.st_size / sizeof(struct counted);
    if (slots == 0 && !add_slot(fd, &slots, "", why))
        return 0;
    for (size_t i = 0; i < count; i++) {
        if (!counters_are_there(fd, slots, names[i]) && !add_slot(fd, &slots, names[i], why))
            return 0;
    }
    return slots;
}

static bool map_file(struct counters *counters, const char *state_dir, const char *const *names, size_t count,
                     struct error *why)
{
    int fd = open_locked(state_dir, why);
    if (fd < 0)
        return false;
    size_t slots = make_slots(fd, names, count, why), bytes = slots * sizeof(struct counted);
    lock_release(&fd); /* explicitly: the mapping keeps the file open, and with it the lock */
    if (fd < 0)
        error_set(why, COUNTERS_FILE " cannot be unlocked");
    else if (slots == 0)
        close(fd);
    if (fd < 0 || slots == 0)
        return false;
    void *at = mapping_open(fd, bytes);
    if (at == NULL) {
        error_set(why, COUNTERS_FILE " cannot be mapped: %s", strerror(errno));
        return false;
    }
    *counters = (struct counters){at, slots, bytes};
    return true;
}

static bool take_memory(struct counters *counters, const char *const *names, size_t count)
{
    *counters = (struct counters){calloc(count + 1, sizeof(struct counted)), count + 1, 0};
    for (size_t i = 0; counters->at != NULL && i < count; i++)
        snprintf(counters->at[i + 1].name, COUNTERS_NAME, "%s", names[i]);
    return counters->at != NULL;
}

struct counters *counters_open(const char *state_dir, const char *const *names, size_t count, struct error *why)
{
    struct counters *counters = calloc(1, sizeof *counters);
    error_set(why, "%s", "");
    if (counters == NULL)
        return NULL;
    if ((state_dir != NULL && map_file(counters, state_dir, names, count, why)) || take_memory(counters, names, count))
        return counters;
    free(counters);
    return NULL;
}

bool counters_are_shared(const struct counters *counters)
{
    return counters != NULL && counters->mapped > 0 && !mapping_is_lost(counters->at);
}

struct counted *counters_of(struct counters *counters, const char *name)
{
    if (counters == NULL)
        return NULL;
    for (size_t i = 1; name != NULL && i < counters->count; i++) {
        if (strncmp(counters->at[i].name, name, COUNTERS_NAME - 1) == 0)
            return &counters->at[i];
    }
    return &counters->at[0];
}

void counters_close(struct counters *counters)
{
    if (counters == NULL)
        return;
    if (counters->mapped > 0)
        mapping_close(counters->at);
    else
        free(counters->at);
    free(counters);
}

const int64_t counters_delay_ms[COUNTED_BUCKETS - 1] = {100,   250,   500,    1000,   2500,    5000,     10000,
                                                        30000, 60000, 300000, 900000, 3600000, 21600000, 86400000};
const int64_t counters_size_bytes[COUNTED_BUCKETS - 1] = {512,   1024,   2048,   4096,    8192,    16384,   32768,
                                                          65536, 131072, 262144, 1048576, 2097152, 4194304, 16777216};

/* Which answers[] counts a status; statuses without their own are counted by class. The order is stored: only append.
 */
static const struct {
    int first, last;
    const char *name;
} answers[COUNTED_ANSWERS] = {
    {200, 200, "200"}, {400, 400, "400"}, {401, 401, "401"}, {403, 403, "403"}, {404, 404, "404"}, {408, 408, "408"},
    {413, 413, "413"}, {429, 429, "429"}, {500, 500, "500"}, {502, 502, "502"}, {503, 503, "503"}, {504, 504, "504"},
    {1, 299, "2xx"},   {300, 399, "3xx"}, {400, 499, "4xx"}, {500, 599, "5xx"}, {0, 0, "none"},    {600, 999, "other"},
};

static void add_counter(_Atomic uint64_t *counter, uint64_t n)
{
    atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

/* The counter contains its minute, so that adding and restarting at zero for a new minute are one atomic step. */
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

static size_t bucket_of(const int64_t bounds[], int64_t value)
{
    size_t i = 0;
    while (i < COUNTED_BUCKETS - 1 && value > bounds[i])
        i++;
    return i;
}

static void add_to_histogram(struct counted_histogram *histogram, const int64_t bounds[], int64_t value)
{
    add_counter(&histogram->bucket[bucket_of(bounds, value)], 1);
    add_counter(&histogram->sum, (uint64_t)value);
}

void counters_accepted(struct counted *counted, size_t bytes, int64_t now_ms)
{
    if (counted == NULL)
        return;
    int64_t minute = now_ms / 60000;
    struct counted_minute *now = minute_of(counted, minute);
    add_counter(&counted->outcome[COUNTED_ACCEPTED], 1);
    add_in_minute(&now->accepted, minute, 1);
    add_in_minute(&now->bytes, minute, bytes);
    add_to_histogram(&counted->size, counters_size_bytes, (int64_t)bytes);
}

void counters_ended(struct counted *counted, enum counted_outcome outcome)
{
    if (counted != NULL)
        add_counter(&counted->outcome[outcome], 1);
}

void counters_delivered(struct counted *counted, int64_t delay_ms, int64_t now_ms)
{
    if (counted == NULL)
        return;
    add_counter(&counted->outcome[COUNTED_DELIVERED], 1);
    add_in_minute(&minute_of(counted, now_ms / 60000)->delivered, now_ms / 60000, 1);
    if (delay_ms >= 0)
        add_to_histogram(&counted->delay, counters_delay_ms, delay_ms);
}

void counters_done(struct counted *counted, int64_t now_ms)
{
    if (counted != NULL)
        add_in_minute(&minute_of(counted, now_ms / 60000)->done, now_ms / 60000, 1);
}

void counters_live_delay(struct counted *counted, int64_t delay_ms, int64_t now_ms)
{
    if (counted == NULL)
        return;
    size_t bucket = bucket_of(counters_delay_ms, delay_ms);
    add_in_minute(&minute_of(counted, now_ms / 60000)->delay[bucket], now_ms / 60000, 1);
}

/* Within a bucket they are taken to lie evenly. Of the last one, which has no end, its beginning is told. */
double counters_quantile(const uint64_t bucket[static COUNTED_BUCKETS], double part)
{
    uint64_t count = 0;
    for (size_t i = 0; i < COUNTED_BUCKETS; i++)
        count += bucket[i];
    double wanted = part * (double)count, before = 0;
    for (size_t i = 0; count > 0 && i < COUNTED_BUCKETS; i++) {
        double from = i == 0 ? 0 : (double)counters_delay_ms[i - 1];
        double to = i < COUNTED_BUCKETS - 1 ? (double)counters_delay_ms[i] : from;
        if (bucket[i] > 0 && before + (double)bucket[i] >= wanted)
            return from + (to - from) * (wanted - before) / (double)bucket[i];
        before += (double)bucket[i];
    }
    return -1;
}

void counters_nul_replaced(struct counted *counted)
{
    if (counted != NULL)
        add_counter(&counted->nul_replaced, 1);
}

void counters_identify_refused(struct counted *counted)
{
    if (counted != NULL)
        atomic_fetch_add_explicit(&counted->identify_refused, 1, memory_order_relaxed);
}

void counters_refused(struct counted *counted, unsigned kind, int64_t now_ms)
{
    if (counted == NULL || kind >= COUNTED_REFUSALS)
        return;
    add_counter(&counted->refused[kind], 1);
    atomic_store_explicit(&counted->refused_last_ms[kind], now_ms, memory_order_relaxed);
}

void counters_answered(struct counted *counted, int status, bool refused, int64_t now_ms)
{
    if (counted == NULL)
        return;
    size_t i = 0;
    while (i < COUNTED_ANSWERS - 1 && answers[i].name != NULL &&
           (status < answers[i].first || status > answers[i].last))
        i++;
    add_counter(&counted->answered[i], 1);
    atomic_store_explicit(&counted->answered_last_status, refused ? -status : status, memory_order_relaxed);
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

static void counters_read_messages(const struct counted *counted, struct tally *tally)
{
    if (counted == NULL)
        return;
    tally->nul_replaced = get(&counted->nul_replaced);
    tally->identify_refused = atomic_load_explicit(&counted->identify_refused, memory_order_relaxed);
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
            .done = get_in_minute(&from->done, minute),
        };
        for (size_t k = 0; k < COUNTED_BUCKETS; k++)
            tally->minute[i].delay[k] = get_in_minute(&from->delay[k], minute);
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
    counters_read_messages(counted, tally);
    tally->delay.sum = get(&counted->delay.sum);
    tally->size.sum = get(&counted->size.sum);
    for (size_t i = 0; i < COUNTED_REFUSALS; i++)
        tally->refused_last_ms[i] = atomic_load_explicit(&counted->refused_last_ms[i], memory_order_relaxed);
    tally->answered_last_ms = atomic_load_explicit(&counted->answered_last_ms, memory_order_relaxed);
    int32_t status = atomic_load_explicit(&counted->answered_last_status, memory_order_relaxed);
    tally->answered_last_status = status < 0 ? -status : status;
    tally->answered_last_refused = status < 0;
    read_minutes(counted, now_ms, tally);
}

/* ---- all of it ---- */

static const char *kept_in(const struct config *config)
{
    return config_state_dir(config);
}

/* The sources' names; NULL: out of memory. The caller frees the list, not the names. */
static const char **names_of(const struct config *config)
{
    const char **names = calloc(config->sources, sizeof *names);
    for (size_t i = 0; names != NULL && i < config->sources; i++)
        names[i] = config->source[i].name;
    return names;
}

struct counters *counters_open_all(const struct config *config, struct error *why)
{
    const char **names = names_of(config);
    error_set(why, "%s", "");
    struct counters *counters = names == NULL ? NULL : counters_open(kept_in(config), names, config->sources, why);
    free(names);
    return counters;
}

void telemetry_open(struct telemetry *telemetry, const struct config *config)
{
    struct error why = {0};
    const char **names = names_of(config);
    *telemetry = (struct telemetry){.counters = counters_open_all(config, &why)};
    if (names != NULL)
        telemetry->attempts = attempts_open(kept_in(config), names, config->sources, (size_t)config->lanes);
    free(names);
    telemetry->recent = recent_open(kept_in(config));
    if (why.text[0] != '\0') {
        char words[LOG_QUOTED];
        log_write(LEVEL_WARN, "msg=counts_in_memory_only reason=%s", log_quote_reason(words, why.text));
    }
}

void telemetry_close(struct telemetry *telemetry)
{
    counters_close(telemetry->counters);
    recent_close(telemetry->recent);
    attempts_close(telemetry->attempts);
    *telemetry = (struct telemetry){0};
}

/* ---- the state that cron leaves ---- */

static void path_of(char out[static PATH_MAX], const char *state_dir)
{
    snprintf(out, PATH_MAX, "%s/cron.last", state_dir);
}

void cron_mark_read(const char *state_dir, struct cron_mark *mark)
{
    char path[PATH_MAX], text[32] = "";
    struct stat status;
    *mark = (struct cron_mark){0};
    path_of(path, state_dir);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    if (read(fd, text, sizeof text - 1) >= 0)
        mark->letter = strtoull(text, NULL, 10);
    if (fstat(fd, &status) == 0)
        mark->ran_ms = clock_timespec_ms(status.st_mtim);
    close(fd);
}

/* Written in place, and mostly with the same length: a full disk has no room for a new file. */
bool cron_mark_write(const char *state_dir, uint64_t letter, const char *more)
{
    char path[PATH_MAX];
    path_of(path, state_dir);
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return false;
    int length = dprintf(fd, "%020llu\n%s", (unsigned long long)letter, more);
    bool good = length > 0 && ftruncate(fd, length) == 0 && futimens(fd, NULL) == 0;
    return close(fd) == 0 && good;
}
