/* A configuration file, and environment variables, to a configuration. Judges: reading twice says the same; a line of
 * the file and a variable of the environment with the same text mean the same; what is accepted is within the limits of
 * the table of keys; and no word of what is printed or complained of has a secret in it (sixteen times the letter Z
 * behind the name of a secret key). Before the first NUL stands the file, behind it variables, a line each. */
#include "config/config.h"

#include "config/internal.h"
#include "fuzz/rig/rig.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SECRET "ZZZZZZZZZZZZZZZZ"
#define VARIABLES 40

static char path[256];

static void write_file(struct slice text)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    RIG_CHECK(fd >= 0 && write(fd, text.at, text.length) == (ssize_t)text.length, "the file cannot be written");
    close(fd);
}

/* What is told of a reading: the configuration as printed, warnings and faults. */
struct told {
    struct config *config;
    char *text;
    size_t length;
};

static void read_once(struct told *told, char *const variables[])
{
    struct strings faults = {0};
    struct error why = {0};
    told->config = config_read_all(path, variables, &faults, &why);
    FILE *out = open_memstream(&told->text, &told->length);
    RIG_CHECK(out != NULL, "out of memory");
    if (told->config != NULL) {
        config_print(told->config, out);
        for (size_t i = 0; i < told->config->warnings.count; i++)
            fprintf(out, "warning %s\n", told->config->warnings.at[i]);
    }
    for (size_t i = 0; i < faults.count; i++)
        fprintf(out, "fault %s\n", faults.at[i]);
    fprintf(out, "why %s\n", why.text);
    fclose(out);
    RIG_CHECK((told->config == NULL) == (why.text[0] != '\0'), "refused without a reason, or accepted with one: %s",
              why.text);
    RIG_CHECK(told->config == NULL || faults.count == 0, "accepted, with a fault: %s", faults.at[0]);
    strings_free(&faults);
}

static void told_free(struct told *told)
{
    config_free(told->config);
    free(told->text);
}

/* Numbers are within their limits, choices are there, every source has what it needs. */
static void judge_values(const struct config *config)
{
    size_t count;
    const struct key *keys = keys_all(&count);
    for (size_t i = 0; i < count; i++) {
        for (size_t source = 0; keys[i].type->format != NULL && source < config->sources; source++) {
            const char *base =
                keys[i].scope == SCOPE_PROGRAM ? (const char *)config : (const char *)&config->source[source];
            int64_t value;
            memcpy(&value, base + keys[i].offset, sizeof value);
            RIG_CHECK(value >= keys[i].least && value <= keys[i].most, "%s is %lld", keys[i].name, (long long)value);
        }
    }
    RIG_CHECK(config->sources > 0, "no source");
    for (size_t i = 0; i < config->sources; i++) {
        const struct source *source = &config->source[i];
        RIG_CHECK(source->data_plane_url != NULL && strchr(source->data_plane_url, ':') != NULL, "no URL");
        RIG_CHECK(strpbrk(source->data_plane_url, "\r\n \t") == NULL, "a URL with a blank");
        for (size_t k = 0; k < source->signature_keys; k++)
            RIG_CHECK(source->signature_key[k].length > 0, "an empty signature key");
        for (size_t k = 0; k < source->write_key.count; k++)
            RIG_CHECK(source->write_key.at[k][0] != '\0', "an empty write key");
    }
}

