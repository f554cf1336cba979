/* Steps about events: see model_drive.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/escape.h"
#include "tests/support/model_drive_internal.h"

#define AT_ONCE 60

static struct queue *any_handle(const struct drive *drive, uint32_t number)
{
    return drive->handle[number % DRIVE_HANDLES];
}

bool drive_append(struct drive *drive, const struct model_step *step)
{
    static char body[MODEL_BODY_MOST];
    struct model *model = &drive->ground->now;
    size_t source = step->a % MODEL_SOURCES;
    if (model->source[source].count == MODEL_WAITING)
        return true;
    size_t length = model_body(model->numbers + 1, body);
    struct model *tried = drive_tried(drive);
    if (tried != NULL)
        model_append(tried, source);
    enum queue_result result =
        queue_append(any_handle(drive, step->b), drive->name[source], body, length, clock_now() + 60000, &drive->why);
    if (result != QUEUE_STORED)
        return drive_fail(drive, "an append is answered %d: %s", (int)result, drive->why.text);
    return model_append(model, source);
}

/* ---- reading ---- */

/* queue_next; of a server, which gives what is before a gap in the ids and looks into the gap when it is asked for what
 * is behind, as often as there is a gap. */
static int next(struct drive *drive, struct queue *owner, size_t source, uint64_t after, size_t count, size_t bytes)
{
    const char *name = drive->name[source];
    int n = queue_next(owner, name, after, count, bytes, &drive->found, &drive->why), before = 0;
    while (drive->engine->is_a_server && n > before && (size_t)n < count) {
        uint64_t last = drive->found.at[n - 1].id;
        before = n;
        if (queue_next(owner, name, last, count, bytes, &drive->found, &drive->why) < 0)
            return -1;
        n = queue_next(owner, name, after, count, bytes, &drive->found, &drive->why);
    }
    return n;
}

bool drive_read(struct drive *drive, size_t source, size_t count)
{
    struct queue *owner = drive_owner(drive);
    if (owner == NULL)
        return false;
    if (next(drive, owner, source, 0, count, DRIVE_BYTES) < 0)
        return drive_fail(drive, "queue_next: %s", drive->why.text);
    return model_matches_events(&drive->ground->now, source, 0, count, DRIVE_BYTES, &drive->found, &drive->why) ||
           drive_fail(drive, "queue_next: %s", drive->why.text);
}

/* The id of a waiting event that was seen; 0: that place has none. */
static uint64_t seen_id(const struct model_source *of, uint32_t number)
{
    return of->count == 0 ? 0 : of->waiting[number % of->count].id;
}

bool drive_next(struct drive *drive, const struct model_step *step)
{
    size_t source = step->a % MODEL_SOURCES, count = 1 + step->b % AT_ONCE;
    size_t bytes = step->c % 3 == 0 ? 1 + step->c % 5000 : DRIVE_BYTES;
    uint64_t after = step->c % 2 == 0 ? 0 : seen_id(&drive->ground->now.source[source], step->c / 2);
    struct queue *owner = drive_owner(drive);
    if (owner == NULL)
        return false;
    int n = step->b % 4 == 0 ? queue_list(any_handle(drive, step->b), drive->name[source], after, count, bytes,
                                          &drive->found, &drive->why)
                             : next(drive, owner, source, after, count, bytes);
    if (n < 0 || n != (int)drive->found.count)
        return drive_fail(drive, "queue_next returns %d, with %zu events: %s", n, drive->found.count, drive->why.text);
    return model_matches_events(&drive->ground->now, source, after, count, bytes, &drive->found, &drive->why) ||
           drive_fail(drive, "queue_next: %s", drive->why.text);
}

bool drive_again(struct drive *drive, const struct model_step *step)
{
    size_t source = step->a % MODEL_SOURCES, count = 0, asked = 0;
    const struct model_source *of = &drive->ground->now.source[source];
    size_t bytes = step->c % 3 == 0 ? 1 + step->c % 5000 : DRIVE_BYTES;
    struct queue *owner = drive_owner(drive);
    if (owner == NULL)
        return false;
    for (uint32_t i = 0; i < of->count && count < 20; i++) {
        if (of->waiting[i].id == 0 || model_mix(step->b + i) % 3 == 0)
            continue;
        if (count == 0 && of->waiting[i].id > 1)
            drive->ids[count++] = of->waiting[i].id - 1; /* is gone, unless it is the one before */
        drive->ids[count++] = of->waiting[i].id;
    }
    if (count == 0)
        return true;
    if (queue_again(owner, drive->name[source], drive->ids, count, bytes, &drive->found, &asked, &drive->why) < 0)
        return drive_fail(drive, "queue_again: %s", drive->why.text);
    if (asked < count && bytes == DRIVE_BYTES)
        return drive_fail(drive, "queue_again asks for %zu of %zu", asked, count);
    return model_matches_again(&drive->ground->now, source, drive->ids, asked, &drive->found, &drive->why) ||
           drive_fail(drive, "queue_again: %s", drive->why.text);
}

