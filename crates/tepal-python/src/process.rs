//! Starting a child, as `tepal._spawning` asks for it: strings and numbers in, a process out.
//!
//! What the arguments mean, which of them need another way, and which exception a failure becomes is decided there.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use std::ffi::CString;
use std::os::fd::RawFd;
use tepal_sys::process::{self, Command, Stage};

/// What Python hands over in one dict, by these names; see [`Command`].
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub(crate) struct Wanted<'py> {
    programs: Vec<Bound<'py, PyBytes>>,
    arguments: Vec<Bound<'py, PyBytes>>,
    /// `None` is this process's.
    environment: Option<Vec<Bound<'py, PyBytes>>>,
    directory: Option<Bound<'py, PyBytes>>,
    standard: [Option<RawFd>; 3],
    closes_others: bool,
    kept: Vec<RawFd>,
    restores_signals: bool,
    umask: Option<u32>,
    new_session: bool,
    process_group: Option<i32>,
}

fn c_strings(list: &[Bound<'_, PyBytes>]) -> PyResult<Vec<CString>> {
    list.iter().map(c_string).collect()
}

fn c_string(bytes: &Bound<'_, PyBytes>) -> PyResult<CString> {
    CString::new(bytes.as_bytes()).map_err(|_| PyValueError::new_err("embedded null byte"))
}

/// Starts a child, detached from the interpreter; `(pid, pidfd or -1, "", 0)`, or `(-1, stage, errno)`.
#[pyfunction]
pub(crate) fn spawn(py: Python<'_>, wanted: Wanted<'_>) -> PyResult<(i32, &'static str, i32)> {
    let command = Command {
        programs: c_strings(&wanted.programs)?,
        arguments: c_strings(&wanted.arguments)?,
        environment: match &wanted.environment {
            Some(entries) => c_strings(entries)?,
            // Now, while we are attached and nobody can change it.
            None => process::environment(),
        },
        directory: wanted.directory.as_ref().map(c_string).transpose()?,
        standard: wanted.standard,
        closes_others: wanted.closes_others,
        kept: wanted.kept,
        restores_signals: wanted.restores_signals,
        umask: wanted.umask,
        new_session: wanted.new_session,
        process_group: wanted.process_group,
    };
    Ok(match py.detach(|| process::spawn(&command)) {
        Ok(pid) => (pid, "", 0),
        Err(failed) => {
            let stage = match failed.stage {
                Stage::Unsupported => "unsupported",
                Stage::Fork => "fork",
                Stage::Setup => "setup",
                Stage::Directory => "directory",
                Stage::Execute => "execute",
            };
            (-1, stage, failed.error.raw_os_error().unwrap_or(0))
        }
    })
}
