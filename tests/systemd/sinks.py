"""What takes alerts outside of the guest: mail by SMTP, and JSON by POST. Each keeps what it got."""
import http.server
import socketserver
import threading


class Sink:
    def __init__(self, kind, handler):
        self.got = []
        handler.sink = self
        self.server = kind(("127.0.0.1", 0), handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


def posts():
    class Posted(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            self.sink.got.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    return Sink(http.server.ThreadingHTTPServer, Posted)


def mails():
    """As much of SMTP as a mailer needs."""
    class Mail(socketserver.StreamRequestHandler):
        def say(self, text):
            self.wfile.write(text.encode() + b"\r\n")

        def handle(self):
            self.say("220 here")
            for line in self.rfile:
                word = line.split()[0].upper() if line.split() else b""
                if word == b"DATA":
                    self.say("354 go on")
                    self.sink.got.append(self.letter())
                if word == b"QUIT":
                    self.say("221 bye")
                    return
                self.say("250 ok")

        def letter(self):
            text = ""
            for line in self.rfile:
                if line.rstrip(b"\r\n") == b".":
                    break
                text += line.decode(errors="replace")
            return text

    return Sink(socketserver.ThreadingTCPServer, Mail)
