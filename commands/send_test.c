/* send-test: a signed event to an address, as Close would send it, and what its answer means; and the probes of an
 * address that subscribe makes. */
#include "commands/delivery.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/program_name.h"
#include "base/text.h"
#include "base/times.h"
#include "commands/commands.h"
#include "commands/commands_private.h"
#include "config/config.h"
#include "config/keyring.h"
#include "webhook/webhook.h"

#define TEST_EVENT_TYPE "closecrm_test"
#define TEST_EVENT_ACTION "created"

/* ---- the harmless event ---- */

/* Writes the event's id, NUL-terminated. */
static void test_event_id(const struct test_event *event, char out[static 48])
{
    char digits[2 * sizeof event->unique + 1];
    snprintf(out, 48, "ev_test_%s", text_hex_encode(event->unique, sizeof event->unique, digits));
}

/* All of the body but the padding, which goes between head and tail. */
static void write_parts(const struct test_event *event, struct buffer *head, struct buffer *tail)
{
    char id[48], date[DATE_PRINTED], text[1024];
    test_event_id(event, id);
    times_print_ms(event->now_ms, DATE_BARE_MICROSECONDS, date);
    snprintf(text, sizeof text,
             "{\"event\": {\"id\": \"%s\", \"date_created\": \"%s\", \"date_updated\": \"%s\", "
             "\"organization_id\": \"orga_closecrm_test\", \"user_id\": null, \"request_id\": null, "
             "\"lead_id\": \"lead_closecrm_test\", ",
             id, date, date);
    buffer_text(head, text);
    snprintf(text, sizeof text, "\"object_id\": \"closecrm_test_%s\", \"meta\": {}, \"changed_fields\": [], ",
             id + strlen("ev_test_"));
    buffer_text(head, text);
    const char *fields[] = {"\"object_type\": \"", event->object_type, "\", \"action\": \"", event->action, "\", "};
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        buffer_text(head, fields[i]);
    buffer_text(head, "\"data\": {\"note\": \"a test by closecrm.fcgi send-test\", \"padding\": \"");
    buffer_text(tail, "\"}, \"previous_data\": {}}, \"subscription_id\": \"whsub_closecrm_test\"}");
}

void test_event_write(const struct test_event *event, struct buffer *out)
{
    struct buffer head = {0}, tail = {0};
    write_parts(event, &head, &tail);
    if (head.failed || tail.failed) {
        out->failed = true;
    } else {
        size_t own = head.length + tail.length;
        size_t padding = event->size > own ? event->size - own : 0;
        buffer_append(out, head.data, head.length);
        char *room = buffer_room(out, padding);
        if (room != NULL && padding > 0) {
            memset(room, 'x', padding);
            out->length += padding;
        }
        buffer_append(out, tail.data, tail.length);
    }
    buffer_free(&head);
    buffer_free(&tail);
}

/* True for a name that may stand for object_type or action: letters, digits, _ and dots (activity.email). */
static bool test_event_name_fits(const char *name, size_t length)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.";
    for (size_t i = 0; i < length; i++) {
        if (strchr(allowed, name[i]) == NULL || name[i] == '\0')
            return false;
    }
    return length > 0;
}

/* ---- probes of an address ---- */

#define UNDER 1024 /* bytes: half of it is how far the large probe stays below max_body */

/* ---- an unsigned GET ---- */

static bool is_greeting(const struct delivery_answer *answer)
{
    char sentence[DELIVERY_SENTENCE];
    return answer->code == CURLE_OK && delivery_sentence(answer, sentence) &&
           strncmp(sentence, WEBHOOK_GREETING, sizeof WEBHOOK_GREETING - 1) == 0;
}

/* What came in the place of the sentence. */
static void print_other_answer(const char *command, const char *text, const struct delivery_answer *answer)
{
    char sentence[DELIVERY_SENTENCE], named[ADVICE_SIZE];
    bool by_program = delivery_sentence(answer, sentence);
    fprintf(stderr, "%s: no subscription was made: ", command);
    if (answer->code != CURLE_OK)
        fprintf(stderr, "%s cannot be reached from here: %s\n%s\n", text, answer->error,
                advice_on_failure(answer->code));
    else
        fprintf(
            stderr, "%s does not lead to this program: a GET is answered %ld%s%s\n%s\n", text, answer->status,
            by_program ? ": " : "", sentence,
            program_name_put(advice_on_answer(answer->status, by_program ? sentence : NULL, 0), named, sizeof named));
    fprintf(stderr, "If this machine cannot reach its own public address, or GET is refused on purpose, say "
                    "--no-url-check\n");
}

