/* check: what a source's settings mean for the destination that gets its messages. */
#include "commands/check_messages.h"

#include <stdio.h>

#include "forward/forward.h"
#include "transform/transform.h"

void check_messages(const struct source *source)
{
    const struct rules rules = forward_rules(source);
    const struct {
        bool holds;
        const char *line;
    } lines[] = {
        {rules.keep_nul, "nul = keep: a text with U+0000 makes a warehouse fail to load the table that it is for, and\n"
                         "    with one in a name an event becomes a dead letter"},
        {rules.json_columns,
         "warehouse = json: in PostgreSQL, Redshift, Snowflake and BigQuery `data` is one column of "
         "JSON; a column\n    that is there already stays what it is: begin with a new schema"},
        {rules.close_context, "context = close: event tables and `tracks` have the columns context_close_user_id, "
                              "context_close_event_id\n    and others"},
        {rules.previous_data, "include = previous_data: messages hold what was deleted and what an update replaced, in "
                              "columns\n    of their own; what `remove` takes out of data is taken out there too"},
        {rules.identify, "identify = yes: a lead's and a contact's events send an identify besides, which RudderStack "
                         "bills as an event\n    each; turn \"Skip User Table\" off at the warehouse to have `users`"},
        {rules.alias,
         "alias = yes: lead.merged sends an alias besides; destinations without alias report it as failed,\n"
         "    and in some it cannot be undone"},
        {rules.removes > 0,
         "remove: what it names is in no message, page or sample; what it takes out of data neither in\n"
         "    previous_data nor in traits, user_id not in context.close"},
        {rules.changed_fields, "include = changed_fields: messages hold the names of what an update changed"},
    };
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        if (lines[i].holds)
            printf("  %s\n", lines[i].line);
    }
}
