/* Judges of dead letters and of queues that are away, and what all judges share: see findings_private.h. */
#include "health/findings_private.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/program_name.h"
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

/* ---- texts of the table ---- */

#define TEXT_MOST 5000 /* more than any member of struct finding */

void finding_text_put_name(char *out, size_t size)
{
    char named[TEXT_MOST];
    program_name_put(out, named, sizeof named);
    snprintf(out, size, "%s", named);
}

void finding_text_expand(const char *text, const char *name, const char *state_dir, char *out, size_t size)
{
    size_t length = 0;
    for (; *text != '\0'; text++) {
        const char letter[] = {*text, '\0'};
        const char *piece = *text == '@' ? name : *text == '$' ? state_dir : letter;
        size_t more = piece == NULL ? 0 : strlen(piece);
        if (length + more >= size) {
            length = 0;
            break;
        }
        memcpy(out + length, piece == NULL ? "" : piece, more);
        length += more;
    }
    out[length] = '\0';
    char named[TEXT_MOST];
    if (strlen(program_name_put(out, named, sizeof named)) < size)
        snprintf(out, size, "%s", named);
}

/* Where sources have queues of their own. */
enum finding_outcome judge_queue_partly_broken(const struct judged *judged)
{
    const struct facts *facts = judged->facts;
    const struct source_facts *first = NULL;
    size_t away = 0;
    char others[48] = "";
    for (size_t i = facts->sources; facts->queue_works && i-- > 0;) {
        away += facts->source[i].away.text[0] != '\0';
        first = facts->source[i].away.text[0] != '\0' ? &facts->source[i] : first;
    }
    if (first == NULL)
        return FINDING_ABSENT;
    if (away > 1)
        snprintf(others, sizeof others, ", as %zu other%s", away - 1, text_plural(away - 1));
    return judged_found(judged, "source %.64s has a queue that cannot be used%s: %.400s", first->name, others,
                        first->away.text);
}

enum finding_outcome judge_queue_setup(const struct judged *judged)
{
    const char *worry = judged->facts->setup.worry.text;
    return worry[0] == '\0' ? FINDING_ABSENT : judged_found(judged, "the database of the queue: %.480s", worry);
}

enum finding_outcome judge_machines_differ(const struct judged *judged)
{
    const char *words = judged->facts->machines.text;
    return words[0] == '\0' ? FINDING_ABSENT : judged_found(judged, "%.511s", words);
}