int probe_address(const char *command, const char *text)
{
    struct delivery_answer answer = {0};
    CURLU *url = delivery_url(text);
    const struct delivery get = {.url = url, .is_get = true};
    bool sent = url != NULL && delivery_send(&get, &answer), good = sent && is_greeting(&answer);
    if (!sent)
        fprintf(stderr, "%s: out of memory\n", command);
    else if (!good)
        print_other_answer(command, text, &answer);
    delivery_answer_free(&answer);
    curl_url_cleanup(url);
    return good ? COMMAND_OK : COMMAND_FAILED;
}

/* ---- signed requests: where the large one does not get through, smaller ones tell how large is still good ---- */

static const size_t smaller[] = {1000 * 1024, 120 * 1024}; /* under nginx's and mod_fcgid's own limits */

/* Writes a body of about this size that looks like an HTML e-mail, for filters judge that. */
static void write_probe_body(size_t size, struct buffer *out)
{
    static const char head[] =
        WEBHOOK_PROBE "\"a test by closecrm.fcgi subscribe --probe\", \"body_html\": \"<html><body>";
    static const char line[] =
        "<p style=\\\"margin:0\\\">Hello, <a href=\\\"https://example.com/?a=1&b=2\\\">click</a></p>";
    static const char tail[] = "</body></html>\"}";
    buffer_text(out, head);
    while (out->length + sizeof line + sizeof tail < size && !out->failed)
        buffer_text(out, line);
    buffer_text(out, tail);
}

static bool is_probe_answer(const struct delivery_answer *answer)
{
    static const char wanted[] = WEBHOOK_PROBE_ANSWER;
    return answer->status == 200 && answer->body.length >= sizeof wanted - 1 &&
           memcmp(answer->body.data, wanted, sizeof wanted - 1) == 0;
}

static void print_probe_answer(const struct delivery_answer *answer, size_t sent)
{
    char sentence[DELIVERY_SENTENCE], named[ADVICE_SIZE];
    bool by_program = delivery_sentence(answer, sentence);
    printf("probe: %zu bytes: ", sent);
    if (answer->code != CURLE_OK)
        printf("no answer after %lld ms: %s\n  %s\n", (long long)answer->took_ms, answer->error,
               advice_on_failure(answer->code));
    else if (is_probe_answer(answer))
        printf("arrived, answered 200 after %lld ms\n", (long long)answer->took_ms);
    else if (answer->status == 200)
        printf("answered 200, but not by this program's running version: something else answers at this address\n");
    else
        printf("answered %ld%s%s\n  %s\n", answer->status, by_program ? ": " : "", sentence,
               program_name_put(advice_on_answer(answer->status, by_program ? sentence : NULL, sent), named,
                                sizeof named));
}

/* Sends a probe of that size and prints what came back. Returns whether the program answered it. */
static bool send_probe(const char *text, const struct signature_key *key, size_t size)
{
    char timestamp[32], hash[DELIVERY_HASH_SIZE];
    struct buffer body = {0};
    struct delivery_answer answer = {0};
    CURLU *url = delivery_url(text);
    bool good = false;
    write_probe_body(size, &body);
    snprintf(timestamp, sizeof timestamp, "%lld", (long long)(clock_unix_ms() / 1000));
    bool ready = url != NULL && !body.failed;
    if (ready)
        delivery_sign(key, timestamp, body.data, body.length, hash);
    const struct delivery delivery = {
        .url = url, .body = body.data, .length = body.length, .timestamp = timestamp, .hash = hash};
    if (ready && delivery_send(&delivery, &answer)) {
        print_probe_answer(&answer, body.length);
        good = answer.code == CURLE_OK && is_probe_answer(&answer);
    } else {
        printf("probe: out of memory\n");
    }
    fflush(stdout);
    delivery_answer_free(&answer);
    buffer_free(&body);
    curl_url_cleanup(url);
    return good;
}

int probe_sizes(const struct config *config, const char *url, const struct signature_key *key)
{
    size_t large = (size_t)config->max_body - UNDER / 2;
    if (!send_probe(url, key, 500)) {
        printf("nothing gets through: Close's deliveries will fail at this address\n");
        return COMMAND_FAILED;
    }
    if (send_probe(url, key, large))
        return COMMAND_OK;
    for (size_t i = 0; i < sizeof smaller / sizeof *smaller; i++) {
        if (smaller[i] < large && send_probe(url, key, smaller[i]))
            break;
    }
    printf("small events get through, large ones (e-mails) do not: raise the limit, or let `reconcile` fetch them\n");
    return COMMAND_FAILED;
}

/* ---- send-test ---- */

#define SIZE_MOST ((size_t)1 << 30) /* bytes of a body that is sent */

struct send_test_options {
    const char *source; /* NULL: the only one */
    const char *event;  /* TYPE.ACTION; NULL: the harmless one */
    const char *size;
    const char *body; /* file; NULL: none */
    bool no_forward;  /* only as far as the program */
    const char *url;
};

