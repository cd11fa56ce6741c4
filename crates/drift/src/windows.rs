//! Merges panes of all partitions into the sliding windows; `servers` says which servers they name, `recent` what is plainly new in them.
//!
//! A pane's key is (bucket, partition, profile, baseline); a repeat replaces. Panes of another baseline than the one a
//! report asks for are kept but not merged: forecasters, pane builders and the merger change models at different moments.
//! The sums of each window are kept up as it slides, by adding what enters and taking away what leaves; integers make
//! that exact.
//!
//! Invariants: the windows hold exactly the panes kept whose bucket lies in them and whose baseline is the current one,
//! whatever the order of arrival (a property test holds this against summing anew); at most [`MAX_PANES`] are kept, none
//! older than the watch's memory (28 hours) at the last report. What the watch says is a function of those panes.
//! It is not: a clock. A window ends where the caller says.

mod partial;
mod recent;
mod servers;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use contract::Contract;
use contract::record::{Pane, Position};

use crate::baseline::{Baseline, BaselineError};
use crate::hours::HourShares;
use crate::packed::{MAX_NAME_BYTES, Packed};
use crate::shift::detector::{Detector, MEMORY};
use crate::shift::history::BucketSums;
use crate::shift::season::bucket_hour;
use crate::shift::watch::{Verdict, Watch};
use crate::sums::{MetricSums, ProfileSums, Sign};

/// Lengths of the windows that are judged, in minutes: an hour, for what breaks at once, and a day, in which the daily
/// cycle cancels out.
pub const WINDOW_MINUTES: [i32; 2] = [60, 1_440];

/// Load is the mean over this many minutes: of one bucket alone it would jump, over an hour it would be stale.
pub(crate) const LOAD_MINUTES: i32 = 15;

/// Most panes kept, some 1.5 KiB each: the memory of the watch for 890 pairs of partition and profile. Fewer would lose part of a day of a
/// large cluster, more could fill the memory.
pub const MAX_PANES: usize = 300_000;

/// Names of baselines and models that are looked up before a new one is allocated.
const MAX_NAMES: usize = 64;

/// What became of a pane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PaneOutcome {
    /// New.
    Added,
    /// Took the place of an earlier one with the same key.
    Replaced,
    /// Its bucket left the longest window before the last report.
    TooOld,
    /// Of another contract.
    OtherContract,
    /// It contradicts itself or the contract.
    Malformed(&'static str),
    /// As many as allowed are kept.
    Full,
}

pub(crate) use self::partial::Partial;
pub(crate) use self::servers::ServersSeen;

/// (bucket, partition, profile, baseline)
type Key = (i64, i32, usize, Arc<str>);

#[derive(Debug)]
struct Slide {
    length_ms: i64,
    /// Starts of buckets from…
    from: i64,
    /// …to before.
    to: i64,
    profiles: Vec<ProfileSums>,
}

/// What is known of the panes in the longest window, beside their sums.
#[derive(Debug, Default)]
pub(crate) struct Presence {
    pub(crate) rows: i64,
    pub(crate) servers: i64,
    /// Servers that are there but for the last bucket.
    pub(crate) missing_servers: i64,
    pub(crate) positions: Vec<Position>,
    pub(crate) missing: Vec<i32>,
    /// Profiles that the watch does not judge.
    pub(crate) partial: Vec<Partial>,
    /// Share of the servers that they have.
    pub(crate) partial_share: f64,
    /// Partitions seen.
    pub(crate) num_partitions: usize,
    /// Share of each window's buckets that have a pane.
    pub(crate) coverage: [f64; 2],
    /// In which hours of the week these lie.
    pub(crate) hours: [HourShares; 2],
}

/// See the module.
#[derive(Debug)]
pub struct Windows {
    contract: Arc<Contract>,
    step_ms: i64,
    panes: BTreeMap<Key, Packed>,
    names: Vec<Arc<str>>,
    baseline: Option<Arc<str>>,
    slides: [Slide; 3],
    kept_from: i64,
    watch: Watch,
    /// Buckets of the current baseline whose panes changed since the watch was told.
    changed: BTreeSet<i64>,
    /// The model whose errors the watch was told.
    watched_model: String,
}

