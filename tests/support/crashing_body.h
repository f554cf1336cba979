/* A body that crashes the parser. No such body is known, or it would be mended: this one does it in the test program
 * only, where the function of json-c that makes strings is replaced by one that dies of CRASHING_TEXT. */
#ifndef TESTS_SUPPORT_CRASHING_BODY_H
#define TESTS_SUPPORT_CRASHING_BODY_H

#define CRASHING_TEXT "a text that crashes the parser"

/* id and lead are literals. */
#define CRASHING_BODY(id, lead)                                                                                        \
    "{\"event\": {\"id\": \"" id "\", \"lead_id\": \"" lead "\", \"object_type\": \"lead\", \"action\": \"updated\", " \
    "\"data\": {\"note\": \"" CRASHING_TEXT "\", \"secret\": \"Mrs. Secret\"}}}"

#endif
