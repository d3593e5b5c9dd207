//! A channel between tasks: values in their order, senders that wait for room, receivers that wait for values.
//!
//! It has any number of ends on either side. Invariant: values lie in the buffer or somebody waits to receive, never both; and somebody
//! waits to send only while the buffer is full (`tests::nothing_is_lost_doubled_or_overtaken`).
//!
//! A waiter is handed back to be woken, with its value if it waited for one. It may turn out to be gone; the caller then asks again.

use std::collections::VecDeque;

/// Names one end of a channel, from its opening or cloning to its closing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct End(u32);

/// What became of a value that was to be sent.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub enum Sent<V, W> {
    /// It lies in the buffer.
    Buffered,
    /// This receiver is to be woken with it.
    Handed(W, V),
    /// There is no room.
    Full(V),
    /// Nobody can receive it any more.
    Broken(V),
}

/// What was there to be received.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub enum Received<V, W> {
    /// The next value; a sender that waited has its value in the channel now, and is to be woken.
    Value(V, Option<W>),
    /// Nothing yet.
    Empty,
    /// Nothing any more.
    Ended,
}

/// Who waited at an end that was closed, or at the other side when its last end was.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub struct Closed<V, W> {
    /// Those who waited at the end itself.
    pub here: Vec<W>,
    /// Those who wait on the other side, for whom nobody is left.
    pub there: Vec<W>,
    /// Values that nobody will receive.
    pub values: Vec<V>,
}

/// How many there are of what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    /// Values in the buffer.
    pub buffered: usize,
    /// Ends that may send.
    pub senders: usize,
    /// Ends that may receive.
    pub receivers: usize,
    /// Who waits for room.
    pub sending: usize,
    /// Who waits for a value.
    pub receiving: usize,
}

/// The channel.
#[derive(Debug)]
pub struct Channel<V, W> {
    capacity: usize,
    buffer: VecDeque<V>,
    receiving: VecDeque<(End, W)>,
    sending: VecDeque<(End, W, V)>,
    senders: usize,
    receivers: usize,
    made: u32,
}

impl<V, W> Channel<V, W> {
    /// A channel with one end on either side, for so many values at a time.
    #[must_use]
    pub const fn new(capacity: usize) -> Self {
        Self {
            capacity,
            buffer: VecDeque::new(),
            receiving: VecDeque::new(),
            sending: VecDeque::new(),
            senders: 0,
            receivers: 0,
            made: 0,
        }
    }

    /// Another end that may send.
    pub fn add_sender(&mut self) -> End {
        self.senders += 1;
        self.add_end()
    }

    /// Another end that may receive.
    pub fn add_receiver(&mut self) -> End {
        self.receivers += 1;
        self.add_end()
    }

    fn add_end(&mut self) -> End {
        self.made += 1;
        End(self.made)
    }

    /// Sends a value, if there is somebody or some room for it.
    #[inline]
    pub fn send(&mut self, value: V) -> Sent<V, W> {
        if self.receivers == 0 {
            return Sent::Broken(value);
        }
        if let Some((_, waiter)) = self.receiving.pop_front() {
            return Sent::Handed(waiter, value);
        }
        if self.buffer.len() >= self.capacity {
            return Sent::Full(value);
        }
        self.buffer.push_back(value);
        Sent::Buffered
    }

    /// Receives the next value, if there is one.
    #[inline]
    pub fn receive(&mut self) -> Received<V, W> {
        let waiting = self.sending.pop_front();
        match (self.buffer.pop_front(), waiting) {
            (Some(value), None) => Received::Value(value, None),
            (Some(value), Some((_, waiter, next))) => {
                self.buffer.push_back(next);
                Received::Value(value, Some(waiter))
            }
            (None, Some((_, waiter, value))) => Received::Value(value, Some(waiter)),
            (None, None) if self.senders == 0 => Received::Ended,
            (None, None) => Received::Empty,
        }
    }

    /// Somebody waits for room, with a value.
    pub fn wait_to_send(&mut self, end: End, waiter: W, value: V) {
        self.sending.push_back((end, waiter, value));
    }

    /// Somebody waits for a value.
    pub fn wait_to_receive(&mut self, end: End, waiter: W) {
        self.receiving.push_back((end, waiter));
    }

