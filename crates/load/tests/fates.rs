//! The client against servers that misbehave in every way it has a word for.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use clap::Parser;
use remuda_load::arguments::Arguments;
use remuda_load::{Plan, Report, RunError, run};
use socket2::SockRef;

/// A server that does `behave` with each connection, in a thread of its own; the number of a
/// connection counts from 0.
fn server(behave: impl Fn(usize, Client) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let address = listener.local_addr().expect("address");
    let behave = Arc::new(behave);
    thread::spawn(move || {
        for (number, stream) in listener.incoming().flatten().enumerate() {
            let behave = behave.clone();
            thread::spawn(move || behave(number, Client { reader: BufReader::new(stream) }));
        }
    });
    address
}

struct Client {
    reader: BufReader<TcpStream>,
}

impl Client {
    /// The head of the next request; `None` when there is none.
    fn head(&mut self) -> Option<String> {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if self.reader.read_line(&mut head).ok()? == 0 {
                return None;
            }
        }
        Some(head)
    }

    fn say(&mut self, text: &str) {
        // A client that has left is part of the game.
        let _ = self.reader.get_mut().write_all(text.as_bytes());
    }

    fn answer(&mut self) {
        self.say("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
    }

    fn reset(self) {
        let stream = self.reader.into_inner();
        SockRef::from(&stream).set_linger(Some(Duration::ZERO)).expect("linger");
    }
}

fn plan(address: SocketAddr, arguments: &[&str]) -> Plan {
    let address = address.to_string();
    let all = ["remuda-load", &address, "--seconds", "10", "--timeout", "10"];
    Arguments::try_parse_from(all.iter().chain(arguments)).expect("valid arguments").plan()
}

fn load(address: SocketAddr, arguments: &[&str]) -> Report {
    run(&plan(address, arguments), &AtomicBool::new(false)).expect("a report")
}

/// One request, one connection.
const ONE: [&str; 4] = ["--connections", "1", "--requests", "1"];

fn assert_books_balance(report: &Report) {
    let all = &report.all;
    let broken = |b: remuda_load::account::Broken| b.before_response + b.within_response;
    assert_eq!(all.by_class.values().sum::<u64>(), all.answered);
    assert_eq!(
        all.requests,
        all.answered
            + all.refused
            + all.connect_timed_out
            + all.not_sent
            + broken(all.reset)
            + broken(all.closed_early)
            + all.timed_out
            + all.invalid_response
            + all.wrong_length,
        "{report:#?}"
    );
}

#[test]
fn answers_are_counted_by_status_and_their_number_is_what_was_asked_for() {
    let statuses = ["200 OK", "404 Not Found", "503 Service Unavailable"];
    let next = AtomicUsize::new(0);
    let address = server(move |_, mut client| {
        while client.head().is_some() {
            let status = statuses[next.fetch_add(1, Ordering::Relaxed) % 3];
            client.say(&format!("HTTP/1.1 {status}\r\nContent-Length: 2\r\n\r\nok"));
        }
    });
    let report = load(address, &["--connections", "3", "--requests", "30"]);
    assert_books_balance(&report);
    let found: Vec<_> = report.all.by_status.into_iter().collect();
    assert_eq!(found, [(200, 10), (404, 10), (503, 10)]);
    assert_eq!(report.all.lost, 0, "an answer is no loss, whatever it says");
    assert_eq!(report.failures.len(), 10, "but an error of the server is described");
    assert_eq!(report.connections_opened, 3);
    assert_eq!(report.all.latency_ms.count, 30);
}

