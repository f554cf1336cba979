"""Starting and ending what is measured: web servers, the program, the null responder, the rivals, the sink. Everything
lives under build/bench, listens on 127.0.0.1 only, and ends with the block that started it."""
import contextlib
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
import urllib.request
from typing import NamedTuple

ROOT = pathlib.Path(__file__).resolve().parent.parent
WORK = ROOT / "build" / "bench"
STATES = pathlib.Path(os.environ.get("STATES") or WORK)  # where state directories are made: which disk is measured
PROGRAMS = ROOT / "build" / "release" / "bench"
RIVALS = WORK / "rivals"
SIGNATURE_KEY = "5f" * 32
WRITE_KEY = "benchmark-write-key"
ADMIN_PASSWORD = "benchmark-password"
START_SECONDS = 10
PATH = os.environ.get("PATH", "/usr/bin:/bin") + ":/usr/sbin:/sbin"


class Place(NamedTuple):
    """Where to post to, and which process answers."""
    port: int
    path: str
    process: subprocess.Popen


def free_port():
    """A TCP port on 127.0.0.1 that was free just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def accepts(address):
    family = socket.AF_INET if isinstance(address, tuple) else socket.AF_UNIX
    with socket.socket(family) as probe:
        return probe.connect_ex(address) == 0


@contextlib.contextmanager
def running(name, arguments, environment=None, listens=None, **more):
    """Runs a program, with nothing of this one's environment; waits until it listens; ends it."""
    log = open(WORK / f"{name}.log", "ab")
    process = subprocess.Popen([str(a) for a in arguments], cwd=ROOT, stderr=log, stdin=subprocess.DEVNULL,
                               env={"PATH": PATH, **(environment or {})}, **({"stdout": log} | more))
    try:
        deadline = time.monotonic() + START_SECONDS
        while listens is not None and not accepts(listens):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{name} does not start: see {WORK / name}.log")
            time.sleep(0.02)
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        log.close()


@contextlib.contextmanager
def lighttpd(sock, process, file="lighttpd/server.conf", path="/closecrm"):
    """A whole lighttpd in front of a process's FastCGI socket. Gives the place to post to."""
    port = free_port()
    environment = {"SAMPLE_PORT": str(port), "SAMPLE_SOCKET": str(sock), "SAMPLE_WORK": str(WORK),
                   "SAMPLE_NAME": "spawn-fcgi", "BENCH_RIVALS": str(ROOT / "bench/rivals")}
    with running("lighttpd", ["lighttpd", "-D", "-f", file], environment, ("127.0.0.1", port)):
        yield Place(port, path, process)


@contextlib.contextmanager
def spawned(name, program, environment=None):
    """A FastCGI program under spawn-fcgi. Gives its socket and its process."""
    sock = WORK / f"{name}.sock"
    sock.unlink(missing_ok=True)
    arguments = ["spawn-fcgi", "-n", "-s", sock, "-M", "0600", "--", program]
    with running(name, arguments, environment, str(sock)) as process:
        yield sock, process


@contextlib.contextmanager
def null():
    with spawned("null", PROGRAMS / "null") as (sock, process), lighttpd(sock, process) as place:
        yield place


def fresh_state(name="state"):
    shutil.rmtree(STATES / name, ignore_errors=True)
    (STATES / name).mkdir(mode=0o700, parents=True)


