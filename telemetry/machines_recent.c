/* The sample of recent events of all machines: see telemetry.h. An event is one record, whose name has its place in the
 * ring of its machine; an empty one erases it. What is heard is a ring of the same kind for each machine. That a lead
 * is to be forgotten is a record, too, which has a digest of its id. */
#include "telemetry/machines_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/sha256.h"
#include "base/text.h"
#include "config/config.h"
#include "telemetry/tally_record.h"

static const char layout[] = "closecrm event 1\n";
static const char forgets[] = "closecrm forget 1\n";

#define EVENT_NAME "recent."
#define FORGET_NAME "forget."
#define NUMBER_BITS 32 /* of an event in its ring; above them stand bits of its machine's name, 53 in all, for JSON */
#define NUMBER_MASK ((UINT64_C(1) << NUMBER_BITS) - 1)
#define KEEP_MS (RECENT_AGE_MS + INT64_C(3600000))

/* ---- as a record ---- */

static void put_bytes(struct buffer *out, const char *bytes, size_t length)
{
    record_put(out, length);
    buffer_append(out, bytes, length);
}

static void put_text(struct buffer *out, const char *text)
{
    put_bytes(out, text, strlen(text));
}

static void print_event(struct buffer *out, const struct recent_whole *whole)
{
    const struct recent_event *event = &whole->event;
    const char *const texts[] = {event->source, event->name, event->lead, event->id, event->state, event->reason};
    const uint64_t numbers[] = {event->number,
                                event->queue_id,
                                (uint64_t)event->ended_ms,
                                (uint64_t)event->received_ms,
                                (uint64_t)event->updated_ms,
                                event->bytes,
                                event->incoming_cut,
                                event->message_cut,
                                whole->attempts};
    buffer_clear(out);
    buffer_text(out, layout);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        record_put(out, numbers[i]);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        put_text(out, texts[i]);
    put_bytes(out, whole->incoming, event->incoming_length);
    put_bytes(out, whole->message, event->message_length);
    for (size_t i = 0; i < whole->attempts; i++) {
        const struct attempt *attempt = &whole->attempt[i];
        record_put(out, (uint64_t)attempt->sent_ms);
        record_put(out, (uint64_t)attempt->took_ms);
        record_put(out, (uint64_t)attempt->status);
        record_put(out, attempt->events);
        put_text(out, attempt->words);
    }
}

/* Cut to size bytes. Returns how many there are. */
static uint32_t get_bytes(struct record_reader *reader, char *out, size_t size)
{
    uint64_t length = record_get(reader);
    if (length > (uint64_t)(reader->end - reader->at)) {
        reader->bad = true;
        length = 0;
    }
    size_t taken = length < size ? (size_t)length : size;
    memcpy(out, reader->at, taken);
    reader->at += length;
    return (uint32_t)taken;
}

static void get_text(struct record_reader *reader, char *out, size_t size)
{
    out[get_bytes(reader, out, size - 1)] = '\0';
}

static void get_attempt(struct record_reader *reader, struct attempt *attempt)
{
    attempt->sent_ms = (int64_t)record_get(reader);
    attempt->took_ms = (int64_t)record_get(reader);
    attempt->status = (int32_t)record_get(reader);
    attempt->events = (uint32_t)record_get(reader);
    get_text(reader, attempt->words, sizeof attempt->words);
}

/* whole: all zero, for checksums include what is between its members. */
static bool read_event(const struct kept_record *record, struct recent_whole *whole)
{
    struct recent_event *event = &whole->event;
    struct record_reader reader = record_begin(record->bytes, record->length, layout);
    event->number = record_get(&reader);
    event->queue_id = record_get(&reader);
    event->ended_ms = (int64_t)record_get(&reader);
    event->received_ms = (int64_t)record_get(&reader);
    event->updated_ms = (int64_t)record_get(&reader);
    event->bytes = record_get(&reader);
    event->incoming_cut = record_get(&reader) != 0;
    event->message_cut = record_get(&reader) != 0;
    uint64_t attempts = record_get(&reader);
    get_text(&reader, event->source, sizeof event->source);
    get_text(&reader, event->name, sizeof event->name);
    get_text(&reader, event->lead, sizeof event->lead);
    get_text(&reader, event->id, sizeof event->id);
    get_text(&reader, event->state, sizeof event->state);
    get_text(&reader, event->reason, sizeof event->reason);
    event->incoming_length = get_bytes(&reader, whole->incoming, RECENT_BODY);
    event->message_length = get_bytes(&reader, whole->message, RECENT_BODY);
    whole->attempts = attempts <= ATTEMPTS_KEPT ? (size_t)attempts : 0;
    for (size_t i = 0; i < whole->attempts; i++)
        get_attempt(&reader, &whole->attempt[i]);
    return !reader.bad && event->number > 0;
}

