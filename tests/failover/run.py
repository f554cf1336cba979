"""What `make test-failover` runs: three machines with PostgreSQL, Patroni and etcd as packaging/postgresql has them, three
with lighttpd and the program, signed load without pause, and faults, one after the other. In the end each event that was
answered 200 must have been delivered, unaltered, once, in its lead's order. Fails when not, and when service does not come
back.

  CUTS=2                      how many faults of each kind, instead of those in KINDS
  CUTS="primary=3 web=1"      only these
  SEED=...  KEEP=1            which machines are hit; the logs stay
  CLOSECRM_PROGRAM=PATH       another program than build/release/closecrm.fcgi"""
import base64
import json
import os
import pathlib
import random
import secrets
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
INSIDE = "FAILOVER_INSIDE"
KINDS = {"primary": 10, "machine": 5, "stopped": 5, "unplugged": 3, "web": 5, "standby": 3, "etcd": 2, "switchover": 3,
         "cancelled": 3}
STOPPED_SECONDS = 25  # longer than it takes another one to take over
ETCD_SECONDS = 45
WHOLE_SECONDS = 150  # until all machines are well again
DRAIN_SECONDS = 180


def install(venv):
    """While there is a network."""
    subprocess.run(["/usr/bin/python3", "-m", "venv", venv], check=True, timeout=120)
    subprocess.run([venv / "bin/pip", "install", "-q", "--disable-pip-version-check", "-r", HERE / "requirements.txt"], check=True,
                   timeout=600)


def enter():
    """Into name spaces of its own: with the first process in it all others end. The shell there reaps what is orphaned."""
    if os.geteuid() != 0:
        sys.exit("test-failover: only root can make networks")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    place = pathlib.Path(tempfile.mkdtemp(prefix="failover-"))
    place.chmod(0o755)
    try:
        install(place / "venv")
        sys.exit(subprocess.run(["unshare", "--net", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child",
                                 "--mount-proc", "sh", "-c", '"$@"; exit $?', "sh", sys.executable, *sys.argv],
                                env={**os.environ, INSIDE: str(place)}).returncode)
    finally:
        if not os.environ.get("KEEP"):
            shutil.rmtree(place, ignore_errors=True)


if __name__ == "__main__" and INSIDE not in os.environ:
    enter()

from load import SENDERS, Book, Plane, Sender  # noqa: E402
from machines import Certificates, DatabaseMachine, SAMPLES, WebMachine, make_network, run  # noqa: E402


def say(text):
    print(text, flush=True)


def await_that(what, seconds, condition, every=0.2):
    """Waits until the condition is true, and gives what it gave."""
    until = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > until:
            raise RuntimeError(f"within {seconds} s it did not come to this: {what}")
        time.sleep(every)