    /// One who waited to receive does not any more; `None` when he was woken.
    pub fn leave_receiving(&mut self, is_it: impl Fn(&W) -> bool) -> Option<W> {
        let place = self
            .receiving
            .iter()
            .position(|(_, waiter)| is_it(waiter))?;
        self.receiving.remove(place).map(|(_, waiter)| waiter)
    }

    /// One who waited to send does not any more, and takes his value along; `None` when it was taken.
    pub fn leave_sending(&mut self, is_it: impl Fn(&W) -> bool) -> Option<(W, V)> {
        let place = self
            .sending
            .iter()
            .position(|(_, waiter, _)| is_it(waiter))?;
        self.sending
            .remove(place)
            .map(|(_, waiter, value)| (waiter, value))
    }

    /// A value that was handed to a receiver who has gone: it is the next again.
    pub fn give_back(&mut self, value: V) -> Sent<V, W> {
        if self.receivers == 0 {
            return Sent::Broken(value);
        }
        if let Some((_, waiter)) = self.receiving.pop_front() {
            return Sent::Handed(waiter, value);
        }
        self.buffer.push_front(value); // it had a place before, so this is no more than the capacity and those who went
        Sent::Buffered
    }

    /// Closes an end that may send.
    pub fn close_sender(&mut self, end: End) -> Closed<V, W> {
        self.senders -= 1;
        let (own, others) = std::mem::take(&mut self.sending)
            .into_iter()
            .partition::<VecDeque<_>, _>(|(at, ..)| *at == end);
        self.sending = others;
        let (mut here, mut values) = (Vec::new(), Vec::new());
        for (_, waiter, value) in own {
            here.push(waiter);
            values.push(value);
        }
        let there = match self.senders {
            0 => self.receiving.drain(..).map(|(_, waiter)| waiter).collect(),
            _ => Vec::new(),
        };
        Closed {
            here,
            there,
            values,
        }
    }

    /// Closes an end that may receive.
    pub fn close_receiver(&mut self, end: End) -> Closed<V, W> {
        self.receivers -= 1;
        let (own, others) = std::mem::take(&mut self.receiving)
            .into_iter()
            .partition::<VecDeque<_>, _>(|(at, _)| *at == end);
        self.receiving = others;
        let (mut there, mut values) = (Vec::new(), Vec::new());
        if self.receivers == 0 {
            values.extend(self.buffer.drain(..));
            for (_, waiter, value) in self.sending.drain(..) {
                there.push(waiter);
                values.push(value);
            }
        }
        Closed {
            here: own.into_iter().map(|(_, waiter)| waiter).collect(),
            there,
            values,
        }
    }

    /// How many there are of what.
    #[must_use]
    pub fn counts(&self) -> Counts {
        Counts {
            buffered: self.buffer.len(),
            senders: self.senders,
            receivers: self.receivers,
            sending: self.sending.len(),
            receiving: self.receiving.len(),
        }
    }

