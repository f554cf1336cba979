#!/usr/bin/python3
"""Judges what the fuzzers recorded (RIG_RECORD), by Python's json alone: fuzz/judge.py RECORD.

Kinds of records: `json` (what was made must be JSON), `message` (a webhook's body, and its track message: no number, text
or member may be altered), `events` (a page of the Event Log, and the events that were taken from it, a line each)."""
import datetime
import hashlib
import json
import sys
import uuid

REPLACEMENT = "\ufffd"
NAMESPACE = uuid.UUID("6f0e7b1c-2d49-4c58-9a3e-84c1d7f05b62")
BLANKS = "\ufeff \t\n\v\f\r\x85"


class Number(str):
    """A number as it stands in the text."""


def no_constant(word):
    raise ValueError(word + " is no JSON")


def text_of(text):
    """As messages have texts: no lone surrogates, no U+0000."""
    return "".join(REPLACEMENT if "\ud800" <= c <= "\udfff" or c == "\0" else c for c in text)


def object_of(pairs):
    """Of names that come twice the last value in the first one's place; no member that is null."""
    members = {}
    for name, value in pairs:
        members[text_of(name)] = value
    return {name: value for name, value in members.items() if value is not None}


def cleaned(value):
    if isinstance(value, Number) or not isinstance(value, (str, list, dict)):
        return value
    if isinstance(value, str):
        return text_of(value)
    if isinstance(value, list):
        return [cleaned(element) for element in value]
    return {name: cleaned(member) for name, member in value.items()}


def read(text):
    """The text must be UTF-8, too."""
    return json.loads(text.decode("utf-8"), parse_int=Number, parse_float=Number, parse_constant=no_constant,
                      object_pairs_hook=object_of)


def same(found, expected, what):
    """Also in the order of members, and the kinds of values."""
    if json.dumps(found) != json.dumps(expected) or kinds(found) != kinds(expected):
        raise ValueError(f"{what} differs:\n  found    {found!r}\n  expected {expected!r}")


def kinds(value):
    if isinstance(value, list):
        return [kinds(element) for element in value]
    if isinstance(value, dict):
        return [kinds(member) for member in value.values()]
    return type(value)


def milliseconds(text):
    """A date in milliseconds since 1970, or None where Python does not take it."""
    try:
        date = datetime.datetime.fromisoformat(text)
        if date.tzinfo is None:
            date = date.replace(tzinfo=datetime.timezone.utc)
        return (date - datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)) // datetime.timedelta(milliseconds=1)
    except (ValueError, TypeError, OverflowError):
        return None


def message_id(text):
    """An id that a message cannot hold as it came is made over it: ids that differ in such characters stay different."""
    if text_of(text) == text:
        return text
    made = hashlib.sha1(NAMESPACE.bytes + text.encode("utf-8", "surrogatepass")).digest()
    return str(uuid.UUID(bytes=made[:16], version=5))


def judge_message(body, made):
    body, message = read(body), read(made)
    event = body["event"]
    expected = {name: value for name, value in event.items()
                if name in message["properties"] or name not in ("previous_data", "changed_fields")}
    if "subscription_id" in body:
        expected["subscription_id"] = body["subscription_id"]
    same(message["properties"], cleaned(expected), "properties")
    same(message["event"], text_of(event["object_type"]) + " " + text_of(event["action"]), "event")
    if "userId" in message:
        same(message["userId"], text_of(event["lead_id"]), "userId")
    elif isinstance(event.get("lead_id"), str) and event["lead_id"].strip(BLANKS).strip():
        raise ValueError("there is a lead, and no userId")
    if type(event.get("id")) is str and event["id"].strip(BLANKS).strip():
        same(message["messageId"], message_id(event["id"]), "messageId")
    for member in ("date_updated", "date_created"):
        if milliseconds(event.get(member)) is not None and "originalTimestamp" in message:
            same(milliseconds(message["originalTimestamp"]), milliseconds(event[member]), "originalTimestamp")
            break
        if event.get(member) is not None:
            break


def judge_events(page, taken):
    events = [read(line) for line in taken.split(b"\0") if line]
    same(events, [event for event in read(page)["data"] if isinstance(event, dict)], "the events of a page")


def records(data):
    at = 0
    while at < len(data):
        parts = []
        end = data.index(b"\n", at)
        kind, at = data[at:end].decode(), end + 1
        for _ in range(2):
            end = data.index(b"\n", at)
            length = int(data[at:end])
            parts.append(data[end + 1:end + 1 + length])
            at = end + 1 + length + 1
        yield kind, parts[0], parts[1]


def main():
    sys.setrecursionlimit(10000)
    count = 0
    judges = {"json": lambda body, made: read(made), "message": judge_message, "events": judge_events}
    with open(sys.argv[1], "rb") as file:
        data = file.read()
    for kind, given, made in records(data):
        count += 1
        try:
            judges[kind](given, made)
        except (ValueError, KeyError, AttributeError) as error:
            print(f"WRONG: {kind}: {error}\ngiven {given!r}\nmade  {made!r}")
            sys.exit(1)
    print(f"{count} records judged")


main()
