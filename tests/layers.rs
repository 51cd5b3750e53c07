//! The architecture, enforced: which room may know which, and what no room may hold.
//!
//! ```text
//! cli → jobs → pipeline → { process, format, crypto, store, mysql } → transport → model
//! ```
//!
//! Every path in `src/` is looked at, in code and in its tests, whether it stands in a `use`
//! line or not. Comments and literals are skipped. `ARCHITECTURE.md` explains the rules.

#[path = "support/rust_paths.rs"]
mod rust_paths;

use std::{
    collections::BTreeSet,
    fmt, fs, io,
    path::{Path, PathBuf},
};

use rust_paths::{paths, tokens};

/// Each room, and the rooms that it may use beside itself.
const ROOMS: [(&str, &[&str]); 10] = [
    ("model", &[]),
    ("transport", &["model"]),
    ("process", &["model"]),
    ("format", &["model"]),
    ("crypto", &["transport", "model"]),
    ("store", &["transport", "model"]),
    ("mysql", &["transport", "model"]),
    ("pipeline", &["process", "format", "crypto", "store", "mysql", "model"]),
    ("jobs", &["pipeline", "process", "format", "crypto", "store", "mysql", "transport", "model"]),
    (
        "cli",
        &[
            "jobs",
            "pipeline",
            "process",
            "format",
            "crypto",
            "store",
            "mysql",
            "transport",
            "model",
        ],
    ),
];

/// Modules that hold one kind of store, KMS or signer. Only `cli` wires them; tests may too.
const PROVIDERS: [&str; 11] =
    ["s3", "cloud", "local", "memory", "gcs", "azure", "file", "aws", "vault", "gcp", "pkcs11"];

/// Rooms that may name a provider: those that hold them, the wiring, and the job that makes local
/// keys, which is about nothing else.
fn may_wire(module: &[String]) -> bool {
    match module.first().map(String::as_str) {
        Some("store" | "crypto" | "cli") => true,
        Some("jobs") => module.get(1).is_some_and(|job| job == "keys"),
        _ => false,
    }
}

/// What `model` must not touch: it is pure.
const IMPURE: [&[&str]; 6] = [
    &["std", "fs"],
    &["std", "net"],
    &["std", "process"],
    &["std", "env"],
    &["tokio"],
    &["reqwest"],
];

/// The clock is read by `model::Timestamp::now` alone: plans are tested with a fixed time.
const CLOCKS: [&[&str]; 3] =
    [&["SystemTime", "now"], &["Zoned", "now"], &["jiff", "Timestamp", "now"]];

/// Names that say nothing about what is inside.
const EMPTY_NAMES: [&str; 6] = ["utils", "util", "common", "helpers", "helper", "misc"];

/// Files grow until nobody reads them.
const LONGEST_FILE: usize = 500;

/// One broken rule, told so that it can be mended.
struct Fault {
    file: String,
    line: usize,
    text: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.text)
    }
}

