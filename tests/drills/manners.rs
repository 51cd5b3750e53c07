//! What an assertion may do, and what a drill leaves behind when it is stopped or killed.

use std::{fs, time::Duration};

use backstay::model::Flavor;
use rustix::process::Signal;

use crate::{
    chance::{Chance, soak},
    children::{Seen, below},
    scene::Scene,
    tools::wait_until,
};

#[tokio::test(flavor = "multi_thread")]
async fn mysql_assertions_ask_and_do_nothing_else() {
    assertions_ask(Flavor::Mysql).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mariadb_assertions_ask_and_do_nothing_else() {
    assertions_ask(Flavor::Mariadb).await;
}

async fn assertions_ask(flavor: Flavor) {
    let scene = Scene::make(flavor, 94, Duration::from_millis(300)).await;
    let node = &scene.node;
    node.run("SET GLOBAL log_bin_trust_function_creators = ON").await;
    node.run(
        "CREATE FUNCTION `load`.meddle() RETURNS INT MODIFIES SQL DATA \
         BEGIN DELETE FROM `load`.t0; RETURN 1; END",
    )
    .await;
    let installed = u8::from(flavor == Flavor::Mysql);
    if flavor == Flavor::Mysql {
        node.run("INSTALL PLUGIN rpl_semi_sync_source SONAME 'semisync_source.so'").await;
    }
    scene.back_up("plugged");
    scene.archive();
    let written = scene.home.path("written");
    let secret = scene.home.path("secret");
    fs::write(&secret, "hunter2").unwrap();
    fs::set_permissions(&secret, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let assertions = scene.assertions(&format!(
        "-- a function that writes\nSELECT `load`.meddle();\n\
         -- a file that is written\nSELECT 1 INTO OUTFILE '{}';\n\
         -- a file that is read\nSELECT LOAD_FILE('{}') IS NULL AS unread;\n\
         -- two statements in one\nSELECT 1 AS one, '\\'; DROP TABLE `load`.t0; -- ' AS _text;\n\
         -- it sleeps\nSELECT SLEEP(600) = 0;\n\
         -- what the source had installed is not loaded\n\
         SELECT (SELECT COUNT(*) FROM mysql.plugin) = {installed} AS installed, COUNT(*) = 0 AS not_loaded\n  \
         FROM information_schema.PLUGINS WHERE PLUGIN_NAME = 'rpl_semi_sync_source';\n\
         -- after all of that the rows are there\nSELECT COUNT(*) > 400 FROM `load`.t0;\n\
         -- it replicates nobody, and listens to nobody\n\
         SELECT @@GLOBAL.skip_networking = 1 AND @@SESSION.transaction_read_only = 1;",
        written.display(),
        secret.display(),
    ).replace(
        "transaction_read_only",
        if flavor == Flavor::Mysql { "transaction_read_only" } else { "tx_read_only" },
    ));
    let done = scene.drill(&["--assertions", &assertions, "--assertion-limit", "2s"]);
    let done = done.expect(6).json();
    let results = done["assertions"]["results"].as_array().unwrap();
    let found: Vec<(&str, &str, &str)> = results
        .iter()
        .map(|result| {
            let text = |name: &str| result[name].as_str().unwrap_or_default();
            (text("name"), text("status"), text("why"))
        })
        .collect();
    let is = |at: usize, status: &str, words: &str| {
        assert!(found[at].1 == status && found[at].2.contains(words), "{:?}", found[at]);
    };
    is(0, "error", "READ ONLY");
    is(1, "error", "--secure-file-priv");
    is(2, "holds", "");
    is(3, "holds", "");
    assert!(["error", "false"].contains(&found[4].1), "{:?}", found[4]);
    assert!(results[4]["seconds"].as_f64().unwrap() < 15.0, "{done:#}");
    is(5, "holds", "");
    is(6, "holds", "");
    is(7, "holds", "");
    assert!(!written.exists());
}

fn all_end(children: &[Seen]) {
    wait_until("the children end", Duration::from_secs(10), || {
        !children.iter().any(Seen::is_alive)
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_or_killed_drill_leaves_nothing_for_long() {
    let mut chance = Chance::seeded();
    let scene = Scene::make(Flavor::Mariadb, 95, Duration::from_secs(2)).await;
    let assertions = scene.assertions("-- it takes a while\nSELECT SLEEP(1) = 0;");
    let scratch = scene.home.path("scratch");
    let args =
        ["drill", "--scratch", scratch.to_str().unwrap(), "--assertions", assertions.as_str()];
    let begun = std::time::Instant::now();
    scene.home.run(&args).expect(0);
    let usual = begun.elapsed();
    for turn in 0..if soak() { 30 } else { 4 } {
        let job = scene.home.start(&args);
        let after = chance.within(usual);
        std::thread::sleep(after);
        let children = below(job.pid());
        let signal = if turn % 2 == 0 { Signal::KILL } else { Signal::TERM };
        job.signal(signal);
        let done = job.wait();
        println!("turn {turn}: {signal:?} after {after:?} of {usual:?}: exit {}", done.code);
        all_end(&children);
        match signal {
            Signal::TERM => {
                assert!([0, 9].contains(&done.code), "{done:?}");
                scene.is_clean();
            }
            _ => assert!([0, -9].contains(&done.code), "{done:?}"),
        }
    }
    // The next one clears away what killed ones have left; `drill` looks that it did.
    scene.drill(&["--assertions", &assertions]).expect(0);
    scene.home.run(&["verify"]).expect(0);
}
