//! What people and scripts see, frozen. `BACKSTAY_GOLDENS=update` writes the files anew; look
//! at the difference before you commit it.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

#[path = "support/synthetic.rs"]
mod synthetic;

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Holds a text against its golden.
fn golden(name: &str, text: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/goldens").join(name);
    if std::env::var("BACKSTAY_GOLDENS").is_ok_and(|value| value == "update") {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        return;
    }
    let expected = fs::read_to_string(&path)
        .unwrap_or_else(|e| panic!("{}: {e}; BACKSTAY_GOLDENS=update makes it", path.display()));
    assert!(expected == text, "{name} differs. It is now:\n{text}");
}

/// Runs the program in a folder of the test's own; times, ids and hashes are blotted out.
fn told(dir: &std::path::Path, args: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_backstay"))
        .args(args)
        .current_dir(dir)
        .env("BACKSTAY_LOG", "off")
        .output()
        .unwrap();
    let code = output.status.code().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    format!("exit {code}\n{}", redacted(&text.replace(&dir.display().to_string(), "DIR")))
}

/// Runs of 32 or more hexadecimal digits differ from run to run.
fn redacted(text: &str) -> String {
    // So do instants.
    let cut: Vec<String> = text
        .split_inclusive(['"', ' ', '\n'])
        .map(|word| {
            let bare = word.trim_end_matches(['"', ' ', '\n']);
            let instant = bare.parse::<backstay::model::Timestamp>().is_ok();
            if instant { word.replace(bare, "TIME") } else { word.to_owned() }
        })
        .collect();
    let text = cut.concat();
    let mut out = String::new();
    let mut run = String::new();
    for c in text.chars().chain("\0".chars()) {
        if c.is_ascii_hexdigit() {
            run.push(c);
            continue;
        }
        out.push_str(if run.len() >= 32 { "HEX" } else { &run });
        run.clear();
        if c != '\0' {
            out.push(c);
        }
    }
    out
}

#[test]
fn help_is_frozen() {
    fn pages(command: &mut clap::Command, name: &str) {
        golden(&format!("help/{name}.txt"), &command.render_long_help().to_string());
        for child in command.get_subcommands_mut() {
            let name = format!("{name}-{}", child.get_name());
            pages(child, &name);
        }
    }
    let mut command = backstay::cli::command().term_width(100);
    command.build();
    pages(&mut command, "backstay");
}

#[test]
fn completions_and_manual_pages_are_made() {
    let dir = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish"] {
        assert!(told(dir.path(), &["completions", shell]).contains("backstay"), "{shell}");
    }
    assert_eq!(told(dir.path(), &["man", "."]), "exit 0\n");
    let page = fs::read_to_string(dir.path().join("backstay-backup.1")).unwrap();
    assert!(page.contains("\\-\\-mysql\\-socket"));
    let version = format!("exit 0\nbackstay {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(told(dir.path(), &["--version"]), version);
}

#[test]
fn results_are_frozen() {
    let dir = tempfile::tempdir().unwrap();
    let repo = format!("file://{}", dir.path().join("repo").display());
    let kek = format!("file:{}", dir.path().join("kek").display());
    let place = ["--repo", &repo, "--cluster", "shop", "--kek", &kek];
    let keys = told(dir.path(), &["keys", "new", "--kek", &kek, "--format", "json"]);
    golden("keys-new.json", &keys);
    golden(
        "keys-new-again.json",
        &told(dir.path(), &["keys", "new", "--kek", &kek, "--format", "json"]),
    );
    for (name, args) in [("list", vec!["list"]), ("verify", vec!["verify"]), ("show", vec!["show"])]
    {
        for format in ["text", "json"] {
            let args = [&args[..], &place[..], &["--format", format]].concat();
            golden(&format!("{name}-empty.{format}"), &told(dir.path(), &args));
        }
    }
}

fn volume(folder: &Path) -> Option<PathBuf> {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).find_map(|path| {
        if path.is_dir() { volume(&path) } else { path.ends_with("vol-00000").then_some(path) }
    })
}

#[test]
fn a_backup_and_its_damage_are_frozen() {
    let dir = tempfile::tempdir().unwrap();
    let repo = format!("file://{}", dir.path().join("repo").display());
    let kek = format!("file:{}", dir.path().join("kek").display());
    let place = ["--repo", &repo, "--cluster", "shop", "--kek", &kek];
    told(dir.path(), &["keys", "new", "--kek", &kek]);
    let mut child = Command::new(env!("CARGO_BIN_EXE_backstay"))
        .args(["backup", "--source", "stdin", "--engine", "xtrabackup", "--id", "one"])
        .args(["--level", "1"])
        .args(place)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    std::io::copy(&mut synthetic::Synthetic::new(5, 3 << 20, 2), &mut stdin).unwrap();
    stdin.flush().unwrap();
    drop(stdin);
    assert!(child.wait().unwrap().success());
    let json = |args: &[&str]| told(dir.path(), &[args, &place, &["--format", "json"]].concat());
    golden("list-one.json", &json(&["list"]));
    golden("show.json", &json(&["show"]));
    golden("verify.json", &json(&["verify"]));
    golden("verify.text", &told(dir.path(), &[&["verify"], &place[..]].concat()));
    let volume = volume(&dir.path().join("repo")).unwrap();
    let mut bytes = fs::read(&volume).unwrap();
    bytes[1000] ^= 1;
    fs::write(&volume, bytes).unwrap();
    golden("verify-damaged.json", &json(&["verify"]));
    golden("verify-damaged.text", &told(dir.path(), &[&["verify"], &place[..]].concat()));
    let manifest = dir.path().join("repo/shop/backups/one/manifest.json");
    fs::write(manifest, "{}").unwrap();
    golden("list-damaged.json", &json(&["list"]));
}
