/* The load: one thread a connection, each taking the next event. */
#include "tests/support/load.h"

#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/client.h"
#include "tests/support/event.h"
#include "tests/support/signature.h"
#include "tests/support/waiting.h"

#define AGAIN_MS 500
#define ID_SIZE 64

struct load {
    struct load_options options;
    pthread_t *threads;
    size_t started; /* threads; guarded as all below */

    pthread_mutex_t mutex; /* guards all below */
    pthread_cond_t changed;
    bool stopped;
    size_t next;
    size_t answered;
    size_t ok; /* of these: with 200 */
    int64_t slowest;
    int *status; /* of each event; -1: not sent */
    moment *answered_at;
};

/* Makes the event of that number, the same each time. */
static void make(const struct load *load, size_t index, char id[ID_SIZE], struct event_text *event)
{
    char lead[32];
    snprintf(id, ID_SIZE, "%s_%zu", load->options.prefix, index);
    snprintf(lead, sizeof lead, "lead_%zu",
             load->options.first_lead + index % (load->options.ordered ? load->options.connections : 97));
    event_make(event, &(struct event_options){
                          .id = id,
                          .lead = lead,
                          .note = index == load->options.marked ? LOAD_MARK : NULL,
                          .filler = load->options.filler,
                      });
}

/* Takes the next number: of all, or in an ordered load of those that are this connection's; *turn counts what it has
 * taken. Returns false when there is none. */
static bool take(struct load *load, size_t connection, size_t *turn, size_t *index)
{
    pthread_mutex_lock(&load->mutex);
    size_t own = *turn * load->options.connections + connection;
    bool taken = !load->stopped && (load->options.ordered ? own : load->next) < load->options.count;
    if (taken) {
        *index = load->options.ordered ? own : load->next;
        if (*index >= load->next)
            load->next = *index + 1;
        ++*turn;
    }
    pthread_mutex_unlock(&load->mutex);
    return taken;
}

static void note(struct load *load, size_t index, int status, int64_t took)
{
    pthread_mutex_lock(&load->mutex);
    load->status[index] = status;
    load->answered_at[index] = clock_now();
    load->answered++;
    load->ok += status == 200;
    if (took > load->slowest)
        load->slowest = took;
    pthread_cond_broadcast(&load->changed);
    pthread_mutex_unlock(&load->mutex);
}

/* Returns whether it was answered 200. */
static bool send_one(struct load *load, struct client *client, struct event_text *event, size_t index)
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
    for (unsigned sent = 1; sent < load->options.times && (!answer.complete || answer.status != 200); sent++) {
        poll(NULL, 0, AGAIN_MS);
        client_send(client, &request, &answer);
    }
    int status = answer.complete ? answer.status : 0;
    note(load, index, status, clock_now() - before);
    return status == 200;
}

