//! `TlsTransport` as Python sees it: the type and its method table.

use super::layer::Layer;
use super::state::{Tls, with, with_engine};
use super::{life, read, write};
use crate::raw::method_table::{descriptor, method, nothing, plain, value, with_argument};
use crate::raw::native_state::{self, Kind};
use crate::raw::{Object, enter};
use crate::stream::{Chunk, flow_limits};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use pyo3::{PyErr, PyResult, ffi};
use std::ffi::c_void;

with_argument!(py_write, |py, tls, data| nothing(
    py,
    write::write(tls, data)
));
with_argument!(py_writelines, |py, tls, chunks| nothing(
    py,
    write::write_lines(tls, chunks)
));
plain!(py_can_write_eof, |py, _tls| value(py, false));
plain!(py_close, |py, tls| nothing(
    py,
    life::close_for_program(tls)
));
plain!(py_abort, |py, tls| nothing(py, life::abort(tls, None)));
plain!(py_is_closing, |py, tls| value(
    py,
    // From the peer's end on nothing can be written, though nobody has closed anything yet
    // (`test_sendfile_to_a_connection_that_ends`).
    with(tls, |_, state| state.flags.closed
        || state.session.is_closing())
    .unwrap_or(true)
));
plain!(py_pause_reading, |py, tls| {
    read::pause(tls);
    nothing(py, Ok(()))
});
plain!(py_resume_reading, |py, tls| nothing(py, read::resume(tls)));
plain!(py_is_reading, |py, tls| value(
    py,
    with(tls, |_, state| !state.flags.paused).unwrap_or(false)
));
with_argument!(py_set_protocol, |py, tls, protocol| nothing(
    py,
    read::set_protocol(tls, protocol)
));
plain!(py_get_protocol, |py, tls| {
    let protocol = with(tls, |py, state| {
        let protocol = state.protocol.as_ref();
        protocol.map(|protocol| protocol.clone_ref(py))
    });
    value(py, protocol.flatten())
});
plain!(py_write_buffer_size, |py, tls| {
    // What could leave has left, so the answer is what asyncio would give.
    write::flush(py, tls)?;
    value(
        py,
        with(tls, |_, state| state.queue.buffered()).unwrap_or(0),
    )
});
plain!(py_write_limits, |py, tls| value(
    py,
    with(tls, |_, state| state.flow.limits()).unwrap_or((0, 0))
));
with_argument!(py_set_write_limits, |py, tls, limits| {
    let (high, low) = flow_limits(limits)?;
    let set = with(tls, |_, state| state.flow.set_limits(high, low));
    crate::stream::check_limits(set)?;
    write::flush(py, tls)?;
    nothing(py, write::control_writing(tls))
});
plain!(py_read_buffer_size, |py, tls| {
    let pending = with_engine(tls, |engine| engine.pending(py));
    value(py, pending.unwrap_or(Ok(0))?)
});
plain!(py_read_limits, |py, tls| value(
    py,
    with(tls, |_, state| state.read_flow.limits()).unwrap_or((0, 0))
));
with_argument!(py_set_read_limits, |py, tls, limits| {
    let (high, low) = flow_limits(limits)?;
    let set = with(tls, |_, state| state.read_flow.set_limits(high, low));
    crate::stream::check_limits(set)?;
    nothing(py, read::control_reading(tls))
});
with_argument!(py_force_close, |py, tls, error| {
    let error = (!error.is_none()).then(|| PyErr::from_value(error.clone()));
    nothing(py, life::abort(tls, error))
});
plain!(py_handshake_timed_out, |py, tls| nothing(
    py,
    life::handshake_timed_out(tls)
));
plain!(py_shutdown_timed_out, |py, tls| nothing(
    py,
    life::shutdown_timed_out(tls)
));
plain!(py_read_on, |py, tls| nothing(py, life::read_on(tls)));
plain!(py_engine_name, |py, tls| value(
    py,
    with(tls, |_, state| state
        .engine
        .as_ref()
        .map(|engine| engine.name()))
    .flatten()
));
plain!(py_is_shaken, |py, tls| value(
    py,
    with(tls, |_, state| state.session.phase()
        > tepal_core::tls::Phase::Handshake)
    .unwrap_or(false)
));
plain!(py_protocol_paused, |py, tls| value(
    py,
    with(tls, |_, state| state.flow.is_paused()).unwrap_or(false)
));
// A reader that has paused may still read what came before the peer's end, and until it has, nothing is closing; but what is
// written goes nowhere.
plain!(py_takes_writes, |py, tls| value(
    py,
    with(tls, |_, state| !state.flags.closed
        && state.session.takes_writes())
    .unwrap_or(false)
));
with_argument!(py_append_backlog, |py, tls, data| {
    let bytes = data.cast::<PyBytes>()?.clone();
    nothing(py, write::push(tls, Chunk::from(bytes)))
});

unsafe extern "C" fn get_loop(object: Object, _closure: *mut c_void) -> Object {
    enter(|py| {
        // SAFETY: the descriptor belongs to our type.
        let tls = unsafe { Bound::ref_from_ptr(py, &object) };
        value(py, with(tls, |py, state| state.event_loop.clone_ref(py)))
    })
}

unsafe extern "C" fn get_layer(object: Object, _closure: *mut c_void) -> Object {
    enter(|py| {
        // SAFETY: as above.
        let tls = unsafe { Bound::ref_from_ptr(py, &object) };
        let layer = with(tls, |py, state| {
            let layer = state.layer.as_ref();
            layer.map(|layer| layer.clone_ref(py))
        });
        value(py, layer.flatten())
    })
}

