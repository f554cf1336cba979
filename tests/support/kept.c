/* A look into a site's queue, through its own face. A state directory lets in none but its user, root neither: so it is
 * a thread that takes on that user's identity, as the kernel keeps it for each thread. */
#include "tests/support/durable.h"

#include <CUnit/CUnit.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"
#include "tests/support/check.h"

#define SOURCES 3

static char *const names[SOURCES] = {(char[]){"alpha"}, (char[]){"beta"}, (char[]){"open"}};

struct look {
    const struct site *site;
    const char *source;
    bool wants_letters;
    int64_t wait_ms; /* until nothing waits */
    struct counts counts;
    struct letters letters;
    bool good;
    struct error why;
};

static void add(struct counts *sum, const struct counts *one)
{
    sum->accepted += one->accepted;
    sum->delivered += one->delivered;
    sum->duplicates += one->duplicates;
    sum->dropped += one->dropped;
    sum->dead += one->dead;
    sum->waiting += one->waiting;
}

static bool count(struct look *look, struct queue *queue)
{
    look->counts = (struct counts){.accepted = 0};
    for (size_t i = 0; i < SOURCES; i++) {
        struct counts one;
        if (look->source != NULL && strcmp(look->source, names[i]) != 0)
            continue;
        bool good;
        moment deadline = clock_now() + durable_patience(60000);
        while (!(good = queue_count(queue, names[i], &one, &look->why)) && durable_looks_again(deadline))
            ;
        if (!good)
            return false;
        add(&look->counts, &one);
    }
    return true;
}

static void look_into(struct look *look, struct queue *queue)
{
    moment deadline = clock_now() + look->wait_ms;
    look->good = count(look, queue);
    while (look->good && look->counts.waiting > 0 && clock_now() < deadline) {
        poll(NULL, 0, 20);
        look->good = count(look, queue);
    }
    if (look->good && look->wants_letters)
        look->good = queue_letters(queue, NULL, 0, 100000, SIZE_MAX, &look->letters, &look->why) >= 0;
}

static void *run(void *context)
{
    struct look *look = context;
    char state[PATH_SIZE];
    struct source sources[SOURCES] = {{.name = names[0]}, {.name = names[1]}, {.name = names[2]}};
    struct config config = {.queue_max_bytes = (int64_t)1 << 40,
                            .dedupe_window_ms = (int64_t)1 << 40,
                            .source = sources,
                            .sources = SOURCES};
    struct user user = user_of_children();
    durable_queue_config(&config);
    path_join(state, look->site->directory, "state");
    config.state_dir = state;
    if (geteuid() == 0 && (syscall(SYS_setresgid, user.gid, user.gid, user.gid) != 0 ||
                           syscall(SYS_setresuid, user.uid, user.uid, user.uid) != 0)) {
        error_set(&look->why, "cannot take on the user of the state directory");
        return NULL;
    }
    struct queue *queue = queue_open(&config, &look->why);
    if (queue != NULL) {
        look_into(look, queue);
        queue_close(queue);
    }
    return NULL;
}

static void start(struct look *look)
{
    pthread_t thread;
    if (pthread_create(&thread, NULL, run, look) == 0)
        pthread_join(thread, NULL);
    check(look->good, "the queue can be looked into: %s", look->why.text);
}

struct counts durable_counts(const struct site *site, const char *source)
{
    struct look look = {.site = site, .source = source};
    start(&look);
    return look.counts;
}

struct letters durable_letters(const struct site *site)
{
    struct look look = {.site = site, .wants_letters = true};
    start(&look);
    return look.letters;
}

bool durable_wait_empty(const struct site *site, int64_t ms)
{
    struct look look = {.site = site, .wait_ms = ms};
    start(&look);
    return look.good && look.counts.waiting == 0;
}
