/* Parses the configuration file with inih, which reports no line numbers, and of lines that it cannot read only the
 * first: the reader here counts lines, handles the sections (inih truncates their names at 49 characters and does not
 * report empty sections), and gives inih only lines that it can read. Every fault is noted, and reading goes on. */
#include "config/internal.h"

#include <ini.h>
#include <string.h>

#define LINE_LIMIT 4000 /* bytes per line; longer lines are refused, never truncated */
#define SOURCE_NAME_LIMIT 64

struct reading {
    struct config *config;
    const char *rest; /* of the file's text */
    size_t left;
    int line;                   /* the current line, from 1 */
    bool indented;              /* the line begins with a blank */
    size_t section;             /* index of the source, TOP or NOWHERE */
    const struct key *previous; /* the key that an indented line continues; NULL after a section's line */
    bool previous_from_file;
    bool previous_refused; /* there is no such key: what continues it is passed over */
    bool previous_ends;    /* the list continues behind a comma */
};

/* Notes a fault of this line. Returns false. */
static bool fail(struct reading *reading, struct error *why)
{
    error_prefix(why, "%s:%d: ", reading->config->path, reading->line);
    return faults_note(reading->config, why);
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

/* ---- sections ---- */

/* Source names that would clash with the program's own pages in URLs. */
static bool is_reserved(const char *name)
{
    static const char *const reserved[] = {"status", "metrics", "healthz", "v1"};
    for (size_t i = 0; i < sizeof reserved / sizeof *reserved; i++) {
        if (strcmp(name, reserved[i]) == 0)
            return true;
    }
    return false;
}

static bool is_source_name(const char *name)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-";
    size_t length = strlen(name);
    return length > 0 && length <= SOURCE_NAME_LIMIT && strspn(name, allowed) == length;
}

/* Keys of a source at top level would belong to no source once there are sections. */
static void nothing_stands_above(const struct reading *reading, const char *name)
{
    for (size_t i = 0; i < reading->config->settings && reading->config->sources == 0; i++) {
        const struct setting *setting = &reading->config->setting[i];
        char spelling[SPELLING_SIZE];
        struct error why;
        if (setting->section != TOP || setting->key->scope != SCOPE_SOURCE)
            continue;
        error_set(
            &why,
            "%s:%d: [source %s] begins here, but line %d has %s above all sections: move that into the section it "
            "belongs to",
            reading->config->path, reading->line, name, setting->line, setting_spelling(setting, spelling));
        faults_note_key(reading->config, setting->key);
        faults_note(reading->config, &why);
    }
}

static bool source_begins(struct reading *reading, const char *name, struct error *why)
{
    struct config *config = reading->config;
    if (is_reserved(name)) {
        error_set(why, "a source cannot be named \"%s\": that is a page of this program", name);
        return false;
    }
    for (size_t i = 0; i < config->sources; i++) {
        if (strcmp(config->source[i].name, name) == 0) {
            error_set(why, "[source %s] stands twice, here and in line %d: put both together", name,
                      config->source[i].line);
            return false;
        }
    }
    nothing_stands_above(reading, name);
    if (!sources_add(config, name, reading->line)) {
        error_set(why, "could not be read: out of memory");
        return false;
    }
    reading->section = config->sources - 1;
    return true;
}

/* Handles a section line; inside: the text between [ and ], which is modified. */
static bool section_named(struct reading *reading, char *inside, struct error *why)
{
    char *rest = NULL;
    const char *kind = strtok_r(inside, " \t", &rest);
    const char *name = strtok_r(NULL, " \t", &rest);
    const char *more = strtok_r(NULL, " \t", &rest);
    if (kind == NULL || strcmp(kind, "source") != 0) {
        if (kind != NULL && name == NULL && is_source_name(kind))
            error_set(why, "unknown section; did you mean [source %s]?", kind);
        else
            error_set(why, "unknown section; there is only [source NAME]");
        return false;
    }
    if (name == NULL || more != NULL || !is_source_name(name)) {
        error_set(why, "a source's name must be 1 to %d of the characters A-Z a-z 0-9 _ -", SOURCE_NAME_LIMIT);
        return false;
    }
    return source_begins(reading, name, why);
}

