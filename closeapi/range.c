/* A long time in windows: so long that few requests are wasted, and so short that not much is to be done again when one
 * is cut short. */
#include "closeapi/import.h"

#define MINUTE_US (INT64_C(60) * 1000000)
#define FIRST_US (60 * MINUTE_US)
#define SHORTEST_US MINUTE_US
#define LONGEST_US (24 * 60 * MINUTE_US)
#define FEW 500
#define MANY 5000

enum log_result fill_range(struct fill *fill, int64_t from_us, int64_t to_us, fill_done *done, void *context,
                           struct error *why)
{
    int64_t length = FIRST_US;
    while (from_us < to_us) {
        int64_t end = to_us - from_us > length ? from_us + length : to_us;
        uint64_t before = fill_counted(fill)->events;
        enum log_result result = fill_window(fill, from_us, end, why);
        if (result != LOG_DONE)
            return result;
        if (done != NULL && !done(context, fill_counted(fill), end, why))
            return LOG_FAILED;
        uint64_t found = fill_counted(fill)->events - before;
        if (found < FEW && length < LONGEST_US)
            length *= 2;
        if (found > MANY && length > SHORTEST_US)
            length /= 2;
        from_us = end;
    }
    return LOG_DONE;
}
