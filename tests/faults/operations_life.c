/* Operations on a running server: a new configuration, a new release. */
#include "tests/faults/operations_private.h"

#include <CUnit/CUnit.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>

#include "base/clock.h"
#include "tests/support/check.h"

#define TAKEN_MS 60000
#define NOT_TAKEN_MS 8000 /* so long what is new is waited for once the call has failed */
#define AGAIN_MS 60000    /* a queue that could not be opened is tried again before */
#define DELIVERED_MS 3000
#define WAITING 5
#define FILLER 500

/* The release before, where one is named. */
static const char *before(void)
{
    const char *path = getenv("CLOSECRM_BEFORE");
    return path == NULL || *path == '\0' ? program_under_test() : path;
}

static void put_program(struct scene *scene, const char *path)
{
    check(temporary_copy(scene->directory, "closecrm.fcgi", 0755, path), "%s can be copied", path);
}

/* Waits until what is new is taken on. Returns false when it is not, and nothing explains that. */
static bool wait_taken(struct scene *scene, size_t started)
{
    moment begin = clock_now();
    while (!scene_wait_log(scene, "msg=started", started + 1, 100)) {
        if (!process_alive(&scene->server))
            return true;
        if (atomic_load(&scene->plan->met) != 0 && clock_now() - begin >= NOT_TAKEN_MS)
            return true;
        if (clock_now() - begin >= TAKEN_MS)
            return false;
    }
    return true;
}

/* Events meanwhile and afterwards: those are taken without a new start, unless the trial has killed the server. */
static void send_around(struct scene *scene, size_t started)
{
    scene_send(scene, scene_add(scene, "new_0", 0));
    if (!wait_taken(scene, started))
        scene_found(scene, "what is new is not taken on");
    scene_send(scene, scene_add(scene, "new_1", 3000));
    scene_disarm(scene);
    struct scene_event *last = scene_add(scene, "new_2", 0);
    moment deadline = clock_now() + AGAIN_MS;
    while (process_alive(&scene->server) && scene_send(scene, last) != 200 && clock_now() < deadline)
        poll(NULL, 0, 20);
    if (process_alive(&scene->server) && last->status != 200)
        scene_found(scene, "the server answers %d afterwards", last->status);
    if (process_alive(&scene->server))
        standin_wait_messages(scene->standin, scene->events, DELIVERED_MS);
    scene_stop_server(scene);
}

void begin_reload(struct scene *scene)
{
    scene_configure(scene, "");
    scene_start_server(scene, true);
}

void act_reload(struct scene *scene)
{
    size_t started = scene_count_log(scene, "msg=started");
    scene_configure(scene, "batch_events = 7\n");
    scene_arm(scene);
    kill(scene->server.pid, SIGHUP);
    send_around(scene, started);
}

/* Events wait in the state of the release before. */
void prepare_upgrade(struct scene *scene)
{
    put_program(scene, before());
    prepare_waiting(scene, WAITING, FILLER);
    scene_keep_state(scene);
}

void begin_upgrade(struct scene *scene)
{
    put_program(scene, before());
    expect_events(scene, WAITING, FILLER);
    scene_start_server(scene, true);
}

void act_upgrade(struct scene *scene)
{
    size_t started = scene_count_log(scene, "msg=started");
    put_program(scene, program_under_test());
    scene_arm(scene);
    send_around(scene, started);
}

/* The first start of a new release on the state of the one before. */
void begin_take_on(struct scene *scene)
{
    put_program(scene, program_under_test());
    expect_events(scene, WAITING, FILLER);
}
