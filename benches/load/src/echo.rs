//! N connections, one request under way on each: the closed loop behind most rows.

use std::io;
use std::time::Instant;

use crate::args::{Args, Until};
use crate::connection::{Connection, Exchange};
use crate::gate;
use crate::measure::Measure;
use crate::poller::Poller;
use crate::tls::Tls;

/// Checked requests per connection before the count begins: buffers have grown, code is warm, bytes are right.
const WARM_UP: u64 = 3;

pub(crate) fn run(args: &Args) -> io::Result<()> {
    let mut poller = Poller::new()?;
    let mut exchange = Exchange::new(args.size, args.answer_size(), true, Tls::of(args)?);
    let mut connections = open(args, &mut poller, &mut exchange)?;

    let warm_up = WARM_UP * args.connections as u64;
    drive(
        Measure::begin(Until::Requests(warm_up)),
        &mut connections,
        &mut poller,
        &mut exchange,
    )?;
    exchange.set_check(false);
    gate::wait_for_start()?;
    let measure = drive(
        Measure::begin(args.until),
        &mut connections,
        &mut poller,
        &mut exchange,
    )?;
    gate::say(&measure.json())
}

/// Opens the connections one after the other, each with a request of its own, so that no accept queue overflows.
pub(crate) fn open(
    args: &Args,
    poller: &mut Poller,
    exchange: &mut Exchange,
) -> io::Result<Vec<Connection>> {
    let mut connections = Vec::with_capacity(args.connections);
    for key in 0..args.connections {
        connections.push(Connection::open(args.address(), key, exchange, poller)?);
        let one = Measure::begin(Until::Requests(1));
        drive(one, &mut connections[key..], poller, exchange)?;
    }
    Ok(connections)
}

/// Asks on all `connections` until the measure says stop, then waits for what is still under way.
/// The keys of the connections are the ones of a contiguous range.
fn drive(
    mut measure: Measure,
    connections: &mut [Connection],
    poller: &mut Poller,
    exchange: &mut Exchange,
) -> io::Result<Measure> {
    let Some(first) = connections.first().map(|connection| connection.key) else {
        return Ok(measure);
    };
    let mut pending = 0_usize;
    for connection in &mut *connections {
        let now = Instant::now();
        if measure.may_ask(now) {
            connection.ask(exchange, poller, now)?;
            pending += 1;
        }
    }
    let mut ready = Vec::new();
    while pending > 0 {
        ready.clear();
        ready.extend(poller.wait(false)?);
        for &key in &ready {
            let connection = &mut connections[key - first];
            if !connection.handle_ready(exchange, poller)? {
                continue;
            }
            let now = Instant::now();
            measure.note(now.duration_since(connection.asked_at), connection.reads);
            if measure.may_ask(now) {
                connection.ask(exchange, poller, now)?;
            } else {
                pending -= 1;
            }
        }
    }
    Ok(measure)
}
