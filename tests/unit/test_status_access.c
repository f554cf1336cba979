/* Who guesses the admin password: slowed down by address, told to the log in words that fail2ban reads. */
#include <fcntl.h>
#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "status/status_private.h"
#include "tests/suites.h"
#include "tests/support/http_fake.h"
#include "tests/support/temporary.h"

/* "admin:correct horse", "admin:wrong" */
#define RIGHT "Basic YWRtaW46Y29ycmVjdCBob3JzZQ=="
#define WRONG "Basic YWRtaW46d3Jvbmc="

static char password[] = "correct horse";
static const struct config config = {.admin = ADMIN_PASSWORD, .admin_password = password};
static struct guesses guesses;

static enum access_result try(const char *address, const char *authorization)
{
    static struct fake_request fake;
    const struct fake_variable variables[] = {
        {"REMOTE_ADDR", address}, {"HTTP_AUTHORIZATION", authorization}, {NULL, NULL}};
    fake_init(&fake, variables, "", 0);
    enum access_result access = access_check(&config, &guesses, &fake.request);
    fake_end(&fake);
    return access;
}

/* What a web server says of who asks. */
static enum access_result let_in(const char *user, const char *type, const char *server)
{
    static struct fake_request fake;
    static const struct config by_server = {.admin = ADMIN_SERVER};
    const struct fake_variable variables[] = {
        {"REMOTE_USER", user}, {"AUTH_TYPE", type}, {"SERVER_SOFTWARE", server}, {NULL, NULL}};
    fake_init(&fake, variables, "", 0);
    enum access_result access = access_check(&by_server, &guesses, &fake.request);
    fake_end(&fake);
    return access;
}

