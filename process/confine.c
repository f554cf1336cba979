/* Confining threads: see confine.h. */
#include "process/confine.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#ifdef CLOSECRM_SECCOMP
#include <seccomp.h>
#endif

#include "base/files.h"
#include "base/log.h"
#include "process/confine_private.h"

struct confine {
    const struct config *config;
    struct confine_means means;
    struct sock_fprog request, job; /* filters of calls; without a length: none */
    _Atomic int ruleset;            /* of Landlock; -1: none yet */
    bool had_directory;             /* there was a state directory when it was made, with this device and inode */
    dev_t device;
    ino_t inode;
    atomic_bool failed;            /* and said so */
    _Atomic(struct aside *) aside; /* NULL: not started, and nothing is confined */
};

/* What the calling thread has undergone already. */
static _Thread_local bool is_filtered, is_restricted;

/* ---- seccomp ---- */

#ifdef CLOSECRM_SECCOMP

/* What is refused, and how: a thread that cannot be started is nothing new to any caller. Names that a processor or an
 * older libseccomp does not know are left out. */
static const struct refusal {
    int error;
    bool of_jobs; /* refused to jobs aside, too */
    const char *names[60];
} refusals[] = {
    {EPERM, true, {"execve", "execveat"}},
    {EPERM,
     true,
     {"kill", "tkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo", "ptrace", "process_vm_readv", "process_vm_writev",
      "process_madvise", "kcmp", "pidfd_open", "pidfd_getfd", "pidfd_send_signal"}},
    {EPERM, true, {"setuid",   "setuid32",   "setgid",    "setgid32",    "setreuid",  "setreuid32",
                   "setregid", "setregid32", "setresuid", "setresuid32", "setresgid", "setresgid32",
                   "setfsuid", "setfsuid32", "setfsgid",  "setfsgid32",  "setgroups", "setgroups32",
                   "capset",   "setns",      "unshare",   "personality"}},
    {EPERM,
     true,
     {"mount", "umount", "umount2", "pivot_root", "chroot", "fsopen", "fsconfig", "fsmount", "fspick", "move_mount",
      "open_tree", "mount_setattr", "open_by_handle_at", "swapon", "swapoff", "quotactl", "quotactl_fd",
      "fanotify_init"}},
    {EPERM,
     true,
     {"init_module",
      "finit_module",
      "delete_module",
      "create_module",
      "kexec_load",
      "kexec_file_load",
      "reboot",
      "bpf",
      "perf_event_open",
      "userfaultfd",
      "io_uring_setup",
      "io_uring_enter",
      "io_uring_register",
      "add_key",
      "request_key",
      "keyctl",
      "acct",
      "syslog",
      "iopl",
      "ioperm",
      "modify_ldt",
      "vm86",
      "vm86old",
      "uselib",
      "nfsservctl",
      "lookup_dcookie",
      "vhangup",
      "settimeofday",
      "clock_settime",
      "clock_settime64",
      "adjtimex",
      "clock_adjtime",
      "clock_adjtime64",
      "stime",
      "sethostname",
      "setdomainname"}},
    {EPERM, false, {"socket", "socketpair", "connect", "bind", "listen"}},
    {EAGAIN, false, {"clone", "clone3", "fork", "vfork"}},
};

static bool add_refusal(scmp_filter_ctx filter, const struct refusal *refusal)
{
    for (size_t i = 0; i < sizeof refusal->names / sizeof *refusal->names && refusal->names[i] != NULL; i++) {
        int call = seccomp_syscall_resolve_name(refusal->names[i]);
        if (call != __NR_SCMP_ERROR && seccomp_rule_add(filter, SCMP_ACT_ERRNO((uint32_t)refusal->error), call, 0) != 0)
            return false;
    }
    return true;
}

