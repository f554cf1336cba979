/* What the machines that share a queue count: see telemetry.h. A machine says two records: `day`, its minutes of the
 * last day until some time ago, said anew each half an hour; and `now`, its totals and the minutes since then, said
 * every few seconds if something was counted. Who shows them adds both to its own. */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/text.h"
#include "config/config.h"
#include "kept/heard.h"
#include "telemetry/machines_private.h"
#include "telemetry/tally_record.h"

#define NOW_MINUTES 30
#define NOW "now"
#define DAY "day"
#define RECORD_MOST ((off_t)64 << 20)
#define FORGET_MS INT64_C(93600000) /* 26 hours: what was said before is in no chart any more */
#define SAID "said"                 /* the file with what this machine has said */

/* ---- what was heard: a file for each record, MACHINE.NAME, or for all of one kind ---- */

void machines_path(char out[static FILES_PATH], const struct config *config, const char *machine, const char *name)
{
    snprintf(out, FILES_PATH, "%.3500s/" HEARD_FOLDER "/%.100s%s%.20s", config->state_dir, machine,
             name[0] == '\0' ? "" : ".", name);
}

static bool is_name(const char *name)
{
    size_t length = strlen(name);
    bool good = length > 0 && length < MACHINE_NAME && name[0] != '.';
    for (const char *at = name; good && *at != '\0'; at++)
        good = (*at >= 'a' && *at <= 'z') || (*at >= 'A' && *at <= 'Z') || (*at >= '0' && *at <= '9') || *at == '-' ||
               *at == '.' || *at == '_';
    return good;
}

void machines_each(const struct config *config, const char *name, void (*call)(void *context, const char *machine),
                   void *context)
{
    char path[FILES_PATH], machine[MACHINE_NAME];
    size_t end = strlen(name);
    machines_path(path, config, "", "");
    DIR *listing = opendir(path);
    for (const struct dirent *entry; listing != NULL && (entry = readdir(listing)) != NULL;) {
        size_t length = strlen(entry->d_name);
        if (length <= end + 1 || length - end > MACHINE_NAME || entry->d_name[length - end - 1] != '.' ||
            strcmp(entry->d_name + length - end, name) != 0)
            continue;
        snprintf(machine, sizeof machine, "%.*s", (int)(length - end - 1), entry->d_name);
        call(context, machine);
    }
    if (listing != NULL)
        closedir(listing);
}

