//! Which master is meant, when nobody says so: the only one of this user that answers.

use std::env;
use std::fs;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use remuda_runtime::Place;

/// The control socket to ask at.
pub(super) fn socket(given: Option<&PathBuf>, pid: Option<&u32>) -> Result<PathBuf, String> {
    if let Some(pid) = pid {
        return Ok(Place::folder().join(format!("{pid}.ctl")));
    }
    let variable = || env::var_os("GUNICORN_CONTROL_SOCKET").map(PathBuf::from);
    if let Some(path) = given.cloned().or_else(variable).filter(|path| path != Path::new("")) {
        return Ok(path);
    }
    only_one_in(&Place::folder())
}

fn only_one_in(folder: &Path) -> Result<PathBuf, String> {
    let files = fs::read_dir(folder).into_iter().flatten().flatten().map(|file| file.path());
    let mut living: Vec<_> = files.filter(|path| UnixStream::connect(path).is_ok()).collect();
    living.sort();
    match &living[..] {
        [only] => Ok(only.clone()),
        [] => Err(format!(
            "no service of this user runs here\n  \
             why: no master listens in {}\n  \
             hint: name its socket with `--control-socket`",
            folder.display()
        )),
        several => {
            let pids = several.iter().filter_map(|path| path.file_stem()?.to_str());
            let pids = pids.collect::<Vec<_>>().join(", ");
            Err(format!("several services run here\n  hint: choose one with `--pid`: {pids}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn the_only_living_master_is_meant_and_of_several_none() {
        let folder = tempfile::tempdir().expect("folder");
        let error = only_one_in(folder.path()).expect_err("none");
        assert!(error.starts_with("no service of this user runs here"), "{error}");
        drop(UnixListener::bind(folder.path().join("1.ctl")).expect("a dead one"));
        let _second = UnixListener::bind(folder.path().join("2.ctl")).expect("bind");
        assert_eq!(only_one_in(folder.path()), Ok(folder.path().join("2.ctl")));
        let _third = UnixListener::bind(folder.path().join("3.ctl")).expect("bind");
        let error = only_one_in(folder.path()).expect_err("two");
        assert!(error.ends_with("choose one with `--pid`: 2, 3"), "{error}");
    }
}
