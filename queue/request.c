/* Requests of commands to the owner: what they are about as a text, and what is done when nothing of it is in hand. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "queue/engine.h"

#define AGAIN_BYTES ((size_t)4 << 20)
#define EACH 65 /* characters: id, date_updated, whether to remember it, key */

void request_pack(const struct queue_request *request, char text[static REQUEST_TEXT])
{
    text[0] = '\0';
    for (size_t i = 0; i < request->erases && i < QUEUE_ERASES; i++) {
        const struct waiting_end *end = &request->erase[i];
        char *at = text + EACH * i;
        snprintf(at, EACH + 1, "%016" PRIx64 "%016" PRIx64 "%d", end->event, (uint64_t)end->identity.updated_us,
                 end->remember);
        text_hex_encode(end->identity.key, sizeof end->identity.key, at + 33);
    }
}

static uint64_t read_hex(const char *text)
{
    char digits[17] = "";
    memcpy(digits, text, 16);
    return strtoull(digits, NULL, 16);
}

void request_unpack(struct queue_request *request, const char *text)
{
    _Static_assert(sizeof request->erase->identity.key * 2 + 33 == EACH, "a key's digits");
    size_t length = strlen(text);
    request->erases = 0;
    for (size_t i = 0; i < QUEUE_ERASES && (i + 1) * EACH <= length; i++) {
        struct waiting_end *end = &request->erase[i];
        const char *at = text + EACH * i;
        end->event = read_hex(at);
        end->identity.updated_us = (int64_t)read_hex(at + 16);
        end->remember = text_hex_decode(at + 33, EACH - 33, end->identity.key) && at[32] == '1';
        request->erases++;
    }
}

static struct verdict verdict_on(const struct waiting_end *end, enum verdict_kind kind, const char *reason)
{
    return (struct verdict){
        .id = end->event, .kind = kind, .identity = end->identity, .remember = end->remember, .reason = reason};
}

bool queue_end_waiting(struct queue *queue, const char *source, enum verdict_kind kind, const char *reason,
                       const struct waiting_end *ends, size_t count, size_t *ended, struct error *why)
{
    struct events found = {0};
    struct verdict verdict[QUEUE_ERASES];
    uint64_t ids[QUEUE_ERASES] = {0};
    size_t asked = 0, verdicts = 0;
    *ended = 0;
    for (size_t i = 0; i < count; i++)
        ids[i] = ends[i].event;
    for (size_t at = 0; at < count; at += asked) {
        if (queue_again(queue, source, ids + at, count - at, AGAIN_BYTES, &found, &asked, why) < 0 || asked == 0)
            goto out;
        for (size_t i = at, next = 0; i < at + asked; i++) {
            if (next < found.count && found.at[next].id == ids[i]) {
                verdict[verdicts++] = verdict_on(&ends[i], kind, reason);
                next++;
            }
        }
    }
    if (verdicts > 0 && queue_settle(queue, source, verdict, verdicts, why))
        *ended = verdicts;
out:
    events_free(&found);
    return *ended == verdicts && *ended > 0;
}
