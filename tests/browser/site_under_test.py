"""One whole site for the browser test: data plane, program, and a web server with the sample that people use."""
import base64
import hashlib
import hmac
import os
import pathlib
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

from data_plane import DataPlane

TREE = pathlib.Path(__file__).resolve().parents[2]
WRITE_KEY = "key-of-the-browser-test"
SIGNATURE_KEY = "00112233445566778899aabbccddeeff" * 2
PASSWORD = "correct horse battery"
PATIENCE = 180  # seconds: a wait ends as soon as what it waits for is so


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_until(condition, seconds, what):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"not within {seconds} s: {what}")


def listens(address):
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    with socket.socket(family) as probe:
        try:
            probe.connect(address)
            return True
        except OSError:
            return False


class Site:
    """server: "lighttpd" or "apache"; more, source: lines of the configuration, before the source's section and in it."""

    def __init__(self, server, more="", source=f"signature_key = {SIGNATURE_KEY}\n"):
        self.processes = []
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="closecrm-browser-"))
        self.plane = DataPlane(WRITE_KEY)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/closecrm"
        # As root, everything but the browser runs as the user that web servers run as.
        self.user = "www-data" if os.getuid() == 0 else None
        self.make_files(more, source)
        self.start_program()
        {"lighttpd": self.start_lighttpd, "apache": self.start_apache}[server]()
        wait_until(lambda: listens(("127.0.0.1", self.port)), PATIENCE, f"{server} listens")

    def make_files(self, more, source):
        for name in ("state", "htdocs"):
            (self.directory / name).mkdir(mode=0o700)
        program = os.environ.get("CLOSECRM_PROGRAM", str(TREE / "closecrm.fcgi"))
        shutil.copy(program, self.directory / "closecrm.fcgi")
        config = self.directory / "closecrm.conf"
        config.write_text(
            f"admin_password = {PASSWORD}\n{more}\n"
            f"data_plane_url = http://127.0.0.1:{self.plane.port}\n"
            f"[source acme]\nwrite_key = {WRITE_KEY}\n{source}"
        )
        config.chmod(0o600)
        shutil.copytree(TREE / "lighttpd", self.directory / "lighttpd")
        shutil.copytree(TREE / "apache", self.directory / "apache")
        if self.user:
            owner = pwd.getpwnam(self.user)
            for path in [self.directory, *self.directory.rglob("*")]:
                os.chown(path, owner.pw_uid, owner.pw_gid)

    def start(self, arguments, environment):
        log = open(self.directory / "log", "ab")
        path = os.environ["PATH"] + ":/usr/sbin:/sbin"
        process = subprocess.Popen(
            arguments, env={"PATH": path, **environment}, cwd=self.directory, stdout=log, stderr=log,
            user=self.user, group=self.user, extra_groups=[] if self.user else None,
        )
        log.close()
        self.processes.append(process)

    def start_program(self):
        self.socket = str(self.directory / "closecrm.sock")
        self.start(
            ["spawn-fcgi", "-n", "-s", self.socket, "-M", "0660", "--", str(self.directory / "closecrm.fcgi")],
            {"CLOSECRM_CONFIG": str(self.directory / "closecrm.conf")},
        )
        wait_until(lambda: listens(self.socket), PATIENCE, "the program listens")

    def start_lighttpd(self):
        self.start(
            ["lighttpd", "-D", "-f", str(self.directory / "lighttpd/server.conf")],
            {
                "SAMPLE_PORT": str(self.port), "SAMPLE_WORK": str(self.directory),
                "SAMPLE_SOCKET": self.socket, "SAMPLE_NAME": "spawn-fcgi",
            },
        )

    def start_apache(self):
        defines = {
            "PORT": self.port, "WORK": self.directory, "CLOSECRM_SOCKET": self.socket,
            "SAMPLE": self.directory / "apache/proxy-fcgi.conf",
        }
        arguments = ["apache2", "-D", "FOREGROUND", "-D", "EVENT", "-f", str(self.directory / "apache/server.conf")]
        for name, value in defines.items():
            arguments += ["-C", f"Define {name} {value}"]
        self.start(arguments, {})

    def send(self, event_id, lead="lead_1", note="", kind="opportunity", action="updated", updated=None):
        """Sends a signed webhook; returns the status of its answer."""
        import json

        updated = updated or time.strftime("%Y-%m-%dT%H:%M:%S.000000", time.gmtime())
        event = {
            "event": {
                "id": event_id, "object_type": kind, "action": action, "lead_id": lead, "date_updated": updated,
                "changed_fields": ["note"], "previous_data": {"note": "before"},
                "data": {"note": note, "secret": "not to be seen", "value": 1200},
            },
            "subscription_id": "whsub_1",
        }
        body = json.dumps(event).encode()
        stamp = str(int(time.time()))
        signature = hmac.new(bytes.fromhex(SIGNATURE_KEY), stamp.encode() + body, hashlib.sha256).hexdigest()
        request = urllib.request.Request(
            self.url + "/acme", data=body,
            headers={"close-sig-hash": signature, "close-sig-timestamp": stamp, "Content-Type": "application/json"},
        )
        try:
            return urllib.request.urlopen(request, timeout=PATIENCE).status
        except urllib.error.HTTPError as error:
            return error.code

    def metrics(self):
        secret = base64.b64encode(f"admin:{PASSWORD}".encode()).decode()
        request = urllib.request.Request(self.url + "/metrics", headers={"Authorization": "Basic " + secret})
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            return answer.read()

    def metric(self, name):
        """The sum of what stands in its lines."""
        lines = [line.split() for line in self.metrics().decode().splitlines() if line.startswith(name)]
        return sum(float(line[-1]) for line in lines)

    def make_dead(self, *leads):
        """A refused event of each lead. It is a dead letter once the data plane has taken one of another lead that was
        sent after the program has seen the refusal, and asked with an empty batch whose fault it is: others are sent
        until that is so for all."""
        self.plane.refused_text = "poisoned"
        for lead in leads:
            self.send("ev_" + lead, lead=lead, note="poisoned")
        dead = lambda: self.metric("closecrm_dead_letters")
        wait_until(lambda: self.plane.asked or dead() > 0, PATIENCE, "it is refused")
        deadline = time.monotonic() + PATIENCE
        others = 0
        while others == 0 or dead() < len(leads):  # one of another lead is there in any case, for who looks at it
            if time.monotonic() > deadline:
                raise AssertionError(f"not within {PATIENCE} s: {len(leads)} dead letters")
            if others % 10 == 0:
                self.send(f"ev_good_{others // 10}", lead="lead_good")
            others += 1
            time.sleep(0.2)

    def stop(self, show_log=False):
        for process in reversed(self.processes):
            process.terminate()
        for process in self.processes:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
        if show_log:
            print((self.directory / "log").read_text(errors="replace")[-4000:])
        self.plane.stop()
        shutil.rmtree(self.directory, ignore_errors=True)
