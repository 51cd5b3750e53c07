//! No secret is seen anywhere: not in arguments, children's environments, output, logs or the repository.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};

use crate::{
    children::below,
    home::{Done, Home, Job},
    mariadb::{MariaDb, PASSWORD},
    minio::Minio,
};

/// A secret in all the spellings that a careless line might use.
fn spellings(secret: &[u8]) -> Vec<Vec<u8>> {
    vec![
        secret.to_vec(),
        hex::encode(secret).into_bytes(),
        hex::encode_upper(secret).into_bytes(),
        BASE64_STANDARD.encode(secret).into_bytes(),
        format!("{secret:?}").into_bytes(),
    ]
}

fn holds(haystack: &[u8], needle: &[u8]) -> bool {
    !needle.is_empty() && haystack.windows(needle.len()).any(|window| window == needle)
}

fn check(what: &str, bytes: &[u8], secrets: &[Vec<u8>]) {
    for secret in secrets {
        assert!(!holds(bytes, secret), "{what} holds {:?}", String::from_utf8_lossy(secret));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_seen_anywhere() {
    let server = MariaDb::start(&[]);
    let minio = Minio::start(None);
    let home = Home::s3(&minio, &minio.endpoint(), "secrets").await;
    let mut secrets = spellings(PASSWORD.as_bytes());
    secrets.extend(spellings(home.env[1].1.as_bytes()));
    for file in ["kek", "kek.signer"] {
        // Every long word of a key file that is not also in a public one.
        let public: String = ["kek.pub", "kek.trust"]
            .iter()
            .map(|name| fs::read_to_string(home.path(name)).unwrap())
            .collect();
        let text = fs::read_to_string(home.path(file)).unwrap();
        let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || "+/=_-".contains(c)));
        let words: Vec<&str> = words.filter(|w| w.len() >= 24 && !public.contains(w)).collect();
        assert!(!words.is_empty(), "{file} holds no secret that this test can see");
        for word in words {
            secrets.push(word.as_bytes().to_vec());
            let raw = BASE64_STANDARD.decode(word).or_else(|_| hex::decode(word).map_err(drop));
            secrets.extend(raw.map(|raw| spellings(&raw)).unwrap_or_default());
        }
    }

    let backup = home.backup(&server.socket, &["--id", "s"]);
    let datadir = home.path("new").display().to_string();
    let restore = ["restore", "--datadir", &datadir].map(String::from).to_vec();
    let mut programs = BTreeSet::new();
    for args in [backup, restore, vec!["verify".into()], vec!["show".into()], vec!["list".into()]] {
        let done = watched(&home, &args, &secrets, &mut programs);
        let done = done.expect(0);
        check("standard output", done.out.as_bytes(), &secrets);
        check("standard error", done.err.as_bytes(), &secrets);
        assert!(done.err.contains("TRACE"), "the log of {args:?} is not a trace");
    }
    assert!(programs.iter().any(|p| p.contains("mariadb-backup")), "{programs:?}");
    assert!(programs.iter().any(|p| p.contains("mariadbd")), "{programs:?}");

    // Failures, too.
    fs::write(home.path("password"), format!("{PASSWORD}x")).unwrap();
    let args = home.backup(&server.socket, &[]);
    let done = watched(&home, &args, &secrets, &mut programs).expect(3);
    check("an error", format!("{}{}", done.out, done.err).as_bytes(), &secrets);

    let stored = minio.credentials_file().parent().unwrap().join("data/secrets");
    let mut looked = 0;
    for folder in [stored, home.path("t")] {
        for file in files(&folder) {
            looked += 1;
            check(&file.display().to_string(), &fs::read(&file).unwrap(), &secrets);
        }
    }
    assert!(looked >= 5, "{looked} objects");
    assert_eq!(home.left_behind(&server.socket), Vec::<PathBuf>::new());
    if let Ok(words) = fs::read("/dev/termination-log") {
        check("the termination message", &words, &secrets);
    }
}

/// Runs a command at the most talkative level, and looks at all its processes meanwhile.
fn watched(
    home: &Home,
    args: &[String],
    secrets: &[Vec<u8>],
    programs: &mut BTreeSet<String>,
) -> Done {
    let mut command = home.command();
    let job = Job::start(command.args(args).env("BACKSTAY_LOG", "trace"));
    let (pid, done) = (job.pid(), Arc::new(AtomicBool::new(false)));
    let own = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    check("our own arguments", &own, secrets);
    let own = String::from_utf8_lossy(&own).replace('\0', " ");
    let stop = Arc::clone(&done);
    let secrets = secrets.to_vec();
    let watcher = thread::spawn(move || {
        let mut seen = BTreeSet::new();
        while !stop.load(Ordering::Relaxed) {
            // Between fork and exec a child still shows what its parent does.
            for child in below(pid).into_iter().filter(|child| child.command != own) {
                check("a child's arguments", child.command.as_bytes(), &secrets);
                check("a child's environment", &child.environment(), &secrets);
                seen.insert(child.command);
            }
        }
        seen
    });
    let ended = job.wait();
    done.store(true, Ordering::Relaxed);
    programs.extend(watcher.join().unwrap());
    ended
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let (mut found, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            if entry.path().is_dir() {
                folders.push(entry.path());
            } else {
                found.push(entry.path());
            }
        }
    }
    found
}
