//! Changes of the assignment: asks the role, then tells librdkafka, once.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Instant;

use rdkafka::consumer::{Consumer as _, RebalanceProtocol};
use rdkafka::error::KafkaError;
use rdkafka::{Offset, TopicPartitionList};

use super::{REQUEST_TIMEOUT, SLICE, Worker};
use crate::error::BusError;
use crate::event::{Assigned, AssignedPartition, Event, Revoked, Start};
use crate::native;
use crate::shared::lock;

type Partition = (Arc<str>, i32);

/// Whether the role answered in time.
enum Answer<T> {
    Given(T),
    Dropped,
    TooLate,
}

impl Worker {
    fn cooperative(&self) -> bool {
        matches!(
            self.client.rebalance_protocol(),
            RebalanceProtocol::Cooperative
        )
    }

    /// Partitions came: asks the role where to start, then starts once.
    pub(super) fn assigned(&mut self, partitions: Vec<(String, i32)>) {
        let until = Instant::now() + self.deadline;
        let mut known = Vec::new();
        while !partitions.is_empty() && !self.shared.stopping() {
            match self.look_up(&partitions) {
                Ok(found) => {
                    known = found;
                    break;
                }
                Err(_) if Instant::now() >= until => break,
                Err(error) => self.not_yet(error),
            }
            if self.failed {
                return;
            }
        }
        if known.len() < partitions.len() {
            if !self.shared.stopping() {
                self.fail(BusError::Timeout(format!(
                    "committed offsets of {} partitions at {}",
                    partitions.len(),
                    self.brokers
                )));
            }
            return;
        }
        let (answer, answered) = sync_channel(1);
        self.shared.inbox.push(Event::Assigned(Assigned {
            partitions: known.clone(),
            answer: (!known.is_empty()).then_some(answer),
        }));
        let starts = match known.is_empty() {
            true => Vec::new(),
            false => match self.answer(&answered, until) {
                Answer::Given(starts) => offsets_of(&known, &starts),
                Answer::Dropped => Vec::new(),
                Answer::TooLate => {
                    return self.fail(BusError::Timeout(format!(
                        "the role did not say where to start {} partitions",
                        known.len()
                    )));
                }
            },
        };
        if let Err(error) = self.take(&starts, true) {
            self.fail(error);
        }
    }

    /// Committed offsets and ends of the partitions.
    fn look_up(&self, partitions: &[(String, i32)]) -> Result<Vec<AssignedPartition>, KafkaError> {
        let mut list = TopicPartitionList::with_capacity(partitions.len());
        for (topic, partition) in partitions {
            list.add_partition(topic, *partition);
        }
        let committed = self.client.committed_offsets(list, REQUEST_TIMEOUT)?;
        let metadata = native::commit_metadata(&committed);
        let mut topics: HashMap<String, Arc<str>> = HashMap::new();
        let mut found = Vec::with_capacity(partitions.len());
        for (element, metadata) in committed.elements().iter().zip(metadata) {
            element.error()?;
            let (topic, partition) = (element.topic(), element.partition());
            let (low, high) = self
                .client
                .fetch_watermarks(topic, partition, REQUEST_TIMEOUT)?;
            let topic = topics
                .entry(topic.to_owned())
                .or_insert_with(|| Arc::from(topic))
                .clone();
            found.push(AssignedPartition {
                topic,
                partition,
                committed: match element.offset() {
                    Offset::Offset(offset) => Some(offset),
                    _ => None,
                },
                metadata,
                low,
                high,
            });
        }
        Ok(found)
    }

