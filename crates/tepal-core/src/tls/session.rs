//! The life of one TLS session over one lower transport.
//!
//! ```text
//! Waiting ──connected──▶ Handshake ──shaken──▶ Open ──close──▶ Flushing ──flushed──▶ Shutdown ──▶ Over
//!                            └────────────── abort, error, lower transport lost ───────────────────▲
//! ```
//!
//! The phases are asyncio's (`asyncio.sslproto.SSLProtocolState`), and so are the rules: a session that is over knows
//! nothing any more; `connection_lost` is told once, and only to a protocol that was told of a connection and
//! not while its handshake still runs.

/// Where a session stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// There is no lower transport yet.
    Waiting,
    /// The peers are shaking hands.
    Handshake,
    /// Bytes flow.
    Open,
    /// The goodbye waits for what is still to be read and written.
    Flushing,
    /// The goodbye was said; the peer's is awaited.
    Shutdown,
    /// Nothing more will happen.
    Over,
}

/// What the application's protocol has been told, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Nothing,
    Made,
    End,
    Lost,
}

/// What bytes from the lower transport are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Bytes {
    /// They go on with the handshake.
    Handshake,
    /// They are for the protocol.
    Read,
    /// They are the last for the protocol, and then the goodbye is said.
    ReadThenShutdown,
    /// They may be the peer's goodbye.
    Shutdown,
    /// Nobody wants them.
    Ignore,
}

/// What the end of the lower stream asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum End {
    /// The handshake has failed.
    FailHandshake,
    /// What has come is read when the program reads on; until then the lower transport stays open.
    KeepForReader,
    /// Read what has come, then say goodbye.
    ReadThenShutdown,
    /// Go on with the goodbye.
    Shutdown,
    /// Nothing.
    Ignore,
}

/// What `close()` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Close {
    /// It is under way or over.
    Nothing,
    /// There is nobody to say goodbye to: drop the lower transport.
    Abort,
    /// Read and write what waits, then say goodbye.
    Flush,
}

/// The decisions of one session.
///
/// Invariant: `Phase` only moves forward (`no_history_breaks_the_order`).
#[derive(Debug)]
pub struct Session {
    phase: Phase,
    told: Told,
    ended: bool,
    /// The stream has ended, and what it brought waits for a reader who has paused.
    kept: bool,
}

impl Session {
    /// A session before its lower transport is there. `made`: the protocol knows of its connection already, and goes
    /// on over TLS (`start_tls`).
    #[must_use]
    pub fn new(made: bool) -> Self {
        Self {
            phase: Phase::Waiting,
            told: if made { Told::Made } else { Told::Nothing },
            ended: false,
            kept: false,
        }
    }

    /// Where the session stands.
    #[must_use]
    #[inline]
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Whether the lower stream has ended: then nobody is left to say goodbye to.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// Whether written bytes still have a way to go.
    #[must_use]
    #[inline]
    pub fn takes_writes(&self) -> bool {
        matches!(self.phase, Phase::Waiting | Phase::Handshake | Phase::Open)
    }

    /// Whether the session is past its open life, so that nothing more can be said. What is kept for a paused reader can
    /// still be read, and until it is the program is not told (`nothing_is_closing_while_a_reader_may_come_back`).
    #[must_use]
    pub fn is_closing(&self) -> bool {
        let may_be_read = self.phase == Phase::Flushing && self.kept;
        !(self.takes_writes() || may_be_read)
    }

    /// The lower transport is there; whether the handshake begins.
    #[must_use]
    pub fn handle_connected(&mut self) -> bool {
        let begins = self.phase == Phase::Waiting;
        if begins {
            self.phase = Phase::Handshake;
        }
        begins
    }

    /// The handshake is done; `None` when it is no longer wanted, else whether `connection_made` is due.
    #[must_use]
    pub fn handle_shaken(&mut self) -> Option<bool> {
        if self.phase != Phase::Handshake {
            return None;
        }
        self.phase = Phase::Open;
        let made = self.told == Told::Nothing;
        if made {
            self.told = Told::Made;
        }
        Some(made)
    }

    /// Bytes came from the lower transport.
    #[inline]
    pub fn handle_bytes(&self) -> Bytes {
        match self.phase {
            Phase::Waiting | Phase::Over => Bytes::Ignore,
            Phase::Handshake => Bytes::Handshake,
            Phase::Open => Bytes::Read,
            Phase::Flushing => Bytes::ReadThenShutdown,
            Phase::Shutdown => Bytes::Shutdown,
        }
    }

    /// The lower stream has ended. `paused`: the program does not read now.
    pub fn handle_end(&mut self, paused: bool) -> End {
        self.ended = true;
        match self.phase {
            Phase::Waiting | Phase::Over => End::Ignore,
            Phase::Handshake => End::FailHandshake,
            Phase::Open => {
                self.phase = Phase::Flushing;
                self.kept = paused;
                if paused {
                    End::KeepForReader
                } else {
                    End::ReadThenShutdown
                }
            }
            Phase::Flushing => End::ReadThenShutdown,
            Phase::Shutdown => End::Shutdown,
        }
    }

