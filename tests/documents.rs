//! The pages are true as far as a machine can tell: links lead somewhere, commands parse, manifests and
//! values are valid, and every alert has its page.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

#[path = "support/tools.rs"]
#[expect(dead_code, reason = "other tests use the rest")]
mod tools;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

use tools::tool;

/// The pages whose YAML is to be applied as it stands.
const APPLIED: [&str; 2] = ["docs/operators.md", "docs/quick-start.md"];
/// The oldest and the newest Kubernetes that manifests are held against.
const KUBERNETES: [&str; 2] = ["1.29", "1.35"];
/// The alerts, as their pages are called.
const ALERTS: [&str; 9] = [
    "archive-gap",
    "archive-lag",
    "archiver-fenced",
    "backup-too-old",
    "drill-too-old",
    "key-too-old",
    "recovery-too-slow",
    "store-down",
    "verification-failed",
];

fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every page of the project, by its path in it.
fn pages() -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    let mut folders = vec![project().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap().map(Result::unwrap) {
            let (path, name) = (entry.path(), entry.file_name());
            let name = name.to_string_lossy();
            if path.is_dir() {
                // What was built or fetched is not ours.
                let other = name.starts_with('.') || name == "target" || name == "node_modules";
                if !other {
                    folders.push(path);
                }
            } else if name.ends_with(".md") {
                let text = fs::read_to_string(&path).unwrap();
                found.insert(path.strip_prefix(project()).unwrap().to_owned(), text);
            }
        }
    }
    assert!(found.len() > 40, "only {} pages", found.len());
    found
}

/// The fenced blocks of a page, with their languages; and the page without them.
fn split(text: &str) -> (Vec<(String, String)>, String) {
    let (mut blocks, mut prose) = (Vec::new(), String::new());
    let mut open: Option<(String, String)> = None;
    for line in text.lines() {
        match (line.trim_start().strip_prefix("```"), &mut open) {
            (Some(language), None) => open = Some((language.to_owned(), String::new())),
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (None, Some((_, block))) => block.extend([line, "\n"]),
            (None, None) => prose.extend([line, "\n"]),
        }
    }
    assert!(open.is_none(), "a block is never closed");
    (blocks, prose)
}

/// The anchors of a page, as GitHub makes them from its headings.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for line in split(text).1.lines().filter(|line| line.starts_with('#')) {
        let heading = line.trim_start_matches('#').trim().to_lowercase();
        // Of a link in a heading only the text counts.
        let mut slug = String::new();
        let mut rest = heading.as_str();
        while let Some((before, after)) = rest.split_once("](") {
            slug += before;
            rest = after.split_once(')').map_or("", |(_, rest)| rest);
        }
        slug += rest;
        let slug: String = slug
            .chars()
            .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
            .map(|c| if c == ' ' { '-' } else { c })
            .collect();
        let mut name = slug.clone();
        for number in 1.. {
            if found.insert(name) {
                break;
            }
            name = format!("{slug}-{number}");
        }
    }
    found
}

/// What is wrong with the links of these pages.
fn dead_links(pages: &BTreeMap<PathBuf, String>) -> Vec<String> {
    let mut dead = Vec::new();
    for (page, text) in pages {
        for target in split(text).1.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if target.contains("://") || target.starts_with("mailto:") || target.contains(' ') {
                continue;
            }
            let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
            let file = match path {
                "" => page.clone(),
                path => normal(&page.parent().unwrap().join(path)),
            };
            let there = pages.contains_key(&file) || project().join(&file).exists();
            let known = anchor.is_empty()
                || pages.get(&file).is_some_and(|text| anchors(text).contains(anchor));
            if !there || !known {
                dead.push(format!("{}: {target}", page.display()));
            }
        }
    }
    dead
}

/// Without `..`.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for part in path.components() {
        match part {
            std::path::Component::ParentDir => {
                normal.pop();
            }
            std::path::Component::CurDir => {}
            part => normal.push(part),
        }
    }
    normal
}

