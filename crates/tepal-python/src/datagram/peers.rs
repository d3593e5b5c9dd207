//! The addresses that datagrams came from, as Python sees them.
//!
//! An endpoint hears the same peers again and again, and answers them. A tuple of a host's name and a port costs more
//! than the datagram's own way through our code, so it is made once per peer and given out again; and an answer to the
//! very tuple that came with the last datagram needs no reading of it. Only IP addresses: the others are rare.

use pyo3::prelude::*;
use pyo3::{Py, PyAny, Python};
use tepal_sys::socket::Address;

/// How many peers are remembered at most; each has one place it may be in, and the newer takes it.
const MOST: usize = 64;

/// A peer's address in both forms.
pub(super) struct Peer {
    address: Address,
    shown: Py<PyAny>,
}

/// The peers that are remembered. Empty until the first datagram, one place until the second peer.
#[derive(Default)]
pub(super) struct Peers {
    table: Vec<Option<Peer>>,
    /// Where the sender of the last datagram is.
    last: usize,
}

impl Peers {
    /// The Python form of an address, if it is remembered.
    #[inline]
    pub(super) fn find(&mut self, py: Python<'_>, address: &Address) -> Option<Py<PyAny>> {
        let place = self.place(address)?;
        let peer = self.table.get(place)?.as_ref()?;
        if peer.address != *address {
            return None;
        }
        self.last = place;
        Some(peer.shown.clone_ref(py))
    }

    /// Remembers an address as the last; what it drives out is handed back.
    #[must_use]
    pub(super) fn add(&mut self, address: Address, shown: Py<PyAny>) -> Option<Peer> {
        match self.table.len() {
            0 => self.table.push(None),
            1 => {
                let first = self.table.pop().flatten();
                self.table.resize_with(MOST, || None);
                if let Some(first) = first
                    && let Some(place) = self.place(&first.address)
                {
                    self.table[place] = Some(first);
                }
            }
            _ => {}
        }
        let place = self.place(&address)?;
        self.last = place;
        self.table[place].replace(Peer { address, shown })
    }

    /// The address behind the object that came with the last datagram.
    #[inline]
    pub(super) fn named(&self, object: &Bound<'_, PyAny>) -> Option<&Address> {
        let peer = self.table.get(self.last)?.as_ref()?;
        peer.shown.is(object).then_some(&peer.address)
    }

    /// The objects that are held, for the collector.
    pub(super) fn objects(&self) -> impl Iterator<Item = &Py<PyAny>> {
        self.table.iter().flatten().map(|peer| &peer.shown)
    }

    /// The place of an address; `None` for those that are not remembered.
    fn place(&self, address: &Address) -> Option<usize> {
        let bits = match address {
            Address::V4(host, port) => u64::from(u32::from(*host)) << 16 | u64::from(*port),
            Address::V6(host, port, ..) => {
                let host = u128::from(*host);
                (host >> 64) as u64 ^ (host as u64).rotate_left(16) ^ u64::from(*port)
            }
            Address::Path(_) | Address::Abstract(_) | Address::Unnamed => return None,
        };
        // Fibonacci hashing: the upper bits depend on all.
        let spread = bits.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 58;
        Some(spread as usize % self.table.len().max(1))
    }
}
