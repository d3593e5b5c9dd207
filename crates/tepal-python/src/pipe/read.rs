//! From the pipe to the protocol.

use super::life;
use super::schedule;
use super::state::{Due, with};
use crate::event_loop::{Driver, initialized};
use crate::names;
use crate::raw::call;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use std::os::fd::RawFd;
use tepal_sys::pipe;

/// The pipe can be read: one read; the kernel says again what is left.
///
/// # Errors
///
/// As `run_job`.
pub(super) fn handle_readable(
    driver: &mut Driver<'_, '_>,
    transport: &Bound<'_, PyAny>,
) -> PyResult<()> {
    let py = driver.py;
    enum Next {
        Nothing,
        Rest,
        Read(RawFd, Py<PyAny>, Py<PyAny>),
    }
    let next = with(transport, |py, state| {
        let flags = &mut state.flags;
        match &state.protocol {
            _ if flags.closing => Next::Nothing,
            _ if flags.paused => {
                flags.unwatched = true;
                Next::Rest
            }
            Some(protocol) => Next::Read(
                state.fd,
                protocol.clone_ref(py),
                state.context.clone_ref(py),
            ),
            None => Next::Nothing,
        }
    });
    let (fd, protocol, context) = match next {
        None | Some(Next::Nothing) => return Ok(()),
        Some(Next::Rest) => return life::stop_watching(transport),
        Some(Next::Read(fd, protocol, context)) => (fd, protocol, context),
    };
    let received = tepal_sys::fd::borrow(fd).and_then(|fd| pipe::read(fd, &mut driver.scratch));
    match received {
        Ok(None) => Ok(()),
        Ok(Some(0)) => end(driver, transport),
        Ok(Some(count)) => {
            driver.event_loop.get().count_moved(count);
            let data = PyBytes::new(py, initialized(&driver.scratch[..count]));
            // SAFETY: a pipe's context is one (`life::open`).
            unsafe { driver.entered.enter(py, context.as_ptr())? };
            let protocol = protocol.bind(py);
            let told = call::method1(protocol, names::data_received(py), data.as_any());
            drop(data);
            match told {
                Ok(_) => Ok(()),
                // In asyncio this is a callback, and is called again for what comes.
                Err(error) => life::report(driver, transport, names::data_received(py), error),
            }
        }
        Err(error) => {
            driver.entered.leave(py)?;
            let message = "Fatal read error on pipe transport";
            life::fail(transport, &error, message)
        }
    }
}

/// The end of what can be read: the protocol is told so, and then that the connection is lost.
fn end(driver: &mut Driver<'_, '_>, transport: &Bound<'_, PyAny>) -> PyResult<()> {
    driver.entered.leave(driver.py)?;
    life::tell_closed_by_peer(driver.event_loop, transport)?;
    with(transport, |_, state| state.flags.closing = true);
    life::stop_watching(transport)?;
    schedule(transport, Due::End);
    life::schedule_lost(transport, None)
}

/// Calls `eof_received`; a pipe has nothing to keep open, so the answer counts for nothing.
///
/// # Errors
///
/// As `run_job`.
pub(super) fn handle_end(
    driver: &mut Driver<'_, '_>,
    transport: &Bound<'_, PyAny>,
) -> PyResult<()> {
    let py = driver.py;
    let Some(protocol) = life::enter(driver, transport)? else {
        return Ok(());
    };
    match call::method0(protocol.bind(py), names::eof_received(py)) {
        Ok(_) => Ok(()),
        Err(error) => life::report(driver, transport, names::eof_received(py), error),
    }
}

/// `pause_reading()`. The kernel is asked on until it says something: many a pause ends before that.
pub(super) fn pause(transport: &Bound<'_, PyAny>) {
    with(transport, |_, state| {
        if !state.flags.closing {
            state.flags.paused = true;
        }
    });
}

/// `resume_reading()`.
///
/// # Errors
///
/// OSError from the kernel.
pub(super) fn resume(transport: &Bound<'_, PyAny>) -> PyResult<()> {
    let again = with(transport, |_, state| {
        let flags = &mut state.flags;
        if flags.closing || !flags.paused {
            return false;
        }
        flags.paused = false;
        std::mem::take(&mut flags.unwatched)
    });
    match again {
        Some(true) => life::watch(transport),
        _ => Ok(()),
    }
}
