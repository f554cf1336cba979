/* Advice that is printed works when it is typed: every command of this program in a text of the sources, and in the
 * golden file of findings, is tried against the command line itself; and where several sources may be configured, one
 * that is about a source names it. */
#include <ctype.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/program_name.h"
#include "commands/commands.h"
#include "config/config.h"
#include "tests/suites.h"
#include "tests/support/check.h"
#include "tests/support/commands_run.h"
#include "tests/support/made_config.h"

/* base to webhook, and what lies deeper; tests and the build are left out below */
static const char *const sources[] = {"[bcfhpqstw]*/*.c", "[bcfhpqstw]*/*/*.c"};
static const char *const documents[] = {"README.md", "docs/*.md", "packaging/bundle/GUIDE.txt",
                                        "packaging/after-install"};
#define FINDINGS_FILE "tests/data/findings.txt"
#define WORDS_MOST 12
#define LITERAL_MOST 4096
#define NO_SUCH_CONFIGURATION "/no-such-folder/closecrm.conf"

/* They act on one source, and do not choose it where several are configured. */
static const char *const of_source[] = {"subscribe", "unsubscribe", "pause",    "resume",
                                        "rotate",    "reconcile",   "backfill", "send-test"};

static struct ran ran;
static size_t tried;

/* ---- one command ---- */

static bool is_of_source(const char *name)
{
    for (size_t i = 0; i < sizeof of_source / sizeof *of_source; i++) {
        if (strcmp(of_source[i], name) == 0)
            return true;
    }
    return false;
}

/* What stands for a value: a conversion of printf, a name in capitals. */
static bool is_placeholder(const char *word)
{
    return word[0] == '%' || (isupper((unsigned char)word[0]) && strspn(word, "ABCDEFGHIJKLMNOPQRSTUVWXYZ_") > 1);
}

static const char *value_of(const char *word)
{
    if (strcmp(word, "COMMAND") == 0)
        return "check";
    if (strcmp(word, "URL") == 0)
        return "https://example.com/closecrm";
    return is_placeholder(word) ? "1" : word;
}

/* Splits the command at the start of the text into words, without the program's name; ends where prose goes on. Returns
 * how many there are. */
static size_t split(char *text, const char *words[static WORDS_MOST + 1])
{
    size_t count = 0;
    char *rest = NULL;
    text[strcspn(text, "`;,()<&\n")] = '\0';
    for (char *word = strtok_r(text, " ", &rest); word != NULL && count < WORDS_MOST;
         word = strtok_r(NULL, " ", &rest)) {
        bool is_option = word[0] == '-';
        bool is_value = count > 0 && words[count - 1][0] == '-';
        bool is_name = count < 2 && strspn(word, "abcdefghijklmnopqrstuvwxyz-") == strlen(word);
        if (!is_option && !is_value && !is_name && !is_placeholder(word) && strchr(word, '_') == NULL)
            break;
        words[count++] = word;
    }
    words[count] = NULL;
    return count;
}

/* Of two words that begin the command, whether both are its name. Returns 0 when there is none of that name. */
static size_t words_of_name(const char *const *words, size_t count)
{
    size_t commands;
    const struct command *all = commands_all(&commands);
    for (size_t length = 2; length >= 1; length--) {
        char name[64];
        snprintf(name, sizeof name, "%s%s%s", words[0], length == 2 ? " " : "",
                 length == 2 && count > 1 ? words[1] : "");
        for (size_t i = 0; length <= count && i < commands; i++) {
            if (strcmp(all[i].name, name) == 0)
                return length;
        }
    }
    return 0;
}

static bool is_wrong(const char *said)
{
    static const char *const faults[] = {"no such option", "no such command", "too many arguments",
                                         "needs a value",  "takes no value",  "what of it"};
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
        if (strstr(said, faults[i]) != NULL)
            return true;
    }
    return false;
}

