/* Shared by the files of config/: the table of keys, the types of values, and the settings as read. Not for use outside
 * config/. */
#ifndef CONFIG_INTERNAL_H
#define CONFIG_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/text.h"
#include "config/config.h"

/* ---- keys.c: the table of keys ---- */

/* Where a key is allowed. */
enum scope {
    SCOPE_PROGRAM, /* top level only */
    SCOPE_SOURCE,  /* [source NAME], or top level when there are no sections */
    SCOPE_DEFAULT, /* [source NAME]; at top level it is the default of all sources */
};

struct key;

/* A type of values. base is the struct config or struct source that the key's offset refers to. */
struct type {
    const char *noun; /* for the table of keys: "duration" */
    bool list;        /* several values; parse appends one */
    bool path;        /* a path, relative to the configuration file's directory; parse gets it absolute */

    /* Parses text into the field. Returns false with a reason that continues the key's name ("must be ..."). The reason
     * never contains a secret key's value, nor a URL, which may contain a password. */
    bool (*parse)(const struct key *key, const char *text, void *base, struct error *why);

    void (*clear)(const struct key *key, void *base);   /* frees the field; secrets are overwritten */
    void (*format)(int64_t value, char *out, size_t n); /* numbers only: prints a limit */
};

extern const struct type type_count, type_size, type_duration, type_choice, type_certificates, type_folder, type_url,
    type_patterns, type_members, type_included, type_traits, type_write_keys, type_signature_keys, type_secret,
    type_api_url;
extern const struct type type_password, type_command, type_webhook_url; /* values.c */
extern const struct type type_queue_url;                                /* queue_url.c */

extern const char *const included_names[]; /* the values of type_included; ends with NULL */

struct key {
    const char *name;
    const struct type *type;
    enum scope scope;
    const char *standard;       /* the default in the file's syntax; "": none */
    int64_t least, most;        /* numbers only: bytes, milliseconds or a count */
    const char *help;           /* for the table of keys */
    bool secret;                /* never printed; KEY_file exists too */
    size_t offset;              /* in struct config (SCOPE_PROGRAM) or struct source */
    const char *const *choices; /* type_choice only: NULL-terminated, in the order of the enum */
};

/* types.c: the field that a key's values are stored in. */
void *key_field(const struct key *key, void *base);

/* values.c: puts a text, which it takes, into the field; NULL: nothing. Returns whether there was one. */
bool password_store(const struct key *key, void *base, char *text);

/* types.c: overwrites and frees a text that is secret. */
void secret_clear(const struct key *key, void *base);

/* The keys in display order. */
const struct key *keys_all(size_t *count);

/* Returns the key of that name; for the KEY_file of a secret, the secret with *from_file true. NULL: unknown. */
const struct key *keys_find(const char *name, bool *from_file);

/* Writes the known name closest to a misspelt one to out; false when none is close. */
bool keys_nearest(const char *name, char *out, size_t size);

/* The environment variable for a key: CLOSECRM_WRITE_KEY_FILE. Returns out. */
#define VARIABLE_SIZE 64
const char *key_variable(const struct key *key, bool from_file, char out[static VARIABLE_SIZE]);

/* ---- values.c: text to values ---- */

/* Returns the next value of a list (separated by commas and white space) and its length; advances *rest. NULL at the
 * end. */
const char *value_word(const char **rest, size_t *length);

/* Whether a value looks like an address, in which a password may be, or a part of one that has a password. is_path:
 * it stands where a path is wanted, which may have most of an address's signs. */
bool value_is_address(const char *text, bool is_path);

/* What is said of a value that is an address and must not be, behind what it must be. */
#define NO_ADDRESS "not an address (which is not shown, for a password may be in it)"

/* types.c: "one of sqlite, none": the choices of a key of type_choice. Returns out. */
#define CHOICES_SIZE 200
const char *key_choices(const struct key *key, char out[static CHOICES_SIZE]);

/* Appends a copy of a word. Returns false when memory is out. */
bool strings_append(struct strings *strings, const char *word, size_t length);

/* The position of the first control character except tab (NUL included), counted from 1; 0: none. */
size_t value_control(const char *text, size_t length);

/* Validates a data_plane_url and returns it without trailing slashes; the caller frees it. NULL with a reason that does
 * not show the URL. */
char *url_data_plane(const char *text, struct error *why);

/* The same for a close_api_url. */
char *url_close_api(const char *text, struct error *why);

/* ---- values.c: files that hold secrets ---- */

#define FILE_LIMIT 262144 /* bytes; a normal configuration has a few hundred */

/* Reads a regular file that others cannot read. Returns its bytes and a NUL, to be freed with file_free; *length
 * excludes the NUL; a UTF-8 byte order mark is skipped. NULL with the reason, which begins with the path. */
char *file_read(const char *path, size_t *length, struct error *why);

/* The same, whatever is noted of it (as_read.c). */
char *file_read_from_disk(const char *path, size_t *length, struct error *why);

/* Overwrites and frees the result of file_read. Not more than its length: a page that was never used would be made. */
void file_free(char *data, size_t length);

/* Overwrites and frees length bytes; NULL is allowed. */
void secret_free(void *data, size_t length);

/* ---- as_read.c: see config.h ---- */

#define AS_READ_PLACE "place" /* the file's path, "" where there is none; other names are absolute paths */

/* Returns what is noted under a name, and a NUL, to be freed with file_free; NULL: nothing. */
char *as_read_find(const char *name, size_t *length);

/* Notes it, where notes are taken. */
void as_read_note(const char *name, const char *data, size_t length);

/* ---- config.c: all that is wrong with a configuration, not only the first ---- */

