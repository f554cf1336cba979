/* Whose answer is it? A data plane, or a proxy before it, that says more than it is asked, earlier or later: no POST
 * takes an answer that is another one's, for what counts as delivered and was not stored is lost. */
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "forward/post.h"
#include "tests/suites.h"
#include "tests/support/check.h"
#include "tests/support/made_config.h"
#include "tests/support/odd_plane.h"

#define PATIENCE_MS 60000
#define LATE_MS 60
#define IDLE_MS 250 /* what is late has come by then */
#define LARGE ((size_t)8 << 20)

#define AWAY ANSWER("503", "4", "away") /* the second request's own: nothing was stored */

/* ---- who posts ---- */

#define POSTS 4

struct client {
    struct plane plane;
    struct made_config made;
    struct poster *poster;
    struct post *post[POSTS];
    size_t number[POSTS];
};

static void client_start(struct client *client, const struct turn *turns, int count, int64_t silence_ms)
{
    struct error why = {0};
    struct post_limits limits = post_limits_usual;
    limits.silence_ms = silence_ms;
    plane_start(&client->plane, turns, count);
    made_config_init(&client->made, client->plane.url, client->plane.url);
    client->poster = poster_new(&why);
    CU_ASSERT_PTR_NOT_NULL_FATAL(client->poster);
    poster_limit(client->poster, &limits);
    for (size_t i = 0; i < POSTS; i++) {
        client->number[i] = i;
        client->post[i] = post_new(client->poster, &client->made.config, &client->made.source[i % MADE_SOURCES],
                                   &client->number[i], &why);
        CU_ASSERT_PTR_NOT_NULL_FATAL(client->post[i]);
    }
}

static void client_end(struct client *client)
{
    for (size_t i = 0; i < POSTS; i++)
        post_free(client->post[i]);
    poster_free(client->poster);
    plane_stop(&client->plane);
}

/* One POST. Returns the status; 0: none. */
static int post(struct client *client, size_t number, const char *body, size_t length)
{
    struct error why = {0};
    struct post *done = NULL;
    CU_ASSERT_TRUE_FATAL(post_start(client->post[number], body, length, &why));
    for (moment until = clock_now() + PATIENCE_MS; done == NULL && clock_now() < until;) {
        poster_wait(client->poster, NULL, 0, 100);
        done = poster_done(client->poster);
    }
    CU_ASSERT_PTR_EQUAL(done, client->post[number]);
    return post_answer(client->post[number])->status;
}

/* ---- one answer too many ---- */

/* Two requests by the same lane and by two. The second one's own answer says that nothing was stored. */
static void the_second_one_gets_its_own(const struct turn *first, bool at_once)
{
    for (size_t other = 0; other < 2; other++) {
        static struct client client;
        const struct turn turns[] = {*first, {.answer = AWAY}};
        client_start(&client, turns, 2, PATIENCE_MS);
        (void)post(&client, 0, "first", 5);
        if (!at_once)
            poll(NULL, 0, IDLE_MS);
        int status = post(&client, other, "second", 6);
        check(status == 503, "%s, then %s: taken as %d \"%.20s\" (%s)", first->answer,
              first->late != NULL ? first->late : "", status, post_answer(client.post[other])->body,
              post_answer(client.post[other])->error.text);
        client_end(&client);
    }
}

/* After an answer that is none to be proud of: however late the next one comes, also when the next request is on its
 * way. */
static void a_stray_answer_after_a_failure(void)
{
    static const char *const failures[] = {
        ANSWER("500", "0", ""),    ANSWER("504", "4", "late"), CHUNKED("503", "1", "x"),   ANSWER("429", "0", ""),
        ANSWER("400", "3", "bad"), ANSWER("202", "2", "ok"),   "HTTP/1.1 204 None\r\n\r\n"};
    for (size_t i = 0; i < sizeof failures / sizeof *failures; i++) {
        the_second_one_gets_its_own(&(struct turn){.answer = failures[i], .late_ms = LATE_MS, .late = OK}, false);
        the_second_one_gets_its_own(&(struct turn){.answer = failures[i], .next = OK}, true);
    }
}

/* After a 200, too, once it is there before the next request. */
static void a_stray_answer_after_a_success(void)
{
    static const char *const successes[] = {OK, ANSWER("200", "0", ""), CHUNKED("200", "2", "ok")};
    for (size_t i = 0; i < sizeof successes / sizeof *successes; i++) {
        static const char *const strays[] = {OK, "\r\n", "HTTP/1.1 100 Continue\r\n\r\n",
                                             "HTTP/1.1 100 Continue\r\n\r\n" OK, "HTTP/1.1 200 W"};
        for (size_t j = 0; j < sizeof strays / sizeof *strays; j++)
            the_second_one_gets_its_own(&(struct turn){.answer = successes[i], .late_ms = LATE_MS, .late = strays[j]},
                                        false);
    }
}