#[test]
fn a_connection_that_breaks_off_is_told_apart_by_how_and_where() {
    const HALF: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe";
    type Count = fn(&Report) -> u64;
    let cases: [(bool, &str, Count); 6] = [
        (true, "", |report| report.all.reset.before_response),
        (true, HALF, |report| report.all.reset.within_response),
        (true, "HTTP/1.1 200", |report| report.all.reset.within_response),
        (false, "", |report| report.all.closed_early.before_response),
        (false, HALF, |report| report.all.closed_early.within_response),
        (false, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", |report| {
            report.all.closed_early.within_response
        }),
    ];
    for (reset, text, count) in cases {
        let address = server(move |_, mut client| {
            client.head();
            client.say(text);
            // What was said must be read before it is overtaken by a reset.
            thread::sleep(Duration::from_millis(100));
            if reset {
                client.reset();
            }
        });
        let report = load(address, &ONE);
        assert_books_balance(&report);
        assert_eq!((count(&report), report.all.lost), (1, 1), "{reset} {text:?} {report:#?}");
        assert_eq!(report.all.sent_again, 0, "a first request on a connection is never sent again");
    }
}

#[test]
fn a_kept_connection_closed_without_reading_is_no_loss() {
    // Closing, and half-closing and draining, as servers with a lingering close do.
    for lingering in [false, true] {
        let address = server(move |_, mut client| {
            client.head();
            // The end travels in one segment with the answer, so no request comes in between.
            SockRef::from(client.reader.get_ref()).set_tcp_cork(true).expect("cork");
            client.answer();
            if lingering {
                let stream = client.reader.get_ref();
                stream.shutdown(Shutdown::Write).expect("shutdown");
                thread::sleep(Duration::from_millis(20));
                let _ = client.reader.read_to_end(&mut Vec::new());
            }
        });
        let report = load(address, &["--connections", "1", "--requests", "20"]);
        assert_books_balance(&report);
        assert_eq!((report.all.answered, report.all.lost), (20, 0), "{report:#?}");
        assert_eq!((report.closed_while_idle, report.all.sent_again), (19, 0), "{report:#?}");
        assert_eq!(report.connections_opened, 20);
    }
}

#[test]
fn a_kept_connection_closed_after_reading_is_a_loss() {
    let address = server(|number, mut client| {
        client.head();
        client.answer();
        if number == 0 {
            client.head();
            return;
        }
        while client.head().is_some() {
            client.answer();
        }
    });
    let report = load(address, &["--connections", "1", "--requests", "10"]);
    assert_books_balance(&report);
    assert_eq!(report.all.closed_early.before_response, 1, "{report:#?}");
    assert_eq!((report.all.lost, report.all.sent_again, report.all.answered), (1, 0, 9));
    assert_eq!((report.failures[0].number, report.failures[0].kept), (1, true));
    assert_eq!(report.failures[0].what, "closed before the response");
}

#[test]
fn a_kept_connection_reset_with_the_request_unread_is_no_loss() {
    let address = server(|_, mut client| {
        client.head();
        client.answer();
        // The next request comes, is not read, and closing resets the connection.
        let _ = client.reader.get_ref().peek(&mut [0; 1]);
    });
    let report = load(address, &["--connections", "1", "--requests", "10"]);
    assert_books_balance(&report);
    assert_eq!((report.all.sent_again, report.all.lost, report.all.answered), (9, 0, 10));
}

#[test]
fn nobody_listening_is_a_refusal_and_not_a_loss() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let address = listener.local_addr().expect("address");
    drop(listener);
    for arguments in [&ONE[..], &["--rate", "100", "--requests", "1"]] {
        let report = load(address, arguments);
        assert_books_balance(&report);
        assert_eq!((report.all.refused, report.all.sent, report.all.lost), (1, 0, 0));
    }
}

#[test]
fn a_server_that_never_answers_is_given_up_in_time() {
    let address = server(|_, mut client| {
        client.head();
        thread::sleep(Duration::from_secs(5));
    });
    let report = load(address, &[&ONE[..], &["--timeout", "0.2"]].concat());
    assert_books_balance(&report);
    assert_eq!((report.all.timed_out, report.all.lost), (1, 1));
}

