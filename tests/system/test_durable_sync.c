/* Synced before 200: what survives SIGKILL may still not survive a power cut, so the order of the system calls is
 * looked at: record written, log synced, answer written; and for a new database its names synced before. */
#include "tests/suites.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "tests/support/check.h"
#include "tests/support/durable.h"
#include "tests/support/trace.h"

#define ALONE 20
#define TOGETHER 200

/* The paths that matter, of one site. */
struct paths {
    char directory[PATH_SIZE], state[PATH_SIZE], database[PATH_SIZE], log[PATH_SIZE];
};

static void find_paths(const struct site *site, struct paths *paths)
{
    snprintf(paths->directory, sizeof paths->directory, "%s", site->directory);
    path_join(paths->state, site->directory, "state");
    path_join(paths->database, paths->state, "queue.db");
    path_join(paths->log, paths->state, "queue.db-wal");
}

/* The first call of the program that reads the event from the web server. */
static const struct trace_call *find_request(const struct trace *trace, const char *id)
{
    for (size_t i = 0; i < trace->count; i++) {
        const struct trace_call *call = &trace->calls[i];
        if (trace_is(call, "read") && call->end > 0 && trace_has(call, id))
            return call;
    }
    return NULL;
}

/* The answer 200 on the same descriptor. */
static const struct trace_call *find_answer(const struct trace *trace, const struct trace_call *request)
{
    for (const struct trace_call *call = request + 1; call < trace->calls + trace->count; call++) {
        if (call->begin <= request->end || call->fd != request->fd)
            continue;
        if (trace_is(call, "close"))
            return NULL;
        if ((trace_is(call, "write") || trace_is(call, "writev") || trace_is(call, "sendto")) &&
            trace_has(call, "Status: 200"))
            return call;
    }
    return NULL;
}

/* Where the event is written into the log. */
static const struct trace_call *find_record(const struct trace_call *request, const struct trace_call *answer,
                                            const char *id, const char *log)
{
    for (const struct trace_call *call = request + 1; call < answer; call++) {
        if (trace_is(call, "pwrite64") && trace_is_at(call, log) && call->begin > request->end && trace_has(call, id))
            return call;
    }
    return NULL;
}

/* The sync of that thread's commit: begun after the last of its writes into the log, and good. The commit's writes are
 * those of the same thread up to its next sync. */
static const struct trace_call *find_sync(const struct trace *trace, const struct trace_call *record, const char *log)
{
    const struct trace_call *last = record;
    for (const struct trace_call *call = record + 1; call < trace->calls + trace->count; call++) {
        if (call->thread != record->thread)
            continue;
        if (trace_is(call, "pwrite64") && trace_is_at(call, log))
            last = call;
        else if (trace_is_sync(call, log))
            return call->begin > last->end ? call : NULL;
    }
    return NULL;
}

/* Returns whether all is in order for one event that was answered 200; else says what is not. */
static bool check_event(const struct trace *trace, const struct paths *paths, const char *event)
{
    char id[64];
    snprintf(id, sizeof id, "%s\\\"", event); /* with the quote behind it, as strace spells it */
    const struct trace_call *request = find_request(trace, id);
    if (!check(request != NULL, "%s: the program reads it", event))
        return false;
    const struct trace_call *answer = find_answer(trace, request);
    if (!check(answer != NULL, "%s: the program answers", event))
        return false;
    const struct trace_call *record = find_record(request, answer, id, paths->log);
    if (!check(record != NULL, "%s: it is written into the log before the answer", event))
        return false;
    const struct trace_call *sync = find_sync(trace, record, paths->log);
    return check(sync != NULL && sync->end < answer->begin,
                 "%s: read in line %zu, written in %zu, synced in %zu to %zu, answered in %zu", event, request->end,
                 record->end, sync == NULL ? 0 : sync->begin, sync == NULL ? 0 : sync->end, answer->begin);
}

static size_t check_events(const struct trace *trace, const struct paths *paths, const char *prefix, size_t count)
{
    size_t good = 0;
    for (size_t i = 0; i < count; i++) {
        char id[32];
        snprintf(id, sizeof id, "%s_%zu", prefix, i);
        good += check_event(trace, paths, id);
    }
    return good;
}

