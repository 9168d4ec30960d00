//! Finds the known name that a mistyped one is nearest to.

use crate::table;

/// Below this similarity (0 to 1) a suggestion confuses more than it helps.
const SIMILARITY_MIN: f64 = 0.5;

/// The candidate nearest to `word`, unless none is near.
pub(crate) fn nearest<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let word = word.to_ascii_lowercase();
    candidates
        .into_iter()
        .map(|candidate| (strsim::normalized_damerau_levenshtein(&word, candidate), candidate))
        .filter(|(similarity, _)| *similarity >= SIMILARITY_MIN)
        // The first of equals wins, so that the answer does not depend on the order of comparison.
        .fold(None, |best: Option<(f64, &str)>, one| match best {
            Some(best) if best.0 >= one.0 => Some(best),
            _ => Some(one),
        })
        .map(|(_, candidate)| candidate)
}

/// The setting that a mistyped name or flag means, by its name.
///
/// Flags count too: who writes `GUNICORN_LOG_LEVEL` has the flag `--log-level` in mind.
pub(crate) fn nearest_setting(word: &str) -> Option<&'static str> {
    let word = word.replace('-', "_").to_ascii_lowercase();
    let flags =
        table::all().flat_map(|setting| setting.flags.iter().map(move |flag| (*flag, setting)));
    let by_flag = flags.clone().find(|(flag, _)| flag.replace('-', "_") == word);
    by_flag
        .map(|(_, setting)| setting.name)
        .or_else(|| nearest(&word, table::all().map(|setting| setting.name)))
}

/// At this similarity a name is hardly anything but a mistyped setting.
const NEAR_MISS_MIN: f64 = 0.7;

/// The setting that a name of somebody's Python file is nearly, if it is no name of their own.
pub(crate) fn near_miss(name: &str) -> Option<&'static str> {
    let near = nearest_setting(name)?;
    let similarity = strsim::normalized_damerau_levenshtein(name, near);
    // So is a flag's name: `log_level` for `loglevel`. One word alone (`env`, `name`) may be anything.
    let is_flag = || table::all().any(|s| s.flags.iter().any(|f| f.replace('-', "_") == name));
    (similarity >= NEAR_MISS_MIN || name.contains('_') && is_flag()).then_some(near)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistyped_name_finds_the_setting() {
        assert_eq!(nearest_setting("wrokers"), Some("workers"));
        assert_eq!(nearest_setting("timeot"), Some("timeout"));
        assert_eq!(nearest_setting("max-request"), Some("max_requests"));
    }

    #[test]
    fn the_name_of_a_flag_finds_the_setting() {
        assert_eq!(nearest_setting("LOG_LEVEL"), Some("loglevel"));
        assert_eq!(nearest_setting("keep_alive"), Some("keepalive"));
        assert_eq!(nearest_setting("preload"), Some("preload_app"));
    }

    #[test]
    fn names_of_somebodys_own_are_left_alone() {
        for (name, near) in [
            ("wrokers", "workers"),
            ("worker_clas", "worker_class"),
            ("log_level", "loglevel"),
            ("max_request", "max_requests"),
        ] {
            assert_eq!(near_miss(name), Some(near), "{name}");
        }
        for name in ["cores", "host", "port", "env", "log_dir", "cpu_count", "app_name", "base_dir"]
        {
            assert_eq!(near_miss(name), None, "{name}");
        }
    }

    #[test]
    fn a_name_far_from_all_finds_nothing() {
        assert_eq!(nearest_setting("zzzzzzzzzz"), None);
    }
}
