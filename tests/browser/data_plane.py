"""A stand-in data plane for the browser test: takes batches, and refuses what it is told to."""
import base64
import gzip
import http.server
import json
import threading


class DataPlane:
    def __init__(self, write_key):
        self.messages = []
        self.refused_text = None  # 400 for a batch that holds it
        self.wrong_key = False  # 401 for everything
        self.fault = None  # (status, text) for everything
        self.retry_after = None  # seconds, said with it
        self.asked = 0  # empty batches
        self.lock = threading.Lock()
        plane = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                right = "Basic " + base64.b64encode((write_key + ":").encode()).decode()
                with plane.lock:
                    status, text = plane.answer(body, self.headers.get("Authorization") == right)
                self.send_response(status)
                self.send_header("Content-Length", str(len(text)))
                if plane.fault is not None and plane.retry_after is not None:
                    self.send_header("Retry-After", plane.retry_after)
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def answer(self, body, right_key):
        if self.fault is not None:
            return self.fault
        if self.wrong_key or not right_key:
            return 401, b"invalid write key"
        if self.refused_text is not None and self.refused_text.encode() in body:
            return 400, b"this event is not taken"
        batch = json.loads(body)["batch"]
        if not batch:
            self.asked += 1
            return 400, b"empty batch payload"
        self.messages += batch
        return 200, b"ok"

    def stop(self):
        self.server.shutdown()
        self.server.server_close()
