//! Real children: `sh` and its like.

use std::{
    io::Read as _,
    time::{Duration, Instant},
};

use super::*;
use crate::model::CommandLine;

fn sh(script: &str) -> CommandLine {
    CommandLine::new("/bin/sh").arg("-c").arg(script)
}

fn spawn(script: &str) -> Child {
    Child::spawn("test", &sh(script), Input::Null, Output::Pipe).unwrap()
}

fn alive(pid: &str) -> bool {
    // A zombie is not alive: it waits for whoever is its parent now.
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| {
        !stat.rsplit(')').next().unwrap_or_default().trim_start().starts_with('Z')
    })
}

fn gone_soon(pid: &str) -> bool {
    let since = Instant::now();
    while alive(pid) && since.elapsed() < Duration::from_secs(5) {
        std::thread::sleep(Duration::from_millis(10));
    }
    !alive(pid)
}

fn first_line(child: &mut Child) -> String {
    let mut out = child.take_stdout().unwrap();
    let mut line = String::new();
    let mut byte = [0];
    while out.read(&mut byte).unwrap() == 1 && byte[0] != b'\n' {
        line.push(char::from(byte[0]));
    }
    line
}

#[tokio::test]
async fn a_clean_end_is_proven_and_carries_the_last_lines() {
    let mut child = spawn("echo out; echo one >&2; echo completed OK! >&2");
    let mut out = String::new();
    child.take_stdout().unwrap().read_to_string(&mut out).unwrap();
    let exit = child.wait().await.unwrap();
    assert_eq!(
        (out.as_str(), exit.tail()),
        ("out\n", &["one".to_owned(), "completed OK!".to_owned()][..])
    );
}

#[tokio::test]
async fn a_failure_tells_status_and_last_lines() {
    let error =
        spawn("seq 1 80 >&2; echo '[ERROR] no space' >&2; exit 3").wait().await.unwrap_err();
    assert_eq!(error.tail().len(), 50);
    let text = error.to_string();
    assert!(
        text.starts_with("test failed: exit status 3") && text.ends_with("[ERROR] no space"),
        "{text}"
    );
    let killed = spawn("kill -9 $$").wait().await.unwrap_err().to_string();
    assert!(killed.contains("signal 9"), "{killed}");
    let missing = CommandLine::new("/nonexistent/engine");
    let error =
        Child::spawn("engine", &missing, Input::Null, Output::Null).unwrap_err().to_string();
    assert!(error.contains("/nonexistent/engine") && error.contains("install it"), "{error}");
}

#[tokio::test]
async fn a_child_sees_only_allowed_variables() {
    // CARGO is set by the test runner, PATH by everybody.
    assert!(std::env::vars().any(|(name, _)| name.starts_with("CARGO")));
    let mut line = sh("env");
    line.env.push(("LC_TIME".to_owned(), "C".to_owned()));
    let mut child = Child::spawn("test", &line, Input::Null, Output::Pipe).unwrap();
    let mut out = String::new();
    child.take_stdout().unwrap().read_to_string(&mut out).unwrap();
    child.wait().await.unwrap();
    assert!(!out.contains("CARGO") && out.contains("PATH=") && out.contains("LC_TIME=C"), "{out}");
}

#[tokio::test]
async fn stopping_asks_first_and_kills_after_the_grace() {
    let mut polite =
        spawn("trap 'echo bye >&2; exit 0' TERM; echo ready; while :; do sleep 0.05; done");
    assert_eq!(first_line(&mut polite), "ready");
    let exit = polite.stop(Duration::from_secs(5)).await.unwrap();
    // The shell reports that its `sleep` was terminated too.
    assert!(exit.tail().iter().any(|line| line == "bye"), "{:?}", exit.tail());

    let mut deaf = spawn("trap '' TERM; echo ready; while :; do sleep 0.05; done");
    assert_eq!(first_line(&mut deaf), "ready");
    let since = Instant::now();
    let error = deaf.stop(Duration::from_millis(200)).await.unwrap_err().to_string();
    assert!(error.contains("signal 9") && since.elapsed() < Duration::from_secs(4), "{error}");
}

#[tokio::test]
async fn descendants_end_with_their_child() {
    let mut dropped = spawn("sleep 600 & echo $!; wait");
    let grandchild = first_line(&mut dropped);
    assert!(alive(&grandchild));
    drop(dropped);
    assert!(gone_soon(&grandchild));

    // One that its parent forgot would keep our pipes open for ever.
    let mut forgetful = spawn("sleep 600 & echo $!");
    let grandchild = first_line(&mut forgetful);
    forgetful.wait().await.unwrap();
    assert!(gone_soon(&grandchild));
}

#[tokio::test]
async fn a_killer_works_from_elsewhere_and_is_harmless_afterwards() {
    let mut child = spawn("echo ready; sleep 600");
    first_line(&mut child);
    let killer = child.killer();
    let waiting = tokio::spawn(child.wait());
    killer.terminate();
    assert!(waiting.await.unwrap().unwrap_err().to_string().contains("SIGTERM"));
    killer.kill();
}

#[tokio::test]
async fn a_flood_on_standard_error_does_not_block_the_child() {
    let exit = spawn("head -c 3000000 /dev/zero | tr '\\0' x >&2; echo >&2; echo end >&2")
        .wait()
        .await
        .unwrap();
    assert_eq!(exit.tail().last().unwrap(), "end");
    assert!(exit.tail()[0].len() < 2010);
}
