//! An exception on its way, in one word.
//!
//! A `PyErr` is seven words, and a `PyResult` is built, copied and looked at in memory at each level of a call. In what a task's step
//! goes through that was a tenth of the time (benches: sleep0, 2026-11); a result with this goes through registers.

use pyo3::prelude::*;

pub(crate) struct Raised(Box<PyErr>);

impl Raised {
    /// The exception itself.
    pub(crate) fn get<'py>(&self, py: Python<'py>) -> &Bound<'py, PyAny> {
        self.0.value(py).as_any()
    }
}

impl From<PyErr> for Raised {
    #[cold]
    fn from(error: PyErr) -> Self {
        Self(Box::new(error))
    }
}

impl From<Raised> for PyErr {
    #[cold]
    fn from(raised: Raised) -> Self {
        *raised.0
    }
}
