/* Inside the judges of findings: what a judge is given, and how it says what it finds. */
#ifndef HEALTH_JUDGED_H
#define HEALTH_JUDGED_H

#include "health/finding.h"

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

/* of dead letters */
enum finding_outcome judge_dead_letters(const struct judged *judged);
enum finding_outcome judge_letters_of_no_source(const struct judged *judged);
enum finding_outcome judge_dead_letters_new(const struct judged *judged);
enum finding_outcome judge_dead_letters_end(const struct judged *judged);
enum finding_outcome judge_dead_letters_large(const struct judged *judged);

#endif
