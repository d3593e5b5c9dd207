//! Where there is no way of ours.

use super::{Command, SpawnError, Stage};
use std::io;

/// Whether [`spawn`] can work at all.
pub const AVAILABLE: bool = false;

/// Starts nothing.
///
/// # Errors
///
/// [`Stage::Unsupported`], always.
pub fn spawn(_command: &Command) -> Result<i32, SpawnError> {
    Err(SpawnError {
        stage: Stage::Unsupported,
        error: io::ErrorKind::Unsupported.into(),
    })
}
