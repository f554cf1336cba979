"""What is outside of the guest: events, who sends them, and what is known of each."""
import hashlib
import hmac
import http.client
import json
import random
import threading
import time

from close import Close, date
from plane import Plane


class Event:
    def __init__(self, event, refused, by_webhook):
        self.event = event
        self.refused = refused  # by the data plane: it becomes a dead letter
        self.by_webhook = by_webhook  # else only the Event Log has it
        self.logged = not by_webhook  # in the Event Log: what is lost there comes back after five minutes
        self.acknowledged = False


class World:
    """One trial's: a fresh disk, events of its own."""

    def __init__(self, seed, trial):
        self.random = random.Random(seed)
        self.trial = trial
        self.close, self.plane = Close(), Plane()
        self.lock = threading.Lock()
        self.events = {}
        self.waiting = []  # were sent and not answered 200: Close sends them again
        self.keys_held = set()  # subscriptions whose key the guest said it has
        self.sending = threading.Event()
        self.large = False
        self.port = None
        self.answers = {}  # status: how many
        self.wrong = []

    # ---- events ----

    def make(self, by_webhook, when, may_be_refused=True):
        with self.lock:
            number = len(self.events)
            refused = may_be_refused and self.random.random() < 0.02
            length = self.random.choice([20, 200, 2000, 20000]) if not self.large else 100000
            lead = f"lead_{self.random.randrange(20)}"
            data = {"id": f"acti_{number}", "text": "".join(self.random.choices("abc é\"\\/\n", k=40)) * (length // 40),
                    "rate": self.random.random(), "list": [1, {"two": []}]}
            if refused:
                data["refused"] = True
            event = {"id": f"ev_{self.trial}_{number}", "date_created": date(when), "date_updated": date(when),
                     "organization_id": "orga_1", "user_id": "user_1", "object_type": "activity.note",
                     "object_id": f"acti_{number}", "lead_id": lead, "action": "created", "changed_fields": ["note"],
                     "data": data, "previous_data": {"note": "before"}}
            one = self.events[event["id"]] = Event(event, refused, by_webhook)
            one.logged = not by_webhook or self.random.random() < 0.1
        if one.logged:
            self.close.add(event)
        return one

    def log_only(self, count, oldest):
        """Events that no webhook brings, between oldest seconds ago and as young as reconcile reads."""
        for _ in range(count):
            self.make(False, self.close.now() - self.random.uniform(360, oldest))

    # ---- sending ----

    def start_senders(self, port, count=6):
        self.port = port
        self.sending.set()
        threads = [threading.Thread(target=self._send, daemon=True) for _ in range(count)]
        for thread in threads:
            thread.start()
        return threads

    def _next(self):
        with self.lock:
            if self.waiting and self.random.random() < 0.5:
                return self.waiting.pop(0)
            again = [] if self.random.random() > 0.05 else list(self.events)[-50:]
        if again:  # Close repeats what it was answered 200 for
            one = self.events[self.random.choice(again)]
            if one.by_webhook:
                return one
        return self.make(True, self.close.now())

    def _send(self):
        while self.sending.is_set():
            one = self._next()
            if not self.post(one) and not one.acknowledged:
                with self.lock:
                    self.waiting.append(one)
                time.sleep(0.1)

    def post(self, one):
        """One try. Whether the answer was 200."""
        subscriptions = [each for each in self.close.subscriptions if each["id"] in self.keys_held]
        if not subscriptions:
            return False
        chosen = self.random.choice(subscriptions)
        body = json.dumps({"subscription_id": chosen["id"], "event": one.event}, ensure_ascii=False).encode()
        stamp = str(int(self.close.now()))
        digest = hmac.new(bytes.fromhex(chosen["signature_key"]), stamp.encode() + body, hashlib.sha256).hexdigest()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request("POST", "/closecrm", body, {"Content-Type": "application/json", "close-sig-hash": digest,
                                                          "close-sig-timestamp": stamp})
            status = connection.getresponse().status
        except (OSError, http.client.HTTPException):
            status = 0
        finally:
            connection.close()
        with self.lock:
            self.answers[status] = self.answers.get(status, 0) + 1
            if status == 200:
                one.acknowledged = True
            if status == 401 and chosen["id"] in self.keys_held and chosen in self.close.subscriptions:
                self.wrong.append(f"an event signed with the stored key of {chosen['id']} was answered 401")
        return status == 200

    def stop_senders(self, threads):
        self.sending.clear()
        for thread in threads:
            thread.join(70)

    # ---- what must be ----

    def expected(self):
        """Ids that must be delivered or dead letters: answered 200, or in the Event Log where reconcile reads."""
        return {key for key, one in self.events.items() if one.acknowledged or not one.by_webhook}

    def missing(self, dead):
        return {key for key in self.expected()
                if (key not in dead if self.events[key].refused else key not in self.plane.messages)}

    def altered(self):
        subscriptions = {None, *(f"whsub_{number:06}" for number in range(1, self.close.made + 1))}
        for key, messages in list(self.plane.messages.items()):
            one = self.events.get(key)
            if one is None:
                yield f"{key} was delivered, and never sent"
                continue
            wanted = {name: value for name, value in one.event.items() if name not in ("changed_fields", "previous_data")}
            for message in messages:
                properties = dict(message["properties"])
                subscription = properties.pop("subscription_id", None)
                # What the Event Log brought has the id of one of the subscriptions, too.
                if properties != wanted or message["userId"] != one.event["lead_id"] or subscription not in subscriptions:
                    yield f"{key} was altered: {json.dumps(message)[:500]}"
                if message != messages[0]:
                    yield f"{key} was delivered with other bytes: {json.dumps(message)[:300]}"

    def repeated(self):
        """boot: the batches of earlier boots that hold what was sent again in it; batches by number."""
        first, again = {}, {}
        for number, (boot, ids) in enumerate(self.plane.batches):
            for key in ids:
                if key in first:
                    again.setdefault(boot, set()).add(first[key])
                first.setdefault(key, number)
        return again