/* Two configurations of one key, by the file and by the environment, that nothing else differs in. */
static void judge_ways(const struct key *key, const char *value)
{
    static char *const none[] = {NULL};
    char name[VARIABLE_SIZE];
    struct buffer file = {0}, variable = {0};
    struct told by_file, by_environment;
    static const char rest[] = "data_plane_url = https://example.com\nwrite_key = wk\n";
    buffer_text(&file, key->name);
    buffer_text(&file, " = ");
    buffer_text(&file, value);
    buffer_text(&file, "\n");
    bool own = strcmp(key->name, "data_plane_url") == 0 || strcmp(key->name, "write_key") == 0;
    if (strcmp(key->name, "write_key") == 0)
        buffer_append(&file, rest, strcspn(rest, "\n") + 1);
    else if (own)
        buffer_text(&file, strchr(rest, '\n') + 1);
    else
        buffer_text(&file, rest);
    write_file(rig_slice(&file));
    read_once(&by_file, none);
    buffer_text(&variable, key_variable(key, false, name));
    buffer_text(&variable, "=");
    buffer_append(&variable, value, strlen(value) + 1);
    write_file((struct slice){strchr(file.data, '\n') + 1, file.length - strcspn(file.data, "\n") - 1});
    read_once(&by_environment, (char *const[]){variable.data, NULL});
    RIG_CHECK((by_file.config == NULL) == (by_environment.config == NULL),
              "%s = %s is %s in the file, and not in the environment: %s%s", key->name, value,
              by_file.config == NULL ? "refused" : "taken", by_file.text, by_environment.text);
    told_free(&by_file);
    told_free(&by_environment);
    buffer_free(&file);
    buffer_free(&variable);
}

/* A value that needs no care in either way: no blanks, quotes, comments, controls. */
static bool is_plain(const char *value)
{
    size_t length = strlen(value);
    return length > 0 && length < 200 &&
           strspn(value, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:/._-*,@%+=?&~") == length;
}

static void judge_one_line(struct slice file)
{
    size_t count;
    const struct key *keys = keys_all(&count);
    char *text = rig_string(file), *equals = strchr(text, '=');
    text[strcspn(text, "\n")] = '\0';
    if (equals != NULL && strlen(text) > (size_t)(equals - text)) {
        char *value = equals + 1 + strspn(equals + 1, " ");
        text[strcspn(text, " =")] = '\0';
        for (size_t i = 0; i < count && is_plain(value); i++) {
            if (strcmp(keys[i].name, text) == 0 && !keys[i].type->path)
                judge_ways(&keys[i], value);
        }
    }
    free(text);
}

/* Whether a line sets a key that is secret, by its beginning alone. */
static bool sets_secret(struct slice line)
{
    size_t count;
    const struct key *keys = keys_all(&count);
    bool found = false;
    char *text = rig_string(line), *name = text + strspn(text, " \t");
    char *after = name + strcspn(name, " \t=");
    bool sets = after[strspn(after, " \t")] == '=';
    *after = '\0';
    for (size_t i = 0; sets && !found && i < count; i++) {
        char variable[VARIABLE_SIZE];
        found = keys[i].secret &&
                (strcmp(name, keys[i].name) == 0 || strcmp(name, key_variable(&keys[i], false, variable)) == 0);
    }
    free(text);
    return found;
}

/* A secret that stands once in the input, behind a key that says so, is not told. */
static void judge_secrecy(struct slice input, const char *told)
{
    const char *secret = memmem(input.at, input.length, SECRET, strlen(SECRET));
    if (secret == NULL || strstr(told, SECRET) == NULL)
        return;
    const char *start = secret, *behind = secret + strlen(SECRET), *end = input.at + input.length;
    while (start > input.at && start[-1] != '\n' && start[-1] != '\0')
        start--;
    if (memmem(behind, (size_t)(end - behind), SECRET, strlen(SECRET)) == NULL &&
        sets_secret((struct slice){start, (size_t)(behind - start)}))
        rig_fail("a secret is told: %s", told);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    rig_no_log();
    rig_path("closecrm.conf", path);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct rig_input input = rig_input_of(data, size);
    struct slice file = rig_until(&input, '\0');
    char *variables[VARIABLES + 1] = {NULL};
    struct told first, second;
    for (size_t i = 0; i < VARIABLES && input.left > 0; i++)
        variables[i] = rig_string(rig_until(&input, '\n'));
    write_file(file);
    read_once(&first, variables);
    read_once(&second, variables);
    rig_check_equal((struct slice){second.text, second.length}, (struct slice){first.text, first.length},
                    "what is told of the second reading");
    judge_secrecy((struct slice){size == 0 ? "" : (const char *)data, size}, first.text);
    if (first.config != NULL)
        judge_values(first.config);
    told_free(&first);
    told_free(&second);
    judge_one_line(file);
    for (size_t i = 0; variables[i] != NULL; i++)
        free(variables[i]);
    return 0;
}
