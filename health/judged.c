/* Judges of dead letters, and what all judges share: see judged.h. */
#include "health/judged.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/text.h"

enum finding_outcome judged_found(const struct judged *judged, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(judged->out->sentence, sizeof judged->out->sentence, format, args);
    va_end(args);
    return FINDING_FOUND;
}

enum finding_outcome judge_dead_letters(const struct judged *judged)
{
    uint64_t dead = judged->source->counts.dead;
    if (!judged->facts->is_durable || judged->source->source == NULL || dead == 0)
        return FINDING_ABSENT;
    return judged_found(judged, "%llu dead letter%s kept", (unsigned long long)dead, dead == 1 ? " is" : "s are");
}

enum finding_outcome judge_letters_of_no_source(const struct judged *judged)
{
    uint64_t dead = judged->source->counts.dead;
    if (judged->source->source != NULL || dead == 0)
        return FINDING_ABSENT;
    return judged_found(judged, "%llu dead letter%s kept of a source that is not in the configuration",
                        (unsigned long long)dead, dead == 1 ? " is" : "s are");
}

enum finding_outcome judge_dead_letters_new(const struct judged *judged)
{
    if (judged->facts->new_letters == 0)
        return FINDING_ABSENT;
    return judged_found(judged, "%zu new dead letter%s, the last of %.440s", judged->facts->new_letters,
                        text_plural(judged->facts->new_letters), judged->facts->newest_letter.text);
}

enum finding_outcome judge_dead_letters_end(const struct judged *judged)
{
    char date[DATE_SIZE];
    const struct counts *counts = &judged->source->counts;
    if (counts->ending == 0)
        return FINDING_ABSENT;
    return judged_found(judged, "%llu dead letter%s end%s from %s on (dead_retention)",
                        (unsigned long long)counts->ending, text_plural(counts->ending), text_singular(counts->ending),
                        facts_date(counts->ending_ms, date));
}

enum finding_outcome judge_dead_letters_large(const struct judged *judged)
{
    const struct queue_room *room = &judged->facts->room;
    if (room->letters <= room->share)
        return FINDING_ABSENT;
    return judged_found(
        judged,
        "dead letters take %llu MiB, more than their quarter of queue_max_bytes: they are kept, and events "
        "have the other three quarters",
        (unsigned long long)(room->letters >> 20));
}
