/* queue_url: what libpq takes, judged when the configuration is read, for libpq itself is loaded only where such a
 * queue is opened, and judges ports, modes and files only when it connects. The grammar is that of PostgreSQL's
 * documentation, "Connection URIs" and "Parameter Key Words". No word of the address stands in a reason: each may be
 * part of a password. */
#include "config/internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define EXAMPLE "postgresql://USER:PASSWORD@HOST/DATABASE"
#define NAME_SIZE 128 /* of a parameter, most of it in %XX */
#define MISSPELT 2    /* letters: a name that differs in more is no misspelling */

/* Instead of a list of values. */
static const char a_number[] = "a number", a_file[] = "a file";

static const char tls_versions[] = "TLSv1, TLSv1.1, TLSv1.2, TLSv1.3", yes_no[] = "0, 1",
                  wanted[] = "disable, prefer, require";

/* What libpq knows, until its version 18. */
static const struct parameter {
    const char *name;
    const char *values; /* NULL: any text */
} parameters[] = {
    {"application_name", NULL},
    {"channel_binding", wanted},
    {"client_encoding", NULL},
    {"connect_timeout", a_number},
    {"dbname", NULL},
    {"fallback_application_name", NULL},
    {"gssdelegation", yes_no},
    {"gssencmode", wanted},
    {"gsslib", NULL},
    {"host", NULL},
    {"hostaddr", NULL},
    {"keepalives", a_number},
    {"keepalives_count", a_number},
    {"keepalives_idle", a_number},
    {"keepalives_interval", a_number},
    {"krbsrvname", NULL},
    {"load_balance_hosts", "disable, random"},
    {"max_protocol_version", NULL},
    {"min_protocol_version", NULL},
    {"oauth_client_id", NULL},
    {"oauth_client_secret", NULL},
    {"oauth_issuer", NULL},
    {"oauth_scope", NULL},
    {"options", NULL},
    {"passfile", a_file},
    {"password", NULL},
    {"port", NULL},
    {"replication", NULL},
    {"require_auth", NULL},
    {"requirepeer", NULL},
    {"scram_client_key", NULL},
    {"scram_server_key", NULL},
    {"service", NULL},
    {"servicefile", a_file},
    {"ssl", "true"},
    {"ssl_max_protocol_version", tls_versions},
    {"ssl_min_protocol_version", tls_versions},
    {"sslcert", a_file},
    {"sslcertmode", "disable, allow, require"},
    {"sslcompression", yes_no},
    {"sslcrl", a_file},
    {"sslcrldir", a_file},
    {"sslkey", a_file},
    {"sslkeylogfile", NULL},
    {"sslmode", "disable, allow, prefer, require, verify-ca, verify-full"},
    {"sslnegotiation", "postgres, direct"},
    {"sslpassword", NULL},
    {"sslrootcert", a_file},
    {"sslsni", yes_no},
    {"target_session_attrs", "any, read-write, read-only, primary, standby, prefer-standby"},
    {"tcp_user_timeout", a_number},
    {"user", NULL},
};

/* An address, cut into its parts, which are decoded. Of a host's address there is one of each, or a list. */
struct address {
    const char *user, *database, *hosts, *host_addresses, *ports; /* NULL or "": none */
    size_t authority_hosts, authority_ports;                      /* of the part behind // */
};

/* ---- percents ---- */

static bool percents_are_good(const char *text)
{
    for (; (text = strchr(text, '%')) != NULL; text++) {
        if (text_hex_digit(text[1]) < 0 || text_hex_digit(text[2]) < 0 || (text[1] == '0' && text[2] == '0'))
            return false;
    }
    return true;
}

static char *decode(char *text)
{
    char *out = text;
    for (const char *in = text; *in != '\0'; in++) {
        bool coded = *in == '%';
        *out++ = coded ? (char)(text_hex_digit(in[1]) * 16 + text_hex_digit(in[2])) : *in;
        in += coded ? 2 : 0;
    }
    *out = '\0';
    return text;
}

