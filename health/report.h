/* What the views show of the findings: which of them, in which words. Nothing is judged here. */
#ifndef HEALTH_REPORT_H
#define HEALTH_REPORT_H

#include "health/findings.h"

/* Whether a view shows one of facts->found: of those that say the same only the worst. */
bool report_shows(const struct facts *facts, const struct finding *finding, enum finding_view view);

/* The first one that a view shows, from `after` on (NULL: of all). NULL: there is none. */
const struct finding *report_next(const struct facts *facts, const struct finding *after, enum finding_view view);

/* Whether a view shows a finding of that kind. */
bool report_finds(const struct facts *facts, enum finding_id id, enum finding_view view);

/* Whether a view shows nothing that keeps a data plane from taking events: else it may not say that it works. */
bool report_delivers(const struct facts *facts, enum finding_view view);

#define REPORT_SIZE 6000

/* Writes a finding as one line: "sentence; remedy: `command`". Returns out. */
const char *report_line(const struct finding *finding, char out[static REPORT_SIZE]);

/* Of the whole (source NULL) or of a source, which what is wrong with the whole concerns, too: how it is, ... */
enum severity report_severity(const struct facts *facts, const struct source_facts *source);

/* ... and in sentences, for the status page. Returns out. */
const char *report_words(const struct facts *facts, const struct source_facts *source, char out[static REPORT_SIZE]);

#endif
