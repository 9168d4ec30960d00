//! Which Python runs the zygotes: the one that was asked for, the one beside this executable, or the
//! first in the search path.

use std::env;
use std::path::{Path, PathBuf};

/// There is no interpreter where one was looked for.
#[derive(Debug, thiserror::Error)]
#[error(
    "no Python interpreter was found\n  why: looked for {looked_for}\n  \
     hint: install remuda with pip in the environment of the application, or name its \
     interpreter with `--python`"
)]
pub(crate) struct NoPython {
    looked_for: String,
}

const NAMES: [&str; 2] = ["python", "python3"];

/// Finds the interpreter.
///
/// The folder of the executable is taken as it was called, links unresolved: in a virtual
/// environment the interpreter is itself a link, and only its place makes it that environment's.
/// A distribution's pip puts programs elsewhere (`/usr/local/bin`, `~/.local/bin`) than its interpreter.
pub(crate) fn find(wanted: Option<&Path>) -> Result<PathBuf, NoPython> {
    if let Some(python) = wanted {
        let found = if python.components().count() > 1 {
            Some(python.to_owned()).filter(|path| path.is_file())
        } else {
            in_search_path(python)
        };
        let looked_for = format!("{} (setting `python`)", python.display());
        return found.ok_or(NoPython { looked_for });
    }
    let folder = env::current_exe().ok().and_then(|exe| exe.parent().map(Path::to_path_buf));
    let folder = folder.unwrap_or_default();
    // Outside of environments, `python` may be an old one.
    let elsewhere = || NAMES.iter().rev().find_map(|name| in_search_path(Path::new(name)));
    find_in(&folder).or_else(elsewhere).ok_or_else(|| NoPython {
        looked_for: format!("`python` and `python3` in {} and in PATH", folder.display()),
    })
}

/// A bare name is looked up as a shell would.
fn in_search_path(name: &Path) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|folder| folder.join(name)).find(|path| path.is_file())
}

fn find_in(folder: &Path) -> Option<PathBuf> {
    NAMES.iter().map(|name| folder.join(name)).find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_neighbour_is_found_by_either_name() {
        let folder = tempfile::tempdir().expect("folder");
        assert_eq!(find_in(folder.path()), None);
        let python3 = folder.path().join("python3");
        std::fs::write(&python3, "").expect("write");
        assert_eq!(find_in(folder.path()), Some(python3));
        let python = folder.path().join("python");
        std::fs::write(&python, "").expect("write");
        assert_eq!(find_in(folder.path()), Some(python));
    }
}
