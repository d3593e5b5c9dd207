//! What a TLS transport knows.

use super::engine::Engine;
use super::lower::Lower;
use crate::event_loop::Loop;
use crate::raw::Object;
use crate::raw::native_state::{self, NativeState};
use crate::stream::Chunk;
use pyo3::Python;
use pyo3::prelude::*;
use pyo3::types::PyWeakrefReference;
use std::ffi::c_int;
use std::sync::atomic::AtomicUsize;
use tepal_core::tls::Session;
use tepal_core::transport::{FlowControl, WriteQueue};

/// High water of what waits to be encrypted, in bytes, unless set (asyncio's `FLOW_CONTROL_HIGH_WATER_SSL_WRITE`).
pub(super) const WRITE_HIGH: usize = 512 * 1024;
/// High water of what nobody reads, in bytes, unless set (asyncio's `FLOW_CONTROL_HIGH_WATER_SSL_READ`).
pub(super) const READ_HIGH: usize = 256 * 1024;

/// The state of a TLS transport, from `open` to the collector.
pub(crate) struct Tls {
    pub(super) event_loop: Py<Loop>,
    pub(super) session: Session,
    /// `None` while it works (what it calls may call us) and once the connection is lost.
    pub(super) engine: Option<Box<dyn Engine>>,
    /// An `ssl.SSLObject`: shakes hands, says goodbye, answers questions; `None` when nobody will ask any more
    /// (`life::close`).
    pub(super) ssl_object: Option<Py<PyAny>>,
    /// `None` before `connection_made` and after `connection_lost` of the layer.
    pub(super) lower: Option<Lower>,
    /// The layer, as Python sees it.
    pub(super) layer: Option<Py<PyAny>>,
    /// The reader behind the program's protocol, if it takes plain text without a call into Python.
    pub(super) reader: Option<Py<PyWeakrefReference>>,
    /// The program's protocol; `None` after `connection_lost`.
    pub(super) protocol: Option<Py<PyAny>>,
    /// Told when the handshake is done.
    pub(super) waiter: Option<Py<PyAny>>,
    /// The handshake's or the goodbye's time limit.
    pub(super) timer: Option<Py<PyAny>>,
    /// In seconds.
    pub(super) handshake_timeout: f64,
    /// In seconds.
    pub(super) shutdown_timeout: f64,
    /// Written and not yet encrypted.
    pub(super) queue: WriteQueue<Chunk>,
    pub(super) flow: FlowControl,
    /// Marks of what was received and not read, `pause_reading` of the lower transport between them.
    pub(super) read_flow: FlowControl,
    /// Writes after the end; above a threshold each is logged.
    pub(super) lost_writes: u32,
    pub(super) flags: Flags,
}

/// Yes-or-no facts of a TLS transport.
#[derive(Clone, Copy, Default)]
pub(super) struct Flags {
    /// The protocol is a `BufferedProtocol`.
    pub(super) buffered_protocol: bool,
    /// `pause_reading` was called.
    pub(super) paused: bool,
    /// The lower transport has enough to send for now.
    pub(super) lower_paused: bool,
    /// In the loop's list of transports to flush.
    pub(super) dirty: bool,
    /// `close` or `abort` was called, or the connection is lost.
    pub(super) closed: bool,
    /// `close` was called on a transport that was closed already.
    pub(super) forgotten: bool,
}

static OFFSET: AtomicUsize = AtomicUsize::new(0);

impl NativeState for Tls {
    const OFFSET: &'static AtomicUsize = &OFFSET;

    fn show(&self, see: &mut dyn FnMut(Object) -> c_int) -> c_int {
        // The queue holds `bytes`, which hold nothing.
        let mut answer = 0;
        if let Some(engine) = &self.engine {
            engine.each_object(&mut |object| {
                if answer == 0 {
                    answer = see(object.as_ptr());
                }
            });
        }
        if answer != 0 {
            return answer;
        }
        let always = [self.event_loop.as_any()];
        let optional = [
            self.ssl_object.as_ref(),
            self.protocol.as_ref(),
            self.reader.as_ref().map(Py::as_any),
            self.layer.as_ref(),
            self.waiter.as_ref(),
            self.timer.as_ref(),
            self.lower.as_ref().map(Lower::object),
        ];
        native_state::show_all(
            always.into_iter().chain(optional.into_iter().flatten()),
            see,
        )
    }
}

/// Borrows the state of a transport; `None` when it was never opened or was cleared by the collector.
///
/// Callers hold an object whose type was checked: by the method table, by `open`, or by a layer.
#[inline]
pub(super) fn with<R>(
    tls: &Bound<'_, PyAny>,
    act: impl FnOnce(Python<'_>, &mut Tls) -> R,
) -> Option<R> {
    // SAFETY: see above.
    unsafe { native_state::with(tls, act) }
}

/// Lets the engine work, outside the borrow: it may run Python code, which may call us. `None` when there is none, or it
/// works already.
#[inline]
pub(super) fn with_engine<R>(
    tls: &Bound<'_, PyAny>,
    act: impl FnOnce(&mut dyn Engine) -> R,
) -> Option<R> {
    let mut engine = with(tls, |_, state| state.engine.take()).flatten()?;
    let result = act(&mut *engine);
    let left = with(tls, |_, state| {
        if state.lower.is_none() {
            return Some(engine); // The connection was lost meanwhile, and the engine with it.
        }
        state.engine = Some(engine);
        None
    });
    drop(left);
    Some(result)
}
