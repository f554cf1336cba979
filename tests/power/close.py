"""A stand-in for Close: subscriptions with keys, an Event Log, a clock of its own, which the trials set forward."""
import bisect
import datetime
import http.server
import json
import secrets
import threading
import time
import urllib.parse

PAGE = 50


def date(seconds):
    return datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%f")


def read_date(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).replace(tzinfo=datetime.timezone.utc).timestamp()


class Close:
    def __init__(self):
        self.lock = threading.Lock()
        self.clock = 0.0  # ahead of this machine's
        self.subscriptions = []
        self.made = 0
        self.log = []  # (date as text, number, event), by date
        close = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one(self):
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                with close.lock:
                    status, answer = close.route(self.command, self.path, body)
                text = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            do_GET = do_POST = do_PUT = do_DELETE = handle_one

            def date_time_string(self, timestamp=None):
                return super().date_time_string(close.now() if timestamp is None else timestamp)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def now(self):
        return time.time() + self.clock

    def route(self, method, path, body):
        parts = urllib.parse.urlsplit(path)
        names = parts.path.removeprefix("/api/v1").strip("/").split("/")
        if names == ["me"]:
            return 200, {"id": "user_1", "email": "admin@example.com", "organizations": []}
        if names == ["event"]:
            return 200, self.page(dict(urllib.parse.parse_qsl(parts.query)))
        if names == ["webhook"] and method == "POST":
            return 201, self.subscribe(json.loads(body))
        if names == ["webhook"]:
            return 200, {"data": [self.shown(one) for one in self.subscriptions], "has_more": False}
        for one in self.subscriptions:
            if names == ["webhook", one["id"]]:
                return self.one(method, one, body)
        return 404, {"error": "not found"}

    @staticmethod
    def shown(one):
        return {name: value for name, value in one.items() if name != "signature_key"}

    def subscribe(self, asked):
        self.made += 1
        one = {"id": f"whsub_{self.made:06}", "status": "active", "pause_reason": None, "health_status": "healthy",
               "url": asked["url"], "events": asked["events"], "signature_key": secrets.token_hex(32)}
        self.subscriptions.append(one)
        return one

    def one(self, method, one, body):
        if method == "DELETE":
            self.subscriptions.remove(one)
            return 200, {}
        if method == "PUT":
            one.update(json.loads(body))
        return 200, self.shown(one)

    def add(self, event):
        with self.lock:
            bisect.insort(self.log, (event["date_updated"], len(self.log), event), key=lambda one: one[:2])

    def page(self, query):
        upper, lower = query.get("date_updated__lt"), query.get("date_updated__gte")
        upper = date(read_date(upper)) if upper else "9"
        lower = date(read_date(lower)) if lower else "0"
        at = bisect.bisect_left(self.log, (upper, -1), key=lambda one: one[:2])
        if "_cursor" in query:
            when, _, number = query["_cursor"].rpartition("_")
            at = bisect.bisect_left(self.log, (when, int(number)), key=lambda one: one[:2])
            lower = "0"
        found, cursor = [], None
        while at > 0 and self.log[at - 1][0] >= lower:
            if len(found) == min(int(query.get("_limit", PAGE)), PAGE):
                cursor = f"{self.log[at][0]}_{self.log[at][1]}"
                break
            at -= 1
            event = self.log[at][2]
            if query.get("lead_id", event["lead_id"]) == event["lead_id"] and \
                    query.get("object_type", event["object_type"]) == event["object_type"] and \
                    query.get("action", event["action"]) == event["action"]:
                found.append(event)
        return {"data": found, "cursor_next": cursor, "cursor_previous": None}
