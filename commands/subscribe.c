/* subscribe: a webhook subscription in Close, and its key where the running program finds it. */
#include "commands/commands.h"

#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "commands/close_session.h"
#include "commands/options.h"
#include "commands/probe.h"

#define FILTER_MOST 65536 /* bytes */

struct wish {
    const char *url, *source, *events, *filter_file;
    bool dry_run, probe;
    char *filter; /* its text; NULL: none */
    struct event_choice choice;
};

/* ---- what is asked for ---- */

/* Whether it is a whole URL, https or http. */
static bool is_url(const char *text)
{
    CURLU *url = curl_url();
    char *scheme = NULL;
    bool good = url != NULL && strlen(text) < 2000 && curl_url_set(url, CURLUPART_URL, text, 0) == CURLUE_OK &&
                curl_url_get(url, CURLUPART_SCHEME, &scheme, 0) == CURLUE_OK &&
                (strcmp(scheme, "http") == 0 || strcmp(scheme, "https") == 0);
    for (const char *c = text; *c != '\0'; c++)
        good = good && (unsigned char)*c > 0x20 && (unsigned char)*c < 0x7f;
    curl_free(scheme);
    curl_url_cleanup(url);
    return good;
}

/* Reads the filter as it stands in its file. It must be JSON and an object with a type. */
static bool read_filter(struct wish *wish, struct error *why)
{
    if (wish->filter_file == NULL)
        return true;
    int fd = open(wish->filter_file, O_RDONLY | O_CLOEXEC);
    wish->filter = calloc(1, FILTER_MOST + 1);
    ssize_t n = fd < 0 || wish->filter == NULL ? -1 : read(fd, wish->filter, FILTER_MOST);
    if (n < 0)
        error_set(why, "cannot read %.300s: %s", wish->filter_file, strerror(errno));
    if (fd >= 0)
        close(fd);
    if (n < 0)
        return false;
    struct json_document document;
    struct error reason = {0};
    bool out_of_memory;
    bool good = json_read(wish->filter, (size_t)n, NULL, &document, &out_of_memory, &reason);
    if (good && !json_object_is_type(json_object_object_get(document.root, "type"), json_type_string)) {
        error_set(&reason, "a filter is an object with a type, like {\"type\": \"field_accessor\", ...}");
        good = false;
    }
    if (!good)
        error_set(why, "%.200s: %s", wish->filter_file, reason.text);
    json_document_free(&document);
    return good;
}

/* ---- what is said before ---- */

static bool ends_with_name(const char *url, const char *name)
{
    size_t length = strcspn(url, "?#"), size = strlen(name);
    while (length > 0 && url[length - 1] == '/')
        length--;
    return length > size && url[length - size - 1] == '/' && memcmp(url + length - size, name, size) == 0;
}

static size_t count_held(const struct close_session *session)
{
    struct keyring held;
    size_t count = 0;
    if (!keyring_read(session->config->state_dir, &held, NULL))
        return 0;
    for (size_t i = 0; i < held.count; i++)
        count += strcmp(held.at[i].source, session->source->name) == 0;
    keyring_free(&held);
    return count;
}

static void print_plan(const struct close_session *session, const struct wish *wish, bool first_key)
{
    printf("source %s: a subscription in Close for %zu kinds of events%s, to %s\n", session->source->name,
           wish->choice.count, wish->filter != NULL ? ", filtered" : "", wish->url);
    printf("%zu of %d subscriptions are taken\n", session->list.count, SUBSCRIPTIONS_MOST);
    if (strncmp(wish->url, "https://", 8) != 0)
        printf("warning: the URL is not https: events travel readable by others\n");
    if (session->config->sources > 1 && !ends_with_name(wish->url, session->source->name))
        printf("warning: there are several sources, and the URL does not end with /%s: each request is then tried with "
               "every source's keys\n",
               session->source->name);
    if (first_key)
        printf("warning: source %s had only a write key; once this subscription has a key, what is not signed by Close "
               "is refused\n",
               session->source->name);
    fflush(stdout);
}

/* Another subscription to the same address; NULL: there is none. */
static const struct subscription *find_same(const struct close_session *session, const char *url)
{
    for (size_t i = 0; i < session->list.count; i++) {
        if (subscription_same_url(session->list.at[i].url, url))
            return &session->list.at[i];
    }
    return NULL;
}

/* ---- the probe ---- */

/* A key that the program accepts for this source: one that we hold, else the configuration's. id: of the subscription
 * that is there. */
