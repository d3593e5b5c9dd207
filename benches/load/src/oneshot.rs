//! Connections that live for one request: what accepting, making a transport and closing it costs.

use std::io;
use std::time::Instant;

use crate::args::{Args, Until};
use crate::connection::{Connection, Exchange};
use crate::gate;
use crate::measure::Measure;
use crate::poller::Poller;
use crate::tls::Tls;

const WARM_UP: u64 = 50;

pub(crate) fn run(args: &Args) -> io::Result<()> {
    let mut poller = Poller::new()?;
    let mut exchange = Exchange::new(args.size, args.answer_size(), true, Tls::of(args)?);
    drive(
        args,
        Measure::begin(Until::Requests(WARM_UP)),
        &mut poller,
        &mut exchange,
    )?;
    exchange.set_check(false);
    gate::wait_for_start()?;
    let measure = drive(args, Measure::begin(args.until), &mut poller, &mut exchange)?;
    gate::say(&measure.json())
}

/// Keeps `args.connections` short lives under way. A latency runs from `connect` to the answer's last byte.
fn drive(
    args: &Args,
    mut measure: Measure,
    poller: &mut Poller,
    exchange: &mut Exchange,
) -> io::Result<Measure> {
    let mut slots: Vec<Option<Connection>> = Vec::with_capacity(args.connections);
    for key in 0..args.connections {
        slots.push(begin(args, key, &mut measure, poller, exchange)?);
    }
    let mut ready = Vec::new();
    while slots.iter().any(Option::is_some) {
        ready.clear();
        ready.extend(poller.wait(false)?);
        for &key in &ready {
            let Some(connection) = &mut slots[key] else {
                continue;
            };
            if connection.handle_ready(exchange, poller)? {
                measure.note(connection.asked_at.elapsed(), connection.reads);
                // Closed before the next one opens: never more than N at once.
                if let Some(done) = slots[key].take() {
                    done.close()?;
                }
                slots[key] = begin(args, key, &mut measure, poller, exchange)?;
            }
        }
    }
    Ok(measure)
}

fn begin(
    args: &Args,
    key: usize,
    measure: &mut Measure,
    poller: &Poller,
    exchange: &Exchange,
) -> io::Result<Option<Connection>> {
    let now = Instant::now();
    if !measure.may_ask(now) {
        return Ok(None);
    }
    let mut connection = Connection::open(args.address(), key, exchange, poller)?;
    connection.ask(exchange, poller, now)?;
    Ok(Some(connection))
}
