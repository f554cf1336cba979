#!/usr/bin/python3
"""The Debian package in a booted guest with systemd: socket activation, hardening, upgrade and reload under load, restart
after a kill, the timer, alerts by mail and by URL, the journal, removal. Run by `make test-systemd`.

SUITES="bookworm trixie": on which Debian."""
import http.server
import json
import os
import pathlib
import random
import socketserver
import subprocess
import sys
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "power"), str(HERE.parent / "guest")]
import guest as machine  # noqa: E402
from world import World  # noqa: E402

OUT = machine.TREE / "build/systemd"
BASE = ["linux-image-amd64", "systemd", "systemd-sysv", "dbus", "nginx-light", "spawn-fcgi", "kmod", "busybox-static", "iproute2",
        "procps", "adduser", "ca-certificates"]
LIBRARIES = {"bookworm": ["libfcgi0ldbl", "libjson-c5", "libcurl4", "libinih1", "libisal2", "libuuid1", "libsqlite3-0", "libssl3"],
             "trixie": ["libfcgi0t64", "libjson-c5", "libcurl4t64", "libinih1", "libisal2", "libuuid1", "libsqlite3-0",
                        "libssl3t64"]}
SECURITY_MOST = 2.0


class Sink:
    """Takes what is posted (HTTP) or written (plain), and keeps it."""

    def __init__(self, plain):
        self.got = []
        sink = self

        class Plain(socketserver.StreamRequestHandler):
            def handle(self):
                sink.got.append(self.rfile.read().decode())

        class Posted(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                sink.got.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        kind = socketserver.ThreadingTCPServer if plain else http.server.ThreadingHTTPServer
        self.server = kind(("127.0.0.1", 0), Plain if plain else Posted)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


class Host:
    def __init__(self, suite):
        self.suite, self.failed = suite, 0
        self.world = World(random.random(), suite)
        self.mails, self.posts = Sink(True), Sink(False)

    def check(self, what, good, why=""):
        print(f"{'ok' if good else 'FAILED'}: {self.suite}: {what}" + ("" if good else f"\n    {why}"), flush=True)
        self.failed += not good
        return good

    def run(self, script, seconds=120):
        return self.guest.run(f"export LC_ALL=C DEBIAN_FRONTEND=noninteractive\n{script}", seconds)

    def succeeds(self, what, script, seconds=120):
        status, printed = self.run(script, seconds)
        return self.check(what, status == 0, printed[-600:])

    def gives(self, script):
        return self.run(script)[1].strip()

    def wait(self, seconds, condition):
        end = time.monotonic() + seconds + 30 * self.guest.patience
        while time.monotonic() < end:
            if condition():
                return True
            time.sleep(0.5)
        return False

    # ---- the guest ----

    def boot(self):
        name = f"systemd-{self.suite}"
        machine.make_image(name, self.suite, [*BASE, *LIBRARIES[self.suite]])
        texts = {"site": (HERE / "nginx-site").read_text().replace("ALERTS", str(self.posts.port)),
                 "sendmail": (HERE / "sendmail").read_text().replace("MAILS", str(self.mails.port)),
                 "closecrm.conf": f"data_plane_url = http://10.0.2.2:{self.world.plane.port}\nwrite_key = key\n"
                                  f"close_api_key = api_1\nclose_api_url = http://10.0.2.2:{self.world.close.port}/api/v1\n"
                                  "alert_waiting = 5s\nalert_webhook_url = http://127.0.0.1:81/alert\n"
                                  "alert_command = /usr/local/sbin/sendmail root\n"}
        for file, text in texts.items():
            (OUT / file).write_text(text)
        (OUT / "sendmail").chmod(0o755)
        payload = {"/etc/systemd/system/guest-shell.service": HERE / "guest-shell.service",
                   "/etc/systemd/system/multi-user.target.wants/guest-shell.service": HERE / "guest-shell.service",
                   "/guest/site": OUT / "site", "/usr/local/sbin/sendmail": OUT / "sendmail",
                   "/guest/closecrm.conf": OUT / "closecrm.conf", "/guest/old.deb": OUT / f"{self.suite}-old.deb",
                   "/guest/new.deb": OUT / f"{self.suite}-new.deb"}
        initrd = OUT / f"{self.suite}.initrd"
        machine.make_initrd(name, initrd, payload)
        kvm = machine.kvm_works(name, initrd)
        print(f"{self.suite}: booting, " + ("with KVM" if kvm else "emulated, which takes minutes"), flush=True)
        self.guest = machine.Guest(name, initrd, OUT / f"{self.suite}.log", ports=[80], init="/sbin/init", kvm=kvm, memory="1024M")
        return self.check("it boots", self.guest.run("true", 90)[0] == 0, OUT / f"{self.suite}.log")

    # ---- what must hold ----

    def install(self):
        self.succeeds("the package installs", "rm -f /usr/sbin/policy-rc.d; dpkg -i /guest/old.deb")
        self.check("systemd listens, and the timer runs",
                   self.gives("systemctl is-active closecrm.socket closecrm-cron.timer").split() == ["active", "active"])
        self.check("the program itself does not run yet", self.gives("systemctl is-active closecrm.service") == "inactive")
        self.succeeds("configured, behind nginx",
                      "cat /guest/closecrm.conf >>/etc/closecrm.conf\n"
                      "cp /usr/share/doc/closecrm.fcgi/nginx/spawn-fcgi.conf /etc/nginx/snippets/closecrm.conf\n"
                      "cp /guest/site /etc/nginx/sites-enabled/default && systemctl restart nginx")

    def activate(self):
        self.succeeds("subscribe, whose GET is the first request", "closecrm.fcgi subscribe --url http://127.0.0.1/closecrm")
        self.world.keys_held = {one["id"] for one in self.world.close.subscriptions}
        self.check("the socket started the program", self.gives("systemctl is-active closecrm.service") == "active",
                   self.gives("journalctl -u closecrm --no-pager | tail -n 5"))
        one = self.post()
        self.check("an event is delivered", self.wait(30, lambda: one.event["id"] in self.world.plane.messages))

    def post(self):
        self.world.port = self.guest.ports[80]
        one = self.world.make(True, self.world.close.now())
        one.refused = False
        one.event["data"].pop("refused", None)
        self.check("an event is answered 200", self.world.post(one), self.world.answers)
        return one

    def pid(self):
        return self.gives("systemctl show -p MainPID --value closecrm.service")

    def harden(self):
        for unit in ("closecrm.service", "closecrm-cron.service"):
            words = self.gives(f"systemd-analyze security --no-pager {unit} | tail -n 1")
            number = next((float(word) for word in words.split() if word.replace(".", "").isdigit()), 99)
            self.check(f"systemd-analyze security {unit}: {number}", number <= SECURITY_MOST, words)
        status = self.gives(f"grep -E '^(NoNewPrivs|Seccomp|CapEff|CapBnd):' /proc/{self.pid()}/status").split()
        self.check("no privileges to gain, a filter of system calls, no capabilities",
                   {"NoNewPrivs:": "1", "Seccomp:": "2", "CapEff:": "0" * 16, "CapBnd:": "0" * 16} ==
                   dict(zip(status[::2], status[1::2])), status)
        self.check("nothing but the state directory can be written",
                   self.gives(f"for d in / /etc /usr /home /var/log; do nsenter -t {self.pid()} -m -S $(id -u closecrm) "
                              "sh -c \"touch $d/written\" 2>/dev/null && echo $d; done") == "")

    def under_load(self, what, script, then):
        world, before = self.world, dict(self.world.answers)
        threads = world.start_senders(self.guest.ports[80])
        time.sleep(2)
        pid = self.pid()
        status, printed = self.run(script)
        self.check(f"{what}: done", status == 0, printed[-500:])
        self.check(f"{what}: taken on", self.wait(60, then), self.gives("journalctl -u closecrm --no-pager | tail -n 8"))
        time.sleep(2)
        world.stop_senders(threads)
        now = {status: count - before.get(status, 0) for status, count in world.answers.items()}
        self.check(f"{what}: all of {now.get(200, 0)} requests were answered 200", set(key for key, n in now.items() if n) == {200}, now)
        self.check(f"{what}: in the same process", self.pid() == pid)

    def change(self):
        self.under_load("upgrade", "dpkg -i /guest/new.deb", lambda: self.gives(
            f"cmp /proc/{self.pid()}/exe /usr/lib/closecrm/closecrm.fcgi && dpkg -s closecrm.fcgi | grep -c '^Version: 0.1.1'") == "1")
        lines = "journalctl -u closecrm --no-pager | grep -c msg=started"
        before = self.gives(lines)
        self.under_load("reload", "sed -i 's/^alert_waiting = 5s/alert_waiting = 6s/' /etc/closecrm.conf && "
                                  "systemctl reload closecrm.service", lambda: self.gives(lines) != before)
        self.run(f"kill -KILL {self.pid()}")
        self.check("killed, it runs again", self.wait(30, lambda: self.gives("systemctl is-active closecrm.service") == "active"))
        self.post()

    def tell(self):
        self.world.plane.mood = "away"
        self.post()
        self.check("an alert by URL", self.wait(150, lambda: any("waiting" in one for one in self.posts.got)), self.posts.got)
        self.check("an alert by mail", self.wait(60, lambda: any("waiting" in one for one in self.mails.got)), self.mails.got)
        for text in self.mails.got + self.posts.got:
            self.check("an alert is JSON", isinstance(json.loads(text), dict), text)
        self.check("the timer has run cron", self.wait(90, lambda: "code=exited" in self.gives(
            "systemctl status closecrm-cron.service --no-pager | grep 'ExecStart=.*cron'") or self.gives(
                "systemctl show -p ExecMainExitTimestamp --value closecrm-cron.service") != ""))
        journal = self.gives("journalctl -u closecrm -u closecrm-cron --no-pager -p warning")
        self.check("the journal has what is wrong, as a warning or worse", "503" in journal, journal[-500:])
        whole = self.gives("journalctl -u closecrm -u closecrm-cron --no-pager")
        self.check("and no payload, no key", "abc " not in whole and "api_1" not in whole)
        self.world.plane.mood = "well"

    def end(self):
        world = self.world
        self.succeeds("forward delivers the rest", "closecrm.fcgi queue status >/dev/null")
        self.check("every event answered 200 was delivered", self.wait(120, lambda: not {
            key for key in world.missing(set()) if not world.events[key].refused}))
        self.check("none altered", not list(world.altered()), list(world.altered())[:3])
        self.check("none twice but what the kill met", sum(map(len, world.repeated().values())) <= 4)
        self.succeeds("stopped at once", "timeout 30 systemctl stop closecrm.socket closecrm.service")
        self.succeeds("purged, it leaves nothing", "dpkg --purge closecrm.fcgi && ! ls -d /etc/closecrm* /var/lib/closecrm* "
                                                   "/etc/systemd/system/*/closecrm* 2>/dev/null && ! systemctl is-active closecrm.socket")

    def all(self):
        if not self.boot():
            return
        for part in (self.install, self.activate, self.harden, self.change, self.tell, self.end):
            part()


def make_packages(suite):
    """old.deb and new.deb: the same program but for a section that nobody reads."""
    old, tree = OUT / f"{suite}-old.deb", OUT / f"{suite}-next"
    if suite == "bookworm" and 'VERSION_ID="12"' in pathlib.Path("/etc/os-release").read_text():
        subprocess.run(["make", "VERSION=0.1.0", "deb"], cwd=machine.TREE, check=True, stdout=subprocess.DEVNULL)
        built = machine.TREE / "build/deb"
    else:
        subprocess.run(["bash", "-c", ". tests/packages/common.sh; chroot_make_deb $0; deb_make $0", suite], cwd=machine.TREE,
                       env={**os.environ, "PART": f"systemd-{suite}"}, check=True)
        built = machine.TREE / f"build/packages/debs-{suite}"
    subprocess.run(["cp", next(built.glob("closecrm.fcgi_*.deb")), old], check=True)
    subprocess.run(["rm", "-rf", tree], check=True)
    subprocess.run(["dpkg-deb", "-R", old, tree], check=True)
    control = tree / "DEBIAN/control"
    control.write_text(control.read_text().replace("Version: 0.1.0", "Version: 0.1.1"))
    (OUT / "next.txt").write_text("0.1.1\n")
    subprocess.run(["objcopy", "--add-section", f".next={OUT}/next.txt", tree / "usr/lib/closecrm/closecrm.fcgi"], check=True)
    subprocess.run(["dpkg-deb", "-b", "--root-owner-group", tree, OUT / f"{suite}-new.deb"], check=True, stdout=subprocess.DEVNULL)


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    failed = 0
    for suite in (os.environ.get("SUITES") or "bookworm trixie").split():
        make_packages(suite)
        host = Host(suite)
        try:
            host.all()
        finally:
            if hasattr(host, "guest"):
                host.guest.cut()
        failed += host.failed
    print(f"{failed} failed" if failed else "All passed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