static void *run(void *context)
{
    struct load *load = context;
    struct client *client = client_new();
    struct event_text event = {.body = {.data = NULL}};
    size_t index, turn = 0;
    pthread_mutex_lock(&load->mutex);
    size_t connection = load->started++;
    pthread_mutex_unlock(&load->mutex);
    while (take(load, connection, &turn, &index)) {
        bool ok = send_one(load, client, &event, index);
        int64_t pause = !ok && load->options.refused_ms > 0 ? load->options.refused_ms : load->options.pause_ms;
        if (pause > 0)
            poll(NULL, 0, (int)pause);
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
    load->answered_at = calloc(options->count, sizeof *load->answered_at);
    if (load->status == NULL || load->threads == NULL || load->answered_at == NULL)
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

/* Waits until the count that the pointer names has come to what is wanted. Called under the mutex. */
static bool wait_for(struct load *load, const size_t *count, size_t wanted, int64_t ms)
{
    moment deadline = clock_now() + ms;
    while (*count < wanted && wait_changed(&load->changed, &load->mutex, deadline))
        ;
    return *count >= wanted;
}

bool load_wait(struct load *load, size_t answered, int64_t ms)
{
    pthread_mutex_lock(&load->mutex);
    bool reached = wait_for(load, &load->answered, answered, ms);
    pthread_mutex_unlock(&load->mutex);
    return reached;
}

bool load_wait_ok(struct load *load, size_t more, int64_t ms)
{
    pthread_mutex_lock(&load->mutex);
    bool reached = wait_for(load, &load->ok, load->ok + more, ms);
    pthread_mutex_unlock(&load->mutex);
    return reached;
}

size_t load_ok(struct load *load)
{
    pthread_mutex_lock(&load->mutex);
    size_t ok = load->ok;
    pthread_mutex_unlock(&load->mutex);
    return ok;
}

bool load_used_up(struct load *load)
{
    pthread_mutex_lock(&load->mutex);
    bool used_up = load->next == load->options.count;
    pthread_mutex_unlock(&load->mutex);
    return used_up;
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
    struct load_result result = {.slowest = load->slowest};
    for (size_t i = 0; i < load->next; i++) {
        result.sent += load->status[i] >= 0;
        if (load->status[i] == 200)
            result.ok++;
        else if (load->status[i] >= 0)
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

/* The number in a messageId of this load. Returns false when it is another's. */
static bool number_of(const struct load *load, const char *message_id, size_t *number)
{
    size_t length = strlen(load->options.prefix);
    if (strncmp(message_id, load->options.prefix, length) != 0 || message_id[length] != '_')
        return false;
    *number = strtoul(message_id + length + 1, NULL, 10);
    return *number < load->options.count;
}

size_t load_count_altered(const struct load *load, struct standin *standin, const char *write_key)
{
    struct event_text event = {.body = {.data = NULL}};
    const struct standin_message *message;
    size_t altered = 0;
    for (size_t i = 0; (message = standin_message(standin, i)) != NULL; i++) {
        char id[ID_SIZE];
        size_t number;
        if (!number_of(load, message->message_id, &number))
            continue;
        make(load, number, id, &event);
        altered += !slice_equal(slice_member(message->json, "properties"), event_properties(&event)) ||
                   strcmp(message->write_key, write_key) != 0 || strcmp(message->message_id, id) != 0;
    }
    event_free(&event);
    return altered;
}

/* One event that was not stored exactly once. */
static void print_arrivals(const struct load *load, struct standin *standin, size_t index, moment begin)
{
    char id[ID_SIZE];
    snprintf(id, sizeof id, "%s_%zu", load->options.prefix, index);
    const struct standin_message *message;
    printf("\n  %s: answered %d at %lld ms; stored", id, load->status[index],
           (long long)(load->answered_at[index] - begin));
    for (size_t i = 0; (message = standin_message(standin, i)) != NULL; i++) {
        if (strcmp(message->message_id, id) == 0)
            printf(" by request %zu at %lld ms,", message->request, (long long)(message->arrived - begin));
    }
    printf(" no more");
}

struct load_arrivals load_report_arrivals(const struct load *load, struct standin *standin, const char *write_key)
{
    struct load_arrivals arrivals = {.altered = load_count_altered(load, standin, write_key)};
    const struct standin_message *first = standin_message(standin, 0);
    moment begin = first == NULL ? 0 : first->arrived;
    for (size_t i = 0; i < load->next; i++) {
        char id[ID_SIZE];
        snprintf(id, sizeof id, "%s_%zu", load->options.prefix, i);
        const struct standin_message *message = standin_find(standin, id);
        size_t times = message == NULL ? 0 : message->times;
        if (load->status[i] == 200)
            arrivals.times[times < 3 ? times : 3]++;
        if (load->status[i] == 200 ? times != 1 : load->status[i] >= 0)
            print_arrivals(load, standin, i, begin);
    }
    printf("\n  (of those answered 200: %zu stored never, %zu once, %zu twice, %zu more often; %zu messages altered) ",
           arrivals.times[0], arrivals.times[1], arrivals.times[2], arrivals.times[3], arrivals.altered);
    return arrivals;
}

size_t load_count_disordered(const struct load *load, struct standin *standin)
{
    const struct standin_message *message;
    size_t disordered = 0;
    size_t *latest = calloc(load->options.connections, sizeof *latest); /* of each lead, its number + 1 */
    if (latest == NULL)
        abort();
    for (size_t i = 0; (message = standin_message(standin, i)) != NULL; i++) {
        size_t number;
        if (!number_of(load, message->message_id, &number) || standin_find(standin, message->message_id) != message)
            continue;
        size_t *last = &latest[number % load->options.connections];
        disordered += number + 1 < *last;
        *last = number + 1 > *last ? number + 1 : *last;
    }
    free(latest);
    return disordered;
}

static int compare_delays(const void *a, const void *b)
{
    const int64_t *left = a, *right = b;
    return (*left > *right) - (*left < *right);
}

int64_t load_median_delay(const struct load *load, struct standin *standin)
{
    int64_t *delays = calloc(load->next + 1, sizeof *delays);
    size_t count = 0;
    if (delays == NULL)
        abort();
    for (size_t i = 0; i < load->next; i++) {
        char id[ID_SIZE];
        snprintf(id, sizeof id, "%s_%zu", load->options.prefix, i);
        const struct standin_message *message = standin_find(standin, id);
        if (message == NULL || load->status[i] != 200)
            continue;
        int64_t delay = message->arrived - load->answered_at[i];
        delays[count++] = delay > 0 ? delay : 0;
    }
    qsort(delays, count, sizeof *delays, compare_delays);
    int64_t median = delays[count / 2];
    free(delays);
    return median;
}

void load_free(struct load *load)
{
    pthread_cond_destroy(&load->changed);
    pthread_mutex_destroy(&load->mutex);
    free(load->threads);
    free(load->status);
    free(load->answered_at);
    free(load);
}
