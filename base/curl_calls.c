/* libcurl, loaded when the first of its functions is called: it brings 25 libraries with it, whose loading takes longer
 * than all that a CGI request does, and a request that only keeps an event calls none of them. The functions of this
 * file have libcurl's own names and types, so that callers do not know. The program is not linked with libcurl: a
 * function that is missing here is found by the linker. */
#include "base/curl_calls.h"

#define CURL_DISABLE_TYPECHECK /* callers have it; here the functions themselves are defined */
#include <curl/curl.h>
#include <dlfcn.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <string.h>

#include "base/log.h"

#undef curl_easy_setopt
#undef curl_easy_getinfo

#define LIBRARY "libcurl.so.4" /* its interface since 2006 */
#define ADVICE "it comes with the package libcurl4 (Debian, Ubuntu) or libcurl"

/* What curl_url_get takes: older releases had not thought of const. */
typedef __typeof__(_Generic(&curl_url_get, CURLUcode (*)(const CURLU *, CURLUPart, char **, unsigned)
                            : (const CURLU *)NULL, default
                            : (CURLU *)NULL)) url_read;

/* Functions that return something: result, name, parameters, arguments, result where there is no libcurl. */
#define FUNCTIONS(F)                                                                                                   \
    F(CURLcode, curl_global_init, (long flags), (flags), CURLE_FAILED_INIT)                                            \
    F(curl_version_info_data *, curl_version_info, (CURLversion age), (age), NULL)                                     \
    F(time_t, curl_getdate, (const char *date, const time_t *unused), (date, unused), -1)                              \
    F(CURL *, curl_easy_init, (void), (), NULL)                                                                        \
    F(CURLcode, curl_easy_perform, (CURL * easy), (easy), CURLE_FAILED_INIT)                                           \
    F(const char *, curl_easy_strerror, (CURLcode code), (code), "there is no libcurl")                                \
    F(char *, curl_easy_escape, (CURL * easy, const char *text, int length), (easy, text, length), NULL)               \
    F(CURLM *, curl_multi_init, (void), (), NULL)                                                                      \
    F(CURLMcode, curl_multi_add_handle, (CURLM * multi, CURL * easy), (multi, easy), CURLM_BAD_HANDLE)                 \
    F(CURLMcode, curl_multi_remove_handle, (CURLM * multi, CURL * easy), (multi, easy), CURLM_BAD_HANDLE)              \
    F(CURLMcode, curl_multi_perform, (CURLM * multi, int *running), (multi, running), CURLM_BAD_HANDLE)                \
    F(CURLMcode, curl_multi_poll,                                                                                      \
      (CURLM * multi, struct curl_waitfd extra[], unsigned count, int timeout_ms, int *ready),                         \
      (multi, extra, count, timeout_ms, ready), CURLM_BAD_HANDLE)                                                      \
    F(CURLMsg *, curl_multi_info_read, (CURLM * multi, int *left), (multi, left), NULL)                                \
    F(CURLMcode, curl_multi_cleanup, (CURLM * multi), (multi), CURLM_BAD_HANDLE)                                       \
    F(struct curl_slist *, curl_slist_append, (struct curl_slist * list, const char *text), (list, text), NULL)        \
    F(CURLU *, curl_url, (void), (), NULL)                                                                             \
    F(CURLUcode, curl_url_get, (url_read url, CURLUPart part, char **text, unsigned flags), (url, part, text, flags),  \
      CURLUE_OUT_OF_MEMORY)                                                                                            \
    F(CURLUcode, curl_url_set, (CURLU * url, CURLUPart part, const char *text, unsigned flags),                        \
      (url, part, text, flags), CURLUE_OUT_OF_MEMORY)

/* Functions that return nothing. */
#define PROCEDURES(F)                                                                                                  \
    F(curl_global_cleanup, (void), ())                                                                                 \
    F(curl_easy_cleanup, (CURL * easy), (easy))                                                                        \
    F(curl_easy_reset, (CURL * easy), (easy))                                                                          \
    F(curl_free, (void *memory), (memory))                                                                             \
    F(curl_slist_free_all, (struct curl_slist * list), (list))                                                         \
    F(curl_url_cleanup, (CURLU * url), (url))

#define MEMBER(result, name, parameters, arguments, without) __typeof__(name) *(name);
#define MEMBER_OF_PROCEDURE(name, parameters, arguments) __typeof__(name) *(name);

/* libcurl's own functions. */
struct calls {
    FUNCTIONS(MEMBER)
    PROCEDURES(MEMBER_OF_PROCEDURE)
    __typeof__(curl_easy_setopt) *curl_easy_setopt;
    __typeof__(curl_easy_getinfo) *curl_easy_getinfo;
};

