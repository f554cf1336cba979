/* A full disk, a state directory that cannot be written, a damaged database, under load: Close is told to come again,
 * the log says why, delivery goes on where it can, and service resumes by itself when the cause is gone. */
#include "tests/suites.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "tests/support/check.h"
#include "tests/support/durable.h"
#include "tests/support/event.h"
#include "tests/support/signature.h"
#include "tests/support/small_disk.h"

#define DISK "64m"       /* the log alone may take 32 MiB */
#define SMALL_DISK "16m" /* which the queue fills */
#define MORE_THAN_FITS 8000
#define RESUMED_MS 60000

#define PAGE 16384
#define PAGES_DAMAGED 3
#define IDS_IN_PAGES 256

static const struct standin_fault holding = {.act = STANDIN_HOLD, .times = STANDIN_ALWAYS};

static struct client_answer send_event(struct site *site, const char *id)
{
    struct event_text event = {.body = {.data = NULL}};
    struct client_answer answer;
    event_make(&event, &(struct event_options){.id = id});
    struct signature signature = signature_make(ALPHA_SIGNATURE_KEY, event_body(&event), 0);
    struct client_request request = {
        .url = site->url, .headers = {signature.hash, signature.timestamp}, .body = event_body(&event)};
    client_send(site->client, &request, &answer);
    event_free(&event);
    return answer;
}

/* A disk may have a little room again each time the log begins anew: sends until an event is refused. */
static void check_refused(struct site *site)
{
    struct client_answer answer = {.status = 200};
    for (size_t i = 0; answer.status == 200 && i < MORE_THAN_FITS; i++) {
        char id[32];
        snprintf(id, sizeof id, "refused_%zu", i);
        answer = send_event(site, id);
    }
    check(answer.status == 503 && answer.retry_after[0] != '\0', "503 with Retry-After, not %d: %s", answer.status,
          answer.body);
}

/* Waits until an event is answered 200 again. */
static void check_resumes(struct site *site)
{
    moment begin = clock_now();
    int status = 0;
    while (status != 200 && clock_now() - begin < RESUMED_MS) {
        char id[64];
        snprintf(id, sizeof id, "resumed_%lld", (long long)clock_now());
        status = send_event(site, id).status;
        poll(NULL, 0, 100);
    }
    printf("(resumed after %lld ms) ", (long long)(clock_now() - begin));
    check(status == 200, "service resumes");
}

/* ---- a full disk ---- */

/* The site with its state directory on a disk of its own. */
static bool open_on_small_disk(struct site *site, const char *size, char state[PATH_SIZE])
{
    if (!durable_open(site, &setup_lighttpd_spawn, NULL))
        return false;
    path_join(state, site->directory, "state");
    process_stop(&site->program, 10000);
    temporary_remove(state);
    CU_ASSERT(temporary_directory(site->directory, "state"));
    if (!small_disk_mount(state, size))
        return false;
    CU_ASSERT(durable_start_anew(site, NULL));
    return true;
}

static void close_on_small_disk(struct site *site, const char *state)
{
    CU_ASSERT_EQUAL(process_stop(&site->program, durable_patience(60000)), 0);
    small_disk_unmount(state);
}

static struct load_options large_load(const struct site *site, const char *prefix, size_t count)
{
    struct load_options options = durable_load(site);
    options.prefix = prefix;
    options.count = count;
    options.filler = 1300;
    return options;
}

/* What takes the room, for who looks at a failure. */
static void print_sizes(const char *state)
{
    static const char *const names[] = {"queue.db", "queue.db-wal", "queue.db-shm", "reserve"};
    struct statvfs disk;
    struct stat status;
    char path[PATH_SIZE];
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        path_join(path, state, names[i]);
        if (stat(path, &status) == 0)
            printf("%s %lld bytes, ", names[i], (long long)status.st_blocks * 512);
    }
    if (statvfs(state, &disk) == 0)
        printf("%llu bytes free ", (unsigned long long)disk.f_bavail * disk.f_frsize);
}

/* As fast as it goes, so that the log fills the disk, or so slowly that the log is copied meanwhile and the database
 * does.
 */
