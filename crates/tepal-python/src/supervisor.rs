//! What a supervisor asks the core: whom to restart, and when to give up.

use crate::owned::Owned;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use tepal_core::supervisor::{Backoff, Decision, Restart, Restarts as Core, Strategy};

/// A supervisor's book of restarts; not for direct use.
#[pyclass(frozen, module = "tepal._tepal")]
pub(crate) struct Restarts {
    core: Owned<Core>,
}

#[pymethods]
impl Restarts {
    #[new]
    fn new(
        strategy: &str,
        limit: usize,
        within: f64,
        first: f64,
        factor: f64,
        most: f64,
    ) -> PyResult<Self> {
        let strategy = match strategy {
            "one_for_one" => Strategy::OneForOne,
            "one_for_all" => Strategy::OneForAll,
            "rest_for_one" => Strategy::RestForOne,
            other => {
                return Err(unknown(
                    "strategy",
                    other,
                    "one_for_one, one_for_all, rest_for_one",
                ));
            }
        };
        let backoff = Backoff {
            first,
            factor,
            most,
        };
        let core = Core::new(strategy, limit, within, backoff);
        Ok(Self {
            core: Owned::new(core),
        })
    }

    /// A child begins; its number.
    fn add(&self, py: Python<'_>, restart: &str) -> PyResult<usize> {
        let restart = match restart {
            "permanent" => Restart::Permanent,
            "transient" => Restart::Transient,
            "temporary" => Restart::Temporary,
            other => return Err(unknown("restart", other, "permanent, transient, temporary")),
        };
        Ok(self.core.with(py, |core| core.add(restart)))
    }

    /// A child has ended, because somebody asked for it.
    fn remove(&self, py: Python<'_>, child: usize) {
        self.core.with(py, |core| core.remove(child));
    }

    /// A child has ended, and nobody asked for it: None for nothing to do, whom to stop and whom to begin after how many seconds, or
    /// False to give up.
    fn handle_end<'py>(
        &self,
        py: Python<'py>,
        child: usize,
        failed: bool,
        now: f64,
    ) -> PyResult<Bound<'py, PyAny>> {
        match self
            .core
            .with(py, |core| core.handle_end(child, failed, now))
        {
            Decision::Leave => Ok(py.None().into_bound(py)),
            Decision::GiveUp => Ok(false.into_pyobject(py)?.to_owned().into_any()),
            Decision::Restart { stop, begin, after } => {
                Ok((stop, begin, after).into_pyobject(py)?.into_any())
            }
        }
    }
}

#[cold]
fn unknown(what: &str, given: &str, known: &str) -> PyErr {
    PyValueError::new_err(format!("{what} must be one of {known}, not '{given}'"))
}
