//! Servers that do not continue what is archived, though they answer at the same address under
//! the same name: each is recognised for what it is, in one plain sentence, and nothing that is
//! archived is touched. `--new-history` goes on with them.

use std::{fs, time::Duration};

use backstay::{
    format::EpochReason,
    model::{Flavor, GtidState},
};

use crate::{
    archiver::Archiver,
    chance::soak,
    home::{Done, Home},
    node::{BASE, Node, copy},
    tokens,
    walk::{Walked, walk},
};

/// What has become of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    Reset,
    Rebuilt,
    /// An older copy of its data is put back.
    OlderCopy,
    /// A crash that took the end of its binary log along.
    Torn,
}

impl Change {
    fn words(self, flavor: Flavor) -> &'static str {
        match (self, flavor) {
            (Self::Reset, Flavor::Mysql) => "was reset",
            (Self::Reset | Self::Rebuilt, Flavor::Mariadb) => {
                "begins anew: it was reset, or the server was rebuilt"
            }
            (Self::Rebuilt, Flavor::Mysql) => "it was rebuilt, or belongs to another cluster",
            (Self::OlderCopy | Self::Torn, _) => "has lost",
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mysql_with_another_binary_log_is_recognised() {
    chain(Flavor::Mysql, false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mariadb_with_another_binary_log_is_recognised() {
    chain(Flavor::Mariadb, true).await;
}

/// One change after the other. Afterwards the server has more transactions than before, or fewer;
/// the soak has both.
async fn chain(flavor: Flavor, more: bool) {
    let mut stage = Stage::start(flavor).await;
    for turn in 0..if soak() { 2 } else { 1 } {
        for (nth, change) in [Change::Torn, Change::OlderCopy, Change::Reset, Change::Rebuilt]
            .into_iter()
            .enumerate()
        {
            let more = ((nth + turn) % 2 == 0) == more;
            let (before, after) = if more { (10, 100) } else { (30, 10) };
            println!("{change:?}, {before} transactions before, {after} after");
            stage.change(change, before, after).await;
        }
    }
}

struct Stage {
    node: Node,
    home: Home,
    count: usize,
}

impl Stage {
    async fn start(flavor: Flavor) -> Self {
        let node = Node::start(flavor, 41, &[]);
        tokens::seed(&node).await;
        Self { node, home: Home::file(), count: 0 }
    }

    /// Writes so many transactions.
    async fn write(&mut self, count: usize) -> Vec<String> {
        use mysql_async::prelude::Queryable as _;
        let mut conn = self.node.conn().await;
        let mut written = Vec::new();
        for _ in 0..count {
            self.count += 1;
            let token = format!("<tok-s{}>", self.count);
            let sql = format!("INSERT INTO `load`.tokens VALUES ('{token}', REPEAT('y', 200))");
            conn.query_drop(sql).await.unwrap();
            written.push(token);
        }
        conn.disconnect().await.unwrap();
        written
    }

    fn current(&self, more: &[&str]) -> Done {
        let more: Vec<&str> = more.iter().copied().chain(["--until-current"]).collect();
        Archiver::start(&self.home, self.node.port, &more).ends()
    }

    async fn change(&mut self, change: Change, before: usize, after: usize) {
        let mut archived = Vec::new();
        // Files with the numbers that come again.
        for _ in 0..3 {
            archived.extend(self.write(before / 3 + 1).await);
            self.node.run("FLUSH BINARY LOGS").await;
        }
        let old = self.node.beside("old");
        let _ = fs::remove_dir_all(&old);
        if change == Change::OlderCopy {
            self.node.down();
            copy(&self.node.data(), &old);
            self.node.up(&[]);
        }
        let (file, size) = self.active();
        archived.extend(self.write(before).await);
        self.current(&[]).expect(0);
        let earlier = walk(&self.home, None).await;
        for token in &archived {
            assert!(earlier.tokens.contains_key(token), "{token}");
        }
        match change {
            Change::Reset => self.node.reset().await,
            Change::Rebuilt => self.node.rebuild(false),
            Change::OlderCopy => {
                self.node.down();
                fs::remove_dir_all(self.node.data()).unwrap();
                copy(&old, &self.node.data());
                self.node.up(&[]);
            }
            Change::Torn => {
                self.node.kill();
                let torn =
                    fs::File::options().write(true).open(self.node.data().join(file)).unwrap();
                torn.set_len(size).unwrap();
                self.node.up(&[]);
            }
        }
        if change == Change::Rebuilt {
            tokens::seed(&self.node).await;
        }
        let mut later = self.write(after / 2).await;
        if after > before {
            self.node.run("FLUSH BINARY LOGS").await;
        }
        later.extend(self.write(after / 2).await);
        let refused = self.current(&[]).expect(7).says(change.words(self.node.flavor));
        println!("{}", refused.err.lines().last().unwrap());
        let untouched = walk(&self.home, None).await;
        assert_eq!(untouched.records, earlier.records, "a refusal changes nothing");
        assert_eq!(untouched.files, earlier.files);
        let keeps = matches!(change, Change::OlderCopy | Change::Torn);
        let walked = self.goes_on(&earlier, &later, keeps).await;
        let gaps = walked.gaps.len() - earlier.gaps.len();
        // MySQL keeps the names of lost transactions in a table: they are in no file any more.
        let named = keeps
            && self.node.flavor == Flavor::Mysql
            && !self.node.ask("SELECT @@GLOBAL.gtid_purged").await.is_empty();
        assert_eq!(gaps, usize::from(named), "{}", walked.notes());
    }

    /// With `--new-history` it goes on, once; then as ever.
    async fn goes_on(&mut self, earlier: &Walked, later: &[String], keeps: bool) -> Walked {
        self.current(&["--new-history"]).expect(0);
        let mut more = self.write(20).await;
        more.extend(later.iter().cloned());
        self.current(&[]).expect(0);
        let walked = walk(&self.home, None).await;
        for (name, bytes) in &earlier.files {
            assert!(walked.files[name].starts_with(bytes), "{name:?} was archived differently");
        }
        for token in &more {
            assert!(walked.tokens.contains_key(token), "{token}\n{}", walked.notes());
        }
        let new = &walked.epochs[earlier.epochs.len()..];
        assert_eq!(new.len(), 2, "{}", walked.notes());
        let old = earlier.epochs.last().unwrap();
        let parent = new[0].parent.as_ref().unwrap();
        assert_eq!((parent.history, new[0].reason), (old.history, EpochReason::Released));
        assert!(new[0].history != old.history && new[0].resumes.is_none());
        // What the two have in common is never more than what they do have in common.
        assert_eq!(parent.at.is_empty(), !keeps, "{}", walked.notes());
        assert!(parent.at.is_within(&earlier.state.frontier), "{}", walked.notes());
        for token in &more {
            for gtid in &walked.tokens[token] {
                let gtid: GtidState = gtid.parse().unwrap();
                assert!(!gtid.is_within(&parent.at), "{gtid} is new\n{}", walked.notes());
            }
        }
        assert_eq!((new[1].history, &new[1].parent), (new[0].history, &None));
        assert!(new[1].resumes.is_some(), "{}", walked.notes());
        assert_eq!(walked.forks, [], "{}", walked.notes());
        walked
    }

    /// The file that the server writes to, and its size.
    fn active(&self) -> (String, u64) {
        let files = fs::read_dir(self.node.data()).unwrap().map(Result::unwrap);
        let names = files.map(|file| file.file_name().into_string().unwrap());
        let number = |name: &String| {
            name.strip_prefix(BASE).is_some_and(|rest| rest[1..].parse::<u32>().is_ok())
        };
        let name = names.filter(number).max().unwrap();
        let size = fs::metadata(self.node.data().join(&name)).unwrap().len();
        (name, size)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mysql_that_is_reset_meanwhile_is_recognised() {
    meanwhile(Flavor::Mysql).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mariadb_that_is_reset_meanwhile_is_recognised() {
    meanwhile(Flavor::Mariadb).await;
}

/// The archiver is connected all the time.
async fn meanwhile(flavor: Flavor) {
    let mut stage = Stage::start(flavor).await;
    let mut archiver = Archiver::start(&stage.home, stage.node.port, &[]);
    archiver.owns();
    let archived = stage.write(30).await;
    stage.node.run("FLUSH BINARY LOGS").await;
    stage.write(5).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    stage.node.reset().await;
    let later = stage.write(50).await;
    stage.node.run("FLUSH BINARY LOGS").await;
    stage.write(50).await;
    let done = archiver.ends().expect(7).says(Change::Reset.words(flavor));
    println!("{}", done.err.lines().last().unwrap());
    let walked = walk(&stage.home, None).await;
    assert!(archived.iter().all(|token| walked.tokens.contains_key(token)));
    assert!(!later.iter().any(|token| walked.tokens.contains_key(token)), "{}", walked.notes());
    stage.goes_on(&walked, &later, false).await;
}
