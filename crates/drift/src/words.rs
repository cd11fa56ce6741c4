//! A report in words, for somebody who was woken by it: what to do, why, since when, and what the report does not cover.

use contract::Contract;
use contract::record::ServerDrift;

use crate::baseline::Baseline;
use crate::policies::{Calibration, Status};
use crate::report::{Driver, MIN_COVERAGE, ReportRequest, Window};
use crate::shift::detector::MIN_DAYS;
use crate::shift::history::Signal;
use crate::shift::season::Resolution;
use crate::windows::{Presence, ServersSeen, WINDOW_MINUTES};

/// Most causes that are named; the rest is in the report's metrics.
const MAX_NAMED: usize = 3;

/// More missing servers than this share are worth a word.
const MANY_MISSING: f64 = 0.1;

/// All that a recommendation may speak of.
pub(crate) struct Account<'a> {
    pub(crate) contract: &'a Contract,
    pub(crate) request: &'a ReportRequest<'a>,
    pub(crate) status: Status,
    pub(crate) score: f64,
    pub(crate) windows: &'a [Window; 2],
    pub(crate) baseline: &'a Baseline,
    pub(crate) presence: &'a Presence,
    /// The strongest first.
    pub(crate) drivers: &'a [Driver],
    pub(crate) servers: &'a ServersSeen,
}

pub(crate) fn recommendation(account: &Account<'_>) -> String {
    let mut words = verdict(account);
    for note in notes(account) {
        words.push(' ');
        words.push_str(&note);
    }
    words
}

fn verdict(account: &Account<'_>) -> String {
    let policy = &account.request.policy;
    if !account.windows.iter().any(Window::is_covered) && account.status == Status::Healthy {
        return "No verdict yet: no window has enough data.".to_owned();
    }
    let score = compared(account.score, policy.alarm);
    let (what, fact) = match account.status {
        Status::Healthy => {
            let score = compared(account.score, policy.warning);
            return format!(
                "Nothing to do: score {score} is not above {:.2}.",
                policy.warning
            );
        }
        Status::Warning => (
            "Watch it",
            format!(
                "score {} is above {:.2}",
                compared(account.score, policy.warning),
                policy.warning
            ),
        ),
        Status::Urgent if policy.is_alarm(account.score) => (
            "Retrain",
            format!("score {score} is above {:.2}", policy.alarm),
        ),
        Status::Urgent => (
            "Retrain",
            format!("score {score} has come down, the alarm stays for three hours"),
        ),
        Status::Critical => (
            "Retrain soon",
            format!(
                "score {} is above {:.2}",
                compared(account.score, policy.critical),
                policy.critical
            ),
        ),
    };
    let servers = servers(account).unwrap_or_default();
    format!("{what}: {fact}, driven by {}.{servers}", causes(account))
}

/// A score with so many digits that it can be told from `limit`.
#[must_use]
pub fn compared(score: f64, limit: f64) -> String {
    for digits in 2..6 {
        let text = format!("{score:.digits$}");
        if text != format!("{limit:.digits$}") {
            return text;
        }
    }
    format!("{score}")
}

fn name(window: &Window) -> String {
    let minutes = WINDOW_MINUTES
        .get(window.index)
        .copied()
        .unwrap_or_default();
    format!("{} h", minutes / 60)
}

/// The drivers that are named.
fn named<'a>(account: &Account<'a>) -> impl Iterator<Item = &'a Driver> {
    let drivers = account.drivers.iter();
    drivers
        .filter(|driver| driver.strength > 0.0)
        .take(MAX_NAMED)
}

