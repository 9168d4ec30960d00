//! Packets that nobody should send, by the million if one has the time: `make fuzz`.
//!
//! A connection brings one request at most, which is what a second reading of the packet gives;
//! or a refusal; in however many pieces it comes.

mod support;

use std::collections::BTreeMap;

use percent_encoding::percent_decode_str;
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use remuda_front::{Limits, Protocols, TrustedPeers};
use support::fuzzing::{Sent, mutate, search, whole};
use support::{Answers, Bench, Outcome, Request};

fn bench(stream_bodies: bool) -> Bench {
    let limits = Limits { body_spool_bytes: 64, stream_bodies, ..Limits::default() };
    let uwsgi = Some(TrustedPeers::Everyone);
    Bench::speaking(limits, Protocols { uwsgi, ..Protocols::default() })
}

const VARIABLES: &[(&str, &str)] = &[
    ("REQUEST_METHOD", "POST"),
    ("REQUEST_METHOD", "HEAD"),
    ("PATH_INFO", "/a b"),
    ("PATH_INFO", "/a%41"),
    ("REQUEST_URI", "/a%20b?c"),
    ("REQUEST_URI", "/a%2541"),
    ("QUERY_STRING", "c=d&e=%20"),
    ("CONTENT_LENGTH", ""),
    ("CONTENT_LENGTH", "0"),
    ("CONTENT_LENGTH", "5"),
    ("CONTENT_LENGTH", "90"),
    ("CONTENT_TYPE", ""),
    ("CONTENT_TYPE", "text/plain"),
    ("HTTP_CONTENT_LENGTH", "7"),
    ("HTTP_CONTENT_TYPE", "a/b"),
    ("HTTP_TRANSFER_ENCODING", "chunked"),
    ("HTTP_CONNECTION", "keep-alive"),
    ("HTTP_EXPECT", "100-continue"),
    ("HTTP_HOST", "shop"),
    ("HTTP_X_A", "b"),
    ("HTTP_X_A", "c"),
    ("HTTPS", "on"),
    ("REMOTE_ADDR", "192.0.2.7"),
    ("", ""),
];

const NASTY: &[(&str, &str)] = &[
    ("REQUEST_METHOD", "get"),
    ("REQUEST_METHOD", "GET / HTTP/1.1"),
    ("REQUEST_METHOD", "CONNECT"),
    ("PATH_INFO", ""),
    ("PATH_INFO", "a"),
    ("PATH_INFO", "*"),
    ("PATH_INFO", "/#?\r\n\u{0}\u{e9}"),
    ("REQUEST_URI", "/#?\r\n\u{0}\u{e9}"),
    ("QUERY_STRING", "a#b"),
    ("QUERY_STRING", "a b\r\n"),
    ("CONTENT_LENGTH", "+5"),
    ("CONTENT_LENGTH", "5, 5"),
    ("CONTENT_LENGTH", "99999999999999999999"),
    ("CONTENT_LENGTH", "9223372036854775807"),
    ("CONTENT_TYPE", "a\nb"),
    ("HTTP_HOST", "a/b"),
    ("HTTP_", ""),
    ("HTTP_A B", ""),
    ("HTTP_A", "b\r\nContent-Length: 5"),
];

fn packet(variables: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = vec![0; 4];
    for text in variables.iter().flat_map(|(key, value)| [key, value]) {
        bytes.extend_from_slice(&(text.len() as u16).to_le_bytes());
        bytes.extend_from_slice(text.as_bytes());
    }
    let size = (bytes.len() - 4) as u16;
    bytes[1..3].copy_from_slice(&size.to_le_bytes());
    bytes
}

fn bytes() -> impl Strategy<Value = Sent> {
    let variable = prop_oneof![
        12 => prop::sample::select(VARIABLES),
        1 => prop::sample::select(NASTY),
    ];
    let packets = prop::collection::vec(prop::collection::vec(variable, 0..9), 1..3);
    let body = prop_oneof![Just(String::new()), Just("hello".to_owned()), "[a-z\\r\\n]{0,200}"];
    let changes =
        prop::collection::vec((any::<u8>(), any::<prop::sample::Index>(), any::<u8>()), 0..3);
    let changes = prop_oneof![2 => Just(Vec::new()), 1 => changes];
    (packets, body, changes).prop_map(|(packets, body, changes)| {
        // A second packet stands where a body may be, too.
        let mut bytes: Vec<u8> = packets.iter().flat_map(|variables| packet(variables)).collect();
        bytes.extend_from_slice(body.as_bytes());
        changes.into_iter().for_each(|change| mutate(&mut bytes, change));
        Sent(bytes)
    })
}