/// What is wrong with one file of `src/`, which is given by its path below `src/`.
fn faults_of(file: &Path, source: &str) -> Vec<Fault> {
    let parts: Vec<String> =
        file.with_extension("").iter().map(|part| part.to_string_lossy().into_owned()).collect();
    let shown = format!("src/{}", file.display());
    let mut faults = Vec::new();
    let mut fault =
        |line: usize, text: String| faults.push(Fault { file: shown.clone(), line, text });

    let lines = source.lines().count();
    if lines > LONGEST_FILE {
        fault(lines, format!("{lines} lines; split it, {LONGEST_FILE} are the most"));
    }
    for (number, line) in source.lines().enumerate() {
        if line.contains("TODO") || line.contains("FIXME") {
            fault(number + 1, "a note to do it later: do it, or file an issue".to_owned());
        }
    }

    let is_root = matches!(parts.as_slice(), [one] if one == "lib" || one == "main");
    let mut module = if is_root { Vec::new() } else { parts };
    if module.last().is_some_and(|name| name == "mod") {
        module.pop();
    }
    let room = module.first().cloned();
    let tokens = tokens(source);
    let mut names: Vec<(usize, &str)> = module.iter().map(|name| (1, name.as_str())).collect();
    for pair in tokens.windows(2) {
        if pair[0].text == "mod" {
            names.push((pair[1].line, &pair[1].text));
        }
        if pair[0].text == "include" && pair[1].text == "!"
            || pair[0].text == "[" && pair[1].text == "path"
        {
            fault(
                pair[0].line,
                "source that is pulled in from elsewhere cannot be placed".to_owned(),
            );
        }
    }
    for (line, name) in names {
        if EMPTY_NAMES.contains(&name) {
            fault(line, format!("a module named `{name}`: name it after what it holds"));
        }
    }

    let Some(room) = room else {
        for path in paths(&tokens, &[]) {
            if path.segments.first().is_some_and(|s| s == "backstay") && path.segments[1] != "cli" {
                fault(path.line, "the program may use `backstay::cli` and nothing else".to_owned());
            }
        }
        return faults;
    };
    let Some((_, may_use)) = ROOMS.iter().find(|(name, _)| *name == room) else {
        fault(1, format!("`{room}` is not a room; put it into one of them"));
        return faults;
    };
    for path in paths(&tokens, &module) {
        let written = path.segments.join("::");
        if let Some(absolute) = path.absolute() {
            match absolute.first() {
                Some(other) if *other == room || may_use.contains(&other.as_str()) => {}
                Some(other) if ROOMS.iter().any(|(name, _)| name == other) => fault(
                    path.line,
                    format!("`{written}`: `{room}` may not use `{other}`, only {may_use:?}"),
                ),
                Some(_) => fault(path.line, format!("`{written}` names no room")),
                // `self::…` and `super::…` that end at a module of this room are fine.
                None => fault(path.line, format!("`{written}` reaches for the whole crate")),
            }
        }
        let wires = path.segments.windows(2).any(|pair| {
            ["store", "crypto", "kms", "signer"].contains(&pair[0].as_str())
                && PROVIDERS.contains(&pair[1].as_str())
        });
        if wires && !may_wire(&module) && !path.is_in_tests() {
            fault(path.line, format!("`{written}`: only `cli` names a store, a KMS or a signer"));
        }
        let ends_with = |end: &&[&str]| {
            path.segments.iter().rev().zip(end.iter().rev()).filter(|(a, b)| a == b).count()
                == end.len()
        };
        if room != "model" && !path.is_in_tests() && CLOCKS.iter().any(ends_with) {
            fault(path.line, format!("`{written}`: use `Timestamp::now` of `model`"));
        }
        let impure = |bad: &&[&str]| {
            path.segments.len() >= bad.len() && bad.iter().zip(&path.segments).all(|(a, b)| a == b)
        };
        if room == "model" && IMPURE.iter().any(impure) {
            fault(path.line, format!("`{written}`: `model` is pure; do that in another room"));
        }
    }
    faults
}

fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn rust_files(folder: &Path, found: &mut BTreeSet<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            rust_files(&path, found)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.insert(path);
        }
    }
    Ok(())
}

#[test]
fn every_file_keeps_to_its_room() -> io::Result<()> {
    let src = project().join("src");
    let mut files = BTreeSet::new();
    rust_files(&src, &mut files)?;
    assert!(files.len() > 10, "the rooms are in {}", src.display());
    let mut faults = Vec::new();
    for file in files {
        let below = file.strip_prefix(&src).unwrap().to_owned();
        faults.extend(faults_of(&below, &fs::read_to_string(&file)?));
    }
    let told: Vec<String> = faults.iter().map(Fault::to_string).collect();
    assert!(told.is_empty(), "\n{}\nThe rules are in ARCHITECTURE.md.\n", told.join("\n"));
    Ok(())
}

#[test]
fn unsafe_code_is_forbidden() -> io::Result<()> {
    for file in ["src/lib.rs", "src/main.rs"] {
        let source = fs::read_to_string(project().join(file))?;
        assert!(source.contains("#![forbid(unsafe_code)]"), "{file} forbids unsafe code");
    }
    Ok(())
}

#[test]
fn every_job_is_in_the_manual() -> io::Result<()> {
    let source = fs::read_to_string(project().join("src/jobs/mod.rs"))?;
    let mut manual = String::new();
    for entry in fs::read_dir(project().join("docs"))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "md") {
            manual.push_str(&fs::read_to_string(path)?);
        }
    }
    for word in tokens(&source).windows(3) {
        if word[0].text == "pub" && word[1].text == "mod" {
            let job = &word[2].text;
            assert!(
                manual.contains(&format!("backstay {job}")),
                "src/jobs/{job} is a job, and no page in docs/ shows `backstay {job}`"
            );
        }
    }
    Ok(())
}

