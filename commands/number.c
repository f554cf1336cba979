/* Numbers on the command line: see number.h. */
#include "commands/number.h"

#include <stddef.h>

bool number_read(const char *text, uint64_t *number)
{
    uint64_t value = 0;
    const char *at = text;
    for (; *at >= '0' && *at <= '9'; at++) {
        uint64_t digit = (uint64_t)(*at - '0');
        if (value > (INT64_MAX - digit) / 10)
            return false;
        value = value * 10 + digit;
    }
    if (value == 0 || *at != '\0')
        return false;
    *number = value;
    return true;
}
