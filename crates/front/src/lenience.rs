//! Requests that are out of date or out of form, brought into form before hyper reads them.

/// What is accepted although it is out of date or out of form. Nothing, if nobody asks for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lenience {
    /// Header fields that go on in a next line; each fold is read as blanks.
    pub obsolete_folding: bool,
    /// Blanks between a header field's name and its colon; they are dropped.
    pub header_spaces: bool,
    /// Methods in small letters count as the same in capitals.
    pub casefold_method: bool,
    /// Methods that are short, long, or have small letters or a `#`.
    pub unconventional_method: bool,
}

impl Lenience {
    /// Whether heads have to be written anew.
    pub(crate) fn rewrites(&self) -> bool {
        self.obsolete_folding || self.header_spaces || self.casefold_method
    }

    /// Brings a whole head, whose lines end in CR LF, into form. Its length stays the same.
    pub(crate) fn rewrite(&self, head: &mut [u8]) {
        if self.casefold_method {
            let method = head.iter().position(|byte| *byte == b' ').unwrap_or(0);
            head[..method].make_ascii_uppercase();
        }
        if self.obsolete_folding {
            unfold(head);
        }
        if self.header_spaces {
            for line in head.split_mut(|byte| *byte == b'\n').skip(1) {
                move_blanks_behind_colon(line);
            }
        }
    }
}

/// RFC 9112 §5.2: blanks in place of the line end, before anything interprets the value.
fn unfold(head: &mut [u8]) {
    for at in 0..head.len().saturating_sub(2) {
        if head[at..].starts_with(b"\r\n") && matches!(head[at + 2], b' ' | b'\t') {
            head[at..at + 2].fill(b' ');
        }
    }
}

fn move_blanks_behind_colon(line: &mut [u8]) {
    let Some(colon) = line.iter().position(|byte| *byte == b':') else { return };
    let name = line[..colon].trim_ascii_end().len();
    if name > 0 && line[name..colon].iter().all(|byte| matches!(byte, b' ' | b'\t')) {
        line.swap(name, colon);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewritten(lenience: Lenience, head: &str) -> String {
        let mut bytes = head.as_bytes().to_vec();
        lenience.rewrite(&mut bytes);
        assert_eq!(bytes.len(), head.len());
        String::from_utf8(bytes).expect("ascii")
    }

    #[test]
    fn folds_become_blanks() {
        let lenience = Lenience { obsolete_folding: true, ..Lenience::default() };
        assert_eq!(
            rewritten(lenience, "GET / HTTP/1.1\r\nA: b\r\n c\r\n\td\r\nE: f\r\n\r\n"),
            "GET / HTTP/1.1\r\nA: b   c  \td\r\nE: f\r\n\r\n"
        );
    }

    #[test]
    fn blanks_before_a_colon_go_behind_it() {
        let lenience = Lenience { header_spaces: true, ..Lenience::default() };
        assert_eq!(
            rewritten(lenience, "GET /a b : HTTP/1.1\r\nA \t: b\r\nC: d : e\r\n\r\n"),
            "GET /a b : HTTP/1.1\r\nA:\t  b\r\nC: d : e\r\n\r\n"
        );
    }

    #[test]
    fn methods_become_capitals() {
        let lenience = Lenience { casefold_method: true, ..Lenience::default() };
        assert_eq!(rewritten(lenience, "get /a HTTP/1.1\r\n\r\n"), "GET /a HTTP/1.1\r\n\r\n");
    }
}
