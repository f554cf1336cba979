/* The source that a command means: see source.h. */
#include "commands/source.h"

#include <stdio.h>

const struct source *session_source(const struct config *config, const char *name, const char *command)
{
    if (name == NULL && config->sources == 1)
        return &config->source[0];
    const struct source *source = name == NULL ? NULL : config_source(config, name);
    if (source != NULL)
        return source;
    if (name == NULL)
        fprintf(stderr, "%s: there are several sources: say which, with --source NAME; there are:", command);
    else
        fprintf(stderr, "%s: no source is called \"%s\"; there are:", command, name);
    for (size_t i = 0; i < config->sources; i++)
        fprintf(stderr, " %s", config->source[i].name);
    fputc('\n', stderr);
    return NULL;
}

struct rules session_rules(const struct source *source)
{
    return (struct rules){
        .keep = source->keep.at,
        .keeps = source->keep.count,
        .drop = source->drop.at,
        .drops = source->drop.count,
        .remove = source->remove.at,
        .removes = source->remove.count,
    };
}