/* ---- saying ---- */

static bool prepare(struct saying *saying, const struct config *config)
{
    if (saying->recent == NULL)
        saying->recent = recent_open(config->state_dir);
    if (saying->events == NULL)
        saying->events = calloc(SAY_EVENTS, sizeof *saying->events);
    if (saying->whole == NULL)
        saying->whole = calloc(1, sizeof *saying->whole);
    return saying->recent != NULL && saying->events != NULL && saying->whole != NULL;
}

size_t saying_make(struct saying *saying, const struct config *config, const char *machine, int64_t now_ms,
                   uint64_t *said, struct kept_record *records)
{
    size_t made = 0, count = 0;
    if (prepare(saying, config))
        count = recent_list(saying->recent, *said, now_ms, saying->events, SAY_EVENTS);
    for (size_t i = count; i-- > 0;) {
        uint64_t number = saying->events[i].number;
        *said = number;
        if (!recent_get(saying->recent, number, now_ms, saying->whole))
            continue;
        print_event(&saying->text[made], saying->whole);
        if (saying->text[made].failed)
            continue;
        snprintf(saying->name[made], sizeof saying->name[made], EVENT_NAME "%u", (unsigned)(number % RECENT_COUNT));
        records[made] =
            (struct kept_record){machine, saying->name[made], saying->text[made].data, saying->text[made].length};
        made++;
    }
    return made;
}

void saying_free(struct saying *saying)
{
    recent_close(saying->recent);
    free(saying->events);
    free(saying->whole);
    for (size_t i = 0; i < SAY_EVENTS; i++)
        buffer_free(&saying->text[i]);
}

/* ---- hearing ---- */

static void hear_event(const struct config *config, const struct kept_record *record)
{
    char path[FILES_PATH], *end;
    struct recent_whole *whole = calloc(1, sizeof *whole);
    unsigned long place = strtoul(record->name + strlen(EVENT_NAME), &end, 10);
    machines_path(path, config, record->machine, MACHINES_RECENT);
    struct recent *recent = *end != '\0' || place >= RECENT_COUNT ? NULL : recent_open_file(path);
    if (recent != NULL && record->length == 0)
        recent_erase(recent, place);
    else if (recent != NULL && whole != NULL && read_event(record, whole) &&
             whole->event.number % RECENT_COUNT == place)
        recent_put(recent, whole, clock_unix_ms());
    recent_close(recent);
    free(whole);
}

/* Which lead, for whoever does not know it yet: a source, or "", and the digest of the lead's id. */
struct meant {
    char source[sizeof((struct recent_event *)NULL)->source];
    unsigned char digest[SHA256_BYTES];
};

static bool is_meant(const void *context, const struct recent_event *event)
{
    const struct meant *meant = context;
    unsigned char digest[SHA256_BYTES];
    sha256(event->lead, strlen(event->lead), digest);
    return memcmp(digest, meant->digest, sizeof digest) == 0 &&
           (meant->source[0] == '\0' || strcmp(meant->source, event->source) == 0);
}

struct walk {
    const struct config *config;
    const struct meant *meant;
};

static void forget_of(void *context, const char *machine)
{
    const struct walk *walk = context;
    char path[FILES_PATH];
    machines_path(path, walk->config, machine, MACHINES_RECENT);
    struct recent *recent = recent_open_file(path);
    recent_forget_with(recent, is_meant, walk->meant, false, NULL);
    recent_close(recent);
}

static void hear_forget(const struct config *config, const struct kept_record *record)
{
    struct meant meant;
    struct record_reader reader = record_begin(record->bytes, record->length, forgets);
    get_text(&reader, meant.source, sizeof meant.source);
    bool good = get_bytes(&reader, (char *)meant.digest, sizeof meant.digest) == sizeof meant.digest && !reader.bad;
    struct recent *own = good ? recent_open(config->state_dir) : NULL;
    if (!good)
        return;
    recent_forget_with(own, is_meant, &meant, false, NULL);
    recent_close(own);
    machines_each(config, MACHINES_RECENT, forget_of, &(struct walk){config, &meant});
}

bool machines_hear_recent(const struct config *config, const struct kept_record *record)
{
    if (strncmp(record->name, EVENT_NAME, strlen(EVENT_NAME)) == 0)
        hear_event(config, record);
    else if (strncmp(record->name, FORGET_NAME, strlen(FORGET_NAME)) == 0)
        hear_forget(config, record);
    else
        return false;
    return true;
}

