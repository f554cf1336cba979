/* The table of keys, what is printed of a configuration by it, and commands to type. A new key is one row here and one
 * member of struct config or struct source; parsing, validating, freeing, `check` and docs/configuration.md's table
 * follow from the row. */
#include "config/internal.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/program_name.h"
#include "base/sha256.h"
#include "base/text.h"
#include "config/config.h"
#include "config/keyring.h"

#define K INT64_C(1024)
#define M (1024 * K)
#define G (1024 * M)
#define SECOND INT64_C(1000)
#define MINUTE (60 * SECOND)
#define HOUR (60 * MINUTE)
#define DAY (24 * HOUR)

#define PROGRAM(member) offsetof(struct config, member)
#define SOURCE(member) offsetof(struct source, member)

static const char *const queues[] = {"sqlite", "none", "postgresql", NULL};
static const char *const admins[] = {"password", "server", NULL};
static const char *const no_yes[] = {"no", "yes", NULL};
static const char *const nuls[] = {"replace", "keep", NULL};
static const char *const warehouses[] = {"columns", "json", NULL};
static const char *const contexts[] = {"none", "close", NULL};
static const char *const confines[] = {"auto", "yes", "no", NULL};
static const char *const levels[] = {"error", "warn", "info", "debug", NULL};

/* clang-format off */
static const struct key key_table[] = {
    {"data_plane_url", &type_url, SCOPE_DEFAULT, "", 0, 0, "where events go: `https://HOST`, or `file:///PATH` to write them to a file instead", false, SOURCE(data_plane_url), NULL},
    {"write_key", &type_write_keys, SCOPE_SOURCE, "", 0, 0, "of the RudderStack source; all are accepted, the first is sent", true, SOURCE(write_key), NULL},
    {"signature_key", &type_signature_keys, SCOPE_SOURCE, "", 0, 0, "of the Close subscription, 64 hexadecimal digits; with one, only signed requests are taken, from then on; `none`: a source that had one is to take its write key alone again", true, SOURCE(signature_key), NULL},
    {"signature_tolerance", &type_duration, SCOPE_DEFAULT, "73h", 1 * MINUTE, 366 * DAY, "how old a signature may be; Close tries for 72 hours", false, SOURCE(signature_tolerance_ms), NULL},
    {"keep", &type_patterns, SCOPE_DEFAULT, "", 0, 0, "only these events go on: `lead.*`, `activity.email.created`; none named: all", false, SOURCE(keep), NULL},
    {"drop", &type_patterns, SCOPE_DEFAULT, "", 0, 0, "these events do not go on, even if kept above", false, SOURCE(drop), NULL},
    {"remove", &type_members, SCOPE_DEFAULT, "", 0, 0, "these members are left out of every event: `data.body_html`", false, SOURCE(remove), NULL},
    {"nul", &type_choice, SCOPE_DEFAULT, "replace", 0, 0, "U+0000 in texts and names: `replace` makes it U+FFFD, for a warehouse cannot load a table with one; `keep`: texts as they came, and with one in a name an event becomes a dead letter", false, SOURCE(nul), nuls},
    {"warehouse", &type_choice, SCOPE_DEFAULT, "columns", 0, 0, "`json`: messages ask a warehouse to keep `data`, and what `include` adds, in one column of JSON each, where decimals, types and names stay as they are; see docs/warehouse.md before", false, SOURCE(warehouse), warehouses},
    {"context", &type_choice, SCOPE_DEFAULT, "none", 0, 0, "`close`: `context.close` says who did it, and which event it is: a warehouse has no other column for that", false, SOURCE(context), contexts},
    {"include", &type_included, SCOPE_DEFAULT, "", 0, 0, "members that messages have besides: `previous_data`, `changed_fields`: what was deleted, and what an update changed", false, SOURCE(include), NULL},
    {"identify", &type_choice, SCOPE_DEFAULT, "no", 0, 0, "`yes`: a lead's and a contact's events send an `identify` of the lead besides, which RudderStack bills as an event; see docs/warehouse.md", false, SOURCE(identify), no_yes},
    {"traits", &type_traits, SCOPE_DEFAULT, "", 0, 0, "custom fields of a lead that are traits of its `identify`, besides name, url, status_label and addresses: `cf_...`", false, SOURCE(traits), NULL},
    {"alias", &type_choice, SCOPE_DEFAULT, "no", 0, 0, "`yes`: `lead.merged` sends an `alias` besides, which in some destinations cannot be undone", false, SOURCE(alias), no_yes},
    {"close_api_key", &type_secret, SCOPE_SOURCE, "", 0, 0, "of an administrator in Close: with it gaps are found and closed (`reconcile`), and `subscribe` and its kin work", true, SOURCE(close_api_key), NULL},
    {"close_api_url", &type_api_url, SCOPE_DEFAULT, "https://api.close.com/api/v1", 0, 0, "where Close's API is", false, SOURCE(close_api_url), NULL},
    {"reconcile_interval", &type_duration, SCOPE_DEFAULT, "15m", 0, 7 * DAY, "how often Close's Event Log is asked for what is missing, where there is a close_api_key; `0s`: only by `reconcile`", false, SOURCE(reconcile_interval_ms), NULL},
    {"auto_resume", &type_choice, SCOPE_DEFAULT, "no", 0, 0, "whether a subscription that Close has paused is activated again by itself", false, SOURCE(auto_resume), no_yes},
    {"accept_empty", &type_choice, SCOPE_DEFAULT, "no", 0, 0, "whether 200 with an empty body counts as delivered; only for a data plane, or a proxy before it, that is known to answer so", false, SOURCE(accept_empty), no_yes},
    {"queue_url", &type_queue_url, SCOPE_DEFAULT, "", 0, 0, "with `queue = postgresql`: `postgresql://USER:PASSWORD@HOST,HOST/DATABASE`, a database of its own, on PostgreSQL itself and not on a pooler; in a source's section: where that source's events wait, so that sources spread over several servers", true, SOURCE(queue_url), NULL},

    {"queue", &type_choice, SCOPE_PROGRAM, "sqlite", 0, 0, "where accepted events wait: in a database in state_dir; `none`: in memory, and Close is answered when they are delivered; `postgresql`: in the database of queue_url, which several machines may share", false, PROGRAM(queue), queues},
    {"state_dir", &type_folder, SCOPE_PROGRAM, "state", 0, 0, "folder for waiting events, private to the user as which this runs; the default lies beside this file; of `/etc/closecrm.conf` it is `/var/lib/closecrm`; to move it: stop the program, move the directory, then change the key", false, PROGRAM(state_dir), NULL},
    {"queue_max_bytes", &type_size, SCOPE_PROGRAM, "8G", 1 * M, K * K * G, "a fuller queue takes nothing more; Close tries again; not less than `max_body`", false, PROGRAM(queue_max_bytes), NULL},
    {"queue_retention", &type_duration, SCOPE_PROGRAM, "30d", 1 * MINUTE, 3660 * DAY, "what could not be delivered for so long becomes a dead letter", false, PROGRAM(queue_retention_ms), NULL},
    {"dead_retention", &type_duration, SCOPE_PROGRAM, "90d", 0, 3660 * DAY, "a dead letter is kept for so long, and told of a week before it ends; `0s`: for ever", false, PROGRAM(dead_retention_ms), NULL},
    {"dedupe_window", &type_duration, SCOPE_PROGRAM, "31d", 1 * SECOND, 3660 * DAY, "for how long a delivered event is known; not less than `queue_retention`; below 73h what Close repeats may be sent twice", false, PROGRAM(dedupe_window_ms), NULL},
    {"poison_after", &type_duration, SCOPE_PROGRAM, "10m", 1 * SECOND, 30 * DAY, "an event that the data plane fails at for so long, while it takes others, becomes a dead letter", false, PROGRAM(poison_after_ms), NULL},
    {"deliver_rate", &type_count, SCOPE_PROGRAM, "0", 0, 1000000, "most events a second for each source; 0: as many as the data plane takes", false, PROGRAM(deliver_rate), NULL},
    {"max_body", &type_size, SCOPE_PROGRAM, "16M", 1 * K, 64 * M, "a larger request is refused", false, PROGRAM(max_body), NULL},
    {"ca_file", &type_certificates, SCOPE_PROGRAM, "", 0, 0, "certificates that the data plane's is checked with; none: the system's", false, PROGRAM(ca_file), NULL},
    {"log_level", &type_choice, SCOPE_PROGRAM, "info", 0, 0, "the least important lines that the log takes", false, PROGRAM(log_level), levels},

    {"admin_password", &type_password, SCOPE_PROGRAM, "", 0, 0, "for the status page and /metrics, by HTTP Basic, user `admin`; without one (and with `admin` as it is) there is no such page", true, PROGRAM(admin_password), NULL},
    {"admin", &type_choice, SCOPE_PROGRAM, "password", 0, 0, "`server`: whom the web server has let in (REMOTE_USER) may see the status page", false, PROGRAM(admin), admins},
    {"alert_command", &type_command, SCOPE_PROGRAM, "", 0, 0, "run, without a shell (quotes, pipes and `$` mean nothing), when something is wrong and when that is over: gets a JSON object on stdin", false, PROGRAM(alert_command), NULL},
    {"alert_webhook_url", &type_webhook_url, SCOPE_PROGRAM, "", 0, 0, "the same JSON by a POST to this `https://...`, which works everywhere; its words have nothing of an event", true, PROGRAM(alert_webhook_url), NULL},
    {"alert_interval", &type_duration, SCOPE_PROGRAM, "1h", 1 * SECOND, 30 * DAY, "least time between two alerts of one cause", false, PROGRAM(alert_interval_ms), NULL},
    {"alert_waiting", &type_duration, SCOPE_PROGRAM, "10m", 1 * SECOND, 30 * DAY, "an event that waits longer is a cause, and cron mails it", false, PROGRAM(alert_waiting_ms), NULL},
    {"alert_silence", &type_duration, SCOPE_PROGRAM, "0s", 0, 366 * DAY, "nothing accepted for so long is a cause; 0s: never", false, PROGRAM(alert_silence_ms), NULL},

    {"request_threads", &type_count, SCOPE_PROGRAM, "32", 1, 512, "threads that read requests and run handlers", false, PROGRAM(request_threads), NULL},
    {"request_timeout", &type_duration, SCOPE_PROGRAM, "10s", 1 * SECOND, 12 * SECOND, "a request must have arrived by then; Close waits 15 s for an answer", false, PROGRAM(request_timeout_ms), NULL},
    {"shutdown_grace", &type_duration, SCOPE_PROGRAM, "2s", 1 * SECOND, 10 * MINUTE, "time to finish when stopped; mod_fcgid kills after 3 s", false, PROGRAM(shutdown_grace_ms), NULL},
    {"confine", &type_choice, SCOPE_PROGRAM, "auto", 0, 0, "what reads requests can neither execute nor connect, nor open what is outside of `state_dir`, as far as the kernel can see to that (seccomp, Landlock); `auto`: where systemd starts the program itself; not with CGI", false, PROGRAM(confine), confines},
    {"lanes", &type_count, SCOPE_PROGRAM, "4", 1, 64, "batches under way at once", false, PROGRAM(lanes), NULL},
    {"batch_events", &type_count, SCOPE_PROGRAM, "500", 1, 10000, "most events in one batch", false, PROGRAM(batch_events), NULL},
};
/* clang-format on */

