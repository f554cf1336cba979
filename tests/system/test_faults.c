/* Every call fails once: the real program, with a library between it and libc that makes the nth call of a kind fail,
 * or kills the program there. Whatever fails, what was answered 200 arrives, once and unaltered, keys and counts agree,
 * nothing hangs, nothing crashes, and a command that did not go through says why, and does afterwards. In CI a few
 * points by chance; `make test-faults` tries all, OPERATION=accept CALL=write some of them. */
#include "tests/suites.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tests/faults/driver.h"
#include "tests/faults/order.h"
#include "tests/support/check.h"

#define DAY_SECONDS (24 * 60 * 60) /* other points each day: what fails today fails again today */
#define SAMPLE_MS 2000             /* of an operation */
#define OPERATIONS_MOST 16

static const char *wanted(const char *variable)
{
    const char *text = getenv(variable);
    return text == NULL || *text == '\0' ? NULL : text;
}

static unsigned number(const char *variable)
{
    const char *text = wanted(variable);
    return text == NULL ? 0 : (unsigned)strtoul(text, NULL, 10);
}

static const struct operation *find(const char *name)
{
    for (const struct operation *one = operations; one->name != NULL; one++) {
        if (strcmp(one->name, name) == 0)
            return one;
    }
    return NULL;
}

static void all_points(void)
{
    const char *name = wanted("CLOSECRM_FAULTS_OPERATION");
    const struct driver_options options = {.call = wanted("CLOSECRM_FAULTS_CALL"),
                                           .nth = number("CLOSECRM_FAULTS_NTH"),
                                           .step = number("CLOSECRM_FAULTS_STEP"),
                                           .memory = number("CLOSECRM_FAULTS_MEMORY")};
    if (name != NULL && !check(find(name) != NULL, "%s is no operation", name))
        return;
    for (const struct operation *one = operations; one->name != NULL; one++) {
        if (name == NULL || one == find(name))
            driver_try(one, &options);
    }
}

/* Of accepting or settling, and of another operation, by chance. */
static void some_points(void)
{
    unsigned seed = suite_seed((unsigned)(time(NULL) / DAY_SECONDS));
    size_t others = 1;
    for (const struct operation *one = operations + 3; one->name != NULL; one++)
        others++;
    const struct driver_options options = {.most_ms = SAMPLE_MS, .random = seed};
    const struct operation *tried[] = {find(seed % 2 == 0 ? "accept" : "settle"), operations + 2 + seed / 2 % others};
    printf("(seed %u: %s, %s) ", seed, tried[0]->name, tried[1]->name);
    fflush(stdout);
    for (size_t i = 0; i < sizeof tried / sizeof *tried; i++)
        driver_try(tried[i], &options);
}

/* At which something was found, and no other test looks. */
static void known_points(void)
{
    static const struct {
        const char *operation, *call;
        unsigned nth;
    } points[] = {{"accept", "watch", 1}, /* the listening socket is armed again */
                  {"accept", "watch", 2},
                  {"accept", "wait", 2},    /* a thread that cannot wait does not end */
                  {"rotate", "rename", 0},  /* what was begun is noted before */
                  {"backup", "write", 30}}; /* a backup lacks nothing */
    for (size_t i = 0; i < sizeof points / sizeof *points; i++)
        driver_try(find(points[i].operation), &(struct driver_options){.call = points[i].call, .nth = points[i].nth});
}

/* A file is synced before it gets its name, and the name before a command says that it is done. */
static void order_of_syncs(void)
{
    static const char *const names[] = {"repair", "backup",   "restore", "subscribe",
                                        "rotate", "backfill", "settle",  "reconcile"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        order_try(find(names[i]));
}

void suite_faults(void)
{
    static CU_TestInfo all[] = {{"all points", all_points}, CU_TEST_INFO_NULL};
    static CU_TestInfo some[] = {{"order of syncs", order_of_syncs},
                                 {"known points", known_points},
                                 {"some points", some_points},
                                 CU_TEST_INFO_NULL};
    suite_add("faults", NULL, NULL, wanted("CLOSECRM_FAULTS") != NULL ? all : some);
}