static void forget_if_old(void *context, const char *machine)
{
    char path[FILES_PATH];
    struct stat status;
    machines_path(path, context, machine, MACHINES_RECENT);
    if (!kept_is_shared(context) ||
        (stat(path, &status) == 0 && clock_unix_ms() - clock_timespec_ms(status.st_mtim) > KEEP_MS))
        unlink(path);
}

void machines_forget_old(const struct config *config)
{
    machines_each(config, MACHINES_RECENT, forget_if_old, (void *)config);
}

/* ---- showing ---- */

/* The bits of a machine's name in the numbers of its events; where nothing is shared there are none. */
static uint64_t bits_of(const char *machine)
{
    return machine[0] == '\0' ? 0
                              : ((text_hash(TEXT_HASH, machine, strlen(machine)) >> 20 & 0xFFFFF) | 1) << NUMBER_BITS;
}

struct listing {
    const struct config *config;
    int64_t now_ms;
    struct recent_event *all;
    size_t count;
};

static void list_one(struct listing *listing, struct recent *recent, const char *machine)
{
    struct recent_event *more = realloc(listing->all, (listing->count + RECENT_COUNT) * sizeof *more);
    if (more == NULL)
        return;
    listing->all = more;
    size_t count = recent_list(recent, 0, listing->now_ms, more + listing->count, RECENT_COUNT);
    for (size_t i = 0; i < count; i++) {
        uint64_t *number = &more[listing->count + i].number;
        *number = machine[0] == '\0' ? *number : bits_of(machine) | (*number & NUMBER_MASK);
    }
    listing->count += count;
}

static void list_other(void *context, const char *machine)
{
    struct listing *listing = context;
    char path[FILES_PATH];
    machines_path(path, listing->config, machine, MACHINES_RECENT);
    struct recent *recent = recent_open_file(path);
    list_one(listing, recent, machine);
    recent_close(recent);
}

/* By source and id where they ended at the same time: the same event under two names of a machine stands together. */
static int last_ended_first(const void *a, const void *b)
{
    const struct recent_event *left = a, *right = b;
    if (left->ended_ms != right->ended_ms)
        return left->ended_ms < right->ended_ms ? 1 : -1;
    if (left->queue_id != right->queue_id)
        return left->queue_id < right->queue_id ? 1 : -1;
    int order = strcmp(left->source, right->source);
    return order != 0 ? order : left->number < right->number ? 1 : left->number > right->number ? -1 : 0;
}

static size_t take_each_once(const struct listing *listing, struct recent_event *out, size_t most)
{
    size_t count = 0;
    for (size_t i = 0; i < listing->count && count < most; i++) {
        const struct recent_event *event = &listing->all[i], *before = i == 0 ? NULL : event - 1;
        if (before == NULL || before->ended_ms != event->ended_ms || before->queue_id != event->queue_id ||
            strcmp(before->source, event->source) != 0)
            out[count++] = *event;
    }
    return count;
}

size_t machines_recent_list(const struct config *config, struct recent *recent, const char *own, int64_t now_ms,
                            struct recent_event *out, size_t most)
{
    struct listing listing = {.config = config, .now_ms = now_ms};
    if (!kept_is_shared(config))
        return recent_list(recent, 0, now_ms, out, most);
    if (recent != NULL)
        list_one(&listing, recent, own);
    machines_each(config, MACHINES_RECENT, list_other, &listing);
    if (listing.count > 0)
        qsort(listing.all, listing.count, sizeof *listing.all, last_ended_first);
    size_t count = take_each_once(&listing, out, most);
    free(listing.all);
    return count;
}

struct search {
    const struct config *config;
    uint64_t bits;
    char machine[MACHINE_NAME];
};

static void find_machine(void *context, const char *machine)
{
    struct search *search = context;
    if (bits_of(machine) == search->bits)
        snprintf(search->machine, sizeof search->machine, "%s", machine);
}

bool machines_recent_get(const struct config *config, struct recent *recent, const char *own, uint64_t number,
                         int64_t now_ms, struct recent_whole *out)
{
    char path[FILES_PATH];
    struct search search = {.config = config, .bits = number & ~NUMBER_MASK};
    if (!kept_is_shared(config))
        return recent_get(recent, number, now_ms, out);
    if (search.bits == 0 || search.bits == bits_of(own)) { /* 0: a link that the release before made */
        bool found = recent_get(recent, number & NUMBER_MASK, now_ms, out);
        out->event.number = number;
        return found;
    }
    machines_each(config, MACHINES_RECENT, find_machine, &search);
    if (search.machine[0] == '\0')
        return false;
    machines_path(path, config, search.machine, MACHINES_RECENT);
    struct recent *other = recent_open_file(path);
    bool found = recent_get(other, number & NUMBER_MASK, now_ms, out);
    recent_close(other);
    out->event.number = number;
    return found;
}

