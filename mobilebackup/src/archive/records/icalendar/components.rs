//! Events and reminders as components.

use std::collections::HashMap;
use std::io::{self, Write};

use super::Zones;
use super::lines::{Lines, escaped};
use super::zones::local;
use crate::archive::records::calendar::{Alarm, Event, EventStatus, Participant, Recurrence, Task, TimeZoneName, When};
use crate::archive::records::time::{Civil, Timestamp};

/// What components need to know of each other.
pub(super) struct Context<'a> {
    pub(super) zones: Zones,
    pub(super) uids: HashMap<i64, String>,
    pub(super) events: HashMap<i64, &'a Event>,
}

/// Days as seconds.
const DAY: i64 = 86_400;

/// How a time is written within one component.
#[derive(Clone, Copy)]
enum Form<'a> {
    /// As a date, read in UTC or in a zone.
    Date(&'a When),
    /// With a time of day, in the manner of this time.
    Moment(&'a When),
}

/// A time in UTC.
fn utc(at: Timestamp) -> String {
    format!("{}Z", local(&at.civil()))
}

fn date(at: &Civil) -> String {
    format!("{:04}{:02}{:02}", at.year, at.month, at.day)
}

/// Whether a time of day is one that stores use for whole days: midnight, noon, or the last second.
fn is_day(at: Timestamp) -> bool {
    let civil = at.civil();
    matches!((civil.hour, civil.minute, civil.second), (0 | 12, 0, 0) | (23, 59, 59))
}

impl Context<'_> {
    /// Writes `at` in the form of a component's start.
    fn time<W: Write>(&self, lines: &mut Lines<W>, property: &str, form: Form<'_>, at: Timestamp) -> io::Result<()> {
        match form {
            Form::Date(when) => lines.property(property, &[("VALUE", "DATE")], &date(&self.day(when, at))),
            Form::Moment(when) => match &when.zone {
                TimeZoneName::Floating => lines.property(property, &[], &local(&at.civil())),
                TimeZoneName::Unstated => lines.property(property, &[], &utc(at)),
                TimeZoneName::Named(name) => match self.zones.get(name).map(|zone| (zone, zone.civil(at))) {
                    Some((zone, Some(civil))) if !zone.is_utc() => {
                        lines.property(property, &[("TZID", zone.name())], &local(&civil))
                    }
                    Some(_) => lines.property(property, &[], &utc(at)),
                    None => lines.property(property, &[("X-TZ-NAME", name)], &utc(at)),
                },
            },
        }
    }

    /// The day of a time of an all-day event: in UTC if its time of day says so there, else in its zone.
    fn day(&self, when: &When, at: Timestamp) -> Civil {
        if !is_day(at)
            && let TimeZoneName::Named(name) = &when.zone
            && let Some(civil) = self.zones.get(name).and_then(|zone| zone.civil(at))
        {
            return civil;
        }
        at.civil()
    }

    /// The value of `UNTIL`, whose form must be that of the start.
    fn until(&self, form: Form<'_>, rule: &Recurrence) -> Option<String> {
        let until = rule.until?;
        Some(match form {
            Form::Date(when) => date(&self.day(when, until)),
            Form::Moment(When {
                zone: TimeZoneName::Floating,
                ..
            }) => local(&until.civil()),
            Form::Moment(_) => utc(until),
        })
    }

    fn rules<W: Write>(&self, lines: &mut Lines<W>, form: Form<'_>, rules: &[Recurrence]) -> io::Result<()> {
        for rule in rules {
            let until = self.until(form, rule);
            lines.property("RRULE", &[], &rule.rule(until.as_deref()))?;
            for part in &rule.not_understood {
                lines.text("X-RULE-NOT-UNDERSTOOD", part)?;
            }
        }
        Ok(())
    }
}

