"""`queue = postgresql` beside `queue = sqlite`: a primary and a synchronous standby on this machine, by Unix sockets, with
the settings of packaging/postgresql/patroni.yml. Each run has a database of its own, and all are taken in turn: accepting
with one process and with three, draining, and what is left in the tables when a million events have gone through."""
import concurrent.futures
import contextlib
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time

import servers

THREE = 3
FEW_CONNECTIONS = 16
SETTLED = int(os.environ.get("SETTLED", "1000000"))
SETTLED_SECONDS = 1200  # at most, for all of them
START_SECONDS = 60
USER = {"user": "postgres", "group": "postgres", "extra_groups": []} if os.geteuid() == 0 else {}
SETTINGS = """listen_addresses = ''
wal_log_hints = on
default_toast_compression = lz4
max_wal_size = 4GB
max_slot_wal_keep_size = 8GB
shared_buffers = 256MB
wal_sender_timeout = 5s
max_connections = 100
"""


def programs():
    """Where PostgreSQL's are; None: it is not installed."""
    found = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    return found[-1] if found else None


def ask(folder, sql, database="postgres"):
    """What SQL prints; rows are lines."""
    return subprocess.run(["psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-h", folder, "-U", "bench", "-d", database, "-c",
                           sql], check=True, stdout=subprocess.PIPE, text=True, timeout=SETTLED_SECONDS).stdout.strip()


@contextlib.contextmanager
def server(folder):
    """A cluster that stands in a folder, until the block's end."""
    with open(folder / "log", "ab") as log:
        process = subprocess.Popen([programs() / "postgres", "-D", folder / "data", "-k", folder], cwd=folder, stdout=log,
                                   stderr=log, stdin=subprocess.DEVNULL, **USER)
    try:
        deadline = time.monotonic() + START_SECONDS
        while subprocess.run([programs() / "pg_isready", "-q", "-h", folder], check=False).returncode != 0:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"PostgreSQL does not start: {(folder / 'log').read_text()[-2000:]}")
            time.sleep(0.1)
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)  # SIGTERM would wait for clients
            try:
                process.wait(120)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def make_folder(parent, name):
    folder = parent / name
    folder.mkdir(mode=0o755)
    if USER:
        shutil.chown(folder, "postgres", "postgres")
    return folder


class Pair:
    """A primary, and its standby, whose confirmation each commit waits for."""

    def __init__(self, primary, processes):
        self.primary = primary
        self.processes = processes
        self.databases = 0

    def database(self):
        """Makes an empty one. Gives the configuration's keys for it."""
        self.databases += 1
        ask(self.primary, f"CREATE DATABASE queue_{self.databases}")
        return {"queue": "postgresql", "queue_url": f"postgresql://bench@/queue_{self.databases}?host={self.primary}"}

    def drop(self):
        """Drops the last one, and leaves nothing to do for the next run's time."""
        ask(self.primary, f"DROP DATABASE queue_{self.databases} WITH (FORCE)")
        ask(self.primary, "CHECKPOINT")

    def ask(self, sql):
        return ask(self.primary, sql, f"queue_{self.databases}")

    def cpu_seconds(self):
        """Of all processes of both servers, and of those that have ended."""
        servers_of = {process.pid for process in self.processes}
        ticks = 0
        for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                fields = stat.read_text().rsplit(")", 1)[1].split()
                if int(stat.parent.name) in servers_of:
                    ticks += sum(map(int, fields[11:15]))
                elif int(fields[1]) in servers_of:
                    ticks += sum(map(int, fields[11:13]))
        return ticks / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def pair():
    """On the disk that is measured, in a folder that the user of PostgreSQL can reach."""
    parent = pathlib.Path(tempfile.mkdtemp(prefix="postgresql-", dir=servers.STATES))
    parent.chmod(0o755)
    try:
        if subprocess.run(["test", "-x", parent], check=False, cwd="/", **USER).returncode != 0:
            raise RuntimeError(f"the user postgres cannot reach {parent}: STATES=FOLDER names another folder")
        primary, standby = (make_folder(parent, name) for name in ("primary", "standby"))
        run = {"check": True, "stdout": subprocess.DEVNULL, "cwd": primary, **USER}
        subprocess.run([programs() / "initdb", "-D", primary / "data", "-U", "bench", "-A", "trust", "-E", "UTF8",
                        "--locale=C", "--data-checksums"], **run)
        with open(primary / "data" / "postgresql.conf", "a") as file:
            file.write(SETTINGS)
        with contextlib.ExitStack() as stack:
            first = stack.enter_context(server(primary))
            subprocess.run([programs() / "pg_basebackup", "-D", standby / "data", "-h", primary, "-U", "bench", "-R",
                            "-c", "fast", "-C", "-S", "standby"], **run)
            second = stack.enter_context(server(standby))
            ask(primary, "ALTER SYSTEM SET synchronous_standby_names = '*'")
            ask(primary, "SELECT pg_reload_conf()")
            deadline = time.monotonic() + START_SECONDS
            while ask(primary, "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'") != "1":
                if time.monotonic() > deadline:
                    raise RuntimeError("the standby is not synchronous")
                time.sleep(0.1)
            yield Pair(primary, (first, second))
    finally:
        shutil.rmtree(parent, ignore_errors=True)


