/* Operations of the queue: starting, accepting, settling, repairing. */
#include "tests/faults/operations_private.h"

#include <CUnit/CUnit.h>
#include <sqlite3.h>
#include <string.h>

#include "tests/support/check.h"
#include "tests/support/repair_rig.h"

#define DELIVERED_MS 3000
#define DAMAGED_EVENTS 40
#define DAMAGED_FILLER 3000

void prepare_nothing(struct scene *scene)
{
    scene_shell(scene, "rm -rf kept");
}

void prepare_empty(struct scene *scene)
{
    scene_start_server(scene, false);
    scene_stop_server(scene);
    scene_keep_state(scene);
}

/* The first start, an event, and the end. */
void act_start(struct scene *scene)
{
    scene_arm(scene);
    scene_start_server(scene, true);
    struct scene_event *event = scene_add(scene, "new_0", 0);
    if (scene_send(scene, event) == 200)
        standin_wait_messages(scene->standin, scene->events, DELIVERED_MS);
    scene_stop_server(scene);
    scene_disarm(scene);
}

/* Small and large ones, one twice. */
void act_accept(struct scene *scene)
{
    scene_start_server(scene, true);
    scene_arm(scene);
    scene_send(scene, scene_add(scene, "ev_0", 0));
    scene_send(scene, scene_add(scene, "ev_1", 3000));
    scene_send(scene, &scene->event[0]);
    scene_send(scene, scene_add(scene, "ev_2", 100000));
    if (process_alive(&scene->server) && scene->event[2].status == 200)
        standin_wait_messages(scene->standin, 3, DELIVERED_MS);
    scene_stop_server(scene);
    scene_disarm(scene);
}

void judge_accept(struct scene *scene)
{
    judge_server(scene, 0);
}

/* ---- settling: some are delivered, one is a duplicate, one becomes a dead letter ---- */

#define REFUSED 5

void prepare_settle(struct scene *scene)
{
    prepare_waiting(scene, 8, 100);
    scene_keep_state(scene);
}

void begin_settle(struct scene *scene)
{
    static const struct standin_fault refusal = {
        .act = STANDIN_ANSWER, .times = STANDIN_ALWAYS, .marker = "\"ev_5\"", .status = 400, .body = "no"};
    standin_fail(scene->standin, &refusal);
    expect_events(scene, 8, 100);
    scene->event[REFUSED].kept = false;
}

void act_settle(struct scene *scene)
{
    ACT(scene, "forward");
}

/* Who has not been told that others were accepted waits for another one before it blames an event: where it was killed,
 * the data plane takes that one, too. */
void judge_settle(struct scene *scene)
{
    bool killed = scene->code == 137;
    if (killed)
        standin_heal(scene->standin);
    judge_events(scene, killed ? ANY_NUMBER : 1, NULL);
    if (!killed && standin_find(scene->standin, scene->event[REFUSED].id) != NULL)
        scene_found(scene, "what the data plane refuses cannot have arrived");
}

/* ---- repairing ---- */

void prepare_repair(struct scene *scene)
{
    char path[PATH_SIZE];
    prepare_waiting(scene, DAMAGED_EVENTS, DAMAGED_FILLER);
    path_join(path, scene->directory, "state");
    check(repair_rig_spoil(path, repair_rig_page(path, "event_1", "pagetype = 'leaf'", 0), 0xaa) > 0,
          "a page with events is spoilt");
    scene_keep_state(scene);
}

void act_repair(struct scene *scene)
{
    expect_events(scene, DAMAGED_EVENTS, DAMAGED_FILLER);
    ACT(scene, "queue", "check", "--repair");
}

/* What the first repair, without faults, had: at least as much. */
void judge_repair(struct scene *scene)
{
    static bool saved[DAMAGED_EVENTS];
    bool first = scene->plan->nth == 0;
    for (size_t i = 0; i < DAMAGED_EVENTS; i++)
        scene->event[i].kept = !first && saved[i];
    if (scene->code != 0)
        JUDGE_AGAIN(scene, "queue", "check", "--repair");
    judge_events(scene, 0, NULL);
    for (size_t i = 0; first && i < DAMAGED_EVENTS; i++)
        saved[i] = standin_find(scene->standin, scene->event[i].id) != NULL;
}
