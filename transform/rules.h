/* The operator's rules: which events are sent, and which members are removed from them. */
#ifndef TRANSFORM_RULES_H
#define TRANSFORM_RULES_H

#include <json-c/json_object.h>
#include <stdbool.h>
#include <stddef.h>

#include "transform/transform.h"

/* Whether an event is sent: a pattern of keep matches its `object_type.action` (or keep is empty), and no pattern of
 * drop does. */
bool rules_keep(const struct rules *rules, const char *type_action, size_t length);

/* Removes the members named by the rules from the event. A path's steps are names joined by dots; names may contain
 * dots themselves, so `data.custom.cf_abc` removes both the member `custom.cf_abc` of data and cf_abc of data's custom.
 * A step into an array applies to each element. What is
 * removed from data is removed from previous_data too. Missing members are no error. */
void rules_remove(const struct rules *rules, struct json_object *event);

/* Whether a path names data or a member of it: previous_data has the same members. */
bool rules_is_of_data(const char *path);

#endif
