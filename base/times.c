/* Points in time: see times.h. */
#include "base/times.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/dates.h"

#define SECOND INT64_C(1000)
#define MINUTE (60 * SECOND)
#define HOUR (60 * MINUTE)
#define DAY (24 * HOUR)
#define MOST_DAYS INT64_C(100000)

const char *when_print(int64_t ms, char out[static WHEN_SIZE])
{
    int64_t below = ms % SECOND;
    if (below < 0)
        below += SECOND;
    time_t seconds = (time_t)((ms - below) / SECOND);
    struct tm parts = {0};
    gmtime_r(&seconds, &parts);
    size_t length = strftime(out, WHEN_SIZE, "%Y-%m-%dT%H:%M:%S", &parts);
    snprintf(out + length, WHEN_SIZE - length, ".%03dZ", (int)below);
    return out;
}

const char *when_print_age(int64_t ms, char out[static WHEN_SIZE])
{
    if (ms < 0)
        ms = 0;
    if (ms < 2 * MINUTE)
        snprintf(out, WHEN_SIZE, "%d s", (int)(ms / SECOND));
    else if (ms < HOUR)
        snprintf(out, WHEN_SIZE, "%d min", (int)(ms / MINUTE));
    else if (ms < DAY)
        snprintf(out, WHEN_SIZE, "%d h %d min", (int)(ms / HOUR), (int)(ms % HOUR / MINUTE));
    else
        snprintf(out, WHEN_SIZE, "%lld d %d h", (long long)(ms / DAY), (int)(ms % DAY / HOUR));
    return out;
}

/* A number and one letter. */
static bool read_duration(const char *text, int64_t *ms)
{
    static const struct {
        char letter;
        int64_t unit;
    } units[] = {{'s', SECOND}, {'m', MINUTE}, {'h', HOUR}, {'d', DAY}};
    int64_t number = 0;
    const char *at = text;
    for (; isdigit((unsigned char)*at) && number <= MOST_DAYS * DAY; at++)
        number = number * 10 + (*at - '0');
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        if (at > text && at[0] == units[i].letter && at[1] == '\0' && number <= MOST_DAYS * DAY / units[i].unit) {
            *ms = number * units[i].unit;
            return true;
        }
    }
    return false;
}

bool when_read(const char *text, int64_t now_ms, int64_t *ms)
{
    static const char whole[] = "2026-11-24T00:00:00";
    char date[WHEN_SIZE];
    int64_t duration;
    if (read_duration(text, &duration)) {
        *ms = now_ms - duration;
        return true;
    }
    size_t length = strlen(text);
    if (length >= sizeof date)
        return false;
    memcpy(date, text, length + 1);
    /* What is left out of a date is zero. */
    if (length == strlen("2026-11-24") || length == strlen("2026-11-24T00:00"))
        memcpy(date + length, whole + length, sizeof whole - length);
    int64_t microseconds = date_read(date, strlen(date));
    if (microseconds == DATE_UNREADABLE)
        return false;
    int64_t below = microseconds % 1000;
    *ms = (microseconds - (below < 0 ? below + 1000 : below)) / 1000;
    return true;
}