static void fill_and_drain(int64_t pause_ms)
{
    struct site site;
    char state[PATH_SIZE];
    if (open_on_small_disk(&site, SMALL_DISK, state)) {
        standin_fail(site.standin, &holding);
        struct load_options options = large_load(&site, "ev", MORE_THAN_FITS);
        options.pause_ms = pause_ms;
        struct load *load = load_start(&options);
        struct load_result result = load_finish(load);
        check(result.ok > 100 && result.ok < result.sent && result.other == 503, "%zu fit, the others get 503, not %d",
              result.ok, result.other);
        check_refused(&site);
        CU_ASSERT(site_count_logged(&site, "msg=disk_full") > 0);
        check(site_count_logged(&site, "msg=disk_full") < 20, "a full disk does not fill the log");
        standin_heal(site.standin);
        bool all = standin_wait_messages(site.standin, result.ok, durable_patience(60000));
        check(all, "delivery goes on on the full disk: %zu of %zu", standin_counts(site.standin).messages, result.ok);
        if (!all)
            print_sizes(state);
        check_resumes(&site);
        CU_ASSERT(durable_wait_empty(&site, durable_patience(60000)));
        CU_ASSERT_EQUAL(load_count_arrived(load, site.standin, 0), result.ok);
        CU_ASSERT_EQUAL(durable_counts(&site, "alpha").dead, 0);
        printf("(%zu fit, %zu sent twice) ", result.ok, standin_counts(site.standin).repeated);
        load_free(load);
        close_on_small_disk(&site, state);
    }
    site_close(&site);
}

static void filled_by_the_queue(void)
{
    fill_and_drain(0);
}

static void filled_by_the_database(void)
{
    fill_and_drain(40);
}

static void filled_by_another_file(void)
{
    struct site site;
    char state[PATH_SIZE], other[PATH_SIZE];
    if (open_on_small_disk(&site, DISK, state)) {
        path_join(other, state, "other");
        standin_fail(site.standin, &holding);
        struct load_options options = large_load(&site, "ev", 3000);
        struct load *load = load_start(&options);
        CU_ASSERT(load_wait(load, 1000, durable_patience(60000)));
        small_disk_fill(state, "other");
        struct load_result result = load_finish(load);
        check(result.ok >= 900 && result.ok < result.sent && result.other == 503,
              "%zu of %zu were taken before, the others get 503, not %d", result.ok, result.sent, result.other);
        check_refused(&site);
        standin_heal(site.standin);
        check(standin_wait_messages(site.standin, result.ok, durable_patience(60000)),
              "delivery goes on on the full disk: %zu of %zu", standin_counts(site.standin).messages, result.ok);
        remove(other);
        check_resumes(&site);
        CU_ASSERT(durable_wait_empty(&site, durable_patience(60000)));
        CU_ASSERT_EQUAL(load_count_arrived(load, site.standin, 0), result.ok);
        CU_ASSERT_EQUAL(durable_counts(&site, "alpha").dead, 0);
        CU_ASSERT(site_count_logged(&site, "msg=disk_full") > 0);
        load_free(load);
        close_on_small_disk(&site, state);
    }
    site_close(&site);
}

/* It is full already when the program starts, and when it dies: what waits is delivered all the same. */
static void full_and_killed(void)
{
    struct site site;
    char state[PATH_SIZE], other[PATH_SIZE];
    if (open_on_small_disk(&site, DISK, state)) {
        int status;
        path_join(other, state, "other");
        standin_fail(site.standin, &holding);
        struct load_options options = large_load(&site, "ev", 1000);
        struct load *load = load_start(&options);
        struct load_result result = load_finish(load);
        CU_ASSERT_EQUAL(result.ok, result.sent);
        small_disk_fill(state, "other");
        durable_signal(site.program.pid, SIGKILL);
        CU_ASSERT(process_wait(&site.program, 60000, &status));
        standin_heal(site.standin);
        CU_ASSERT(site_spawn(&site));
        check(standin_wait_messages(site.standin, result.ok, durable_patience(60000)),
              "delivery goes on on the full disk: %zu of %zu", standin_counts(site.standin).messages, result.ok);
        remove(other);
        check_resumes(&site);
        CU_ASSERT(durable_wait_empty(&site, durable_patience(60000)));
        CU_ASSERT_EQUAL(load_count_arrived(load, site.standin, 0), result.ok);
        load_free(load);
        close_on_small_disk(&site, state);
    }
    site_close(&site);
}

