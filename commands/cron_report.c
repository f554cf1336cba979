/* What one run of cron says, and the record of what was told before. */
#include "commands/commands_private.h"

#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/escape.h"
#include "base/files.h"
#include "base/last_errors.h"
#include "base/log.h"
#include "base/text.h"
#include "base/times.h"
#include "health/findings.h"
#include "process/process.h"

#define TOLD_ENTRIES 64 /* problems that last, at once */

enum told_kind {
    TOLD_FINDING, /* of health/findings */
    TOLD_CLOSE,   /* what reconciling a source said: each run does not ask */
    TOLD_TROUBLE, /* anything else that each run looks at */
    TOLD_ONCE,    /* something that happened: it is told, and is never over */
};

struct told_entry {
    uint64_t key;      /* 0: a free place */
    int64_t told_ms;   /* when it was told last, Unix time */
    int64_t since_ms;  /* it lasts since then; 0: it is over, and is known for the rest of the interval */
    int64_t period_ms; /* it is told again after so long */
    uint32_t kind;     /* enum told_kind */
    uint32_t topic;    /* of a finding: enum finding_topic */
    char name[32];     /* of a finding */
    char source[72];   /* "": the whole */
    char words[240];   /* as they were told first */
};

struct told_record {
    uint64_t sum; /* of entry */
    struct told_entry entry[TOLD_ENTRIES];
};

struct cron_told {
    struct told_record record;
    bool seen[TOLD_ENTRIES]; /* in this run */
    int fd;                  /* of the record's file, locked; -1: what is told is forgotten */
    char elsewhere[4096];    /* a second record, beside the configuration, that this one has taken over; "": none */
};

/* ---- what was told: a problem that lasts is told once an interval, and once when it is over, although each run is a
 * process of its own. The record is a small file of a fixed size in the state directory, or beside the configuration
 * where that directory cannot be used; it may be deleted at any time. One thread. ---- */

#define TOLD_FILE "cron-told.1" /* the number is of the layout */
#define LOCK_MS 2000            /* for another run that reports just now */

static uint64_t checksum(const struct told_record *record)
{
    return text_hash(TEXT_HASH, record->entry, sizeof record->entry);
}

/* Opens and locks the record in a folder. Returns its descriptor; -1: none. */
static int open_record(const char *directory, char path[static PATH_MAX])
{
    int fd = -1;
    if (!files_is_own_directory(directory) || snprintf(path, PATH_MAX, "%s/" TOLD_FILE, directory) >= PATH_MAX)
        return -1;
    return lock_take_within(&fd, path, LOCK_MS) == 0 ? fd : -1;
}

/* Half a record counts as none. */
static bool read_record(int fd, struct told_record *record)
{
    return pread(fd, record, sizeof *record, 0) == (ssize_t)sizeof *record && record->sum == checksum(record);
}

static struct told_entry *find_entry(struct cron_told *told, uint64_t key)
{
    struct told_entry *empty = NULL, *oldest = NULL;
    for (size_t i = 0; i < TOLD_ENTRIES; i++) {
        struct told_entry *entry = &told->record.entry[i];
        if (entry->key == key)
            return entry;
        if (entry->key == 0 && empty == NULL)
            empty = entry;
        if (!told->seen[i] && (oldest == NULL || entry->told_ms < oldest->told_ms))
            oldest = entry;
    }
    if (empty == NULL)
        empty = oldest;
    if (empty != NULL)
        memset(empty, 0, sizeof *empty);
    return empty;
}

/* What was told while the state directory could not be used goes on in its record. */
static void take_over(struct cron_told *told, const char *beside)
{
    char path[PATH_MAX];
    struct told_record other;
    if (!files_is_own_directory(beside) || snprintf(path, sizeof path, "%s/" TOLD_FILE, beside) >= (int)sizeof path)
        return;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return;
    for (size_t i = 0; read_record(fd, &other) && i < TOLD_ENTRIES; i++) {
        struct told_entry *entry = other.entry[i].key == 0 ? NULL : find_entry(told, other.entry[i].key);
        if (entry != NULL)
            *entry = other.entry[i];
    }
    close(fd);
    snprintf(told->elsewhere, sizeof told->elsewhere, "%s", path);
}