/* ---- forgetting ---- */

#define FORGET_MOST 4096 /* records */

struct forgetting {
    const struct config *config;
    struct recent_lead lead;
    bool dry_run;
    uint64_t count;
    struct kept_record *records; /* room for FORGET_MOST; the machines and names of empty ones are to be freed */
    size_t made;
};

/* What was said is replaced by nothing. */
static void forget_said(struct forgetting *work, const char *machine, const bool erased[RECENT_COUNT])
{
    char name[32];
    for (unsigned i = 0; i < RECENT_COUNT && work->made < FORGET_MOST - 1; i++) {
        if (!erased[i])
            continue;
        snprintf(name, sizeof name, EVENT_NAME "%u", i);
        work->records[work->made++] = (struct kept_record){strdup(machine), strdup(name), "", 0};
    }
}

static void forget_here(struct forgetting *work, struct recent *recent, const char *machine)
{
    bool erased[RECENT_COUNT] = {false};
    work->count += recent_forget_with(recent, recent_is_of, &work->lead, work->dry_run, erased);
    if (!work->dry_run && machine[0] != '\0')
        forget_said(work, machine, erased);
}

static void forget_other(void *context, const char *machine)
{
    struct forgetting *work = context;
    char path[FILES_PATH];
    machines_path(path, work->config, machine, MACHINES_RECENT);
    struct recent *recent = recent_open_file(path);
    forget_here(work, recent, machine);
    recent_close(recent);
}

/* What they have not said is theirs to erase. */
static void print_forget(const struct forgetting *work, struct buffer *text, char name[static 32])
{
    unsigned char digest[SHA256_BYTES];
    const char *source = work->lead.source == NULL ? "" : work->lead.source;
    sha256(work->lead.lead, strnlen(work->lead.lead, sizeof((struct recent_event *)NULL)->lead - 1), digest);
    buffer_text(text, forgets);
    put_text(text, source);
    put_bytes(text, (const char *)digest, sizeof digest);
    snprintf(name, 32, FORGET_NAME "%016llx", (unsigned long long)text_hash(TEXT_HASH, text->data, text->length));
}

static bool tell_forget(struct forgetting *work, const char *own, struct error *why)
{
    char name[32];
    struct buffer text = {0};
    print_forget(work, &text, name);
    bool good = !text.failed;
    for (size_t i = 0; i < work->made; i++)
        good = good && work->records[i].machine != NULL && work->records[i].name != NULL;
    if (!good)
        error_set(why, "out of memory");
    work->records[work->made] = (struct kept_record){own, name, text.data, text.length};
    struct kept *kept = good ? kept_open(work->config, why) : NULL;
    good = kept != NULL && kept_say(kept, work->records, work->made + 1, why);
    kept_close(kept);
    buffer_free(&text);
    if (!good)
        error_prefix(why, "what other machines show of it is not erased, call this again: ");
    return good;
}

bool machines_recent_forget(const struct config *config, const char *source, const char *lead, bool dry_run,
                            uint64_t *count, struct error *why)
{
    struct error unread;
    struct forgetting work = {.config = config, .lead = {source, lead}, .dry_run = dry_run};
    bool shared = kept_is_shared(config), good = true;
    struct counters *counters = shared ? counters_open_all(config, &unread) : NULL;
    const char *own = counters_machine(counters);
    if (shared && !dry_run)
        machines_exchange(config); /* what they have said is known here then */
    work.records = calloc(FORGET_MOST, sizeof *work.records);
    struct recent *recent = work.records == NULL ? NULL : recent_open(config->state_dir);
    forget_here(&work, recent, own);
    recent_close(recent);
    if (shared && work.records != NULL)
        machines_each(config, MACHINES_RECENT, forget_other, &work);
    *count = work.count;
    if (shared && !dry_run)
        good = work.records != NULL && tell_forget(&work, own[0] == '\0' ? "-" : own, why);
    for (size_t i = 0; work.records != NULL && i < work.made; i++) {
        free((void *)work.records[i].machine);
        free((void *)work.records[i].name);
    }
    free(work.records);
    counters_close(counters);
    return good;
}