/* Tries a command; text begins behind the program's name. names_source: it gets --source by itself. */
static void try_command(const char *where, const char *text, bool names_source)
{
    char copy[LITERAL_MOST];
    const char *words[WORDS_MOST + 2];
    snprintf(copy, sizeof copy, "%s", text);
    size_t count = split(copy, words);
    if (count == 0 || words[0][0] == '-' || is_placeholder(words[0]))
        return; /* usage: closecrm.fcgi COMMAND */
    size_t length = words_of_name(words, count);
    if (!check(length > 0, "%s: `%s` is no command: %.60s", where, words[0], text))
        return;
    bool has_option = false;
    while (count > length && strspn(words[count - 1], "abcdefghijklmnopqrstuvwxyz") == strlen(words[count - 1]) &&
           words[count - 2][0] != '-')
        count--; /* prose behind a name of one word */
    words[count] = NULL;
    for (size_t i = 0; i < count; i++) {
        has_option = has_option || strcmp(words[i], "--source") == 0;
        words[i] = value_of(words[i]);
    }
    if (length == 1 && is_of_source(words[0]))
        check(has_option || names_source, "%s: it names the source: %.60s", where, text);
    run_command(&ran, NULL, words);
    check(!is_wrong(ran.err), "%s: `%.80s` is a command line: %s", where, text, ran.err);
    tried++;
}

/* Tries those that stand between backquotes without the program's name: "`dead list` shows them". */
static void try_mentions(const char *where, const char *text)
{
    for (const char *at = text, *end; (at = strchr(at, '`')) != NULL && (end = strchr(at + 1, '`')) != NULL;
         at = end + 1) {
        char mention[LITERAL_MOST];
        const char *words[WORDS_MOST + 2];
        snprintf(mention, sizeof mention, "%.*s", (int)(end - at - 1), at + 1);
        char first[LITERAL_MOST];
        snprintf(first, sizeof first, "%s", mention);
        size_t count = split(first, words);
        if (count > 0 && islower((unsigned char)words[0][0]) && words_of_name(words, count) > 0)
            try_command(where, mention, true);
    }
}

/* Tries those in a text that names the program. names_source: as in try_command. */
static void try_text(const char *where, const char *text, bool names_source)
{
    try_mentions(where, text);
    static const char *const no_advice[] = {"a test by ", "by = "};
    for (const char *at = text; (at = strstr(at, PROGRAM_NAME " ")) != NULL; at += sizeof PROGRAM_NAME) {
        bool is_advice = true;
        for (size_t i = 0; i < sizeof no_advice / sizeof *no_advice; i++) {
            size_t length = strlen(no_advice[i]);
            if ((size_t)(at - text) >= length && strncmp(at - length, no_advice[i], length) == 0)
                is_advice = false;
        }
        const char *command = at + sizeof PROGRAM_NAME;
        if (is_advice && islower((unsigned char)*command) && strncmp(command, "takes ", 6) != 0)
            try_command(where, command, names_source);
    }
}

/* ---- the literals of a source file ---- */

/* Reads a literal at the quote, and those that follow it. Returns what comes behind. */
static const char *read_literal(const char *at, char out[static LITERAL_MOST])
{
    size_t length = 0;
    while (*at == '"') {
        for (at++; *at != '"' && *at != '\0'; at++) {
            bool is_escape = *at == '\\';
            at += is_escape;
            char c = is_escape && *at == 'n' ? '\n' : *at;
            if (length < LITERAL_MOST - 1)
                out[length++] = c;
        }
        at += *at == '"';
        const char *next = at + strspn(at, " \t\n");
        if (*next == '"')
            at = next;
    }
    out[length] = '\0';
    return at;
}

/* A call of own_command: its third argument is the source, its fourth the command. */
static void try_call(const char *where, const char *call)
{
    char words[LITERAL_MOST];
    const char *argument = call;
    int depth = 0, commas = 0;
    bool is_none = false;
    for (; *argument != '\0' && *argument != '"'; argument++) {
        depth += *argument == '(' || *argument == '{' || *argument == '[';
        depth -= *argument == ')' || *argument == '}' || *argument == ']';
        commas += *argument == ',' && depth == 1;
        if (commas == 2 && depth == 1 && strncmp(argument + 1, " NULL,", 6) == 0)
            is_none = true;
        if (depth == 0 && argument > call)
            return; /* a declaration */
    }
    if (commas != 3 || *argument != '"')
        return;
    read_literal(argument, words);
    try_command(where, words, !is_none);
}

static void try_file(const char *path)
{
    static const char call[] = "own_command(";
    static char text[262144], literal[LITERAL_MOST];
    FILE *file = fopen(path, "re");
    size_t size = file == NULL ? 0 : fread(text, 1, sizeof text - 1, file);
    text[size] = '\0';
    if (file != NULL)
        fclose(file);
    for (const char *at = text; *at != '\0';) {
        if (strncmp(at, "/*", 2) == 0) {
            const char *end = strstr(at, "*/");
            at = end == NULL ? at + strlen(at) : end + 2;
        } else if (*at == '\'') {
            at += at[1] == '\\' ? 4 : 3;
        } else if (*at == '"') {
            at = read_literal(at, literal);
            try_text(path, literal, false);
        } else {
            if (strncmp(at, call, sizeof call - 1) == 0)
                try_call(path, at + sizeof call - 2);
            at++;
        }
    }
}