/// The day after the last, of an all-day event.
fn end_of_days(context: &Context<'_>, start: &When, end: Option<&When>) -> Option<Civil> {
    let first = context.day(start, start.at);
    let midnight = |civil: Civil| {
        // Back to seconds: the day as if in UTC.
        let at = start.at.unix_seconds();
        let near = at.saturating_sub(at.rem_euclid(DAY));
        // Zones are at most a day away.
        (-2..=2_i64).find_map(|days| {
            let here = Timestamp::from_unix(near.checked_add(days.checked_mul(DAY)?)?, 0)?;
            (date(&here.civil()) == date(&civil)).then_some(here)
        })
    };
    let after_first = || {
        midnight(first)?
            .unix_seconds()
            .checked_add(DAY)
            .and_then(|at| Timestamp::from_unix(at, 0))
    };
    let Some(end) = end else {
        return after_first().map(Timestamp::civil);
    };
    let last = context.day(end, end.at);
    let inclusive = (last.hour, last.minute, last.second) == (23, 59, 59);
    let day = if inclusive {
        // One second more is the midnight after, in whichever frame the day was read.
        let next = Timestamp::from_unix(end.at.unix_seconds().checked_add(1)?, 0)?;
        if is_day(end.at) {
            next.civil()
        } else {
            context.day(end, next)
        }
    } else {
        last
    };
    if date(&day) > date(&first) {
        Some(day)
    } else {
        after_first().map(Timestamp::civil)
    }
}

/// Writes a `VEVENT`, or a `VJOURNAL` for one that has no start.
pub(super) fn event<W: Write>(lines: &mut Lines<W>, context: &Context<'_>, event: &Event) -> io::Result<()> {
    let kind = if event.start.is_some() { "VEVENT" } else { "VJOURNAL" };
    lines.raw(&format!("BEGIN:{kind}"))?;
    let fallback = format!("event-{}", event.id);
    lines.text("UID", context.uids.get(&event.id).unwrap_or(&fallback))?;
    stamps(lines, event.created, event.modified, event.start.as_ref())?;
    event_times(lines, context, event)?;
    if let Some(summary) = &event.summary {
        lines.text("SUMMARY", summary)?;
    }
    if let Some(description) = &event.description {
        lines.text("DESCRIPTION", description)?;
    }
    if let Some(status) = event.status {
        // A journal is neither confirmed nor tentative.
        match (status, event.start.is_some()) {
            (EventStatus::Cancelled, _) => lines.raw("STATUS:CANCELLED")?,
            (EventStatus::Confirmed, true) => lines.raw("STATUS:CONFIRMED")?,
            (EventStatus::Tentative, true) => lines.raw("STATUS:TENTATIVE")?,
            (_, false) => {}
        }
    }
    if let Some(url) = &event.url {
        lines.uri("URL", &[], url)?;
    }
    if let Some(conference) = &event.conference {
        lines.uri("X-CONFERENCE", &[("VALUE", "URI")], conference)?;
    }
    for attachment in &event.attachments {
        lines.text("X-ATTACHED-FILE", attachment)?;
    }
    if let Some(privacy) = event.privacy.filter(|privacy| *privacy != 0) {
        lines.text("X-PRIVACY-LEVEL", &privacy.to_string())?;
    }
    if event.start.is_some() {
        only_in_events(lines, event)?;
    }
    if let Some(organizer) = &event.organizer {
        participant(lines, "ORGANIZER", organizer)?;
    }
    for attendee in &event.attendees {
        participant(lines, "ATTENDEE", attendee)?;
    }
    if event.start.is_some() {
        alarms(lines, &event.alarms, event.summary.as_deref(), "START")?;
    }
    lines.raw(&format!("END:{kind}"))
}