#define KEYS (sizeof key_table / sizeof *key_table)
#define NAME_LIMIT TEXT_DISTANCE_MOST /* longer than any name, KEY_file included */

const struct key *keys_all(size_t *count)
{
    *count = KEYS;
    return key_table;
}

const struct key *keys_find(const char *name, bool *from_file)
{
    for (size_t i = 0; i < KEYS; i++) {
        size_t length = strlen(key_table[i].name);
        if (strncmp(name, key_table[i].name, length) != 0)
            continue;
        *from_file = key_table[i].secret && strcmp(name + length, "_file") == 0;
        if (name[length] == '\0' || *from_file)
            return &key_table[i];
    }
    return NULL;
}

bool keys_nearest(const char *name, char *out, size_t size)
{
    size_t letters = strlen(name) / 4 + 1;
    size_t nearest = (letters < 3 ? letters : 3) + 1; /* names at a greater distance are not typos */
    bool found = false;
    for (size_t i = 0; i < 2 * KEYS; i++) {
        const struct key *key = &key_table[i / 2];
        if (i % 2 == 1 && !key->secret)
            continue;
        char real[NAME_LIMIT + 1];
        snprintf(real, sizeof real, "%s%s", key->name, i % 2 == 1 ? "_file" : "");
        size_t distance = text_distance(name, real);
        if (distance < nearest) {
            nearest = distance;
            snprintf(out, size, "%s", real);
            found = true;
        }
    }
    return found;
}