/* ---- the body --------------------------------------------------------------------------------------------------- */

/* Reads "200", "200K" or "4M". Returns false for anything else and for more than SIZE_MOST. */
static bool read_body_size(const char *text, size_t *size)
{
    static const struct text_unit units[] = {
        {'\0', 1}, {'K', 1024}, {'k', 1024}, {'M', 1048576}, {'m', 1048576},
    };
    int64_t number = 0;
    if (text_read_units(text, units, sizeof units / sizeof *units, &number) != TEXT_READ || number > (int64_t)SIZE_MOST)
        return false;
    *size = (size_t)number;
    return true;
}

static bool read_body_descriptor(int fd, struct buffer *body)
{
    ssize_t n;
    do {
        char *room = buffer_room(body, 65536);
        n = room == NULL ? -1 : read(fd, room, 65536);
        if (n > 0)
            body->length += (size_t)n;
    } while (body->length <= SIZE_MOST && (n > 0 || (n < 0 && !body->failed && errno == EINTR)));
    if (body->length > SIZE_MOST)
        errno = EFBIG;
    return n == 0;
}

/* Reads the whole file into body. Returns false, and stderr says why. */
static bool read_body_file(const char *path, struct buffer *body)
{
    bool is_stdin = strcmp(path, "-") == 0;
    int fd = is_stdin ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    bool read = fd >= 0 && read_body_descriptor(fd, body);
    if (!read)
        fprintf(stderr, "send-test: %s: %s\n", is_stdin ? "stdin" : path,
                body->failed ? "out of memory" : strerror(errno));
    if (fd >= 0 && !is_stdin)
        close(fd);
    return read;
}

/* Linux has getrandom since 3.17; the hosts of the bundle may be older. */
static bool fill_randomly(void *bytes, size_t size)
{
    if (getrandom(bytes, size, 0) == (ssize_t)size)
        return true;
    int fd = open("/dev/urandom", O_RDONLY | O_CLOEXEC);
    bool filled = fd >= 0 && read(fd, bytes, size) == (ssize_t)size;
    if (fd >= 0)
        close(fd);
    return filled;
}

/* Writes a fresh event. Returns an exit code; stderr has the reason when it is not COMMAND_OK. */
static int make_event(const struct send_test_options *options, struct buffer *body)
{
    struct test_event event = {.object_type = TEST_EVENT_TYPE, .action = TEST_EVENT_ACTION, .now_ms = clock_unix_ms()};
    char names[128] = "";
    if (options->size != NULL && !read_body_size(options->size, &event.size))
        return options_wrong("send-test", "--size must be a number of bytes up to 1024M, such as 200K: %s",
                             options->size);
    if (options->event != NULL) {
        /* The action is what follows the last dot: there are types such as activity.email. */
        char *dot =
            (size_t)snprintf(names, sizeof names, "%s", options->event) < sizeof names ? strrchr(names, '.') : NULL;
        if (dot == NULL || !test_event_name_fits(names, (size_t)(dot - names)) ||
            !test_event_name_fits(dot + 1, strlen(dot + 1)))
            return options_wrong("send-test", "--event must be TYPE.ACTION, such as lead.updated: %s", options->event);
        *dot = '\0';
        event.object_type = names;
        event.action = dot + 1;
    }
    if (!fill_randomly(event.unique, sizeof event.unique)) {
        fprintf(stderr, "send-test: no random numbers: %s\n", strerror(errno));
        return COMMAND_FAILED;
    }
    test_event_write(&event, body);
    if (body->failed) {
        fprintf(stderr, "send-test: out of memory\n");
        return COMMAND_FAILED;
    }
    char id[48];
    test_event_id(&event, id);
    printf("event: %s.%s %s\n", event.object_type, event.action, id);
    return COMMAND_OK;
}

/* What the program answers, and does not keep. Returns an exit code. */
static int make_probe(struct buffer *body)
{
    buffer_text(body, WEBHOOK_TEST);
    if (body->failed)
        fprintf(stderr, "send-test: out of memory\n");
    else
        printf("test: as far as the program, which keeps nothing of it\n");
    return body->failed ? COMMAND_FAILED : COMMAND_OK;
}

/* ---- the request ------------------------------------------------------------------------------------------------ */

/* Puts the write key into the URL's query, unless there is one already. */
static bool add_write_key(CURLU *url, const char *key)
{
    char *query = NULL;
    bool has = curl_url_get(url, CURLUPART_QUERY, &query, 0) == CURLUE_OK && strstr(query, "writeKey=") != NULL;
    curl_free(query);
    if (has)
        return true;
    struct buffer part = {0};
    buffer_text(&part, "writeKey=");
    buffer_append(&part, key, strlen(key) + 1);
    bool added =
        !part.failed && curl_url_set(url, CURLUPART_QUERY, part.data, CURLU_APPENDQUERY | CURLU_URLENCODE) == CURLUE_OK;
    buffer_free(&part);
    return added;
}

