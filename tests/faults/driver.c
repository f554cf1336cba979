/* The points of an operation: see driver.h. */
#include "tests/faults/driver.h"

#include <CUnit/CUnit.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "tests/support/check.h"

#define IN_FULL 4 /* findings of each kind of call */

/* What was tried of one kind of call. */
struct row {
    unsigned seen, by_library, by_sqlite; /* calls, without a fault */
    unsigned tried, met, found;
};

struct driver {
    const struct operation *operation;
    const struct driver_options *options;
    struct scene scene;
    struct row row[FAULT_CALLS];
    int64_t slowest_ms;
};

/* Where in the program the call was, in its functions' names. */
static void print_frames(const struct fault_plan *plan)
{
    char line[1024];
    size_t at = (size_t)snprintf(line, sizeof line, "addr2line -pfse '%s' 2>/dev/null", program_under_test());
    for (size_t i = 0; i < FAULT_FRAMES && plan->frames[i] != 0 && at < sizeof line - 32; i++)
        at += (size_t)snprintf(line + at, sizeof line - at, " 0x%lx", (unsigned long)plan->frames[i]);
    FILE *names = plan->frames[0] == 0 ? NULL : popen(line, "r"); /* NOLINT(cert-env33-c): our own words */
    while (names != NULL && fgets(line, sizeof line, names) != NULL)
        printf("        %s", line);
    if (names != NULL)
        pclose(names);
}

/* The first ones of a kind in full. */
static void print_finding(struct driver *driver)
{
    const struct fault_plan *plan = driver->scene.plan;
    bool in_full = driver->row[plan->call].found < IN_FULL;
    printf("    %s %s %s %u (%s by %s): %.*s\n", driver->operation->name, calls[plan->call].name,
           plan->nth == 0 ? "-" : call_error_name(plan->error), plan->nth, plan->function, plan->caller,
           in_full ? 1000 : 100, driver->scene.found);
    if (in_full)
        print_frames(plan);
    if (getenv("CLOSECRM_FAULTS_LOG") != NULL)
        scene_shell(&driver->scene, "cat program.log command.log >>all.log; true");
    fflush(stdout);
}

/* One point. Returns whether the call came, so that it failed. */
static bool try_point(struct driver *driver, enum fault_call call, int error, unsigned nth)
{
    struct scene *scene = &driver->scene;
    moment began = clock_now();
    scene_restore_state(scene);
    scene->plan->call = call;
    scene->plan->error = error;
    scene->plan->nth = nth;
    if (driver->operation->begin != NULL)
        driver->operation->begin(scene);
    driver->operation->act(scene);
    driver->operation->judge(scene);
    int64_t took = clock_now() - began;
    driver->slowest_ms = took > driver->slowest_ms ? took : driver->slowest_ms;
    if (scene->failed)
        print_finding(driver);
    bool met = atomic_load(&scene->plan->met) != 0;
    driver->row[call].tried += nth != 0;
    driver->row[call].met += met;
    driver->row[call].found += scene->failed;
    scene->findings += scene->failed;
    return met;
}

/* Without a fault: how many calls there are. */
static bool count_calls(struct driver *driver)
{
    try_point(driver, FAULT_WRITE, 0, 0);
    for (size_t i = 0; i < FAULT_CALLS; i++) {
        const struct fault_plan *plan = driver->scene.plan;
        driver->row[i].seen = atomic_load(&plan->seen[i]);
        driver->row[i].by_library = atomic_load(&plan->by_library[i]);
        driver->row[i].by_sqlite = atomic_load(&plan->by_sqlite[i]);
    }
    return check(!driver->scene.failed, "%s without a fault: %s", driver->operation->name, driver->scene.found);
}

static bool is_wanted(const struct driver *driver, size_t call)
{
    return driver->options->call == NULL || strcmp(driver->options->call, calls[call].name) == 0;
}

#define ROW "    %-10s %-11s %7u %9u %7u %7u %7u %6u\n"

static void print_head(void)
{
    printf("\n    %-10s %-11s %7s %9s %7s %7s %7s %6s\n", "operation", "call", "calls", "libraries", "SQLite", "tried",
           "failed", "found");
}

static void print_row(const struct driver *driver, size_t call)
{
    const struct row *row = &driver->row[call];
    if (row->tried > 0)
        printf(ROW, driver->operation->name, calls[call].name, row->seen, row->by_library, row->by_sqlite, row->tried,
               row->met, row->found);
    fflush(stdout);
}

static void print_sum(const struct driver *driver)
{
    struct row sum = {0};
    for (size_t i = 0; i < FAULT_CALLS; i++) {
        const struct row *row = &driver->row[i];
        sum.seen += row->seen;
        sum.by_library += row->by_library;
        sum.by_sqlite += row->by_sqlite;
        sum.tried += row->tried;
        sum.met += row->met;
        sum.found += row->found;
    }
    printf(ROW, driver->operation->name, "all", sum.seen, sum.by_library, sum.by_sqlite, sum.tried, sum.met, sum.found);
    printf("    (%zu events twice, for a reason; the slowest trial took %lld ms) ", driver->scene.twice,
           (long long)driver->slowest_ms);
}

/* N from 1, or `first`, until nothing fails any more. */
static void try_all_of(struct driver *driver, enum fault_call call, int error, unsigned first)
{
    unsigned wanted = call == FAULT_MEMORY ? driver->options->memory : driver->options->step;
    unsigned step = wanted > 1 ? wanted : 1;
    if (driver->options->nth > 0) {
        try_point(driver, call, error, driver->options->nth);
        return;
    }
    for (unsigned nth = 1 + first % step; try_point(driver, call, error, nth); nth += step)
        ;
}

static void try_all(struct driver *driver)
{
    print_head();
    for (size_t call = 0; call < FAULT_CALLS; call++) {
        for (size_t i = 0; is_wanted(driver, call) && i < CALL_ERRORS && calls[call].error[i] != 0; i++) {
            if (driver->options->error == 0 || driver->options->error == calls[call].error[i])
                try_all_of(driver, (enum fault_call)call, calls[call].error[i], (unsigned)i);
        }
        print_row(driver, call);
    }
    print_sum(driver);
}

static void try_some(struct driver *driver, moment until)
{
    unsigned random = driver->options->random;
    while (clock_now() < until) {
        size_t call = (size_t)rand_r(&random) % FAULT_CALLS, errors = 0;
        while (errors < CALL_ERRORS && calls[call].error[errors] != 0)
            errors++;
        int error = errors == 0 ? 0 : calls[call].error[(size_t)rand_r(&random) % errors];
        unsigned nth = (unsigned)rand_r(&random);
        if (driver->row[call].seen > 0 && error != 0 && is_wanted(driver, call))
            try_point(driver, (enum fault_call)call, error, nth % driver->row[call].seen + 1);
    }
}

void driver_try(const struct operation *operation, const struct driver_options *options)
{
    struct driver driver = {.operation = operation, .options = options};
    moment began = clock_now();
    if (scene_open(&driver.scene)) {
        operation->prepare(&driver.scene);
        if (!count_calls(&driver))
            ;
        else if (options->most_ms > 0)
            try_some(&driver, began + options->most_ms);
        else
            try_all(&driver);
        check(driver.scene.findings == 0, "%s: in %zu trials something was found", operation->name,
              driver.scene.findings);
    }
    scene_close(&driver.scene);
}
