//! The files that the app's code comes from, watched while somebody works on it (`reload`).
//!
//! Zygotes and workers say which files they are; the master looks when the kernel tells of something
//! in their folders (inotify), or else once a second. Either way it compares what it finds with what
//! it has seen before, so that no way of saving, renaming or checking out a file needs code of its
//! own, and what has not changed is no change. What follows is decided by the supervisor.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, InotifyEvent};
use remuda_channel::Sources;
use remuda_journal::log;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::{Interval, MissedTickBehavior, interval};

use crate::sys::{self, Teller};

/// How changes are to be looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watching {
    /// Once a second, and not when the kernel tells.
    pub by_polling: bool,
    /// Files and patterns beside the code, absolute.
    pub extra_files: Vec<String>,
}

/// Files and folders that are kept in mind.
const PATHS_MAX: usize = 20_000;
const POLL_PACE: Duration = Duration::from_secs(1);
/// Not each write: a log that is written to does not matter until it is closed.
const EVENTS: AddWatchFlags = AddWatchFlags::IN_CLOSE_WRITE
    .union(AddWatchFlags::IN_CREATE)
    .union(AddWatchFlags::IN_DELETE)
    .union(AddWatchFlags::IN_MOVED_FROM)
    .union(AddWatchFlags::IN_MOVED_TO)
    .union(AddWatchFlags::IN_ONLYDIR);

/// What a file was like: when it was written, its size, which one it was.
type Stamp = (i64, i64, u64, u64);

/// What stands for the content of a file.
type Digest = u64;

#[derive(Default)]
pub(crate) struct Watched {
    watching: Option<Watching>,
    waker: Waker,
    files: BTreeSet<PathBuf>,
    /// In these, every Python file counts, loaded or not: broken code may have wanted to load it.
    folders: BTreeSet<PathBuf>,
    seen: BTreeMap<PathBuf, Stamp>,
    /// What was in them when a load began that goes on; `None` between two loads.
    loaded: Option<BTreeMap<PathBuf, Digest>>,
    is_full: bool,
}

#[derive(Default)]
enum Waker {
    #[default]
    Nobody,
    Kernel(AsyncFd<Teller>),
    Clock(Interval),
}

/// What has changed since the last look.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) file: PathBuf,
    pub(crate) more: usize,
}

impl Watched {
    pub(crate) fn is_on(&self) -> bool {
        self.watching.is_some()
    }

    /// Begins or ends to watch, as the settings say now. `start` is where the app is looked for.
    pub(crate) fn set(&mut self, watching: Option<Watching>, start: &str) {
        if self.watching == watching {
            return;
        }
        let Some(wanted) = &watching else {
            *self = Self::default();
            return;
        };
        if !self.is_on() {
            log!(RELOADER_ON);
        }
        self.waker = if wanted.by_polling { Waker::clock() } else { Waker::kernel() };
        self.watching = watching;
        self.folders.insert(PathBuf::from(start));
        self.ask_the_kernel();
        self.seen = self.stamps();
        self.load_begins();
    }

    /// The code is about to be loaded. Some apps write a part of it meanwhile: a file that has the
    /// same in it afterwards has not been edited, and loading it again would go on for ever. At other
    /// times it has: somebody has touched it to have the code loaded.
    pub(crate) fn load_begins(&mut self) {
        let digests = self.seen.keys().filter_map(|path| Some((path.clone(), digest(path)?)));
        self.loaded = self.is_on().then(|| digests.collect());
    }

    /// The load is over.
    pub(crate) fn load_ends(&mut self) {
        self.pass_over_rewritten();
        self.loaded = None;
    }

    /// Files that were written again with what was in them are as they have been.
    fn pass_over_rewritten(&mut self) {
        let Some(loaded) = &self.loaded else { return };
        for (path, seen) in &mut self.seen {
            let Some(now) = stamp(path).filter(|now| now != seen) else { continue };
            if loaded.get(path).copied().is_some_and(|before| digest(path) == Some(before)) {
                *seen = now;
            }
        }
    }

