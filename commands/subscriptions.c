/* The commands on subscriptions that exist: subscriptions, unsubscribe, pause, resume, rotate. */
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>

#include "base/escape.h"
#include "closeapi/closeapi.h"
#include "commands/close_session.h"
#include "commands/commands.h"
#include "commands/commands_private.h"

/* ---- subscriptions: lists the subscriptions in Close, and whether their keys are kept here ---- */

static size_t count_events(const struct subscription *one)
{
    struct json_object *events = json_object_object_get(one->json, "events");
    return json_object_is_type(events, json_type_array) ? json_object_array_length(events) : 0;
}

static const char *or_nothing(const char *text)
{
    return text[0] == '\0' ? "-" : text;
}

static void print_subscription(const struct close_session *session, const struct subscription *one)
{
    char source[128];
    bool held = close_session_holds_key(session, one->id, source);
    printf("%s  %s", one->id, or_nothing(one->status));
    if (one->health[0] != '\0')
        printf(", %s", one->health);
    printf("\n  url: ");
    plain_write(stdout, one->url, strlen(one->url));
    printf("\n  events: %zu\n", count_events(one));
    if (held)
        printf("  key: held, for source %s\n", source);
    else
        printf("  key: not held here\n");
    if (closeapi_paused_by_us(session->directory, one->id))
        printf("  paused by the command `pause`\n");
    if (one->pause_reason[0] != '\0') {
        printf("  pause reason: ");
        plain_write(stdout, one->pause_reason, strlen(one->pause_reason));
        putchar('\n');
    }
    if (one->latest_error[0] != '\0') {
        printf("  latest error: ");
        plain_write(stdout, one->latest_error, strlen(one->latest_error));
        putchar('\n');
    }
}

/* What Close did not send is null. */
static void add_close_text(struct json_object *object, const char *name, const char *text)
{
    output_text(object, name, text[0] == '\0' ? NULL : text);
}

static void print_list_json(const struct close_session *session)
{
    for (size_t i = 0; i < session->list.count; i++) {
        const struct subscription *one = &session->list.at[i];
        char source[128];
        struct json_object *element = output_new();
        bool held = close_session_holds_key(session, one->id, source);
        add_close_text(element, "id", one->id);
        add_close_text(element, "url", one->url);
        add_close_text(element, "status", one->status);
        add_close_text(element, "health_status", one->health);
        add_close_text(element, "pause_reason", one->pause_reason);
        add_close_text(element, "latest_error", one->latest_error);
        output_bool(element, "paused_by_us", closeapi_paused_by_us(session->directory, one->id));
        output_bool(element, "key_held", held);
        add_close_text(element, "source", source);
        output_member(element, "events", json_object_get(json_object_object_get(one->json, "events")));
        output_print(element);
    }
}

/* Whether two sources ask the same Close. */
static bool are_of_one_close(const struct source *a, const struct source *b)
{
    return a->close_api_key != NULL && b->close_api_key != NULL && strcmp(a->close_api_key, b->close_api_key) == 0 &&
           strcmp(a->close_api_url, b->close_api_url) == 0;
}

/* Whether an earlier source has listed what this one would. */
static bool is_listed_already(const struct config *config, size_t at)
{
    for (size_t i = 0; i < at; i++) {
        if (are_of_one_close(&config->source[i], &config->source[at]))
            return true;
    }
    return false;
}

/* "source one, two:" where several are configured. */
static void print_sources(const struct config *config, const struct source *source)
{
    if (config->sources < 2)
        return;
    printf("source %s", source->name);
    for (const struct source *other = source + 1; other < config->source + config->sources; other++) {
        if (are_of_one_close(source, other))
            printf(", %s", other->name);
    }
    puts(":");
}

static int list_source(struct close_session *session, const struct source *source, bool json)
{
    int code = close_session_choose(session, source);
    if (code == COMMAND_OK)
        code = close_session_list(session);
    close_session_release(session);
    if (code != COMMAND_OK)
        return code;
    if (json) {
        print_list_json(session);
        return COMMAND_OK;
    }
    print_sources(session->config, source);
    for (size_t i = 0; i < session->list.count; i++)
        print_subscription(session, &session->list.at[i]);
    printf("%zu of %d subscriptions are taken\n", session->list.count, SUBSCRIPTIONS_MOST);
    fflush(stdout);
    return COMMAND_OK;
}