/* Handles a line that begins with '['. */
static bool section_begins(struct reading *reading, const char *line, size_t length, struct error *why)
{
    char inside[200];
    const char *end = memchr(line, ']', length);
    const char *behind = end == NULL ? NULL : end + 1;
    while (behind != NULL && behind < line + length && is_blank(*behind))
        behind++;
    size_t used = end == NULL ? 0 : (size_t)(end - line) - 1;
    if (end == NULL || behind < line + length || used >= sizeof inside) {
        error_set(why, "a section's line must be [source NAME] and nothing else");
        return false;
    }
    memcpy(inside, line + 1, used);
    inside[used] = '\0';
    return section_named(reading, inside, why);
}

/* ---- what inih asks for ---- */

#define PLAIN_LINE                                                                                                     \
    "the line must look like \"key = value\", \"[source NAME]\" or \"# comment\"; what continues a list is indented"

/* Whether inih can read a line: it has a key, or continues one. */
static bool line_is_plain(const struct reading *reading, const char *line, size_t length)
{
    bool continued = reading->indented && (reading->previous != NULL || reading->previous_refused);
    return length == 0 || *line == ';' || *line == '#' || continued || memchr(line, '=', length) != NULL ||
           memchr(line, ':', length) != NULL;
}

/* Looks at a line without its newline. Returns false with the reason when inih must not see it. */
static bool line_is_good(struct reading *reading, const char *line, size_t length, size_t room, struct error *why)
{
    if (length > LINE_LIMIT || length + 2 > room) {
        error_set(why, "the line is longer than %d bytes; lists may go on in further, indented lines", LINE_LIMIT);
        return false;
    }
    size_t control = value_control(line, length);
    if (control != 0) {
        error_set(why, "a control character at place %zu; save the file as plain text in UTF-8", control);
        return false;
    }
    size_t blanks = 0;
    while (blanks < length && is_blank(line[blanks]))
        blanks++;
    reading->indented = blanks > 0;
    if (blanks < length && line[blanks] == '[' && blanks > 0) {
        error_set(why, "an indented line continues the one above: remove the blanks before the [");
        return false;
    }
    if (blanks < length && line[blanks] == '[')
        return section_begins(reading, line, length, why);
    if (line_is_plain(reading, line + blanks, length - blanks))
        return true;
    error_set(why, PLAIN_LINE);
    suspect_characters(line, length, why);
    return false;
}

/* After a section's line, good or not, nothing continues what stands above it. */
static void leave_section(struct reading *reading)
{
    reading->previous = NULL;
    reading->previous_refused = false;
    reading->section = NOWHERE;
}

/* Takes the next line off the text, without its newline. */
static const char *take_text(struct reading *reading, size_t *length)
{
    const char *line = reading->rest;
    const char *newline = memchr(line, '\n', reading->left);
    *length = newline == NULL ? reading->left : (size_t)(newline - line);
    size_t taken = newline == NULL ? *length : *length + 1;
    reading->rest += taken;
    reading->left -= taken;
    reading->line++;
    if (*length > 0 && line[*length - 1] == '\r')
        --*length;
    return line;
}

/* fgets for inih. Also overwrites inih's line buffer, which inih frees without clearing. In the place of a line with a
 * fault inih gets an empty one. */
static char *next_line(char *room, int size, void *stream)
{
    struct reading *reading = stream;
    struct error why = {0};
    size_t length;
    if (reading->left == 0) {
        explicit_bzero(room, (size_t)size);
        return NULL;
    }
    const char *line = take_text(reading, &length);
    bool section = length > 0 && line[0] == '[';
    if (section)
        leave_section(reading);
    bool good = line_is_good(reading, line, length, (size_t)size, &why) || fail(reading, &why);
    explicit_bzero(room, (size_t)size);
    if (section) {
        reading->config->faults->section |= !good;
        line = "[source]"; /* inih forgets the key above; the name is known here */
        length = strlen(line);
    }
    if (good || section)
        memcpy(room, line, length);
    memcpy(room + (good || section ? length : 0), "\n", 2);
    return room;
}

/* Whether an unknown name can be printed: if "=" is missing, the text may be a secret. */
static bool may_be_shown(const char *name)
{
    size_t length = strlen(name);
    return length > 0 && length <= 32 &&
           strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_-") == length;
}

