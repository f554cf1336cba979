/* The table of operations, and what several of them do: see operations.h. */
#include "tests/faults/operations_private.h"

#include <CUnit/CUnit.h>
#include <poll.h>
#include <stdio.h>

#include "tests/support/check.h"

const struct operation operations[] = {
    {"accept", prepare_empty, NULL, act_accept, judge_accept},
    {"settle", prepare_settle, begin_settle, act_settle, judge_settle},
    {"start", prepare_nothing, NULL, act_start, judge_accept},
    {"repair", prepare_repair, NULL, act_repair, judge_repair},
    {"backup", prepare_backup, NULL, act_backup, judge_backup},
    {"restore", prepare_restore, begin_restore, act_restore, judge_restore},
    {"subscribe", prepare_empty, begin_subscribe, act_subscribe, judge_subscribe},
    {"rotate", prepare_empty, begin_rotate, act_rotate, judge_rotate},
    {"reconcile", prepare_reconcile, begin_reconcile, act_reconcile, judge_reconcile},
    {"backfill", prepare_reconcile, begin_reconcile, act_backfill, judge_backfill},
    {"reload", prepare_empty, begin_reload, act_reload, judge_accept},
    {"upgrade", prepare_upgrade, begin_upgrade, act_upgrade, judge_accept},
    {"take-on", prepare_upgrade, begin_take_on, act_start, judge_accept},
    {NULL, NULL, NULL, NULL, NULL},
};

void act_command(struct scene *scene, const char *const *words)
{
    scene_arm(scene);
    scene_run(scene, true, words);
    scene_disarm(scene);
    judge_words(scene);
}

static void name_event(char name[static 40], size_t number)
{
    snprintf(name, 40, "ev_%zu", number);
}

void expect_events(struct scene *scene, size_t count, size_t filler)
{
    char name[40];
    for (size_t i = 0; i < count; i++) {
        name_event(name, i);
        scene_add(scene, name, filler)->kept = true;
    }
}

/* The data plane holds the first batch until the server has ended, so that no try is noted and all of it is due. */
void prepare_waiting(struct scene *scene, size_t count, size_t filler)
{
    char name[40];
    standin_fail(scene->standin, &(struct standin_fault){.act = STANDIN_HOLD, .times = STANDIN_ALWAYS});
    scene_start_server(scene, false);
    for (size_t i = 0; i < count; i++) {
        name_event(name, i);
        check(scene_send(scene, scene_add(scene, name, filler)) == 200, "%s is taken", name);
    }
    scene_stop_server(scene);
    standin_heal(scene->standin);
    while (standin_counts(scene->standin).held > 0)
        poll(NULL, 0, 1);
}