    /// Begins to watch what a process has told of. A file that it may have loaded before it was
    /// written counts as a change: whether so is asked once it is watched, or what is written in
    /// between would be seen by nobody.
    pub(crate) fn add(&mut self, told: Sources) -> Option<Change> {
        if !self.is_on() {
            return None;
        }
        let files = self.unknown(told.files, |watched| &watched.files);
        let folders = self.unknown(told.folders, |watched| &watched.folders);
        // Not what else has come in the meantime: that is a change, and not looked at yet.
        let fresh: Vec<_> = files.iter().cloned().chain(modules_in(&folders)).collect();
        self.files.extend(files.iter().cloned());
        self.folders.extend(folders);
        self.ask_the_kernel();
        for path in fresh {
            if let Some(stamp) = stamp(&path) {
                self.seen.entry(path).or_insert(stamp);
            }
        }
        let since_ns = told.since_ns?;
        let mut young = files
            .into_iter()
            .filter(|file| self.seen.get(file).is_some_and(|stamp| is_young(stamp, since_ns)));
        let file = young.next()?;
        Some(Change { file, more: young.count() })
    }

    fn unknown(
        &mut self,
        told: Vec<String>,
        known: impl Fn(&Self) -> &BTreeSet<PathBuf>,
    ) -> BTreeSet<PathBuf> {
        let paths = told.into_iter().map(PathBuf::from).filter(|path| path.is_absolute());
        let mut unknown: BTreeSet<_> = paths.filter(|path| !known(self).contains(path)).collect();
        let room = PATHS_MAX.saturating_sub(self.files.len() + self.folders.len());
        if unknown.len() > room {
            if !std::mem::replace(&mut self.is_full, true) {
                log!(WATCH_FULL, most = PATHS_MAX);
            }
            unknown = unknown.into_iter().take(room).collect();
        }
        unknown
    }

    /// Waits until it is worth while to look.
    pub(crate) async fn woken(&mut self) {
        loop {
            let events = match &mut self.waker {
                Waker::Nobody => std::future::pending().await,
                Waker::Clock(clock) => {
                    clock.tick().await;
                    return;
                }
                Waker::Kernel(teller) => {
                    let read = |teller: &mut Teller| Ok(teller.0.read_events()?);
                    teller.async_io_mut(Interest::READABLE, read).await
                }
            };
            match events {
                Ok(events) if events.iter().any(|event| self.concerns(event)) => return,
                Ok(_) => {}
                Err(error) => {
                    self.poll_instead(&error);
                    return;
                }
            }
        }
    }

    /// Looks at everything.
    pub(crate) fn look(&mut self) -> Option<Change> {
        // First: what comes after the look must wake us again.
        self.ask_the_kernel();
        self.pass_over_rewritten();
        let now = self.stamps();
        let before = std::mem::replace(&mut self.seen, now);
        let changed = self.seen.iter().filter(|(path, stamp)| before.get(*path) != Some(stamp));
        let gone = before.keys().filter(|path| !self.seen.contains_key(*path));
        let mut all = changed.map(|(path, _)| path).chain(gone);
        let file = all.next()?.clone();
        Some(Change { file, more: all.count() })
    }

    /// Whether an event may be about something that is watched.
    fn concerns(&self, event: &InotifyEvent) -> bool {
        // The folder itself has gone, or there were too many events.
        let Some(name) = &event.name else { return true };
        if event.mask.contains(AddWatchFlags::IN_ISDIR) {
            return is_package_name(name);
        }
        let has_extra = self.watching.as_ref().is_some_and(|w| !w.extra_files.is_empty());
        is_module(Path::new(name))
            || has_extra
            || self.files.iter().any(|file| file.file_name() == Some(name))
    }

    /// Asks to be told of all folders. For those that are known already it is the same again.
    fn ask_the_kernel(&mut self) {
        let Waker::Kernel(teller) = &self.waker else { return };
        let refused = self.all_folders().into_iter().find_map(|folder| {
            match teller.get_ref().0.add_watch(&folder, EVENTS) {
                Err(error @ (Errno::ENOSPC | Errno::ENOMEM)) => Some(error),
                // It is not there now, or not for us.
                Ok(_) | Err(_) => None,
            }
        });
        if let Some(error) = refused {
            self.poll_instead(&error.into());
        }
    }

    fn poll_instead(&mut self, error: &std::io::Error) {
        log!(WATCH_BY_POLLING, error = error);
        self.waker = Waker::clock();
    }

