/* A command's options: see options.h. */
#include "commands/options.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "commands/commands.h"

int options_wrong(const char *command, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fprintf(stderr, "%s: ", command);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    const struct command *entry = commands_find(command);
    if (entry != NULL)
        fprintf(stderr, "usage: closecrm.fcgi %s %s\n", entry->name, entry->arguments);
    return COMMAND_USAGE;
}

/* The option that an argument names, up to its "=" where it has one; NULL when there is none. */
static const struct option_spec *find(const struct option_spec *specs, size_t count, const char *argument)
{
    size_t length = strcspn(argument, "=");
    for (size_t i = 0; i < count; i++) {
        if (strlen(specs[i].name) == length && strncmp(specs[i].name, argument, length) == 0)
            return &specs[i];
    }
    return NULL;
}

/* Takes the option at argv[*at] and moves *at to what was last used of it. */
static bool take_option(int argc, char **argv, int *at, const struct option_spec *spec)
{
    const char *equals = strchr(argv[*at], '=');
    if (spec->value == NULL) {
        if (equals != NULL) {
            options_wrong(argv[0], "%s takes no value", spec->name);
            return false;
        }
        *spec->flag = true;
        return true;
    }
    if (equals != NULL) {
        *spec->value = equals + 1;
        return true;
    }
    if (*at + 1 >= argc) {
        options_wrong(argv[0], "%s needs a value", spec->name);
        return false;
    }
    *spec->value = argv[++*at];
    return true;
}

bool options_read_all(int argc, char **argv, const struct option_spec *specs, size_t count, int *arguments)
{
    bool options = true;
    *arguments = 0;
    for (int at = 1; at < argc; at++) {
        if (options && strcmp(argv[at], "--") == 0) {
            options = false;
        } else if (options && argv[at][0] == '-' && argv[at][1] != '\0') {
            const struct option_spec *spec = find(specs, count, argv[at]);
            if (spec == NULL) {
                options_wrong(argv[0], "no such option: %s", argv[at]);
                return false;
            }
            if (!take_option(argc, argv, &at, spec))
                return false;
        } else {
            argv[++*arguments] = argv[at];
        }
    }
    return true;
}

bool options_read(int argc, char **argv, const struct option_spec *specs, size_t count, const char **argument)
{
    int arguments = 0, most = argument == NULL ? 0 : 1;
    if (!options_read_all(argc, argv, specs, count, &arguments))
        return false;
    if (arguments > most) {
        options_wrong(argv[0], "too many arguments: %s", argv[most + 1]);
        return false;
    }
    if (arguments > 0)
        *argument = argv[1];
    return true;
}

bool number_read(const char *text, uint64_t *number)
{
    uint64_t value = 0;
    const char *at = text;
    for (; *at >= '0' && *at <= '9'; at++) {
        uint64_t digit = (uint64_t)(*at - '0');
        if (value > (INT64_MAX - digit) / 10)
            return false;
        value = value * 10 + digit;
    }
    if (value == 0 || *at != '\0')
        return false;
    *number = value;
    return true;
}
