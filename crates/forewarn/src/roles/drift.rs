//! `drift`: compares what was predicted with what came, and decides whether to train.
//!
//! Two stages with a topic between them, so that partitions may be spread over processes:
//! * [`panes`]: `rollups` + `predictions` → `drift.panes`, per partition;
//! * [`reports`]: `drift.panes` → `drift` (one report per bucket) and decisions on `control`.
//!
//! Guarantee: a restart gives the same panes and reports again or none; both are keyed, so a
//! repeat changes nothing. What is measured is `drift`'s, what is decided is `policy`'s.

mod panes;
mod reports;

use std::time::Instant;

use anyhow::Result;

use super::production::ProductionWatch;
use super::summary::Summary;
use super::{Ctx, RunOpts};
use crate::shutdown::Shutdown;

pub(crate) use self::panes::GROUP as PANES_GROUP;

const ROLE: &str = "drift";
/// A bucket that begins later than this after its record's Kafka timestamp is somebody's broken clock: the rollup role writes
/// none. Taken in, it would close every bucket before it for good.
const AHEAD_MS: i64 = 5 * 60_000;

fn is_ahead(bucket: i64, timestamp_ms: i64) -> bool {
    bucket > timestamp_ms.saturating_add(AHEAD_MS)
}

/// Runs both stages until `shutdown`, or with `--until-end` one after the other.
pub(crate) async fn run(ctx: Ctx, opts: RunOpts, shutdown: Shutdown) -> Result<Summary> {
    let started = Instant::now();
    let mut production = ProductionWatch::start(&ctx, ROLE)?;
    if !production.wait_for_first(opts, &shutdown).await? {
        return Ok(Summary::new(ROLE));
    }
    let (consumed, produced) = if opts.until_end {
        let panes = panes::run(ctx.clone(), opts, production.clone(), shutdown.clone()).await?;
        let reports = reports::run(ctx, opts, production, shutdown).await?;
        (panes.0, panes.1 + reports.1)
    } else {
        let (panes, reports) = tokio::try_join!(
            panes::run(ctx.clone(), opts, production.clone(), shutdown.clone()),
            reports::run(ctx, opts, production, shutdown),
        )?;
        (panes.0, panes.1 + reports.1)
    };
    let mut summary = Summary::new(ROLE);
    summary.consumed = consumed;
    summary.produced = produced;
    summary.seconds = started.elapsed().as_secs_f64();
    Ok(summary)
}
