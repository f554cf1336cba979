"""A stand-in for Close's API in the browser test: one subscription, which is paused, and an empty Event Log."""
import http.server
import json
import threading


class Close:
    def __init__(self):
        self.subscription = {
            "id": "whsub_1", "url": "", "status": "paused", "pause_reason": "permission_revoked",
            "events": [{"object_type": "lead", "action": "updated"}],
        }
        close = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                self.answer({"data": [close.subscription] if "/webhook/" in self.path else [],
                             "has_more": False, "cursor_next": None})

            def do_PUT(self):
                close.subscription.update(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.answer(close.subscription)

            def answer(self, what):
                text = json.dumps(what).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/api/v1"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()
