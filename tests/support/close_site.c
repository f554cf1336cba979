/* A site with Close at its other end: see close_site.h. */
#include "tests/support/close_site.h"

#include <CUnit/CUnit.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/check.h"
#include "tests/support/commands_run.h"
#include "tests/support/durable.h"

#define COMMAND_MS 600000

void close_site_configure(struct close_site *site, const char *key, const char *url, const char *more)
{
    char text[4096];
    int length = snprintf(text, sizeof text,
                          "data_plane_url = http://127.0.0.1:%u\nwrite_key = " ALPHA_WRITE_KEY "\n"
                          "close_api_key = %s\nclose_api_url = %s\nreconcile_interval = %s\n%s%s\n",
                          site->site.standin_port, key == NULL ? CLOSE_API_KEY : key,
                          url == NULL ? standin_close_url(site->close) : url, site->reconciles ? "1m" : "0s",
                          durable_is_postgresql() ? durable_queue_lines() : "", more == NULL ? "" : more);
    CU_ASSERT(temporary_write(site->site.directory, "closecrm.conf", 0600, text, (size_t)length));
}

/* The directory is the program's user's, and nobody else's. */
static bool make_state(const struct close_site *site)
{
    char path[PATH_SIZE];
    path_join(path, site->site.directory, "state");
    return (access(path, F_OK) == 0 || temporary_directory(site->site.directory, "state")) && chmod(path, 0700) == 0;
}

bool close_site_open(struct close_site *site, const struct setup *setup, const struct standin_close_options *options,
                     const char *more)
{
    *site = (struct close_site){.close = standin_close_start(options), .starts = 1};
    if (!durable_new_queue() || !site_open(&site->site, setup, NULL))
        return false;
    if (setup->spawned)
        close_site_stop_program(site);
    close_site_configure(site, NULL, NULL, more);
    return check(make_state(site), "a state directory can be made") &&
           (!setup->spawned || close_site_start_program(site));
}

void close_site_close(struct close_site *site)
{
    unsigned failures = CU_get_number_of_failure_records();
    if (site->said[0] != '\0' && failures > site->site.failures_before)
        printf("\n---- the last command: %s\n", site->said);
    site_close(&site->site);
    standin_close_stop(site->close);
}

const char *close_site_url(const struct close_site *site)
{
    return site->site.url;
}

void close_site_stop_program(struct close_site *site)
{
    CU_ASSERT(site_wait_logged(&site->site, "msg=started", site->starts,
                               60000)); /* before that a signal would just kill it */
    CU_ASSERT_EQUAL(process_stop(&site->site.program, 60000), 0);
}

bool close_site_start_program(struct close_site *site)
{
    site->starts++;
    size_t opened = site_opened(&site->site);
    if (!site_spawn(&site->site))
        return false;
    site_wait_opened(&site->site, opened + 1);
    return true;
}

bool close_site_start(struct close_site *site, struct process *process, const char *const *arguments)
{
    char program[PATH_SIZE], log[PATH_SIZE], config[PATH_SIZE + 32];
    const char *all[24] = {program};
    const char *environment[] = {strcmp(arguments[0], "--config") == 0 ? NULL : config, NULL}; /* an advice, typed */
    site_program(&site->site, program);
    path_join(log, site->site.directory, "command.log");
    snprintf(config, sizeof config, "CLOSECRM_CONFIG=%s/closecrm.conf", site->site.directory);
    for (size_t i = 0; i < 22 && arguments[i] != NULL; i++)
        all[i + 1] = arguments[i];
    unlink(log);
    const struct process_options options = {all, environment, site->site.directory, log};
    return check(process_start(process, &options), "%s starts", arguments[0]);
}

bool close_site_advises(const struct close_site *site, const char *words)
{
    char command[2 * PATH_SIZE];
    snprintf(command, sizeof command, "closecrm.fcgi --config %s/closecrm.conf %.200s", site->site.directory, words);
    return strstr(site->said, command) != NULL;
}

static void keep_words(struct close_site *site)
{
    char *log = temporary_read(site->site.directory, "command.log");
    snprintf(site->said, sizeof site->said, "%s", log == NULL ? "" : log);
    free(log);
}

int close_site_run(struct close_site *site, const char *const *arguments)
{
    struct process process = {0};
    int status = 0;
    if (!close_site_start(site, &process, arguments))
        return -1;
    if (!process_wait(&process, COMMAND_MS, &status)) {
        process_stop(&process, 1000);
        check(false, "%s ends", arguments[0]);
        return -1;
    }
    keep_words(site);
    if (WIFEXITED(status) && WEXITSTATUS(status) != 2) /* usage */
        check_advice(site->said, "", arguments[0]);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

void close_site_add(struct close_site *site, const char *prefix, size_t first, size_t count)
{
    for (size_t i = first; i < first + count; i++) {
        char id[40], lead[40];
        snprintf(id, sizeof id, "%s_%zu", prefix, i);
        snprintf(lead, sizeof lead, "lead_%zu", i % 7);
        standin_close_add(site->close, &(struct close_event){.id = id, .lead = lead});
    }
}

bool close_site_arrived(struct close_site *site, const char *id, const char *subscription)
{
    struct buffer wanted = {.data = NULL};
    const struct standin_message *message = standin_find(site->site.standin, id);
    if (message == NULL || message->times != 1)
        return false;
    standin_close_properties(site->close, id, subscription, &wanted);
    bool same = slice_equal(slice_member(message->json, "properties"), (struct slice){wanted.data, wanted.length});
    buffer_free(&wanted);
    return same;
}

size_t close_site_keys(const struct close_site *site)
{
    char path[PATH_SIZE];
    size_t count = 0;
    path_join(path, site->site.directory, "state/keys");
    DIR *directory = opendir(path);
    for (const struct dirent *entry; directory != NULL && (entry = readdir(directory)) != NULL;)
        count += strlen(entry->d_name) > 4 && strcmp(entry->d_name + strlen(entry->d_name) - 4, ".key") == 0;
    if (directory != NULL)
        closedir(directory);
    return count;
}
