//! `ReadPipe` and `WritePipe` as Python sees them: the types and their method tables.

use super::state::{Pipe, with};
use super::{life, read, write};
use crate::raw::method_table::{method, nothing, plain, value, with_argument};
use crate::raw::native_state::{self, Kind};
use crate::stream::{check_limits, flow_limits};
use pyo3::prelude::*;
use pyo3::{PyResult, ffi};

plain!(py_close_reader, |py, pipe| {
    let begins = with(pipe, |_, state| !state.flags.closing);
    if begins == Some(true) {
        life::abort(pipe, None)?;
    }
    nothing(py, Ok(()))
});
plain!(py_is_closing, |py, pipe| value(py, life::is_closing(pipe)));
plain!(py_pause_reading, |py, pipe| {
    read::pause(pipe);
    nothing(py, Ok(()))
});
plain!(py_resume_reading, |py, pipe| nothing(
    py,
    read::resume(pipe)
));
plain!(py_is_reading, |py, pipe| {
    let reading = with(pipe, |_, state| !state.flags.closing && !state.flags.paused);
    value(py, reading.unwrap_or(false))
});
with_argument!(py_set_protocol, |py, pipe, protocol| {
    let protocol = protocol.clone().unbind();
    let old = with(pipe, |_, state| state.protocol.replace(protocol));
    drop(old);
    nothing(py, Ok(()))
});
plain!(py_get_protocol, |py, pipe| {
    let protocol = with(pipe, |py, state| {
        state
            .protocol
            .as_ref()
            .map(|protocol| protocol.clone_ref(py))
    });
    value(py, protocol.flatten())
});
with_argument!(py_write, |py, pipe, data| nothing(
    py,
    write::write(pipe, data)
));
plain!(py_write_eof, |py, pipe| nothing(py, write::write_eof(pipe)));
plain!(py_can_write_eof, |py, _pipe| value(py, true));
plain!(py_abort, |py, pipe| nothing(py, life::abort(pipe, None)));
plain!(py_buffer_size, |py, pipe| {
    // What could leave has left, so the answer is what asyncio would give.
    write::flush(pipe)?;
    value(
        py,
        with(pipe, |_, state| state.queue.buffered()).unwrap_or(0),
    )
});
plain!(py_limits, |py, pipe| {
    value(
        py,
        with(pipe, |_, state| state.flow.limits()).unwrap_or((0, 0)),
    )
});
with_argument!(py_set_limits, |py, pipe, limits| {
    let (high, low) = flow_limits(limits)?;
    check_limits(with(pipe, |_, state| state.flow.set_limits(high, low)))?;
    write::flush(pipe)?;
    nothing(py, write::pause_if_full(pipe))
});
plain!(py_file, |py, pipe| {
    let file = with(pipe, |py, state| {
        state.file.as_ref().map(|file| file.clone_ref(py))
    });
    value(py, file.flatten())
});
plain!(py_forget_file, |py, pipe| {
    let file = with(pipe, |_, state| state.file.take());
    drop(file);
    nothing(py, Ok(()))
});
plain!(py_loop, |py, pipe| value(
    py,
    with(pipe, |py, state| state.event_loop.clone_ref(py))
));
plain!(py_facts, |py, pipe| {
    let facts = with(pipe, |_, state| {
        let flags = state.flags;
        (
            state.fd,
            flags.paused,
            flags.closing,
            u32::from(flags.lost) + state.lost_writes,
            state.queue.buffered(),
            flags.blocked,
        )
    });
    value(py, facts)
});

/// What both types have.
const SHARED: [ffi::PyMethodDef; 7] = [
    method(
        c"is_closing",
        py_is_closing,
        ffi::METH_NOARGS,
        c"Whether the transport is closing or closed.",
    ),
    method(
        c"set_protocol",
        py_set_protocol,
        ffi::METH_O,
        c"Switch to another protocol.",
    ),
    method(
        c"get_protocol",
        py_get_protocol,
        ffi::METH_NOARGS,
        c"The current protocol; None once closed.",
    ),
    method(
        c"_file",
        py_file,
        ffi::METH_NOARGS,
        c"The file object, or None once closed.",
    ),
    method(
        c"_forget_file",
        py_forget_file,
        ffi::METH_NOARGS,
        c"Leave the file object to whoever else holds it.",
    ),
    method(c"_get_loop", py_loop, ffi::METH_NOARGS, c"The loop."),
    method(
        c"_facts",
        py_facts,
        ffi::METH_NOARGS,
        c"(fileno, paused, closing, conn_lost, buffered, blocked)",
    ),
];