const char *key_variable(const struct key *key, bool from_file, char out[static VARIABLE_SIZE])
{
    snprintf(out, VARIABLE_SIZE, "CLOSECRM_%s%s", key->name, from_file ? "_file" : "");
    for (char *c = out; *c != '\0'; c++)
        *c = (char)toupper((unsigned char)*c);
    return out;
}

/* ---- printing: `check`'s output, and docs/configuration.md's table of keys ---- */

#define HASH_BYTES 8
#define TAIL 4         /* characters of a secret shown to tell it from another */
#define LONG_ENOUGH 16 /* minimum length for showing them */

/* Prints "2 values, ending in 1a2b, 3c4d"; for short secrets only the number. */
static void print_secret(const struct config *config, const struct key *key, size_t source, FILE *out)
{
    if (key->type == &type_password) { /* not even the number of values */
        fputs("set", out);
        return;
    }
    if (key->type == &type_queue_url) {
        fputs("set", out); /* its host is told by `check` when it cannot be reached */
        return;
    }
    if (key->type == &type_webhook_url) {
        char host[URL_HOST];
        fprintf(out, "at %s", config_url_host(settings_effective(config, key, source, NULL)->value, host));
        return;
    }
    size_t words = settings_words(config, key, source);
    fprintf(out, "%zu value%s", words, text_plural(words));
    size_t length, shown = 0;
    const struct setting *setting = NULL;
    while ((setting = settings_effective(config, key, source, setting)) != NULL) {
        for (const char *rest = setting->value, *word; (word = value_word(&rest, &length)) != NULL;) {
            if (length >= LONG_ENOUGH)
                fprintf(out, "%s%.*s", shown++ == 0 ? ", ending in " : ", ", TAIL, word + length - TAIL);
        }
    }
}