/* Compiles a filter into memory that program gets. The pipe holds the longest that the kernel takes: 32 KiB. */
static bool export_filter(scmp_filter_ctx filter, struct sock_fprog *program)
{
    int ends[2];
    size_t most = BPF_MAXINSNS * sizeof(struct sock_filter);
    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0)
        return false;
    bool good = seccomp_export_bpf(filter, ends[1]) == 0;
    close(ends[1]);
    program->filter = good ? malloc(most) : NULL;
    ssize_t n = program->filter == NULL ? -1 : read(ends[0], program->filter, most);
    close(ends[0]);
    program->len = n > 0 ? (unsigned short)((size_t)n / sizeof(struct sock_filter)) : 0;
    return n > 0;
}

/* Makes the filter of request threads, or of jobs aside. */
static bool make_filter(struct sock_fprog *program, bool of_jobs)
{
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
    bool good =
        filter != NULL && seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_ERRNO((uint32_t)EPERM)) == 0;
    for (size_t i = 0; good && i < sizeof refusals / sizeof *refusals; i++)
        good = (of_jobs && !refusals[i].of_jobs) || add_refusal(filter, &refusals[i]);
    good = good && export_filter(filter, program);
    if (filter != NULL)
        seccomp_release(filter);
    return good;
}

static bool has_seccomp(void)
{
    uint32_t action = SECCOMP_RET_ERRNO;
    return syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) == 0;
}

#else

static bool make_filter(struct sock_fprog *program, bool of_jobs)
{
    (void)program, (void)of_jobs;
    return false;
}

static bool has_seccomp(void)
{
    return false;
}

#endif

/* Filters the calling thread's calls. Without the flag older kernels would also slow the thread down, against reading
 * another's memory by guessed branches: there is nothing of another in this process. */
static bool apply_filter(struct sock_fprog *program)
{
    if (program->len == 0)
        return true;
    return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_SPEC_ALLOW, program) == 0 ||
           (errno == EINVAL && syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, program) == 0);
}

/* ---- Landlock, as its header of the kernel says it, which older systems lack. The numbers are the same on every
 * processor. ---- */

#define CALL_CREATE_RULESET 444
#define CALL_ADD_RULE 445
#define CALL_RESTRICT_SELF 446
#define ASK_VERSION 1U
#define RULE_PATH_BENEATH 1

struct ruleset_attributes {
    uint64_t files, network, scoped; /* what is refused unless a rule allows it */
};

struct rule_path_beneath {
    uint64_t allowed;
    int32_t parent;
} __attribute__((packed));

/* Rights on files, by the version that brought them. */
#define RIGHT_EXECUTE (UINT64_C(1) << 0)
#define RIGHT_MAKE_DEVICE_OR_SOCKET (UINT64_C(1) << 6 | UINT64_C(1) << 9 | UINT64_C(1) << 11)
#define RIGHTS_1 ((UINT64_C(1) << 13) - 1)
#define RIGHT_REFER_2 (UINT64_C(1) << 13)
#define RIGHT_TRUNCATE_3 (UINT64_C(1) << 14)
#define RIGHT_DEVICE_5 (UINT64_C(1) << 15)
#define RIGHTS_NETWORK_4 UINT64_C(3)         /* TCP: to bind, to connect */
#define SCOPED_ABSTRACT_SOCKET_6 UINT64_C(1) /* abstract Unix sockets of others */

/* What to refuse, and the size of that in this version. */
static size_t attributes_of(int version, struct ruleset_attributes *attributes)
{
    *attributes = (struct ruleset_attributes){.files = RIGHTS_1};
    attributes->files |= (version >= 2 ? RIGHT_REFER_2 : 0) | (version >= 3 ? RIGHT_TRUNCATE_3 : 0);
    attributes->files |= version >= 5 ? RIGHT_DEVICE_5 : 0;
    attributes->network = version >= 4 ? RIGHTS_NETWORK_4 : 0;
    attributes->scoped = version >= 6 ? SCOPED_ABSTRACT_SOCKET_6 : 0;
    return sizeof(uint64_t) * (version >= 6 ? 3 : version >= 4 ? 2 : 1);
}

