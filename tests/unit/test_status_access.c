/* Who guesses the admin password: slowed down by address, told to the log in words that fail2ban reads. */
#include <fcntl.h>
#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "status/access.h"
#include "tests/suites.h"
#include "tests/system/temporary.h"
#include "tests/unit/test_http_fake.h"
#include "watch/log.h"

/* "admin:correct horse", "admin:wrong" */
#define RIGHT "Basic YWRtaW46Y29ycmVjdCBob3JzZQ=="
#define WRONG "Basic YWRtaW46d3Jvbmc="

static char password[] = "correct horse";
static const struct config config = {.admin = ADMIN_PASSWORD, .admin_password = password};
static struct guesses guesses;

static enum access try(const char *address, const char *authorization)
{
    static struct fake_request fake;
    const struct fake_variable variables[] = {
        {"REMOTE_ADDR", address}, {"HTTP_AUTHORIZATION", authorization}, {NULL, NULL}};
    fake_init(&fake, variables, "", 0);
    enum access access = access_check(&config, &guesses, &fake.request);
    fake_end(&fake);
    return access;
}

static void quiet(void)
{
    log_open(LEVEL_ERROR);
    guesses_init(&guesses);
}

static void done(void)
{
    guesses_free(&guesses);
    log_open(LEVEL_INFO);
}

/* Sends wrong ones until they are slowed down. Returns how many were compared. */
static size_t guess(const char *address)
{
    size_t compared = 0;
    while (compared < 10000 && try(address, WRONG) == ACCESS_ASK)
        compared++;
    return compared;
}

static void guessing_is_slow(void)
{
    quiet();
    size_t compared = guess("192.0.2.1");
    CU_ASSERT(compared >= GUESSES_AT_ONCE && compared < 100);
    /* what comes then is not compared: even the right one tells nothing */
    CU_ASSERT_EQUAL(try("192.0.2.1", RIGHT), ACCESS_SLOWED);
    /* an IPv6 network counts as one address */
    CU_ASSERT(guess("2001:db8::1") >= GUESSES_AT_ONCE);
    CU_ASSERT_EQUAL(try("2001:db8::2:2", WRONG), ACCESS_SLOWED);
    CU_ASSERT_EQUAL(try("2001:db8:0:1::2", WRONG), ACCESS_ASK);
    done();
}

static void one_guess_a_second_is_allowed_again(void)
{
    moment now = 1000000;
    guesses_init(&guesses);
    for (int i = 0; i < GUESSES_AT_ONCE; i++) {
        CU_ASSERT_TRUE(guesses_may_try(&guesses, "192.0.2.1", now));
        guesses_wrong(&guesses, "192.0.2.1", true, now);
    }
    CU_ASSERT_FALSE(guesses_may_try(&guesses, "192.0.2.1", now + GUESSES_EVERY_MS - 1));
    CU_ASSERT_TRUE(guesses_may_try(&guesses, "192.0.2.1", now + GUESSES_EVERY_MS));
    guesses_wrong(&guesses, "192.0.2.1", true, now + GUESSES_EVERY_MS);
    CU_ASSERT_FALSE(guesses_may_try(&guesses, "192.0.2.1", now + GUESSES_EVERY_MS));
    guesses_free(&guesses);
}

static void nobody_is_hindered_by_others(void)
{
    quiet();
    CU_ASSERT_EQUAL(try("192.0.2.7", RIGHT), ACCESS_ALLOWED);
    for (int i = 0; i < 2 * GUESSES_ADDRESSES; i++) {
        char address[32];
        snprintf(address, sizeof address, "198.51.%d.%d", i / 200, i % 200);
        try(address, WRONG);
    }
    guess("192.0.2.1");
    CU_ASSERT_EQUAL(try("192.0.2.2", RIGHT), ACCESS_ALLOWED); /* from elsewhere */
    guess("192.0.2.7");                                       /* behind a proxy that hides its clients */
    CU_ASSERT_EQUAL(try("192.0.2.7", RIGHT), ACCESS_ALLOWED);
    CU_ASSERT_EQUAL(try("192.0.2.2", NULL), ACCESS_ASK);
    done();
}

