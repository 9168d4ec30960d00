//! Every setting, declared once. Flags, variables, file keys, help and reference come from here.
//!
//! To add one: declare it in the file of its subject, add it to that file's `ALL`, and read it in
//! `resolve.rs`. The tests below hold the house rules.

mod asgi;
mod development;
mod dirty;
mod hooks;
mod identity;
mod listen;
mod logging;
mod memory;
mod process;
mod protocols;
mod requests;
mod timeouts;
mod tls;
mod unsupported;
mod unsupported_python;
mod workers;

use crate::declare::{Group, Kind, Setting, Support};

pub use hooks::HERALD_HOOKS;
pub(crate) use hooks::SSL_CONTEXT;

pub(crate) use asgi::*;
pub(crate) use development::*;
pub(crate) use dirty::*;
pub(crate) use identity::*;
pub(crate) use listen::*;
pub(crate) use logging::*;
pub(crate) use memory::*;
pub(crate) use process::*;
pub(crate) use protocols::*;
pub(crate) use requests::*;
pub(crate) use timeouts::*;
pub(crate) use tls::*;
pub(crate) use workers::*;

/// What most declarations have in common.
const FULL: Setting = Setting {
    name: "",
    group: Group::Process,
    kind: Kind::Text,
    default: "",
    flags: &[],
    short_flag: None,
    platform_variable: None,
    gunicorn: true,
    short: "",
    long: "",
    support: Support::Full,
};

/// All settings, those of this version first.
pub fn all() -> impl Iterator<Item = &'static Setting> + Clone {
    let full = [
        process::ALL,
        identity::ALL,
        listen::ALL,
        workers::ALL,
        memory::ALL,
        timeouts::ALL,
        requests::ALL,
        tls::ALL,
        protocols::ALL,
        asgi::ALL,
        logging::ALL,
        development::ALL,
        hooks::ALL,
        dirty::ALL,
    ];
    full.into_iter().chain([unsupported::ALL, unsupported_python::ALL]).flatten()
}

/// The setting of this name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Setting> {
    all().find(|setting| setting.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn all_settings_of_gunicorn_are_known() {
        assert_eq!(all().filter(|setting| setting.gunicorn).count(), 120);
    }

    #[test]
    fn those_without_a_flag_are_gunicorns_twenty_five() {
        assert_eq!(all().filter(|setting| setting.flags.is_empty()).count(), 25);
    }

    #[test]
    fn no_name_and_no_flag_is_taken_twice() {
        let mut names = BTreeSet::new();
        let mut flags = BTreeSet::from(["help".to_owned(), "version".to_owned()]);
        let mut shorts = BTreeSet::from(['h', 'v']);
        for setting in all() {
            assert!(names.insert(setting.name), "{}", setting.name);
            for flag in setting.flags {
                assert!(flags.insert((*flag).to_owned()), "{flag}");
            }
            assert!(
                setting.short_flag.is_none_or(|short| shorts.insert(short)),
                "{}",
                setting.name
            );
        }
    }

    #[test]
    fn help_is_written_in_the_house_style() {
        for Setting { name, short, long, .. } in all() {
            assert!(!short.is_empty() && !short.ends_with('.'), "{name}: {short}");
            assert!(short.len() <= 90, "{name}: {short}");
            assert!(long.is_empty() || long.ends_with('.'), "{name}: {long}");
        }
    }

    #[test]
    fn every_reason_is_a_fragment() {
        for setting in all() {
            let reason = match setting.support {
                Support::Full => continue,
                Support::Ignored { why } => why,
            };
            assert!(!reason.is_empty() && !reason.ends_with('.'), "{}: {reason}", setting.name);
        }
    }

    #[test]
    fn a_setting_is_found_by_name() {
        assert_eq!(find("workers"), Some(&WORKERS));
        assert_eq!(find("wrokers"), None);
    }
}
