//! What a device says when its memory is full, and in tests a device whose memory is.

use std::any::Any;

/// How allocators and drivers put it: CUDA, LibTorch, CubeCL, the C++ and Rust runtimes.
const WORDS: [&str; 5] = [
    "out of memory",
    "outofmemory",
    "out_of_memory",
    "bad_alloc",
    "memory allocation of",
];

/// The message of a panic that says that memory is full; `None` for any other.
pub(crate) fn out_of_memory(panic: &(dyn Any + Send)) -> Option<String> {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())?;
    let lower = text.to_lowercase();
    WORDS
        .iter()
        .any(|word| lower.contains(word))
        .then(|| text.to_owned())
}

#[cfg(test)]
thread_local! {
    /// Windows of a pass that the device has memory for.
    pub(crate) static ROOM: std::cell::Cell<usize> = const { std::cell::Cell::new(usize::MAX) };
    /// The pass, counted from 1 and down, whose loss is not finite.
    pub(crate) static SPOILED: std::cell::Cell<Option<u64>> = const { std::cell::Cell::new(None) };
}

/// The loss of a pass as the test wants it.
#[cfg(test)]
pub(crate) fn spoil(loss: f32) -> f32 {
    let left = SPOILED.get().map(|left| left.saturating_sub(1));
    SPOILED.set(left.filter(|&left| left > 0));
    if left == Some(0) { f32::NAN } else { loss }
}

/// Panics as a CUDA device does where a pass is larger than [`ROOM`].
#[cfg(test)]
pub(crate) fn allocate(windows: usize) {
    assert!(
        windows <= ROOM.get(),
        "CUDA out of memory. Tried to allocate 2.00 GiB"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_full_memory_is_full_memory() {
        let said = |text: &str| out_of_memory(&text.to_owned());
        assert!(said("CUDA out of memory. Tried to allocate 2.00 GiB").is_some());
        assert!(said("Cuda error CUDA_ERROR_OUT_OF_MEMORY").is_some());
        assert!(out_of_memory(&"std::bad_alloc").is_some());
        assert!(said("index out of bounds: the len is 3").is_none());
        assert!(out_of_memory(&7_u8).is_none());
    }
}