    /// The program, or the peer's goodbye, closes the session. A program that closes will not read on, so what was kept
    /// for it goes too (`closing_gives_up_what_was_kept`).
    pub fn handle_close(&mut self) -> Close {
        match self.phase {
            Phase::Flushing if std::mem::take(&mut self.kept) => Close::Flush,
            Phase::Flushing | Phase::Shutdown | Phase::Over => Close::Nothing,
            Phase::Waiting | Phase::Handshake => {
                self.phase = Phase::Over;
                Close::Abort
            }
            Phase::Open => {
                self.phase = Phase::Flushing;
                Close::Flush
            }
        }
    }

    /// What waited was read and written; whether the goodbye is due.
    #[must_use]
    pub fn handle_flushed(&mut self) -> bool {
        let due = self.phase == Phase::Flushing;
        if due {
            self.phase = Phase::Shutdown;
        }
        due
    }

    /// The peer has finished; whether `eof_received` is due.
    #[must_use]
    pub fn handle_finished(&mut self) -> bool {
        let due = self.told == Told::Made;
        if due {
            self.told = Told::End;
        }
        due
    }

    /// The session is broken or dropped.
    pub fn handle_abort(&mut self) {
        self.phase = Phase::Over;
    }

    /// The lower transport is gone; whether `connection_lost` is due.
    #[must_use]
    pub fn handle_lost(&mut self) -> bool {
        let due = self.phase != Phase::Handshake && matches!(self.told, Told::Made | Told::End);
        if due {
            self.told = Told::Lost;
        }
        self.phase = Phase::Over;
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_ordinary_life() {
        let mut session = Session::new(false);
        assert!(session.takes_writes());
        assert_eq!(session.handle_bytes(), Bytes::Ignore);
        assert!(session.handle_connected());
        assert_eq!(session.handle_bytes(), Bytes::Handshake);
        assert_eq!(session.handle_shaken(), Some(true));
        assert_eq!(session.handle_bytes(), Bytes::Read);
        assert!(session.handle_finished());
        assert_eq!(session.handle_close(), Close::Flush);
        assert!(!session.takes_writes());
        assert_eq!(session.handle_bytes(), Bytes::ReadThenShutdown);
        assert!(session.handle_flushed());
        assert_eq!(session.handle_bytes(), Bytes::Shutdown);
        assert!(session.handle_lost());
        assert_eq!(session.phase(), Phase::Over);
    }

    #[test]
    fn an_upgraded_connection_was_made_before() {
        let mut session = Session::new(true);
        assert!(session.handle_connected());
        assert_eq!(session.handle_shaken(), Some(false));
        assert!(session.handle_lost());
    }

    #[test]
    fn a_handshake_that_never_ends_is_nobodys_connection() {
        let mut session = Session::new(true);
        assert!(session.handle_connected());
        assert!(!session.handle_lost());
        let mut session = Session::new(false);
        assert!(session.handle_connected());
        assert_eq!(session.handle_end(false), End::FailHandshake);
        session.handle_abort();
        assert!(!session.handle_lost());
    }

    #[test]
    fn the_end_waits_for_a_paused_reader() {
        let mut session = Session::new(false);
        assert!(session.handle_connected());
        assert_eq!(session.handle_shaken(), Some(true));
        assert_eq!(session.handle_end(true), End::KeepForReader);
        assert!(session.has_ended());
        assert_eq!(session.handle_bytes(), Bytes::ReadThenShutdown);
    }

    #[test]
    fn nothing_is_closing_while_a_reader_may_come_back() {
        let mut session = Session::new(false);
        assert!(session.handle_connected());
        assert_eq!(session.handle_shaken(), Some(true));
        assert!(!session.is_closing());
        assert_eq!(session.handle_end(true), End::KeepForReader);
        assert!(!session.is_closing());
        assert!(session.handle_flushed());
        assert!(session.is_closing());
    }

    #[test]
    fn closing_gives_up_what_was_kept() {
        let mut session = Session::new(false);
        assert!(session.handle_connected());
        assert_eq!(session.handle_shaken(), Some(true));
        assert_eq!(session.handle_end(true), End::KeepForReader);
        assert_eq!(session.handle_close(), Close::Flush);
        assert_eq!(session.handle_close(), Close::Nothing);
        assert!(session.handle_flushed());
    }

    proptest! {
        /// Whatever happens in whatever order: made before the end before lost, each once, and phases go forward.
        #[test]
        fn no_history_breaks_the_order(made in any::<bool>(), history in prop::collection::vec(0u8..9, 0..40)) {
            let mut session = Session::new(made);
            let (mut mades, mut ends, mut losts) = (u32::from(made), 0, 0);
            let mut before = session.phase() as u8;
            for event in history {
                match event {
                    0 => drop(session.handle_connected()),
                    1 => mades += u32::from(session.handle_shaken() == Some(true)),
                    2 => {
                        let bytes = session.handle_bytes();
                        if matches!(bytes, Bytes::Read | Bytes::ReadThenShutdown) {
                            prop_assert_eq!(mades, 1);
                            prop_assert_eq!(losts, 0);
                        }
                    }
                    3 => drop(session.handle_end(false)),
                    4 => drop(session.handle_end(true)),
                    5 => drop(session.handle_close()),
                    6 => drop(session.handle_flushed()),
                    7 => ends += u32::from(session.handle_finished()),
                    _ => losts += u32::from(session.handle_lost()),
                }
                prop_assert!(mades <= 1 && ends <= mades && losts <= mades);
                prop_assert!(session.phase() as u8 >= before);
                before = session.phase() as u8;
            }
        }
    }
}