/* Reads what was told. state_dir: NULL where it cannot be used. beside: the configuration's folder; NULL: unknown.
 * Waits a moment for another run that reports just now. Never fails: at worst nothing is known. */
static void cron_told_open(struct cron_told *told, const char *state_dir, const char *beside)
{
    char path[PATH_MAX];
    memset(told, 0, sizeof *told);
    told->fd = state_dir == NULL ? -1 : open_record(state_dir, path);
    bool in_state = told->fd >= 0;
    if (!in_state && beside != NULL)
        told->fd = open_record(beside, path);
    if (told->fd >= 0 && !read_record(told->fd, &told->record))
        memset(&told->record, 0, sizeof told->record);
    if (in_state && beside != NULL && strcmp(beside, state_dir) != 0)
        take_over(told, beside);
}

/* What identifies a problem: its kind, its source, and its words without the numbers in them (of a finding: its name).
 */
static uint64_t cron_told_key(enum told_kind kind, const char *source, const char *words)
{
    unsigned char first = (unsigned char)kind;
    uint64_t key = text_hash(TEXT_HASH, &first, 1);
    key = text_hash_without_digits(text_hash(key, source, strlen(source) + 1), words, strlen(words));
    return key == 0 ? 1 : key;
}

/* Notes that a problem is there. entry: all but key's times. Returns whether it is to be told now. */
static bool cron_told_is_due(struct cron_told *told, const struct told_entry *entry, int64_t now_ms)
{
    struct told_entry *kept = find_entry(told, entry->key);
    if (kept == NULL)
        return true; /* too many at once: each is told again rather than none */
    int64_t told_ms = kept->told_ms, since_ms = kept->since_ms;
    bool due = told_ms == 0 || now_ms - told_ms >= entry->period_ms || told_ms > now_ms;
    told->seen[kept - told->record.entry] = true;
    if (since_ms == 0 || due)
        *kept = *entry;
    kept->since_ms = since_ms == 0 ? now_ms : since_ms;
    kept->told_ms = due ? now_ms : told_ms;
    return due;
}

/* Notes that a problem that was there is over. Returns whether that is to be told. */
static bool cron_told_is_over(struct cron_told *told, size_t i, int64_t now_ms)
{
    struct told_entry *entry = &told->record.entry[i];
    bool is_told = entry->since_ms != 0 && entry->told_ms >= entry->since_ms;
    entry->since_ms = 0;
    if (now_ms - entry->told_ms >= entry->period_ms || entry->told_ms > now_ms)
        entry->key = 0;
    return is_told;
}

/* Writes what was told, and closes. */
/* Over the old one: there may be no room for a new file. */
static void cron_told_close(struct cron_told *told)
{
    if (told->fd < 0)
        return;
    told->record.sum = checksum(&told->record);
    ssize_t n = pwrite(told->fd, &told->record, sizeof told->record, 0);
    if (n == (ssize_t)sizeof told->record && told->elsewhere[0] != '\0')
        unlink(told->elsewhere);
    close(told->fd);
    told->fd = -1;
}

/* ---- the report ---- */

#define NOTED 96 /* problems and lines of the log, in one run */
#define HOUR_MS INT64_C(3600000)
#define DAY_MS (24 * HOUR_MS)

struct noted {
    enum told_kind kind;
    char source[72];
    char *words; /* NULL: the source was reconciled, and all is well */
};

struct cron_report {
    const struct config *config;
    struct cron_told told;
    pthread_mutex_t lock; /* over what follows: threads log */
    struct noted noted[NOTED];
    size_t count;
    size_t problems;
    bool letters_wait; /* new dead letters are not told yet */
};

static void note(struct cron_report *report, enum told_kind kind, const char *source, const char *words, size_t length)
{
    pthread_mutex_lock(&report->lock);
    if (report->count < NOTED) {
        struct noted *noted = &report->noted[report->count];
        noted->kind = kind;
        snprintf(noted->source, sizeof noted->source, "%s", source);
        noted->words = words == NULL ? NULL : strndup(words, length);
        if (words == NULL || noted->words != NULL)
            report->count++;
    }
    if (words != NULL && kind != TOLD_ONCE)
        report->problems++;
    pthread_mutex_unlock(&report->lock);
}

