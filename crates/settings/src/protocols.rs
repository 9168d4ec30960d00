//! What is spoken on the listeners: TLS, HTTP/2, the PROXY protocol; and what of it fits together.

use std::path::{Path, PathBuf};

use crate::ciphers;
use crate::resolve::{Reader, absolute};
use crate::settings::{Http2Settings, ProxySettings, TlsSettings};
use crate::table::*;
use crate::value::{self, Misfit};
use crate::{Problem, Setting, Warning};

impl Reader<'_> {
    pub(crate) fn proxy(&mut self) -> ProxySettings {
        let mode = self.read(&PROXY_PROTOCOL, |given| {
            // gunicorn's file may hold a truth value.
            let text = match given.text().to_ascii_lowercase().as_str() {
                "true" | "1" => "auto".to_owned(),
                "false" | "0" | "none" => "off".to_owned(),
                _ => given.text(),
            };
            value::choice(&text, &["off", "v1", "v2", "auto"])
                .map_err(|misfit| misfit.hint("before the app, write `--proxy-protocol=auto`"))
        });
        ProxySettings { mode, allowed: self.networks(&PROXY_ALLOW_IPS) }
    }

    pub(crate) fn tls(&mut self, chdir: &Path) -> Option<TlsSettings> {
        let certificate = self.path(&CERTFILE, chdir);
        let key = self.path(&KEYFILE, chdir);
        let authorities = self.path(&CA_CERTS, chdir);
        let client_certificates = self.whole(&CERT_REQS) as u8;
        let ciphers = self.read(&CIPHERS, |given| ciphers::parse(&given.text()));
        let by_hook = self.subject_of(&SSL_CONTEXT).is_some();
        // As in gunicorn: a hook is asked where one of both is there, and may use neither.
        if certificate.is_none() && !(by_hook && key.is_some()) {
            self.without_certificate();
            return None;
        }
        if client_certificates > 0 && authorities.is_none() && !by_hook {
            let hint = "name the file of those who may sign them in `ca_certs`";
            self.refuse(&CERT_REQS, "needs `ca_certs`", hint);
        }
        if client_certificates == 0 && authorities.is_some() && !by_hook {
            self.warn(&CA_CERTS, "has no effect: `cert_reqs` is 0, so clients show no certificate");
        }
        Some(TlsSettings { by_hook, certificate, key, authorities, client_certificates, ciphers })
    }

    /// Whoever asks for encryption must not get none.
    fn without_certificate(&mut self) {
        let hint = "name the certificate's file in `certfile`";
        for setting in [&KEYFILE, &CA_CERTS] {
            self.refuse(setting, "needs `certfile`", hint);
        }
        if self.whole(&CERT_REQS) > 0 {
            self.refuse(&CERT_REQS, "needs `certfile`", hint);
        }
        self.warn(&CIPHERS, "has no effect without `certfile`");
        let why = "has no effect without `certfile` or `keyfile`, as in gunicorn: clients speak plain HTTP";
        self.warn(&SSL_CONTEXT, why);
    }

    pub(crate) fn http2(&mut self, has_tls: bool) -> Http2Settings {
        let protocols = self.read(&HTTP_PROTOCOLS, |given| protocols(&given.text()));
        let cleartext = self.read(&HTTP2_CLEARTEXT, |given| {
            // gunicorn's file may hold a truth value.
            let text = match given.text().to_ascii_lowercase().as_str() {
                "true" => "prior-knowledge".to_owned(),
                "false" | "none" => "off".to_owned(),
                _ => given.text(),
            };
            value::choice(&text, &["off", "prior-knowledge", "upgrade", "both"])
        });
        let is_wanted = protocols.iter().any(|name| name == "h2");
        match cleartext.as_str() {
            "off" if is_wanted && !has_tls => {
                let why = "names h2, but there is neither `certfile` nor `http2_cleartext`, so that \
                           nobody will speak HTTP/2";
                self.warn(&HTTP_PROTOCOLS, why);
            }
            "off" => {}
            _ if has_tls => self.warn(&HTTP2_CLEARTEXT, "has no effect with `certfile`"),
            _ if !is_wanted => {
                self.warn(&HTTP2_CLEARTEXT, "has no effect without h2 in `http_protocols`");
            }
            "upgrade" => {
                let why = "has no effect as `upgrade`: requests to upgrade are answered by HTTP/1.1; \
                           clients that begin with HTTP/2 are served with `both`";
                self.warn(&HTTP2_CLEARTEXT, why);
            }
            _ => {}
        }
        let cleartext = if has_tls || !is_wanted { "off".to_owned() } else { cleartext };
        Http2Settings {
            protocols,
            cleartext,
            streams: self.whole(&HTTP2_MAX_CONCURRENT_STREAMS) as u32,
            window_bytes: self.whole(&HTTP2_INITIAL_WINDOW_SIZE) as u32,
            frame_bytes: self.whole(&HTTP2_MAX_FRAME_SIZE) as u32,
            header_list_bytes: self.whole(&HTTP2_MAX_HEADER_LIST_SIZE) as u32,
        }
    }

    fn path(&mut self, setting: &Setting, chdir: &Path) -> Option<PathBuf> {
        let text = self.text(setting);
        let given = !text.is_empty() && !text.eq_ignore_ascii_case("none");
        given.then(|| absolute(chdir, Path::new(&text)))
    }

    /// What was given cannot stand with the rest.
    fn refuse(&mut self, setting: &Setting, what: &str, hint: &str) {
        if let Some((subject, origin)) = self.subject_of(setting) {
            let problem = Problem::new(format!("`{subject}` {what}"));
            self.problems.push(problem.from(&origin).hint(hint));
        }
    }

    fn warn(&mut self, setting: &Setting, what: &str) {
        if let Some((subject, _)) = self.subject_of(setting) {
            self.warnings.push(Warning(format!("`{subject}` {what}")));
        }
    }
}

fn protocols(text: &str) -> Result<Vec<String>, Misfit> {
    let named: Vec<String> = value::commas(text)
        .iter()
        .map(|name| value::choice(name, &["h1", "h2"]))
        .collect::<Result<_, _>>()?;
    match named.as_slice() {
        [] => Ok(vec!["h1".to_owned()]),
        [one, other] if one == other => Err(Misfit::because(format!("{one} is named twice"))),
        [_, _, _, ..] => Err(Misfit::because("there are only two")),
        _ => Ok(named),
    }
}
