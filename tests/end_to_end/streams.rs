//! `--source stdin` with every genuine archive.

use std::{fs::File, path::PathBuf, process::Stdio, sync::Arc};

use crate::home::{Home, Job};

/// An archive of the fixtures, decompressed.
pub(crate) fn archive(name: &str) -> Arc<Vec<u8>> {
    let place =
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/xtrabackup-8.0/archives");
    let file = File::open(place.join(format!("{name}.xbstream.zst"))).unwrap();
    Arc::new(zstd::stream::decode_all(file).unwrap())
}

fn feed(home: &Home, name: &str) -> crate::home::Done {
    let path = home.path("stream");
    std::fs::write(&path, &*archive(name)).unwrap();
    let mut command = home.command();
    command.args([
        "backup",
        "--source",
        "stdin",
        "--engine",
        "xtrabackup",
        "--id",
        &name.replace('_', "-"),
    ]);
    Job::start(command.stdin(Stdio::from(File::open(path).unwrap()))).wait()
}

#[test]
fn whole_archives_are_committed_and_broken_ones_are_not_listed() {
    let home = Home::file();
    for name in ["fail_mysqld_killed", "fail_sigterm", "fail_epipe"] {
        let done = feed(&home, name).expect(4);
        assert_eq!(done.json()["kind"], "source");
        assert_eq!(home.listed(), Vec::<String>::new(), "{name}");
    }
    for name in ["full", "full_parallel4"] {
        let done = feed(&home, name).expect(0).json();
        assert_eq!(done["proof"], "framing", "{done}");
        assert!(home.listed().contains(&name.replace('_', "-")));
    }
    home.run(&["verify"]).expect(0);
}

#[test]
fn what_the_engine_has_compressed_is_refused_since_a_restore_could_not_read_it() {
    let home = Home::file();
    feed(&home, "full_compress").expect(2).says("--compress");
    assert_eq!(home.listed(), Vec::<String>::new());
}

#[test]
fn an_increment_is_no_backup_by_itself() {
    let home = Home::file();
    for name in ["incr1", "incr2"] {
        feed(&home, name).expect(2).says("increment");
        assert_eq!(home.listed(), Vec::<String>::new(), "{name}");
    }
}
