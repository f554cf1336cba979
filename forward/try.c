/* Does the data plane take this source's key? Asked with an empty batch, which it refuses without storing anything:
 * 400 `empty batch payload` means that the key is good. So does what counts as a delivery: some gateways in front
 * answer that themselves. */
#include "forward/file_sink.h"
#include "forward/forward.h"
#include "forward/post.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

static bool try_file(const char *path, struct error *why)
{
    int file = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    if (file < 0) {
        error_set(why, "cannot write %s: %s", path, strerror(errno));
        return false;
    }
    close(file);
    error_set(why, "messages are written to %s, and to no data plane", path);
    return true;
}

static bool judge_answer(const struct answer *answer, bool accept_empty, struct error *why)
{
    if (answer_takes_empty_batch(answer) || answer_outcome(answer, accept_empty) == OUTCOME_DELIVERED) {
        error_set(why, "the data plane takes the write key");
        return true;
    }
    const char *advice = answer_advice(answer->status);
    struct error what;
    answer_describe(answer, &what);
    error_set(why, "%s%s%s", what.text, advice == NULL ? "" : ": ", advice == NULL ? "" : advice);
    return false;
}

bool forward_try(const struct config *config, const struct source *source, struct error *why)
{
    static const char empty[] = "{\"batch\":[]}";
    const char *path = file_sink_path(source->data_plane_url);
    if (path != NULL)
        return try_file(path, why);

    bool good = false;
    struct buffer body = {0};
    struct post *post = NULL;
    struct gzip *gzip = gzip_new();
    struct poster *poster = poster_new(why);
    if (poster != NULL)
        post = post_new(poster, config, source, NULL, why);
    if (gzip == NULL || (post != NULL && !gzip_compress(gzip, empty, sizeof empty - 1, &body)))
        error_set(why, "out of memory");
    else if (post != NULL)
        good =
            judge_answer(post_and_wait(poster, post, body.data, body.length), source->accept_empty == ANSWER_YES, why);
    post_free(post);
    poster_free(poster);
    gzip_free(gzip);
    buffer_free(&body);
    return good;
}