static int landlock_version(void)
{
    long version = syscall(CALL_CREATE_RULESET, NULL, 0, ASK_VERSION);
    return version > 0 ? (int)version : 0;
}

/* Allows what is below a folder, if it is there. status: the folder's (NULL: not wanted). */
static bool allow_below(int ruleset, const char *path, uint64_t allowed, struct stat *status)
{
    struct rule_path_beneath rule = {.allowed = allowed, .parent = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC)};
    if (rule.parent < 0)
        return false;
    bool good = syscall(CALL_ADD_RULE, ruleset, RULE_PATH_BENEATH, &rule, 0) == 0 &&
                (status == NULL || fstat(rule.parent, status) == 0);
    close(rule.parent);
    return good;
}

/* Folders of the state directory that webhooks need may be symbolic links. */
static void allow_linked(int ruleset, const char *state_dir, uint64_t allowed)
{
    static const char *const names[] = {"keys", "signed", "used"};
    char path[FILES_PATH];
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (snprintf(path, sizeof path, "%s/%s", state_dir, names[i]) < (int)sizeof path)
            allow_below(ruleset, path, allowed, NULL);
    }
}

void confine_to_state(struct confine *confine)
{
    struct ruleset_attributes attributes;
    struct stat status;
    if (confine == NULL || confine->means.landlock == 0 || atomic_load(&confine->ruleset) >= 0)
        return;
    size_t size = attributes_of(confine->means.landlock, &attributes);
    int ruleset = (int)syscall(CALL_CREATE_RULESET, &attributes, size, 0);
    if (ruleset < 0) {
        log_write(LEVEL_WARN, "msg=not_confined to=state_dir reason=\"%s\"", strerror(errno));
        return;
    }
    const char *state_dir = confine->config->state_dir;
    uint64_t allowed = attributes.files & ~(RIGHT_EXECUTE | RIGHT_MAKE_DEVICE_OR_SOCKET | RIGHT_DEVICE_5);
    confine->had_directory = state_dir != NULL && allow_below(ruleset, state_dir, allowed, &status);
    if (confine->had_directory) {
        confine->device = status.st_dev;
        confine->inode = status.st_ino;
        allow_linked(ruleset, state_dir, allowed);
    }
    atomic_store(&confine->ruleset, ruleset);
}

/* The kernel keeps the inode for as long as the rule stands: no other directory gets its number. A directory that is
 * gone may come back. */
bool confine_is_stale(struct confine *confine)
{
    struct stat now;
    if (confine == NULL || atomic_load(&confine->ruleset) < 0 || confine->config->state_dir == NULL ||
        stat(confine->config->state_dir, &now) != 0)
        return false;
    return !confine->had_directory || now.st_dev != confine->device || now.st_ino != confine->inode;
}

/* ---- threads ---- */

/* A thread that could not be confined serves all the same. */
static void note_result(struct confine *confine, bool good)
{
    if (!good && !atomic_exchange(&confine->failed, true))
        log_write(LEVEL_WARN, "msg=not_confined to=a_thread reason=\"%s\"", strerror(errno));
}

/* Without new privileges by setuid programs: else only root may confine. */
static bool give_up_privileges(void)
{
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0;
}

void confine_thread(void *context)
{
    struct confine *confine = context;
    if (confine == NULL || atomic_load(&confine->aside) == NULL)
        return;
    if (!is_filtered) {
        is_filtered = true;
        note_result(confine, give_up_privileges() && apply_filter(&confine->request));
    }
    int ruleset = is_restricted ? -1 : atomic_load(&confine->ruleset);
    if (ruleset >= 0) {
        is_restricted = true;
        note_result(confine, give_up_privileges() && syscall(CALL_RESTRICT_SELF, ruleset, 0) == 0);
    }
}

static void confine_job(void *context)
{
    struct confine *confine = context;
    note_result(confine, give_up_privileges() && apply_filter(&confine->job));
}

