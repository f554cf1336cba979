/* Whether what the queue says is what the model has: see model.h. */
#include <stdio.h>
#include <string.h>

#include "tests/support/model.h"

static bool differ(struct error *why, const char *what, uint64_t is, uint64_t should)
{
    error_set(why, "%s: the queue says %llu, the model %llu", what, (unsigned long long)is, (unsigned long long)should);
    return false;
}

static bool is_body_of(uint32_t number, const char *body, size_t length)
{
    static char should[MODEL_BODY_MOST];
    return length == model_body(number, should) && memcmp(body, should, length) == 0;
}

/* ---- events ---- */

static bool matches_event(struct model_source *of, struct model_event *should, const struct event *is,
                          struct error *why)
{
    if (!is_body_of(should->number, is->body, is->length)) {
        error_set(why, "in the place of event %u is %.*s", should->number, (int)(is->length < 24 ? is->length : 24),
                  is->body);
        return false;
    }
    if (is->replay != (should->letter != 0))
        return differ(why, "replay", is->replay, should->letter != 0);
    if (should->id == 0 && is->id <= of->last_id)
        return differ(why, "an id that is not new", is->id, of->last_id + 1);
    if (should->id != 0 && should->id != is->id)
        return differ(why, "the id of an event", is->id, should->id);
    if (is->received_ms <= 0 || (should->received_ms != 0 && should->received_ms != is->received_ms))
        return differ(why, "received_ms", (uint64_t)is->received_ms, (uint64_t)should->received_ms);
    should->id = is->id;
    should->received_ms = is->received_ms;
    of->last_id = is->id > of->last_id ? is->id : of->last_id;
    return true;
}

static uint32_t place_of(const struct model_source *of, uint64_t id)
{
    uint32_t at = 0;
    while (at < of->count && of->waiting[at].id != id)
        at++;
    return at;
}

bool model_matches_events(struct model *model, size_t source, uint64_t after, size_t max_count, size_t max_bytes,
                          const struct events *found, struct error *why)
{
    static char next[MODEL_BODY_MOST];
    struct model_source *of = &model->source[source];
    uint32_t start = after == 0 ? 0 : place_of(of, after) + 1;
    size_t bytes = 0;
    for (size_t i = 0; i < found->count; i++) {
        if (start + i >= of->count)
            return differ(why, "events that wait", start + found->count, of->count);
        if (!matches_event(of, &of->waiting[start + i], &found->at[i], why))
            return false;
        bytes += found->at[i].length;
    }
    if (found->count > max_count || (found->count > 1 && bytes > max_bytes))
        return differ(why, "events at once", found->count, max_count);
    if (found->count == max_count || start + found->count == of->count)
        return true;
    if (found->count == 0 || bytes + model_body(of->waiting[start + found->count].number, next) <= max_bytes)
        return differ(why, "events that wait", start + found->count, of->count);
    return true;
}

bool model_matches_again(struct model *model, size_t source, const uint64_t *ids, size_t asked,
                         const struct events *found, struct error *why)
{
    struct model_source *of = &model->source[source];
    size_t i = 0;
    for (size_t n = 0; n < asked; n++) {
        uint32_t at = place_of(of, ids[n]);
        if (at == of->count)
            continue;
        if (i == found->count)
            return differ(why, "an event is not read again, id", 0, ids[n]);
        if (!matches_event(of, &of->waiting[at], &found->at[i++], why))
            return false;
    }
    return i == found->count || differ(why, "events read again", found->count, i);
}

/* ---- dead letters ---- */

static bool matches_letter(struct model_letter *should, const char *name, const struct letter *is, struct error *why)
{
    char reason[64];
    model_reason(should->reason, reason);
    if (!is_body_of(should->number, is->body, is->length) || strcmp(is->reason, reason) != 0 ||
        strcmp(is->source, name) != 0) {
        error_set(why, "in the place of the letter of event %u of %s is %.*s of %s, %s", should->number, name,
                  (int)(is->length < 24 ? is->length : 24), is->body, is->source, is->reason);
        return false;
    }
    if (is->replayed != should->replayed)
        return differ(why, "a letter being replayed", is->replayed, should->replayed);
    if (should->id != 0 && should->id != is->id)
        return differ(why, "the id of a letter", is->id, should->id);
    if (is->received_ms <= 0 || (should->received_ms != 0 && should->received_ms != is->received_ms))
        return differ(why, "received_ms of a letter", (uint64_t)is->received_ms, (uint64_t)should->received_ms);
    should->id = is->id;
    should->received_ms = is->received_ms;
    return true;
}

