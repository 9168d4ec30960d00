//! Two fronts with the same listener and relay, as two workers have them.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use remuda_front::http::Response;
use remuda_front::{
    Content, Drain, Exchange, Front, Limits, Listener, Proxies, Relay, Setup, Siblings,
    TrustedPeers,
};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

const DEADLINE: Duration = Duration::from_secs(10);

struct Two {
    busy: Front,
    idle: Front,
    port: u16,
}

/// What each of them is told of the other: there is none, or it holds so many connections.
#[derive(Clone, Copy)]
struct Counts(Option<usize>);

impl Siblings for Counts {
    fn hold(&self, _: usize) {}
    fn leave(&self) {}
    fn fewest(&self) -> Option<usize> {
        self.0
    }
}

fn siblings() -> Two {
    two(Counts(None), None)
}

/// `stuck`: see there.
fn two(counts: impl Siblings + Clone + 'static, stuck: Option<Duration>) -> Two {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    listener.set_nonblocking(true).expect("flag");
    let port = listener.local_addr().expect("address").port();
    let flags = SocketFlags::CLOEXEC;
    let (give, take) =
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).expect("pair");
    let front = || {
        let own = |fd: &OwnedFd| fd.try_clone().expect("descriptor");
        let fd = OwnedFd::from(listener.try_clone().expect("descriptor"));
        let listener = Listener::new(fd, "127.0.0.1".into(), Some(port));
        let limits = Limits { has_siblings: true, stuck, ..Limits::default() };
        let watched = std::os::unix::net::UnixDatagram::unbound().expect("socket").into();
        let relay = Relay::new(own(&give), own(&take), Box::new(counts.clone()));
        let proxies = Proxies { trusted: TrustedPeers::Everyone, ..Proxies::default() };
        let (listeners, relay) = (vec![listener], Some(relay));
        let setup = Setup { listeners, limits, proxies, relay, ..Setup::default() };
        Front::new(setup, watched).expect("front")
    };
    Two { busy: front(), idle: front(), port }
}

impl Two {
    /// A client of `busy` whose next request waits, and one whose request is with its app; from now on
    /// `busy` collects nothing.
    fn waiting_behind_a_slow_one(&self) -> (TcpStream, TcpStream, Exchange) {
        let mut waiting = self.client_of_busy();
        let mut slow = self.client_of_busy();
        ask(&mut slow, "/slow");
        let in_app = wait_for_request(&self.busy);
        ask(&mut waiting, "/quick");
        (waiting, slow, in_app)
    }

    fn client_of_busy(&self) -> TcpStream {
        self.client_of(&self.busy)
    }

    /// A connection that one of them has accepted, and on which it has answered one request.
    fn client_of(&self, front: &Front) -> TcpStream {
        let mut client = TcpStream::connect(("127.0.0.1", self.port)).expect("connect");
        client.set_read_timeout(Some(DEADLINE)).expect("timeout");
        ask(&mut client, "/first");
        reply(front, wait_for_request(front), "one of them");
        assert!(answer(&mut client).ends_with("one of them /first"));
        client
    }
}

impl Two {
    /// A connection with one request answered, by whoever has got it.
    fn client_of_busy_or_idle(&self) -> TcpStream {
        let mut client = TcpStream::connect(("127.0.0.1", self.port)).expect("connect");
        client.set_read_timeout(Some(DEADLINE)).expect("timeout");
        ask(&mut client, "/");
        let begun = Instant::now();
        loop {
            for front in [&self.busy, &self.idle] {
                front.collect().expect("collect");
                if let Some(exchange) = front.next_exchange() {
                    reply(front, exchange, "one of them");
                    assert!(answer(&mut client).ends_with("one of them /"));
                    return client;
                }
            }
            assert!(begun.elapsed() < DEADLINE, "nobody has taken it");
        }
    }
}

fn ask(client: &mut TcpStream, path: &str) {
    client.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).expect("write");
}

fn answer(client: &mut TcpStream) -> String {
    let mut bytes = [0; 1000];
    let length = client.read(&mut bytes).expect("an answer");
    String::from_utf8(bytes[..length].to_vec()).expect("text")
}

fn wait_for_request(front: &Front) -> Exchange {
    let deadline = Instant::now() + DEADLINE;
    loop {
        front.collect().expect("collect");
        if let Some(exchange) = front.next_exchange() {
            return exchange;
        }
        assert!(Instant::now() < deadline, "no request came");
    }
}

/// Lets a front come round until it holds so many connections.
fn collect_until(front: &Front, connections: usize) {
    let deadline = Instant::now() + DEADLINE;
    while front.connections() != connections {
        front.collect().expect("collect");
        assert!(front.next_exchange().is_none(), "nobody has asked");
        assert!(Instant::now() < deadline, "it holds {} connections", front.connections());
    }
}

