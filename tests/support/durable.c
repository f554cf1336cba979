/* The durable queue's tests: sites, scale, processes. What looks into the queue is in kept.c. */
#include "tests/support/durable.h"

#include <CUnit/CUnit.h>
#include <dirent.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "tests/support/check.h"
#include "tests/support/postgresql.h"

/* "process PID", of what has the consumer lock of the source alpha. */
#define COUNTED_MS 5000
#define OWNER                                                                                                          \
    "SELECT 'process ' || split_part(application_name, ' ', 3) FROM pg_locks l JOIN pg_stat_activity a USING (pid)"    \
    " WHERE locktype = 'advisory' AND granted AND datname = current_database()"                                        \
    " AND objid::int8 = 16 + (SELECT number FROM closecrm.source WHERE name = 'alpha')"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SHARE 20
#define PATIENCE 4
#else
#define SHARE 100
#define PATIENCE 1
#endif

size_t durable_share(size_t full)
{
    const char *text = getenv("CLOSECRM_TEST_SHARE");
    size_t share = text != NULL && *text != '\0' ? strtoul(text, NULL, 10) : SHARE;
    size_t part = full * share / 100;
    return part > 0 ? part : 1;
}

int64_t durable_patience(int64_t ms)
{
    return ms * PATIENCE;
}

/* ---- which queue: a suite's process has one kind ---- */

static struct postgresql server;
static char url[POSTGRESQL_URL]; /* of the last site's database */

int durable_use_postgresql(void)
{
    return !postgresql_start(&server, "");
}

int durable_end_postgresql(void)
{
    postgresql_stop(&server);
    return 0;
}

bool durable_is_postgresql(void)
{
    return server.directory[0] != '\0';
}

bool durable_looks_again(moment deadline)
{
    return durable_is_postgresql() && clock_now() < deadline && poll(NULL, 0, 100) == 0;
}

void durable_lose_key(const char *subscription)
{
    char sql[300];
    snprintf(sql, sizeof sql,
             "DELETE FROM closecrm.kept WHERE path LIKE 'keys/%%-%s.key';"
             " UPDATE closecrm.kept SET version = version + 1 WHERE path = ''",
             subscription);
    if (durable_is_postgresql())
        free(postgresql_run(url, sql));
}

const char *durable_queue_lines(void)
{
    static char lines[POSTGRESQL_URL + 64];
    if (!durable_is_postgresql())
        return "queue = sqlite\n";
    snprintf(lines, sizeof lines, "queue = postgresql\nqueue_url = %s\nconfine = yes\n", url);
    return lines;
}

void durable_queue_config(struct config *config)
{
    config->queue = durable_is_postgresql() ? QUEUE_POSTGRESQL : QUEUE_SQLITE;
    config->queue_url = url;
}

static const char *with_queue(const char *more, char lines[2048])
{
    snprintf(lines, 2048, "%s%s", durable_queue_lines(), more == NULL ? "" : more);
    return lines;
}

bool durable_new_queue(void)
{
    return !durable_is_postgresql() || check(postgresql_database(&server, url), "a database is made");
}

bool durable_open(struct site *site, const struct setup *setup, const char *more)
{
    char lines[2048];
    if (!durable_new_queue())
        return false;
    return site_open(site, setup, with_queue(more, lines));
}

/* What durable_many tells; spawn-fcgi wants a whole path. */
static const char *many[] = {
    "/bin/sh", "-c",
    "n=$0; exec 3<&0; while [ $n -gt 1 ]; do \"$@\" <&3 3<&- & n=$((n - 1)); done; exec \"$@\" <&3 3<&-", NULL, NULL};

bool durable_start_anew(struct site *site, const char *const *wrapper)
{
    process_stop(&site->program, durable_patience(60000));
    site->wrapper = wrapper;
    size_t opened = site_opened(site);
    if (!site_spawn(site))
        return false;
    site_wait_opened(site, opened + (wrapper == many ? strtoul(many[3], NULL, 10) : 1));
    return true;
}

void durable_configure(struct site *site, const char *more)
{
    char lines[2048];
    site_configure(site, with_queue(more, lines));
}

struct load_options durable_load(const struct site *site)
{
    return (struct load_options){.url = site->url,
                                 .signature_key = ALPHA_SIGNATURE_KEY,
                                 .prefix = "ev",
                                 .count = 400000,
                                 .connections = 16,
                                 .marked = LOAD_NONE};
}

