/* What the trials of one operation share: a folder with the program, the library that makes its calls fail, a
 * configuration and a state directory that is put back before each trial; a stand-in data plane and a stand-in Close.
 * One source, `default`, with ALPHA_WRITE_KEY and ALPHA_SIGNATURE_KEY. */
#ifndef TESTS_FAULTS_SCENE_H
#define TESTS_FAULTS_SCENE_H

#include <stdbool.h>
#include <stddef.h>

#include "tests/faults/calls.h"
#include "tests/support/process.h"
#include "tests/support/site.h"
#include "tests/support/standin_close.h"

#define SCENE_EVENTS 64

/* An event and what is known of it. */
struct scene_event {
    char id[40];
    size_t filler;
    int status; /* of the last answer; 0: none */
    bool kept;  /* it was answered 200 once, or comes by the Event Log: it must arrive */
};

struct scene {
    char directory[PATH_SIZE];
    struct fault_plan *plan;
    struct standin *standin;
    struct standin_close *close;
    struct process server;
    size_t started; /* how often the server has started, by its log */
    struct scene_event event[SCENE_EVENTS];
    size_t events;
    bool failed; /* something was found in this trial */
    char found[1024];
    int code; /* of the last command: its exit code, or -1 for a signal, -2: it did not end */
    char said[16384];
    bool without_key;   /* the configuration has no signature_key: only those that subscribe obtains */
    const char *record; /* strace writes what commands call into the file of that name, and nothing fails; NULL: not */
    size_t twice;       /* events that arrived twice for a reason */
    size_t findings;    /* trials in which something was found */
};

/* Makes all of it; close it in either case. */
bool scene_open(struct scene *scene);
void scene_close(struct scene *scene);

/* Writes the configuration, with these lines more. */
void scene_configure(struct scene *scene, const char *more);

/* The state directory becomes what later trials begin with; and a trial begins with it: without one, with none. The
 * stand-in data plane forgets what it has, and what is known of events is forgotten. */
void scene_keep_state(struct scene *scene);
void scene_restore_state(struct scene *scene);

/* Removes the state directory, and the note that there was one. */
void scene_lose_state(struct scene *scene);

/* Runs `cp -a`, `rm -rf` and their like as the program's user in the folder. */
bool scene_shell(struct scene *scene, const char *script);

/* From now on calls are counted and one fails; and no more. */
void scene_arm(struct scene *scene);
void scene_disarm(struct scene *scene);

/* Runs a command of the program, with the library or without; the last word is NULL. Returns code. */
int scene_run(struct scene *scene, bool with_faults, const char *const *words);
#define SCENE_RUN(scene, with_faults, ...) scene_run((scene), (with_faults), (const char *const[]){__VA_ARGS__, NULL})

/* Starts the program as a FastCGI server, and waits until it forwards, or has ended; ends it. A signal, and an end that
 * does not come, are findings. */
void scene_start_server(struct scene *scene, bool with_faults);
void scene_stop_server(struct scene *scene);

/* Whether the server's log has the text so often, within the milliseconds. */
bool scene_wait_log(struct scene *scene, const char *text, size_t times, int64_t ms);
size_t scene_count_log(const struct scene *scene, const char *text);

/* Adds an event; sends it signed to the server. A request that is not answered within the time that Close waits is a
 * finding, if the server lives. */
struct scene_event *scene_add(struct scene *scene, const char *id, size_t filler);
int scene_send(struct scene *scene, struct scene_event *event);

/* Something is wrong in this trial. */
void scene_found(struct scene *scene, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
