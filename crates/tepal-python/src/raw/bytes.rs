//! `bytes` objects that are filled in place, where a copy would cost more than the rest of making one.

use super::{Object, fetch};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use pyo3::{PyResult, Python, ffi};
use std::ffi::c_int;
use std::mem::MaybeUninit;

unsafe extern "C" {
    /// Documented in the C API and missing in PyO3: cuts an object to which there is one reference.
    fn _PyBytes_Resize(object: *mut Object, size: ffi::Py_ssize_t) -> c_int;
}

/// A `bytes` object that nobody has seen yet, longer than what it will hold.
pub(crate) struct Unfinished<'py> {
    object: Bound<'py, PyAny>,
    capacity: usize,
}

impl<'py> Unfinished<'py> {
    /// Room for `capacity` bytes, uninitialised.
    ///
    /// # Errors
    ///
    /// MemoryError.
    pub(crate) fn new(py: Python<'py>, capacity: usize) -> PyResult<Self> {
        let size = ffi::Py_ssize_t::try_from(capacity)?;
        // SAFETY: rule 1; without a source the object's bytes are left as they are.
        let object = unsafe {
            let made = ffi::PyBytes_FromStringAndSize(std::ptr::null(), size);
            super::call::owned(py, made)?
        };
        Ok(Self { object, capacity })
    }

    /// The room.
    pub(crate) fn room(&mut self) -> &mut [MaybeUninit<u8>] {
        // SAFETY: the object is ours alone (`new` made it, `finish` gives it away), and has that many bytes.
        unsafe {
            let begin = ffi::PyBytes_AsString(self.object.as_ptr());
            std::slice::from_raw_parts_mut(begin.cast::<MaybeUninit<u8>>(), self.capacity)
        }
    }

    /// The object, cut to its first `count` bytes, which the caller has filled.
    ///
    /// # Errors
    ///
    /// MemoryError.
    pub(crate) fn finish(self, count: usize) -> PyResult<Bound<'py, PyBytes>> {
        let py = self.object.py();
        let size = ffi::Py_ssize_t::try_from(count.min(self.capacity))?;
        let mut object: Object = self.object.into_ptr();
        // SAFETY: rule 1; the only reference, as the function demands. It gives that reference up when it fails.
        unsafe {
            if _PyBytes_Resize(&raw mut object, size) != 0 {
                return Err(fetch(py));
            }
            Ok(Bound::from_owned_ptr(py, object).cast_into_unchecked())
        }
    }
}
