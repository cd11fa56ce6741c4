//! What ends a command early, and with which exit code.
//!
//! 0 done, 1 failed, 2 wrong usage or refused configuration, 3 a check did not hold. Everything
//! that is not one of these types is a failure.

use bus::BusError;
use thiserror::Error;

/// Wrong usage or refused configuration: nothing was started. Exit code 2.
#[derive(Debug, Error)]
#[error("{0}")]
pub(crate) struct Refusal(String);

impl Refusal {
    /// `message` says what, where and what to do; line breaks are taken out of it.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self(one_line(&message.into()))
    }
}

/// A check that was asked for did not hold. Exit code 3.
#[derive(Debug, Error)]
#[error("{0}")]
pub(crate) struct NotHeld(String);

impl NotHeld {
    /// `message` names what does not hold, and where.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self(one_line(&message.into()))
    }
}

/// Whoever read our output has gone away, like `head` after ten lines. Exit code 0.
#[derive(Debug, Error)]
#[error("nobody reads the output any more")]
pub(crate) struct OutputClosed;

/// The exit code that an error ends the process with.
pub(crate) fn exit_code(error: &anyhow::Error) -> u8 {
    if has::<OutputClosed>(error) {
        0
    } else if is_refusal(error) {
        2
    } else if has::<NotHeld>(error) {
        3
    } else {
        1
    }
}

/// Whether nothing was started: what is wrong is in the configuration, the topics or the rights.
pub(crate) fn is_refusal(error: &anyhow::Error) -> bool {
    let by_kafka = error.chain().any(|cause| {
        matches!(
            cause.downcast_ref(),
            Some(BusError::Config(_) | BusError::Topic(_) | BusError::Denied(_))
        )
    });
    by_kafka || has::<Refusal>(error)
}

fn has<E: std::error::Error + 'static>(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| cause.is::<E>())
}

/// Text on one line: what a refused start prints.
pub(crate) fn one_line(text: &str) -> String {
    let parts: Vec<&str> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    parts.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::{Context, anyhow};

    #[test]
    fn each_kind_has_its_code_with_context_too() {
        let refused = anyhow::Error::new(Refusal::new("a\n  b"));
        assert_eq!(refused.to_string(), "a b");
        assert_eq!(exit_code(&refused), 2);
        let wrapped = Err::<(), _>(Refusal::new("x")).context("start").err();
        assert_eq!(wrapped.as_ref().map(exit_code), Some(2));
        let topic = Err::<(), _>(BusError::Topic("x".to_owned()))
            .context("a")
            .context("b");
        assert_eq!(topic.as_ref().err().map(exit_code), Some(2));
        assert_eq!(exit_code(&BusError::Closed.into()), 1);
        assert_eq!(exit_code(&NotHeld::new("x").into()), 3);
        assert_eq!(exit_code(&OutputClosed.into()), 0);
        assert_eq!(exit_code(&anyhow!("x")), 1);
    }
}
