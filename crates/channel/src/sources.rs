//! Where a process's code comes from, to be watched while somebody works on it.

use serde::{Deserialize, Serialize};

/// Files and folders, absolute. Told in several packets when one is not enough, and only once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sources {
    /// Files that were loaded, or that could not be.
    #[serde(default)]
    pub files: Vec<String>,
    /// When the process began, in nanoseconds since the epoch: what was written later may be other
    /// than what it has loaded. `None` = nothing was.
    #[serde(default)]
    pub since_ns: Option<i64>,
    /// Folders in which a new module would count.
    #[serde(default)]
    pub folders: Vec<String>,
}

/// The packet in which a worker tells of them: the words of a zygote.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Told {
    Sources(Sources),
}

impl Sources {
    /// What such a packet tells; `None` when it is another one.
    #[must_use]
    pub fn from_worker(packet: &[u8]) -> Option<Self> {
        serde_json::from_slice(packet).ok().map(|Told::Sources(sources)| sources)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_packets_are_none_of_this_kind() {
        let packet = br#"{"type": "sources", "files": ["/srv/app.py"]}"#;
        let files = vec!["/srv/app.py".to_owned()];
        assert_eq!(Sources::from_worker(packet), Some(Sources { files, ..Sources::default() }));
        assert_eq!(Sources::from_worker(b"ready"), None);
        assert_eq!(Sources::from_worker(br#"{"type": "ready"}"#), None);
    }
}
