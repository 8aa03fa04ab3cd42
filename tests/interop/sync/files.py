"""Reads or writes a vCard or an iCalendar file with another library.

files.py read-card FILE | write-card FILE | read-vevent FILE | read-calendar FILE | write-calendar FILE

Reading prints a line per value, `name=value`, line ends within values as `|`.
"""

import sys
from datetime import date, datetime, timedelta, timezone


def say(name, value):
    print(f"{name}={str(value)}".replace("\n", "|"))


def read_card(path):
    import base64
    import vobject

    with open(path, encoding="utf-8", newline="") as file:
        for card in vobject.readComponents(file.read()):
            say("version", card.version.value)
            say("fn", card.fn.value)
            for part in ("family", "given", "additional", "prefix", "suffix"):
                say(part, getattr(card.n.value, part))
            for tel in card.contents.get("tel", []):
                say("tel", ",".join(sorted(t.lower() for t in tel.params.get("TYPE", []))) + " " + tel.value)
            for email in card.contents.get("email", []):
                say("email", email.value)
            for adr in card.contents.get("adr", []):
                say("adr", f"{adr.value.street} {adr.value.city} {adr.value.code} {adr.value.country}")
            for org in card.contents.get("org", []):
                say("org", "/".join(org.value))
            for note in card.contents.get("note", []):
                say("note", note.value)
            for bday in card.contents.get("bday", []):
                say("bday", bday.value)
            for photo in card.contents.get("photo", []):
                value = photo.value
                if isinstance(value, str):
                    value = base64.b64decode(value.split(",", 1)[1])
                say("photo", len(value))


def write_card(path):
    import vobject

    card = vobject.vCard()
    card.add("uid").value = "from-vobject"
    card.add("n").value = vobject.vcard.Name(family="Müller, sen.", given="Jörg", prefix="Dr.")
    card.add("fn").value = "Dr. Jörg Müller, sen."
    tel = card.add("tel")
    tel.value, tel.type_param = "+49 151 1", ["CELL", "VOICE"]
    card.add("note").value = "first\nsecond; with, marks \\ and a long tail " + "ä" * 100
    adr = card.add("adr")
    adr.value = vobject.vcard.Address(street="Main St 1", city="Town", code="12345", country="Germany")
    adr.type_param = "HOME"
    card.add("org").value = ["Acme", "Research"]
    with open(path, "w", encoding="utf-8", newline="") as file:
        file.write(card.serialize())


def moment(value):
    if isinstance(value, datetime):
        return value.astimezone(timezone.utc).isoformat() if value.tzinfo else value.isoformat()
    return value.isoformat()


def read_vevent(path):
    import vobject

    with open(path, encoding="utf-8", newline="") as file:
        calendar = vobject.readOne(file.read())
    for event in calendar.vevent_list:
        say("summary", event.summary.value)
        say("start", moment(event.dtstart.value))
        say("end", moment(event.dtend.value))
        for rule in event.contents.get("rrule", []):
            say("rrule", rule.value)
        for alarm in event.contents.get("valarm", []):
            trigger = alarm.trigger.value
            say("alarm", int(trigger.total_seconds()))


def read_calendar(path):
    import icalendar

    with open(path, "rb") as file:
        calendar = icalendar.Calendar.from_ical(file.read())
    for event in calendar.walk("VEVENT"):
        say("summary", event["SUMMARY"])
        say("start", moment(event.decoded("DTSTART")))
        say("end", moment(event.decoded("DTEND")))
        if "RRULE" in event:
            say("rrule", event["RRULE"].to_ical().decode())
        for alarm in event.walk("VALARM"):
            say("alarm", int(alarm.decoded("TRIGGER").total_seconds()))
        attendees = event.get("ATTENDEE", [])
        for attendee in attendees if isinstance(attendees, list) else [attendees]:
            say("attendee", f"{attendee} {attendee.params['CN']} {attendee.params['PARTSTAT']}")
        for exdate in [event["EXDATE"]] if "EXDATE" in event and not isinstance(event["EXDATE"], list) else event.get("EXDATE", []):
            for one in exdate.dts:
                say("exdate", moment(one.dt))


def write_calendar(path):
    import icalendar
    from zoneinfo import ZoneInfo

    calendar = icalendar.Calendar()
    calendar.add("prodid", "-//test//EN")
    calendar.add("version", "2.0")
    event = icalendar.Event()
    event.add("uid", "from-icalendar")
    event.add("dtstamp", datetime(2026, 1, 1, tzinfo=timezone.utc))
    event.add("dtstart", datetime(2026, 7, 1, 10, 0, tzinfo=ZoneInfo("Europe/Berlin")))
    event.add("dtend", datetime(2026, 7, 1, 11, 30, tzinfo=ZoneInfo("Europe/Berlin")))
    event.add("summary", "Tea; with, marks\nand lines " + "é" * 80)
    event.add("rrule", {"freq": "weekly", "byday": ["MO", "WE"], "interval": 2})
    event.add("exdate", [datetime(2026, 7, 6, 10, 0, tzinfo=ZoneInfo("Europe/Berlin"))])
    event.add("location", "Café")
    alarm = icalendar.Alarm()
    alarm.add("action", "DISPLAY")
    alarm.add("description", "soon")
    alarm.add("trigger", timedelta(minutes=-30))
    event.add_component(alarm)
    calendar.add_component(event)
    whole = icalendar.Event()
    whole.add("uid", "whole-day")
    whole.add("dtstamp", datetime(2026, 1, 1, tzinfo=timezone.utc))
    whole.add("dtstart", date(2026, 12, 24))
    whole.add("dtend", date(2026, 12, 26))
    whole.add("summary", "Holidays")
    calendar.add_component(whole)
    with open(path, "wb") as file:
        file.write(calendar.to_ical())


MODES = {
    "read-card": read_card,
    "write-card": write_card,
    "read-vevent": read_vevent,
    "read-calendar": read_calendar,
    "write-calendar": write_calendar,
}

MODES[sys.argv[1]](sys.argv[2])
