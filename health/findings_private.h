/* Inside the judges of findings: what a judge is given, how it says what it finds, and the texts of the table. */
#ifndef HEALTH_FINDINGS_PRIVATE_H
#define HEALTH_FINDINGS_PRIVATE_H

#include <stddef.h>

#include "health/findings.h"

/* What is judged. */
struct judged {
    const struct facts *facts;
    const struct source_facts *source; /* NULL: the whole */
    int64_t threshold;
    struct finding *out;
};

/* Sets the sentence. Returns FINDING_FOUND. */
enum finding_outcome judged_found(const struct judged *judged, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* of the server that keeps the queue, and of sources with queues of their own */
enum finding_outcome judge_queue_setup(const struct judged *judged);
enum finding_outcome judge_machines_differ(const struct judged *judged);
enum finding_outcome judge_queue_partly_broken(const struct judged *judged);

enum finding_outcome judge_data_plane_mended(const struct judged *judged);

/* of what other machines count */
enum finding_outcome judge_machine_unread(const struct judged *judged);
enum finding_outcome judge_machines_unheard(const struct judged *judged);

/* of dead letters */
enum finding_outcome judge_dead_letters(const struct judged *judged);
enum finding_outcome judge_letters_of_no_source(const struct judged *judged);
enum finding_outcome judge_dead_letters_new(const struct judged *judged);
enum finding_outcome judge_dead_letters_end(const struct judged *judged);
enum finding_outcome judge_dead_letters_large(const struct judged *judged);

/* of what is left in places that the configuration names no more */
enum finding_outcome judge_state_dir_left(const struct judged *judged);
enum finding_outcome judge_queue_not_used(const struct judged *judged);
enum finding_outcome judge_database_not_used(const struct judged *judged);

/* ---- texts of the table ---- */

/* In a text of the table @ becomes the name, $ the state directory, and the program is called as it can be typed. What
 * does not fit is left out altogether: half a command is none. out is not text. */
void finding_text_expand(const char *text, const char *name, const char *state_dir, char *out, size_t size);

/* Calls the program as it can be typed, in a sentence that stands in out already. */
void finding_text_put_name(char *out, size_t size);

#endif
