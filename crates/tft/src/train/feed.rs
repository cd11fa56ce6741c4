//! Batches of an epoch, assembled in another thread while the step before runs.

use super::plan::Window;
use crate::batch::{Assembler, Batch, Source};
use crate::data::Columns;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::Scope;

/// Batches that wait, at most: one is enough to keep the network busy, more only take memory.
const AHEAD: usize = 2;

/// Starts the assembly of `windows` in batches of `size`. It ends when the receiver is dropped.
pub(crate) fn feed<'scope>(
    scope: &'scope Scope<'scope, '_>,
    assembler: &'scope Assembler,
    columns: &'scope [Columns],
    windows: Vec<Window>,
    size: usize,
    seed: u64,
) -> Receiver<Batch> {
    let (sender, receiver) = sync_channel(AHEAD);
    scope.spawn(move || {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let hidden = f64::from(assembler.shape.config.id_dropout);
        for chunk in windows.chunks(size.max(1)) {
            let sources: Vec<_> = chunk
                .iter()
                .map(|&(series, issue)| Source::Columns {
                    columns: &columns[series],
                    issue,
                })
                .collect();
            let batch = assembler.assemble(&sources, true, |_| rng.random_bool(hidden));
            if sender.send(batch).is_err() {
                break;
            }
        }
    });
    receiver
}
