/* What becomes of events: see model.h. */
#include "tests/support/model.h"

#include <stdio.h>
#include <string.h>

#define COUNTED_MOST ((uint64_t)1 << 50)

uint32_t model_mix(uint64_t seed)
{
    uint64_t x = (seed + 1) * 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return (uint32_t)(x >> 32);
}

void model_begin(struct model *model, uint32_t keys)
{
    memset(model, 0, offsetof(struct model, known));
    model->keys = keys;
    model->steady = -1;
    for (size_t i = 0; i < MODEL_SOURCES; i++) {
        for (uint32_t key = 0; key < keys; key++)
            model->known[i][key] = (struct model_known){.least = MODEL_NEVER, .most = MODEL_NEVER};
    }
}

void model_copy(struct model *to, const struct model *from)
{
    memcpy(to, from, offsetof(struct model, known));
    for (size_t i = 0; i < MODEL_SOURCES; i++)
        memcpy(to->known[i], from->known[i], from->keys * sizeof *from->known[i]);
}

/* ---- what follows from an event's number ---- */

/* All bytes occur; one event in thirty is large, so that its body has pages of its own. */
size_t model_body(uint32_t number, char out[MODEL_BODY_MOST])
{
    uint32_t mixed = model_mix(number), word = mixed;
    size_t more = number % 30 == 7 ? mixed % 40000 : mixed % 150;
    size_t length = (size_t)sprintf(out, "{\"event\":%u,\"", number);
    for (size_t i = 0; i < more; i++) {
        word = word * 1664525 + 1013904223;
        out[length++] = (char)(word >> 24);
    }
    return length;
}

static uint32_t key_of(const struct model *model, uint32_t number)
{
    return model_mix(number * UINT64_C(7919)) % model->keys;
}

struct identity model_identity_of_key(uint32_t key)
{
    struct identity identity = {.updated_us = 0};
    for (size_t i = 0; i < sizeof identity.key; i += 4) {
        uint32_t word = model_mix(((uint64_t)key << 8) + i);
        memcpy(identity.key + i, &word, sizeof word);
    }
    return identity;
}

/* Mostly a newer version than the events before, sometimes an older one or the same. */
struct identity model_identity(const struct model *model, uint32_t number)
{
    struct identity identity = model_identity_of_key(key_of(model, number));
    uint32_t back = model_mix(number * UINT64_C(31)) % 4 == 0 ? model_mix(number * UINT64_C(37)) % 60 : 0;
    identity.updated_us = 1000000 + (number > back ? number - back : 0) / 2;
    return identity;
}

bool model_remembers(uint32_t number)
{
    return model_mix(number * UINT64_C(41)) % 8 != 0;
}

void model_reason(uint32_t reason, char out[64])
{
    snprintf(out, 64, "reason %u \xe2\x82\xac '\"", reason);
}

/* ---- events ---- */

static bool add_event(struct model_source *source, const struct model_event *event)
{
    if (source->count == MODEL_WAITING)
        return false;
    source->waiting[source->count++] = *event;
    return true;
}

bool model_append(struct model *model, size_t source)
{
    const struct model_event event = {.number = model->numbers + 1};
    if (!add_event(&model->source[source], &event))
        return false;
    model->numbers++;
    model->source[source].accepted++;
    return true;
}

static void remove_letter(struct model *model, size_t place)
{
    model->letter_count--;
    memmove(&model->letter[place], &model->letter[place + 1], (model->letter_count - place) * sizeof *model->letter);
}

/* An older version than the one known renews nothing. */
static void know(struct model *model, size_t source, uint32_t number, int64_t at_h)
{
    struct model_known *known = &model->known[source][key_of(model, number)];
    int64_t updated = model_identity(model, number).updated_us;
    if (updated >= known->least) {
        known->least = updated;
        known->at_h = at_h;
    }
    if (updated > known->most)
        known->most = updated;
}

static size_t find_letter(const struct model *model, uint32_t mark)
{
    size_t place = 0;
    while (place < model->letter_count && model->letter[place].mark != mark)
        place++;
    return place;
}

static void die(struct model *model, size_t source, const struct model_event *event, uint32_t reason)
{
    size_t place = event->letter == 0 ? model->letter_count : find_letter(model, event->letter);
    if (place == model->letter_count) {
        model->letter[place] = (struct model_letter){.number = event->number,
                                                     .source = (uint32_t)source,
                                                     .mark = ++model->marks,
                                                     .received_ms = event->received_ms};
        model->letter_count++;
    }
    struct model_letter *letter = &model->letter[place];
    letter->replayed = false;
    letter->remember = model_remembers(event->number);
    letter->reason = reason;
    letter->died_h = model->hours;
}