static mut READ_METHODS: [ffi::PyMethodDef; 12] = joined([
    method(
        c"close",
        py_close_reader,
        ffi::METH_NOARGS,
        c"Close; what was not read is left.",
    ),
    method(
        c"pause_reading",
        py_pause_reading,
        ffi::METH_NOARGS,
        c"Call data_received no more until resumed.",
    ),
    method(
        c"resume_reading",
        py_resume_reading,
        ffi::METH_NOARGS,
        c"Read again.",
    ),
    method(
        c"is_reading",
        py_is_reading,
        ffi::METH_NOARGS,
        c"Whether the transport is reading.",
    ),
]);

static mut WRITE_METHODS: [ffi::PyMethodDef; 16] = joined([
    method(
        c"write",
        py_write,
        ffi::METH_O,
        c"Write bytes without blocking; what one callback writes leaves together.",
    ),
    method(
        c"write_eof",
        py_write_eof,
        ffi::METH_NOARGS,
        c"Close once what was written has left.",
    ),
    method(
        c"can_write_eof",
        py_can_write_eof,
        ffi::METH_NOARGS,
        c"True: closing is the end of the stream.",
    ),
    method(
        c"close",
        py_write_eof,
        ffi::METH_NOARGS,
        c"Close once what was written has left.",
    ),
    method(
        c"abort",
        py_abort,
        ffi::METH_NOARGS,
        c"Close at once; what was not sent is lost.",
    ),
    method(
        c"get_write_buffer_size",
        py_buffer_size,
        ffi::METH_NOARGS,
        c"How many bytes wait to be sent.",
    ),
    method(
        c"get_write_buffer_limits",
        py_limits,
        ffi::METH_NOARGS,
        c"The marks (low, high), in bytes.",
    ),
    method(
        c"_set_limits",
        py_set_limits,
        ffi::METH_O,
        c"set_write_buffer_limits with one tuple.",
    ),
]);

/// A table of a type's own methods and the shared ones.
const fn joined<const OWN: usize, const ALL: usize>(
    own: [ffi::PyMethodDef; OWN],
) -> [ffi::PyMethodDef; ALL] {
    // SAFETY: a table ends with a zeroed entry.
    let mut all: [ffi::PyMethodDef; ALL] = unsafe { std::mem::zeroed() };
    assert!(
        ALL == OWN + SHARED.len() + 1,
        "one place too many or too few"
    );
    let mut index = 0;
    while index < ALL - 1 {
        all[index] = if index < OWN {
            own[index]
        } else {
            SHARED[index - OWN]
        };
        index += 1;
    }
    all
}

/// Makes the types and puts them into the module.
///
/// # Errors
///
/// What importing asyncio or making a type raises.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let kind = |name, full_name, methods| Kind {
        name,
        full_name,
        doc: c"The native half of a pipe transport; not for direct use.",
        methods,
        attributes: std::ptr::null_mut(),
    };
    let kinds = [
        (
            "ReadTransport",
            kind(
                "ReadPipe",
                c"tepal._tepal.ReadPipe",
                (&raw mut READ_METHODS).cast(),
            ),
        ),
        // asyncio's is a whole Transport, whose reading half answers NotImplementedError.
        (
            "Transport",
            kind(
                "WritePipe",
                c"tepal._tepal.WritePipe",
                (&raw mut WRITE_METHODS).cast(),
            ),
        ),
    ];
    // SAFETY: the functions above borrow their receiver's state as a `Pipe`.
    unsafe { native_state::register::<Pipe>(module, &kinds) }
}