class World:
    def __init__(self, place, seed):
        self.place, self.seed, self.pick = place, seed, random.Random(seed)
        self.passwords = {name: secrets.token_hex(12) for name in ("restapi", "superuser", "replication", "rewind", "closecrm")}
        self.book, self.over, self.rows, self.wrong = Book(), threading.Event(), {}, []
        self.databases, self.webs, self.senders = [], [], []

    # ---- up ----

    def prepare(self):
        venv = self.place / "venv"
        certificates = Certificates(self.place / "certificates")
        program = self.place / "closecrm.fcgi"
        shutil.copy(os.environ["CLOSECRM_PROGRAM"], program)
        program.chmod(0o755)
        make_network()
        self.book_plane = Plane(self.book)
        self.databases = [DatabaseMachine(number, self.place, self.passwords, certificates, venv) for number in (1, 2, 3)]
        keys = {"data_plane_url": f"http://10.0.0.1:{self.book_plane.port}", "write_key": "failover", "queue": "postgresql",
                "signature_key": secrets.token_hex(32), "queue_url":
                f"postgresql://closecrm:{self.passwords['closecrm']}@10.0.0.11,10.0.0.12,10.0.0.13/closecrm"}
        self.key = keys["signature_key"]
        self.webs = [WebMachine(number, self.place, keys, certificates, program) for number in (1, 2, 3)]

    def begin(self):
        for machine in self.databases:
            machine.start()
        self.await_whole()
        self.await_primary().sql(["-f", SAMPLES / "closecrm.sql"], password=self.passwords["closecrm"])
        for machine in self.webs:
            machine.start()
        for number in range(SENDERS):
            sender = Sender(number, [web.address for web in self.webs], self.key, self.book, self.over, self.seed)
            self.senders.append(sender)
            sender.start()
        await_that("events are answered 200 and delivered", 60, lambda: self.book.successes and self.book.arrived)

    # ---- the cluster ----

    def members(self):
        for machine in self.databases:
            found = machine.get("/cluster")
            if found is not None:
                return found["members"]
        return []

    def primary(self):
        names = {one["name"] for one in self.members() if one["role"] == "leader" and one["state"] == "running"}
        found = [machine for machine in self.databases if machine.name in names]
        return found[0] if len(found) == 1 else None

    def await_primary(self):
        return await_that("a primary", WHOLE_SECONDS, self.primary)

    def timeline(self):
        return max((one.get("timeline") or 0 for one in self.members()), default=0)

    def is_whole(self):
        members = self.members()
        return len(members) == 3 and self.primary() is not None and \
            sum(one["role"] in ("quorum_standby", "sync_standby") and one["state"] == "streaming" for one in members) == 2

    def await_whole(self):
        await_that("a primary and two standbys that it waits for", WHOLE_SECONDS, self.is_whole)

    def others(self, but):
        return [machine for machine in self.databases if machine is not but]

    def owner(self):
        """The web machine that forwards."""
        address = self.await_primary().sql(["-c", "SELECT host(client_addr) FROM pg_stat_activity WHERE application_name LIKE "
                                            "'closecrm % forwards' AND pid IN (SELECT pid FROM pg_locks WHERE "
                                            "locktype = 'advisory' AND granted) LIMIT 1"])
        return next((web for web in self.webs if web.address == address), None)

    # ---- faults: each leaves all machines running ----

    def fault_primary(self):
        before = self.timeline()
        self.await_primary().signal(signal.SIGKILL, "postgres")
        await_that("a new timeline", 90, lambda: self.timeline() > before)

    def fault_machine(self):
        machine = self.await_primary()
        machine.die()
        await_that("another primary", 90, lambda: self.primary() not in (None, machine))
        time.sleep(self.pick.uniform(0, 5))
        machine.live()

    def fault_stopped(self):
        machine = self.await_primary()
        machine.signal(signal.SIGSTOP)
        time.sleep(STOPPED_SECONDS)
        machine.signal(signal.SIGCONT)

    def fault_unplugged(self):
        machine = self.await_primary()
        machine.unplug()
        time.sleep(STOPPED_SECONDS)
        machine.plug()

    def fault_web(self):
        machine = self.owner() if self.pick.random() < 0.6 else None
        machine = machine or self.pick.choice(self.webs)
        machine.die()
        time.sleep(self.pick.uniform(5, 10))
        machine.live()

    def fault_standby(self):
        machine = self.pick.choice(self.others(self.await_primary()))
        machine.die()
        time.sleep(15)
        machine.live()

    def fault_etcd(self):
        for machine in self.databases:
            machine.signal(signal.SIGSTOP, "etcd")
        time.sleep(ETCD_SECONDS)
        for machine in self.databases:
            machine.signal(signal.SIGCONT, "etcd")

    def fault_switchover(self):
        machine = self.await_primary()
        secret = base64.b64encode(f"patroni:{self.passwords['restapi']}".encode()).decode()
        wanted = json.dumps({"leader": machine.name, "candidate": self.pick.choice(self.others(machine)).name}).encode()
        request = urllib.request.Request(f"http://{machine.address}:8008/switchover", wanted, {
            "Content-Type": "application/json", "Authorization": f"Basic {secret}"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            answer.read()

    def fault_cancelled(self):
        """Commits that wait for a standby are cancelled, which makes them good on the primary alone; then it dies. Patroni
        stands still meanwhile, so that it does not see the standbys go."""
        machine = self.await_primary()
        for each in self.databases:
            each.signal(signal.SIGSTOP, "patroni")
        for each in self.others(machine):
            each.signal(signal.SIGKILL, "postgres")
        until = time.monotonic() + 2
        while time.monotonic() < until:
            how = self.pick.choice(["pg_cancel_backend", "pg_terminate_backend"])
            machine.sql(["-c", f"SELECT {how}(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"])
        machine.die()
        for each in self.others(machine):
            each.signal(signal.SIGCONT, "patroni")
        await_that("another primary", 90, lambda: self.primary() not in (None, machine))
        machine.live()

    def fault(self, kind):
        time.sleep(self.pick.uniform(2, 4))
        began = time.monotonic()
        mark = [kind, began, began + 3600]
        self.book.faults.append(mark)
        getattr(self, f"fault_{kind}")()
        over = time.monotonic()
        time.sleep(1)
        self.await_whole()
        await_that("events are answered 200 again", 60, lambda: self.book.successes[-1] > over)
        await_that("events are delivered again", 60, lambda: self.book.deliveries[-1] > over)
        mark[2] = time.monotonic()
        gap = self.book.gap(self.book.successes, began, mark[2])
        silence = self.book.gap(self.book.deliveries, began, mark[2])
        self.rows.setdefault(kind, []).append((gap, silence, mark[2] - began))
        say(f"{kind:11} no 200 for {gap:5.1f} s, nothing delivered for {silence:5.1f} s, all well after {mark[2] - began:5.1f} s; "
            f"{len(self.book.accepted)} events answered 200, {len(self.book.arrived)} delivered")

    # ---- the end ----

    def judge(self):
        self.over.set()
        for sender in self.senders:
            sender.join(30)
        try:
            await_that("all is delivered", DRAIN_SECONDS, lambda: not self.book.missing())
            await_that("nothing waits", 30, lambda: self.status()["waiting"] == 0, 1)
        except RuntimeError as late:
            self.wrong.append(str(late))
        self.wrong += self.book.judge()
        status = self.status()
        for name, wanted in (("waiting", 0), ("dead", 0), ("lost", 0), ("delivered", len(self.book.arrived))):
            if status[name] != wanted:
                self.wrong.append(f"queue status: {name} is {status[name]}, not {wanted}")
        code, printed = self.webs[0].closecrm("queue", "check")
        if code != 0:
            self.wrong.append(f"queue check: {printed[-500:]}")
        code, printed = self.webs[0].closecrm("check")
        if "connected: " not in printed or printed.count("(quorum, streaming)") != 2:
            self.wrong.append(f"check does not tell of two standbys: {printed[-2000:]}")
        named = self.primary().sql(["-c", "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'Patroni heartbeat'"])
        if named.strip() != "1" or "wait for a quorum" in printed or "Patroni is older" in printed:
            self.wrong.append(f"check does not know this Patroni, of which {named.strip()} session is called so: {printed[-2000:]}")

    def status(self):
        code, printed = self.webs[0].closecrm("queue", "status", "--json")
        if code != 0:
            raise RuntimeError(f"queue status: {printed[-500:]}")
        return json.loads(printed.splitlines()[-1])

    def end(self):
        self.over.set()
        for machine in self.databases + self.webs:
            machine.signal(signal.SIGKILL)

    def table(self):
        say(f"\n{'':11} {'times':>5} {'no 200 for, s':>24} {'nothing delivered for, s':>25} {'all well after, s':>18}")
        for kind, figures in self.rows.items():
            cells = [f"{min(one):.1f}-{max(one):.1f}, median {statistics.median(one):.1f}" for one in zip(*figures)]
            say(f"{kind:11} {len(figures):5} {cells[0]:>24} {cells[1]:>25} {cells[2]:>18}")
        say(f"{len(self.book.accepted)} events answered 200, {len(self.book.arrived)} delivered, {len(self.book.repeats)} of them again "
            f"around faults; answers: {dict(self.book.answers)} (0: none)")


def counts():
    text = os.environ.get("CUTS") or ""
    if not text:
        return KINDS
    if text.isdigit():
        return {kind: int(text) for kind in KINDS}
    chosen = {kind: int(count) for kind, _, count in (one.partition("=") for one in text.split())}
    unknown = set(chosen) - set(KINDS)
    if unknown:
        sys.exit(f"test-failover: CUTS: {', '.join(unknown)}? There are {', '.join(KINDS)}")
    return chosen


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    seed = int(os.environ.get("SEED") or random.randrange(1 << 30))
    order = [kind for kind, count in counts().items() for _ in range(count)]
    random.Random(seed).shuffle(order)
    place = pathlib.Path(os.environ[INSIDE])
    world = World(place, seed)
    say(f"seed {seed}, {len(order)} faults; in {place}")
    try:
        world.prepare()
        world.begin()
        for kind in order:
            world.fault(kind)
        world.judge()
    except (RuntimeError, OSError) as fault:
        world.wrong.append(str(fault))
    finally:
        world.end()
        if world.wrong:
            say("\n".join(machine.log() for machine in world.databases + world.webs))
    world.table()
    for text in world.wrong:
        say(f"WRONG: {text}")
    sys.exit(1 if world.wrong else 0)


if __name__ == "__main__":
    main()
