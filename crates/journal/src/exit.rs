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
/// sysexits' `EX_DATAERR`.
pub const FORK_UNSAFE: ExitStatus = ExitStatus {
    code: 65,
    meaning: "A fork would break what importing the application has left behind, and `fork_check` \
              is `refuse`. A restart does not help.",
};
/// sysexits' `EX_UNAVAILABLE`.
pub const CRASH_LOOP: ExitStatus = ExitStatus {
    code: 69,
    meaning: "Workers were in a crash loop, and `crash_loop_exit` is set. A restart helps when the \
              cause is gone.",
};
/// sysexits' `EX_TEMPFAIL`.
pub const SHORTAGE: ExitStatus = ExitStatus {
    code: 75,
    meaning: "There was no room to start: no memory, no process or no descriptor was left. A \
              restart helps later, or elsewhere.",
};
/// sysexits' `EX_CONFIG`.
pub const NO_RETRY: ExitStatus = ExitStatus {
    code: 78,
    meaning: "The application asked not to be started again. A restart does not help.",
};
/// sysexits' `EX_SOFTWARE`.
pub const BUG: ExitStatus =
    ExitStatus { code: 70, meaning: "A mistake of remuda's. Please report it." };

/// All of them.
pub const ALL: &[ExitStatus] =
    &[STOPPED, UNABLE, USAGE, BOOT, APP, FORK_UNSAFE, CRASH_LOOP, BUG, SHORTAGE, NO_RETRY];

/// By these a worker, or an app while it is imported, speaks to the master.
pub const OF_WORKERS: &[ExitStatus] = &[
    ExitStatus {
        code: 3,
        meaning: "In the boot: the module cannot be imported. Ends the service if nothing of it \
                  has ever run; gives a reload up.",
    },
    ExitStatus { code: 4, meaning: "In the boot: the module has no such application. As 3." },
    ExitStatus {
        code: 75,
        meaning: "\"I am short of resources.\" Nothing is started for a while, then one worker is \
                  tried; the waits grow.",
    },
    ExitStatus {
        code: 78,
        meaning: "\"Do not start me again.\" The slot stays empty until the app is loaded anew; a reload \
                  to this code is given up. When no worker is left, the master exits with 78, too.",
    },
];

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
    page += "\n## Of workers\n\nWhat the master makes of a worker's exit status. Any other one, \
             early in its life, is a death as any: the next worker waits a little longer.\n\n\
             | status | meaning |\n| --- | --- |\n";
    for status in OF_WORKERS {
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
