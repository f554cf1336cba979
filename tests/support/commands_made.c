/* A queue for commands: see commands_made.h. */
#include "tests/support/commands_made.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/support/durable.h"
#include "tests/support/temporary.h"

#define PATIENCE_MS 60000

static char directory[PATH_SIZE], state[PATH_SIZE];
static struct config *config;
static int opened; /* queues that use it */ /* of the queue that is open */

static void must(bool good, const char *what)
{
    if (!good) {
        fprintf(stderr, "%s\n", what);
        abort();
    }
}

void made_configure(const char *text)
{
    char *whole = NULL;
    int length = asprintf(&whole, "%s%s", durable_is_postgresql() ? durable_queue_lines() : "", text);
    must(length > 0 && temporary_write(directory, "closecrm.conf", 0600, whole, (size_t)length),
         "cannot write closecrm.conf");
    free(whole);
}

void made_begin(void)
{
    char path[PATH_SIZE];
    must(temporary_make(directory), "cannot make a directory");
    path_join(path, directory, "closecrm.conf");
    path_join(state, directory, "state");
    must(durable_new_queue(), "cannot make a database");
    made_configure(MADE_TEXT);
    must(setenv("CLOSECRM_CONFIG", path, 1) == 0, "setenv");
    must(temporary_directory(directory, "state"), "cannot make the state directory");
    must(chmod(state, 0700) == 0 && chown(state, geteuid(), getegid()) == 0, "cannot make it private");
    made_close(made_open());
}

void made_end(void)
{
    unsetenv("CLOSECRM_CONFIG");
    temporary_remove(directory);
}

const char *made_advice(const char *before, const char *words)
{
    static char text[PATH_SIZE + 640];
    snprintf(text, sizeof text, "%.250sclosecrm.fcgi --config %s/closecrm.conf %.250s", before, directory, words);
    return text;
}

const char *made_state(void)
{
    return state;
}

struct queue *made_open(void)
{
    static char *const nothing[] = {NULL};
    struct error why = {0};
    if (opened++ == 0)
        config = config_read(getenv("CLOSECRM_CONFIG"), nothing, &why);
    struct queue *queue = config == NULL ? NULL : queue_open(config, &why);
    must(queue != NULL, why.text);
    return queue;
}

void made_close(struct queue *queue)
{
    queue_close(queue);
    if (--opened > 0)
        return;
    config_free(config);
    config = NULL;
}

const char *made_event(char out[static 512], const char *type, const char *action, const char *id, const char *lead)
{
    snprintf(out, 512,
             "{\"event\": {\"id\": \"%s\", \"lead_id\": \"%s\", \"object_type\": \"%s\", \"action\": \"%s\", "
             "\"date_updated\": \"2026-01-15T12:48:23.395000\", \"data\": {\"note\": null, \"value\": 1.10, "
             "\"secret\": \"Mrs. Secret\"}, \"previous_data\": {\"secret\": \"Ms. Secret\"}, "
             "\"changed_fields\": []}, \"subscription_id\": \"whsub_1\"}",
             id, lead, type, action);
    return out;
}

static void append(struct queue *queue, const char *source, const char *body)
{
    struct error why = {0};
    must(queue_append(queue, source, body, strlen(body), clock_now() + PATIENCE_MS, &why) == QUEUE_STORED, why.text);
}

void made_append(const char *source, const char *body)
{
    struct queue *queue = made_open();
    append(queue, source, body);
    made_close(queue);
}

void made_settle(const char *source, const char *body, const char *reason)
{
    struct error why = {0};
    struct events found = {NULL, 0, 0, {NULL, 0, 0, false}};
    struct queue *queue = made_open();
    append(queue, source, body);
    must(queue_claim(queue, &why), why.text);
    uint64_t last = 0;
    while (queue_next(queue, source, last, 100, 1 << 20, &found, &why) > 0)
        last = found.at[found.count - 1].id;
    struct verdict verdict = {
        .id = last, .kind = reason == NULL ? VERDICT_DELIVERED : VERDICT_DEAD, .reason = reason, .remember = false};
    must(queue_settle(queue, source, &verdict, 1, &why), why.text);
    events_free(&found);
    made_close(queue);
}

struct counts made_counts(const char *source)
{
    struct counts counts;
    struct error why = {0};
    struct queue *queue = made_open();
    must(queue_count(queue, source, &counts, &why), why.text);
    made_close(queue);
    return counts;
}
