/* send-test: a signed event to an address, as Close would send it, and what its answer means. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/text.h"
#include "commands/commands.h"
#include "commands/delivery.h"
#include "commands/options.h"
#include "commands/session.h"
#include "commands/test_event.h"
#include "config/config.h"
#include "config/source_keys.h"
#include "webhook/webhook.h"

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
        ready = delivery_sign(&keys.at[0], timestamp, body->data, body->length, hash);
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
