/* Reads the record of a command's calls: see order.h. */
#include "tests/faults/order.h"

#include <CUnit/CUnit.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/check.h"
#include "tests/support/trace.h"

#define FILES 512

/* A file or directory below the trial's folder. */
struct file {
    char path[PATH_SIZE];
    bool written; /* and not synced since */
    bool named;   /* made or renamed, and its directory not synced since */
    bool made;    /* a directory that this command has made: what is opened in it is new */
};

struct order {
    struct scene *scene;
    struct file files[FILES];
    size_t count;
};

/* What need not be there after a power cut: the test's own files, those without a name, and some, by how their path
 * ends. */
static bool may_be_lost(const char *path)
{
    static const char *const ends[] = {".lock",           "/command.log", "/queue.db-shm", "/clock",
                                       "/transforming.1", "/attempts.1",  "/recent.2"};
    size_t length = strlen(path);
    if (strstr(path, "/#") != NULL)
        return true;
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        size_t end = strlen(ends[i]);
        if (length >= end && strcmp(path + length - end, ends[i]) == 0)
            return true;
    }
    return false;
}

static struct file *find_file(struct order *order, const char *path)
{
    for (size_t i = 0; i < order->count; i++) {
        if (strcmp(order->files[i].path, path) == 0)
            return &order->files[i];
    }
    if (!check(order->count < FILES, "room for another file than %s", path))
        return &order->files[0];
    struct file *file = &order->files[order->count++];
    *file = (struct file){.written = false};
    snprintf(file->path, sizeof file->path, "%s", path);
    return file;
}

/* Whether the path lies in the folder of that name, or deeper. */
static bool is_within(const char *path, const char *folder)
{
    size_t length = strlen(folder);
    return strncmp(path, folder, length) == 0 && path[length] == '/';
}

static bool is_directly_in(const char *path, const char *folder)
{
    return is_within(path, folder) && strchr(path + strlen(folder) + 1, '/') == NULL;
}

static bool is_of_the_trial(const struct order *order, const char *path)
{
    return is_within(path, order->scene->directory) && !may_be_lost(path);
}

/* The number-th quoted word of a call's arguments. */
static bool read_word(const struct trace_call *call, size_t number, char path[static PATH_SIZE])
{
    const char *at = call->arguments.at, *end = at + call->arguments.length;
    for (size_t i = 0;; i++) {
        const char *open = memchr(at, '"', (size_t)(end - at));
        const char *shut = open == NULL ? NULL : memchr(open + 1, '"', (size_t)(end - open - 1));
        if (shut == NULL)
            return false;
        at = shut + 1;
        if (i == number) {
            snprintf(path, PATH_SIZE, "%.*s", (int)(shut - open - 1), open + 1);
            return true;
        }
    }
}

static void note_written(struct order *order, const struct trace_call *call)
{
    char path[PATH_SIZE];
    snprintf(path, sizeof path, "%.*s", (int)call->path.length, call->path.at == NULL ? "" : call->path.at);
    if (is_of_the_trial(order, path))
        find_file(order, path)->written = true;
}

/* A directory's sync is that of the names in it. */
static void note_synced(struct order *order, const struct trace_call *call)
{
    char path[PATH_SIZE];
    snprintf(path, sizeof path, "%.*s", (int)call->path.length, call->path.at == NULL ? "" : call->path.at);
    for (size_t i = 0; i < order->count; i++) {
        struct file *file = &order->files[i];
        if (strcmp(file->path, path) == 0)
            file->written = false;
        if (is_directly_in(file->path, path))
            file->named = false;
    }
}

static bool is_in_a_made_one(const struct order *order, const char *path)
{
    for (size_t i = 0; i < order->count; i++) {
        if (order->files[i].made && is_directly_in(path, order->files[i].path))
            return true;
    }
    return false;
}