    /// How many values it holds at most.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// The values that are in it, with those of senders who wait.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        let waiting = self.sending.iter().map(|(_, _, value)| value);
        self.buffer.iter().chain(waiting)
    }

    /// Who waits, on either side.
    pub fn waiters(&self) -> impl Iterator<Item = &W> {
        let sending = self.sending.iter().map(|(_, waiter, _)| waiter);
        let receiving = self.receiving.iter().map(|(_, waiter)| waiter);
        sending.chain(receiving)
    }

    /// All values and waiters, handed back.
    #[must_use]
    pub fn take_all(&mut self) -> (Vec<V>, Vec<W>) {
        let mut values: Vec<V> = self.buffer.drain(..).collect();
        let mut waiters: Vec<W> = self.receiving.drain(..).map(|(_, waiter)| waiter).collect();
        for (_, waiter, value) in self.sending.drain(..) {
            values.push(value);
            waiters.push(waiter);
        }
        (values, waiters)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn open(capacity: usize) -> (Channel<u32, u32>, End, End) {
        let mut channel = Channel::new(capacity);
        let sender = channel.add_sender();
        let receiver = channel.add_receiver();
        (channel, sender, receiver)
    }

    #[test]
    fn without_capacity_a_value_goes_from_hand_to_hand() {
        let (mut channel, sender, receiver) = open(0);
        assert_eq!(channel.send(1), Sent::Full(1));
        channel.wait_to_send(sender, 10, 1);
        assert_eq!(channel.receive(), Received::Value(1, Some(10)));
        assert_eq!(channel.receive(), Received::Empty);
        channel.wait_to_receive(receiver, 20);
        assert_eq!(channel.send(2), Sent::Handed(20, 2));
    }

    #[test]
    fn closing_tells_who_waits_on_either_side() {
        let (mut channel, sender, receiver) = open(1);
        let other = channel.add_receiver();
        channel.wait_to_receive(receiver, 20);
        channel.wait_to_receive(other, 21);
        assert_eq!(channel.close_receiver(receiver).here, [20]);
        assert_eq!(channel.close_sender(sender).there, [21]);
        assert_eq!(channel.receive(), Received::Ended);
        let sender = channel.add_sender();
        assert_eq!(channel.send(1), Sent::Buffered);
        channel.wait_to_send(sender, 10, 2);
        let closed = channel.close_receiver(other);
        assert_eq!((closed.there, closed.values), (vec![10], vec![1, 2]));
        assert_eq!(channel.send(3), Sent::Broken(3));
    }

    proptest! {
        /// In any history values arrive in the order in which they were sent, each once, and none that was taken along or given back
        /// is overtaken by a later one.
        #[test]
        fn nothing_is_lost_doubled_or_overtaken(
            capacity in 0usize..4,
            history in prop::collection::vec((0u8..5, 0usize..8), 0..120)
        ) {
            let (mut channel, sender, receiver) = open(capacity);
            let (mut next, mut waiter) = (0u32, 1000u32);
            // What was sent and not received, in order; who waits to send, who to receive.
            let mut due: VecDeque<u32> = VecDeque::new();
            let mut sending: VecDeque<(u32, u32)> = VecDeque::new();
            let mut receiving: VecDeque<u32> = VecDeque::new();
            for (operation, choice) in history {
                match operation {
                    0 | 1 => {
                        let value = next;
                        next += 1;
                        match channel.send(value) {
                            Sent::Buffered => due.push_back(value),
                            Sent::Handed(woken, handed) => {
                                prop_assert_eq!(Some(woken), receiving.pop_front());
                                prop_assert_eq!(handed, value);
                                prop_assert!(due.is_empty());
                            }
                            Sent::Full(value) => {
                                prop_assert!(due.len() - sending.len() >= capacity);
                                waiter += 1;
                                channel.wait_to_send(sender, waiter, value);
                                sending.push_back((waiter, value));
                                due.push_back(value);
                            }
                            Sent::Broken(_) => prop_assert!(false),
                        }
                    }
                    2 => match channel.receive() {
                        Received::Value(value, woken) => {
                            prop_assert_eq!(due.pop_front(), Some(value));
                            prop_assert_eq!(woken, sending.pop_front().map(|(waiter, _)| waiter));
                            if choice == 0 {
                                // The receiver goes before it has taken it.
                                prop_assert_eq!(channel.give_back(value), Sent::Buffered);
                                due.push_front(value);
                            }
                        }
                        Received::Empty => {
                            prop_assert!(due.is_empty());
                            waiter += 1;
                            channel.wait_to_receive(receiver, waiter);
                            receiving.push_back(waiter);
                        }
                        Received::Ended => prop_assert!(false),
                    },
                    3 if !sending.is_empty() => {
                        let (gone, value) = sending.remove(choice % sending.len()).unwrap();
                        prop_assert_eq!(channel.leave_sending(|one| *one == gone), Some((gone, value)));
                        due.retain(|one| *one != value);
                    }
                    4 if !receiving.is_empty() => {
                        let gone = receiving.remove(choice % receiving.len()).unwrap();
                        prop_assert_eq!(channel.leave_receiving(|one| *one == gone), Some(gone));
                        prop_assert_eq!(channel.leave_receiving(|one| *one == gone), None);
                    }
                    _ => {}
                }
                prop_assert!(due.is_empty() || receiving.is_empty());
                prop_assert_eq!(channel.values().copied().collect::<Vec<_>>(), due.iter().copied().collect::<Vec<_>>());
                prop_assert_eq!(channel.waiters().count(), sending.len() + receiving.len());
            }
        }
    }
}