/* Of all sources. One without an API key has nothing to list, unless none has any. */
static int list_sources(struct close_session *session, bool json)
{
    const struct config *config = session->config;
    int code = COMMAND_OK;
    bool any = false;
    for (size_t i = 0; i < config->sources; i++)
        any = any || config->source[i].close_api_key != NULL;
    for (size_t i = 0; i < config->sources; i++) {
        const struct source *source = &config->source[i];
        if ((any && source->close_api_key == NULL) || is_listed_already(config, i))
            continue;
        int one = list_source(session, source, json);
        code = one == COMMAND_OK ? code : one;
    }
    return code;
}

int command_subscriptions(int argc, char **argv)
{
    const char *name = NULL;
    bool json = false;
    const struct option_spec specs[] = {{"--source", &name, NULL}, {"--json", NULL, &json}};
    if (!options_read(argc, argv, specs, sizeof specs / sizeof *specs, NULL))
        return COMMAND_USAGE;
    struct close_session session;
    int code = close_session_begin(&session, argv[0]);
    if (code == COMMAND_OK && name != NULL) {
        const struct source *source = session_source(session.config, name, argv[0]);
        code = source == NULL ? COMMAND_USAGE_SAID : list_source(&session, source, json);
    } else if (code == COMMAND_OK) {
        code = list_sources(&session, json);
    }
    close_session_close(&session);
    return code;
}

/* ---- unsubscribe ---- */

/* Removes what is kept here of a subscription. */
static bool forget_subscription(const struct close_session *session, const char *id, const char *source,
                                struct error *why)
{
    return (source[0] == '\0' || keyring_remove(session->config->state_dir, source, id, why)) &&
           closeapi_note_pause(session->directory, id, false, why);
}

/* A subscription that is gone in Close already may still have its key here. */
static int unsubscribe_one(struct close_session *session, const char *id)
{
    struct error why = {0};
    char source[128];
    bool held = close_session_holds_key(session, id, source);
    bool gone = held && subscriptions_find(&session->list, id) == NULL;
    if (!gone && close_session_find(session, id) == NULL)
        return COMMAND_FAILED;
    if (!gone && subscriptions_delete(session->client, id, &why) != CLOSE_DONE)
        return close_session_failed(session, &why);
    bool forgotten = forget_subscription(session, id, source, &why);
    close_session_release(session);
    printf(gone ? "%s was removed in Close already\n" : "%s is removed in Close\n", id);
    if (!forgotten)
        return close_session_failed(session, &why);
    if (held)
        printf("its key was removed here: what it signed is refused from now on\n");
    return COMMAND_OK;
}

int command_unsubscribe(int argc, char **argv)
{
    return close_session_act(argc, argv, true, unsubscribe_one);
}

/* ---- pause ---- */

/* Noted before Close is asked: a reconcile in between must not activate the paused subscription again. */
static int pause_one(struct close_session *session, const char *id)
{
    char line[OWN_COMMAND];
    struct error why = {0}, reason;
    const struct subscription *one = close_session_find(session, id);
    if (one == NULL)
        return COMMAND_FAILED;
    if (!closeapi_note_pause(session->directory, one->id, true, &why))
        return close_session_failed(session, &why);
    enum close_result result = subscriptions_set_status(session->client, one->id, "paused", &why);
    if (result != CLOSE_DONE) {
        if (result != CLOSE_INDETERMINATE)
            closeapi_note_pause(session->directory, one->id, false, &reason);
        return close_session_failed(session, &why);
    }
    close_session_release(session);
    printf("%s is paused: Close sends nothing, and `%s` fills the gap from the Event Log\n"
           "(Close keeps that for 30 days)\n",
           one->id, own_command(line, session->config, session->source->name, "resume %s", one->id));
    return COMMAND_OK;
}

int command_pause(int argc, char **argv)
{
    return close_session_act(argc, argv, true, pause_one);
}

/* ---- resume ---- */

static int resume_one(struct close_session *session, const char *id)
{
    char line[OWN_COMMAND];
    struct error why = {0};
    const struct subscription *one = close_session_find(session, id);
    if (one == NULL)
        return COMMAND_FAILED;
    if (subscriptions_set_status(session->client, one->id, "active", &why) != CLOSE_DONE ||
        !closeapi_note_pause(session->directory, one->id, false, &why))
        return close_session_failed(session, &why);
    close_session_release(session);
    printf("%s is active: Close sends again\n", one->id);
    fflush(stdout);
    if (session->config->queue == QUEUE_NONE) {
        printf("what was missed meanwhile stays missing: with queue = sqlite `%s` would fill it\n",
               own_command(line, session->config, session->source->name, "reconcile"));
        return COMMAND_OK;
    }
    int code = close_session_open_queue(session);
    if (code == COMMAND_OK)
        code = reconcile_and_print(session, &(struct reconcile_arguments){.after_pause = true});
    return code;
}

