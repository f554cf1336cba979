/* completion: bash's completion of this program's commands and options, from their table, and of the names of sources
 * and the numbers of events, which it asks the program for. */
#include "commands/commands.h"

#include <stdio.h>
#include <string.h>

#include "commands/options.h"
#include "config/config.h"

static const char head[] =
    "# bash completion for closecrm.fcgi: made by `closecrm.fcgi completion`.\n"
    "_closecrm_fcgi()\n"
    "{\n"
    "    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} i word name= words=\n"
    "    local program=${COMP_WORDS[0]/#\\~/$HOME} given=()\n"
    "    local -A options=(\n";

/* Names are one word or two; what stands behind them are options, and files. A value of an option behind a blank is no
 * name. */
static const char tail[] =
    "    )\n"
    "    for ((i = 1; i < COMP_CWORD; i++)); do\n"
    "        word=${COMP_WORDS[i]}\n"
    "        [[ $word == --config ]] && { given=(--config \"${COMP_WORDS[i + 1]/#\\~/$HOME}\"); ((i++)); continue; }\n"
    "        [[ $word == -* || ($word == help && -z $name) ]] && continue\n"
    "        if [[ -z $name ]]; then name=$word; elif [[ -z ${options[$name]+known} ]]; then name+=\" $word\"; fi\n"
    "    done\n"
    "    [[ $cur == = ]] && cur=\n" /* bash makes a word of it: --source=NAME */
    "    [[ $prev == = ]] && prev=${COMP_WORDS[COMP_CWORD - 2]}\n"
    "    case $prev in\n"
    "    --source)\n"
    "        words=$(\"$program\" \"${given[@]}\" completion --sources 2>/dev/null)\n"
    "        mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$cur\")\n"
    "        return\n"
    "        ;;\n"
    "    --config | --body | --filter)\n"
    "        compopt -o filenames 2>/dev/null\n"
    "        mapfile -t COMPREPLY < <(compgen -f -- \"$cur\")\n"
    "        return\n"
    "        ;;\n"
    "    esac\n"
    "    if [[ -n $name && -n ${options[$name]+known} && $cur == -* ]]; then\n"
    "        words=${options[$name]}\n"
    "    elif [[ -z $name || -z ${options[$name]+known} ]]; then\n"
    "        for word in \"${!options[@]}\"; do\n"
    "            if [[ -z $name ]]; then words+=\" ${word%% *}\"; "
    "elif [[ $word == \"$name \"* ]]; then words+=\" ${word#* }\"; fi\n"
    "        done\n"
    "    elif [[ $name == backup || $name == 'queue backup' || $name == restore ]]; then\n"
    "        compopt -o filenames 2>/dev/null\n"
    "        mapfile -t COMPREPLY < <(compgen -f -- \"$cur\")\n"
    "        return\n"
    "    elif [[ $name == 'queue show' || $name == 'queue set-aside' || $name == dead\\ * ]]; then\n"
    "        [[ $name == dead* ]] && word=(dead list) || word=(queue list --limit 50)\n"
    "        words=$(\"$program\" \"${given[@]}\" \"${word[@]}\" 2>/dev/null | sed -n '2,51s/ .*//p')\n"
    "    fi\n"
    "    mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$cur\" | sort -u)\n"
    "}\n"
    "complete -F _closecrm_fcgi closecrm.fcgi closecrm.cgi\n";

/* Those of the configuration, a line each; none where it cannot be used. */
static int print_sources(void)
{
    struct error why;
    struct config *config = config_load(&why);
    for (size_t i = 0; config != NULL && i < config->sources; i++)
        puts(config->source[i].name);
    int code = config != NULL ? COMMAND_OK : COMMAND_CONFIGURATION;
    config_free(config);
    return code;
}

int command_completion(int argc, char **argv)
{
    size_t count;
    bool sources = false;
    char options[HELP_OPTIONS];
    const struct option_spec specs[] = {{"--sources", NULL, &sources}};
    if (!options_read(argc, argv, specs, 1, NULL))
        return COMMAND_USAGE;
    if (sources)
        return print_sources();
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
