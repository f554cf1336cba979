/* What the message of a webhook's body must be: see expected.h. */
#include "fuzz/rig/expected.h"

#include "base/json.h"
#include "fuzz/rig/rig.h"
#include "tests/support/strict_json.h"

#include <stdlib.h>
#include <string.h>

#define REPLACEMENT "\xEF\xBF\xBD"

static const struct node *event_of(const struct walked *body)
{
    const struct node *event = body->root == NULL ? NULL : node_member(body->root, "event");
    return event != NULL && event->kind == '{' ? event : NULL;
}

static bool is_string(const struct node *node)
{
    return node != NULL && node->kind == '"';
}

static bool has_letter(const struct node *node)
{
    for (size_t i = 0; is_string(node) && i < node->length; i++) {
        if ((node->bytes[i] >= 'a' && node->bytes[i] <= 'z') || (node->bytes[i] >= '0' && node->bytes[i] <= '9'))
            return true;
    }
    return false;
}

/* ---- taken or refused ---- */

void expect_taken(struct slice body, const struct rules *rules)
{
    struct walked walked;
    RIG_CHECK(is_strict_json(body), "taken, and no JSON");
    walk(&walked, body);
    const struct node *event = event_of(&walked);
    RIG_CHECK(event != NULL, "taken, and has no event");
    RIG_CHECK(walked.deepest <= JSON_DEPTH_MAX, "taken, and %u deep", walked.deepest);
    RIG_CHECK(is_string(node_member(event, "object_type")) && is_string(node_member(event, "action")),
              "taken, and its event has no type or action");
    RIG_CHECK(!rules->keep_nul || walked.name_nuls == 0, "taken, and a name has a NUL");
    walk_free(&walked);
}

void expect_refused(struct slice body, const struct rules *rules, const struct error *why)
{
    struct walked walked;
    if (!is_strict_json(body))
        return;
    walk(&walked, body);
    const struct node *event = event_of(&walked);
    bool deep = walked.deepest > JSON_DEPTH_MAX, nuls = rules->keep_nul && walked.name_nuls > 0;
    bool good = has_letter(node_member(event, "object_type")) && has_letter(node_member(event, "action"));
    RIG_CHECK(deep || nuls || !good, "refused, and nothing is wrong with it: %s", why->text);
    walk_free(&walked);
}

/* ---- a message ---- */

static void check_value(const struct node *found, const struct node *wanted, const struct node_wish *wish,
                        const char *what)
{
    struct buffer is = {0}, shall = {0};
    RIG_CHECK(found != NULL && wanted != NULL, "%s is missing", what);
    node_write(found, NULL, &is);
    node_write(wanted, wish, &shall);
    rig_check_equal(rig_slice(&is), rig_slice(&shall), what);
    buffer_free(&is);
    buffer_free(&shall);
}

static bool is_uuid(const struct node *node)
{
    static const char form[] = "xxxxxxxx-xxxx-5xxx-yxxx-xxxxxxxxxxxx";
    bool good = is_string(node) && node->length == strlen(form);
    for (size_t i = 0; good && i < strlen(form); i++) {
        const char *allowed = form[i] == 'x' ? "0123456789abcdef" : form[i] == 'y' ? "89ab" : (char[]){form[i], '\0'};
        good = node->bytes[i] != '\0' && strchr(allowed, node->bytes[i]) != NULL;
    }
    return good;
}

static void check_properties(const struct walked *body, const struct node *message, const struct rules *rules)
{
    const char *without[3] = {NULL};
    size_t count = 0;
    if (!rules->previous_data)
        without[count++] = "previous_data";
    if (!rules->changed_fields)
        without[count] = "changed_fields";
    const struct node_wish wish = {.replace_nuls = !rules->keep_nul,
                                   .without = without,
                                   .subscription_id = node_member(body->root, "subscription_id")};
    check_value(node_member(message, "properties"), event_of(body), &wish, "properties");
}

