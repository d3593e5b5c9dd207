//! The coroutines of a channel: send, receive, and the step of `async for`.

use super::{ReceiveChannel, Refusal, SendChannel, Taken};
use crate::raw::Object;
use crate::raw::coroutine::Resume;
use crate::raw::future::{FutureRef, Status};
use crate::raw::iterator::{Resumed, Step};
use crate::raw::raised::Raised;
use crate::sync::{show, woken};
use pyo3::exceptions::PyStopAsyncIteration;
use pyo3::prelude::*;
use std::ffi::c_int;

/// `send()`.
pub(crate) struct Send {
    channel: Py<SendChannel>,
    value: Option<Py<PyAny>>,
    waiter: Option<Py<PyAny>>,
}

impl Send {
    pub(super) fn new(channel: &Bound<'_, SendChannel>, value: Bound<'_, PyAny>) -> Self {
        Self {
            channel: channel.clone().unbind(),
            value: Some(value.unbind()),
            waiter: None,
        }
    }
}

impl Resume for Send {
    const NAME: &'static str = "SendChannel.send";

    fn resume<'py>(&mut self, py: Python<'py>, thrown: Option<Raised>) -> Resumed<'py> {
        let channel = self.channel.bind(py);
        let shared = channel.get().shared.bind(py);
        if let Some(waiter) = self.waiter.take() {
            // If it still stands there, it was not taken, and is not sent.
            let own = shared
                .get()
                .with(py, |state| state.leave_sending(|one| one.is(&waiter)));
            drop(own);
            woken(py, &waiter, thrown)?;
            return Ok(Step::End(py.None().into_bound(py)));
        }
        let end = channel.get().open_end(py)?;
        let value = self.value.take().unwrap_or_else(|| py.None());
        let Some(value) = shared.get().send(py, value)? else {
            return Ok(Step::End(py.None().into_bound(py)));
        };
        let future = shared.get().bound.create_future(shared.as_any())?;
        let listed = future.clone().unbind();
        shared
            .get()
            .with(py, |state| state.wait_to_send(end, listed, value));
        self.waiter = Some(future.clone().unbind());
        Ok(Step::Wait(future))
    }

    fn show(&self, see: &mut dyn FnMut(Object) -> c_int) -> c_int {
        let held = [
            Some(self.channel.as_any()),
            self.value.as_ref(),
            self.waiter.as_ref(),
        ];
        show(&held, see)
    }
}

/// `receive()`, and what `async for` awaits.
pub(crate) struct Receive {
    channel: Py<ReceiveChannel>,
    iterates: bool,
    waiter: Option<Py<PyAny>>,
}

impl Receive {
    pub(super) fn new(channel: &Bound<'_, ReceiveChannel>, iterates: bool) -> Self {
        Self {
            channel: channel.clone().unbind(),
            iterates,
            waiter: None,
        }
    }

    /// The end of the channel: of the iteration, where it is one.
    #[cold]
    fn ended(&self, py: Python<'_>) -> PyErr {
        if self.iterates {
            PyStopAsyncIteration::new_err(())
        } else {
            Refusal::Ended.error(py)
        }
    }

    /// The wait has ended.
    fn end_wait<'py>(
        &self,
        py: Python<'py>,
        waiter: &Py<PyAny>,
        thrown: Option<Raised>,
    ) -> Resumed<'py> {
        let shared = self.channel.get().shared.get();
        let listed = shared.with(py, |state| state.leave_receiving(|one| one.is(waiter)));
        drop(listed);
        let Some(future) = FutureRef::exact(waiter.bind(py)) else {
            return Err(self.ended(py).into());
        };
        let raised = match woken(py, waiter, thrown) {
            Ok(()) => return Ok(Step::End(future.result()?)),
            Err(raised) => raised,
        };
        if future.status() == Status::Returned {
            // It was handed to us, and we go: it is the next again.
            shared.give_back(py, future.result()?.unbind())?;
        }
        if self.iterates && Refusal::Ended.is(raised.get(py))? {
            return Err(self.ended(py).into());
        }
        Err(raised)
    }
}

impl Resume for Receive {
    const NAME: &'static str = "ReceiveChannel.receive";

    fn resume<'py>(&mut self, py: Python<'py>, thrown: Option<Raised>) -> Resumed<'py> {
        if let Some(waiter) = self.waiter.take() {
            return self.end_wait(py, &waiter, thrown);
        }
        let channel = self.channel.bind(py);
        let shared = channel.get().shared.bind(py);
        let end = channel.get().open_end(py)?;
        match shared.get().take(py)? {
            Taken::Value(value) => Ok(Step::End(value)),
            Taken::Ended => Err(self.ended(py).into()),
            Taken::Nothing => {
                let future = shared.get().bound.create_future(shared.as_any())?;
                let listed = future.clone().unbind();
                shared
                    .get()
                    .with(py, |state| state.wait_to_receive(end, listed));
                self.waiter = Some(future.clone().unbind());
                Ok(Step::Wait(future))
            }
        }
    }

    fn show(&self, see: &mut dyn FnMut(Object) -> c_int) -> c_int {
        show(&[Some(self.channel.as_any()), self.waiter.as_ref()], see)
    }
}
