//! A second reader, written from `docs/format.md` alone, reads what the program writes, and
//! refuses what was changed: `tests/decoder/backstay_decode.py`, the way out without the program.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use backstay::mysql::xbstream::{Dialect, Validator};
use tempfile::TempDir;

const ARCHIVE: &str = "tests/fixtures/xtrabackup-8.0/archives/full.xbstream.zst";

fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// One of the decoder's scripts, in the Python that `./dev setup` made.
fn python(script: &str) -> Command {
    let tools =
        env::var_os("BACKSTAY_TOOLS").map_or_else(|| project().join(".tools"), PathBuf::from);
    let python = tools.join("venv/bin/python");
    assert!(python.exists(), "{} is missing: run ./dev setup", python.display());
    let mut command = Command::new(python);
    command.arg("-B").arg(project().join("tests/decoder").join(script));
    command
}

/// A repository of the cluster `c` with its keys, beside it the stream that its backups hold.
struct Made {
    folder: TempDir,
}

impl Made {
    fn new(keys: &[&str], backups: &[&str]) -> Self {
        let made = Self { folder: tempfile::tempdir().unwrap() };
        let archive = fs::File::open(project().join(ARCHIVE)).unwrap();
        let mut stream = fs::File::create(made.at("stream")).unwrap();
        zstd::stream::copy_decode(archive, &mut stream).unwrap();
        made.backstay(&[&["keys", "new"], keys].concat());
        for id in backups {
            made.backstay(&["backup", "--source", "stdin", "--engine", "xtrabackup", "--id", id]);
        }
        made
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn backstay(&self, arguments: &[&str]) {
        let done = Command::new(env!("CARGO_BIN_EXE_backstay"))
            .args(["--repo", &format!("file://{}", self.at("repo").display())])
            .args(["--cluster", "c", "--kek", &format!("file:{}", self.at("kek").display())])
            .args(arguments)
            .stdin(Stdio::from(fs::File::open(self.at("stream")).unwrap()))
            .output()
            .unwrap();
        assert!(done.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
    }

    fn decode(&self, arguments: &[&str]) -> Output {
        python("backstay_decode.py")
            .current_dir(self.folder.path())
            .args(["--repo", "repo", "--cluster", "c", "--kek", "kek", "--trust", "kek.trust"])
            .args(arguments)
            .output()
            .unwrap()
    }

    /// The decoder says why it refuses, and leaves nothing behind.
    fn refuses(&self, why: &str, arguments: &[&str]) {
        let done = self.decode(&[arguments, &["--stream", "out"]].concat());
        let said = String::from_utf8_lossy(&done.stderr);
        assert_eq!(done.status.code(), Some(1), "{why}: {said}");
        assert!(said.starts_with("refused: ") && !said.contains("Traceback"), "{why}: {said}");
        assert!(!self.at("out").exists() && !self.at("out.partial").exists(), "{why}");
    }

    fn good(&self, id: &str) {
        let done = self.decode(&["--backup", id, "--stream", "out"]);
        assert!(done.status.success(), "{id}: {}", String::from_utf8_lossy(&done.stderr));
        assert!(fs::read(self.at("out")).unwrap() == fs::read(self.at("stream")).unwrap(), "{id}");
        fs::remove_file(self.at("out")).unwrap();
    }

    /// The only entry of a folder.
    fn only(&self, folder: &str) -> PathBuf {
        let mut entries = fs::read_dir(self.at("repo/c").join(folder)).unwrap();
        let path = entries.next().unwrap().unwrap().path();
        assert!(entries.next().is_none(), "{folder}");
        path
    }

    fn volume(&self, id: &str) -> PathBuf {
        let entries = fs::read_dir(self.at("repo/c/backups").join(id)).unwrap();
        let folder = entries.map(|e| e.unwrap().path()).find(|p| p.is_dir());
        folder.unwrap_or_else(|| panic!("{id} has no volumes")).join("vol-00000")
    }
}

fn swap(a: &Path, b: &Path) {
    let held = fs::read(a).unwrap();
    fs::copy(b, a).unwrap();
    fs::write(b, held).unwrap();
}

#[test]
fn it_reads_what_the_program_writes() {
    for keys in [&[][..], &["--symmetric"]] {
        let made = Made::new(keys, &["one"]);
        made.good("one");
        let listed = made.decode(&["--list"]);
        assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
        let text = String::from_utf8(listed.stdout).unwrap();
        assert!(text.starts_with("one ") && text.contains("\naudit head 3:"), "{text}");
        let done = made.decode(&["--extract", "files"]);
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        let info = fs::read_to_string(made.at("files/xtrabackup_info")).unwrap();
        assert!(info.contains("\nserver_version = 8.0.14\n"), "{info}");
    }
}

#[test]
fn it_refuses_every_changed_object() {
    let made = Made::new(&[], &["one"]);
    let volume = made.volume("one");
    let size = fs::read(&volume).unwrap().len();
    let key = fs::read_dir(made.only("keys")).unwrap().next().unwrap().unwrap().path();
    let manifest = made.at("repo/c/backups/one/manifest.json");
    // Header, commitment, first chunk, body, index, and each field of the trailer.
    let places =
        [0, 9, 40, 80, 120, 150, size / 2, size - 200, size - 24, size - 14, size - 9, size - 1];
    let mut changes: Vec<(PathBuf, usize)> =
        places.into_iter().map(|at| (volume.clone(), at)).collect();
    for record in [made.at("repo/c/cluster.json"), made.only("runs"), key, manifest] {
        let length = fs::read(&record).unwrap().len();
        changes.extend([40, 100, length - 20, length - 1].map(|at| (record.clone(), at)));
    }
    for (path, at) in changes {
        let whole = fs::read(&path).unwrap();
        let why = format!("{} at {at}", path.display());
        let mut altered = whole.clone();
        altered[at] ^= 1;
        fs::write(&path, altered).unwrap();
        made.refuses(&why, &[]);
        fs::write(&path, whole).unwrap();
    }
    let whole = fs::read(&volume).unwrap();
    fs::write(&volume, &whole[..size - 1]).unwrap();
    made.refuses("a cut volume", &[]);
    fs::write(&volume, [&whole[..], b"x"].concat()).unwrap();
    made.refuses("a longer volume", &[]);
    fs::remove_file(&volume).unwrap();
    made.refuses("no volume", &[]);
    fs::write(&volume, whole).unwrap();
    made.good("one");
}

#[test]
fn it_refuses_what_was_moved_and_whom_it_does_not_trust() {
    let made = Made::new(&[], &["one", "two"]);
    let manifest = |id: &str| made.at("repo/c/backups").join(id).join("manifest.json");
    for (why, a, b) in [
        ("swapped manifests", manifest("one"), manifest("two")),
        ("swapped volumes", made.volume("one"), made.volume("two")),
    ] {
        swap(&a, &b);
        made.refuses(why, &["--backup", "one"]);
        made.refuses(why, &["--backup", "two"]);
        swap(&a, &b);
    }
    made.refuses("which of two", &[]);
    made.refuses("none of them", &["--backup", "three"]);
    made.refuses("a name that leads out", &["--backup", "../one"]);
    made.good("one");
    made.good("two");

    let other = Made::new(&[], &[]);
    for (option, file) in [("--kek", "kek"), ("--trust", "kek.trust")] {
        let path = other.at(file).display().to_string();
        made.refuses(option, &["--backup", "one", option, &path]);
    }
}

/// A file in an xbstream.
fn file(name: &str, text: &[u8]) -> Vec<u8> {
    let head = |letter: u8| {
        let length = u32::try_from(name.len()).unwrap().to_le_bytes();
        [b"XBSTCK01\0", &[letter][..], &length, name.as_bytes()].concat()
    };
    let (length, checksum) = (text.len() as u64, crc32fast::hash(text));
    let payload =
        [&head(b'P')[..], &length.to_le_bytes(), &[0; 8], &checksum.to_le_bytes(), text].concat();
    [if text.is_empty() { Vec::new() } else { payload }, head(b'E')].concat()
}

#[test]
fn it_asks_for_the_same_last_files() {
    let eight: &[u8] = b"uuid = x\ntool_version = 8.0.35-31\n";
    let (two, later, none): (&[u8], &[u8], &[u8]) =
        (b"tool_version = 2.4.29\n", b"tool_version = 25.1\n", b"uuid = x\n");
    let percona = |info: &[u8], tablespaces: Option<&[u8]>| {
        let mut files = vec![
            ("xtrabackup_logfile", b"redo".to_vec()),
            ("xtrabackup_checkpoints", b"to_lsn = 7\n".to_vec()),
            ("xtrabackup_info", info.to_vec()),
        ];
        files.extend(tablespaces.map(|text| ("xtrabackup_tablespaces", text.to_vec())));
        files
    };
    let mariadb = ["ib_logfile0", "mariadb_backup_checkpoints", "xtrabackup_info"];
    let mariadb = mariadb.map(|name| (name, b"x".to_vec())).to_vec();
    let mut cases = vec![
        ("xtrabackup", percona(eight, Some(b"{}")), true),
        ("xtrabackup", percona(eight, Some(b"")), false),
        ("xtrabackup", percona(eight, None), false),
        ("xtrabackup", percona(two, None), true),
        ("xtrabackup", percona(two, Some(b"")), true),
        ("xtrabackup", percona(later, None), false),
        ("xtrabackup", percona(none, None), false),
        ("xtrabackup", percona(none, Some(b"{}")), true),
        ("mariadb-backup", mariadb.clone(), true),
        ("clone", vec![("backstay_clone_info", b"{}".to_vec())], true),
        ("clone", vec![("backstay_clone_info", Vec::new())], false),
        ("clone", Vec::new(), false),
    ];
    for (engine, whole) in
        [("xtrabackup", percona(eight, Some(b"{}"))), ("mariadb-backup", mariadb)]
    {
        for at in 0..whole.len() {
            let (mut without, mut empty) = (whole.clone(), whole.clone());
            without.remove(at);
            empty[at].1.clear();
            cases.extend([(engine, without, false), (engine, empty, false)]);
        }
    }
    for (engine, files, whole) in cases {
        let stream: Vec<u8> = files.iter().flat_map(|(name, text)| file(name, text)).collect();
        let dialect = match engine {
            "xtrabackup" => Dialect::Percona,
            "mariadb-backup" => Dialect::Mariadb,
            _ => Dialect::Clone,
        };
        let mut validator = Validator::new(dialect);
        let ours = validator.feed(&stream).and_then(|()| validator.finish());
        assert_eq!(ours.is_ok(), whole, "the program, {engine}: {files:?}: {ours:?}");
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("stream"), &stream).unwrap();
        let theirs = python("judge_stream.py")
            .arg(engine)
            .arg(folder.path().join("files"))
            .stdin(Stdio::from(fs::File::open(folder.path().join("stream")).unwrap()))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&theirs.stderr);
        assert!(!said.contains("Traceback"), "{said}");
        assert_eq!(theirs.status.success(), whole, "the decoder, {engine}: {files:?}: {said}");
    }
}

#[test]
fn it_agrees_with_the_frozen_examples() {
    let done = python("check_vectors.py").output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{}{said}", String::from_utf8_lossy(&done.stdout));
}
