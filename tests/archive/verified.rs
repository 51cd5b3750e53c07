//! `verify` and the log: everything that is not as it was written is found.

use std::{
    fs,
    path::{Path, PathBuf},
};

use mysql_async::prelude::Queryable as _;

use crate::{
    capture::archive_args,
    home::{Home, strs},
    load,
    mariadb::MariaDb,
};

/// All files below a folder whose path holds this word, sorted.
fn files(folder: &Path, word: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.to_string_lossy().contains(word) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// A few more transactions, and a new file.
async fn more(socket: &Path) {
    let mut conn = load::connect(socket).await;
    for n in 0..20 {
        conn.query_drop(format!("INSERT INTO `load`.t0 (k, v) VALUES ({n}, 'more')"))
            .await
            .unwrap();
    }
    conn.query_drop("FLUSH BINARY LOGS").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_of_the_log_is_found_with_and_without_a_key() {
    let server = MariaDb::start(&[]);
    let home = Home::file();
    let args = archive_args(&home, &server.socket, &["--until-current"]);
    load::seed(&server.socket, 300).await;
    let first = home.run(&strs(&args)).expect(0).json();
    more(&server.socket).await;
    home.run(&strs(&args)).expect(0);
    let good = home.run(&["verify"]).expect(0).json();
    assert_eq!(good["log"]["status"], "ok", "{good}");
    assert!(good["log"]["segments"].as_u64().unwrap() >= 2, "{good}");
    home.run(&["verify", "--quick"]).expect(0);
    // The head of the log proves freshness like the audit chain's, and one that never was does not.
    let head = first["log_head"].as_str().unwrap();
    let fresh = home.run(&["verify", "--quick", "--at-least", head]).expect(0).json();
    assert_eq!(fresh["freshness_proven"], true);
    home.run(&["list", "--at-least", head]).expect(0);
    let never = format!("2:{}", "ab".repeat(32));
    home.run(&["verify", "--quick", "--at-least", &never]).expect(6);
    home.run(&["list", "--at-least", &never]).expect(6);

    let repo = home.path("repo");
    let mut looked = 0;
    let objects = [files(&repo, "/log/"), files(&repo, "/segments/")].concat();
    for (turn, path) in objects.iter().enumerate() {
        let good = fs::read(path).unwrap();
        let mut bad = good.clone();
        let at = turn * 7919 % bad.len();
        bad[at] ^= 1 << (turn % 8);
        // A record flipped, cut, or gone; another one in its place.
        let other = fs::read(&objects[(turn + 1) % objects.len()]).unwrap();
        for bytes in [Some(bad), Some(good[..good.len() - 1].to_vec()), Some(other), None] {
            fs::remove_file(path).unwrap();
            if let Some(bytes) = bytes {
                fs::write(path, bytes).unwrap();
            } else if turn + 1 == files(&repo, "/log/").len() + 1 {
                // The newest record can vanish without a trace: --at-least is for that.
                fs::write(path, &good).unwrap();
                continue;
            }
            looked += 1;
            for mode in [&["verify"][..], &["verify", "--quick"]] {
                let done = home.run(mode);
                assert_eq!(done.code, 6, "{} {mode:?} {}", path.display(), done.out);
            }
            fs::write(path, &good).unwrap();
        }
    }
    assert!(looked > 20, "{looked}");
    home.run(&["verify"]).expect(0);
}
