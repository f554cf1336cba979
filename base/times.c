/* Dates, durations and ages, by arithmetic alone: independent of the machine's time zone and locale. See times.h. */
#include "base/times.h"

#include <stdio.h>
#include <string.h>

#include "base/text.h"

#define MINUTE_MS INT64_C(60000)
#define HOUR_MS (60 * MINUTE_MS)
#define DAY_MS (24 * HOUR_MS)
#define AGO_MOST (9999999 * DAY_MS) /* more days than the calendar has, whose microseconds still fit */

/* ---- dates ---- */

#define SECOND_US INT64_C(1000000)
#define DAY_S INT64_C(86400)

/* A text being parsed. */
struct cursor {
    const char *at;
    const char *end;
};

/* The fields of a date. */
struct written {
    int year, month, day, hour, minute, second;
    int microseconds;
    int offset; /* minutes east of UTC */
};

static bool take_any_of(struct cursor *cursor, const char *any_of)
{
    if (cursor->at == cursor->end)
        return false;
    for (; *any_of != '\0'; any_of++) {
        if (*cursor->at == *any_of) {
            cursor->at++;
            return true;
        }
    }
    return false;
}

static bool take_digit(struct cursor *cursor, int *digit)
{
    if (cursor->at == cursor->end || *cursor->at < '0' || *cursor->at > '9')
        return false;
    *digit = *cursor->at++ - '0';
    return true;
}

/* Reads exactly that many digits; the value must lie between lowest and highest. */
static bool take_number(struct cursor *cursor, int digits, int lowest, int highest, int *value)
{
    *value = 0;
    for (int i = 0; i < digits; i++) {
        int digit;
        if (!take_digit(cursor, &digit))
            return false;
        *value = *value * 10 + digit;
    }
    return *value >= lowest && *value <= highest;
}

/* Reads the optional fraction of a second: a point and at least one digit. */
static bool take_fraction(struct cursor *cursor, int *microseconds)
{
    *microseconds = 0;
    if (!take_any_of(cursor, "."))
        return true;
    int digit;
    if (!take_digit(cursor, &digit))
        return false;
    int worth = 100000;
    do {
        *microseconds += digit * worth;
        worth /= 10;
    } while (take_digit(cursor, &digit));
    return true;
}

static bool take_offset(struct cursor *cursor, int *minutes)
{
    *minutes = 0;
    if (cursor->at == cursor->end || take_any_of(cursor, "Zz"))
        return true;
    bool west = *cursor->at == '-';
    int hour;
    int minute = 0;
    if (!take_any_of(cursor, "+-") || !take_number(cursor, 2, 0, 23, &hour))
        return false;
    if (cursor->at != cursor->end) {
        take_any_of(cursor, ":");
        if (!take_number(cursor, 2, 0, 59, &minute))
            return false;
    }
    *minutes = (west ? -1 : 1) * (hour * 60 + minute);
    return true;
}

static bool is_leap(int year)
{
    return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
}

static int days_in(int year, int month)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    return month == 2 && is_leap(year) ? 29 : days[month - 1];
}

static bool take_date(struct cursor *cursor, struct written *date)
{
    return take_number(cursor, 4, 1, 9999, &date->year) && take_any_of(cursor, "-") &&
           take_number(cursor, 2, 1, 12, &date->month) && take_any_of(cursor, "-") &&
           take_number(cursor, 2, 1, days_in(date->year, date->month), &date->day);
}

static bool take_time(struct cursor *cursor, struct written *date)
{
    return take_number(cursor, 2, 0, 23, &date->hour) && take_any_of(cursor, ":") &&
           take_number(cursor, 2, 0, 59, &date->minute) && take_any_of(cursor, ":") &&
           take_number(cursor, 2, 0, 60, &date->second) && take_fraction(cursor, &date->microseconds);
}

/* Returns the days from 1970-01-01 to a day of the Gregorian calendar. Years start in March, so that a leap day comes
 * last; 400 years always have 146,097 days. Year 1 and later. */