/* ---- no room, in other words, and for large events ---- */

#define LARGE 19300 /* bytes by which an event is larger: 20 KB */
#define LARGE_DISK "80m"
#define SOON_MS 8000 /* under a second on a machine that has nothing else to do, and not the 10 s of the beat */

static struct load_options load_of_large(const struct site *site, size_t count)
{
    struct load_options options = durable_load(site);
    options.count = count;
    options.filler = LARGE;
    return options;
}

/* Settling large events needs little room, and what does not fit goes in parts: all are delivered on the full disk, by
 * one of two processes; as soon as there is room events are taken again. */
static void large_events_on_a_full_disk(void)
{
    struct site site;
    char state[PATH_SIZE], other[PATH_SIZE];
    if (open_on_small_disk(&site, LARGE_DISK, state)) {
        path_join(other, state, "other");
        CU_ASSERT(durable_start_anew(&site, durable_many("2")));
        standin_fail(site.standin, &holding);
        struct load_options options = load_of_large(&site, durable_share(2000));
        struct load *load = load_start(&options);
        CU_ASSERT(load_wait(load, options.count / 2, durable_patience(60000)));
        small_disk_fill(state, "other");
        struct load_result result = load_finish(load);
        standin_heal(site.standin);
        check(standin_wait_messages(site.standin, result.ok, durable_patience(60000)),
              "delivery goes on on the full disk: %zu of %zu", standin_counts(site.standin).messages, result.ok);
        CU_ASSERT(durable_wait_empty(&site, durable_patience(60000)));
        CU_ASSERT_EQUAL(standin_counts(site.standin).repeated, 0);
        remove(other);
        moment begin = clock_now();
        check_resumes(&site);
        check(clock_now() - begin < durable_patience(SOON_MS), "it takes events again soon");
        CU_ASSERT_EQUAL(load_count_arrived(load, site.standin, 1), result.ok);
        printf("(%zu of %zu fit) ", result.ok, result.sent);
        load_free(load);
        durable_kill_all(&site);
        small_disk_unmount(state);
    }
    site_close(&site);
}

/* Under ulimit -f the kernel sends SIGXFSZ, and says EFBIG: the program lives, says so, and delivers. */
static void a_limit_on_the_size_of_files(void)
{
    static const char *const limited[] = {"/bin/sh", "-c", "ulimit -f 8192 && exec \"$@\"", "sh", NULL};
    struct site site;
    if (durable_open(&site, &setup_lighttpd_spawn, NULL)) {
        CU_ASSERT(durable_start_anew(&site, limited));
        standin_fail(site.standin, &holding);
        struct load_options options = load_of_large(&site, 700); /* a log and a database of 4 MiB, or of 8 */
        struct load *load = load_start(&options);
        struct load_result result = load_finish(load);
        check(result.ok > 50 && result.ok < result.sent && result.other == 503, "%zu fit, the others get 503, not %d",
              result.ok, result.other);
        CU_ASSERT(site_count_logged(&site, "a limit on the size of files is reached (ulimit -f") > 0);
        standin_heal(site.standin);
        check(standin_wait_messages(site.standin, result.ok, durable_patience(60000)), "all is delivered: %zu of %zu",
              standin_counts(site.standin).messages, result.ok);
        check_resumes(&site);
        CU_ASSERT(durable_wait_empty(&site, durable_patience(60000)));
        CU_ASSERT_EQUAL(load_count_arrived(load, site.standin, 1), result.ok);
        printf("(%zu fit) ", result.ok);
        load_free(load);
    }
    CU_ASSERT_EQUAL(site_close(&site), 0);
}

/* ---- a directory that cannot be written ---- */

