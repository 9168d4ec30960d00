//! TLS on one connection: rustls does no I/O of its own, so its bytes come and go by our socket.

use std::cell::{OnceCell, RefCell};
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::sync::Arc;

use rustls::{ProtocolVersion, ServerConnection};

use super::certificates::Certificates;
use super::client_certificate::ClientCertificate;
use super::served::Choice;
use super::suites;
use crate::layer::Raw;
use crate::wire::Wire;

/// The encryption of one connection.
pub(crate) struct Session {
    connection: RefCell<ServerConnection>,
    certificates: Arc<Certificates>,
    choice: Option<Arc<Choice>>,
    facts: OnceCell<TlsFacts>,
}

/// What was agreed on, and who the client has proved to be.
#[derive(Debug)]
pub struct TlsFacts {
    /// `TLSv1.3` or `TLSv1.2`.
    pub protocol: &'static str,
    /// The protocol's number: 0x0304, 0x0303.
    pub version: u16,
    /// The cipher suite by OpenSSL's name.
    pub cipher: &'static str,
    /// Its number.
    pub suite: u16,
    /// What the client has shown, verified, if it was asked to.
    pub client: Option<ClientCertificate>,
    certificates: Arc<Certificates>,
    choice: Option<Arc<Choice>>,
}

impl TlsFacts {
    /// Our own certificate, as PEM.
    #[must_use]
    pub fn server_pem(&self) -> &str {
        self.certificates.server_pem(self.choice.as_deref())
    }
}

/// How far a handshake has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shaken {
    NotYet,
    Done,
}

impl Session {
    pub(crate) fn new(certificates: Arc<Certificates>) -> Result<Self, rustls::Error> {
        let (config, choice) = certificates.for_connection();
        let connection = RefCell::new(ServerConnection::new(config)?);
        Ok(Self { connection, certificates, choice, facts: OnceCell::new() })
    }

    /// Goes on with the handshake as far as the socket allows.
    pub(crate) fn shake_hands(&self, wire: &Wire) -> io::Result<Shaken> {
        let connection = &mut *self.connection.borrow_mut();
        loop {
            match send_records(connection, wire) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    return Ok(Shaken::NotYet);
                }
                sent => sent?,
            }
            if !connection.is_handshaking() {
                return Ok(Shaken::Done);
            }
            match read_records(connection, wire) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    return Ok(Shaken::NotYet);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Whether the client wants HTTP/2.
    pub(crate) fn chose_http2(&self) -> bool {
        self.connection.borrow().alpn_protocol() == Some(b"h2")
    }

    #[inline(never)]
    pub(crate) fn receive(&self, wire: &Wire, room: &mut [u8]) -> io::Result<usize> {
        let connection = &mut *self.connection.borrow_mut();
        loop {
            match connection.reader().read(room) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                // Gone without saying so. HTTP has its own ends, so nothing can be cut off unseen.
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(0),
                done => return done,
            }
            read_records(connection, wire)?;
        }
    }

    /// What was sent before goes first; so at most one buffer of records waits for a slow client.
    #[inline(never)]
    pub(crate) fn transmit(&self, wire: &Wire, bytes: &[u8]) -> io::Result<usize> {
        self.encrypt(wire, |writer| writer.write(bytes))
    }

    #[inline(never)]
    pub(crate) fn transmit_vectored(
        &self,
        wire: &Wire,
        slices: &[IoSlice<'_>],
    ) -> io::Result<usize> {
        self.encrypt(wire, |writer| writer.write_vectored(slices))
    }

    fn encrypt(
        &self,
        wire: &Wire,
        write: impl FnOnce(&mut rustls::Writer<'_>) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let connection = &mut *self.connection.borrow_mut();
        send_records(connection, wire)?;
        let count = write(&mut connection.writer())?;
        match send_records(connection, wire) {
            // Taken is taken: the rest leaves with the next flush.
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(count),
            sent => sent.map(|()| count),
        }
    }

    #[inline(never)]
    pub(crate) fn flush(&self, wire: &Wire) -> io::Result<()> {
        send_records(&mut self.connection.borrow_mut(), wire)
    }

    pub(crate) fn say_goodbye(&self, wire: &Wire) {
        let connection = &mut *self.connection.borrow_mut();
        connection.send_close_notify();
        // A client that does not read will not miss it.
        let _ = send_records(connection, wire);
    }

    /// What was agreed on; to be asked once the handshake is done.
    pub(crate) fn facts(&self) -> &TlsFacts {
        self.facts.get_or_init(|| {
            let connection = self.connection.borrow();
            let version = connection.protocol_version();
            let suite = connection.negotiated_cipher_suite();
            TlsFacts {
                protocol: match version {
                    Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
                    _ => "TLSv1.3",
                },
                version: version.map_or(0, u16::from),
                cipher: suite.map_or("", suites::openssl_name),
                suite: suite.map_or(0, |suite| suite.suite().into()),
                client: connection.peer_certificates().and_then(ClientCertificate::read),
                certificates: self.certificates.clone(),
                choice: self.choice.clone(),
            }
        })
    }
}

/// Takes records in; 0 at the end of the client's bytes.
fn read_records(connection: &mut ServerConnection, wire: &Wire) -> io::Result<usize> {
    let count = connection.read_tls(&mut Raw(wire))?;
    if let Err(error) = connection.process_new_packets() {
        // Tells the client why, if it still listens.
        let _ = send_records(connection, wire);
        return Err(io::Error::new(ErrorKind::InvalidData, error));
    }
    Ok(count)
}

fn send_records(connection: &mut ServerConnection, wire: &Wire) -> io::Result<()> {
    while connection.wants_write() {
        connection.write_tls(&mut Raw(wire))?;
    }
    Ok(())
}
