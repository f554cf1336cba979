/* The commands on subscriptions that exist: subscriptions, unsubscribe, pause, resume, rotate. */
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>

#include "base/escape.h"
#include "closeapi/closeapi.h"
#include "commands/close_session.h"
#include "commands/commands.h"
#include "commands/commands_private.h"
#include "kept/keys.h"

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

/* The rotation of each source that asks this Close, in a line. */
static void print_rotations(const struct close_session *session, const struct source *first)
{
    const struct config *config = session->config;
    for (const struct source *source = first; source < config->source + config->sources; source++) {
        char directory[4096];
        struct rotation rotation;
        struct completeness state = {0};
        struct error why = {0};
        const struct subscribing work = {config, source, session->client, directory, &session->list, NULL};
        if ((source != first && !are_of_one_close(first, source)) ||
            !closeapi_directory(config, source, directory, &why) || !rotation_read(directory, &rotation) ||
            !completeness_read(directory, &state, &why))
            continue;
        const struct subscription *successor = subscriptions_find(&session->list, rotation.to);
        enum rotation_stage stage = rotation_judge(&work, &rotation, successor, state.until_ms * 1000, &why);
        completeness_free(&state);
        if (stage == ROTATION_CALLED_OFF)
            printf("%s\n", why.text);
        else
            printf("%s is taking the place of %s: %s\n", rotation.to, rotation.from,
                   stage == ROTATION_OVER ? "the next reconcile removes the old one" : why.text);
    }
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
    print_rotations(session, source);
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
    return (source[0] == '\0' || kept_key_remove(session->config, source, id, why)) &&
           closeapi_note_pause(session->lock, session->directory, id, false, why);
}

/* What a subscription is in the rotation that is under way. */
enum rotation_part { PART_NONE, PART_OLD, PART_NEW };

static enum rotation_part part_in_rotation(const struct close_session *session, const char *id,
                                           struct rotation *rotation)
{
    if (!rotation_read(session->directory, rotation))
        return PART_NONE;
    if (strcmp(id, rotation->to) == 0)
        return PART_NEW;
    return strcmp(id, rotation->from) == 0 ? PART_OLD : PART_NONE;
}

/* Whether the new subscription is active, so that the old one may go. Else stderr says why not, and what to do. */
static bool may_remove_old(struct close_session *session, const char *id)
{
    char line[OWN_COMMAND];
    struct rotation rotation;
    struct error why = {0};
    enum rotation_stage stage;
    const struct subscribing work = close_session_work(session);
    enum close_result result = rotation_look(&work, &rotation, INT64_MAX, &stage, &why);
    if (result == CLOSE_DONE && stage == ROTATION_CALLED_OFF &&
        !rotation_forget(session->lock, session->directory, &why))
        result = CLOSE_FAILED;
    if (result != CLOSE_DONE) {
        close_session_failed(session, &why);
        return false;
    }
    if (stage != ROTATION_CALLED_OFF && stage != ROTATION_HELD_UP)
        return true;
    close_session_failed(session, &why);
    own_command(line, session->config, session->source->name, "unsubscribe %s",
                stage == ROTATION_HELD_UP ? rotation.to : id);
    fprintf(stderr,
            stage == ROTATION_HELD_UP ? "to give both up, `%s` first\n" : "to remove it all the same, `%s` again\n",
            line);
    return false;
}

/* What a removal meant for the rotation. */
static void print_rotation_left(const struct close_session *session, enum rotation_part part,
                                const struct rotation *rotation)
{
    char line[OWN_COMMAND];
    bool is_there = subscriptions_find(&session->list, rotation->from) != NULL;
    if (part == PART_OLD)
        printf("the rotation is over: %s has taken its place\n", rotation->to);
    else if (is_there)
        printf("the rotation is called off: %s stays; `%s` begins a new one\n", rotation->from,
               own_command(line, session->config, session->source->name, "rotate %s", rotation->from));
    else
        printf("the rotation is called off: %s is gone, too\n", rotation->from);
}

/* Removes it in Close, and what is kept of it here. Returns false with the reason; *forgotten: only the second failed.
 */
static bool remove_subscription(const struct close_session *session, const char *id, bool gone, bool *removed,
                                struct error *why)
{
    char source[128];
    struct rotation rotation;
    close_session_holds_key(session, id, source);
    *removed = gone || subscriptions_delete(session->client, id, why) == CLOSE_DONE;
    return *removed && forget_subscription(session, id, source, why) &&
           (part_in_rotation(session, id, &rotation) == PART_NONE ||
            rotation_forget(session->lock, session->directory, why));
}