/* The owner's memory, or the look of another. */
bool drive_known(struct drive *drive, const struct model_step *step)
{
    struct identity identities[16];
    struct known known[16];
    const struct model *model = &drive->ground->now;
    size_t source = step->a % MODEL_SOURCES;
    struct queue *owner = drive_owner(drive);
    if (owner == NULL)
        return false;
    for (uint32_t i = 0; i < 16; i++) {
        identities[i] = model_identity_of_key((step->b + i) % model->keys);
        identities[i].updated_us = 1000000 + step->c % (model->numbers + 1);
    }
    bool good = step->c % 2 == 0 ? queue_known(owner, drive->name[source], identities, 16, known, &drive->why)
                                 : queue_look_known(any_handle(drive, step->c / 2), drive->name[source], identities, 16,
                                                    known, &drive->why);
    for (uint32_t i = 0; i < 16 && good; i++)
        good = model_matches_known(model, source, (step->b + i) % model->keys, identities[i].updated_us, &known[i],
                                   &drive->why);
    return good || drive_fail(drive, "queue_known: %s", drive->why.text);
}

bool drive_count(struct drive *drive, const struct model_step *step)
{
    struct counts counts;
    size_t source = step->a % MODEL_SOURCES;
    return (queue_count(any_handle(drive, step->b), drive->name[source], &counts, &drive->why) &&
            model_matches_counts(&drive->ground->now, source, &counts, &drive->why)) ||
           drive_fail(drive, "queue_count of %s: %s", drive->name[source], drive->why.text);
}

/* ---- settling ---- */

static enum verdict_kind kind_of(const struct model *model, uint32_t number, size_t dying)
{
    number %= 100;
    if (number < 20)
        return VERDICT_LATER;
    if (number < 35)
        return VERDICT_DUPLICATE;
    if (number < 45)
        return VERDICT_DROPPED;
    if (number < 50)
        return VERDICT_ERASED;
    return number < 62 && model->letter_count + dying < MODEL_LETTERS ? VERDICT_DEAD : VERDICT_DELIVERED;
}

/* Verdicts on what was just read, and on an event that is gone, in any order. Returns how many. */
static size_t judge(struct drive *drive, size_t source, uint32_t seed, const char *reason)
{
    const struct model *model = &drive->ground->now;
    const struct model_source *of = &model->source[source];
    size_t count = drive->found.count, dying = 0;
    for (size_t i = 0; i < count; i++) {
        uint32_t number = of->waiting[i].number;
        drive->verdict[i] = (struct verdict){.id = of->waiting[i].id,
                                             .kind = kind_of(model, model_mix(seed + i * 3), dying),
                                             .identity = model_identity(model, number),
                                             .remember = model_remembers(number),
                                             .next = clock_now() + 1000,
                                             .reason = reason};
        dying += drive->verdict[i].kind == VERDICT_DEAD;
    }
    if (count > 0 && drive->verdict[0].id > 1 && seed % 4 == 0) {
        drive->verdict[count] = drive->verdict[0];
        drive->verdict[count].kind = dying == 0 ? VERDICT_DEAD : VERDICT_DELIVERED;
        drive->verdict[count++].id--;
    }
    for (size_t i = count; i > 1; i--) {
        size_t other = model_mix(seed + i * 5) % i;
        struct verdict one = drive->verdict[i - 1];
        drive->verdict[i - 1] = drive->verdict[other];
        drive->verdict[other] = one;
    }
    return count;
}

static int compare_verdicts(const void *one, const void *other)
{
    const struct verdict *a = one, *b = other;
    int dead = (b->kind == VERDICT_DEAD) - (a->kind == VERDICT_DEAD);
    return dead != 0 ? dead : (a->id > b->id) - (a->id < b->id);
}

