"""Machines of a failover test: each a network namespace with an address and the processes in it, so that one can die with
all that it runs, stand still, or be out of reach. Belongs into namespaces of its own (run.py): they end with the test."""
import os
import pathlib
import shutil
import signal
import subprocess
import time
import urllib.request
import json

ROOT = pathlib.Path(__file__).resolve().parents[2]
SAMPLES = ROOT / "packaging/postgresql"
OUTSIDE = "10.0.0.1"  # who sends, and the data plane


def run(*arguments, seconds=30, **more):
    return subprocess.run([str(one) for one in arguments], check=True, timeout=seconds, stdin=subprocess.DEVNULL, **more)


def make_network():
    run("mount", "-t", "tmpfs", "none", "/run")
    run("ip", "link", "set", "lo", "up")
    run("ip", "link", "add", "machines", "type", "bridge")
    run("ip", "addr", "add", f"{OUTSIDE}/24", "dev", "machines")
    run("ip", "link", "set", "machines", "up")


def state_of(pid):
    """The letter of a process's state, or "" when it is gone."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


class Machine:
    """Its processes are those in its network: who forked whom does not matter."""

    def __init__(self, name, address, place):
        self.name, self.address, self.place = name, address, place / name
        self.place.mkdir(mode=0o755)
        self.wire = f"w-{name}"
        run("ip", "netns", "add", name)
        run("ip", "link", "add", self.wire, "type", "veth", "peer", "name", "eth0", "netns", name)
        run("ip", "link", "set", self.wire, "master", "machines", "up")
        run("ip", "-n", name, "addr", "add", f"{address}/24", "dev", "eth0")
        run("ip", "-n", name, "link", "set", "eth0", "up")
        run("ip", "-n", name, "link", "set", "lo", "up")
        self.inode = os.stat(f"/run/netns/{name}").st_ino

    def command(self, arguments, user):
        switch = ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups", "--"] if user else []
        return ["nsenter", f"--net=/run/netns/{self.name}", "--", *switch, *(str(one) for one in arguments)]

    def start_process(self, name, arguments, user=None, environment=None):
        with open(self.place / f"{name}.log", "ab") as log:
            return subprocess.Popen(self.command(arguments, user), stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                                    cwd=self.place, start_new_session=True,
                                    env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", **(environment or {})})

    def ask(self, arguments, user=None, environment=None, seconds=60):
        """Runs a command. Gives its status and what it printed."""
        done = subprocess.run(self.command(arguments, user), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, timeout=seconds,
                              stderr=subprocess.STDOUT, text=True, cwd=self.place,
                              env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", **(environment or {})})
        return done.returncode, done.stdout

    def processes(self, word=None):
        """Those that run, or stand still; word: whose name has it."""
        found = []
        for entry in os.listdir("/proc"):
            try:
                if entry.isdigit() and os.stat(f"/proc/{entry}/ns/net").st_ino == self.inode and \
                        state_of(entry) not in ("Z", "X", "") and \
                        (word is None or word in pathlib.Path(f"/proc/{entry}/comm").read_text()):
                    found.append(int(entry))
            except OSError:
                pass  # it ended
        return found

    def signal(self, number, word=None, seconds=20):
        """Sends a signal to all, until it has taken effect on all: some may just be starting others."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            left = [pid for pid in self.processes(word) if number != signal.SIGSTOP or state_of(pid) != "T"]
            for pid in left:
                try:
                    os.kill(pid, number)
                except ProcessLookupError:
                    pass
            if not left or number == signal.SIGCONT:
                return
            time.sleep(0.01)
        raise RuntimeError(f"processes of {self.name} do not take signal {number}: {self.processes(word)}")

    def unplug(self):
        run("ip", "link", "set", self.wire, "down")

    def plug(self):
        run("ip", "link", "set", self.wire, "up")

    def die(self):
        """As by a power cut: nobody hears of it."""
        self.unplug()
        self.signal(signal.SIGKILL)

    def live(self):
        self.plug()
        self.start()

    def log(self, lines=30):
        text = []
        for path in sorted(self.place.glob("*.log")):
            text += [f"--- {self.name} {path.name}"] + path.read_text(errors="replace").splitlines()[-lines:]
        return "\n".join(text)