static void read_only_directory(void)
{
    struct site site;
    char state[PATH_SIZE];
    if (durable_open(&site, &setup_lighttpd_spawn, NULL)) {
        path_join(state, site.directory, "state");
        standin_fail(site.standin, &holding);
        struct load_options options = durable_load(&site);
        options.count = 500;
        struct load *load = load_start(&options);
        struct load_result result = load_finish(load);
        CU_ASSERT_EQUAL(result.ok, result.sent);
        CU_ASSERT_EQUAL(chmod(state, 0500), 0);
        CU_ASSERT(durable_start_anew(&site, NULL));
        check_refused(&site);
        check(site_wait_logged(&site, "cannot write into the state directory", 1, durable_patience(60000)),
              "the log says what is wrong");
        standin_heal(site.standin);
        CU_ASSERT_EQUAL(chmod(state, 0700), 0);
        check_resumes(&site);
        CU_ASSERT(durable_wait_empty(&site, durable_patience(60000)));
        durable_check_delivered(&site, load, (struct load_result){.sent = result.sent + 1000, .ok = result.ok});
        load_free(load);
    }
    CU_ASSERT_EQUAL(site_close(&site), 0);
}

/* ---- a damaged database ---- */

/* Numbers of events, of the prefix ev. */
struct numbers {
    size_t at[IDS_IN_PAGES];
    size_t count;
};

static bool has_number(const struct numbers *numbers, size_t number)
{
    for (size_t i = 0; i < numbers->count; i++) {
        if (numbers->at[i] == number)
            return true;
    }
    return false;
}

/* The events in a page. */
static void note_events(const char *page, struct numbers *numbers)
{
    static const char before[] = "\"id\":\"ev_";
    const char *found;
    for (size_t at = 0; at < PAGE && (found = memmem(page + at, PAGE - at, before, strlen(before))) != NULL;
         at = (size_t)(found - page) + 1) {
        if (numbers->count < IDS_IN_PAGES)
            numbers->at[numbers->count++] = strtoul(found + strlen(before), NULL, 10);
    }
}

/* Whether the log has a newer version of a page (from 0): frames count as long as they have the salt of its head. */
static bool is_in_log(const char *log_path, long page)
{
    unsigned char head[32], frame[24];
    bool found = false;
    FILE *log = fopen(log_path, "re");
    if (log != NULL && fread(head, sizeof head, 1, log) == 1) {
        while (!found && fread(frame, sizeof frame, 1, log) == 1 && memcmp(frame + 8, head + 16, 8) == 0) {
            long number = (long)frame[0] << 24 | (long)frame[1] << 16 | (long)frame[2] << 8 | (long)frame[3];
            found = number == page + 1;
            fseek(log, PAGE, SEEK_CUR);
        }
    }
    if (log != NULL)
        fclose(log);
    return found;
}

/* Overwrites some pages full of events, in the first third of the database; what stood there is noted. */
static size_t damage(const char *path, const char *log, struct numbers *lost)
{
    static char page[PAGE];
    size_t damaged = 0;
    FILE *file = fopen(path, "r+e");
    CU_ASSERT_PTR_NOT_NULL_FATAL(file);
    fseek(file, 0, SEEK_END);
    long pages = ftell(file) / PAGE;
    for (long i = pages / 6; i < pages / 3 && damaged < PAGES_DAMAGED; i++) {
        fseek(file, i * PAGE, SEEK_SET);
        if (fread(page, PAGE, 1, file) != 1 || page[0] != 0x0d /* a leaf of a table */ || is_in_log(log, i))
            continue;
        size_t before = lost->count;
        note_events(page, lost);
        if (lost->count == before)
            continue;
        memset(page, 0x55, sizeof page);
        fseek(file, i * PAGE, SEEK_SET);
        damaged += fwrite(page, PAGE, 1, file);
    }
    fclose(file);
    return damaged;
}

/* What was answered 200, did not arrive, and did not stand in a damaged page either. */
static size_t count_missing(const struct load *load, struct standin *standin, size_t sent, const char *prefix,
                            const struct numbers *lost, size_t *gone)
{
    size_t missing = 0;
    *gone = 0;
    for (size_t i = 0; i < sent; i++) {
        char id[64];
        snprintf(id, sizeof id, "%s_%zu", prefix, i);
        if (load_status(load, i) != 200 || standin_find(standin, id) != NULL)
            continue;
        if (lost != NULL && has_number(lost, i))
            ++*gone;
        else
            missing++;
    }
    return missing;
}