/* Says what could not be found out about the source's keys, or is missing of them: the answer may be about that. */
static void warn_of_keys(const struct source_keys *keys, const struct source *source)
{
    if (keys->unread.text[0] != '\0')
        fprintf(stderr, "send-test: keys that `subscribe` obtained for source %s would be used, but %s\n", source->name,
                keys->unread.text);
    else if (keys->state == SIGNED_LOST)
        fprintf(stderr, "send-test: %s\n", keys->words.text);
}

/* Signs with a key that the program accepts for the source; where that has none, the write key goes along. Returns
 * false when memory ran out. */
static bool send_body(const struct config *config, const struct source *source, CURLU *url, const struct buffer *body,
                      struct delivery_answer *answer)
{
    char timestamp[32], hash[DELIVERY_HASH_SIZE], words[SOURCE_KEYS_WORDS];
    struct delivery delivery = {.url = url, .body = body->data, .length = body->length};
    struct source_keys keys;
    bool ready = source_keys_read(&keys, config, source);
    snprintf(timestamp, sizeof timestamp, "%lld", (long long)(clock_unix_ms() / 1000));
    if (ready)
        warn_of_keys(&keys, source);
    if (ready && keys.count > 0) {
        delivery_sign(&keys.at[0], timestamp, body->data, body->length, hash);
        delivery.timestamp = timestamp;
        delivery.hash = hash;
        printf("sent: %zu bytes, signed with %s, for source %s\n", body->length,
               source_key_words(&keys, 0, config, words), source->name);
    } else if (ready) {
        ready = source->write_key.count == 0 || add_write_key(url, source->write_key.at[0]);
        printf("sent: %zu bytes, with the write key of source %s\n", body->length, source->name);
    }
    source_keys_free(&keys);
    fflush(stdout);
    if (ready && delivery_send(&delivery, answer))
        return true;
    fprintf(stderr, "send-test: out of memory\n");
    return false;
}

/* ---- the command ------------------------------------------------------------------------------------------------ */

static int send_and_explain(const struct send_test_options *options, const struct config *config,
                            const struct source *source, CURLU *url)
{
    struct buffer body = {0};
    struct delivery_answer answer = {0};
    const char *wanted = options->no_forward ? WEBHOOK_PROBE_ANSWER : "ok";
    int code = COMMAND_FAILED;
    if (options->no_forward)
        code = make_probe(&body);
    else if (options->body == NULL)
        code = make_event(options, &body);
    else if (read_body_file(options->body, &body))
        code = COMMAND_OK;
    if (code == COMMAND_OK)
        code = send_body(config, source, url, &body, &answer) ? delivery_explain(&answer, body.length, wanted)
                                                              : COMMAND_FAILED;
    delivery_answer_free(&answer);
    buffer_free(&body);
    return code;
}

static int send_with_configuration(const struct send_test_options *options, CURLU *url)
{
    struct config *config = session_configuration("send-test");
    if (config == NULL)
        return COMMAND_CONFIGURATION;
    const struct source *source = session_source(config, options->source, "send-test");
    int code = source == NULL ? COMMAND_USAGE_SAID : send_and_explain(options, config, source, url);
    config_free(config);
    return code;
}

int command_send_test(int argc, char **argv)
{
    struct send_test_options options = {0};
    const struct option_spec specs[] = {
        {"--source", &options.source, NULL},
        {"--event", &options.event, NULL},
        {"--size", &options.size, NULL},
        {"--body", &options.body, NULL},
        {"--no-forward", NULL, &options.no_forward},
    };
    if (!options_read(argc, argv, specs, sizeof specs / sizeof *specs, &options.url))
        return COMMAND_USAGE;
    if (options.url == NULL)
        return options_wrong(argv[0], "to which URL?");
    if (options.body != NULL && (options.event != NULL || options.size != NULL))
        return options_wrong(argv[0], "--body sends the file as it is: --event and --size do not go with it");
    if (options.no_forward && (options.body != NULL || options.event != NULL || options.size != NULL))
        return options_wrong(argv[0],
                             "--no-forward sends a test of its own: --event, --size and --body do not go with it");
    CURLU *url = delivery_url(options.url);
    if (url == NULL)
        return options_wrong(argv[0], "the URL must be whole, beginning with https:// or http://, not \"%.200s\"",
                             options.url);
    int code = send_with_configuration(&options, url);
    curl_url_cleanup(url);
    return code;
}