/* Both in one piece, which libcurl reads at once; and so with half of the second one. */
static void a_stray_answer_in_the_same_piece(void)
{
    static const struct turn turns[] = {
        {.answer = OK OK},
        {.answer = ANSWER("200", "0", "") OK},
        {.answer = CHUNKED("200", "2", "ok") OK},
        {.answer = OK "HTTP/1.1 200 Words\r\n", .late_ms = LATE_MS, .late = "Content-Length: 2\r\n\r\nok"},
        {.answer = CHUNKED("200", "2", "ok") "HTTP/1.1 2", .late_ms = LATE_MS, .late = "00 Words\r\n\r\nok" OK},
        {.answer = ANSWER("200", "0", "") "HTTP/1.1 2", .late_ms = LATE_MS, .late = "00 Words\r\n\r\nok" OK},
    };
    for (size_t i = 0; i < sizeof turns / sizeof *turns; i++)
        the_second_one_gets_its_own(&turns[i], false);
}

/* It was given up, and its answer comes when the next one waits for its own. */
static void the_answer_of_one_that_was_given_up(void)
{
    static struct client client;
    static const struct turn turns[] = {{.hold_ms = 400, .answer = OK}, {.hold_ms = 600, .answer = AWAY}};
    client_start(&client, turns, 2, 200);
    CU_ASSERT_EQUAL(post(&client, 0, "first", 5), 0);
    CU_ASSERT_TRUE(post_answer(client.post[0])->silent);
    poster_limit(client.poster, &post_limits_usual);
    CU_ASSERT_EQUAL(post(&client, 0, "second", 6), 503);
    client_end(&client);
}

/* Interim answers, and only then the answer. */
static void interim_answers_are_none(void)
{
    static const char *const interim[] = {"HTTP/1.1 100 Continue\r\n\r\n",
                                          "HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"};
    for (size_t i = 0; i < sizeof interim / sizeof *interim; i++) {
        static struct client client;
        const struct turn turns[] = {{.early = interim[i], .answer = AWAY}, {.early = interim[i], .answer = OK}};
        client_start(&client, turns, 2, PATIENCE_MS);
        CU_ASSERT_EQUAL(post(&client, 0, "first", 5), 503);
        CU_ASSERT_EQUAL(post(&client, 0, "second", 6), 200);
        client_end(&client);
    }
}

/* What begins with HTTP/ and has no status that can be read, for which libcurl takes 200, or something else. */
static void a_line_without_a_status(void)
{
    static const char *const lines[] = {"HTTP/1 503 Words",  "HTTP/20 2200 Words", "HTTP/1.10 503 Words",
                                        "HTTP/x 503 Words",  "HTTP/1.1503 Words",  "HTTP/1.1 5x3 Words",
                                        "HTTP/1.1 000 Words"};
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        static struct client client;
        char answer[128];
        snprintf(answer, sizeof answer, "%s\r\nContent-Length: 2\r\n\r\nok", lines[i]);
        const struct turn turns[] = {{.answer = answer}, {.answer = AWAY}};
        client_start(&client, turns, 2, PATIENCE_MS);
        int status = post(&client, 0, "first", 5);
        check(status == 0 && post_answer(client.post[0])->error.text[0] != '\0', "%s: %d", lines[i], status);
        CU_ASSERT_EQUAL(post(&client, 0, "second", 6), 503);
        client_end(&client);
    }
}

/* libcurl takes an answer that ends within its headers for a whole one. */
static void an_answer_that_is_cut(void)
{
    static const char *const answers[] = {"HTTP/1.1 200 OK",
                                          "HTTP/1.1 200 OK\r\n",
                                          "HTTP/1.1 200 OK\r\nContent-Le",
                                          "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n",
                                          "HTTP/1.1 400 Bad\r\nContent-Type: text/plain\r\n",
                                          "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n",
                                          "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no"};
    for (size_t i = 0; i < sizeof answers / sizeof *answers; i++) {
        static struct client client;
        const struct turn turns[] = {{.answer = answers[i], .cut = true}, {.answer = OK}};
        client_start(&client, turns, 2, PATIENCE_MS);
        int status = post(&client, 0, "first", 5);
        check(status == 0 && post_answer(client.post[0])->error.text[0] != '\0', "%s: %d", answers[i], status);
        CU_ASSERT_EQUAL(post(&client, 0, "second", 6), 200);
        client_end(&client);
    }
}

