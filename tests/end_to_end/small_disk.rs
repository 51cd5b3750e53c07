//! A disk that is too small.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::mariadb::run;

/// A small file system in memory; unmounted when dropped.
pub(crate) struct Small(PathBuf);

impl Small {
    /// Of 16 MiB.
    pub(crate) fn mount(place: &Path) -> Self {
        Self::mount_of(place, "16m")
    }

    /// Of this size, as `mount` spells it.
    pub(crate) fn mount_of(place: &Path, size: &str) -> Self {
        fs::create_dir(place).unwrap();
        let size = format!("size={size}");
        run(Command::new("mount").args(["-t", "tmpfs", "-o", &size, "small"]).arg(place));
        Self(place.to_owned())
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}
