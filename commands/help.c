/* help: the table of commands, or one of them in full. */
#include "commands/commands.h"

#include <stdio.h>

#include "commands/options.h"

static void print_all(void)
{
    size_t count = 0;
    const struct command *all = commands_all(&count);
    printf("closecrm.fcgi takes Close CRM's webhooks and forwards them to RudderStack. A web server runs it by CGI or\n"
           "FastCGI; at a shell it has these commands:\n\n");
    for (size_t i = 0; i < count; i++)
        printf("  %-10s  %s\n", all[i].name, all[i].help);
    printf("\n`closecrm.fcgi help COMMAND` explains one.\n");
}

int command_help(int argc, char **argv)
{
    const char *name = NULL;
    if (!options_read(argc, argv, NULL, 0, &name))
        return COMMAND_USAGE;
    if (name == NULL) {
        print_all();
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
