//! The front with an executor of three lines: no Python, one thread, real sockets.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use bytes::Bytes;
use remuda_front::http::Response;
use remuda_front::{Batch, Content, Drain, Front, Limits, Listener, Proxies, RequestBody, Setup};

struct Bench {
    front: Front,
    port: u16,
}

fn bench(limits: Limits) -> Bench {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    listener.set_nonblocking(true).expect("flag");
    let port = listener.local_addr().expect("address").port();
    let listener = Listener::new(listener.into(), "127.0.0.1".into(), Some(port));
    let watched: OwnedFd = std::os::unix::net::UnixDatagram::unbound().expect("socket").into();
    let proxies = Proxies::default();
    let front = Front::new(
        Setup { listeners: vec![listener], limits, proxies, ..Setup::default() },
        watched,
    )
    .expect("front");
    Bench { front, port }
}

impl Bench {
    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).expect("connect");
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("timeout");
        stream
    }

    /// Serves until `count` requests were answered with their path and the length of their body.
    fn answer(&self, count: usize) {
        let deadline = Instant::now() + Duration::from_secs(10);
        let mut answered = 0;
        while answered < count {
            assert!(Instant::now() < deadline, "{answered} of {count} requests came");
            self.front.collect().expect("collect");
            while let Some(exchange) = self.front.next_exchange() {
                let text = format!("{} {}", exchange.head.uri.path(), exchange.body.length());
                exchange.reply(&self.front, Response::new(Content::Whole(Bytes::from(text))));
                answered += 1;
            }
            self.front.sweep();
        }
    }

    fn run_until(&self, what: &str, mut done: impl FnMut(&Front) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !done(&self.front) {
            assert!(Instant::now() < deadline, "did not happen: {what}");
            self.front.collect().expect("collect");
            while let Some(exchange) = self.front.next_exchange() {
                drop(exchange);
            }
            self.front.sweep();
        }
    }
}

fn read_until(stream: &mut TcpStream, end: &str) -> String {
    let mut text = String::new();
    let mut byte = [0; 1];
    while !text.ends_with(end) {
        assert_eq!(stream.read(&mut byte).expect("read"), 1, "closed after {text:?}");
        text.push(char::from(byte[0]));
    }
    text
}

#[test]
fn pipelined_requests_are_answered_in_order_on_one_connection() {
    let bench = bench(Limits::default());
    let mut client = bench.connect();
    client
        .write_all(b"GET /a HTTP/1.1\r\nHost: x\r\n\r\nGET /b HTTP/1.1\r\nHost: x\r\n\r\n")
        .expect("write");
    bench.answer(2);
    assert!(read_until(&mut client, "/a 0").starts_with("HTTP/1.1 200 OK\r\n"));
    read_until(&mut client, "/b 0");
    assert_eq!(bench.front.connections(), 1);
}

#[test]
fn the_executor_sees_no_request_before_its_body_is_whole() {
    let bench = bench(Limits { body_spool_bytes: 4, ..Limits::default() });
    let mut client = bench.connect();
    client
        .write_all(b"POST /up HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\n\r\nabc")
        .expect("write");
    bench.run_until("the connection is accepted", |front| front.connections() == 1);
    for _ in 0..10 {
        bench.front.collect().expect("collect");
        assert!(bench.front.next_exchange().is_none(), "half a body came through");
    }
    client.write_all(b"def").expect("write");
    bench.run_until("the body is whole", |front| {
        let _ = front.collect();
        let Some(exchange) = front.next_exchange() else { return false };
        assert!(matches!(exchange.body, RequestBody::File { length: 6, .. }));
        exchange.reply(front, Response::new(Content::Whole(Bytes::new())));
        true
    });
}

#[test]
fn a_request_that_the_executor_drops_cuts_its_connection() {
    let bench = bench(Limits::default());
    let mut client = bench.connect();
    client.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").expect("write");
    bench.run_until("the request comes", |front| {
        let _ = front.collect();
        front.next_exchange().is_some()
    });
    bench.run_until("its connection is cut", |front| front.connections() == 0);
    assert_eq!(client.read(&mut [0; 16]).unwrap_or(0), 0);
}

#[test]
fn a_drained_front_accepts_nothing_and_ends_when_its_clients_are_served() {
    let bench = bench(Limits::default());
    let mut idle = bench.connect();
    idle.write_all(b"GET /first HTTP/1.1\r\nHost: x\r\n\r\n").expect("write");
    bench.answer(1);
    read_until(&mut idle, "/first 0");
    let mut queued = bench.connect();
    queued.write_all(b"GET /queued HTTP/1.1\r\nHost: x\r\n\r\n").expect("write");
    bench.front.drain(Drain::Last);
    bench.answer(1);
    let response = read_until(&mut queued, "/queued 0");
    assert!(response.contains("Connection: close\r\n"), "{response}");
    assert!(!bench.front.is_drained(), "the idle connection gets a moment");
    drop((idle, queued));
    bench.run_until("it is drained", Front::is_drained);
}