void confine_aside(void *context, void (*job)(void *argument), void *argument)
{
    struct confine *confine = context;
    struct aside *aside = confine == NULL ? NULL : atomic_load(&confine->aside);
    if (aside == NULL)
        job(argument);
    else
        aside_run(aside, job, argument);
}

/* ---- the process ---- */

struct confine_means confine_means(void)
{
    return (struct confine_means){.seccomp = has_seccomp(), .landlock = landlock_version()};
}

bool confine_is_wanted(const struct config *config)
{
    const char *started = getenv("SYSTEMD_EXEC_PID");
    if (config->confine != CONFINE_AUTO)
        return config->confine == CONFINE_YES;
    /* Children of a web server that systemd has started inherit it. */
    return started != NULL && strtol(started, NULL, 10) == (long)getpid();
}

void confine_say(const struct config *config, struct confine_means means, char words[static CONFINE_WORDS])
{
    static const char *const asked[] = {[CONFINE_AUTO] = "auto", [CONFINE_YES] = "yes", [CONFINE_NO] = "no"};
    const char *where = config->confine == CONFINE_AUTO ? " where systemd starts the program itself" : "";
    int n = snprintf(words, CONFINE_WORDS, "confine = %s: ", asked[config->confine]);
    size_t left = CONFINE_WORDS - (size_t)n;
    words += n;
    if (config->confine == CONFINE_NO)
        snprintf(words, left, "what reads requests may do all that the program may");
    else if (!means.seccomp && means.landlock == 0)
        snprintf(words, left, "nothing is confined, for there is neither seccomp nor Landlock here");
    else
        snprintf(words, left, "what reads requests is confined%s: %s, %s%.0d", where,
                 means.seccomp ? "by seccomp" : "there is no seccomp",
                 means.landlock > 0 ? "by Landlock, version " : "there is no Landlock", means.landlock);
}

static void log_missing(const struct confine *confine, const char *to, const char *reason)
{
    log_write(confine->config->confine == CONFINE_YES ? LEVEL_WARN : LEVEL_INFO, "msg=not_confined to=%s reason=\"%s\"",
              to, reason);
}

struct confine *confine_open(const struct config *config)
{
    struct confine *confine = confine_is_wanted(config) ? calloc(1, sizeof *confine) : NULL;
    if (confine == NULL)
        return NULL;
    confine->config = config;
    confine->means = confine_means();
    atomic_init(&confine->ruleset, -1);
    confine->means.seccomp =
        confine->means.seccomp && make_filter(&confine->request, false) && make_filter(&confine->job, true);
    tzset(); /* reads what a confined thread cannot read */
    if (confine->means.seccomp || confine->means.landlock > 0)
        return confine;
    log_missing(confine, "anything", "there is neither seccomp nor Landlock here");
    confine_close(confine);
    return NULL;
}

void confine_start(struct confine *confine)
{
    if (confine == NULL)
        return;
    struct aside *aside = aside_start(confine_job, confine);
    if (aside == NULL) {
        log_missing(confine, "anything", "no thread can be started for what requests may not do themselves");
        return;
    }
    if (!confine->means.seccomp)
        log_missing(confine, "few_calls", "there is no seccomp here");
    if (confine->means.landlock == 0)
        log_missing(confine, "state_dir", "there is no Landlock here");
    log_write(LEVEL_INFO, "msg=confines_request_threads seccomp=%s landlock=%d", confine->means.seccomp ? "yes" : "no",
              confine->means.landlock);
    atomic_store(&confine->aside, aside);
}

void confine_close(struct confine *confine)
{
    if (confine == NULL)
        return;
    if (atomic_load(&confine->aside) != NULL)
        aside_stop(atomic_load(&confine->aside));
    if (atomic_load(&confine->ruleset) >= 0)
        close(atomic_load(&confine->ruleset));
    free(confine->request.filter);
    free(confine->job.filter);
    free(confine);
}
