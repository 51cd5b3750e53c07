//! How long recovering would take: by what drills have measured, told by `window` and to Prometheus.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    time::Duration,
};

use backstay::model::Flavor;
use rustix::process::Signal;

use crate::{
    scene::Scene,
    tools::{free_port, wait_until},
};

#[tokio::test(flavor = "multi_thread")]
async fn what_drills_have_measured_is_told_and_exported() {
    let scene = Scene::make(Flavor::Mariadb, 99, Duration::from_secs(2)).await;
    let window = scene.home.run(&["window"]).expect(0).json();
    assert_eq!(window["recovery"]["measured_by"], 0, "{window:#}");
    assert_eq!(
        (&window["recovery"]["backup_id"], &window["last_drill"]),
        (&"base".into(), &().into())
    );
    for _ in 0..2 {
        scene.drill(&[]).expect(0);
    }
    let window = scene.home.run(&["window"]).expect(0).json();
    assert_eq!(window["recovery"]["measured_by"], 2, "{window:#}");
    assert_eq!(window["last_drill"]["status"], "proven");
    let expected = window["recovery"]["seconds"].as_f64().unwrap();
    let drilled = scene.drill(&[]).expect(0).json();
    let took = drilled["recovery"]["seconds"].as_f64().unwrap();
    println!("expected {expected} s, took {took} s");
    // The machine has other things to do meanwhile.
    assert!(expected < took * 4.0 + 2.0 && took < expected * 4.0 + 2.0, "{expected} s, {took} s");
    // Twice the log, about twice the time to replay it.
    let replay =
        |window: &serde_json::Value| window["recovery"]["replay_seconds"].as_f64().unwrap();
    scene.write(Duration::from_secs(6)).await;
    scene.archive();
    let later = scene.home.run(&["window"]).expect(0).json();
    assert!(replay(&later) > replay(&window), "{later:#}");
    exported(&scene);
}

fn metrics(port: u16) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

fn exported(scene: &Scene) {
    let port = free_port();
    let address = format!("127.0.0.1:{port}");
    let args = ["exporter", "--listen", &address, "--interval", "1s", "--recovery-target", "1ms"];
    let job = scene.home.start(&args);
    let value = |name: &str| -> Option<f64> {
        let answer = metrics(port)?;
        let line = answer.lines().find(|line| line.starts_with(name))?;
        line.rsplit_once(' ')?.1.parse().ok()
    };
    wait_until("the exporter knows", Duration::from_secs(30), || {
        value("backstay_recovery_expected_seconds").is_some()
    });
    // What an alert compares.
    let expected = value("backstay_recovery_expected_seconds").unwrap();
    assert!(expected > value("backstay_recovery_target_seconds").unwrap());
    assert_eq!(value("backstay_recovery_measured_by_drills"), Some(3.0));
    assert_eq!(value("backstay_drill_last_proven"), Some(1.0));
    assert_eq!(value("backstay_backups{cluster=\"c\",status=\"complete\"}"), Some(1.0));
    scene.drill(&["--recovery-target", "1ms"]).expect(7);
    wait_until("a drill that failed is told of", Duration::from_secs(30), || {
        value("backstay_drill_last_proven") == Some(0.0)
    });
    job.signal(Signal::TERM);
    job.wait().expect(0);
}