/* ---- tests ---- */

/* Calls try with each file of these names but those of the tests and the build. */
static void try_files(const char *const *names, size_t count, void (*try_one)(const char *path))
{
    setenv("CLOSECRM_CONFIG", NO_SUCH_CONFIGURATION, 1);
    tried = 0;
    for (size_t k = 0; k < count; k++) {
        glob_t files;
        CU_ASSERT_EQUAL_FATAL(glob(names[k], 0, NULL, &files), 0); /* tests run in the project's folder */
        for (size_t i = 0; i < files.gl_pathc; i++) {
            const char *path = files.gl_pathv[i];
            if (strncmp(path, "tests/", 6) != 0 && strncmp(path, "build/", 6) != 0 && strncmp(path, "bench/", 6) != 0)
                try_one(path);
        }
        globfree(&files);
    }
    unsetenv("CLOSECRM_CONFIG");
}

static void every_command_in_a_text_can_be_typed(void)
{
    try_files(sources, sizeof sources / sizeof *sources, try_file);
    check(tried >= 100, "the sources are searched: %zu commands", tried);
}

/* The bundle's program is called closecrm.cgi, and its guide names it in prose, too. */
static void try_document(const char *path)
{
    static char text[262144];
    FILE *file = fopen(path, "re");
    CU_ASSERT_PTR_NOT_NULL_FATAL(file);
    text[fread(text, 1, sizeof text - 1, file)] = '\0';
    fclose(file);
    static const char command[] = "$HOME/public_html/cgi-bin/closecrm.cgi ";
    for (char *at = text; (at = strstr(at, command)) != NULL; at++)
        memcpy(at + sizeof command - 1 - sizeof PROGRAM_NAME, PROGRAM_NAME, sizeof PROGRAM_NAME - 1);
    for (char *rest = text, *line; (line = strsep(&rest, "\n")) != NULL;)
        try_text(path, line, true);
}

static void every_command_of_a_document_can_be_typed(void)
{
    try_files(documents, sizeof documents / sizeof *documents, try_document);
    check(tried >= 100, "the documents are searched: %zu commands", tried);
}

/* They are those of a configuration with several sources. */
static void every_command_of_a_finding_can_be_typed(void)
{
    static char text[131072];
    FILE *file = fopen(FINDINGS_FILE, "re");
    CU_ASSERT_PTR_NOT_NULL_FATAL(file);
    text[fread(text, 1, sizeof text - 1, file)] = '\0';
    fclose(file);
    setenv("CLOSECRM_CONFIG", NO_SUCH_CONFIGURATION, 1);
    tried = 0;
    for (char *rest = text, *line; (line = strsep(&rest, "\n")) != NULL;)
        try_text(FINDINGS_FILE, line, false);
    check(tried >= 20, "the findings are searched: %zu commands", tried);
    unsetenv("CLOSECRM_CONFIG");
}

static void a_command_names_its_source(void)
{
    static char url[] = "http://127.0.0.1:9";
    struct made_config made;
    char line[OWN_COMMAND];
    made_config_init(&made, url, url);
    program_name_use_configuration("");
    CU_ASSERT_STRING_EQUAL(own_command(line, &made.config, "one", "resume %s", "whsub_1"),
                           "closecrm.fcgi resume --source one whsub_1");
    CU_ASSERT_STRING_EQUAL(own_command(line, &made.config, NULL, "queue move %s NEW", "a"),
                           "closecrm.fcgi queue move a NEW");
    CU_ASSERT_STRING_EQUAL(own_command(line, &made.config, "two", "subscribe --url URL"),
                           "closecrm.fcgi subscribe --source two --url URL");
    made.config.sources = 1;
    CU_ASSERT_STRING_EQUAL(own_command(line, &made.config, "one", "reconcile"), "closecrm.fcgi reconcile");
}

void suite_advice(void)
{
    static CU_TestInfo tests[] = {
        {"every command in a text can be typed", every_command_in_a_text_can_be_typed},
        {"every command of a document can be typed", every_command_of_a_document_can_be_typed},
        {"every command of a finding can be typed", every_command_of_a_finding_can_be_typed},
        {"a command names its source", a_command_names_its_source},
        CU_TEST_INFO_NULL,
    };
    suite_add("advice", NULL, NULL, tests);
}
