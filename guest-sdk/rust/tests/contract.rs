//! The crate carries a copy of the contract, since a published crate has no files above its own.

use std::fs;
use std::path::Path;

/// The same but for the `%` before words that the parser of wit-bindgen has as keywords.
#[test]
fn the_contract_is_the_servers() {
    let ours = Path::new(env!("CARGO_MANIFEST_DIR")).join("wit");
    let theirs = ours.join("../../../wit");
    let names = |path: &Path| {
        let files = fs::read_dir(path).expect("a directory of the repository");
        let mut names: Vec<_> = files.map(|file| file.expect("an entry").file_name()).collect();
        names.sort();
        names
    };
    assert_eq!(names(&ours), names(&theirs));
    for name in names(&ours) {
        let read = |path: &Path| fs::read_to_string(path.join(&name)).expect("a file of text").replace('%', "");
        assert_eq!(read(&ours), read(&theirs), "{name:?}");
    }
}
