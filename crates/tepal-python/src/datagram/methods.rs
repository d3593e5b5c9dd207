//! `DatagramTransport` as Python sees it: the type and its method table.

use super::state::{Datagrams, with};
use super::{life, read, write};
use crate::raw::loop_methods::{Arguments, fast};
use crate::raw::method_table::{descriptor, method, nothing, plain, value, with_argument};
use crate::raw::native_state::{self, Kind};
use crate::raw::{Object, enter};
use crate::stream::{check_limits, flow_limits};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyString, PyTuple};
use pyo3::{PyResult, Python, ffi};
use std::ffi::c_void;

/// `sendto(data, addr=None)`, by C's fast calling convention.
unsafe extern "C" fn py_sendto(
    object: Object,
    arguments: Arguments,
    count: ffi::Py_ssize_t,
    keywords: Object,
) -> Object {
    enter(|py| {
        // SAFETY: the method table belongs to our type, and the caller holds a reference; the others are what C
        // passes to such a function.
        let (endpoint, [data, address]) = unsafe {
            (
                Bound::ref_from_ptr(py, &object),
                sort(py, arguments, count as usize, keywords)?,
            )
        };
        let Some(data) = data else {
            return Err(PyTypeError::new_err(
                "sendto() missing 1 required positional argument: 'data'",
            ));
        };
        nothing(py, write::send_to(endpoint, data, address))
    })
}

/// Sorts the arguments of `sendto`.
///
/// # Errors
///
/// TypeError for too many, for one that is given twice, and for a keyword that means nothing.
///
/// # Safety
///
/// The pointers are what C passes to a METH_FASTCALL | METH_KEYWORDS function, and live as long as `'a`.
unsafe fn sort<'a, 'py>(
    py: Python<'py>,
    arguments: Arguments,
    count: usize,
    keywords: Object,
) -> PyResult<[Option<&'a Bound<'py, PyAny>>; 2]> {
    const NAMES: [&str; 2] = ["data", "addr"];
    if count > NAMES.len() {
        return Err(PyTypeError::new_err(format!(
            "sendto() takes from 1 to 2 positional arguments but {count} were given"
        )));
    }
    let mut sorted = [None; 2];
    // SAFETY: the caller's promise: `count` positional arguments, then those of the keywords, all borrowed.
    unsafe {
        for (place, slot) in sorted.iter_mut().enumerate().take(count) {
            *slot = Some(Bound::ref_from_ptr(py, &*arguments.add(place)));
        }
        if !keywords.is_null() {
            let names = Bound::from_borrowed_ptr(py, keywords).cast_into_unchecked::<PyTuple>();
            for (index, keyword) in names.iter_borrowed().enumerate() {
                let keyword = keyword.cast::<PyString>()?;
                let keyword = keyword.to_cow()?;
                let Some(place) = NAMES.iter().position(|name| *name == keyword) else {
                    return Err(PyTypeError::new_err(format!(
                        "sendto() got an unexpected keyword argument '{keyword}'"
                    )));
                };
                let given = Bound::ref_from_ptr(py, &*arguments.add(count + index));
                if sorted[place].replace(given).is_some() {
                    return Err(PyTypeError::new_err(format!(
                        "sendto() got multiple values for argument '{keyword}'"
                    )));
                }
            }
        }
    }
    Ok(sorted)
}

