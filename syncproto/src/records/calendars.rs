//! Calendars, events and what belongs to them. Spec: mobilesync, section 8.2.

use super::view::{aggregate, view};
use super::{CivilDate, Timestamp};
use crate::entity;
use crate::record::RecordId;

view! {
    /// A calendar.
    Calendar of entity::CALENDAR;
    /// Its title; a device skips a new calendar without one.
    title: Option<String> = "title";
    /// 1 when events may not be changed.
    read_only: Option<i64> = "read only";
    /// Red, green, blue and alpha, 0 to 255; four times -1 is the default colour.
    color: Vec<i64> = "colorComponents";
    /// What kind of calendar the desktop takes it for.
    ical_type: Option<String> = "com.apple.ical.type";
    /// Whether it belongs to a server's account on the computer; the device then makes it read-only.
    server_account: Option<bool> = "com.apple.MobileSync.calDAVInfo";
}

view! {
    /// An event, without what belongs to it: see [`Event`].
    EventDetails of entity::EVENT;
    /// The calendar; absent for events of the device's default calendar, required when writing.
    calendar: Vec<RecordId> = "calendar";
    /// Title.
    summary: Option<String> = "summary";
    /// Place.
    location: Option<String> = "location";
    /// Free text.
    description: Option<String> = "description";
    /// Web address.
    url: Option<String> = "url";
    /// Start.
    start: Option<Timestamp> = "start date";
    /// End.
    end: Option<Timestamp> = "end date";
    /// Zone of the start; absent for a floating event.
    zone: Option<String> = "start date.timezone";
    /// Seconds by which the dates of a floating event are shifted.
    floating_offset: Option<i64> = "floatingOffset";
    /// 1 for an event of whole days.
    all_day: Option<i64> = "all day";
    /// Occurrences that do not take place; a set.
    exceptions: Vec<Timestamp> = "exception dates";
    /// Which occurrence of its series this event replaces.
    original: Option<Timestamp> = "original date";
    /// The series that it was detached from.
    main_event: Vec<RecordId> = "main event";
}

/// The days of an all-day event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AllDay {
    /// The first day.
    pub start: CivilDate,
    /// The day after the last one.
    pub end: CivilDate,
}

impl EventDetails {
    /// Whether it takes whole days.
    #[must_use]
    pub fn is_all_day(&self) -> bool {
        self.all_day.is_some_and(|value| value != 0)
    }

    /// The days of an all-day event, whichever of the known spellings the device chose; `None` for another event or one
    /// without a start. `offset` tells by how many seconds the device's zone is east of UTC at a moment. The frame is UTC
    /// when both times of day are 00:00:00, 12:00:00 or 23:59:59 there, else the device's zone; an end in the last second
    /// of a day counts that day; an event has at least one day. Spec: mobilesync, section 8.2.
    #[must_use]
    pub fn days(&self, offset: impl Fn(Timestamp) -> i64) -> Option<AllDay> {
        let start = self.start.filter(|_| self.is_all_day())?;
        let end = self.end.unwrap_or(start);
        let usual = |time: Timestamp| matches!(time.time_of_day(), 0 | 43_200 | 86_399);
        let framed = |time: Timestamp| {
            if usual(start) && usual(end) {
                time
            } else {
                time.plus(offset(time))
            }
        };
        let first = framed(start).date();
        let last = framed(end);
        let end = if last.time_of_day() == 86_399 {
            last.date().next()
        } else {
            last.date()
        };
        Some(AllDay {
            start: first,
            end: end.max(first.next()),
        })
    }

    /// Makes it an all-day event in the spelling that is written before a device's own was seen: midnight UTC, the end
    /// exclusive, no zone.
    pub fn set_days(&mut self, days: AllDay) {
        self.start = Some(Timestamp::midnight(days.start));
        self.end = Some(Timestamp::midnight(days.end.max(days.start.next())));
        self.all_day = Some(1);
        self.zone = None;
        self.floating_offset = None;
    }

    /// Whether its dates are wall-clock time of whatever zone one is in.
    #[must_use]
    pub fn is_floating(&self) -> bool {
        !self.is_all_day() && (self.zone.is_none() || self.floating_offset.is_some())
    }

    /// A date of a floating event as wall-clock time, in seconds as if the wall stood at UTC.
    #[must_use]
    pub fn wall(&self, time: Timestamp) -> Timestamp {
        time.plus(self.floating_offset.unwrap_or(0))
    }
}

view! {
    /// An alarm that shows a text.
    DisplayAlarm of entity::DISPLAY_ALARM;
    /// Seconds after the start, negative before it.
    trigger: Option<i64> = "triggerduration";
    /// The moment, in place of a distance.
    trigger_date: Option<Timestamp> = "triggerdate";
    /// The text; devices write a fixed one.
    description: Option<String> = "description";
}

view! {
    /// An alarm that plays a sound.
    AudioAlarm of entity::AUDIO_ALARM;
    /// Seconds after the start, negative before it.
    trigger: Option<i64> = "triggerduration";
    /// The moment, in place of a distance.
    trigger_date: Option<Timestamp> = "triggerdate";
}

view! {
    /// How an event repeats.
    Recurrence of entity::RECURRENCE;
    /// daily, weekly, monthly or yearly.
    frequency: Option<String> = "frequency";
    /// Every so many; absent means 1.
    interval: Option<i64> = "interval";
    /// How often in all; 0 and absent mean without end.
    count: Option<i64> = "count";
    /// Until when, inclusive.
    until: Option<Timestamp> = "until";
    /// Months, 1 to 12.
    months: Vec<i64> = "bymonth";
    /// Days of the month, negative from its end.
    month_days: Vec<i64> = "bymonthday";
    /// Days of the year, negative from its end.
    year_days: Vec<i64> = "byyearday";
    /// Weeks of the year.
    weeks: Vec<i64> = "byweeknumber";
    /// Which of the set.
    set_positions: Vec<i64> = "bysetpos";
    /// Weekdays, `sunday` to `saturday`.
    days: Vec<String> = "bydaydays";
    /// For each weekday which one of the month or year; 0 is every one.
    day_numbers: Vec<i64> = "bydayfreq";
    /// First day of the week; absent means monday.
    week_start: Option<String> = "weekstartday";
}

view! {
    /// Somebody who is invited.
    Attendee of entity::ATTENDEE;
    /// Email address.
    email: Option<String> = "email";
    /// Name.
    name: Option<String> = "common name";
    /// requiredparticipant, optionalparticipant, chair or nonparticipant.
    role: Option<String> = "role";
    /// needsaction, accepted, declined, tentative, delegated, completed or inprocess.
    status: Option<String> = "status";
    /// individual, room, resource, group or unknown.
    kind: Option<String> = "user type";
}

view! {
    /// Who invites.
    Organizer of entity::ORGANIZER;
    /// Email address.
    email: Option<String> = "email";
    /// Name.
    name: Option<String> = "common name";
}

aggregate! {
    /// An event with everything that belongs to it. Detached occurrences are events of their own:
    /// [`Graph::occurrences`](super::Graph::occurrences).
    Event by "owner";
    /// Title, dates, place.
    details: EventDetails;
    /// Alarms that show a text.
    display_alarms: DisplayAlarm;
    /// Alarms that play a sound.
    audio_alarms: AudioAlarm;
    /// How it repeats; devices know one.
    recurrences: Recurrence;
    /// Who is invited.
    attendees: Attendee;
    /// Who invites; one.
    organizers: Organizer;
}
