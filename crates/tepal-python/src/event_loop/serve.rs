//! Servers: taking connections at a listening socket.

use super::run::Driver;
use super::watch::Source;
use super::{Job, Loop};
use crate::errors;
use crate::raw::context;
use crate::stream;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::{PyResult, Python, ffi, intern};
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};
use tepal_sys::reactor::{Interest, Token, Trigger};
use tepal_sys::socket::{self, AcceptFailure, Address};

/// Out of descriptors or memory: accepting again at once would spin, so wait so many seconds (asyncio's figure).
const BACK_OFF: f64 = 1.0;

/// A listening socket and what to make of its connections.
pub(crate) struct Listener {
    fd: RawFd,
    /// Keeps the descriptor open.
    sock: Py<PyAny>,
    factory: Py<PyAny>,
    server: Option<Py<PyAny>>,
    /// Each connection's context is a copy of this one, so nothing leaks from one to the next.
    context: Py<PyAny>,
    /// At most so many connections are taken in one job.
    backlog: usize,
    /// The context and the time limits of TLS, as `_start_serving` was given them.
    tls: Option<[Py<PyAny>; 3]>,
}

impl Listener {
    pub(super) fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.sock)?;
        visit.call(&self.factory)?;
        visit.call(&self.server)?;
        for object in self.tls.iter().flatten() {
            visit.call(object)?;
        }
        visit.call(&self.context)
    }

    /// The socket as a user may see it.
    fn shown<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let class = py.import("asyncio.trsock")?.getattr("TransportSocket")?;
        class.call1((&self.sock,))
    }

    fn clone_ref(&self, py: Python<'_>) -> Self {
        Self {
            fd: self.fd,
            sock: self.sock.clone_ref(py),
            factory: self.factory.clone_ref(py),
            server: self.server.as_ref().map(|server| server.clone_ref(py)),
            context: self.context.clone_ref(py),
            backlog: self.backlog,
            tls: self
                .tls
                .as_ref()
                .map(|parts| parts.each_ref().map(|part| part.clone_ref(py))),
        }
    }

    /// What stands between a connection and the protocol made for it: nothing, or the layer of TLS.
    fn layered<'py>(
        &self,
        event_loop: &Bound<'py, Loop>,
        protocol: Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = event_loop.py();
        match &self.tls {
            None => Ok(protocol),
            Some([context, handshake, shutdown]) => event_loop.as_any().call_method1(
                intern!(py, "_serve_tls"),
                (protocol, context, handshake, shutdown),
            ),
        }
    }
}

impl Loop {
    /// Takes the connections that wait at a listening socket.
    pub(super) fn accept(&self, driver: &mut Driver<'_, '_>, token: Token) -> PyResult<()> {
        let py = driver.py;
        let listener = self.with(py, |state| match state.source(token) {
            Some(Source::Listener(listener)) => Some(listener.clone_ref(py)),
            _ => None,
        });
        let Some(listener) = listener else {
            return Ok(());
        };
        let listening =
            tepal_sys::fd::borrow(listener.fd).map_err(|error| errors::from_io(py, &error))?;
        for _ in 0..listener.backlog.max(1) {
            match socket::accept(listening) {
                Ok(Some((connection, peer))) => self.begin(driver, &listener, connection, peer)?,
                Ok(None) => break,
                Err(error) => match AcceptFailure::of(&error) {
                    // The client is gone already: take the next.
                    AcceptFailure::Gone => {}
                    AcceptFailure::Exhausted => {
                        return self.back_off(
                            driver,
                            &listener,
                            token,
                            &errors::from_io(py, &error),
                        );
                    }
                    AcceptFailure::Broken => {
                        return Self::broken(driver, &listener, &errors::from_io(py, &error));
                    }
                },
            }
            // The server may have been closed by a protocol factory.
            if !self.with(py, |state| state.source(token).is_some()) {
                break;
            }
        }
        Ok(())
    }

