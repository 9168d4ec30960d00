//! Binding the listeners. The master owns them for its whole life, so that no worker's death
//! ever closes an accept queue.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use remuda_channel::{FIRST_LISTENER_FD, ListenerPlan};
use remuda_journal::log;
use socket2::{Domain, SockAddr, SockFilter, Socket, Type};

use crate::sys;

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// Every interface: IPv6 and IPv4 at once, or IPv4 alone where there is no IPv6.
    Any {
        /// Port; 0 = any.
        port: u16,
    },
    /// A host and a port.
    Tcp {
        /// Name or address; brackets removed.
        host: String,
        /// Port; 0 = any.
        port: u16,
    },
    /// A socket file.
    Unix(PathBuf),
    /// An inherited descriptor.
    Fd(i32),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any { port } => write!(f, "[::]:{port}"),
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Fd(fd) => write!(f, "fd://{fd}"),
        }
    }
}

/// What to bind, and how.
#[derive(Clone, Debug)]
pub struct Binding {
    /// Where.
    pub addresses: Vec<Address>,
    /// Longest accept queue.
    pub backlog: i32,
    /// Whether other processes may bind the same addresses.
    pub reuse_port: bool,
    /// Permission bits that unix sockets lack.
    pub umask: u32,
    /// Who gets the unix sockets: user and group.
    pub owner: Option<(u32, u32)>,
    /// Descriptors from a service manager, or from the master before this one, replace the
    /// addresses.
    pub inherited: Vec<i32>,
    /// Those of them that will be this master's own when the one before it is gone.
    pub heirlooms: Vec<i32>,
}

/// Why a listener could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {source}\n  hint: {}", hint(source, address))]
pub struct ListenError {
    /// Where.
    pub address: String,
    /// What the kernel said.
    pub source: io::Error,
}

fn hint(error: &io::Error, address: &str) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "stop the other process, or choose another address with `--bind`"
        }
        io::ErrorKind::PermissionDenied if address.starts_with("unix:") => {
            "give the folder to the user that remuda runs as"
        }
        io::ErrorKind::PermissionDenied => "ports below 1024 need privileges; choose a higher one",
        io::ErrorKind::AddrNotAvailable => "no network interface of this machine has the address",
        io::ErrorKind::NotFound => "create the folder first",
        _ => "see `bind` in the settings reference",
    }
}

struct Listener {
    socket: Socket,
    host: String,
    port: Option<u16>,
    /// A socket file to remove at the end.
    path: Option<PathBuf>,
    /// It belongs to somebody else, who uses it beside us or goes on using it after us.
    inherited: bool,
    /// It will be ours when the master before us is gone.
    is_heirloom: bool,
    /// The master after this one has it from us.
    given_away: bool,
}

/// The bound sockets.
pub struct Listeners(Vec<Listener>);

const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_secs(1);

impl Listeners {
    /// `http://host:port` with this scheme, comma-joined as gunicorn prints it.
    #[must_use]
    pub fn urls(&self, scheme: &str) -> String {
        let url = |listener: &Listener| match listener.port {
            Some(port) if listener.host.contains(':') => {
                format!("{scheme}://[{}]:{port}", listener.host)
            }
            Some(port) => format!("{scheme}://{}:{port}", listener.host),
            None => format!("unix:{}", listener.host),
        };
        self.0.iter().map(url).collect::<Vec<_>>().join(",")
    }

    /// Binds all addresses; one that is in use is tried again for a few seconds, since the
    /// previous process may still be leaving.
    ///
    /// # Errors
    ///
    /// The first address that cannot be used.
    pub fn bind(binding: &Binding) -> Result<Self, ListenError> {
        let inherited = binding.inherited.iter().map(|fd| Address::Fd(*fd)).collect::<Vec<_>>();
        let addresses = if inherited.is_empty() { &binding.addresses } else { &inherited };
        addresses
            .iter()
            .map(|address| {
                let mut listener = bind_patiently(address, binding)?;
                listener.is_heirloom =
                    matches!(address, Address::Fd(fd) if binding.heirlooms.contains(fd));
                Ok(listener)
            })
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// What workers must know of them.
    #[must_use]
    pub fn plans(&self) -> Vec<ListenerPlan> {
        let plan = |(fd, listener): (i32, &Listener)| ListenerPlan {
            fd,
            host: listener.host.clone(),
            port: listener.port,
        };
        (FIRST_LISTENER_FD..).zip(&self.0).map(plan).collect()
    }

    /// How many connections wait to be accepted, at all addresses for TCP.
    pub(crate) fn waiting(&self) -> u64 {
        self.fds().filter_map(|fd| sys::accept_queue(fd).ok()).map(u64::from).sum()
    }

    /// The descriptors, in the order of [`Listeners::plans`].
    pub(crate) fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.0.iter().map(|listener| listener.socket.as_fd())
    }

    /// The descriptors, and whether they are this master's own.
    pub(crate) fn all(&self) -> impl Iterator<Item = (BorrowedFd<'_>, bool)> {
        self.0.iter().map(|listener| (listener.socket.as_fd(), !listener.inherited))
    }