static void print_list(const struct config *config, const struct key *key, size_t source, FILE *out)
{
    size_t length, shown = 0;
    const struct setting *setting = NULL;
    while ((setting = settings_effective(config, key, source, setting)) != NULL) {
        for (const char *rest = setting->value, *word; (word = value_word(&rest, &length)) != NULL;)
            fprintf(out, "%s%.*s", shown++ == 0 ? "" : ", ", (int)length, word);
    }
    if (shown == 0)
        fputs("none", out);
}

static void print_value(const struct config *config, const struct key *key, size_t source, FILE *out)
{
    const struct setting *setting = settings_effective(config, key, source, NULL);
    bool can_be_none = key->type == &type_signature_keys; /* as a value for copying */
    const char *etc = "/var/lib/closecrm";                /* the default of /etc/closecrm.conf */
    if (setting == NULL && key->type == &type_folder && config->state_dir != NULL &&
        strcmp(config->state_dir, etc) == 0)
        fputs(etc, out);
    else if (setting == NULL)
        fputs(key->standard[0] != '\0' ? key->standard : can_be_none ? "not set" : "none", out);
    else if (can_be_none && strcmp(setting->value, "none") == 0)
        fputs("none", out);
    else if (key->secret)
        print_secret(config, key, source, out);
    else if (key->type->list)
        print_list(config, key, source, out);
    else if (key->type == &type_command && value_is_address(setting->value, true))
        fprintf(out, "%.*s ..., with an address in it", (int)strcspn(setting->value, " \t"), setting->value);
    else
        fputs(setting->value, out);
}

