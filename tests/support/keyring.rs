//! A MySQL server with a keyring, so that it can encrypt its binary logs.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
};

use crate::{mysql9::mysqld, tools::tool};

/// A `mysqld` that finds a keyring: it looks for `mysqld.my` beside the program that it takes
/// itself for, and for the keyring's settings beside the plugins.
pub(crate) fn with_keyring(dir: &Path) -> PathBuf {
    let plugins = dir.join("plugins");
    fs::create_dir(&plugins).unwrap();
    let component = "component_keyring_file";
    for plugin in fs::read_dir(tool("mysql9/root/usr/lib/mysql/plugin")).unwrap() {
        let plugin = plugin.unwrap();
        symlink(plugin.path(), plugins.join(plugin.file_name())).unwrap();
    }
    let keys = dir.join("keys");
    let settings = format!(r#"{{"path": "{}", "read_only": false}}"#, keys.display());
    fs::write(plugins.join(format!("{component}.cnf")), settings).unwrap();
    let manifest = format!(r#"{{"components": "file://{component}"}}"#);
    fs::write(dir.join("mysqld.my"), manifest).unwrap();

    let wrapper = fs::canonicalize(mysqld()).unwrap();
    let text = fs::read_to_string(&wrapper).unwrap();
    let (itself, taken_for) = (r#"--argv0 "$R/usr/sbin/mysqld""#, dir.join("mysqld"));
    assert!(text.contains(itself) && text.contains("$0"), "{text}");
    let text = text
        .replace(itself, &format!("--argv0 '{}'", taken_for.display()))
        .replace("\"$0\"", &format!("'{}'", wrapper.display()));
    fs::write(&taken_for, text).unwrap();
    fs::set_permissions(&taken_for, fs::Permissions::from_mode(0o755)).unwrap();
    taken_for
}
