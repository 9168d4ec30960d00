//! Where the control socket is: a name of its own for each master, in a folder of its user's.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::unistd::geteuid;
use socket2::{Domain, SockAddr, Socket, Type};

use crate::listen::is_stale;
use crate::pidfile::suffixed;

/// Sockets of dead masters that are removed at one start.
const SWEPT_MAX: usize = 64;
const BACKLOG: i32 = 32;

/// Where the socket shall be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Where the user says.
    At(PathBuf),
    /// `<pid>.ctl` in [`Place::folder`].
    OfThisProcess,
}

impl Place {
    /// The folder that masters of this user have in common: in `$XDG_RUNTIME_DIR`, else in the
    /// folder of temporary files.
    #[must_use]
    pub fn folder() -> PathBuf {
        match std::env::var_os("XDG_RUNTIME_DIR").filter(|folder| !folder.is_empty()) {
            Some(folder) => PathBuf::from(folder).join("remuda"),
            None => std::env::temp_dir().join(format!("remuda-{}", geteuid())),
        }
    }
}

/// A bound control socket; its file is removed when it is dropped, if it is still ours.
#[derive(Debug)]
pub struct ControlSocket {
    pub(crate) socket: Socket,
    path: PathBuf,
    /// The name that it has in the end.
    name: PathBuf,
    inode: (u64, u64),
    mode: u32,
}

impl ControlSocket {
    /// Binds it, with permission bits `mode`. `is_heir`: the name is taken, by the master before
    /// this one.
    ///
    /// # Errors
    ///
    /// Somebody else's file or a living master's socket is in the place, or it cannot be written.
    pub fn bind(place: &Place, mode: u32, is_heir: bool) -> io::Result<Self> {
        let name = match place {
            Place::At(path) => path.clone(),
            Place::OfThisProcess => {
                let folder = Place::folder();
                prepare(&folder)?;
                sweep(&folder);
                folder.join(format!("{}.ctl", std::process::id()))
            }
        };
        let is_second = is_heir && matches!(place, Place::At(_));
        let path = if is_second { suffixed(&name) } else { name.clone() };
        let (socket, inode) = bind_at(&path, mode)?;
        Ok(Self { socket, path, name, inode, mode })
    }

    /// Binds it once more, if the master that had taken the name over has crashed; the new socket.
    ///
    /// # Errors
    ///
    /// As [`ControlSocket::bind`].
    pub(crate) fn take_back(&mut self) -> io::Result<Option<Socket>> {
        if inode_of(&self.path).is_ok_and(|inode| inode == self.inode) {
            return Ok(None);
        }
        (self.socket, self.inode) = bind_at(&self.path, self.mode)?;
        self.socket.try_clone().map(Some)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Takes the name over from the master before this one.
    pub(crate) fn promote(&mut self) -> io::Result<()> {
        if self.path != self.name {
            fs::rename(&self.path, &self.name)?;
            self.path.clone_from(&self.name);
        }
        Ok(())
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        if inode_of(&self.path).is_ok_and(|inode| inode == self.inode) {
            // Nobody is left to be told that it stays.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn bind_at(path: &Path, mode: u32) -> io::Result<(Socket, (u64, u64))> {
    let address = SockAddr::unix(path)?;
    if is_stale(path, &address) {
        fs::remove_file(path)?;
    }
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&address)?;
    // Nobody can connect before `listen`.
    fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok((socket, inode_of(path)?))
}

fn inode_of(path: &Path) -> io::Result<(u64, u64)> {
    path.symlink_metadata().map(|data| (data.dev(), data.ino()))
}

/// Makes the folder; one that others can write to, or that somebody else has made, is not used.
fn prepare(folder: &Path) -> io::Result<()> {
    match fs::DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let data = folder.symlink_metadata()?;
    let is_private = data.is_dir() && data.uid() == geteuid().as_raw() && data.mode() & 0o077 == 0;
    if is_private {
        return Ok(());
    }
    let what = format!("{} is not a folder of this user alone", folder.display());
    Err(io::Error::new(io::ErrorKind::PermissionDenied, what))
}

/// Removes what masters that were killed have left.
fn sweep(folder: &Path) {
    let files = fs::read_dir(folder).into_iter().flatten().flatten().take(SWEPT_MAX);
    for path in files.map(|file| file.path()) {
        if SockAddr::unix(&path).is_ok_and(|address| is_stale(&path, &address)) {
            let _ = fs::remove_file(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(folder: &tempfile::TempDir) -> Place {
        Place::At(folder.path().join("x.ctl"))
    }

    #[test]
    fn it_has_the_mode_and_goes_with_the_master() {
        let folder = tempfile::tempdir().expect("folder");
        let socket = ControlSocket::bind(&at(&folder), 0o600, false).expect("bind");
        let path = socket.path().to_owned();
        assert_eq!(path.metadata().expect("a file").mode() & 0o777, 0o600);
        drop(socket);
        assert!(!path.exists());
    }

    #[test]
    fn a_living_masters_socket_is_never_stolen() {
        let folder = tempfile::tempdir().expect("folder");
        let first = ControlSocket::bind(&at(&folder), 0o600, false).expect("bind");
        let error = ControlSocket::bind(&at(&folder), 0o600, false).expect_err("it is in use");
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        assert!(first.path().exists());
    }

    #[test]
    fn a_dead_masters_socket_is_replaced() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("x.ctl");
        drop(std::os::unix::net::UnixListener::bind(&path).expect("bind"));
        assert!(ControlSocket::bind(&at(&folder), 0o600, false).is_ok());
    }

    #[test]
    fn a_new_master_takes_the_name_over_and_the_old_one_leaves_it_alone() {
        let folder = tempfile::tempdir().expect("folder");
        let old = ControlSocket::bind(&at(&folder), 0o600, false).expect("bind");
        let mut new = ControlSocket::bind(&at(&folder), 0o600, true).expect("bind beside it");
        let path = old.path().to_owned();
        new.promote().expect("rename");
        drop(old);
        assert!(path.exists());
        assert!(std::os::unix::net::UnixStream::connect(&path).is_ok());
        drop(new);
        assert_eq!(fs::read_dir(folder.path()).expect("folder").count(), 0);
    }

    #[test]
    fn a_folder_that_others_can_read_or_write_is_not_used() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("remuda");
        prepare(&path).expect("made");
        prepare(&path).expect("found");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).expect("chmod");
        assert!(prepare(&path).is_err());
        fs::remove_dir(&path).expect("rmdir");
        std::os::unix::fs::symlink("/tmp", &path).expect("symlink");
        assert!(prepare(&path).is_err());
    }
}
