"""The same systemd in a container (systemd-nspawn) instead of a guest: seconds instead of minutes, for whoever works on the
tests. It has this machine's kernel, and what a container may not do is closed anyway: what counts is the guest."""
import os
import pathlib
import shutil
import subprocess
import sys

import guest as machine

MARK = "CONTAINER_INSIDE"


def enter():
    """Starts this program anew in a network and with mounts of its own: both sides are at 127.0.0.1."""
    if MARK in os.environ:
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        return
    os.environ[MARK] = "1"
    os.execvp("unshare", ["unshare", "--net", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child",
                          "--mount-proc", sys.executable, *sys.argv])


class Container(machine.Guest):
    def __init__(self, name, payload, log):
        self.log, self.patience, self.ports = log, 3, {80: 80, 9000: 9000}
        tree = pathlib.Path(f"{log}.tree")
        shutil.rmtree(tree, ignore_errors=True)
        for folder in ("upper", "work", "root"):
            (tree / folder).mkdir(parents=True)
        subprocess.run(["mount", "-t", "overlay", "overlay", "-o", f"lowerdir={machine.TREE}/build/chroots/{name},upperdir={tree}/upper,"
                        f"workdir={tree}/work", tree / "root"], check=True)
        for path, source in payload.items():
            target = tree / "root" / path.lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)
        self.process = subprocess.Popen(["systemd-nspawn", "--register=no", "--keep-unit", "-q", "-D", tree / "root", "--boot",
                                         "--console=read-only"], stdin=subprocess.DEVNULL, stdout=open(log, "wb"),
                                        stderr=subprocess.STDOUT, env={**os.environ, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"})
