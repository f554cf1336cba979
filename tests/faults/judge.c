/* The questions after a trial: see judge.h. */
#include "tests/faults/judge.h"

#include <dirent.h>
#include <json-c/json.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "tests/support/event.h"

#define PATIENCE_MS 60000
#define ARRIVE_MS 60000 /* back-off of a first failure is a second */

void judge_words(struct scene *scene)
{
    /* What an errno that is not set, or a text that is not there, is printed as. */
    static const char *const empty[] = {": Success", "not an error", "(null)", "Unknown error", "No error"};
    if (scene->code == 0 || scene->code < 0 || scene->code == 137)
        return;
    if (strspn(scene->said, " \n") == strlen(scene->said))
        scene_found(scene, "it failed (%d) and says nothing", scene->code);
    for (size_t i = 0; i < sizeof empty / sizeof *empty; i++) {
        if (strstr(scene->said, empty[i]) != NULL)
            scene_found(scene, "it says \"%s\": %.300s", empty[i], scene->said);
    }
}

bool judge_again(struct scene *scene, const char *const *words)
{
    int code = scene_run(scene, false, words);
    if (code != 0)
        scene_found(scene, "%s does not go through afterwards (%d): %.300s", words[0], code, scene->said);
    return code == 0;
}

/* `queue status --json`; the caller's to put. NULL, and a finding, when it cannot be had. */
static struct json_object *ask_status(struct scene *scene)
{
    if (SCENE_RUN(scene, false, "queue", "status", "--json") < 0)
        return NULL;
    const char *from = strchr(scene->said, '{');
    struct json_object *status = from == NULL ? NULL : json_tokener_parse(from);
    if (status == NULL)
        scene_found(scene, "queue status cannot tell: %.300s", scene->said);
    return status;
}

static int64_t number(struct json_object *status, const char *name)
{
    return json_object_get_int64(json_object_object_get(status, name));
}

static bool is_as_sent(struct scene *scene, const struct scene_event *event, const struct standin_message *message,
                       const char *subscription)
{
    struct event_text text = {.body = {.data = NULL}};
    struct slice arrived = slice_member(message->json, "properties");
    if (subscription == NULL)
        event_make(&text, &(struct event_options){.id = event->id, .lead = "lead_1", .filler = event->filler});
    else
        standin_close_properties(scene->close, event->id, subscription, &text.properties);
    bool same = slice_equal(arrived, event_properties(&text));
    event_free(&text);
    return same;
}

static void judge_arrived(struct scene *scene, const char *subscription)
{
    bool may_repeat = scene->plan->error == FAULT_KILL || calls[scene->plan->call].loses_answers;
    for (size_t i = 0; i < scene->events; i++) {
        const struct scene_event *event = &scene->event[i];
        const struct standin_message *message = standin_find(scene->standin, event->id);
        if (message == NULL && event->kept)
            scene_found(scene, "LOST: %s", event->id);
        if (message == NULL)
            continue;
        if (!is_as_sent(scene, event, message, subscription))
            scene_found(scene, "ALTERED: %s", event->id);
        scene->twice += message->times > 1;
        if (message->times > 1 && !may_repeat)
            scene_found(scene, "TWICE: %s came %zu times", event->id, message->times);
    }
}

/* Returns how many wait, or -1. */
static int64_t judge_counts(struct scene *scene, int dead)
{
    static const char *const ends[] = {"delivered", "duplicates", "dropped",   "waiting",
                                       "dead",      "ended",      "discarded", "lost"};
    int64_t sum = 0;
    struct json_object *status = ask_status(scene);
    if (status == NULL)
        return -1;
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        sum += number(status, ends[i]);
    int64_t waiting = number(status, "waiting");
    if (sum != number(status, "accepted"))
        scene_found(scene, "the counts do not agree: %.300s", scene->said);
    if (waiting == 0 && dead != ANY_NUMBER && number(status, "dead") != dead)
        scene_found(scene, "not %d dead letters: %.300s", dead, scene->said);
    json_object_put(status);
    return waiting;
}

