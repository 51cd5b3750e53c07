//! Points that are drawn from the archive of a server under load, each recovered and looked at.

use std::time::Duration;

use backstay::model::{Flavor, Timestamp};

use crate::{
    chance::{Chance, soak},
    scene::Scene,
};

/// What is true at every point, whatever the load has done by then.
const ALWAYS: &str = "\
-- the four tables are there
SELECT COUNT(*) = 4 AS all_there FROM information_schema.TABLES
 WHERE TABLE_SCHEMA = 'load' AND TABLE_TYPE = 'BASE TABLE';
USE `load`;
-- they are as full as they were
SELECT (SELECT COUNT(*) FROM t0) > 400 AS t0, (SELECT COUNT(*) FROM t1) AS _rows_of_t1;
-- the point is known, and in the past
SELECT @target_time IS NOT NULL AND @target_time <= NOW(6) AS known, @target_time AS _point;
";

#[tokio::test(flavor = "multi_thread")]
async fn mysql_points_are_proven() {
    points(Flavor::Mysql).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mariadb_points_are_proven() {
    points(Flavor::Mariadb).await;
}

async fn points(flavor: Flavor) {
    let mut chance = Chance::seeded();
    let scene = Scene::make(flavor, 91, Duration::from_secs(2)).await;
    scene.back_up("second");
    scene.write(Duration::from_secs(2)).await;
    scene.archive();
    let window = scene.home.run(&["window"]).expect(0).json();
    let instant = |which: usize, name: &str| -> Timestamp {
        window["windows"][which][name].as_str().unwrap().parse().unwrap()
    };
    let (earliest, latest) = (instant(1, "earliest"), instant(0, "latest"));
    let assertions = scene.assertions(ALWAYS);
    let mut bases = std::collections::BTreeSet::new();
    for n in 0..if soak() { 20 } else { 3 } {
        let seed = chance.below(1 << 32).to_string();
        let more = ["--random", "--seed", &seed, "--assertions", &assertions];
        let done = scene.drill(&more).expect(0).json();
        assert_eq!(
            (&done["status"], &done["exit_code"]),
            (&"proven".into(), &0.into()),
            "{done:#}"
        );
        assert_eq!(done["seed"].to_string(), seed);
        let target = done["target"].as_str().unwrap().strip_prefix("time ").unwrap();
        let at: Timestamp = target.parse().unwrap();
        assert!(earliest <= at && at <= latest, "{at} is not in {earliest} to {latest}");
        assert_eq!(done["recovery"]["proof"]["equal"], true, "{done:#}");
        assert_eq!(done["tables"]["whole"], 4, "{done:#}");
        assert_eq!(done["assertions"]["hold"], 3, "{done:#}");
        bases.insert(done["recovery"]["backup_id"].as_str().unwrap().to_owned());
        println!("{n}: {at} from {}", done["recovery"]["backup_id"]);
        if n == 0 {
            let again = scene.drill(&more).expect(0).json();
            assert_eq!(again["target"], done["target"]);
        }
    }
    assert!(!soak() || bases.len() == 2, "every base was begun with: {bases:?}");
    let done = scene.drill(&["--assertions", &assertions]).expect(0).json();
    assert_eq!((&done["target"], &done["status"]), (&"latest".into(), &"proven".into()));
}
