/* Writes a manual page from its template: manual TEMPLATE > PAGE
 * The line @COMMANDS@ becomes the table of commands and @KEYS@ the table of keys, both as the program itself has them,
 * in mdoc. So what `help` says, what the configuration takes and what the pages say is one. */
#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "commands/commands.h"
#include "config/config.h"

/* ---- text ---- */

#define COLUMNS 78 /* mandoc wants lines that fit a screen */

/* Writes a word; what roff would take for its own is escaped, and `words` are bold. */
static void put_word(const char *word, size_t length, bool at_start, bool *bold)
{
    if (at_start && (*word == '.' || *word == '\''))
        fputs("\\&", stdout);
    for (size_t i = 0; i < length; i++) {
        if (word[i] == '`')
            fputs((*bold = !*bold) ? "\\fB" : "\\fR", stdout);
        else if (word[i] == '\\')
            fputs("\\e", stdout);
        else
            putchar(word[i]);
    }
}

/* Writes text as filled mdoc: a sentence begins a line. column: where it begins. */
static void put_text_at(const char *text, size_t column)
{
    bool bold = false, ended = false;
    for (const char *word = text; *(word += strspn(word, " ")) != '\0';) {
        size_t length = strcspn(word, " ");
        bool at_start = column == 0 || ended || column + length >= COLUMNS;
        if (word != text)
            putchar(at_start ? '\n' : ' ');
        column = (at_start ? 0 : column + 1) + length + 4; /* 4: for escapes */
        put_word(word, length, at_start, &bold);
        ended = strchr(".!?", word[length - 1]) != NULL;
        word += length;
    }
    putchar('\n');
}

static void put_text(const char *text)
{
    put_text_at(text, 0);
}

/* Takes the last character off a word when it is the one wanted. */
static bool strip(char *word, char last)
{
    size_t length = strlen(word);
    bool is = length > 0 && word[length - 1] == last;
    if (is)
        word[length - 1] = '\0';
    return is;
}

/* Writes one word of a command line: an option, its value, or another, which may begin or end what stands in brackets.
 */
static void put_argument(char *word)
{
    bool comma = strip(word, ','), closes = strip(word, ']');
    if (word[0] == '[') {
        fputs(" Oo", stdout);
        word++;
    }
    if (strncmp(word, "--", 2) == 0)
        printf(" Fl Fl %s", word + 2);
    else if (word[0] != '\0')
        printf(" %s %s", isupper((unsigned char)word[0]) ? "Ar" : "No", word);
    fputs(closes ? " Oc" : "", stdout);
    fputs(comma ? " ," : "", stdout);
}

static void put_synopsis(const char *words)
{
    char *copy = strdup(words), *rest = copy;
    for (char *word; copy != NULL && (word = strsep(&rest, " ")) != NULL;)
        put_argument(word);
    free(copy);
    putchar('\n');
}

/* ---- commands: the words that `help NAME` prints, whole lines ---- */

enum block { BLOCK_TEXT, BLOCK_OPTIONS, BLOCK_NONE };

static void turn_to(enum block *now, enum block next)
{
    if (*now == BLOCK_OPTIONS && next != BLOCK_OPTIONS)
        puts(".El");
    if (next == BLOCK_OPTIONS && *now != BLOCK_OPTIONS)
        puts(".Bl -tag -width Ds");
    if (next == BLOCK_TEXT && *now != BLOCK_TEXT)
        puts(".Pp");
    *now = next;
}

/* "  --size N   how large": what stands before the gap is the option. */
static void put_option(char *line)
{
    char *gap = strstr(line, "  ");
    char *text = gap == NULL ? line + strlen(line) : gap + strspn(gap, " ");
    if (gap != NULL)
        *gap = '\0';
    fputs(".It", stdout);
    put_synopsis(line);
    if (*text != '\0')
        put_text(text);
}

