//! The crate carries the contract, since a published crate has no files above its own.

use std::fs;
use std::path::Path;

#[test]
fn the_contract_is_the_servers() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |directory: &Path| {
        let files = fs::read_dir(directory).expect("a directory of the repository");
        let mut texts: Vec<_> = files
            .map(|file| file.expect("an entry").path())
            .map(|path| (path.file_name().map(ToOwned::to_owned), fs::read_to_string(&path).expect("a file of text")))
            .collect();
        texts.sort();
        texts
    };
    assert_eq!(read(&root.join("wit")), read(&root.join("../../wit")));
}
