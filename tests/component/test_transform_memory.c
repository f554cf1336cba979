/* With too little memory there is no message, and that is said; never a crash, never a message with something missing:
 * json-c's printer, left alone, drops what does not fit. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/suites.h"
#include "tests/support/process.h"
#include "tests/support/transform_tools.h"

enum outcome { WHOLE, NO_MEMORY, WRONG };

/* An event with many strings and one of half a megabyte: what follows that one would still fit where it does not. */
static char *make_body(void)
{
    enum { STRINGS = 1000, LONG = 500000 };
    char *body = malloc(STRINGS * 64 + LONG + 256);
    CU_ASSERT_PTR_NOT_NULL_FATAL(body);
    char *at = body + sprintf(body, "{\"event\":{\"object_type\":\"a\",\"action\":\"b\",\"id\":\"ev_1\",\"data\":{");
    for (int i = 0; i < STRINGS; i++)
        at += sprintf(at, "\"name%d\":\"\\n%0*d\",", i, 1 + i % 30, i);
    sprintf(at, "\"long\":\"%0*d\",\"short\":1}}}", LONG, 1);
    return body;
}

/* out has room already, so that it is the printing that memory is too little for. */
static enum outcome transform(const char *body, const char *expected, struct buffer *out)
{
    static const struct rules none;
    bool out_of_memory = false;
    struct parsed *parsed = transform_parse(body, strlen(body), &out_of_memory, NULL);
    if (parsed == NULL)
        return out_of_memory ? NO_MEMORY : WRONG;
    enum transform_result result = transform_message(parsed, &none, false, out);
    parsed_free(parsed);
    if (result == TRANSFORM_FAILED)
        return out->length == 0 ? NO_MEMORY : WRONG;
    return out->length == strlen(expected) && memcmp(out->data, expected, out->length) == 0 ? WHOLE : WRONG;
}

/* Lets this process have only so many bytes more than it has. */
static bool limit_memory(size_t more)
{
    unsigned long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (file == NULL)
        return false;
    bool read = fscanf(file, "%lu", &pages) == 1;
    fclose(file);
    struct rlimit limit;
    if (!read || getrlimit(RLIMIT_AS, &limit) != 0)
        return false;
    limit.rlim_cur = (rlim_t)pages * (rlim_t)sysconf(_SC_PAGESIZE) + more;
    return setrlimit(RLIMIT_AS, &limit) == 0;
}

static int transform_in_child(const char *body, const char *expected, struct buffer *out, size_t more)
{
    fflush(stdout);
    pid_t child = fork();
    CU_ASSERT_TRUE_FATAL(child >= 0);
    if (child == 0)
        _exit(limit_memory(more) ? (int)transform(body, expected, out) : WRONG);
    int status;
    CU_ASSERT_EQUAL_FATAL(waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void test_little_memory(void)
{
    char *body = make_body();
    char *expected = tool_message(body, strlen(body), NULL, false);
    struct buffer out = {0};
    CU_ASSERT_PTR_NOT_NULL_FATAL(buffer_room(&out, strlen(expected)));
    size_t count[2] = {0};
    for (size_t more = 0; more <= (size_t)4 << 20; more += (size_t)16 << 10) {
        int outcome = transform_in_child(body, expected, &out, more);
        CU_ASSERT_TRUE_FATAL(outcome == WHOLE || outcome == NO_MEMORY);
        count[outcome]++;
    }
    CU_ASSERT_TRUE(count[NO_MEMORY] > 0);
    CU_ASSERT_TRUE(count[WHOLE] > 0);
    buffer_free(&out);
    free(expected);
    free(body);
}

void suite_transform_memory(void)
{
    static CU_TestInfo tests[] = {
        {"a message is whole or there is none", test_little_memory},
        CU_TEST_INFO_NULL,
    };
    if (process_can_limit_addresses())
        suite_add("transform memory", NULL, NULL, tests);
}
