//! What librdkafka calls back: errors, log lines, rebalances. Everything is only written down here and handled by the
//! thread that polls, where the state is.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rdkafka::TopicPartitionList;
use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, RebalanceProtocol};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::types::RDKafkaRespErr;

use crate::error::{BusError, one_line};
use crate::shared::lock;

/// A change of the assignment that librdkafka waits to have carried out.
#[derive(Debug)]
pub(crate) enum Rebalance {
    Assign(Vec<(String, i32)>),
    Revoke {
        partitions: Vec<(String, i32)>,
        lost: bool,
    },
}

/// An error that concerns the whole client.
#[derive(Debug, Clone)]
pub(crate) struct Problem {
    pub(crate) code: RDKafkaErrorCode,
    pub(crate) text: String,
}

/// Keeps this many problems until they are looked at; older ones give way.
const MAX_PROBLEMS: usize = 64;

/// The context of every consumer and probe.
#[derive(Default)]
pub(crate) struct Context {
    problems: Mutex<VecDeque<Problem>>,
    rebalances: Mutex<VecDeque<Rebalance>>,
    /// Nobody handles rebalances any more: carry them out at once, or closing would wait for ever.
    closing: AtomicBool,
}

impl Context {
    pub(crate) fn next_problem(&self) -> Option<Problem> {
        lock(&self.problems).pop_front()
    }

    pub(crate) fn next_rebalance(&self) -> Option<Rebalance> {
        lock(&self.rebalances).pop_front()
    }

    pub(crate) fn close(&self) {
        self.closing.store(true, Ordering::Release);
    }
}

/// librdkafka's line in our log. Errors come as events too, so its lines are for looking closely only.
pub(crate) fn log(level: RDKafkaLogLevel, facility: &str, line: &str) {
    match level {
        RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
            tracing::error!(target: "librdkafka", facility, "{line}");
        }
        _ => tracing::debug!(target: "librdkafka", facility, "{line}"),
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        log(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let mut problems = lock(&self.problems);
        if problems.len() >= MAX_PROBLEMS {
            problems.pop_front();
        }
        problems.push_back(Problem {
            code: error
                .rdkafka_error_code()
                .unwrap_or(RDKafkaErrorCode::Unknown),
            text: one_line(reason),
        });
    }
}

impl ConsumerContext for Context {
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        kind: RDKafkaRespErr,
        list: &mut TopicPartitionList,
    ) {
        let assign = kind == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
        if self.closing.load(Ordering::Acquire) {
            decline(consumer, assign, list);
            return;
        }
        let partitions = list
            .elements()
            .iter()
            .map(|e| (e.topic().to_owned(), e.partition()))
            .collect();
        lock(&self.rebalances).push_back(if assign {
            Rebalance::Assign(partitions)
        } else {
            Rebalance::Revoke {
                partitions,
                lost: consumer.assignment_lost(),
            }
        });
    }
}

/// Answers a rebalance of a consumer that is about to be closed.
pub(crate) fn decline(consumer: &BaseConsumer<Context>, assign: bool, list: &TopicPartitionList) {
    let cooperative = matches!(
        consumer.rebalance_protocol(),
        RebalanceProtocol::Cooperative
    );
    let answered = match (cooperative, assign) {
        // What is taken now is given back at once by closing.
        (true, true) => consumer.incremental_assign(list),
        (true, false) => consumer.incremental_unassign(list),
        (false, _) => consumer.unassign(),
    };
    if let Err(error) = answered {
        tracing::warn!(%error, "a rebalance was not answered");
    }
}

/// A client without a group, for metadata and offsets. All its calls block.
pub(crate) struct Probe {
    consumer: BaseConsumer<Context>,
    brokers: String,
}

impl Probe {
    pub(crate) fn new(config: &ClientConfig) -> Result<Probe, BusError> {
        let brokers = config
            .get("bootstrap.servers")
            .unwrap_or_default()
            .to_owned();
        if brokers.trim().is_empty() {
            return Err(BusError::Config(
                "kafka.brokers is empty, expected host:port".to_owned(),
            ));
        }
        let consumer = BaseConsumer::from_config_and_context(config, Context::default())?;
        Ok(Probe { consumer, brokers })
    }

    pub(crate) fn client(&self) -> &BaseConsumer<Context> {
        &self.consumer
    }

    /// The error behind a call that failed: what librdkafka said last about its connections, if it did.
    pub(crate) fn why(&self, error: KafkaError) -> BusError {
        let mut last = None;
        // The main queue holds its log lines and errors until somebody looks.
        for _ in 0..1000 {
            let looked = self.consumer.poll(Duration::ZERO);
            while let Some(problem) = self.consumer.context().next_problem() {
                let denied = BusError::from_code(problem.code, &problem.text);
                if denied.is_fatal() {
                    return denied;
                }
                if problem.code != RDKafkaErrorCode::AllBrokersDown {
                    last = Some(problem.text);
                }
            }
            if looked.is_none() && last.is_some() {
                break;
            }
        }
        unreachable(&self.brokers, error, last)
    }
}

/// Tells an unreachable broker from the other errors of a call.
pub(crate) fn unreachable(brokers: &str, error: KafkaError, seen: Option<String>) -> BusError {
    use RDKafkaErrorCode as C;
    match error.rdkafka_error_code() {
        Some(
            C::BrokerTransportFailure
            | C::AllBrokersDown
            | C::OperationTimedOut
            | C::Resolve
            | C::RequestTimedOut
            | C::NetworkException
            | C::BrokerNotAvailable
            | C::LeaderNotAvailable,
        ) => BusError::Unreachable {
            brokers: brokers.to_owned(),
            reason: seen.unwrap_or_else(|| "no answer".to_owned()),
        },
        _ => error.into(),
    }
}
