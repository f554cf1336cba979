"""Close's own client for Python against the stand-in for Close: what it may do with the real one, it must be able to do
here, faults included; and what its repetitions leave behind, our program must show and mend."""
import logging
import os
import pathlib
import signal
import subprocess
import sys
import time
import unittest

from closeio_api import APIError, Client, ValidationError

TREE = pathlib.Path(__file__).resolve().parents[2]
STANDIN = TREE / "build/release/standin"
PROGRAM = TREE / "closecrm.fcgi"
API_KEY = "api_standin.4711"
URL = "http://127.0.0.1:9/closecrm/acme"
NOTES = [{"object_type": "activity.note", "action": "created"}]
WORK = None


class Standin:
    """The stand-in as a process, with one of its faults or none."""

    def __init__(self, *fault):
        self.process = subprocess.Popen([STANDIN, "close", *fault], stdout=subprocess.PIPE, text=True)
        self.url = self.read("url")
        self.client = Client(API_KEY)
        self.client.base_url = self.url + "/"

    def read(self, word):
        line = self.process.stdout.readline()
        assert line.startswith(word + " "), line
        return line[len(word) + 1:].strip()

    def happen(self):
        """An event is made; returns its id."""
        self.process.send_signal(signal.SIGUSR1)
        return self.read("event")

    def stop(self):
        self.process.terminate()
        total = dict(pair.split("=") for pair in self.process.stdout.read().split()[1:])
        self.process.wait()
        return {name: int(number) for name, number in total.items()}


    def end(self):
        """Whatever became of the test."""
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        self.client.session.close()


class CloseClient(unittest.TestCase):
    def start(self, *fault):
        standin = Standin(*fault)
        self.addCleanup(standin.end)
        return standin, standin.client

    def test_who_i_am(self):
        standin, client = self.start()
        self.assertTrue(client.get("me")["id"].startswith("user_"))
        with self.assertRaises(APIError) as caught:
            client.get("me", api_key="api_wrong")
        self.assertEqual(caught.exception.response.status_code, 401)
        standin.stop()

    def test_a_subscription_from_its_beginning_to_its_end(self):
        standin, client = self.start()
        made = client.post("webhook", {"url": URL, "events": NOTES})
        self.assertEqual((made["url"], made["status"], made["events"]), (URL, "active", NOTES))
        self.assertEqual(len(bytes.fromhex(made["signature_key"])), 32)
        listed = client.get("webhook")
        self.assertFalse(listed["has_more"])
        self.assertEqual([one["id"] for one in listed["data"]], [made["id"]])
        self.assertNotIn("signature_key", listed["data"][0])
        one = "webhook/" + made["id"]
        self.assertEqual(client.put(one, {"status": "paused"})["status"], "paused")
        self.assertEqual(client.get(one)["status"], "paused")
        more = NOTES + [{"object_type": "lead", "action": "updated"}]
        self.assertEqual(client.put(one, {"events": more, "status": "active"})["events"], more)
        client.delete(one)
        with self.assertRaises(APIError) as caught:
            client.get(one)
        self.assertEqual(caught.exception.response.status_code, 404)
        self.assertEqual(standin.stop()["subscriptions"], 0)

    def test_many_subscriptions_in_pages(self):
        standin, client = self.start()
        made = [client.post("webhook", {"url": URL + str(i), "events": NOTES})["id"] for i in range(18)]
        listed, more = [], True
        while more:
            page = client.get("webhook", params={"_skip": len(listed)})
            listed += [one["id"] for one in page["data"]]
            more = page["has_more"]
        self.assertEqual(sorted(listed), sorted(made))
        standin.stop()

    def test_a_mistake_is_told_as_the_client_reads_it(self):
        standin, client = self.start()
        for data in ({"url": URL, "events": ["lead.created"]}, {"events": NOTES}):
            with self.assertRaises(ValidationError) as caught:
                client.post("webhook", data)
            self.assertTrue(caught.exception.errors or caught.exception.field_errors, caught.exception)
        with self.assertRaises(ValidationError) as caught:
            client.get("event", params={"_cursor": "not one"})
        self.assertTrue(caught.exception.errors or caught.exception.field_errors, caught.exception)
        standin.stop()

    def test_the_event_log_page_by_page(self):
        standin, client = self.start()
        made = [standin.happen() for _ in range(120)]
        seen, cursor, pages = [], None, 0
        while pages == 0 or cursor is not None:
            page = client.get("event", params={"_limit": 50, **({"_cursor": cursor} if cursor else {})})
            self.assertLessEqual(set(page), {"data", "cursor_next", "cursor_previous"})
            seen += [event["id"] for event in page["data"]]
            cursor, pages = page["cursor_next"], pages + 1
        self.assertEqual((seen, pages), (made[::-1], 3))
        event = page["data"][0]
        self.assertLessEqual({"id", "object_type", "object_id", "action", "date_updated", "user_id", "lead_id", "data",
                              "previous_data", "changed_fields"}, set(event))
        lead = client.get("event", params={"lead_id": "lead_1", "_limit": 5})
        self.assertEqual([event["id"] for event in lead["data"]], made[:-6:-1])
        self.assertEqual(client.get("event", params={"lead_id": "lead_2"})["data"], [])
        standin.stop()

    def test_a_limit_is_waited_for(self):
        standin, client = self.start("limit")
        began = time.monotonic()
        with self.assertNoLogs(level=logging.ERROR):  # where it cannot read the answer's headers
            for _ in range(4):
                self.assertIn("id", client.get("me"))
        limited = standin.stop()["limited"]
        self.assertEqual(limited, 1)
        self.assertGreaterEqual(time.monotonic() - began, limited)

    def run_program(self, standin, *words):
        config = pathlib.Path(WORK, "closecrm.conf")
        config.write_text(f"state_dir = {WORK}/state\nqueue = sqlite\n[source acme]\n"
                          "data_plane_url = http://127.0.0.1:9\nwrite_key = wk_acme\n"
                          f"close_api_key = {API_KEY}\nclose_api_url = {standin.url}\n")
        config.chmod(0o600)
        pathlib.Path(WORK, "state").mkdir(mode=0o700, exist_ok=True)
        environment = {**os.environ, "CLOSECRM_CONFIG": str(config)}
        done = subprocess.run([PROGRAM, *words], env=environment, capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stderr + done.stdout)
        return done.stdout

    def test_a_repeated_post_leaves_two_and_our_program_shows_and_mends_it(self):
        standin, client = self.start("cut")
        kept = client.post("webhook", {"url": URL, "events": NOTES})  # cut, and sent again by the client
        listed = self.run_program(standin, "subscriptions")
        self.assertEqual(listed.count("url: " + URL), 2, listed)
        self.assertIn("2 of 40 subscriptions are taken", listed)
        other, = [one["id"] for one in client.get("webhook")["data"] if one["id"] != kept["id"]]
        self.assertIn(other, listed)
        self.run_program(standin, "unsubscribe", other)
        self.assertEqual([one["id"] for one in client.get("webhook")["data"]], [kept["id"]])
        self.assertEqual(standin.stop()["subscriptions"], 1)


if __name__ == "__main__":
    WORK = sys.argv.pop()
    unittest.main(verbosity=2)
