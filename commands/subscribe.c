/* subscribe: creates a webhook subscription in Close, keeps its key where the running program finds it, and probes the
 * way to the program with signed requests that it answers and does not keep. With --update it adds events to one that
 * exists. */
#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/text.h"
#include "closeapi/closeapi.h"
#include "closeapi/subscriptions.h"
#include "commands/close_session.h"
#include "commands/commands.h"
#include "commands/commands_private.h"
#include "commands/delivery.h"
#include "kept/kept.h"
#include "kept/keys.h"

/* ---- --update ---- */

#define LOCK_WAIT_MS 5000

/* The subscriptions of the source that are meant: all have one address, as the two of a rotation have. */
static bool find_meant(const struct close_session *session, const char *url, struct coverage *meant, struct error *why)
{
    struct coverage all;
    struct keyring held;
    *meant = (struct coverage){.count = 0};
    if (!kept_keys_read(session->config, &held, why))
        return false;
    bool good = coverage_find(&all, &session->list, session->source, session->config->sources, &held, why);
    keyring_free(&held);
    for (size_t i = 0; good && i < all.count; i++) {
        if (url == NULL && !subscription_same_url(all.at[i]->url, all.at[0]->url)) {
            error_set(why, "source %.64s has subscriptions with several addresses: say which, with --url",
                      session->source->name);
            return false;
        }
        if (url == NULL || subscription_same_url(all.at[i]->url, url))
            meant->at[meant->count++] = all.at[i];
    }
    if (good && meant->count == 0)
        error_set(why, "source %.64s has no subscription with this address", session->source->name);
    return good && meant->count > 0;
}

/* Chooses the types: those that are named, or that were seen. *any: there are some. */
static bool choose_types(const struct close_session *session, const char *events, struct event_choice *choice,
                         bool *any, struct error *why)
{
    struct completeness state;
    *choice = (struct event_choice){0};
    *any = true;
    if (events != NULL)
        return event_types_choose(events, choice, why);
    if (!completeness_read(session->directory, &state, why))
        return false;
    *any = state.lacks[0] != '\0';
    bool good = !*any || event_types_choose(state.lacks, choice, why);
    completeness_free(&state);
    return good;
}

/* Leaves only the types that the subscription does not have. more->at is the caller's. */
static bool find_missing(const struct subscription *one, const struct event_choice *choice, struct event_choice *more)
{
    const struct coverage only = {.at = {one}, .count = 1};
    *more = (struct event_choice){.at = calloc(choice->count + 1, sizeof *more->at)};
    for (size_t i = 0; more->at != NULL && i < choice->count; i++) {
        char name[160];
        snprintf(name, sizeof name, "%.79s.%.79s", choice->at[i].object_type, choice->at[i].action);
        if (!coverage_has_type(&only, name))
            more->at[more->count++] = choice->at[i];
    }
    return more->at != NULL;
}

static enum close_result add_types(struct close_session *session, const struct subscription *one,
                                   const struct event_choice *more, struct error *why)
{
    struct buffer body = {0};
    enum close_result result = CLOSE_FAILED;
    subscription_write_events(&body, one, more);
    if (body.failed)
        error_set(why, "out of memory");
    else
        result = subscriptions_set_events(session->client, one->id, body.data, why);
    buffer_free(&body);
    return result;
}

static void print_added(const struct subscription *one, const struct event_choice *more, bool dry_run)
{
    if (more->count == 0) {
        printf("%s has all of them\n", one->id);
        return;
    }
    printf("%s %s:", one->id, dry_run ? "would get" : "gets, with the key that it has");
    for (size_t i = 0; i < more->count; i++)
        printf(" %s.%s", more->at[i].object_type, more->at[i].action);
    putchar('\n');
}

/* What it has now is not missed any more. A reconciling that is under way finds that out by itself. */
static void forget_lacks(struct close_session *session)
{
    struct completeness state;
    struct coverage now;
    struct error why = {0};
    struct kept *lock = closeapi_lock(session->config, session->directory, "reconcile.lock", LOCK_WAIT_MS, &why);
    subscriptions_free(&session->list);
    if (lock != NULL && subscriptions_list(session->client, &session->list, &why) == CLOSE_DONE &&
        find_meant(session, NULL, &now, &why) && completeness_read(session->directory, &state, &why)) {
        coverage_list_reduce(&now, state.lacks);
        completeness_write(lock, session->directory, &state, &why);
        completeness_free(&state);
    }
    kept_close(lock);
}