/* ---- hosts and ports ---- */

static bool port_is_good(const char *text, size_t length)
{
    size_t port = 0;
    for (size_t i = 0; i < length; i++) {
        if (text[i] < '0' || text[i] > '9' || port > 65535)
            return false;
        port = port * 10 + (size_t)(text[i] - '0');
    }
    return length == 0 || (port > 0 && port <= 65535); /* none: 5432 */
}

static bool refuse(struct error *why, const char *fault)
{
    error_set(why, "%s", fault);
    return false;
}

static bool refuse_port(struct error *why)
{
    return refuse(why, "has a port that is no number from 1 to 65535 (an IPv6 address stands in brackets, [::1]:5432)");
}

/* How many there are in a list; 0: one of them is empty. */
static size_t count_list(const char *list)
{
    size_t count = 1;
    for (const char *rest = list; *rest != '\0' && *rest != ','; count++) {
        rest += strcspn(rest, ",");
        if (*rest == '\0')
            return count;
        rest++;
    }
    return 0;
}

/* HOST:PORT,[IPv6]:PORT */
static bool read_hosts(struct address *address, const char *text, struct error *why)
{
    if (*text == '\0')
        return true;
    for (const char *at = text;; at++) {
        bool bracketed = *at == '[';
        size_t length = strcspn(at, bracketed ? "]" : ":,");
        if (length == (bracketed ? 1 : 0) || (bracketed && at[length] != ']'))
            return refuse(why, "has an empty host, or one whose ] is missing: HOST, HOST:PORT, or HOST,HOST");
        at += length + (bracketed ? 1 : 0);
        address->authority_hosts++;
        if (*at != '\0' && *at != ',' && *at != ':')
            return refuse(why, "has something between the ] of a host and what follows: [::1]:5432");
        size_t port = *at == ':' ? strcspn(at + 1, ",") : 0;
        if (*at == ':' && !port_is_good(at + 1, port))
            return refuse_port(why);
        address->authority_ports += port > 0;
        at += *at == ':' ? 1 + port : 0;
        if (*at == '\0')
            return true;
    }
}

static bool check_ports(const char *list, size_t hosts, struct error *why)
{
    size_t ports = 0;
    for (const char *at = list;; at++) {
        size_t length = strcspn(at, ",");
        if (!port_is_good(at, length))
            return refuse_port(why);
        ports++;
        at += length;
        if (*at == '\0')
            break;
    }
    if (ports == 1 || ports == hosts)
        return true;
    error_set(why, "has %zu ports for %zu host%s: give one for all, or one for each", ports, hosts, text_plural(hosts));
    return false;
}

/* ---- parameters ---- */

static const struct parameter *find_parameter(const char *name)
{
    for (size_t i = 0; i < sizeof parameters / sizeof *parameters; i++) {
        if (strcmp(name, parameters[i].name) == 0)
            return &parameters[i];
    }
    return NULL;
}

static bool refuse_parameter(const char *name, struct error *why)
{
    const char *nearest = NULL;
    size_t least = MISSPELT + 1;
    for (size_t i = 0; i < sizeof parameters / sizeof *parameters; i++) {
        size_t distance = text_distance(name, parameters[i].name);
        if (distance < least) {
            nearest = parameters[i].name;
            least = distance;
        }
    }
    if (nearest != NULL)
        error_set(why, "has a parameter behind the ? that PostgreSQL does not know; did you mean %s?", nearest);
    else
        error_set(why, "has a parameter behind the ? that PostgreSQL does not know: remove it; what there is stands in "
                       "its documentation under Parameter Key Words");
    return false;
}

static bool is_listed(const char *list, const char *value)
{
    size_t length = strlen(value);
    for (const char *at = list; length > 0 && *at != '\0'; at += strspn(at, ", ")) {
        size_t word = strcspn(at, ",");
        if (word == length && memcmp(at, value, length) == 0)
            return true;
        at += word;
    }
    return false;
}

