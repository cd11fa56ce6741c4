//! Forecasts of some servers beside what came after them, and what drove them.

use anyhow::Result;
use contract::Contract;

use super::super::{context_at, rfc3339};
use super::{Fan, Weight};

/// Servers that are shown, evenly spaced in the order of names; each adds some 10 KB to the page.
const SERVERS: usize = 4;
/// Metrics shown of each.
const METRICS: usize = 3;

/// A server and the step at which its forecast is issued.
pub(super) type Chosen<'a> = (&'a tft::Series, usize);

/// Servers with a whole context and horizon before `to_ms`.
pub(super) fn choose<'a>(
    contract: &Contract,
    data: &'a tft::Dataset,
    to_ms: i64,
) -> Vec<Chosen<'a>> {
    let (metrics, step_ms) = (contract.num_metrics().max(1), contract.step_ms().max(1));
    let issue = |series: &'a tft::Series| {
        let steps = series.values.len() / metrics;
        let within = usize::try_from(to_ms.saturating_sub(series.start_ms) / step_ms).ok()?;
        let issue = steps.min(within).checked_sub(contract.horizon_steps)?;
        (issue >= contract.context_steps).then_some((series, issue))
    };
    let possible: Vec<Chosen<'a>> = data.series.iter().filter_map(issue).collect();
    let every = possible.len().div_ceil(SERVERS).max(1);
    possible.into_iter().step_by(every).collect()
}

