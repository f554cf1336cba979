"""What much costs: the memory of a process that only accepts and of a pool's idle ones; thousands of clients that are
never done; and (LONG=1) a queue that remembers
20,000,000 identities, and one whose file has 8 GB, beside an empty one in turn. bench/grow makes both straight in the
database; they are removed afterwards."""
import contextlib
import hashlib
import hmac
import os
import shutil
import statistics
import subprocess
import time

import servers

POOL = 20
GOOD, CROWD = 100, 9900
IDENTITIES = int(os.environ.get("IDENTITIES", "20000000"))
LARGE_BYTES = int(os.environ.get("LARGE_BYTES", str(8 << 30)))
OPENINGS = 20
NO_LIMIT = "64G"
PROGRAM = servers.ROOT / "build/release/closecrm.fcgi"


def own_mb(process):
    """What would be free if it ended: Private_Dirty; and its share of what others use too: Pss."""
    with open(f"/proc/{process.pid}/smaps_rollup") as rollup:
        sizes = {words[0].rstrip(":"): int(words[1]) / 1024 for words in map(str.split, rollup) if words[-1] == "kB"}
    return sizes["Private_Dirty"], sizes["Pss"]


@contextlib.contextmanager
def pool(size):
    """Processes that share a state directory, as mod_fcgid starts them: the first forwards. Gives (socket, process) of
    the others."""
    servers.fresh_state()
    with contextlib.ExitStack() as stack:
        sink = stack.enter_context(servers.sink())
        stack.enter_context(servers.program(sink.port))
        time.sleep(1)
        environment = {"CLOSECRM_CONFIG": str(servers.WORK / "closecrm.conf")}
        others = [stack.enter_context(servers.spawned(f"pool-{i}", PROGRAM, environment)) for i in range(1, size)]
        time.sleep(1)
        yield others


def memory(load, say):
    """Of idle processes of a pool, and of one of them that has accepted."""
    with pool(POOL) as others:
        own = [own_mb(process) for _, process in others]
        sock, process = others[0]
        with servers.lighttpd(sock, process) as place:
            load(place)
        time.sleep(3)
        result = {"idle": max(dirty for dirty, _ in own), "idle_pss": max(pss for _, pss in own),
                  "accepted": servers.memory_mb(process), "accepted_own": own_mb(process)[0]}
    say(f"memory: an idle process of {POOL} has {result['idle']:.1f} MB of its own (Pss {result['idle_pss']:.1f}), one that "
        f"has accepted {result['accepted']:.1f} MB, {result['accepted_own']:.1f} of them its own")
    return result


@contextlib.contextmanager
def crowd(sock, size):
    """So many clients, whose requests come a byte a second."""
    arguments = [servers.PROGRAMS / "crowd", sock, size]
    with servers.running("crowd", arguments, stdout=subprocess.PIPE, text=True) as process:
        if not process.stdout.readline():
            raise RuntimeError(f"the crowd does not come: see {servers.WORK}/crowd.log")
        yield


def crowded(load, rounds, say):
    """The data plane away. Gives what GOOD clients see alone, and beside CROWD others, in turn."""
    results = {0: [], CROWD: []}
    for _ in range(rounds):
        for size, list_of in results.items():
            servers.fresh_state()
            with servers.program(servers.free_port()) as (sock, process), servers.lighttpd(sock, process) as place:
                with crowd(sock, size) if size else contextlib.nullcontext():
                    list_of.append(load(place, GOOD))
            say(f"{GOOD} clients beside {size:,} slow ones: {list_of[-1]['rate']:.0f}/s, p99 {list_of[-1]['p99_ms']:.2f} ms, "
                f"{list_of[-1]['cpu_us']:.0f} us of CPU a request, {list_of[-1]['failures']:.0f} failures")
    return results


def grow(state, what, size, say):
    servers.fresh_state(state)
    say(f"growing {state}: {what} {size}")
    servers.run_program("grow", what, size, environment=servers.configuration(9, state, queue_max_bytes=NO_LIMIT))


