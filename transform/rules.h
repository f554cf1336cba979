/* The operator's choices: which events are sent, and what is removed from them. */
#ifndef TRANSFORM_RULES_H
#define TRANSFORM_RULES_H

#include <json-c/json_object.h>
#include <stdbool.h>
#include <stddef.h>

#include "transform/transform.h"

/* Whether an event is sent: some pattern of keep matches its `object_type.action` (or there is none), and no pattern of
 * drop does. */
bool rules_keep(const struct rules *rules, const char *type_action, size_t length);

/* Removes what the operator does not want sent from the event. A path's steps are names, with a dot between two; names
 * may hold dots themselves, so that `data.custom.cf_abc` removes the member `custom.cf_abc` of data as well as cf_abc
 * of its custom. A step into an array is a step into each of its elements. What is not there is no error. */
void rules_remove(const struct rules *rules, struct json_object *event);

#endif
