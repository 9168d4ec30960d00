//! An app from a PasteDeploy file: `--paste shop.ini#section`.

use std::path::Path;

use crate::resolve::{Reader, absolute};
use crate::table::{PASTE, RAW_PASTE_GLOBAL_CONF, WSGI_APP};
use crate::value::Misfit;

impl Reader<'_> {
    /// What is served: a PasteDeploy file, which wins as in gunicorn, or a module.
    pub(crate) fn app(&mut self, start: &Path) -> String {
        let uri = self.read(&PASTE, |given| {
            let text = given.text();
            if text.is_empty() {
                return Ok(String::new());
            }
            let (file, section) = text.split_once('#').unwrap_or((&text, ""));
            let path = absolute(start, Path::new(file));
            if !path.is_file() {
                return Err(Misfit::because(format!("'{}' not found", path.display())));
            }
            let mark = if section.is_empty() { "" } else { "#" };
            Ok(format!("config:{}{mark}{section}", path.display()))
        });
        if uri.is_empty() { self.text(&WSGI_APP) } else { uri }
    }

    /// What such a file gets as `global_conf`.
    pub(crate) fn paste_global_conf(&mut self) -> Vec<(String, String)> {
        self.read(&RAW_PASTE_GLOBAL_CONF, |given| {
            given.texts.iter().map(|text| pair(text)).collect()
        })
    }
}

/// The file that an app comes from, if it comes from one.
pub(crate) fn file_of(app: &str) -> Option<&str> {
    let uri = app.strip_prefix("config:")?;
    Some(uri.split_once('#').map_or(uri, |(file, _)| file))
}

/// Whether the file also sets logging up, as files for PasteDeploy may.
pub(crate) fn has_logging(file: &str) -> bool {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    text.lines().any(|line| line.trim_end() == "[loggers]")
}

/// `name=value`, where `\=` is no end of the name.
fn pair(text: &str) -> Result<(String, String), Misfit> {
    let unescaped = |text: &str| text.replace(r"\=", "=");
    let ends = text.match_indices('=').find(|(at, _)| !text[..*at].ends_with('\\'));
    let (at, _) = ends.ok_or_else(|| Misfit::because("one of them has no `=`"))?;
    Ok((unescaped(&text[..at]), unescaped(&text[at + 1..])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_escaped_equals_sign_is_no_end() {
        assert_eq!(pair(r"a\=b=c\=d=e"), Ok(("a=b".to_owned(), "c=d=e".to_owned())));
        assert!(pair(r"a\=b").is_err());
    }

    #[test]
    fn a_section_is_no_part_of_the_file() {
        assert_eq!(file_of("config:/srv/shop.ini#admin"), Some("/srv/shop.ini"));
        assert_eq!(file_of("config:/srv/shop.ini"), Some("/srv/shop.ini"));
        assert_eq!(file_of("shop.wsgi"), None);
    }
}
