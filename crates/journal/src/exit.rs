//! The exit statuses of the master, declared once.

/// One exit status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExitStatus {
    /// The number.
    pub code: u8,
    /// When it happens, and whether a restart can help.
    pub meaning: &'static str,
}

/// Stopped because it was asked to.
pub const STOPPED: ExitStatus =
    ExitStatus { code: 0, meaning: "Stopped because somebody asked: TERM, INT or QUIT." };
/// A setting, a socket or the worker class.
pub const UNABLE: ExitStatus = ExitStatus {
    code: 1,
    meaning: "A setting is wrong, an address or a file cannot be used, a package is missing. \
              A restart does not help.",
};
/// The command line.
pub const USAGE: ExitStatus =
    ExitStatus { code: 2, meaning: "The command line cannot be understood." };
/// gunicorn's `WORKER_BOOT_ERROR`.
pub const BOOT: ExitStatus = ExitStatus {
    code: 3,
    meaning: "The application's module raised while it was imported, or was not found \
              (gunicorn: worker failed to boot).",
};
/// gunicorn's `APP_LOAD_ERROR`.
pub const APP: ExitStatus = ExitStatus {
    code: 4,
    meaning: "The module has no such application object (gunicorn: app failed to load).",
};
/// sysexits' `EX_SOFTWARE`.
pub const BUG: ExitStatus =
    ExitStatus { code: 70, meaning: "A mistake of remuda's. Please report it." };

/// All of them.
pub const ALL: &[ExitStatus] = &[STOPPED, UNABLE, USAGE, BOOT, APP, BUG];

/// The reference page of all exit statuses, in Markdown.
#[must_use]
pub fn reference() -> String {
    let mut page = String::from(
        "# Exit statuses\n\nGenerated from `crates/journal/src/exit.rs`; do not edit.\n\n\
         | status | meaning |\n| --- | --- |\n",
    );
    for status in ALL {
        page += &format!("| {} | {} |\n", status.code, status.meaning);
    }
    page
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_reference_page_is_up_to_date() {
        crate::page::check("exit-codes.md", &super::reference());
    }
}
