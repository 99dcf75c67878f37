//! Any file as a journal, its checksums made right up to a point: refused and kept, or opened as it will be again.
#![no_main]

use _zodc::privacy::journal::Journal;
use libfuzzer_sys::fuzz_target;

/// Lines with the checksums of records; the bytes after the last line break stand as they are.
fn sealed(data: &[u8]) -> Vec<u8> {
    let (mut hasher, mut file) = (crc32fast::Hasher::new(), Vec::new());
    for line in data.split_inclusive(|&byte| byte == b'\n') {
        if let Some(body) = line.strip_suffix(b"\n") {
            hasher.update(body);
            file.extend(format!("{:08x} ", hasher.clone().finalize()).bytes());
        }
        file.extend(line);
    }
    file
}

fuzz_target!(|data: &[u8]| {
    let Some((&how, data)) = data.split_first() else { return };
    let mut file = if how & 1 == 0 { sealed(data) } else { data.to_vec() };
    if how & 2 == 0 {
        file = sealed(&[b"zodc-journal 1 private {}\n", data].concat());
    }
    file.truncate(file.len().saturating_sub((how >> 2).into()));
    let path = std::env::temp_dir().join(format!("zodc-fuzz-{}.journal", std::process::id()));
    std::fs::write(&path, &file).unwrap();
    match Journal::open(&path).map(|journal| (journal.n_questions(), journal.header().to_owned())) {
        Ok(found) => {
            let settled = std::fs::read(&path).unwrap();
            let again = Journal::open(&path).unwrap();
            assert_eq!(found, (again.n_questions(), again.header().to_owned()));
            assert_eq!(settled, std::fs::read(&path).unwrap());
        }
        Err(_) => assert_eq!(file, std::fs::read(&path).unwrap()),
    }
});
