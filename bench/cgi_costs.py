"""What an event costs under CGI: the processor time of the request's process and of all that it leaves behind, beside
that of a CGI program that does nothing and of PHP's, behind lighttpd's mod_cgi and Apache's mod_cgid, in turn."""
import contextlib
import grp
import hashlib
import hmac
import http.client
import os
import pwd
import shutil
import statistics
import threading
import time

import servers

RUNS = int(os.environ.get("CGI_RUNS", "200" if os.environ.get("LONG") else "20"))
BURST = 1000
CONNECTIONS = 16
PATIENCE_S = 120
OURS, FORWARDED, NULL, PHP = "ours", "ours, a process forwards", "null", "php-cgi"


class Program:
    """A CGI program in a server's cgi-bin, metered."""

    def __init__(self, folder, name, lines):
        self.name, self.lines = name, lines
        self.stem = folder / "cgi-bin" / "".join(c for c in name if c.isalpha())
        shutil.copy(servers.PROGRAMS / "meter", self.stem.with_suffix(".cgi"))
        self.stem.with_suffix(".run").write_text("\n".join(lines) + "\n")

    def taken_us(self):
        """Of each request so far, whose processes have all ended."""
        path = self.stem.with_suffix(".cpu")
        return [int(line) for line in path.read_text().split()] if path.exists() else []


