/* Suites side by side: see parallel.h. */
#include "tests/parallel.h"

#include <CUnit/Basic.h>
#include <CUnit/TestRun.h>
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"

#if defined __SANITIZE_THREAD__ || defined __SANITIZE_ADDRESS__
#define LIMIT_MS ((int64_t)900000)
#else
#define LIMIT_MS ((int64_t)300000)
#endif
#define LOOK_US 20000

/* What a suite's process leaves in memory that it shares with this one. */
struct result {
    bool ended; /* it came to its end */
    unsigned tests;
    unsigned tests_failed;
    unsigned asserts;
    unsigned asserts_failed;
};

struct job {
    CU_pSuite suite;
    struct result *result;
    FILE *output;
    pid_t pid; /* 0: it does not run */
    moment began;
    bool failed;
};

struct run {
    struct job *jobs;
    size_t count;
    size_t started;
    size_t running;
    double processor_seconds;
    FILE *failures; /* one a line; all processes append to it */
};

static void note_failures(FILE *failures)
{
    for (CU_pFailureRecord at = CU_get_failure_list(); at != NULL; at = at->pNext)
        fprintf(failures, "    %s: %s: %s:%u: %s\n", at->pSuite == NULL ? "?" : at->pSuite->pName,
                at->pTest == NULL ? "at its start or end" : at->pTest->pName, at->strFileName, at->uiLineNumber,
                at->strCondition == NULL ? "" : at->strCondition);
    fflush(failures);
}

/* In the suite's process. */
static _Noreturn void run_suite(struct job *job, FILE *failures)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    setpgid(0, 0);
    dup2(fileno(job->output), STDOUT_FILENO);
    dup2(fileno(job->output), STDERR_FILENO);
    CU_basic_set_mode(CU_BRM_VERBOSE);
    CU_ErrorCode error = CU_basic_run_suite(job->suite);
    note_failures(failures);
    *job->result = (struct result){.ended = error == CUE_SUCCESS && CU_get_number_of_suites_failed() == 0,
                                   .tests = CU_get_number_of_tests_run(),
                                   .tests_failed = CU_get_number_of_tests_failed(),
                                   .asserts = CU_get_number_of_asserts(),
                                   .asserts_failed = CU_get_number_of_failures()};
    bool failed = error != CUE_SUCCESS || CU_get_number_of_failures() + CU_get_number_of_suites_failed() > 0;
    CU_cleanup_registry();
    exit(failed);
}

static void start(struct run *run)
{
    struct job *job = &run->jobs[run->started++];
    job->output = tmpfile();
    job->began = clock_now();
    fflush(stdout);
    job->pid = job->output == NULL ? -1 : fork();
    if (job->pid == 0)
        run_suite(job, run->failures);
    if (job->pid < 0) {
        perror("a suite cannot be started");
        exit(1);
    }
    run->running++;
}

/* Without CUnit's heading and the summary of one suite. */
static void print_output(FILE *output)
{
    char line[4096];
    bool heading = true;
    rewind(output);
    while (fgets(line, sizeof line, output) != NULL && strncmp(line, "Run Summary:", 12) != 0) {
        heading = heading && strncmp(line, "Suite: ", 7) != 0;
        if (!heading)
            fputs(line, stdout);
    }
    if (heading) /* it printed nothing that is known: all of it, then */
        rewind(output);
    while (heading && fgets(line, sizeof line, output) != NULL)
        fputs(line, stdout);
}

/* What a suite's process used, and those that it waited for. */
static double processor_seconds(const struct rusage *used)
{
    return (double)(used->ru_utime.tv_sec + used->ru_stime.tv_sec) +
           (double)(used->ru_utime.tv_usec + used->ru_stime.tv_usec) / 1e6;
}