/* libpq goes on without some files that are not there. */
static bool check_file(const struct parameter *parameter, const char *value, struct error *why)
{
    bool is_none = strcmp(parameter->name, "sslrootcert") == 0 && strcmp(value, "system") == 0;
    bool is_engines = strcmp(parameter->name, "sslkey") == 0 && strchr(value, ':') != NULL;
    if (value[0] == '\0' || is_none || is_engines)
        return true;
    if (value[0] != '/') {
        error_set(why, "must name %s by its whole path: it does not matter then from where the program is started",
                  parameter->name);
        return false;
    }
    if (access(value, R_OK) == 0)
        return true;
    error_set(why, "names a file as %s that cannot be read: %s", parameter->name, strerror(errno));
    return false;
}

static bool check_value(const struct parameter *parameter, const char *value, struct error *why)
{
    if (parameter->values == NULL)
        return true;
    if (parameter->values == a_file)
        return check_file(parameter, value, why);
    if (parameter->values == a_number) {
        int64_t number;
        if (text_read_count(value, &number) == TEXT_READ && number <= INT32_MAX)
            return true;
        error_set(why, "must have a whole number as %s", parameter->name);
        return false;
    }
    if (is_listed(parameter->values, value))
        return true;
    error_set(why, "has a value of %s that does not exist; there are: %s", parameter->name, parameter->values);
    return false;
}

static void take_parameter(struct address *address, const char *name, const char *value)
{
    const struct {
        const char *name;
        const char **place;
    } places[] = {{"user", &address->user},
                  {"dbname", &address->database},
                  {"host", &address->hosts},
                  {"hostaddr", &address->host_addresses},
                  {"port", &address->ports}};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        if (strcmp(places[i].name, name) == 0)
            *places[i].place = value;
    }
}

/* NAME=VALUE&NAME=VALUE */
static bool read_parameters(struct address *address, char *text, struct error *why)
{
    for (char *next; text != NULL && *text != '\0'; text = next) {
        next = strchr(text, '&');
        if (next != NULL)
            *next++ = '\0';
        char *value = strchr(text, '=');
        if (value == NULL || strchr(value + 1, '=') != NULL)
            return refuse(why, "must have NAME=VALUE behind the ?, with & between, and %3D for a = in a value");
        *value++ = '\0';
        const struct parameter *parameter = find_parameter(decode(text));
        if (parameter == NULL)
            return refuse_parameter(text, why);
        if (!check_value(parameter, decode(value), why))
            return false;
        take_parameter(address, parameter->name, value);
    }
    return true;
}

const char *config_queue_url_unknown(const char *url, bool (*is_known)(const char *name, const void *context),
                                     const void *context)
{
    const char *next;
    for (const char *at = strchr(url, '?'); at != NULL; at = next) {
        char name[NAME_SIZE];
        size_t length = strcspn(++at, "=&");
        next = strchr(at, '&');
        if (length >= sizeof name) /* percents and all: none of the names is so long */
            continue;
        memcpy(name, at, length);
        name[length] = '\0';
        const struct parameter *parameter = percents_are_good(name) ? find_parameter(decode(name)) : NULL;
        if (parameter != NULL && !is_known(parameter->name, context))
            return parameter->name;
    }
    return NULL;
}

/* ---- the whole ---- */

static bool has(const char *part)
{
    return part != NULL && part[0] != '\0';
}

