/* What the files of filling share. */
#ifndef CLOSEAPI_IMPORT_PRIVATE_H
#define CLOSEAPI_IMPORT_PRIVATE_H

#include "closeapi/import.h"

struct page_event;

struct fill {
    struct fill_order order;
    struct fill_counts counts;
    struct spool spool;
    struct waiting *waiting;
    bool shown;                  /* an event older than an hour had data: the key is an administrator's */
    bool one_by_one;             /* Close wants a filter: the log is read type by type */
    size_t largest;              /* body that is known */
    int64_t now_us;              /* Close's clock, as the last page told it */
    int64_t reached_us;          /* all before is durable */
    struct fill_counts at_start; /* of the window */

    struct log_event *page; /* events of the page in hand; their bytes lie in the answer */
    struct page_event *understood;
    size_t page_count, page_capacity;
    struct buffer body;
};

/* What was found out about an event of the page. */
struct page_event {
    const struct log_event *event;
    struct identity identity;
    const struct subscription *subscription; /* NULL: none matches */
};

/* import_page.c: as log_take and log_page want it, with a struct fill: keeps an event, and sorts the page's events out:
 * known ones are done with, the others go to the spool. */
bool page_keep(void *context, const struct log_event *event, struct error *why);
bool page_take(void *context, int64_t date_ms, struct error *why);

/* Tells how far it is. Returns false with the reason to end. */
bool fill_tell(struct fill *fill, struct error *why);

#endif
