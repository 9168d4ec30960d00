//! The file that names the master.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::Pid;

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PidfileError {
    /// It names a process that lives.
    #[error("Already running on PID {pid} (or pid file '{}' is stale)", path.display())]
    Running {
        /// The process it names.
        pid: i32,
        /// The file.
        path: PathBuf,
    },
    /// It cannot be written.
    #[error("cannot write the pid file {}: {source}", path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

/// A pid file of ours; removed when dropped, if it is still ours.
#[derive(Debug)]
pub struct Pidfile {
    path: PathBuf,
    /// The name that it has in the end.
    name: PathBuf,
    pid: i32,
}

impl Pidfile {
    /// Writes the file, over a stale one if need be. A new master beside an old one writes one
    /// with `.2` behind its name, as gunicorn does, until it is promoted.
    ///
    /// # Errors
    ///
    /// When it names another living process, or cannot be written.
    pub fn create(path: &Path, is_heir: bool) -> Result<Self, PidfileError> {
        let name = path;
        let second = suffixed(name);
        let path = if is_heir { second.as_path() } else { name };
        let pid = Pid::this().as_raw();
        if let Some(other) = named_in(path)
            && other != pid
            && is_alive(other)
        {
            return Err(PidfileError::Running { pid: other, path: path.to_owned() });
        }
        write(folder_of(path), path, pid)
            .map_err(|source| PidfileError::Unwritable { path: path.to_owned(), source })?;
        Ok(Self { path: path.to_owned(), name: name.to_owned(), pid })
    }

    /// Takes the name over from the master before this one.
    ///
    /// # Errors
    ///
    /// When the file cannot be renamed; it keeps its second name then.
    pub(crate) fn promote(&mut self) -> io::Result<()> {
        if self.path != self.name {
            fs::rename(&self.path, &self.name)?;
            self.path.clone_from(&self.name);
        }
        Ok(())
    }

    /// Writes it again, as the master that had taken the name over has crashed.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub(crate) fn take_back(&mut self) -> io::Result<()> {
        write(folder_of(&self.path), &self.path, self.pid)?;
        // It may have crashed before it took over.
        match fs::remove_file(suffixed(&self.name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

fn folder_of(path: &Path) -> &Path {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    folder.unwrap_or(Path::new("."))
}

/// gunicorn's name for what a new master has while the old one is still there.
pub(crate) fn suffixed(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".2");
    name.into()
}

/// By a temporary file in the same folder, so that no reader ever sees half a number.
fn write(folder: &Path, path: &Path, pid: i32) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    writeln!(file, "{pid}")?;
    file.as_file().set_permissions(fs::Permissions::from_mode(0o644))?;
    file.persist(path)?;
    Ok(())
}

fn named_in(path: &Path) -> Option<i32> {
    fs::read_to_string(path).ok()?.trim().parse().ok().filter(|pid| *pid > 0)
}

fn is_alive(pid: i32) -> bool {
    // EPERM: it lives, and belongs to somebody else.
    !matches!(kill(Pid::from_raw(pid), None), Err(Errno::ESRCH))
}

impl Drop for Pidfile {
    fn drop(&mut self) {
        if named_in(&self.path) == Some(self.pid) {
            // Nobody is left to be told that it stays.
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_names_us_and_goes_with_us() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("remuda.pid");
        let pidfile = Pidfile::create(&path, false).expect("create");
        assert_eq!(named_in(&path), Some(Pid::this().as_raw()));
        drop(pidfile);
        assert!(!path.exists());
    }

    #[test]
    fn a_living_process_is_respected_and_a_stale_file_is_not() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("remuda.pid");
        fs::write(&path, "1\n").expect("write");
        let error = Pidfile::create(&path, false).expect_err("pid 1 lives");
        assert!(error.to_string().starts_with("Already running on PID 1 (or pid file"));
        fs::write(&path, "garbage").expect("write");
        drop(Pidfile::create(&path, false).expect("garbage is overwritten"));
    }

    #[test]
    fn a_file_that_another_has_taken_over_stays() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("remuda.pid");
        let pidfile = Pidfile::create(&path, false).expect("create");
        fs::write(&path, "1\n").expect("write");
        drop(pidfile);
        assert!(path.exists());
    }

    #[test]
    fn a_new_master_takes_the_name_over() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("remuda.pid");
        fs::write(&path, "1\n").expect("the old master's");
        let mut pidfile = Pidfile::create(&path, true).expect("create");
        assert_eq!(named_in(&folder.path().join("remuda.pid.2")), Some(Pid::this().as_raw()));
        assert_eq!(named_in(&path), Some(1));
        pidfile.promote().expect("rename");
        assert_eq!(named_in(&path), Some(Pid::this().as_raw()));
        drop(pidfile);
        assert_eq!(fs::read_dir(folder.path()).expect("folder").count(), 0);
    }

    #[test]
    fn a_missing_folder_is_named() {
        let error = Pidfile::create(Path::new("/nonexistent/x.pid"), false).expect_err("no folder");
        assert!(error.to_string().starts_with("cannot write the pid file /nonexistent/x.pid:"));
    }
}
