/* Where the last errors are kept (base/last_errors): in the state directory, or beside the configuration where that
 * directory cannot be used or is not known; never in a document root. */
#ifndef PROCESS_ERRORS_KEPT_H
#define PROCESS_ERRORS_KEPT_H

#include "config/config.h"

/* Notes errors and warnings from now on. config: NULL where there is none that can be used. Call before threads start.
 */
void errors_keep(const struct config *config);

/* Keeps nothing in this document root, and removes what was kept there. Any thread. */
void errors_avoid(const struct config *config, const char *document_root);

/* Where to look, for an answer: "... says" follows. Names a file, no path. */
const char *errors_where(void);

#endif
