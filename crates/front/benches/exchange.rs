//! What one request costs the front: parse → exchange → reply, over a unix socket, in one thread.
//!
//! The first group passes the same bytes through the same socket without a front: the kernel's
//! share, to be subtracted. Run by `make bench-micro`.

mod requests;

use std::hint::black_box;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use remuda_front::http::Response;
use remuda_front::http::header::{CONTENT_TYPE, HeaderValue};
use remuda_front::{Content, Front, Listener, Proxies, Setup, TrustedPeers};
use requests::requests;

/// A front, and a client that is connected to it.
struct Pair {
    front: Front,
    client: UnixStream,
}

impl Pair {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("front.sock");
        let listener = UnixListener::bind(&path).expect("bind");
        listener.set_nonblocking(true).expect("flag");
        let client = UnixStream::connect(&path).expect("connect");
        let listener = Listener::new(listener.into(), path.display().to_string(), None);
        let watched: OwnedFd = UnixDatagram::unbound().expect("socket").into();
        let trusted = Proxies { trusted: TrustedPeers::Everyone, ..Proxies::default() };
        let front = Front::new(
            Setup { listeners: vec![listener], proxies: trusted, ..Setup::default() },
            watched,
        );
        Self { front: front.expect("front"), client }
    }

    fn exchange(&mut self, request: &[u8], answer: &mut [u8]) -> usize {
        self.client.write_all(request).expect("write");
        let mut answered = false;
        while !answered {
            self.front.collect().expect("collect");
            while let Some(exchange) = self.front.next_exchange() {
                let mut reply = Response::new(Content::Whole(Bytes::from_static(b"Hello, World!")));
                reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
                exchange.reply(&self.front, reply);
                answered = true;
            }
        }
        self.client.read(answer).expect("read")
    }
}

fn socket_alone(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("socket alone");
    let mut answer = [0; 4096];
    let length = Pair::new().exchange(&requests()[0].1, &mut answer);
    let response = answer[..length].to_vec();
    for (name, request) in requests() {
        let (mut client, mut server) = UnixStream::pair().expect("a pair");
        group.bench_function(BenchmarkId::from_parameter(name), |bencher| {
            bencher.iter(|| {
                client.write_all(&request).expect("write");
                let read = server.read(&mut answer).expect("read");
                server.write_all(&response).expect("write");
                read + client.read(black_box(&mut answer)).expect("read")
            });
        });
    }
}

fn front(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("front");
    for (name, request) in requests() {
        let mut pair = Pair::new();
        let mut answer = [0; 4096];
        let length = pair.exchange(&request, &mut answer);
        assert!(answer[..length].starts_with(b"HTTP/1.1 200 OK\r\n"), "{name}");
        assert!(answer[..length].ends_with(b"\r\n\r\nHello, World!"), "{name}");
        group.bench_function(BenchmarkId::from_parameter(name), |bencher| {
            bencher.iter(|| pair.exchange(&request, black_box(&mut answer)));
        });
    }
}

criterion_group!(benches, socket_alone, front);
criterion_main!(benches);