/* What stderr gets of some requests; the caller frees. */
static char *logged_by(void (*act)(void))
{
    char directory[PATH_SIZE], file[PATH_SIZE];
    CU_ASSERT_TRUE_FATAL(temporary_make(directory));
    path_join(file, directory, "log");
    int before = dup(STDERR_FILENO);
    int fd = open(file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    dup2(fd, STDERR_FILENO);
    close(fd);
    log_open(LEVEL_INFO);
    act();
    dup2(before, STDERR_FILENO);
    close(before);
    log_open(LEVEL_INFO);
    char *text = temporary_read(directory, "log");
    temporary_remove(directory);
    return text;
}

static void guess_from_some(void)
{
    guesses_init(&guesses);
    for (int i = 0; i < 2 * GUESSES_AT_ONCE; i++)
        try("192.0.2.1", WRONG);
    try("2001:db8::1", WRONG);
    try("192.0.2.3 msg=started", WRONG);
    try("192.0.2.4", NULL);
    try("192.0.2.5", RIGHT);
    guesses_free(&guesses);
}

/* README's failregex, with a group of an address for its <HOST>, as fail2ban has it. */
static void regex_of_readme(char *out, size_t size)
{
    static const char mark[] = "failregex = ", host[] = "<HOST>";
    char *readme = temporary_read(".", "README.md");
    CU_ASSERT_PTR_NOT_NULL_FATAL(readme);
    char *at = strstr(readme, mark);
    CU_ASSERT_PTR_NOT_NULL_FATAL(at);
    at += sizeof mark - 1;
    at[strcspn(at, "\n")] = '\0';
    char *in = strstr(at, host);
    CU_ASSERT_PTR_NOT_NULL_FATAL(in);
    snprintf(out, size, "%.*s([0-9a-fA-F.:]+)%s", (int)(in - at), at, in + sizeof host - 1);
    free(readme);
}

static void fail2ban_reads_the_log(void)
{
    char pattern[256], *log = logged_by(guess_from_some);
    static const char *const banned[] = {"192.0.2.1", "2001:db8::1"};
    regex_t regex;
    regmatch_t match[2];
    size_t found = 0;
    regex_of_readme(pattern, sizeof pattern);
    CU_ASSERT_EQUAL_FATAL(regcomp(&regex, pattern, REG_EXTENDED | REG_NEWLINE), 0);
    CU_ASSERT_PTR_NOT_NULL_FATAL(log);
    for (const char *at = log; regexec(&regex, at, 2, match, 0) == 0; at += match[0].rm_eo) {
        size_t length = (size_t)(match[1].rm_eo - match[1].rm_so);
        bool right =
            found < 2 && length == strlen(banned[found]) && memcmp(at + match[1].rm_so, banned[found], length) == 0;
        CU_ASSERT_TRUE(right);
        found++;
    }
    CU_ASSERT_EQUAL(found, 2); /* one line of each address and second */
    CU_ASSERT_PTR_NOT_NULL(strstr(log, "kind=wrong_admin_password remote=unknown\n"));
    CU_ASSERT_PTR_NULL(strstr(log, "192.0.2.3"));
    CU_ASSERT_PTR_NULL(strstr(log, "192.0.2.4"));
    CU_ASSERT_PTR_NULL(strstr(log, "192.0.2.5"));
    regfree(&regex);
    free(log);
}

void suite_status_access(void)
{
    static CU_TestInfo tests[] = {
        {"guessing is slow", guessing_is_slow},
        {"one guess a second is allowed again", one_guess_a_second_is_allowed_again},
        {"nobody is hindered by others", nobody_is_hindered_by_others},
        {"fail2ban reads the log", fail2ban_reads_the_log},
        CU_TEST_INFO_NULL,
    };
    suite_add("status_access", NULL, NULL, tests);
}
