/* Output of the commands: times for people, and JSON objects. When memory is out, these end the process with
 * COMMAND_FAILED: a command can do nothing better. */
#ifndef COMMANDS_OUTPUT_H
#define COMMANDS_OUTPUT_H

#include <json-c/json_object.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "transform/headline.h"

/* Prints a line for people: the label, a time, and how long ago it was; 0: "never". */
void output_moment(const char *label, int64_t ms, int64_t now_ms);

/* A new object, the caller's to print or put. */
struct json_object *output_new(void);

/* Adds a member. A text is made UTF-8; NULL is null. */
void output_text(struct json_object *object, const char *name, const char *text);
void output_number(struct json_object *object, const char *name, uint64_t number);
void output_bool(struct json_object *object, const char *name, bool value);

/* Adds a member of any kind, and takes it over; NULL is null. */
void output_member(struct json_object *object, const char *name, struct json_object *member);

/* Adds a time; 0 is null. Written as "2026-11-24T20:45:06.123Z", and in the way of Close's own dates
 * ("2026-11-24T20:45:06.123+00:00"). */
void output_ms(struct json_object *object, const char *name, int64_t ms);
void output_us(struct json_object *object, const char *name, int64_t us);

/* Prints it as one line, and frees it. All commands have one shape: an object, or of a list an object a line, which may
 * be more than memory holds. */
void output_print(struct json_object *object);

/* A new object with what all lists say of an event. */
struct json_object *output_event(uint64_t id, const char *source, const struct headline *headline, size_t bytes);

#endif
