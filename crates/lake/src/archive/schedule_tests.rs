//! Random schedules of writers, crashes, zombies, retention and store faults: whatever happens, every record of the
//! topic is in the chain exactly once.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::sync::Arc;

use object_store::{ObjectStore, ObjectStoreExt};
use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;
use crate::store::create;
use crate::testing::{Faulty, TOPIC, batch, offsets, plain, spec};
use crate::verify::verify;

const STEPS: usize = 120;

/// A consumer with its chain, as the archive role runs one.
struct Writer {
    chain: Chain,
    /// Next offset it will fetch.
    position: i64,
}

struct World {
    rng: StdRng,
    store: Arc<Faulty>,
    /// Offsets of the topic's records; the others are control records.
    log: Vec<i64>,
    end: i64,
    writers: Vec<Writer>,
    /// Start → offsets of the objects that retention wrote a tombstone for.
    retired: BTreeMap<i64, Vec<i64>>,
}

impl World {
    fn new(seed: u64) -> World {
        let mut rng = StdRng::seed_from_u64(seed);
        let end = rng.random_range(1..200);
        let log = (0..end).filter(|_| rng.random_bool(0.9)).collect();
        let rate = [0.0, 0.05, 0.3][rng.random_range(0..3)];
        World {
            store: Faulty::new(seed ^ 0x5eed, rate),
            rng,
            log,
            end,
            writers: Vec::new(),
            retired: BTreeMap::new(),
        }
    }

    fn store(&self) -> Arc<dyn ObjectStore> {
        Arc::clone(&self.store) as Arc<dyn ObjectStore>
    }

    async fn start_writer(&mut self) {
        let Ok(mut chain) = Chain::open(self.store(), spec(0), WriterId::random()).await else {
            return;
        };
        chain.begin(0);
        let position = chain.next_offset().unwrap();
        self.writers.push(Writer { chain, position });
    }

    fn poll(&mut self, which: usize) {
        let count = self.rng.random_range(1..20);
        let writer = &mut self.writers[which];
        let fetched: Vec<i64> = self
            .log
            .iter()
            .copied()
            .filter(|&offset| offset >= writer.position)
            .take(count)
            .collect();
        let Some(&last) = fetched.last() else {
            writer.position = self.end;
            return;
        };
        writer.position = last + 1;
        writer.chain.push(batch(&fetched), 0).unwrap();
    }

    async fn flush(&mut self, which: usize) {
        let writer = &mut self.writers[which];
        match writer.chain.flush(writer.position).await {
            Ok(FlushOutcome::Adopted { next_offset }) => writer.position = next_offset,
            Ok(_) | Err(ArchiveError::Store { .. } | ArchiveError::Contested { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }

    /// A flush that is dropped in the middle, as by a timeout around it; the writer goes on.
    async fn cancel_flush(&mut self, which: usize) {
        let polls = self.rng.random_range(1..6);
        let writer = &mut self.writers[which];
        let mut done = None;
        {
            let mut flush = std::pin::pin!(writer.chain.flush(writer.position));
            for _ in 0..polls {
                if let std::task::Poll::Ready(outcome) = futures::poll!(flush.as_mut()) {
                    done = Some(outcome);
                    break;
                }
                tokio::task::yield_now().await;
            }
        }
        match done {
            Some(Ok(FlushOutcome::Adopted { next_offset })) => writer.position = next_offset,
            // It may have adopted and been dropped before it could say so: then the chain is ahead of the consumer.
            _ => writer.position = writer.position.max(writer.chain.position().unwrap()),
        }
    }

    /// Retires the oldest object: tombstone first, then the object.
    async fn retire(&mut self) {
        let Ok(listing) = list_partition(self.store.as_ref(), TOPIC, 0).await else {
            return;
        };
        let Some(&(start, _)) = listing.objects.first() else {
            return;
        };
        let path = object_path(TOPIC, 0, start);
        let Ok(stored) = read_footer(self.store.as_ref(), &path).await else {
            return;
        };
        let tombstone = Tombstone {
            start_offset: start,
            next_offset: stored.footer.next_offset,
        };
        let bytes = serde_json::to_vec(&tombstone).unwrap().into();
        let beside = tombstone_path(TOPIC, 0, start);
        let _ = create(self.store.as_ref(), &beside, bytes).await;
        if self.store.head(&beside).await.is_err() {
            return;
        }
        if let Some(bytes) = stored.whole {
            self.retired
                .entry(start)
                .or_insert_with(|| crate::testing::offsets_of(bytes));
        }
        if !self.rng.random_bool(0.2) {
            self.store.delete(&path).await.unwrap();
        }
    }

    async fn step(&mut self) {
        if self.writers.is_empty() || self.rng.random_bool(0.05) && self.writers.len() < 4 {
            return self.start_writer().await;
        }
        let which = self.rng.random_range(0..self.writers.len());
        match self.rng.random_range(0..100) {
            0..50 => self.poll(which),
            50..80 => self.flush(which).await,
            80..88 => self.cancel_flush(which).await,
            88..95 => drop(self.writers.swap_remove(which)),
            _ => self.retire().await,
        }
    }

    /// The faults end; one writer brings the chain to the topic's end.
    async fn settle(&mut self) {
        self.store.heal();
        self.writers.clear();
        self.start_writer().await;
        for _ in 0..STEPS {
            if self.writers[0].chain.next_offset() == Some(self.end) {
                return;
            }
            self.poll(0);
            self.flush(0).await;
        }
        panic!("the chain does not reach the topic's end");
    }

    async fn check(&self) {
        let report = verify(&self.store(), None).await.unwrap();
        assert!(report.ok, "{report:?}");
        assert_eq!(report.topics[0].partitions[0].next_offset, Some(self.end));
        let listing = list_partition(self.store.as_ref(), TOPIC, 0).await.unwrap();
        let mut found: Vec<i64> = self.retired.values().flatten().copied().collect();
        for (start, _) in listing.objects {
            if !self.retired.contains_key(&start) {
                let path = object_path(TOPIC, 0, start);
                found.extend(offsets(&plain(self.store.as_ref(), &path).await));
            }
        }
        found.sort_unstable();
        assert_eq!(found, self.log);
    }
}

fn run(seed: u64) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut world = World::new(seed);
        for _ in 0..STEPS {
            world.step().await;
        }
        world.settle().await;
        world.check().await;
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn every_record_is_in_the_chain_once(seed in any::<u64>()) {
        run(seed);
    }
}