static int update_all(struct close_session *session, const struct coverage *meant, const struct event_choice *choice,
                      bool dry_run)
{
    struct error why = {0};
    for (size_t i = 0; i < meant->count; i++) {
        struct event_choice more;
        bool good = find_missing(meant->at[i], choice, &more);
        if (!good)
            error_set(&why, "out of memory");
        if (good && !dry_run && more.count > 0)
            good = add_types(session, meant->at[i], &more, &why) == CLOSE_DONE;
        if (good)
            print_added(meant->at[i], &more, dry_run);
        free(more.at);
        if (!good)
            return close_session_failed(session, &why);
    }
    if (!dry_run)
        forget_lacks(session);
    return COMMAND_OK;
}

/* Adds event types to the subscription of the session's source: those that events names, NULL: those that were seen in
 * the Event Log and that it lacks. url: of the subscription, where the source has several; NULL: its only one. After
 * close_session_list. Returns an exit code. */
static int subscribe_update(struct close_session *session, const char *url, const char *events, bool dry_run)
{
    struct error why = {0};
    struct coverage meant;
    struct event_choice choice;
    bool any;
    if (!find_meant(session, url, &meant, &why) || !choose_types(session, events, &choice, &any, &why))
        return close_session_failed(session, &why);
    if (!any) {
        close_session_release(session);
        puts("no event was seen in the Event Log of a type that the subscription lacks; --events LIST adds others");
        return COMMAND_OK;
    }
    int code = update_all(session, &meant, &choice, dry_run);
    close_session_release(session);
    event_choice_free(&choice);
    return code;
}

/* ---- subscribe ---- */

#define FILTER_MOST 65536 /* bytes */

struct subscribe_options {
    const char *url, *source, *events, *filter_file;
    bool dry_run, probe, no_url_check, update;
    char *filter; /* its text; NULL: none */
    struct event_choice choice;
};

/* ---- options ---- */

/* Whether it is a whole URL of printable characters, https or http. */
static bool is_url(const char *text)
{
    bool good = strlen(text) < 2000;
    for (const char *c = text; *c != '\0'; c++)
        good = good && (unsigned char)*c > 0x20 && (unsigned char)*c < 0x7f;
    CURLU *url = good ? delivery_url(text) : NULL;
    good = url != NULL;
    curl_url_cleanup(url);
    return good;
}

/* Reads the filter as it stands in its file. It must be JSON and an object with a type. */
static bool read_filter(struct subscribe_options *options, struct error *why)
{
    if (options->filter_file == NULL)
        return true;
    int fd = open(options->filter_file, O_RDONLY | O_CLOEXEC);
    options->filter = calloc(1, FILTER_MOST + 1);
    ssize_t n = fd < 0 || options->filter == NULL ? -1 : read(fd, options->filter, FILTER_MOST);
    if (n < 0)
        error_set(why, "cannot read %.300s: %s", options->filter_file, strerror(errno));
    if (fd >= 0)
        close(fd);
    if (n < 0)
        return false;
    struct json_document document;
    struct error reason = {0};
    bool out_of_memory;
    bool good = json_read(options->filter, (size_t)n, NULL, &document, &out_of_memory, &reason);
    if (good && !json_object_is_type(json_object_object_get(document.root, "type"), json_type_string)) {
        error_set(&reason, "a filter is an object with a type, like {\"type\": \"field_accessor\", ...}");
        good = false;
    }
    if (!good)
        error_set(why, "%.200s: %s", options->filter_file, reason.text);
    json_document_free(&document);
    return good;
}

/* ---- the plan ---- */

static bool ends_with_name(const char *url, const char *name)
{
    size_t length = strcspn(url, "?#"), size = strlen(name);
    while (length > 0 && url[length - 1] == '/')
        length--;
    return length > size && url[length - size - 1] == '/' && memcmp(url + length - size, name, size) == 0;
}

