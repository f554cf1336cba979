#!/usr/bin/python3
"""The Debian package in a booted guest with systemd, behind nginx: socket activation, hardening, reload, upgrade, restart, stop
and kill under load, the timer, alerts by mail and by URL, the journal, removal. Who sends events, Close, the data plane and who
takes alerts are outside of the guest, and remember. Run by `make test-systemd`.

DIST="bookworm trixie": on which Debian. PARTS="harden reload": only these of the parts that can be left out (records wants alerts). DEB=FILE: another
package than this tree's. CONTAINER=1: in a container, see container.py."""
import http.client
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "power"), str(HERE.parent / "guest")]
import guest as machine  # noqa: E402
import container  # noqa: E402
import sinks  # noqa: E402
from world import World  # noqa: E402

PACKAGES = ["linux-image-amd64", "systemd", "systemd-sysv", "dbus", "udev", "nginx-light", "bsd-mailx", "msmtp-mta", "kmod",
            "busybox-static", "iproute2", "procps", "zstd", "util-linux", "adduser", "ca-certificates"]
CONTAINER = os.environ.get("CONTAINER") == "1"
OUT = machine.TREE / "build/systemd"
SECURITY_MOST = 2.0
SECRETS = ["write_key_of_the_guest", "api_key_of_the_guest"]
UNITS = "-u closecrm.service -u closecrm-cron.service -u closecrm.socket"
# Who updates the guest itself is no part of this.
APPEND = "quiet " + " ".join(f"systemd.mask={unit}" for unit in (
    "apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "e2scrub_all.timer", "fstrim.timer"))
# What the program's processes may not write, and root there neither: a name space shows it without its user's rights.
CLOSED = "/ /boot /dev/shm /etc /home /opt /root /run /run/lock /srv /usr /var /var/lib /var/log /var/spool"


class Events(World):
    """All of them are taken by the data plane, and it is known when."""

    def __init__(self, seed, trial):
        super().__init__(seed, trial)
        self.taken, taken = [], self.plane.answer  # when each batch was
        self.killed = (0, 0)  # from when to when the program was killed

        def answer(boot, body):
            result = taken(boot, body)
            if result[0] == 200:
                self.taken.append(time.monotonic())
            return result

        self.plane.answer = answer

    def make(self, by_webhook, when):
        one = super().make(by_webhook, when)
        one.refused = False
        one.event["data"].pop("refused", None)
        return one


class Host:
    def __init__(self, suite):
        self.suite, self.tried, self.failed, self.guest = suite, 0, [], None
        self.world = Events(random.random(), suite)
        self.mails, self.posts = sinks.mails(), sinks.posts()
        self.out = OUT / (f"{suite}-container" if CONTAINER else f"{suite}-guest")
        self.out.mkdir(parents=True, exist_ok=True)

    # ---- telling, asking ----

    def check(self, what, good, seen=""):
        self.tried += 1
        text = str(seen).strip()
        shown = f" ({text})" if text and good and len(text) < 150 else ""
        print(f"{'ok' if good else 'FAILED'}: {self.suite}: {what}{shown}" + ("" if good else f"\n    seen: {text[-900:]}"), flush=True)
        if not good:
            self.failed.append(what)
        return good

    def run(self, script, seconds=120):
        return self.guest.run(f"export LC_ALL=C DEBIAN_FRONTEND=noninteractive SYSTEMD_PAGER=\n{script}", seconds)

    def succeeds(self, what, script, seconds=120):
        status, printed = self.run(script, seconds)
        return self.check(what, status == 0, "" if status == 0 else f"status {status}: {printed}")

    def gives(self, script):
        return self.run(script)[1].strip()

    def wait(self, seconds, condition):
        end = time.monotonic() + seconds * max(1, self.guest.patience / 2)
        while not condition():
            if time.monotonic() > end or self.guest.process.poll() is not None:
                return False
            time.sleep(0.5)
        return True

    def active(self, unit):
        return self.gives(f"systemctl is-active {unit}")

    def property(self, name, unit="closecrm.service"):
        return self.gives(f"systemctl show -p {name} --value {unit}")

    def pid(self):
        return self.property("MainPID")

    def journal(self, rest=""):
        """The program's own lines: (unit, priority, text)."""
        lines = self.gives(f"journalctl {UNITS} -o json --no-pager {rest}").splitlines()
        found = [json.loads(line) for line in lines if line.startswith("{")]
        return [(one.get("_SYSTEMD_UNIT", ""), int(one["PRIORITY"]), str(one["MESSAGE"])) for one in found]

    def lines(self, text):
        return int(self.gives(f"journalctl -u closecrm.service -o cat --no-pager | grep -cF -- '{text}'") or 0)

    def started(self):
        return self.lines("msg=started")

    def ask(self, method="GET", path="/closecrm", body=None):
        """From outside: the status, 0 when there is no answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.guest.ports[80], timeout=60)
        try:
            connection.request(method, path, body)
            return connection.getresponse().status
        except (OSError, http.client.HTTPException):
            return 0
        finally:
            connection.close()

    def post(self):
        self.world.port = self.guest.ports[80]
        one = self.world.make(True, self.world.close.now())
        taken = self.wait(30, lambda: self.world.post(one))
        self.check("an event is answered 200", taken, "" if taken else self.world.answers)
        return one

    def refuses_large(self, one):
        before = self.world.answers.get(413, 0)
        return not self.world.post(one) and self.world.answers.get(413, 0) > before

    def delivered(self, one):
        return one.event["id"] in self.world.plane.messages

    # ---- the guest ----

    def boot(self):
        subprocess.run([HERE / "package", self.suite, self.out], check=True)
        name = f"systemd-{self.suite}"
        deb = self.out / "new.deb"
        needs = subprocess.run(["dpkg-deb", "-f", deb, "Depends"], check=True, stdout=subprocess.PIPE, text=True).stdout
        needs = sorted(word.split()[0] for word in needs.replace("|", ",").split(",") if word.strip())
        machine.make_image(name, self.suite, list(dict.fromkeys([*PACKAGES, *needs])))
        values = {"PLANE": self.world.plane.port, "CLOSE": self.world.close.port, "ALERTS": self.posts.port, "MAILS": self.mails.port}
        for file in ("nginx-site", "closecrm.conf", "msmtprc"):
            text = (HERE / file).read_text()
            for word, value in values.items():
                text = text.replace(word, str(value))
            (self.out / file).write_text(text.replace("10.0.2.2", "127.0.0.1") if CONTAINER else text)
        (self.out / "wants.conf").write_text("[Unit]\nWants=guest-shell.socket\n")
        payload = {"/etc/systemd/system/guest-shell.socket": HERE / "guest-shell.socket",
                   "/etc/systemd/system/guest-shell@.service": HERE / "guest-shell@.service",
                   "/etc/systemd/system/multi-user.target.d/guest.conf": self.out / "wants.conf",
                   "/guest/nginx-site": self.out / "nginx-site", "/guest/closecrm.conf": self.out / "closecrm.conf",
                   "/etc/msmtprc": self.out / "msmtprc", "/usr/local/bin/alert": HERE / "alert",
                   "/guest/old.deb": self.out / "old.deb", "/guest/new.deb": deb}
        self.start(name, payload, self.out / "console.log")
        start = time.monotonic()
        if self.guest.run("true", 60)[0] != 0:
            return self.check("it boots", False, f"{self.guest.log} may say why")
        self.run(f"date -s @{time.time():.0f}")  # it was given the time when it was switched on
        self.wait(60, lambda: self.gives("systemctl is-system-running") not in ("initializing", "starting"))
        self.check("systemd is the first process", self.gives("cat /proc/1/comm") == "systemd",
                   self.gives("systemctl --version | head -n 1; uname -r") + f", after {time.monotonic() - start:.0f} s")
        return True

    def start(self, name, payload, log):
        if CONTAINER:
            self.guest = container.Container(name, payload, log)
            return
        initrd = self.out / "initrd"
        machine.make_initrd(name, initrd, payload)
        kvm = machine.kvm_works(name, initrd)
        print(f"{self.suite}: booting, " + ("with KVM" if kvm else "emulated, which takes a minute or more"), flush=True)
        self.guest = machine.Guest(name, initrd, log, ports=[80], init="/sbin/init", kvm=kvm, memory="1024M", append=APPEND)

    # ---- from installing to the first event ----

    def install(self):
        self.run("rm -f /usr/sbin/policy-rc.d; mkdir -p /srv/open /home/open /run/open; chmod 1777 /srv/open /home/open /run/open\n"
                 "echo hidden >/home/open/secret; touch /tmp/outside")
        self.succeeds("apt installs the package", "apt-get install -q -y /guest/old.deb", 300)
        states = self.gives("systemctl is-active closecrm.socket closecrm-cron.timer closecrm.service").split()
        self.check("systemd listens and the timer runs, the program does not", states == ["active", "active", "inactive"], states)
        states = self.gives("systemctl is-enabled closecrm.socket closecrm-cron.timer").split()
        self.check("and so it will be after the next boot", states == ["enabled", "enabled"], states)
        self.check("the socket is the web server's", (mode := self.gives("stat -c '%a %U:%G' /run/closecrm/closecrm.sock")) ==
                   "660 root:www-data", mode)
        self.run("systemctl start closecrm-cron.service")
        words = self.journal()
        words = [text for unit, _, text in words if "cron" in unit]
        self.check("without a configuration the timer is silent", not words, words or "")
        self.succeeds("it is configured, behind nginx",
                      "cat /guest/closecrm.conf >>/etc/closecrm.conf\n"
                      "cp /usr/share/doc/closecrm.fcgi/nginx/spawn-fcgi.conf /etc/nginx/snippets/closecrm.conf\n"
                      "cp /guest/nginx-site /etc/nginx/sites-enabled/default && nginx -t && systemctl reload nginx")
        self.check("nginx has taken it on", self.wait(60, lambda: self.ask(path="/nginx") == 204))

    def activate(self):
        self.check("before the first request the program does not run", (pid := self.pid()) == "0", pid)
        one = self.world.make(True, self.world.close.now())
        body = json.dumps({"event": one.event})
        answers = []  # emulated, it may take longer to start than nginx waits: Close sends it again
        one.acknowledged = self.wait(60, lambda: answers.append(self.ask(
            "POST", "/closecrm?writeKey=write_key_of_the_guest", body)) or answers[-1] == 200)
        self.check("the first request is answered 200", one.acknowledged and len(answers) <= self.guest.patience, answers)
        self.check("and the socket has started the program for it", self.active("closecrm.service") == "active",
                   self.gives("ps -o user=,pid=,args= -u closecrm"))
        self.succeeds("subscribe and its probe, by README", "closecrm.fcgi subscribe --url http://127.0.0.1/closecrm --probe")
        self.world.keys_held = {one["id"] for one in self.world.close.subscriptions}
        two = self.post()
        self.check("and both are delivered", self.wait(30, lambda: self.delivered(one) and self.delivered(two)))
        status, printed = self.run("closecrm.fcgi check")
        self.check("check, run by root, finds nothing wrong", "Nothing is wrong" in printed,
                   "" if status == 0 else [line for line in printed.splitlines() if "WRONG" in line])

    # ---- hardening ----

    def harden(self):
        for unit in ("closecrm.service", "closecrm-cron.service"):
            words = self.gives(f"systemd-analyze security --no-pager {unit} | tail -n 1")
            number = next((float(word) for word in words.split() if word.replace(".", "").isdigit()), 99)
            self.check(f"systemd-analyze security {unit} is at most {SECURITY_MOST}", number <= SECURITY_MOST, number)
        pid = self.pid()
        status = self.gives(f"grep -E '^(NoNewPrivs|Seccomp|Cap...):' /proc/{pid}/status").split()
        wanted = {"NoNewPrivs:": "1", "Seccomp:": "2", **{f"Cap{name}:": "0" * 16 for name in ("Inh", "Prm", "Eff", "Bnd", "Amb")}}
        self.check("no privileges to gain, a filter of system calls, no capabilities", dict(zip(status[::2], status[1::2])) == wanted,
                   " ".join(status))
        user = self.gives(f"ps -o euser=,ruser=,egroup= -p {pid}").split()
        self.check("its user is its own", user == ["closecrm"] * 3, user)
        self.outside(pid, "the running program")
        name = self.gives(f"nsenter -t {pid} -m sh -c 'touch /var/lib/closecrm/x && rm /var/lib/closecrm/x && echo written'")
        self.check("its state directory can be written", name == "written", name)
        self.check("it does not see /home", (seen := self.gives(f"nsenter -t {pid} -m ls -A /home /root")) == "/home:\n\n/root:", seen)
        self.check("nor the others' /tmp", (seen := self.gives(f"nsenter -t {pid} -m ls -A /tmp /var/tmp")) == "/tmp:\n\n/var/tmp:", seen)
        self.check("nor disks", (seen := self.gives(f"nsenter -t {pid} -m sh -c 'ls /dev | grep -E \"^(vd|sd|mem|kmsg)\"'")) == "", seen)
        seen = self.gives(f"nsenter -t {pid} -m -S $(id -u closecrm) -G $(id -g closecrm) sh -c 'ls -d /proc/1 2>&1'")
        self.check("nor the processes of others", "No such file" in seen, seen)

    def outside(self, pid, who):
        """Root's own rights in its name space show what its mounts allow."""
        written = self.gives(f"for d in {CLOSED}; do nsenter -t {pid} -m touch $d/written 2>/dev/null && echo $d; done")
        self.check(f"{who} can write nothing but its state directory", written == "", written or f"tried: {CLOSED}")

    # ---- changes, under load and without ----

    def under_load(self, what, script, then=lambda: True, strict=True):
        """strict: no request may be answered by anything but 200, and the process stays the same one."""
        world, before, pid = self.world, dict(self.world.answers), self.pid()
        threads = world.start_senders(self.guest.ports[80], 3 if CONTAINER else 2)
        taken = world.answers.get(200, 0)
        self.wait(20, lambda: world.answers.get(200, 0) >= taken + 5)
        status, printed = self.run(script, 300)
        self.check(f"{what} under load: done", status == 0, "" if status == 0 else printed)
        good = self.wait(60, then)
        self.check(f"{what}: taken on", good, "" if good else self.gives(f"journalctl {UNITS} --no-pager | tail -n 12"))
        taken = world.answers.get(200, 0)
        self.check(f"{what}: events go on", self.wait(30, lambda: world.answers.get(200, 0) >= taken + 5), world.answers)
        world.stop_senders(threads)
        now = {status: count - before.get(status, 0) for status, count in world.answers.items() if count != before.get(status, 0)}
        if strict:
            self.check(f"{what}: every request was answered 200", set(now) == {200}, now)
            self.check(f"{what}: in the same process", self.pid() == pid, pid)
        else:
            print(f"    {self.suite}: {what}: answers {now}; what was not answered 200 is sent again, as Close does", flush=True)
        again = list(world.waiting)
        world.waiting.clear()
        self.check(f"{what}: what had failed is taken at last", all(self.wait(30, lambda: world.post(one)) for one in again), len(again))
        self.check(f"{what}: all that was answered 200 is delivered, unaltered", self.wait(60, lambda: not world.missing(set())) and
                   not list(world.altered()), f"{len(world.plane.messages)} so far")

    def runs(self, version):
        return self.gives(f"cmp /proc/{self.pid()}/exe /usr/lib/closecrm/closecrm.fcgi && dpkg-query -W -f '${{Version}}' closecrm.fcgi") \
            == version

    def upgrade(self):
        new = self.gives("dpkg-deb -f /guest/new.deb Version")
        since = self.property("ActiveEnterTimestampMonotonic", "closecrm.socket")
        self.under_load("upgrade", "apt-get install -q -y /guest/new.deb", lambda: self.runs(new))
        self.check("the socket was never closed", self.property("ActiveEnterTimestampMonotonic", "closecrm.socket") == since, since)
        self.check("the configuration is still the administrator's", "api_key_of_the_guest" in self.gives("cat /etc/closecrm.conf"))

    def reload(self):
        before = self.started()
        self.under_load("reload", "systemctl reload closecrm.service", lambda: self.started() > before)
        one = self.world.make(True, self.world.close.now())
        one.event["data"]["text"] = "x" * 5000
        self.check("an event of 5000 bytes is answered 200", self.wait(30, lambda: self.world.post(one)), self.world.answers)
        self.run("cp -p /etc/closecrm.conf /root/good.conf; echo max_body = 2K >>/etc/closecrm.conf; systemctl reload closecrm.service")
        self.check("reload with a changed configuration: it holds", self.wait(30, lambda: self.refuses_large(one)), self.world.answers)
        pid = self.pid()
        number = self.gives("echo 'data_plane_url = nonsense' >>/etc/closecrm.conf; wc -l </etc/closecrm.conf\n"
                            "systemctl reload closecrm.service")
        told = self.wait(30, lambda: self.lines("msg=not_reloaded"))
        errors = [text for _, priority, text in self.journal() if priority <= 4]
        self.check("reload with a broken configuration: the journal says so, as a warning or worse", told and
                   any("msg=not_reloaded" in text for text in errors), errors[-3:])
        named = [text for text in errors if f"/etc/closecrm.conf:{number}" in text]
        self.check("and names file, line and reason", bool(named), (named or [f"line {number}, errors {errors[-4:]}"])[-1])
        self.check("the old one stays in force, in the same process", self.refuses_large(one) and self.pid() == pid, pid)
        self.run("cp -p /root/good.conf /etc/closecrm.conf; systemctl reload closecrm.service")
        self.check("mended, it is taken on", self.wait(30, lambda: self.world.post(one)))

    def restart(self):
        pid = self.pid()
        self.under_load("restart", "systemctl restart closecrm.service", lambda: self.pid() not in (pid, "0"), strict=False)
        number = int(self.property("NRestarts"))
        start = time.monotonic()
        self.under_load("SIGKILL of the program", f"sleep 3; kill -KILL {self.pid()}",
                        lambda: int(self.property("NRestarts")) > number and self.active("closecrm.service") == "active", strict=False)
        self.world.killed = (start, time.monotonic())
        self.under_load("stop and start", "timeout 60 systemctl stop closecrm.socket closecrm.service && "
                        "[ \"$(systemctl show -p Result --value closecrm.service)\" = success ] && ! pgrep -u closecrm && sleep 2 && "
                        "systemctl start closecrm.socket", lambda: self.active("closecrm.service") == "active", strict=False)
        self.check("a stop ends it in time, with 0", self.lines("msg=stopping") >= 2 and not self.lines("Killing process"))

    # ---- the timer, alerts, the journal ----

    def cron_ended(self):
        return int(self.property("ExecMainExitTimestampMonotonic", "closecrm-cron.service") or 0)

    def timer(self):
        since = self.cron_ended()
        good = self.wait(70, lambda: self.cron_ended() > since)
        result = self.property("Result,ExecMainStatus", "closecrm-cron.service").split()
        self.check("the timer runs cron each minute, which finds nothing wrong", good and sorted(result) == ["0", "success"], result)
        words = [one for one in self.journal() if "cron" in one[0]]
        self.check("and says nothing of it to the journal", not words, words or "")

    def told(self, sink, state):
        return any(f'"{state}"' in text and "data_plane_refuses" in text for text in sink.got)

    def alerts(self):
        """The data plane refuses the write key, which somebody has to mend."""
        well, self.world.plane.answer = self.world.plane.answer, lambda boot, body: (401, b"unauthorized")
        one = self.post()
        self.check("an alert by URL", self.wait(150, lambda: self.told(self.posts, "raised")), self.posts.got[-1:])
        good = self.wait(60, lambda: self.told(self.mails, "raised"))
        self.check("an alert by mail, by README's script", good, self.mails.got[-1:] if good else
                   self.gives(f"journalctl {UNITS} --no-pager | tail -n 6"))
        self.check("the URL got JSON with a sentence", all(json.loads(text)["text"] for text in self.posts.got), self.posts.got[:1])
        within = self.gives("cat /var/lib/closecrm/within")
        self.check("from within, as its user: nothing of what it may not", within == "done", within)
        good = self.wait(130, lambda: self.property("ExecMainStatus", "closecrm-cron.service") == "1")
        self.check("the timer's cron ends with 1 then", good, self.property("Result", "closecrm-cron.service"))
        words = [text for unit, priority, text in self.journal() if unit.startswith("closecrm-cron") and priority <= 4]
        self.check("and the journal has what it found, as a warning or worse", any("401" in text for text in words), words[-1:])
        self.world.plane.answer = well
        self.run("closecrm.fcgi check")
        self.check("mended, and check run: delivered", self.wait(60, lambda: self.delivered(one)))
        self.check("and both are told that it is over", self.wait(120, lambda: self.told(self.posts, "gone") and
                   self.told(self.mails, "gone")), f"{len(self.posts.got)} posts, {len(self.mails.got)} mails")
        self.check("cron ends with 0 again", self.wait(130, lambda: self.property("ExecMainStatus", "closecrm-cron.service") == "0"))

    def records(self):
        levels, wrong = {"error": 3, "warn": 4, "info": 6, "debug": 7}, []
        words = [one for one in self.journal() if one[2].split(" ", 1)[0] in levels]
        counts = {level: sum(text.startswith(level + " ") for _, _, text in words) for level in levels}
        wrong = [one for one in words if levels[one[2].split(" ", 1)[0]] != one[1]]
        self.check("the journal has each line with its priority", words and not wrong, wrong[:3] or counts)
        some = self.gives("journalctl -u closecrm -p warning -o cat --no-pager").splitlines()
        self.check("-p warning shows what is wrong and nothing else", any("msg=data_plane_refuses" in text for text in some) and
                   not [text for text in some if text.startswith("info")], some[-2:])
        whole = self.gives("journalctl --no-pager -o cat") + "".join(self.mails.got) + "".join(self.posts.got)
        secrets = SECRETS + [one["signature_key"] for one in self.world.close.subscriptions] + ["acti_"]
        self.check("no key and no payload in the journal or in an alert", not [one for one in secrets if one in whole],
                   f"{len(whole)} bytes")

    # ---- the end ----

    def remove(self):
        self.world.plane.mood = "away"
        one = self.post()
        self.succeeds("apt removes it", "apt-get remove -q -y closecrm.fcgi", 300)
        left = self.gives("systemctl is-active closecrm.socket closecrm-cron.timer closecrm.service closecrm-cron.service; pgrep -u closecrm")
        self.check("nothing of it runs or listens", "active" not in left.split() and not [w for w in left.split() if w.isdigit()], left)
        self.succeeds("configuration and events are kept", "test -e /etc/closecrm.conf -a -e /var/lib/closecrm/queue.db -a ! -e /usr/lib/closecrm")
        self.world.plane.mood = "well"
        self.succeeds("apt installs it again", "apt-get install -q -y /guest/new.deb", 300)
        self.check("and the timer delivers what waited, without a request", self.wait(130, lambda: self.delivered(one)))
        self.succeeds("apt purges it", "apt-get purge -q -y closecrm.fcgi", 300)
        left = self.gives("ls -d /etc/closecrm* /var/lib/closecrm* /usr/share/doc/closecrm* /usr/lib/closecrm /run/closecrm/* "
                          "/etc/systemd/system/*/closecrm* 2>/dev/null; getent passwd closecrm\n"
                          "systemctl list-units --no-legend --all 'closecrm*' | grep -v 'not-found *inactive'")
        self.check("it leaves nothing, not even its user", left == "", left)
        self.check("nothing failed", (left := self.gives("systemctl --failed --no-legend")) == "", left)

    def end(self):
        world = self.world
        self.check("every event answered 200 was delivered", not world.missing(set()), f"{len(world.plane.messages)} events")
        wrong = list(world.altered())
        self.check("none altered", not wrong, wrong[:3])
        again = {number for numbers in world.repeated().values() for number in numbers}
        old = [number for number in again if not world.killed[0] < world.taken[number] < world.killed[1]]
        self.check("none twice but of batches around the kill", not old, old or f"{len(again)} batches")

    def all(self):
        if not self.boot():
            return
        parts = (os.environ.get("PARTS") or "harden upgrade reload restart timer alerts records remove").split()
        for part in ("install", "activate", *parts, "end"):
            getattr(self, part)()


def main():
    if CONTAINER:
        container.enter()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # the guest ends, too
    failed = []
    for suite in (os.environ.get("DIST") or "bookworm trixie").split():
        start = time.monotonic()
        host = Host(suite)
        try:
            host.all()
        finally:
            if host.guest is not None:
                host.guest.cut()
        print(f"{suite}: {host.tried} checks, {len(host.failed)} failed, {host.world.answers} answers, "
              f"{len(host.world.plane.messages)} events, {time.monotonic() - start:.0f} s", flush=True)
        failed += [f"{suite}: {what}" for what in host.failed]
    print("\n".join(["FAILED:", *failed]) if failed else "All passed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
