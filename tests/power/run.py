#!/usr/bin/python3
"""Power cuts: the program under load in a guest, behind real web servers, on a disk that keeps of what was not flushed
nothing, some, or pieces (disk.py). After each start all that was answered 200 must be there. Run by `make test-power`.

CUTS=50: how many, spread over the ways below. SEED=N: the same choices again (not the same moments). ONLY=TEXT: the ways
whose name has it. CLOSECRM_PROGRAM: another program than this tree's."""
import hashlib
import io
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import tarfile
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "guest")]
import guest as machine  # noqa: E402
from world import World  # noqa: E402

OUT = machine.TREE / "build/power"
DISK = 512 << 20
PAYLOAD = 16 << 20
LANES = 4
CUTS_EACH = 4  # a trial: a fresh disk, and so many cuts
PACKAGES = ["lighttpd", "spawn-fcgi", "apache2", "libapache2-mod-fcgid", "linux-image-amd64", "xfsprogs", "btrfs-progs",
            "e2fsprogs", "quota", "kmod", "busybox-static", "iproute2", "procps", "ca-certificates", "libfcgi0ldbl",
            "libjson-c5", "libcurl4", "libinih1", "libisal2", "libuuid1", "libsqlite3-0", "libnettle8", "libseccomp2"]

# File system, journal mode of the queue, web server, and what else is scarce.
WAYS = ["ext4 wal spawn", "xfs truncate lighttpd", "ext4 truncate spawn", "xfs wal lighttpd", "btrfs truncate spawn",
        "ext4 wal fcgid", "xfs truncate fcgid", "ext4 wal lighttpd full", "xfs wal spawn quota", "ext4 truncate fcgid quota",
        "btrfs truncate lighttpd full", "xfs wal fcgid"]

MAKE = {"ext4": "mkfs.ext4 -q -O quota /dev/vdb", "xfs": "mkfs.xfs -q /dev/vdb", "btrfs": "mkfs.btrfs -q -f /dev/vdb"}
OPTIONS = {"ext4": "usrquota", "xfs": "uquota", "btrfs": "defaults"}
SERVERS = {
    "spawn": "spawn-fcgi -s /run/closecrm/closecrm.sock -u www-data -g www-data -- /usr/lib/closecrm/closecrm.fcgi && "
             "lighttpd -f /guest/lighttpd.conf",
    "lighttpd": "lighttpd -f /guest/lighttpd.conf",
    "fcgid": "apache2 -f /guest/apache.conf",
}
CLI = "CLOSECRM_CONFIG=/etc/closecrm.conf /usr/lib/closecrm/closecrm.fcgi"


def say(text):
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