#[test]
fn every_link_leads_to_a_file_and_a_heading_that_exist() {
    let mut pages = pages();
    assert_eq!(dead_links(&pages), Vec::<String>::new());
    // And one that does not would be seen.
    let text = "[a](../README.md) [b](none.md) [c](#no-such-heading) [d](#here)\n# Here\n";
    pages.insert("docs/bad.md".into(), text.into());
    assert_eq!(dead_links(&pages), ["docs/bad.md: none.md", "docs/bad.md: #no-such-heading"]);
}

#[test]
fn every_alert_has_a_page_that_says_what_to_do() {
    let index = fs::read_to_string(project().join("docs/runbooks/README.md")).unwrap();
    for alert in ALERTS {
        let page = fs::read_to_string(project().join(format!("docs/runbooks/{alert}.md"))).unwrap();
        let anchors = anchors(&page);
        for part in ["meaning", "check", "act"] {
            assert!(anchors.contains(part), "{alert} has no `{part}`");
        }
        assert!(index.contains(&format!("({alert}.md)")), "the index has no {alert}");
        let commands = split(&page).0.iter().map(|(_, text)| commands(text).len()).sum::<usize>();
        assert!(commands > 0 || page.contains("kubectl "), "{alert} names no command");
    }
}

/// The commands of this program in a block of shell, as words.
fn commands(block: &str) -> Vec<Vec<String>> {
    let joined = block.replace("\\\n", " ");
    let lines = joined.lines().map(str::trim).filter(|line| line.starts_with("backstay "));
    lines.map(words).collect()
}