    /// They belong to the master after this one: nothing of what we do later may touch them.
    pub(crate) fn give_away(&mut self) {
        for listener in &mut self.0 {
            listener.given_away = !listener.inherited;
            listener.inherited = true;
        }
    }

    /// Whoever had them from us has crashed.
    pub(crate) fn take_back(&mut self) {
        for listener in &mut self.0 {
            listener.inherited &= !std::mem::take(&mut listener.given_away);
        }
    }

    /// The master before this one has left them to us.
    pub(crate) fn take_over(&mut self) {
        for listener in self.0.iter_mut().filter(|listener| listener.is_heirloom) {
            listener.inherited = false;
        }
    }

    /// Lets no new connection into the accept queues, while those inside can still be accepted.
    /// A filter that drops every packet does that for TCP: `shutdown` would reset the queue, and
    /// closing later would reset whoever came in between.
    pub(crate) fn close_gate(&self) {
        let drop_all = [SockFilter::new(libc::BPF_RET as u16, 0, 0, 0)];
        for listener in self.0.iter().filter(|listener| !listener.inherited) {
            match &listener.path {
                // A path that is gone refuses new clients at once.
                Some(path) => drop(std::fs::remove_file(path)),
                // Without the filter the queue only stays open for longer.
                None => drop(listener.socket.attach_filter(&drop_all)),
            }
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Some(path) = self.path.as_ref().filter(|_| !self.inherited) {
            // Gone already is what we want.
            let _ = std::fs::remove_file(path);
        }
    }
}

fn bind_patiently(address: &Address, binding: &Binding) -> Result<Listener, ListenError> {
    let mut tries = 1;
    loop {
        match bind_one(address, binding) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && tries < TRIES => {
                log!(BIND_BUSY, address = address);
                log!(BIND_RETRY);
                std::thread::sleep(PAUSE);
                tries += 1;
            }
            Err(source) => return Err(ListenError { address: address.to_string(), source }),
            Ok(listener) => return Ok(listener),
        }
    }
}

fn bind_one(address: &Address, binding: &Binding) -> io::Result<Listener> {
    match address {
        Address::Any { port } => bind_any(*port, binding),
        Address::Tcp { host, port } => bind_ip(resolve(host, *port)?, binding),
        Address::Unix(path) => bind_unix(path, binding),
        Address::Fd(fd) => adopt(*fd),
    }
}

fn bind_any(port: u16, binding: &Binding) -> io::Result<Listener> {
    match bind_ip(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)), binding) {
        Err(error) if error.kind() != io::ErrorKind::AddrInUse => {
            bind_ip(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)), binding)
        }
        bound => bound,
    }
}

fn resolve(host: &str, port: u16) -> io::Result<SocketAddr> {
    let unknown = || io::Error::new(io::ErrorKind::AddrNotAvailable, "the host name is unknown");
    (host, port).to_socket_addrs().map_err(|_| unknown())?.next().ok_or_else(unknown)
}

fn bind_ip(address: SocketAddr, binding: &Binding) -> io::Result<Listener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    if binding.reuse_port {
        // One socket for all workers nevertheless: closing one of several would reset the
        // connections that wait in it.
        socket.set_reuse_port(true)?;
    }
    if address.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED) {
        socket.set_only_v6(false)?;
    }
    socket.bind(&address.into())?;
    socket.listen(binding.backlog)?;
    finish(socket, None, false)
}

fn bind_unix(path: &Path, binding: &Binding) -> io::Result<Listener> {
    let address = SockAddr::unix(path)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    if is_stale(path, &address) {
        std::fs::remove_file(path)?;
    }
    socket.bind(&address)?;
    // gunicorn's default umask is 0: the proxy in front runs as another user. Nobody can connect
    // before `listen`.
    let mode = 0o777 & !binding.umask;
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode))?;
    if let Some((uid, gid)) = binding.owner {
        std::os::unix::fs::chown(path, Some(uid), Some(gid))?;
    }
    socket.listen(binding.backlog)?;
    finish(socket, Some(path.to_owned()), false)
}

/// A socket file that nobody listens on any more.
pub(crate) fn is_stale(path: &Path, address: &SockAddr) -> bool {
    use std::os::unix::fs::FileTypeExt;
    let is_socket = path.symlink_metadata().is_ok_and(|data| data.file_type().is_socket());
    let connect = || Socket::new(Domain::UNIX, Type::STREAM, None)?.connect(address);
    is_socket && connect().is_err_and(|e| e.kind() == io::ErrorKind::ConnectionRefused)
}

fn adopt(fd: i32) -> io::Result<Listener> {
    let socket = Socket::from(sys::take_inherited(fd)?);
    socket.set_cloexec(true)?;
    let path = socket.local_addr()?.as_pathname().map(Path::to_owned);
    finish(socket, path, true)
}

