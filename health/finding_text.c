/* What is said of a finding: see finding_text.h. */
#include "health/finding_text.h"

#include "base/program_name.h"

#include <stdio.h>
#include <string.h>

#define TEXT_MOST 5000 /* more than any member of struct finding */

void finding_text_put_name(char *out, size_t size)
{
    char named[TEXT_MOST];
    program_name_put(out, named, sizeof named);
    snprintf(out, size, "%s", named);
}

void finding_text_expand(const char *text, const char *name, const char *state_dir, char *out, size_t size)
{
    size_t length = 0;
    for (; *text != '\0'; text++) {
        const char letter[] = {*text, '\0'};
        const char *piece = *text == '@' ? name : *text == '$' ? state_dir : letter;
        size_t more = piece == NULL ? 0 : strlen(piece);
        if (length + more >= size) {
            length = 0;
            break;
        }
        memcpy(out + length, piece == NULL ? "" : piece, more);
        length += more;
    }
    out[length] = '\0';
    char named[TEXT_MOST];
    if (strlen(program_name_put(out, named, sizeof named)) < size)
        snprintf(out, size, "%s", named);
}
