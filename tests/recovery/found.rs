//! The command that `find` proposes does what it says, and a terminal shows how far it is.

use backstay::model::Flavor;

use crate::{
    archiver::Archiver,
    home::{Home, Job, strs},
    load,
    node::Node,
    points::sums,
};

#[tokio::test(flavor = "multi_thread")]
async fn the_proposed_command_restores_to_just_before() {
    let node = Node::start(Flavor::Mysql, 82, &[]);
    load::seed(&node.socket, 20).await;
    let home = Home::file();
    home.run(&strs(&home.backup(&node.socket, &["--id", "base"]))).expect(0);
    node.run("INSERT INTO `load`.t1 (k, v) VALUES (1, 'kept')").await;
    let wanted = load::checksums(&node.socket).await;
    node.run("DROP TABLE `load`.t1").await;
    node.run("INSERT INTO `load`.t0 (k, v) VALUES (1, 'lost')").await;
    Archiver::finish(&home, node.port, &[]);
    let found = home.run(&["find", "--table", "load.t1", "--kind", "drop"]).expect(0).json();
    let command = found["matches"][0]["restore"].as_str().unwrap();
    let datadir = home.path("new");
    let command = command.replace("/path/to/new", datadir.to_str().unwrap());
    let (program, args) = command.split_once(' ').unwrap();
    assert_eq!(program, "backstay");
    let mut job = std::process::Command::new(env!("CARGO_BIN_EXE_backstay"));
    // As a person would paste it: in a shell, with nothing else.
    job.env(
        "PATH",
        home.command().get_envs().find_map(|(k, v)| v.filter(|_| k == "PATH")).unwrap(),
    );
    job.args(args.split(' ')).env("TMPDIR", home.path("t"));
    Job::start(&mut job).wait().expect(0);
    assert_eq!(sums(Flavor::Mysql, &datadir).await, wanted, "{command}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_shows_how_far_a_replay_is() {
    let node = Node::start(Flavor::Mariadb, 86, &[]);
    load::seed(&node.socket, 20).await;
    let home = Home::file();
    home.run(&strs(&home.backup(&node.socket, &["--id", "base"]))).expect(0);
    let writers = load::Load::start(&node.socket, 2);
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    writers.stop().await;
    Archiver::finish(&home, node.port, &[]);
    let restore = home.command();
    let words = restore.get_args().map(|word| word.to_str().unwrap());
    let words = words.map(|word| if word == "json" { "text" } else { word });
    let line: Vec<&str> = [env!("CARGO_BIN_EXE_backstay")].into_iter().chain(words).collect();
    let datadir = home.path("new");
    let line = format!("{} restore --datadir {}", line.join(" "), datadir.display());
    // It gives the command a terminal.
    let mut job = std::process::Command::new("script");
    job.args(["-qec", &line, "/dev/null"]).env("TMPDIR", home.path("t"));
    let done = Job::start(&mut job).wait().expect(0);
    let shown = done.out;
    assert!(shown.contains("replay: ") && shown.contains(" transactions"), "{shown}");
    assert!(shown.contains("proven: a server started on it"), "{shown}");
}