/* Only errors are mailed. */
static bool take_line(void *context, enum log_level level, const char *line, size_t length)
{
    last_errors_note(NULL, level, line, length);
    if (level == LEVEL_ERROR)
        note(context, TOLD_ONCE, "", line, length);
    return true;
}

struct cron_report *cron_report_new(const struct config *config)
{
    struct cron_report *report = calloc(1, sizeof *report);
    if (report == NULL)
        return NULL;
    report->config = config;
    pthread_mutex_init(&report->lock, NULL);
    errors_keep(config);
    log_observe(take_line, report);
    return report;
}

void cron_report_trouble(struct cron_report *report, const char *words)
{
    note(report, TOLD_TROUBLE, "", words, strlen(words));
}

void cron_report_reconciled(struct cron_report *report, const char *source, const char *words)
{
    note(report, TOLD_CLOSE, source, words, words == NULL ? 0 : strlen(words));
}

size_t cron_report_problems(const struct cron_report *report)
{
    return report->problems;
}

static void print_line(const char *source, const char *words)
{
    fprintf(stderr, "cron: %s%s%s", source[0] != '\0' ? "source " : "", source, source[0] != '\0' ? ": " : "");
    plain_write(stderr, words, strlen(words)); /* some are the data plane's */
    fputc('\n', stderr);
}

/* Of a trouble, whose words may have an example of several lines. */
static void print_lines(const char *words)
{
    size_t length = strcspn(words, "\n");
    for (fputs("cron: ", stderr); words[length] != '\0'; length = strcspn(words, "\n")) {
        plain_write(stderr, words, length);
        fputc('\n', stderr);
        words += length + 1;
    }
    plain_write(stderr, words, length);
    fputc('\n', stderr);
}

static int64_t interval_ms(const struct cron_report *report)
{
    return report->config == NULL ? HOUR_MS : report->config->alert_interval_ms;
}

/* ---- what is there ---- */

static void print_noted(struct cron_report *report, int64_t now_ms)
{
    for (size_t i = 0; i < report->count; i++) {
        const struct noted *noted = &report->noted[i];
        struct told_entry entry = {.period_ms = interval_ms(report), .kind = (uint32_t)noted->kind};
        if (noted->words == NULL)
            continue;
        entry.key = cron_told_key(noted->kind, noted->source, noted->words);
        snprintf(entry.source, sizeof entry.source, "%s", noted->source);
        snprintf(entry.words, sizeof entry.words, "%.*s", (int)strcspn(noted->words, "\n"), noted->words);
        if (!cron_told_is_due(&report->told, &entry, now_ms))
            continue;
        if (noted->kind == TOLD_ONCE)
            fprintf(stderr, "%s\n", noted->words); /* as in the log */
        else if (noted->kind == TOLD_TROUBLE)
            print_lines(noted->words);
        else
            print_line(noted->source, noted->words);
    }
}

static void print_finding(struct cron_report *report, const struct finding *finding, int64_t now_ms)
{
    char line[REPORT_SIZE];
    bool daily = (finding->views & VIEW_CRON) == 0;
    int64_t period_ms = interval_ms(report);
    struct told_entry entry = {.kind = TOLD_FINDING, .topic = (uint32_t)finding->topic};
    entry.period_ms = daily && period_ms < DAY_MS ? DAY_MS : period_ms;
    snprintf(entry.name, sizeof entry.name, "%s", finding_name(finding->id));
    if (finding->source != NULL)
        snprintf(entry.source, sizeof entry.source, "%.71s", finding->source->name);
    snprintf(entry.words, sizeof entry.words, "%.239s", finding->sentence);
    entry.key = cron_told_key(TOLD_FINDING, entry.source, entry.name);
    bool due = cron_told_is_due(&report->told, &entry, now_ms);
    if (due)
        print_line(entry.source, report_line(finding, line));
    report->problems += finding->severity == SEVERITY_BAD; /* the rest is to be looked at, as `check` says it */
    if (!due && finding->id == FINDING_DEAD_LETTERS_NEW)
        report->letters_wait = true;
}

static void print_findings(struct cron_report *report, const struct facts *facts, int64_t now_ms)
{
    enum finding_view view = VIEW_CRON | VIEW_CRON_DAILY;
    for (const struct finding *one = NULL; facts != NULL && (one = report_next(facts, one, view)) != NULL;)
        print_finding(report, one, now_ms);
}

