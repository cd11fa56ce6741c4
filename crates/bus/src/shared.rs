//! What a consumer's handle and its thread share: the inbox, who owns which partition, and requests to the thread.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::chunk::Slot;
use crate::consumer::CommitOffset;
use crate::error::BusError;
use crate::event::{Inbox, Start};

/// What the thread reads.
pub(crate) enum Mode {
    /// These topics, as a member of the group.
    Group(Vec<String>),
    /// These partitions.
    Fixed(Vec<(Arc<str>, i32, Start)>),
}

impl Mode {
    pub(crate) fn topics(&self) -> Box<dyn Iterator<Item = &str> + '_> {
        match self {
            Mode::Group(topics) => Box::new(topics.iter().map(String::as_str)),
            Mode::Fixed(partitions) => Box::new(partitions.iter().map(|(topic, ..)| &**topic)),
        }
    }
}

/// What the role asks of the thread.
pub(crate) enum Command {
    Seek {
        to: Vec<(Arc<str>, i32, i64)>,
        reply: oneshot::Sender<Result<(), BusError>>,
    },
}

/// What thread and handle share.
pub(crate) struct Shared {
    pub(crate) inbox: Inbox,
    pub(crate) fixed: bool,
    pub(crate) owned: Mutex<Owned>,
    pub(crate) commands: Mutex<Commands>,
    stop: AtomicBool,
}

/// The partitions of this consumer, by topic and number.
#[derive(Default)]
pub(crate) struct Owned(pub(crate) HashMap<Arc<str>, HashMap<i32, Arc<Slot>>>);

#[derive(Default)]
pub(crate) struct Commands {
    pub(crate) waiting: VecDeque<Command>,
    pub(crate) closed: bool,
}

impl Owned {
    pub(crate) fn get(&self, topic: &str, partition: i32) -> Option<&Arc<Slot>> {
        self.0.get(topic)?.get(&partition)
    }

    pub(crate) fn set(&mut self, topic: &Arc<str>, partition: i32) {
        let slot = Slot::new(Arc::clone(topic), partition);
        let of_topic = self.0.entry(Arc::clone(topic)).or_default();
        if let Some(old) = of_topic.insert(partition, slot) {
            old.end();
        }
    }

    pub(crate) fn remove(&mut self, topic: &str, partition: i32) {
        if let Some(slot) = self.0.get_mut(topic).and_then(|p| p.remove(&partition)) {
            slot.end();
        }
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while it holds one of these.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(crate) fn new(mode: &Mode, queue_chunks: usize) -> Shared {
        Shared {
            inbox: Inbox::new(queue_chunks),
            fixed: matches!(mode, Mode::Fixed(_)),
            owned: Mutex::default(),
            commands: Mutex::default(),
            stop: AtomicBool::new(false),
        }
    }

    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Release);
    }

    pub(crate) fn stopping(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    pub(crate) fn command(&self, command: Command) {
        let mut commands = lock(&self.commands);
        if !commands.closed {
            commands.waiting.push_back(command);
        }
        // Else the command is dropped, and with it the sender of its answer.
    }

    pub(crate) fn check_owned(&self, offsets: &[CommitOffset]) -> Result<(), BusError> {
        let owned = lock(&self.owned);
        for o in offsets {
            if !owned
                .get(&o.topic, o.partition)
                .is_some_and(|slot| slot.is_owned())
            {
                return Err(BusError::NotOwner(format!("{}/{}", o.topic, o.partition)));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commits_are_only_for_owned_partitions() {
        let shared = Shared::new(&Mode::Group(Vec::new()), 1);
        let offset = |partition| CommitOffset {
            topic: Arc::from("t"),
            partition,
            offset: 1,
            metadata: String::new(),
        };
        lock(&shared.owned).set(&Arc::from("t"), 0);
        assert_eq!(shared.check_owned(&[offset(0)]), Ok(()));
        let refused = Err(BusError::NotOwner("t/1".to_owned()));
        assert_eq!(shared.check_owned(&[offset(0), offset(1)]), refused);
        lock(&shared.owned).remove("t", 0);
        assert!(shared.check_owned(&[offset(0)]).is_err());
    }
}