def configuration(data_plane_port, state="state", file="closecrm.conf", **other_keys):
    """Writes the program's configuration. Gives the environment that names it."""
    path = WORK / file
    path.unlink(missing_ok=True)
    keys = {"data_plane_url": f"http://127.0.0.1:{data_plane_port}", "write_key": WRITE_KEY,
            "signature_key": SIGNATURE_KEY, "log_level": "warn", "state_dir": STATES / state,
            "admin_password": ADMIN_PASSWORD} | other_keys
    with open(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
        file.writelines(f"{key} = {value}\n" for key, value in keys.items())
    return {"CLOSECRM_CONFIG": str(path)}


@contextlib.contextmanager
def program(data_plane_port, state="state", name="closecrm", executable=None, **other_keys):
    """closecrm.fcgi alone, with the state directory as it is. Gives its socket and its process. name: of its files, where
    several run; executable: another one than this tree's."""
    environment = configuration(data_plane_port, state, f"{name}.conf", **other_keys)
    with spawned(name, executable or ROOT / "build/release/closecrm.fcgi", environment) as started:
        yield started


@contextlib.contextmanager
def ours(data_plane_port, state="state", **other_keys):
    with program(data_plane_port, state, **other_keys) as (sock, process), lighttpd(sock, process) as place:
        yield place


@contextlib.contextmanager
def page_open(place):
    """The status page, as a browser has it open: it asks for the facts once a second."""
    passwords = urllib.request.HTTPPasswordMgrWithPriorAuth()
    passwords.add_password(None, f"http://127.0.0.1:{place.port}/", "admin", ADMIN_PASSWORD, is_authenticated=True)
    browser = urllib.request.build_opener(urllib.request.HTTPBasicAuthHandler(passwords))
    closed = threading.Event()
    answers = []

    def look():
        while not closed.wait(1):
            with browser.open(f"http://127.0.0.1:{place.port}{place.path}/status?format=json", timeout=10) as answer:
                answers.append(len(answer.read()))

    looking = threading.Thread(target=look)
    looking.start()
    try:
        yield
    finally:
        closed.set()
        looking.join()
    if not answers:
        raise RuntimeError("the status page was not answered")


class Sink:
    """A data plane that only counts."""

    def __init__(self, process, port):
        self.process = process
        self.port = port

    def counts(self, seconds):
        """Waits for its end. Gives the counts that it prints then."""
        return read_line(self.process.communicate(timeout=seconds)[0])

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        return self.counts(10)


@contextlib.contextmanager
def sink(delay_ms=0, events=0, message_bytes=0):
    port = free_port()
    arguments = [PROGRAMS / "sink", port, delay_ms, events, message_bytes]
    with running("sink", arguments, None, ("127.0.0.1", port), stdout=subprocess.PIPE, text=True) as process:
        yield Sink(process, port)


@contextlib.contextmanager
def php(data_plane_port, children=16):
    """As many children as do best on two cores with a data plane that answers at once. With one that is far away all
    of them wait: as many as there are connections do better."""
    sock = WORK / "php.sock"
    sock.unlink(missing_ok=True)
    environment = {"BENCH_WORK": str(WORK), "SAMPLE_SOCKET": str(sock), "SIGNATURE_KEY": SIGNATURE_KEY,
                   "WRITE_KEY": WRITE_KEY, "DATA_PLANE_URL": f"http://127.0.0.1:{data_plane_port}",
                   "PHP_CHILDREN": str(children)}
    arguments = [RIVALS / "php-fpm", "--nodaemonize", "--allow-to-run-as-root", "--fpm-config",
                 "bench/rivals/php-fpm.conf"]
    with running("php-fpm", arguments, environment, str(sock)) as process:
        with lighttpd(sock, process, "bench/rivals/php.conf", "/webhook.php") as place:
            yield place


@contextlib.contextmanager
def node(data_plane_port):
    port = free_port()
    environment = {"PORT": str(port), "SIGNATURE_KEY": SIGNATURE_KEY, "WRITE_KEY": WRITE_KEY,
                   "DATA_PLANE_URL": f"http://127.0.0.1:{data_plane_port}", "NODE_ENV": "production"}
    with running("node", ["node", RIVALS / "webhook.js"], environment, ("127.0.0.1", port)) as process:
        yield Place(port, "/closecrm", process)


def rivals():
    """The names of those that can run."""
    return subprocess.run(["bench/rivals/setup"], cwd=ROOT, stdout=subprocess.PIPE, text=True).stdout.split()


def read_line(text):
    """name=value name=value → numbers by name."""
    return {name: float(value) for name, value in (word.split("=") for word in text.split())}


def run_program(name, *arguments, environment=None, may_fail=False):
    """Runs one of bench's programs to its end. Gives the numbers that it prints."""
    done = subprocess.run([str(PROGRAMS / name), *map(str, arguments)], cwd=ROOT, stdout=subprocess.PIPE, text=True,
                          env={"PATH": PATH, **(environment or {})})
    if done.returncode != 0 and not may_fail:
        raise RuntimeError(f"bench/{name} failed: {done.stdout}")
    return read_line(done.stdout)


def memory_mb(process, what="VmRSS"):
    with open(f"/proc/{process.pid}/status") as status:
        for line in status:
            if line.startswith(what + ":"):
                return int(line.split()[1]) / 1024
    return 0.0


def settled_memory_mb(process):
    """Once the process is at rest: identities are merged after the last event has left, from the third second on, and for
    minutes where very many are remembered."""
    for _ in range(60):
        before = cpu_seconds(process)
        time.sleep(5)
        if cpu_seconds(process) - before < 0.1:
            break
    return memory_mb(process)


def cpu_seconds(process):
    """What the process alone has used so far: steadier on a busy machine than any rate."""
    with open(f"/proc/{process.pid}/stat") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def sync_ms():
    """How long a commit's sync takes on that disk now: the median of 100 of 32 KiB each."""
    took = []
    path = STATES / "sync"
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
    for i in range(100):
        os.pwrite(file, b"s" * 32768, i * 32768)
        start = time.perf_counter()
        os.fdatasync(file)
        took.append((time.perf_counter() - start) * 1000)
    os.close(file)
    path.unlink()
    return sorted(took)[50]