static void who_is_let_in_by_the_server(void)
{
    static const struct {
        const char *user, *type, *server;
        enum access_result access;
    } rows[] = {
        {"admin", "Basic", NULL, ACCESS_ALLOWED},
        {"admin", "Basic", "nginx/1.22.1", ACCESS_ALLOWED},
        {"admin", NULL, "Apache/2.4.57 (Debian)", ACCESS_ALLOWED}, /* a client certificate */
        {"admin", NULL, "lighttpd/1.4.69", ACCESS_ALLOWED},
        {"admin", NULL, "nginx/1.22.1", ACCESS_NOT_LET_IN},
        {"admin", NULL, NULL, ACCESS_NOT_LET_IN},
        {"admin", "", "", ACCESS_NOT_LET_IN},
        {NULL, "Basic", "Apache", ACCESS_NOT_LET_IN},
        {"", "Basic", "Apache", ACCESS_NOT_LET_IN},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        CU_ASSERT_EQUAL(let_in(rows[i].user, rows[i].type, rows[i].server), rows[i].access);
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

/* The documentation's failregex, with a group of an address for its <ADDR>, as fail2ban has it. Returns the number of
 * the group.
 */
static size_t regex_of_documentation(char *out, size_t size)
{
    static const char mark[] = "failregex = ", host[] = "<ADDR>";
    size_t group = 1;
    char *documentation = temporary_read("docs", "troubleshooting.md");
    CU_ASSERT_PTR_NOT_NULL_FATAL(documentation);
    char *at = strstr(documentation, mark);
    CU_ASSERT_PTR_NOT_NULL_FATAL(at);
    at += sizeof mark - 1;
    at[strcspn(at, "\n")] = '\0';
    char *in = strstr(at, host);
    CU_ASSERT_PTR_NOT_NULL_FATAL(in);
    for (const char *c = at; c < in; c++)
        group += *c == '(' ? 1 : 0;
    snprintf(out, size, "%.*s([0-9a-fA-F.:]+)%s", (int)(in - at), at, in + sizeof host - 1);
    free(documentation);
    return group;
}

#define GROUPS 8

/* The address that a line is matched with, in out; "" when it is not. */
static const char *banned_by(const char *line, char out[static 64])
{
    char pattern[400];
    regex_t regex;
    regmatch_t match[GROUPS];
    size_t group = regex_of_documentation(pattern, sizeof pattern);
    CU_ASSERT_EQUAL_FATAL(regcomp(&regex, pattern, REG_EXTENDED), 0);
    CU_ASSERT_FATAL(group < GROUPS);
    bool found = regexec(&regex, line, GROUPS, match, 0) == 0;
    snprintf(out, 64, "%.*s", found ? (int)(match[group].rm_eo - match[group].rm_so) : 0,
             found ? line + match[group].rm_so : "");
    regfree(&regex);
    return out;
}

static void fail2ban_reads_the_log(void)
{
    char *log = logged_by(guess_from_some), *rest = NULL, address[64];
    static const char *const banned[] = {"192.0.2.1", "2001:db8::1"}; /* one line of each address and second */
    size_t found = 0;
    CU_ASSERT_PTR_NOT_NULL_FATAL(log);
    CU_ASSERT_PTR_NOT_NULL(strstr(log, "kind=wrong_admin_password remote=unknown\n"));
    CU_ASSERT_PTR_NULL(strstr(log, "192.0.2.3"));
    CU_ASSERT_PTR_NULL(strstr(log, "192.0.2.4"));
    CU_ASSERT_PTR_NULL(strstr(log, "192.0.2.5"));
    for (char *line = strtok_r(log, "\n", &rest); line != NULL; line = strtok_r(NULL, "\n", &rest)) {
        if (banned_by(line, address)[0] != '\0' && found++ < 2)
            CU_ASSERT_STRING_EQUAL(address, banned[found - 1]);
    }
    CU_ASSERT_EQUAL(found, 2);
    free(log);
}

#define GUESS "warn msg=refused kind=wrong_admin_password remote="
#define APACHE "[] [cgi:error] [pid 2875:tid 2875] [client 192.0.2.1:46960] "
#define STDERR APACHE "AH01215: stderr from /usr/lib/cgi-bin/closecrm.cgi: "

/* Lines as the logs have them once fail2ban has cut the date out. 203.0.113.9 is whom a client would like to have
 * banned, by what it sends; nor may it hide its own line. */
static void fail2ban_is_not_misled(void)
{
    static const struct {
        const char *line, *banned;
    } rows[] = {
        {GUESS "192.0.2.1", "192.0.2.1"},
        {" host closecrm.fcgi[42]: " GUESS "2001:db8::1", "2001:db8::1"},
        {STDERR GUESS "192.0.2.1", "192.0.2.1"},
        {STDERR GUESS "192.0.2.1, referer: https://example.com/", "192.0.2.1"},
        {STDERR GUESS "192.0.2.1, referer: x\" " GUESS "203.0.113.9", "192.0.2.1"},
        {STDERR GUESS "192.0.2.1, referer: , referer: x", "192.0.2.1"},
        {STDERR GUESS "unknown, referer: " GUESS "203.0.113.9", ""},
        {STDERR
         "warn msg=refused kind=no_signature status=401 source=- remote=\"192.0.2.1\" reason=\"x\", referer: " GUESS
         "203.0.113.9",
         ""},
        {APACHE "AH00128: File does not exist: /srv/" GUESS "203.0.113.9", ""},
        {APACHE "PHP Notice: " GUESS "203.0.113.9", ""},
        {APACHE GUESS "203.0.113.9", ""}, /* what another application logs there */
        {" host sshd[7]: Invalid user closecrm[1]: " GUESS "203.0.113.9 from 192.0.2.1", ""},
        {"sshd[7]: closecrm[1]: " GUESS "203.0.113.9 from 192.0.2.1", ""},
        {"sshd[7]: closecrm[1]: " GUESS "203.0.113.9", ""},
        {" host sshd[7]: Invalid user " GUESS "203.0.113.9", ""},
        {"2026/11/28 10:12:37 [error] 7#7: *1 open() \"/srv/x\" failed, client: 192.0.2.1, referrer: \"" GUESS
         "203.0.113.9",
         ""},
    };
    char address[64];
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        CU_ASSERT_STRING_EQUAL(banned_by(rows[i].line, address), rows[i].banned);
}

void suite_status_access(void)
{
    static CU_TestInfo tests[] = {
        {"who is let in by the server", who_is_let_in_by_the_server},
        {"guessing is slow", guessing_is_slow},
        {"one guess a second is allowed again", one_guess_a_second_is_allowed_again},
        {"nobody is hindered by others", nobody_is_hindered_by_others},
        {"fail2ban reads the log", fail2ban_reads_the_log},
        {"fail2ban is not misled", fail2ban_is_not_misled},
        CU_TEST_INFO_NULL,
    };
    suite_add("status_access", NULL, NULL, tests);
}