/* sqlite takes verdicts one after another; a server makes all dead letters first, in the order of the events. */
static void settle_model(const struct drive *drive, struct model *model, size_t source, size_t count, uint32_t reason)
{
    static struct verdict verdicts[MODEL_WAITING + 1];
    memcpy(verdicts, drive->verdict, count * sizeof *verdicts);
    if (drive->engine->is_a_server)
        qsort(verdicts, count, sizeof *verdicts, compare_verdicts);
    model_settle(model, source, verdicts, count, reason);
}

bool drive_settle(struct drive *drive, const struct model_step *step)
{
    char reason[64];
    size_t source = step->a % MODEL_SOURCES;
    if (!drive_read(drive, source, 1 + step->b % AT_ONCE))
        return false;
    struct queue *owner = drive_owner(drive);
    uint32_t number = step->c % 1000;
    model_reason(number, reason);
    size_t count = judge(drive, source, step->c, reason);
    if (count > 0 && step->b % 7 == 0 &&
        !queue_can_settle(owner, drive->name[source], drive->verdict, count, &drive->why))
        return drive_fail(drive, "queue_can_settle: %s", drive->why.text);
    struct model *tried = drive_tried(drive);
    if (tried != NULL)
        settle_model(drive, tried, source, count, number);
    if (!queue_settle(owner, drive->name[source], drive->verdict, count, &drive->why))
        return drive_fail(drive, "queue_settle: %s", drive->why.text);
    settle_model(drive, &drive->ground->now, source, count, number);
    if (step->b % 5 != 0)
        return true; /* else the answer was lost, and all are passed again */
    return queue_settle(owner, drive->name[source], drive->verdict, count, &drive->why) ||
           drive_fail(drive, "queue_settle, again: %s", drive->why.text);
}

bool drive_drain(struct drive *drive)
{
    struct model *model = &drive->ground->now;
    size_t done;
    for (size_t source = 0; source < MODEL_SOURCES; source++) {
        if (!drive_read(drive, source, MODEL_WAITING))
            return false;
        for (size_t i = 0; i < drive->found.count; i++)
            drive->verdict[i] = (struct verdict){.id = drive->found.at[i].id, .kind = VERDICT_DUPLICATE};
        if (!queue_settle(drive_owner(drive), drive->name[source], drive->verdict, drive->found.count, &drive->why))
            return drive_fail(drive, "queue_settle: %s", drive->why.text);
        model_drain(model, source);
    }
    if (!drive_read_letters(drive))
        return false;
    for (size_t i = 0; i < model->letter_count; i++)
        drive->ids[i] = model->letter[i].id;
    if (!queue_discard(drive->handle[0], drive->ids, model->letter_count, &done, &drive->why) ||
        done != model->letter_count)
        return drive_fail(drive, "queue_discard of all: %zu of %u: %s", done, model->letter_count, drive->why.text);
    while (model->letter_count > 0)
        model_discard(model, model->letter_count - 1);
    return true;
}

/* ---- dead letters ---- */

bool drive_read_letters(struct drive *drive)
{
    int n = queue_letters(drive->handle[0], NULL, 0, 1000, DRIVE_BYTES, &drive->letters, &drive->why);
    return (n >= 0 &&
            model_matches_letters(&drive->ground->now, MODEL_SOURCES, drive->names, &drive->letters, &drive->why)) ||
           drive_fail(drive, "queue_letters: %s", drive->why.text);
}

bool drive_letters(struct drive *drive, const struct model_step *step)
{
    size_t source = step->a % (MODEL_SOURCES + 1);
    const char *name = source == MODEL_SOURCES ? NULL : drive->name[source];
    int n = queue_letters(any_handle(drive, step->b), name, 0, 1000, DRIVE_BYTES, &drive->letters, &drive->why);
    return (n >= 0 && model_matches_letters(&drive->ground->now, source, drive->names, &drive->letters, &drive->why)) ||
           drive_fail(drive, "queue_letters: %s", drive->why.text);
}

/* Some of the letters, and one that never was. Returns how many. */
static size_t choose_letters(struct drive *drive, uint32_t seed)
{
    const struct model *model = &drive->ground->now;
    size_t count = 0;
    for (size_t i = 0; i < model->letter_count; i++) {
        if (model_mix(seed + i) % 4 == 0)
            drive->ids[count++] = model->letter[i].id;
    }
    drive->ids[count++] = 999999999;
    return count;
}