/// Splits as a shell does, up to where another command, a redirection or a comment begins.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None::<char>);
    for c in line.chars() {
        match (quote, c) {
            (Some(open), c) if open == c => quote = None,
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (None, '|' | '>' | ';' | '&') => break,
            (None, '#') if word.is_none() => break,
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

#[test]
fn every_command_on_these_pages_is_one() {
    let (mut seen, mut wrong) = (0, Vec::new());
    for (page, text) in pages() {
        let is_ours = page.starts_with("docs/runbooks")
            || ["operators", "quick-start", "capacity", "upgrading", "day-two"]
                .iter()
                .any(|name| page == Path::new(&format!("docs/{name}.md")));
        if !is_ours {
            continue;
        }
        for (_, block) in split(&text).0 {
            for command in commands(&block) {
                seen += 1;
                if let Err(error) = backstay::cli::command().try_get_matches_from(&command)
                    && error.use_stderr()
                {
                    wrong.push(format!("{}: {command:?}: {error}", page.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(seen > 20, "only {seen} commands were found");
    let bad = commands("backstay backup --no-such-flag \\\n  x | y\n");
    assert_eq!(bad, [["backstay", "backup", "--no-such-flag", "x"]]);
    assert!(backstay::cli::command().try_get_matches_from(&bad[0]).is_err());
}

/// The documents in the YAML of a page.
fn documents(page: &str) -> Vec<(String, Value)> {
    let text = fs::read_to_string(project().join(page)).unwrap();
    let blocks = split(&text).0.into_iter().filter(|(language, _)| language == "yaml");
    let mut found = Vec::new();
    for (_, block) in blocks {
        for document in block.split("\n---\n") {
            let parsed: Value = serde_saphyr::from_str(document)
                .unwrap_or_else(|error| panic!("{page}: {error}\n{document}"));
            found.push((document.to_owned(), parsed));
        }
    }
    assert!(!found.is_empty(), "{page} has no YAML");
    found
}

/// Whether Kubernetes itself knows such an object, and its schema therefore is to be had.
fn is_core(document: &Value) -> bool {
    let group = document["apiVersion"].as_str().unwrap_or_default();
    ["v1", "apps/v1", "batch/v1", "policy/v1", "networking.k8s.io/v1"].contains(&group)
        || group == "rbac.authorization.k8s.io/v1"
}

fn validated(version: &str, file: &Path) -> Result<(), String> {
    let told = Command::new(tool("venv/bin/kubernetes-validate"))
        .args(["-k", version, "--strict"])
        .arg(file)
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if told.status.success() { Ok(()) } else { Err(text(&told.stdout) + &text(&told.stderr)) }
}

#[test]
fn every_manifest_on_these_pages_is_valid() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("objects.yaml");
    for page in APPLIED {
        let objects: Vec<String> = documents(page)
            .into_iter()
            .filter(|(_, document)| is_core(document))
            .map(|(text, _)| text)
            .collect();
        assert!(!objects.is_empty(), "{page} has no object of Kubernetes");
        fs::write(&file, objects.join("\n---\n")).unwrap();
        for version in KUBERNETES {
            if let Err(told) = validated(version, &file) {
                panic!("{page}, Kubernetes {version}: {told}");
            }
        }
    }
    fs::write(&file, "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {prots: []}\n")
        .unwrap();
    assert!(validated(KUBERNETES[1], &file).is_err(), "a field that does not exist was taken");
}

#[test]
fn the_chart_takes_every_value_on_these_pages() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("values.yaml");
    let rendered = |values: &str| {
        fs::write(&file, values).unwrap();
        let mut helm = Command::new(tool("bin/helm"));
        helm.args(["template", "--kube-version", "1.31.0", "backstay"]);
        helm.arg(project().join("charts/backstay")).arg("-f").arg(&file).output().unwrap()
    };
    let mut seen = 0;
    for page in APPLIED {
        for (text, document) in documents(page) {
            if document["apiVersion"].is_null() {
                let told = rendered(&text);
                let error = String::from_utf8_lossy(&told.stderr).into_owned();
                assert!(told.status.success(), "{page}: {error}\n{text}");
                seen += 1;
            }
        }
    }
    assert!(seen >= 3, "only {seen} sets of values were found");
    assert!(!rendered("bakcup: {}\n").status.success(), "the chart takes anything");
}

#[test]
fn the_memory_on_the_page_is_that_of_the_formula() {
    use backstay::pipeline::budget::Budget;
    let page = fs::read_to_string(project().join("docs/capacity.md")).unwrap();
    let mib = |bytes: usize| bytes.div_ceil(1 << 20);
    for cores in [1, 2, 4, 8, 12] {
        let budget = Budget::for_cores(cores);
        let row = format!(
            "| {cores} | {} MiB | {} MiB |",
            mib(budget.up_bytes()),
            mib(budget.down_bytes())
        );
        assert!(page.contains(&row), "docs/capacity.md has no row {row}");
    }
    let copy = format!("a copy at most {} MiB", mib(Budget::copy_bytes()));
    assert!(page.contains(&copy), "docs/capacity.md does not say `{copy}`");
}

/// Every variable that some flag of the program is bound to.
fn variables(command: &clap::Command, found: &mut BTreeSet<String>) {
    let bound = command.get_arguments().filter_map(clap::Arg::get_env);
    found.extend(bound.map(|name| name.to_string_lossy().into_owned()));
    for below in command.get_subcommands() {
        variables(below, found);
    }
}

#[test]
fn every_variable_that_operators_are_told_of_exists() {
    let mut known: BTreeSet<String> = ["TERMINATION_LOG", "POD_NAME", "POD_NAMESPACE", "LOG"]
        .map(|n| format!("BACKSTAY_{n}"))
        .into();
    variables(&backstay::cli::command(), &mut known);
    for page in APPLIED {
        let text = fs::read_to_string(project().join(page)).unwrap();
        let is_name = |c: char| c.is_ascii_uppercase() || c == '_';
        let named: BTreeSet<String> = text
            .split(|c| !is_name(c))
            .filter(|word| word.starts_with("BACKSTAY_"))
            .map(ToOwned::to_owned)
            .collect();
        assert!(named.len() > 5, "{page}: {named:?}");
        let unknown: Vec<_> = named.difference(&known).collect();
        assert!(unknown.is_empty(), "{page}: {unknown:?}");
    }
}
