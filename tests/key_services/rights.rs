//! `doctor` on the rights of an identity: what it may do with the KEK and the signer, and may not.

use serde_json::Value;

use crate::{
    home::{Done, Home},
    stage::{by, feed, home, with},
    transit::{READER, Transit, WRITER},
};

fn check<'a>(checks: &'a [Value], name: &str) -> &'a Value {
    checks.iter().find(|check| check["check"] == name).unwrap()
}

/// The status of a check, and its words.
fn told(done: &Done, name: &str) -> (String, String) {
    let checks = done.json();
    let found = check(checks.as_array().unwrap(), name);
    let text = |field: &str| found[field].as_str().unwrap().to_owned();
    (text("status"), format!("{} {}", text("detail"), text("remedy")))
}

struct Tokens {
    home: Home,
    transit: Transit,
}

impl Tokens {
    async fn new() -> Self {
        let transit = Transit::start().await;
        let address = transit.address();
        let signer = Some("vault:transit/signer");
        let home = home("vault:transit/kek", signer, &[("VAULT_ADDR", &address)]);
        for (name, policy) in [("writer", &WRITER[..]), ("reader", &READER[..]), ("root", &[][..])]
        {
            std::fs::write(home.path(name), name).unwrap();
            transit.grant(name, policy);
        }
        Self { home, transit }
    }

    fn run(&self, who: &str, args: &[&str]) -> Done {
        let file = self.home.path(who).display().to_string();
        with(&self.home, args, &[("VAULT_TOKEN_FILE", &file)])
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn writers_readers_and_those_who_are_both_are_told_apart_in_a_service() {
    let mut tokens = Tokens::new().await;
    tokens.run("root", &["keys", "trust"]).expect(0);

    let done = tokens.run("writer", &["doctor", "--as", "writer"]).expect(0);
    let (status, words) = told(&done, "kek-rights");
    assert_eq!(status, "ok", "{words}");
    assert!(words.contains("token (static) may wrap and may not unwrap: a writer"), "{words}");
    assert_eq!(told(&done, "signer-rights").0, "ok");

    // It may do more than a writer should: that works, and is warned of.
    let done = tokens.run("root", &["doctor", "--as", "writer"]).expect(0);
    let (status, words) = told(&done, "kek-rights");
    assert_eq!(status, "warn", "{words}");
    assert!(words.contains("may wrap and may unwrap") && words.contains("every backup"), "{words}");
    // Nobody has said what it is for: it is told, and no more.
    let done = tokens.run("root", &["doctor"]).expect(0);
    let (status, words) = told(&done, "kek-rights");
    assert_eq!(status, "ok", "{words}");
    assert!(words.contains("a writer and a reader in one"), "{words}");

    // A reader cannot show what it may do before there is something to read.
    let done = tokens.run("reader", &["doctor", "--as", "reader"]).expect(3);
    assert_eq!(told(&done, "kek-rights").0, "not-checked");
    assert!(told(&done, "kek").1.contains("no backup there"), "{}", done.out);
    let token = tokens.home.path("root").display().to_string();
    tokens.home.env.push(("VAULT_TOKEN_FILE".to_owned(), token));
    feed(&tokens.home, "one").expect(0);
    let done = tokens.run("reader", &["doctor", "--as", "reader"]).expect(0);
    assert!(
        told(&done, "kek").1.contains("unwraps what is stored, and cannot wrap"),
        "{}",
        done.out
    );
    let (status, words) = told(&done, "kek-rights");
    assert_eq!(status, "ok", "{words}");
    assert!(words.contains("may not wrap and may unwrap: a reader"), "{words}");
    // The signer was named, and is refused, as it should be.
    assert_eq!(told(&done, "signer").0, "ok", "{}", done.out);
    let (status, words) = told(&done, "signer-rights");
    assert_eq!(status, "ok", "{words}");
    assert!(words.contains("may not sign, and a reader needs not"), "{words}");

    // Each in the other's place.
    let done = tokens.run("reader", &["doctor", "--as", "writer"]).expect(3);
    assert_eq!(told(&done, "kek-rights").0, "fail");
    assert_eq!(told(&done, "signer-rights").0, "fail");
    let done = tokens.run("writer", &["doctor", "--as", "reader"]).expect(3);
    let (status, words) = told(&done, "kek-rights");
    assert_eq!(status, "fail", "{words}");
    assert!(words.contains("nothing can be restored"), "{words}");
    assert_eq!(told(&done, "signer-rights").0, "warn");

    // A wrap that is there and does not open is no matter of rights.
    tokens.transit.lock().keys.remove("kek");
    let done = tokens.run("root", &["doctor", "--as", "reader"]).expect(3);
    assert!(told(&done, "kek").1.contains("there is no such key"), "{}", done.out);
}

#[test]
fn the_halves_of_a_key_in_a_file_are_told_apart() {
    let home = Home::file();
    let done = home.run(&["doctor", "--as", "writer"]).expect(0);
    let (status, words) = told(&done, "kek-rights");
    assert_eq!(status, "warn", "{words}");
    assert!(words.contains("this identity (local)"), "{words}");
    let done = home.run(&["doctor", "--as", "reader"]).expect(0);
    assert_eq!(told(&done, "kek-rights").0, "ok");
    assert_eq!(told(&done, "signer-rights").0, "warn", "the signer lies beside the key");
    let mut home = home;
    let public = format!("file:{}", home.path("kek.pub").display());
    by(&mut home, &public);
    for (side, code, status) in [("writer", 0, "ok"), ("reader", 3, "fail")] {
        let done = home.run(&["doctor", "--as", side]).expect(code);
        assert_eq!(told(&done, "kek-rights").0, status, "{side}");
    }
}