/* Not synced: what is lost is said again. */
static void write_record(const char *path, const void *bytes, size_t length)
{
    char made[FILES_PATH + 8];
    snprintf(made, sizeof made, "%s.new", path);
    int fd = open(made, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return;
    bool good = files_write_all(fd, bytes, length);
    close(fd);
    if (!good || rename(made, path) != 0)
        unlink(made);
}

/* One that is too old is removed. */
static bool read_file(const char *path, struct buffer *out)
{
    struct stat status;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    bool good = fd >= 0 && fstat(fd, &status) == 0 && status.st_size > 0 && status.st_size < RECORD_MOST;
    if (good && clock_unix_ms() - clock_timespec_ms(status.st_mtim) > FORGET_MS) {
        unlink(path);
        good = false;
    }
    char *room = good ? buffer_room(out, (size_t)status.st_size) : NULL;
    good = room != NULL && files_read_all(fd, room, (size_t)status.st_size) == status.st_size;
    out->length = good ? (size_t)status.st_size : 0;
    if (fd >= 0)
        close(fd);
    return good;
}

struct machine {
    char name[MACHINE_NAME];
    struct buffer now, day;
    int64_t day_until; /* minute */
    bool readable;
};

struct machines {
    struct machine *at;
    size_t count;
};

void machines_free(struct machines *machines)
{
    for (size_t i = 0; machines != NULL && i < machines->count; i++) {
        buffer_free(&machines->at[i].now);
        buffer_free(&machines->at[i].day);
    }
    if (machines != NULL)
        free(machines->at);
    free(machines);
}

struct reading {
    struct machines *machines;
    const struct config *config;
};

/* `now` first: a day that is a moment newer lacks nothing that it has. */
static void read_machine(void *context, const char *name)
{
    const struct reading *reading = context;
    struct machines *machines = reading->machines;
    char path[FILES_PATH];
    int64_t from;
    struct machine *more = realloc(machines->at, (machines->count + 1) * sizeof *more);
    if (more == NULL)
        return;
    machines->at = more;
    struct machine *one = &more[machines->count];
    *one = (struct machine){.readable = true};
    snprintf(one->name, sizeof one->name, "%s", name);
    machines_path(path, reading->config, name, NOW);
    if (!read_file(path, &one->now))
        return;
    machines->count++;
    machines_path(path, reading->config, name, DAY);
    bool has_day = read_file(path, &one->day);
    one->readable = tally_record_check(one->now.data, one->now.length, &one->day_until) &&
                    (!has_day || tally_record_check(one->day.data, one->day.length, &from));
}

struct machines *machines_read(const struct config *config)
{
    struct machines *machines = kept_is_shared(config) ? calloc(1, sizeof *machines) : NULL;
    if (machines != NULL)
        machines_each(config, NOW, read_machine, &(struct reading){machines, config});
    return machines;
}

void machines_add(const struct machines *machines, const char *source, int64_t now_ms, struct tally *tally)
{
    const char *name = source == NULL ? "" : source;
    for (size_t i = 0; machines != NULL && i < machines->count; i++) {
        const struct machine *one = &machines->at[i];
        if (!one->readable)
            continue;
        tally_record_sum(one->now.data, one->now.length, name, now_ms, INT64_MAX, tally);
        if (one->day.length > 0)
            tally_record_sum(one->day.data, one->day.length, name, now_ms, one->day_until, tally);
    }
}

size_t machines_count(const struct machines *machines)
{
    return machines == NULL ? 0 : machines->count;
}

size_t machines_unreadable(const struct machines *machines, const char **name)
{
    size_t count = 0;
    for (size_t i = 0; machines != NULL && i < machines->count; i++) {
        if (machines->at[i].readable)
            continue;
        *name = machines->at[i].name;
        count++;
    }
    return count;
}

/* ---- speaking ---- */

struct speaking {
    const struct config *config;
    struct counters *counters;
    struct tally *tally;
    struct buffer now, day;
    struct saying saying;
    uint64_t recent; /* the number of the last event that was said */
    int64_t from;    /* the minute with which `now` began then; 0: nothing was said */
    uint64_t sum;    /* of `now` then */
    int64_t next_from;
    uint64_t next_sum;
};

/* Another process may have said it. */
static void read_said(struct speaking *speaking)
{
    char path[FILES_PATH];
    struct buffer text = {0};
    machines_path(path, speaking->config, SAID, "");
    speaking->from = 0;
    speaking->recent = 0;
    if (read_file(path, &text)) {
        buffer_append(&text, "", 1);
        char machine[MACHINE_NAME], sum[32];
        if (!text.failed && files_value(text.data, "machine", machine, sizeof machine) &&
            strcmp(machine, counters_machine(speaking->counters)) == 0 &&
            files_value(text.data, "sum", sum, sizeof sum)) {
            speaking->from = files_number(text.data, "from", 0);
            speaking->recent = (uint64_t)files_number(text.data, "recent", 0);
            speaking->sum = strtoull(sum, NULL, 16);
        }
    }
    buffer_free(&text);
}

static void said(void *context)
{
    struct speaking *speaking = context;
    char path[FILES_PATH], text[400];
    int length = snprintf(text, sizeof text, "machine = %s\nfrom = %lld\nsum = %016llx\nrecent = %llu\n",
                          counters_machine(speaking->counters), (long long)speaking->next_from,
                          (unsigned long long)speaking->next_sum, (unsigned long long)speaking->recent);
    machines_path(path, speaking->config, SAID, "");
    write_record(path, text, (size_t)length);
}

static void make_records(struct speaking *speaking, int64_t now_ms, bool day)
{
    const char *name;
    int64_t minute = now_ms / 60000, from = day ? minute - 2 : speaking->from;
    speaking->next_from = from;
    tally_record_begin(&speaking->now, from);
    tally_record_begin(&speaking->day, minute - (COUNTED_MINUTES - 1));
    for (size_t i = 0; (name = counters_name(speaking->counters, i)) != NULL; i++) {
        counters_read(counters_of(speaking->counters, i == 0 ? NULL : name), now_ms, speaking->tally);
        tally_record_add(&speaking->now, name, speaking->tally, now_ms, INT64_MAX, true);
        if (day)
            tally_record_add(&speaking->day, name, speaking->tally, now_ms, from, false);
    }
    speaking->next_sum = text_hash(TEXT_HASH, speaking->now.data, speaking->now.length);
}

static const char *name_of(void *context)
{
    struct speaking *speaking = context;
    struct error why;
    if (speaking->counters == NULL)
        speaking->counters = counters_open_all(speaking->config, &why);
    return counters_machine(speaking->counters);
}

/* Behind name_of. */
static size_t say(void *context, struct kept_record records[KEPT_RECORDS])
{
    struct speaking *speaking = context;
    const char *machine = counters_machine(speaking->counters);
    int64_t now_ms = clock_unix_ms(), minute = now_ms / 60000;
    if (speaking->tally == NULL)
        speaking->tally = calloc(1, sizeof *speaking->tally);
    if (speaking->tally == NULL)
        return 0;
    read_said(speaking);
    bool day = minute < speaking->from || minute - speaking->from >= NOW_MINUTES;
    make_records(speaking, now_ms, day);
    if (speaking->now.failed || speaking->day.failed)
        return 0;
    size_t count = 0;
    if (day || speaking->next_sum != speaking->sum)
        records[count++] = (struct kept_record){machine, NOW, speaking->now.data, speaking->now.length};
    if (day) {
        records[count++] = (struct kept_record){machine, DAY, speaking->day.data, speaking->day.length};
        machines_forget_old(speaking->config);
    }
    return count +
           saying_make(&speaking->saying, speaking->config, machine, now_ms, &speaking->recent, records + count);
}

static void hear(void *context, const struct kept_record *record)
{
    const struct speaking *speaking = context;
    char path[FILES_PATH];
    if (!is_name(record->machine) || strcmp(record->machine, SAID) == 0 ||
        machines_hear_recent(speaking->config, record))
        return;
    if (strcmp(record->name, NOW) != 0 && strcmp(record->name, DAY) != 0)
        return; /* a newer release says more */
    machines_path(path, speaking->config, record->machine, record->name);
    write_record(path, record->bytes, record->length);
}

static void close_speaking(void *context)
{
    struct speaking *speaking = context;
    counters_close(speaking->counters);
    saying_free(&speaking->saying);
    buffer_free(&speaking->now);
    buffer_free(&speaking->day);
    free(speaking->tally);
    free(speaking);
}

void machines_speaker(const struct config *config, struct kept_speaker *speaker)
{
    struct speaking *speaking = kept_is_shared(config) ? calloc(1, sizeof *speaking) : NULL;
    *speaker = (struct kept_speaker){.context = NULL};
    if (speaking == NULL && config->state_dir != NULL && !kept_is_shared(config))
        machines_forget_old(config);
    if (speaking == NULL)
        return;
    speaking->config = config;
    *speaker = (struct kept_speaker){speaking, name_of, hear, say, said, close_speaking};
}

void machines_exchange(const struct config *config)
{
    struct kept_speaker speaker;
    machines_speaker(config, &speaker);
    struct kept *kept = speaker.say == NULL ? NULL : kept_open(config, NULL);
    if (kept != NULL)
        kept_exchange(kept, &speaker, NULL); /* whoever looks finds out how old it is */
    kept_close(kept);
    if (speaker.close != NULL)
        speaker.close(speaker.context);
}