static void print_place(const struct config *config, const struct setting *setting, FILE *out)
{
    char variable[VARIABLE_SIZE];
    if (setting->line > 0)
        fprintf(out, "%s:%d", config->path, setting->line);
    else
        fprintf(out, "environment %s", key_variable(setting->key, setting->file != NULL, variable));
    if (setting->file != NULL)
        fprintf(out, " from %s", setting->file);
}

/* The signature keys that `subscribe` obtained stand in no file of the configuration. Prints them, after what stands in
 * front (separator), and returns whether there are any. */
static bool print_held_keys(const struct config *config, size_t source, const char *separator, FILE *out)
{
    char words[SOURCE_KEYS_WORDS] = "";
    struct source_keys keys;
    struct source unconfigured = config->source[source];
    unconfigured.signature_keys = 0;
    bool is_listed = source_keys_read(&keys, config, &unconfigured);
    bool any = is_listed && (keys.count > 0 || keys.unread.text[0] != '\0');
    if (any)
        fprintf(out, "%s%s%s\n", separator, keys.unread.text, source_keys_words(&keys, config, words));
    if (is_listed)
        source_keys_free(&keys);
    return any;
}

static void print_key(const struct config *config, const struct key *key, size_t source, FILE *out)
{
    fprintf(out, "%s = ", key->name);
    bool is_signature = key->type == &type_signature_keys && source != TOP;
    if (is_signature && settings_effective(config, key, source, NULL) == NULL &&
        print_held_keys(config, source, "", out))
        return;
    print_value(config, key, source, out);
    fputs("  (", out);
    const struct setting *setting = settings_effective(config, key, source, NULL);
    if (setting == NULL)
        fputs("default", out);
    for (bool first = true; setting != NULL; setting = settings_effective(config, key, source, setting)) {
        if (!first)
            fputs(", ", out);
        first = false;
        print_place(config, setting, out);
    }
    if (!is_signature || !print_held_keys(config, source, "), ", out))
        fputs(")\n", out);
}

void config_print(const struct config *config, FILE *out)
{
    size_t count;
    const struct key *keys = keys_all(&count);
    for (size_t i = 0; i < count; i++) {
        if (keys[i].scope == SCOPE_PROGRAM)
            print_key(config, &keys[i], TOP, out);
    }
    for (size_t source = 0; source < config->sources; source++) {
        if (config->source[source].line > 0)
            fprintf(out, "[source %s]\n", config->source[source].name);
        for (size_t i = 0; i < count; i++) {
            if (keys[i].scope != SCOPE_PROGRAM)
                print_key(config, &keys[i], source, out);
        }
    }
}

/* ---- what machines must have alike ---- */

/* What decides what becomes of an event; addresses of one database may differ, and so may files' places. */
static bool is_shared(const struct key *key)
{
    static const char *const of_program[] = {"queue_retention", "dead_retention", "dedupe_window",
                                             "poison_after",    "deliver_rate",   "max_body"};
    for (size_t i = 0; i < sizeof of_program / sizeof *of_program; i++) {
        if (strcmp(of_program[i], key->name) == 0)
            return true;
    }
    return key->scope != SCOPE_PROGRAM && key->type != &type_queue_url && !key->type->path;
}

