//! `remuda check-migration`: what of a configuration for gunicorn will behave differently here.
//!
//! `docs/differences.md` has the whole list; here stands what depends on a setting.

use std::fmt::Write;

use crate::table::*;
use crate::wishes::Wishes;
use crate::{Setting, Support, table};

/// When a note is for this user.
#[derive(Clone, Copy)]
enum When {
    Given,
    NotGiven,
    /// With this value.
    Is(&'static str),
}

use When::{Given, Is, NotGiven};

const NOTES: &[(&Setting, When, &str)] = &[
    (
        &KEEPALIVE,
        NotGiven,
        "idle connections are kept for 75 s, not 2 s, in every worker class: the routers of \
         platforms outlive 2 s, and see resets",
    ),
    (
        &PRELOAD_APP,
        NotGiven,
        "the app is imported once and shared, unless it starts threads or opens connections \
         meanwhile; `preload_app = False` has each worker import it",
    ),
    (&PRELOAD_APP, Is("true"), "a reload (HUP) takes new code; in gunicorn it kept the old"),
    (
        &LOGGER_CLASS,
        Given,
        "workers log by it, and pass each request to it; the lines of the master itself are in `errorlog`",
    ),
    (&SENDFILE, Is("true"), "it turns sendfile on; in gunicorn it turned it off"),
    (
        &DIRTY_APPS,
        Given,
        "gunicorn must stay installed, since its package runs them; a reload starts new dirty workers \
         beside the old, whose memory is taken twice until the old workers are gone",
    ),
    (&MAX_REQUESTS, Given, "the successor is ready before a worker leaves"),
    (
        &SSL_CONTEXT,
        Given,
        "it is called once for all workers, not for each connection; what rustls cannot do of its \
         context, such as a `sni_callback`, is an error at the start",
    ),
    (&USER, Given, "the app is imported as this user, and `post_fork` is not root any more"),
    (
        &DAEMON,
        Is("true"),
        "after USR2 the new master takes over by itself once its workers are ready; WINCH, which goes \
         with it, does nothing",
    ),
    (
        &PROTOCOL,
        Is("uwsgi"),
        "each connection has one request, as with nginx; who is not in `uwsgi_allow_ips` is answered \
         403, and what is no packet 400, where gunicorn says 500; paths are decoded once, not twice",
    ),
    (
        &LIMIT_REQUEST_FIELD_SIZE,
        Is("0"),
        "it means 8190, as it did in gunicorn, whose documentation says unlimited",
    ),
];

const IN_THE_HERALD: &str = "it runs in a process beside the master, not in the master: what it sets \
                             on `server` is not seen in workers";

const ALWAYS: &str = "
always:
    a reload (HUP) keeps the old workers until new ones are ready, and the old code and settings
    where the new ones do not run
    request bodies are read before the app is called
    docs/differences.md has the rest
";

/// What the user should know.
pub(crate) fn page(wishes: &Wishes) -> String {
    let mut page = String::new();
    for setting in table::all() {
        let notes = notes(setting, wishes);
        if notes.is_empty() {
            continue;
        }
        let from =
            wishes.get(setting).map_or(String::new(), |given| format!(" ({})", given.origin));
        push(&mut page, format_args!("{}{from}\n", setting.name));
        for note in notes {
            push(&mut page, format_args!("    {note}\n"));
        }
    }
    let given = table::all().filter(|setting| wishes.get(setting).is_some());
    let same = given.filter(|setting| notes(setting, wishes).is_empty()).map(|s| s.name);
    let same: Vec<_> = same.collect();
    if !same.is_empty() {
        push(&mut page, format_args!("\nas in gunicorn: {}\n", same.join(", ")));
    }
    page.push_str(ALWAYS);
    page
}

fn notes(setting: &Setting, wishes: &Wishes) -> Vec<String> {
    let given = wishes.get(setting);
    let mut notes = Vec::new();
    if given.is_some_and(|given| given.text() != setting.default) {
        match setting.support {
            Support::Full => {}
            Support::Ignored { why } => notes.push(format!("has no effect: {why}")),
        }
    }
    if !setting.gunicorn && given.is_some() {
        notes.push("gunicorn does not know it".to_owned());
    }
    let is_meant = |when: When| match (when, given) {
        (Given, given) => given.is_some(),
        (NotGiven, given) => given.is_none(),
        (Is(value), given) => given.is_some_and(|given| given.text().eq_ignore_ascii_case(value)),
    };
    let own = NOTES.iter().filter(|(of, when, _)| *of == setting && is_meant(*when));
    notes.extend(own.map(|(_, _, note)| (*note).to_owned()));
    // `pre_fork` is at home in the zygote, which forks.
    if HERALD_HOOKS.contains(&setting.name) && given.is_some() {
        notes.push(IN_THE_HERALD.to_owned());
    }
    notes
}

fn push(page: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = page.write_fmt(text);
}
