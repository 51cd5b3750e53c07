//! A server with a load, a base, and an archive of what came behind it.

use std::{fs, path::PathBuf, time::Duration};

use backstay::model::Flavor;

use crate::{
    archiver::Archiver,
    home::{Done, Home, strs},
    load::{self, Load},
    node::Node,
};

/// A repository from which can be recovered, and the server that it was made from.
pub(crate) struct Scene {
    pub(crate) home: Home,
    pub(crate) node: Node,
}

impl Scene {
    /// A base, and `load` of writes behind it that are archived.
    pub(crate) async fn make(flavor: Flavor, id: u32, load: Duration) -> Self {
        let node = Node::start(flavor, id, &[]);
        load::seed(&node.socket, 500).await;
        let home = Home::file();
        fs::create_dir(home.path("scratch")).unwrap();
        let scene = Self { home, node };
        scene.back_up("base");
        scene.write(load).await;
        scene.archive();
        scene
    }

    pub(crate) fn back_up(&self, id: &str) {
        let args = self.home.backup(&self.node.socket, &["--id", id]);
        self.home.run(&strs(&args)).expect(0);
    }

    /// Writes for a while.
    pub(crate) async fn write(&self, load: Duration) {
        let writers = Load::start(&self.node.socket, 2);
        tokio::time::sleep(load).await;
        writers.stop().await;
    }

    /// Archives what there is.
    pub(crate) fn archive(&self) {
        Archiver::finish(&self.home, self.node.port, &[]);
    }

    /// Runs a drill. Whatever it comes to, nothing of it stays.
    pub(crate) fn drill(&self, more: &[&str]) -> Done {
        let scratch = self.home.path("scratch");
        let mut args = vec!["drill", "--scratch", scratch.to_str().unwrap()];
        args.extend(more);
        let done = self.home.run(&args);
        self.is_clean();
        done
    }

    /// Nothing lies where drills work.
    #[track_caller]
    pub(crate) fn is_clean(&self) {
        for folder in ["scratch", "t"] {
            let left: Vec<PathBuf> = fs::read_dir(self.home.path(folder))
                .unwrap()
                .map(|entry| entry.unwrap().path())
                .collect();
            assert!(left.is_empty(), "{left:?}");
        }
    }

    /// A file of assertions.
    pub(crate) fn assertions(&self, text: &str) -> String {
        let path = self.home.path("assertions.sql");
        fs::write(&path, text).unwrap();
        path.display().to_string()
    }
}
