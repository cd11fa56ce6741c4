//! Rebalances: no record lost, none processed after it was given up; and a member that dies.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::print_stdout
)]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bus::{BusError, Chunk, CommitOffset, Consumer, Event, Revoked, Settings};
use common::{Broker, limits, next, start, value};

const PARTITIONS: i32 = 4;

/// A role in small: processes records, commits at the revocation, checks the rules on the way.
struct Member {
    consumer: Consumer,
    topic: Arc<str>,
    /// Next offset by partition, of those that it has.
    positions: BTreeMap<i32, i64>,
    seen: BTreeSet<i64>,
    repeats: u64,
    ends: BTreeSet<i32>,
    revocations: u32,
    /// Partitions went without a chance to commit: the mock sometimes ends a session while a group rebalances.
    lost: bool,
}

impl Member {
    fn join(settings: &Settings, topics: &[String]) -> Member {
        let mut small = limits();
        small.max_records = 7;
        Member {
            consumer: Consumer::subscribe(settings, "g", topics, small).unwrap(),
            topic: Arc::from(topics[0].as_str()),
            positions: BTreeMap::new(),
            seen: BTreeSet::new(),
            repeats: 0,
            ends: BTreeSet::new(),
            revocations: 0,
            lost: false,
        }
    }

    async fn step(&mut self) {
        let event = next(&mut self.consumer).await;
        self.handle(event).await;
    }

    async fn handle(&mut self, event: Event) {
        match event {
            Event::Chunk(chunk) => self.process(&chunk),
            Event::Assigned(assigned) => {
                for p in &assigned.partitions {
                    let at = p.committed.unwrap_or(p.low);
                    assert!(self.positions.insert(p.partition, at).is_none());
                }
                start(assigned);
            }
            Event::Revoked(revoked) => self.give_up(revoked).await,
            Event::Eof {
                partition, offset, ..
            } => {
                assert_eq!(self.positions.get(&partition), Some(&offset));
                self.ends.insert(partition);
            }
            Event::Unavailable(text) => eprintln!("{text}"),
            Event::Fatal(error) => panic!("{error}"),
        }
    }

    fn process(&mut self, chunk: &Chunk) {
        for record in chunk.iter() {
            let position = self
                .positions
                .get_mut(&record.partition)
                .expect("only records of our own partitions");
            assert_eq!(record.offset, *position, "in order, without a gap");
            *position += 1;
            self.ends.remove(&record.partition);
            self.repeats += u64::from(!self.seen.insert(value(record.value)));
        }
    }

    fn offsets(&self, partitions: impl Iterator<Item = i32>) -> Vec<CommitOffset> {
        partitions
            .map(|partition| CommitOffset {
                topic: Arc::clone(&self.topic),
                partition,
                offset: self.positions[&partition],
                metadata: "m".to_owned(),
            })
            .collect()
    }

