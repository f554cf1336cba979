/* The signature keys, as `check` sees them: see check_keys.h. */
#include "commands/check_keys.h"

#include <stdio.h>
#include <string.h>

#include "closeapi/closeapi.h"
#include "config/keyring.h"
#include "config/signed.h"

size_t check_source_keys(const struct config *config, const struct source *source)
{
    struct error words = {0};
    enum signed_state state = signed_look(config, source, &words);
    if (source->signature_none)
        printf("  warning: signature_key = none: whoever knows the address and the write key can send events\n");
    if (state != SIGNED_PART && state != SIGNED_LOST)
        return 0;
    printf("  WRONG: %s%s\n", words.text,
           state == SIGNED_LOST ? "\n    until then Close is answered 503, and sends again for 72 hours" : "");
    return 1;
}

void check_stray_keys(const struct config *config)
{
    struct keyring held;
    char name[256];
    if (closeapi_left_over(config, name))
        printf("\nsource %s is not in the configuration, and it is kept how far Close's Event Log was read for it: if "
               "it was "
               "renamed,\n  closecrm.fcgi queue move %s NEW; if it is gone, rm -r '%s/closeapi/%s'. Until then a "
               "source that "
               "is new is not\n  reconciled by itself, for what was delivered under the old name would be sent again\n",
               name, name, config->state_dir, name);
    if (!keyring_read(config->state_dir, &held, NULL))
        return;
    for (size_t i = 0; i < held.count; i++) {
        if (config_source(config, held.at[i].source) == NULL)
            printf("\nthe key of subscription %s is held for source %s, which is not in the configuration: if that was "
                   "renamed,\n  closecrm.fcgi queue move %s NEW\n",
                   held.at[i].subscription, held.at[i].source, held.at[i].source);
    }
    keyring_free(&held);
}
