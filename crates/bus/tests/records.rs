//! What goes in comes out: on the embedded broker and on the real one.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr
)]

mod common;

use std::sync::Arc;
use std::time::Duration;

use bus::{BusError, CommitOffset, Consumer, Event, Out, Producer, Start};
use common::{Broker, limits, next, read_all, read_to_end, start, values};

#[tokio::test]
async fn embedded_round_trip() {
    round_trip(Broker::embedded(&[("t", 3)])).await;
}

#[tokio::test]
async fn real_round_trip() {
    if let Some(broker) = Broker::real(&[("t", 3)]).await {
        round_trip(broker).await;
    }
}

/// Order within partitions, null and empty, headers, timestamps.
async fn round_trip(broker: Broker) {
    let topic = broker.topic("t");
    let producer = Producer::new(&broker.settings).unwrap();
    let headers = [("h", b"1".as_slice()), ("h", b"".as_slice())];
    let out = Out {
        topic: &topic,
        partition: Some(1),
        key: Some(b"k"),
        value: Some(b"first"),
        headers: &headers,
        timestamp_ms: Some(1_377_000_000_123),
    };
    producer.send(out).await.unwrap();
    let null = Out {
        headers: &[],
        value: None,
        ..out
    };
    producer.send(null).await.unwrap();
    let empty = Out {
        headers: &[],
        key: None,
        value: Some(b""),
        ..out
    };
    producer.send(empty).await.unwrap();
    assert_eq!(producer.flush().await.unwrap().delivered, 3);
    assert_eq!((producer.in_flight(), producer.delivered_total()), (0, 3));

    let chunks = read_all(&broker.settings, &topic, 3).await;
    let records: Vec<_> = chunks.iter().flat_map(|c| c.iter()).collect();
    let seen: Vec<_> = records
        .iter()
        .map(|r| {
            (
                r.partition,
                r.offset,
                r.key,
                r.value,
                r.timestamp_ms,
                r.headers().count(),
            )
        })
        .collect();
    let at = 1_377_000_000_123;
    assert_eq!(
        seen,
        [
            (
                1,
                0,
                Some(b"k".as_slice()),
                Some(b"first".as_slice()),
                at,
                2
            ),
            (1, 1, Some(b"k".as_slice()), None, at, 0),
            (1, 2, None, Some(b"".as_slice()), at, 0),
        ]
    );
    let headers: Vec<_> = records[0].headers().collect();
    assert_eq!(
        headers,
        [("h", Some(b"1".as_slice())), ("h", Some(b"".as_slice()))]
    );
    assert_eq!(**records[0].topic, *topic);
}

#[tokio::test]
async fn embedded_commit() {
    commit(Broker::embedded(&[("t", 2)])).await;
}

#[tokio::test]
async fn real_commit() {
    if let Some(broker) = Broker::real(&[("t", 2)]).await {
        commit(broker).await;
    }
}

