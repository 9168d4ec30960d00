//! Which routes memory grows on: the table that workers and the master keep, and the packet that
//! brings one to the other.
//!
//! A route is a path with its numbers folded: `/user/17` and `/user/18` are one page. The table is
//! bounded, since clients choose paths: when it is full, the route that matters least becomes one of
//! the others.

use serde::{Deserialize, Serialize};

/// First bytes of a packet; JSON follows.
const HEAD: &[u8] = b"growth ";
/// Routes of one table.
const ROUTES_MAX: usize = 64;
/// Longest route, in bytes; a longer one is cut.
const ROUTE_BYTES_MAX: usize = 120;
/// A segment of so many hexadecimal digits is a number.
const HEX_DIGITS_MIN: usize = 16;

/// What memory has grown by during the sampled requests of one route.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Growth {
    /// The path, numbers folded; empty for all the others.
    pub route: String,
    /// Sampled requests.
    pub requests: u64,
    /// Less than nothing where more was given back than taken.
    pub bytes: i64,
}

/// The growth of the routes that matter, and of all the others together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Growths {
    routes: Vec<Growth>,
    others: Growth,
}

impl Growths {
    /// Nothing has been sampled.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.routes.is_empty() && self.others.requests == 0
    }

    /// Adds one sampled request.
    pub fn add(&mut self, path: &str, bytes: i64) {
        self.merge(Growth { route: route_of(path), requests: 1, bytes });
    }

    /// Adds what another table has of a route.
    pub fn merge(&mut self, growth: Growth) {
        if growth.route.is_empty() {
            return absorb(&mut self.others, &growth);
        }
        if let Some(known) = self.routes.iter_mut().find(|known| known.route == growth.route) {
            return absorb(known, &growth);
        }
        self.routes.push(growth);
        if self.routes.len() > ROUTES_MAX {
            // A scan of a thousand paths must not drive out the one that leaks.
            let ranked = self.routes.iter().enumerate();
            let least = ranked.min_by_key(|(_, known)| (known.bytes, known.requests));
            if let Some((at, _)) = least {
                let least = self.routes.swap_remove(at);
                absorb(&mut self.others, &least);
            }
        }
    }

    /// All routes, the one that has grown most first; the others last, if there are any.
    #[must_use]
    pub fn ranked(&self) -> Vec<Growth> {
        let mut ranked = self.routes.clone();
        ranked.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.route.cmp(&b.route)));
        ranked.extend(Some(self.others.clone()).filter(|others| others.requests > 0));
        ranked
    }

    /// The packet that tells of this table.
    #[must_use]
    pub fn packet(&self) -> Vec<u8> {
        let mut packet = HEAD.to_vec();
        // Texts and numbers have nothing that could fail.
        packet.extend(serde_json::to_vec(&self.ranked()).unwrap_or_default());
        packet
    }

    /// The table that a packet tells of; `None` when it is another one, or none that we would make.
    #[must_use]
    pub fn from_packet(packet: &[u8]) -> Option<Self> {
        let growths: Vec<Growth> = serde_json::from_slice(packet.strip_prefix(HEAD)?).ok()?;
        let is_ours = |growth: &Growth| {
            growth.requests > 0
                && growth.route.len() <= ROUTE_BYTES_MAX
                && !growth.route.contains(char::is_control)
        };
        if growths.len() > ROUTES_MAX + 1 || !growths.iter().all(is_ours) {
            return None;
        }
        let mut table = Self::default();
        growths.into_iter().for_each(|growth| table.merge(growth));
        Some(table)
    }
}

fn absorb(known: &mut Growth, more: &Growth) {
    known.requests = known.requests.saturating_add(more.requests);
    known.bytes = known.bytes.saturating_add(more.bytes);
}

/// The path with `:id` for each segment that is a number.
fn route_of(path: &str) -> String {
    let mut route = String::new();
    for segment in path.strip_prefix('/').unwrap_or(path).split('/') {
        route.push('/');
        let segment = if is_id(segment) { ":id" } else { segment };
        for c in segment.chars().map(|c| if c.is_control() { '?' } else { c }) {
            if route.len() + c.len_utf8() > ROUTE_BYTES_MAX {
                return route;
            }
            route.push(c);
        }
        if route.len() == ROUTE_BYTES_MAX {
            return route;
        }
    }
    route
}

