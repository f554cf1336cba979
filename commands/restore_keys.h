/* Which keys of a backup are taken on when it is put back: those of subscriptions that Close still has. */
#ifndef COMMANDS_RESTORE_KEYS_H
#define COMMANDS_RESTORE_KEYS_H

#include "config/config.h"
#include "queue/backup.h"

enum key_fate {
    KEY_NONE,    /* the file is no key */
    KEY_GOOD,    /* Close has its subscription */
    KEY_GONE,    /* Close has it no more */
    KEY_UNKNOWN, /* Close cannot be asked */
};

#define KEY_TEXT 128

struct restore_key {
    enum key_fate fate;
    char source[KEY_TEXT];
    char subscription[KEY_TEXT];
    struct error why; /* of UNKNOWN */
};

/* Judges each file of a backup, asking Close where there is an API key. fates: files->count of them. */
void restore_judge_keys(const struct config *config, const struct backup_files *files, struct restore_key *keys);

#endif