/* A version that was delivered, or need not be, ends the letters of the same and of older ones. */
static void resolve(struct model *model, size_t source, const struct model_event *event)
{
    size_t own = event->letter == 0 ? model->letter_count : find_letter(model, event->letter);
    if (own < model->letter_count)
        remove_letter(model, own);
    const struct identity identity = model_identity(model, event->number);
    for (size_t i = model->letter_count; model_remembers(event->number) && i-- > 0;) {
        const struct model_letter *letter = &model->letter[i];
        const struct identity of = model_identity(model, letter->number);
        if (letter->source != source || !letter->remember || of.updated_us > identity.updated_us ||
            memcmp(of.key, identity.key, sizeof of.key) != 0)
            continue;
        model->source[source].discarded += !letter->replayed; /* else it waits */
        remove_letter(model, i);
    }
}

static void settle_one(struct model *model, size_t source, const struct model_event *event, enum verdict_kind kind,
                       uint32_t reason)
{
    struct model_source *of = &model->source[source];
    if (kind == VERDICT_DEAD) {
        die(model, source, event, reason);
        return;
    }
    of->delivered += kind == VERDICT_DELIVERED;
    of->duplicates += kind == VERDICT_DUPLICATE;
    of->dropped += kind == VERDICT_DROPPED;
    of->discarded += kind == VERDICT_ERASED;
    resolve(model, source, event);
    if (kind != VERDICT_DUPLICATE && model_remembers(event->number))
        know(model, source, event->number, model->hours);
}

void model_settle(struct model *model, size_t source, const struct verdict *verdicts, size_t count, uint32_t reason)
{
    struct model_source *of = &model->source[source];
    for (size_t i = 0; i < count; i++) {
        uint32_t at = 0;
        while (at < of->count && of->waiting[at].id != verdicts[i].id)
            at++;
        if (at == of->count || verdicts[i].kind == VERDICT_LATER)
            continue;
        const struct model_event event = of->waiting[at];
        of->count--;
        memmove(&of->waiting[at], &of->waiting[at + 1], (of->count - at) * sizeof *of->waiting);
        settle_one(model, source, &event, verdicts[i].kind, reason);
    }
}

void model_drain(struct model *model, size_t source)
{
    struct model_source *of = &model->source[source];
    for (uint32_t i = 0; i < of->count; i++) {
        uint32_t mark = of->waiting[i].letter;
        size_t own = mark == 0 ? model->letter_count : find_letter(model, mark);
        if (own < model->letter_count)
            remove_letter(model, own);
    }
    of->duplicates += of->count;
    of->count = 0;
}

/* ---- dead letters ---- */

bool model_replay(struct model *model, size_t place)
{
    struct model_letter *letter = &model->letter[place];
    const struct model_event event = {
        .number = letter->number, .letter = letter->mark, .received_ms = letter->received_ms};
    if (letter->replayed || !add_event(&model->source[letter->source], &event))
        return false;
    letter->replayed = true;
    return true;
}

/* Its event counts as known, so that it is not fetched again. */
static void end_letter(struct model *model, size_t place)
{
    const struct model_letter *letter = &model->letter[place];
    if (letter->remember && model->hours - letter->died_h < MODEL_WINDOW_H)
        know(model, letter->source, letter->number, letter->died_h);
    remove_letter(model, place);
}

bool model_discard(struct model *model, size_t place)
{
    if (model->letter[place].replayed)
        return false;
    model->source[model->letter[place].source].discarded++;
    end_letter(model, place);
    return true;
}

static bool is_too_old(const struct model *model, const struct model_letter *letter)
{
    return !letter->replayed && model->hours - letter->died_h > MODEL_RETENTION_H;
}

size_t model_expiring(const struct model *model)
{
    size_t count = 0;
    for (size_t i = 0; i < model->letter_count; i++)
        count += is_too_old(model, &model->letter[i]);
    return count;
}

size_t model_expire(struct model *model)
{
    size_t count = 0;
    for (size_t i = model->letter_count; i-- > 0;) {
        if (!is_too_old(model, &model->letter[i]))
            continue;
        model->source[model->letter[i].source].ended++;
        end_letter(model, i);
        count++;
    }
    return count;
}