static int probe(struct close_session *session, const char *url, const char *id)
{
    struct keyring held;
    struct error why = {0};
    const struct signature_key *key = session->source->signature_keys > 0 ? &session->source->signature_key[0] : NULL;
    struct signature_key of_ring;
    if (!keyring_read(session->config->state_dir, &held, &why))
        return close_session_failed(session, &why);
    for (size_t i = 0; i < held.count; i++) {
        if (strcmp(held.at[i].source, session->source->name) != 0)
            continue;
        of_ring = (struct signature_key){held.at[i].bytes, KEYRING_BYTES};
        key = &of_ring;
    }
    int code = COMMAND_FAILED;
    if (key != NULL)
        code = probe_url(session->config, url, key);
    else
        fprintf(stderr,
                "%s: the key of %s is not held here, so that nothing can be probed; for a new key: closecrm.fcgi "
                "rotate %s\n",
                session->command, id, id);
    keyring_free(&held);
    return code;
}

/* ---- doing it ---- */

/* Makes the subscription and keeps its key. */
static bool create_subscription(const struct close_session *session, const struct wish *wish,
                                char id[static KEYRING_ID], struct error *why)
{
    struct buffer body = {0};
    int64_t created_ms;
    const struct subscribing work = close_session_work(session);
    subscription_write(&body, wish->url, &wish->choice, wish->filter);
    enum close_result result = CLOSE_FAILED;
    if (body.failed)
        error_set(why, "out of memory");
    else
        result = subscribe_create(&work, body.data, wish->url, id, &created_ms, why);
    buffer_free(&body);
    return result == CLOSE_DONE;
}

static int refuse_second(struct close_session *session, const struct wish *wish, const struct subscription *same)
{
    char source[128];
    bool held = close_session_holds_key(session, same->id, source);
    close_session_release(session);
    if (wish->probe) {
        printf("%s has this address already: it is only probed\n", same->id);
        return probe(session, wish->url, same->id);
    }
    fprintf(stderr, "%s: %s has this address already%s; for a new key: closecrm.fcgi rotate %s\n", session->command,
            same->id, held ? "" : ", and its key is not held here", same->id);
    return COMMAND_FAILED;
}

/* Prints once the subscription is made and the lock released: see close_session_release. */
static int subscribe(struct close_session *session, const struct wish *wish)
{
    struct error why = {0};
    char id[KEYRING_ID];
    const struct subscription *same = find_same(session, wish->url);
    if (same != NULL)
        return refuse_second(session, wish, same);
    bool full = session->list.count >= SUBSCRIPTIONS_MOST, tries = !full && !wish->dry_run;
    bool first_key = session->source->signature_keys == 0 && count_held(session) == 0;
    bool made = tries && create_subscription(session, wish, id, &why);
    close_session_release(session);
    print_plan(session, wish, first_key);
    if (full)
        error_set(&why, "all %d subscriptions of the organization are taken: remove one that is not needed",
                  SUBSCRIPTIONS_MOST);
    if (full || (tries && !made))
        return close_session_failed(session, &why);
    if (wish->dry_run) {
        printf("a dry run: nothing was changed\n");
        return COMMAND_OK;
    }
    printf("subscribed: %s; its key is kept in %s/keys, and the running program takes it at once\n", id,
           session->config->state_dir);
    fflush(stdout);
    return wish->probe ? probe(session, wish->url, "it") : COMMAND_OK;
}

/* Whether the key is good, asked in the cheapest way. */
static int check_key(struct close_session *session)
{
    struct close_answer answer = {0};
    struct json_document document;
    struct error why = {0};
    enum close_result result = close_call_json(session->client, "GET", "/me/", NULL, &answer, &document, &why);
    close_answer_free(&answer);
    if (result != CLOSE_DONE)
        return close_session_failed(session, &why);
    json_document_free(&document);
    return COMMAND_OK;
}

int command_subscribe(int argc, char **argv)
{
    struct wish wish = {.url = NULL};
    struct error why = {0};
    const struct option_spec specs[] = {
        {"--url", &wish.url, NULL},         {"--source", &wish.source, NULL},
        {"--events", &wish.events, NULL},   {"--filter", &wish.filter_file, NULL},
        {"--dry-run", NULL, &wish.dry_run}, {"--probe", NULL, &wish.probe},
    };
    if (!options_read(argc, argv, specs, sizeof specs / sizeof *specs, NULL))
        return COMMAND_USAGE;
    if (wish.url == NULL || !is_url(wish.url))
        return options_wrong(argv[0], "where to? --url https://YOUR-SITE/closecrm");
    if (!event_types_choose(wish.events, &wish.choice, &why))
        return options_wrong(argv[0], "%s", why.text);
    struct close_session session = {.lock = -1};
    int code = read_filter(&wish, &why) ? COMMAND_OK : options_wrong(argv[0], "%s", why.text);
    if (code == COMMAND_OK) {
        code = close_session_open(&session, argv[0], wish.source);
        if (code == COMMAND_OK)
            code = check_key(&session);
        if (code == COMMAND_OK)
            code = close_session_list(&session);
        if (code == COMMAND_OK)
            code = subscribe(&session, &wish);
        close_session_close(&session);
    }
    event_choice_free(&wish.choice);
    free(wish.filter);
    return code;
}
