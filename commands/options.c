/* A command's options: see options.h. */
#include "commands/options.h"

#include "base/program_name.h"
#include "base/text.h"
#include "process/process.h"

#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define OPTIONS_MOST 16
#define CONFIG_OPTION "--config" /* of every command */
#define FIRST 256                /* getopt_long's value of the first option: above every letter */

int options_wrong(const char *command, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fprintf(stderr, "%s: ", command);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    return CODE_USAGE;
}

/* Whether an argument names the option in full: getopt_long takes the beginning of a name, too. */
static bool names_option(const char *argument, const struct option_spec *spec)
{
    size_t length = strlen(spec->name);
    return strncmp(argument, spec->name, length) == 0 && (argument[length] == '\0' || argument[length] == '=');
}

/* Sets the option that getopt_long found in the argument. Returns false when the argument is wrong; stderr has the
 * fault. */
static bool take_option(const char *command, const char *argument, int found, const struct option_spec *specs,
                        size_t count)
{
    int value = found == '?' || found == ':' ? optopt : found;
    const struct option_spec *spec = value >= FIRST && (size_t)(value - FIRST) < count ? &specs[value - FIRST] : NULL;
    if (spec == NULL || !names_option(argument, spec)) {
        options_wrong(command, "no such option: %s", argument);
        return false;
    }
    bool empty = value == found && spec->value != NULL && *optarg == '\0'; /* a shell's variable that is not set */
    if (value != found || empty) {
        options_wrong(command, "%s %s", spec->name, found == ':' || empty ? "needs a value" : "takes no value");
        return false;
    }
    if (spec->value != NULL)
        *spec->value = optarg;
    else
        *spec->flag = true;
    return true;
}

bool options_use_configuration(const char *command, const char *path)
{
    if (path[0] != '\0' && setenv("CLOSECRM_CONFIG", path, 1) == 0) {
        program_name_use_configuration(path);
        return true;
    }
    options_wrong(command, path[0] == '\0' ? CONFIG_OPTION " needs a value" : "out of memory");
    return false;
}

bool options_read_all(int argc, char **argv, const struct option_spec *specs, size_t count, int *arguments)
{
    struct option options[OPTIONS_MOST + 2] = {{0}};
    struct option_spec with[OPTIONS_MOST + 1];
    const char *config = NULL;
    int found;
    for (size_t i = 0; i < count && i < OPTIONS_MOST; i++) {
        with[i] = specs[i];
        options[i] = (struct option){specs[i].name + strlen("--"),
                                     specs[i].value != NULL ? required_argument : no_argument, NULL, FIRST + (int)i};
    }
    with[count] = (struct option_spec){CONFIG_OPTION, &config, NULL};
    options[count] = (struct option){CONFIG_OPTION + strlen("--"), required_argument, NULL, FIRST + (int)count};
    *arguments = 0;
    opterr = 0;
    optind = 0; /* getopt_long starts over */
    const char *argument = argv[argc > 1];
    /* "-": an argument that is no option is returned as 1, in its place; ":": a missing value is returned as ':' */
    while ((found = getopt_long(argc, argv, "-:", options, NULL)) != -1) {
        if (found == 1)
            argv[++*arguments] = optarg;
        else if (!take_option(argv[0], argument, found, with, count + 1))
            return false;
        argument = argv[optind];
    }
    while (optind < argc) /* behind "--" */
        argv[++*arguments] = argv[optind++];
    return config == NULL || options_use_configuration(argv[0], config);
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

bool options_read_id(int argc, char **argv, const struct option_spec *specs, size_t count, const char *question,
                     uint64_t *id)
{
    const char *text = NULL;
    if (!options_read(argc, argv, specs, count, &text))
        return false;
    if (text != NULL && text_read_id(text, id))
        return true;
    if (text == NULL)
        options_wrong(argv[0], "%s", question);
    else
        options_wrong(argv[0], "\"%.60s\" is no number: %s", text, question);
    return false;
}

bool options_confirmed(const char *command)
{
    char answer[16] = "";
    ssize_t n = read(STDIN_FILENO, answer, sizeof answer - 1); /* a terminal gives a line at a time */
    if (n > 0 && (answer[0] == 'y' || answer[0] == 'Y'))
        return true;
    fprintf(stderr, "%s: nothing was done\n", command);
    return false;
}