static bool is_complete(const struct address *address, struct error *why)
{
    size_t hosts = has(address->hosts) ? count_list(address->hosts) : address->authority_hosts;
    size_t addresses = has(address->host_addresses) ? count_list(address->host_addresses) : 0;
    if ((has(address->hosts) && hosts == 0) || (has(address->host_addresses) && addresses == 0))
        return refuse(why, "has an empty host between commas");
    if (hosts == 0 && addresses == 0)
        return refuse(why, "names no host: " EXAMPLE);
    if (!has(address->user))
        return refuse(why, "names no user: " EXAMPLE);
    if (!has(address->database))
        return refuse(why, "names no database: " EXAMPLE);
    if (hosts > 0 && addresses > 0 && hosts != addresses) {
        error_set(why, "has %zu hosts and %zu host addresses (hostaddr): give one for each", hosts, addresses);
        return false;
    }
    size_t most = hosts > 0 ? hosts : addresses;
    if (has(address->ports))
        return check_ports(address->ports, most, why);
    if (address->authority_ports == 0 || address->authority_hosts == 1 || address->authority_hosts == most)
        return true;
    return refuse(why, "has other ports than hosts: with ?host= give ?port=, too");
}

/* text: a copy, which is cut. */
static bool check_address(char *text, struct error *why)
{
    struct address address = {.user = NULL};
    char *authority = strstr(text, "//") + 2, *query = strchr(authority, '?');
    if (query != NULL)
        *query++ = '\0';
    char *path = strchr(authority, '/'), *at = strchr(authority, '@');
    if (path != NULL)
        *path++ = '\0';
    if (at != NULL) {
        *at++ = '\0';
        authority[strcspn(authority, ":")] = '\0';
        address.user = decode(authority);
    }
    address.database = path == NULL ? NULL : decode(path);
    return read_hosts(&address, at == NULL ? authority : at, why) && read_parameters(&address, query, why) &&
           is_complete(&address, why);
}

/* Whether an @, / or ? of a password stands for itself: then libpq would take a part of the password for the host, and
 * say it. */
static bool has_bare_signs(const char *text)
{
    const char *authority = strstr(text, "//") + 2, *at = strchr(authority, '@');
    return at != NULL && (strchr(at + 1, '@') != NULL || (size_t)(at - authority) > strcspn(authority, "/?#"));
}

static bool is_good(const char *text, struct error *why)
{
    bool good = (strncmp(text, "postgresql://", 13) == 0 || strncmp(text, "postgres://", 11) == 0) &&
                strpbrk(text, " \t") == NULL && value_control(text, strlen(text)) == 0;
    if (!good)
        return refuse(why, "must be " EXAMPLE ", in one line and without blanks; %XX stands for what has a meaning in "
                           "addresses");
    if (has_bare_signs(text))
        return refuse(why, "must have %40 for @, %2F for /, %3F for ? and %23 for # in user and password");
    if (!percents_are_good(text))
        return refuse(why, "has a % that two hexadecimal digits do not follow, or %00: %25 stands for a % itself");
    char *copy = strdup(text);
    if (copy == NULL)
        return refuse(why, "could not be read: out of memory");
    size_t length = strlen(copy);
    good = check_address(copy, why);
    secret_free(copy, length);
    return good;
}

static bool queue_url_parse(const struct key *key, const char *text, void *base, struct error *why)
{
    bool good = is_good(text, why);
    char *copy = good ? strdup(text) : NULL;
    if (good && copy == NULL)
        error_set(why, "could not be read: out of memory");
    return password_store(key, base, copy);
}

const struct type type_queue_url = {"URL", false, false, queue_url_parse, secret_clear, NULL};

/* ---- whose queue it is of ---- */

const char *config_queue_url_of(const struct config *config, const struct source *source)
{
    const char *url = source->queue_url != NULL ? source->queue_url : config->queue_url;
    return url == NULL ? "" : url;
}

bool config_has_own_queue(const struct config *config, const struct source *source)
{
    return source->queue_url != NULL &&
           (config->queue_url == NULL || strcmp(source->queue_url, config->queue_url) != 0);
}

bool config_has_several_queues(const struct config *config)
{
    for (size_t i = 0; config->queue == QUEUE_POSTGRESQL && i < config->sources; i++) {
        if (config_has_own_queue(config, &config->source[i]))
            return true;
    }
    return false;
}
