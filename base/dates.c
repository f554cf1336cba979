/* Dates ↔ instants, by arithmetic alone: no time zone or locale of the machine has a say. See dates.h. */
#include "base/dates.h"

#include <stdbool.h>
#include <stdio.h>

#define SECOND INT64_C(1000000)
#define DAY INT64_C(86400)

/* A text being read. */
struct cursor {
    const char *at;
    const char *end;
};

/* A date as it is written. */
struct written {
    int year, month, day, hour, minute, second;
    int microseconds;
    int offset; /* minutes east of UTC */
};

static bool take(struct cursor *cursor, const char *any_of)
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

/* Reads exactly that many digits, whose value must lie between lowest and highest. */
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

/* Reads what may follow the seconds: a point and at least one digit. */
static bool take_fraction(struct cursor *cursor, int *microseconds)
{
    *microseconds = 0;
    if (!take(cursor, "."))
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
    if (cursor->at == cursor->end || take(cursor, "Zz"))
        return true;
    bool west = *cursor->at == '-';
    int hour;
    int minute = 0;
    if (!take(cursor, "+-") || !take_number(cursor, 2, 0, 23, &hour))
        return false;
    if (cursor->at != cursor->end) {
        take(cursor, ":");
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
    return take_number(cursor, 4, 1, 9999, &date->year) && take(cursor, "-") &&
           take_number(cursor, 2, 1, 12, &date->month) && take(cursor, "-") &&
           take_number(cursor, 2, 1, days_in(date->year, date->month), &date->day);
}

static bool take_time(struct cursor *cursor, struct written *date)
{
    return take_number(cursor, 2, 0, 23, &date->hour) && take(cursor, ":") &&
           take_number(cursor, 2, 0, 59, &date->minute) && take(cursor, ":") &&
           take_number(cursor, 2, 0, 60, &date->second) && take_fraction(cursor, &date->microseconds);
}

/* Days from 1970-01-01 to a day of the Gregorian calendar. Years are counted from March, so that a leap day comes last;
 * 400 of them always have 146,097 days. Year 1 and later. */
static int64_t days_before(int year, int month, int day)
{
    int64_t from_march = month > 2 ? month - 3 : month + 9;
    int64_t years = month > 2 ? year : year - 1;
    int64_t day_of_year = (153 * from_march + 2) / 5 + day - 1;
    return years * 365 + years / 4 - years / 100 + years / 400 + day_of_year - 719468;
}

int64_t date_read(const char *text, size_t length)
{
    struct cursor cursor = {text, text + length};
    struct written date;
    if (!take_date(&cursor, &date) || !take(&cursor, "Tt ") || !take_time(&cursor, &date) ||
        !take_offset(&cursor, &date.offset) || cursor.at != cursor.end)
        return DATE_UNREADABLE;

    int64_t hours = days_before(date.year, date.month, date.day) * 24 + date.hour;
    int64_t minutes = hours * 60 + date.minute - date.offset;
    int64_t seconds = minutes * 60 + date.second;
    if (date.second == 60 && seconds % DAY != 0)
        return DATE_UNREADABLE;
    if (seconds < days_before(1, 1, 1) * DAY || seconds >= days_before(10000, 1, 1) * DAY)
        return DATE_UNREADABLE;
    return seconds * SECOND + date.microseconds;
}

/* The day of the calendar that lies that many days after 1970-01-01: days_before the other way. Year 1 and later. */
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

/* Writes a number with exactly that many digits, and the character that follows it; returns what comes after. */
static char *put_number(char *out, int64_t number, int digits, char then)
{
    for (int i = digits - 1; i >= 0; i--) {
        out[i] = (char)('0' + number % 10);
        number /= 10;
    }
    out[digits] = then;
    return out + digits + 1;
}

const char *date_print(int64_t microseconds, enum date_precision precision, char out[static DATE_PRINTED])
{
    /* The quotient downwards, also before 1970. */
    int64_t fraction = (microseconds % SECOND + SECOND) % SECOND;
    int64_t seconds = (microseconds - fraction) / SECOND;
    int64_t of_day = (seconds % DAY + DAY) % DAY;
    struct written date;
    day_after((seconds - of_day) / DAY, &date);

    char *at = put_number(out, date.year, 4, '-');
    at = put_number(at, date.month, 2, '-');
    at = put_number(at, date.day, 2, 'T');
    at = put_number(at, of_day / 3600, 2, ':');
    at = put_number(at, of_day / 60 % 60, 2, ':');
    at = put_number(at, of_day % 60, 2, '.');
    at = precision == DATE_MICROSECONDS ? put_number(at, fraction, 6, '+') : put_number(at, fraction / 1000, 3, '+');
    at = put_number(at, 0, 2, ':');
    put_number(at, 0, 2, '\0');
    return out;
}