class Server:
    def __init__(self, name, port):
        self.name, self.port, self.programs, self.number = name, port, {}, 0
        self.sample = (servers.ROOT / "tests/data/opportunity-updated.webhook.json").read_bytes()
        self.id_at = self.sample.rindex(b'"id": "ev_') + len(b'"id": "ev_')
        self.lock = threading.Lock()

    def event(self):
        with self.lock:
            self.number += 1
            digits = f"{os.getpid() % 1000000:08}{int(time.time()) % 100000:06}{self.number:08}".encode()
        return self.sample[:self.id_at] + digits + self.sample[self.id_at + len(digits):]

    def post(self, program):
        body, stamp = self.event(), str(int(time.time()))
        signature = hmac.new(bytes.fromhex(servers.SIGNATURE_KEY), stamp.encode() + body, hashlib.sha256).hexdigest()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        connection.request("POST", f"/{program.stem.name}.cgi", body,
                           {"Content-Type": "application/json", "close-sig-timestamp": stamp, "close-sig-hash": signature})
        answer = connection.getresponse()
        text = answer.read()
        connection.close()
        if answer.status != 200:
            raise RuntimeError(f"{self.name}, {program.name}: {answer.status} {text[:200]}")

    def wait_for(self, program, requests):
        """Until so many, and all that they left behind, have ended. Gives what they took."""
        deadline = time.monotonic() + PATIENCE_S
        while len(taken := program.taken_us()) < requests:
            if time.monotonic() > deadline:
                raise RuntimeError(f"{self.name}, {program.name}: processes do not end")
            time.sleep(0.02)
        return taken

    def one(self, program):
        """Microseconds of one event."""
        before = len(program.taken_us())
        self.post(program)
        return self.wait_for(program, before + 1)[-1]

    def burst(self, program):
        """Microseconds of each of a thousand events over sixteen connections at once."""
        before = len(program.taken_us())
        failures = []

        def send():
            try:
                for _ in range(BURST // CONNECTIONS):
                    self.post(program)
            except (OSError, RuntimeError, http.client.HTTPException) as failure:
                failures.append(failure)

        threads = [threading.Thread(target=send) for _ in range(CONNECTIONS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failures:
            raise RuntimeError(f"{self.name}, {program.name}: {failures[0]}")
        count = BURST // CONNECTIONS * CONNECTIONS
        return sum(self.wait_for(program, before + count)[before:]) / count


def configuration(folder, name, data_plane_port):
    """The environment that names a configuration with a state directory of its own."""
    state = folder / f"state-{name}"
    state.mkdir(mode=0o700)
    path = folder / f"{name}.conf"
    with open(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
        file.write(f"data_plane_url = http://127.0.0.1:{data_plane_port}\nwrite_key = {servers.WRITE_KEY}\n"
                   f"signature_key = {servers.SIGNATURE_KEY}\nlog_level = warn\nstate_dir = {state}\n")
    return f"CLOSECRM_CONFIG={path}"


def php_lines(data_plane_port):
    """None where there is no php-cgi with curl."""
    program = shutil.which("php-cgi", path=servers.PATH)
    return program and [program, f"SCRIPT_FILENAME={servers.ROOT}/bench/rivals/webhook.php", "REDIRECT_STATUS=200",
                        f"SIGNATURE_KEY={servers.SIGNATURE_KEY}", f"WRITE_KEY={servers.WRITE_KEY}",
                        f"DATA_PLANE_URL=http://127.0.0.1:{data_plane_port}"]


def command(name, folder, port):
    """Apache's children give up root, and all else must be theirs then."""
    user = pwd.getpwnam("www-data" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name)
    environment = {"BENCH_PORT": str(port), "BENCH_FOLDER": str(folder), "BENCH_USER": user.pw_name,
                   "BENCH_GROUP": grp.getgrgid(user.pw_gid).gr_name}
    words = {"lighttpd": ["lighttpd", "-D", "-f"], "Apache": ["apache2", "-D", "FOREGROUND", "-f"]}[name]
    return words + [servers.ROOT / f"bench/cgi_servers/{words[0].removesuffix('2')}.conf"], environment, user


def give(folder, user):
    if os.geteuid() == 0:
        for parent, folders, files in os.walk(folder):
            for name in [""] + folders + files:
                os.chown(os.path.join(parent, name), user.pw_uid, user.pw_gid)


@contextlib.contextmanager
def serving(name, data_plane_port):
    """Under /tmp, for the server's user may not look into everybody's home."""
    folder = servers.pathlib.Path(servers.tempfile.mkdtemp(prefix="closecrm-bench-"))
    try:
        folder.chmod(0o755)
        (folder / "cgi-bin").mkdir()
        shutil.copy(servers.ROOT / "build/release/closecrm.fcgi", folder)
        server = Server(name, servers.free_port())
        lines = {NULL: [str(servers.PROGRAMS / "null_cgi")], PHP: php_lines(data_plane_port),
                 OURS: [f"{folder}/closecrm.fcgi", configuration(folder, "ours", data_plane_port)],
                 FORWARDED: [f"{folder}/closecrm.fcgi", configuration(folder, "forwarded", data_plane_port)]}
        server.programs = {key: Program(folder, key, value) for key, value in lines.items() if value}
        words, environment, user = command(name, folder, server.port)
        give(folder, user)
        follow = [f"{folder}/closecrm.fcgi", "forward", "--follow"]
        as_user = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []} if os.geteuid() == 0 else {}
        lighttpd_too = as_user if name == "lighttpd" else {}
        with servers.running(f"follow-{name}", follow, dict([lines[FORWARDED][1].split("=", 1)]), **as_user), \
                servers.running(name, words, environment, ("127.0.0.1", server.port), **lighttpd_too):
            yield server
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def measure(say):
    """Microseconds for each server, program and way: {(server, program, "one" or "burst"): median}."""
    results = {}
    with servers.sink() as sink, serving("lighttpd", sink.port) as lighttpd, serving("Apache", sink.port) as apache:
        both = [(server, program) for server in (lighttpd, apache) for program in server.programs.values()]
        ones = {pair: [] for pair in both}
        for _ in range(RUNS):
            for server, program in both:
                ones[server, program].append(server.one(program))
        for (server, program), all_of_it in ones.items():
            results[server.name, program.name, "one"] = statistics.median(all_of_it)
            results[server.name, program.name, "burst"] = server.burst(program)
            say(f"CGI, {server.name}, {program.name}: {results[server.name, program.name, 'one']:.0f} us of CPU for one "
                f"event, {results[server.name, program.name, 'burst']:.0f} for each of {BURST} at once")
    return results