/* Has everything delivered. What was tried in vain before has to wait for its time. */
static void judge_counts_in_the_end(struct scene *scene, int dead, bool is_over)
{
    moment deadline = clock_now() + PATIENCE_MS;
    int64_t waiting = is_over ? judge_counts(scene, dead) : 1;
    while (waiting > 0 && clock_now() < deadline) {
        if (SCENE_RUN(scene, false, "forward") != 0) {
            scene_found(scene, "forward does not go through afterwards: %.300s", scene->said);
            return;
        }
        waiting = judge_counts(scene, dead);
        if (waiting > 0)
            poll(NULL, 0, 100);
    }
    if (waiting > 0)
        scene_found(scene, "%lld events are not delivered", (long long)waiting);
}

static void judge(struct scene *scene, int dead, const char *subscription, bool is_over)
{
    judge_counts_in_the_end(scene, dead, is_over);
    JUDGE_AGAIN(scene, "queue", "check");
    judge_arrived(scene, subscription);
}

void judge_events(struct scene *scene, int dead, const char *subscription)
{
    judge(scene, dead, subscription, false);
}

static bool all_arrived(struct scene *scene, int dead)
{
    size_t arrived = 0;
    for (size_t i = 0; i < scene->events; i++)
        arrived += standin_find(scene->standin, scene->event[i].id) != NULL;
    return arrived + (size_t)dead >= scene->events;
}

/* Sends those again that were answered 200, or those that were not, until they are. */
static void send_again(struct scene *scene, bool kept)
{
    for (size_t i = 0; i < scene->events; i++) {
        struct scene_event *event = &scene->event[i];
        moment deadline = clock_now() + PATIENCE_MS;
        if (event->kept != kept)
            continue;
        while (scene_send(scene, event) != 200 && clock_now() < deadline)
            poll(NULL, 0, 50);
        if (event->status != 200)
            scene_found(scene, "%s is not taken afterwards: %d", event->id, event->status);
    }
}

/* What was answered 200 is sent again only when it has arrived: what was lost must not come back by that. */
void judge_server(struct scene *scene, int dead)
{
    if (scene->server.pid == 0)
        scene_start_server(scene, false);
    send_again(scene, false);
    for (moment deadline = clock_now() + ARRIVE_MS; !all_arrived(scene, dead) && clock_now() < deadline;)
        poll(NULL, 0, 3);
    if (!all_arrived(scene, dead))
        scene_found(scene, "LOST, or not delivered in %d s", ARRIVE_MS / 1000);
    send_again(scene, true);
    scene_stop_server(scene);
    judge(scene, dead, NULL, true);
}

/* Whether the key file of a subscription holds that key. */
static bool is_held(struct scene *scene, const char *id, const char *key)
{
    char name[160];
    snprintf(name, sizeof name, "state/keys/default-%s.key", id);
    char *text = temporary_read(scene->directory, name);
    bool held = text != NULL && strstr(text, key) != NULL;
    free(text);
    return held;
}

/* Counts the key files; what a killed process left behind of one goes when it is a minute old. */
static size_t count_keys(struct scene *scene)
{
    char path[PATH_SIZE];
    size_t count = 0;
    path_join(path, scene->directory, "state/keys");
    DIR *folder = opendir(path);
    for (const struct dirent *entry; folder != NULL && (entry = readdir(folder)) != NULL;) {
        size_t length = strlen(entry->d_name);
        bool is_key = length > 4 && strcmp(entry->d_name + length - 4, ".key") == 0;
        count += is_key;
        if (!is_key && length > 2 && scene->plan->error != FAULT_KILL)
            scene_found(scene, "left in keys: %s", entry->d_name);
    }
    if (folder != NULL)
        closedir(folder);
    return count;
}

void judge_keys(struct scene *scene)
{
    char id[80], key[80];
    size_t subscriptions = standin_close_subscriptions(scene->close), keys = count_keys(scene);
    for (size_t i = 0; i < subscriptions; i++) {
        standin_close_id(scene->close, i, id);
        standin_close_key(scene->close, i, key);
        if (!is_held(scene, id, key))
            scene_found(scene, "the key of %s is not held", id);
    }
    if (keys != subscriptions)
        scene_found(scene, "%zu subscriptions, %zu keys", subscriptions, keys);
}
