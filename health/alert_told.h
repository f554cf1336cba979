/* What was told of causes of alerts, and as text, for other machines. */
#ifndef HEALTH_ALERT_TOLD_H
#define HEALTH_ALERT_TOLD_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buffer.h"

#define ALERT_ENTRIES 128 /* causes that last, at once */

/* What is known of one cause. All zero: a free place. */
struct alert_entry {
    char name[32];
    char source[72];
    int64_t since_ms;  /* it is raised since then; 0: it is not */
    int64_t told_ms;   /* when its raising was told last */
    int64_t announced; /* bits, as in alerts.c; a release that knows no bits takes any as the first one */
};

/* Whether a cause is a machine's own, of which each tells by itself. */
bool alert_is_of_machine(const char *cause);

/* Prints what is not a machine's own, a line each, and a NUL. */
void alert_entries_print(const struct alert_entry entry[static ALERT_ENTRIES], struct buffer *text);

/* Takes over what such a text says, but for what was told later here. */
void alert_entries_take(struct alert_entry entry[static ALERT_ENTRIES], const char *text);

/* Forgets what is not a machine's own. */
void alert_entries_forget(struct alert_entry entry[static ALERT_ENTRIES]);

#endif