def draining(fill_and_drain, rounds, say):
    """A backlog, beside an empty index and beside a large one. The first drain of the large one makes its filter."""
    results = {"empty": [], "remembering": []}
    grow("remembering", "identities", IDENTITIES, say)
    try:
        fill_and_drain("remembering")
        for _ in range(rounds):
            servers.fresh_state("empty")
            for state, list_of in results.items():
                list_of.append(fill_and_drain(state))
                say(f"draining, {state}: {list_of[-1]['rate']:.0f}/s, {list_of[-1]['cpu_us']:.0f} us of CPU an event, memory "
                    f"{list_of[-1]['rss']:.1f} MB, at most {list_of[-1]['most']:.1f}")
    finally:
        shutil.rmtree(servers.STATES / "remembering", ignore_errors=True)
    return results


def cgi_ms(environment):
    """How long one CGI request takes that keeps an event, from its process's start to its end."""
    body = b'{"event":{"id":"ev_%d","object_type":"lead","action":"new"}}' % time.time_ns()
    stamp = str(int(time.time()))
    signature = hmac.new(bytes.fromhex(servers.SIGNATURE_KEY), stamp.encode() + body, hashlib.sha256).hexdigest()
    variables = {"PATH": servers.PATH, "GATEWAY_INTERFACE": "CGI/1.1", "SERVER_PROTOCOL": "HTTP/1.1", "REQUEST_METHOD": "POST",
                 "REMOTE_ADDR": "127.0.0.1", "CONTENT_TYPE": "application/json", "CONTENT_LENGTH": str(len(body)),
                 "HTTP_CLOSE_SIG_TIMESTAMP": stamp, "HTTP_CLOSE_SIG_HASH": signature}
    start = time.perf_counter()
    done = subprocess.run([PROGRAM], input=body, stdout=subprocess.PIPE, env=variables | environment)
    took = (time.perf_counter() - start) * 1000
    if b"ok" not in done.stdout:
        raise RuntimeError(f"a CGI request: {done.stdout[:200]}")
    return took


def command_ms(environment):
    start = time.perf_counter()
    subprocess.run([PROGRAM, "queue", "status"], stdout=subprocess.DEVNULL, env={"PATH": servers.PATH} | environment)
    return (time.perf_counter() - start) * 1000


def own_configuration(state):
    """Beside the others' configuration: who runs would notice that it was changed."""
    return {"CLOSECRM_CONFIG": str(servers.WORK / f"{state}.conf")}


@contextlib.contextmanager
def forwarding(state):
    servers.configuration(9, state, queue_max_bytes=NO_LIMIT)
    os.replace(servers.WORK / "closecrm.conf", servers.WORK / f"{state}.conf")
    with servers.running(f"follow-{state}", [PROGRAM, "forward", "--follow"], own_configuration(state)):
        time.sleep(1)
        yield


def opening(states, say):
    """Milliseconds of a CGI request and of a command, for each state directory: medians, in turn. A process forwards, so
    that no request leaves a child behind."""
    took = {(state, what): [] for state in states for what in ("request", "command")}
    with contextlib.ExitStack() as stack:
        for state in states:
            stack.enter_context(forwarding(state))
        for _ in range(OPENINGS):
            for state in states:
                took[state, "request"].append(cgi_ms(own_configuration(state)))
                took[state, "command"].append(command_ms(own_configuration(state)))
    result = {key: statistics.median(values) for key, values in took.items()}
    for (state, what), ms in result.items():
        say(f"a {what} with the queue {state}: {ms:.1f} ms")
    return result


def large(load, rounds, say):
    """Accepting into a file of so many bytes, the data plane away, beside an empty one; and opening it."""
    results = {"large": [], "empty": []}
    grow("large", "events", LARGE_BYTES, say)
    try:
        servers.fresh_state("empty")
        opened = opening(results, say)
        for _ in range(rounds):
            servers.fresh_state("empty")
            for state, list_of in results.items():
                with servers.ours(servers.free_port(), state, queue_max_bytes=NO_LIMIT) as place:
                    list_of.append(load(place))
                say(f"accepting, the queue {state}: {list_of[-1]['rate']:.0f}/s, {list_of[-1]['cpu_us']:.0f} us of CPU a request")
    finally:
        shutil.rmtree(servers.STATES / "large", ignore_errors=True)
    return results, opened