# ---- accepting ----

def processor_ticks():
    """(idle, all) of the machine so far."""
    with open("/proc/stat") as stat:
        ticks = [int(word) for word in stat.readline().split()[1:9]]
    return ticks[3] + ticks[4], sum(ticks)


def accept_sqlite(load, program=None):
    """The data plane away."""
    servers.fresh_state()
    with servers.ours(servers.free_port(), executable=program) as place:
        return load(place)


def accept(load, both, processes=1):
    """The same with so many processes on one database, each with a web server, state directory and load of its own."""
    keys = both.database()
    with contextlib.ExitStack() as stack:
        places = []
        for number in range(processes):
            servers.fresh_state(f"state-{number}")
            places.append(stack.enter_context(
                servers.ours(servers.free_port(), f"state-{number}", name=f"closecrm-{number}", **keys)))
        before, (idle, ticks) = both.cpu_seconds(), processor_ticks()
        with concurrent.futures.ThreadPoolExecutor(processes) as threads:
            results = list(threads.map(load, places))
        idle, ticks = (now - then for now, then in zip(processor_ticks(), (idle, ticks)))
        result = {name: max(r[name] for r in results) for name in results[0]}
        result["rate"] = sum(r["rate"] for r in results)
        result["cpu_us"] = sum(r["cpu_us"] * r["rate"] for r in results) / result["rate"]
        result["busy"] = 1 - idle / ticks
        result["stored"] = int(both.ask("SELECT count(*) FROM closecrm.event"))
        result["servers_us"] = (both.cpu_seconds() - before) / max(1, result["stored"]) * 1e6
    both.drop()
    return result


def append(bench, both, processes):
    """The engine alone, without web servers and a client, which use the same processors."""
    keys = both.database()
    environments = []
    for number in range(processes):
        servers.fresh_state(f"state-{number}")
        environments.append(servers.configuration(9, f"state-{number}", f"closecrm-{number}.conf", **keys))
    count = bench.BACKLOG // processes
    runs = [bench.new_run() for _ in environments]

    def fill(run, environment):
        return servers.run_program("fill", count, bench.FILL_THREADS, run, environment=environment)

    began, before = time.monotonic(), both.cpu_seconds()
    with concurrent.futures.ThreadPoolExecutor(processes) as threads:
        list(threads.map(fill, runs, environments))
    rate = count * processes / (time.monotonic() - began)
    result = {"rate": rate, "servers_us": (both.cpu_seconds() - before) / (count * processes) * 1e6}
    both.drop()
    return result


# ---- draining ----

