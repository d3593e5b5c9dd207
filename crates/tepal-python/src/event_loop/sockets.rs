//! The attempts behind `sock_*`: one system call each, `None` when it would block.
//!
//! The coroutines in `tepal._sockets` try, wait for readiness and try again. The bytes are taken in the task's own
//! step, so a cancelled operation never loses any.

use super::Loop;
use crate::errors;
use pyo3::buffer::PyUntypedBuffer;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use std::cell::RefCell;
use std::mem::MaybeUninit;
use std::os::fd::RawFd;
use tepal_sys::buffer::ReadBuffer;
use tepal_sys::socket;

/// How much one call receives at most, whatever was asked for.
const MOST: usize = 256 * 1024;

thread_local! {
    /// Room for reads, so that a `bytes` object of the exact size is made and no larger one is shrunk.
    static ROOM: RefCell<ReadBuffer> = RefCell::new(ReadBuffer::new(MOST));
}

#[pymethods]
impl Loop {
    /// Receives up to `nbytes` bytes.
    #[staticmethod]
    fn _receive<'py>(
        py: Python<'py>,
        fd: RawFd,
        nbytes: isize,
    ) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let size = usize::try_from(nbytes)
            .map_err(|_| PyValueError::new_err("negative buffersize in recv"))?;
        let fd = tepal_sys::fd::borrow(fd).map_err(|error| errors::from_io(py, &error))?;
        let received = ROOM.with_borrow_mut(|room| {
            let room = &mut room[..size.min(MOST)];
            let count = socket::receive(fd, room)?;
            Ok(count.map(|count| PyBytes::new(py, initialized(&room[..count]))))
        });
        received.map_err(|error| errors::from_io(py, &error))
    }

    /// Receives into a writable buffer; the number of bytes.
    #[staticmethod]
    fn _receive_into(
        py: Python<'_>,
        fd: RawFd,
        buffer: &Bound<'_, PyAny>,
    ) -> PyResult<Option<usize>> {
        let view = PyUntypedBuffer::get(buffer)?;
        let fd = tepal_sys::fd::borrow(fd).map_err(|error| errors::from_io(py, &error))?;
        receive_into(py, fd, &view)
    }

    /// Sends `data` from `offset` on; the number of bytes taken.
    #[staticmethod]
    fn _send(
        py: Python<'_>,
        fd: RawFd,
        data: &Bound<'_, PyAny>,
        offset: usize,
    ) -> PyResult<Option<usize>> {
        let fd = tepal_sys::fd::borrow(fd).map_err(|error| errors::from_io(py, &error))?;
        let send = |bytes: &[u8]| {
            let rest = bytes.get(offset..).unwrap_or_default();
            socket::send(fd, rest).map_err(|error| errors::from_io(py, &error))
        };
        if let Ok(bytes) = data.cast::<PyBytes>() {
            return send(bytes.as_bytes());
        }
        let view = PyUntypedBuffer::get(data)?;
        if !view.is_c_contiguous() {
            return Err(PyTypeError::new_err(
                "the data must be contiguous in memory",
            ));
        }
        // SAFETY: the view keeps the buffer where it is; we are attached and run no Python code while we read it.
        send(unsafe { std::slice::from_raw_parts(view.buf_ptr().cast(), view.len_bytes()) })
    }
}

/// The bytes that a read has written.
pub(crate) fn initialized(room: &[MaybeUninit<u8>]) -> &[u8] {
    // SAFETY: callers pass the part that the kernel filled, and `MaybeUninit<u8>` has the layout of `u8`.
    unsafe { &*(std::ptr::from_ref(room) as *const [u8]) }
}

/// Receives straight into a Python buffer.
///
/// # Errors
///
/// TypeError for one that is read-only or scattered, OSError from the kernel.
pub(crate) fn receive_into(
    py: Python<'_>,
    fd: std::os::fd::BorrowedFd<'_>,
    view: &PyUntypedBuffer,
) -> PyResult<Option<usize>> {
    if view.readonly() || !view.is_c_contiguous() {
        return Err(PyTypeError::new_err(
            "a writable buffer that is contiguous in memory is required",
        ));
    }
    // SAFETY: the view keeps the memory alive and in place, it is writable, and we are attached, so that no Python
    // code looks at it meanwhile (without a GIL, whoever writes to a buffer that is being received into races with
    // the kernel, as everywhere).
    let room = unsafe {
        std::slice::from_raw_parts_mut(view.buf_ptr().cast::<MaybeUninit<u8>>(), view.len_bytes())
    };
    socket::receive(fd, room).map_err(|error| errors::from_io(py, &error))
}
