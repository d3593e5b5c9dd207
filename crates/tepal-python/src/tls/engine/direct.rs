//! The engine that calls the library under Python's `SSLObject`.

use super::{Engine, Read};
use crate::raw::ssl_object;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use pyo3::{PyErr, PyResult, Python, intern};
use std::mem::MaybeUninit;
use tepal_sys::libssl::Session;

pub(crate) struct Direct {
    // In this order: the session ends before the object that keeps it alive.
    session: Session,
    ssl_object: Py<PyAny>,
}

impl Direct {
    /// Takes over the data path of an `ssl.SSLObject`; `None` where the library or the session under it cannot be
    /// reached.
    ///
    /// # Errors
    ///
    /// What looking at the object raises.
    pub(crate) fn over(ssl_object: &Bound<'_, PyAny>) -> PyResult<Option<Self>> {
        Ok(ssl_object::session(ssl_object)?.map(|session| Self {
            session,
            ssl_object: ssl_object.clone().unbind(),
        }))
    }

    /// What is wrong, in Python's words. The library's error still stands in its queue, and a session that has failed
    /// fails again, so Python finds the one and raises what it makes of it.
    /// Asked for the same thing, that is: who can no longer write (a program has said goodbye through the object) may
    /// still have something to read.
    #[cold]
    fn explain<'py>(
        &self,
        py: Python<'py>,
        ask: impl FnOnce(&Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>>,
    ) -> PyErr {
        match ask(self.ssl_object.bind(py)) {
            Err(error) => error,
            Ok(_) => PyRuntimeError::new_err("the TLS session failed and will not say why"),
        }
    }
}

impl Engine for Direct {
    fn name(&self) -> &'static str {
        "direct"
    }

    fn keep(&mut self, _py: Python<'_>, bytes: &[u8]) -> PyResult<()> {
        self.session.keep(bytes);
        Ok(())
    }

    fn pending(&mut self, _py: Python<'_>) -> PyResult<usize> {
        Ok(self.session.pending())
    }

    #[inline]
    fn read(
        &mut self,
        py: Python<'_>,
        input: &[u8],
        room: &mut [MaybeUninit<u8>],
    ) -> (usize, PyResult<Read>) {
        let (count, outcome) = self.session.read(input, room);
        let outcome = outcome
            .map_err(|_| self.explain(py, |object| object.call_method1(intern!(py, "read"), (1,))));
        (count, outcome)
    }

    #[inline]
    fn write(&mut self, py: Python<'_>, bytes: &[u8]) -> PyResult<usize> {
        let written = self.session.write(bytes);
        written.map_err(|_| {
            let again = PyBytes::new(py, &bytes[..bytes.len().min(1)]);
            self.explain(py, |object| {
                object.call_method1(intern!(py, "write"), (again,))
            })
        })
    }

    #[inline]
    fn output(&mut self, _py: Python<'_>) -> PyResult<&mut Vec<u8>> {
        Ok(self.session.output())
    }

    fn each_object(&self, visit: &mut dyn FnMut(&Py<PyAny>)) {
        visit(&self.ssl_object);
    }
}