impl Windows {
    /// Holds nothing yet.
    #[must_use]
    pub fn new(contract: Arc<Contract>) -> Windows {
        let step_ms = contract.step_ms().max(1);
        let slide = |minutes: i32| Slide {
            length_ms: i64::from(minutes) * 60_000,
            from: 0,
            to: 0,
            profiles: empty_sums(&contract),
        };
        let slides = [
            slide(WINDOW_MINUTES[0]),
            slide(WINDOW_MINUTES[1]),
            slide(LOAD_MINUTES),
        ];
        Windows {
            step_ms,
            panes: BTreeMap::new(),
            names: Vec::new(),
            baseline: None,
            slides,
            kept_from: i64::MIN,
            watch: Watch::default(),
            changed: BTreeSet::new(),
            watched_model: String::new(),
            contract,
        }
    }

    /// Takes a pane in.
    pub fn add(&mut self, pane: &Pane) -> PaneOutcome {
        if pane.contract != self.contract.fingerprint() {
            return PaneOutcome::OtherContract;
        }
        if pane.bucket < self.kept_from {
            return PaneOutcome::TooOld;
        }
        let Some(profile) = self.contract.profile_index(&pane.profile) else {
            return PaneOutcome::Malformed("a profile that the contract does not have");
        };
        if pane.bucket.rem_euclid(self.step_ms) != 0 || pane.baseline.len() > MAX_NAME_BYTES {
            return PaneOutcome::Malformed(
                "a bucket off the grid, or a baseline's name that is too long",
            );
        }
        let contract = Arc::clone(&self.contract);
        let packed = match Packed::new(pane, &contract, |name| self.intern(name)) {
            Ok(packed) => packed,
            Err(what) => return PaneOutcome::Malformed(what),
        };
        let key = (
            pane.bucket,
            pane.partition,
            profile,
            self.intern(&pane.baseline),
        );
        if self.panes.len() >= MAX_PANES && !self.panes.contains_key(&key) {
            return PaneOutcome::Full;
        }
        let is_current = self.baseline.as_ref() == Some(&key.3);
        let replaced = self.panes.insert(key, packed.clone());
        if is_current {
            self.changed.insert(pane.bucket);
            for slide in &mut self.slides {
                if !(slide.from..slide.to).contains(&pane.bucket) {
                    continue;
                }
                if let Some(sums) = slide.profiles.get_mut(profile) {
                    packed.apply(sums, Sign::Plus);
                    if let Some(replaced) = &replaced {
                        replaced.apply(sums, Sign::Minus);
                    }
                }
            }
        }
        if replaced.is_some() {
            PaneOutcome::Replaced
        } else {
            PaneOutcome::Added
        }
    }

    /// Panes kept.
    #[must_use]
    pub fn num_panes(&self) -> usize {
        self.panes.len()
    }

    /// Lets the windows end at `at_ms` (rounded down to the grid) and judge by `baseline`; forgets what is older than
    /// the longest window.
    pub(crate) fn move_to(&mut self, at_ms: i64, baseline: &Baseline) -> Result<(), BaselineError> {
        baseline.check_contract(&self.contract)?;
        let to = at_ms - at_ms.rem_euclid(self.step_ms);
        if self.baseline.as_deref() != Some(&baseline.id) {
            self.baseline = Some(self.intern(&baseline.id));
            for slide in &mut self.slides {
                slide.profiles = empty_sums(&self.contract);
                slide.to = slide.from;
            }
            self.watch_anew();
        }
        let Some(baseline) = self.baseline.clone() else {
            return Ok(());
        };
        for slide in &mut self.slides {
            slide.move_to(to, &self.panes, &baseline, &self.contract);
        }
        let memory = i64::try_from(MEMORY).unwrap_or(i64::MAX);
        let oldest = to.saturating_sub(self.step_ms.saturating_mul(memory));
        if oldest > self.kept_from {
            self.kept_from = oldest;
            self.panes = self.panes.split_off(&first_key(oldest));
        }
        Ok(())
    }