static void unknown_key(struct reading *reading, const char *name)
{
    char nearest[SPELLING_SIZE];
    struct error why = {0};
    bool from_file;
    reading->previous_refused = true;
    if (!may_be_shown(name)) {
        error_set(&why, "what stands before the = or : is no key; a line must look like \"key = value\"");
        suspect_characters(name, strlen(name), &why);
    } else if (keys_nearest(name, nearest, sizeof nearest)) {
        error_set(&why, "unknown key \"%s\"; did you mean \"%s\"?", name, nearest);
        faults_note_key(reading->config, keys_find(nearest, &from_file));
    } else {
        error_set(&why, "unknown key \"%s\"", name);
    }
    fail(reading, &why);
}

/* Whether an indented line looks like `key = value`: as a list's continuation the key would silently become a value. */
static bool looks_like_setting(const char *text)
{
    char name[SPELLING_SIZE], nearest[SPELLING_SIZE];
    size_t length = strcspn(text, "=: \t");
    if (length == 0 || length >= sizeof name)
        return false;
    const char *sign = text + length + strspn(text + length, " \t");
    if (*sign != '=' && *sign != ':')
        return false;
    memcpy(name, text, length);
    name[length] = '\0';
    return may_be_shown(name) && keys_nearest(name, nearest, sizeof nearest);
}

/* Adds a value of the key in hand. */
static void take_value(struct reading *reading, const char *value, bool continued)
{
    struct error why = {0};
    size_t length = strlen(value);
    char *text = strdup(value);
    bool joined = continued && !reading->previous_ends && value[0] != ',';
    struct setting setting = {reading->previous, reading->section, text, NULL, reading->line, joined};
    reading->previous_ends = length == 0 || value[length - 1] == ',';
    if (text == NULL) {
        error_set(&why, "could not be read: out of memory");
        fail(reading, &why);
        return;
    }
    if (!settings_add(reading->config, &setting, reading->previous_from_file, continued, &why))
        faults_note(reading->config, &why);
    secret_free(text, strlen(text));
}

/* inih's handler. Always returns 1, since 0 would make inih go on with an error of its own. */
static int take_line(void *user, const char *section, const char *name, const char *value)
{
    (void)section;
    struct reading *reading = user;
    struct error why = {0};
    bool continued = reading->indented && (reading->previous != NULL || reading->previous_refused);
    if (continued && looks_like_setting(value)) {
        error_set(&why, "an indented line continues the one above: remove the blanks at its beginning");
        fail(reading, &why);
        return 1;
    }
    if (!continued) {
        reading->previous_refused = false;
        reading->previous = keys_find(name, &reading->previous_from_file);
        if (reading->previous == NULL)
            unknown_key(reading, name);
    }
    if (reading->previous != NULL)
        take_value(reading, value, continued);
    return 1;
}

/* inih's options are process-wide. All readings need the same ones and run before threads start: no comments after
 * values, which would truncate values with " ;"; a line buffer on the heap, as long as the longest line. */
static void prepare_inih(void)
{
    static char comments[] = ";#";
    ini_start_comment_prefixes = comments;
    ini_allow_inline_comments = false;
    ini_allow_multiline = true;
    ini_allow_no_value = false;
    ini_stop_on_first_error = false; /* so that all faults are found */
    ini_use_stack = false;
    ini_allow_realloc = false;
    ini_initial_alloc = LINE_LIMIT + 3;
    ini_max_line = LINE_LIMIT + 3;
}

bool lines_read(struct config *config, struct error *why)
{
    size_t length = 0;
    char *text = file_read(config->path, &length, why);
    if (text == NULL)
        return false;
    struct reading reading = {.config = config, .rest = text, .left = length, .section = TOP};
    prepare_inih();
    int result = ini_parse_stream(next_line, &reading, take_line, &reading);
    file_free(text, length);
    if (result < 0) {
        error_set(why, "%s: could not be read: out of memory", config->path);
        return false;
    }
    if (result > 0 && config->faults->all.count == 0) {
        error_set(why, "%s:%d: " PLAIN_LINE, config->path, result);
        return faults_note(config, why);
    }
    return true;
}