def drain(bench, both, message_bytes):
    """A backlog, as bench/run does it with SQLite."""
    keys = both.database()
    servers.fresh_state()
    servers.run_program("fill", bench.BACKLOG, bench.FILL_THREADS, bench.new_run(),
                        environment=servers.configuration(9, **keys))
    before = both.cpu_seconds()
    result = bench.drain(bench.BACKLOG, 0, message_bytes, **keys)
    result["servers_us"] = (both.cpu_seconds() - before) / bench.BACKLOG * 1e6
    both.drop()
    return result


# ---- what is left ----

TABLES = "SELECT coalesce(sum(pg_total_relation_size(oid)), 0) FROM pg_class WHERE relkind = 'r'" \
         " AND relnamespace = 'closecrm'::regnamespace AND relname"


def settle_many(load, both, message_bytes, say):
    """A million events are accepted as fast as they can be, and drained meanwhile; then nothing comes any more."""
    keys = both.database()
    servers.fresh_state()
    deadline = time.monotonic() + SETTLED_SECONDS
    with servers.sink(message_bytes=message_bytes) as sink, servers.ours(sink.port, **keys) as place:
        accepted = 0
        while accepted < SETTLED and time.monotonic() < deadline:
            load(place)
            accepted = int(both.ask("SELECT coalesce(sum(last_value), 0) FROM pg_sequences WHERE schemaname = 'closecrm'"
                                    " AND sequencename LIKE 'id%'"))
            say(f"settling: {accepted:,} of {SETTLED:,} accepted")
        while both.ask("SELECT count(*) FROM closecrm.event") != "0":
            if time.monotonic() > deadline:
                raise RuntimeError("the backlog does not end")
            time.sleep(1)
        time.sleep(6)  # the owner vacuums
        result = {"events": accepted, "mb": int(both.ask(f"{TABLES} <> 'known'")) / 1e6,
                  "known_mb": int(both.ask(f"{TABLES} = 'known'")) / 1e6,
                  "event_mb": int(both.ask(f"{TABLES} = 'event'")) / 1e6}
    both.drop()
    say(f"settled {accepted:,}: {result['mb']:.0f} MB ({result['event_mb']:.0f} MB of them for events), and "
        f"{result['known_mb']:.0f} MB of identities")
    return result


def measure(bench, load, message_bytes, rounds, before, say):
    """All in turn. before: SQLite's engine as it was; None: there is none. Gives lists of results by name."""
    results = {}

    def few(place):
        """As many connections as leave time of the processors, on which the servers and all clients are, too."""
        return load(place, FEW_CONNECTIONS)

    with pair() as both:
        candidates = {"sqlite": lambda: accept_sqlite(load), "one": lambda: accept(load, both),
                      "three": lambda: accept(load, both, THREE),
                      "few, one": lambda: accept(few, both), "few, three": lambda: accept(few, both, THREE)}
        if before:
            candidates = {"before": lambda: accept_sqlite(load, before)} | candidates
        for number in range(rounds):
            for name in candidates if number % 2 == 0 else reversed(candidates):
                result = candidates[name]()
                results.setdefault(name, []).append(result)
                say(f"accepting, {name}: {result['rate']:.0f}/s, p99 {result['p99_ms']:.2f} ms, {result['cpu_us']:.0f} us of "
                    "CPU"
                    + (f", the servers' {result['servers_us']:.0f}, processors {result['busy']:.0%} busy"
                       if "servers_us" in result else "")
                    + (f", {result['failures']:.0f} failures" if result["failures"] else ""))
            for processes in (1, THREE):
                alone = append(bench, both, processes)
                results.setdefault(f"engine {processes}", []).append(alone)
                say(f"the engine alone, {processes} at once: {alone['rate']:.0f}/s, the servers' {alone['servers_us']:.0f} us")
            results.setdefault("drain", []).append(drain(bench, both, message_bytes))
            say(f"draining: {results['drain'][-1]['rate']:.0f}/s, {results['drain'][-1]['cpu_us']:.0f} us of CPU an event, "
                f"the servers' {results['drain'][-1]['servers_us']:.0f}")
        results["settled"] = [settle_many(load, both, message_bytes, say)]
    return results