unsafe extern "C" fn get_lower(object: Object, _closure: *mut c_void) -> Object {
    enter(|py| {
        // SAFETY: as above.
        let tls = unsafe { Bound::ref_from_ptr(py, &object) };
        let lower = with(tls, |py, state| {
            let lower = state.lower.as_ref();
            lower.map(|lower| lower.object().clone_ref(py))
        });
        value(py, lower.flatten())
    })
}

unsafe extern "C" fn get_ssl_object(object: Object, _closure: *mut c_void) -> Object {
    enter(|py| {
        // SAFETY: as above.
        let tls = unsafe { Bound::ref_from_ptr(py, &object) };
        let ssl_object = with(tls, |py, state| {
            let ssl_object = state.ssl_object.as_ref();
            ssl_object.map(|ssl_object| ssl_object.clone_ref(py))
        });
        value(py, ssl_object.flatten())
    })
}

static mut METHODS: [ffi::PyMethodDef; 27] = [
    method(
        c"write",
        py_write,
        ffi::METH_O,
        c"Write bytes without blocking; what one callback writes is encrypted together.",
    ),
    method(
        c"writelines",
        py_writelines,
        ffi::METH_O,
        c"Write an iterable of bytes-like objects.",
    ),
    method(
        c"can_write_eof",
        py_can_write_eof,
        ffi::METH_NOARGS,
        c"False: TLS as Python offers it cannot be half-closed.",
    ),
    method(
        c"close",
        py_close,
        ffi::METH_NOARGS,
        c"Close once what was written has left and the peers have said goodbye.",
    ),
    method(
        c"abort",
        py_abort,
        ffi::METH_NOARGS,
        c"Close at once and without a goodbye; what was not sent is lost.",
    ),
    method(
        c"is_closing",
        py_is_closing,
        ffi::METH_NOARGS,
        c"Whether the transport is closing or closed.",
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
        c"Read again, from a coming turn on.",
    ),
    method(
        c"is_reading",
        py_is_reading,
        ffi::METH_NOARGS,
        c"Whether the transport is reading.",
    ),
    method(
        c"set_protocol",
        py_set_protocol,
        ffi::METH_O,
        c"Switch to another protocol, from the next read on.",
    ),
    method(
        c"get_protocol",
        py_get_protocol,
        ffi::METH_NOARGS,
        c"The current protocol; None once the connection is lost.",
    ),
    method(
        c"get_write_buffer_size",
        py_write_buffer_size,
        ffi::METH_NOARGS,
        c"How many bytes wait to be encrypted.",
    ),
    method(
        c"get_write_buffer_limits",
        py_write_limits,
        ffi::METH_NOARGS,
        c"The marks (low, high), in bytes.",
    ),
    method(
        c"_set_write_limits",
        py_set_write_limits,
        ffi::METH_O,
        c"set_write_buffer_limits with one tuple.",
    ),
    method(
        c"get_read_buffer_size",
        py_read_buffer_size,
        ffi::METH_NOARGS,
        c"How many received bytes nobody has read.",
    ),
    method(
        c"get_read_buffer_limits",
        py_read_limits,
        ffi::METH_NOARGS,
        c"The marks (low, high), in bytes.",
    ),
    method(
        c"_set_read_limits",
        py_set_read_limits,
        ffi::METH_O,
        c"set_read_buffer_limits with one tuple.",
    ),
    method(
        c"_force_close",
        py_force_close,
        ffi::METH_O,
        c"Abort with an exception for connection_lost.",
    ),
    method(
        c"_handshake_timed_out",
        py_handshake_timed_out,
        ffi::METH_NOARGS,
        c"The handshake's timer calls this.",
    ),
    method(
        c"_shutdown_timed_out",
        py_shutdown_timed_out,
        ffi::METH_NOARGS,
        c"The goodbye's timer calls this.",
    ),
    method(
        c"_read_on",
        py_read_on,
        ffi::METH_NOARGS,
        c"Deliver what was kept while reading was paused.",
    ),
    method(
        c"_engine_name",
        py_engine_name,
        ffi::METH_NOARGS,
        c"'direct' or 'bio'; None once the connection is lost.",
    ),
    method(
        c"_is_shaken",
        py_is_shaken,
        ffi::METH_NOARGS,
        c"Whether the handshake is over.",
    ),
    method(
        c"_is_protocol_paused",
        py_protocol_paused,
        ffi::METH_NOARGS,
        c"Whether pause_writing was called last.",
    ),
    method(
        c"_takes_writes",
        py_takes_writes,
        ffi::METH_NOARGS,
        c"Whether what is written still has a way to go.",
    ),
    method(
        c"_test__append_write_backlog",
        py_append_backlog,
        ffi::METH_O,
        c"Queue bytes and do not send them yet; asyncio's tests of its TLS transport ask for it.",
    ),
    // SAFETY: a table ends with a zeroed entry.
    unsafe { std::mem::zeroed() },
];

static mut DESCRIPTORS: [ffi::PyGetSetDef; 5] = [
    descriptor(c"_loop", get_loop),
    descriptor(c"_ssl_protocol", get_layer),
    descriptor(c"_lower", get_lower),
    descriptor(c"_ssl_object", get_ssl_object),
    // SAFETY: as above.
    unsafe { std::mem::zeroed() },
];

/// Makes the types and puts them into the module.
///
/// # Errors
///
/// What importing asyncio or making a type raises.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Layer>()?;
    let kind = Kind {
        name: "TlsTransport",
        full_name: c"tepal._tepal.TlsTransport",
        doc: c"The native half of a TLS transport; not for direct use.",
        methods: (&raw mut METHODS).cast(),
        attributes: (&raw mut DESCRIPTORS).cast(),
    };
    // SAFETY: the functions above borrow their receiver's state as a `Tls`.
    unsafe { native_state::register::<Tls>(module, &[("Transport", kind)]) }
}
