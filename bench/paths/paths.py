#!/usr/bin/env python3
"""Through how many files of ours a webhook, an event and a page of Close's Event Log pass on their normal way: the
program's `trace` variant is run once with each, behind stand-ins, and the files are counted whose functions the threads
entered that carry them. Prints the table that ARCHITECTURE.md shows; fails when a way is longer than it may be."""
import datetime
import hashlib
import hmac
import http.server
import itertools
import json
import os
import pathlib
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
PROGRAM = ROOT / "build" / "trace" / "closecrm.fcgi"
SIGNATURE_KEY = "5f" * 32
WAIT_SECONDS = 30

# A way: what it is called, the epoch in which it is gone, functions by which its threads are known, the function with
# which it is over (what the end of the program frees is not on it), and how many files it passes now: more is a failure.
WAYS = [
    ("A webhook's body: from the request to the synced commit", "webhook", {"webhook_handle", "commit_group"}, None, 14),
    ("An event: from the queue to its verdict", "webhook", {"store_settle"}, None, 24),
    ("A page of the Event Log: from Close's answer to the appended events", "page", {"store_append", "commit_group"},
     "import_free", 18),
]
NO_PART = ("base/", "commands/")  # below all, as libc is, and above the page: what prints that it is done
EPOCHS = {"start": 0, "webhook": 1, "page": 2, "end": 3}


class StandIn(http.server.BaseHTTPRequestHandler):
    """The data plane and Close's Event Log, on one port. What was delivered is in server.delivered."""
    protocol_version = "HTTP/1.1"

    def answer(self, body):
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        length = int(self.headers.get("Content-Length", 0))
        self.rfile.read(length)
        self.server.delivered.set()
        self.answer(b"OK")

    def do_GET(self):
        page = {"data": [], "cursor_next": None, "cursor_previous": None}
        if "/event/" in self.path and "_cursor=" not in self.path:
            page = {"data": [event("ev_2"), event("ev_3")], "cursor_next": None, "cursor_previous": None}
            self.server.set_epoch("page")
        self.answer(json.dumps(page).encode())

    def log_message(self, *_):
        pass


def event(name):
    hour = datetime.timedelta(hours=1)  # ago: surely within the time that is asked for
    now = (datetime.datetime.now(datetime.timezone.utc) - hour).strftime("%Y-%m-%dT%H:%M:%S.%f")
    return {"id": name, "date_created": now, "date_updated": now, "organization_id": "orga_1", "user_id": "user_1",
            "object_type": "lead", "action": "updated", "object_id": "lead_1", "lead_id": "lead_1",
            "changed_fields": ["name"], "previous_data": {"name": "a"}, "data": {"id": "lead_1", "name": "b"},
            "meta": {}, "request_id": "req_1"}


def record(kind, content):
    return struct.pack(">BBHHBB", 1, kind, 1, len(content), 0, 0) + content


def parameters(values):
    out = b""
    for name, value in values.items():
        out += struct.pack(">II", len(name) | 0x80000000, len(value) | 0x80000000) + name.encode() + value.encode()
    return out


def post_webhook(address, name):
    body = json.dumps({"event": event(name), "subscription_id": "whsub_1"}).encode()
    stamp = str(int(time.time()))
    digest = hmac.new(bytes.fromhex(SIGNATURE_KEY), stamp.encode() + body, hashlib.sha256).hexdigest()
    values = {"REQUEST_METHOD": "POST", "PATH_INFO": "", "CONTENT_LENGTH": str(len(body)), "REMOTE_ADDR": "127.0.0.1",
              "HTTP_CLOSE_SIG_HASH": digest, "HTTP_CLOSE_SIG_TIMESTAMP": stamp}
    with socket.socket(socket.AF_UNIX) as web:
        web.connect(address)
        web.sendall(record(1, struct.pack(">HB5x", 1, 0)) + record(4, parameters(values)) + record(4, b"") +
                    record(5, body) + record(5, b""))
        answer = b""
        while chunk := web.recv(65536):
            answer += chunk
    if b"200" not in answer[:64] and b"\nok" not in answer:
        raise RuntimeError(f"the webhook was not taken: {answer[:300]!r}")