    async fn give_up(&mut self, revoked: Revoked) {
        self.revocations += 1;
        let numbers: Vec<i32> = revoked.partitions.iter().map(|(_, p)| *p).collect();
        let offsets = self.offsets(numbers.iter().copied());
        let committed = self.consumer.commit(offsets.clone()).await;
        if revoked.lost {
            self.lost = true;
            assert!(
                matches!(committed, Err(BusError::NotOwner(_))),
                "{committed:?}"
            );
        } else {
            committed.expect("commit before giving up");
        }
        revoked.done();
        // The thread takes them off a moment after the answer.
        let mut refused = false;
        for _ in 0..200 {
            match self.consumer.commit(offsets.clone()).await {
                Err(BusError::NotOwner(_)) => {
                    refused = true;
                    break;
                }
                other => other.expect("still ours, or refused"),
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert!(refused, "a commit after giving up is refused");
        for number in numbers {
            self.positions.remove(&number);
            self.ends.remove(&number);
        }
    }

    fn at_end(&self) -> bool {
        !self.positions.is_empty() && self.ends.len() == self.positions.len()
    }
}

async fn until(member: &mut Member, done: impl Fn(&Member) -> bool) {
    tokio::time::timeout(Duration::from_secs(60), async {
        while !done(member) {
            member.step().await;
        }
    })
    .await
    .expect("within a minute");
}

async fn both_until(a: &mut Member, b: &mut Member, done: impl Fn(&Member, &Member) -> bool) {
    tokio::time::timeout(Duration::from_secs(60), async {
        while !done(a, b) {
            // Only the waiting may be cancelled, not the handling.
            let (member, event) = tokio::select! {
                event = a.consumer.next() => (&mut *a, event),
                event = b.consumer.next() => (&mut *b, event),
                () = tokio::time::sleep(Duration::from_millis(50)) => continue,
            };
            member.handle(event).await;
        }
    })
    .await
    .expect("within a minute");
}

#[tokio::test]
async fn embedded_rebalance() {
    rebalance(Broker::embedded(&[("t", PARTITIONS)]), "cooperative-sticky").await;
}

#[tokio::test]
async fn real_rebalance_cooperative() {
    if let Some(broker) = Broker::real(&[("t", PARTITIONS)]).await {
        rebalance(broker, "cooperative-sticky").await;
    }
}

#[tokio::test]
async fn real_rebalance_eager() {
    if let Some(broker) = Broker::real(&[("t", PARTITIONS)]).await {
        rebalance(broker, "range").await;
    }
}

/// A second member joins in the middle and leaves again: together they see every record, none twice, because each
/// revocation is committed before it is answered.
async fn rebalance(broker: Broker, strategy: &str) {
    let topic = broker.topic("t");
    broker.fill(&topic, PARTITIONS, 400).await;
    let mut settings = broker.with("partition.assignment.strategy", strategy);
    settings
        .properties
        .insert("heartbeat.interval.ms".into(), "300".into());
    settings
        .properties
        .insert("session.timeout.ms".into(), "6000".into());
    let topics = [topic.clone()];

    let mut a = Member::join(&settings, &topics);
    until(&mut a, |a| a.seen.len() >= 50).await;
    let mut b = Member::join(&settings, &topics);
    both_until(&mut a, &mut b, |a, b| {
        a.revocations > 0 && a.at_end() && b.at_end() && a.positions.len() + b.positions.len() == 4
    })
    .await;
    assert_eq!((a.positions.len(), b.positions.len()), (2, 2));
    broker.fill(&topic, PARTITIONS, 40).await;
    both_until(&mut a, &mut b, |a, b| a.at_end() && b.at_end()).await;

    // What a leaving role does: commit, close.
    let offsets = b.offsets(b.positions.keys().copied());
    b.consumer.commit(offsets).await.unwrap();
    b.consumer.close(Duration::from_secs(10)).await;
    until(&mut a, |a| a.positions.len() == 4 && a.at_end()).await;

    let all: BTreeSet<i64> = a.seen.union(&b.seen).copied().collect();
    assert_eq!(all, (0..400).collect());
    // `fill` counts from 0 again: 40 values come a second time.
    let overlap = a.seen.intersection(&b.seen).count() as u64;
    let repeats = a.repeats + b.repeats + overlap;
    assert!(
        repeats == 40 || (repeats > 40 && (a.lost || b.lost)),
        "{repeats}"
    );
    a.consumer.close(Duration::from_secs(10)).await;
}

/// Runs in a process of its own, started by the test below.
#[tokio::test]
async fn child() {
    let Ok(topic) = std::env::var("BUS_TEST_CHILD_TOPIC") else {
        return;
    };
    let mut settings = Settings::new(std::env::var("FOREWARN_TEST_BROKERS").unwrap());
    settings.prefix = std::env::var("BUS_TEST_CHILD_PREFIX").unwrap();
    settings
        .properties
        .insert("session.timeout.ms".into(), "2000".into());
    settings
        .properties
        .insert("heartbeat.interval.ms".into(), "300".into());
    let mut member = Member::join(&settings, &[topic]);
    until(&mut member, |m| m.seen.len() >= 30).await;
    println!("\nseen {}", member.seen.len());
    loop {
        // Holds its partitions and commits nothing, until it is killed.
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// `kill -9` of a member that committed nothing: after its session another one reads everything.
#[tokio::test]
async fn real_killed_member() {
    let Some(broker) = Broker::real(&[("t", PARTITIONS)]).await else {
        return;
    };
    let topic = broker.topic("t");
    broker.fill(&topic, PARTITIONS, 200).await;
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture"])
        .env("BUS_TEST_CHILD_TOPIC", &topic)
        .env("BUS_TEST_CHILD_PREFIX", &broker.settings.prefix)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let seen = lines
        .map_while(Result::ok)
        .any(|line| line.starts_with("seen "));
    assert!(seen, "the child reads");
    child.kill().unwrap();
    child.wait().unwrap();

    let mut settings = broker.with("session.timeout.ms", "2000");
    settings
        .properties
        .insert("heartbeat.interval.ms".into(), "300".into());
    let mut member = Member::join(&settings, &[topic]);
    until(&mut member, |m| m.positions.len() == 4 && m.at_end()).await;
    assert_eq!(member.seen, (0..200).collect());
    member.consumer.close(Duration::from_secs(10)).await;
}

/// A restarted process with the same instance id fences its predecessor, which says so.
#[tokio::test]
async fn real_fenced_member() {
    let Some(broker) = Broker::real(&[("t", PARTITIONS)]).await else {
        return;
    };
    let topic = broker.topic("t");
    broker.fill(&topic, PARTITIONS, 20).await;
    let mut settings = broker.with("heartbeat.interval.ms", "300");
    settings.instance_id = Some("one".to_owned());
    let topics = [topic];
    let mut first = Member::join(&settings, &topics);
    until(&mut first, Member::at_end).await;
    let mut second = Member::join(&settings, &topics);
    until(&mut second, Member::at_end).await;
    assert_eq!(second.seen.len(), 20);
    loop {
        match next(&mut first.consumer).await {
            Event::Fatal(BusError::Fenced(_)) => break,
            Event::Revoked(revoked) => {
                let partitions = revoked
                    .partitions
                    .iter()
                    .map(|(_, p)| *p)
                    .collect::<Vec<_>>();
                let offsets = first.offsets(partitions.into_iter());
                first
                    .consumer
                    .commit(offsets)
                    .await
                    .expect_err("a fenced member does not commit");
            }
            Event::Unavailable(_) | Event::Eof { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    second.consumer.close(Duration::from_secs(10)).await;
}

/// Several topics: a member has the same partition numbers of each.
#[tokio::test]
async fn real_co_assigned() {
    let Some(broker) = Broker::real(&[("a", PARTITIONS), ("b", PARTITIONS)]).await else {
        return;
    };
    let topics = [broker.topic("a"), broker.topic("b")];
    let settings = broker.with("heartbeat.interval.ms", "300");
    let mut members = Vec::new();
    for _ in 0..2 {
        members.push((
            Consumer::subscribe(&settings, "g", &topics, limits()).unwrap(),
            BTreeSet::new(),
        ));
    }
    let (mut b, mut a) = (members.pop().unwrap(), members.pop().unwrap());
    tokio::time::timeout(Duration::from_secs(60), async {
        while a.1.len() != 4 || b.1.len() != 4 {
            tokio::select! {
                event = a.0.next() => note(event, &mut a.1),
                event = b.0.next() => note(event, &mut b.1),
            }
        }
    })
    .await
    .expect("within a minute");
    for (consumer, has) in [a, b] {
        let of = |topic: &String| -> Vec<i32> {
            has.iter()
                .filter(|(t, _)| t == topic)
                .map(|(_, p)| *p)
                .collect()
        };
        assert_eq!(of(&topics[0]), of(&topics[1]));
        assert_eq!(of(&topics[0]).len(), 2);
        consumer.close(Duration::from_secs(10)).await;
    }
}

fn note(event: Event, has: &mut BTreeSet<(String, i32)>) {
    match event {
        Event::Assigned(assigned) => {
            has.extend(
                assigned
                    .partitions
                    .iter()
                    .map(|p| (p.topic.to_string(), p.partition)),
            );
            start(assigned);
        }
        Event::Revoked(revoked) => {
            for (topic, partition) in &revoked.partitions {
                has.remove(&(topic.to_string(), *partition));
            }
            revoked.done();
        }
        Event::Fatal(error) => panic!("{error}"),
        _ => {}
    }
}

/// A role that drops the assignment, and one that is closed while it is asked: nothing hangs.
#[tokio::test]
async fn embedded_unanswered() {
    let broker = Broker::embedded(&[("t", PARTITIONS)]);
    let topics = [broker.topic("t")];
    let mut consumer = Consumer::subscribe(&broker.settings, "g", &topics, limits()).unwrap();
    match next(&mut consumer).await {
        Event::Assigned(assigned) => drop(assigned),
        other => panic!("{other:?}"),
    }
    consumer.close(Duration::from_secs(10)).await;

    let mut consumer = Consumer::subscribe(&broker.settings, "g", &topics, limits()).unwrap();
    let Event::Assigned(_held) = next(&mut consumer).await else {
        panic!("expected an assignment");
    };
    let closing = tokio::time::timeout(
        Duration::from_secs(5),
        consumer.close(Duration::from_secs(20)),
    );
    closing
        .await
        .expect("closes although the assignment was not answered");
}