fn event_times<W: Write>(lines: &mut Lines<W>, context: &Context<'_>, event: &Event) -> io::Result<()> {
    let Some(start) = &event.start else {
        if let Some(end) = &event.end {
            lines.text("X-END-WITHOUT-START", &utc(end.at))?;
        }
        return Ok(());
    };
    let form = if event.all_day {
        Form::Date(start)
    } else {
        Form::Moment(start)
    };
    context.time(lines, "DTSTART", form, start.at)?;
    if event.all_day {
        if let Some(end) = end_of_days(context, start, event.end.as_ref()) {
            lines.property("DTEND", &[("VALUE", "DATE")], &date(&end))?;
        }
    } else if let Some(end) = event.end.as_ref().filter(|end| end.at >= start.at) {
        // Both must be of one kind: floating, or points in time.
        let same = (end.zone == TimeZoneName::Floating) == (start.zone == TimeZoneName::Floating);
        let of = if same { end } else { start };
        context.time(lines, "DTEND", Form::Moment(of), end.at)?;
    } else if let Some(end) = &event.end {
        lines.text("X-END-BEFORE-START", &utc(end.at))?;
    }
    if let Some(replaces) = &event.replaces {
        // The occurrence is named by its start, in the form of the whole series.
        let whole = context
            .events
            .get(&replaces.event)
            .and_then(|whole| Some((whole.start.as_ref()?, whole.all_day)));
        let (of, all_day) = whole.unwrap_or((start, event.all_day));
        let form = if all_day { Form::Date(of) } else { Form::Moment(of) };
        context.time(lines, "RECURRENCE-ID", form, replaces.at.unwrap_or(start.at))?;
    } else {
        // An occurrence does not repeat by itself.
        context.rules(lines, form, &event.recurrences)?;
        let mut exceptions = event.exceptions.clone();
        exceptions.sort_unstable();
        exceptions.dedup();
        for exception in exceptions {
            context.time(lines, "EXDATE", form, exception)?;
        }
    }
    Ok(())
}

fn only_in_events<W: Write>(lines: &mut Lines<W>, event: &Event) -> io::Result<()> {
    match event.availability {
        Some(0) => lines.raw("TRANSP:OPAQUE")?,
        Some(1) => lines.raw("TRANSP:TRANSPARENT")?,
        _ => {}
    }
    if let Some(location) = &event.location {
        if !location.line().is_empty() {
            lines.text("LOCATION", &location.line())?;
        }
        if let Some((north, east)) = location.coordinates {
            lines.property("GEO", &[], &format!("{north};{east}"))?;
        }
    }
    if let Some(seconds) = event.travel_time {
        lines.property("X-APPLE-TRAVEL-DURATION", &[("VALUE", "DURATION")], &duration(seconds))?;
    }
    Ok(())
}

/// Every component needs a time of its making; the store's last change is the best there is, and the same every time.
fn stamps<W: Write>(
    lines: &mut Lines<W>,
    created: Option<Timestamp>,
    modified: Option<Timestamp>,
    start: Option<&When>,
) -> io::Result<()> {
    let epoch = Timestamp::from_unix(0, 0);
    if let Some(stamp) = modified.or(created).or(start.map(|start| start.at)).or(epoch) {
        lines.property("DTSTAMP", &[], &utc(stamp))?;
    }
    if let Some(created) = created {
        lines.property("CREATED", &[], &utc(created))?;
    }
    if let Some(modified) = modified {
        lines.property("LAST-MODIFIED", &[], &utc(modified))?;
    }
    Ok(())
}

fn participant<W: Write>(lines: &mut Lines<W>, property: &str, participant: &Participant) -> io::Result<()> {
    let status = participant.status.map(|status| status.to_string());
    let role = participant.role.map(|role| role.to_string());
    let mut parameters = Vec::new();
    if let Some(name) = &participant.name {
        parameters.push(("CN", name.as_str()));
    }
    if let Some(status) = &status {
        parameters.push(("X-STATUS-NUMBER", status));
    }
    if let Some(role) = &role {
        parameters.push(("X-ROLE-NUMBER", role));
    }
    if participant.is_self {
        parameters.push(("X-IS-SELF", "TRUE"));
    }
    let mail = participant.email.as_ref().map(|email| format!("mailto:{email}"));
    let address = mail.or_else(|| participant.address.clone().filter(|address| address.contains(':')));
    // A guest without any address still counts.
    lines.uri(property, &parameters, address.as_deref().unwrap_or("invalid:nomail"))
}