class DatabaseMachine(Machine):
    """etcd, Patroni and PostgreSQL, as packaging/postgresql has them, with other paths."""

    def __init__(self, number, place, passwords, certificates, venv):
        super().__init__(f"n{number}", f"10.0.0.{10 + number}", place)
        self.venv = venv
        for name in ("data", "etcd", "run", "etc"):
            (self.place / name).mkdir(mode=0o700)
        paths = {"/var/lib/postgresql/closecrm.pgpass": "pgpass", "/var/lib/postgresql/closecrm": "data/closecrm",
                 "/run/postgresql": "run", "/etc/patroni": "etc", "/var/lib/etcd/closecrm": "etcd/closecrm"}
        for sample in ("patroni.yml", "etcd.default"):
            text = "\n".join(self.own(line, before) for before, line in self.lines(SAMPLES / sample))
            for path, here in paths.items():
                text = text.replace(path, str(self.place / here))
            for name, password in passwords.items():
                text = text.replace(f"CHANGE-{name}", password)
            text = text.replace("/usr/lib/postgresql/17/", f"/usr/lib/postgresql/{newest_postgresql()}/")
            (self.place / "etc" / sample).write_text(text + "\n")
        certificates.write(self.place / "etc", self.address)
        run("chown", "-R", "postgres:postgres", self.place)

    @staticmethod
    def lines(path):
        before = ""
        for line in path.read_text().splitlines():
            yield before, line
            before = line

    def own(self, line, before):
        """A sample's line, which is the first machine's, as this machine has it."""
        if "# own" in line or before == "# own":
            return line.replace("10.0.0.11", self.address).replace("n1", self.name)
        return line

    def start(self):
        settings = dict(line.split("=", 1) for line in (self.place / "etc/etcd.default").read_text().splitlines()
                        if line and not line.startswith("#"))
        self.start_process("etcd", ["etcd"], "postgres", settings)
        self.start_process("patroni", [self.venv / "bin/patroni", self.place / "etc/patroni.yml"], "postgres")

    def get(self, path):
        """What its Patroni says; None: nothing."""
        try:
            with urllib.request.urlopen(f"http://{self.address}:8008{path}", timeout=2) as answer:
                return json.load(answer)
        except (OSError, ValueError):
            return None

    def sql(self, text, database="postgres", **variables):
        """As superuser, over its socket. Gives what was printed."""
        more = [f"-v{name}={value}" for name, value in variables.items()]
        status, printed = self.ask(["psql", "-X", "-q", "-A", "-t", "-vON_ERROR_STOP=1", *more, "-h", self.place / "run",
                                    "-d", database, *text], "postgres")
        if status != 0:
            raise RuntimeError(f"psql on {self.name}: {printed}")
        return printed.strip()


class WebMachine(Machine):
    """lighttpd with the program, as lighttpd/fastcgi.conf has it, without https."""

    def __init__(self, number, place, keys, certificates, program):
        super().__init__(f"w{number}", f"10.0.0.{20 + number}", place)
        self.program = program
        for name in ("state", "run"):
            (self.place / name).mkdir(mode=0o700)
        certificates.write_ca(self.place)
        sample = (ROOT / "lighttpd/fastcgi.conf").read_text()
        for path, here in {"/usr/lib/closecrm/closecrm.fcgi": program, "/etc/closecrm.conf": self.place / "closecrm.conf",
                           "/run/lighttpd/": f"{self.place}/run/"}.items():
            sample = sample.replace(path, str(here))
        text = "".join(line for line in sample.splitlines(True) if "# https only" not in line)
        (self.place / "lighttpd.conf").write_text(
            f'server.port = 80\nserver.bind = "{self.address}"\nserver.document-root = "/srv"\n'
            f'server.username = "www-data"\nserver.groupname = "www-data"\n{text}')
        (self.place / "closecrm.conf").write_text("".join(
            f"{key} = {value}\n" for key, value in {**keys, "state_dir": self.place / "state", "log_level": "info",
                                                   "ca_file": self.place / "ca.crt"}.items()))
        (self.place / "closecrm.conf").chmod(0o600)
        run("chown", "-R", "www-data:www-data", self.place)

    def start(self):
        (self.place / "run/closecrm.sock").unlink(missing_ok=True)
        self.start_process("lighttpd", ["lighttpd", "-D", "-f", self.place / "lighttpd.conf"])

    def closecrm(self, *arguments, seconds=60):
        return self.ask([self.program, *arguments], "www-data", {"CLOSECRM_CONFIG": str(self.place / "closecrm.conf")}, seconds)


class Certificates:
    """A CA of the test's own, and a certificate for each address."""

    def __init__(self, place):
        self.place = place
        place.mkdir(mode=0o700)
        self.openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=tests", "-keyout", "ca.key",
                     "-out", "ca.crt")

    def openssl(self, *arguments):
        run("openssl", *arguments, cwd=self.place, stderr=subprocess.DEVNULL)

    def write_ca(self, folder):
        shutil.copy(self.place / "ca.crt", folder / "ca.crt")

    def write(self, folder, address):
        (self.place / "extensions").write_text(f"subjectAltName=IP:{address}\n")
        self.openssl("req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={address}", "-keyout", "one.key", "-out", "one.csr")
        self.openssl("x509", "-req", "-in", "one.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2",
                     "-extfile", "extensions", "-out", "one.crt")
        self.write_ca(folder)
        shutil.copy(self.place / "one.crt", folder / "server.crt")
        shutil.copy(self.place / "one.key", folder / "server.key")
        (folder / "server.key").chmod(0o600)


def newest_postgresql():
    return max(int(one.name) for one in pathlib.Path("/usr/lib/postgresql").iterdir() if one.name.isdigit())
