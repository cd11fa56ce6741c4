//! When a training is decided on: the keys of `[decision]` and `[quiet]`, and what they must be together.

use chrono_tz::Tz;

use super::resolve::{Reader, one_of};
use super::values;
use super::{DecisionSettings, QuietSettings};

/// `contract_zone` is whose clock a schedule goes by where no other is written.
pub(super) fn read_decision(r: &mut Reader, contract_zone: Option<Tz>) -> Option<DecisionSettings> {
    let min_between = r.read("decision.min_hours_between", values::duration);
    let triggers = r.read("decision.triggers", |text| {
        policy::Triggers::parse(text).map_err(|error| error.to_string())
    });
    let (time_zone, schedule) = read_schedule(r, contract_zone, triggers.as_ref());
    let max_in_week = r.read("decision.max_in_week", |text| match values::count(text)? {
        most if most <= policy::MAX_IN_WEEK as u64 => Ok(most as usize),
        _ => Err(format!("must be at most {}", policy::MAX_IN_WEEK)),
    });
    let force_after = r.read("decision.force_after", values::positive_duration);
    let min_accuracy = r.read("decision.min_accuracy", values::share);
    let max_share_drifted = r.read("decision.max_share_drifted", values::share);
    if let (Some(least), Some(most)) = (min_between, force_after)
        && most < least
    {
        let least = values::show_duration(least);
        r.refuse(
            "decision.force_after",
            &format!("shorter than decision.min_hours_between, which is {least}: no training could be forced then"),
        );
    }
    Some(DecisionSettings {
        min_between: min_between?,
        triggers: triggers?,
        schedule,
        time_zone,
        max_in_week: max_in_week?,
        force_after: force_after?,
        min_accuracy: min_accuracy?,
        max_share_drifted: max_share_drifted?,
    })
}

/// The zone as it was written, and the schedule by the zone that holds.
fn read_schedule(
    r: &mut Reader,
    contract_zone: Option<Tz>,
    triggers: Option<&policy::Triggers>,
) -> (Option<Tz>, Option<policy::Schedule>) {
    let time_zone = r.read_optional("decision.time_zone", |text| {
        text.parse::<Tz>()
            .map_err(|_| "no time zone of the IANA list; write one like America/New_York".into())
    });
    let zone = time_zone.or(contract_zone).unwrap_or(Tz::UTC);
    let schedule = r.read_optional("decision.schedule", |text| {
        let schedule = policy::Schedule::parse(text, zone).map_err(|error| error.to_string())?;
        match triggers {
            Some(triggers) if !triggers.use_schedule() => Err(format!(
                "decision.triggers = \"{triggers}\" does not use it; write \"schedule or ({triggers})\" there"
            )),
            _ => Ok(schedule),
        }
    });
    if triggers.is_some_and(policy::Triggers::need_schedule) && r.is_empty("decision.schedule") {
        r.refuse(
            "decision.triggers",
            "uses schedule, but decision.schedule is not set; set it, like \"0 2 * * *\"",
        );
    }
    (time_zone, schedule)
}

pub(super) fn read_quiet(r: &mut Reader) -> Option<QuietSettings> {
    let rule = r.read("quiet.rule", |text| {
        let names = policy::QuietRule::ALL.map(policy::QuietRule::as_str);
        one_of(text, &names)?;
        let rule = policy::QuietRule::ALL
            .into_iter()
            .find(|rule| rule.as_str() == text);
        Ok(rule.unwrap_or_default())
    });
    let max_load = r.read("quiet.max_load", values::share);
    Some(QuietSettings {
        rule: rule?,
        max_load: max_load?,
    })
}
