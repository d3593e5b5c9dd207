//! `_tepal.ReadPipe` and `_tepal.WritePipe`: one direction over a pipe, FIFO, socket or character device.
//!
//! Native types over `asyncio.ReadTransport` and `asyncio.Transport` (`raw/native_type.rs`);
//! `tepal._pipes` adds what is cold. `state.rs` is what a pipe knows, `read.rs` and `write.rs` move bytes, `life.rs`
//! begins and ends it, `methods.rs` is what Python calls.
//!
//! How they differ from streams is asyncio's: a pipe has one direction, its file object belongs to whoever gave it until
//! `connection_lost` and is closed then, the end of what can be read closes the transport, a write pipe is told when its
//! reader goes away, and a protocol that raises in `data_received` is reported and read on.

mod life;
mod methods;
mod read;
mod state;
mod write;

pub(crate) use life::open;
pub(crate) use methods::register;
pub(crate) use state::Role;
pub(crate) use write::flush;

use crate::event_loop::{Driver, Job, Side};
use pyo3::prelude::*;
use state::{Due, with};
use tepal_sys::pipe::Kind;

/// Takes in the kernel's word, and says how many jobs of the pipe's are to be scheduled for it (at most two).
///
/// A write pipe whose descriptor nobody reads hears from the kernel that it is readable when the reader has hung up.
pub(crate) fn handle_ready(pipe: &Bound<'_, PyAny>, side: Side, hung_up: bool) -> usize {
    let asked = with(pipe, |_, state| {
        let (writable, readable) = match (state.role, side) {
            (Role::Read, _) | (Role::Write, Side::Read) => (false, true),
            (Role::Write, Side::Write) => (true, hung_up && state.kind != Kind::Device),
        };
        let mut asked = 0;
        for (is_due, due) in [(writable, Due::Writable), (readable, Due::Readable)] {
            asked += usize::from(is_due && state.due.add(due));
        }
        asked
    });
    asked.unwrap_or(0)
}

/// Puts something for a pipe to do into a coming turn, unless it is there already.
fn schedule(pipe: &Bound<'_, PyAny>, due: Due) {
    let event_loop = with(pipe, |py, state| {
        state.due.add(due).then(|| state.event_loop.clone_ref(py))
    });
    if let Some(Some(event_loop)) = event_loop {
        let job = Job::Pipe(pipe.clone().unbind());
        event_loop.get().schedule(pipe.py(), job);
    }
}

/// Does the next thing that a pipe has to do.
///
/// # Errors
///
/// SystemExit and KeyboardInterrupt from the protocol, and what an exception handler lets out.
pub(crate) fn run_job(driver: &mut Driver<'_, '_>, object: Py<PyAny>) -> PyResult<()> {
    let pipe = object.into_bound(driver.py);
    let Some(Some((due, role))) = with(&pipe, |_, state| Some((state.due.take()?, state.role)))
    else {
        return Ok(());
    };
    match (due, role) {
        (Due::Begin, _) => life::begin(driver, &pipe),
        (Due::Writable, _) => write::handle_writable(driver, &pipe),
        (Due::Readable, Role::Read) => read::handle_readable(driver, &pipe),
        (Due::Readable, Role::Write) => write::handle_reader_gone(driver, &pipe),
        (Due::End, _) => read::handle_end(driver, &pipe),
        (Due::Lost, _) => life::lose(driver, &pipe),
    }
}