    /// All of the current baseline's buckets are to be told again.
    fn watch_anew(&mut self) {
        self.watch = Watch::default();
        let of_baseline = self
            .panes
            .keys()
            .filter(|(_, _, _, of)| Some(of) == self.baseline.as_ref());
        self.changed = of_baseline.map(|(bucket, ..)| *bucket).collect();
    }

    /// What the detector says at the end of the windows. Call [`Self::move_to`] first.
    pub(crate) fn verdict(&mut self, detector: &Detector, model_version: &str) -> Verdict {
        if self.watched_model != model_version {
            model_version.clone_into(&mut self.watched_model);
            self.watch_anew();
        }
        let [hour, ..] = &self.slides;
        let end = hour.to;
        let later = self.changed.split_off(&end);
        for bucket in std::mem::replace(&mut self.changed, later) {
            let sums = self.bucket_sums(bucket, model_version);
            self.watch.set(detector, bucket, &sums);
        }
        self.watch.judge(detector, end)
    }

    /// One bucket over all partitions, by profile and metric.
    fn bucket_sums(&self, bucket: i64, model_version: &str) -> Vec<BucketSums> {
        let mut profiles = empty_sums(&self.contract);
        for ((_, _, profile, of), pane) in self
            .panes
            .range(first_key(bucket)..first_key(bucket.saturating_add(1)))
        {
            if Some(of) == self.baseline.as_ref()
                && let Some(sums) = profiles.get_mut(*profile)
            {
                pane.apply(sums, Sign::Plus);
            }
        }
        let metrics = profiles.iter().flat_map(|profile| &profile.metrics);
        metrics
            .map(|held| held.bucket_sums(model_version))
            .collect()
    }

    /// The sums of window `index` of [`WINDOW_MINUTES`], by profile.
    pub(crate) fn sums(&self, index: usize) -> &[ProfileSums] {
        self.slides
            .get(index)
            .map_or(&[], |slide| slide.profiles.as_slice())
    }

    /// Means of the contract's CPU and memory metrics over the last [`LOAD_MINUTES`].
    pub(crate) fn mean_loads(&self) -> [Option<f64>; 2] {
        let [.., slide] = &self.slides;
        [
            |profile: &ProfileSums| profile.cpu,
            |profile: &ProfileSums| profile.memory,
        ]
        .map(|load| {
            let (mut n, mut total) = (0_i64, 0_i128);
            for load in slide.profiles.iter().map(load) {
                n = n.wrapping_add(load.n);
                total = total.wrapping_add(load.total);
            }
            (n > 0).then(|| crate::fixed::float(total) / n as f64)
        })
    }