static void note_made(struct order *order, const struct trace_call *call)
{
    char path[PATH_SIZE];
    size_t before = order->count;
    if (!read_word(call, 0, path) || !is_of_the_trial(order, path))
        return;
    struct file *file = find_file(order, path);
    bool is_new = order->count > before && is_in_a_made_one(order, path);
    file->made = file->made || trace_is(call, "mkdir");
    file->named = file->named || file->made || trace_has(call, "O_EXCL") || is_new;
}

static void note_removed(struct order *order, const struct trace_call *call)
{
    char path[PATH_SIZE];
    if (read_word(call, 0, path) && is_of_the_trial(order, path)) {
        struct file *file = find_file(order, path);
        file->written = file->named = file->made = false;
    }
}

/* What gets its name, and all that lies in it where it is a directory, must be synced; its new name is not yet. */
static void note_renamed(struct order *order, const struct trace_call *call)
{
    char from[PATH_SIZE], to[PATH_SIZE], path[PATH_SIZE];
    if (!read_word(call, 0, from) || !read_word(call, 1, to) || !is_of_the_trial(order, to))
        return;
    find_file(order, to)->written = false; /* what had the name */
    for (size_t i = 0, count = order->count; i < count; i++) {
        struct file *file = &order->files[i];
        bool within = is_within(file->path, from), same = strcmp(file->path, from) == 0;
        if (!within && !same)
            continue;
        if (file->written || (within && file->named))
            scene_found(order->scene, "%s becomes %s, and %s was not synced", from, to, file->path);
        snprintf(path, sizeof path, "%s%s", to, file->path + strlen(from));
        struct file *moved = find_file(order, path);
        moved->written = file->written;
        moved->named = file->named;
        moved->made = file->made;
        file->written = file->named = file->made = false;
    }
    find_file(order, to)->named = true;
}

static void note_call(struct order *order, const struct trace_call *call)
{
    bool makes = trace_is(call, "mkdir") || (trace_is(call, "openat") && trace_has(call, "O_CREAT"));
    bool renames = trace_is(call, "rename") || trace_is(call, "renameat2");
    bool writes = trace_is(call, "write") || trace_is(call, "pwrite64") || trace_is(call, "writev") ||
                  trace_is(call, "ftruncate");
    if (call->end == 0 || call->result < 0)
        return;
    if (writes)
        note_written(order, call);
    else if (trace_is(call, "fsync") || trace_is(call, "fdatasync"))
        note_synced(order, call);
    else if (makes)
        note_made(order, call);
    else if (trace_is(call, "unlink") || trace_is(call, "rmdir"))
        note_removed(order, call);
    else if (renames || trace_is(call, "link") || trace_is(call, "linkat"))
        note_renamed(order, call);
}

static void judge_order(struct scene *scene, const char *record)
{
    struct trace trace;
    struct order *order = calloc(1, sizeof *order);
    CU_ASSERT_PTR_NOT_NULL_FATAL(order);
    order->scene = scene;
    if (check(trace_read(&trace, scene->directory, record), "strace works here")) {
        for (size_t i = 0; i < trace.count; i++)
            note_call(order, &trace.calls[i]);
        for (size_t i = 0; i < order->count; i++) {
            if (order->files[i].named)
                scene_found(scene, "it is done, and the name %s was not synced", order->files[i].path);
            if (order->files[i].written)
                scene_found(scene, "it is done, and %s was not synced", order->files[i].path);
        }
    }
    trace_free(&trace);
    free(order);
}

void order_try(const struct operation *operation)
{
    struct scene scene;
    if (scene_open(&scene)) {
        operation->prepare(&scene);
        scene_restore_state(&scene);
        if (operation->begin != NULL)
            operation->begin(&scene);
        scene.record = "order";
        operation->act(&scene);
        scene.record = NULL;
        check(scene.code == 0, "%s: %d: %s", operation->name, scene.code, scene.said);
        judge_order(&scene, "order");
        check(!scene.failed, "%s: %s", operation->name, scene.found);
    }
    scene_close(&scene);
}