int command_resume(int argc, char **argv)
{
    return close_session_act(argc, argv, true, resume_one);
}

/* ---- rotate: a new subscription takes an old one's place, for a new key, without a gap. The old one goes when the new
 * one delivers and the log has been reconciled past its creation: `reconcile` ends what this begins. ---- */

/* The only subscription whose key is kept here for the source; NULL, and stderr says why, when there is not just one.
 */
static const struct subscription *find_only_subscription(struct close_session *session)
{
    const struct subscription *found = NULL;
    for (size_t i = 0; i < session->list.count; i++) {
        char source[128];
        if (!close_session_holds_key(session, session->list.at[i].id, source) ||
            strcmp(source, session->source->name) != 0)
            continue;
        if (found != NULL) {
            close_session_release(session);
            fprintf(stderr, "%s: source %s has several subscriptions: say which\n", session->command, source);
            return NULL;
        }
        found = &session->list.at[i];
    }
    if (found != NULL)
        return found;
    close_session_release(session);
    fprintf(stderr, "%s: no key of a subscription of source %s is held here: say which subscription\n",
            session->command, session->source->name);
    return NULL;
}

/* Whether the subscription that was asked for (NULL: none) is one of the two of the rotation that is under way: there
 * is one at a time. Else stderr says why not. */
static bool is_of_rotation(struct close_session *session, const struct rotation *rotation, const char *id)
{
    char line[OWN_COMMAND];
    if (id == NULL || strcmp(id, rotation->from) == 0 || strcmp(id, rotation->to) == 0)
        return true;
    if (close_session_find(session, id) == NULL)
        return false;
    close_session_release(session);
    fprintf(stderr, "%s: %s must wait: %s is taking the place of %s, which `%s` ends\n", session->command, id,
            rotation->to, rotation->from, own_command(line, session->config, session->source->name, "reconcile"));
    return false;
}

/* A rotation is under way: ends it if its conditions hold. */
static int continue_rotation(struct close_session *session, const struct rotation *rotation)
{
    struct completeness state;
    struct error why = {0};
    bool ended;
    const struct subscribing work = close_session_work(session);
    enum close_result result = CLOSE_FAILED;
    if (completeness_read(session->directory, &state, &why)) {
        result = rotation_go_on(&work, state.until_ms * 1000, &ended, &why);
        completeness_free(&state);
    }
    close_session_release(session);
    printf("%s is taking the place of %s\n", rotation->to, rotation->from);
    if (result != CLOSE_DONE)
        return close_session_failed(session, &why);
    printf("%s\n", ended ? "the old one is removed: the rotation is over" : why.text);
    return COMMAND_OK;
}

static int begin_rotation(struct close_session *session, const struct subscription *old)
{
    struct buffer body = {0};
    struct error why = {0};
    struct rotation rotation;
    int64_t created_ms = 0;
    const struct subscribing work = close_session_work(session);
    if (session->list.count >= SUBSCRIPTIONS_MOST) {
        close_session_release(session);
        fprintf(stderr, "%s: all %d subscriptions of the organization are taken, and the new one needs a place\n",
                session->command, SUBSCRIPTIONS_MOST);
        return COMMAND_FAILED;
    }
    subscription_write_like(&body, old);
    snprintf(rotation.from, sizeof rotation.from, "%s", old->id);
    enum close_result result = CLOSE_FAILED;
    if (body.failed)
        error_set(&why, "out of memory");
    else
        result = subscribe_create(&work, body.data, old->url, rotation.to, &created_ms, &why);
    buffer_free(&body);
    if (result != CLOSE_DONE)
        return close_session_failed(session, &why);
    rotation.created_us = created_ms * 1000;
    if (!rotation_write(session->directory, &rotation, &why))
        return close_session_failed(session, &why);
    close_session_release(session);
    printf(
        "%s is there beside %s, and both deliver; what comes twice is sent once.\n"
        "The old one is removed by `reconcile` (cron) when the new one has delivered and the Event Log was read past "
        "its creation.\n",
        rotation.to, rotation.from);
    return COMMAND_OK;
}

static int rotate_subscription(struct close_session *session, const char *id)
{
    struct rotation rotation;
    if (rotation_read(session->directory, &rotation))
        return is_of_rotation(session, &rotation, id) ? continue_rotation(session, &rotation) : COMMAND_FAILED;
    const struct subscription *old = id != NULL ? close_session_find(session, id) : find_only_subscription(session);
    return old == NULL ? COMMAND_FAILED : begin_rotation(session, old);
}

int command_rotate(int argc, char **argv)
{
    return close_session_act(argc, argv, false, rotate_subscription);
}