bool model_matches_letters(struct model *model, size_t source, const char *const *names, const struct letters *found,
                           struct error *why)
{
    size_t seen = 0;
    for (size_t i = 0; i < model->letter_count; i++) {
        struct model_letter *should = &model->letter[i];
        if (source != MODEL_SOURCES && should->source != source)
            continue;
        if (seen == found->count)
            return differ(why, "dead letters", found->count, seen + 1);
        if (!matches_letter(should, names[should->source], &found->at[seen++], why))
            return false;
    }
    return seen == found->count || differ(why, "dead letters", found->count, seen);
}

/* ---- counts, identities, notes ---- */

bool model_matches_counts(const struct model *model, size_t source, const struct counts *counts, struct error *why)
{
    const struct model_source *of = &model->source[source];
    uint64_t dead = 0;
    for (size_t i = 0; i < model->letter_count; i++)
        dead += model->letter[i].source == source && !model->letter[i].replayed;
    const struct {
        const char *what;
        uint64_t is, should;
    } rows[] = {
        {"accepted", counts->accepted, of->accepted},
        {"delivered", counts->delivered, of->delivered},
        {"duplicates", counts->duplicates, of->duplicates},
        {"dropped", counts->dropped, of->dropped},
        {"dead", counts->dead, dead},
        {"ended", counts->ended, of->ended},
        {"discarded", counts->discarded, of->discarded},
        {"lost", counts->lost, 0},
        {"waiting", counts->waiting, of->count},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (rows[i].is != rows[i].should)
            return differ(why, rows[i].what, rows[i].is, rows[i].should);
    }
    int64_t oldest = of->count == 0 ? 0 : of->waiting[0].received_ms;
    if ((of->count == 0 || oldest != 0) && counts->oldest_received_ms != oldest)
        return differ(why, "oldest_received_ms", (uint64_t)counts->oldest_received_ms, (uint64_t)oldest);
    if (of->delivered > 0 && counts->last_delivered_ms == 0)
        return differ(why, "last_delivered_ms", 0, 1);
    return true;
}

static void dead_of(const struct model *model, size_t source, uint32_t key, struct known *known)
{
    const struct identity identity = model_identity_of_key(key);
    for (size_t i = 0; i < model->letter_count; i++) {
        const struct model_letter *letter = &model->letter[i];
        const struct identity of = model_identity(model, letter->number);
        if (letter->source != source || !letter->remember || memcmp(of.key, identity.key, sizeof of.key) != 0)
            continue;
        known->dead_us = !known->dead || of.updated_us > known->dead_us ? of.updated_us : known->dead_us;
        known->dead_first_us =
            !known->dead || of.updated_us < known->dead_first_us ? of.updated_us : known->dead_first_us;
        known->dead = true;
    }
}

bool model_matches_known(const struct model *model, size_t source, uint32_t key, int64_t asked,
                         const struct known *known, struct error *why)
{
    const struct model_known *should = &model->known[source][key];
    /* whoever asks for a version is told of one that is not older, not always of the newest */
    int64_t is = known->delivered ? known->delivered_us : MODEL_NEVER;
    struct known dead = {.dead = false};
    if ((is < should->least && is < asked) || is > should->most) {
        error_set(why, "identity %u of source %zu: the queue knows version %lld, the model %lld to %lld", key, source,
                  (long long)is, (long long)should->least, (long long)should->most);
        return false;
    }
    dead_of(model, source, key, &dead);
    if (known->dead != dead.dead)
        return differ(why, "a dead letter of an identity", known->dead, dead.dead);
    if (dead.dead && (known->dead_us != dead.dead_us || known->dead_first_us != dead.dead_first_us))
        return differ(why, "the version of a dead letter", (uint64_t)known->dead_us, (uint64_t)dead.dead_us);
    return true;
}

bool model_matches_notes(const struct model *model, size_t source, const struct notes *notes, struct error *why)
{
    const struct notes *should = &model->source[source].notes;
    bool same = notes->tries == should->tries && notes->since_ms == should->since_ms &&
                notes->next_ms == should->next_ms && notes->operator_must_act == should->operator_must_act &&
                notes->config_fingerprint == should->config_fingerprint && strcmp(notes->reason, should->reason) == 0 &&
                notes->parked_count == should->parked_count;
    for (uint32_t i = 0; same && i < should->parked_count; i++)
        same = notes->parked[i].id == should->parked[i].id && notes->parked[i].since_ms == should->parked[i].since_ms;
    return same || differ(why, "the forwarder's notes, tries", notes->tries, should->tries);
}