/* The sum of what the log says could not be read. */
static size_t logged_unreadable(const struct site *site)
{
    char *log = temporary_read(site->directory, "program.log");
    size_t sum = 0;
    for (const char *at = log; at != NULL && (at = strstr(at, "msg=queue_repaired")) != NULL; at++) {
        const char *number = strstr(at, "unreadable=");
        sum += number == NULL ? 0 : strtoul(number + strlen("unreadable="), NULL, 10);
    }
    free(log);
    return sum;
}

static void damaged_under_load(void)
{
    struct site site;
    char database[PATH_SIZE], log[PATH_SIZE];
    struct numbers lost = {.count = 0};
    if (durable_open(&site, &setup_lighttpd_spawn, NULL)) {
        path_join(database, site.directory, "state/queue.db");
        path_join(log, site.directory, "state/queue.db-wal");
        standin_fail(site.standin, &holding);
        struct load_options options = durable_load(&site), during = options;
        options.count = 3000;
        during.prefix = "during";
        during.pause_ms = 5;
        struct load *load = load_start(&options);
        struct load_result result = load_finish(load);
        CU_ASSERT_EQUAL(result.ok, result.sent);
        CU_ASSERT(durable_start_anew(&site, NULL)); /* the log begins anew */
        CU_ASSERT(site_wait_logged(&site, "msg=forwards", 2, durable_patience(60000)));
        poll(NULL, 0, 500);

        struct load *meanwhile = load_start(&during);
        CU_ASSERT(load_wait(meanwhile, 200, durable_patience(60000)));
        CU_ASSERT_EQUAL(damage(database, log, &lost), PAGES_DAMAGED);
        CU_ASSERT(load_wait(meanwhile, 400, durable_patience(60000)));
        CU_ASSERT(durable_start_anew(&site, NULL));
        standin_heal(site.standin);
        check(site_wait_logged(&site, "msg=queue_repaired", 1, durable_patience(60000)), "it is repaired");
        check_resumes(&site);
        load_stop(meanwhile);
        struct load_result second = load_finish(meanwhile);

        size_t gone, none;
        moment deadline = clock_now() + durable_patience(60000);
        while (count_missing(meanwhile, site.standin, second.sent, "during", NULL, &none) > 0 && clock_now() < deadline)
            poll(NULL, 0, 50);
        size_t missing = count_missing(load, site.standin, result.sent, "ev", &lost, &gone);
        check(missing == 0, "%zu are missing that could be read", missing);
        missing = count_missing(meanwhile, site.standin, second.sent, "during", NULL, &none);
        check(missing == 0, "%zu of %zu are missing that came during it", missing, second.ok);
        size_t unreadable = logged_unreadable(&site);
        printf("(%zu stood in damaged pages, %zu of them are gone, %zu unreadable by the log) ", lost.count, gone,
               unreadable);
        check(unreadable >= gone, "the log says how many could not be read: %zu of %zu", unreadable, gone);
        CU_ASSERT_EQUAL(load_count_altered(load, site.standin, ALPHA_WRITE_KEY), 0);
        durable_wait_empty(&site, durable_patience(60000)); /* what has arrived is settled afterwards */
        struct counts counts = durable_counts(&site, "alpha");
        check(counts.waiting == 0, "what is lost does not wait: %llu", (unsigned long long)counts.waiting);
        load_free(load);
        load_free(meanwhile);
    }
    site_close(&site);
}

void suite_durable_disk(void)
{
    static CU_TestInfo tests[] = {
        {"a disk that the queue itself fills", filled_by_the_queue},
        {"a disk that the database fills", filled_by_the_database},
        {"a disk that another file fills", filled_by_another_file},
        {"a full disk, and SIGKILL", full_and_killed},
        {"large events on a full disk", large_events_on_a_full_disk},
        {"a limit on the size of files", a_limit_on_the_size_of_files},
        {"a directory that cannot be written", read_only_directory},
        {"a database that is damaged under load", damaged_under_load},
        CU_TEST_INFO_NULL,
    };
    suite_add("durable disk", NULL, NULL, tests);
}