/// The checks themselves, on small texts.
mod the_check {
    use super::*;

    fn told(file: &str, source: &str) -> Vec<String> {
        faults_of(Path::new(file), source).iter().map(|fault| fault.text.clone()).collect()
    }

    #[test]
    fn lets_the_arrows_through() {
        let jobs = "use crate::{model::BackupId, pipeline::{self, Budget}, store::Store};";
        assert_eq!(told("jobs/backup/plan.rs", jobs), [""; 0]);
        assert_eq!(told("store/s3/mod.rs", "use super::{Key, super::model::Timestamp};"), [""; 0]);
        assert_eq!(told("cli/wire.rs", "use crate::store::s3::S3Store;"), [""; 0]);
        assert_eq!(told("main.rs", "fn main() { backstay::cli::main() }"), [""; 0]);
    }

    #[test]
    fn finds_a_wrong_arrow_however_it_is_written() {
        for source in [
            "use crate::store::Store;",
            "use crate::{model::BackupId, store::Store};",
            "use crate::{model, store};",
            "use {std::io, crate::store};",
            "pub(crate) use crate::store as s;",
            "fn f() -> crate::store::Key { todo() }",
            "use super::super::store;",
            "use super::{super::{model, store}};",
            "mod a { mod b { use super::super::super::super::store::Key; } }",
            "#[cfg(test)] mod tests { use crate::store::Key; }",
            "fn f<'a>(x: &'a str) -> char { crate::store::key(); 'x' }",
            "let quote = '\"'; crate::store::key();",
            "macro_rules! m { () => { $crate::store::key() } }",
        ] {
            let found = told("crypto/seal.rs", source);
            assert_eq!(found.len(), 1, "{source}: {found:?}");
            assert!(found[0].contains("`crypto` may not use `store`"), "{source}: {found:?}");
        }
        assert_eq!(told("model/id.rs", "use crate::cli;").len(), 1);
        assert_eq!(told("pipeline/mod.rs", "use crate::jobs::backup;").len(), 1);
        assert_eq!(told("main.rs", "use backstay::store::Key;").len(), 1);
    }

    #[test]
    fn finds_a_reach_for_the_whole_crate() {
        for source in ["use crate as all;", "use crate::*;", "use super::super::*;"] {
            assert_eq!(told("crypto/seal.rs", source).len(), 1, "{source}");
        }
        assert_eq!(told("crypto/seal.rs", "mod tests { use super::*; }"), [""; 0]);
    }

    #[test]
    fn is_not_misled_by_comments_and_literals() {
        for source in [
            "// crate::store",
            "/* a /* nested */ crate::store::Key */",
            "let text = \"crate::store::Key \\\" crate::store::Key\";",
            "let text = r#\"crate::store::Key \" \"#;",
            "pub(crate) fn f() {}",
        ] {
            assert_eq!(told("crypto/seal.rs", source), [""; 0], "{source}");
        }
    }

    #[test]
    fn finds_wiring_outside_cli() {
        for source in [
            "use crate::store::{Store, s3::S3Store};",
            "use crate::store; fn f() { store::local::open() }",
            "use crate::crypto::kms::file::FileKek;",
        ] {
            assert_eq!(told("jobs/backup.rs", source).len(), 1, "{source}");
        }
        let test = "#[cfg(test)] mod tests { use crate::store::memory::Memory; }";
        assert_eq!(told("jobs/backup.rs", test), [""; 0]);
    }

    #[test]
    fn finds_impure_models_clocks_long_files_and_empty_names() {
        assert_eq!(told("model/id.rs", "use std::{fmt, fs::File};").len(), 1);
        assert_eq!(told("jobs/list.rs", "fn f() { std::time::SystemTime::now() }").len(), 1);
        assert_eq!(told("jobs/list.rs", "fn f() { Timestamp::now() }"), [""; 0]);
        assert_eq!(told("store/key.rs", &"\n".repeat(LONGEST_FILE + 1)).len(), 1);
        assert_eq!(told("store/utils.rs", "").len(), 1);
        assert_eq!(told("store/key.rs", "mod helpers { }").len(), 1);
        assert_eq!(told("engine/key.rs", "").len(), 1);
        assert_eq!(told("store/key.rs", &format!("// {}DO later", "TO")).len(), 1);
    }
}
