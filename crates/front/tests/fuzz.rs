//! Bytes that nobody should send, by the million if one has the time: `make fuzz`.
//!
//! Whatever comes in, the executor gets what a strict reading of it gives and nothing else, in
//! however many pieces it comes; a refusal is a whole response and the connection's last; and
//! nothing panics, which in a worker would end the process.

mod support;

use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use remuda_front::{Lenience, Limits};
use support::fuzzing::{Sent, mutate, search, whole};
use support::reference::{self, End, Reading};
use support::{Answers, Bench, Outcome};

fn bench(stream_bodies: bool) -> Bench {
    Bench::new(Limits { body_spool_bytes: 64, stream_bodies, ..Limits::default() })
}

fn method() -> impl Strategy<Value = &'static str> {
    prop_oneof![
        12 => Just("GET"),
        6 => Just("POST"),
        2 => Just("HEAD"),
        2 => Just("OPTIONS"),
        1 => prop::sample::select(vec!["get", "PRI", "CONNECT", "G", "X#Y", "A-VERY-LONG-METHOD-NAME", "", "GE T"]),
    ]
}

fn target() -> impl Strategy<Value = &'static str> {
    prop_oneof![
        16 => Just("/"),
        4 => Just("/a/b?c=d&e=%20"),
        1 => prop::sample::select(vec!["*", "", "//x", "/a b", "x:80", "/\x7f", "/é", "/#f", "/^`<>\"", "?", "a"]),
    ]
}

fn version() -> impl Strategy<Value = &'static str> {
    prop_oneof![
        16 => Just("HTTP/1.1"),
        4 => Just("HTTP/1.0"),
        1 => prop::sample::select(vec!["HTTP/0.9", "HTTP/2.0", "HTTP/1.2", "http/1.1", "HTTP/1.1 ", "HTTP/11", ""]),
    ]
}

fn line_end() -> impl Strategy<Value = &'static str> {
    prop_oneof![60 => Just("\r\n"), 1 => prop::sample::select(vec!["\n", "\r", "\r\r\n", "\n\r", ""])]
}

const FIELDS: &[&str] = &[
    "Host: x",
    "Accept: */*",
    "X-A: b",
    "Connection: keep-alive",
    "Connection: close",
    "Connection: x, close",
    "Content-Type: text/plain",
    "Cookie: a=b",
    "Upgrade: h2c",
    "Upgrade: websocket",
    "Expect: 100-continue",
    "TE: trailers",
    "x:",
    "X-B:\tc\t",
];

const NASTY: &[&str] = &[
    "Content-Length: 0",
    "Content-Length: 5",
    "Content-Length: 5",
    "Content-Length: +5",
    "Content-Length: 5_0",
    "Content-Length: 0x5",
    "Content-Length: 5, 5",
    "Content-Length: 5 5",
    "Content-Length: -5",
    "Content-Length:",
    "Content-Length : 5",
    " Content-Length: 5",
    "content-length: 05",
    "Content-Length: 99999999999999999999",
    "Content-Length: 18446744073709551615",
    "Content-Length: 9223372036854775807",
    "Content_Length: 5",
    "Transfer-Encoding: chunked",
    "Transfer-Encoding: chunked",
    "Transfer-Encoding: CHUNKED",
    "Transfer-Encoding: identity",
    "Transfer-Encoding: gzip, chunked",
    "Transfer-Encoding: chunked, gzip",
    "Transfer-Encoding: chunked, chunked",
    "Transfer-Encoding: xchunked",
    "Transfer-Encoding: \"chunked\"",
    "Transfer-Encoding: chunked;a=b",
    "Transfer-Encoding:\tchunked",
    "Transfer-Encoding: chunked ",
    "Transfer-Encoding : chunked",
    "Transfer-Encoding:\u{b}chunked",
    "Transfer-Encoding: ,chunked",
    "Transfer-Encoding:",
    "Transfer_Encoding: chunked",
    "Host: x",
    "Host: a@b",
    "Host: x, y",
    "Host: ",
    "Host: x/y",
    "Expect: 200-ok",
    "no colon",
    ": empty",
    "X\u{0}: y",
    "X: \u{0}",
    "X: \u{7f}",
    "X: \u{e9}",
    "X Y: z",
    "X\t: y",
    " folded",
    "\tfolded",
    "Content-Type: a",
    "X: y\rz",
    "Connection: close, keep-alive",
];