static void put_line(char *line, enum block *block)
{
    size_t indent = strspn(line, " ");
    if (line[indent] == '\0') {
        if (*block == BLOCK_TEXT)
            *block = BLOCK_NONE;
    } else if (indent >= 2 && strncmp(line + indent, "--", 2) == 0) {
        turn_to(block, BLOCK_OPTIONS);
        put_option(line + indent);
    } else if (indent > 4 && *block == BLOCK_OPTIONS) {
        put_text(line + indent);
    } else if (indent > 0) {
        turn_to(block, BLOCK_NONE);
        printf(".Dl %s\n", line + indent);
    } else {
        turn_to(block, BLOCK_TEXT);
        put_text(line);
    }
}

static void put_command(const struct command *command)
{
    enum block block = BLOCK_NONE;
    char *copy = strdup(command->more), *rest = copy;
    printf(".It Ic %s", command->name);
    put_synopsis(command->arguments);
    put_text(command->help);
    for (char *line; copy != NULL && (line = strsep(&rest, "\n")) != NULL;)
        put_line(line, &block);
    turn_to(&block, BLOCK_NONE);
    free(copy);
}

static void put_commands(void)
{
    size_t count = 0;
    const struct command *all = commands_all(&count);
    puts(".Bl -tag -width Ds");
    for (size_t i = 0; i < count; i++)
        put_command(&all[i]);
    puts(".El");
}

/* ---- keys: the rows of docs/configuration.md's table ---- */

enum { CELL_NAME, CELL_PLACE, CELL_VALUE, CELL_DEFAULT, CELL_HELP, CELLS };

/* Cuts "| a | b |" into its cells. Returns false when it has another number of them. */
static bool cut(char *row, char *cell[static CELLS])
{
    char *rest = row + strspn(row, "| ");
    for (size_t i = 0; i < CELLS; i++) {
        char *end = strstr(rest, " |");
        if (end == NULL)
            return false;
        *end = '\0';
        cell[i] = rest + strspn(rest, " ");
        rest = end + 2;
    }
    return true;
}

static void put_name(char *name)
{
    char *rest = name;
    fputs(".It", stdout);
    for (char *part; (part = strsep(&rest, "`")) != NULL;) {
        if (strcmp(part, ", ") == 0)
            fputs(" ,", stdout);
        else if (part[0] != '\0')
            printf(" Ic %s", part);
    }
    putchar('\n');
}

static void put_key(char *row)
{
    char *cell[CELLS];
    if (row[0] != '|' || row[2] != '`' || !cut(row, cell))
        return;
    put_name(cell[CELL_NAME]);
    put_text(cell[CELL_HELP]);
    puts(".br");
    printf("Value: ");
    put_text_at(cell[CELL_VALUE], sizeof "Value: ");
    if (cell[CELL_DEFAULT][0] != '\0') {
        puts(".br");
        printf("Default: ");
        put_text_at(cell[CELL_DEFAULT], sizeof "Default: ");
    }
    if (strncmp(cell[CELL_PLACE], "source", 6) == 0) {
        puts(".br");
        puts(strchr(cell[CELL_PLACE], ';') != NULL ? "Of a source; at top level: for all." : "Of a source.");
    }
}

static bool put_keys(void)
{
    char *table = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&table, &size);
    if (out == NULL)
        return false;
    config_print_keys(out);
    fclose(out);
    puts(".Bl -tag -width Ds");
    char *rest = table;
    for (char *row; rest != NULL && (row = strsep(&rest, "\n")) != NULL;)
        put_key(row);
    puts(".El");
    free(table);
    return true;
}

int main(int argc, char **argv)
{
    char line[4096];
    FILE *template = argc == 2 ? fopen(argv[1], "r") : NULL;
    bool good = template != NULL;
    while (good && fgets(line, sizeof line, template) != NULL) {
        if (strcmp(line, "@COMMANDS@\n") == 0)
            put_commands();
        else if (strcmp(line, "@KEYS@\n") == 0)
            good = put_keys();
        else
            good = fputs(line, stdout) >= 0;
    }
    if (template != NULL)
        fclose(template);
    if (fflush(stdout) == 0 && good)
        return 0;
    fprintf(stderr, "manual: cannot make the page from %s\n", argc == 2 ? argv[1] : "its template");
    return 1;
}
