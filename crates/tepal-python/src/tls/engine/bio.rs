//! The engine that asks Python: `ssl.SSLObject` over two `ssl.MemoryBIO`.

use super::{Engine, Read};
use pyo3::exceptions::PyException;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyType};
use pyo3::{PyErr, PyResult, Python, intern};
use std::mem::MaybeUninit;

pub(crate) struct Bio {
    ssl_object: Py<PyAny>,
    incoming: Py<PyAny>,
    outgoing: Py<PyAny>,
    output: Vec<u8>,
}

impl Bio {
    pub(crate) fn new(ssl_object: Py<PyAny>, incoming: Py<PyAny>, outgoing: Py<PyAny>) -> Self {
        Self {
            ssl_object,
            incoming,
            outgoing,
            output: Vec::new(),
        }
    }
}

impl Engine for Bio {
    fn name(&self) -> &'static str {
        "bio"
    }

    fn keep(&mut self, py: Python<'_>, bytes: &[u8]) -> PyResult<()> {
        let bytes = PyBytes::new(py, bytes);
        let incoming = self.incoming.bind(py);
        incoming
            .call_method1(intern!(py, "write"), (bytes,))
            .map(drop)
    }

    fn pending(&mut self, py: Python<'_>) -> PyResult<usize> {
        let incoming = self.incoming.bind(py);
        incoming.getattr(intern!(py, "pending"))?.extract()
    }

    fn read(
        &mut self,
        py: Python<'_>,
        input: &[u8],
        room: &mut [MaybeUninit<u8>],
    ) -> (usize, PyResult<Read>) {
        if !input.is_empty()
            && let Err(error) = self.keep(py, input)
        {
            return (0, Err(error));
        }
        let ssl_object = self.ssl_object.bind(py);
        let mut filled = 0;
        while filled < room.len() {
            let rest = &mut room[filled..];
            let chunk = ssl_object
                .call_method1(intern!(py, "read"), (rest.len(),))
                .and_then(|chunk| Ok(chunk.cast_into::<PyBytes>()?));
            match chunk {
                Ok(chunk) if chunk.as_bytes().is_empty() => return (filled, Ok(Read::Finished)),
                Ok(chunk) => {
                    let bytes = chunk.as_bytes();
                    for (place, byte) in rest.iter_mut().zip(bytes) {
                        place.write(*byte);
                    }
                    filled += bytes.len();
                }
                Err(error) if wants_more(py, &error) => return (filled, Ok(Read::Drained)),
                Err(error) => return (filled, Err(error)),
            }
        }
        (filled, Ok(Read::Full))
    }

    fn write(&mut self, py: Python<'_>, bytes: &[u8]) -> PyResult<usize> {
        let ssl_object = self.ssl_object.bind(py);
        let data = PyBytes::new(py, bytes);
        let whole = data.as_any();
        let mut written = 0;
        while written < bytes.len() {
            let rest = if written == 0 {
                whole.clone()
            } else {
                PyBytes::new(py, &bytes[written..]).into_any()
            };
            match ssl_object.call_method1(intern!(py, "write"), (rest,)) {
                Ok(count) => written += count.extract::<usize>()?,
                Err(error) if wants_more(py, &error) => break,
                Err(error) => return Err(error),
            }
        }
        Ok(written)
    }

    fn output(&mut self, py: Python<'_>) -> PyResult<&mut Vec<u8>> {
        let outgoing = self.outgoing.bind(py);
        let bytes = outgoing.call_method0(intern!(py, "read"))?;
        self.output
            .extend_from_slice(bytes.cast::<PyBytes>()?.as_bytes());
        Ok(&mut self.output)
    }

    fn each_object(&self, visit: &mut dyn FnMut(&Py<PyAny>)) {
        visit(&self.ssl_object);
        visit(&self.incoming);
        visit(&self.outgoing);
    }
}

/// Whether an exception of the `ssl` module only says that bytes of the peer are missing (asyncio's `SSLAgainErrors`).
pub(crate) fn wants_more(py: Python<'_>, error: &PyErr) -> bool {
    static WANT_READ: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    static SYSCALL: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    if !error.is_instance_of::<PyException>(py) {
        return false;
    }
    [
        (&WANT_READ, "SSLWantReadError"),
        (&SYSCALL, "SSLSyscallError"),
    ]
    .into_iter()
    .any(|(place, name)| {
        place
            .import(py, "ssl", name)
            .is_ok_and(|kind| error.is_instance(py, kind))
    })
}
