#include "tests/support/queue_filled.h"

#include <CUnit/CUnit.h>
#include <stdio.h>
#include <string.h>

#include "tests/support/check.h"

static struct events found;

static struct identity numbered(unsigned number)
{
    struct identity identity = {.updated_us = 100 + number};
    memcpy(identity.key, &number, sizeof number);
    identity.key[15] = 1;
    return identity;
}

static void settle_some(struct queue *queue)
{
    static const enum verdict_kind kinds[] = {VERDICT_DELIVERED, VERDICT_DUPLICATE, VERDICT_DROPPED, VERDICT_DEAD};
    struct error why = {0};
    struct verdict verdicts[QUEUE_FILLED_SETTLED];
    CU_ASSERT_EQUAL_FATAL(queue_next(queue, "one", 0, QUEUE_FILLED_SETTLED, 1 << 20, &found, &why),
                          QUEUE_FILLED_SETTLED);
    for (unsigned i = 0; i < QUEUE_FILLED_SETTLED; i++)
        verdicts[i] = (struct verdict){.id = found.at[i].id,
                                       .kind = kinds[i % 4],
                                       .identity = numbered(i),
                                       .remember = i % 4 != 1,
                                       .reason = i % 4 == 3 ? "it is dead" : NULL};
    check(queue_settle(queue, "one", verdicts, QUEUE_FILLED_SETTLED, &why), "it is settled: %s", why.text);
}

/* The oldest two dead letters are replayed, the next one is thrown away. */
static void treat_letters(struct queue *queue)
{
    size_t done;
    struct error why = {0};
    struct letters letters = {0};
    CU_ASSERT_EQUAL_FATAL(queue_letters(queue, NULL, 0, 3, 1 << 20, &letters, &why), 3);
    const uint64_t ids[] = {letters.at[0].id, letters.at[1].id, letters.at[2].id};
    CU_ASSERT_TRUE(queue_replay(queue, ids, 2, &done, &why));
    CU_ASSERT_TRUE(queue_discard(queue, ids + 2, 1, &done, &why));
    letters_free(&letters);
}

void queue_filled_make(const struct made_config *made)
{
    char body[64];
    struct queue *queue = queue_rig_open(made);
    queue_rig_claim(queue);
    for (int i = 0; i < QUEUE_FILLED_SETTLED + 1; i++) {
        snprintf(body, sizeof body, "event %d", i);
        queue_rig_append(queue, "one", body);
    }
    settle_some(queue);
    for (int i = QUEUE_FILLED_SETTLED + 1; i < QUEUE_FILLED_EVENTS; i++) {
        snprintf(body, sizeof body, "event %d", i);
        queue_rig_append(queue, i % 50 == 0 ? "two" : "one", body);
    }
    treat_letters(queue);
    queue_rig_append(queue, "two", "");
    queue_close(queue);
    events_free(&found);
}

/* ---- what is in it, as text ---- */

static void print_counts(FILE *out, struct queue *queue, const char *source)
{
    struct counts c = queue_rig_counts(queue, source);
    fprintf(
        out,
        "%s: %lu accepted %lu delivered %lu duplicates %lu dropped %lu dead %lu discarded %lu waiting %ld %ld %ld\n",
        source, (unsigned long)c.accepted, (unsigned long)c.delivered, (unsigned long)c.duplicates,
        (unsigned long)c.dropped, (unsigned long)c.dead, (unsigned long)c.discarded, (unsigned long)c.waiting,
        (long)c.oldest_received_ms, (long)c.last_accepted_ms, (long)c.last_delivered_ms);
}

static void print_events(FILE *out, struct queue *queue, const char *source)
{
    struct error why = {0};
    uint64_t after = 0;
    while (queue_list(queue, source, after, 100, 1 << 20, &found, &why) > 0) {
        for (size_t i = 0; i < found.count; i++)
            fprintf(out, "%.*s %ld %d\n", (int)found.at[i].length, found.at[i].body, (long)found.at[i].received_ms,
                    found.at[i].replay);
        after = found.at[found.count - 1].id;
    }
}

static void print_letters(FILE *out, struct queue *queue)
{
    struct error why = {0};
    struct letters letters = {0};
    queue_letters(queue, NULL, 0, 1000, 1 << 20, &letters, &why);
    for (size_t i = 0; i < letters.count; i++) {
        const struct letter *l = &letters.at[i];
        fprintf(out, "%lu %s %s %.*s %ld %ld %d\n", (unsigned long)l->id, l->source, l->reason, (int)l->length, l->body,
                (long)l->received_ms, (long)l->died_ms, l->replayed);
    }
    letters_free(&letters);
}

static void print_known(FILE *out, struct queue *queue)
{
    struct error why = {0};
    for (unsigned i = 0; i < QUEUE_FILLED_SETTLED + 5; i++) {
        struct known known = {0};
        struct identity identity = numbered(i);
        CU_ASSERT_TRUE(queue_look_known(queue, "one", &identity, 1, &known, &why));
        fprintf(out, "%u: %d %ld %d %ld\n", i, known.delivered, (long)known.delivered_us, known.dead,
                (long)known.dead_us);
    }
}

char *queue_filled_text(const struct made_config *made)
{
    char *text = NULL;
    size_t length;
    FILE *out = open_memstream(&text, &length);
    struct queue *queue = queue_rig_open(made);
    print_counts(out, queue, "one");
    print_counts(out, queue, "two");
    print_events(out, queue, "one");
    print_events(out, queue, "two");
    print_letters(out, queue);
    print_known(out, queue);
    queue_close(queue);
    events_free(&found);
    fclose(out);
    return text;
}
