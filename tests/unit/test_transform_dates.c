/* Dates: which are read, as which instant, and how an instant is written. */
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/times.h"
#include "tests/suites.h"

static void test_read(void)
{
    static const struct {
        const char *text;
        int64_t microseconds;
    } cases[] = {
        {"1970-01-01T00:00:00", 0},
        {"1970-01-01T00:00:00Z", 0},
        {"1970-01-01t00:00:00z", 0},
        {"1970-01-01 00:00:00", 0},
        {"1970-01-01 00:00:00+00:00", 0},
        {"1970-01-01T00:00:00-00:00", 0},
        {"2019-01-15T12:48:23.395000", 1547556503395000},
        {"2019-01-15T12:48:23.395000+00:00", 1547556503395000},
        {"2019-01-15T12:48:23.395", 1547556503395000},
        {"2019-01-15T12:48:23", 1547556503000000},
        {"2019-01-15T12:48:23.3", 1547556503300000},
        {"2019-01-15T12:48:23.3950009999999999999999999", 1547556503395000},
        {"2019-01-15T12:48:23.000001", 1547556503000001},
        {"2019-01-15T12:48:23.0000009", 1547556503000000},
        {"2019-01-15T14:48:23.395000+02:00", 1547556503395000},
        {"2019-01-15T14:48:23.395000+0200", 1547556503395000},
        {"2019-01-15T14:48:23.395000+02", 1547556503395000},
        {"2019-01-15T07:18:23-05:30", 1547556503000000},
        {"2019-01-15T07:18:23-0530", 1547556503000000},
        {"2019-01-16T00:33:23.395+11:45", 1547556503395000},
        {"2000-02-29T00:00:00Z", 951782400000000},
        {"2020-02-29T23:59:59Z", 1583020799000000},
        {"2019-12-31T23:30:00-01:00", 1577838600000000},
        {"1969-12-31T23:59:59.999999", -1},
        {"1900-03-01T00:00:00Z", -2203891200000000},
        {"0001-01-01T00:00:00Z", -62135596800000000},
        {"9999-12-31T23:59:59.999999Z", 253402300799999999},
        /* A leap second is the second after it. */
        {"2016-12-31T23:59:60Z", 1483228800000000},
        {"2016-12-31T23:59:60.5Z", 1483228800500000},
        {"2017-01-01T05:29:60+05:30", 1483228800000000},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int64_t read = times_read(cases[i].text, strlen(cases[i].text));
        if (read != cases[i].microseconds)
            printf("\n    %s", cases[i].text);
        CU_ASSERT_EQUAL(read, cases[i].microseconds);
    }
}

static void test_unreadable(void)
{
    static const char *const cases[] = {
        "",
        " ",
        "yesterday",
        "Invalid date",
        "2019",
        "2019-01-15",
        "2019-01-15T12:48",
        "2019-01-15T12:48:23.",
        "2019-01-15T12:48:23.Z",
        "2019-01-15T12:48:23,395",
        "2019-01-15T12:48:23 ",
        " 2019-01-15T12:48:23",
        "2019-01-15T12:48:23ZZ",
        "2019-01-15T12:48:23Z+00:00",
        "2019-01-15T12:48:23+",
        "2019-01-15T12:48:23+1",
        "2019-01-15T12:48:23+1:00",
        "2019-01-15T12:48:23+01:",
        "2019-01-15T12:48:23+01:0",
        "2019-01-15T12:48:23+010",
        "2019-01-15T12:48:23+01:000",
        "2019-01-15T12:48:23+24:00",
        "2019-01-15T12:48:23+01:60",
        "2019-01-15T12:48:23 +01:00",
        "2019-01-15T12:48:23+-1:00",
        "2019-01-15_12:48:23",
        "2019-01-15T24:00:00",
        "2019-01-15T12:60:00",
        "2019-01-15T12:48:61",
        "2019-01-15T12:48:60",
        "2016-12-31T23:59:60+01:00",
        "9999-12-31T23:59:60Z",
        "2019-00-15T12:48:23",
        "2019-13-15T12:48:23",
        "2019-01-00T12:48:23",
        "2019-01-32T12:48:23",
        "2019-04-31T12:48:23",
        "2019-02-29T12:48:23",
        "1900-02-29T12:48:23",
        "2100-02-29T12:48:23",
        "2020-02-30T12:48:23",
        "0000-01-01T00:00:00",
        "0001-01-01T00:00:00+00:01",
        "9999-12-31T23:59:59-00:01",
        "-2019-01-15T12:48:23",
        "+2019-01-15T12:48:23",
        "10000-01-01T00:00:00",
        "19-01-15T12:48:23",
        "2019-1-15T12:48:23",
        "20190115T124823Z",
        "2019-01-15T 2:48:23",
        "2019-01-15T12:48:-3",
        "2019-01-TuT12:48:23.395+00:00",
        "1547556503",
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int64_t read = times_read(cases[i], strlen(cases[i]));
        if (read != DATE_UNREADABLE)
            printf("\n    %s", cases[i]);
        CU_ASSERT_EQUAL(read, DATE_UNREADABLE);
    }
    CU_ASSERT_EQUAL(times_read("2019-01-15T12:48:23\0", 20), DATE_UNREADABLE);
    CU_ASSERT_EQUAL(times_read("2019-01-15T12:48:23.395", 18), DATE_UNREADABLE);
}