/* The call that made a file or directory, or gave it its name; an argument is the path. */
static const struct trace_call *find_making(const struct trace *trace, const char *path)
{
    char quoted[PATH_SIZE + 2];
    snprintf(quoted, sizeof quoted, "\"%s\"", path);
    for (size_t i = 0; i < trace->count; i++) {
        const struct trace_call *call = &trace->calls[i];
        bool makes = trace_is(call, "mkdir") || trace_is(call, "link") || trace_is(call, "linkat") ||
                     (trace_is(call, "openat") && trace_has(call, "O_CREAT"));
        if (makes && call->end > 0 && call->result >= 0 && trace_has(call, quoted))
            return call;
    }
    return NULL;
}

/* Its name was synced after it was made and before the first answer. */
static void check_name(const struct trace *trace, const char *path, const char *in, const struct trace_call *answer)
{
    const struct trace_call *making = find_making(trace, path), *synced = NULL;
    if (!check(making != NULL, "%s is made", path))
        return;
    for (const struct trace_call *call = making + 1; call < answer && synced == NULL; call++) {
        if (trace_is_sync(call, in) && call->begin > making->end && call->end < answer->begin)
            synced = call;
    }
    check(synced != NULL, "%s, made in line %zu: %s is synced before the first answer in line %zu", path, making->end,
          in, answer->begin);
}

static void check_names(const struct trace *trace, const struct paths *paths)
{
    const struct trace_call *request = find_request(trace, "alone_0\\\"");
    const struct trace_call *answer = request == NULL ? NULL : find_answer(trace, request);
    if (!check(answer != NULL, "the first event is answered"))
        return;
    check_name(trace, paths->state, paths->directory, answer);
    check_name(trace, paths->database, paths->state, answer);
    check_name(trace, paths->log, paths->state, answer);
}

static void send_load(const struct site *site, const char *prefix, size_t count, size_t connections)
{
    struct load_options options = durable_load(site);
    options.prefix = prefix;
    options.count = count;
    options.connections = connections;
    options.filler = prefix[0] == 't' ? 1300 : 0;
    struct load *load = load_start(&options);
    struct load_result result = load_finish(load);
    CU_ASSERT_EQUAL(result.ok, count);
    load_free(load);
}

/* strace itself would leave at a SIGTERM: the program must end, then strace does. */
static void stop_traced(struct site *site)
{
    pid_t pids[DURABLE_PROCESSES];
    int status = -1;
    CU_ASSERT_EQUAL_FATAL(durable_processes(site, pids), 1);
    durable_signal(pids[0], SIGTERM);
    CU_ASSERT(process_wait(&site->program, durable_patience(60000), &status));
    CU_ASSERT_EQUAL(status, 0);
}

static void synced_before_the_answer(void)
{
    struct site site;
    struct trace trace = {.text = NULL};
    struct paths paths = {"", "", "", ""};
    char file[PATH_SIZE];
    size_t together = durable_share(TOGETHER);
    if (durable_open(&site, &setup_apache_proxy, NULL)) {
        find_paths(&site, &paths);
        path_join(file, site.directory, "trace");
        process_stop(&site.program, 10000);
        temporary_remove(paths.state); /* what follows begins with nothing */
        path_join(file, site.directory, "closecrm.conf.state_dir");
        unlink(file);
        path_join(file, site.directory, "trace");
        CU_ASSERT(durable_start_anew(&site, trace_wrapper(file)));
        send_load(&site, "alone", ALONE, 1);
        send_load(&site, "together", together, 16);
        CU_ASSERT(durable_wait_empty(&site, durable_patience(60000)));
        stop_traced(&site);
        if (check(trace_read(&trace, site.directory, "trace"),
                  "strace works here: without ptrace this cannot be shown")) {
            check_names(&trace, &paths);
            CU_ASSERT_EQUAL(check_events(&trace, &paths, "alone", ALONE), ALONE);
            CU_ASSERT_EQUAL(check_events(&trace, &paths, "together", together), together);
            printf("(%zu events, %zu system calls) ", ALONE + together, trace.count);
        }
        trace_free(&trace);
    }
    CU_ASSERT_EQUAL(site_close(&site), 0);
}

void suite_durable_sync(void)
{
    static CU_TestInfo tests[] = {
        {"synced before 200, in a new database too", synced_before_the_answer},
        CU_TEST_INFO_NULL,
    };
    suite_add("durable sync", NULL, NULL, tests);
}