/// Offsets and their metadata come back; a second consumer goes on where the first one stopped.
async fn commit(broker: Broker) {
    let topic = broker.topic("t");
    broker.fill(&topic, 2, 100).await;
    let topics = [topic.clone()];
    let mut first = Consumer::subscribe(&broker.settings, "g", &topics, limits()).unwrap();
    let read: usize = read_to_end(&mut first, 2)
        .await
        .iter()
        .map(|c| c.len())
        .sum();
    assert_eq!(read, 100);
    let name: Arc<str> = Arc::from(topic.as_str());
    let offset = |partition, offset, metadata: &str| CommitOffset {
        topic: Arc::clone(&name),
        partition,
        offset,
        metadata: metadata.to_owned(),
    };
    let metadata = r#"{"closed_through":1377000000000,"position":31,"ä":"ü"}"#;
    let offsets = vec![offset(0, 30, metadata), offset(1, 50, "")];
    first.commit(offsets).await.unwrap();
    let strange = first.commit(vec![offset(7, 1, "")]).await;
    assert!(matches!(strange, Err(BusError::NotOwner(_))), "{strange:?}");
    let long = first.commit(vec![offset(0, 1, &"x".repeat(5000))]).await;
    assert!(matches!(long, Err(BusError::Refused(_))), "{long:?}");
    first.close(Duration::from_secs(10)).await;

    let mut second = Consumer::subscribe(&broker.settings, "g", &topics, limits()).unwrap();
    let mut read = Vec::new();
    while read.len() < 20 {
        match next(&mut second).await {
            Event::Assigned(assigned) => {
                for p in &assigned.partitions {
                    assert_eq!((p.low, p.high), (0, 50));
                }
                let mut seen = start(assigned);
                seen.sort();
                let expected = [
                    (0, Some(30), metadata.to_owned()),
                    (1, Some(50), String::new()),
                ];
                assert_eq!(seen, expected);
            }
            Event::Chunk(chunk) => read.extend(values(&chunk)),
            Event::Eof { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    // Partition 0 has the even numbers.
    assert_eq!(read, (30..50).map(|n| n * 2).collect::<Vec<i64>>());
    second.close(Duration::from_secs(10)).await;
}

#[tokio::test]
async fn embedded_seek_and_pause() {
    seek_and_pause(Broker::embedded(&[("t", 1)])).await;
}

#[tokio::test]
async fn real_seek_and_pause() {
    if let Some(broker) = Broker::real(&[("t", 1)]).await {
        seek_and_pause(broker).await;
    }
}

/// After a seek nothing that was read ahead comes out; a pause at the end of a partition skips nothing.
async fn seek_and_pause(broker: Broker) {
    let topic = broker.topic("t");
    broker.fill(&topic, 1, 1000).await;
    let parts = [(topic.clone(), 0, Start::Offset(900))];
    let mut small = limits();
    small.max_records = 10;
    let mut consumer = Consumer::assign(&broker.settings, &parts, small).unwrap();
    match next(&mut consumer).await {
        Event::Chunk(chunk) => assert_eq!(values(&chunk)[0], 900),
        other => panic!("{other:?}"),
    }
    consumer.seek(&[(topic.clone(), 0, 995)]).await.unwrap();
    let mut read = Vec::new();
    for chunk in read_to_end(&mut consumer, 1).await {
        read.extend(values(&chunk));
    }
    assert_eq!(read, [995, 996, 997, 998, 999]);

    consumer.pause(&[(topic.clone(), 0)]).unwrap();
    broker.fill(&topic, 1, 3).await;
    consumer.resume(&[(topic.clone(), 0)]).unwrap();
    let mut read = Vec::new();
    while read.len() < 3 {
        match next(&mut consumer).await {
            Event::Chunk(chunk) => read.extend(chunk.iter().map(|r| r.offset)),
            Event::Eof { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(read, [1000, 1001, 1002]);
    let strange = consumer.seek(&[(topic, 5, 0)]).await;
    assert!(matches!(strange, Err(BusError::NotOwner(_))), "{strange:?}");
    consumer.close(Duration::from_secs(10)).await;
}

#[tokio::test]
async fn embedded_several_topics() {
    several_topics(Broker::embedded(&[("a", 2), ("b", 2), ("empty", 2)])).await;
}

#[tokio::test]
async fn real_several_topics() {
    if let Some(broker) = Broker::real(&[("a", 2), ("b", 2), ("empty", 2)]).await {
        several_topics(broker).await;
    }
}

/// Ends are told apart by topic, also of partitions without any record, with their offsets.
async fn several_topics(broker: Broker) {
    let topics: Vec<_> = ["a", "b", "empty"]
        .iter()
        .map(|t| broker.topic(t))
        .collect();
    broker.fill(&topics[0], 2, 10).await;
    broker.fill(&topics[1], 2, 4).await;
    let mut consumer = Consumer::subscribe(&broker.settings, "g", &topics, limits()).unwrap();
    let mut ends = std::collections::BTreeMap::new();
    let mut read = 0;
    while ends.len() < 6 {
        match next(&mut consumer).await {
            Event::Assigned(assigned) => {
                start(assigned);
            }
            Event::Chunk(chunk) => read += chunk.len(),
            Event::Eof {
                topic,
                partition,
                offset,
            } => {
                ends.insert((topic.to_string(), partition), offset);
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(read, 14);
    let offsets: Vec<i64> = ends.values().copied().collect();
    assert_eq!(offsets, [5, 5, 2, 2, 0, 0]);
    consumer.close(Duration::from_secs(10)).await;
}

#[tokio::test]
async fn embedded_start_at_the_end() {
    start_at_the_end(Broker::embedded(&[("t", 1)])).await;
}

#[tokio::test]
async fn real_start_at_the_end() {
    if let Some(broker) = Broker::real(&[("t", 1)]).await {
        start_at_the_end(broker).await;
    }
}

async fn start_at_the_end(broker: Broker) {
    let topic = broker.topic("t");
    broker.fill(&topic, 1, 5).await;
    let parts = [(topic.clone(), 0, Start::End)];
    let mut consumer = Consumer::assign(&broker.settings, &parts, limits()).unwrap();
    match next(&mut consumer).await {
        Event::Eof { offset: 5, .. } => {}
        other => panic!("{other:?}"),
    }
    broker.fill(&topic, 1, 2).await;
    match next(&mut consumer).await {
        Event::Chunk(chunk) => assert_eq!(chunk.iter().next().map(|r| r.offset), Some(5)),
        other => panic!("{other:?}"),
    }
    let refused = consumer
        .commit(vec![CommitOffset {
            topic: Arc::from(topic.as_str()),
            partition: 0,
            offset: 1,
            metadata: String::new(),
        }])
        .await;
    assert!(matches!(refused, Err(BusError::NotOwner(_))), "{refused:?}");
    consumer.close(Duration::from_secs(10)).await;
}

#[tokio::test]
async fn java_s_placement() {
    if let Some(broker) = Broker::real(&[("t", 12)]).await {
        let topic = broker.topic("t");
        let producer = Producer::new(&broker.settings).unwrap();
        for key in ["ppml0015", "server-1", "ä"] {
            let out = Out {
                topic: &topic,
                key: Some(key.as_bytes()),
                value: Some(key.as_bytes()),
                ..Out::default()
            };
            producer.send(out).await.unwrap();
        }
        producer.flush().await.unwrap();
        for record in read_all(&broker.settings, &topic, 12)
            .await
            .iter()
            .flat_map(|c| c.iter())
        {
            assert_eq!(record.partition, murmur2_partition(record.key.unwrap(), 12));
        }
    }
}

/// Java's `Utils.toPositive(Utils.murmur2(key)) % partitions`, written from its source.
fn murmur2_partition(key: &[u8], partitions: u32) -> i32 {
    const M: u32 = 0x5bd1_e995;
    let mut hash = 0x9747_b28c_u32 ^ key.len() as u32;
    let mut words = key.chunks_exact(4);
    for word in &mut words {
        let mut k = u32::from_le_bytes(word.try_into().unwrap()).wrapping_mul(M);
        k = (k ^ (k >> 24)).wrapping_mul(M);
        hash = hash.wrapping_mul(M) ^ k;
    }
    let rest = words.remainder();
    for (i, byte) in rest.iter().enumerate() {
        hash ^= u32::from(*byte) << (8 * i);
    }
    if !rest.is_empty() {
        hash = hash.wrapping_mul(M);
    }
    hash = (hash ^ (hash >> 13)).wrapping_mul(M);
    hash ^= hash >> 15;
    ((hash & 0x7fff_ffff) % partitions) as i32
}