/// Mean weights of the inputs, by name, and mean attention.
pub(super) fn explain(
    contract: &Contract,
    model: &tft::Model,
    chosen: &[Chosen<'_>],
) -> Result<(Vec<Weight>, Vec<f32>)> {
    let (mut variables, mut attention) = (Vec::new(), Vec::new());
    for &(series, issue) in chosen {
        let explained = model.explain(&context_at(contract, series, issue))?;
        add(&mut variables, &explained.variables);
        add(&mut attention, &explained.attention);
    }
    let share = 1.0 / chosen.len().max(1) as f32;
    for value in variables.iter_mut().chain(&mut attention) {
        *value *= share;
    }
    let named = variables
        .into_iter()
        .enumerate()
        .map(|(at, weight)| Weight {
            name: name(contract, at),
            weight,
        });
    Ok((named.collect(), attention))
}

fn add(sums: &mut Vec<f32>, values: &[f32]) {
    sums.resize(values.len().max(sums.len()), 0.0);
    for (sum, value) in sums.iter_mut().zip(values) {
        *sum += value;
    }
}

/// Metrics come first, then what is no metric.
fn name(contract: &Contract, at: usize) -> String {
    let others = ["calendar", "state"];
    match contract.metrics.get(at) {
        Some(metric) => metric.name.clone(),
        None => others
            .get(at - contract.num_metrics())
            .map_or_else(|| format!("input {at}"), |&name| name.to_owned()),
    }
}

/// The chosen servers' forecasts, some metrics each.
pub(super) fn fans(
    contract: &Contract,
    model: &tft::Model,
    chosen: &[Chosen<'_>],
) -> Result<Vec<Fan>> {
    let contexts: Vec<_> = chosen
        .iter()
        .map(|&(series, issue)| context_at(contract, series, issue))
        .collect();
    let forecasts = model.predict(&contexts)?;
    let mut fans = Vec::new();
    for (&(series, issue), forecast) in chosen.iter().zip(&forecasts) {
        let shown = worth_seeing(contract, series, issue);
        fans.extend(
            shown
                .into_iter()
                .map(|metric| fan(contract, series, issue, forecast, metric)),
        );
    }
    Ok(fans)
}

/// The values of a metric around the issue time, `before` and after it.
fn around(
    contract: &Contract,
    series: &tft::Series,
    issue: usize,
    metric: usize,
) -> [Vec<Option<f32>>; 2] {
    let metrics = contract.num_metrics();
    let value = |step: usize| {
        let value = series.values.get(step * metrics + metric).copied();
        value.filter(|v| v.is_finite())
    };
    let context = issue.saturating_sub(contract.context_steps)..issue;
    [
        context.map(value).collect(),
        (issue..issue + contract.horizon_steps).map(value).collect(),
    ]
}

/// The first metrics that are not constant around the forecast.
fn worth_seeing(contract: &Contract, series: &tft::Series, issue: usize) -> Vec<usize> {
    let moves = |&metric: &usize| {
        let mut values = around(contract, series, issue, metric)
            .into_iter()
            .flatten()
            .flatten();
        let first = values.next();
        values.any(|value| Some(value) != first)
    };
    (0..contract.num_metrics())
        .filter(moves)
        .take(METRICS)
        .collect()
}

fn fan(
    contract: &Contract,
    series: &tft::Series,
    issue: usize,
    forecast: &tft::Forecast,
    metric: usize,
) -> Fan {
    let [context, actual] = around(contract, series, issue, metric);
    let of = |values: &[f32]| {
        let steps = values.iter().skip(metric).step_by(contract.num_metrics());
        steps.copied().collect::<Vec<f32>>()
    };
    let issued_at = series.start_ms + i64::try_from(issue).unwrap_or(0) * contract.step_ms();
    let profile = contract.profiles.get(series.profile);
    Fan {
        server: series.server.clone(),
        profile: profile.map_or_else(String::new, |p| p.name.clone()),
        metric: contract.metrics[metric].name.clone(),
        unit: contract.metrics[metric].unit.clone(),
        issued_at: rfc3339(issued_at),
        step_seconds: contract.step_seconds,
        context,
        actual,
        p10: of(&forecast.p10),
        p50: of(&forecast.p50),
        p90: of(&forecast.p90),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vm() -> Contract {
        Contract::shipped("vm").unwrap_or_else(|| unreachable!())
    }

    fn series(server: &str, steps: usize) -> tft::Series {
        tft::Series {
            server: server.to_owned(),
            // The first metric counts, the second one is 7, the third absent.
            values: (0..steps)
                .flat_map(|step| {
                    let gap = f32::NAN;
                    [step as f32, 7.0, gap, gap, gap, step as f32 / 2.0]
                })
                .collect(),
            ..tft::Series::default()
        }
    }

    #[test]
    fn servers_are_shown_that_have_a_past_and_a_future() {
        let names = ["a", "b", "c", "d", "e", "f", "g", "h", "i"];
        let mut data = tft::Dataset {
            series: names.map(|name| series(name, 400)).to_vec(),
        };
        data.series[0] = series("short", 383);
        let chosen = choose(&vm(), &data, i64::MAX);
        let shown: Vec<_> = chosen.iter().map(|(s, at)| (&*s.server, *at)).collect();
        assert_eq!(shown, [("b", 304), ("d", 304), ("f", 304), ("h", 304)]);
        // The end of the validation part bounds the actual values.
        let chosen = choose(&vm(), &data, 390 * 300_000);
        assert_eq!(chosen[0].1, 294);
        assert!(choose(&vm(), &data, 0).is_empty());
    }

    #[test]
    fn a_fan_is_cut_from_the_grid() {
        let (contract, series) = (vm(), series("a", 400));
        assert_eq!(worth_seeing(&contract, &series, 304), [0, 5]);
        let values: Vec<f32> = (0..96 * 6).map(|at| at as f32).collect();
        let forecast = tft::Forecast {
            p10: values.clone(),
            p50: values.clone(),
            p90: values,
        };
        let fan = fan(&contract, &series, 304, &forecast, 5);
        assert_eq!((fan.context.len(), fan.actual.len()), (288, 96));
        assert_eq!((fan.context[0], fan.actual[0]), (Some(8.0), Some(152.0)));
        assert_eq!((fan.p50.len(), fan.p50[1]), (96, 11.0));
        assert_eq!(fan.issued_at, "1970-01-02T01:20:00Z");
    }

    #[test]
    fn what_is_no_metric_has_a_name_too() {
        let names: Vec<String> = (5..9).map(|at| name(&vm(), at)).collect();
        assert_eq!(names, ["net_out_mb_s", "calendar", "state", "input 8"]);
    }
}
