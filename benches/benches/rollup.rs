//! Rollup end to end on a real broker, beside a bare librdkafka consumer that only polls.
//!
//! `eval "$(scripts/services start)"; cargo build --release -p forewarn; cargo bench -p benches --bench rollup`
//! (`FOREWARN_BENCH_RECORDS`, default 3,000,000). Both read the same topic in the same run: 500 servers, 12 partitions, lz4.
//! Prints one JSON line; figures go into `benches/README.md` with the machine they came from.

use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use contract::Contract;
use contract::codec::{Encoder, MetricRow};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use serde_json::{Value, json};

const SERVERS: u64 = 500;
const PARTITIONS: i32 = 12;
const START_MS: i64 = 1_767_225_600_000;
/// Every server sends one record in five seconds.
const STEP_MS: i64 = 5_000;

fn main() -> Result<()> {
    let brokers = std::env::var("FOREWARN_TEST_BROKERS")
        .context("FOREWARN_TEST_BROKERS is not set: eval \"$(scripts/services start)\"")?;
    let records: u64 = std::env::var("FOREWARN_BENCH_RECORDS")
        .map_or(Ok(3_000_000), |text| text.parse())
        .context("FOREWARN_BENCH_RECORDS")?;
    let prefix = format!("bench{}.", std::process::id());
    let program = program()?;
    let forewarn = |args: &[&str]| {
        let mut command = Command::new(&program);
        command.args(args);
        command.args(["--set", &format!("kafka.brokers={brokers}")]);
        command.args(["--set", &format!("topics.prefix={prefix}")]);
        command
    };
    let created = forewarn(&["topics", "create", "--partitions", "12"]).status()?;
    ensure!(created.success(), "topics create failed");
    let topic = format!("{prefix}metrics");
    let value_bytes = produce(&brokers, &topic, records)?;
    let bare = poll_all(&brokers, &topic, records)?;
    let (before, begun) = (children_cpu_seconds()?, Instant::now());
    let mut rollup = forewarn(&["run", "--role", "rollup", "--until-end", "--json"]);
    let (output, peak_mib) = watched(
        rollup
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?,
    )?;
    let seconds = begun.elapsed().as_secs_f64();
    let cpu = children_cpu_seconds()? - before;
    ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let summary: Value = serde_json::from_slice(&output.stdout).context("read the summary")?;
    ensure!(summary["consumed"] == json!(records), "consumed {summary}");
    let rollup = records as f64 / seconds;
    let line = json!({
        "records": records,
        "value_bytes": value_bytes,
        "bare_records_per_second": bare.round(),
        "rollup_records_per_second": rollup.round(),
        "ratio": (rollup / bare * 1_000.0).round() / 1_000.0,
        "rollup_cpu_seconds_per_million": (cpu / records as f64 * 1e9).round() / 1e3,
        "rollup_peak_mib": peak_mib.round(),
        "program": program.display().to_string().rsplit('/').nth(1),
    });
    #[allow(clippy::print_stdout)] // The bench's answer.
    {
        println!("{line}");
    }
    Ok(())
}

/// The program built with the same profile where there is one, else the other.
fn program() -> Result<PathBuf> {
    let mut path = std::env::current_exe()?;
    while path.pop() {
        for profile in ["release", "debug"] {
            let found = path.join(profile).join("forewarn");
            if found.exists() {
                return Ok(found);
            }
        }
    }
    anyhow::bail!("forewarn is not built: cargo build --release -p forewarn")
}

fn produce(brokers: &str, topic: &str, records: u64) -> Result<usize> {
    let contract = Contract::shipped("linborg").context("the linborg contract is shipped")?;
    let encoder = Encoder::new(&contract)?;
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("compression.type", "lz4")
        .set("linger.ms", "50")
        .set("batch.num.messages", "10000")
        .set("queue.buffering.max.messages", "500000")
        .set("partitioner", "murmur2_random")
        .create()?;
    let (mut value, mut bytes) = (Vec::new(), 0);
    for n in 0..records {
        let (server, turn) = (n % SERVERS, n / SERVERS);
        let name = format!("ppgen{server:04}");
        let values: Vec<Option<f32>> = (0..14_u64)
            .map(|m| Some(((n * 31 + m * 17) % 1_000) as f32 / 10.0))
            .collect();
        value.clear();
        let timestamp = START_MS + turn as i64 * STEP_MS;
        let row = MetricRow {
            server: &name,
            timestamp,
            profile: None,
            state: None,
            values: &values,
        };
        encoder.encode_metric(&row, &mut value)?;
        bytes = value.len();
        while producer
            .send(BaseRecord::to(topic).key(&name).payload(&value))
            .is_err()
        {
            producer.poll(Duration::from_millis(10));
        }
        if n % 1_000 == 0 {
            producer.poll(Duration::ZERO);
        }
    }
    producer.flush(Duration::from_secs(120))?;
    Ok(bytes)
}

/// Records per second of a consumer that only polls.
fn poll_all(brokers: &str, topic: &str, records: u64) -> Result<f64> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "bench-bare")
        .set("enable.auto.commit", "false")
        .set("fetch.queue.backoff.ms", "5")
        .create()?;
    let mut list = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        list.add_partition_offset(topic, partition, Offset::Beginning)?;
    }
    let begun = Instant::now();
    consumer.assign(&list)?;
    let mut read = 0;
    while read < records {
        ensure!(
            begun.elapsed() < Duration::from_secs(300),
            "read {read} of {records}"
        );
        if let Some(message) = consumer.poll(Duration::from_millis(100)) {
            message?;
            read += 1;
        }
    }
    Ok(records as f64 / begun.elapsed().as_secs_f64())
}

/// Waits for `child`; gives its output and the most memory that was resident, in MiB.
fn watched(mut child: Child) -> Result<(Output, f64)> {
    let status = format!("/proc/{}/status", child.id());
    let mut peak_kib = 0.0_f64;
    while child.try_wait()?.is_none() {
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let peak = text.lines().find_map(|l| l.strip_prefix("VmHWM:"));
        let peak = peak.and_then(|l| l.trim().trim_end_matches("kB").trim().parse().ok());
        peak_kib = peak_kib.max(peak.unwrap_or(0.0));
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok((child.wait_with_output()?, peak_kib / 1024.0))
}

/// CPU seconds of ended children, from `/proc/self/stat` (fields cutime and cstime, in ticks of 10 ms).
fn children_cpu_seconds() -> Result<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").context("read /proc/self/stat")?;
    let after = stat.rsplit_once(')').context("parse /proc/self/stat")?.1;
    let fields: Vec<&str> = after.split_whitespace().collect();
    let ticks = |index: usize| fields.get(index).and_then(|f| f.parse::<f64>().ok());
    let (user, system) = ticks(13).zip(ticks(14)).context("find cutime and cstime")?;
    Ok((user + system) / 100.0)
}