#[test]
fn at_the_limit_the_longest_idle_connection_gives_way() {
    let bench = bench(Limits { connections: 2, ..Limits::default() });
    let mut clients: Vec<TcpStream> = (0..3).map(|_| bench.connect()).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        client
            .write_all(format!("GET /{number} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes())
            .expect("write");
        bench.answer(1);
        read_until(client, &format!("/{number} 0"));
    }
    // Nobody waits any more, so nobody has to go.
    bench.front.sweep();
    assert_eq!(bench.front.connections(), 2);
    assert_eq!(clients[0].read(&mut [0; 1]).expect("closed, not reset"), 0);
}

#[test]
fn a_last_response_is_written_to_its_end_before_the_connection_closes() {
    const BYTES: usize = 8 << 20;
    let bench = bench(Limits::default());
    let mut client = bench.connect();
    client
        .write_all(b"GET /large HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .expect("write");
    bench.run_until("the request comes", |front| {
        let _ = front.collect();
        let Some(exchange) = front.next_exchange() else { return false };
        exchange.reply(front, Response::new(Content::Whole(Bytes::from(vec![7; BYTES]))));
        true
    });
    let reader = std::thread::spawn(move || {
        let mut all = Vec::new();
        client.read_to_end(&mut all).map(|_| all.len())
    });
    bench.run_until("the connection is closed", |front| front.connections() == 0);
    let length = reader.join().expect("reader").expect("read");
    assert!(length > BYTES, "only {length} bytes");
}

#[test]
fn a_response_that_nobody_waits_for_leaves_nothing_behind() {
    let limits =
        Limits { stream_bodies: true, body_pause: Duration::from_millis(1), ..Limits::default() };
    let bench = bench(limits);
    let descriptors = || std::fs::read_dir("/proc/self/fd").expect("list").count();
    let before = descriptors();
    for _ in 0..20 {
        let mut client = bench.connect();
        client
            .write_all(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf")
            .expect("write");
        let mut taken = None;
        bench.run_until("the request comes", |front| {
            let _ = front.collect();
            taken = front.next_exchange();
            taken.is_some()
        });
        let exchange = taken.expect("request");
        let RequestBody::Stream(inbound) = &exchange.body else { panic!("read ahead") };
        inbound.want(true);
        bench.front.poll_connection(exchange.connection());
        bench.run_until("its connection is cut", |front| front.connections() == 0);
        exchange.reply(&bench.front, Response::new(Content::Whole(Bytes::from_static(b"late"))));
    }
    assert!(descriptors() < before + 10, "{before} descriptors became {}", descriptors());
}

#[test]
fn the_time_that_an_app_takes_is_not_counted_as_its_clients() {
    const BYTES: usize = 8 << 20;
    let pause = Duration::from_millis(500);
    let bench = bench(Limits { write_pause: pause, ..Limits::default() });
    let mut client = bench.connect();
    client.write_all(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n").expect("write");
    bench.run_until("the request comes", |front| {
        let _ = front.collect();
        let Some(exchange) = front.next_exchange() else { return false };
        std::thread::sleep(pause * 2);
        exchange.reply(front, Response::new(Content::Whole(Bytes::from(vec![7; BYTES]))));
        true
    });
    bench.front.sweep();
    assert_eq!(bench.front.connections(), 1, "cut before the client had a chance to read");
    let reader = std::thread::spawn(move || {
        let mut all = vec![0; BYTES];
        client.read_exact(&mut all).map(|()| all)
    });
    bench.run_until("the response is read", |_| reader.is_finished());
    assert!(reader.join().expect("reader").is_ok());
}

#[test]
fn a_request_that_came_while_the_worker_was_busy_is_not_late() {
    let bench = bench(Limits { keepalive: Duration::from_millis(500), ..Limits::default() });
    let mut client = bench.connect();
    client.write_all(b"GET /first HTTP/1.1\r\nHost: x\r\n\r\n").expect("write");
    bench.answer(1);
    read_until(&mut client, "/first 0");
    client.write_all(b"GET /second HTTP/1.1\r\nHost: x\r\n\r\n").expect("write");
    // Another app holds the worker up for longer than idle connections are kept.
    std::thread::sleep(Duration::from_secs(1));
    bench.front.sweep();
    bench.answer(1);
    read_until(&mut client, "/second 0");
}

#[test]
fn what_a_sweep_takes_from_the_kernel_waits_in_the_queues() {
    let bench = bench(Limits::default());
    let mut client = bench.connect();
    client.write_all(b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n").expect("write");
    bench.answer(1);
    client.write_all(b"GET /b HTTP/1.1\r\nHost: x\r\n\r\n").expect("write");
    // Nobody collects any more. The kernel says it once, and it was a sweep that asked.
    let deadline = Instant::now() + Duration::from_secs(10);
    while bench.front.next_exchange().is_none() {
        assert!(Instant::now() < deadline, "no sweep took the event");
        bench.front.sweep();
    }
}

#[test]
fn a_ring_ends_the_wait_of_another_thread_or_else_the_next_one() {
    let bench = bench(Limits::default());
    let waiter = bench.front.waiter();
    // Ends only when somebody rings.
    let wait = move || waiter.wait(&mut Batch::default(), Duration::MAX).expect("wait");
    bench.front.ring();
    wait();
    std::thread::scope(|scope| {
        scope.spawn(wait);
        bench.front.ring();
    });
    assert!(!bench.front.collect().expect("collect"), "a ring is no work");
}