/* Of the words of its values, so that it does not matter in how many lines they stand. */
static void print_hash(const struct config *config, const struct key *key, size_t source, FILE *out)
{
    unsigned char sum[SHA256_BYTES];
    char digits[2 * HASH_BYTES + 1];
    struct hmac hmac;
    const char *name = source == TOP ? "-" : config->source[source].name;
    const struct setting *setting = settings_effective(config, key, source, NULL);
    hmac_begin(&hmac, key->name, strlen(key->name));
    hmac_add(&hmac, name, strlen(name));
    for (bool first = true; first || setting != NULL; first = false) {
        size_t length;
        for (const char *rest = setting == NULL ? key->standard : setting->value, *word;
             (word = value_word(&rest, &length)) != NULL;) {
            hmac_add(&hmac, "", 1);
            hmac_add(&hmac, word, length);
        }
        setting = setting == NULL ? NULL : settings_effective(config, key, source, setting);
    }
    hmac_end(&hmac, sum);
    text_hex_encode(sum, HASH_BYTES, digits);
    digits[2 * HASH_BYTES] = '\0';
    fprintf(out, "%s %s %s\n", name, key->name, digits);
}

void config_print_hashes(const struct config *config, FILE *out)
{
    size_t count;
    const struct key *key = keys_all(&count);
    for (; count > 0; count--, key++) {
        if (is_shared(key) && key->scope == SCOPE_PROGRAM)
            print_hash(config, key, TOP, out);
        for (size_t source = 0; is_shared(key) && key->scope != SCOPE_PROGRAM && source < config->sources; source++)
            print_hash(config, key, source, out);
    }
}

/* ---- docs/configuration.md's table ---- */

static void print_kind(const struct key *key, FILE *out)
{
    fputs(key->type->noun, out);
    for (size_t i = 0; key->choices != NULL && key->choices[i] != NULL; i++)
        fprintf(out, "%s `%s`", i == 0 ? "" : ",", key->choices[i]);
    if (key->type->format == NULL)
        return;
    char least[32], most[32];
    key->type->format(key->least, least, sizeof least);
    key->type->format(key->most, most, sizeof most);
    fprintf(out, ", %s to %s", least, most);
}

void config_print_keys(FILE *out)
{
    static const char *const places[] = {
        [SCOPE_PROGRAM] = "top level",
        [SCOPE_SOURCE] = "source",
        [SCOPE_DEFAULT] = "source; top level: for all",
    };
    fputs("| key | stands at | value | default | meaning |\n| --- | --- | --- | --- | --- |\n", out);
    size_t count;
    const struct key *key = keys_all(&count);
    for (; count > 0; count--, key++) {
        fprintf(out, "| `%s`", key->name);
        if (key->secret)
            fprintf(out, ", `%s_file`", key->name);
        fprintf(out, " | %s | ", places[key->scope]);
        print_kind(key, out);
        const char *tick = key->standard[0] != '\0' ? "`" : "";
        fprintf(out, " | %s%s%s | %s |\n", tick, key->standard, tick, key->help);
    }
}

/* ---- commands to type ---- */

/* The length of the command's name, of one word or two: "queue set-aside". */
static size_t name_length(const char *words)
{
    size_t length = 0;
    for (int i = 0; i < 2; i++) {
        const char *word = words + length + (length > 0 && words[length] == ' ');
        size_t size = strspn(word, "abcdefghijklmnopqrstuvwxyz-");
        if (size == 0 || *word == '-' || (word[size] != ' ' && word[size] != '\0'))
            break;
        length = (size_t)(word - words) + size;
    }
    return length;
}

const char *own_command(char out[static OWN_COMMAND], const struct config *config, const char *source,
                        const char *words, ...)
{
    char rest[OWN_COMMAND] = "";
    size_t name = name_length(words);
    va_list arguments;
    va_start(arguments, words);
    int needed = vsnprintf(rest, sizeof rest, words + name, arguments);
    va_end(arguments);
    if (needed < 0 || needed >= (int)sizeof rest)
        rest[0] = '\0'; /* half an argument is none */
    bool is_named = source != NULL && config->sources > 1;
    int used = snprintf(out, OWN_COMMAND, "%s %.*s%s%.64s%s", program_name(), (int)name, words,
                        is_named ? " --source " : "", is_named ? source : "", rest);
    if (used >= OWN_COMMAND)
        snprintf(out, OWN_COMMAND, "%s %.*s", program_name(), (int)name, words);
    return out;
}