fn reply(front: &Front, exchange: Exchange, name: &str) {
    let text = format!("{name} {}", exchange.head.uri.path());
    exchange.reply(front, Response::new(Content::Whole(Bytes::from(text))));
}

#[test]
fn a_request_to_a_busy_worker_is_served_by_an_idle_one() {
    let siblings = siblings();
    let (mut waiting, mut slow, in_app) = siblings.waiting_behind_a_slow_one();
    reply(&siblings.idle, wait_for_request(&siblings.idle), "idle");
    assert!(answer(&mut waiting).ends_with("idle /quick"));
    reply(&siblings.busy, in_app, "busy");
    assert!(answer(&mut slow).ends_with("busy /slow"));
    siblings.busy.collect().expect("collect");
    assert_eq!((siblings.busy.connections(), siblings.idle.connections()), (1, 1));
    // It stays where it is.
    ask(&mut waiting, "/again");
    reply(&siblings.idle, wait_for_request(&siblings.idle), "idle");
    assert!(answer(&mut waiting).ends_with("idle /again"));
}

/// Otherwise it would go from one busy worker to the other, always to the end of their lines.
#[test]
fn what_has_just_come_from_a_sibling_is_the_last_to_be_passed_on() {
    let siblings = siblings();
    let (busy, idle) = (&siblings.busy, &siblings.idle);
    let (mut guest, mut slow) = (siblings.client_of(idle), siblings.client_of(idle));
    let (leaves, mut own) = (siblings.client_of(busy), siblings.client_of(busy));
    // Its place is the guest's, in front of the other.
    drop(leaves);
    collect_until(busy, 1);
    ask(&mut slow, "/slow");
    let in_app = wait_for_request(idle);
    ask(&mut own, "/own");
    ask(&mut guest, "/guest");
    let deadline = Instant::now() + DEADLINE;
    while busy.connections() < 2 {
        busy.collect().expect("collect");
        assert!(Instant::now() < deadline, "nobody has passed the guest on");
    }
    reply(idle, in_app, "idle");
    let passed = wait_for_request(idle);
    assert_eq!(passed.head.uri.path(), "/own");
    reply(idle, passed, "idle");
    assert!(answer(&mut own).ends_with("idle /own"));
}

#[test]
fn a_worker_that_has_more_than_its_share_lets_others_have_new_connections() {
    let siblings = two(Counts(Some(0)), None);
    let _first = siblings.client_of_busy();
    let _second = siblings.client_of_busy();
    let mut third = TcpStream::connect(("127.0.0.1", siblings.port)).expect("connect");
    third.set_read_timeout(Some(DEADLINE)).expect("timeout");
    siblings.busy.collect().expect("collect");
    ask(&mut third, "/third");
    reply(&siblings.idle, wait_for_request(&siblings.idle), "idle");
    assert!(answer(&mut third).ends_with("idle /third"));
    assert_eq!((siblings.busy.connections(), siblings.idle.connections()), (2, 1));
}

/// What a worker has said of itself.
#[derive(Clone, Default)]
struct Said(Arc<Mutex<Vec<Option<usize>>>>);

impl Siblings for Said {
    fn hold(&self, connections: usize) {
        self.0.lock().expect("unpoisoned").push(Some(connections));
    }
    fn leave(&self) {
        self.0.lock().expect("unpoisoned").push(None);
    }
    fn fewest(&self) -> Option<usize> {
        None
    }
}

#[test]
fn a_stuck_worker_is_not_counted_until_it_comes_round() {
    let said = Said::default();
    let siblings = two(said.clone(), None);
    let (_waiting, _slow, in_app) = siblings.waiting_behind_a_slow_one();
    reply(&siblings.idle, wait_for_request(&siblings.idle), "idle");
    assert!(said.0.lock().expect("unpoisoned").contains(&None));
    reply(&siblings.busy, in_app, "busy");
    siblings.busy.collect().expect("collect");
    assert_eq!(said.0.lock().expect("unpoisoned").last(), Some(&Some(1)));
}

#[test]
fn a_connection_that_nobody_wants_stays_somewhere() {
    let siblings = two(Counts(Some(0)), None);
    let clients: Vec<_> = (0..4).map(|_| siblings.client_of_busy_or_idle()).collect();
    let held = siblings.busy.connections() + siblings.idle.connections();
    assert_eq!(held, clients.len());
}