    fn all_folders(&self) -> BTreeSet<PathBuf> {
        let mut folders = self.folders.clone();
        folders.extend(packages_in(&self.folders));
        for file in &self.files {
            folders.extend(file.parent().map(Path::to_path_buf));
            // Whoever writes a file that is linked to does so where it is.
            let target = fs::read_link(file).ok().and_then(|_| file.canonicalize().ok());
            folders.extend(target.as_deref().and_then(Path::parent).map(Path::to_path_buf));
        }
        for pattern in self.extra_files() {
            folders.extend(folders_of(pattern));
        }
        folders
    }

    fn stamps(&self) -> BTreeMap<PathBuf, Stamp> {
        let extra = self.extra_files().iter().flat_map(|pattern| matches(pattern));
        let paths = self.files.iter().cloned().chain(modules_in(&self.folders)).chain(extra);
        paths.filter_map(|path| stamp(&path).map(|stamp| (path, stamp))).collect()
    }

    fn extra_files(&self) -> &[String] {
        self.watching.as_ref().map_or(&[], |watching| &watching.extra_files)
    }
}

impl Waker {
    fn kernel() -> Self {
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC);
        match inotify.map_err(std::io::Error::from).and_then(sys::teller) {
            Ok(teller) => Self::Kernel(teller),
            Err(error) => {
                log!(WATCH_BY_POLLING, error = error);
                Self::clock()
            }
        }
    }

    fn clock() -> Self {
        let mut clock = interval(POLL_PACE);
        clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self::Clock(clock)
    }
}

fn stamp(path: &Path) -> Option<Stamp> {
    let data = fs::metadata(path).ok().filter(fs::Metadata::is_file)?;
    Some((data.mtime(), data.mtime_nsec(), data.size(), data.ino()))
}

/// Whether it was written after `since_ns`. The clock of files is that of the kernel's last tick.
fn is_young(&(seconds, nanoseconds, ..): &Stamp, since_ns: i64) -> bool {
    const TICK_NS: i64 = 10_000_000;
    let written_ns = seconds.saturating_mul(1_000_000_000).saturating_add(nanoseconds);
    written_ns.saturating_add(TICK_NS) > since_ns
}

/// `None` for what is no text that somebody would edit.
fn digest(path: &Path) -> Option<Digest> {
    const BYTES_MAX: u64 = 1 << 20;
    fs::metadata(path).ok().filter(|data| data.is_file() && data.len() <= BYTES_MAX)?;
    let mut hasher = DefaultHasher::new();
    fs::read(path).ok()?.hash(&mut hasher);
    Some(hasher.finish())
}

fn is_module(path: &Path) -> bool {
    path.extension() == Some(OsStr::new("py"))
}

/// `__pycache__` and hidden folders hold no code, and much else.
fn is_package_name(name: &OsStr) -> bool {
    name != "__pycache__" && !name.as_encoded_bytes().starts_with(b".")
}

/// Python files in folders, and what makes packages of the folders in them.
fn modules_in(folders: &BTreeSet<PathBuf>) -> impl Iterator<Item = PathBuf> {
    let modules = entries(folders).filter(|path| is_module(path));
    modules.chain(packages_in(folders).map(|package| package.join("__init__.py")))
}

fn packages_in(folders: &BTreeSet<PathBuf>) -> impl Iterator<Item = PathBuf> {
    entries(folders).filter(|path| path.file_name().is_some_and(is_package_name) && path.is_dir())
}

fn entries(folders: &BTreeSet<PathBuf>) -> impl Iterator<Item = PathBuf> {
    let entries = folders.iter().filter_map(|folder| fs::read_dir(folder).ok()).flatten();
    entries.filter_map(|entry| entry.ok().map(|entry| entry.path()))
}

/// As Python's `glob`: `*` does not match what is hidden, and `**` is any number of folders.
const AS_PYTHON: glob::MatchOptions = glob::MatchOptions {
    case_sensitive: true,
    require_literal_separator: true,
    require_literal_leading_dot: true,
};

/// The files that a pattern, or a path, stands for now.
fn matches(pattern: &str) -> Vec<PathBuf> {
    if !is_pattern(pattern) {
        return vec![PathBuf::from(pattern)];
    }
    let found = glob::glob_with(pattern, AS_PYTHON).into_iter().flatten();
    found.filter_map(Result::ok).collect()
}