def run_service(folder, environment, server):
    address = str(folder / "socket")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(address)
        listening.listen(8)
        program = subprocess.Popen([PROGRAM], stdin=listening, env=environment)
    try:
        for name, epoch in (("ev_0", "start"), ("ev_1", "webhook")):
            server.set_epoch(epoch)
            server.delivered.clear()
            post_webhook(address, name)
            if not server.delivered.wait(WAIT_SECONDS):
                raise RuntimeError("the event was not delivered")
            time.sleep(1)  # for the verdict to be written
        server.set_epoch("end")
    finally:
        program.send_signal(signal.SIGTERM)
        program.wait(WAIT_SECONDS)


def own_file(path):
    """The path from here of a file of ours, also where a compiler's cache has it from another clone; "": the system's."""
    parts = pathlib.PurePath(os.path.normpath(path)).parts
    tails = (os.path.join(*parts[i:]) for i in range(len(parts)))
    return next((tail for tail in tails if not tail.startswith(("/", "..")) and (ROOT / tail).is_file()), "")


def functions_of(offsets):
    """(name, file) of each function of ours, by its offset."""
    text = subprocess.run(["addr2line", "-f", "-e", PROGRAM] + sorted(offsets), capture_output=True, text=True,
                          check=True).stdout.split("\n")
    found = {}
    for offset, name, place in zip(sorted(offsets), text[0::2], text[1::2]):
        found[offset] = (name, own_file(place.rsplit(":", 1)[0]))
    return found


def threads_of(trace, epoch):
    """For each thread the offsets of the functions that it entered in an epoch."""
    found = {}
    for line in trace.read_text().splitlines():
        number, process, thread, offset = line.split()
        if int(number) == EPOCHS[epoch]:
            found.setdefault((process, thread), []).append(offset)
    return found


def report(trace):
    good = True
    for title, epoch, known_by, over_by, most in WAYS:
        files, missing = [], set(known_by)
        for offsets in threads_of(trace, epoch).values():
            entered = functions_of(offsets)
            names = {name for name, _ in entered.values()}
            if not names & known_by:
                continue
            missing -= names
            offsets = list(itertools.takewhile(lambda o: entered[o][0] != over_by, offsets))
            files += [entered[o][1] for o in offsets if entered[o][1] and not entered[o][1].startswith(NO_PART)]
            if os.environ.get("PATHS_FUNCTIONS"):
                print("\n".join(f"  {entered[o][1]}: {entered[o][0]}" for o in offsets))
        if missing:
            raise RuntimeError(f"{title}: no thread entered {', '.join(sorted(missing))}")
        files = list(dict.fromkeys(files))
        print(f"{title}: {len(files)} files (at most {most})\n  " + ", ".join(files))
        good = good and len(files) <= most
    return good


def main():
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        epoch = folder / "epoch"
        epoch.write_bytes(bytes(4))
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), StandIn)
        server.delivered = threading.Event()
        server.set_epoch = lambda name: epoch.open("r+b").write(struct.pack("=I", EPOCHS[name]))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        config = folder / "closecrm.conf"
        config.write_text(f"data_plane_url = {url}\nwrite_key = key\nsignature_key = {SIGNATURE_KEY}\n"
                          f"state_dir = {folder}/state\nclose_api_key = api_key\nclose_api_url = {url}/api/v1\n"
                          "reconcile_interval = 0s\nlog_level = error\n")
        config.chmod(0o600)
        environment = {"PATH": os.environ["PATH"], "CLOSECRM_CONFIG": str(config), "PATHS_TRACE": str(folder / "trace"),
                       "PATHS_EPOCH": str(epoch)}
        run_service(folder, environment, server)
        server.set_epoch("start")
        subprocess.run([PROGRAM, "backfill", "--since", "1d", "--all-events"], env=environment, check=True,
                       stdout=subprocess.DEVNULL, timeout=WAIT_SECONDS)
        good = report(folder / "trace")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