static void finish(struct run *run, struct job *job, int status, const struct rusage *used)
{
    double seconds = (double)(clock_now() - job->began) / 1000;
    bool ended = job->result->ended;
    job->failed = !WIFEXITED(status) || WEXITSTATUS(status) != 0 || !ended;
    job->pid = 0;
    run->running--;
    print_output(job->output);
    fclose(job->output);
    printf("---- %s: %s in %.1f s, processor %.1f s\n", job->suite->pName, job->failed ? "FAILED" : "passed", seconds,
           processor_seconds(used));
    run->processor_seconds += processor_seconds(used);
    if (WIFSIGNALED(status))
        fprintf(run->failures, "    %s: ended by signal %d after %.1f s\n", job->suite->pName, WTERMSIG(status),
                seconds);
    else if (job->failed && job->result->asserts_failed == 0)
        fprintf(run->failures, "    %s: its process ended with %d\n", job->suite->pName, WEXITSTATUS(status));
    fflush(run->failures);
}

/* One that has ended, or takes too long. Returns whether there was one. */
static bool reap(struct run *run)
{
    int status;
    struct rusage used;
    for (size_t i = 0; i < run->started; i++) {
        struct job *job = &run->jobs[i];
        if (job->pid > 0 && wait4(job->pid, &status, WNOHANG, &used) == job->pid) {
            finish(run, job, status, &used);
            return true;
        }
        if (job->pid > 0 && clock_now() - job->began > LIMIT_MS)
            kill(-job->pid, SIGKILL);
    }
    return false;
}

static void print_failures(FILE *failures)
{
    char line[4096];
    bool any = false;
    rewind(failures);
    for (; fgets(line, sizeof line, failures) != NULL; any = true)
        printf("%s%s", any ? "" : "\nFailures:\n", line);
}

/* In CUnit's words. */
static bool print_summary(const struct run *run, moment began)
{
    struct result all = {0};
    unsigned failed = 0;
    for (size_t i = 0; i < run->count; i++) {
        const struct result *result = run->jobs[i].result;
        failed += run->jobs[i].failed;
        all.tests += result->tests;
        all.tests_failed += result->tests_failed;
        all.asserts += result->asserts;
        all.asserts_failed += result->asserts_failed;
    }
    printf("\nRun Summary:    Type    Ran Passed Failed\n");
    printf("              suites %6zu %6zu %6u\n", run->count, run->count - failed, failed);
    printf("               tests %6u %6u %6u\n", all.tests, all.tests - all.tests_failed, all.tests_failed);
    printf("             asserts %6u %6u %6u\n", all.asserts, all.asserts - all.asserts_failed, all.asserts_failed);
    print_failures(run->failures);
    printf("\nElapsed time = %.0f seconds, processor time = %.0f seconds\n", (double)(clock_now() - began) / 1000,
           run->processor_seconds);
    return failed == 0;
}

static struct run prepare(void)
{
    struct run run = {.count = CU_get_registry()->uiNumberOfSuites, .failures = tmpfile()};
    struct result *results =
        mmap(NULL, run.count * sizeof *results, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    size_t at = run.count;
    run.jobs = calloc(run.count, sizeof *run.jobs);
    if (run.jobs == NULL || run.failures == NULL || results == MAP_FAILED) {
        perror("the suites cannot be run");
        exit(1);
    }
    for (CU_pSuite suite = CU_get_registry()->pSuite; suite != NULL; suite = suite->pNext) {
        at--;
        run.jobs[at].suite = suite;
        run.jobs[at].result = &results[at];
    }
    return run;
}

static void shuffle(struct run *run, unsigned seed)
{
    printf("The order of the suites: CLOSECRM_TEST_SEED=%u\n", seed);
    for (size_t left = run->count; left > 1; left--) {
        size_t chosen = (size_t)rand_r(&seed) % left;
        CU_pSuite suite = run->jobs[chosen].suite;
        run->jobs[chosen].suite = run->jobs[left - 1].suite;
        run->jobs[left - 1].suite = suite;
    }
}

bool parallel_run(size_t jobs, unsigned seed)
{
    moment began = clock_now();
    struct run run = prepare();
    if (seed != 0)
        shuffle(&run, seed);
    while (run.started < run.count || run.running > 0) {
        if (run.started < run.count && run.running < jobs)
            start(&run);
        else if (!reap(&run))
            usleep(LOOK_US);
    }
    bool passed = print_summary(&run, began);
    fclose(run.failures);
    munmap(run.jobs[0].result, run.count * sizeof *run.jobs[0].result);
    free(run.jobs);
    return passed;
}