/// Who stands out in what is named, and how many; `None` where no server can be told from itself.
fn servers(account: &Account<'_>) -> Option<String> {
    let seen = account.servers;
    let names = |driver: &Driver| {
        let profile = account.contract.profiles.get(driver.cell.profile)?;
        let metric = account.contract.metrics.get(driver.cell.metric)?;
        Some((profile.name.as_str(), metric.name.as_str()))
    };
    let judged: Vec<(&str, &str, f64)> = named(account)
        .filter_map(|driver| {
            let share = seen.share_away(driver.cell.profile, driver.cell.metric)?;
            let (profile, metric) = names(driver)?;
            Some((profile, metric, share))
        })
        .collect();
    if judged.is_empty() {
        return None;
    }
    let of = |server: &ServerDrift| {
        let mut judged = judged.iter();
        judged.find(|(p, m, _)| (*p, *m) == (server.profile.as_str(), server.metric.as_str()))
    };
    let away = seen.away.iter().filter(|server| of(server).is_some());
    let away: Vec<&ServerDrift> = away.take(MAX_NAMED).collect();
    let Some((profile, metric, share)) = away.first().copied().and_then(of) else {
        return Some(
            " No single server was far from its own usual for half of the hour.".to_owned(),
        );
    };
    let named: Vec<String> = away
        .iter()
        .map(|away| format!("{} ({} {:+.1} sd)", away.server, away.metric, away.size_sd))
        .collect();
    Some(format!(
        " Furthest from their own usual: {}; {:.0} % of {profile} are beyond 3 sd in {metric}.",
        named.join(", "),
        100.0 * share
    ))
}

fn causes(account: &Account<'_>) -> String {
    let named: Vec<String> = named(account)
        .filter_map(|driver| cause(account, driver))
        .collect();
    if named.is_empty() {
        "forecast errors".to_owned()
    } else {
        named.join(", ")
    }
}

fn cause(account: &Account<'_>, driver: &Driver) -> Option<String> {
    let cell = &driver.cell;
    let profile = &account.contract.profiles.get(cell.profile)?.name;
    let metric = &account.contract.metrics.get(cell.metric)?.name;
    if cell.is_new {
        return Some(format!("{profile} {metric} (new to the model)"));
    }
    if driver.is_plain {
        return Some(format!(
            "{profile} {metric} (no variation in the baseline, other values now)"
        ));
    }
    let step = driver
        .finding
        .and_then(|finding| Some((finding, finding.step?)));
    if let Some((finding, step)) = step {
        let minutes = step.length as i64 * account.contract.step_ms() / 60_000;
        let what = match finding.signal {
            Signal::Mean => "mean",
            Signal::Spread => "spread between servers",
            Signal::Error => "forecast error",
        };
        let size = step.size / finding.sd;
        return Some(format!(
            "{profile} {metric} ({what} {size:+.1} sd for {})",
            duration(minutes)
        ));
    }
    let per = cell
        .per
        .map(|per| format!(", error {:.0} %", 100.0 * per))
        .unwrap_or_default();
    Some(format!(
        "{profile} {metric} (mean {:.1} sd off, KS {:.2}{per})",
        cell.z, cell.ks
    ))
}

fn duration(minutes: i64) -> String {
    match (minutes / 60, minutes % 60) {
        (0, minutes) => format!("{minutes} min"),
        (hours, 0) => format!("{hours} h"),
        (hours, minutes) => format!("{hours} h {minutes} min"),
    }
}

