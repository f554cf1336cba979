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
#include "base/files.h"
#include "base/text.h"
#include "config/config.h"
#include "kept/heard.h"
#include "kept/kept.h"
#include "telemetry/tally_record.h"
#include "telemetry/telemetry.h"

#define NOW_MINUTES 30
#define NOW "now"
#define DAY "day"
#define NAME_MOST 100
#define RECORD_MOST ((off_t)64 << 20)
#define FORGET_MS INT64_C(93600000) /* 26 hours: what was said before is in no chart any more */
#define SAID "said"                 /* the file with what this machine has said */

/* ---- what was heard: a file for each record, MACHINE.NAME ---- */

static void path_of(char out[static FILES_PATH], const struct config *config, const char *machine, const char *name)
{
    snprintf(out, FILES_PATH, "%.3500s/" HEARD_FOLDER "/%.100s%s%.20s", config->state_dir, machine,
             name[0] == '\0' ? "" : ".", name);
}

static bool is_name(const char *name)
{
    size_t length = strlen(name);
    bool good = length > 0 && length <= NAME_MOST && name[0] != '.';
    for (const char *at = name; good && *at != '\0'; at++)
        good = (*at >= 'a' && *at <= 'z') || (*at >= 'A' && *at <= 'Z') || (*at >= '0' && *at <= '9') || *at == '-' ||
               *at == '.' || *at == '_';
    return good;
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
    char name[NAME_MOST + 1];
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

/* The day first: one that is a moment older lacks nothing that `now` does not have. */
static void read_machine(struct machines *machines, const struct config *config, const char *name)
{
    char path[FILES_PATH];
    int64_t from;
    struct machine *more = realloc(machines->at, (machines->count + 1) * sizeof *more);
    if (more == NULL)
        return;
    machines->at = more;
    struct machine *one = &more[machines->count];
    *one = (struct machine){.readable = true};
    snprintf(one->name, sizeof one->name, "%s", name);
    path_of(path, config, name, NOW);
    if (!read_file(path, &one->now))
        return;
    machines->count++;
    path_of(path, config, name, DAY);
    bool has_day = read_file(path, &one->day);
    one->readable = tally_record_check(one->now.data, one->now.length, &one->day_until) &&
                    (!has_day || tally_record_check(one->day.data, one->day.length, &from));
}

struct machines *machines_read(const struct config *config)
{
    char path[FILES_PATH], name[NAME_MOST + 1];
    struct machines *machines = kept_is_shared(config) ? calloc(1, sizeof *machines) : NULL;
    if (machines == NULL)
        return NULL;
    path_of(path, config, "", "");
    DIR *listing = opendir(path);
    for (const struct dirent *entry; listing != NULL && (entry = readdir(listing)) != NULL;) {
        size_t length = strlen(entry->d_name), end = strlen("." NOW);
        if (length <= end || length - end > NAME_MOST || strcmp(entry->d_name + length - end, "." NOW) != 0)
            continue;
        snprintf(name, sizeof name, "%.*s", (int)(length - end), entry->d_name);
        read_machine(machines, config, name);
    }
    if (listing != NULL)
        closedir(listing);
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
    char origin[ORIGIN]; /* where it was said */
    int64_t from;        /* the minute with which `now` began then; 0: nothing was said */
    uint64_t sum;        /* of `now` then */
    int64_t next_from;
    uint64_t next_sum;
};

/* Another process may have said it. */
static void read_said(struct speaking *speaking)
{
    char path[FILES_PATH];
    struct buffer text = {0};
    path_of(path, speaking->config, SAID, "");
    speaking->from = 0;
    if (read_file(path, &text)) {
        buffer_append(&text, "", 1);
        char machine[NAME_MOST + 1], sum[32];
        if (!text.failed && files_value(text.data, "machine", machine, sizeof machine) &&
            strcmp(machine, counters_machine(speaking->counters)) == 0 &&
            files_value(text.data, "origin", speaking->origin, sizeof speaking->origin) &&
            files_value(text.data, "sum", sum, sizeof sum)) {
            speaking->from = files_number(text.data, "from", 0);
            speaking->sum = strtoull(sum, NULL, 16);
        }
    }
    buffer_free(&text);
}

static void said(void *context)
{
    struct speaking *speaking = context;
    char path[FILES_PATH], text[400];
    int length = snprintf(text, sizeof text, "machine = %s\norigin = %s\nfrom = %lld\nsum = %016llx\n",
                          counters_machine(speaking->counters), speaking->origin, (long long)speaking->next_from,
                          (unsigned long long)speaking->next_sum);
    path_of(path, speaking->config, SAID, "");
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

static size_t say(void *context, const char *origin, const char **machine, struct kept_record records[KEPT_RECORDS])
{
    struct speaking *speaking = context;
    struct error why;
    int64_t now_ms = clock_unix_ms(), minute = now_ms / 60000;
    if (speaking->counters == NULL)
        speaking->counters = counters_open_all(speaking->config, &why);
    if (speaking->tally == NULL)
        speaking->tally = calloc(1, sizeof *speaking->tally);
    *machine = counters_machine(speaking->counters);
    if (speaking->tally == NULL || *machine[0] == '\0')
        return 0;
    read_said(speaking);
    bool day =
        strcmp(speaking->origin, origin) != 0 || minute < speaking->from || minute - speaking->from >= NOW_MINUTES;
    make_records(speaking, now_ms, day);
    if (speaking->now.failed || speaking->day.failed || (!day && speaking->next_sum == speaking->sum))
        return 0;
    snprintf(speaking->origin, sizeof speaking->origin, "%s", origin);
    records[0] = (struct kept_record){*machine, NOW, speaking->now.data, speaking->now.length};
    records[1] = (struct kept_record){*machine, DAY, speaking->day.data, speaking->day.length};
    return day ? 2 : 1;
}

static void hear(void *context, const struct kept_record *record)
{
    const struct speaking *speaking = context;
    char path[FILES_PATH];
    bool known = strcmp(record->name, NOW) == 0 || strcmp(record->name, DAY) == 0;
    if (!known || !is_name(record->machine) || strcmp(record->machine, SAID) == 0)
        return; /* a newer release says more */
    path_of(path, speaking->config, record->machine, record->name);
    write_record(path, record->bytes, record->length);
}

static void close_speaking(void *context)
{
    struct speaking *speaking = context;
    counters_close(speaking->counters);
    buffer_free(&speaking->now);
    buffer_free(&speaking->day);
    free(speaking->tally);
    free(speaking);
}

void machines_speaker(const struct config *config, struct kept_speaker *speaker)
{
    struct speaking *speaking = kept_is_shared(config) ? calloc(1, sizeof *speaking) : NULL;
    *speaker = (struct kept_speaker){.context = NULL};
    if (speaking == NULL)
        return;
    speaking->config = config;
    *speaker = (struct kept_speaker){speaking, say, said, hear, close_speaking};
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