static size_t place_of_letter(const struct model *model, uint64_t id)
{
    size_t place = 0;
    while (place < model->letter_count && model->letter[place].id != id)
        place++;
    return place;
}

/* Replays, or discards, these letters. Returns how many. */
static size_t act_on(struct model *model, const uint64_t *ids, size_t count, bool replay)
{
    size_t done = 0;
    for (size_t i = 0; i < count; i++) {
        size_t place = place_of_letter(model, ids[i]);
        if (place == model->letter_count)
            continue;
        done += replay ? model_replay(model, place) : model_discard(model, place);
    }
    return done;
}

bool drive_replay(struct drive *drive, const struct model_step *step)
{
    struct model *model = &drive->ground->now, *tried;
    size_t done = 0;
    for (size_t i = 0; i < MODEL_SOURCES; i++) {
        if (model->source[i].count + MODEL_LETTERS > MODEL_WAITING)
            return true;
    }
    if (!drive_read_letters(drive))
        return false;
    size_t count = choose_letters(drive, step->a);
    if ((tried = drive_tried(drive)) != NULL)
        act_on(tried, drive->ids, count, true);
    if (!queue_replay(any_handle(drive, step->b), drive->ids, count, &done, &drive->why))
        return drive_fail(drive, "queue_replay: %s", drive->why.text);
    size_t should = act_on(model, drive->ids, count, true);
    return done == should || drive_fail(drive, "queue_replay has replayed %zu letters instead of %zu", done, should);
}

bool drive_discard(struct drive *drive, const struct model_step *step)
{
    struct model *tried;
    size_t done = 0;
    if (!drive_read_letters(drive))
        return false;
    size_t count = choose_letters(drive, step->a);
    if ((tried = drive_tried(drive)) != NULL)
        act_on(tried, drive->ids, count, false);
    if (!queue_discard(any_handle(drive, step->b), drive->ids, count, &done, &drive->why))
        return drive_fail(drive, "queue_discard: %s", drive->why.text);
    size_t should = act_on(&drive->ground->now, drive->ids, count, false);
    return done == should || drive_fail(drive, "queue_discard has deleted %zu letters instead of %zu", done, should);
}

/* ---- what the forwarder notes, and is asked ---- */

static void make_notes(struct notes *notes, uint32_t seed)
{
    memset(notes, 0, sizeof *notes);
    notes->tries = model_mix(seed);
    notes->since_ms = (int64_t)model_mix(seed + 1) * 1000;
    notes->next_ms = (int64_t)model_mix(seed + 2) * 1000;
    notes->operator_must_act = seed % 2;
    notes->config_fingerprint = (uint64_t)model_mix(seed + 3) << 32 | seed;
    snprintf(notes->reason, sizeof notes->reason, "%.*s", (int)(seed % 200),
             "it's \"refused\" \xe2\x82\xac; a text as long as others are, and a little longer than most of them, so "
             "that its end is another one each time, as it is cut off at one place or at another one of it, and so on");
    plain_utf8_in_place(notes->reason, strlen(notes->reason)); /* else a server keeps another text */
    notes->parked_count = seed % (NOTES_PARKED + 1);
    for (uint32_t i = 0; i < notes->parked_count; i++) {
        notes->parked[i].id = seed % 1000 + i * 2;
        notes->parked[i].since_ms = seed + i;
    }
}

bool drive_notes(struct drive *drive, const struct model_step *step)
{
    static struct notes notes;
    size_t source = step->a % MODEL_SOURCES;
    struct queue *owner = drive_owner(drive);
    if (owner == NULL)
        return false;
    if (step->b % 2 == 0) {
        make_notes(&notes, step->c);
        struct model *tried = drive_tried(drive);
        if (tried != NULL)
            tried->source[source].notes = notes;
        if (!queue_note(owner, drive->name[source], &notes, true, &drive->why))
            return drive_fail(drive, "queue_note: %s", drive->why.text);
        drive->ground->now.source[source].notes = notes;
    }
    bool good = step->c % 2 == 0 ? queue_note(owner, drive->name[source], &notes, false, &drive->why)
                                 : queue_notes(any_handle(drive, step->c), drive->name[source], &notes, &drive->why);
    return (good && model_matches_notes(&drive->ground->now, source, &notes, &drive->why)) ||
           drive_fail(drive, "queue_note: %s", drive->why.text);
}

