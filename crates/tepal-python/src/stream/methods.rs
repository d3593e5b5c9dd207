//! `StreamTransport` as Python sees it: the type and its method table.

use super::state::{Socket, Stream, with};
use super::{file, life, read, write};
use crate::convert;
use crate::raw::method_table::{descriptor, method, nothing, plain, value, with_argument};
use crate::raw::native_state::{self, Kind};
use crate::raw::{Object, enter};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyTuple;
use pyo3::{PyResult, Python, ffi};
use std::ffi::c_void;
use std::os::fd::IntoRawFd;
use tepal_core::transport::{FilePart, LimitsError};
use tepal_sys::socket;

with_argument!(py_write, |py, stream, data| nothing(
    py,
    write::write(stream, data)
));
with_argument!(py_writelines, |py, stream, chunks| nothing(
    py,
    write::write_lines(stream, chunks)
));
plain!(py_write_eof, |py, stream| nothing(
    py,
    write::write_eof(stream)
));
plain!(py_can_write_eof, |py, _stream| value(py, true));
plain!(py_close, |py, stream| nothing(py, life::close(stream)));
plain!(py_abort, |py, stream| {
    life::abort(stream, None);
    nothing(py, Ok(()))
});
plain!(py_is_closing, |py, stream| value(
    py,
    life::is_closing(stream)
));
plain!(py_pause_reading, |py, stream| {
    read::pause(stream);
    nothing(py, Ok(()))
});
plain!(py_resume_reading, |py, stream| {
    read::resume(stream);
    nothing(py, Ok(()))
});
plain!(py_is_reading, |py, stream| {
    let reading = with(stream, |_, state| {
        !state.flags.closing && !state.flags.paused
    });
    value(py, reading.unwrap_or(false))
});
with_argument!(py_set_protocol, |py, stream, protocol| nothing(
    py,
    read::set_protocol(stream, protocol)
));
plain!(py_get_protocol, |py, stream| {
    let protocol = with(stream, |py, state| {
        state
            .protocol
            .as_ref()
            .map(|protocol| protocol.clone_ref(py))
    });
    value(py, protocol.flatten())
});
plain!(py_buffer_size, |py, stream| {
    // What could leave has left, so the answer is what asyncio would give.
    write::flush(py, stream)?;
    value(
        py,
        with(stream, |_, state| state.queue.buffered()).unwrap_or(0),
    )
});
plain!(py_limits, |py, stream| {
    value(
        py,
        with(stream, |_, state| state.flow.limits()).unwrap_or((0, 0)),
    )
});
with_argument!(py_set_limits, |py, stream, limits| {
    let (high, low) = flow_limits(limits)?;
    check_limits(with(stream, |_, state| state.flow.set_limits(high, low)))?;
    // What could leave has left, so that bytes which only wait for the end of the job count for nothing.
    write::flush(py, stream)?;
    nothing(py, write::pause_if_full(stream))
});
plain!(py_peername, |py, stream| {
    match with(stream, |_, state| state.peer.clone()).flatten() {
        Some(peer) => value(py, convert::address(py, &peer)?),
        None => value(py, py.None()),
    }
});
plain!(py_sockname, |py, stream| {
    let local = with(stream, |_, state| {
        if state.local.is_none() {
            state.local = tepal_sys::fd::borrow(state.socket.fd())
                .and_then(socket::local_address)
                .ok();
        }
        state.local.clone()
    });
    match local.flatten() {
        Some(local) => value(py, convert::address(py, &local)?),
        None => value(py, py.None()),
    }
});
plain!(py_socket, |py, stream| value(
    py,
    socket_object(py, stream)?
));
with_argument!(py_force_close, |py, stream, error| {
    let error = (!error.is_none()).then(|| PyErr::from_value(error.clone()));
    life::abort(stream, error);
    nothing(py, Ok(()))
});
plain!(py_facts, |py, stream| {
    let facts = with(stream, |_, state| {
        let flags = state.flags;
        (
            state.socket.fd(),
            flags.paused,
            flags.closing,
            u32::from(flags.lost) + state.lost_writes,
            flags.write_ended,
            state.queue.buffered(),
            state.flow.is_paused(),
        )
    });
    value(py, facts)
});

