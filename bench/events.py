"""Webhooks as Close sends them, of every type that Close documents, with the values that messages, queues and databases
stumble over. The same run and count give the same events."""
import json
import pathlib
import random
import re

ROOT = pathlib.Path(__file__).resolve().parent.parent
LEADS = 997  # so many different ones: a prime, so that each lead has events of many types
# Events of these belong to no lead.
WITHOUT_LEAD = ("bulk_action", "custom_", "email_template", "export", "group", "import", "membership", "phone_number",
                "saved_search", "sequence", "sms_template", "status", "unsubscribed_email")
TEXTS = ("", " ", "Bluth Company", "a\x00b", "\u00e9\u4e2d\U0001f639", "\\ \" / \b\f\n\r\t\x01\x7f", "<b>&amp;</b>",
         "\u2028", "2026-01-15", "2026-02-31", "1200.50", "true", "null", "'; DROP TABLE x; --", "%s{}$1", "long " * 40)
NAMES = ("custom.cf_AbC123xYz", "envelope", "user_id", "id", "order", "na\u00efve", "a b", "n\x00", "x")
NUMBERS = ("0", "-1", "1200", "1200.5", "1.10", "-0.99", "1e3", "9007199254740993", "12345678901234567890", "1E-7")


def documented_types():
    """[(object_type, action)]"""
    with open(ROOT / "closeapi/event-types.tsv", encoding="utf-8") as file:
        return [tuple(line.split()[:2]) for line in file if line.strip() and not line.startswith("#")]


def any_value(pick, depth=0):
    kind = pick.randrange(9 if depth < 3 else 6)
    if kind < 3:
        return pick.choice(TEXTS)
    if kind < 5:
        return f"#{pick.choice(NUMBERS)}#"  # a number, whose digits json.dumps would change: see print_json
    if kind == 5:
        return pick.choice((None, True, False))
    if kind == 6:
        return [any_value(pick, depth + 1) for _ in range(pick.randrange(3))]
    return {pick.choice(NAMES): any_value(pick, depth + 1) for _ in range(pick.randrange(4))}


def print_json(value, ascii_only):
    return re.sub(r'"#([-+.0-9eE]+)#"', r"\1", json.dumps(value, ensure_ascii=ascii_only))


def make_data(pick, object_type, lead, number):
    if object_type == "lead":
        return {"id": lead, "name": pick.choice(TEXTS), "url": pick.choice((None, "https://h.example/?a=1&b=2")),
                "status_label": "Potential", "addresses": [{"city": pick.choice(TEXTS), "zipcode": "01234"}],
                "custom.cf_AbC123xYz": any_value(pick)}
    if object_type == "contact":
        return {"id": f"cont_{number}", "name": pick.choice(TEXTS), "title": pick.choice(TEXTS),
                "emails": [{"email": "a@h.example", "type": "office"}][:pick.randrange(2)],
                "phones": [{"phone": "+4930123", "type": "mobile"}]}
    return {"id": f"obje_{number}", "note": pick.choice(TEXTS), "value": f"#{pick.choice(NUMBERS)}#",
            "date_won": "2026-01-15"}


def make_event(number, run, documented, types):
    """The event of that number, as a tree; what the documented one has and this one does not say stays."""
    pick = random.Random(f"{run} {number}")
    object_type, action = types[number % len(types)]
    lead = f"lead_{run}{number % LEADS:05}"
    data = make_data(pick, object_type, lead, number)
    data.update({f"x{n}": any_value(pick) for n in range(pick.randrange(6))})
    if number % 500 == 7:
        data["body_text"] = "A long text. " * 8000
    made = documented | {
        "id": f"ev_{run}{number:012}", "object_type": object_type, "action": action,
        "object_id": f"obje_{run}{number % LEADS}",
        "lead_id": None if object_type.startswith(WITHOUT_LEAD) else lead,
        "data": {} if action == "deleted" else data,
        "previous_data": data if action == "deleted" else {"x0": any_value(pick)}}
    made["changed_fields"] = list(made["previous_data"])
    if number % 11 == 0:
        made["user_id"] = None
    if (object_type, action) == ("lead", "merged"):
        made["meta"] = {"merge_source_lead_id": f"lead_{run}old{number}", "merge_destination_lead_id": lead}
    return made


def webhooks(count, run):
    """The bodies, each one line of bytes. run: letters and digits that are in the ids of each."""
    types = documented_types()
    with open(ROOT / "tests/data/opportunity-updated.webhook.json", encoding="utf-8") as file:
        documented = json.load(file)
    return [print_json(documented | {"event": make_event(n, run, documented["event"], types)}, n % 2 == 0).encode()
            for n in range(count)]