#[test]
fn a_worker_that_comes_round_in_time_keeps_its_connections() {
    let siblings = siblings();
    let mut client = siblings.client_of_busy();
    for _ in 0..50 {
        ask(&mut client, "/");
        reply(&siblings.busy, wait_for_request(&siblings.busy), "busy");
        assert!(answer(&mut client).ends_with("busy /"));
    }
    siblings.idle.collect().expect("collect");
    assert_eq!((siblings.busy.connections(), siblings.idle.connections()), (1, 0));
}

#[test]
fn a_worker_that_leaves_gives_its_idle_connections_to_others() {
    let siblings = siblings();
    let mut client = siblings.client_of_busy();
    siblings.busy.drain(Drain::ToSiblings);
    assert!(siblings.busy.is_drained());
    ask(&mut client, "/second");
    reply(&siblings.idle, wait_for_request(&siblings.idle), "idle");
    let text = answer(&mut client);
    assert!(text.ends_with("idle /second") && !text.contains("Connection: close"), "{text}");
}

#[test]
fn a_worker_that_leaves_answers_what_it_has_and_then_gives_the_connection_away() {
    let siblings = siblings();
    let mut client = siblings.client_of_busy();
    ask(&mut client, "/last");
    let in_app = wait_for_request(&siblings.busy);
    siblings.busy.drain(Drain::ToSiblings);
    assert!(!siblings.busy.is_drained());
    reply(&siblings.busy, in_app, "busy");
    let text = answer(&mut client);
    assert!(text.ends_with("busy /last") && !text.contains("Connection: close"), "{text}");
    assert!(siblings.busy.is_drained());
    ask(&mut client, "/next");
    reply(&siblings.idle, wait_for_request(&siblings.idle), "idle");
    assert!(answer(&mut client).ends_with("idle /next"));
}

#[test]
fn the_last_worker_takes_back_what_nobody_has_taken() {
    let siblings = siblings();
    let mut client = siblings.client_of_busy();
    siblings.busy.drain(Drain::ToSiblings);
    ask(&mut client, "/left");
    siblings.busy.drain(Drain::Last);
    reply(&siblings.busy, wait_for_request(&siblings.busy), "busy");
    let text = answer(&mut client);
    assert!(text.ends_with("busy /left") && text.contains("Connection: close"), "{text}");
}

#[test]
fn a_request_whose_app_does_not_come_back_is_answered_all_the_same() {
    let siblings = two(Counts(None), Some(Duration::from_millis(300)));
    let mut client = siblings.client_of_busy();
    ask(&mut client, "/stuck");
    let in_app = wait_for_request(&siblings.busy);
    // From now on `busy` is stuck in the app.
    let mut answer = String::new();
    client.read_to_string(&mut answer).expect("an answer, and the end");
    assert!(answer.starts_with("HTTP/1.1 504 Gateway Timeout\r\n"), "{answer}");
    // The app comes back after all; there is nothing left to do.
    reply(&siblings.busy, in_app, "busy");
    siblings.busy.collect().expect("collect");
    assert!(siblings.busy.next_exchange().is_none());
    assert_eq!(siblings.busy.connections(), 0);
}

#[test]
fn a_request_that_has_asked_for_patience_is_given_it() {
    let siblings = two(Counts(None), Some(Duration::from_millis(300)));
    let mut client = siblings.client_of_busy();
    ask(&mut client, "/long");
    let in_app = wait_for_request(&siblings.busy);
    siblings.busy.put_off(Duration::from_secs(60));
    client.set_read_timeout(Some(Duration::from_millis(1500))).expect("timeout");
    assert!(client.read(&mut [0; 10]).is_err(), "nothing has come");
    client.set_read_timeout(Some(DEADLINE)).expect("timeout");
    reply(&siblings.busy, in_app, "busy");
    assert!(self::answer(&mut client).ends_with("busy /long"));
}

#[test]
fn what_was_passed_on_while_everybody_leaves_is_taken_back_by_the_last() {
    let siblings = siblings();
    let mut waiting = siblings.client_of_busy();
    let mut slow = siblings.client_of_busy();
    ask(&mut slow, "/slow");
    let in_app = wait_for_request(&siblings.busy);
    // `idle` leaves before `busy` hears that it has to, and passes a request on meanwhile.
    siblings.idle.drain(Drain::Last);
    assert!(siblings.idle.is_drained());
    ask(&mut waiting, "/quick");
    std::thread::sleep(Duration::from_millis(200));
    reply(&siblings.busy, in_app, "busy");
    assert!(answer(&mut slow).ends_with("busy /slow"));
    siblings.busy.drain(Drain::Last);
    reply(&siblings.busy, wait_for_request(&siblings.busy), "busy");
    assert!(answer(&mut waiting).ends_with("busy /quick"));
}
