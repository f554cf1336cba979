"""Who sends, the data plane, and the book of what was sent and what came."""
import collections
import gzip
import hashlib
import hmac
import http.client
import http.server
import json
import random
import threading
import time

from machines import OUTSIDE

SENDERS = 16
LEADS_EACH = 3
REPEATED = 0.05  # of the events, sent once more later, as Close does when an answer was lost
PAUSE = 0.05  # of a sender after an answer; the machines share two processors
TRY_SECONDS = 15  # Close's patience
FAULT_BEFORE, FAULT_AFTER = 5, 30  # seconds around a fault in which events may be delivered again


def digest(message):
    return hashlib.blake2b(json.dumps(message, sort_keys=True).encode(), digest_size=8).digest()


class Book:
    def __init__(self):
        self.lock = threading.Lock()
        self.accepted = {}  # id: (digest of its data, when answered 200)
        self.arrived = {}  # id: (digest of the message, of its data, when first)
        self.order = collections.defaultdict(list)  # lead: numbers as they first came
        self.repeats = []  # (id, when first, when again)
        self.altered = set()
        self.answers = collections.Counter()
        self.successes = []  # times of 200
        self.deliveries = []  # times of batches
        self.faults = []  # [kind, began, ended]

    def take(self, messages):
        now = time.monotonic()
        with self.lock:
            self.deliveries.append(now)
            for message in messages:
                event, whole = message["messageId"], digest(message)
                if event in self.arrived:
                    self.repeats.append((event, self.arrived[event][2], now))
                    if self.arrived[event][0] != whole:
                        self.altered.add(event)
                    continue
                data = message["properties"]["data"]
                self.arrived[event] = (whole, digest(data), now)
                self.order[message["userId"]].append(data["number"])

    def gap(self, times, begin, end):
        """The longest time without one between the two, in seconds."""
        with self.lock:
            marks = [begin] + [at for at in times if begin <= at <= end] + [end]
        return max(b - a for a, b in zip(marks, marks[1:]))

    def missing(self):
        with self.lock:
            return [event for event in self.accepted if event not in self.arrived]

    def excused(self, first, again):
        return any(began - FAULT_BEFORE <= again <= ended + FAULT_AFTER and first <= ended + FAULT_AFTER
                   for _, began, ended in self.faults)

    def judge(self):
        wrong = []
        altered = self.altered | {event for event, (data, _) in self.accepted.items()
                                  if event in self.arrived and self.arrived[event][1] != data}
        twice = [event for event, first, again in self.repeats if not self.excused(first, again)]
        disorder = [lead for lead, numbers in self.order.items() if numbers != sorted(numbers)]
        for what, which in (("were answered 200 and are lost", self.missing()), ("are altered", sorted(altered)),
                            ("came twice without a cause", twice)):
            if which:
                wrong.append(f"{len(which)} events {what}: {', '.join(which[:5])}")
        if disorder:
            wrong.append(f"the order of {len(disorder)} leads is not kept: {', '.join(disorder[:3])}")
        strange = [status for status in self.answers if status not in (0, 200, 500, 503)]
        if strange:
            wrong.append(f"answers that are neither 200 nor 503: {strange}")
        return wrong


class Plane:
    """A data plane that takes everything."""

    def __init__(self, book):
        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                book.take(json.loads(body)["batch"])
                self.send_response(200)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"OK")

            def log_message(self, *_):
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_):
                pass  # who posts may be killed

        self.server = Server((OUTSIDE, 0), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


class Sender(threading.Thread):
    """Sends events of leads of its own, each until it is answered 200, and only then the next one: so each lead's order
    is known. Tries another web machine each time, as a load balancer does."""

    def __init__(self, number, addresses, key, book, over, seed):
        super().__init__(daemon=True)
        self.number, self.addresses, self.key, self.book, self.over = number, addresses, key, book, over
        self.pick = random.Random(f"{seed} {number}")
        self.sent = []  # some bodies, to be sent once more

    def post(self, body):
        stamp = str(int(time.time()))
        headers = {"Content-Type": "application/json", "close-sig-timestamp": stamp,
                   "close-sig-hash": hmac.new(bytes.fromhex(self.key), stamp.encode() + body, "sha256").hexdigest()}
        connection = http.client.HTTPConnection(self.pick.choice(self.addresses), 80, timeout=2)
        try:
            connection.connect()
            connection.sock.settimeout(TRY_SECONDS)
            connection.request("POST", "/closecrm", body, headers)
            status = connection.getresponse().status
        except (OSError, http.client.HTTPException):
            status = 0
        finally:
            connection.close()
        with self.book.lock:
            self.book.answers[status] += 1
            if status == 200:
                self.book.successes.append(time.monotonic())
        return status

    def event(self, count):
        ident, lead = f"ev_{self.number}_{count}", f"lead_{self.number}_{count % LEADS_EACH}"
        data = {"id": f"acti_{self.number}_{count}", "number": count, "note": f"{ident} é\U0001f639 <b>", "value": 1200.5,
                "body": "x" * self.pick.choice([10, 300, 1500, 6000])}
        now = time.strftime("%Y-%m-%dT%H:%M:%S.000000", time.gmtime())
        return ident, data, json.dumps({"event": {
            "id": ident, "object_type": "activity.note", "action": "created", "object_id": data["id"], "lead_id": lead,
            "date_created": now, "date_updated": now, "organization_id": "orga_1", "user_id": "user_1", "data": data,
            "previous_data": {}, "changed_fields": [], "meta": {}}, "subscription_id": "whsub_1"}).encode()

    def run(self):
        count = 0
        while not self.over.is_set():
            ident, data, body = self.event(count)
            count += 1
            while self.post(body) != 200:
                if self.over.wait(0.3):
                    return
            with self.book.lock:
                self.book.accepted[ident] = (digest(data), time.monotonic())
            if self.pick.random() < REPEATED:
                self.sent.append(body)
            if self.sent and self.pick.random() < REPEATED:
                self.post(self.sent.pop(0))
            self.over.wait(PAUSE)