fn finish(socket: Socket, path: Option<PathBuf>, inherited: bool) -> io::Result<Listener> {
    // Set once here: the flag is shared by every process that holds the socket.
    socket.set_nonblocking(true)?;
    let address = socket.local_addr()?;
    let (host, port) = match (address.as_socket(), address.as_pathname()) {
        (Some(address), _) => (address.ip().to_string(), Some(address.port())),
        (None, Some(path)) => (path.display().to_string(), None),
        (None, None) => (String::new(), None),
    };
    Ok(Listener { socket, host, port, path, inherited, is_heirloom: false, given_away: false })
}

/// Descriptors that a service manager has handed over by `LISTEN_FDS`.
#[must_use]
pub fn listen_fds(pid: Option<&str>, count: Option<&str>) -> Vec<i32> {
    const FIRST: i32 = 3;
    let ours = std::process::id().to_string();
    match count.and_then(|count| count.parse::<i32>().ok()) {
        Some(count) if pid == Some(&ours) => (FIRST..FIRST.saturating_add(count)).collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::TcpStream;

    use super::*;

    fn binding(addresses: Vec<Address>) -> Binding {
        Binding {
            addresses,
            backlog: 16,
            reuse_port: false,
            umask: 0,
            owner: None,
            inherited: Vec::new(),
            heirlooms: Vec::new(),
        }
    }

    fn local() -> Address {
        Address::Tcp { host: "127.0.0.1".into(), port: 0 }
    }

    #[test]
    fn addresses_are_shown_as_gunicorn_does() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("app.sock");
        let listeners =
            Listeners::bind(&binding(vec![local(), Address::Unix(path.clone())])).expect("bind");
        let port = listeners.plans()[0].port.expect("a port");
        let shown = format!("http://127.0.0.1:{port},unix:{}", path.display());
        assert_eq!(listeners.urls("http"), shown);
        assert_eq!(listeners.plans()[1].fd, FIRST_LISTENER_FD + 1);
    }

    #[test]
    fn a_stale_socket_file_is_replaced_and_removed_at_the_end() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("app.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).expect("bind"));
        let listeners = Listeners::bind(&binding(vec![Address::Unix(path.clone())])).expect("bind");
        assert!(path.exists());
        drop(listeners);
        assert!(!path.exists());
    }

    #[test]
    fn a_file_that_is_no_socket_is_never_removed() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("precious");
        std::fs::write(&path, "text").expect("write");
        assert!(bind_unix(&path, &binding(Vec::new())).is_err());
        assert_eq!(std::fs::read_to_string(&path).expect("read"), "text");
    }

    #[test]
    fn a_socket_file_lacks_the_bits_of_the_umask() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("app.sock");
        let mode = |umask| {
            let _bound = bind_unix(&path, &Binding { umask, ..binding(Vec::new()) }).expect("bind");
            path.metadata().expect("a file").permissions().mode() & 0o777
        };
        assert_eq!(mode(0), 0o777);
        assert_eq!(mode(0o117), 0o660);
    }

    #[test]
    fn an_address_can_be_shared_if_both_want_it() {
        let shared = |port| Binding {
            reuse_port: true,
            ..binding(vec![Address::Tcp { host: "127.0.0.1".into(), port }])
        };
        let first = Listeners::bind(&shared(0)).expect("bind");
        let port = first.plans()[0].port.expect("a port");
        assert!(Listeners::bind(&shared(port)).is_ok());
        let alone = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        assert!(bind_ip(alone, &binding(Vec::new())).is_err());
    }

    #[test]
    fn a_foreign_address_is_explained() {
        let address = Address::Tcp { host: "192.0.2.1".into(), port: 80 };
        let error = Listeners::bind(&binding(vec![address])).err().expect("not ours").to_string();
        assert!(error.starts_with("cannot listen on 192.0.2.1:80:"), "{error}");
        assert!(error.contains("hint: no network interface"), "{error}");
    }

    #[test]
    fn a_closed_gate_keeps_the_queue_and_admits_nobody() {
        let listeners = Listeners::bind(&binding(vec![local()])).expect("bind");
        let port = listeners.plans()[0].port.expect("a port");
        let mut inside = TcpStream::connect(("127.0.0.1", port)).expect("before the gate closes");
        listeners.close_gate();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let late = TcpStream::connect_timeout(&address, Duration::from_millis(50));
        assert!(late.is_err(), "a new connection came in");
        let (accepted, _) = listeners.0[0].socket.accept().expect("the queue is intact");
        drop(accepted);
        assert_eq!(inside.read(&mut [0; 1]).expect("closed, not reset"), 0);
    }

    #[test]
    fn descriptors_are_only_taken_when_they_are_meant_for_us() {
        let pid = std::process::id().to_string();
        assert_eq!(listen_fds(Some(&pid), Some("2")), [3, 4]);
        assert_eq!(listen_fds(Some("1"), Some("2")), [0i32; 0]);
        assert_eq!(listen_fds(Some(&pid), None), [0i32; 0]);
    }
}
