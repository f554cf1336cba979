"""A stand-in data plane, which remembers each batch, and may be away, slow, or silent when it has taken one."""
import gzip
import http.server
import json
import threading
import time


class Plane:
    def __init__(self):
        self.lock = threading.Lock()
        self.mood = "well"  # away: 503; slow; silent: takes a batch, and its answer does not come while that lasts
        self.boot = 0
        self.batches = []  # (boot, messages) that were taken
        self.messages = {}  # messageId: all that were taken of it
        plane = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                boot = plane.boot
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                status, text = plane.answer(boot, body)
                while plane.mood == "silent" and plane.boot == boot:
                    time.sleep(0.05)
                self.send_response(status)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *_):
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request, client_address):
                pass  # the guest's end cuts connections

        self.server = Server(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def answer(self, boot, body):
        if self.mood == "away":
            return 503, b"away"
        if self.mood == "slow":
            time.sleep(0.5)
        batch = json.loads(body)["batch"]
        if not batch:
            return 400, b"empty batch payload"
        if any(one.get("properties", {}).get("data", {}).get("refused") for one in batch):
            return 400, b"this event is not taken"
        with self.lock:
            self.batches.append((boot, [one["messageId"] for one in batch]))
            for one in batch:
                self.messages.setdefault(one["messageId"], []).append(one)
        return 200, b"ok"
