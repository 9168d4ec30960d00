//! `hello PORT`: what the front costs without any Python; the floor that `make bench` shows.
//!
//! A blocking loop as a sync worker's, with all limits on, and an app of one line.

use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use bytes::Bytes;
use remuda_front::http::Response;
use remuda_front::http::header::{CONTENT_TYPE, HeaderValue};
use remuda_front::{Batch, Content, Front, Listener, Proxies, Reply, Setup, TrustedPeers};

const PACE: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    let Some(port) = std::env::args().nth(1).and_then(|port| port.parse().ok()) else {
        eprintln!("usage: hello PORT");
        return ExitCode::from(2);
    };
    match serve(port) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("hello: port {port}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve(port: u16) -> std::io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    listener.set_nonblocking(true)?;
    let listener = Listener::new(listener.into(), "127.0.0.1".into(), Some(port));
    // Stands for the channel to a master.
    let watched: OwnedFd = UnixDatagram::unbound()?.into();
    let trusted = Proxies { trusted: TrustedPeers::Everyone, ..Proxies::default() };
    let front = Front::new(
        Setup { listeners: vec![listener], proxies: trusted, ..Setup::default() },
        watched,
    )?;
    let waiter = front.waiter();
    let mut batch = Batch::default();
    let mut swept = Instant::now();
    loop {
        let pace = if front.has_work() { Duration::ZERO } else { PACE };
        waiter.wait(&mut batch, pace)?;
        front.take(&batch);
        while let Some(exchange) = front.next_exchange() {
            exchange.reply(&front, hello());
        }
        if swept.elapsed() >= PACE {
            swept = Instant::now();
            front.sweep();
        }
    }
}

fn hello() -> Reply {
    let mut reply = Response::new(Content::Whole(Bytes::from_static(b"Hello, World!")));
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    reply
}