void durable_check_delivered(struct site *site, struct load *load, struct load_result result)
{
    struct standin_counts counts = standin_counts(site->standin);
    size_t arrived = load_count_arrived(load, site->standin, 0);
    size_t altered = load_count_altered(load, site->standin, ALPHA_WRITE_KEY);
    printf("(%zu of %zu answered 200, the slowest after %lld ms; %zu messages, %zu of them sent twice) ", result.ok,
           result.sent, (long long)result.slowest, counts.messages, counts.repeated);
    check(arrived == result.ok, "of %zu that were answered 200, %zu arrived unaltered", result.ok, arrived);
    check(altered == 0, "%zu of %zu messages are altered", altered, counts.messages);
    check(counts.messages - counts.repeated <= result.sent, "no message is there that was never sent");
}

struct counts durable_check_counted(const struct site *site)
{
    struct counts counts;
    size_t distinct;
    moment until = clock_now() + durable_patience(COUNTED_MS);
    do {
        struct standin_counts received = standin_counts(site->standin);
        distinct = received.messages - received.repeated;
        counts = durable_counts(site, NULL);
    } while (counts.delivered != distinct && clock_now() < until);
    check(counts.delivered == distinct, "the queue counts %llu delivered, the data plane %zu",
          (unsigned long long)counts.delivered, distinct);
    return counts;
}

int durable_command(const struct site *site, const char *name, const char *argument)
{
    char program[PATH_SIZE], log[PATH_SIZE], config[PATH_SIZE * 2];
    site_program(site, program);
    path_join(log, site->directory, "command.log");
    snprintf(config, sizeof config, "CLOSECRM_CONFIG=%s/closecrm.conf", site->directory);
    const char *arguments[] = {program, name, argument, NULL};
    const char *environment[] = {config, NULL};
    struct process command = {0};
    int status = -1;
    bool ended = process_start(&command, &(struct process_options){arguments, environment, site->directory, log}) &&
                 process_wait(&command, 60000, &status);
    check(ended, "`%s` ends", name);
    process_stop(&command, 1000);
    return ended && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* Whether that process executes the program: a file of the site's own, so no other test's is meant. */
static bool executes(const char *pid, const char *program)
{
    char path[PATH_SIZE], target[PATH_SIZE * 2];
    snprintf(path, sizeof path, "/proc/%.20s/exe", pid);
    ssize_t length = readlink(path, target, sizeof target - 1);
    if (length <= 0)
        return false;
    target[length] = '\0';
    size_t wanted = strlen(program);
    return strncmp(target, program, wanted) == 0 && (target[wanted] == '\0' || target[wanted] == ' '); /* (deleted) */
}

size_t durable_processes(const struct site *site, pid_t pids[DURABLE_PROCESSES])
{
    char program[PATH_SIZE];
    size_t count = 0;
    site_program(site, program);
    DIR *processes = opendir("/proc");
    for (struct dirent *entry; processes != NULL && (entry = readdir(processes)) != NULL;) {
        char *end;
        long pid = strtol(entry->d_name, &end, 10);
        if (pid > 0 && *end == '\0' && count < DURABLE_PROCESSES && executes(entry->d_name, program))
            pids[count++] = (pid_t)pid;
    }
    if (processes != NULL)
        closedir(processes);
    return count;
}

size_t durable_kill_all(const struct site *site)
{
    pid_t pids[DURABLE_PROCESSES];
    size_t killed = 0;
    moment deadline = clock_now() + 10000;
    for (size_t count; (count = durable_processes(site, pids)) > 0 && clock_now() < deadline;) {
        killed = count > killed ? count : killed;
        for (size_t i = 0; i < count; i++)
            kill(pids[i], SIGKILL);
        poll(NULL, 0, 1);
    }
    return killed;
}

void durable_signal(pid_t pid, int signal)
{
    if (check(pid > 0, "there is a process to be sent signal %d", signal))
        kill(pid, signal);
}

static bool lives(const struct site *site, pid_t pid)
{
    pid_t pids[DURABLE_PROCESSES];
    size_t count = durable_processes(site, pids);
    for (size_t i = 0; i < count; i++) {
        if (pids[i] == pid)
            return true;
    }
    return false;
}

pid_t durable_forwarder(const struct site *site)
{
    moment deadline = clock_now() + durable_patience(60000);
    while (clock_now() < deadline) {
        char *beat = server.directory[0] == '\0' ? temporary_read(site->directory, "state/forward.beat")
                                                 : postgresql_run(url, OWNER);
        char *text = beat == NULL ? NULL : strrchr(beat, ' ');
        pid_t pid = text == NULL ? 0 : (pid_t)strtol(text, NULL, 10);
        free(beat);
        if (pid > 0 && lives(site, pid))
            return pid;
        poll(NULL, 0, 10);
    }
    return 0;
}

/* A shell gives what it starts in the background another stdin: hence descriptor 3. */
const char *const *durable_many(const char *count)
{
    many[3] = count;
    return many;
}
