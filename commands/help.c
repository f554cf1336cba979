/* What the program says of its commands: help, usage, the version, and bash's completion of commands and options. */
#include "commands/commands.h"

#include <ctype.h>
#include <curl/curl.h>
#include <json-c/json_c_version.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/program_name.h"
#include "commands/commands_private.h"
#include "config/config.h"
#include "queue/inspect.h"

#define NAME_COLUMNS 15 /* of the longest name in lists */

static bool begins(const char *text, const char *beginning)
{
    return strncmp(text, beginning, strlen(beginning)) == 0;
}

void help_list(FILE *out, const char *word)
{
    size_t count, length = word == NULL ? 0 : strlen(word);
    const struct command *all = commands_all(&count);
    for (size_t i = 0; i < count; i++) {
        if (word != NULL && (strncmp(all[i].name, word, length) != 0 || all[i].name[length] != ' '))
            continue;
        fprintf(out, "  %-*s  ", NAME_COLUMNS, all[i].name);
        wrap_line(out, all[i].help, strlen(all[i].help), NAME_COLUMNS + 4, NAME_COLUMNS + 4, WRAP_COLUMNS);
        putc('\n', out);
    }
}

static void put_synopsis(FILE *out, const char *before, const struct command *command)
{
    size_t column = (size_t)fprintf(out, "%s%s %s ", before, program_name_alone(), command->name);
    wrap_line(out, command->arguments, strlen(command->arguments), column, 4, WRAP_COLUMNS);
    putc('\n', out);
}

void help_usage(FILE *out, const struct command *command)
{
    put_synopsis(out, "usage: ", command);
}

/* ---- an explanation: its lines are joined to paragraphs, and these broken anew ---- */

enum paragraph { PARAGRAPH_NONE, PARAGRAPH_TEXT, PARAGRAPH_OPTION };

/* The column at which an option's description begins; 0: it has none. */
static size_t description_column(const char *line, size_t length)
{
    size_t at = strspn(line, " ");
    while (at + 1 < length && (line[at] != ' ' || line[at + 1] != ' '))
        at++;
    while (at < length && line[at] == ' ')
        at++;
    return at >= length ? 0 : at;
}

static enum paragraph kind_of(const char *line, size_t length, enum paragraph before)
{
    size_t indent = strspn(line, " ");
    if (length == 0 || (indent > 0 && indent <= 4 && !begins(line + indent, "--")))
        return PARAGRAPH_NONE;
    if (indent == 0)
        return PARAGRAPH_TEXT;
    return begins(line + indent, "--") ? PARAGRAPH_OPTION : before;
}

/* Goes on in a line: a blank, and the words, of which the first may begin a new line. */
static size_t wrap_on(FILE *out, const char *words, size_t length, size_t column, size_t indent)
{
    size_t first = strcspn(words, " \n");
    if (column + 1 + first > WRAP_COLUMNS) {
        fprintf(out, "\n%*s", (int)indent, "");
        return wrap_line(out, words, length, indent, indent, WRAP_COLUMNS);
    }
    putc(' ', out);
    return wrap_line(out, words, length, column + 1, indent, WRAP_COLUMNS);
}

/* A line as it is, but the crontab's line is the one of this installation. */
static void put_literal(FILE *out, const char *line, size_t length)
{
    static const char usual[] = "* * * * * /usr/lib/closecrm/closecrm.fcgi cron";
    const char *at = memmem(line, length, usual, sizeof usual - 1);
    char *own = at == NULL ? NULL : program_name_crontab();
    fprintf(out, "%.*s%s", own == NULL ? (int)length : (int)(at - line), line, own == NULL ? "" : own);
    free(own);
}

static void put_explanation(FILE *out, const char *text)
{
    enum paragraph now = PARAGRAPH_NONE;
    size_t column = 0, indent = 0;
    for (const char *line = text, *next; *line != '\0'; line = next) {
        size_t length = strcspn(line, "\n"), blanks = strspn(line, " ");
        next = line + length + (line[length] == '\n');
        enum paragraph kind = kind_of(line, length, now);
        bool goes_on =
            kind == now && kind != PARAGRAPH_NONE && (kind == PARAGRAPH_TEXT || !begins(line + blanks, "--"));
        if (goes_on) {
            column = wrap_on(out, line + blanks, length - blanks, column, indent);
            continue;
        }
        if (line != text)
            putc('\n', out);
        indent = kind == PARAGRAPH_OPTION ? description_column(line, length) : 0;
        if (kind == PARAGRAPH_NONE)
            put_literal(out, line, length);
        else
            column = wrap_line(out, line, length, 0, indent, WRAP_COLUMNS);
        now = kind;
    }
    putc('\n', out);
}

void help_explain(FILE *out, const struct command *command)
{
    put_synopsis(out, "", command);
    fprintf(out, "    ");
    wrap_line(out, command->help, strlen(command->help), 4, 4, WRAP_COLUMNS);
    putc('\n', out);
    if (command->more[0] == '\0')
        return;
    putc('\n', out);
    put_explanation(out, command->more);
}

/* ---- options ---- */

/* Adds the option that the text begins with, unless it was added. */
static void add_option(char out[static HELP_OPTIONS], const char *text)
{
    char option[40], with[44];
    const char *behind = text + strspn(text, "-abcdefghijklmnopqrstuvwxyz");
    size_t length = (size_t)(behind - text), used = strlen(out);
    bool takes = *behind == ',' && strstr(text, " T") != NULL; /* "--since, --until T" */
    if (length <= 2 || length >= sizeof option)
        return;
    behind += *behind == ',' ? 1 : 0;
    takes = takes || (behind[0] == ' ' && isupper((unsigned char)behind[1]));
    snprintf(option, sizeof option, "%.*s", (int)length, text);
    snprintf(with, sizeof with, "%s%s ", option, takes ? "=" : "");
    char *found = strstr(out, option);
    if (found != NULL && (found[length] == '=' || found[length] == ' '))
        return;
    snprintf(out + used, HELP_OPTIONS - used, "%s", with);
}

const char *help_options(const struct command *command, char out[static HELP_OPTIONS])
{
    out[0] = '\0';
    for (const char *at = command->arguments; (at = strstr(at, "--")) != NULL; at += 2)
        add_option(out, at);
    for (const char *line = command->more; *line != '\0'; line += strcspn(line, "\n") + (strchr(line, '\n') != NULL)) {
        const char *first = line + strspn(line, " ");
        if (first > line && begins(first, "--"))
            add_option(out, first);
    }
    add_option(out, "--config FILE");
    return out;
}

/* ---- version ---- */

/* Of the program, and of the libraries whose version may explain what it does. */
int command_version(int argc, char **argv)
{
    if (!options_read(argc, argv, NULL, 0, NULL))
        return COMMAND_USAGE;
    char library[QUEUE_LIBRARY];
    const curl_version_info_data *curl = curl_version_info(CURLVERSION_NOW);
    printf("closecrm.fcgi %s\n", CLOSECRM_VERSION);
    if (curl != NULL)
        printf("libcurl %s (%s)\n", curl->version, curl->ssl_version != NULL ? curl->ssl_version : "no TLS");
    printf("json-c %s\n", json_c_version());
    queue_library(&(struct config){.queue = QUEUE_SQLITE}, library);
    printf("%s\n", library);
    return COMMAND_OK;
}

/* ---- completion: for bash, from the table of commands, and of the names of sources and the numbers of events, which
 * it asks the program for ---- */

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
