/* CUnit's assertion with words. */
#include "tests/support/check.h"

#include <CUnit/CUnit.h>
#include <stdarg.h>
#include <stdio.h>

bool check(bool condition, const char *format, ...)
{
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    CU_assertImplementation(condition, 0, text, "", "", CU_FALSE);
    return condition;
}
