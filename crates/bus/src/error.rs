//! What can go wrong, sorted by what the caller can do about it.

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use thiserror::Error;

/// An error of Kafka or of its configuration. Every message is one line.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BusError {
    /// The configuration is wrong: fix the named key and start again.
    #[error("{0}")]
    Config(String),
    /// No broker answers: wait and try again.
    #[error("kafka is not reachable at {brokers}: {reason}")]
    Unreachable {
        /// The configured `host:port` list.
        brokers: String,
        /// What librdkafka saw last.
        reason: String,
    },
    /// A topic is missing or has another shape than this program needs: fix it and start again.
    #[error("{0}")]
    Topic(String),
    /// The broker refuses these credentials: fix them and start again.
    #[error("kafka refuses access: {0}")]
    Denied(String),
    /// Another process took over this instance's identity: stop, without writing anything more.
    #[error("another process has taken over this instance: {0}")]
    Fenced(String),
    /// The partitions belong to another consumer by now: drop their state and go on with the next event.
    #[error("these partitions are no longer ours: {0}")]
    NotOwner(String),
    /// The record can never be stored (too large, no such partition): sending it again is of no use.
    #[error("kafka does not take the record: {0}")]
    Refused(String),
    /// Records that were queued did not arrive: the batch failed, read again from the committed offsets.
    #[error("{failed} records were not delivered: {reason}")]
    Delivery {
        /// How many, since the last flush.
        failed: u64,
        /// The first one's error.
        reason: String,
    },
    /// No answer in time; whether it was carried out is not known.
    #[error("kafka did not answer in time: {0}")]
    Timeout(String),
    /// The client was closed, or its thread has ended.
    #[error("the kafka client is closed")]
    Closed,
    /// The client has failed for good: stop, or start with a new one from the committed offsets.
    #[error("the kafka client has failed: {0}")]
    Broken(String),
    /// Anything else, in librdkafka's words.
    #[error("kafka: {0}")]
    Kafka(String),
}

impl From<KafkaError> for BusError {
    fn from(error: KafkaError) -> Self {
        match &error {
            KafkaError::ClientConfig(_, description, key, value) => BusError::Config(format!(
                "kafka.properties.{key}: {}, found '{}'",
                description.trim_end_matches('.').to_lowercase(),
                if is_secret(key) { "****" } else { value }
            )),
            KafkaError::ClientCreation(text) => {
                BusError::Config(format!("kafka.properties: {text}"))
            }
            other => match other.rdkafka_error_code() {
                Some(code) => BusError::from_code(code, &code.to_string()),
                None => BusError::Kafka(one_line(&error.to_string())),
            },
        }
    }
}

impl BusError {
    /// The error for librdkafka's code, with its words.
    pub(crate) fn from_code(code: RDKafkaErrorCode, text: &str) -> BusError {
        use RDKafkaErrorCode as C;
        let text = one_line(text);
        match code {
            C::Fenced | C::FencedInstanceId | C::InvalidProducerEpoch => BusError::Fenced(text),
            C::IllegalGeneration
            | C::UnknownMemberId
            | C::RebalanceInProgress
            | C::AssignmentLost => BusError::NotOwner(text),
            C::Authentication
            | C::SaslAuthenticationFailed
            | C::UnsupportedSASLMechanism
            | C::IllegalSASLState
            | C::TopicAuthorizationFailed
            | C::GroupAuthorizationFailed
            | C::ClusterAuthorizationFailed
            | C::TransactionalIdAuthorizationFailed => BusError::Denied(text),
            C::MessageSizeTooLarge
            | C::MessageBatchTooLarge
            | C::InvalidMessageSize
            | C::InvalidMessage
            | C::InvalidTimestamp
            | C::InvalidRecord
            | C::UnknownPartition
            | C::UnknownTopic
            | C::UnknownTopicOrPartition
            | C::InvalidTopic => BusError::Refused(text),
            C::OperationTimedOut | C::RequestTimedOut | C::MessageTimedOut => {
                BusError::Timeout(text)
            }
            _ => BusError::Kafka(text),
        }
    }

    /// The error of a client that librdkafka has declared dead.
    pub(crate) fn broken(code: RDKafkaErrorCode, text: &str) -> BusError {
        match BusError::from_code(code, text) {
            error if error.is_fatal() => error,
            _ => BusError::Broken(one_line(text)),
        }
    }

    /// Whether going on with this client is of no use.
    pub fn is_fatal(&self) -> bool {
        matches!(
            self,
            BusError::Config(_)
                | BusError::Topic(_)
                | BusError::Denied(_)
                | BusError::Fenced(_)
                | BusError::Broken(_)
                | BusError::Closed
        )
    }
}

fn is_secret(key: &str) -> bool {
    key.contains("password") || key.contains("secret") || key.contains("key.pem")
}

/// librdkafka's texts may hold line breaks; ours are one line.
pub(crate) fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(code: RDKafkaErrorCode, fatal: bool) {
        assert_eq!(BusError::from_code(code, "x").is_fatal(), fatal, "{code:?}");
    }

    #[test]
    fn only_what_no_retry_can_heal_is_fatal() {
        check(RDKafkaErrorCode::FencedInstanceId, true);
        check(RDKafkaErrorCode::SaslAuthenticationFailed, true);
        check(RDKafkaErrorCode::GroupAuthorizationFailed, true);
        check(RDKafkaErrorCode::IllegalGeneration, false);
        check(RDKafkaErrorCode::RequestTimedOut, false);
        check(RDKafkaErrorCode::BrokerTransportFailure, false);
    }

    #[test]
    fn a_message_is_one_line() {
        assert_eq!(one_line(" a\n  b\tc "), "a b c");
    }
}