fn alarms<W: Write>(lines: &mut Lines<W>, alarms: &[Alarm], summary: Option<&str>, related: &str) -> io::Result<()> {
    for alarm in alarms {
        if let Alarm::Place(proximity) = alarm {
            let place = match proximity {
                1 => "ARRIVE".to_owned(),
                2 => "DEPART".to_owned(),
                other => other.to_string(),
            };
            lines.text("X-ALARM-AT-PLACE", &place)?;
            continue;
        }
        lines.raw("BEGIN:VALARM")?;
        lines.raw("ACTION:DISPLAY")?;
        lines.property("DESCRIPTION", &[], &escaped(summary.unwrap_or("Reminder")))?;
        match alarm {
            Alarm::At(at) => lines.property("TRIGGER", &[("VALUE", "DATE-TIME")], &utc(*at))?,
            Alarm::Relative(seconds) if related == "START" => lines.property("TRIGGER", &[], &duration(*seconds))?,
            Alarm::Relative(seconds) => lines.property("TRIGGER", &[("RELATED", related)], &duration(*seconds))?,
            Alarm::Place(_) => {}
        }
        lines.raw("END:VALARM")?;
    }
    Ok(())
}

fn duration(seconds: i64) -> String {
    let sign = if seconds < 0 { "-" } else { "" };
    let rest = seconds.unsigned_abs();
    let (days, hours, minutes, seconds) = (rest / 86_400, rest / 3600 % 24, rest / 60 % 60, rest % 60);
    let mut out = format!("{sign}P");
    if days > 0 {
        out.push_str(&format!("{days}D"));
    }
    if (hours, minutes, seconds) == (0, 0, 0) {
        if days == 0 {
            out.push_str("T0S");
        }
        return out;
    }
    out.push('T');
    for (number, unit) in [(hours, 'H'), (minutes, 'M'), (seconds, 'S')] {
        // Between two units none may be missing.
        if number > 0 || (unit == 'M' && hours > 0 && seconds > 0) {
            out.push_str(&format!("{number}{unit}"));
        }
    }
    out
}

/// Writes a `VTODO`.
pub(super) fn task<W: Write>(lines: &mut Lines<W>, context: &Context<'_>, task: &Task) -> io::Result<()> {
    lines.raw("BEGIN:VTODO")?;
    lines.text("UID", &task_uid(task.uid.as_deref(), task.id))?;
    stamps(
        lines,
        task.created,
        task.modified,
        task.start.as_ref().or(task.due.as_ref()),
    )?;
    // A rule counts from the start, so that one is needed; and the end must not be before it.
    let start = task
        .start
        .as_ref()
        .filter(|start| task.due.as_ref().is_none_or(|due| start.at <= due.at));
    let repeats_from = task.due.as_ref().filter(|_| !task.recurrences.is_empty());
    let start = start.or(repeats_from);
    let form = |when| {
        if task.all_day {
            Form::Date(when)
        } else {
            Form::Moment(when)
        }
    };
    if let Some(start) = start {
        context.time(lines, "DTSTART", form(start), start.at)?;
        context.rules(lines, form(start), &task.recurrences)?;
    }
    if let Some(due) = task
        .due
        .as_ref()
        .filter(|due| start.is_none_or(|start| start.at < due.at || task.start.is_none()))
    {
        context.time(lines, "DUE", form(due), due.at)?;
    }
    if let Some(summary) = &task.summary {
        lines.text("SUMMARY", summary)?;
    }
    if let Some(description) = &task.description {
        lines.text("DESCRIPTION", description)?;
    }
    lines.raw(if task.completed {
        "STATUS:COMPLETED"
    } else {
        "STATUS:NEEDS-ACTION"
    })?;
    if let Some(at) = task.completed_at.filter(|_| task.completed) {
        lines.property("COMPLETED", &[], &utc(at))?;
    }
    if let Some(priority) = task.priority.filter(|priority| (1..=9).contains(priority)) {
        lines.text("PRIORITY", &priority.to_string())?;
    }
    if task.flagged {
        lines.raw("X-FLAGGED:TRUE")?;
    }
    if let Some(parent) = task.parent {
        lines.text("X-PART-OF-ROW", &parent.to_string())?;
    }
    for assignee in &task.assignees {
        participant(lines, "ATTENDEE", assignee)?;
    }
    // Before it is due, where no start says otherwise.
    let related = if start.is_some() { "START" } else { "END" };
    if start.is_some() || task.due.is_some() {
        alarms(lines, &task.alarms, task.summary.as_deref(), related)?;
    }
    lines.raw("END:VTODO")
}

fn task_uid(uid: Option<&str>, id: i64) -> String {
    uid.map_or_else(|| format!("task-{id}"), str::to_owned)
}
