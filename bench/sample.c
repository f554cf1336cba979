/* The sample's places: see sample.h. */
#include "bench/sample.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SAMPLE_MOST 65536
#define ID_DIGITS 22
#define LEAD_DIGITS 5
#define LEADS 10000

int64_t bench_now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

void bench_give_up(const char *what)
{
    fprintf(stderr, "%s: %s%s%s\n", program_invocation_name, what, errno == 0 ? "" : ": ",
            errno == 0 ? "" : strerror(errno));
    exit(1);
}

void *bench_allocate(size_t count, size_t size)
{
    void *memory = calloc(count, size);
    if (memory == NULL)
        bench_give_up("out of memory");
    return memory;
}

/* The place behind the last occurrence of a text. */
static size_t find_last(const struct sample *sample, const char *text)
{
    const char *found = NULL;
    for (const char *at = sample->body; (at = strstr(at, text)) != NULL; at++)
        found = at;
    errno = 0;
    if (found == NULL)
        bench_give_up("the sample is not the documented webhook");
    return (size_t)(found - sample->body) + strlen(text);
}

void sample_read(struct sample *sample, const char *path)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL)
        bench_give_up(path);
    sample->body = bench_allocate(1, SAMPLE_MOST + 1);
    sample->length = fread(sample->body, 1, SAMPLE_MOST, file);
    fclose(file);
    sample->id = find_last(sample, "\"id\": \"ev_");
    sample->lead = find_last(sample, "\"lead_id\": \"lead_");
}

void sample_number(const struct sample *sample, char *body, uint32_t run, uint64_t number)
{
    char digits[ID_DIGITS + 1];
    snprintf(digits, sizeof digits, "%08" PRIx32 "%014" PRIu64, run, number % 100000000000000);
    memcpy(body + sample->id, digits, ID_DIGITS);
    snprintf(digits, sizeof digits, "%0*" PRIu64, LEAD_DIGITS, number % LEADS);
    memcpy(body + sample->lead, digits, LEAD_DIGITS);
}

void sample_free(struct sample *sample)
{
    free(sample->body);
}
