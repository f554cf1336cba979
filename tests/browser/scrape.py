#!/usr/bin/python3
"""Debian's Prometheus scrapes .../metrics, by the scrape job that people copy: promtool takes what the server drops, and
the other way round, so the server itself is asked what arrived. `make test-browser` runs it."""
import json
import pathlib
import re
import shutil
import socket
import ssl
import subprocess
import tempfile
import threading
import unittest
import urllib.parse
import urllib.request

from site_under_test import PASSWORD, PATIENCE, TREE, Site, free_port, wait_until


class TlsFront:
    """What a site's web server does with its certificate: takes TLS, and passes on what is inside."""

    def __init__(self, directory, port):
        self.certificate, key = directory / "cert.pem", directory / "key.pem"
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", key,
             "-out", self.certificate, "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"],
            check=True, capture_output=True,
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, key)
        self.listener = context.wrap_socket(
            socket.create_server(("127.0.0.1", 0)), server_side=True, do_handshake_on_connect=False
        )
        self.port, self.behind = self.listener.getsockname()[1], port
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(client,), daemon=True).start()

    def serve(self, client):
        """One request after the other, as long as the client wants: a GET has no body."""
        try:
            request = b""
            while piece := client.recv(65536):
                request += piece
                while b"\r\n\r\n" in request:
                    head, request = request.split(b"\r\n\r\n", 1)
                    head = re.sub(rb"\r\nConnection:[^\r]*", b"", head, flags=re.I) + b"\r\nConnection: close\r\n\r\n"
                    with socket.create_connection(("127.0.0.1", self.behind)) as server:
                        server.sendall(head)
                        while answer := server.recv(65536):
                            client.sendall(answer)
                    client.close()
                    return
        except OSError:
            pass

    def stop(self):
        self.listener.close()


class Prometheus:
    """A server of its own with the sample job, of which only what must be changed is changed."""

    def __init__(self, directory, job, targets_port, certificate):
        self.port = free_port()
        (directory / "password").write_text(PASSWORD)
        job = job.replace("YOUR-SITE", f"localhost:{targets_port}")
        job = job.replace("/etc/prometheus/closecrm-password", str(directory / "password"))
        job += f"    tls_config: {{ca_file: {certificate}}}\n    scrape_interval: 1s\n    scrape_timeout: 1s\n"
        job += f"global: {{evaluation_interval: 1s}}\nrule_files: [{TREE}/packaging/prometheus-rules.yml]\n"
        (directory / "prometheus.yml").write_text(job)
        self.log = open(directory / "prometheus.log", "wb")
        self.process = subprocess.Popen(
            ["prometheus", f"--config.file={directory}/prometheus.yml", f"--storage.tsdb.path={directory}/data",
             f"--web.listen-address=127.0.0.1:{self.port}"],
            stdout=self.log, stderr=self.log,
        )

    def ask(self, path, **arguments):
        address = f"http://127.0.0.1:{self.port}/api/v1/{path}?{urllib.parse.urlencode(arguments)}"
        try:
            with urllib.request.urlopen(address, timeout=PATIENCE) as answer:
                return json.load(answer)["data"]
        except OSError:
            return None  # it does not listen yet

    def query(self, expression):
        """{(name, other labels): value}, without the labels that the server adds."""
        data = self.ask("query", query=expression)
        found = {}
        for one in [] if data is None else data["result"]:
            labels = {name: text for name, text in one["metric"].items() if name not in ("job", "instance")}
            found[labels.pop("__name__", ""), tuple(sorted(labels.items()))] = float(one["value"][1])
        return found

    def stop(self):
        self.process.terminate()
        self.process.wait(PATIENCE)
        self.log.close()


def samples(text):
    """What a scrape's text says, as Prometheus.query does."""
    found = {}
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        name, labels, value = re.fullmatch(r"([a-z_]+)(?:\{(.*)\})? (\S+)", line).groups()
        pairs = re.findall(r'([a-z_]+)="([^"]+)"', labels or "")  # an empty label is none
        found[name, tuple(sorted(pairs))] = float(value)
    return found


class Scraped(unittest.TestCase):
    def setUp(self):
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="closecrm-prometheus-"))
        self.site = Site("lighttpd")
        self.front = TlsFront(self.directory, self.site.port)
        job = (TREE / "packaging" / "prometheus-scrape.yml").read_text()
        self.prometheus = Prometheus(self.directory, job, self.front.port, self.front.certificate)

    def tearDown(self):
        self.prometheus.stop()
        self.front.stop()
        self.site.stop()
        shutil.rmtree(self.directory, ignore_errors=True)

    def test_every_metric_arrives_with_its_value(self):
        self.assertEqual(200, self.site.send("ev_1"))
        wait_until(lambda: self.site.plane.messages, PATIENCE, "the event is delivered")
        up = wait_until(lambda: self.prometheus.query('up{job="closecrm"} == 1'), PATIENCE, "Prometheus scrapes")
        self.assertEqual(1, len(up))
        acme = (("source", "acme"),)
        for name in ("closecrm_accepted_events_total", "closecrm_delivery_delay_seconds_count"):
            wait_until(lambda: self.prometheus.query(name).get((name, acme)) == 1, PATIENCE, f"{name} is 1")
        delivered = 'closecrm_settled_events_total{outcome="delivered"} == 1'
        wait_until(lambda: self.prometheus.query(delivered), PATIENCE, "one event is delivered")

        # A scrape may take no longer than a second: on a slow machine one is given up now and then.
        target = lambda: self.prometheus.ask("targets")["activeTargets"][0]
        wait_until(lambda: (target()["health"], target()["lastError"]) == ("up", ""), PATIENCE, "the target is up")
        self.assertEqual(f"https://localhost:{self.front.port}/closecrm/metrics", target()["scrapeUrl"])
        there = lambda: set(self.prometheus.query('{job="closecrm", __name__=~"closecrm_.*"}'))
        told = lambda: set(samples(self.site.metrics().decode()))
        wait_until(lambda: told() == there(), PATIENCE, "all that is told arrives, and nothing else")
        rules = self.prometheus.ask("rules")["groups"][0]["rules"]
        self.assertGreater(len(rules), 5)
        wait_until(
            lambda: all(rule["health"] == "ok" for rule in self.prometheus.ask("rules")["groups"][0]["rules"]),
            PATIENCE, "every alert rule can be evaluated",
        )


if __name__ == "__main__":
    unittest.main(verbosity=2)
