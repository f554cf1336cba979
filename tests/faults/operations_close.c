/* Operations with Close: subscribing, rotating, and reading its Event Log. */
#include "tests/faults/operations_private.h"

#include <CUnit/CUnit.h>
#include <stdio.h>
#include <string.h>

#include "tests/support/check.h"

#define URL "http://127.0.0.1:9/closecrm"
#define MISSED 12
#define LATER_MS INT64_C(360000) /* events that are so old are read */

static void subscribe(struct scene *scene)
{
    check(SCENE_RUN(scene, false, "subscribe", "--url", URL, "--no-url-check") == 0, "subscribed: %s", scene->said);
}

/* A Close that knows of nothing. Keys in the configuration could be anybody's: with them what was left over in Close is
 * not removed. */
static void begin_anew(struct scene *scene)
{
    scene->without_key = true;
    static const struct standin_close_options usual = {.hold_ms = 0};
    standin_close_stop(scene->close);
    scene->close = standin_close_start(&usual);
    scene_configure(scene, "");
}

/* ---- subscriptions: in Close, and their keys here ---- */

void begin_subscribe(struct scene *scene)
{
    begin_anew(scene);
}

void act_subscribe(struct scene *scene)
{
    ACT(scene, "subscribe", "--url", URL, "--no-url-check");
}

/* Whatever happened, who calls it again has one subscription and its key; or had both, and could not be told. */
void judge_subscribe(struct scene *scene)
{
    if (scene->code != 0 && SCENE_RUN(scene, false, "subscribe", "--url", URL, "--no-url-check") != 0 &&
        strstr(scene->said, "has this address already") == NULL)
        scene_found(scene, "subscribe does not go through afterwards: %.300s", scene->said);
    judge_keys(scene);
    if (standin_close_subscriptions(scene->close) > 1)
        scene->twice++;
}

void begin_rotate(struct scene *scene)
{
    begin_anew(scene);
    subscribe(scene);
}

void act_rotate(struct scene *scene)
{
    ACT(scene, "rotate");
}

/* The old one stays until something has come from the new one. */
void judge_rotate(struct scene *scene)
{
    if (scene->code != 0)
        JUDGE_AGAIN(scene, "rotate");
    judge_keys(scene);
    if (standin_close_subscriptions(scene->close) != 2)
        scene_found(scene, "%zu subscriptions in the end", standin_close_subscriptions(scene->close));
}

/* ---- the Event Log ---- */

static void name_missed(char name[static 40], size_t number)
{
    snprintf(name, 40, "missed_%zu", number);
}

void prepare_reconcile(struct scene *scene)
{
    char name[40];
    subscribe(scene);
    check(SCENE_RUN(scene, false, "reconcile") == 0, "reconciled: %s", scene->said);
    scene_keep_state(scene);
    for (size_t i = 0; i < MISSED; i++) {
        name_missed(name, i);
        standin_close_add(scene->close, &(struct close_event){.id = name, .lead = "lead_1", .log_only = true});
    }
    standin_close_move_clock(scene->close, LATER_MS);
}

void begin_reconcile(struct scene *scene)
{
    char name[40];
    for (size_t i = 0; i < MISSED; i++) {
        name_missed(name, i);
        scene_add(scene, name, 0)->kept = true;
    }
}

void act_reconcile(struct scene *scene)
{
    ACT(scene, "reconcile");
}

void act_backfill(struct scene *scene)
{
    ACT(scene, "backfill", "--since", "1h", "--all-events");
}

static void judge_missed(struct scene *scene)
{
    char id[80];
    judge_events(scene, 0, standin_close_id(scene->close, 0, id));
}

void judge_reconcile(struct scene *scene)
{
    if (scene->code != 0)
        JUDGE_AGAIN(scene, "reconcile");
    judge_missed(scene);
}

void judge_backfill(struct scene *scene)
{
    if (scene->code != 0)
        JUDGE_AGAIN(scene, "backfill", "--since", "1h", "--all-events");
    judge_missed(scene);
}
