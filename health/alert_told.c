/* What was told of causes of alerts, as text: see alert_told.h. */
#include "health/alert_told.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool alert_is_of_machine(const char *cause)
{
    return strcmp(cause, "disk_nearly_full") == 0 || strcmp(cause, "cron_overdue") == 0;
}

static bool is_shared(const struct alert_entry *entry)
{
    return entry->name[0] != '\0' && !alert_is_of_machine(entry->name);
}

void alert_entries_print(const struct alert_entry entry[static ALERT_ENTRIES], struct buffer *text)
{
    char line[300];
    for (size_t i = 0; i < ALERT_ENTRIES; i++) {
        if (!is_shared(&entry[i]))
            continue;
        snprintf(line, sizeof line, "%s %s %lld %lld %lld\n", entry[i].name,
                 entry[i].source[0] == '\0' ? "-" : entry[i].source, (long long)entry[i].since_ms,
                 (long long)entry[i].told_ms, (long long)entry[i].announced);
        buffer_text(text, line);
    }
    buffer_append(text, "", 1);
}

/* Its place, else a free one; NULL: none. */
static struct alert_entry *place_of(struct alert_entry *entry, const struct alert_entry *wanted)
{
    struct alert_entry *empty = NULL;
    for (size_t i = 0; i < ALERT_ENTRIES; i++) {
        if (strcmp(entry[i].name, wanted->name) == 0 && strcmp(entry[i].source, wanted->source) == 0)
            return &entry[i];
        if (entry[i].name[0] == '\0' && empty == NULL)
            empty = &entry[i];
    }
    return empty;
}

static void take_line(struct alert_entry *entry, const char *line)
{
    struct alert_entry read = {.since_ms = 0};
    char *end = NULL;
    int words = 0;
    if (sscanf(line, "%31s %71s%n", read.name, read.source, &words) != 2)
        return;
    if (strcmp(read.source, "-") == 0)
        memset(read.source, 0, sizeof read.source);
    read.since_ms = strtoll(line + words, &end, 10);
    read.told_ms = strtoll(end, &end, 10);
    read.announced = strtoll(end, NULL, 10);
    struct alert_entry *place = place_of(entry, &read);
    if (place != NULL && (place->name[0] == '\0' || place->told_ms < read.told_ms))
        memcpy(place, &read, sizeof read);
}

void alert_entries_take(struct alert_entry entry[static ALERT_ENTRIES], const char *text)
{
    for (; *text != '\0'; text += strcspn(text, "\n"), text += *text == '\n')
        take_line(entry, text);
}

void alert_entries_forget(struct alert_entry entry[static ALERT_ENTRIES])
{
    for (size_t i = 0; i < ALERT_ENTRIES; i++) {
        if (is_shared(&entry[i]))
            memset(&entry[i], 0, sizeof entry[i]);
    }
}
