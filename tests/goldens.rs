//! What people and scripts see, frozen. `BACKSTAY_GOLDENS=update` writes the files anew; look
//! at the difference before you commit it.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

#[path = "support/load.rs"]
#[expect(dead_code, reason = "other tests use the rest")]
mod load;
#[path = "support/mariadb.rs"]
#[expect(dead_code, reason = "other tests use the rest")]
mod mariadb;
#[path = "support/synthetic.rs"]
mod synthetic;
#[path = "support/tools.rs"]
#[expect(dead_code, reason = "other tests use the rest")]
mod tools;

use std::{
    fs,
    io::Read as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use mysql_async::prelude::Queryable as _;

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
fn told(dir: &Path, args: &[&str]) -> String {
    fed(dir, args, &mut std::io::empty())
}

/// The same, with something on its standard input.
fn fed(dir: &Path, args: &[&str], input: &mut dyn std::io::Read) -> String {
    let mut child = Command::new(env!("CARGO_BIN_EXE_backstay"))
        .args(args)
        .current_dir(dir)
        .env("BACKSTAY_LOG", "off")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // Who needs no input may have ended before it has all of it.
    let _ = std::io::copy(input, &mut stdin);
    drop(stdin);
    let output = child.wait_with_output().unwrap();
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
    for (name, args) in [
        ("list", vec!["list"]),
        ("verify", vec!["verify"]),
        ("show", vec!["show"]),
        ("window", vec!["window"]),
        ("find", vec!["find"]),
        ("keys-status", vec!["keys", "status"]),
        ("prune", vec!["prune", "--keep-last", "1"]),
        ("hold", vec!["hold", "one", "--reason", "case 1"]),
    ] {
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
    let text = |args: &[&str]| told(dir.path(), &[args, &place].concat());
    let json = |args: &[&str]| told(dir.path(), &[args, &place, &["--format", "json"]].concat());
    told(dir.path(), &["keys", "new", "--kek", &kek]);
    let stdin = ["backup", "--source", "stdin", "--engine", "xtrabackup", "--level", "1"];
    let stream = || synthetic::Synthetic::new(5, 3 << 20, 2);
    let backup = |id, format, input: &mut dyn std::io::Read| {
        let more = ["--id", id, "--format", format];
        fed(dir.path(), &[&stdin[..], &place, &more].concat(), input)
    };
    golden("backup-failed.json", &backup("cut", "json", &mut stream().take(2 << 20)));
    golden("backup-stdin.json", &backup("one", "json", &mut stream()));
    golden("backup-again.text", &unmeasured(&backup("one", "text", &mut std::io::empty())));
    golden("list-one.json", &json(&["list"]));
    golden("list-one.text", &columns_apart(&text(&["list"])));
    golden("show.json", &json(&["show"]));
    golden("show.text", &text(&["show"]));
    golden("verify.json", &json(&["verify"]));
    golden("verify.text", &text(&["verify"]));
    let volume = volume(&dir.path().join("repo/shop/backups/one")).unwrap();
    let mut bytes = fs::read(&volume).unwrap();
    bytes[1000] ^= 1;
    fs::write(&volume, bytes).unwrap();
    golden("verify-damaged.json", &json(&["verify"]));
    golden("verify-damaged.text", &text(&["verify"]));
    let manifest = dir.path().join("repo/shop/backups/one/manifest.json");
    fs::write(manifest, "{}").unwrap();
    golden("list-damaged.json", &json(&["list"]));
    golden("list-damaged.text", &columns_apart(&text(&["list"])));
}

#[test]
fn what_goes_and_what_is_copied_is_frozen() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| format!("file://{}", dir.path().join(name).display());
    let (repo, copy) = (at("repo"), at("copy"));
    let kek = format!("file:{}", dir.path().join("kek").display());
    let place = ["--repo", &repo, "--cluster", "shop", "--kek", &kek];
    let text =
        |args: &[&str]| columns_apart(&unmeasured(&told(dir.path(), &[args, &place].concat())));
    let json = |args: &[&str]| {
        unmeasured_json(&told(dir.path(), &[args, &place, &["--format", "json"]].concat()))
    };
    told(dir.path(), &["keys", "new", "--kek", &kek]);
    for id in ["one", "two", "three"] {
        let stdin = ["backup", "--source", "stdin", "--engine", "xtrabackup", "--id", id];
        fed(
            dir.path(),
            &[&stdin[..], &place].concat(),
            &mut synthetic::Synthetic::new(5, 1 << 20, 2),
        );
    }
    golden("copy-plan.text", &text(&["copy", "--to", &copy, "--plan"]));
    golden("copy.json", &json(&["copy", "--to", &copy]));
    golden("copy-again.text", &text(&["copy", "--to", &copy]));
    let two = ["prune", "--keep-last", "2"];
    golden("prune-plan.text", &text(&[&two[..], &["--plan"]].concat()));
    golden("prune-plan.json", &json(&[&two[..], &["--plan"]].concat()));
    golden("prune-nothing.text", &text(&["prune"]));
    golden("prune.text", &text(&two));
    golden("hold.text", &text(&["hold", "one", "--reason", "case 4711"]));
    golden("hold-again.json", &json(&["hold", "one", "--reason", "another case"]));
    golden("list-held.text", &text(&["list"]));
    golden("unhold.json", &json(&["unhold", "one"]));
    text(&two);
    golden("list-tombstone.json", &json(&["list"]));
    golden("show-tombstone.text", &text(&["show", "one"]));
    golden("prune-wait.text", &text(&two));
    golden("prune-swept.json", &json(&[&two[..], &["--grace", "0s"]].concat()));
    golden("hold-late.text", &text(&["hold", "one", "--reason", "too late"]));
}

#[test]
fn what_is_said_of_keys_is_frozen() {
    let dir = tempfile::tempdir().unwrap();
    let repo = format!("file://{}", dir.path().join("repo").display());
    let kek = |name: &str| format!("file:{}", dir.path().join(name).display());
    let place = ["--repo", &repo, "--cluster", "shop", "--kek", &kek("kek")];
    let text = |args: &[&str]| unmeasured(&told(dir.path(), &[args, &place].concat()));
    let json = |args: &[&str]| {
        unmeasured_json(&told(dir.path(), &[args, &place, &["--format", "json"]].concat()))
    };
    told(dir.path(), &["keys", "new", "--kek", &kek("kek")]);
    let alone = told(dir.path(), &["keys", "new", "--kek-only", "--kek", &kek("next")]);
    golden("keys-new-alone.text", &alone);
    told(dir.path(), &["keys", "new", "--kek-only", "--kek", &kek("safe")]);
    let back_up = |id, also: &[&str]| {
        let stdin = ["backup", "--source", "stdin", "--engine", "xtrabackup", "--id", id];
        let mut stream = synthetic::Synthetic::new(5, 1 << 20, 2);
        unmeasured(&fed(dir.path(), &[&stdin, also, &place].concat(), &mut stream))
    };
    back_up("one", &[]);
    let also = kek("safe.pub");
    golden("backup-also.text", &back_up("two", &["--also-kek", &also]));
    golden("keys-status.json", &json(&["keys", "status"]));
    golden("keys-status.text", &columns_apart(&text(&["keys", "status"])));
    let public = kek("next.pub");
    golden("keys-rewrap.json", &json(&["keys", "rewrap", "--to", &public]));
    golden("keys-rewrap-again.text", &text(&["keys", "rewrap", "--to", &public]));
    let next = kek("next");
    let place_next = [&place[..5], &[next.as_str(), "--trust", "kek.trust"]].concat();
    let name = fs::read_to_string(dir.path().join("kek.pub")).unwrap();
    let name: serde_json::Value = serde_json::from_str(&name).unwrap();
    let name = format!("file:{}", name["id"].as_str().unwrap());
    golden("keys-rewrap-drop.text", &text(&["keys", "rewrap", "--to", &next, "--drop", &name]));
    // The old KEK opens nothing any more.
    golden("keys-rewrap-refused.text", &text(&["keys", "rewrap", "--to", &kek("safe.pub")]));
    golden("keys-rewrap-refused.json", &json(&["keys", "rewrap", "--to", &kek("safe.pub")]));
    let after = unmeasured(&told(dir.path(), &[&["keys", "status"], &place_next[..]].concat()));
    golden("keys-status-after.text", &columns_apart(&after));
}

/// Durations and sizes of a real server's data, in sentences.
fn unmeasured(text: &str) -> String {
    let mut words: Vec<String> = text.split_inclusive([' ', '\n']).map(String::from).collect();
    for at in 1..words.len() {
        let unit = words[at].trim_end_matches([',', '.', ' ', '\n']);
        let number = words[at - 1].trim_end().parse::<f64>().is_ok();
        if number && (unit == "s" || unit == "B" || unit.ends_with("iB")) {
            words[at] = words[at].replacen(unit, if unit == "s" { "s" } else { "SIZE" }, 1);
            words[at - 1] = "N ".into();
        }
    }
    words.concat()
}

/// The same in JSON, and what names a version of the server.
fn unmeasured_json(text: &str) -> String {
    let measured = |name: &str| {
        name.ends_with("bytes")
            || name.ends_with("_seconds")
            || [
                "bytes_read",
                "bytes_stored",
                "binlog_position",
                "position",
                "binlog_end",
                "files",
                "chunks",
                "to_lsn",
                "transactions",
                "seconds",
            ]
            .contains(&name)
    };
    let line = |line: &str| {
        let (before, value) = line.split_once("\": ")?;
        let name = before.trim_start().strip_prefix('"')?;
        let comma = if value.ends_with(',') { "," } else { "" };
        let value = value.trim_end_matches(',');
        if measured(name) && value.parse::<f64>().is_ok() {
            Some(format!("{before}\": NUMBER{comma}"))
        } else if name.ends_with("version") && value.starts_with('"') {
            Some(format!("{before}\": \"VERSION\"{comma}"))
        } else if name == "server_uuid" {
            Some(format!("{before}\": \"UUID\"{comma}"))
        } else {
            None
        }
    };
    text.lines().map(|text| line(text).unwrap_or_else(|| text.into()) + "\n").collect()
}

/// Ids of drills differ, and durations without a unit.
fn drill_apart(text: &str) -> String {
    let digits = |word: &str| word.len() >= 8 && word.bytes().all(|b| b.is_ascii_hexdigit());
    let id = |word: &str| {
        let (time, random) = word.split_once("Z-")?;
        let (day, second) = time.rsplit_once('T')?;
        let day = &day[day.len().saturating_sub(8)..];
        let random = random.get(..8)?;
        (digits(day) && second.len() == 6 && digits(random))
            .then(|| format!("{day}T{second}Z-{random}"))
    };
    let mut text = text.to_owned();
    for id in text.clone().split_whitespace().filter_map(id) {
        text = text.replace(&id, "DRILL");
    }
    let phases = ["fetch ", "prepare ", "replay ", "prove "];
    let line = |line: &str| {
        let is_one = line.trim_start().starts_with("recovered");
        let mut line = match line.split_once(" s: ").map(|(b, a)| (b.rsplit_once(' '), a)) {
            Some((Some((before, _)), after)) => format!("{before} N s: {after}"),
            _ => line.to_owned(),
        };
        for phase in phases.iter().filter(|_| is_one) {
            let Some(at) = line.find(phase) else { continue };
            let rest = line.split_off(at + phase.len());
            line.push('N');
            line.push_str(rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.'));
        }
        line + "\n"
    };
    text.lines().map(line).collect()
}

/// How wide a column is depends on what stands in it.
fn columns_apart(text: &str) -> String {
    let cells = |line: &str| {
        let cells = line.split("  ").map(str::trim).filter(|cell| !cell.is_empty());
        cells.collect::<Vec<_>>().join("  ") + "\n"
    };
    text.lines().map(cells).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_real_server_makes_of_it_is_frozen() {
    let server = mariadb::MariaDb::start(&["--binlog-format=ROW"]);
    let mut conn = load::connect(&server.socket).await;
    for sql in [
        "CREATE DATABASE shop",
        "CREATE TABLE shop.orders (id INT PRIMARY KEY)",
        "INSERT INTO shop.orders VALUES (1), (2)",
    ] {
        conn.query_drop(sql).await.unwrap();
    }
    conn.disconnect().await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("pw"), mariadb::PASSWORD).unwrap();
    let repo = format!("file://{}", dir.path().join("repo").display());
    let kek = format!("file:{}", dir.path().join("kek").display());
    let socket = server.socket.display().to_string();
    let place = ["--repo", &repo, "--cluster", "shop", "--kek", &kek];
    let mysql = ["--mysql-socket", &socket, "--mysql-user", "root", "--mysql-password-file", "pw"];
    told(dir.path(), &["keys", "new", "--kek", &kek]);
    let json = |args: &[&str]| {
        let told = told(dir.path(), &[args, &place, &["--format", "json"]].concat());
        (unmeasured_json(&told), told)
    };
    let (backup, raw) = json(&[&["backup", "--id", "one"][..], &mysql].concat());
    let facts: serde_json::Value =
        serde_json::from_str(raw.strip_prefix("exit 0\n").unwrap_or_else(|| panic!("{raw}")))
            .unwrap();
    let text = |args: &[&str]| {
        let told = told(dir.path(), &[args, &place].concat());
        unmeasured(&told)
            .replace(facts["server_version"].as_str().unwrap(), "VERSION")
            .replace(&format!(":{}", facts["binlog_position"]), ":POSITION")
    };
    golden("backup.json", &backup);
    golden("backup.text", &text(&[&["backup", "--id", "two"][..], &mysql].concat()));
    golden("list-two.json", &json(&["list"]).0);
    golden("list-two.text", &columns_apart(&text(&["list"])));
    golden("show-real.json", &json(&["show", "one"]).0);
    golden("window-alone.json", &json(&["window"]).0);
    golden("window-alone.text", &columns_apart(&text(&["window"])));
    let archive = [&["archive", "--until-current"][..], &mysql].concat();
    golden("archive.json", &json(&archive).0);
    golden("window.json", &json(&["window"]).0);
    golden("window.text", &columns_apart(&text(&["window"])));
    golden("find.json", &json(&["find", "--table", "shop.orders"]).0);
    golden("find.text", &text(&["find", "--table", "shop.orders", "--limit", "1"]));
    fs::write(
        dir.path().join("shop.sql"),
        "-- there are orders\nSELECT COUNT(*) > 0 AS some, COUNT(*) AS _orders FROM shop.orders;\n\n\
         -- nobody has ordered a hundred\nSELECT COUNT(*) = 100 AS a_hundred FROM shop.orders;\n",
    )
    .unwrap();
    let drill = ["drill", "--scratch", ".", "--recovery-target", "1h"];
    golden("drill.json", &drill_apart(&json(&drill).0));
    golden("drill.text", &drill_apart(&text(&drill)));
    let asked = [&drill[..], &["--assertions", "shop.sql"]].concat();
    golden("drill-failed.json", &drill_apart(&json(&asked).0));
    golden("drill-failed.text", &drill_apart(&text(&asked)));
    golden("restore.json", &json(&["restore", "--datadir", "new-json"]).0);
    golden("restore.text", &text(&["restore", "--datadir", "new-text"]));
    golden("restore-again.json", &json(&["restore", "--datadir", "new-text"]).0);
    let unproven = ["restore", "--no-start", "--datadir"];
    golden("restore-unproven.json", &json(&[&unproven[..], &["bare-json"]].concat()).0);
    golden("restore-unproven.text", &text(&[&unproven[..], &["bare-text"]].concat()));
}
