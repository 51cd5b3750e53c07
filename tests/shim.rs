//! Children die with their parent, even when it is killed with SIGKILL: through `backstay __child`.

use std::{
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use backstay::{
    model::CommandLine,
    process::{CHILD_SUBCOMMAND, Child, Input, Output, set_shim},
};

const BACKSTAY: &str = env!("CARGO_BIN_EXE_backstay");

fn alive(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
    stat.is_ok_and(|stat| {
        !stat.rsplit(')').next().unwrap_or_default().trim_start().starts_with('Z')
    })
}

fn becomes(what: &str, mut so: impl FnMut() -> bool) {
    let since = Instant::now();
    while !so() {
        assert!(since.elapsed() < Duration::from_secs(5), "{what}");
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_child_dies_when_its_parent_is_killed() {
    // A shell stands for us: it starts a child as we do, and is then killed.
    let script = format!("'{BACKSTAY}' {CHILD_SUBCOMMAND} $$ /bin/sleep 600 & echo $!; wait");
    let mut parent =
        Command::new("/bin/sh").args(["-c", &script]).stdout(Stdio::piped()).spawn().unwrap();
    let mut child = String::new();
    BufReader::new(parent.stdout.take().unwrap()).read_line(&mut child).unwrap();
    let child = child.trim();
    let program = |pid: &str| std::fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
    becomes("the child is not the program", || {
        program(child) != Path::new(BACKSTAY) && alive(child)
    });
    parent.kill().unwrap();
    parent.wait().unwrap();
    becomes("the child outlives its parent", || !alive(child));
}

#[test]
fn an_orphan_starts_nothing() {
    // Process 1 is not the parent of a test's child.
    let output = Command::new(BACKSTAY)
        .args([CHILD_SUBCOMMAND, "1", "/bin/echo", "started"])
        .output()
        .unwrap();
    assert!(output.stdout.is_empty() && !output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("the parent has ended"));
}

#[test]
fn children_started_through_it_behave_as_before() {
    set_shim(BACKSTAY.into());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let sh = |script: &str| CommandLine::new("/bin/sh").arg("-c").arg(script);

    let exit = Child::spawn("t", &sh("echo done >&2"), Input::Null, Output::Null).unwrap();
    assert_eq!(runtime.block_on(exit.wait()).unwrap().tail(), ["done"]);
    let failed = Child::spawn("t", &sh("exit 7"), Input::Null, Output::Null).unwrap();
    assert!(runtime.block_on(failed.wait()).unwrap_err().to_string().contains("exit status 7"));
    let missing = CommandLine::new("/nonexistent/engine");
    let missing = Child::spawn("t", &missing, Input::Null, Output::Null).unwrap();
    let error = runtime.block_on(missing.wait()).unwrap_err().to_string();
    assert!(error.contains("127") && error.contains("/nonexistent/engine"), "{error}");

    // The thread that asks for a child may end; the one that forks it stays.
    let asked = thread::spawn(move || {
        Child::spawn("t", &sh("sleep 600"), Input::Null, Output::Null).unwrap()
    });
    let child = asked.join().unwrap();
    thread::sleep(Duration::from_millis(300));
    assert!(child.is_running());
}
