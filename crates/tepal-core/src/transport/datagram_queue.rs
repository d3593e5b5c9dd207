//! Datagrams that wait for the socket: whole, in order, each with its destination.
//!
//! Payload and destination are whatever their owner likes; the queue counts bytes. Each datagram may count for a few
//! bytes more than its payload, so that a flood of empty ones is not invisible to flow control.

use std::collections::VecDeque;

/// Datagrams in order.
///
/// Invariant: `buffered` is the sum of the payloads that wait, and of a header for each
/// (`counts_what_waits`).
#[derive(Debug)]
pub struct DatagramQueue<B, D> {
    waiting: VecDeque<(B, D)>,
    header: usize,
    buffered: usize,
}

impl<B: AsRef<[u8]>, D> DatagramQueue<B, D> {
    /// An empty queue, in which a datagram counts for `header` bytes more than its payload; allocates nothing.
    #[must_use]
    pub fn new(header: usize) -> Self {
        Self {
            waiting: VecDeque::new(),
            header,
            buffered: 0,
        }
    }

    /// How many bytes wait, headers included.
    #[must_use]
    #[inline]
    pub fn buffered(&self) -> usize {
        self.buffered
    }

    /// Whether no datagram waits; an empty one is a datagram too.
    #[must_use]
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Puts a datagram behind all others.
    pub fn push(&mut self, payload: B, destination: D) {
        self.buffered += self.weight(&payload);
        self.waiting.push_back((payload, destination));
    }

    /// Takes the first datagram, to be sent now.
    #[must_use]
    pub fn poll(&mut self) -> Option<(B, D)> {
        let (payload, destination) = self.waiting.pop_front()?;
        self.buffered -= self.weight(&payload);
        Some((payload, destination))
    }

    /// Puts a datagram, that [`DatagramQueue::poll`] gave and the kernel did not take, before all others.
    pub fn put_back(&mut self, payload: B, destination: D) {
        self.buffered += self.weight(&payload);
        self.waiting.push_front((payload, destination));
    }

    /// Every datagram, handed back; the queue is empty and holds no memory.
    #[must_use]
    pub fn take_all(&mut self) -> VecDeque<(B, D)> {
        self.buffered = 0;
        std::mem::take(&mut self.waiting)
    }

    /// The datagrams, in order.
    pub fn iter(&self) -> impl Iterator<Item = &(B, D)> {
        self.waiting.iter()
    }

    fn weight(&self, payload: &B) -> usize {
        payload.as_ref().len() + self.header
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// However often the kernel refuses, every datagram leaves once, in order, and what waits is what is counted.
        #[test]
        fn counts_what_waits(
            payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 0..40),
            refused in prop::collection::vec(any::<bool>(), 1..40),
            header in 0usize..10,
        ) {
            let mut queue = DatagramQueue::new(header);
            for (number, payload) in payloads.iter().enumerate() {
                queue.push(payload.clone(), number);
            }
            let total: usize = payloads.iter().map(|payload| payload.len() + header).sum();
            prop_assert_eq!(queue.buffered(), total);
            let mut sent = Vec::new();
            let mut refused = refused.into_iter().cycle().take(200);
            while let Some((payload, number)) = queue.poll() {
                if refused.next() == Some(true) {
                    queue.put_back(payload, number);
                } else {
                    prop_assert_eq!(number, sent.len());
                    sent.push(payload);
                }
                let left: usize = payloads[sent.len()..].iter().map(|payload| payload.len() + header).sum();
                prop_assert_eq!(queue.buffered(), left);
            }
            prop_assert!(queue.is_empty());
            prop_assert_eq!(sent, payloads);
        }
    }
}