    /// Who is there: over the longest window, with the current baseline.
    pub(crate) fn presence(&self) -> Presence {
        let [hour, day, _] = &self.slides;
        let Some(baseline) = &self.baseline else {
            return Presence::default();
        };
        // Most servers of a pane, and those of the last bucket.
        let mut servers: BTreeMap<(i32, usize), (i32, i32)> = BTreeMap::new();
        let mut partitions: BTreeMap<i32, (i64, i64)> = BTreeMap::new();
        let mut buckets: BTreeSet<i64> = BTreeSet::new();
        let mut counts = partial::Counts::default();
        let mut rows = 0_i64;
        for ((bucket, partition, profile, of), pane) in
            self.panes.range(first_key(day.from)..first_key(day.to))
        {
            if of != baseline {
                continue;
            }
            rows = rows.wrapping_add(pane.rows);
            buckets.insert(*bucket);
            counts.add(*profile, *bucket, pane.servers);
            let held = servers.entry((*partition, *profile)).or_default();
            let is_last = *bucket == day.to - self.step_ms;
            let now = if is_last { pane.servers } else { held.1 };
            *held = (held.0.max(pane.servers), now);
            let seen = partitions
                .entry(*partition)
                .or_insert((*bucket, pane.position));
            *seen = (seen.0.max(*bucket), seen.1.max(pane.position));
        }
        let (partial, all) = counts.partial(day, self.step_ms);
        let of_partial: i64 = partial.iter().map(|partial| partial.most).sum();
        let filled = |slide: &Slide| buckets.range(slide.from..slide.to).count() as f64;
        let share =
            |slide: &Slide| (filled(slide) * self.step_ms as f64 / slide.length_ms as f64).min(1.0);
        Presence {
            rows,
            servers: servers.values().map(|held| i64::from(held.0)).sum(),
            missing_servers: servers
                .values()
                .map(|held| i64::from(held.0 - held.1))
                .sum(),
            missing: partitions
                .iter()
                .filter(|(_, (newest, _))| *newest < day.to - self.step_ms)
                .map(|(&partition, _)| partition)
                .collect(),
            partial_share: of_partial as f64 / all.max(1) as f64,
            partial,
            num_partitions: partitions.len(),
            positions: partitions
                .iter()
                .map(|(&partition, &(_, offset))| Position { partition, offset })
                .collect(),
            coverage: [share(hour), share(day)],
            hours: [hour, day].map(|slide| self.hours(buckets.range(slide.from..slide.to))),
        }
    }

    fn hours<'a>(&self, buckets: impl Iterator<Item = &'a i64>) -> HourShares {
        let mut shares = HourShares::new();
        for bucket in buckets {
            let (hour, _) = bucket_hour(self.contract.time_zone, *bucket, self.step_ms);
            *shares.entry(hour).or_default() += 1;
        }
        shares
    }

    /// The contract that all of it is about.
    pub(crate) fn contract(&self) -> &Contract {
        &self.contract
    }

    /// The same allocation for the same name, as far as it is in use.
    fn intern(&mut self, name: &str) -> Arc<str> {
        if let Some(held) = self.names.iter().find(|held| held.as_ref() == name) {
            return Arc::clone(held);
        }
        if self.names.len() >= MAX_NAMES {
            self.names.retain(|held| Arc::strong_count(held) > 1);
        }
        let name: Arc<str> = Arc::from(name);
        if self.names.len() < MAX_NAMES {
            self.names.push(Arc::clone(&name));
        }
        name
    }
}

impl Slide {
    fn move_to(
        &mut self,
        to: i64,
        panes: &BTreeMap<Key, Packed>,
        baseline: &Arc<str>,
        contract: &Contract,
    ) {
        let from = to.saturating_sub(self.length_ms);
        if from < self.from || from >= self.to {
            // Backwards, or past all that it held: anew.
            self.profiles = empty_sums(contract);
            self.apply(panes, baseline, from, to, Sign::Plus);
        } else {
            self.apply(panes, baseline, self.from, from, Sign::Minus);
            self.apply(panes, baseline, self.to, to, Sign::Plus);
        }
        (self.from, self.to) = (from, to);
    }

    fn apply(
        &mut self,
        panes: &BTreeMap<Key, Packed>,
        baseline: &Arc<str>,
        from: i64,
        to: i64,
        sign: Sign,
    ) {
        if from >= to {
            return;
        }
        for ((_, _, profile, of), pane) in panes.range(first_key(from)..first_key(to)) {
            if of == baseline
                && let Some(sums) = self.profiles.get_mut(*profile)
            {
                pane.apply(sums, sign);
            }
        }
    }
}

fn first_key(bucket: i64) -> Key {
    (bucket, i32::MIN, 0, Arc::from(""))
}

fn empty_profile(contract: &Contract) -> ProfileSums {
    ProfileSums {
        metrics: vec![MetricSums::default(); contract.num_metrics()],
        ..ProfileSums::default()
    }
}

fn empty_sums(contract: &Contract) -> Vec<ProfileSums> {
    vec![empty_profile(contract); contract.profiles.len()]
}
