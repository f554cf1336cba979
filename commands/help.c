/* help: the table of commands, or one of them in full. */
#include "commands/commands.h"

#include <stdio.h>

#include "commands/options.h"

int command_help(int argc, char **argv)
{
    char name[64];
    int words = 0;
    if (!options_read_all(argc, argv, NULL, 0, &words))
        return COMMAND_USAGE;
    if (words > 2)
        return options_wrong(argv[0], "too many arguments: %s", argv[3]);
    if (words == 0) {
        printf("closecrm.fcgi takes Close CRM's webhooks and forwards them to RudderStack. A web server runs it by CGI "
               "or\n"
               "FastCGI; at a shell it has these commands:\n\n");
        commands_list(stdout, NULL);
        printf(
            "\n`closecrm.fcgi help COMMAND` explains one.\n"
            "Exit codes: 0 done, or stopped; 1 something is wrong; 2 wrong command line; 3 the configuration cannot be "
            "used;\n4 the state directory, or the queue in it, cannot be used.\n");
        return COMMAND_OK;
    }
    snprintf(name, sizeof name, "%s%s%s", argv[1], words == 2 ? " " : "", words == 2 ? argv[2] : "");
    if (commands_is_group(name)) {
        commands_list(stdout, name);
        return COMMAND_OK;
    }
    const struct command *command = commands_find(name);
    if (command == NULL)
        return commands_unknown(name);
    printf("closecrm.fcgi %s %s\n    %s\n", command->name, command->arguments, command->help);
    if (command->more[0] != '\0')
        printf("\n%s", command->more);
    return COMMAND_OK;
}
