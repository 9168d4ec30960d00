//! `remuda-upstream PORT MILLISECONDS`: a server on loopback that lets each request wait.
//!
//! What an app's database or neighbour is to it. One thread a connection, so that no request waits
//! for another; at most 2,000 of them. It ends with its standard input, so that it cannot outlive
//! whoever started it.

#![forbid(unsafe_code)]

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

const CONNECTIONS_MAX: usize = 2000;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse::<u16>());
    let (Some(Ok(port)), Some(Ok(milliseconds)), None) =
        (arguments.next(), arguments.next(), arguments.next())
    else {
        eprintln!("usage: remuda-upstream PORT MILLISECONDS");
        return ExitCode::from(2);
    };
    let listener = match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
        Ok(listener) => listener,
        Err(error) => {
            eprintln!("remuda-upstream: cannot listen on 127.0.0.1:{port}: {error}");
            return ExitCode::FAILURE;
        }
    };
    thread::spawn(move || accept(&listener, Duration::from_millis(milliseconds.into())));
    let _ = io::stdin().read_to_end(&mut Vec::new());
    ExitCode::SUCCESS
}

fn accept(listener: &TcpListener, wait: Duration) {
    let open = Arc::new(AtomicUsize::new(0));
    for stream in listener.incoming().flatten() {
        if open.fetch_add(1, Ordering::Relaxed) < CONNECTIONS_MAX {
            let open = open.clone();
            thread::spawn(move || {
                let _ = serve(&stream, wait);
                open.fetch_sub(1, Ordering::Relaxed);
            });
        } else {
            open.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// Answers requests without bodies until the client leaves.
fn serve(stream: &TcpStream, wait: Duration) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut lines = BufReader::new(stream);
    let mut line = String::new();
    loop {
        line.clear();
        if lines.by_ref().take(8192).read_line(&mut line)? == 0 {
            return Ok(());
        }
        if line == "\r\n" {
            thread::sleep(wait);
            let mut stream = stream;
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nready\n")?;
        }
    }
}
