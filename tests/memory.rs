//! Memory is bounded whatever the size of the database: 1 GB here, 20 GB with `BACKSTAY_SOAK=1`.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "support/synthetic.rs"]
mod synthetic;

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use synthetic::Synthetic;

/// What a backup and a restore may take.
const LIMIT: u64 = 256 << 20;

/// Waits for a child and returns the most memory that it had, in bytes (`VmHWM`, proc(5)).
fn peak(mut child: Child) -> u64 {
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    loop {
        let text = fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kilobytes = line.and_then(|l| l.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        peak = peak.max(kilobytes.unwrap_or_default() << 10);
        if let Some(status) = child.try_wait().unwrap() {
            assert!(status.success(), "{status}");
            return peak;
        }
        thread::sleep(Duration::from_millis(10));
    }
}

fn backstay(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_backstay"));
    command.args(args).args(["--cluster", "c", "--repo"]).stdout(Stdio::null());
    command.arg(format!("file://{}", dir.join("repo").display()));
    command.args(["--kek", &format!("file:{}", dir.join("kek").display())]);
    command
}

/// A program that answers as XtraBackup does when there is nothing to prepare.
fn stand_in(path: &Path) {
    const SCRIPT: &str = "#!/bin/sh\n[ \"$1\" = --version ] && \
        echo 'xtrabackup version 8.0.35-31 based on MySQL server 8.0.35 Linux (x86_64)'\n\
        echo 'completed OK!' >&2\n";
    fs::create_dir(path.parent().unwrap()).unwrap();
    fs::write(path, SCRIPT).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn a_large_stream_takes_no_more_memory_than_a_small_one() {
    let soak = std::env::var_os("BACKSTAY_SOAK").is_some();
    let bytes: u64 = if soak { 20_000_000_000 } else { 1_000_000_000 };
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    assert!(backstay(dir.path(), &["keys", "new"]).status().unwrap().success());
    let args = ["backup", "--source", "stdin", "--engine", "xtrabackup", "--id", "large"];
    let mut child = backstay(dir.path(), &args).stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // One chunk in five cannot be compressed: a fifth of it is stored.
    let writer =
        thread::spawn(move || std::io::copy(&mut Synthetic::new(3, bytes, 5), &mut stdin).unwrap());
    let up = peak(child);
    assert!(writer.join().unwrap() > bytes);
    let checked = peak(backstay(dir.path(), &["verify"]).spawn().unwrap());
    // The engine's own prepare step is no memory of ours, and its data here is made up.
    stand_in(&dir.path().join("bin/xtrabackup"));
    let path = format!("{}:{}", dir.path().join("bin").display(), std::env::var("PATH").unwrap());
    let datadir = dir.path().join("restored");
    let args = ["restore", "--no-start", "--datadir", datadir.to_str().unwrap()];
    let restored = peak(backstay(dir.path(), &args).env("PATH", path).spawn().unwrap());
    let written = fs::read_dir(&datadir).unwrap().map(|e| e.unwrap().metadata().unwrap().len());
    assert!(written.sum::<u64>() >= bytes, "all of it was extracted");
    let down = checked.max(restored);
    println!(
        "{bytes} bytes: {} MiB backup, {} MiB verify, {} MiB restore",
        up >> 20,
        checked >> 20,
        restored >> 20
    );
    assert!(up > 0 && up <= LIMIT, "{up} bytes of memory on the way up");
    assert!(down > 0 && down <= LIMIT, "{down} bytes of memory on the way down");
}
