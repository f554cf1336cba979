/* The load: one thread a connection, each taking the next event. */
#include "tests/system/load.h"

#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/system/client.h"
#include "tests/system/event.h"
#include "tests/system/signature.h"
#include "tests/system/waiting.h"

#define ID_SIZE 64

struct load {
    struct load_options options;
    pthread_t *threads;

    pthread_mutex_t mutex; /* guards all below */
    pthread_cond_t changed;
    bool stopped;
    size_t next;
    size_t answered;
    int64_t slowest;
    int *status; /* of each event; -1: not sent */
};

/* Makes the event of that number, the same each time. */
static void make(const struct load *load, size_t index, char id[ID_SIZE], struct event_text *event)
{
    char lead[32];
    snprintf(id, ID_SIZE, "%s_%zu", load->options.prefix, index);
    snprintf(lead, sizeof lead, "lead_%zu", index % 97);
    event_make(event, &(struct event_options){
                          .id = id,
                          .lead = lead,
                          .note = index == load->options.marked ? LOAD_MARK : NULL,
                          .filler = load->options.filler,
                      });
}

/* Takes the next number. Returns false when there is none. */
static bool take(struct load *load, size_t *index)
{
    pthread_mutex_lock(&load->mutex);
    bool taken = !load->stopped && load->next < load->options.count;
    if (taken)
        *index = load->next++;
    pthread_mutex_unlock(&load->mutex);
    return taken;
}

static void note(struct load *load, size_t index, int status, int64_t took)
{
    pthread_mutex_lock(&load->mutex);
    load->status[index] = status;
    load->answered++;
    if (took > load->slowest)
        load->slowest = took;
    pthread_cond_broadcast(&load->changed);
    pthread_mutex_unlock(&load->mutex);
}

static void send_one(struct load *load, struct client *client, struct event_text *event, size_t index)
{
    char id[ID_SIZE];
    struct client_answer answer;
    make(load, index, id, event);
    struct signature signature = signature_make(load->options.signature_key, event_body(event), 0);
    struct client_request request = {
        .url = load->options.url,
        .headers = {signature.hash, signature.timestamp},
        .body = event_body(event),
        .timeout_ms = load->options.timeout_ms,
    };
    moment before = clock_now();
    client_send(client, &request, &answer);
    note(load, index, answer.complete ? answer.status : 0, clock_now() - before);
}

static void *run(void *context)
{
    struct load *load = context;
    struct client *client = client_new();
    struct event_text event = {.body = {.data = NULL}};
    size_t index;
    while (take(load, &index)) {
        send_one(load, client, &event, index);
        if (load->options.pause_ms > 0)
            poll(NULL, 0, (int)load->options.pause_ms);
    }
    event_free(&event);
    client_free(client);
    return NULL;
}

struct load *load_start(const struct load_options *options)
{
    struct load *load = calloc(1, sizeof *load);
    if (load == NULL)
        abort();
    load->options = *options;
    load->status = calloc(options->count, sizeof *load->status);
    load->threads = calloc(options->connections, sizeof *load->threads);
    if (load->status == NULL || load->threads == NULL)
        abort();
    for (size_t i = 0; i < options->count; i++)
        load->status[i] = -1;
    pthread_mutex_init(&load->mutex, NULL);
    pthread_cond_init(&load->changed, NULL);
    for (size_t i = 0; i < options->connections; i++) {
        if (pthread_create(&load->threads[i], NULL, run, load) != 0)
            abort();
    }
    return load;
}

bool load_wait(struct load *load, size_t answered, int64_t ms)
{
    moment deadline = clock_now() + ms;
    pthread_mutex_lock(&load->mutex);
    while (load->answered < answered && wait_changed(&load->changed, &load->mutex, deadline))
        ;
    bool reached = load->answered >= answered;
    pthread_mutex_unlock(&load->mutex);
    return reached;
}

void load_stop(struct load *load)
{
    pthread_mutex_lock(&load->mutex);
    load->stopped = true;
    pthread_mutex_unlock(&load->mutex);
}

struct load_result load_finish(struct load *load)
{
    for (size_t i = 0; i < load->options.connections; i++)
        pthread_join(load->threads[i], NULL);
    struct load_result result = {.sent = load->next, .slowest = load->slowest};
    for (size_t i = 0; i < load->next; i++) {
        if (load->status[i] == 200)
            result.ok++;
        else
            result.other = load->status[i];
    }
    return result;
}

int load_status(const struct load *load, size_t index)
{
    return load->status[index];
}

size_t load_count_arrived(const struct load *load, struct standin *standin, size_t times)
{
    struct event_text event = {.body = {.data = NULL}};
    size_t arrived = 0;
    for (size_t i = 0; i < load->next; i++) {
        char id[ID_SIZE];
        make(load, i, id, &event);
        const struct standin_message *message = standin_find(standin, id);
        if (load->status[i] == 200 && message != NULL && (times == 0 || message->times == times) &&
            slice_equal(slice_member(message->json, "properties"), event_properties(&event)))
            arrived++;
    }
    event_free(&event);
    return arrived;
}

void load_free(struct load *load)
{
    pthread_cond_destroy(&load->changed);
    pthread_mutex_destroy(&load->mutex);
    free(load->threads);
    free(load->status);
    free(load);
}
