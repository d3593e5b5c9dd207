//! The contract of a backend, as tests: every backend passes these.

use super::{Event, Events, Interest, Reactor, Token, Trigger};
use crate::waker::Waker;
use rustix::io::write;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use std::os::fd::{AsFd, OwnedFd};

fn pair() -> (OwnedFd, OwnedFd) {
    socketpair(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::NONBLOCK,
        None,
    )
    .unwrap()
}

fn look(reactor: &Reactor) -> Vec<Event> {
    let mut events = Events::new();
    reactor.wait(&mut events, Some(0.0)).unwrap();
    events.iter().collect()
}

#[test]
fn level_reports_as_long_as_it_lasts() {
    let reactor = Reactor::new().unwrap();
    let (near, far) = pair();
    reactor
        .set(
            near.as_fd(),
            Token(7),
            Interest::READABLE,
            Trigger::Level,
            false,
        )
        .unwrap();
    assert_eq!(look(&reactor), []);
    write(&far, b"x").unwrap();
    for _ in 0..2 {
        let events = look(&reactor);
        assert_eq!(events.len(), 1);
        assert!(events[0].token == Token(7) && events[0].readable && !events[0].writable);
    }
}

#[test]
fn edge_reports_each_arrival_and_the_end() {
    let reactor = Reactor::new().unwrap();
    let (near, far) = pair();
    reactor
        .set(
            near.as_fd(),
            Token(1),
            Interest::READABLE,
            Trigger::Edge,
            false,
        )
        .unwrap();
    for _ in 0..2 {
        write(&far, b"x").unwrap();
        assert_eq!(look(&reactor).len(), 1);
        assert_eq!(look(&reactor), []);
    }
    drop(far);
    let events = look(&reactor);
    assert!(events.len() == 1 && events[0].readable && events[0].read_closed);
}

#[test]
fn once_reports_once() {
    let reactor = Reactor::new().unwrap();
    let (near, far) = pair();
    reactor
        .set(
            near.as_fd(),
            Token(1),
            Interest::READABLE,
            Trigger::Once,
            true,
        )
        .unwrap();
    write(&far, b"x").unwrap();
    assert_eq!(look(&reactor).len(), 1);
    assert_eq!(look(&reactor), []);
    reactor
        .set(
            near.as_fd(),
            Token(2),
            Interest::READABLE,
            Trigger::Once,
            true,
        )
        .unwrap();
    assert_eq!(look(&reactor)[0].token, Token(2));
}

#[test]
fn a_reused_number_is_registered_again() {
    let reactor = Reactor::new().unwrap();
    let (near, far) = pair();
    reactor
        .set(
            near.as_fd(),
            Token(1),
            Interest::READABLE,
            Trigger::Level,
            false,
        )
        .unwrap();
    reactor
        .set(
            near.as_fd(),
            Token(2),
            Interest::BOTH,
            Trigger::Level,
            false,
        )
        .unwrap();
    assert_eq!(look(&reactor)[0].token, Token(2));
    reactor.remove(near.as_fd()).unwrap();
    reactor.remove(near.as_fd()).unwrap();
    reactor
        .set(near.as_fd(), Token(3), Interest::BOTH, Trigger::Level, true)
        .unwrap();
    assert_eq!(look(&reactor)[0].token, Token(3));
    drop(far);
}

#[test]
fn a_timeout_is_rounded_up() {
    let reactor = Reactor::new().unwrap();
    let begun = crate::clock::now();
    reactor.wait(&mut Events::new(), Some(0.0021)).unwrap();
    assert!(crate::clock::now() - begun >= 0.0021);
}

#[test]
fn a_waker_wakes_once_however_often_it_is_called_and_again_later() {
    let reactor = Reactor::new().unwrap();
    let waker = Waker::new().unwrap();
    reactor
        .set(
            waker.as_fd(),
            Token(0),
            Interest::READABLE,
            Waker::TRIGGER,
            false,
        )
        .unwrap();
    for _ in 0..3 {
        waker.wake().unwrap();
        waker.wake().unwrap();
        assert_eq!(look(&reactor).len(), 1);
        waker.reset().unwrap();
        assert_eq!(look(&reactor), []);
    }
}