    /// Makes a transport and a protocol for a new connection.
    fn begin(
        &self,
        driver: &mut Driver<'_, '_>,
        listener: &Listener,
        connection: OwnedFd,
        peer: Address,
    ) -> PyResult<()> {
        let py = driver.py;
        // SAFETY: `Listener::context` is a context; the copy is strong.
        let context = unsafe {
            let copy = ffi::PyContext_Copy(listener.context.as_ptr());
            Bound::from_owned_ptr_or_err(py, copy)?
        };
        // SAFETY: just made.
        unsafe { driver.entered.enter(py, context.as_ptr())? };
        let made = listener.factory.bind(py).call0();
        let layered = made.and_then(|protocol| listener.layered(driver.event_loop, protocol));
        let protocol = match layered {
            Ok(protocol) => protocol,
            Err(error) => {
                driver.entered.leave(py)?;
                return self.refuse(driver, error);
            }
        };
        let parts = stream::Parts {
            socket: stream::Socket::Native(connection),
            protocol: &protocol,
            context: &context,
            server: listener.server.as_ref().map(|server| server.bind(py)),
            peer: Some(peer),
            waiter: None,
        };
        match stream::open(driver.event_loop, parts) {
            Ok(transport) => stream::begin(driver, &transport),
            Err(error) => {
                driver.entered.leave(py)?;
                self.refuse(driver, error)
            }
        }
    }

    /// A connection could not be made into a transport: the others go on.
    #[cold]
    fn refuse(&self, driver: &Driver<'_, '_>, error: PyErr) -> PyResult<()> {
        if errors::ends_the_loop(driver.py, &error) {
            return Err(error);
        }
        // As asyncio has it: what a stranger's connection meets is told in debug mode only.
        if !self.debug() {
            return Ok(());
        }
        let message = "Error on transport creation for incoming connection";
        errors::report(driver.event_loop, message, &error, &[])
    }

    /// The listening socket itself is broken. Its owner is told, again and again as in asyncio, and may close it; the
    /// rest of the program goes on (`test_a_listening_socket_that_breaks_is_reported_and_the_loop_lives`).
    #[cold]
    fn broken(driver: &mut Driver<'_, '_>, listener: &Listener, error: &PyErr) -> PyResult<()> {
        driver.entered.leave(driver.py)?;
        let message = "Exception in callback socket.accept()";
        let shown = listener.shown(driver.py)?;
        errors::report(driver.event_loop, message, error, &[("socket", &shown)])
    }

    /// Stops accepting for a while and says so.
    #[cold]
    fn back_off(
        &self,
        driver: &Driver<'_, '_>,
        listener: &Listener,
        token: Token,
        error: &PyErr,
    ) -> PyResult<()> {
        let py = driver.py;
        let source = self.with(py, |state| state.uninstall(token));
        drop(source);
        self.unregister(py, listener.fd)?;
        let event_loop = driver.event_loop.as_any();
        let resume = event_loop.getattr("_resume_serving")?;
        let arguments = (
            BACK_OFF,
            resume,
            &listener.factory,
            &listener.sock,
            &listener.server,
            listener.backlog,
            listener.tls.as_ref(),
        );
        // In the server's own context, which `_start_serving` will copy: not in that of the connection before.
        let keywords = pyo3::types::PyDict::new(py);
        keywords.set_item("context", &listener.context)?;
        event_loop.call_method("call_later", arguments, Some(&keywords))?;
        let shown = listener.shown(py)?;
        let message = "socket.accept() out of system resource";
        errors::report(driver.event_loop, message, error, &[("socket", &shown)])
    }
}