    /// Waits for the role.
    fn answer<T>(&self, answered: &Receiver<T>, until: Instant) -> Answer<T> {
        loop {
            match answered.recv_timeout(SLICE) {
                Ok(answer) => return Answer::Given(answer),
                Err(RecvTimeoutError::Disconnected) => return Answer::Dropped,
                Err(RecvTimeoutError::Timeout) if self.shared.stopping() => return Answer::Dropped,
                Err(RecvTimeoutError::Timeout) if Instant::now() >= until => {
                    return Answer::TooLate;
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    /// Starts fetching the partitions at these offsets: the one place that calls assign.
    pub(super) fn take(
        &mut self,
        starts: &[(Arc<str>, i32, Offset)],
        in_group: bool,
    ) -> Result<(), BusError> {
        let mut list = TopicPartitionList::with_capacity(starts.len());
        for (topic, partition, offset) in starts {
            list.add_partition_offset(topic, *partition, *offset)?;
            if let Some(queue) = &self.queue {
                queue.add(topic, *partition)?;
            }
        }
        self.builder.forget_slots();
        {
            let mut owned = lock(&self.shared.owned);
            for (topic, partition, _) in starts {
                owned.set(topic, *partition);
            }
        }
        if in_group && self.cooperative() {
            self.client.incremental_assign(&list)?;
        } else {
            self.client.assign(&list)?;
        }
        Ok(())
    }

    /// Partitions go: lets the role finish, then gives them up.
    pub(super) fn revoked(&mut self, partitions: Vec<(String, i32)>, lost: bool) {
        let until = Instant::now() + self.deadline;
        let ours = self.ending(&partitions, lost);
        if !ours.is_empty() {
            let (answer, answered) = sync_channel(1);
            self.shared.inbox.push(Event::Revoked(Revoked {
                partitions: ours,
                lost,
                answer: Some(answer),
            }));
            if let Answer::TooLate = self.answer(&answered, until) {
                tracing::warn!(
                    partitions = partitions.len(),
                    "the role did not give up its partitions in time; its later commits for them are refused"
                );
            }
        }
        {
            let mut owned = lock(&self.shared.owned);
            for (topic, partition) in &partitions {
                owned.remove(topic, *partition);
            }
        }
        self.builder.forget_slots();
        let mut list = TopicPartitionList::with_capacity(partitions.len());
        for (topic, partition) in &partitions {
            list.add_partition(topic, *partition);
        }
        let given_up = if self.cooperative() {
            self.client.incremental_unassign(&list)
        } else {
            self.client.unassign()
        };
        if let Err(error) = given_up {
            self.fail(error.into());
        }
    }

    /// From here on no record of these partitions is handed out; those of them that were being read.
    fn ending(&mut self, partitions: &[(String, i32)], lost: bool) -> Vec<Partition> {
        let owned = lock(&self.shared.owned);
        partitions
            .iter()
            .filter_map(|(topic, partition)| owned.get(topic, *partition))
            .map(|slot| {
                if lost {
                    slot.end()
                } else {
                    slot.ending()
                }
                (Arc::clone(&slot.topic), slot.partition)
            })
            .collect()
    }

    pub(super) fn seek(&mut self, to: &[(Arc<str>, i32, i64)]) -> Result<(), BusError> {
        let mut list = TopicPartitionList::with_capacity(to.len());
        {
            let owned = lock(&self.shared.owned);
            for (topic, partition, offset) in to {
                if owned.get(topic, *partition).is_none() {
                    return Err(BusError::NotOwner(format!("{topic}/{partition}")));
                }
                list.add_partition_offset(topic, *partition, Offset::Offset((*offset).max(0)))?;
            }
        }
        let answered = self.client.seek_partitions(list, REQUEST_TIMEOUT)?;
        for element in answered.elements() {
            element.error()?;
        }
        let mut owned = lock(&self.shared.owned);
        for (topic, partition, _) in to {
            owned.set(topic, *partition);
        }
        drop(owned);
        self.builder.forget_slots();
        Ok(())
    }
}

/// The role's answer as offsets; what it did not name starts where it was committed.
fn offsets_of(
    known: &[AssignedPartition],
    starts: &[(Arc<str>, i32, Start)],
) -> Vec<(Arc<str>, i32, Offset)> {
    known
        .iter()
        .map(|p| {
            let named = starts
                .iter()
                .find(|(topic, partition, _)| *topic == p.topic && *partition == p.partition);
            let offset = match named.map(|(_, _, start)| *start) {
                Some(Start::Offset(offset)) => offset.max(0),
                Some(Start::Beginning) => p.low,
                Some(Start::End) => p.high,
                None => p.committed.unwrap_or(p.low),
            };
            (Arc::clone(&p.topic), p.partition, Offset::Offset(offset))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(committed: Option<i64>) -> Vec<AssignedPartition> {
        vec![AssignedPartition {
            topic: Arc::from("t"),
            partition: 3,
            committed,
            metadata: String::new(),
            low: 5,
            high: 90,
        }]
    }

    #[track_caller]
    fn check(committed: Option<i64>, start: Option<Start>, expected: i64) {
        let starts: Vec<_> = start.map(|s| (Arc::from("t"), 3, s)).into_iter().collect();
        let offsets = offsets_of(&known(committed), &starts);
        assert_eq!(offsets, [(Arc::from("t"), 3, Offset::Offset(expected))]);
    }

    #[test]
    fn a_partition_starts_where_the_role_says_else_where_it_was_committed() {
        check(Some(40), Some(Start::Offset(33)), 33);
        check(Some(40), Some(Start::Beginning), 5);
        check(Some(40), Some(Start::End), 90);
        check(Some(40), None, 40);
        check(None, None, 5);
    }
}