void model_pass(struct model *model)
{
    model->hours += MODEL_PASS_H;
    for (size_t i = 0; i < MODEL_SOURCES; i++) {
        for (uint32_t key = 0; key < model->keys; key++) {
            struct model_known *known = &model->known[i][key];
            if (known->least != MODEL_NEVER && model->hours - known->at_h > MODEL_WINDOW_H)
                known->least = MODEL_NEVER;
        }
    }
}

/* ---- other names ---- */

static void move_known(struct model_known *to, struct model_known *from)
{
    if (from->least != MODEL_NEVER && from->least >= to->least) {
        to->least = from->least;
        to->at_h = from->at_h;
    }
    if (from->most > to->most)
        to->most = from->most;
    from->least = MODEL_NEVER;
}

void model_move(struct model *model, size_t from, size_t to)
{
    struct model_source *a = &model->source[from], *b = &model->source[to];
    for (uint32_t i = 0; i < a->count; i++) {
        struct model_event event = a->waiting[i];
        event.id = 0;
        add_event(b, &event);
    }
    for (size_t i = 0; i < model->letter_count; i++) {
        if (model->letter[i].source == from)
            model->letter[i].source = (uint32_t)to;
    }
    for (uint32_t key = 0; key < model->keys; key++)
        move_known(&model->known[to][key], &model->known[from][key]);
    b->accepted += a->accepted;
    b->delivered += a->delivered;
    b->duplicates += a->duplicates;
    b->dropped += a->dropped;
    b->ended += a->ended;
    b->discarded += a->discarded;
    *a = (struct model_source){.generation = a->generation, .last_id = a->last_id};
}

/* The source in its place is new, and takes all on. */
void model_rename(struct model *model, size_t source)
{
    struct model_source *of = &model->source[source];
    of->generation++;
    of->last_id = 0;
    memset(&of->notes, 0, sizeof of->notes);
    for (uint32_t i = 0; i < of->count; i++)
        of->waiting[i].id = 0;
}

/* ---- backups ---- */

bool model_may_restore(const struct model *model)
{
    uint32_t count = model->letter_count;
    for (size_t i = 0; i < MODEL_SOURCES; i++)
        count += model->source[i].count;
    return count == 0;
}

bool model_has_counted_enough(const struct model *model)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < MODEL_SOURCES; i++)
        sum += model->source[i].accepted;
    return sum > COUNTED_MOST;
}

static void restore_source(struct model_source *to, const struct model_source *saved)
{
    const struct model_source before = {.accepted = to->accepted,
                                        .delivered = to->delivered,
                                        .duplicates = to->duplicates,
                                        .dropped = to->dropped,
                                        .ended = to->ended,
                                        .discarded = to->discarded,
                                        .last_id = to->last_id};
    *to = *saved;
    to->accepted += before.accepted;
    to->delivered += before.delivered;
    to->duplicates += before.duplicates;
    to->dropped += before.dropped;
    to->ended += before.ended;
    to->discarded += before.discarded;
    to->last_id = before.last_id > to->last_id ? before.last_id : to->last_id;
}

/* Of what was delivered since, the identities stay. */
void model_restore_over(struct model *model, const struct model *saved)
{
    for (size_t i = 0; i < MODEL_SOURCES; i++) {
        restore_source(&model->source[i], &saved->source[i]);
        for (uint32_t key = 0; key < model->keys; key++) {
            struct model_known known = saved->known[i][key];
            if (known.least != MODEL_NEVER && model->hours - known.at_h > MODEL_WINDOW_H)
                known.least = MODEL_NEVER;
            move_known(&model->known[i][key], &known);
        }
    }
    model->letter_count = saved->letter_count;
    memcpy(model->letter, saved->letter, sizeof model->letter);
}

void model_restore_anew(struct model *model, const struct model *saved)
{
    uint32_t numbers = model->numbers, marks = model->marks;
    int64_t hours = model->hours;
    model_copy(model, saved);
    model->numbers = numbers;
    model->marks = marks;
    model->hours = hours;
    model->steady = -1; /* what was seen of the clock is not in a backup */
    for (size_t i = 0; i < MODEL_SOURCES; i++) {
        for (uint32_t key = 0; key < model->keys; key++) {
            struct model_known *known = &model->known[i][key];
            if (known->least != MODEL_NEVER && hours - known->at_h > MODEL_WINDOW_H)
                known->least = MODEL_NEVER;
        }
    }
}