static bool has_any_key(const struct close_session *session)
{
    struct source_keys keys;
    bool has = source_keys_read(&keys, session->config, session->source) && keys.count > 0;
    source_keys_free(&keys);
    return has;
}

static void print_plan(const struct close_session *session, const struct subscribe_options *options, bool first_key)
{
    printf("source %s: a subscription in Close for %zu kind%s of events%s, to %s\n", session->source->name,
           options->choice.count, text_plural(options->choice.count), options->filter != NULL ? ", filtered" : "",
           options->url);
    printf("%zu of %d subscriptions are taken\n", session->list.count, SUBSCRIPTIONS_MOST);
    if (strncmp(options->url, "https://", 8) != 0)
        printf("warning: the URL is not https: events travel readable by others\n");
    if (session->config->sources > 1 && !ends_with_name(options->url, session->source->name))
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

/* Probes with a key that the program accepts for this source: the last is one that is kept here, if any is. id: of the
 * subscription, for the message. */
static int probe_with_held_key(struct close_session *session, const char *url, const char *id)
{
    struct source_keys keys;
    char line[OWN_COMMAND];
    if (!source_keys_read(&keys, session->config, session->source))
        return close_session_failed(session, &(struct error){.text = "out of memory"});
    if (keys.unread.text[0] != '\0') {
        close_session_failed(session, &keys.unread);
        source_keys_free(&keys);
        return COMMAND_FAILED;
    }
    int code = COMMAND_FAILED;
    if (keys.count > 0)
        code = probe_sizes(session->config, url, &keys.at[keys.count - 1]);
    else
        fprintf(stderr, "%s: the key of %s is not held here, so that nothing can be probed; for a new key: %s\n",
                session->command, id, own_command(line, session->config, session->source->name, "rotate %s", id));
    source_keys_free(&keys);
    return code;
}

/* ---- the subscription ---- */

/* Makes the subscription and keeps its key. */
static bool make_subscription(const struct close_session *session, const struct subscribe_options *options,
                              char id[static KEYRING_ID], struct error *why)
{
    struct buffer body = {0};
    int64_t created_ms;
    const struct subscribing work = close_session_work(session);
    subscription_write(&body, options->url, &options->choice, options->filter);
    enum close_result result = CLOSE_FAILED;
    if (body.failed)
        error_set(why, "out of memory");
    else
        result = subscribe_create(&work, body.data, options->url, id, &created_ms, why);
    buffer_free(&body);
    return result == CLOSE_DONE;
}

static int refuse_second(struct close_session *session, const struct subscribe_options *options,
                         const struct subscription *same)
{
    char source[128], line[OWN_COMMAND];
    bool held = close_session_holds_key(session, same->id, source);
    close_session_release(session);
    if (options->probe) {
        printf("%s has this address already: it is only probed\n", same->id);
        return probe_with_held_key(session, options->url, same->id);
    }
    fprintf(stderr, "%s: %s has this address already%s; for a new key: %s\n", session->command, same->id,
            held ? "" : ", and its key is not held here",
            own_command(line, session->config, session->source->name, "rotate %s", same->id));
    return COMMAND_FAILED;
}

/* Prints once the subscription is made and the lock released: see close_session_release. */
static int subscribe_url(struct close_session *session, const struct subscribe_options *options)
{
    struct error why = {0};
    char id[KEYRING_ID], line[OWN_COMMAND];
    const struct subscription *same = find_same(session, options->url);
    if (same != NULL)
        return refuse_second(session, options, same);
    bool full = session->list.count >= SUBSCRIPTIONS_MOST, tries = !full && !options->dry_run;
    bool first_key = !has_any_key(session);
    bool made = tries && make_subscription(session, options, id, &why);
    close_session_release(session);
    print_plan(session, options, first_key);
    if (full)
        error_set(&why, "all %d subscriptions of the organization are taken: remove one that is not needed",
                  SUBSCRIPTIONS_MOST);
    if (full || (tries && !made))
        return close_session_failed(session, &why);
    if (options->dry_run) {
        printf("a dry run: nothing was changed\n");
        return COMMAND_OK;
    }
    printf("subscribed: %s; its key is kept in %s/keys, and the running program takes it at once\n", id,
           session->config->state_dir);
    fflush(stdout);
    int code = options->probe ? probe_with_held_key(session, options->url, id) : COMMAND_OK;
    if (code != COMMAND_OK)
        printf("what Close sends while that is so it sends again, for 72 hours; if the address is wrong: %s\n",
               own_command(line, session->config, session->source->name, "unsubscribe %s", id));
    return code;
}

/* Whether Close accepts the API key, by the cheapest request. */
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

/* The other source whose name ends the URL, so that what is signed for this one is refused there; NULL: none. */
static const struct source *find_other_source(const struct close_session *session, const char *url)
{
    const struct config *config = session->config;
    if (config->sources < 2 || ends_with_name(url, session->source->name))
        return NULL;
    for (size_t i = 0; i < config->sources; i++) {
        if (ends_with_name(url, config->source[i].name))
            return &config->source[i];
    }
    return NULL;
}

/* Close gets no address that does not lead to the program: its deliveries would fail, and the subscription be paused.
 */
static int check_url(struct close_session *session, const struct subscribe_options *options)
{
    const struct source *other = find_other_source(session, options->url);
    if (other == NULL)
        return probe_address(session->command, options->url);
    fprintf(stderr,
            "%s: no subscription was made: the URL ends with the name of source %s: say --source %s, or put /%s at "
            "its end (--no-url-check leaves this out)\n",
            session->command, other->name, other->name, session->source->name);
    return COMMAND_FAILED;
}

static int update_subscription(const char *command, const struct subscribe_options *options)
{
    struct event_choice choice;
    struct error why = {0};
    struct close_session session;
    if (options->events != NULL && !event_types_choose(options->events, &choice, &why))
        return options_wrong(command, "%s", why.text);
    if (options->events != NULL)
        event_choice_free(&choice);
    int code = close_session_open(&session, command, options->source);
    if (code == COMMAND_OK)
        code = close_session_list(&session);
    if (code == COMMAND_OK)
        code = subscribe_update(&session, options->url, options->events, options->dry_run);
    close_session_close(&session);
    return code;
}

int command_subscribe(int argc, char **argv)
{
    struct subscribe_options options = {.url = NULL};
    struct error why = {0};
    const struct option_spec specs[] = {
        {"--url", &options.url, NULL},         {"--source", &options.source, NULL},
        {"--events", &options.events, NULL},   {"--filter", &options.filter_file, NULL},
        {"--dry-run", NULL, &options.dry_run}, {"--probe", NULL, &options.probe},
        {"--update", NULL, &options.update},   {"--no-url-check", NULL, &options.no_url_check},
    };
    if (!options_read(argc, argv, specs, sizeof specs / sizeof *specs, NULL))
        return COMMAND_USAGE;
    if (options.url == NULL && !options.update)
        return options_wrong(argv[0], "where to? --url https://YOUR-SITE/closecrm");
    if (options.url != NULL && !is_url(options.url))
        return options_wrong(argv[0], "an address is whole, like --url https://YOUR-SITE/closecrm, not \"%.200s\"",
                             options.url);
    if (options.update && (options.filter_file != NULL || options.probe))
        return options_wrong(argv[0], "--update only adds events: --filter and --probe do not go with it");
    if (options.update)
        return update_subscription(argv[0], &options);
    if (!event_types_choose(options.events, &options.choice, &why))
        return options_wrong(argv[0], "%s", why.text);
    struct close_session session = {.lock = NULL};
    int code = read_filter(&options, &why) ? COMMAND_OK : options_wrong(argv[0], "%s", why.text);
    if (code == COMMAND_OK) {
        code = close_session_open(&session, argv[0], options.source);
        if (code == COMMAND_OK)
            code = check_key(&session);
        if (code == COMMAND_OK && !options.no_url_check)
            code = check_url(&session, &options);
        if (code == COMMAND_OK)
            code = close_session_list(&session);
        if (code == COMMAND_OK)
            code = subscribe_url(&session, &options);
        close_session_close(&session);
    }
    event_choice_free(&options.choice);
    free(options.filter);
    return code;
}
