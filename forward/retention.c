/* queue_retention: what could not be delivered for so long becomes a dead letter, and never vanishes. Only where the
 * calendar's clock can be believed. */
#include <stdio.h>

#include "forward/steps.h"

bool traffic_is_too_old(const struct traffic *traffic, int64_t received_ms, struct error *why)
{
    int64_t age_ms = clock_unix_ms() - received_ms;
    if (received_ms == 0 || age_ms <= traffic->config->queue_retention_ms || !queue_is_steady(traffic->queue))
        return false;
    error_set(why, "it could not be delivered for %lld hours, which is queue_retention: %.400s",
              (long long)(age_ms / 3600000), traffic->why.text[0] == '\0' ? "no reason is known" : traffic->why.text);
    return true;
}

bool traffic_expire(struct traffic *traffic, struct pending *pending)
{
    struct error why;
    if (!traffic_is_too_old(traffic, pending->received_ms, &why))
        return false;
    traffic_end(traffic, pending, VERDICT_DEAD, why.text);
    return true;
}
