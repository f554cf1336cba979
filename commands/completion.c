/* completion: bash's completion of this program's commands and options, from their table. */
#include "commands/commands.h"

#include <stdio.h>
#include <string.h>

#include "commands/help.h"
#include "commands/options.h"

static const char head[] = "# bash completion for closecrm.fcgi: made by `closecrm.fcgi completion`.\n"
                           "_closecrm_fcgi()\n"
                           "{\n"
                           "    local cur=${COMP_WORDS[COMP_CWORD]} i word name= words=\n"
                           "    local -A options=(\n";

/* Names are one word or two; what stands behind them are options, and files. A value of an option behind a blank is no
 * name. */
static const char tail[] =
    "    )\n"
    "    for ((i = 1; i < COMP_CWORD; i++)); do\n"
    "        word=${COMP_WORDS[i]}\n"
    "        [[ $word == --config ]] && { ((i++)); continue; }\n"
    "        [[ $word == -* ]] && continue\n"
    "        if [[ -z $name ]]; then name=$word; elif [[ -z ${options[$name]+known} ]]; then name+=\" $word\"; fi\n"
    "    done\n"
    "    case ${COMP_WORDS[COMP_CWORD - 1]} in\n"
    "    --config | --body | --filter)\n"
    "        compopt -o filenames 2>/dev/null\n"
    "        mapfile -t COMPREPLY < <(compgen -f -- \"$cur\")\n"
    "        return\n"
    "        ;;\n"
    "    esac\n"
    "    if [[ $name == help ]]; then name=; fi\n"
    "    if [[ -n ${options[$name]+known} && $cur == -* ]]; then\n"
    "        words=${options[$name]}\n"
    "    elif [[ -z ${options[$name]+known} || -z $name ]]; then\n"
    "        for word in \"${!options[@]}\"; do\n"
    "            if [[ -z $name ]]; then words+=\" ${word%% *}\"; "
    "elif [[ $word == \"$name \"* ]]; then words+=\" ${word#* }\"; fi\n"
    "        done\n"
    "    elif [[ $name == backup || $name == 'queue backup' || $name == restore ]]; then\n"
    "        compopt -o filenames 2>/dev/null\n"
    "        mapfile -t COMPREPLY < <(compgen -f -- \"$cur\")\n"
    "        return\n"
    "    fi\n"
    "    mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$cur\" | sort -u)\n"
    "}\n"
    "complete -F _closecrm_fcgi closecrm.fcgi closecrm.cgi\n";

int command_completion(int argc, char **argv)
{
    size_t count;
    char options[HELP_OPTIONS];
    if (!options_read(argc, argv, NULL, 0, NULL))
        return COMMAND_USAGE;
    const struct command *all = commands_all(&count);
    fputs(head, stdout);
    for (size_t i = 0; i < count; i++) {
        printf("        ['%s']='", all[i].name);
        help_options(&all[i], options);
        for (const char *c = options; *c != '\0'; c++) {
            if (*c != '=')
                putchar(*c);
        }
        puts("'");
    }
    fputs(tail, stdout);
    return COMMAND_OK;
}
