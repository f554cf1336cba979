/* The program beside the web server: see running.h. */
#include "tests/support/running.h"

#include <dirent.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/event.h"
#include "tests/support/signature.h"

#define ENDS_MS 10000 /* after SIGKILL */

#define COMMAND_MS 120000
#define WORDS_MOST 8

bool command_start_words(struct process *process, const struct site *site, const char *log, const char *const *words)
{
    char program[PATH_SIZE], config[PATH_SIZE], path[PATH_SIZE], variable[PATH_SIZE + 32];
    site_program(site, program);
    path_join(config, site->directory, "closecrm.conf");
    path_join(path, site->directory, log);
    snprintf(variable, sizeof variable, "CLOSECRM_CONFIG=%s", config);
    const char *arguments[1 + WORDS_MOST + 1] = {program};
    const char *environment[] = {variable, NULL};
    for (size_t i = 0; i < WORDS_MOST && words[i] != NULL; i++)
        arguments[1 + i] = words[i];
    remove(path);
    return process_start(process, &(struct process_options){arguments, environment, site->directory, path});
}

bool command_start(struct process *process, const struct site *site, const char *log, const char *name,
                   const char *option)
{
    const char *const words[] = {name, option, NULL};
    return command_start_words(process, site, log, words);
}

struct output command_finish(struct process *process, const struct site *site, const char *log)
{
    struct output output = {.code = -1};
    int status;
    if (process_wait(process, COMMAND_MS, &status) && WIFEXITED(status))
        output.code = WEXITSTATUS(status);
    char *text = temporary_read(site->directory, log);
    snprintf(output.text, sizeof output.text, "%s", text == NULL ? "" : text);
    free(text);
    return output;
}

struct output command_output(const struct site *site, const char *name, const char *option)
{
    struct process process = {0};
    command_start(&process, site, "command.log", name, option);
    return command_finish(&process, site, "command.log");
}

struct client_answer site_send_body(const struct site *site, struct slice body)
{
    char url[160];
    struct client_answer answer;
    snprintf(url, sizeof url, "%s/alpha", site->url);
    struct signature signature = signature_make(ALPHA_SIGNATURE_KEY, body, 0);
    struct client_request request = {.url = url, .headers = {signature.hash, signature.timestamp}, .body = body};
    client_send(site->client, &request, &answer);
    return answer;
}

struct client_answer site_send(const struct site *site, const char *id)
{
    struct event_text event = {.body = {.data = NULL}};
    event_make(&event, &(struct event_options){.id = id});
    struct client_answer answer = site_send_body(site, event_body(&event));
    event_free(&event);
    return answer;
}

/* Whether a process, named by /proc's directory, runs the program. */
static bool runs(const char *process, const char *program)
{
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/%.20s/exe", process);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0)
        return false;
    path[length] = '\0';
    return strcmp(path, program) == 0;
}

/* Whether /proc's line tells of a zombie that was its last thread, or of nothing. The first thread may be a zombie
 * before the others are. */
static bool has_ended(const char *line)
{
    char state;
    int threads;
    const char *name_ends = strrchr(line, ')');
    if (name_ends == NULL ||
        sscanf(name_ends, ") %c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %d", &state,
               &threads) != 2)
        return true;
    return (state == 'Z' || state == 'X') && threads <= 1;
}

/* A killed process that is about to end no longer says what it executes, and still has its locks: only when it is a
 * zombie, or is gone, it has none. */
static void wait_for_end(pid_t pid)
{
    char path[64], text[512];
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    for (moment deadline = clock_now() + ENDS_MS; clock_now() < deadline; poll(NULL, 0, 1)) {
        FILE *file = fopen(path, "re");
        size_t length = file == NULL ? 0 : fread(text, 1, sizeof text - 1, file);
        if (file != NULL)
            fclose(file);
        text[length] = '\0';
        if (has_ended(text))
            return;
    }
}

/* Sends a signal (0: none) to all that run it; after SIGKILL waits for their ends. Returns how many. */
static size_t signal_all(const struct site *site, int number)
{
    char program[PATH_SIZE], real[PATH_MAX];
    size_t count = 0;
    site_program(site, program);
    DIR *directory = opendir("/proc");
    if (directory == NULL || realpath(program, real) == NULL)
        abort();
    for (struct dirent *entry; (entry = readdir(directory)) != NULL;) {
        long pid = strtol(entry->d_name, NULL, 10);
        if (pid <= 0 || !runs(entry->d_name, real))
            continue;
        bool sent = kill((pid_t)pid, number) == 0;
        if (sent && number == SIGKILL)
            wait_for_end((pid_t)pid);
        count += sent;
    }
    closedir(directory);
    return count;
}

size_t programs_kill(const struct site *site)
{
    return signal_all(site, SIGKILL);
}

bool programs_wait_gone(const struct site *site, int64_t ms)
{
    moment deadline = clock_now() + ms;
    while (signal_all(site, 0) > 0) {
        if (clock_now() > deadline)
            return false;
        poll(NULL, 0, 10);
    }
    return true;
}