static void check_name(const struct node *event, const struct node *message, const struct node_wish *wish)
{
    struct buffer found = {0}, type = {0}, action = {0};
    const struct node *name = node_member(message, "event");
    RIG_CHECK(is_string(name), "the message has no event");
    node_write(name, NULL, &found);
    node_write(node_member(event, "object_type"), wish, &type);
    node_write(node_member(event, "action"), wish, &action);
    type.data[type.length - 1] = ' ';
    buffer_append(&type, action.data + 1, action.length - 1);
    rig_check_equal(rig_slice(&found), rig_slice(&type), "the event's name");
    buffer_free(&found);
    buffer_free(&type);
    buffer_free(&action);
}

static void check_ids(const struct node *event, const struct node *message, const struct node_wish *wish, bool newer)
{
    const struct node *lead = node_member(event, "lead_id"), *id = node_member(event, "id");
    if (has_letter(lead))
        check_value(node_member(message, "userId"), lead, wish, "userId");
    else if (node_member(message, "userId") == NULL)
        RIG_CHECK(is_uuid(node_member(message, "anonymousId")), "neither userId nor a made anonymousId");
    bool replaced = is_string(id) && (id->lone || (wish->replace_nuls && memchr(id->bytes, '\0', id->length) != NULL));
    if (!newer && !replaced && has_letter(id))
        check_value(node_member(message, "messageId"), id, wish, "messageId");
    else if (newer || replaced || !is_string(id))
        RIG_CHECK(is_uuid(node_member(message, "messageId")), "messageId is not made");
}

/* context.close has texts of the event under names of its own. */
static void check_context(const struct node *event, const struct node *message, const struct rules *rules,
                          const struct node_wish *wish)
{
    const struct node *context = node_member(message, "context");
    const struct node *of_close = node_member(context, "close");
    RIG_CHECK((of_close != NULL) == rules->close_context, "context.close is there, or not, against the rules");
    for (const struct node *at = of_close == NULL ? NULL : of_close->first; at != NULL; at = at->next) {
        bool is_id = at->name_length == strlen("event_id") && memcmp(at->name, "event_id", at->name_length) == 0;
        if (!is_string(node_member(event, "subscription_id")) && memcmp(at->name, "subs", 4) == 0)
            continue;
        char *name = rig_string((struct slice){at->name, at->name_length});
        if (strcmp(name, "subscription_id") != 0)
            check_value(at, node_member(event, is_id ? "id" : name), wish, "a member of context.close");
        free(name);
    }
}

void expect_message(struct slice body, const struct rules *rules, bool newer_version, struct slice message)
{
    const struct node_wish wish = {.replace_nuls = !rules->keep_nul};
    struct walked from, made;
    rig_check_json(message, "the message");
    walk(&from, body);
    walk(&made, message);
    const struct node *event = event_of(&from);
    RIG_CHECK(node_is(node_member(made.root, "type"), "track", 5), "it is no track message");
    check_properties(&from, made.root, rules);
    check_name(event, made.root, &wish);
    check_ids(event, made.root, &wish, newer_version);
    check_context(event, made.root, rules, &wish);
    walk_free(&from);
    walk_free(&made);
}

void expect_person(struct slice body, const struct rules *rules, struct slice message)
{
    static const char *const same[] = {"name", "url", "status_label", "addresses"};
    const struct node_wish wish = {.replace_nuls = false};
    struct walked from, made;
    (void)rules;
    rig_check_json(message, "the message about the person");
    walk(&from, body);
    walk(&made, message);
    const struct node *data = node_member(event_of(&from), "data"), *traits = node_member(made.root, "traits");
    bool identify = node_is(node_member(made.root, "type"), "identify", 8);
    RIG_CHECK(identify || node_is(node_member(made.root, "type"), "alias", 5), "neither identify nor alias");
    RIG_CHECK(is_uuid(node_member(made.root, "messageId")), "the messageId of a person's message is not made");
    RIG_CHECK(!identify || traits != NULL, "an identify without traits");
    for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
        const struct node *trait = node_member(traits, same[i]);
        if (trait != NULL && rules->keep_nul)
            check_value(trait, node_member(data, same[i]), &wish, same[i]);
    }
    walk_free(&from);
    walk_free(&made);
}