/* ---- what is over ---- */

static enum finding_id find_id(const char *name)
{
    enum finding_id id = 0;
    while (id < FINDINGS && strcmp(finding_name(id), name) != 0)
        id++;
    return id;
}

/* Whether something else is wrong with the same, so that saying that this is over would mislead. */
static bool has_successor(const struct facts *facts, const struct told_entry *entry)
{
    for (size_t i = 0; entry->topic != TOPIC_OWN && i < facts->found_count; i++) {
        const struct finding *finding = &facts->found[i];
        const char *source = finding->source == NULL ? "" : finding->source->name;
        if (finding->severity != SEVERITY_GOOD && (uint32_t)finding->topic == entry->topic &&
            (source[0] == '\0' || strcmp(source, entry->source) == 0))
            return true;
    }
    return false;
}

/* Whether a finding is not so any more, as far as can be told. */
static bool finding_is_over(const struct facts *facts, const struct told_entry *entry)
{
    const struct source_facts *source = NULL;
    enum finding_id id = find_id(entry->name);
    if (facts == NULL || id == FINDINGS || id == FINDING_DEAD_LETTERS_NEW)
        return false;
    for (size_t i = 0; i < facts->sources; i++) {
        if (strcmp(facts->source[i].name, entry->source) == 0)
            source = &facts->source[i];
    }
    if (source == NULL && entry->source[0] != '\0')
        return facts->queue_works; /* nothing of that source is left */
    return finding_judge(id, facts, source, NULL) == FINDING_ABSENT && !has_successor(facts, entry);
}

/* Of a source that cannot be reconciled any more nothing will ever be heard. */
static bool close_is_over(const struct cron_report *report, const struct told_entry *entry)
{
    const struct source *source = report->config == NULL ? NULL : config_source(report->config, entry->source);
    if (report->config != NULL && (source == NULL || source->close_api_key == NULL))
        return true;
    for (size_t i = 0; i < report->count; i++) {
        if (report->noted[i].kind == TOLD_CLOSE && strcmp(report->noted[i].source, entry->source) == 0)
            return true;
    }
    return false;
}

static void print_over(struct cron_report *report, const struct facts *facts, int64_t now_ms)
{
    for (size_t i = 0; i < TOLD_ENTRIES; i++) {
        char date[DATE_PRINTED], words[400];
        struct told_entry entry = report->told.record.entry[i];
        bool is_over = false;
        if (entry.key == 0 || report->told.seen[i])
            continue;
        if (entry.kind == TOLD_ONCE || entry.since_ms == 0 || find_id(entry.name) == FINDING_DEAD_LETTERS_NEW)
            is_over = true; /* known for the rest of the interval */
        else if (entry.kind == TOLD_FINDING)
            is_over = finding_is_over(facts, &entry);
        else
            is_over = entry.kind == TOLD_CLOSE ? close_is_over(report, &entry) : true;
        bool is_told = is_over && cron_told_is_over(&report->told, i, now_ms);
        if (!is_told || entry.kind == TOLD_ONCE || find_id(entry.name) == FINDING_DEAD_LETTERS_NEW)
            continue;
        times_print_ms(entry.since_ms, DATE_UTC, date);
        snprintf(words, sizeof words, "it is over, after it was so since %s: %s", date, entry.words);
        print_line(entry.source, words);
    }
}

bool cron_report_print(struct cron_report *report, const struct facts *facts, const char *state_dir)
{
    char folder[CONFIG_FOLDER];
    int64_t now_ms = clock_unix_ms();
    cron_told_open(&report->told, state_dir, config_folder(folder));
    pthread_mutex_lock(&report->lock);
    print_findings(report, facts, now_ms);
    print_noted(report, now_ms);
    print_over(report, facts, now_ms);
    pthread_mutex_unlock(&report->lock);
    cron_told_close(&report->told);
    return !report->letters_wait;
}

void cron_report_free(struct cron_report *report)
{
    if (report == NULL)
        return;
    log_observe(NULL, NULL);
    last_errors_flush(true);
    last_errors_open(NULL, 0);
    for (size_t i = 0; i < report->count; i++)
        free(report->noted[i].words);
    pthread_mutex_destroy(&report->lock);
    free(report);
}