/// Digits; a UUID; a long number in hexadecimal, as of a hash.
fn is_id(segment: &str) -> bool {
    let hex = || segment.bytes().filter(u8::is_ascii_hexdigit).count();
    let has_digit = || segment.bytes().any(|byte| byte.is_ascii_digit());
    match segment.bytes().position(|byte| !byte.is_ascii_hexdigit()) {
        None => {
            let is_decimal = segment.bytes().all(|byte| byte.is_ascii_digit());
            !segment.is_empty() && (is_decimal || hex() >= HEX_DIGITS_MIN && has_digit())
        }
        Some(8) => {
            let lengths = [8, 4, 4, 4, 12];
            segment.split('-').map(str::len).eq(lengths) && hex() == 32
        }
        Some(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn growth(route: &str, requests: u64, bytes: i64) -> Growth {
        Growth { route: route.to_owned(), requests, bytes }
    }

    #[test]
    fn numbers_in_a_path_are_folded_and_words_are_not() {
        let cases = [
            ("/", "/"),
            ("", "/"),
            ("*", "/*"),
            ("/user/17/edit/", "/user/:id/edit/"),
            ("/o/6F9619FF-8B86-D011-B42D-00C04FC964FF", "/o/:id"),
            ("/o/6F9619FF-8B86-D011-B42D-00C04FC964F", "/o/6F9619FF-8B86-D011-B42D-00C04FC964F"),
            (
                "/blob/d41d8cd98f00b204e9800998ecf8427e.css",
                "/blob/d41d8cd98f00b204e9800998ecf8427e.css",
            ),
            ("/blob/d41d8cd98f00b204", "/blob/:id"),
            ("/face/deadbeef", "/face/deadbeef"),
            ("/v2/page-3", "/v2/page-3"),
            ("/a\u{1b}[2J", "/a?[2J"),
        ];
        for (path, route) in cases {
            assert_eq!(route_of(path), route, "{path}");
        }
    }

    #[test]
    fn the_route_that_leaks_stays_whatever_a_scan_asks_for() {
        let mut table = Growths::default();
        table.add("/leak/1", 40 << 10);
        for number in 0..1000 {
            table.add(&format!("/wp-{number}.php"), 0);
        }
        table.add("/leak/2", 40 << 10);
        let ranked = table.ranked();
        assert_eq!(ranked[0], growth("/leak/:id", 2, 80 << 10));
        assert_eq!(ranked.len(), ROUTES_MAX + 1);
        assert_eq!(ranked[ROUTES_MAX].requests, 1000 - ROUTES_MAX as u64 + 1);
    }

    #[test]
    fn a_packet_that_no_worker_makes_is_refused() {
        let bad: &[&[u8]] = &[
            b"ready",
            b"growth",
            b"growth {}",
            b"growth [{\"route\":\"/\",\"requests\":0,\"bytes\":1}]",
            b"growth [{\"route\":\"/\\u001b\",\"requests\":1,\"bytes\":1}]",
            b"growth [{\"route\":\"/\",\"requests\":-1,\"bytes\":1}]",
            b"growth [{\"route\":\"/\",\"requests\":1,\"bytes\":1e400}]",
        ];
        for packet in bad {
            assert_eq!(Growths::from_packet(packet), None, "{}", packet.escape_ascii());
        }
        let long = growth(&"x".repeat(ROUTE_BYTES_MAX + 1), 1, 1);
        let many = vec![growth("/", 1, 1); ROUTES_MAX + 2];
        for growths in [vec![long], many] {
            let packet = [HEAD, &serde_json::to_vec(&growths).expect("JSON")].concat();
            assert_eq!(Growths::from_packet(&packet), None);
        }
    }

    #[test]
    fn sums_do_not_run_over() {
        let mut table = Growths::default();
        for _ in 0..3 {
            table.merge(growth("/", u64::MAX, i64::MAX));
        }
        assert_eq!(table.ranked(), [growth("/", u64::MAX, i64::MAX)]);
    }

    proptest! {
        #[test]
        fn every_table_survives_the_round_trip(
            added in prop::collection::vec((".{0,200}", any::<i32>()), 0..200),
        ) {
            let mut table = Growths::default();
            for (path, bytes) in &added {
                table.add(path, i64::from(*bytes));
            }
            let told = Growths::from_packet(&table.packet()).expect("our own");
            prop_assert_eq!(told.ranked(), table.ranked());
            prop_assert!(table.packet().len() < crate::MESSAGE_BYTES_MAX / 2);
            let requests: u64 = table.ranked().iter().map(|growth| growth.requests).sum();
            prop_assert_eq!(requests, added.len() as u64);
        }

        #[test]
        fn any_bytes_make_a_small_table_or_none(bytes in prop::collection::vec(any::<u8>(), 0..4096)) {
            let packet = [HEAD, &bytes].concat();
            if let Some(table) = Growths::from_packet(&packet) {
                prop_assert!(table.ranked().len() <= ROUTES_MAX + 1);
            }
        }
    }
}
