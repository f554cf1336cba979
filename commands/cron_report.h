/* What one run of cron says: the problems that it met, those of them that are due, and those that are over. While the
 * report exists, lines of the log are part of it: cron mails all that is written. One at a time in a process. */
#ifndef COMMANDS_CRON_REPORT_H
#define COMMANDS_CRON_REPORT_H

#include <stdbool.h>
#include <stddef.h>

#include "config/config.h"
#include "health/findings.h"

struct cron_report;

/* config: NULL where there is none that can be used; it must outlive the report. Returns NULL when memory is out. */
struct cron_report *cron_report_new(const struct config *config);

/* Something is wrong. */
void cron_report_trouble(struct cron_report *report, const char *words);

/* A source was reconciled: words: what somebody must look at; NULL: nothing. */
void cron_report_reconciled(struct cron_report *report, const char *source, const char *words);

/* Says what is due, on stderr. facts: judged; NULL: nobody could look, so that nothing of them is over. state_dir: NULL
 * where it cannot be used. Returns whether new dead letters were told, or there are none. */
bool cron_report_print(struct cron_report *report, const struct facts *facts, const char *state_dir);

/* How many problems there are, told or not. */
size_t cron_report_problems(const struct cron_report *report);

/* report may be NULL. */
void cron_report_free(struct cron_report *report);

#endif