fn notes(account: &Account<'_>) -> Vec<String> {
    let mut notes = Vec::new();
    for window in account.windows.iter().filter(|window| !window.is_covered()) {
        let least = MIN_COVERAGE.get(window.index).copied().unwrap_or_default();
        notes.push(format!(
            "The {} window is not whole: it holds {:.0} % of its 5-minute panes, {:.0} % are needed.",
            name(window),
            (100.0 * window.coverage).floor(),
            100.0 * least
        ));
    }
    if account.request.calibration == Calibration::On {
        notes.extend(quiet_days(account.baseline));
    }
    let [hour, _] = account.windows;
    let borrowed = hour
        .judged
        .cells
        .iter()
        .filter(|cell| cell.borrowed)
        .count();
    if borrowed > 0 {
        notes.push(format!(
            "The baseline saw this hour of the week too rarely in {borrowed} of {} metrics of profiles: their KS, PSI and z are held against the hours beside it, or that hour of other days.",
            hour.judged.cells.len()
        ));
    }
    let presence = account.presence;
    if presence.missing_servers as f64 > MANY_MISSING * presence.servers as f64 {
        notes.push(format!(
            "{} of {} servers are missing.",
            presence.missing_servers, presence.servers
        ));
    }
    notes.extend(gone(account));
    if account.request.calibration == Calibration::On {
        notes.extend(partial(account));
    }
    let servers = account.servers;
    if servers.num_new > 0 {
        let (are, and) = match servers.num_new - servers.new.len() as i64 {
            ..=0 if servers.num_new == 1 => ("1 server is".to_owned(), ""),
            ..=0 => (format!("{} servers are", servers.num_new), ""),
            _ => (format!("{} servers are", servers.num_new), ", …"),
        };
        notes.push(format!(
            "{are} new to the baseline and not judged by themselves: {}{and}.",
            servers.new.join(", ")
        ));
    }
    if !presence.missing.is_empty() {
        let partitions: Vec<String> = presence
            .missing
            .iter()
            .take(8)
            .map(ToString::to_string)
            .collect();
        notes.push(format!(
            "Nothing new from partition {}.",
            partitions.join(", ")
        ));
    }
    notes
}

/// Whether the day never had most of the baseline's servers at once: those that are there are judged as if they were all.
fn gone(account: &Account<'_>) -> Option<String> {
    let known = i64::try_from(account.baseline.num_servers()).unwrap_or(i64::MAX);
    let [_, day] = account.windows;
    let seen = account.presence.servers - account.servers.num_new;
    let gone = known.saturating_sub(seen);
    (day.is_covered() && gone as f64 > MANY_MISSING * known as f64).then(|| {
        format!(
            "In the last day at most {seen} servers that the baseline knows were there at once, of {known}: they are judged without the others."
        )
    })
}

/// Profiles that are not judged, as the means of those servers that are left are not theirs.
fn partial(account: &Account<'_>) -> Option<String> {
    let named = account.presence.partial.iter().filter_map(|partial| {
        let profile = account.contract.profiles.get(partial.profile)?;
        Some(format!(
            "{} ({} of {} servers)",
            profile.name, partial.servers, partial.most
        ))
    });
    let named: Vec<String> = named.collect();
    (!named.is_empty()).then(|| {
        format!(
            "Not judged while more than a tenth of the day's servers are missing: {}.",
            named.join(", ")
        )
    })
}

/// What the baseline does not know.
fn quiet_days(baseline: &Baseline) -> Vec<String> {
    let Some(detector) = &baseline.detector else {
        return vec!["Nothing is an alarm: the baseline was not calibrated.".to_owned()];
    };
    if detector.level().is_none() {
        return vec![format!(
            "Nothing is an alarm: the baseline holds {} days, of which too little is known of quiet days; train with {MIN_DAYS} or more.",
            detector.days
        )];
    }
    let mut notes = Vec::new();
    if detector.resolution == Resolution::HourOfDay {
        notes.push(format!(
            "The baseline holds {} days, less than a week: weekends are judged by the hour of the day.",
            detector.days
        ));
    }
    if detector.num_error_series() == 0 {
        notes.push(unwatched_error(detector.held_out_days));
    }
    notes
}

/// Why no forecast error is an alarm, of a baseline that has none.
#[must_use]
pub fn unwatched_error(held_out_days: Option<f64>) -> String {
    let why = match held_out_days {
        // Cut, not rounded: 2.99 days are not 3.
        Some(days) if days < MIN_DAYS as f64 => format!(
            "{:.1} days were held out of its training, {MIN_DAYS} are needed",
            (10.0 * days).floor() / 10.0
        ),
        _ => "its baseline holds too few errors of its forecasts".to_owned(),
    };
    format!("The model's own error is not watched: {why}.")
}