#[pymethods]
impl Loop {
    /// Accept connections at a listening socket; `Server` calls this, as asyncio's does.
    #[pyo3(signature = (protocol_factory, sock, sslcontext=None, server=None, backlog=100,
                        ssl_handshake_timeout=None, ssl_shutdown_timeout=None, context=None))]
    #[allow(
        clippy::too_many_arguments,
        reason = "asyncio's own signature, which its Server calls"
    )]
    fn _start_serving(
        slf: &Bound<'_, Self>,
        protocol_factory: Bound<'_, PyAny>,
        sock: Bound<'_, PyAny>,
        sslcontext: Option<Bound<'_, PyAny>>,
        server: Option<Bound<'_, PyAny>>,
        backlog: i64,
        ssl_handshake_timeout: Option<Bound<'_, PyAny>>,
        ssl_shutdown_timeout: Option<Bound<'_, PyAny>>,
        context: Option<Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let py = slf.py();
        let tls = match sslcontext {
            Some(context) if !context.is_none() => {
                let seconds = |limit: Option<Bound<'_, PyAny>>| {
                    limit.map_or_else(|| py.None(), Bound::unbind)
                };
                Some([
                    context.unbind(),
                    seconds(ssl_handshake_timeout),
                    seconds(ssl_shutdown_timeout),
                ])
            }
            _ => None,
        };
        let this = slf.get();
        let fd: RawFd = sock.call_method0("fileno")?.extract()?;
        let listening: BorrowedFd<'_> =
            tepal_sys::fd::borrow(fd).map_err(|error| errors::from_io(py, &error))?;
        if let Ok(Address::V4(..) | Address::V6(..)) = socket::local_address(listening) {
            // Connections inherit it, which saves a system call for each (Linux and the BSDs).
            // A socket that is not TCP after all keeps what it has.
            drop(socket::set_nodelay(listening));
        }
        let context = context::given_or_current(py, context)?;
        let listener = Listener {
            fd,
            sock: sock.unbind(),
            factory: protocol_factory.unbind(),
            server: server.map(Bound::unbind),
            context: context.unbind(),
            // What listen(2) makes of a negative one, and of a large one, is the kernel's affair.
            backlog: usize::try_from(backlog).unwrap_or(0),
            tls,
        };
        let (token, old) = this.with(py, |state| {
            state.install(fd, Source::Listener(Box::new(listener)))
        });
        drop(old);
        this.register(py, fd, token, Interest::READABLE, Trigger::Level, false)
    }

    /// Stop accepting at a listening socket, and close it.
    fn _stop_serving(&self, py: Python<'_>, sock: &Bound<'_, PyAny>) -> PyResult<()> {
        let fd: RawFd = sock.call_method0("fileno")?.extract()?;
        if fd >= 0 && !self.is_closed_now() {
            let source = self.with(py, |state| {
                let entry = state.sources.get_mut(fd as usize)?;
                matches!(entry.source, Some(Source::Listener(_))).then(|| entry.source.take())
            });
            drop(source);
            self.unregister(py, fd)?;
        }
        sock.call_method0("close").map(drop)
    }

    /// Makes a transport for a connected socket; `connection_made` is called in a coming turn, then the waiter is done.
    #[pyo3(signature = (sock, protocol, waiter=None, server=None, context=None))]
    fn _adopt_socket<'py>(
        slf: &Bound<'py, Self>,
        sock: Bound<'py, PyAny>,
        protocol: Bound<'py, PyAny>,
        waiter: Option<Bound<'py, PyAny>>,
        server: Option<Bound<'py, PyAny>>,
        context: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        slf.get().check_open()?;
        let fd: RawFd = sock.call_method0("fileno")?.extract()?;
        let connected = tepal_sys::fd::borrow(fd).map_err(|error| errors::from_io(py, &error))?;
        let peer = socket::peer_address(connected).ok();
        if matches!(
            socket::local_address(connected),
            Ok(Address::V4(..) | Address::V6(..))
        ) {
            // Not every stream socket of these families is TCP; the others have no such option.
            drop(socket::set_nodelay(connected));
        }
        let context = context::given_or_current(py, context)?;
        let parts = stream::Parts {
            socket: stream::Socket::Python(sock.unbind(), fd),
            protocol: &protocol,
            context: &context,
            server: server.as_ref(),
            peer,
            waiter: waiter.as_ref(),
        };
        let transport = stream::open(slf, parts)?;
        let job = stream::StreamJob::Begin;
        slf.get()
            .schedule(py, Job::Stream(transport.clone().unbind(), job));
        Ok(transport)
    }
}