struct faults {
    struct strings all;
    uint64_t keys; /* bit N: a setting of key N was refused, so that nothing is said of the key as a whole */
    bool section;  /* a section's line was refused: whose the lines below are is not known */
    bool out_of_memory;
};

/* Notes a fault; reading goes on. Returns false, to be handed up. */
bool faults_note(struct config *config, const struct error *why);

/* Notes that a setting of this key was refused (NULL: of none), and whether one was. */
void faults_note_key(struct config *config, const struct key *key);
bool faults_has_key(const struct config *config, const struct key *key);

/* Adds a warning, printf-like. Where memory is out it is left out. */
void warnings_add(struct config *config, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* ---- suspects.c: values that were typed or copied wrongly ---- */

/* What is wrong with the characters of a text: a character that cannot be seen, quotes around it. Returns false when
 * nothing is; else why is set, and continues the key's name. */
bool suspect_characters(const char *text, size_t length, struct error *why);

/* Whether a reason may repeat a value that was refused. What is much like what is wanted is a typing mistake, and
 * seeing it helps; anything else may be a secret that stands in the wrong line. The one place where that is decided,
 * for all keys; paths have the next. */
bool value_may_be_shown(const struct key *key, const char *text, size_t length);

/* The same of a path: text as it is written, path the absolute one. One of a file that is there is shown, and of one
 * whose folder is there. */
bool path_may_be_shown(const char *text, const char *path);

/* Looks at all settings once they are applied: notes placeholders with which no event could ever be delivered, and
 * warns of values that are taken and look wrong. */
void suspects_look(struct config *config);

/* ---- settings.c: what was read, and which of it counts ---- */

#define TOP SIZE_MAX           /* the section number of top-level lines and of the environment */
#define NOWHERE (SIZE_MAX - 1) /* of the lines below a section's line that was refused: looked at, and not taken */

/* A line of the file that sets something (a continued list has several), or an environment variable. */
struct setting {
    const struct key *key;
    size_t section; /* index of the source, or TOP */
    char *value;    /* as written; for a KEY_file its lines; for a path the absolute one */
    char *file;     /* absolute path of a KEY_file; else NULL */
    int line;       /* 0: from the environment */
    bool joined;    /* continues a list that did not end with a comma, and does not begin with one */
};

/* Validates a setting and adds it. Uses key, section, line and value of given; value is copied. from_file: value is the
 * path of a KEY_file, which is read; continued: the line continues the one above. Returns false with the reason, which
 * begins with the file and line, and notes the key as refused. */
bool settings_add(struct config *config, const struct setting *given, bool from_file, bool continued,
                  struct error *why);

/* Returns the number of values of the effective settings of a list key of a source. */
size_t settings_words(const struct config *config, const struct key *key, size_t source);

/* Iterates over the effective settings of a key of a source (TOP for SCOPE_PROGRAM): those of its own section, else the
 * environment's, else the file's top level. Returns the one after previous (NULL: the first); NULL at the end. */
const struct setting *settings_effective(const struct config *config, const struct key *key, size_t source,
                                         const struct setting *previous);

/* Adds a source; line as in struct source. Returns false when out of memory. */
bool sources_add(struct config *config, const char *name, int line);

/* Where a setting came from: "/home/x/closecrm/closecrm.conf:12" or "environment: CLOSECRM_LANES". Returns out. */
#define WHERE_SIZE 400
const char *setting_where(const struct config *config, const struct setting *setting, char out[static WHERE_SIZE]);

/* The key as the user wrote it: "write_key_file". Returns out. */
#define SPELLING_SIZE 64
const char *setting_spelling(const struct setting *setting, char out[static SPELLING_SIZE]);

void settings_free(struct config *config);

/* Validates a value; the reason continues the key's name. */
bool value_is_good(const struct key *key, const char *value, struct error *why);

/* settings.c: returns the values in the KEY_file setting->file, one per line; to be freed with secret_free. NULL with
 * the reason, which begins with the path. */
char *file_values(const struct setting *setting, struct error *why);

/* ---- lines.c, config.c: the steps of config_read. Those that return a bool return false, with the reason,
 * when nothing more can be read; all other faults are noted. ---- */

bool lines_read(struct config *config, struct error *why);
void environment_read(struct config *config, char *const environment[]);
bool environment_has_keys(char *const environment[]);
bool apply_settings(struct config *config, struct error *why);
void validate_config(struct config *config);

/* ---- places.c: where the file is looked for, and where it must not be ---- */

/* config.c: makes a path absolute without resolving links, so that users recognize it in messages. The caller frees it;
 * NULL when memory is out. */
char *path_absolute(const char *path);

/* Finds the file: named (CLOSECRM_CONFIG; NULL or "": not set), else home/closecrm/closecrm.conf (home may be NULL),
 * else standard. *path is NULL when none exists; the caller frees it. Returns false with the reason when a named file
 * is missing or a path cannot be examined. */
bool places_find(const char *named, const char *home, const char *standard, char **path, struct error *why);

/* Sets the reason for a missing configuration: the paths tried and an example. named: CLOSECRM_CONFIG, "" or NULL. */
void places_nowhere(const char *named, const char *home, struct error *why);

/* The default of a path: beside the configuration file (an absolute path), but for a file in etc it is var, unless a
 * state directory of this program lies beside it already: what waits there is not left behind. The caller frees it;
 * NULL: memory is out. */
char *places_standard(const char *file, const char *name, const char *etc, const char *var);

/* config_outside for a user with this home directory (may be NULL). */
bool places_outside(const struct config *config, const char *document_root, const char *home, struct error *why);

#endif
