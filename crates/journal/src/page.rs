//! Keeps a generated reference page equal to its declaration.

use std::fs;
use std::path::Path;

/// Compares a page of `docs/reference` with what it should be; writes it when `UPDATE` is set.
pub(crate) fn check(name: &str, wanted: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference").join(name);
    if std::env::var_os("UPDATE").is_some() {
        fs::create_dir_all(path.parent().expect("a folder")).expect("make the folder");
        fs::write(&path, wanted).expect("write the page");
    }
    let found = fs::read_to_string(&path).unwrap_or_default();
    assert!(found == wanted, "docs/reference/{name} is out of date: run `make docs`");
}
