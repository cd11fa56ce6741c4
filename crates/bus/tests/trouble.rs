//! Brokers that are not there, topics of the wrong shape, records that do not fit.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr
)]

mod common;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bus::topics::{self, Ensured};
use bus::{
    BusError, Consumer, EmbeddedBroker, Event, Out, Producer, RecordRef, Settings, Start,
    dead_letter,
};
use common::{Broker, limits, next, read_all, read_to_end, values};
use contract::Topic;

/// A port on which nobody listens.
fn nobody() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

#[tokio::test]
async fn no_broker_is_an_event_that_names_the_address() {
    let address = nobody();
    let parts = [("t".to_owned(), 0, Start::Beginning)];
    let mut consumer = Consumer::assign(&Settings::new(&*address), &parts, limits()).unwrap();
    match next(&mut consumer).await {
        Event::Unavailable(text) => {
            assert!(text.contains(&address) && !text.contains('\n'), "{text}");
        }
        other => panic!("{other:?}"),
    }
    consumer.close(Duration::from_secs(10)).await;
}

#[tokio::test]
async fn connect_waits_and_says_for_whom() {
    let address = nobody();
    let lines = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&lines);
    let settings = Settings::new(&*address);
    let waiting = topics::connect(&settings, move |line| {
        seen.lock().unwrap().push(line.to_owned());
    });
    assert!(
        tokio::time::timeout(Duration::from_secs(9), waiting)
            .await
            .is_err()
    );
    let lines = lines.lock().unwrap();
    assert!(!lines.is_empty());
    for line in lines.iter() {
        assert!(
            line.contains(&address) && line.contains("refused"),
            "{line}"
        );
    }
}

#[tokio::test]
async fn a_broker_that_comes_back_is_used_again() {
    let broker = Broker::embedded(&[("t", 1)]);
    let embedded = broker.embedded.as_ref().unwrap();
    embedded.set_reachable(false).unwrap();
    let topic = broker.topic("t");
    let parts = [(topic.clone(), 0, Start::Beginning)];
    let mut consumer = Consumer::assign(&broker.settings, &parts, limits()).unwrap();
    let Event::Unavailable(_) = next(&mut consumer).await else {
        panic!("expected Unavailable");
    };
    let producer = Producer::new(&broker.settings).unwrap();
    let out = Out {
        topic: &topic,
        partition: Some(0),
        value: Some(b"7"),
        ..Out::default()
    };
    producer.send(out).await.unwrap();
    assert_eq!(producer.in_flight(), 1);
    embedded.set_reachable(true).unwrap();
    topics::connect(&broker.settings, |line| eprintln!("{line}"))
        .await
        .unwrap();
    assert_eq!(producer.flush().await.unwrap().delivered, 1);
    let mut read = Vec::new();
    while read.is_empty() {
        for chunk in read_to_end(&mut consumer, 1).await {
            read.extend(values(&chunk));
        }
    }
    assert_eq!(read, [7]);
    consumer.close(Duration::from_secs(10)).await;
}

#[tokio::test]
async fn a_batch_with_a_lost_record_fails_and_the_next_one_starts_clean() {
    let broker = Broker::embedded(&[("t", 1)]);
    let topic = broker.topic("t");
    // Also the time that the sends below which must arrive have: a first delivery can take over a second under load.
    let mut settings = broker.with("delivery.timeout.ms", "8000");
    settings
        .properties
        .insert("reconnect.backoff.max.ms".into(), "100".into());
    let producer = Producer::new(&settings).unwrap();
    let out = Out {
        topic: &topic,
        partition: Some(0),
        value: Some(b"1"),
        ..Out::default()
    };
    producer.send(out).await.unwrap();
    assert_eq!(producer.flush().await.unwrap().delivered, 1);
    let embedded = broker.embedded.as_ref().unwrap();
    embedded.set_reachable(false).unwrap();
    producer.send(out).await.unwrap();
    producer.send(out).await.unwrap();
    match producer.flush().await {
        Err(BusError::Delivery { failed: 2, reason }) => {
            assert!(reason.contains(&topic), "{reason}")
        }
        other => panic!("{other:?}"),
    }
    embedded.set_reachable(true).unwrap();
    producer.send(out).await.unwrap();
    assert_eq!(producer.flush().await.unwrap().delivered, 1);
    assert_eq!(producer.delivered_total(), 2);
}

