/* Operations on a copy of the state directory: backup and restore. */
#include "tests/faults/operations_private.h"

#include <CUnit/CUnit.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/support/check.h"

#define WAITING 5

static bool is_there(const struct scene *scene, const char *name)
{
    char path[PATH_SIZE];
    path_join(path, scene->directory, name);
    return access(path, F_OK) == 0;
}

/* Events that wait, and the key of a subscription. */
void prepare_backup(struct scene *scene)
{
    prepare_waiting(scene, WAITING, 2000);
    check(SCENE_RUN(scene, false, "subscribe", "--url", "http://127.0.0.1:9/closecrm", "--no-url-check") == 0,
          "subscribed: %s", scene->said);
    scene_keep_state(scene);
}

static void path_of(const struct scene *scene, const char *name, char path[PATH_SIZE])
{
    path_join(path, scene->directory, name);
}

void act_backup(struct scene *scene)
{
    char path[PATH_SIZE];
    path_of(scene, "copy", path);
    ACT(scene, "backup", path);
}

/* All that the copy holds comes back. */
static void judge_restored(struct scene *scene)
{
    expect_events(scene, WAITING, 2000);
    judge_keys(scene);
    judge_events(scene, 0, NULL);
}

void judge_backup(struct scene *scene)
{
    char path[PATH_SIZE];
    bool made = is_there(scene, "copy"), told = strstr(scene->said, "stdout did not take everything") == NULL;
    if (scene->code == 0 && !made)
        scene_found(scene, "it ended well and there is no backup");
    if (scene->code > 0 && scene->code != 137 && made && told)
        scene_found(scene, "it failed and left a file: %.200s", scene->said);
    if (scene->code > 0 && scene->code != 137 && is_there(scene, "copy.part"))
        scene_found(scene, "it failed and left copy.part: %.200s", scene->said);
    JUDGE_AGAIN(scene, "queue", "check");
    path_of(scene, made ? "copy" : "copy2", path);
    if (made || JUDGE_AGAIN(scene, "backup", path)) {
        scene_shell(scene, "rm -rf state closecrm.conf.state_dir");
        if (JUDGE_AGAIN(scene, "restore", "--keys", path))
            judge_restored(scene);
    }
}

void prepare_restore(struct scene *scene)
{
    char path[PATH_SIZE];
    prepare_backup(scene);
    path_of(scene, "saved", path);
    check(SCENE_RUN(scene, false, "backup", path) == 0, "a backup is made: %s", scene->said);
    scene_shell(scene, "rm -rf kept");
}

void begin_restore(struct scene *scene)
{
    scene_lose_state(scene);
}

void act_restore(struct scene *scene)
{
    char path[PATH_SIZE];
    path_of(scene, "saved", path);
    ACT(scene, "restore", "--keys", path);
}

/* What fails behind its last step, and says so, has gone through: called again it would say that events are there. */
void judge_restore(struct scene *scene)
{
    char path[PATH_SIZE];
    bool done = scene->code == 137 || strstr(scene->said, "stdout did not take everything") != NULL ||
                strstr(scene->said, "the queue is restored") != NULL;
    path_of(scene, "saved", path);
    if (scene->code != 0 && !(done && is_there(scene, "state/queue.db")))
        JUDGE_AGAIN(scene, "restore", "--keys", path);
    judge_restored(scene);
}