/* A subscription that is gone in Close already may still have its key here. */
static int unsubscribe_one(struct close_session *session, const char *id)
{
    struct error why = {0};
    struct rotation rotation;
    char source[128];
    bool removed, held = close_session_holds_key(session, id, source);
    bool gone = held && subscriptions_find(&session->list, id) == NULL;
    enum rotation_part part = part_in_rotation(session, id, &rotation);
    if (!gone && close_session_find(session, id) == NULL)
        return COMMAND_FAILED;
    if (!gone && part == PART_OLD && !may_remove_old(session, id))
        return COMMAND_FAILED;
    bool good = remove_subscription(session, id, gone, &removed, &why);
    if (!removed)
        return close_session_failed(session, &why);
    close_session_release(session);
    printf(gone ? "%s was removed in Close already\n" : "%s is removed in Close\n", id);
    if (!good)
        return close_session_failed(session, &why);
    if (held)
        printf("its key was removed here: what it signed is refused from now on\n");
    if (part != PART_NONE)
        print_rotation_left(session, part, &rotation);
    return COMMAND_OK;
}

int command_unsubscribe(int argc, char **argv)
{
    return close_session_act(argc, argv, true, unsubscribe_one);
}

/* ---- pause ---- */

/* Noted, or forgotten, before Close is asked: a reconcile in between must not activate the paused subscription again;
 * and were it noted still when Close has activated it, a later pause of Close's own would pass for ours, and last. */
static bool set_paused(struct close_session *session, const char *id, bool paused, struct error *why)
{
    struct error unnoted;
    bool before = closeapi_paused_by_us(session->directory, id);
    if (!closeapi_note_pause(session->lock, session->directory, id, paused, why))
        return false;
    enum close_result result = subscriptions_set_status(session->client, id, paused ? "paused" : "active", why);
    if (result != CLOSE_DONE && result != CLOSE_INDETERMINATE)
        closeapi_note_pause(session->lock, session->directory, id, before, &unnoted);
    return result == CLOSE_DONE;
}

static int pause_one(struct close_session *session, const char *id)
{
    char line[OWN_COMMAND];
    struct error why = {0};
    const struct subscription *one = close_session_find(session, id);
    if (one == NULL)
        return COMMAND_FAILED;
    if (!set_paused(session, one->id, true, &why))
        return close_session_failed(session, &why);
    close_session_release(session);
    printf("%s is paused: Close sends nothing, and `%s` fills the gap from the Event Log\n"
           "(Close keeps that for 30 days)\n",
           one->id, own_command(line, session->config, session->source->name, "resume %s", one->id));
    struct rotation rotation;
    if (part_in_rotation(session, id, &rotation) == PART_NEW)
        printf("it is taking the place of %s, which stays meanwhile: the rotation goes on after `resume`\n",
               rotation.from);
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
    if (!set_paused(session, one->id, false, &why))
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
    else if (rotation_intend(&work, old, &why))
        result = subscribe_create(&work, body.data, old->url, rotation.to, &created_ms, &why);
    buffer_free(&body);
    if (result != CLOSE_DONE)
        return close_session_failed(session, &why);
    rotation.created_us = created_ms * 1000;
    if (!rotation_write(session->lock, session->directory, &rotation, &why)) {
        error_prefix(&why, "%s is there, and the next `rotate` or `reconcile` goes on with it: ", rotation.to);
        return close_session_failed(session, &why);
    }
    close_session_release(session);
    printf(
        "%s is there beside %s, and both deliver; what comes twice is sent once.\n"
        "The old one is removed by `reconcile` (cron) when the new one has delivered and the Event Log was read past "
        "its creation.\n",
        rotation.to, rotation.from);
    return COMMAND_OK;
}

/* The rotation is called off, as why says: another one begins, with the same old subscription. */
static int begin_again(struct close_session *session, const struct rotation *rotation, const struct error *why)
{
    const struct subscription *old = close_session_find(session, rotation->from);
    int code = old == NULL ? COMMAND_FAILED : begin_rotation(session, old);
    printf("(%s)\n", why->text);
    return code;
}

/* A rotation is under way: ends it if its conditions hold. */
static int continue_rotation(struct close_session *session, const struct rotation *rotation)
{
    struct completeness state;
    struct error why = {0};
    enum rotation_stage stage = ROTATION_WAITS;
    const struct subscribing work = close_session_work(session);
    enum close_result result = CLOSE_FAILED;
    if (completeness_read(session->directory, &state, &why)) {
        result = rotation_go_on(&work, state.until_ms * 1000, &stage, &why);
        completeness_free(&state);
    }
    if (result != CLOSE_DONE)
        return close_session_failed(session, &why);
    if (stage == ROTATION_CALLED_OFF)
        return begin_again(session, rotation, &why);
    close_session_release(session);
    printf("%s is taking the place of %s\n", rotation->to, rotation->from);
    printf("%s\n", stage == ROTATION_OVER ? "the old one is removed: the rotation is over" : why.text);
    return stage == ROTATION_HELD_UP ? COMMAND_FAILED : COMMAND_OK;
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