fn field() -> impl Strategy<Value = &'static str> {
    prop_oneof![3 => prop::sample::select(FIELDS), 1 => prop::sample::select(NASTY)]
}

fn chunk() -> impl Strategy<Value = &'static str> {
    prop_oneof![
        8 => prop::sample::select(vec!["5\r\nhello\r\n", "1\r\nx\r\n", "00A\r\n0123456789\r\n", "3;a=b\r\nabc\r\n"]),
        1 => prop::sample::select(vec![
            "5\nhello\n", "5 \r\nhello\r\n", "5 ;x\r\nhello\r\n", "0x5\r\nhello\r\n", "+5\r\nhello\r\n", "5\r\nhell\r\n",
            "5\r\nhello!\r\n", "g\r\n", "\r\n", "ffffffffffffffff\r\n", "10000000000000000\r\n", "5;\u{0}\r\nhello\r\n",
            "5;a\rb\r\nhello\r\n", "5\r\nhello\n", "5\rhello", "-1\r\n", "5;a=\"b\r\nhello\r\n", "5_0\r\n",
        ]),
    ]
}

fn last_chunk() -> impl Strategy<Value = &'static str> {
    prop_oneof![
        8 => Just("0\r\n\r\n"),
        2 => Just("0\r\nX-T: y\r\n\r\n"),
        1 => prop::sample::select(vec![
            "0\r\n", "0\n\n", "0\r\nX-T: y\n\r\n", "0\r\n folded: x\r\n\r\n", "0\r\nno colon\r\n\r\n", "00000\r\n\r\n",
            "0\r\nContent-Length: 5\r\n\r\n", "0\r\na: b\n\r\nGET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n", "",
        ]),
    ]
}

/// What stands behind a head.
fn body() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => Just(String::new()),
        2 => Just("hello".to_owned()),
        1 => Just("\r\n".to_owned()),
        1 => Just("GET /hidden HTTP/1.1\r\nHost: x\r\n\r\n".to_owned()),
        2 => (prop::collection::vec(chunk(), 0..4), last_chunk()).prop_map(|(chunks, last)| chunks.concat() + last),
    ]
}

/// A framing that fits its body, most of the time.
fn framed() -> impl Strategy<Value = (String, String)> {
    prop_oneof![
        4 => Just((String::new(), String::new())),
        3 => "[a-z\r\n]{0,90}".prop_map(|body| (format!("Content-Length: {}\r\n", body.len()), body)),
        3 => (prop::collection::vec(chunk(), 0..4), last_chunk()).prop_map(|(chunks, last)| {
            ("Transfer-Encoding: chunked\r\n".to_owned(), chunks.concat() + last)
        }),
        3 => body().prop_map(|body| (String::new(), body)),
        // Two that contradict each other, or seem to.
        1 => (prop::sample::select(NASTY), prop::sample::select(NASTY), body())
            .prop_map(|(one, other, body)| (format!("{one}\r\n{other}\r\n"), body)),
    ]
}

fn message() -> impl Strategy<Value = String> {
    let fields = prop::collection::vec((field(), line_end()), 0..4);
    let host = prop_oneof![12 => Just("Host: x\r\n"), 1 => Just("")];
    (method(), target(), version(), line_end(), host, fields, framed(), line_end()).prop_map(
        |(method, target, version, end, host, fields, (framing, body), last)| {
            let fields: String =
                fields.iter().map(|(field, end)| format!("{field}{end}")).collect();
            format!("{method} {target} {version}{end}{host}{fields}{framing}{last}{body}")
        },
    )
}

