/* dead show: one dead letter, why it is one, as it came and the message that it would make now. */
#include <inttypes.h>
#include <stdio.h>

#include "base/terminal.h"
#include "base/times.h"
#include "commands/commands.h"
#include "commands/options.h"
#include "commands/session.h"
#include "commands/view.h"

#define LETTER_BYTES ((size_t)1 << 20) /* the first always comes */

static bool show(const struct config *config, const struct letter *letter, struct error *why)
{
    char date[WHEN_SIZE];
    printf("dead letter %" PRIu64 " of source %s\n", letter->id, letter->source);
    printf("received  %s\n", when_print(letter->received_ms, date));
    printf("died      %s%s\n", when_print(letter->died_ms, date), letter->replayed ? ", on its way again" : "");
    fputs("reason    ", stdout);
    plain_column(stdout, letter->reason, 0);
    fputs("\n\n", stdout);
    return view_event(config, letter->source, letter->body, letter->length, why);
}

int command_dead_show(int argc, char **argv)
{
    const char *text = NULL;
    uint64_t id;
    struct session session;
    struct letters letters = {NULL, 0, 0, {NULL, 0, 0, false}};
    struct error why = {0};
    if (!options_read(argc, argv, NULL, 0, &text))
        return COMMAND_USAGE;
    if (text == NULL || !options_number(text, &id))
        return options_wrong(argv[0], "which dead letter? Give the number that `dead list` shows");
    if (!session_open(&session, argv[0]))
        return session.code;
    int found = queue_letters(session.queue, NULL, id - 1, 1, LETTER_BYTES, &letters, &why);
    queue_close(session.queue); /* what is shown is a copy: the terminal may take its time */
    session.queue = NULL;
    if (found == 0 || (found > 0 && letters.at[0].id != id)) {
        error_set(&why, "there is no dead letter %" PRIu64 " (any more)", id);
        found = 0;
    }
    bool good = found > 0 && show(session.config, &letters.at[0], &why);
    letters_free(&letters);
    session_close(&session);
    return good ? COMMAND_OK : session_failed(argv[0], &why);
}