static int64_t days_before(int year, int month, int day)
{
    int64_t from_march = month > 2 ? month - 3 : month + 9;
    int64_t years = month > 2 ? year : year - 1;
    int64_t day_of_year = (153 * from_march + 2) / 5 + day - 1;
    return years * 365 + years / 4 - years / 100 + years / 400 + day_of_year - 719468;
}

static bool is_readable(int64_t seconds)
{
    return seconds >= days_before(1, 1, 1) * DAY_S && seconds < days_before(10000, 1, 1) * DAY_S;
}

int64_t times_read(const char *text, size_t length)
{
    struct cursor cursor = {text, text + length};
    struct written date;
    if (!take_date(&cursor, &date) || !take_any_of(&cursor, "Tt ") || !take_time(&cursor, &date) ||
        !take_offset(&cursor, &date.offset) || cursor.at != cursor.end)
        return DATE_UNREADABLE;

    int64_t hours = days_before(date.year, date.month, date.day) * 24 + date.hour;
    int64_t minutes = hours * 60 + date.minute - date.offset;
    int64_t seconds = minutes * 60 + date.second;
    if (date.second == 60 && seconds % DAY_S != 0)
        return DATE_UNREADABLE;
    if (!is_readable(seconds))
        return DATE_UNREADABLE;
    return seconds * SECOND_US + date.microseconds;
}

/* Returns the date that many days after 1970-01-01: the inverse of days_before. Year 1 and later. */
static void day_after(int64_t days, struct written *date)
{
    int64_t since = days + 719468; /* 0000-03-01 */
    int64_t era = since / 146097;
    int64_t day_of_era = since % 146097;
    int64_t years = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    int64_t day_of_year = day_of_era - (365 * years + years / 4 - years / 100);
    int64_t from_march = (5 * day_of_year + 2) / 153;
    date->day = (int)(day_of_year - (153 * from_march + 2) / 5) + 1;
    date->month = (int)(from_march < 10 ? from_march + 3 : from_march - 9);
    date->year = (int)(era * 400 + years) + (date->month <= 2);
}

/* Writes a number with exactly that many digits, then a character; returns the position after it. */
static char *put_number(char *out, int64_t number, int digits, char then)
{
    for (int i = digits - 1; i >= 0; i--) {
        out[i] = (char)('0' + number % 10);
        number /= 10;
    }
    out[digits] = then;
    return out + digits + 1;
}

/* Per form: the separator of date and time, the digits of the fraction, and the suffix. */
static const struct {
    char between;
    int digits;
    const char *zone;
} date_forms[] = {
    [DATE_MILLISECONDS] = {'T', 3, "+00:00"}, [DATE_MICROSECONDS] = {'T', 6, "+00:00"},
    [DATE_Z_MILLISECONDS] = {'T', 3, "Z"},    [DATE_Z] = {'T', 0, "Z"},
    [DATE_BARE_MICROSECONDS] = {'T', 6, ""},  [DATE_UTC] = {' ', 0, " UTC"},
};

const char *times_print(int64_t microseconds, enum date_form form, char out[static DATE_PRINTED])
{
    /* Floor division, for times before 1970. */
    int64_t fraction = (microseconds % SECOND_US + SECOND_US) % SECOND_US;
    int64_t seconds = (microseconds - fraction) / SECOND_US;
    int64_t of_day = (seconds % DAY_S + DAY_S) % DAY_S;
    struct written date;
    if (!is_readable(seconds)) {
        strcpy(out, "?"); /* NOLINT: there is room */
        return out;
    }
    day_after((seconds - of_day) / DAY_S, &date);

    int digits = date_forms[form].digits;
    char *at = put_number(out, date.year, 4, '-');
    at = put_number(at, date.month, 2, '-');
    at = put_number(at, date.day, 2, date_forms[form].between);
    at = put_number(at, of_day / 3600, 2, ':');
    at = put_number(at, of_day / 60 % 60, 2, ':');
    at = put_number(at, of_day % 60, 2, digits > 0 ? '.' : '\0');
    at = digits > 0 ? put_number(at, digits == 6 ? fraction : fraction / 1000, digits, '\0') : at;
    strcpy(at - 1, date_forms[form].zone); /* NOLINT: DATE_PRINTED has room for the longest */
    return out;
}