/// The folders in which files can come that match.
fn folders_of(pattern: &str) -> Vec<PathBuf> {
    let mut folders = Vec::new();
    for part in Path::new(pattern).ancestors().skip(1) {
        let Some(text) = part.to_str() else { break };
        folders.extend(matches(text));
        if !is_pattern(text) {
            break;
        }
    }
    folders
}

fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?', '['])
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::time::SystemTime;

    use tempfile::TempDir;
    use tokio::time::timeout;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    fn folder() -> TempDir {
        tempfile::tempdir().expect("a folder")
    }

    fn text(path: &Path) -> String {
        path.display().to_string()
    }

    fn watched(start: &Path, by_polling: bool, extra_files: Vec<String>) -> Watched {
        let mut watched = Watched::default();
        watched.set(Some(Watching { by_polling, extra_files }), &text(start));
        watched
    }

    /// Waits for a change: not everything that wakes is one.
    async fn change(watched: &mut Watched) -> PathBuf {
        let changed = async {
            loop {
                watched.woken().await;
                if let Some(change) = watched.look() {
                    return change.file;
                }
            }
        };
        timeout(PATIENCE, changed).await.expect("a change")
    }

    fn write(path: &Path, text: &str) {
        fs::write(path, text).expect("written");
    }

    #[tokio::test]
    async fn a_file_that_is_written_renamed_over_or_removed_is_a_change() {
        for by_polling in [false, true] {
            let (start, elsewhere) = (folder(), folder());
            let file = elsewhere.path().join("app.py");
            write(&file, "1");
            let mut watched = watched(start.path(), by_polling, Vec::new());
            watched.add(Sources { files: vec![text(&file)], ..Sources::default() });
            assert_eq!(watched.look(), None);
            write(&file, "22");
            assert_eq!(change(&mut watched).await, file);
            let other = elsewhere.path().join("app.py.tmp");
            write(&other, "33");
            fs::rename(&other, &file).expect("renamed");
            assert_eq!(change(&mut watched).await, file);
            fs::remove_file(&file).expect("removed");
            assert_eq!(change(&mut watched).await, file);
            assert_eq!(watched.look(), None);
        }
    }

    #[tokio::test]
    async fn a_new_module_or_package_where_the_app_is_looked_for_is_a_change() {
        let start = folder();
        let mut watched = watched(start.path(), false, Vec::new());
        let module = start.path().join("new.py");
        write(&module, "");
        assert_eq!(change(&mut watched).await, module);
        let package = start.path().join("package");
        fs::create_dir(&package).expect("made");
        watched.woken().await;
        assert_eq!(watched.look(), None);
        write(&package.join("__init__.py"), "");
        assert_eq!(change(&mut watched).await, package.join("__init__.py"));
    }

    #[tokio::test]
    async fn what_python_and_databases_write_beside_the_code_does_not_wake() {
        let start = folder();
        let mut watched = watched(start.path(), false, Vec::new());
        fs::create_dir(start.path().join("__pycache__")).expect("made");
        write(&start.path().join("__pycache__/app.pyc"), "");
        write(&start.path().join("db.sqlite3"), "");
        assert!(timeout(Duration::from_millis(200), watched.woken()).await.is_err());
    }

    #[tokio::test]
    async fn a_file_that_is_linked_to_is_watched_where_it_is() {
        let (start, target) = (folder(), folder());
        let (link, file) = (start.path().join("app.py"), target.path().join("real.py"));
        write(&file, "1");
        symlink(&file, &link).expect("linked");
        let mut watched = watched(start.path(), false, Vec::new());
        watched.add(Sources { files: vec![text(&link)], ..Sources::default() });
        write(&file, "22");
        assert_eq!(change(&mut watched).await, link);
    }

    #[tokio::test]
    async fn patterns_match_what_comes_later_in_whatever_folder() {
        let start = folder();
        let pattern = text(&start.path().join("templates/**/*.html"));
        fs::create_dir(start.path().join("templates")).expect("made");
        let mut watched = watched(start.path(), false, vec![pattern]);
        let page = start.path().join("templates/page.html");
        write(&page, "");
        assert_eq!(change(&mut watched).await, page);
        let inner = start.path().join("templates/mail");
        fs::create_dir(&inner).expect("made");
        watched.woken().await;
        assert_eq!(watched.look(), None);
        write(&inner.join("welcome.html"), "");
        assert_eq!(change(&mut watched).await, inner.join("welcome.html"));
        write(&inner.join("notes.txt"), "");
        assert_eq!(watched.look(), None);
    }

    #[tokio::test]
    async fn what_comes_while_more_is_told_is_still_a_change() {
        let (start, elsewhere) = (folder(), folder());
        let mut watched = watched(start.path(), false, Vec::new());
        write(&start.path().join("new.py"), "");
        let folders = vec![text(elsewhere.path()), "relative".to_owned()];
        watched.add(Sources { folders, ..Sources::default() });
        assert_eq!(change(&mut watched).await, start.path().join("new.py"));
    }

    #[tokio::test]
    async fn without_the_kernel_the_clock_wakes() {
        let start = folder();
        let mut watched = watched(start.path(), false, Vec::new());
        watched.poll_instead(&Errno::ENOSPC.into());
        assert!(matches!(watched.waker, Waker::Clock(_)));
        write(&start.path().join("new.py"), "");
        assert_eq!(change(&mut watched).await, start.path().join("new.py"));
    }

    #[tokio::test]
    async fn a_file_that_was_written_while_it_was_loaded_counts_as_a_change_once() {
        let (start, elsewhere) = (folder(), folder());
        let file = elsewhere.path().join("late.py");
        write(&file, "");
        let mut watched = watched(start.path(), true, Vec::new());
        let files = vec![text(&file)];
        let told = Sources { files, since_ns: Some(0), folders: Vec::new() };
        assert_eq!(watched.add(told.clone()), Some(Change { file, more: 0 }));
        assert_eq!(watched.add(told), None);
        assert_eq!(watched.look(), None);
    }

    #[tokio::test]
    async fn only_what_was_written_since_the_process_began_may_be_other_than_what_it_has_loaded() {
        let (start, elsewhere) = (folder(), folder());
        let file = elsewhere.path().join("late.py");
        write(&file, "");
        let written = SystemTime::UNIX_EPOCH + Duration::from_secs(100);
        let opened = fs::File::options().write(true).open(&file).expect("opened");
        opened.set_modified(written).expect("set");
        for (since_s, is_change) in [(101, false), (99, true)] {
            let mut watched = watched(start.path(), true, Vec::new());
            let since_ns = Some(since_s * 1_000_000_000);
            let told = Sources { files: vec![text(&file)], since_ns, folders: Vec::new() };
            assert_eq!(watched.add(told).is_some(), is_change, "since {since_s}");
        }
    }

    #[tokio::test]
    async fn what_a_load_writes_again_is_no_change_unless_there_is_something_new_in_it() {
        let start = folder();
        let file = start.path().join("made.py");
        write(&file, "1");
        let mut watched = watched(start.path(), true, Vec::new());
        let again = |text: &str| {
            fs::remove_file(&file).expect("removed");
            write(&file, text);
        };
        again("1");
        assert_eq!(watched.look(), None, "the first load goes on");
        again("1");
        watched.load_ends();
        assert_eq!(watched.look(), None, "written just before the end");
        again("1");
        assert_eq!(watched.look(), Some(Change { file: file.clone(), more: 0 }), "touched");
        again("2");
        watched.load_begins();
        assert_eq!(watched.look(), None, "it is loaded");
        again("3");
        assert_eq!(watched.look(), Some(Change { file: file.clone(), more: 0 }), "edited");
        watched.load_begins();
        again("3");
        assert_eq!(watched.look(), None, "written again");
        fs::remove_file(&file).expect("removed");
        watched.load_ends();
        assert_eq!(watched.look(), Some(Change { file: file.clone(), more: 0 }), "removed");
    }

    #[tokio::test]
    async fn a_process_cannot_fill_the_master() {
        let start = folder();
        let mut watched = watched(start.path(), true, Vec::new());
        let files = (0..PATHS_MAX * 2).map(|number| format!("/nowhere/{number}.py")).collect();
        watched.add(Sources { files, ..Sources::default() });
        assert!(watched.files.len() + watched.folders.len() <= PATHS_MAX);
    }
}