#[tokio::test]
async fn wrong_configuration_is_refused_by_name() {
    let broker = EmbeddedBroker::start(&[]).unwrap();
    let mut settings = Settings::new(broker.address());
    settings
        .properties
        .insert("sesion.timeout.ms".into(), "1".into());
    let Err(BusError::Config(text)) = Producer::new(&settings).map(|_| ()) else {
        panic!("expected Config");
    };
    assert!(
        text.contains("kafka.properties.sesion.timeout.ms"),
        "{text}"
    );
    let parts = [("t".to_owned(), 0, Start::End)];
    let refused = Consumer::assign(&settings, &parts, limits()).map(|_| ());
    assert!(matches!(refused, Err(BusError::Config(_))), "{refused:?}");
    let refused = Consumer::assign(&Settings::new(" "), &parts, limits()).map(|_| ());
    assert!(matches!(refused, Err(BusError::Config(_))), "{refused:?}");
}

#[tokio::test]
async fn a_record_that_is_too_large_is_refused() {
    let broker = Broker::embedded(&[("t", 1)]);
    let topic = broker.topic("t");
    let producer = Producer::new(&broker.settings).unwrap();
    let value = vec![1; 2_000_000];
    let out = Out {
        topic: &topic,
        value: Some(&value),
        ..Out::default()
    };
    let refused = producer.send(out).await;
    assert!(matches!(refused, Err(BusError::Refused(_))), "{refused:?}");
    assert_eq!(producer.flush().await.unwrap().delivered, 0);
}

#[tokio::test]
async fn a_missing_topic_of_a_group_is_said() {
    let Some(broker) = Broker::real(&[]).await else {
        return;
    };
    let topics = [broker.topic("nothing")];
    let mut consumer = Consumer::subscribe(&broker.settings, "g", &topics, limits()).unwrap();
    loop {
        match next(&mut consumer).await {
            Event::Unavailable(text) => {
                assert!(text.contains(&topics[0]), "{text}");
                break;
            }
            Event::Assigned(assigned) => {
                assert!(assigned.partitions.is_empty());
                assigned.start(Vec::new());
            }
            other => panic!("{other:?}"),
        }
    }
    consumer.close(Duration::from_secs(10)).await;
    let ends = topics::end_offsets(&broker.settings, &topics).await;
    assert!(matches!(ends, Err(BusError::Topic(_))), "{ends:?}");
}

#[tokio::test]
async fn real_topics() {
    let Some(broker) = Broker::real(&[]).await else {
        return;
    };
    let settings = &broker.settings;
    let missing = topics::check(settings, &Topic::ALL).await;
    assert!(matches!(missing, Err(BusError::Topic(_))), "{missing:?}");
    let specs = topics::specs(&settings.prefix, 3, 1);
    let created = topics::ensure(settings, &specs).await.unwrap();
    assert_eq!(created.len(), 9);
    assert!(created.iter().all(|(_, what)| *what == Ensured::Created));
    let again = topics::ensure(settings, &specs).await.unwrap();
    assert!(again.iter().all(|(_, what)| *what == Ensured::Existed));
    assert_eq!(
        topics::check(settings, &Topic::ALL).await.unwrap(),
        Vec::<String>::new()
    );

    let rollups = broker.topic("rollups");
    broker.fill(&rollups, 3, 7).await;
    let ends = topics::end_offsets(settings, &[rollups]).await.unwrap();
    let ends: Vec<_> = ends.iter().map(|((_, p), r)| (*p, r.low, r.high)).collect();
    assert_eq!(ends, [(0, 0, 3), (1, 0, 2), (2, 0, 2)]);
    assert!(!topics::cluster_id(settings).await.unwrap().is_empty());
}

#[tokio::test]
async fn topics_of_another_shape_are_warned_of() {
    let Some(broker) = Broker::real(&[]).await else {
        return;
    };
    let mut specs = topics::specs(&broker.settings.prefix, 1, 1);
    for spec in &mut specs {
        spec.config.clear();
    }
    specs.retain(|spec| spec.topic == Topic::Metrics || spec.topic == Topic::Control);
    topics::ensure(&broker.settings, &specs).await.unwrap();
    let needed = [Topic::Metrics, Topic::Control];
    let warnings = topics::check(&broker.settings, &needed).await.unwrap();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("message.timestamp.type is CreateTime, expected LogAppendTime"));
}

