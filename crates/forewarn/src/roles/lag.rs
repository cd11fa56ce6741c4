//! How far the groups are behind, by position and by commit.
//!
//! Roles note where they are; one task of the process asks the broker for the ends and exports the
//! difference, so that no role's loop waits for that.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::Ctx;
use crate::clock::Clock;
use crate::shutdown::Shutdown;
use crate::telemetry::{EndAges, GroupLag};

/// How often the ends are asked for. Oftener: load on the broker; more seldom: stale figures.
const ASK_EVERY: Duration = Duration::from_secs(15);

/// Group (without prefix), topic (full name), partition.
type Place = (&'static str, Arc<str>, i32);

#[derive(Debug, Clone, Copy)]
struct Noted {
    committed: i64,
    position: i64,
}

/// Where the groups of this process are.
#[derive(Debug, Clone, Default)]
pub(crate) struct LagBook(Arc<Mutex<BTreeMap<Place, Noted>>>);

impl LagBook {
    /// A partition was read up to `position` and committed at `committed`.
    pub(crate) fn note(
        &self,
        group: &'static str,
        topic: &Arc<str>,
        partition: i32,
        committed: i64,
        position: i64,
    ) {
        let place = (group, Arc::clone(topic), partition);
        self.lock().insert(
            place,
            Noted {
                committed,
                position,
            },
        );
    }

    /// A partition is somebody else's now.
    pub(crate) fn forget(&self, ctx: &Ctx, group: &'static str, topic: &Arc<str>, partition: i32) {
        self.lock().remove(&(group, Arc::clone(topic), partition));
        ctx.telemetry
            .forget_lag(&ctx.group(group), topic, partition);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<Place, Noted>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Exports the lag until the stop.
pub(crate) async fn watch(ctx: Ctx, shutdown: Shutdown) {
    let mut ages = EndAges::default();
    loop {
        tokio::select! {
            () = shutdown.wait() => return,
            () = tokio::time::sleep(ASK_EVERY) => {}
        }
        let noted = ctx.lag.lock().clone();
        let mut topics: Vec<String> = noted
            .keys()
            .map(|(_, topic, _)| topic.to_string())
            .collect();
        topics.sort_unstable();
        topics.dedup();
        if topics.is_empty() {
            continue;
        }
        let ends = match bus::topics::end_offsets(&ctx.kafka("lag"), &topics).await {
            Ok(ends) => ends,
            Err(error) => {
                tracing::debug!(%error, "lag is not known");
                continue;
            }
        };
        let now_ms = Clock::wall().now_ms();
        for ((topic, partition), range) in &ends {
            ages.note(topic, *partition, range.high, now_ms);
        }
        for ((group, topic, partition), noted) in noted {
            if let Some(range) = ends.get(&(Arc::clone(&topic), partition)) {
                ctx.telemetry.set_lag(GroupLag {
                    group: &ctx.group(group),
                    topic: &topic,
                    partition,
                    committed: (range.high - noted.committed).max(0),
                    position: (range.high - noted.position).max(0),
                    committed_seconds: ages.seconds(&topic, partition, noted.committed, now_ms),
                });
            }
        }
    }
}
