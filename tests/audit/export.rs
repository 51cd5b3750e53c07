//! Lines for a system that collects events.

use std::{
    io::Read as _,
    process::{Command, Stdio},
};

use serde_json::Value;

use crate::{
    home::Home,
    world::{actions, back_up, exported},
};

#[test]
fn lines_have_the_documented_fields_and_their_run() {
    let home = Home::file();
    back_up(&home, "base");
    let lines = exported(&home, &[]);
    assert_eq!(actions(&lines), ["configuration-seen", "backup-begun", "backup-committed"]);
    let committed = &lines[2];
    let documented = include_str!("../../docs/audit.md");
    for field in committed.as_object().unwrap().keys() {
        assert!(documented.contains(&format!("| `{field}` |")), "docs/audit.md lacks {field}");
    }
    let rows = documented.split("## Export").nth(1).unwrap().split("\n## ").next().unwrap();
    for row in rows.lines().filter_map(|line| line.strip_prefix("| `")) {
        let field = row.split('`').next().unwrap();
        assert!(committed.get(field).is_some(), "a line lacks {field}: {committed}");
    }
    assert_eq!((&committed["number"], &committed["cluster"]), (&3.into(), &"c".into()));
    assert_eq!((&committed["role"], &committed["outcome"]), (&"backup".into(), &"success".into()));
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    assert_eq!(committed["identity"]["host"], host.trim());
    assert_eq!(committed["previous"], lines[1]["sha256"]);
    let connections = committed["connections"].as_array().unwrap();
    assert!(connections.iter().any(|c| c["to"] == "database"), "{committed}");
}

#[test]
fn a_part_can_be_had_and_nothing_twice() {
    let home = Home::file();
    back_up(&home, "one");
    back_up(&home, "two");
    let lines = exported(&home, &[]);
    assert_eq!(lines.len(), 5);
    let at = |n: usize| lines[n]["at"].as_str().unwrap();
    let since = exported(&home, &["--since", at(3), "--until", at(4)]);
    assert_eq!(actions(&since), ["backup-begun", "backup-committed"]);
    assert_eq!(since[0]["subject"], "two");
    let last = lines[4]["number"].to_string();
    // What has happened since: two exports. From then on looking is no news.
    let after = exported(&home, &["--after", &last]);
    assert_eq!(actions(&after), ["audit-exported", "audit-exported"]);
    assert_eq!(exported(&home, &["--after", &last]).len(), 2);
    assert_eq!(exported(&home, &["--after", "9999"]), [] as [Value; 0]);
    home.run(&["audit", "export", "--since", at(4), "--until", at(3)]).expect(2);
    home.run(&["audit", "export", "--since", "yesterday"]).expect(2);
}

#[test]
fn who_has_enough_stops_it_and_damage_is_told() {
    let home = Home::file();
    back_up(&home, "base");
    let mut command: Command = home.command();
    let mut child = command
        .args(["audit", "export"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut first = [0; 10];
    child.stdout.take().unwrap().read_exact(&mut first).unwrap();
    assert!(child.wait().unwrap().success());
    std::fs::write(home.path("repo/c/audit/00000000000000000002"), "junk").unwrap();
    let done = home.run(&["audit", "export"]).expect(6);
    let lines: Vec<Value> = done.out.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let numbers: Vec<_> =
        lines.iter().take(2).map(|line| line["number"].as_u64().unwrap()).collect();
    assert_eq!(numbers, [1, 3]);
    assert!(done.err.contains("00000000000000000002"), "{}", done.err);
}