static void test_print(void)
{
    static const struct {
        int64_t microseconds;
        const char *milliseconds_text;
        const char *microseconds_text;
    } cases[] = {
        {0, "1970-01-01T00:00:00.000+00:00", "1970-01-01T00:00:00.000000+00:00"},
        {1547556503395999, "2019-01-15T12:48:23.395+00:00", "2019-01-15T12:48:23.395999+00:00"},
        {-1, "1969-12-31T23:59:59.999+00:00", "1969-12-31T23:59:59.999999+00:00"},
        {-62135596800000000, "0001-01-01T00:00:00.000+00:00", "0001-01-01T00:00:00.000000+00:00"},
        {253402300799999999, "9999-12-31T23:59:59.999+00:00", "9999-12-31T23:59:59.999999+00:00"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[DATE_PRINTED];
        CU_ASSERT_STRING_EQUAL(times_print(cases[i].microseconds, DATE_MILLISECONDS, text), cases[i].milliseconds_text);
        CU_ASSERT_STRING_EQUAL(times_print(cases[i].microseconds, DATE_MICROSECONDS, text), cases[i].microseconds_text);
    }
}

/* Every day of the calendar comes one day after the one before it, and is printed as it was written. */
static void test_every_day(void)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    int64_t expected = INT64_C(-62135596800000000);
    size_t wrong = 0;
    for (int year = 1; year <= 9999; year++) {
        bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
        for (int month = 1; month <= 12; month++) {
            for (int day = 1; day <= days[month - 1] + (month == 2 && leap); day++) {
                char text[64];
                char printed[DATE_PRINTED];
                sprintf(text, "%04d-%02d-%02dT00:00:00.000+00:00", year, month, day);
                int64_t read = times_read(text, strlen(text));
                wrong += read != expected || strcmp(times_print(read, DATE_MILLISECONDS, printed), text) != 0;
                expected += INT64_C(86400000000);
            }
        }
    }
    CU_ASSERT_EQUAL(wrong, 0);
}

static void every_form_is_written(void)
{
    static const struct {
        enum date_form form;
        const char *text;
    } forms[] = {
        {DATE_MILLISECONDS, "2019-01-15T12:48:23.395+00:00"},   {DATE_MICROSECONDS, "2019-01-15T12:48:23.395007+00:00"},
        {DATE_Z_MILLISECONDS, "2019-01-15T12:48:23.395Z"},      {DATE_Z, "2019-01-15T12:48:23Z"},
        {DATE_BARE_MICROSECONDS, "2019-01-15T12:48:23.395007"}, {DATE_UTC, "2019-01-15 12:48:23 UTC"},
    };
    char text[DATE_PRINTED];
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++)
        CU_ASSERT_STRING_EQUAL(times_print(INT64_C(1547556503395007), forms[i].form, text), forms[i].text);
    static const int64_t none[] = {INT64_MIN, -62135596800000 - 1, 253402300800000, INT64_MAX}; /* ms */
    for (size_t i = 0; i < sizeof none / sizeof *none; i++)
        CU_ASSERT_STRING_EQUAL(times_print_ms(none[i], DATE_Z, text), "?");
    CU_ASSERT_STRING_EQUAL(times_print_ms(-62135596800000, DATE_Z, text), "0001-01-01T00:00:00Z");
    CU_ASSERT_STRING_EQUAL(times_print_ms(253402300799999, DATE_Z, text), "9999-12-31T23:59:59Z");
}

void suite_transform_dates(void)
{
    static CU_TestInfo tests[] = {
        {"readable dates are instants", test_read},
        {"all else is unreadable", test_unreadable},
        {"instants are printed in UTC, cut off", test_print},
        {"every day of the years 1 to 9999", test_every_day},
        {"every form is written, and years that are none are not", every_form_is_written},
        CU_TEST_INFO_NULL,
    };
    suite_add("transform dates", NULL, NULL, tests);
}
