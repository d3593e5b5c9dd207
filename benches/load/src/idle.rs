//! Connections that have spoken once and now wait: the server's memory is looked at while we hold them.

use std::io;

use crate::args::Args;
use crate::connection::Exchange;
use crate::poller::Poller;
use crate::tls::Tls;
use crate::{echo, gate};

pub(crate) fn run(args: &Args) -> io::Result<()> {
    let mut poller = Poller::new()?;
    let mut exchange = Exchange::new(args.size, args.answer_size(), true, Tls::of(args)?);
    let connections = echo::open(args, &mut poller, &mut exchange)?;
    gate::wait_for_start()?;
    gate::say(&format!(r#"{{"connections": {}}}"#, connections.len()))
}