static bool find(void *library, const char *name, void *function)
{
    void *found = dlsym(library, name);
    memcpy(function, &found, sizeof found); /* C has no conversion from an object's pointer to a function's */
    return found != NULL;
}

#define FIND(result, name, parameters, arguments, without) &&find(library, #name, &calls->name)
#define FIND_PROCEDURE(name, parameters, arguments) &&find(library, #name, &calls->name)

static bool find_all(void *library, struct calls *calls)
{
    return find(library, "curl_easy_setopt", &calls->curl_easy_setopt) &&
           find(library, "curl_easy_getinfo", &calls->curl_easy_getinfo) FUNCTIONS(FIND) PROCEDURES(FIND_PROCEDURE);
}

/* Loads and finds them. Returns false with the reason. */
static bool load(struct calls *calls, struct error *why)
{
    void *library = dlopen(LIBRARY, RTLD_LAZY | RTLD_LOCAL); /* for good: its threads may outlive its users */
    if (library != NULL && find_all(library, calls))
        return true;
    const char *reason = dlerror();
    error_set(why, "%s", reason == NULL ? "memory is out" : reason);
    if (library != NULL)
        dlclose(library);
    return false;
}

/* A process that cannot load it says so once, whatever it wanted. */
static void say_once(const struct error *why)
{
    static atomic_bool said;
    char words[LOG_QUOTED];
    if (!atomic_exchange(&said, true))
        log_write(LEVEL_ERROR, "msg=cannot_load_libcurl advice=\"" ADVICE "\" reason=%s",
                  log_quote_reason(words, why->text));
}

/* Returns NULL where it cannot be loaded, with the reason where one is wanted. */
static const struct calls *libcurl(struct error *why)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static atomic_bool loaded;
    static struct calls calls;
    struct error reason;
    if (atomic_load(&loaded))
        return &calls;
    pthread_mutex_lock(&lock);
    bool good = atomic_load(&loaded) || load(&calls, &reason);
    atomic_store(&loaded, good);
    pthread_mutex_unlock(&lock);
    if (good)
        return &calls;
    say_once(&reason);
    error_set(why, "libcurl cannot be loaded (%.200s): " ADVICE, reason.text);
    return NULL;
}

bool curl_calls_load(struct error *why)
{
    return libcurl(why) != NULL;
}

void curl_calls_say(struct error *why)
{
    if (libcurl(why) != NULL)
        error_set(why, "cannot set up libcurl: out of memory");
}

/* ---- the functions ---- */

#define DEFINE(result, name, parameters, arguments, without)                                                           \
    result name parameters                                                                                             \
    {                                                                                                                  \
        const struct calls *calls = libcurl(NULL);                                                                     \
        return calls == NULL ? (without) : calls->name arguments;                                                      \
    }
#define DEFINE_PROCEDURE(name, parameters, arguments)                                                                  \
    void name parameters                                                                                               \
    {                                                                                                                  \
        const struct calls *calls = libcurl(NULL);                                                                     \
        if (calls != NULL)                                                                                             \
            calls->name arguments;                                                                                     \
    }

FUNCTIONS(DEFINE)
PROCEDURES(DEFINE_PROCEDURE)

/* The option's number says which type its value has. */
CURLcode curl_easy_setopt(CURL *easy, CURLoption option, ...)
{
    const struct calls *calls = libcurl(NULL);
    va_list list;
    CURLcode code;
    if (calls == NULL)
        return CURLE_FAILED_INIT;
    va_start(list, option);
    bool is_pointer = (int)option >= CURLOPTTYPE_OBJECTPOINT && (int)option < CURLOPTTYPE_OFF_T;
    if (is_pointer || (int)option >= CURLOPTTYPE_BLOB) /* NOLINTNEXTLINE(bugprone-branch-clone): the types differ */
        code = calls->curl_easy_setopt(easy, option, va_arg(list, void *));
    else if ((int)option < CURLOPTTYPE_OBJECTPOINT)
        code = calls->curl_easy_setopt(easy, option, va_arg(list, long));
    else /* the same where a long has 64 bits */
        code = calls->curl_easy_setopt(easy, option, va_arg(list, curl_off_t));
    va_end(list);
    return code;
}

CURLcode curl_easy_getinfo(CURL *easy, CURLINFO info, ...)
{
    const struct calls *calls = libcurl(NULL);
    va_list list;
    if (calls == NULL)
        return CURLE_FAILED_INIT;
    va_start(list, info);
    CURLcode code = calls->curl_easy_getinfo(easy, info, va_arg(list, void *));
    va_end(list);
    return code;
}