/// `_start_file(file, offset, count, future)`: `tepal._sendfile` calls it.
unsafe extern "C" fn py_start_file(object: Object, arguments: Object) -> Object {
    enter(|py| {
        // SAFETY: METH_VARARGS passes a tuple.
        let (stream, arguments) = unsafe {
            (
                Bound::ref_from_ptr(py, &object),
                Bound::ref_from_ptr(py, &arguments).cast_unchecked::<PyTuple>(),
            )
        };
        let (source, offset, count, done) = arguments.extract()?;
        nothing(
            py,
            file::start(stream, source, FilePart::new(offset, count), done),
        )
    })
}
plain!(py_end_file, |py, stream| value(py, file::end(stream)));

plain!(py_close_socket, |py, stream| nothing(
    py,
    life::drop_socket(stream)
));

/// The marks `(high, low)` that a program gave, each of which may be None.
///
/// # Errors
///
/// ValueError for negative ones, TypeError for what is no tuple of numbers.
pub(crate) fn flow_limits(limits: &Bound<'_, PyAny>) -> PyResult<(Option<usize>, Option<usize>)> {
    let (high, low) = limits.extract::<(Option<i128>, Option<i128>)>()?;
    let size = |mark: Option<i128>| mark.map(usize::try_from).transpose();
    match (size(high), size(low)) {
        (Ok(high), Ok(low)) => Ok((high, low)),
        _ => {
            let high = high.unwrap_or_else(|| low.map_or(0, |low| 4 * low));
            Err(wrong_limits(high, low.unwrap_or(high / 4)))
        }
    }
}

/// What became of setting them.
///
/// # Errors
///
/// ValueError in asyncio's words when the one was not above the other.
pub(crate) fn check_limits(set: Option<Result<(), LimitsError>>) -> PyResult<()> {
    match set {
        Some(Err(error)) => Err(wrong_limits(error.high as i128, error.low as i128)),
        _ => Ok(()),
    }
}

fn wrong_limits(high: i128, low: i128) -> PyErr {
    PyValueError::new_err(format!("high ({high}) must be >= low ({low}) must be >= 0"))
}

/// Whether a transport is one of ours whose methods no subclass replaces.
///
/// # Errors
///
/// What importing the class raises.
pub(crate) fn is_plain(transport: &Bound<'_, PyAny>) -> PyResult<bool> {
    Ok(transport.get_type().is(life::class(transport.py())?))
}

/// `_fatal_error(exc, message)`: asyncio's own protocols call it on their transport.
unsafe extern "C" fn py_fatal_error(object: Object, arguments: Object) -> Object {
    enter(|py| {
        // SAFETY: METH_VARARGS passes a tuple.
        let (stream, arguments) = unsafe {
            (
                Bound::ref_from_ptr(py, &object),
                Bound::ref_from_ptr(py, &arguments).cast_unchecked::<PyTuple>(),
            )
        };
        let error = PyErr::from_value(arguments.get_item(0)?);
        let message = match arguments.get_item(1) {
            Ok(message) => message.extract::<String>()?,
            Err(_) => "Fatal error on transport".to_owned(),
        };
        nothing(py, life::fail(stream, error, &message))
    })
}

/// The Python socket of a stream, made when first asked for; `None` once closed.
fn socket_object<'py>(
    py: Python<'py>,
    stream: &Bound<'py, PyAny>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    enum Found {
        Closed,
        Object(Py<PyAny>),
        Native(std::os::fd::OwnedFd),
    }
    // Whoever takes the socket may send on it himself: what was written before goes first.
    write::flush(py, stream)?;
    let found = with(stream, |py, state| match &state.socket {
        Socket::Closed => Found::Closed,
        Socket::Python(object, _) => Found::Object(object.clone_ref(py)),
        Socket::Native(_) => match std::mem::replace(&mut state.socket, Socket::Closed) {
            Socket::Native(fd) => Found::Native(fd),
            _ => Found::Closed,
        },
    });
    match found {
        None | Some(Found::Closed) => Ok(None),
        Some(Found::Object(object)) => Ok(Some(object.into_bound(py))),
        Some(Found::Native(owned)) => {
            let fd = owned.into_raw_fd();
            let made = || -> PyResult<Bound<'py, PyAny>> {
                let keywords = pyo3::types::PyDict::new(py);
                keywords.set_item("fileno", fd)?;
                let object = py
                    .import("socket")?
                    .getattr("socket")?
                    .call((), Some(&keywords))?;
                object.call_method1("setblocking", (false,))?;
                Ok(object)
            };
            match made() {
                Ok(object) => {
                    let kept = object.clone().unbind();
                    with(stream, |_, state| state.socket = Socket::Python(kept, fd));
                    Ok(Some(object))
                }
                Err(error) => {
                    // SAFETY: `into_raw_fd` gave the descriptor up just above, and no object took it.
                    let owned = unsafe { tepal_sys::fd::own(fd) };
                    with(stream, |_, state| state.socket = Socket::Native(owned));
                    Err(error)
                }
            }
        }
    }
}