static void trailers_are_no_cut(void)
{
    static struct client client;
    const struct turn turns[] = {
        {.answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n"}};
    client_start(&client, turns, 1, PATIENCE_MS);
    CU_ASSERT_EQUAL(post(&client, 0, "first", 5), 200);
    CU_ASSERT_EQUAL(post(&client, 0, "second", 6), 200);
    client_end(&client);
}

/* ---- an answer that comes before its request was sent ---- */

/* What was not sent whole is not stored, whatever is answered; that it is refused may be said at once. On a new
 * connection, and on one that is used again. */
static void an_early_answer(void)
{
    static struct client client;
    static const struct turn turns[] = {{.early = OK, .answer = AWAY},
                                        {.answer = OK},
                                        {.early = OK, .answer = AWAY},
                                        {.early = ANSWER("413", "0", "")}};
    char *large = malloc(LARGE);
    CU_ASSERT_PTR_NOT_NULL_FATAL(large);
    memset(large, 'x', LARGE);
    client_start(&client, turns, 4, PATIENCE_MS);
    for (int i = 0; i < 2; i++) {
        CU_ASSERT_EQUAL(post(&client, 0, large, LARGE), 0);
        const struct answer *answer = post_answer(client.post[0]);
        CU_ASSERT_TRUE(answer->cut && answer_outcome(answer, false) == OUTCOME_RETRY);
        CU_ASSERT_STRING_EQUAL(answer->error.text,
                               "an answer came before the request was sent whole: it is none to it");
        if (i == 0)
            CU_ASSERT_EQUAL(post(&client, 0, "second", 6), 200);
    }
    CU_ASSERT_EQUAL(post(&client, 0, large, LARGE), 413);
    client_end(&client);
    free(large);
}

/* ---- nothing is given up for it ---- */

/* Large ones, too, whose end goes out just before the answer comes. */
static void a_good_connection_is_kept(void)
{
    static struct client client;
    static const struct turn turns[] = {{.answer = OK}};
    char *large = malloc(LARGE);
    CU_ASSERT_PTR_NOT_NULL_FATAL(large);
    memset(large, 'x', LARGE);
    client_start(&client, turns, 1, PATIENCE_MS);
    for (size_t i = 0; i < 60; i++)
        CU_ASSERT_EQUAL(post(&client, i % POSTS, large, i % 2 == 0 ? 100 : 60000 * (i + 1)), 200);
    CU_ASSERT_EQUAL(atomic_load(&client.plane.connections), 1);
    client_end(&client);
    free(large);
}

/* What is sent is all the same to a poster, packed or not: here its number, which the data plane can read. */
static void start_numbered(struct client *client, size_t place, unsigned number, char body[static 32])
{
    struct error why = {0};
    int length = snprintf(body, 32, "%u batch", number);
    CU_ASSERT_TRUE_FATAL(post_start(client->post[place], body, (size_t)length, &why));
}

/* Some at once, as lanes do it: which was stored and which not is known for each. None is sent on a connection on which
 * another one waits for its answer. */
static void several_at_once(void)
{
    static struct client client;
    static const struct turn turns[] = {{.answer = NULL}};
    static char body[POSTS][32];
    static unsigned of[POSTS];
    unsigned next = 0, done = 0, wrong = 0;
    client_start(&client, turns, 1, PATIENCE_MS);
    for (size_t i = 0; i < POSTS; i++)
        start_numbered(&client, i, of[i] = next++, body[i]);
    for (moment until = clock_now() + PATIENCE_MS; done < 600 && clock_now() < until;) {
        struct post *post = poster_done(client.poster);
        if (post == NULL) {
            poster_wait(client.poster, NULL, 0, 100);
            continue;
        }
        size_t place = *(size_t *)post_owner(post);
        bool delivered = answer_outcome(post_answer(post), false) == OUTCOME_DELIVERED;
        wrong += delivered != atomic_load(&client.plane.stored[of[place]]);
        if (++done, next < 600)
            start_numbered(&client, place, of[place] = next++, body[place]);
    }
    CU_ASSERT_EQUAL(done, 600);
    CU_ASSERT_EQUAL(wrong, 0);
    CU_ASSERT_EQUAL(atomic_load(&client.plane.pipelined), 0);
    client_end(&client);
}

void suite_post(void)
{
    static CU_TestInfo tests[] = {
        {"a stray answer after a failure", a_stray_answer_after_a_failure},
        {"a stray answer after a success", a_stray_answer_after_a_success},
        {"a stray answer in the same piece", a_stray_answer_in_the_same_piece},
        {"the answer of one that was given up", the_answer_of_one_that_was_given_up},
        {"interim answers are none", interim_answers_are_none},
        {"a line without a status", a_line_without_a_status},
        {"an answer that is cut", an_answer_that_is_cut},
        {"trailers are no cut", trailers_are_no_cut},
        {"an early answer", an_early_answer},
        {"a good connection is kept", a_good_connection_is_kept},
        {"several at once", several_at_once},
        CU_TEST_INFO_NULL,
    };
    suite_add("post", NULL, NULL, tests);
}