/* The owner takes requests, those of others that were killed among them, until it has this one. */
static bool take(struct drive *drive, int64_t number, struct queue_request *request)
{
    struct queue *owner = drive_owner(drive);
    queue_clear_wakeup(owner);
    while (queue_take_request(owner, request)) {
        if (request->number == number)
            return true;
        queue_answer_request(owner, request->number, false, "another one");
    }
    return drive_fail(drive, "request %lld is not there", (long long)number);
}

static bool is_same_end(const struct waiting_end *a, const struct waiting_end *b)
{
    return a->event == b->event && a->remember == b->remember &&
           (!a->remember || memcmp(&a->identity, &b->identity, sizeof a->identity) == 0);
}

static struct waiting_end end_of(const struct queue_request *request, size_t i)
{
    return request->erases > 0 ? request->erase[i]
                               : (struct waiting_end){request->event, request->identity, request->remember};
}

/* As the owner does it: these become dead letters, or are erased. */
static bool end_as_asked(struct drive *drive, const struct queue_request *asked, const struct queue_request *taken,
                         size_t source)
{
    size_t count = asked->erases > 0 ? asked->erases : 1, ended = 0;
    const char *reason = drive->verdict[0].reason;
    enum verdict_kind kind = asked->erases > 0 ? VERDICT_ERASED : VERDICT_DEAD;
    struct waiting_end ends[QUEUE_ERASES];
    bool same = taken->erases == asked->erases && strcmp(taken->source, asked->source) == 0;
    for (size_t i = 0; same && i < count; i++) {
        const struct waiting_end end = end_of(asked, i);
        ends[i] = end_of(taken, i);
        same = is_same_end(&ends[i], &end);
        drive->verdict[i] = (struct verdict){.id = end.event, .kind = kind};
    }
    if (!same)
        return drive_fail(drive, "request %lld is another one than was made", (long long)taken->number);
    struct model *tried = drive_tried(drive);
    if (tried != NULL)
        model_settle(tried, source, drive->verdict, count, 0);
    if (!queue_end_waiting(drive_owner(drive), taken->source, kind, reason, ends, count, &ended, &drive->why) ||
        ended != count)
        return drive_fail(drive, "queue_end_waiting: %zu of %zu: %s", ended, count, drive->why.text);
    model_settle(&drive->ground->now, source, drive->verdict, count, 0);
    return true;
}

static bool ask(struct drive *drive, struct queue *command, const struct queue_request *asked, size_t source)
{
    struct queue_request taken = {.number = 0};
    struct error words;
    enum queue_answer answer = QUEUE_ASKED;
    int64_t number = 0;
    if (!queue_ask(command, asked, &number, &drive->why))
        return drive_fail(drive, "queue_ask: %s", drive->why.text);
    queue_remind(command);
    if (!take(drive, number, &taken) || !end_as_asked(drive, asked, &taken, source))
        return false;
    queue_answer_request(drive_owner(drive), number, true, "done so");
    bool withdrawn = false, good = queue_answer(command, number, &answer, &words, &drive->why) &&
                                   queue_withdraw(command, number, true, &withdrawn, &drive->why);
    return (good && answer == QUEUE_DONE && withdrawn && strcmp(words.text, "done so") == 0) ||
           drive_fail(drive, "request %lld is answered %d, \"%s\"", (long long)number, (int)answer, words.text);
}

bool drive_aside(struct drive *drive, const struct model_step *step)
{
    char reason[64];
    size_t source = step->a % MODEL_SOURCES;
    const struct model *model = &drive->ground->now;
    const struct model_source *of = &model->source[source];
    if (of->count == 0 || model->letter_count == MODEL_LETTERS)
        return true;
    if (!drive_read(drive, source, MODEL_WAITING))
        return false;
    const struct model_event *event = &of->waiting[step->b % of->count];
    struct queue_request asked = {.event = event->id,
                                  .remember = model_remembers(event->number),
                                  .identity = model_identity(model, event->number)};
    for (size_t i = 0; step->c % 2 == 0 && i < of->count && asked.erases < QUEUE_ERASES; i += 1 + step->b % 3) {
        const uint32_t number = of->waiting[i].number;
        asked.erase[asked.erases++] =
            (struct waiting_end){of->waiting[i].id, model_identity(model, number), model_remembers(number)};
    }
    snprintf(asked.source, sizeof asked.source, "%s", drive->name[source]);
    model_reason(0, reason);
    drive->verdict[0].reason = reason;
    return ask(drive, drive->handle[(drive->owner + 1) % DRIVE_HANDLES], &asked, source);
}
