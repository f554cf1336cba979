/* The kinds of calls: see calls.h. The errors are those that the kernel's pages name for what the program does with
 * them, on local disks, quotas and network file systems; not those of wrong arguments. */
#include "tests/faults/calls.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

const struct call calls[FAULT_CALLS] = {
    [FAULT_WRITE] = {"write", {ENOSPC, EIO, EDQUOT, EFBIG, EROFS, FAULT_SHORT, FAULT_KILL}, false},
    [FAULT_READ] = {"read", {EIO, ESTALE}, false},
    [FAULT_SYNC] = {"sync", {EIO, ENOSPC, EDQUOT, FAULT_KILL}, false},
    [FAULT_OPEN] = {"open", {EMFILE, ENFILE, EIO, ENOSPC, EACCES, EROFS, FAULT_KILL}, false},
    [FAULT_CLOSE] = {"close", {EIO, EDQUOT, EINTR, FAULT_KILL}, false},
    [FAULT_RENAME] = {"rename", {EIO, ENOSPC, EROFS, EACCES, FAULT_KILL}, false},
    [FAULT_EXCHANGE] = {"exchange", {EIO, EINVAL, ENOSYS, FAULT_KILL}, false},
    [FAULT_UNLINK] = {"unlink", {EIO, EROFS, EACCES, FAULT_KILL}, false},
    [FAULT_MAKE] = {"make", {ENOSPC, EIO, EDQUOT, EROFS, EACCES, FAULT_KILL}, false},
    [FAULT_ATTRIBUTES] = {"attributes", {EIO, EPERM, EROFS, FAULT_KILL}, false},
    [FAULT_STAT] = {"stat", {EIO, EACCES, ESTALE}, false},
    [FAULT_LIST] = {"list", {EIO}, false},
    [FAULT_SIZE] = {"size", {ENOSPC, EIO, EDQUOT, EFBIG, EOPNOTSUPP, FAULT_KILL}, false},
    [FAULT_MAP] = {"map", {ENOMEM, ENODEV, EAGAIN}, false},
    [FAULT_LOCK] = {"lock", {ENOLCK, EIO, EAGAIN, EINTR, FAULT_KILL}, false},
    [FAULT_MEMORY] = {"memory", {ENOMEM}, true},
    [FAULT_THREAD] = {"thread", {EAGAIN, FAULT_KILL}, false},
    [FAULT_FORK] = {"fork", {EAGAIN, ENOMEM, FAULT_KILL}, false},
    [FAULT_EXECUTE] = {"execute", {ENOMEM, EACCES, FAULT_KILL}, false},
    [FAULT_DESCRIPTOR] = {"descriptor", {EMFILE, ENFILE, ENOMEM}, true},
    [FAULT_WATCH] = {"watch", {ENOMEM, ENOSPC}, false},
    [FAULT_WAIT] = {"wait", {EINTR, ENOMEM}, true},
    [FAULT_SOCKET] = {"socket", {EMFILE, ENFILE, ENOBUFS, ENOMEM, EACCES}, true},
    [FAULT_CONNECT] = {"connect", {ECONNREFUSED, ETIMEDOUT, ENETUNREACH, EADDRNOTAVAIL, FAULT_KILL}, true},
    [FAULT_ACCEPT] = {"accept", {EMFILE, ENFILE, ECONNABORTED, ENOBUFS, ENOMEM, EINTR, FAULT_KILL}, false},
    [FAULT_SEND] = {"send", {EPIPE, ECONNRESET, ENOBUFS, EINTR, FAULT_SHORT, FAULT_KILL}, true},
    [FAULT_RECEIVE] = {"receive", {ECONNRESET, ETIMEDOUT, ENOMEM, EINTR, FAULT_KILL}, true},
    [FAULT_RESOLVE] = {"resolve", {EAGAIN}, false},
};

const char *call_error_name(int error)
{
    if (error == FAULT_KILL)
        return "killed";
    if (error == FAULT_SHORT)
        return "half";
    const char *name = strerrorname_np(error);
    return name == NULL ? "?" : name;
}