#[test]
fn what_is_no_response_or_too_much_is_invalid() {
    for text in ["SSH-2.0-OpenSSH\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nabc"] {
        let address = server(move |_, mut client| {
            client.head();
            client.say(text);
            client.head();
        });
        let report = load(address, &ONE);
        assert_eq!((report.all.invalid_response, report.all.lost), (1, 1), "{text:?}");
    }
}

#[test]
fn a_body_of_another_length_than_expected_is_a_loss() {
    let address = server(|_, mut client| {
        while client.head().is_some() {
            client.answer();
        }
    });
    let right = load(address, &[&ONE[..], &["--expect-bytes", "5"]].concat());
    assert_eq!((right.all.answered, right.all.lost), (1, 0));
    let wrong = load(address, &[&ONE[..], &["--expect-bytes", "6"]].concat());
    assert_eq!((wrong.all.wrong_length, wrong.all.lost), (1, 1));
}

#[test]
fn one_request_a_connection_says_so_and_opens_as_many() {
    let address = server(|_, mut client| {
        let head = client.head().unwrap_or_default();
        assert!(head.contains("\r\nConnection: close\r\n"), "{head}");
        client.answer();
    });
    let report = load(address, &["--close", "--connections", "4", "--requests", "40"]);
    assert_books_balance(&report);
    assert_eq!((report.all.answered, report.connections_opened), (40, 40), "{report:#?}");
}