fn bytes() -> impl Strategy<Value = Sent> {
    let messages = prop::collection::vec(message(), 1..4);
    let lead =
        prop_oneof![8 => Just(""), 1 => Just("\r\n"), 1 => Just("\r\n\r\n"), 1 => Just("\n")];
    let changes =
        prop::collection::vec((any::<u8>(), any::<prop::sample::Index>(), any::<u8>()), 0..3);
    let changes = prop_oneof![2 => Just(Vec::new()), 1 => changes];
    (lead, messages, changes).prop_map(|(lead, messages, changes)| {
        let mut bytes = (lead.to_owned() + &messages.concat()).into_bytes();
        changes.into_iter().for_each(|change| mutate(&mut bytes, change));
        Sent(bytes)
    })
}

/// What must hold of one connection, however it was fed.
fn check(bytes: &[u8], outcome: &Outcome) -> Result<(), TestCaseError> {
    let Reading { requests: expected, end, .. } = reference::read(bytes);
    prop_assert_eq!(&outcome.requests, &expected, "the executor got something else");
    prop_assert!(outcome.rest.is_empty(), "half a response: {:?}", outcome.rest);
    let (answers, refusals) =
        outcome.responses.split_at(expected.len().min(outcome.responses.len()));
    prop_assert_eq!(answers.len(), expected.len(), "a request was not answered");
    for (answer, request) in answers.iter().zip(&expected) {
        prop_assert_eq!(answer.status, 200);
        if request.method != "HEAD" {
            let told = format!("{} bytes", request.body.len()).into_bytes();
            prop_assert_eq!(&answer.body, &told);
        }
    }
    match end {
        End::Clean => prop_assert_eq!(refusals.len(), 0, "refused: {:?}", refusals),
        // What is not complete may be beyond hope already.
        End::Incomplete => prop_assert!(refusals.len() <= 1),
        End::Refused => prop_assert_eq!(refusals.len(), 1, "not refused"),
    }
    for refusal in refusals {
        prop_assert!((400..600).contains(&refusal.status), "{:?}", refusal);
        prop_assert!(refusal.has_date, "{:?}", refusal);
        prop_assert_eq!(refusal.header("server"), Some("remuda"), "{:?}", refusal);
        prop_assert_eq!(refusal.header("connection"), Some("close"), "{:?}", refusal);
        let is_head = support::find(bytes, b"HEAD ").is_some();
        let has_page = refusal.body.starts_with(b"<html>");
        prop_assert!(has_page || is_head && refusal.body.is_empty(), "{:?}", refusal);
    }
    Ok(())
}

/// Nothing but a prefix of what a strict reader reads, bodies left out.
fn check_prefix(bytes: &[u8], outcome: &Outcome) -> Result<(), TestCaseError> {
    let reading = reference::read(bytes);
    let mut expected = reading.requests;
    expected.extend(reading.unfinished);
    prop_assert!(outcome.requests.len() <= expected.len(), "{:?}", outcome.requests);
    expected.truncate(outcome.requests.len());
    expected.iter_mut().for_each(|request| request.body.clear());
    prop_assert_eq!(&outcome.requests, &expected);
    prop_assert!(outcome.responses.len() <= expected.len() + 1);
    Ok(())
}

#[test]
fn a_wsgi_app_gets_what_a_strict_reader_reads() {
    search(&bench(false), bytes(), whole(check));
}

#[test]
fn an_asgi_app_gets_what_a_strict_reader_reads() {
    search(&bench(true), bytes(), whole(check));
}

#[test]
fn an_app_that_answers_before_it_reads_gets_nothing_else_either() {
    let bench = Bench { answers: Answers::AtOnce, ..bench(true) };
    search(&bench, bytes(), |bench, bytes, cut| {
        check_prefix(bytes, &bench.feed([bytes]))?;
        check_prefix(bytes, &bench.feed(bytes.chunks(1)))?;
        let (head, tail) = bytes.split_at(cut);
        check_prefix(bytes, &bench.feed([head, tail]))
    });
}

#[test]
fn a_lenient_front_gives_its_app_the_same_in_pieces() {
    let lenience = Lenience {
        obsolete_folding: true,
        header_spaces: true,
        casefold_method: true,
        unconventional_method: true,
    };
    let bench = Bench::new(Limits { lenience, ..Limits::default() });
    // What that is, no strict reader can say.
    search(&bench, bytes(), whole(|_, _| Ok(())));
}