const char *times_print_ms(int64_t ms, enum date_form form, char out[static DATE_PRINTED])
{
    return times_print(ms > INT64_MAX / 1000 || ms < INT64_MIN / 1000 ? INT64_MAX : ms * 1000, form, out);
}

/* ---- durations and ages ---- */

static const struct text_unit durations[] = {{'s', 1000}, {'m', MINUTE_MS}, {'h', HOUR_MS}, {'d', DAY_MS}};

enum text_reading times_read_duration(const char *text, int64_t *ms)
{
    return text_read_units(text, durations, sizeof durations / sizeof *durations, ms);
}

void times_write_duration(int64_t ms, char *out, size_t size)
{
    text_write_units(ms, durations, sizeof durations / sizeof *durations, out, size);
}

const char *times_print_utc(int64_t ms, char out[static WHEN_SIZE])
{
    return times_print_ms(ms, DATE_Z_MILLISECONDS, out);
}

const char *times_print_age(int64_t ms, char out[static WHEN_SIZE])
{
    if (ms < 0)
        ms = 0;
    if (ms < 2 * MINUTE_MS)
        snprintf(out, WHEN_SIZE, "%d s", (int)(ms / 1000));
    else if (ms < HOUR_MS)
        snprintf(out, WHEN_SIZE, "%d min", (int)(ms / MINUTE_MS));
    else if (ms < DAY_MS)
        snprintf(out, WHEN_SIZE, "%d h %d min", (int)(ms / HOUR_MS), (int)(ms % HOUR_MS / MINUTE_MS));
    else
        snprintf(out, WHEN_SIZE, "%lld d %d h", (long long)(ms / DAY_MS), (int)(ms % DAY_MS / HOUR_MS));
    return out;
}

const char *times_print_span(int64_t ms, char out[static WHEN_SIZE])
{
    static const struct {
        int64_t ms;
        const char *word;
    } units[] = {{DAY_MS, "day"}, {HOUR_MS, "hour"}, {MINUTE_MS, "minute"}, {1000, "second"}};
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        if (ms < units[i].ms || (i + 1 < sizeof units / sizeof *units && ms < 2 * units[i].ms))
            continue;
        long long n = (long long)(ms / units[i].ms);
        snprintf(out, WHEN_SIZE, "%lld %s%s", n, units[i].word, n == 1 ? "" : "s");
        return out;
    }
    snprintf(out, WHEN_SIZE, "a moment");
    return out;
}

/* ---- what people type ---- */

bool times_read_age(const char *text, int64_t *ms)
{
    return times_read_duration(text, ms) == TEXT_READ && *ms <= AGO_MOST;
}

bool times_read_point_us(const char *text, int64_t now_us, int64_t *us)
{
    static const char whole[] = "2026-11-24T00:00:00";
    char date[WHEN_SIZE];
    int64_t ago_ms;
    if (times_read_age(text, &ago_ms)) {
        *us = now_us - ago_ms * 1000;
        return true;
    }
    size_t length = strlen(text);
    if (length >= sizeof date)
        return false;
    memcpy(date, text, length + 1);
    /* Missing parts of a date are zero. */
    if (length == strlen("2026-11-24") || length == strlen("2026-11-24T00:00"))
        memcpy(date + length, whole + length, sizeof whole - length);
    *us = times_read(date, strlen(date));
    return *us != DATE_UNREADABLE;
}

bool times_read_point(const char *text, int64_t now_ms, int64_t *ms)
{
    int64_t us;
    if (!times_read_point_us(text, now_ms * 1000, &us))
        return false;
    int64_t below = us % 1000;
    *ms = (us - (below < 0 ? below + 1000 : below)) / 1000;
    return true;
}
