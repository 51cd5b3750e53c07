//! A disk that is too small.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::mariadb::run;

/// A file system of 16 MiB; unmounted when dropped.
pub(crate) struct Small(PathBuf);

impl Small {
    pub(crate) fn mount(place: &Path) -> Self {
        fs::create_dir(place).unwrap();
        run(Command::new("mount").args(["-t", "tmpfs", "-o", "size=16m", "small"]).arg(place));
        Self(place.to_owned())
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}