#[test]
fn uploads_arrive_whole_and_an_early_answer_counts() {
    for chunked in [false, true] {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let seen_by_server = seen.clone();
        let address = server(move |_, mut client| {
            let head = client.head().unwrap_or_default();
            assert_eq!(head.contains("Content-Length: 300000\r\n"), !chunked, "{head}");
            let mut body = vec![0; if chunked { 300_000 + 19 * 8 + 5 } else { 300_000 }];
            // The last chunk's length has as many digits as the others'.
            let _ = client.reader.get_ref().set_read_timeout(Some(Duration::from_millis(300)));
            let mut length = 0;
            while length < body.len() {
                match client.reader.read(&mut body[length..]) {
                    Ok(0) | Err(_) => break,
                    Ok(more) => length += more,
                }
            }
            seen_by_server.lock().expect("lock").extend_from_slice(&body[..length]);
            client.answer();
        });
        let mut arguments = [&ONE[..], &["--body-bytes", "300000"]].concat();
        arguments.extend(chunked.then_some("--chunked"));
        let report = load(address, &arguments);
        assert_eq!(report.all.answered, 1, "{report:#?}");
        let body = seen.lock().expect("lock");
        assert_eq!(body.iter().filter(|&&byte| byte == b'x').count(), 300_000);
        assert_eq!(body.ends_with(b"\r\n0\r\n\r\n"), chunked);
    }

    let address = server(|_, mut client| {
        client.head();
        client.say(
            "HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        );
        let _ = client.reader.get_ref().shutdown(Shutdown::Write);
        let _ = client.reader.read_to_end(&mut Vec::new());
    });
    let report = load(address, &[&ONE[..], &["--body-bytes", "50000000"]].concat());
    assert_eq!(report.all.by_status.get(&413), Some(&1), "{report:#?}");
}

#[test]
fn a_stall_shows_in_every_request_that_was_due_meanwhile() {
    let address = server(|_, mut client| {
        let mut served = 0;
        while client.head().is_some() {
            if served == 20 {
                thread::sleep(Duration::from_millis(500));
            }
            served += 1;
            client.answer();
        }
    });
    let report = load(address, &["--rate", "200", "--connections", "1", "--requests", "200"]);
    assert_books_balance(&report);
    assert_eq!(report.all.answered, 200);
    // A hundred fell due during half a second. A closed loop would have seen one slow request.
    assert!(report.all.latency_ms.p90 > 200.0, "{report:#?}");
    assert!(report.all.latency_ms.max >= 450.0, "{report:#?}");
}

#[test]
fn slow_clients_send_in_dribbles_beside_the_others() {
    let dribbled = Arc::new(AtomicUsize::new(0));
    let seen = dribbled.clone();
    let address = server(move |_, mut client| {
        loop {
            let first = client.reader.fill_buf().map_or(0, <[u8]>::len);
            seen.fetch_add(usize::from((1..=8).contains(&first)), Ordering::Relaxed);
            if client.head().is_none() {
                return;
            }
            client.answer();
        }
    });
    let report = load(
        address,
        &["--connections", "4", "--slow", "0.25", "--slow-pause-ms", "10", "--seconds", "1"],
    );
    let slow = report.slow.as_ref().expect("a group of their own");
    assert!(slow.answered >= 1 && slow.lost == 0, "{report:#?}");
    assert_eq!(slow.requests, slow.answered + slow.unfinished);
    assert!(report.all.answered > slow.answered, "the others did not wait: {report:#?}");
    assert!(dribbled.load(Ordering::Relaxed) >= 1, "no head came in pieces");
}

#[test]
fn slow_readers_get_their_response_in_the_end() {
    let address = server(|_, mut client| {
        while client.head().is_some() {
            let body = "x".repeat(20_000);
            client.say(&format!("HTTP/1.1 200 OK\r\nContent-Length: 20000\r\n\r\n{body}"));
        }
    });
    let report = load(
        address,
        &[
            "--connections",
            "2",
            "--slow",
            "0.5",
            "--slow-what",
            "read",
            "--slow-bytes",
            "4000",
            "--slow-pause-ms",
            "10",
            "--seconds",
            "1",
            "--expect-bytes",
            "20000",
        ],
    );
    let slow = report.slow.as_ref().expect("a group of their own");
    assert!(slow.answered >= 1 && slow.lost == 0, "{report:#?}");
}

#[test]
fn paths_are_asked_for_as_often_as_they_weigh_and_each_request_has_its_number() {
    let heads = Arc::new(Mutex::new(Vec::new()));
    let seen = heads.clone();
    let address = server(move |_, mut client| {
        while let Some(head) = client.head() {
            seen.lock().expect("lock").push(head);
            client.answer();
        }
    });
    let report = load(
        address,
        &[
            "3:/often",
            "/seldom",
            "--requests",
            "40",
            "--connections",
            "2",
            "--number-header",
            "X-N",
        ],
    );
    assert_eq!(report.paths["/often"].answered, 30);
    assert_eq!(report.paths["/seldom"].answered, 10);
    let mut numbers: Vec<u64> = heads
        .lock()
        .expect("lock")
        .iter()
        .filter_map(|head| head.split("X-N: ").nth(1)?.trim_end().parse().ok())
        .collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..40).collect::<Vec<u64>>());
}

#[test]
fn a_run_that_is_stopped_ends_what_it_has_begun() {
    let address = server(|_, mut client| {
        while client.head().is_some() {
            thread::sleep(Duration::from_millis(50));
            client.answer();
        }
    });
    let stopping = Arc::new(AtomicBool::new(false));
    let flag = stopping.clone();
    thread::spawn(move || {
        thread::sleep(Duration::from_millis(300));
        flag.store(true, Ordering::Relaxed);
    });
    let report = run(&plan(address, &["--connections", "4"]), &stopping).expect("a report");
    assert_books_balance(&report);
    assert!(report.all.answered >= 4, "{report:#?}");
    assert_eq!(report.all.answered, report.all.requests);
    assert!(report.seconds_with_rest < 9.0, "it was not stopped");
}

#[test]
fn other_machines_are_refused() {
    let plan = plan("192.0.2.1:80".parse().expect("address"), &[]);
    let error = run(&plan, &AtomicBool::new(false)).expect_err("no load to other machines");
    assert!(matches!(error, RunError::NotLoopback(_)));
    assert_eq!(
        error.to_string(),
        "192.0.2.1:80 is not a loopback address; load goes to this machine only"
    );
}