#[tokio::test]
async fn embedded_topics_are_checked_by_count_only() {
    let broker = Broker::embedded(&[("metrics", 4), ("rollups", 4), ("control", 1)]);
    let needed = [Topic::Metrics, Topic::Rollups, Topic::Control];
    assert!(
        topics::check(&broker.settings, &needed)
            .await
            .unwrap()
            .is_empty()
    );
    let missing = topics::check(&broker.settings, &[Topic::Drift]).await;
    assert!(matches!(missing, Err(BusError::Topic(_))), "{missing:?}");
    let specs = topics::specs(&broker.settings.prefix, 4, 1);
    let refused = topics::ensure(&broker.settings, &specs).await;
    assert!(matches!(refused, Err(BusError::Topic(_))), "{refused:?}");
    assert!(
        !topics::cluster_id(&broker.settings)
            .await
            .unwrap()
            .is_empty()
    );
}

#[tokio::test]
async fn dead_letters_keep_everything_at_any_size() {
    let Some(broker) = Broker::real(&[]).await else {
        return;
    };
    let specs = topics::specs(&broker.settings.prefix, 2, 1);
    topics::ensure(&broker.settings, &specs).await.unwrap();
    let (metrics, dlq) = (broker.topic("metrics"), broker.topic("metrics.dlq"));

    // The largest record that `metrics` takes: found by trying, so that it is the broker's own limit.
    let mut noise = 0x2545_f491_4f6c_dd1d_u64;
    let value: Vec<u8> = (0..1_048_588)
        .map(|_| {
            noise ^= noise << 13;
            noise ^= noise >> 7;
            noise ^= noise << 17;
            noise as u8
        })
        .collect();
    let big = broker.with("message.max.bytes", "2000000");
    let mut big = Settings { ..big };
    big.properties
        .insert("compression.type".into(), "none".into());
    let source = Producer::new(&big).unwrap();
    let mut len = value.len();
    loop {
        let out = Out {
            topic: &metrics,
            partition: Some(1),
            key: Some(b"ppml0015"),
            value: Some(&value[..len]),
            headers: &[("trace", b"abc")],
            ..Out::default()
        };
        source.send(out).await.unwrap();
        match source.flush().await {
            Ok(_) => break,
            Err(BusError::Refused(_)) => len -= 1,
            other => panic!("{other:?}"),
        }
        assert!(
            len > value.len() - 200,
            "the limit is near max.message.bytes"
        );
    }
    source
        .send(Out {
            topic: &metrics,
            partition: Some(1),
            key: Some(b"k"),
            value: None,
            ..Out::default()
        })
        .await
        .unwrap();
    source.flush().await.unwrap();

    let letters = dead_letter::producer(&broker.settings).unwrap();
    for record in read_all(&broker.settings, &metrics, 2)
        .await
        .iter()
        .flat_map(|c| c.iter())
    {
        dead_letter::send(&letters, &dlq, &record, "malformed", 1_377_000_000_000)
            .await
            .unwrap();
    }
    assert_eq!(letters.flush().await.unwrap().delivered, 2);

    let chunks = read_all(&broker.settings, &dlq, 2).await;
    let read: Vec<_> = chunks.iter().flat_map(|c| c.iter()).collect();
    assert_eq!(read.len(), 2);
    assert_eq!(read[0].value.map(<[u8]>::len), Some(len));
    assert!(read[0].value == Some(&value[..len]));
    assert_eq!(
        (read[0].key, read[0].partition),
        (Some(b"ppml0015".as_slice()), 1)
    );
    assert_eq!((read[1].key, read[1].value), (Some(b"k".as_slice()), None));
    check_headers(&read[0], &[("trace", "abc")], "0", &metrics);
    check_headers(&read[1], &[], "1", &metrics);
}

#[track_caller]
fn check_headers(record: &RecordRef<'_>, kept: &[(&str, &str)], offset: &str, from: &str) {
    let expected = [
        ("forewarn.reason", "malformed"),
        ("forewarn.topic", from),
        ("forewarn.partition", "1"),
        ("forewarn.offset", offset),
        ("forewarn.time", "1377000000000"),
    ];
    let found: Vec<_> = record
        .headers()
        .map(|(name, value)| (name, std::str::from_utf8(value.unwrap()).unwrap()))
        .collect();
    let all: Vec<_> = kept.iter().chain(&expected).copied().collect();
    assert_eq!(found, all);
}