plain!(py_close, |py, endpoint| nothing(py, life::close(endpoint)));
plain!(py_abort, |py, endpoint| nothing(
    py,
    life::abort(endpoint, None)
));
plain!(py_is_closing, |py, endpoint| value(
    py,
    life::is_closing(endpoint)
));
plain!(py_pause_reading, |py, endpoint| nothing(
    py,
    read::pause(endpoint)
));
plain!(py_resume_reading, |py, endpoint| nothing(
    py,
    read::resume(endpoint)
));
plain!(py_is_reading, |py, endpoint| {
    let reading = with(endpoint, |_, state| {
        !state.flags.closing && !state.flags.paused
    });
    value(py, reading.unwrap_or(false))
});
with_argument!(py_set_protocol, |py, endpoint, protocol| {
    let old = with(endpoint, |_, state| {
        state.protocol.replace(protocol.clone().unbind())
    });
    drop(old);
    nothing(py, Ok(()))
});
plain!(py_get_protocol, |py, endpoint| {
    let protocol = with(endpoint, |py, state| {
        state
            .protocol
            .as_ref()
            .map(|protocol| protocol.clone_ref(py))
    });
    value(py, protocol.flatten())
});
plain!(py_buffer_size, |py, endpoint| {
    let size = with(endpoint, |_, state| state.queue.buffered());
    value(py, size.unwrap_or(0))
});
plain!(py_limits, |py, endpoint| {
    let limits = with(endpoint, |_, state| state.flow.limits());
    value(py, limits.unwrap_or((0, 0)))
});
with_argument!(py_set_limits, |py, endpoint, limits| {
    let (high, low) = flow_limits(limits)?;
    check_limits(with(endpoint, |_, state| state.flow.set_limits(high, low)))?;
    nothing(py, write::pause_if_full(endpoint))
});
plain!(py_facts, |py, endpoint| {
    let facts = with(endpoint, |_, state| {
        (
            state.socket.as_ref().map_or(-1, |_| state.fd),
            state.is_reading(),
            state.flags.closing,
            u32::from(state.flags.lost) + state.lost_sends,
            state.queue.buffered(),
        )
    });
    value(py, facts)
});
plain!(py_socket, |py, endpoint| {
    let socket = with(endpoint, |py, state| {
        state.socket.as_ref().map(|socket| socket.clone_ref(py))
    });
    value(py, socket.flatten())
});
plain!(py_address, |py, endpoint| {
    let address = with(endpoint, |py, state| {
        state.address.as_ref().map(|address| address.clone_ref(py))
    });
    value(py, address.flatten())
});
plain!(py_close_socket, |py, endpoint| nothing(
    py,
    life::drop_socket(endpoint)
));

unsafe extern "C" fn get_loop(object: Object, _closure: *mut c_void) -> Object {
    enter(|py| {
        // SAFETY: the descriptor belongs to our type.
        let endpoint = unsafe { Bound::ref_from_ptr(py, &object) };
        let event_loop = with(endpoint, |py, state| state.event_loop.clone_ref(py));
        value(py, event_loop)
    })
}

static mut METHODS: [ffi::PyMethodDef; 17] = [
    fast(
        c"sendto",
        py_sendto,
        c"sendto($self, data, addr=None)\n--\n\nSend a datagram without blocking, to the endpoint's own address or to another.",
    ),
    method(
        c"close",
        py_close,
        ffi::METH_NOARGS,
        c"Close once what was sent has left.",
    ),
    method(
        c"abort",
        py_abort,
        ffi::METH_NOARGS,
        c"Close at once; what has not left is lost.",
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
        c"Call datagram_received no more until resumed.",
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
        c"Switch to another protocol, from the next datagram on.",
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
        c"How many bytes wait to be sent; from Python 3.13 on, with 8 for each datagram's header.",
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
        c"_facts",
        py_facts,
        ffi::METH_NOARGS,
        c"(fileno, reading, closing, conn_lost, buffered)",
    ),
    method(
        c"_socket",
        py_socket,
        ffi::METH_NOARGS,
        c"The socket object, or None once closed.",
    ),
    method(
        c"_own_address",
        py_address,
        ffi::METH_NOARGS,
        c"The one address that datagrams go to, or None.",
    ),
    method(
        c"_close_socket",
        py_close_socket,
        ffi::METH_NOARGS,
        c"Close the socket of a transport that was dropped open.",
    ),
    // SAFETY: a table ends with a zeroed entry.
    unsafe { std::mem::zeroed() },
];

static mut DESCRIPTORS: [ffi::PyGetSetDef; 2] = [
    descriptor(c"_loop", get_loop),
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
        name: "DatagramTransport",
        full_name: c"tepal._tepal.DatagramTransport",
        doc: c"The native half of a datagram transport; not for direct use.",
        methods: (&raw mut METHODS).cast(),
        attributes: (&raw mut DESCRIPTORS).cast(),
    };
    // SAFETY: the functions above borrow their receiver's state as a `Datagrams`.
    unsafe { native_state::register::<Datagrams>(module, &[("DatagramTransport", kind)]) }
}
