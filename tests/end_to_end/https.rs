//! `--source https://…` against a server that does what a manager does, and what it does when it fails.

use std::{sync::Arc, thread, time::Duration};

use rustix::process::Signal;

use crate::{
    authority::Authority,
    home::{Home, strs},
    https_server::{Body, serve, source},
    streams::archive,
};

/// The name in the servers' certificates.
const NAME: &str = "db-0.example";
/// What a manager appends when its engine has failed, as cloudnative-mysql's does.
const FAILED: &str = "{\"error\":\"xtrabackup: exit status 1\"}\n";

struct Room {
    home: Home,
    authority: Authority,
    full: Arc<Vec<u8>>,
}

impl Room {
    fn new() -> Self {
        let (home, authority) = (Home::file(), Authority::new());
        authority.sign(home.dir.path(), "client", "client");
        Self { home, authority, full: archive("full") }
    }

    fn serve(&self, body: Body) -> u16 {
        serve(&self.authority, "127.0.0.1", Arc::clone(&self.full), body)
    }

    fn args(&self, port: u16) -> Vec<String> {
        source(&self.home, "127.0.0.1", port, "client", "xtrabackup")
    }

    #[track_caller]
    fn refused(&self, args: &[String], code: i32, words: &str) {
        let done = self.home.run(&strs(args)).expect(code).says(words);
        assert_eq!(done.json()["status"], "failed");
        assert_eq!(self.home.listed(), Vec::<String>::new());
    }
}

#[test]
fn a_whole_stream_is_committed_with_framing_alone() {
    let room = Room::new();
    let port = room.serve(Body::Whole);
    let done = room.home.run(&strs(&room.args(port))).expect(0).json();
    assert_eq!((&done["status"], &done["proof"]), (&"complete".into(), &"framing".into()));
    assert_eq!(done["bytes_read"], room.full.len());
    assert_eq!(room.home.listed().len(), 1);
}

#[test]
fn a_stream_that_is_not_whole_is_refused_however_politely_it_ends() {
    let room = Room::new();
    let half = room.full.len() / 2;
    for (body, words) in [
        (Body::CutCleanly(half), "stream"),
        (Body::CutCleanly(0), "stream"),
        (Body::CutCleanly(room.full.len() - 1), "stream"),
        (Body::Followed(FAILED), "stream"),
        (Body::CutAndFollowed(half, FAILED), "stream"),
        (Body::CutAndFollowed(0, FAILED), "stream"),
        (Body::CutAndFollowed(room.full.len() - 1, FAILED), "stream"),
        (Body::Killed(half), "stream"),
        (Body::Refused("503 Service Unavailable"), "503"),
        (Body::Refused("302 Found"), "302"),
    ] {
        let port = room.serve(body);
        room.refused(&room.args(port), 4, words);
    }
    for name in ["fail_mysqld_killed", "fail_sigterm", "fail_epipe"] {
        let port = serve(&room.authority, "127.0.0.1", archive(name), Body::Whole);
        room.refused(&room.args(port), 4, "stream");
    }
}

#[test]
fn both_sides_must_be_who_they_say() {
    let room = Room::new();
    let port = room.serve(Body::Whole);
    let stranger = Authority::new();
    stranger.sign(room.home.dir.path(), "stranger", "stranger");
    // Its CA is not the server's.
    let args = source(&room.home, "127.0.0.1", port, "stranger", "xtrabackup");
    room.refused(&args, 4, "certificate");
    // The right CA, and a client certificate of another one.
    std::fs::copy(room.home.path("client-ca.pem"), room.home.path("stranger-ca.pem")).unwrap();
    room.refused(&args, 4, "GET");
    // No client certificate at all.
    std::fs::copy(room.home.path("client-ca.pem"), room.home.path("nobody-ca.pem")).unwrap();
    let args = source(&room.home, "127.0.0.1", port, "nobody", "xtrabackup");
    room.refused(&args, 4, "GET");
    // A file that is none, and a key without its certificate.
    let mut args = room.args(port);
    args.extend(["--source-server-name".into(), "not a name".into()]);
    room.refused(&args, 2, "name");
}

#[test]
fn the_servers_name_may_differ_from_its_host() {
    let room = Room::new();
    let port = serve(&room.authority, NAME, Arc::clone(&room.full), Body::Whole);
    let mut args = room.args(port);
    room.refused(&args, 4, "certificate");
    args.extend(["--source-server-name".into(), NAME.into()]);
    room.home.run(&strs(&args)).expect(0);
}

#[test]
fn nobody_there_is_the_sources_fault() {
    let room = Room::new();
    room.refused(&room.args(crate::tools::free_port()), 4, "refused");
}

#[test]
fn a_silent_stream_can_be_stopped() {
    let room = Room::new();
    for signal in [Signal::TERM, Signal::INT] {
        let port = room.serve(Body::Stalled(room.full.len() / 2));
        let job = room.home.start(&strs(&room.args(port)));
        thread::sleep(Duration::from_millis(1500));
        job.signal(signal);
        job.wait().expect(9);
        assert_eq!(room.home.listed(), Vec::<String>::new());
    }
}