/// The variables of a whole packet, those that come again once, and what stands behind it.
struct Reading<'a> {
    variables: BTreeMap<&'a [u8], &'a [u8]>,
    behind: &'a [u8],
}

fn reading(bytes: &[u8]) -> Option<Reading<'_>> {
    let size = usize::from(*bytes.get(1)?) + 256 * usize::from(*bytes.get(2)?);
    let inside = bytes.get(4..4 + size).filter(|_| bytes[0] == 0)?;
    let mut texts = Vec::new();
    let mut at = 0;
    while at < inside.len() {
        let length = usize::from(*inside.get(at)?) + 256 * usize::from(*inside.get(at + 1)?);
        texts.push(inside.get(at + 2..at + 2 + length)?);
        at += 2 + length;
    }
    let pairs = texts.chunks(2).map(|pair| Some((pair[0], *pair.get(1)?)));
    Some(Reading { variables: pairs.collect::<Option<_>>()?, behind: &bytes[4 + size..] })
}

/// The one request is that of the packet.
fn check_request(request: &Request, reading: &Reading<'_>) -> Result<(), TestCaseError> {
    let said = |name: &str, default| *reading.variables.get(name.as_bytes()).unwrap_or(&default);
    prop_assert_eq!(request.method.as_bytes(), said("REQUEST_METHOD", b"GET"));
    let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
    let path: Vec<u8> = percent_decode_str(path).collect();
    let given = said("PATH_INFO", b"");
    prop_assert_eq!(&path, if given.is_empty() { b"/" } else { given });
    prop_assert_eq!(query.as_bytes(), said("QUERY_STRING", b""));
    let length = std::str::from_utf8(said("CONTENT_LENGTH", b"")).expect("digits");
    let length: usize = if length.is_empty() { 0 } else { length.parse().expect("a number") };
    prop_assert_eq!(&request.body[..], &reading.behind[..length]);
    for (name, value) in &request.headers {
        prop_assert!(!name.contains('_') && name != "transfer-encoding", "{}", name);
        prop_assert!(!value.iter().any(|byte| b"\r\n\0".contains(byte)), "{:?}", value);
    }
    Ok(())
}

fn check(bytes: &[u8], outcome: &Outcome) -> Result<(), TestCaseError> {
    prop_assert!(outcome.requests.len() <= 1, "{:?}", outcome.requests);
    prop_assert!(outcome.responses.len() <= 1, "{:?}", outcome.responses);
    prop_assert!(outcome.rest.is_empty(), "half a response: {:?}", outcome.rest);
    let answer = outcome.responses.first();
    if let Some(request) = outcome.requests.first() {
        let reading = reading(bytes);
        let reading = reading.ok_or_else(|| TestCaseError::fail("there is no packet"))?;
        check_request(request, &reading)?;
        prop_assert_eq!(answer.map(|answer| answer.status), Some(200));
    } else if let Some(refusal) = answer {
        prop_assert!((400..600).contains(&refusal.status), "{:?}", refusal);
        prop_assert_eq!(refusal.header("connection"), Some("close"), "{:?}", refusal);
    }
    Ok(())
}

#[test]
fn a_wsgi_app_gets_the_one_request_of_a_packet() {
    search(&bench(false), bytes(), whole(check));
}

#[test]
fn an_asgi_app_gets_the_one_request_of_a_packet() {
    search(&bench(true), bytes(), whole(check));
}

#[test]
fn an_app_that_answers_before_it_reads_answers_once() {
    let bench = Bench { answers: Answers::AtOnce, ..bench(true) };
    search(&bench, bytes(), |bench, bytes, cut| {
        let (head, tail) = bytes.split_at(cut);
        for outcome in [bench.feed([bytes]), bench.feed(bytes.chunks(1)), bench.feed([head, tail])]
        {
            prop_assert!(outcome.requests.len() <= 1 && outcome.responses.len() <= 1);
            prop_assert!(outcome.rest.is_empty(), "half a response: {:?}", outcome.rest);
        }
        Ok(())
    });
}

#[test]
fn a_packet_of_64_kib_is_read() {
    let long = "x".repeat(8000);
    let mut variables = vec![("HTTP_A", long.as_str()); 8];
    variables.push(("HTTP_B", "x"));
    let bytes = packet(&variables);
    assert!(bytes.len() > 64_000);
    for pieces in [vec![&bytes[..]], bytes.chunks(1000).collect()] {
        let outcome = bench(false).feed(pieces);
        assert_eq!(outcome.requests.len(), 1);
        assert_eq!(outcome.requests[0].headers.len(), 9);
    }
}
