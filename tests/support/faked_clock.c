/* What libfaketime is told: see its README. */
#include "tests/support/faked_clock.h"

#include <CUnit/CUnit.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tests/support/temporary.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED true
#else
#define SANITIZED false
#endif

/* Debian's places, by the machine. */
static const char *const libraries[] = {
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
};

static const char *library(void)
{
    for (size_t i = 0; !SANITIZED && i < sizeof libraries / sizeof *libraries; i++) {
        if (access(libraries[i], R_OK) == 0)
            return libraries[i];
    }
    return NULL;
}

bool faked_clock_works(void)
{
    if (library() == NULL)
        printf("(skipped: no libfaketime beside this build) ");
    return library() != NULL;
}

static const char *const *words(const char *first, const char *second, const char *third)
{
    static char preload[PATH_SIZE];
    static const char *all[6];
    const char *path = library();
    snprintf(preload, sizeof preload, "LD_PRELOAD=%s", path == NULL ? "" : path);
    const char *const given[] = {"/usr/bin/env", preload, first, second, third, NULL};
    memcpy(all, given, sizeof given);
    return all;
}

const char *const *faked_clock_that_jumps(const struct site *site)
{
    static char file[PATH_SIZE * 2];
    snprintf(file, sizeof file, "FAKETIME_TIMESTAMP_FILE=%s/clock", site->directory);
    return words(file, "FAKETIME_DONT_FAKE_MONOTONIC=1", "FAKETIME_NO_CACHE=1");
}

const char *const *faked_clock_that_runs(const char *factor)
{
    static char speed[64];
    snprintf(speed, sizeof speed, "FAKETIME=+0 %s", factor);
    return words(speed, NULL, NULL);
}

void faked_clock_set(const struct site *site, const char *offset)
{
    CU_ASSERT(temporary_write(site->directory, "clock", 0644, offset, strlen(offset)));
}