unsafe extern "C" fn get_loop(object: Object, _closure: *mut c_void) -> Object {
    enter(|py| {
        // SAFETY: the descriptor belongs to our type.
        let stream = unsafe { Bound::ref_from_ptr(py, &object) };
        value(py, with(stream, |py, state| state.event_loop.clone_ref(py)))
    })
}

unsafe extern "C" fn get_server(object: Object, _closure: *mut c_void) -> Object {
    enter(|py| {
        // SAFETY: as above.
        let stream = unsafe { Bound::ref_from_ptr(py, &object) };
        let server = with(stream, |py, state| {
            state.server.as_ref().map(|server| server.clone_ref(py))
        });
        value(py, server.flatten())
    })
}

static mut METHODS: [ffi::PyMethodDef; 25] = [
    method(
        c"write",
        py_write,
        ffi::METH_O,
        c"Write bytes without blocking; what one callback writes leaves together.",
    ),
    method(
        c"writelines",
        py_writelines,
        ffi::METH_O,
        c"Write an iterable of bytes-like objects.",
    ),
    method(
        c"write_eof",
        py_write_eof,
        ffi::METH_NOARGS,
        c"Close the write end once what was written has left.",
    ),
    method(
        c"can_write_eof",
        py_can_write_eof,
        ffi::METH_NOARGS,
        c"True: a stream can be half-closed.",
    ),
    method(
        c"close",
        py_close,
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
        c"Read again.",
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
        c"The current protocol; None once closed.",
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
    method(
        c"_peername",
        py_peername,
        ffi::METH_NOARGS,
        c"The peer's address, or None.",
    ),
    method(
        c"_sockname",
        py_sockname,
        ffi::METH_NOARGS,
        c"This end's address, or None.",
    ),
    method(
        c"_socket",
        py_socket,
        ffi::METH_NOARGS,
        c"The socket object, or None once closed.",
    ),
    method(
        c"_force_close",
        py_force_close,
        ffi::METH_O,
        c"Abort with an exception for connection_lost.",
    ),
    method(
        c"_close_socket",
        py_close_socket,
        ffi::METH_NOARGS,
        c"Close the socket of a transport that was dropped open.",
    ),
    method(
        c"_start_file",
        py_start_file,
        ffi::METH_VARARGS,
        c"Send a part of a file once what was written has left; the future is told when that is done or has failed.",
    ),
    method(
        c"_end_file",
        py_end_file,
        ffi::METH_NOARGS,
        c"Send no more of the file; how many bytes of it were sent.",
    ),
    method(
        c"_fatal_error",
        py_fatal_error,
        ffi::METH_VARARGS,
        c"Report an error and abort with it.",
    ),
    method(
        c"_facts",
        py_facts,
        ffi::METH_NOARGS,
        c"(fileno, paused, closing, conn_lost, eof, buffered, protocol_paused)",
    ),
    // SAFETY: a table ends with a zeroed entry.
    unsafe { std::mem::zeroed() },
];

static mut DESCRIPTORS: [ffi::PyGetSetDef; 3] = [
    descriptor(c"_loop", get_loop),
    descriptor(c"_server", get_server),
    // SAFETY: as above.
    unsafe { std::mem::zeroed() },
];

/// Makes the type and puts it into the module.
///
/// # Errors
///
/// What importing asyncio or making a type raises.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let kind = Kind {
        name: "StreamTransport",
        full_name: c"tepal._tepal.StreamTransport",
        doc: c"The native half of a stream transport; not for direct use.",
        methods: (&raw mut METHODS).cast(),
        attributes: (&raw mut DESCRIPTORS).cast(),
    };
    // SAFETY: the functions above borrow their receiver's state as a `Stream`.
    unsafe { native_state::register::<Stream>(module, &[("Transport", kind)]) }
}