class Disk:
    def __init__(self, seed):
        self.path = OUT / "disk.sock"
        self.process = subprocess.Popen([sys.executable, HERE / "disk.py", OUT / "disk", str(DISK), self.path, str(seed)],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.process.stdout.readline()

    def ask(self, command):
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def end(self):
        self.process.kill()
        self.process.wait()


def drives():
    return [f"file=nbd+unix:///?socket={OUT}/disk.sock,format=raw,if=virtio,cache=none",
            f"file={OUT}/payload,format=raw,if=virtio,readonly=on"]


# ---- what the guest has ----

def sample(path, server):
    """The sample of a web server, as its own first lines say to change it."""
    text = (machine.TREE / path).read_text()
    if server == "lighttpd":
        text = "".join(line for line in text.splitlines(True) if "# https only" not in line)
    return text


def write_payload(program, way, world):
    """A tar, as the guest's third disk, which it unpacks over its root."""
    server = way.split()[2]
    files = {
        "usr/lib/closecrm/closecrm.fcgi": (pathlib.Path(program).read_bytes(), 0o755),
        "guest/lighttpd.conf": ((HERE / "lighttpd.conf").read_bytes(), 0o644),
        "guest/apache.conf": ((HERE / "apache.conf").read_bytes(), 0o644),
        "guest/closecrm-lighttpd.conf": (sample("lighttpd/fastcgi.conf" if server == "lighttpd" else
                                                "lighttpd/spawn-fcgi.conf", "lighttpd").encode(), 0o644),
        "guest/closecrm-apache.conf": (sample("apache/fcgid.conf", "apache").encode(), 0o644),
        "guest/no_wal.so": ((OUT / "no_wal.so").read_bytes(), 0o755),
        "etc/closecrm.conf": (f"data_plane_url = http://10.0.2.2:{world.plane.port}\nwrite_key = key\n"
                              f"close_api_key = api_1\nclose_api_url = http://10.0.2.2:{world.close.port}/api/v1\n"
                              f"state_dir = /data/state\nreconcile_interval = 10s\nlanes = {LANES}\n"
                              f"batch_events = 40\n".encode(), 0o600),
    }
    with tarfile.open(OUT / "payload", "w") as tar:
        for name, (data, mode) in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(data), mode
            tar.addfile(info, io.BytesIO(data))
    os.truncate(OUT / "payload", PAYLOAD)


def prepare():
    """The guest as it is before its disk is mounted; each start of a trial goes on from here."""
    OUT.mkdir(parents=True, exist_ok=True)
    machine.make_image("power", "bookworm", PACKAGES)
    subprocess.run(["gcc", "-O1", "-shared", "-fPIC", "-Wall", "-Werror", "-o", OUT / "no_wal.so", HERE / "no_wal.c"],
                   check=True)
    initrd, stamp = OUT / "initrd", OUT / "state.of"
    what = hashlib.sha256(b"".join(path.read_bytes() for path in (
        machine.HERE / "boot", machine.HERE / "init", machine.HERE / "guest.py", machine.IMAGES / "power.packages",
        pathlib.Path("/usr/bin/qemu-system-x86_64")))).hexdigest()
    before = stamp.read_text().split() if stamp.exists() else []
    if before[:1] == [what] and (OUT / "state").exists():
        kvm = before[1] == "kvm"
    else:
        stamp.unlink(missing_ok=True)
        machine.make_initrd("power", initrd, {"/guest/init": machine.HERE / "init"})
        kvm = machine.kvm_works("power", initrd)
        boot(initrd, kvm)
        stamp.write_text(f"{what} {'kvm' if kvm else 'emulated'}")
    say("the guest runs with KVM" if kvm else "there is no KVM for a stock kernel here: the guest is emulated, and slow")
    return initrd, kvm


def boot(initrd, kvm):
    with open(OUT / "payload", "wb") as file:
        file.truncate(PAYLOAD)
    one = machine.Guest("power", initrd, OUT / "boot.log", ports=[80], disks=drives(), kvm=kvm)
    status, _ = one.run("sync; blockdev --flushbufs /dev/vdb; blockdev --flushbufs /dev/vdc; echo 3 >/proc/sys/vm/drop_caches",
                        120)
    if status != 0:
        one.cut()
        sys.exit(f"the guest does not boot: {OUT}/boot.log")
    one.save(OUT / "state")


# ---- a trial ----

class Trial:
    def __init__(self, number, way, rng, disk, boot, program):
        self.number, self.way, self.random, self.disk, self.boot = number, way, rng, disk, boot
        self.files, self.mode, self.server, *self.scarce = way.split()
        self.world = World(rng.random(), number)
        self.log = OUT / f"trial-{number}.log"
        self.log.write_bytes(b"")
        self.cuts = self.starts = 0
        self.found = []
        self.dead, self.dropped = set(), set()
        self.stop_reason = None
        self.guest = None
        write_payload(program, way, self.world)
        disk.ask("new")

    def wrong(self, text):
        say(f"WRONG, trial {self.number} ({self.way}), after cut {self.cuts}: {text}")
        self.found.append(f"trial {self.number} ({self.way}), after cut {self.cuts}: {text}")

    # ---- starting ----

    def script(self):
        lines = ["set -e", f"busybox date -s @{int(self.world.close.now())} >/dev/null", "busybox tar -C / -xf /dev/vdc",
                 "chown www-data:www-data /etc/closecrm.conf; chmod 666 /dev/ttyS0; mkdir -p /data"]
        if self.starts == 1:
            lines.append(MAKE[self.files])
        lines.append(f"mount -t {self.files} -o {OPTIONS[self.files]} /dev/vdb /data")
        if self.starts == 1:
            lines += ["mkdir /data/state", "chown www-data:www-data /data/state", "chmod 700 /data/state",
                      "sync"]  # the administrator's work
        lines += ["rm -f /data/ballast"]
        if "quota" in self.scarce:
            lines.append("setquota -u www-data 0 0 0 0 /data")
        if self.mode == "truncate" and self.files != "btrfs":
            lines.append("echo /guest/no_wal.so >/etc/ld.so.preload")
        lines += ["mkdir -p /run/closecrm /run/lighttpd /run/fcgid", "chown www-data:www-data /run/closecrm /run/lighttpd /run/fcgid",
                  f"({SERVERS[self.server]}) </dev/null >/dev/ttyS0 2>&1",
                  f"(while sleep 15; do {CLI} cron --seconds 10; done) </dev/null >/dev/ttyS0 2>&1 &"]
        return "\n".join(lines)

    def start(self):
        initrd, kvm = self.boot
        self.starts += 1
        self.disk.ask("go")
        log = OUT / "guest.log"
        self.guest = machine.Guest("power", initrd, log, ports=[80], disks=drives(), kvm=kvm, state=OUT / "state")
        return self.guest.run(self.script(), 60)

    def cut(self, seconds=1):
        """seconds: so long a flush is waited for, at which to cut, where there is one to come."""
        how = self.disk.ask(self.random.choice(["cut", f"cut flush {seconds}"]))
        self.world.plane.boot += 1
        self.guest.cut()
        self.cuts += 1
        with open(self.log, "ab") as file:
            file.write((OUT / "guest.log").read_bytes() + f"\n==== cut {self.cuts}: {how}\n".encode())
        return how

    def command(self, words, seconds=60):
        return self.guest.run(f"{CLI} {words}", seconds)

    # ---- before a cut ----

    def subscribe(self):
        status, printed = self.command("subscribe --url http://10.0.2.2/closecrm --no-url-check")
        if status != 0:
            self.wrong(f"subscribe failed: {printed[-300:]}")
        self.hold_keys()

    def hold_keys(self):
        self.world.keys_held |= {one["id"] for one in self.world.close.subscriptions}

    def make_scarce(self):
        if "full" in self.scarce:
            left = self.random.choice([4, 8, 16]) << 10
            self.guest.run(f"left=$(df -k --output=avail /data | tail -n 1); fallocate -l $((left - {left}))K /data/ballast; sync")
        if "quota" in self.scarce:
            self.guest.run("used=$(du -sk /data/state | cut -f1); setquota -u www-data 0 $((used + 6000)) 0 0 /data")
        self.world.large = bool(self.scarce)

    def work(self):
        """Load, and something else, until the power fails."""
        world = self.world
        world.plane.mood = self.random.choice(["well", "well", "away", "slow", "silent"])
        if self.scarce:
            world.plane.mood = "away"
            self.make_scarce()
        chance = self.random.random()
        also = ""
        if chance < 0.2:
            also = "rotated"
            if self.command("rotate")[0] == 0:
                self.hold_keys()
        elif chance < 0.4 and self.dead - self.dropped:
            also = "dropped a dead letter"
            self.drop_letter()
        if also and self.random.random() < 0.5:
            return f"{self.cut()} just after it {also}"
        # Each request that waits is one more process under mod_fcgid.
        threads = world.start_senders(self.guest.ports[80], 2 if self.server == "fcgid" else 6)
        before = world.answers.get(200, 0)
        least = self.random.choice([0, 1, 3, 10, 30, 100])
        end = time.monotonic() + 20 * self.guest.patience
        while world.answers.get(200, 0) < before + least and time.monotonic() < end:
            time.sleep(0.02)
        time.sleep(self.random.uniform(0, 0.3 * self.guest.patience))
        how = self.cut(self.guest.patience)
        world.stop_senders(threads)
        return f"{how} plane={world.plane.mood} {also}"

    def drop_letter(self):
        status, printed = self.command("dead list --json")
        letters = [json.loads(line) for line in printed.splitlines()] if status == 0 else []
        if letters:
            one = self.random.choice(letters)
            if self.command(f"dead drop --yes {one['id']}")[0] == 0:
                self.dropped.add(one["event_id"])

    # ---- after a start ----

    def letters(self):
        status, printed = self.command("dead list --json")
        if status != 0:
            return None
        try:
            return [json.loads(line)["event_id"] for line in printed.splitlines()]
        except ValueError:
            return None

    def status(self):
        status, printed = self.command("queue status --json")
        try:
            return json.loads(printed) if status == 0 else None
        except ValueError:
            return None

    def send_again(self):
        """Close sends again what was not answered 200. Patience is from one to the next: under a quota thousands may be
        refused in the time in which an emulated guest takes some."""
        world, patience = self.world, 60 + 15 * self.guest.patience
        world.port = self.guest.ports[80]
        end = time.monotonic() + patience
        while world.waiting and time.monotonic() < end:
            one = world.waiting.pop(0)
            if world.post(one):
                end = time.monotonic() + patience
            else:
                world.waiting.append(one)
                time.sleep(0.2)
        if world.waiting:
            self.wrong(f"{len(world.waiting)} events are still not taken; answers: {world.answers}")

    def verify(self):
        world, patience = self.world, 60 + 15 * self.guest.patience
        world.plane.mood, world.large = "well", False
        dead = set()
        self.check_keys()
        if self.found:
            return
        self.wait_delivered(patience)
        self.send_again()
        self.wait_delivered(patience)
        end = time.monotonic() + patience / 2
        while time.monotonic() < end:
            letters, status = self.letters(), self.status()
            if letters is not None:
                dead = set(letters) | self.dropped
            if status is not None and letters is not None and status["waiting"] == 0 and \
                    (not world.missing(dead) or self.lost(world.missing(dead))):
                break
            time.sleep(0.5)
        missing = world.missing(dead)
        for key in sorted(missing)[:10]:
            one = world.events[key]
            self.wrong(f"LOST: {key}, " + ("answered 200" if one.acknowledged else "which only the Event Log had") +
                       (", refused by the data plane" if one.refused else ""))
        if len(missing) > 10:
            self.wrong(f"LOST: {len(missing)} in all")
        for text in list(world.altered())[:10]:
            self.wrong(text)
        if letters is None or status is None:
            self.wrong("the queue cannot be looked at")
            return
        self.check_letters(letters)
        self.check_counts(status, letters)
        self.check_repeats()
        self.check_files()
        for text in world.wrong:
            self.wrong(text)
        world.wrong.clear()
        self.dead = set(letters)

    def check_keys(self):
        """What Close signs with the keys that commands said they had stored is taken."""
        world = self.world
        world.port = self.guest.ports[80]
        # Not refused: one that is refused waits until the data plane takes another, and here there may be none.
        one = world.make(True, world.close.now(), may_be_refused=False)
        end = time.monotonic() + 90 + 6 * self.guest.patience  # on a busy machine a request may take half a minute
        before = dict(world.answers)
        while not world.post(one) and not world.wrong and time.monotonic() < end:
            time.sleep(0.5)
        if not one.acknowledged:
            now = {status: count - before.get(status, 0) for status, count in world.answers.items()}
            self.wrong(f"nothing is taken that is signed with the keys that were stored; answers: {now} {world.wrong[:1]}")

    def wait_delivered(self, patience):
        """Patience is from one to the next."""
        tell, end, before = time.monotonic() + 30, time.monotonic() + patience, None
        while time.monotonic() < end and (missing := self.undelivered()):
            time.sleep(0.5)
            if before is not None and len(missing) < before:
                end = time.monotonic() + patience
            before = len(missing)
            if time.monotonic() > tell:
                tell += 30
                status = self.status()
                if status is not None and status["waiting"] == 0 and self.lost(self.undelivered()):
                    return
                one = self.world.events[min(missing)]
                say(f"waiting for {len(missing)} events, such as {one.event['id']} of {one.event['date_updated']}"
                    f"{'' if one.by_webhook else ', which only the Event Log has'}")

    def lost(self, missing):
        """Those of the missing that nothing will bring, when nothing waits."""
        return {key for key in missing if not self.world.events[key].logged}

    def undelivered(self):
        return {key for key in self.world.missing(set()) if not self.world.events[key].refused}

    def check_letters(self, letters):
        world = self.world
        if len(set(letters)) != len(letters):
            self.wrong("an event is a dead letter twice")
        for key in letters:
            if not world.events[key].refused:
                self.wrong(f"{key} is a dead letter, and the data plane never refused it")
            if key in self.dropped:
                self.wrong(f"{key} was dropped, and is a dead letter again")
        gone = self.dead - set(letters) - self.dropped
        if gone:
            self.wrong(f"dead letters are gone: {sorted(gone)[:5]}")

    def check_counts(self, status, letters):
        parts = [status[name] for name in ("delivered", "duplicates", "dropped", "waiting", "dead", "ended", "discarded", "lost")]
        if status["accepted"] != sum(parts):
            self.wrong(f"counts do not agree: {status['accepted']} accepted, {parts}")
        for name, wanted in (("delivered", len(self.world.plane.messages)), ("dead", len(letters)), ("lost", 0), ("waiting", 0),
                             ("discarded", len(self.dropped))):
            if status[name] != wanted:
                self.wrong(f"{name} is {status[name]}, not {wanted}")

    def check_repeats(self):
        for boot, batches in self.world.repeated().items():
            if len(batches) > LANES:
                self.wrong(f"what {len(batches)} batches had brought was sent again after cut {boot}; {LANES} could be in flight")
            for number in batches:
                if self.world.plane.batches[number][0] == boot:
                    self.wrong(f"a batch was sent twice in start {boot}, without a cut between")

    def check_files(self):
        status, printed = self.command("queue check", 120)
        if status != 0:
            self.wrong(f"queue check: {printed[-500:]}")
        _, printed = self.guest.run("ls -d /data/state/damaged-* /data/state/*.new 2>/dev/null; "
                                    "dmesg | grep -iE '(ext4|xfs|btrfs).*(error|corrupt)|I/O error,'")
        if printed.strip():
            self.wrong(f"in the guest: {printed[-500:]}")

    # ---- all of it ----

    def run(self, cuts):
        try:
            self.first()
            while self.cuts < cuts and not self.found:
                self.next()
            if not self.found:
                self.start()
                self.verify()
        finally:
            if self.guest is not None and self.guest.process.poll() is None:
                self.cut()
            self.world.close.server.shutdown()
            self.world.plane.server.shutdown()

    def tell(self, what):
        acknowledged = sum(one.acknowledged for one in self.world.events.values())
        say(f"trial {self.number} ({self.way}) cut {self.cuts}: {what}; events={len(self.world.events)} "
            f"acknowledged={acknowledged} delivered={len(self.world.plane.messages)} dead={len(self.dead)}")

    def first(self):
        """The first start ever: the files have just been made."""
        status, printed = self.start()
        if status != 0:
            self.wrong(f"the guest does not start: {printed[-500:]}")
            return
        self.subscribe()
        self.tell(f"{self.cut()} just after it subscribed" if self.random.random() < 0.3 else self.work())

    def next(self):
        self.world.close.clock += 3600  # the Event Log's next hour
        self.world.log_only(self.random.choice([0, 20, 60]), 3500)
        if self.random.random() < 0.25:
            timer = threading.Timer(self.random.uniform(0.1, 0.5 * self.patience()), self.cut)
            started = threading.Event()

            def begin():
                started.wait(60)
                timer.start()

            threading.Thread(target=begin, daemon=True).start()
            self.start_until_cut(started)
            timer.join()
            self.tell("while it started")
            return
        status, printed = self.start()
        if status != 0:
            self.wrong(f"the guest does not start: {printed[-500:]}")
            return
        self.verify()
        if not self.found:
            self.tell(self.work())

    def patience(self):
        return self.guest.patience

    def start_until_cut(self, started):
        initrd, kvm = self.boot
        self.starts += 1
        self.disk.ask("go")
        self.guest = machine.Guest("power", initrd, OUT / "guest.log", ports=[80], disks=drives(), kvm=kvm, state=OUT / "state")
        started.set()
        self.guest.run(self.script(), 60)


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the guest ends with it
    cuts = int(os.environ.get("CUTS") or 50)
    seed = int(os.environ.get("SEED") or random.randrange(1 << 30))
    only = os.environ.get("ONLY") or ""
    program = os.environ.get("CLOSECRM_PROGRAM") or machine.TREE / "build/release/closecrm.fcgi"
    ways = [way for way in WAYS if all(word in way for word in only.split())]
    OUT.mkdir(parents=True, exist_ok=True)
    say(f"seed {seed}, {cuts} cuts")
    disk = Disk(seed)
    rng = random.Random(seed)
    table, found = {}, []
    try:
        boot = prepare()
        done = number = 0
        while done < cuts and not found:
            way = ways[number % len(ways)]
            number += 1
            trial = Trial(number, way, rng, disk, boot, program)
            trial.run(min(CUTS_EACH, cuts - done))
            done += trial.cuts
            row = table.setdefault(way, [0, 0, 0, 0])
            row[0] += trial.cuts
            row[1] += len(trial.world.events)
            row[2] += sum(one.acknowledged for one in trial.world.events.values())
            row[3] += len(trial.found)
            found += trial.found
    finally:
        disk.end()
    print(f"\n{'':28} {'cuts':>5} {'events':>7} {'answered 200':>13} {'wrong':>6}")
    for way, row in table.items():
        print(f"{way:28} {row[0]:5} {row[1]:7} {row[2]:13} {row[3]:6}")
    for text in found:
        print(f"WRONG: {text}")
    print(f"{sum(row[0] for row in table.values())} cuts, {len(found)} findings; the trials' logs: {OUT}/trial-*.log")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
