/* Judges of dead letters, of queues that are away or were left, and of other machines, and what all judges share: see
 * findings_private.h. */
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

/* Only `check` tries the data plane itself. */
enum finding_outcome judge_data_plane_mended(const struct judged *judged)
{
    const struct source_facts *source = judged->source;
    if (!source->takes_key || !source->notes.operator_must_act || source->counts.waiting == 0)
        return FINDING_ABSENT;
    return judged_found(judged,
                        "the data plane takes the write key again, and the program was told to send what waits at "
                        "once; before, it was refused: %.255s",
                        source->notes.reason);
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

/* "5 events wait and 4 dead letters are kept" */
#define LEFT_SIZE 128
static const char *print_left(uint64_t waiting, uint64_t dead, char out[static LEFT_SIZE])
{
    int length = 0;
    out[0] = '\0';
    if (waiting > 0)
        length = snprintf(out, LEFT_SIZE, "%llu event%s wait%s", (unsigned long long)waiting, text_plural(waiting),
                          text_singular(waiting));
    if (dead > 0)
        snprintf(out + length, LEFT_SIZE - (size_t)length, "%s%llu dead letter%s kept", waiting > 0 ? " and " : "",
                 (unsigned long long)dead, dead == 1 ? " is" : "s are");
    return out;
}

static const char *name_queue(const struct judged *judged)
{
    static const char *const names[] = {[QUEUE_SQLITE] = "sqlite", [QUEUE_NONE] = "none"};
    enum queue_kind kind = judged->facts->config->queue;
    return kind == QUEUE_POSTGRESQL ? "postgresql" : names[kind];
}

/* The queue was `sqlite` before, and is another now. */
enum finding_outcome judge_queue_not_used(const struct judged *judged)
{
    char words[LEFT_SIZE];
    const struct left_behind *left = &judged->facts->behind;
    const char *state_dir = judged->facts->config->state_dir, *queue = name_queue(judged);
    if (left->why.text[0] != '\0')
        return judged_found(judged,
                            "there is a queue.db in %.160s, which queue = %s does not use, and what is in it cannot be "
                            "told: %.900s",
                            state_dir, queue, left->why.text);
    if (left->waiting + left->dead == 0)
        return FINDING_ABSENT;
    return judged_found(judged, "%s in queue.db in %.240s, which nothing delivers with queue = %s",
                        print_left(left->waiting, left->dead, words), state_dir, queue);
}

/* It was `postgresql`, or another database. */
enum finding_outcome judge_database_not_used(const struct judged *judged)
{
    char others[48] = "";
    const struct left_behind *left = &judged->facts->behind;
    if (left->databases == 0)
        return FINDING_ABSENT;
    if (left->databases > 1)
        snprintf(others, sizeof others, ", and %zu more", left->databases - 1);
    return judged_found(judged,
                        "this state directory has worked with a queue %.300s%s, which the configuration does not name "
                        "any more: what waits there is not forwarded by this machine",
                        left->database, others);
}

/* state_dir was changed, and what was in the old one is there still. */
enum finding_outcome judge_state_dir_left(const struct judged *judged)
{
    const struct left_elsewhere *left = &judged->facts->elsewhere;
    const char *keys = left->keys ? "; keys that `subscribe` obtained are there, too" : "";
    if (left->directory[0] == '\0')
        return FINDING_ABSENT;
    if (left->why.text[0] != '\0')
        return judged_found(judged,
                            "%.200s was the state directory until state_dir was changed, and what waits there cannot "
                            "be told%s: %.200s",
                            left->directory, keys, left->why.text);
    char words[LEFT_SIZE];
    return judged_found(judged,
                        "%s in %.240s, which was the state directory until state_dir was changed: nothing "
                        "delivers them%s",
                        print_left(left->waiting, left->dead, words), left->directory, keys);
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
    return judged_found(judged, "source %.64s has a queue that cannot be used%s: %.1000s", first->name, others,
                        first->away.text);
}

enum finding_outcome judge_queue_setup(const struct judged *judged)
{
    const char *worry = judged->facts->setup.worry.text;
    return worry[0] == '\0' ? FINDING_ABSENT : judged_found(judged, "the database of the queue: %.480s", worry);
}

enum finding_outcome judge_machines_differ(const struct judged *judged)
{
    const char *words = judged->facts->configs.text;
    return words[0] == '\0' ? FINDING_ABSENT : judged_found(judged, "%.511s", words);
}

/* ---- what other machines count ---- */

enum finding_outcome judge_machine_unread(const struct judged *judged)
{
    char others[48] = "";
    size_t unread = judged->facts->machines_unread;
    if (unread == 0)
        return FINDING_ABSENT;
    if (unread > 1)
        snprintf(others, sizeof others, ", and %zu other%s,", unread - 1, text_plural(unread - 1));
    return judged_found(judged,
                        "what machine %.100s%s counts is not in the figures of this one: another release wrote it",
                        judged->facts->machine_unread, others);
}

#define UNHEARD_MS 60000 /* while the database is away */

enum finding_outcome judge_machines_unheard(const struct judged *judged)
{
    char span[SPAN_SIZE];
    const struct facts *facts = judged->facts;
    int64_t age_ms = facts->now_ms - facts->heard_ms;
    if (facts->machines == 0 || age_ms <= (facts->queue_works ? judged->threshold : UNHEARD_MS))
        return FINDING_ABSENT;
    return judged_found(judged, "what %zu other machine%s count%s is in the figures as it was %s ago", facts->machines,
                        text_plural(facts->machines), text_singular(facts->machines), facts_span(age_ms, span));
}
