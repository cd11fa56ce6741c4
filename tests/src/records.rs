//! Files of records as people have them.

use std::path::Path;

use contract::Contract;
use lake::records::{RecordWriter, Row};

/// Three and a half days of six servers of the contract `vm`: `name` of each, `value` of server, step and metric.
///
/// # Panics
/// When the file cannot be written.
pub fn write_vms(
    path: &Path,
    name: impl Fn(usize) -> String,
    value: impl Fn(usize, i64, usize) -> f32,
) {
    let contract = Contract::shipped("vm").expect("the contract");
    let mut writer = RecordWriter::create(path, &contract).expect("begin the file");
    for server in 0..6 {
        let name = name(server);
        for step in 0..1008_i64 {
            let values = (0..6).map(|metric| Some(value(server, step, metric)));
            let row = Row {
                server: &name,
                timestamp_ms: Some(1_376_000_100_000 + step * 300_000),
                profile: None,
                state: None,
                values: &values.collect::<Vec<_>>(),
            };
            writer.write(&row).expect("write a row");
        }
    }
    writer.finish().expect("finish the file");
}

/// A name as VMs have it.
pub fn vm_name(server: usize) -> String {
    format!("vm{server:04}")
}

/// A daily wave; servers and metrics differ in phase.
pub fn wave(server: usize, step: i64, metric: usize) -> f32 {
    let angle = (step + 40 * server as i64) as f32 * std::f32::consts::TAU / 288.0;
    30.0 + 10.0 * (angle + metric as f32).sin()
}
