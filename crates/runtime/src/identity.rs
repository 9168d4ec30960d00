//! Who zygotes and workers run as, and going to the background.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::fchown;
use std::path::Path;

use nix::unistd::{Gid, Group, Uid, User, chown, daemon, geteuid};
use remuda_channel::{IdentityPlan, WorkerPlan};

/// A user and a group that are not our own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The user's number.
    pub uid: u32,
    /// The group's number.
    pub gid: u32,
    /// The user whose groups are all wanted.
    pub groups_of: Option<String>,
}

/// Why nobody can be them.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// Nobody has this name.
    #[error("No such user: '{0}'")]
    NoUser(String),
    /// No group has this name.
    #[error("No such group: '{0}'")]
    NoGroup(String),
    /// Only root may become somebody else.
    #[error(
        "cannot run workers as user {uid} and group {gid}\n  why: remuda was started as user {}, \
         and only root can give up its user\n  hint: leave `user` and `group` out, and start remuda \
         as the right user",
        geteuid()
    )]
    NotRoot {
        /// The user's number.
        uid: u32,
        /// The group's number.
        gid: u32,
    },
    /// The user database cannot be read.
    #[error("cannot look up users and groups: {0}")]
    Lookup(#[from] nix::Error),
    /// A log file cannot be given away.
    #[error("cannot give {path} to its new owner: {source}")]
    Chown {
        /// The file.
        path: String,
        /// What the kernel said.
        source: nix::Error,
    },
}

impl Identity {
    /// Looks both up; `None` when they are who we are already.
    ///
    /// # Errors
    ///
    /// When there is no such user or group, or we are not root.
    pub fn look_up(
        user: Option<&str>,
        group: Option<&str>,
        all_groups: bool,
    ) -> Result<Option<Self>, IdentityError> {
        let (own_uid, own_gid) = (geteuid(), nix::unistd::getegid());
        let uid = user.map_or(Ok(own_uid), uid_of)?;
        let gid = group.map_or(Ok(own_gid), gid_of)?;
        if (uid, gid) == (own_uid, own_gid) {
            return Ok(None);
        }
        let (uid, gid) = (uid.as_raw(), gid.as_raw());
        if !own_uid.is_root() {
            return Err(IdentityError::NotRoot { uid, gid });
        }
        let name = || Ok::<_, IdentityError>(User::from_uid(Uid::from_raw(uid))?.map(|u| u.name));
        let groups_of = if all_groups { name()? } else { None };
        Ok(Some(Self { uid, gid, groups_of }))
    }

    /// Gives them a file of ours.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn give(&self, path: &Path) -> Result<(), IdentityError> {
        chown(path, Some(Uid::from_raw(self.uid)), Some(Gid::from_raw(self.gid)))
            .map_err(|source| IdentityError::Chown { path: path.display().to_string(), source })
    }
}

/// Makes the log files that are missing, and gives them to the user of zygotes and workers, who
/// often may not write in their directory. What is there stays as it is: whoever rotates logs has
/// chosen its owner, and it may be a link that leads elsewhere.
pub(crate) fn make_logs(plan: &WorkerPlan) -> io::Result<()> {
    let Some(IdentityPlan { uid, gid, .. }) = &plan.identity else { return Ok(()) };
    let paths = [Some(&plan.errorlog), plan.accesslog.as_ref()].into_iter().flatten();
    for path in paths.filter(|path| *path != "-") {
        match OpenOptions::new().append(true).create_new(true).open(path) {
            Ok(made) => fchown(made, Some(*uid), Some(*gid))?,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn uid_of(user: &str) -> Result<Uid, IdentityError> {
    if let Ok(number) = user.parse() {
        return Ok(Uid::from_raw(number));
    }
    let found = User::from_name(user)?.map(|user| user.uid);
    found.ok_or_else(|| IdentityError::NoUser(user.to_owned()))
}

fn gid_of(group: &str) -> Result<Gid, IdentityError> {
    if let Ok(number) = group.parse() {
        return Ok(Gid::from_raw(number));
    }
    let found = Group::from_name(group)?.map(|group| group.gid);
    found.ok_or_else(|| IdentityError::NoGroup(group.to_owned()))
}

/// Goes to the background; the caller has no threads and no children that it still waits for.
///
/// # Errors
///
/// When the kernel refuses a fork.
pub fn go_to_background(keep_stdio: bool) -> io::Result<()> {
    Ok(daemon(true, keep_stdio)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_looked_up() {
        assert_eq!(uid_of("root").ok(), Some(Uid::from_raw(0)));
        assert_eq!(uid_of("4711").ok(), Some(Uid::from_raw(4711)));
        assert_eq!(gid_of("root").ok(), Some(Gid::from_raw(0)));
        let error = uid_of("nobody-has-this-name").expect_err("none").to_string();
        assert_eq!(error, "No such user: 'nobody-has-this-name'");
        let error = gid_of("nor-this").expect_err("none").to_string();
        assert_eq!(error, "No such group: 'nor-this'");
    }

    #[test]
    fn being_oneself_takes_nothing() {
        assert_eq!(Identity::look_up(None, None, true).expect("looked up"), None);
        let own = geteuid().to_string();
        assert_eq!(Identity::look_up(Some(&own), None, false).expect("looked up"), None);
    }
}
